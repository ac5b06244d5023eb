// Proof that an image was not recorded when a checkpoint was cosigned. PROTOCOL.md section 10:
//   {"version": 1, "image_hash", "checkpoint": "<note>", "leaf": "<hex>", "inclusion": ["<hex>"],
//    "siblings": ["<hex>"], "other": null | {"key", "value_hash"}}
// Not for: asking servers. Whom to trust is given (network), and so is the time.

import { Refused, equal, fixedHex, fromHex, toHex } from "./bytes.mjs";
import { indexKey } from "./index.mjs";
import * as json from "./json.mjs";
import { decodeLeaf } from "./leaf.mjs";
import { checkInclusion, leafHash } from "./merkle.mjs";
import { verifyCheckpoint } from "./network.mjs";
import { EMPTY, checkAbsent } from "./trie.mjs";

const MAX_TEXT = 256 * 1024;
const MAX_NOTE = 64 * 1024;
const MAX_LEAF = 65_535;
const MAX_INCLUSION = 64;
const MAX_SIBLINGS = 256;
const DEFAULT_MAX_AGE = 300;
const code = "json";
const utf8Length = (text) => new TextEncoder().encode(text).length;

/** {imageHash, checkpoint, leaf, inclusion, siblings, other}, in which nothing has been checked. */
export function parseAbsence(text) {
  if (utf8Length(text) > MAX_TEXT) throw new Refused("too_long");
  let object;
  try {
    object = json.parse(text);
  } catch {
    throw new Refused(code);
  }
  const get = (of, name, type, optional = false) => json.field(of, name, type, { optional, code });
  const hash = (hex) => fixedHex(hex, 32, code);
  const hashes = (name, most) => {
    const list = get(object, name, "array");
    if (list.length > most) throw new Refused(code, `too many ${name}`);
    return list.map(hash);
  };
  if (get(object, "version", "integer") !== 1) throw new Refused(code, "unknown version");
  const checkpoint = get(object, "checkpoint", "string");
  const leaf = fromHex(get(object, "leaf", "string"), code);
  if (utf8Length(checkpoint) > MAX_NOTE || leaf.length > MAX_LEAF) throw new Refused(code, "too long");
  const other = get(object, "other", "object", true);
  return {
    imageHash: hash(get(object, "image_hash", "string")),
    checkpoint,
    leaf,
    inclusion: hashes("inclusion", MAX_INCLUSION),
    siblings: hashes("siblings", MAX_SIBLINGS),
    other: other && { key: hash(get(other, "key", "string")), valueHash: hash(get(other, "value_hash", "string")) },
  };
}

/** Throws unless the proof holds at `now` (seconds, BigInt); then says of what and as of when. */
export async function verifyAbsence(text, trust, now) {
  const proof = parseAbsence(text);
  const checkpoint = await verifyCheckpoint(proof.checkpoint, trust);
  await checkInclusion(await leafHash(proof.leaf), checkpoint.size - 1n, checkpoint.size, proof.inclusion, checkpoint.root);
  const block = readBlock(proof.leaf);
  const root = fixedHex(block.index_root, 32);
  // Zeros are the root of an empty index, and no block after genesis has one.
  if (equal(root, EMPTY) && block.height !== 0n) throw new Refused("no_index_root");
  try {
    await checkAbsent(await indexKey(proof.imageHash), proof.siblings, proof.other, root);
  } catch (error) {
    throw error instanceof Refused ? new Refused("path", error.code) : error;
  }
  if (checkpoint.time === null) throw new Refused("no_time");
  if (now - checkpoint.time > BigInt(trust.network?.maxAge ?? DEFAULT_MAX_AGE)) throw new Refused("too_old");
  return {
    image_hash: toHex(proof.imageHash),
    height: block.height,
    checkpoint_size: checkpoint.size,
    checkpoint_time: checkpoint.time,
    cosigners: checkpoint.cosigners,
  };
}

function readBlock(bytes) {
  let leaf;
  try {
    leaf = decodeLeaf(bytes);
  } catch (error) {
    throw new Refused("leaf", error.message);
  }
  if (leaf.type !== 4) throw new Refused("not_a_block");
  return leaf;
}
