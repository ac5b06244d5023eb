// Acts of governance and their approvals. PROTOCOL.md section 14:
//   act      = u8 1 ‖ network_id 32 ‖ be32 number ‖ previous 32 ‖ be32 epoch ‖ u8 kind ‖ change
//   approved = be16 len ‖ act ‖ u8 n ‖ n × (log key 32 ‖ approval 64)     keys strictly rising
// Not for: whether an act may be enacted in a network.

import { Reader, Refused, ascii, be16, be32, be64, compare, concat, fixedHex, fromHex, prefixed16, toHex, u8 } from "./bytes.mjs";
import { publicKey, verify } from "./ed25519.mjs";

const MAX_ACT = 48 * 1024;
const short = (text) => concat(u8(text.length), ascii(text));

const ENCODE = {
  1: (c) => concat(...c.keys.map((key) => fixedHex(key, 32)), short(c.p2p_address)),
  2: (c) => fixedHex(c.key, 32),
  3: (c) => {
    const token = c.token_key === null ? u8(0) : concat(u8(1), fixedHex(c.token_key, 32));
    const keys = c.endorsement_keys.map(({ state, spki }) => concat(u8(state), prefixed16(fromHex(spki))));
    return concat(be16(c.number), short(c.id), u8(c.min_token_version), token, u8(keys.length), ...keys);
  },
  4: (c) => be16(c.number),
  5: (c) => concat(be16(c.number), short(c.name), fixedHex(c.key, 32)),
  6: (c) => be16(c.number),
};

export function encodeAct({ network_id, number, previous, epoch, change }) {
  const head = concat(u8(1), fixedHex(network_id, 32), be32(number), fixedHex(previous, 32), be32(epoch));
  return concat(head, u8(change.kind), ENCODE[change.kind](change));
}

const key = (reader) => toHex(publicKey(reader.take(32)));

function text(reader) {
  const bytes = reader.take(reader.u8());
  if (!bytes.every((byte) => byte >= 0x20 && byte < 0x7f)) throw new Refused("text");
  return String.fromCharCode(...bytes);
}

function oneOf(values, value) {
  if (!values.includes(value)) throw new Refused("value");
  return value;
}

const DECODE = {
  1: (r) => ({ keys: [key(r), key(r), key(r)], p2p_address: text(r) }),
  2: (r) => ({ key: key(r) }),
  3: (r) => {
    const [number, id, min_token_version] = [r.be16(), text(r), oneOf([1, 2], r.u8())];
    const token_key = oneOf([0, 1], r.u8()) ? toHex(r.take(32)) : null;
    const count = r.u8();
    if (count > 64) throw new Refused("value");
    const entry = () => ({ state: oneOf([0, 1, 2, 3], r.u8()), spki: toHex(r.prefixed16(600)) });
    return { number, id, min_token_version, token_key, endorsement_keys: Array.from({ length: count }, entry) };
  },
  4: (r) => ({ number: r.be16() }),
  5: (r) => ({ number: r.be16(), name: text(r), key: key(r) }),
  6: (r) => ({ number: r.be16() }),
};

export function decodeAct(bytes) {
  if (bytes.length > MAX_ACT) throw new Refused("too_long");
  const reader = new Reader(bytes);
  oneOf([1], reader.u8());
  const head = { network_id: toHex(reader.take(32)), number: reader.be32(), previous: toHex(reader.take(32)), epoch: reader.be32() };
  const kind = reader.u8();
  if (!DECODE[kind]) throw new Refused("value");
  const act = { ...head, change: { kind, ...DECODE[kind](reader) } };
  reader.finish();
  return act;
}

/** The act's bytes, and who approved them; every approval is checked. */
export async function decodeApproved(bytes) {
  const reader = new Reader(bytes);
  const act = reader.prefixed16(MAX_ACT);
  const count = reader.u8();
  if (count > 22) throw new Refused("value");
  const approvers = [];
  for (let n = 0; n < count; n++) {
    const approver = publicKey(reader.take(32));
    if (n && compare(approvers[n - 1], approver) >= 0) throw new Refused("order");
    if (!(await verify(approver, concat(ascii("birthmark/act/v1"), act), reader.take(64)))) throw new Refused("signature");
    approvers.push(approver);
  }
  reader.finish();
  return { act, approvers };
}

/** The leaf of type 3. */
export const encodeActLeaf = (minute, height, approved) => concat(u8(1), u8(3), be32(minute), be64(height), approved);
