// The log's Merkle tree: RFC 6962 section 2.1 with SHA-256; checking as in RFC 9162 section 2.1.3.2 and 2.1.4.2.
//   leaf hash = SHA-256(0x00 ‖ leaf), node hash = SHA-256(0x01 ‖ left ‖ right)
// Not for: whether a root deserves trust (note, policy). Sizes and indexes are BigInt.

import { Refused, equal, sha256, u8 } from "./bytes.mjs";

export const leafHash = (leaf) => sha256(u8(0), leaf);
export const nodeHash = (left, right) => sha256(u8(1), left, right);

const fail = (why) => {
  throw new Refused("inclusion", why);
};

/** Throws unless the leaf with this hash is leaf `index` of the tree of `size` leaves with this root. */
export async function checkInclusion(leaf, index, size, path, root) {
  if (index >= size) fail("the leaf would lie outside the tree");
  let [fn, sn, hash] = [index, size - 1n, leaf];
  for (const sibling of path) {
    if (sn === 0n) fail("too many hashes");
    if (fn & 1n || fn === sn) {
      hash = await nodeHash(sibling, hash);
      while (!(fn & 1n) && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n];
    } else {
      hash = await nodeHash(hash, sibling);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  if (sn !== 0n) fail("too few hashes");
  if (!equal(hash, root)) fail("another root");
}

/** Throws unless the first `oldSize` leaves of the newer tree are the older tree. */
export async function checkConsistency(oldSize, newSize, path, oldRoot, newRoot) {
  if (oldSize === newSize) {
    if (path.length || !equal(oldRoot, newRoot)) fail("one size, two trees");
    return;
  }
  if (oldSize === 0n || oldSize > newSize) fail("sizes out of order");
  const complete = (oldSize & (oldSize - 1n)) === 0n;
  const [first, ...rest] = complete ? [oldRoot, ...path] : path;
  if (!first) fail("too few hashes");
  let [fn, sn] = [oldSize - 1n, newSize - 1n];
  while (fn & 1n) [fn, sn] = [fn >> 1n, sn >> 1n];
  let [older, newer] = [first, first];
  for (const sibling of rest) {
    if (sn === 0n) fail("too many hashes");
    if (fn & 1n || fn === sn) {
      older = await nodeHash(sibling, older);
      newer = await nodeHash(sibling, newer);
      while (!(fn & 1n) && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n];
    } else {
      newer = await nodeHash(newer, sibling);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  if (sn !== 0n) fail("too few hashes");
  if (!equal(older, oldRoot) || !equal(newer, newRoot)) fail("another root");
}
