// The camera token, version 2. PROTOCOL.md section 5:
//   psk       = K of table and index          psk_id = be16(table_id) ‖ be16(key_index)
//   info      = "birthmark/token/v2" ‖ network_id (32)          aad = C (32) ‖ nonce (12)
//   plaintext = nuc_hash (32) ‖ be64(counter) ‖ mac (16)
//   mac       = first 16 bytes of HMAC-SHA256(device_key, "birthmark/token-mac/v2" ‖ psk_id ‖ enc ‖ aad ‖ nuc_hash ‖ be64(counter))
//   enc, ciphertext (56) ‖ auth_tag (16) = HPKE, PSK mode (hpke.mjs)
// Not for: browsers; only camera and authority hold such keys.

import { Refused, ascii, be16, be64, concat } from "./bytes.mjs";
import { commitment } from "./endorsement.mjs";
import * as hpke from "./hpke.mjs";
import { useKey } from "./token.mjs";

const LENGTH = 56;

/** What both sides put in besides the secrets: `token` names table, key, nonce and what it is bound to. */
async function context(tableKey, { networkId, tableId, keyIndex, keyId, blindedMessage, nonce }) {
  return {
    info: concat(ascii("birthmark/token/v2"), networkId),
    psk: await useKey(tableKey, keyIndex),
    pskId: concat(be16(tableId), be16(keyIndex)),
    aad: concat(await commitment(keyId, blindedMessage), nonce),
  };
}

async function mac(deviceKey, { pskId, aad }, enc, nucHash, counter) {
  const key = await crypto.subtle.importKey("raw", deviceKey, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const message = concat(ascii("birthmark/token-mac/v2"), pskId, enc, aad, nucHash, be64(counter));
  return new Uint8Array(await crypto.subtle.sign("HMAC", key, message)).slice(0, 16);
}

/** {enc, ciphertext, authTag}, as a camera makes them; `ikm` is what it drew for the ephemeral key. */
export async function seal(tokenKey, tableKey, token, ikm, { nucHash, counter, deviceKey }) {
  const bound = await context(tableKey, token);
  const { public: enc } = await hpke.deriveKeyPair(ikm);
  const plaintext = concat(nucHash, be64(counter), await mac(deviceKey, bound, enc, nucHash, counter));
  const { sealed } = await hpke.seal(ikm, tokenKey, bound, plaintext);
  return { enc, ciphertext: sealed.slice(0, -16), authTag: sealed.slice(-16) };
}

/** {nucHash, counter, isFrom}, as an authority opens it. `isFrom` says whether a device key's holder made it. */
export async function open(secretSeed, tableKey, token, { enc, ciphertext, authTag }) {
  if (ciphertext.length !== LENGTH) throw new Refused("length");
  const bound = await context(tableKey, token);
  const plaintext = await hpke.open(await hpke.deriveKeyPair(secretSeed), enc, bound, concat(ciphertext, authTag));
  const [nucHash, number, found] = [plaintext.slice(0, 32), plaintext.slice(32, 40), plaintext.slice(40)];
  const counter = number.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
  const isFrom = async (deviceKey) => {
    const expected = await mac(deviceKey, bound, enc, nucHash, counter);
    return expected.every((byte, at) => byte === found[at]);
  };
  return { nucHash, counter, isFrom };
}
