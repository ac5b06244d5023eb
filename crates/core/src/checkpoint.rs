//! Checkpoints: what the log was, said by the log and cosigned by its validators.
//!
//! For: a validator, which signs and cosigns; a node, which puts the lines together; and everyone
//! who judges a checkpoint by a [`Policy`].
//!
//! Not for: whether a validator *may* sign a tree (`birthmark_node`, by its `cosign.state`), nor for
//! which policy is to be trusted (`network`).
//!
//! Format: C2SP tlog-checkpoint and tlog-cosignature; `docs/PROTOCOL.md` section 8.
//!
//! ```text
//! <origin>
//! <size, decimal>
//! <root, base64>
//!
//! — <origin> base64(be32 key id ‖ Ed25519 over the three lines)
//! — <cosigner> base64(be32 key id ‖ be64 time ‖ Ed25519 over "cosignature/v1\ntime <time>\n" ‖ the three lines)
//! ```
//!
//! Extension lines are refused: no cosigner vouches for them. So is an origin with a space or a
//! plus, since no key can have that name.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::merkle::TreeHash;
use crate::note::{KeyName, Note, NoteError, NoteSignature, NoteSigner, SignatureType, VerifierKey};
use crate::policy::Policy;
use crate::time::UnixSeconds;

/// A tree, named by whose it is, how large and with which root.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: KeyName,
    /// Leaves in the tree.
    pub size: u64,
    /// The tree's root.
    pub root: TreeHash,
}

/// A checkpoint that its policy accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    /// The tree.
    pub checkpoint: Checkpoint,
    /// The least of the counted cosignatures' times; `None` only under a policy of `quorum none`.
    pub time: Option<UnixSeconds>,
    /// The key names of those whose cosignatures were counted, in order.
    pub cosigners: Vec<KeyName>,
}

/// Why a checkpoint is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a signed note.
    #[error("the checkpoint is no signed note: {0}")]
    Note(#[from] NoteError),
    /// The text is not the three lines of a checkpoint.
    #[error("the note's text is not a checkpoint of three lines")]
    Malformed,
    /// A key of the policy is named by a line that it did not sign.
    #[error("signature line {0} names a known key but is not its signature")]
    BadSignature(usize),
    /// No log of the policy with this origin has signed.
    #[error("no log of the policy has signed the checkpoint")]
    NoLogSignature,
    /// Valid, but too few cosignatures.
    #[error("{0} cosignatures of the policy are not its quorum")]
    NoQuorum(usize),
    /// A line for a checkpoint is made by a key of the wrong type, or by a log of another origin.
    #[error("the key is not one that may sign here")]
    WrongKey,
}

impl Checkpoint {
    /// The log's own line. The key's name must be the origin.
    pub fn log_signature(&self, key: &NoteSigner) -> Result<NoteSignature, CheckpointError> {
        if key.verifier().kind() != SignatureType::Ed25519 || *key.verifier().name() != self.origin {
            return Err(CheckpointError::WrongKey);
        }
        Ok(key.line(&self.to_string(), UnixSeconds(0)))
    }

    /// A cosigner's line. The time is floored to the minute, as all published times are.
    pub fn cosign(&self, key: &NoteSigner, now: UnixSeconds) -> Result<NoteSignature, CheckpointError> {
        if key.verifier().kind() != SignatureType::CosignatureV1 {
            return Err(CheckpointError::WrongKey);
        }
        Ok(key.line(&self.to_string(), UnixSeconds(now.0 - now.0 % 60)))
    }

    /// Checks one cosigner's line by its key, and gives the time that it states: what a validator does
    /// before it counts another's.
    pub fn check_cosignature(&self, key: &VerifierKey, line: &NoteSignature) -> Result<UnixSeconds, CheckpointError> {
        if key.kind() != SignatureType::CosignatureV1 || !key.is_named_by(line) {
            return Err(CheckpointError::WrongKey);
        }
        let time = key.check(&self.to_string(), line.signature()).ok().flatten();
        time.ok_or(CheckpointError::BadSignature(1))
    }

    /// The published note: the log's line, then the cosignatures sorted and without repetitions, so
    /// that the same lines give the same note in whatever order they arrived. The caller gives no more
    /// of them than a quorum, for verifiers need not accept more than 16 lines.
    pub fn assemble(&self, log: NoteSignature, cosignatures: &[NoteSignature]) -> Result<Note, CheckpointError> {
        let mut by_key = BTreeMap::new();
        for line in cosignatures {
            let kept = by_key.entry((line.name(), line.key_id())).or_insert(line);
            *kept = line.min(kept);
        }
        let lines = std::iter::once(log).chain(by_key.into_values().cloned()).collect();
        Ok(Note::new(self.to_string(), lines)?)
    }
}

/// The three lines, each with its newline.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root)
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let malformed = CheckpointError::Malformed;
        let mut lines = text.strip_suffix('\n').ok_or(malformed)?.split('\n');
        let (Some(origin), Some(size), Some(root), None) = (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(malformed);
        };
        Ok(Self {
            origin: KeyName::new(origin).map_err(|_| malformed)?,
            size: parse_decimal(size).ok_or(malformed)?,
            root: TreeHash::from_base64(root).map_err(|_| malformed)?,
        })
    }
}

/// What a note says, unchecked: for choosing the policy by which to check it.
pub fn parse_unverified(note: &str) -> Result<(Note, Checkpoint), CheckpointError> {
    let note = Note::parse(note)?;
    let checkpoint = note.text().parse()?;
    Ok((note, checkpoint))
}

/// Checks a note against a policy.
///
/// Every line that names a key of the policy must be a right signature, or the whole note is
/// refused; lines of unknown keys are ignored. A cosigner counts once however many lines it has.
pub fn verify(note: &str, policy: &Policy) -> Result<VerifiedCheckpoint, CheckpointError> {
    let (note, checkpoint) = parse_unverified(note)?;
    verify_parsed(&note, checkpoint, policy)
}

/// Checks a note whose checkpoint has been parsed out of it.
pub(crate) fn verify_parsed(
    note: &Note,
    checkpoint: Checkpoint,
    policy: &Policy,
) -> Result<VerifiedCheckpoint, CheckpointError> {
    let mut signed_by_log = false;
    let mut times = BTreeMap::new();
    for (i, line) in note.signatures().iter().enumerate() {
        let bad = CheckpointError::BadSignature(i + 1);
        for log in policy.logs().iter().filter(|log| log.key().is_named_by(line)) {
            log.key().check(note.text(), line.signature()).map_err(|_| bad)?;
            signed_by_log |= *log.key().name() == checkpoint.origin;
        }
        for (at, witness) in policy.witnesses().iter().enumerate().filter(|(_, w)| w.key().is_named_by(line)) {
            let time = witness.key().check(note.text(), line.signature()).map_err(|_| bad)?.ok_or(bad)?;
            // Of several lines the earliest time holds: nobody can make a checkpoint look fresher.
            times.entry(at).and_modify(|kept: &mut UnixSeconds| *kept = time.min(*kept)).or_insert(time);
        }
    }
    if !signed_by_log {
        return Err(CheckpointError::NoLogSignature);
    }
    times.retain(|at, _| policy.counts(*at));
    if !policy.is_satisfied_by(|at| times.contains_key(&at)) {
        return Err(CheckpointError::NoQuorum(times.len()));
    }
    let name = |at: &usize| policy.witnesses().get(*at).map(|witness| witness.key().name().clone());
    let mut cosigners: Vec<KeyName> = times.keys().filter_map(name).collect();
    cosigners.sort();
    Ok(VerifiedCheckpoint { checkpoint, time: times.into_values().min(), cosigners })
}

/// ASCII digits without leading zeros.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || (text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
