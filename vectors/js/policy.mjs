// Policies: which logs are accepted and whose cosignatures suffice. C2SP tlog-policy; PROTOCOL.md sections 1 and 8.
//   log <vkey> [<url>]
//   witness <name> <vkey> [<url>]
//   group <name> all|any|<k> <name>…
//   quorum <name>|none

import { Refused, decimal, toHex } from "./bytes.mjs";
import { COSIGNER, LOG, byName, checkLine, isNamedBy, parseCheckpoint, parseNote, parseVkey, vkey } from "./note.mjs";

const MAX_POLICY = 64 * 1024;
const MAX_ITEMS = 64;

/** {logs, witnesses, groups, quorum}: members and quorum by name, quorum null for none. */
export async function parsePolicy(text) {
  if (new TextEncoder().encode(text).length > MAX_POLICY) throw new Refused("too_long");
  const policy = { logs: [], witnesses: [], groups: [], quorum: undefined };
  for (const line of text.split("\n")) {
    if (/[\u0000-\u0008\u000b-\u001f\u007f]/.test(line)) throw new Refused("control_character");
    const [keyword, ...items] = line.split(/[ \t]+/).filter((item) => item !== "");
    if (keyword === undefined || keyword.startsWith("#")) continue;
    const rule = RULES.get(keyword);
    if (!rule || items.length < rule.least || items.length > rule.most) throw new Refused("syntax");
    await rule.read(policy, items);
  }
  if (policy.quorum === undefined) throw new Refused("quorum_lines");
  return policy;
}

const RULES = new Map([
  ["log", { least: 1, most: 2, read: readLog }],
  ["witness", { least: 2, most: 3, read: readWitness }],
  ["group", { least: 3, most: Infinity, read: readGroup }],
  ["quorum", { least: 1, most: 1, read: readQuorum }],
]);

async function readKey(text, type, others) {
  const key = await parseVkey(text);
  if (key.type !== type) throw new Refused("key_type");
  if (others.some((other) => toHex(other.key.key) === toHex(key.key))) throw new Refused("duplicate_key");
  if (others.length >= MAX_ITEMS) throw new Refused("too_many");
  return key;
}

const named = ({ witnesses, groups }, name) => [...witnesses, ...groups].find((item) => item.name === name);

function checkNewName(policy, name) {
  if (name === "none" || named(policy, name)) throw new Refused("name");
}

function checkDefined(policy, name) {
  if (!named(policy, name)) throw new Refused("undefined_name");
}

async function readLog({ logs }, [text, url]) {
  logs.push({ key: await readKey(text, LOG, logs), url });
}

async function readWitness(policy, [name, text, url]) {
  const key = await readKey(text, COSIGNER, policy.witnesses);
  checkNewName(policy, name);
  policy.witnesses.push({ name, key, url });
}

function readGroup(policy, [name, count, ...members]) {
  if (policy.groups.length >= MAX_ITEMS) throw new Refused("too_many");
  const grouped = new Set(policy.groups.flatMap((group) => group.members));
  for (const member of members) {
    checkDefined(policy, member);
    if (grouped.has(member)) throw new Refused("member_twice");
    grouped.add(member);
  }
  const threshold = count === "any" ? 1n : count === "all" ? BigInt(members.length) : decimal(count);
  if (!threshold || threshold > BigInt(members.length)) throw new Refused("threshold");
  checkNewName(policy, name);
  policy.groups.push({ name, threshold: Number(threshold), members });
}

function readQuorum(policy, [name]) {
  if (name !== "none") checkDefined(policy, name);
  if (policy.quorum !== undefined) throw new Refused("quorum_lines");
  policy.quorum = name === "none" ? null : name;
}

/** The policy without comments, with numeric thresholds. */
export function policyText({ logs, witnesses, groups, quorum }) {
  const line = (...items) => items.filter((item) => item !== undefined).join(" ") + "\n";
  return [
    ...logs.map(({ key, url }) => line("log", vkey(key), url)),
    ...witnesses.map(({ name, key, url }) => line("witness", name, vkey(key), url)),
    ...groups.map(({ name, threshold, members }) => line("group", name, threshold, ...members)),
    line("quorum", quorum ?? "none"),
  ].join("");
}

/** Whether the witnesses of these names are the quorum. */
export function isSatisfied({ groups, quorum }, cosigned) {
  const holds = (name) => {
    const group = groups.find((other) => other.name === name);
    return group ? group.members.filter(holds).length >= group.threshold : cosigned.has(name);
  };
  return quorum === null || holds(quorum);
}

/** Names of the witnesses that can contribute to the quorum at all. */
export function counting({ witnesses, groups, quorum }) {
  const reached = (name) => groups.find((group) => group.name === name)?.members.flatMap(reached) ?? [name];
  const names = quorum === null ? [] : reached(quorum);
  return witnesses.map(({ name }) => name).filter((name) => names.includes(name));
}

/** Throws unless the policy accepts the note; gives the tree, the least counted time and the counted key names. */
export async function verifyNote(note, policy) {
  const { text, lines } = parseNote(note);
  const checkpoint = parseCheckpoint(text);
  let signedByLog = false;
  const times = new Map();
  for (const line of lines) {
    for (const { key } of policy.logs.filter((log) => isNamedBy(line, log.key))) {
      await checkLine(key, text, line);
      signedByLog ||= key.name === checkpoint.origin;
    }
    for (const { name, key } of policy.witnesses.filter((witness) => isNamedBy(line, witness.key))) {
      const time = await checkLine(key, text, line);
      if (!times.has(name) || time < times.get(name)) times.set(name, time);
    }
  }
  if (!signedByLog) throw new Refused("no_log_signature");
  if (!isSatisfied(policy, times)) throw new Refused("no_quorum");
  const counted = counting(policy).filter((name) => times.has(name));
  const time = counted.map((name) => times.get(name)).reduce((a, b) => (a === null || b < a ? b : a), null);
  const cosigners = policy.witnesses.filter(({ name }) => counted.includes(name)).map(({ key }) => key.name);
  return { ...checkpoint, time, cosigners: cosigners.sort(byName) };
}
