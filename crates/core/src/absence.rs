//! Proof that the registry held no record of an image when a checkpoint was cosigned.
//!
//! For: writing and reading the JSON, and everything that a verifier checks of it: [`AbsenceProof::verify`].
//!
//! Not for: making the path (`birthmark_ledger`), nor for proof of what *is* recorded (`proof`).
//!
//! A block's last leaf carries the root of the index over all earlier leaves (`leaf`), so a checkpoint
//! whose last leaf is shown speaks for the index as well: no server can leave a record out. What it
//! cannot rule out is a record that came later; hence the age.
//!
//! Format: `docs/PROTOCOL.md` section 10. At most 256 KiB:
//! ```text
//! {"version": 1, "image_hash": "<hex>", "checkpoint": "<note>", "leaf": "<hex>",
//!  "inclusion": ["<hex>"], "siblings": ["<hex>"], "other": null | {"key": "<hex>", "value_hash": "<hex>"}}
//! ```
//! `leaf` is leaf N-1 of a checkpoint of size N and must be a block's. `inclusion` goes up from the
//! leaf's sibling, `siblings` down from the root of the index.

use serde::{Deserialize, Serialize};

use crate::hash::{Digest, ImageHash};
use crate::hex;
use crate::ids::Height;
use crate::index::trie::{self, MAX_SIBLINGS, OtherKey, TrieError};
use crate::json::{self, JsonError};
use crate::leaf::{BlockLeaf, Leaf, LeafError};
use crate::merkle::{self, MAX_PROOF_LEN, MerkleError, TreeHash};
use crate::network::{DEFAULT_MAX_AGE, Network, Trust, TrustError};
use crate::note::MAX_NOTE_LEN;
use crate::proof::MAX_LEAF_LEN;
use crate::time::UnixSeconds;

/// Longest JSON text of a proof.
pub const MAX_ABSENCE_LEN: usize = 256 * 1024;

/// All that shows an image not to be in the index. Serialized as the JSON object above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Fields", try_from = "Fields")]
pub struct AbsenceProof {
    /// The image that is not recorded.
    pub image_hash: ImageHash,
    /// The checkpoint's note, verbatim.
    pub checkpoint: String,
    /// The log's last leaf under that checkpoint, at most 65,535 bytes.
    pub leaf: Vec<u8>,
    /// From the leaf's sibling to the child of the log's root, at most 64.
    pub inclusion: Vec<TreeHash>,
    /// From the child of the index root downwards, at most 256.
    pub siblings: Vec<Digest>,
    /// The key that stands at the end of the path; none if nothing does.
    pub other: Option<OtherKey>,
}

/// What a proof that holds says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// The image.
    pub image_hash: ImageHash,
    /// The last block before the checkpoint: no block up to this one recorded the image.
    pub height: Height,
    /// Leaves that the checkpoint covers.
    pub checkpoint_size: u64,
    /// The least time among the counted cosignatures: at this time the log held no record of the image.
    pub checkpoint_time: UnixSeconds,
    /// Whose cosignatures counted.
    pub cosigners: Vec<String>,
}

/// Why a proof of absence cannot be read or does not hold.
#[derive(Debug, thiserror::Error)]
pub enum AbsenceError {
    /// Longer than [`MAX_ABSENCE_LEN`].
    #[error("a proof of absence of {0} bytes is too long")]
    TooLong(usize),
    /// Not the JSON object of the format.
    #[error("the proof of absence: {0}")]
    Json(#[from] JsonError),
    /// The checkpoint is not accepted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The leaf is not shown to be the log's last one.
    #[error("the block's leaf is not shown to be the last of the log: {0}")]
    Inclusion(#[from] MerkleError),
    /// The leaf does not decode.
    #[error("the log's last leaf does not decode: {0}")]
    Leaf(#[from] LeafError),
    /// The leaf is a record's.
    #[error("the log's last leaf is not a block's")]
    NotABlock,
    /// The block carries zeros where the index of a log with records cannot be empty.
    #[error("the block at height {0} has no index root")]
    NoIndexRoot(u64),
    /// The path does not show the image to be absent.
    #[error("the image is not shown to be absent from the index: {0}")]
    Path(#[from] TrieError),
    /// The policy counts no cosignatures, so nobody says when the checkpoint was made.
    #[error("nobody vouches for the time of the checkpoint")]
    NoTime,
    /// The proof holds for an earlier time than the policy accepts.
    #[error("the proof is {age} s old, and at most {max_age} s are accepted")]
    TooOld {
        /// Seconds since the checkpoint's time.
        age: u64,
        /// The policy's bound.
        max_age: u64,
    },
}

impl AbsenceProof {
    /// Reads the JSON text. Nothing in it is to be believed before it has been checked.
    pub fn parse(text: &[u8]) -> Result<Self, AbsenceError> {
        if text.len() > MAX_ABSENCE_LEN {
            return Err(AbsenceError::TooLong(text.len()));
        }
        Ok(json::from_slice(text)?)
    }

    /// Checks all of it: that the checkpoint is accepted, that the leaf is its log's last and a block's,
    /// that the image is not in that block's index, and, last, that this is not too long ago.
    ///
    /// Under a bare policy, which names no bound, [`DEFAULT_MAX_AGE`] holds.
    pub fn verify(&self, trust: &Trust, now: UnixSeconds) -> Result<Absence, AbsenceError> {
        let verified = trust.verify_checkpoint(&self.checkpoint)?;
        let tree = &verified.checkpoint;
        let last = tree.size.checked_sub(1).ok_or(MerkleError::IndexOutOfRange { index: 0, size: 0 })?;
        merkle::verify_inclusion(&merkle::leaf_hash(&self.leaf), last, tree.size, &self.inclusion, &tree.root)?;
        let Leaf::Block(BlockLeaf { height, index_root, .. }) = Leaf::decode(&self.leaf)? else {
            return Err(AbsenceError::NotABlock);
        };
        // Every later block has records. A log that was begun without an index would have zeros there
        // too, and the path of an empty index would "prove" anything absent from it.
        if index_root == trie::EMPTY && height != Height(0) {
            return Err(AbsenceError::NoIndexRoot(height.0));
        }
        trie::verify_absence(&self.image_hash.index_key(), &self.siblings, self.other.as_ref(), &index_root)?;
        let checkpoint_time = verified.time.ok_or(AbsenceError::NoTime)?;
        let max_age = trust.network().map_or(DEFAULT_MAX_AGE, Network::max_age);
        let age = now.0.saturating_sub(checkpoint_time.0);
        if age > max_age {
            return Err(AbsenceError::TooOld { age, max_age });
        }
        Ok(Absence {
            image_hash: self.image_hash,
            height,
            checkpoint_size: tree.size,
            checkpoint_time,
            cosigners: verified.cosigners.iter().map(|name| name.as_str().to_owned()).collect(),
        })
    }
}

/// The proof that nothing was on record when the checkpoint was cosigned.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = AbsenceProof))]
struct Fields {
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1))]
    version: u8,
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-f]{64}$"))]
    image_hash: ImageHash,
    checkpoint: String,
    #[cfg_attr(feature = "openapi", schema(pattern = "^([0-9a-f]{2})+$"))]
    leaf: String,
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>, max_items = 64))]
    inclusion: Vec<Digest>,
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>, max_items = 256))]
    siblings: Vec<Digest>,
    #[cfg_attr(feature = "openapi", schema(required = true))]
    other: Option<OtherKey>,
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for AbsenceProof {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        Fields::schema()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for AbsenceProof {
    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
        <Fields as utoipa::ToSchema>::schemas(schemas);
    }
}

/// Why an object with the right fields is no proof. Free of input, as it ends up in a [`JsonError`].
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum FieldError {
    #[error("the version must be 1")]
    Version,
    #[error("`{0}` is too long")]
    TooLong(&'static str),
    #[error("`leaf` must be hex")]
    Leaf,
}

impl From<AbsenceProof> for Fields {
    fn from(proof: AbsenceProof) -> Self {
        Self {
            version: VERSION,
            image_hash: proof.image_hash,
            checkpoint: proof.checkpoint,
            leaf: hex::encode(proof.leaf),
            inclusion: proof.inclusion.iter().map(|hash| Digest::from_bytes(*hash.as_bytes())).collect(),
            siblings: proof.siblings,
            other: proof.other,
        }
    }
}

impl TryFrom<Fields> for AbsenceProof {
    type Error = FieldError;

    fn try_from(fields: Fields) -> Result<Self, FieldError> {
        if fields.version != VERSION {
            return Err(FieldError::Version);
        }
        for (field, len, max) in [
            ("checkpoint", fields.checkpoint.len(), MAX_NOTE_LEN),
            ("leaf", fields.leaf.len(), 2 * MAX_LEAF_LEN),
            ("inclusion", fields.inclusion.len(), MAX_PROOF_LEN),
            ("siblings", fields.siblings.len(), MAX_SIBLINGS),
        ] {
            if len > max {
                return Err(FieldError::TooLong(field));
            }
        }
        Ok(Self {
            image_hash: fields.image_hash,
            checkpoint: fields.checkpoint,
            leaf: hex::decode_bounded(&fields.leaf, MAX_LEAF_LEN).map_err(|_| FieldError::Leaf)?,
            inclusion: fields.inclusion.iter().map(|hash| TreeHash::from_bytes(*hash.as_bytes())).collect(),
            siblings: fields.siblings,
            other: fields.other,
        })
    }
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests;
