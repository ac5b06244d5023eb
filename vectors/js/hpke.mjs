// HPKE, RFC 9180, as far as a token needs it: PSK mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM,
// and the first message of a context. Built from X25519, HMAC and AES-GCM of the engine.
// Not for: other modes and suites, further messages, exporters.

import { Refused, ascii, be16, concat, fromHex } from "./bytes.mjs";

const KEM_SUITE = concat(ascii("KEM"), be16(0x0020));
const SUITE = concat(ascii("HPKE"), be16(0x0020), be16(0x0001), be16(0x0002));
const MODE_PSK = 1;
const EMPTY = new Uint8Array(0);

async function hmac(key, ...parts) {
  // The engine takes no empty key; HMAC fills any shorter one with zeros.
  const bytes = key.length ? key : new Uint8Array(32);
  const imported = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, concat(...parts)));
}

const extract = (suite, salt, label, ikm) => hmac(salt, ascii("HPKE-v1"), suite, ascii(label), ikm);

async function expand(suite, prk, label, info, length) {
  const whole = concat(be16(length), ascii("HPKE-v1"), suite, ascii(label), info);
  let [out, block] = [EMPTY, EMPTY];
  for (let number = 1; out.length < length; number++) {
    block = await hmac(prk, block, whole, Uint8Array.of(number));
    out = concat(out, block);
  }
  return out.slice(0, length);
}

const importSecret = (bytes, use) =>
  crypto.subtle.importKey("pkcs8", concat(fromHex("302e020100300506032b656e04220420"), bytes), { name: "X25519" }, true, use);

const base64url = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));

/** DeriveKeyPair of section 7.1.3: {secret, public} as bytes. */
export async function deriveKeyPair(ikm) {
  const secret = await expand(KEM_SUITE, await extract(KEM_SUITE, EMPTY, "dkp_prk", ikm), "sk", EMPTY, 32);
  const { x } = await crypto.subtle.exportKey("jwk", await importSecret(secret, ["deriveBits"]));
  return { secret, public: base64url(x) };
}

async function exchange(secret, point) {
  const theirs = await crypto.subtle.importKey("raw", point, { name: "X25519" }, false, []);
  const own = await importSecret(secret, ["deriveBits"]);
  let shared;
  try {
    shared = new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: theirs }, own, 256));
  } catch {
    throw new Refused("forged", "a point of low order");
  }
  // Engines differ in whether they check this themselves.
  if (shared.every((byte) => byte === 0)) throw new Refused("forged", "a point of low order");
  return shared;
}

/** Key and nonce of the first message: ExtractAndExpand, then KeySchedule. */
async function schedule(dh, enc, recipient, info, psk, pskId) {
  const eae = await extract(KEM_SUITE, EMPTY, "eae_prk", dh);
  const shared = await expand(KEM_SUITE, eae, "shared_secret", concat(enc, recipient), 32);
  const [idHash, infoHash] = await Promise.all([extract(SUITE, EMPTY, "psk_id_hash", pskId), extract(SUITE, EMPTY, "info_hash", info)]);
  const context = concat(Uint8Array.of(MODE_PSK), idHash, infoHash);
  const secret = await extract(SUITE, shared, "secret", psk);
  const [key, nonce] = await Promise.all([expand(SUITE, secret, "key", context, 32), expand(SUITE, secret, "base_nonce", context, 12)]);
  return { key, nonce };
}

const aead = (key, use) => crypto.subtle.importKey("raw", key, "AES-GCM", false, [use]);
const how = (iv, additionalData) => ({ name: "AES-GCM", iv, additionalData, tagLength: 128 });

/** {enc, sealed}: the sealed text ends in its tag. `ikm` is the ephemeral key's 32 random bytes. */
export async function seal(ikm, recipient, { info, psk, pskId, aad }, plaintext) {
  const { secret, public: enc } = await deriveKeyPair(ikm);
  const { key, nonce } = await schedule(await exchange(secret, recipient), enc, recipient, info, psk, pskId);
  return { enc, sealed: new Uint8Array(await crypto.subtle.encrypt(how(nonce, aad), await aead(key, "encrypt"), plaintext)) };
}

/** The plaintext, for the holder of the recipient's key pair. `sealed` ends in its tag. */
export async function open(recipient, enc, { info, psk, pskId, aad }, sealed) {
  const { key, nonce } = await schedule(await exchange(recipient.secret, enc), enc, recipient.public, info, psk, pskId);
  try {
    return new Uint8Array(await crypto.subtle.decrypt(how(nonce, aad), await aead(key, "decrypt"), sealed));
  } catch {
    throw new Refused("forged");
  }
}
