// Proof bundles, and what they prove of a file. C2SP tlog-proof; PROTOCOL.md section 10:
//   c2sp.org/tlog-proof@v1
//   extra <base64 of u8 1 ‖ be16 len ‖ leaf ‖ be16 len ‖ endorsement>
//   index <decimal>
//   <base64 hash> …
//   <blank line>
//   <checkpoint, a signed note>
// Not for: reading files or asking servers. Whom to trust is given (network).

import { Reader, Refused, decimal, fromBase64, sha256, toHex } from "./bytes.mjs";
import { encodeBody, parentHash } from "./body.mjs";
import { checkEndorsement } from "./endorsement.mjs";
import { decodeLeaf } from "./leaf.mjs";
import { checkInclusion, leafHash } from "./merkle.mjs";
import { verifyCheckpoint } from "./network.mjs";
import { parseCheckpoint, parseNote } from "./note.mjs";

const HEADER = "c2sp.org/tlog-proof@v1";
const MAX_TEXT = 160 * 1024;
const MAX_ENDORSEMENT = 8 + 512;
const MAX_PATH = 64;
const ASSURANCE = ["asserted", "attested", "endorsed"];

/** {leaf, endorsement, index, path, checkpoint}, in which nothing has been checked. */
export function parseProof(text) {
  if (new TextEncoder().encode(text).length > MAX_TEXT) throw new Refused("too_long");
  const split = text.indexOf("\n\n");
  if (split < 0) throw new Refused("no_checkpoint");
  const [header, extra, index, ...hashes] = text.slice(0, split).split("\n");
  if (header !== HEADER) throw new Refused("header");
  if (!extra?.startsWith("extra ")) throw new Refused("extra_line");
  const content = readExtra(fromBase64(extra.slice(6), "extra_line"));
  const number = index?.startsWith("index ") ? decimal(index.slice(6)) : undefined;
  if (number === undefined) throw new Refused("index_line");
  const path = hashes.map((hash) => fromBase64(hash, "path"));
  if (path.length > MAX_PATH || path.some((hash) => hash.length !== 32)) throw new Refused("path");
  const checkpoint = text.slice(split + 2);
  parseCheckpoint(parseNote(checkpoint).text);
  return { ...content, index: number, path, checkpoint };
}

function readExtra(bytes) {
  const reader = new Reader(bytes);
  if (reader.u8() !== 1) throw new Refused("value", "unknown version");
  const leaf = reader.prefixed16(0xffff);
  if (!leaf.length) throw new Refused("value", "no leaf");
  const endorsement = reader.prefixed16(MAX_ENDORSEMENT);
  reader.finish();
  return { leaf, endorsement: endorsement.length ? endorsement : null };
}

/** Throws unless the proof holds; then says what it proves of a file whose hashes are `files` ({kind, hash}). */
export async function verifyProof(text, files, trust) {
  const proof = parseProof(text);
  const checkpoint = await verifyCheckpoint(proof.checkpoint, trust);
  await checkInclusion(await leafHash(proof.leaf), proof.index, checkpoint.size, proof.path, checkpoint.root);
  const record = readRecord(proof.leaf);
  if (proof.endorsement && record.endorsement_hash !== toHex(await sha256(proof.endorsement))) {
    throw new Refused("endorsement");
  }
  const names = namesOf(record, trust.network);
  const endorsement = await endorsementOf(record, proof.endorsement, trust.network);
  const entry = bestEntry(record.entries, files);
  if (!entry) return { match: "other_file", tx_id: proof.index };
  return {
    match: entry.kind,
    tx_id: proof.index,
    image_hash: entry.hash,
    level: entry.level,
    parent: parentHash(record.entries, entry),
    recorded_at: record.minute * 60,
    assurance: ASSURANCE[record.assurance],
    ...endorsement,
    ...names,
    checkpoint_size: checkpoint.size,
    checkpoint_time: checkpoint.time,
    cosigners: checkpoint.cosigners,
  };
}

function readRecord(bytes) {
  let leaf;
  try {
    leaf = decodeLeaf(bytes);
  } catch (error) {
    throw new Refused("leaf", error.message);
  }
  if (leaf.type !== 1 && leaf.type !== 2) throw new Refused("not_a_record");
  return leaf;
}

/** What is known of the authority's signature; without it, or without a network file, the validators' word. */
async function endorsementOf(record, endorsement, network) {
  if (record.endorsement_hash === null) return { endorsement: "none", endorsement_key: null };
  if (!endorsement || !network) return { endorsement: "validators", endorsement_key: null };
  const authority = network.authorities.find(({ number }) => number === record.authority);
  const body = encodeBody({ ...record, authority_id: authority?.id ?? "unattested" });
  return { endorsement: "verified", endorsement_key: await checkEndorsement(network.id, authority, endorsement, body) };
}

/** A bare policy knows no names. */
function namesOf(record, network) {
  if (!network) return { authority: null, submitter: null };
  const authority = record.authority === 0 ? "unattested" : network.authorities.find(({ number }) => number === record.authority)?.id;
  if (authority === undefined) throw new Refused("unknown_authority");
  const submitter = network.submitters.find(({ number }) => number === record.submitter)?.name ?? null;
  return { authority, submitter };
}

/** The file's own bytes before its picture data; among equals the record's first. */
function bestEntry(entries, files) {
  const isGiven = ({ kind, hash }) => files.some((file) => file.kind === kind && file.hash === hash);
  return ["file", "image_data"].map((kind) => entries.find((entry) => entry.kind === kind && isGiven(entry))).find(Boolean);
}
