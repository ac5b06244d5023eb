// The network file: which network, its validators by epoch, authorities, submitters. PROTOCOL.md section 1.
//   {"network": "<base64 of the document>", "signatures": [{"key": "<hex>", "signature": "<hex>"}]}
//   genesis = "birthmark/genesis/v1" ‖ be16 len ‖ origin ‖ be32 minute ‖ validators
//   validators = be16 n ‖ n × (consensus key 32 ‖ log key 32 ‖ cosigning key 32), sorted
// Not for: fetching it; it never comes from the server that it is to check.

import { Reader, Refused, ascii, be16, be32, compare, concat, equal, fixedHex, fromBase64, isName, prefixed16, sha256, toHex } from "./bytes.mjs";
import { publicKey, verify } from "./ed25519.mjs";
import { parseKey } from "./endorsement.mjs";
import * as json from "./json.mjs";
import { COSIGNER, LOG, isKeyName, parseCheckpoint, parseNote, verifierKey, vkey } from "./note.mjs";
import { parsePolicy, policyText, verifyNote } from "./policy.mjs";

const DOMAIN = ascii("birthmark/genesis/v1");
const MAX_VALIDATORS = 22;
const MAX_ORIGIN = 200;
const MOST = { epochs: 2, authorities: 1024, endorsement_keys: 64, submitters: 4096, signatures: 64 };
const KEYS = ["consensus_key", "log_key", "cosigning_key"];
const utf8 = (text) => new TextEncoder().encode(text);
const refuseIf = (condition, code) => {
  if (condition) throw new Refused(code);
};

/** Validators here have three keys as bytes. */
const sorted = (validators) => [...validators].sort((a, b) => compare(a.consensus_key, b.consensus_key));
const sameKeyTwice = (validators) => {
  const keys = validators.flatMap((validator) => KEYS.map((name) => toHex(validator[name])));
  return new Set(keys).size !== keys.length;
};
const encodeValidators = (validators) =>
  concat(be16(validators.length), ...sorted(validators).flatMap((validator) => KEYS.map((name) => validator[name])));

export const encodeGenesis = ({ origin, minute, validators }) =>
  concat(DOMAIN, prefixed16(utf8(origin)), be32(minute), encodeValidators(validators));

export function decodeGenesis(bytes) {
  const reader = new Reader(bytes);
  refuseIf(!equal(reader.take(DOMAIN.length), DOMAIN), "domain");
  let origin;
  try {
    origin = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(reader.prefixed16(MAX_ORIGIN));
  } catch (error) {
    throw error instanceof Refused ? error : new Refused("key", "not UTF-8");
  }
  refuseIf(!isKeyName(origin), "key");
  const minute = reader.be32();
  const count = reader.be16();
  refuseIf(count > MAX_VALIDATORS, "count");
  const key = () => publicKey(reader.take(32));
  const validators = Array.from({ length: count }, () => ({ consensus_key: key(), log_key: key(), cosigning_key: key() }));
  reader.finish();
  refuseIf(count === 0, "count");
  const inOrder = sorted(validators).every((validator, at) => validator === validators[at]);
  refuseIf(!inOrder || sameKeyTwice(validators), "order");
  return { origin, minute, validators };
}

export const validatorSetHash = (epoch, validators) =>
  sha256(ascii("birthmark/validators/v1"), be32(epoch), encodeValidators(validators));

export const quorumSize = (n) => n - Math.floor((n - 1) / 3);

/** The policy text that follows from validators. */
export async function policyOf(origin, validators) {
  const [logs, witnesses, names] = [[], [], []];
  for (const { consensus_key, log_key, cosigning_key } of sorted(validators)) {
    const short = toHex(consensus_key.slice(0, 8));
    names.push(`validator-${short}`);
    logs.push(`log ${vkey(await verifierKey(origin, LOG, log_key))}\n`);
    const cosigner = await verifierKey(`${origin}/validator/${short}`, COSIGNER, cosigning_key);
    witnesses.push(`witness validator-${short} ${vkey(cosigner)}\n`);
  }
  return [...logs, ...witnesses, `group validators ${quorumSize(names.length)} ${names.join(" ")}\n`, "quorum validators\n"].join("");
}

/** The checked file: {id, origin, epochs: [{number, validators, policy, last}], authorities, submitters, maxAge}. */
export async function parseNetwork(text) {
  const file = read(text, "file");
  const encoded = json.field(file, "network", "string", { code: "file" });
  const signatures = json.field(file, "signatures", "array", { code: "file" }).map((entry) => ({
    key: keyField(entry, "key", "file"),
    signature: fixedHex(json.field(entry, "signature", "string", { code: "file" }), 64, "file"),
  }));
  const bytes = fromBase64(encoded, "base64");
  let decoded;
  try {
    decoded = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refused("document");
  }
  const document = readDocument(read(decoded, "document"));
  refuseIf(document.version !== 1, "version");
  const genesisBytes = fromBase64(document.genesis, "base64");
  const genesis = attempt("genesis", () => decodeGenesis(genesisBytes));
  refuseIf(document.origin !== genesis.origin, "contradicts_genesis");
  const epochs = await checkEpochs(document.epochs, genesis);
  const authorities = await readKeys(document.authorities);
  checkAuthorities(authorities);
  checkUnique(document.submitters, ({ number }) => number, ({ name }) => name, ({ key }) => toHex(key));
  await checkSignatures(bytes, signatures, epochs);
  const { origin, submitters, maxAge } = document;
  return { id: await sha256(genesisBytes), origin, epochs, authorities, submitters, maxAge };
}

function attempt(code, make) {
  try {
    return make();
  } catch {
    throw new Refused(code);
  }
}

const read = (text, code) => attempt(code, () => json.parse(text));

function keyField(object, name, code) {
  return publicKey(fixedHex(json.field(object, name, "string", { code }), 32, code), code);
}

function readDocument(document) {
  const code = "document";
  const get = (object, name, type, optional = false) => json.field(object, name, type, { optional, code });
  const small = (object, name, bits) => {
    const value = get(object, name, "integer");
    refuseIf(value >= 2 ** bits, code);
    return value;
  };
  const name = (object, field) => {
    const text = get(object, field, "string");
    refuseIf(!isName(text), code);
    return text;
  };
  const list = (object, field, optional) => {
    const items = get(object, field, "array", optional) ?? [];
    refuseIf(items.length > MOST[field], "list_length");
    return items;
  };
  const validator = (entry) => {
    const address = get(entry, "p2p_address", "string", true);
    refuseIf(address === "" || utf8(address ?? "").length > 255, "list_length");
    return Object.fromEntries(KEYS.map((key) => [key, keyField(entry, key, code)]));
  };
  const epoch = (entry) => ({
    number: small(entry, "epoch", 32),
    firstHeight: BigInt(get(entry, "first_height", "integer", true) ?? 0),
    policy: get(entry, "policy", "string"),
    validators: get(entry, "validators", "array").map(validator),
    lastSize: get(entry, "last_size", "integer", true),
    lastRoot: get(entry, "last_root", "string", true),
  });
  const endorsementKey = (entry) => {
    refuseIf(!["current", "previous", "retired", "revoked"].includes(get(entry, "state", "string")), code);
    const spki = fromBase64(get(entry, "spki", "string"), code);
    return { keyId: fixedHex(get(entry, "key_id", "string"), 8, code), spki, state: entry.state };
  };
  const authority = (entry) => {
    const least = get(get(entry, "rules", "object", true) ?? {}, "min_token_version", "integer", true) ?? 1;
    refuseIf(least !== 1 && least !== 2, code);
    const keys = list(entry, "endorsement_keys", true).map(endorsementKey);
    fixedHex(get(entry, "token_key", "string", true) ?? "00".repeat(32), 32, code);
    return { number: small(entry, "number", 16), id: name(entry, "id"), endorsementKeys: keys };
  };
  const submitter = (entry) => ({ number: small(entry, "number", 16), name: name(entry, "name"), key: keyField(entry, "key", code) });
  return {
    version: get(document, "version", "integer"),
    genesis: get(document, "genesis", "string"),
    origin: get(document, "origin", "string"),
    epochs: list(document, "epochs").map(epoch),
    authorities: list(document, "authorities").map(authority),
    submitters: list(document, "submitters").map(submitter),
    maxAge: get(document, "max_age", "integer", true) ?? 300,
  };
}

async function checkEpochs(list, genesis) {
  refuseIf(list.length === 0, "list_length");
  const epochs = [];
  for (const [at, entry] of list.entries()) {
    const current = at + 1 === list.length;
    refuseIf(entry.validators.length < 1 || entry.validators.length > MAX_VALIDATORS, "list_length");
    refuseIf(sameKeyTwice(entry.validators), "validator_key_twice");
    let policy;
    try {
      policy = await parsePolicy(entry.policy);
    } catch {
      throw new Refused("policy");
    }
    refuseIf(policyText(policy) !== (await policyOf(genesis.origin, entry.validators)), "policy_mismatch");
    const hasEnd = entry.lastSize !== null;
    refuseIf(hasEnd !== (entry.lastRoot !== null) || hasEnd === current, "epoch_end");
    const last = hasEnd ? { size: BigInt(entry.lastSize), root: fixedHex(entry.lastRoot, 32, "document") } : null;
    const before = epochs.at(-1);
    const rises = before
      ? entry.firstHeight > before.firstHeight && (!last || last.size > before.last.size)
      : entry.firstHeight === 0n;
    refuseIf(entry.number !== at || !rises, "epoch_order");
    epochs.push({ number: at, firstHeight: entry.firstHeight, validators: entry.validators, policy, last });
  }
  const first = encodeValidators(epochs[0].validators);
  refuseIf(!equal(first, encodeValidators(genesis.validators)), "contradicts_genesis");
  return epochs;
}

/** The endorsement keys ready to check with. */
async function readKeys(authorities) {
  const ready = async ({ keyId, spki, state }) => {
    const key = await parseKey(spki);
    refuseIf(!equal(keyId, key.keyId), "endorsement_key_id");
    return { ...key, state };
  };
  const all = async (authority) => ({ ...authority, endorsementKeys: await Promise.all(authority.endorsementKeys.map(ready)) });
  return Promise.all(authorities.map(all));
}

function checkAuthorities(authorities) {
  refuseIf(authorities.some(({ number, id }) => number === 0 || id === "unattested"), "reserved_authority");
  checkUnique(authorities, ({ number }) => number, ({ id }) => id);
  checkUnique(authorities.flatMap(({ endorsementKeys }) => endorsementKeys), ({ keyId }) => toHex(keyId));
  const several = ({ endorsementKeys }) => endorsementKeys.filter(({ state }) => state === "current").length > 1;
  refuseIf(authorities.some(several), "several_current_keys");
}

function checkUnique(list, ...properties) {
  for (const property of properties) refuseIf(new Set(list.map(property)).size !== list.length, "duplicate");
}

/** All validators of the first epoch, later a quorum of the epoch before the current one, by their log keys. */
async function checkSignatures(document, signatures, epochs) {
  refuseIf(signatures.length === 0 || signatures.length > MOST.signatures, "list_length");
  const { validators } = epochs.at(-2) ?? epochs[0];
  const needed = epochs.length === 1 ? validators.length : quorumSize(validators.length);
  const message = concat(ascii("birthmark/network/v1"), document);
  const counted = signatures.filter(({ key }) => validators.some(({ log_key }) => equal(log_key, key)));
  for (const { key, signature } of counted) refuseIf(!(await verify(key, message, signature)), "bad_signature");
  checkUnique(counted, ({ key }) => toHex(key));
  refuseIf(counted.length < needed, "too_few_signatures");
}

/** The epoch whose validators sign checkpoints of this size. */
export const epochForSize = ({ epochs }, size) => epochs.find(({ last }) => last === null || size <= last.size);

/** What a verifier believes in: a network file, or a bare policy. */
export async function parseTrust(text) {
  return text.trimStart().startsWith("{") ? { network: await parseNetwork(text) } : { policy: await parsePolicy(text) };
}

/** Throws unless the checkpoint is accepted. */
export async function verifyCheckpoint(note, { network, policy }) {
  if (policy) return verifyNote(note, policy);
  const { origin, size } = parseCheckpoint(parseNote(note).text);
  refuseIf(origin !== network.origin, "other_origin");
  const epoch = epochForSize(network, size);
  const verified = await verifyNote(note, epoch.policy);
  refuseIf(epoch.last?.size === size && !equal(epoch.last.root, verified.root), "epoch_end");
  return verified;
}
