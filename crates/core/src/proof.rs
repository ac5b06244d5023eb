//! Proof bundles, `<file>.tlog-proof`: a leaf, and why it is in the log.
//!
//! For: writing and reading the text, and checking that its leaf is in a tree whose checkpoint is
//! accepted.
//!
//! Not for: what the leaf means and whether it speaks of a given photograph (`verify`), nor for the
//! endorsement, which is carried here as bytes.
//!
//! Format: C2SP tlog-proof; `docs/PROTOCOL.md` section 10.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64 of u8 1 ‖ be16 len ‖ leaf ‖ be16 len ‖ endorsement>
//! index <decimal>
//! <base64 hash, from the leaf's sibling to the root's child>
//! …
//!
//! <checkpoint, a signed note>
//! ```
//!
//! One proof has one text: a text that is read is the text that would be written.

use std::fmt;
use std::str::FromStr;

use crate::base64;
use crate::checkpoint::{CheckpointError, VerifiedCheckpoint, parse_decimal, parse_unverified};
use crate::codec::{DecodeError, Reader, put_prefixed16};
use crate::endorsement::MAX_ENDORSEMENT;
use crate::merkle::{self, MAX_PROOF_LEN, MerkleError, TreeHash};
use crate::network::{Trust, TrustError};

/// Longest leaf.
pub const MAX_LEAF_LEN: usize = 65_535;

/// Longest text: base64 of the two above, 64 hashes and a note of full length.
pub const MAX_PROOF_TEXT_LEN: usize = 160 * 1024;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The version of the `extra` line's bytes.
const EXTRA_VERSION: u8 = 1;

/// A leaf with all that is needed to show that it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofBundle {
    /// The leaf's bytes, 1 to [`MAX_LEAF_LEN`].
    pub leaf: Vec<u8>,
    /// `key id ‖ signature`, where it was kept and the leaf has one: 1 to [`MAX_ENDORSEMENT`] bytes.
    pub endorsement: Option<Vec<u8>>,
    /// The leaf's index in the log.
    pub index: u64,
    /// From the leaf's sibling to the root's child.
    pub path: Vec<TreeHash>,
    /// The checkpoint's note, verbatim.
    pub checkpoint: String,
}

/// Why a proof cannot be read or does not hold.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// Longer than [`MAX_PROOF_TEXT_LEN`].
    #[error("a proof of {0} bytes is too long")]
    TooLong(usize),
    /// The first line is not C2SP's.
    #[error("not a tlog-proof of version 1")]
    Header,
    /// The `extra` line is missing or its base64 is not canonical.
    #[error("the extra line is missing or malformed")]
    ExtraLine,
    /// The bytes of the `extra` line do not decode.
    #[error("the extra line's content: {0}")]
    Extra(#[from] DecodeError),
    /// The `index` line is missing or not a decimal.
    #[error("the index line is missing or malformed")]
    IndexLine,
    /// A hash is not canonical base64 of 32 bytes, or there are more than 64.
    #[error("hash {0} of the inclusion proof is malformed or too many")]
    Path(usize),
    /// No blank line between the proof and the checkpoint.
    #[error("the checkpoint is missing")]
    NoCheckpoint,
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint can be read and is not accepted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The leaf is not in the checkpoint's tree by this path.
    #[error("the leaf is not shown to be in the log: {0}")]
    Inclusion(#[from] MerkleError),
}

impl ProofBundle {
    /// Reads the text strictly. Nothing in it is to be believed before it has been checked.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        if text.len() > MAX_PROOF_TEXT_LEN {
            return Err(ProofError::TooLong(text.len()));
        }
        let (head, checkpoint) = text.split_once("\n\n").ok_or(ProofError::NoCheckpoint)?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(ProofError::Header);
        }
        let extra = lines.next().and_then(|line| line.strip_prefix("extra ")).ok_or(ProofError::ExtraLine)?;
        let extra = base64::decode_bounded(extra, MAX_EXTRA_LEN).map_err(|_| ProofError::ExtraLine)?;
        let (leaf, endorsement) = decode_extra(&extra)?;
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(parse_decimal);
        let index = index.ok_or(ProofError::IndexLine)?;
        let mut path = Vec::new();
        for (i, line) in lines.enumerate() {
            let hash = TreeHash::from_base64(line).ok().filter(|_| i < MAX_PROOF_LEN);
            path.push(hash.ok_or(ProofError::Path(i + 1))?);
        }
        parse_unverified(checkpoint)?;
        Ok(Self { leaf, endorsement, index, path, checkpoint: checkpoint.to_owned() })
    }

    /// Checks that the checkpoint is accepted and that the leaf's bytes are in its tree.
    pub fn verify_inclusion(&self, trust: &Trust) -> Result<VerifiedCheckpoint, ProofError> {
        self.included_in(trust.verify_checkpoint(&self.checkpoint)?)
    }

    /// The same, by a checkpoint that has been accepted.
    pub(crate) fn included_in(&self, verified: VerifiedCheckpoint) -> Result<VerifiedCheckpoint, ProofError> {
        let tree = &verified.checkpoint;
        merkle::verify_inclusion(&merkle::leaf_hash(&self.leaf), self.index, tree.size, &self.path, &tree.root)?;
        Ok(verified)
    }
}

/// The text of the file.
impl fmt::Display for ProofBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}\nextra {}\nindex {}", base64::encode(encode_extra(self)), self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for ProofBundle {
    type Err = ProofError;
    fn from_str(text: &str) -> Result<Self, ProofError> {
        Self::parse(text)
    }
}

pub(crate) const MAX_EXTRA_LEN: usize = 1 + 2 + MAX_LEAF_LEN + 2 + MAX_ENDORSEMENT;

pub(crate) fn encode_extra(bundle: &ProofBundle) -> Vec<u8> {
    let mut out = vec![EXTRA_VERSION];
    put_prefixed16(&mut out, &bundle.leaf);
    put_prefixed16(&mut out, bundle.endorsement.as_deref().unwrap_or_default());
    out
}

pub(crate) fn decode_extra(bytes: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>), DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.u8("extra version")?;
    if version != EXTRA_VERSION {
        return Err(DecodeError::Value { field: "extra version", value: version.into() });
    }
    let leaf = reader.prefixed16("leaf", MAX_LEAF_LEN)?;
    if leaf.is_empty() {
        return Err(DecodeError::Value { field: "leaf length", value: 0 });
    }
    let endorsement = reader.prefixed16("endorsement", MAX_ENDORSEMENT)?;
    reader.finish()?;
    Ok((leaf.to_vec(), (!endorsement.is_empty()).then(|| endorsement.to_vec())))
}

#[cfg(test)]
mod tests;
