//! The token file: reading, noticing changes, adding a token.
//!
//! For: `auth`. Not for: HTTP. The file's format is in `auth`.

use std::fmt::Write;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand_core::Rng;
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{AuthError, Caller, TokenDigest, digest};
use crate::lock::FileLock;
use crate::random::OsRng;
use crate::secret_file::{self, FileMode, SecretFileError};

/// The tokens of a file, as last read.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entries: Arc<[Entry]>,
    stamp: Option<Stamp>,
    checked: Instant,
}

#[derive(Debug)]
struct Entry {
    caller: Caller,
    digest: TokenDigest,
}

/// What changes when a file does: inode, length, time of last change (also of its mode).
type Stamp = (u64, u64, i64, i64);

impl TokenFile {
    pub(super) fn load(path: PathBuf, now: Instant) -> Result<Self, AuthError> {
        let stamp = stamp(&path);
        let entries = parse(&path, &read(&path)?)?.into();
        Ok(Self { path, state: Mutex::new(State { entries, stamp, checked: now }) })
    }

    /// The caller with this digest. All entries are compared, each in constant time, so that the time
    /// taken says nothing about how near a guess came.
    pub(super) fn find(&self, wanted: &TokenDigest, now: Instant) -> Option<Caller> {
        let entries = self.current(now);
        let mut found = u64::MAX;
        for (i, entry) in (0u64..).zip(entries.iter()) {
            found.conditional_assign(&i, entry.digest.0.ct_eq(&wanted.0));
        }
        entries.get(usize::try_from(found).ok()?).map(|entry| entry.caller.clone())
    }

    fn current(&self, now: Instant) -> Arc<[Entry]> {
        let mut state = self.state.lock();
        if now.saturating_duration_since(state.checked) >= RELOAD_INTERVAL {
            state.checked = now;
            let stamp = stamp(&self.path);
            if stamp != state.stamp {
                match read(&self.path).and_then(|text| parse(&self.path, &text)) {
                    Ok(entries) => {
                        tracing::info!(path = %self.path.display(), tokens = entries.len(), "token file read again");
                        state.entries = entries.into();
                    }
                    Err(error) => tracing::error!(%error, "changed token file ignored; the old tokens stay valid"),
                }
                state.stamp = stamp;
            }
        }
        Arc::clone(&state.entries)
    }
}

/// Adds a token to the file (created if missing) and returns it, the only time that it is seen.
pub fn issue_token(path: &Path, name: &str, role: &str) -> Result<Zeroizing<String>, AuthError> {
    issue_token_with(path, name, role, &[])
}

/// The same for a caller with attributes.
pub fn issue_token_with(
    path: &Path,
    name: &str,
    role: &str,
    attributes: &[(&str, &str)],
) -> Result<Zeroizing<String>, AuthError> {
    let mut words = [name, role].into_iter().chain(attributes.iter().map(|(name, _)| *name));
    if !words.all(is_word) || !attributes.iter().all(|(_, value)| is_value(value)) {
        return Err(AuthError::Word);
    }
    // Two that issue at once must not lose each other's line.
    let _lock = FileLock::wait(&lock_path(path))
        .map_err(|error| SecretFileError::Io { path: path.to_owned(), source: io::Error::other(error) })?;
    let mut text = match read(path) {
        Ok(text) => text,
        Err(AuthError::File(SecretFileError::Io { source, .. })) if source.kind() == io::ErrorKind::NotFound => {
            "# name role SHA-256 of the token\n".to_owned()
        }
        Err(error) => return Err(error),
    };
    if parse(path, &text)?.iter().any(|entry| entry.caller.name() == name) {
        return Err(AuthError::Taken { path: path.to_owned(), name: name.to_owned() });
    }
    let mut bytes = Zeroizing::new([0; 32]);
    OsRng.fill_bytes(bytes.as_mut());
    let token = Zeroizing::new(const_hex::encode(bytes.as_ref()));
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    // Writing into a String cannot fail.
    let _ = write!(text, "{name} {role} {}", const_hex::encode(digest(&token).0));
    for (name, value) in attributes {
        let _ = write!(text, " {name}={}", escape(value));
    }
    text.push('\n');
    secret_file::replace(path, text.as_bytes(), FileMode::Secret)?;
    Ok(token)
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    path.with_file_name(name)
}

fn read(path: &Path) -> Result<String, AuthError> {
    let bytes = secret_file::read(path, MAX_FILE)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| AuthError::Line { path: path.to_owned(), line: 1 })
}

fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, AuthError> {
    let mut entries: Vec<Entry> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let entry = parse_line(line).ok_or_else(|| AuthError::Line { path: path.to_owned(), line: i + 1 })?;
        if entries.iter().any(|other| other.caller.name == entry.caller.name) {
            return Err(AuthError::Taken { path: path.to_owned(), name: entry.caller.name.as_ref().into() });
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn parse_line(line: &str) -> Option<Entry> {
    let mut words = line.split_ascii_whitespace();
    let (name, role, hex) = (words.next()?, words.next()?, words.next()?);
    if !is_word(name) || !is_word(role) || hex.len() != 64 {
        return None;
    }
    let mut attributes: Vec<(String, String)> = Vec::new();
    for word in words {
        let (name, value) = word.split_once('=').filter(|(name, _)| is_word(name))?;
        let value = unescape(value).filter(|value| is_value(value))?;
        if attributes.iter().any(|(known, _)| known == name) {
            return None;
        }
        attributes.push((name.to_owned(), value));
    }
    let mut bytes = [0; 32];
    const_hex::decode_to_slice(hex, &mut bytes).ok()?;
    let caller = Caller { name: Arc::from(name), role: Some(Arc::from(role)), attributes: attributes.into() };
    Some(Entry { caller, digest: TokenDigest(bytes) })
}

fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(is_plain)
}

/// What an attribute may be: an authority's name, for one, may have spaces.
fn is_value(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// One word of a value: what has no place in a word as `%` and two hex digits.
fn escape(value: &str) -> String {
    value.bytes().map(|b| if is_plain(b) { char::from(b).to_string() } else { format!("%{b:02x}") }).collect()
}

fn unescape(word: &str) -> Option<String> {
    let mut parts = word.split('%');
    let mut value = parts.next()?.to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        value.push(char::from(byte));
        value.push_str(rest);
    }
    (escape(&value) == word).then_some(value)
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
}

/// How often a change is looked for, at most.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

/// Some two thousand tokens.
const MAX_FILE: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        secret_file::replace(path, text.as_bytes(), FileMode::Secret).unwrap();
    }

    fn line(name: &str, token: &str) -> String {
        format!("{name} role {}\n", const_hex::encode(digest(token).0))
    }

    #[test]
    fn malformed_lines_are_refused_by_number() {
        let hex = "ab".repeat(32);
        for bad in [
            "name role".to_owned(),
            format!("name role {hex} more"),
            format!("name role {hex} a=1 a=2"),
            format!("name role {hex} a=1=2"),
            format!("name role {hex} =1"),
            format!("name role {}", "ab".repeat(31)),
            format!("name role 0x{}", "ab".repeat(31)),
            format!("name role {}", "zz".repeat(32)),
            format!("na/me role {hex}"),
            format!("{} role {hex}", "n".repeat(65)),
        ] {
            let text = format!("# head\n\n{bad}\n");
            let refused = parse(Path::new("tokens"), &text).unwrap_err();
            assert!(matches!(refused, AuthError::Line { line: 3, .. }), "{bad}");
        }
        let twice = format!("a r {hex}\na s {hex}\n");
        assert!(matches!(parse(Path::new("tokens"), &twice), Err(AuthError::Taken { .. })));
    }

    #[test]
    fn issuing_refuses_taken_names_and_bad_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        issue_token(&path, "a", "r").unwrap();
        assert!(matches!(issue_token(&path, "a", "r"), Err(AuthError::Taken { .. })));
        for (name, role) in [("", "r"), ("a b", "r"), ("b", "r\n"), ("#", "r")] {
            assert!(matches!(issue_token(&path, name, role), Err(AuthError::Word)));
        }
    }

    #[test]
    fn values_may_be_any_name_of_an_authority_and_the_line_stays_one_of_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let name = "Darktable & Co., 100% (\"EU\")";
        let token = issue_token_with(&path, "editor", "software", &[("authority", name)]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.ends_with(" authority=Darktable%20%26%20Co.%2c%20100%25%20%28%22EU%22%29\n"), "{text}");
        let entries = parse(&path, &text).unwrap();
        assert_eq!(entries[0].caller.attribute("authority"), Some(name));
        assert_eq!(entries[0].digest.0, digest(&token).0);
        for wrong in ["%", "%2", "%zz", "%+1", "%41", "%2C", "a%00", "%c3%a9", ""] {
            assert_eq!(unescape(wrong).filter(|value| is_value(value)), None, "{wrong}");
        }
        assert!(matches!(issue_token_with(&path, "b", "software", &[("authority", "a\nb")]), Err(AuthError::Word)));
    }

    #[test]
    fn tokens_issued_at_once_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::thread::scope(|scope| {
            for i in 0..8 {
                let path = &path;
                scope.spawn(move || issue_token(path, &format!("n{i}"), "r").unwrap());
            }
        });
        assert_eq!(parse(&path, &read(&path).unwrap()).unwrap().len(), 8);
    }

    #[test]
    fn changes_take_effect_within_a_second_and_malformed_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let start = Instant::now();
        write(&path, &line("a", "old"));
        let file = TokenFile::load(path.clone(), start).unwrap();
        let found = |token: &str, seconds: u32| file.find(&digest(token), start + RELOAD_INTERVAL * seconds).is_some();

        write(&path, &line("a", "new"));
        assert!(found("new", 1) && !found("old", 1));

        write(&path, "not a token file\n");
        assert!(found("new", 2));

        write(&path, "");
        assert!(!found("new", 3));
    }
}
