// The camera token, version 1. PROTOCOL.md section 5:
//   K = HKDF-SHA256(ikm = table key, salt = empty, info = be32(key_index) ‖ "Birthmark", 32 bytes)
//   ciphertext (32) ‖ auth_tag (16) = AES-256-GCM(K, nonce (12), nuc_hash (32), no associated data)
// Not for: browsers; the seed of tests alone, since only camera and authority hold such keys.

import { Refused, ascii, be32, concat } from "./bytes.mjs";

export const info = (keyIndex) => concat(be32(keyIndex), ascii("Birthmark"));

export async function useKey(tableKey, keyIndex) {
  const ikm = await crypto.subtle.importKey("raw", tableKey, "HKDF", false, ["deriveBits"]);
  const how = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(0), info: info(keyIndex) };
  return new Uint8Array(await crypto.subtle.deriveBits(how, ikm, 256));
}

async function cipher(tableKey, keyIndex, use) {
  return crypto.subtle.importKey("raw", await useKey(tableKey, keyIndex), "AES-GCM", false, [use]);
}

export async function seal(tableKey, keyIndex, nonce, nucHash) {
  const key = await cipher(tableKey, keyIndex, "encrypt");
  const sealed = new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv: nonce, tagLength: 128 }, key, nucHash));
  return { ciphertext: sealed.slice(0, -16), authTag: sealed.slice(-16) };
}

export async function open(tableKey, keyIndex, nonce, { ciphertext, authTag }) {
  if (ciphertext.length !== 32) throw new Refused("length");
  const key = await cipher(tableKey, keyIndex, "decrypt");
  const how = { name: "AES-GCM", iv: nonce, tagLength: 128 };
  try {
    return new Uint8Array(await crypto.subtle.decrypt(how, key, concat(ciphertext, authTag)));
  } catch {
    throw new Refused("forged");
  }
}
