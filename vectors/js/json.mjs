// Strict JSON: no duplicate keys at any depth, integers told from floats. PROTOCOL.md section 1.
// Not for: which fields there must be. `JSON.parse` keeps the last of two equal keys and reads 1.0 as 1.

import { Refused } from "./bytes.mjs";

/** A number written with a point, an exponent or as minus zero. Never an integer. */
export class Float {
  constructor(value) {
    this.value = value;
  }
}

const MAX_DEPTH = 127;
const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const WORDS = { true: true, false: false, null: null };

/** One value. Integers beyond 2^53 come as BigInt. */
export function parse(text) {
  const state = { text, at: 0 };
  const value = element(state, 0);
  if (state.at !== text.length) throw new Refused("syntax");
  return value;
}

function match(state, pattern) {
  pattern.lastIndex = state.at;
  const found = pattern.exec(state.text);
  if (found) state.at = pattern.lastIndex;
  return found;
}

function accept(state, character) {
  if (state.text[state.at] !== character) return false;
  state.at += 1;
  return true;
}

function expect(state, character) {
  if (!accept(state, character)) throw new Refused("syntax");
}

function element(state, depth) {
  match(state, SPACE);
  const value = bare(state, depth);
  match(state, SPACE);
  return value;
}

function bare(state, depth) {
  if (accept(state, "{")) return object(state, depth + 1);
  if (accept(state, "[")) return array(state, depth + 1);
  if (state.text[state.at] === '"') return string(state);
  for (const [word, value] of Object.entries(WORDS)) {
    if (state.text.startsWith(word, state.at)) {
      state.at += word.length;
      return value;
    }
  }
  return number(state);
}

function number(state) {
  const found = match(state, NUMBER);
  if (!found) throw new Refused("syntax");
  const [text, point, exponent] = found;
  if (point || exponent || text === "-0") return new Float(Number(text));
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : BigInt(text);
}

function string(state) {
  const found = match(state, STRING);
  if (!found) throw new Refused("syntax");
  const value = JSON.parse(found[0]);
  // An unpaired surrogate has no UTF-8.
  if (/[\ud800-\udfff]/u.test(value)) throw new Refused("syntax");
  return value;
}

function object(state, depth) {
  if (depth > MAX_DEPTH) throw new Refused("syntax");
  const out = new Map();
  match(state, SPACE);
  if (accept(state, "}")) return {};
  do {
    match(state, SPACE);
    const key = string(state);
    if (out.has(key)) throw new Refused("duplicate_key");
    match(state, SPACE);
    expect(state, ":");
    out.set(key, element(state, depth));
  } while (accept(state, ","));
  expect(state, "}");
  return Object.fromEntries(out);
}

function array(state, depth) {
  if (depth > MAX_DEPTH) throw new Refused("syntax");
  const out = [];
  match(state, SPACE);
  if (accept(state, "]")) return out;
  do out.push(element(state, depth));
  while (accept(state, ","));
  expect(state, "]");
  return out;
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Float);

/** A field of an object by its type; `null` and a missing field are the same. */
export function field(object, name, type, { optional = false, code = "field" } = {}) {
  if (!isObject(object)) throw new Refused(code, `an object with ${name} is expected`);
  const value = Object.hasOwn(object, name) ? object[name] : null;
  if (value === null) {
    if (optional) return null;
    throw new Refused(code, `${name} is missing`);
  }
  const fits = {
    string: () => typeof value === "string",
    integer: () => (typeof value === "number" || typeof value === "bigint") && value >= 0 && BigInt(value) < 1n << 64n,
    array: () => Array.isArray(value),
    object: () => isObject(value),
  }[type]();
  if (!fits) throw new Refused(code, `${name} must be of type ${type}`);
  return value;
}
