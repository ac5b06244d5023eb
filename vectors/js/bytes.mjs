// Bytes: hex, base64, big-endian numbers, a bounded reader, SHA-256. PROTOCOL.md section 1.
// Not for: any format of Birthmark's; those build on this. Runs in browsers and in node.

/** A refused input. `code` is the class of the cause, as the vector files name it. */
export class Refused extends Error {
  constructor(code, message = code) {
    super(message);
    this.code = code;
  }
}

export const ascii = (text) => new TextEncoder().encode(text);

export function concat(...parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

export function equal(a, b) {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

/** Which of two byte strings comes first; negative if `a` does. */
export function compare(a, b) {
  for (let at = 0; at < Math.min(a.length, b.length); at++) {
    if (a[at] !== b[at]) return a[at] - b[at];
  }
  return a.length - b.length;
}

export async function sha256(...parts) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", concat(...parts)));
}

export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** ASCII digits of either case; an even number of them. */
export function fromHex(text, code = "hex") {
  if (typeof text !== "string" || text.length % 2 || !/^[0-9a-fA-F]*$/.test(text)) throw new Refused(code);
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** Exactly `length` bytes. */
export function fixedHex(text, length, code = "hex") {
  const bytes = fromHex(text, code);
  if (bytes.length !== length) throw new Refused(code, `expected ${length} bytes`);
  return bytes;
}

export function toBase64(bytes) {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** Canonical standard base64: written again it is the same text. */
export function fromBase64(text, code = "base64") {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) throw new Refused(code);
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  if (toBase64(bytes) !== text) throw new Refused(code, "bits that should be zero");
  return bytes;
}

function bigEndian(value, length) {
  let rest = BigInt(value);
  if (rest < 0n || rest >> BigInt(8 * length)) throw new RangeError(`${value} does not fit ${length} bytes`);
  const out = new Uint8Array(length);
  for (let at = length - 1; at >= 0; at--, rest >>= 8n) out[at] = Number(rest & 255n);
  return out;
}

export const u8 = (value) => bigEndian(value, 1);
export const be16 = (value) => bigEndian(value, 2);
export const be32 = (value) => bigEndian(value, 4);
export const be64 = (value) => bigEndian(value, 8);
export const prefixed16 = (bytes) => concat(be16(bytes.length), bytes);

/** Takes fields off the front; every length is checked before a byte is taken. */
export class Reader {
  constructor(bytes) {
    this.rest = bytes;
  }

  take(length) {
    if (this.rest.length < length) throw new Refused("truncated");
    const head = this.rest.slice(0, length);
    this.rest = this.rest.slice(length);
    return head;
  }

  big(length) {
    return this.take(length).reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
  }

  u8() {
    return Number(this.big(1));
  }

  be16() {
    return Number(this.big(2));
  }

  be32() {
    return Number(this.big(4));
  }

  prefixed16(max) {
    const length = this.be16();
    if (length > max) throw new Refused("value", "a length above its bound");
    return this.take(length);
  }

  finish() {
    if (this.rest.length) throw new Refused("trailing");
  }
}

/** A decimal of at most 64 bits without leading zeros, as a BigInt; undefined if it is none. */
export function decimal(text) {
  if (!/^(?:0|[1-9][0-9]{0,19})$/.test(text ?? "")) return undefined;
  const value = BigInt(text);
  return value >> 64n ? undefined : value;
}

/** 1 to 64 printable ASCII characters. */
export const isName = (text) => typeof text === "string" && /^[\x20-\x7e]{1,64}$/.test(text);
