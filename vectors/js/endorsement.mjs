// Endorsements: an authority's signature under a capture. PROTOCOL.md section 6; RFC 9474, RFC 8017:
//   D           = SHA-256("birthmark/capture/v1" ‖ network_id (32) ‖ key_id (8) ‖ body)
//   signature   = RSASSA-PSS over the 32 bytes of D, SHA-384, 48 bytes of salt; as long as the modulus
//   key_id      = first 8 bytes of SHA-256(SPKI)
//   endorsement = key_id (8) ‖ signature
//   C           = SHA-256("birthmark/commitment/v2" ‖ key_id ‖ blinded_message)
// A key here is {keyId, spki, modulus}, as bytes. Engines take more kinds of keys than count, so their form is read here.

import { Reader, Refused, ascii, concat, equal, fromHex, sha256, toHex } from "./bytes.mjs";

const KEY_ID = 8;
const [MIN_MODULUS, MAX_MODULUS] = [256, 512];
const [INTEGER, BIT_STRING, SEQUENCE] = [0x02, 0x03, 0x30];
/** OID rsaEncryption and its NULL. */
const RSA_ENCRYPTION = fromHex("06092a864886f70d0101010500");
const EXPONENT = fromHex("010001");

/** Reads an SPKI in DER strictly: rsaEncryption, 2048 to 4096 bits in whole bytes, e = 65537. One key has one form. */
export async function parseKey(spki) {
  let modulus;
  try {
    modulus = readModulus(spki);
  } catch (error) {
    throw new Refused("endorsement_key", error.message);
  }
  return { keyId: (await sha256(spki)).slice(0, KEY_ID), spki, modulus };
}

function readModulus(spki) {
  const outer = whole(spki, SEQUENCE);
  const algorithm = element(outer, SEQUENCE);
  must(equal(algorithm.rest, RSA_ENCRYPTION), "another algorithm than rsaEncryption");
  const bits = element(outer, BIT_STRING);
  outer.finish();
  must(bits.u8() === 0, "unused bits");
  const numbers = whole(bits.rest, SEQUENCE);
  const modulus = number(numbers);
  const exponent = number(numbers);
  numbers.finish();
  must(modulus.length >= MIN_MODULUS && modulus.length <= MAX_MODULUS, "a modulus of another length");
  must(modulus[0] >= 0x80, "a modulus that does not fill its bytes");
  must(modulus.at(-1) & 1, "an even modulus");
  must(equal(exponent, EXPONENT), "another exponent than 65537");
  return modulus;
}

function must(condition, why) {
  if (!condition) throw new Refused("der", why);
}

/** The content of one DER element with this tag, as a reader. Its length must be in its shortest form. */
function element(reader, tag) {
  must(reader.u8() === tag, "another tag");
  let length = reader.u8();
  if (length >= 0x80) {
    const digits = reader.take(length & 0x7f);
    must(digits.length >= 1 && digits.length <= 2 && digits[0] > 0, "a length in another form");
    length = digits.reduce((value, byte) => value * 256 + byte, 0);
    must(length >= 0x80, "a length in a longer form than needed");
  }
  return new Reader(reader.take(length));
}

function whole(bytes, tag) {
  const reader = new Reader(bytes);
  const content = element(reader, tag);
  reader.finish();
  return content;
}

/** A positive INTEGER without its leading zero. */
function number(reader) {
  const { rest } = element(reader, INTEGER);
  must(rest.length > 0 && rest[0] < 0x80, "no positive number");
  if (rest[0] > 0) return rest;
  must(rest.length > 1 && rest[1] >= 0x80, "a zero too many");
  return rest.slice(1);
}

export const captureDigest = (networkId, keyId, body) => sha256(ascii("birthmark/capture/v1"), networkId, keyId, body);

export const commitment = (keyId, blindedMessage) => sha256(ascii("birthmark/commitment/v2"), keyId, blindedMessage);

/** {keyId, signature}. */
export function decodeEndorsement(bytes) {
  const signature = bytes.slice(KEY_ID);
  if (signature.length < MIN_MODULUS || signature.length > MAX_MODULUS) throw new Refused("bad_endorsement", "length");
  return { keyId: bytes.slice(0, KEY_ID), signature };
}

/** Whether the signature is the key's under the digest, or whatever else was signed. */
export async function verifySignature(key, digest, signature) {
  if (signature.length !== key.modulus.length) return false;
  const imported = await crypto.subtle.importKey("spki", key.spki, { name: "RSA-PSS", hash: "SHA-384" }, false, ["verify"]);
  return crypto.subtle.verify({ name: "RSA-PSS", saltLength: 48 }, imported, signature, digest);
}

/** The state of the key under which an authority ({endorsementKeys}) endorsed a body; throws unless it did. */
export async function checkEndorsement(networkId, authority, endorsement, body) {
  const { keyId, signature } = decodeEndorsement(endorsement);
  const key = authority?.endorsementKeys.find((known) => equal(known.keyId, keyId));
  if (!key) throw new Refused("unknown_endorsement_key");
  const digest = await captureDigest(networkId, keyId, body);
  if (!(await verifySignature(key, digest, signature))) throw new Refused("bad_endorsement");
  return key.state;
}

/**
 * The endorsement that a blind signature becomes. Throws `endorsement_failed` where the authority erred and
 * `binding_mismatch` where the camera did. As the aggregator does it; the numbers are no secrets of a verifier.
 */
export async function finish(key, digest, { blindedMessage, inverse, blindSignature }) {
  const n = toNumber(key.modulus);
  const isResidue = (bytes) => bytes.length === key.modulus.length && toNumber(bytes) < n;
  if (!isResidue(blindSignature)) throw new Refused("endorsement_failed");
  if (!isResidue(inverse)) throw new Refused("binding_mismatch");
  const signature = toBytes((toNumber(blindSignature) * toNumber(inverse)) % n, key.modulus.length);
  if (await verifySignature(key, digest, signature)) return concat(key.keyId, signature);
  throw new Refused(equal(undo(key, blindSignature), blindedMessage) ? "binding_mismatch" : "endorsement_failed");
}

/** s^e mod n: the message that was signed. */
export const undo = ({ modulus }, signature) =>
  toBytes(power(toNumber(signature), toNumber(EXPONENT), toNumber(modulus)), modulus.length);

const toNumber = (bytes) => BigInt(`0x0${toHex(bytes)}`);
const toBytes = (number, length) => fromHex(number.toString(16).padStart(2 * length, "0"));

function power(base, exponent, modulus) {
  let result = 1n;
  for (let b = base, e = exponent; e > 0n; e >>= 1n, b = (b * b) % modulus) {
    if (e & 1n) result = (result * b) % modulus;
  }
  return result;
}
