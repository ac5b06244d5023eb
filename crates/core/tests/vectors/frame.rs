//! The frame of a vector file, and values that are the same in each run.

use birthmark_core::codec::DecodeError;
use birthmark_core::hash::Digest;
use birthmark_core::hex;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// One file of `vectors/`: `source` and `format` first, then the lists.
pub(crate) struct Vectors {
    file: &'static str,
    fields: Vec<(&'static str, Value)>,
}

impl Vectors {
    /// `format` names the sections of `docs/PROTOCOL.md`.
    pub(crate) fn new(file: &'static str, format: &str) -> Self {
        Self { file, fields: vec![("source", SOURCE.into()), ("format", format.into())] }
    }

    /// Adds a list.
    pub(crate) fn with(mut self, name: &'static str, mut value: Value) -> Self {
        // Keys in one order whatever features other crates switch on in `serde_json`.
        value.sort_all_objects();
        self.fields.push((name, value));
        self
    }

    /// Compares with the committed file, or writes it under `BLESS=1`.
    pub(crate) fn check(&self) {
        let path = path(self.file);
        let built = serde_json::to_string_pretty(self).unwrap() + "\n";
        if std::env::var("BLESS").is_ok_and(|value| value == "1") {
            std::fs::write(&path, &built).unwrap();
        }
        let committed = read(self.file);
        for (number, (ours, theirs)) in (1..).zip(built.lines().zip(committed.lines())) {
            assert_eq!(ours, theirs, "{path}:{number}: left is built, right is committed");
        }
        assert_eq!(built.len(), committed.len(), "{path} has another length than what is built");
    }
}

impl Serialize for Vectors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.fields.iter().map(|(name, value)| (name, value)))
    }
}

/// A committed file's text.
pub(crate) fn read(file: &str) -> String {
    let path = path(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn path(file: &str) -> String {
    format!("{}/../../vectors/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// A 32-byte value that nobody chose.
pub(crate) fn digest(label: &str) -> Digest {
    Digest::of_parts(&[b"birthmark vectors: ", label.as_bytes()])
}

/// [`digest`] in hex.
pub(crate) fn hash(label: &str) -> String {
    digest(label).to_string()
}

/// A text field of a case.
pub(crate) fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_else(|| panic!("{field} of {case}"))
}

/// The bytes of a hex field of a case.
pub(crate) fn bytes(case: &Value, field: &str) -> Vec<u8> {
    unhex(text(case, field))
}

/// Bytes of hex.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    hex::decode_bounded(text, 1 << 20).unwrap()
}

/// `good` with the bytes from `at` on overwritten.
pub(crate) fn patched(good: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

/// The same signature with the order of the group added to `s`: malleable Ed25519 would take it.
pub(crate) fn with_large_s(signature: &[u8; 64]) -> [u8; 64] {
    let order = unhex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut out = *signature;
    let mut carry = 0u16;
    for (to, add) in out[32..].iter_mut().zip(order) {
        let sum = u16::from(*to) + u16::from(add) + carry;
        *to = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
    out
}

/// The code of a [`DecodeError`] in the files.
pub(crate) const fn decode_code(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::Truncated { .. } => "truncated",
        DecodeError::Trailing(_) => "trailing",
        DecodeError::Value { .. } => "value",
        DecodeError::Text(_) => "text",
    }
}

const SOURCE: &str = "Built from fixed inputs by crates/core/tests/vectors.rs with birthmark-core; checked by vectors/check.mjs, which shares no code with it";
