//! Looking an image up without telling which one: by the first digits of its key in the index.
//!
//! For: writing and reading a page of such a look-up, and taking out of it the proof about one image, which is then
//! checked like any other ([`ProofBundle`], [`AbsenceProof`]). Not for: making pages (`birthmark_ledger`), or asking.
//!
//! A page lists **all** images of one subtree of the index, each with its proof, and the way from that subtree to the
//! index root in the log's last leaf. So it proves as well what is not in it, and a server can leave nothing out.
//!
//! Format: `docs/PROTOCOL.md` section 11. At most 4 MiB and [`MAX_IMAGES`] images:
//! ```text
//! {"prefix": "ab3", "from": "<64 hex>", "checkpoint": "<note>", "leaf": "<hex>", "inclusion": ["<hex>"],
//!  "siblings": ["<hex>"],
//!  "images": [{"key": "<64 hex>", "records": [{"tx_id", "entry", "assurance"}], "extra": "<base64>", "path": "<base64>"}],
//!  "next": "<64 hex>" | null}
//! ```
//! `leaf`, `inclusion` and `siblings` are those of a proof of absence; `siblings` end above the subtree, in which
//! `from` is the first possible key. `extra` is that of the first record's tlog-proof, `path` its hashes one after the
//! other. `next` is the `from` of the page that follows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::absence::AbsenceProof;
use crate::base64;
use crate::codec::DecodeError;
use crate::hash::{Digest, ImageHash};
use crate::hex;
use crate::index::trie::{self, End, MAX_SIBLINGS, is_right};
use crate::index::{IndexRecord, MAX_RECORDS, encode_value};
use crate::json::{self, JsonError};
use crate::merkle::{MAX_PROOF_LEN, TreeHash};
use crate::note::MAX_NOTE_LEN;
use crate::proof::{self, MAX_LEAF_LEN, ProofBundle};

/// Most images of one page.
pub const MAX_IMAGES: usize = 512;
/// Longest JSON text of a page.
pub const MAX_PAGE_LEN: usize = 4 * 1024 * 1024;
/// Most digits of a prefix.
pub const MAX_DIGITS: usize = 8;

/// The first 1 to 8 hex digits of keys in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPrefix {
    /// The digits from the most significant one on, then zeros.
    bits: u32,
    digits: usize,
}

/// Not 1 to 8 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a prefix has 1 to {MAX_DIGITS} hex digits")]
pub struct PrefixError;

/// One page of a look-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PrefixPage {
    /// What was asked for.
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-f]{1,8}$"))]
    pub prefix: KeyPrefix,
    /// The first key that the page could list.
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-f]{64}$"))]
    pub from: Digest,
    /// The checkpoint's note, verbatim.
    pub checkpoint: String,
    /// The log's last leaf under that checkpoint, in hex.
    #[cfg_attr(feature = "openapi", schema(pattern = "^([0-9a-f]{2})+$"))]
    pub leaf: String,
    /// From that leaf's sibling to the child of the log's root.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>, max_items = 64))]
    pub inclusion: Vec<Digest>,
    /// From the child of the index root down to the subtree's own sibling.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>, max_items = 256))]
    pub siblings: Vec<Digest>,
    /// All images of the subtree, keys rising.
    #[cfg_attr(feature = "openapi", schema(max_items = 512))]
    pub images: Vec<PrefixImage>,
    /// What to ask for next, `null` at the end.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required = true, pattern = "^[0-9a-f]{64}$"))]
    pub next: Option<Digest>,
}

/// One image of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PrefixImage {
    /// Its key in the index, which does not tell its hash.
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-f]{64}$"))]
    pub key: Digest,
    /// Its records, the best first.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 16))]
    pub records: Vec<IndexRecord>,
    /// The first record's leaf and endorsement, as in a tlog-proof.
    pub extra: String,
    /// The hashes of the first record's tlog-proof, one after the other, in base64.
    pub path: String,
}

/// Why a page cannot be read. Whether what it says holds is found out with the proofs taken out of it.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// Longer than [`MAX_PAGE_LEN`].
    #[error("a page of {0} bytes is too long")]
    TooLong(usize),
    /// Not the JSON object of the format.
    #[error("the page: {0}")]
    Json(#[from] JsonError),
    /// A field is beyond its bound or has other characters than it should.
    #[error("the page's {0} is too long or malformed")]
    Field(&'static str),
    /// An image's leaf and endorsement cannot be read.
    #[error("an image's extra cannot be read: {0}")]
    Extra(#[from] DecodeError),
}

/// What a page says about an image, still to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is on record.
    Record(Box<ProofBundle>),
    /// It is not.
    Absent(Box<AbsenceProof>),
    /// Its place is on another page.
    Elsewhere,
}

impl KeyPrefix {
    /// The first digits of a key, 1 to [`MAX_DIGITS`]; more or fewer are cut to that.
    pub fn of(key: &Digest, digits: usize) -> Self {
        let digits = digits.clamp(1, MAX_DIGITS);
        let first = key.as_bytes().first_chunk().copied().unwrap_or_default();
        Self { bits: u32::from_be_bytes(first) & (u32::MAX << (32 - 4 * digits)), digits }
    }

    /// How many digits tell a server no more than that the image is one of some 256 or more, of so many images.
    pub fn digits_for(images: u64) -> usize {
        (2..=MAX_DIGITS).rev().find(|digits| images >> (4 * digits) >= CROWD).unwrap_or(1)
    }

    /// How many bits of a key it fixes.
    pub const fn bits(&self) -> usize {
        4 * self.digits
    }

    /// The first key under it.
    pub fn first(&self) -> Digest {
        let mut key = [0; 32];
        let (head, _) = key.split_at_mut(4);
        head.copy_from_slice(&self.bits.to_be_bytes());
        Digest::from_bytes(key)
    }

    /// Whether a key begins so.
    pub fn covers(&self, key: &Digest) -> bool {
        Self::of(key, self.digits) == *self
    }
}

impl PrefixPage {
    /// Reads the JSON text. Nothing in it is to be believed.
    pub fn parse(text: &[u8]) -> Result<Self, PageError> {
        if text.len() > MAX_PAGE_LEN {
            return Err(PageError::TooLong(text.len()));
        }
        let page: Self = json::from_slice(text)?;
        let too_many_records = page.images.iter().any(|image| !(1..=MAX_RECORDS).contains(&image.records.len()));
        for (field, is_wrong) in [
            ("checkpoint", page.checkpoint.len() > MAX_NOTE_LEN),
            ("leaf", hex::decode_bounded(&page.leaf, MAX_LEAF_LEN).is_err()),
            ("inclusion", page.inclusion.len() > MAX_PROOF_LEN),
            ("siblings", page.siblings.len() > MAX_SIBLINGS),
            ("images", page.images.len() > MAX_IMAGES || !page.images.is_sorted_by(|one, two| one.key < two.key)),
            ("records", too_many_records),
        ] {
            if is_wrong {
                return Err(PageError::Field(field));
            }
        }
        Ok(page)
    }

    /// Takes out what the page says about an image. It is worth nothing until that proof has been checked.
    pub fn about(&self, image: &ImageHash) -> Result<Said, PageError> {
        let key = image.index_key();
        if (0..self.siblings.len()).any(|depth| is_right(&key, depth) != is_right(&self.from, depth)) {
            return Ok(Said::Elsewhere);
        }
        if let Ok(at) = self.images.binary_search_by_key(&key, |image| image.key)
            && let Some(image) = self.images.get(at)
        {
            return Ok(Said::Record(Box::new(image.proof(&self.checkpoint)?)));
        }
        let leaves: Vec<_> = self.images.iter().map(PrefixImage::trie_leaf).collect();
        let trie::Path { siblings, end } = trie::path_of(&leaves, self.siblings.len(), &key);
        let other = match end {
            End::Other(other) => Some(other),
            // The second was ruled out by the search.
            End::Empty | End::Here { .. } => None,
        };
        Ok(Said::Absent(Box::new(AbsenceProof {
            image_hash: *image,
            checkpoint: self.checkpoint.clone(),
            leaf: hex::decode_bounded(&self.leaf, MAX_LEAF_LEN).map_err(|_| PageError::Field("leaf"))?,
            inclusion: self.inclusion.iter().map(|hash| TreeHash::from_bytes(*hash.as_bytes())).collect(),
            siblings: self.siblings.iter().copied().chain(siblings).collect(),
            other,
        })))
    }
}

impl PrefixImage {
    /// An image with the proof of its first record, whose checkpoint the page gives once for all.
    pub fn new(key: Digest, records: Vec<IndexRecord>, proof: &ProofBundle) -> Self {
        let path: Vec<_> = proof.path.iter().flat_map(|hash| *hash.as_bytes()).collect();
        Self { key, records, extra: base64::encode(proof::encode_extra(proof)), path: base64::encode(path) }
    }

    fn trie_leaf(&self) -> trie::Leaf {
        trie::Leaf { key: self.key, value_hash: Digest::of_parts(&[&encode_value(&self.records)]) }
    }

    /// The leaf of its first record, encoded; unproven.
    pub fn leaf(&self) -> Result<Vec<u8>, PageError> {
        Ok(self.extra()?.0)
    }

    fn extra(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), PageError> {
        let extra = base64::decode_bounded(&self.extra, proof::MAX_EXTRA_LEN).map_err(|_| PageError::Field("extra"))?;
        Ok(proof::decode_extra(&extra)?)
    }

    fn proof(&self, checkpoint: &str) -> Result<ProofBundle, PageError> {
        let first = self.records.first().ok_or(PageError::Field("records"))?;
        let (leaf, endorsement) = self.extra()?;
        let path = base64::decode_bounded(&self.path, 32 * MAX_PROOF_LEN).map_err(|_| PageError::Field("path"))?;
        let (path, rest) = path.as_chunks();
        if !rest.is_empty() {
            return Err(PageError::Field("path"));
        }
        let path = path.iter().copied().map(TreeHash::from_bytes).collect();
        Ok(ProofBundle { leaf, endorsement, index: first.tx_id.0, path, checkpoint: checkpoint.to_owned() })
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = format!("{:08x}", self.bits);
        f.write_str(all.get(..self.digits).unwrap_or_default())
    }
}

impl FromStr for KeyPrefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let is_hex = (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = u32::from_str_radix(text, 16).ok().filter(|_| is_hex).ok_or(PrefixError)?;
        Ok(Self { bits: bits << (32 - 4 * text.len()), digits: text.len() })
    }
}

impl Serialize for KeyPrefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyPrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Among how many images one hides at least.
const CROWD: u64 = 256;

#[cfg(test)]
mod tests;
