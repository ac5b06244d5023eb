// The compact sparse Merkle trie over the index. PROTOCOL.md section 9; bits most significant first:
//   empty subtree = 32 zero bytes; subtree of one key, at any depth = SHA-256(0x00 ‖ key ‖ SHA-256(value));
//   any other subtree = SHA-256(0x01 ‖ left ‖ right)
// Not for: whether a root deserves trust (absence).

import { Refused, equal, sha256, u8 } from "./bytes.mjs";

export const EMPTY = new Uint8Array(32);
const MAX_SIBLINGS = 256;

export const trieLeaf = (key, valueHash) => sha256(u8(0), key, valueHash);
const inner = (left, right) => sha256(u8(1), left, right);
const bit = (key, depth) => (key[depth >> 3] >> (7 - (depth & 7))) & 1;

/** The root over [{key, valueHash}], by the definition: no order is needed, and nothing is remembered. */
export async function trieRoot(leaves, depth = 0) {
  if (leaves.length === 0) return EMPTY;
  if (leaves.length === 1) return trieLeaf(leaves[0].key, leaves[0].valueHash);
  const half = (side) => trieRoot(leaves.filter(({ key }) => bit(key, depth) === side), depth + 1);
  return inner(await half(0), await half(1));
}

/** The way down to a key: {siblings, at}, where `at` is the leaf at its end, if any. */
export async function triePath(leaves, key) {
  const siblings = [];
  let below = leaves;
  for (let depth = 0; below.length > 1; depth++) {
    const own = bit(key, depth);
    siblings.push(await trieRoot(below.filter((leaf) => bit(leaf.key, depth) !== own), depth + 1));
    below = below.filter((leaf) => bit(leaf.key, depth) === own);
  }
  return { siblings, at: below[0] };
}

async function climb(key, end, siblings, root) {
  let hash = end;
  for (let depth = siblings.length - 1; depth >= 0; depth--) {
    hash = bit(key, depth) ? await inner(siblings[depth], hash) : await inner(hash, siblings[depth]);
  }
  if (!equal(hash, root)) throw new Refused("root");
}

function bounded(siblings) {
  if (siblings.length > MAX_SIBLINGS) throw new Refused("siblings");
}

/** Throws unless the key stands in the trie of this root with a value of this hash. */
export async function checkPresent(key, valueHash, siblings, root) {
  bounded(siblings);
  await climb(key, await trieLeaf(key, valueHash), siblings, root);
}

/** Throws unless the key's path ends empty or, if given, at the other key {key, valueHash}. */
export async function checkAbsent(key, siblings, other, root) {
  bounded(siblings);
  if (!other) return climb(key, EMPTY, siblings, root);
  if (equal(other.key, key)) throw new Refused("same_key");
  if (siblings.some((_, depth) => bit(other.key, depth) !== bit(key, depth))) throw new Refused("other_path");
  await climb(key, await trieLeaf(other.key, other.valueHash), siblings, root);
}
