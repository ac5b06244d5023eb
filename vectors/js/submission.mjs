// What a camera or an editor submits, in all forms that are accepted. PROTOCOL.md section 2.
//   idempotency key = SHA-256("birthmark/submit/v1" ‖ body ‖ be16 table ‖ be16 index ‖ nonce ‖ be16 len ‖ ciphertext ‖ auth_tag
//                             ‖ [enc ‖ key_id ‖ be16 len ‖ blinded_message ‖ inverse])
// Not for: whether token, authority or parents are known.

import { Refused, ascii, be16, concat, fixedHex, fromHex, isName, prefixed16, sha256, toHex } from "./bytes.mjs";
import { checkEntries, encodeBody } from "./body.mjs";
import { field, parse } from "./json.mjs";

const V2_CIPHERTEXT = 56;

/** {body, idempotencyKey, claimedTime} with the body's bytes; software has neither key nor claim. */
export async function readSubmission(text) {
  const json = typed(parse(text));
  const claimedTime = checkTime(json.timestamp);
  if (!["camera", "software"].includes(json.type)) throw new Refused("type");
  const entries = readEntries(json.images);
  const [owner_hash, gps_hash] = [json.owner, json.gps].map((hash) => hash && toHex(fixedHex(hash, 32, "commitment")));
  checkEntries(entries);
  if (!json.cert) throw new Refused("no_authority");
  if (!isName(json.cert.authorityId)) throw new Refused("authority");
  if (json.token && json.cert.token) throw new Refused("one_token");
  const token = json.token ?? json.cert.token;
  const body = encodeBody({ authority_id: json.cert.authorityId, entries, owner_hash, gps_hash });
  if (json.type === "software") {
    if (entries.some(({ level, parent }) => level !== 2 || parent === null)) throw new Refused("edit_shape");
    if (token) throw new Refused("token_with_software");
    return { body, idempotencyKey: null, claimedTime: null };
  }
  checkCapture(entries);
  if (!token) throw new Refused("one_token");
  const sealed = readToken(token, json.cert.reference);
  const idempotencyKey = await sha256(ascii("birthmark/submit/v1"), body, sealed);
  return { body, idempotencyKey, claimedTime };
}

/** The fields by their types, before what they say is looked at. */
function typed(json) {
  const optional = { optional: true };
  const token = (value) => value && {
    ciphertext: field(value, "ciphertext", "string"),
    authTag: field(value, "auth_tag", "string", optional),
    nonce: field(value, "nonce", "string"),
    ...numbers(value, optional),
    binding: binding(field(value, "binding", "object", optional)),
  };
  const numbers = (value, how) => ({ table: field(value, "table_id", "integer", how), index: field(value, "key_index", "integer", how) });
  const binding = (value) => value && ["enc", "key_id", "blinded_message", "inverse"].map((name) => field(value, name, "string"));
  const reference = (value) => value && numbers(value, {});
  const cert = (value) => value && {
    authorityId: field(value, "authority_id", "string"),
    endpoint: field(value, "validation_endpoint", "string", optional),
    token: token(field(value, "camera_token", "object", optional)),
    reference: reference(field(value, "key_reference", "object", optional)),
  };
  const image = (value) => ({
    hash: field(value, "image_hash", "string"),
    level: field(value, "modification_level", "integer"),
    parent: field(value, "parent_image_hash", "string", optional),
    kind: field(value, "kind", "string", optional),
  });
  return {
    type: field(json, "submission_type", "string"),
    images: field(json, "image_hashes", "array").map(image),
    token: token(field(json, "camera_token", "object", optional)),
    cert: cert(field(json, "manufacturer_cert", "object", optional)),
    timestamp: field(json, "timestamp", "integer", optional),
    owner: field(json, "owner_hash", "string", optional),
    gps: field(json, "gps_hash", "string", optional),
  };
}

function checkTime(seconds) {
  if (seconds === null) return null;
  if (seconds >= 1e12 && seconds < 5e12) throw new Refused("milliseconds");
  if (seconds < 1 || seconds >= 2 ** 32) throw new Refused("timestamp");
  return seconds;
}

function readEntries(images) {
  if (images.length < 1 || images.length > 8) throw new Refused("entries");
  const hashes = images.map(({ hash }) => toHex(fixedHex(hash, 32, "image")));
  return images.map(({ level, kind, parent }, at) => {
    if (level > 2 || ![null, "file", "image_data"].includes(kind)) throw new Refused("image");
    const outside = parent === null ? null : toHex(fixedHex(parent, 32, "image"));
    const number = hashes.slice(0, at).indexOf(outside) + 1;
    return { level, kind: kind ?? "file", hash: hashes[at], parent: number || outside };
  });
}

/** Raw, or raw and processed, or both again with GPS bar; then image data in the files' order. */
function checkCapture(entries) {
  const refuse = () => {
    throw new Refused("capture_shape");
  };
  const files = entries.findIndex(({ kind }) => kind !== "file");
  const count = files < 0 ? entries.length : files;
  if (![1, 2, 4].includes(count)) refuse();
  entries.slice(0, count).forEach(({ level, parent }, at) => {
    const fits = at % 2 === 0 ? level === 0 && parent === null : level === 1 && parent === at;
    if (!fits) refuse();
  });
  let lastRaw = 1;
  for (const { kind, level, parent } of entries.slice(count)) {
    const ofRaw = typeof parent === "number" && parent % 2 === 1 && parent <= count && parent >= lastRaw;
    if (kind !== "image_data" || level !== 1 || !ofRaw) refuse();
    lastRaw = parent;
  }
}

/** The token's part of the idempotency key. */
function readToken(token, reference) {
  const refuse = (why) => {
    throw new Refused("token", why);
  };
  const number = (own, referred, most) => {
    if (own !== null && referred !== null && own !== referred) refuse("numbers that contradict each other");
    const value = own ?? referred;
    if (value === null || value > most) refuse("a number out of range");
    return be16(value);
  };
  let ciphertext = fromHex(token.ciphertext, "token");
  let tag;
  if (token.authTag === null) {
    if (ciphertext.length < 16) refuse("no tag");
    [ciphertext, tag] = [ciphertext.slice(0, -16), ciphertext.slice(-16)];
  } else {
    tag = fixedHex(token.authTag, 16, "token");
  }
  if (ciphertext.length < 1 || ciphertext.length > 128) refuse("ciphertext");
  const table = number(token.table, reference?.table ?? null, 2499);
  const index = number(token.index, reference?.index ?? null, 999);
  const nonce = fixedHex(token.nonce, 12, "token");
  if ((token.binding !== null) !== (ciphertext.length === V2_CIPHERTEXT)) refuse("binding");
  return concat(table, index, nonce, prefixed16(ciphertext), tag, token.binding ? readBinding(token.binding) : new Uint8Array(0));
}

function readBinding([enc, keyId, message, inverse]) {
  const [blinded, unblind] = [fromHex(message, "token"), fromHex(inverse, "token")];
  if (blinded.length < 256 || blinded.length > 512 || unblind.length !== blinded.length) throw new Refused("token", "modulus");
  return concat(fixedHex(enc, 32, "token"), fixedHex(keyId, 8, "token"), prefixed16(blinded), unblind);
}
