// Ed25519, RFC 8032, by the strict rule: canonical keys and signatures, nothing of small order.
// Engines differ in what of this they check themselves, so all of it is checked here as well.
// Not for: the ZIP215 rule of transaction batches, which only validators need.

import { Refused, concat, fromHex } from "./bytes.mjs";

const P = 2n ** 255n - 19n;
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
const D = 37095705934669439343138083508754565189542113879843219016388785533085940283555n;

const littleEndian = (bytes) => bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
const modulo = (value) => ((value % P) + P) % P;

function power(base, exponent) {
  let result = 1n;
  for (let b = modulo(base), e = exponent; e > 0n; e >>= 1n, b = (b * b) % P) {
    if (e & 1n) result = (result * b) % P;
  }
  return result;
}

/** The heights of the eight points whose order divides 8. */
const SMALL_ORDER = new Set([
  0n,
  1n,
  P - 1n,
  littleEndian(fromHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")),
  littleEndian(fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")),
]);

/** Whether 32 bytes are the one encoding of a point of the curve that is not of small order. */
function isPoint(bytes) {
  const y = littleEndian(bytes) & ((1n << 255n) - 1n);
  if (y >= P || SMALL_ORDER.has(y)) return false;
  const y2 = (y * y) % P;
  // x^2 = (y^2 - 1) / (d y^2 + 1) is a square exactly if the product of both is one.
  return power((y2 - 1n) * modulo(D * y2 + 1n), (P - 1n) / 2n) === 1n;
}

/** The bytes of a public key, if they are a usable one. */
export function publicKey(bytes, code = "key") {
  if (bytes.length !== 32 || !isPoint(bytes)) throw new Refused(code, "not a usable Ed25519 public key");
  return bytes;
}

export async function verify(key, message, signature) {
  if (signature.length !== 64 || littleEndian(signature.slice(32)) >= ORDER) return false;
  if (!isPoint(key) || !isPoint(signature.slice(0, 32))) return false;
  const imported = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify({ name: "Ed25519" }, imported, signature, message);
}

/** Signs as the holder of the 32 secret bytes; for the vectors, since a verifier signs nothing. */
export async function sign(seed, message) {
  const pkcs8 = concat(fromHex("302e020100300506032b657004220420"), seed);
  const key = await crypto.subtle.importKey("pkcs8", pkcs8, { name: "Ed25519" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign({ name: "Ed25519" }, key, message));
}

