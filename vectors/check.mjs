// Checks every vector file with the modules in js/. Run: node vectors/check.mjs
// Prints one line a file and "N passed, M failed"; exits 1 on a mismatch. No packages are needed.

import { readFileSync } from "node:fs";
import { verifyAbsence } from "./js/absence.mjs";
import * as act from "./js/act.mjs";
import * as bytes from "./js/bytes.mjs";
import * as batch from "./js/batch.mjs";
import * as body from "./js/body.mjs";
import * as ed25519 from "./js/ed25519.mjs";
import * as endorsement from "./js/endorsement.mjs";
import * as hpke from "./js/hpke.mjs";
import { encodeValue, indexKey } from "./js/index.mjs";
import { imageDataHash } from "./js/jpeg.mjs";
import * as json from "./js/json.mjs";
import * as leaf from "./js/leaf.mjs";
import * as merkle from "./js/merkle.mjs";
import * as network from "./js/network.mjs";
import * as note from "./js/note.mjs";
import * as policy from "./js/policy.mjs";
import { verifyProof } from "./js/proof.mjs";
import { readSubmission } from "./js/submission.mjs";
import * as token from "./js/token.mjs";
import * as tokenV2 from "./js/token-v2.mjs";
import { checkAbsent, checkPresent, triePath, trieRoot } from "./js/trie.mjs";

const { Refused, fixedHex, fromBase64, fromHex, toHex } = bytes;

/** Text of a value with its keys sorted; a BigInt looks like the number that it is. */
const plain = (value) =>
  JSON.stringify(value, (_, v) => {
    if (typeof v === "bigint") return v <= Number.MAX_SAFE_INTEGER ? Number(v) : String(v);
    if (v instanceof Uint8Array) return toHex(v);
    return v && typeof v === "object" && !Array.isArray(v) ? Object.fromEntries(Object.entries(v).sort()) : v;
  });

function same(what, got, expected) {
  if (plain(got) !== plain(expected)) throw new Error(`${what}: got ${plain(got)}, expected ${plain(expected)}`);
}

/** The code with which `make` refuses. */
async function refusal(make) {
  try {
    await make();
  } catch (error) {
    if (error instanceof Refused) return error.code;
    throw error;
  }
  return "accepted";
}

const refused = (make) => async (c, file) => same("refusal", await refusal(() => make(c, file)), c.reason);

async function checkToken(c) {
  const [key, nonce, nuc] = [c.table_key, c.nonce, c.nuc_hash].map((hex) => fromHex(hex));
  same("info", token.info(c.key_index), c.hkdf_info);
  same("key", await token.useKey(key, c.key_index), c.key);
  const sealed = await token.seal(key, c.key_index, nonce, nuc);
  same("sealed", sealed, { ciphertext: c.ciphertext, authTag: c.auth_tag });
  same("opened", await token.open(key, c.key_index, nonce, sealed), nuc);
  sealed.authTag[0] ^= 1;
  same("forged", await refusal(() => token.open(key, c.key_index, nonce, sealed)), "forged");
}

async function checkHpke(c) {
  same("suite", [c.mode, c.kem_id, c.kdf_id, c.aead_id], [1, 0x20, 1, 2]);
  const [first] = c.encryptions;
  const [info, psk, pskId, aad, ct] = [c.info, c.psk, c.psk_id, first.aad, first.ct].map((hex) => fromHex(hex));
  const recipient = await hpke.deriveKeyPair(fromHex(c.ikmR));
  same("recipient", recipient, { secret: c.skRm, public: c.pkRm });
  const sealed = await hpke.seal(fromHex(c.ikmE), recipient.public, { info, psk, pskId, aad }, fromHex(first.pt));
  same("sealed", sealed, { enc: c.enc, sealed: first.ct });
  same("opened", await hpke.open(recipient, fromHex(c.enc), { info, psk, pskId, aad }, ct), first.pt);
}

/** What a version 2 token is bound to, and what of it travels. */
const boundTo = (c) => ({
  networkId: fixedHex(c.network_id, 32),
  tableId: c.table_id,
  keyIndex: c.key_index,
  keyId: fixedHex(c.key_id, 8),
  blindedMessage: fromHex(c.blinded_message),
  nonce: fixedHex(c.nonce, 12),
});
const openToken = (c) =>
  tokenV2.open(fixedHex(c.token_seed, 32), fixedHex(c.table_key, 32), boundTo(c), {
    enc: fixedHex(c.enc, 32),
    ciphertext: fromHex(c.ciphertext),
    authTag: fixedHex(c.auth_tag, 16),
  });

async function checkTokenV2(c) {
  const [tokenKey, tableKey, nucHash, deviceKey] = [c.token_key, c.table_key, c.nuc_hash, c.device_key].map((hex) => fixedHex(hex, 32));
  same("token key", (await hpke.deriveKeyPair(fixedHex(c.token_seed, 32))).public, tokenKey);
  same("commitment", await endorsement.commitment(fixedHex(c.key_id, 8), fromHex(c.blinded_message)), c.commitment);
  const secrets = { nucHash, counter: BigInt(c.counter), deviceKey };
  const sealed = await tokenV2.seal(tokenKey, tableKey, boundTo(c), fixedHex(c.ephemeral_ikm, 32), secrets);
  same("sealed", sealed, { enc: c.enc, ciphertext: c.ciphertext, authTag: c.auth_tag });
  const opened = await openToken(c);
  same("opened", [opened.nucHash, String(opened.counter)], [c.nuc_hash, c.counter]);
  same("is from", await opened.isFrom(deviceKey), true);
}

async function checkImpostor(c) {
  const opened = await openToken(c);
  same("is from", await opened.isFrom(fixedHex(c.device_key, 32)), false);
}

async function checkInclusion(c) {
  const check = async () => {
    const [hash, root, ...path] = [c.leafHash, c.root, ...(c.proof ?? [])].map((text) => fromBase64(text));
    await merkle.checkInclusion(hash, BigInt(c.leafIdx), BigInt(c.treeSize), path, root);
  };
  same("fails", (await refusal(check)) !== "accepted", c.wantErr);
}

async function checkConsistency(c) {
  const check = async () => {
    const [old, root, ...path] = [c.root1, c.root2, ...(c.proof ?? [])].map((text) => fromBase64(text));
    await merkle.checkConsistency(BigInt(c.size1), BigInt(c.size2), path, old, root);
  };
  same("fails", (await refusal(check)) !== "accepted", c.wantErr);
}

async function checkSubmission(c) {
  const read = await readSubmission(c.text);
  same("submission", read, { body: c.body, idempotencyKey: c.idempotency_key, claimedTime: c.claimed_time });
}

async function checkBody(c) {
  const encoded = body.encodeBody(c);
  same("body", encoded, c.body);
  same("digest", await bytes.sha256(encoded), c.digest);
  same("again", body.encodeBody(body.decodeBody(encoded)), c.body);
}

async function checkBatch(c) {
  const transactions = c.transactions.map((t) => ({
    assurance: t.assurance,
    endorsement: fromHex(t.endorsement),
    body: body.encodeBody(t),
  }));
  const digests = await Promise.all(transactions.map(batch.digest));
  same("digests", digests, c.digests);
  const message = batch.signedMessage(fixedHex(c.network_id, 32), c.submitter, digests);
  same("message", message, c.message);
  const signature = await ed25519.sign(fixedHex(c.seed, 32), message);
  same("signature", signature, c.signature);
  same("verifies", await ed25519.verify(fromHex(c.key), message, signature), true);
  same("wire", batch.encodeWire(c.submitter, transactions, signature), c.wire);
  same("block", batch.encodeInBlock(c.submitter, transactions, digests, c.omitted, signature), c.block);
  same("decoded", batch.decodeWire(fromHex(c.wire)), { submitter: c.submitter, transactions, signature });
}

async function checkForged(c) {
  const { submitter, transactions, signature } = batch.decodeWire(fromHex(c.wire));
  const digests = await Promise.all(transactions.map(batch.digest));
  const message = batch.signedMessage(fixedHex(c.network_id, 32), submitter, digests);
  same("verifies", await ed25519.verify(fromHex(c.key), message, signature), false);
}

async function checkLeaf(c) {
  const encoded = leaf.encodeLeaf(c);
  same("leaf", encoded, c.leaf);
  same("leaf hash", await merkle.leafHash(encoded), c.leaf_hash);
  const { name, leaf: _, leaf_hash, ...fields } = c;
  same("decoded", leaf.decodeLeaf(encoded), fields);
}

async function checkIndexKey(c) {
  same("key", await indexKey(fixedHex(c.image_hash, 32)), c.key);
}

async function checkIndexValue(c) {
  same("value", encodeValue(c.records), c.value);
  same("value hash", await bytes.sha256(fromHex(c.value)), c.value_hash);
}

async function checkTriePath(path, root) {
  const [key, ...siblings] = [path.key, ...path.siblings].map((hex) => fixedHex(hex, 32));
  if (path.value_hash) return checkPresent(key, fixedHex(path.value_hash, 32), siblings, root);
  const other = path.other && { key: fixedHex(path.other.key, 32), valueHash: fixedHex(path.other.value_hash, 32) };
  return checkAbsent(key, siblings, other, root);
}

async function checkTrie(c) {
  const leaf = async ({ key, value }) => ({ key: fixedHex(key, 32), valueHash: await bytes.sha256(fromHex(value)) });
  const leaves = await Promise.all(c.records.map(leaf));
  same("root", await trieRoot(leaves), c.root);
  for (const path of c.paths) {
    await checkTriePath(path, fixedHex(c.root, 32));
    const { siblings, at } = await triePath(leaves, fixedHex(path.key, 32));
    same("siblings", siblings, path.siblings);
    const end = at && { key: toHex(at.key), value_hash: toHex(at.valueHash) };
    same("end", end?.key === path.key ? end.value_hash : (end ?? null), path.value_hash ?? path.other);
  }
}

async function checkGenesis(c) {
  const keys = (v) => Object.fromEntries(Object.entries(v).map(([name, hex]) => [name, fixedHex(hex, 32)]));
  const validators = c.validators.map(keys);
  const encoded = network.encodeGenesis({ ...c, validators });
  same("genesis", encoded, c.genesis);
  same("network_id", await bytes.sha256(encoded), c.network_id);
  for (const { epoch, hash } of c.validator_set_hashes) {
    same(`validator set of epoch ${epoch}`, await network.validatorSetHash(epoch, validators), hash);
  }
  same("again", network.encodeGenesis(network.decodeGenesis(encoded)), c.genesis);
}

async function checkNetwork(c) {
  const read = await network.parseNetwork(c.file);
  const epochs = await Promise.all(
    read.epochs.map(async ({ number, validators, policy: rules }) => ({
      epoch: number,
      validator_set_hash: await network.validatorSetHash(number, validators),
      policy: policy.policyText(rules),
    })),
  );
  same("id, origin, age", [read.id, read.origin, read.maxAge], [c.network_id, c.origin, c.max_age]);
  same("epochs", epochs, c.epochs);
  same("authorities", read.authorities.map(({ number, id }) => [number, id]), c.authorities);
  for (const [size, epoch] of c.epoch_for_size) same(`size ${size}`, network.epochForSize(read, BigInt(size)).number, epoch);
}

async function checkPolicy(c) {
  const read = await policy.parsePolicy(c.policy);
  same("canonical", policy.policyText(read), c.canonical);
  same("again", policy.policyText(await policy.parsePolicy(c.canonical)), c.canonical);
  same("counting", policy.counting(read), c.counting);
  const sets = Array.from({ length: 2 ** c.witnesses.length }, (_, set) => set);
  const cosigned = (set) => new Set(c.witnesses.filter((_, at) => set & (1 << at)));
  same("enough", sets.filter((set) => policy.isSatisfied(read, cosigned(set))), c.enough);
}

async function checkSigner(c) {
  const key = await note.verifierKey(c.key_name, c.type, fixedHex(c.public_key, 32));
  same("vkey", note.vkey(key), c.vkey);
  same("vkey read", await note.parseVkey(c.vkey), key);
  const message = c.type === note.LOG ? bytes.ascii(c.text) : note.cosignedMessage(c.text, c.time);
  const bare = await ed25519.sign(fixedHex(c.seed, 32), message);
  const signature = c.type === note.LOG ? bare : bytes.concat(bytes.be64(c.time), bare);
  same("line", note.lineText(key, signature), c.line);
}

const trustOf = (c, file) => network.parseTrust(file.trust[c.trust]);

async function checkCheckpoint(c, file) {
  const { root, size, ...read } = await network.verifyCheckpoint(c.note, await trustOf(c, file));
  const { origin, time, cosigners } = c;
  same("checkpoint", read, { origin, time, cosigners });
  same("tree", [String(size), bytes.toBase64(root)], [c.size, c.root]);
}

async function checkProof(c, file) {
  same("verdict", await verifyProof(c.proof, c.files, await trustOf(c, file)), c.verdict);
}

const judgeAbsence = async (c, file) => verifyAbsence(c.absence, await trustOf(c, file), BigInt(c.now));

async function checkAbsence(c, file) {
  same("says", await judgeAbsence(c, file), c.says);
}

async function checkEndorsement(c) {
  const key = await endorsement.parseKey(fromHex(c.spki));
  same("key", [key.keyId, key.modulus.length], [c.key_id, c.modulus_len]);
  const [body, network] = [fromHex(c.body), fixedHex(c.network_id, 32)];
  const digest = await endorsement.captureDigest(network, key.keyId, body);
  same("digest", digest, c.digest);
  same("commitment", await endorsement.commitment(key.keyId, fromHex(c.blinded_message)), c.commitment);
  same("endorsement", await endorsement.finish(key, digest, exchanged(c)), c.endorsement);
  const authority = { endorsementKeys: [{ ...key, state: "current" }] };
  same("checks", await endorsement.checkEndorsement(network, authority, fromHex(c.endorsement), body), "current");
}

/** What passes between camera, authority and aggregator. */
const exchanged = (c) => ({
  blindedMessage: fromHex(c.blinded_message),
  inverse: fromHex(c.inverse),
  blindSignature: fromHex(c.blind_signature),
});

async function unfinished(c) {
  const key = await endorsement.parseKey(fromHex(c.spki));
  const digest = await endorsement.captureDigest(fixedHex(c.network_id, 32), key.keyId, fromHex(c.body));
  return endorsement.finish(key, digest, exchanged(c));
}

/** Refused as a whole, and by the engine alone whatever the key id says. */
async function checkForgedEndorsement(c) {
  const key = await endorsement.parseKey(fromHex(c.spki));
  const [network, body, bytes] = [fixedHex(c.network_id, 32), fromHex(c.body), fromHex(c.endorsement)];
  const whole = await refusal(() => endorsement.checkEndorsement(network, { endorsementKeys: [key] }, bytes, body));
  same("refused", ["bad_endorsement", "unknown_endorsement_key"].includes(whole), true);
  const digest = await endorsement.captureDigest(network, bytes.slice(0, 8), body);
  same("verifies", await endorsement.verifySignature(key, digest, bytes.slice(8)), false);
}

async function checkRfc9474(c) {
  const [n, e, message, salted] = [c.n, c.e, c.prepared_msg, c.encoded_msg].map((hex) => fromHex(hex));
  const url = (field) => bytes.toBase64(field).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const jwk = { kty: "RSA", n: url(n), e: url(e) };
  const imported = await crypto.subtle.importKey("jwk", jwk, { name: "RSA-PSS", hash: "SHA-384" }, true, ["verify"]);
  const key = await endorsement.parseKey(new Uint8Array(await crypto.subtle.exportKey("spki", imported)));
  same("modulus", key.modulus, n);
  const given = { blindedMessage: fromHex(c.blinded_msg), inverse: fromHex(c.inv), blindSignature: fromHex(c.blind_sig) };
  const finished = await endorsement.finish(key, message, given);
  same("signature", finished.slice(8), c.sig);
  same("encoded", endorsement.undo(key, fromHex(c.sig)), salted);
  same("verifies", await endorsement.verifySignature(key, message, fromHex(c.sig)), true);
  same("verifies another", await endorsement.verifySignature(key, salted, fromHex(c.sig)), false);
}

async function checkEndorsementKey(c) {
  const key = await endorsement.parseKey(fromHex(c.spki));
  same("key", [key.keyId, key.modulus.length], [c.key_id, c.modulus_len]);
  // The engine takes it too.
  same("verifies", await endorsement.verifySignature(key, new Uint8Array(32), new Uint8Array(c.modulus_len)), false);
}

async function checkImageData(c) {
  same("hash", await imageDataHash(fromHex(c.file)), c.image_data_hash);
}

async function checkAct(c) {
  const { network_id, number, previous, epoch, change } = c;
  const encoded = act.encodeAct(c);
  same("act", encoded, c.act);
  same("digest", await bytes.sha256(encoded), c.digest);
  same("decoded", act.decodeAct(encoded), { network_id, number, previous, epoch, change });
  const approved = await act.decodeApproved(fromHex(c.approved));
  same("approved act", approved.act, c.act);
  same("approvals", approved.approvers.length, 3);
  const encodedLeaf = act.encodeActLeaf(c.minute, c.height, fromHex(c.approved));
  same("leaf", encodedLeaf, c.leaf);
  same("leaf hash", await merkle.leafHash(encodedLeaf), c.leaf_hash);
}

/** The lists of each file and what is done with each of their items. */
const FILES = {
  "token-v1.json": { cases: checkToken },
  "token-v2.json": { cases: checkTokenV2, refused: refused(openToken), impostors: checkImpostor },
  "rfc9180.json": { cases: checkHpke },
  "rfc6962-inclusion.json": { cases: checkInclusion },
  "rfc6962-consistency.json": { cases: checkConsistency },
  "submission.json": { cases: checkSubmission, refused: refused((c) => readSubmission(c.text)) },
  "body.json": { cases: checkBody, refused: refused((c) => body.decodeBody(fromHex(c.body))) },
  "batch.json": { cases: checkBatch, refused: refused((c) => batch.decodeWire(fromHex(c.wire))), forged: checkForged },
  "leaf.json": { cases: checkLeaf, refused: refused((c) => leaf.decodeLeaf(fromHex(c.leaf))) },
  "act.json": { cases: checkAct, refused: refused((c) => act.decodeAct(fromHex(c.act))) },
  "index.json": { cases: checkIndexKey, values: checkIndexValue },
  "index-trie.json": { cases: checkTrie, refused: refused((c) => checkTriePath(c.path, fixedHex(c.root, 32))) },
  "genesis.json": { cases: checkGenesis, refused: refused((c) => network.decodeGenesis(fromHex(c.genesis))) },
  "network.json": { cases: checkNetwork, refused: refused((c) => network.parseNetwork(c.file)) },
  "policy.json": { cases: checkPolicy, refused: refused((c) => policy.parsePolicy(c.policy)) },
  "checkpoint.json": {
    signers: checkSigner,
    cases: checkCheckpoint,
    refused: refused(async (c, file) => network.verifyCheckpoint(c.note, await trustOf(c, file))),
  },
  "proof.json": {
    cases: checkProof,
    altered: refused(async (c, file) => verifyProof(c.proof, c.files, await trustOf(c, file))),
  },
  "endorsement.json": {
    cases: checkEndorsement,
    forged: checkForgedEndorsement,
    unfinished: refused(unfinished),
    keys: checkEndorsementKey,
    refused_keys: refused((c) => endorsement.parseKey(fromHex(c.spki))),
  },
  "rfc9474.json": { cases: checkRfc9474 },
  "absence.json": { cases: checkAbsence, altered: refused(judgeAbsence) },
  "image-data.json": { cases: checkImageData },
};

let [passed, failed] = [0, 0];
const fail = (...message) => {
  failed += 1;
  console.error("FAILED", ...message);
};

for (const [name, lists] of Object.entries(FILES)) {
  const file = json.parse(readFileSync(new URL(name, import.meta.url), "utf8"));
  const counts = [];
  for (const [list, check] of Object.entries(lists)) {
    if (!file[list]?.length) fail(`${name}: no ${list}`);
    let held = 0;
    for (const [at, item] of (file[list] ?? []).entries()) {
      try {
        await check(item, file);
        held += 1;
      } catch (error) {
        fail(`${name}: ${list}[${at}] ${item.name ?? ""}: ${error instanceof Refused ? `refused: ${error.code}, ` : ""}${error.message}`);
      }
    }
    passed += held;
    counts.push(`${held} of ${file[list]?.length ?? 0} ${list}`);
  }
  console.log(`${name}: ${counts.join(", ")}`);
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
