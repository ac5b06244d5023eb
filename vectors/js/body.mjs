// Body and entries. PROTOCOL.md section 7:
//   body    = u8 len (1..64) ‖ authority_id ‖ entries
//   entries = u8 n (1..8) ‖ n × entry ‖ u8 flags ‖ [owner_hash 32] ‖ [gps_hash 32]
//   entry   = u8 level ‖ u8 kind ‖ hash (32) ‖ u8 parent ‖ [explicit parent hash 32, if parent = 255]
// An entry here is {level, kind, hash, parent}: hash in hex, parent null, a number from 1, or hex.

import { Reader, Refused, ascii, concat, fixedHex, isName, toHex, u8 } from "./bytes.mjs";

const KINDS = ["file", "image_data"];
const OUTSIDE = 255;

/** Checks what holds of entries wherever they come from. */
export function checkEntries(list) {
  if (list.length < 1 || list.length > 8) throw new Refused("entries", "1 to 8 entries");
  list.forEach(({ level, hash, parent }, at) => {
    if (list.findIndex((other) => other.hash === hash) !== at) throw new Refused("entries", "a hash twice");
    if (parent === null) return;
    if (level === 0) throw new Refused("entries", "raw with a parent");
    const fits = typeof parent === "number" ? parent >= 1 && parent <= at : list.every((other) => other.hash !== parent);
    if (!fits) throw new Refused("entries", "a parent that cannot be");
  });
}

export function encodeEntries({ entries, owner_hash, gps_hash }) {
  checkEntries(entries);
  const entry = ({ level, kind, hash, parent }) => {
    const head = concat(u8(level), u8(KINDS.indexOf(kind)), fixedHex(hash, 32));
    if (parent === null) return concat(head, u8(0));
    return typeof parent === "number" ? concat(head, u8(parent)) : concat(head, u8(OUTSIDE), fixedHex(parent, 32));
  };
  const commitments = [owner_hash, gps_hash].map((hash) => (hash ? fixedHex(hash, 32) : new Uint8Array(0)));
  const flags = (owner_hash ? 1 : 0) + (gps_hash ? 2 : 0);
  return concat(u8(entries.length), ...entries.map(entry), u8(flags), ...commitments);
}

export function encodeBody(body) {
  if (!isName(body.authority_id)) throw new Refused("text");
  return concat(u8(body.authority_id.length), ascii(body.authority_id), encodeEntries(body));
}

/** Takes entries off a reader. */
export function readEntries(reader) {
  const count = reader.u8();
  if (count < 1 || count > 8) throw new Refused("entries", "1 to 8 entries");
  const entries = [];
  for (let n = 0; n < count; n++) {
    const [level, kind] = [reader.u8(), reader.u8()];
    if (level > 2 || kind > 1) throw new Refused("value");
    const hash = toHex(reader.take(32));
    const number = reader.u8();
    const parent = number === OUTSIDE ? toHex(reader.take(32)) : number || null;
    entries.push({ level, kind: KINDS[kind], hash, parent });
  }
  const flags = reader.u8();
  if (flags > 3) throw new Refused("value", "unknown flags");
  const owner_hash = flags & 1 ? toHex(reader.take(32)) : null;
  const gps_hash = flags & 2 ? toHex(reader.take(32)) : null;
  checkEntries(entries);
  return { entries, owner_hash, gps_hash };
}

export function decodeBody(bytes) {
  const reader = new Reader(bytes);
  const authority_id = String.fromCharCode(...reader.take(reader.u8()));
  if (!isName(authority_id)) throw new Refused("text");
  const body = { authority_id, ...readEntries(reader) };
  reader.finish();
  return body;
}

/** The hash of an entry's parent, or null. */
export function parentHash(entries, { parent }) {
  return typeof parent === "number" ? entries[parent - 1].hash : parent;
}
