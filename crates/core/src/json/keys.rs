//! A quick look for keys that stand twice, for the messages that are as they should be.
//!
//! For: [`surely_distinct`], which reads no values. Not for: saying where a duplicate is, or whether the text is JSON
//! at all: whoever gets `false` has to look closely.

use memchr::memchr2;

/// True only if the text, in case it is JSON, nests little and no object in it has a key twice, however spelled.
pub(super) fn surely_distinct(text: &[u8]) -> bool {
    scan(text).is_some()
}

/// None if it is not sure.
fn scan(text: &[u8]) -> Option<()> {
    let mut keys = Keys { keys: [&[]; KEYS], count: 0 };
    // Where the keys of each open object begin; of an array, where the next object's would.
    let mut open = [0; DEPTH];
    let mut depth: usize = 0;
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => {
                let (string, after) = string(rest)?;
                rest = after.trim_ascii_start();
                // A value is followed by a comma or an end.
                if let [b':', after @ ..] = rest {
                    rest = after;
                    let first = depth.checked_sub(1).and_then(|depth| open.get(depth))?;
                    keys.add(string?, *first)?;
                }
            }
            b'{' | b'[' => {
                *open.get_mut(depth)? = keys.count;
                depth += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                keys.count = *open.get(depth)?;
            }
            _ => {}
        }
    }
    Some(())
}

/// Keys of open objects, the outermost's first.
struct Keys<'a> {
    keys: [&'a [u8]; KEYS],
    count: usize,
}

impl<'a> Keys<'a> {
    /// Adds a key of the innermost object, whose keys begin at `first`; `None` if it is there or there is no room.
    fn add(&mut self, key: &'a [u8], first: usize) -> Option<()> {
        let own = self.keys.get(first..self.count)?;
        if own.contains(&key) {
            return None;
        }
        *self.keys.get_mut(self.count)? = key;
        self.count += 1;
        Some(())
    }
}

/// The string whose first quote was read, none if it is spelled with escapes; and what follows its last quote.
fn string(text: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (mut end, mut is_plain) = (0, true);
    loop {
        end += memchr2(b'"', b'\\', text.get(end..)?)?;
        if text.get(end) == Some(&b'"') {
            let (string, after) = text.split_at_checked(end)?;
            return Some((is_plain.then_some(string), after.get(1..)?));
        }
        is_plain = false;
        end += 2;
    }
}

/// More than any message of ours has, in all objects that are open at once.
const KEYS: usize = 48;
const DEPTH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_sure_and_whatever_is_odd_is_not() {
        for sure in [
            "{}",
            r#"{"a":1,"b":{"a":2,"b":[{"a":1},{"a":2}]},"c":"a"}"#,
            r#"{"a" : "\" : {", "b"	:["a","a"]}"#,
            r#"["a","a",{"a":{"a":{}}}]"#,
        ] {
            assert!(surely_distinct(sure.as_bytes()), "{sure}");
        }
        let deep = format!("{}{}", "[".repeat(DEPTH + 1), "]".repeat(DEPTH + 1));
        let many: Vec<_> = (0..=KEYS).map(|key| format!("\"{key}\":0")).collect();
        let many = format!("{{{}}}", many.join(","));
        for unsure in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":{"b":[]},"a":1}"#,
            r#"{"x":[{"a":1,"b":{"a":0},"a":1}]}"#,
            r#"{"\u0061":1}"#,
            r#"{"a":"\"#,
            "}",
            r#""a":1"#,
            &deep,
            &many,
        ] {
            assert!(!surely_distinct(unsure.as_bytes()), "{unsure}");
        }
    }
}
