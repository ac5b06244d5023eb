// The index: under which key a hash is filed, and what stands there. PROTOCOL.md section 9:
//   key   = SHA-256("birthmark/index/v1" ‖ image_hash)
//   value = u8 count (1..16) ‖ count × (be64 tx_id ‖ u8 entry ‖ u8 assurance)

import { ascii, be64, concat, sha256, u8 } from "./bytes.mjs";

export const indexKey = (imageHash) => sha256(ascii("birthmark/index/v1"), imageHash);

export function encodeValue(records) {
  const record = ({ tx_id, entry, assurance }) => concat(be64(tx_id), u8(entry), u8(assurance));
  return concat(u8(records.length), ...records.map(record));
}
