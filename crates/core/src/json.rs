//! JSON from outside: UTF-8, no duplicate keys at any depth, nothing after the value.
//!
//! `serde` refuses duplicates only among the fields it knows; an unknown field given twice, or a
//! known one hidden in an ignored object, would pass. Two parsers that pick different ones of two
//! duplicates can be made to disagree, so all are refused (RFC 8259 section 4).

mod keys;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// Why a JSON text was refused. The message names the place and the cause, never the content.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not one complete JSON value, or one with a duplicate key.
    #[error("malformed JSON at line {line}, column {column}")]
    Syntax {
        /// 1-based line.
        line: usize,
        /// 1-based column.
        column: usize,
    },
    /// A key stands twice in one object.
    #[error("duplicate key at line {line}, column {column}")]
    DuplicateKey {
        /// 1-based line.
        line: usize,
        /// 1-based column.
        column: usize,
    },
    /// Well-formed, but a field is missing or of the wrong type or range.
    #[error("wrong field at line {line}, column {column}: {cause}")]
    Data {
        /// 1-based line.
        line: usize,
        /// 1-based column.
        column: usize,
        /// What was expected. Free of input.
        cause: String,
    },
}

/// Parses one object of type `T`.
///
/// Depth is bounded by `serde_json` (128), size by the caller before the call.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    quick(bytes).map_or_else(|| thorough(bytes), Ok)
}

/// In one pass over the values; `None` for whatever is not plainly right.
fn quick<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_plain = is_object(bytes) && keys::surely_distinct(bytes);
    is_plain.then(|| serde_json::from_str(text).ok())?
}

/// Says what is wrong, the graver things first.
fn thorough<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    let mut checker = serde_json::Deserializer::from_slice(bytes);
    NoDuplicates.deserialize(&mut checker).and_then(|()| checker.end()).map_err(|e| {
        let (line, column) = (e.line(), e.column());
        if e.is_data() { JsonError::DuplicateKey { line, column } } else { JsonError::Syntax { line, column } }
    })?;
    // Derived readers take an array for a struct, field by field; the protocol's messages are objects.
    if !is_object(bytes) {
        return Err(JsonError::Data { line: 1, column: 1, cause: "expected an object".to_owned() });
    }
    serde_json::from_slice(bytes).map_err(|e| JsonError::Data {
        line: e.line(),
        column: e.column(),
        cause: redacted(&e),
    })
}

fn is_object(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// `serde` quotes offending strings and numbers in its messages; an error must not echo its input.
fn redacted(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let mut out = String::new();
    for piece in ["invalid type: ", "invalid value: "] {
        if let Some(rest) = text.strip_prefix(piece) {
            let expected = rest.rsplit_once(", expected ").map_or("another value", |(_, e)| e);
            out.push_str("expected ");
            out.push_str(expected);
            return out;
        }
    }
    if text.starts_with("unknown variant") {
        return "not one of the allowed values".to_owned();
    }
    text.to_owned()
}

/// Walks any value, remembering the keys of each object.
struct NoDuplicates;

impl<'de> DeserializeSeed<'de> for NoDuplicates {
    type Value = ();
    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NoDuplicates {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value without duplicate keys")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Self)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut few, mut many) = (Vec::new(), HashSet::new());
        while let Some(Key(key)) = map.next_key()? {
            let known = few.contains(&key) || many.contains(&key);
            if known {
                return Err(de::Error::custom("duplicate key"));
            }
            if few.len() < FEW {
                few.push(key);
            } else {
                many.insert(key);
            }
            map.next_value_seed(Self)?;
        }
        Ok(())
    }
}

/// A key, where it stands in the text unless that has it with escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsText;
        impl<'de> Visitor<'de> for AsText {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }
            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(AsText)
    }
}

/// Keys of an object that are compared one by one, which takes less time than hashing them: as many as any
/// message of ours has. Beyond that a hostile object would make it square.
const FEW: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Point {
        #[expect(dead_code, reason = "only its parsing matters")]
        x: u32,
    }

    #[test]
    fn duplicate_keys_are_refused_known_or_not_at_any_depth() {
        for bad in [
            r#"{"x":1,"x":1}"#,
            r#"{"x":1,"y":0,"y":0}"#,
            r#"{"x":1,"y":[{"z":{"a":1,"a":2}}]}"#,
            r#"{"x":1,"\u0078":2}"#,
        ] {
            assert!(matches!(from_slice::<Point>(bad.as_bytes()), Err(JsonError::DuplicateKey { .. })), "{bad}");
        }
    }

    #[test]
    fn numbers_must_be_json_integers() {
        for bad in [
            r#"{"x":1.0}"#,
            r#"{"x":1e2}"#,
            r#"{"x":"1"}"#,
            r#"{"x":true}"#,
            r#"{"x":-1}"#,
            r#"{"x":-0}"#,
            r#"{"x":4294967296}"#,
        ] {
            assert!(matches!(from_slice::<Point>(bad.as_bytes()), Err(JsonError::Data { .. })), "{bad}");
        }
    }

    #[test]
    fn truncation_trailing_bytes_bad_utf8_and_deep_nesting_are_syntax_errors() {
        let deep = "[".repeat(100_000);
        for bad in
            [&b"{\"x\":1"[..], b"{\"x\":1} {}", b"{\"x\":1,\"y\":\"\xff\"}", b"", deep.as_bytes(), b"{\"x\":NaN}"]
        {
            assert!(matches!(from_slice::<Point>(bad), Err(JsonError::Syntax { .. })));
        }
    }

    #[test]
    fn duplicate_keys_are_found_among_many_and_however_they_are_spelled() {
        let key = |number: usize| format!("\"k{number}\": 0");
        for count in [1, FEW - 1, FEW, FEW + 1, 3 * FEW] {
            let keys: Vec<_> = (0..count).map(key).collect();
            let object = |keys: &[String]| format!("{{{}}}", keys.join(", "));
            assert!(from_slice::<serde_json::Value>(object(&keys).as_bytes()).is_ok(), "{count}");
            for twice in 0..count {
                // \u006b is k.
                for again in [key(twice), format!("\"\\u006b{twice}\": 0")] {
                    let doubled = [keys.as_slice(), &[again]].concat();
                    let error = from_slice::<serde_json::Value>(object(&doubled).as_bytes()).unwrap_err();
                    assert!(matches!(error, JsonError::DuplicateKey { .. }), "{twice} of {count}: {error}");
                }
            }
        }
    }

    /// Pieces of which nearly everything that JSON may hold can be made, well or badly.
    const PIECES: [&str; 26] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"b\"",
        "\"x\"",
        "\"\\u0061\"",
        "\"\\\"\"",
        "\"",
        "\\",
        "1",
        "-0",
        "1e9",
        "true",
        "null",
        " ",
        "\n",
        "\u{e9}",
        "{\"a\":",
        "{\"x\":1,",
        "\"x\":1",
        ",\"b\":",
        "\"a\":{}",
    ];

    proptest! {
        #[test]
        fn the_quick_way_takes_what_the_thorough_one_takes_and_reads_the_same(
            pieces in proptest::collection::vec(0..PIECES.len(), 0..14),
            closed: bool,
        ) {
            let mut text: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
            if closed {
                text = format!("{{\"x\":7,\"y\":{text}}}");
            }
            let thorough = thorough::<serde_json::Value>(text.as_bytes());
            if let Some(quick) = quick::<serde_json::Value>(text.as_bytes()) {
                prop_assert_eq!(quick, thorough.unwrap());
            }
            if quick::<Point>(text.as_bytes()).is_some() {
                prop_assert!(super::thorough::<Point>(text.as_bytes()).is_ok(), "{text}");
            }
        }

        #[test]
        fn any_object_with_few_keys_is_read_the_quick_way(
            object in proptest::collection::btree_map("[a-z]{1,9}", proptest::option::of("[ -~]{0,80}"), 0..12),
        ) {
            let text = serde_json::to_vec(&object).unwrap();
            prop_assert!(quick::<serde_json::Value>(&text).is_some());
        }
    }

    #[test]
    fn only_objects_are_messages() {
        for bad in ["[1]", "[]", "null", "1", "\"x\"", " [1]"] {
            let error = from_slice::<Point>(bad.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("expected an object"), "{bad}: {error}");
        }
    }

    #[test]
    fn errors_do_not_echo_their_input() {
        let error = from_slice::<Point>(br#"{"x":"hunter2"}"#).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
