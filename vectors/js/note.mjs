// Signed notes, verifier keys and checkpoints: C2SP signed-note, tlog-checkpoint, tlog-cosignature. PROTOCOL.md section 8.
//   <origin>\n<size>\n<root, base64>\n
//   \n
//   — <key name> base64(be32 key id ‖ signature)\n …
//   vkey = <key name>+<8 hex digits of key id>+base64(type ‖ public key); types 1 log, 4 cosigner
// Not for: whose signatures suffice (policy). Text is a string without unpaired surrogates.

import { Reader, Refused, ascii, compare, concat, decimal, fixedHex, fromBase64, sha256, toBase64, toHex, u8 } from "./bytes.mjs";
import { publicKey, verify } from "./ed25519.mjs";

export const LOG = 1;
export const COSIGNER = 4;
const utf8 = (text) => new TextEncoder().encode(text);
const DASH = "\u2014 ";
const MAX_NOTE = 64 * 1024;
const MAX_LINES = 64;
const MAX_SIGNATURE = 8 * 1024;

/** Key names: no white space, no control characters, no plus. */
export function isKeyName(text) {
  return !/[\p{White_Space}\p{Cc}+]/u.test(text) && text.length > 0 && utf8(text).length <= 255;
}

/** A key with the name and type under which it signs. */
export async function verifierKey(name, type, key) {
  if (!isKeyName(name)) throw new Refused("key", "not a key name");
  publicKey(key);
  const id = (await sha256(utf8(name), ascii("\n"), u8(type), key)).slice(0, 4);
  return { name, type, key, id: toHex(id) };
}

export const vkey = ({ name, id, type, key }) => `${name}+${id}+${toBase64(concat(u8(type), key))}`;

export async function parseVkey(text) {
  const parts = /^([^+]*)\+([^+]*)\+(.*)$/s.exec(text);
  if (!parts) throw new Refused("key", "malformed verifier key");
  const id = toHex(fixedHex(parts[2], 4, "key"));
  const material = fromBase64(parts[3], "key");
  if (![LOG, COSIGNER].includes(material[0])) throw new Refused("key", "unknown signature type");
  const key = await verifierKey(parts[1], material[0], material.slice(1));
  if (key.id !== id) throw new Refused("key", "the key id of another key");
  return key;
}

/** {text, lines: [{name, id, signature}]}, in which nothing has been checked. */
export function parseNote(note) {
  const refuse = (why) => {
    throw new Refused("note", why);
  };
  if (utf8(note).length > MAX_NOTE) refuse("too long");
  if (/[\u0000-\u0009\u000b-\u001f]/.test(note)) refuse("control character");
  const split = note.lastIndexOf("\n\n");
  if (split < 1 || !note.endsWith("\n") || split + 2 === note.length) refuse("no text and signatures");
  const lines = note.slice(split + 2, -1).split("\n");
  if (lines.length > MAX_LINES) refuse("too many lines");
  return { text: note.slice(0, split + 1), lines: lines.map(parseLine) };
}

function parseLine(line) {
  const parts = new RegExp(`^${DASH}([^ ]+) ([^ ]+)$`).exec(line);
  if (!parts || !isKeyName(parts[1])) throw new Refused("note", "malformed line");
  const value = fromBase64(parts[2], "note");
  if (value.length < 5 || value.length > MAX_SIGNATURE) throw new Refused("note", "a signature's length");
  return { name: parts[1], id: toHex(value.slice(0, 4)), signature: value.slice(4) };
}

/** {origin, size, root}: three lines and no more. */
export function parseCheckpoint(text) {
  const lines = text.split("\n");
  const [origin, digits, root64, end] = lines;
  const size = decimal(digits);
  if (lines.length !== 4 || end !== "" || !isKeyName(origin) || size === undefined) throw new Refused("malformed");
  const root = fromBase64(root64, "malformed");
  if (root.length !== 32) throw new Refused("malformed");
  return { origin, size, root };
}

export const isNamedBy = (line, key) => line.name === key.name && line.id === key.id;

/** What a cosigner signs. */
export const cosignedMessage = (text, time) => utf8(`cosignature/v1\ntime ${time}\n${text}`);

/** Throws unless the line is the key's signature over the text; gives a cosigner's time in seconds. */
export async function checkLine(key, text, { signature }) {
  const bad = new Refused("bad_signature");
  if (key.type === LOG) {
    if (!(await verify(key.key, utf8(text), signature))) throw bad;
    return null;
  }
  if (signature.length !== 8 + 64) throw bad;
  const time = new Reader(signature).big(8);
  if (time >> 63n || !(await verify(key.key, cosignedMessage(text, time), signature.slice(8)))) throw bad;
  return time;
}

/** A signature line as text. */
export const lineText = (key, signature) => `${DASH}${key.name} ${toBase64(concat(fixedHex(key.id, 4), signature))}`;

export const byName = (a, b) => compare(utf8(a), utf8(b));
