// Transactions in signed batches. PROTOCOL.md section 7:
//   t     = SHA-256(u8 assurance ‖ SHA-256(endorsement) or 32 zeros ‖ body)
//   sig   = Ed25519("birthmark/batch/v1" ‖ network_id ‖ be16(submitter) ‖ be16(count) ‖ count × t)
//   wire  = u8 1 ‖ be16 submitter ‖ be16 count ‖ count × transaction ‖ sig 64
//   block = be16 submitter ‖ be16 count ‖ count × (transaction, or u8 255 ‖ t) ‖ sig 64
//   transaction = u8 assurance ‖ be16 len ‖ endorsement ‖ be16 len ‖ body
// A transaction here is {assurance, endorsement, body}, the last two as bytes.

import { Reader, Refused, ascii, be16, concat, prefixed16, sha256, u8 } from "./bytes.mjs";
import { decodeBody } from "./body.mjs";

const MAX_BATCH = 256;
const MAX_ENDORSEMENT = 8 + 512;
const MAX_BODY = 1 + 64 + 1 + 8 * 67 + 1 + 64;
const OMITTED = 255;

export async function digest({ assurance, endorsement, body }) {
  const named = endorsement.length ? await sha256(endorsement) : new Uint8Array(32);
  return sha256(u8(assurance), named, body);
}

export function signedMessage(networkId, submitter, digests) {
  return concat(ascii("birthmark/batch/v1"), networkId, be16(submitter), be16(digests.length), ...digests);
}

function encodeTransaction({ assurance, endorsement, body }) {
  return concat(u8(assurance), prefixed16(endorsement), prefixed16(body));
}

export function encodeWire(submitter, transactions, signature) {
  const head = concat(u8(1), be16(submitter), be16(transactions.length));
  return concat(head, ...transactions.map(encodeTransaction), signature);
}

/** `omitted`: the places at which the digest alone stands. */
export function encodeInBlock(submitter, transactions, digests, omitted, signature) {
  const place = (t, at) => (omitted.includes(at) ? concat(u8(OMITTED), digests[at]) : encodeTransaction(t));
  return concat(be16(submitter), be16(transactions.length), ...transactions.map(place), signature);
}

function readTransaction(reader) {
  const assurance = reader.u8();
  if (assurance > 2) throw new Refused("value");
  const endorsement = reader.prefixed16(MAX_ENDORSEMENT);
  const body = reader.prefixed16(MAX_BODY);
  try {
    decodeBody(body);
  } catch (error) {
    throw new Refused("body", error.message);
  }
  if ((assurance === 2) !== endorsement.length > 0) throw new Refused("endorsement");
  return { assurance, endorsement, body };
}

export function decodeWire(bytes) {
  const reader = new Reader(bytes);
  if (reader.u8() !== 1) throw new Refused("value", "unknown version");
  const submitter = reader.be16();
  const count = reader.be16();
  if (count < 1 || count > MAX_BATCH) throw new Refused("value", "1 to 256 transactions");
  const transactions = Array.from({ length: count }, () => readTransaction(reader));
  const signature = reader.take(64);
  reader.finish();
  return { submitter, transactions, signature };
}
