//! What a witness knows of one log: its keys, and the tree that was signed last.
//!
//! ```text
//! birthmark/witness-log/v1
//! log <vkey>                  one line a key, all named after the origin
//! <size>
//! <root in base64>
//! ```
//! Made at size 0 when the operator names the log, mode 0600. A log whose file is gone is unknown, and nothing is
//! signed for it.

use std::path::{Path, PathBuf};

use birthmark_core::hash::Digest;
use birthmark_core::hex;
use birthmark_core::merkle::{EMPTY_ROOT, TreeHash};
use birthmark_core::note::{KeyName, SignatureType, VerifierKey};
use birthmark_service::secret_file::{self, FileMode};

use super::{LOGS, WitnessError};

/// One log, as it stands on disk.
#[derive(Debug)]
pub(super) struct WitnessedLog {
    path: PathBuf,
    origin: KeyName,
    keys: Vec<VerifierKey>,
    last: (u64, TreeHash),
}

impl WitnessedLog {
    /// A log that nothing was signed for yet; not on disk.
    pub(super) fn new(data_dir: &Path, keys: Vec<VerifierKey>) -> Result<Self, WitnessError> {
        let origin = origin_of(&keys).ok_or(WitnessError::Keys)?;
        let name = hex::encode(Digest::of_parts(&[origin.as_str().as_bytes()]).as_bytes());
        Ok(Self { path: data_dir.join(LOGS).join(name), origin, keys, last: (0, EMPTY_ROOT) })
    }

    pub(super) fn create(&self) -> Result<(), WitnessError> {
        Ok(secret_file::create(&self.path, self.encode(self.last).as_bytes())?)
    }

    pub(super) fn read(path: &Path) -> Result<Self, WitnessError> {
        let bytes = secret_file::read(path, MAX_LEN)?;
        let text = std::str::from_utf8(&bytes).ok();
        text.and_then(|text| Self::decode(path, text)).ok_or_else(|| WitnessError::Damaged(path.to_owned()))
    }

    pub(super) const fn origin(&self) -> &KeyName {
        &self.origin
    }

    pub(super) fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// The tree that was signed last.
    pub(super) const fn last(&self) -> (u64, TreeHash) {
        self.last
    }

    /// Remembers, durably, what is about to be signed.
    pub(super) fn advance(&mut self, next: (u64, TreeHash)) -> Result<(), WitnessError> {
        if next != self.last {
            secret_file::replace(&self.path, self.encode(next).as_bytes(), FileMode::Secret)?;
            self.last = next;
        }
        Ok(())
    }

    fn encode(&self, (size, root): (u64, TreeHash)) -> String {
        let mut lines = vec![HEADER.to_owned()];
        lines.extend(self.keys.iter().map(|key| format!("log {key}")));
        lines.extend([size.to_string(), root.to_string(), String::new()]);
        lines.join("\n")
    }

    fn decode(path: &Path, text: &str) -> Option<Self> {
        let mut lines = text.strip_prefix(HEADER)?.strip_prefix('\n')?.lines().peekable();
        let mut keys = Vec::new();
        while let Some(key) = lines.peek().and_then(|line| line.strip_prefix("log ")) {
            keys.push(key.parse().ok()?);
            lines.next();
        }
        let last = (lines.next()?.parse().ok()?, TreeHash::from_base64(lines.next()?).ok()?);
        let log = Self { path: path.to_owned(), origin: origin_of(&keys)?, keys, last };
        // One text for one state: anything else in the file is damage.
        (log.encode(last) == text).then_some(log)
    }
}

/// The one log that all these keys sign for.
fn origin_of(keys: &[VerifierKey]) -> Option<KeyName> {
    let origin = keys.first()?.name();
    let one = keys.iter().all(|key| key.name() == origin && key.kind() == SignatureType::Ed25519);
    (one && keys.len() <= MAX_KEYS).then(|| origin.clone())
}

const HEADER: &str = "birthmark/witness-log/v1";
const MAX_KEYS: usize = 64;
const MAX_LEN: usize = 64 * 1024;
