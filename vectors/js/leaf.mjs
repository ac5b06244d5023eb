// Leaves of the log. PROTOCOL.md section 7:
//   leaf   = u8 version (1) ‖ u8 type ‖ …
//   type 1 = be32 minute ‖ be16 authority ‖ be16 submitter ‖ u8 assurance ‖ [SHA-256(endorsement) 32] ‖ entries
//   type 2 = the same, where an entry has level 2
//   type 3: act.mjs
//   type 4 = be32 minute ‖ be64 height ‖ be32 epoch ‖ validator set hash 32 ‖ index root 32

import { Reader, Refused, be16, be32, be64, concat, fixedHex, toHex, u8 } from "./bytes.mjs";
import { encodeEntries, readEntries } from "./body.mjs";

const BLOCK = 4;
const recordType = (entries) => (entries.some(({ level }) => level === 2) ? 2 : 1);

export function encodeLeaf(leaf) {
  if (leaf.type === BLOCK) {
    const numbers = concat(be32(leaf.minute), be64(leaf.height), be32(leaf.epoch));
    return concat(u8(1), u8(BLOCK), numbers, fixedHex(leaf.validator_set_hash, 32), fixedHex(leaf.index_root, 32));
  }
  const head = concat(u8(1), u8(recordType(leaf.entries)), be32(leaf.minute), be16(leaf.authority), be16(leaf.submitter));
  const endorsement = leaf.assurance === 2 ? fixedHex(leaf.endorsement_hash, 32) : new Uint8Array(0);
  return concat(head, u8(leaf.assurance), endorsement, encodeEntries(leaf));
}

export function decodeLeaf(bytes) {
  const reader = new Reader(bytes);
  if (reader.u8() !== 1) throw new Refused("value", "unknown version");
  const type = reader.u8();
  if (![1, 2, BLOCK].includes(type)) throw new Refused("value", "unknown type");
  const leaf = type === BLOCK ? readBlock(reader) : readRecord(reader, type);
  reader.finish();
  return leaf;
}

function readBlock(reader) {
  return {
    type: BLOCK,
    minute: reader.be32(),
    height: reader.big(8),
    epoch: reader.be32(),
    validator_set_hash: toHex(reader.take(32)),
    index_root: toHex(reader.take(32)),
  };
}

function readRecord(reader, type) {
  const [minute, authority, submitter, assurance] = [reader.be32(), reader.be16(), reader.be16(), reader.u8()];
  if (assurance > 2) throw new Refused("value");
  const endorsement_hash = assurance === 2 ? toHex(reader.take(32)) : null;
  const entries = readEntries(reader);
  if (recordType(entries.entries) !== type) throw new Refused("type");
  return { type, minute, authority, submitter, assurance, endorsement_hash, ...entries };
}
