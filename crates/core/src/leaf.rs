//! What the registry's log holds: one leaf for each record and one for each block.
//!
//! For: the encoding of leaves, which auditors and verifiers hash.
//!
//! Not for: when a leaf comes to be (`birthmark-ledger`), nor its place in the tree (`merkle`).
//!
//! Format: `docs/PROTOCOL.md` section 7; at most 65,535 bytes:
//! ```text
//! leaf   = u8 version (1) ‖ u8 type ‖ …
//! type 1 = be32 minute ‖ be16 authority ‖ be16 submitter ‖ u8 assurance ‖ [SHA-256(endorsement) 32] ‖ entries
//! type 2 = the same, where an entry has level 2
//! type 3 = be32 minute ‖ be64 height ‖ an act and its approvals (`governance`)
//! type 4 = be32 minute ‖ be64 height ‖ be32 epoch ‖ validator set hash 32 ‖ index root 32
//! ```

use crate::batch::Assurance;
use crate::body::{BodyError, Entries};
use crate::codec::{DecodeError, Reader};
use crate::governance::{ActError, ApprovedAct};
use crate::hash::Digest;
use crate::ids::{AuthorityNumber, Epoch, Height, SubmitterNumber};
use crate::time::Minute;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// The hashes of one capture or edit.
    Record(RecordLeaf),
    /// A change of who runs the network or may speak in it.
    Act(Box<ActLeaf>),
    /// The end of a block.
    Block(BlockLeaf),
}

/// The hashes of one capture or edit, with who vouched and who submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLeaf {
    /// The block's minute.
    pub minute: Minute,
    /// Who is said to vouch.
    pub authority: AuthorityNumber,
    /// Who submitted.
    pub submitter: SubmitterNumber,
    /// How much it is worth.
    pub assurance: Assurance,
    /// SHA-256 of the endorsement; given exactly at assurance 2.
    pub endorsement_hash: Option<Digest>,
    /// The images.
    pub entries: Entries,
}

/// An act that takes effect with the end of its block; stands right before that block's own leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActLeaf {
    /// The block's minute.
    pub minute: Minute,
    /// The block's height.
    pub height: Height,
    /// The act, with the approvals that sufficed.
    pub approved: ApprovedAct,
}

/// The last leaf of every block with other leaves, and of the first one of an epoch; covers all leaves before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLeaf {
    /// The block's minute.
    pub minute: Minute,
    /// The block's height; 0 is genesis.
    pub height: Height,
    /// Which validator set decided it.
    pub epoch: Epoch,
    /// That set's hash.
    pub validator_set_hash: Digest,
    /// Root of the index after the block; zeros at genesis.
    pub index_root: Digest,
}

/// Why bytes are no leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// The bytes do not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The act in it does not decode.
    #[error(transparent)]
    Act(#[from] ActError),
    /// The entries in it do not decode.
    #[error(transparent)]
    Entries(#[from] BodyError),
    /// An edit in a capture's leaf, or an edit's leaf without one.
    #[error("the leaf's type does not fit its entries")]
    Type,
}

impl Leaf {
    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.push(VERSION);
        match self {
            Self::Record(record) => {
                out.push(record.leaf_type());
                out.extend_from_slice(&record.minute.0.to_be_bytes());
                out.extend_from_slice(&record.authority.0.to_be_bytes());
                out.extend_from_slice(&record.submitter.0.to_be_bytes());
                out.push(record.assurance as u8);
                if let Some(hash) = record.endorsement_hash {
                    out.extend_from_slice(hash.as_bytes());
                }
                record.entries.encode_into(&mut out);
            }
            Self::Act(act) => {
                out.push(TYPE_ACT);
                out.extend_from_slice(&act.minute.0.to_be_bytes());
                out.extend_from_slice(&act.height.0.to_be_bytes());
                out.extend_from_slice(&act.approved.encode());
            }
            Self::Block(block) => {
                out.push(TYPE_BLOCK);
                out.extend_from_slice(&block.minute.0.to_be_bytes());
                out.extend_from_slice(&block.height.0.to_be_bytes());
                out.extend_from_slice(&block.epoch.0.to_be_bytes());
                out.extend_from_slice(block.validator_set_hash.as_bytes());
                out.extend_from_slice(block.index_root.as_bytes());
            }
        }
        out
    }

    /// Reads exactly one leaf.
    pub fn decode(bytes: &[u8]) -> Result<Self, LeafError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8("leaf version")?;
        if version != VERSION {
            return Err(DecodeError::Value { field: "leaf version", value: version.into() }.into());
        }
        let leaf_type = reader.u8("leaf type")?;
        let leaf = match leaf_type {
            TYPE_CAPTURE | TYPE_EDIT => Self::Record(RecordLeaf::decode_from(&mut reader, leaf_type)?),
            TYPE_ACT => Self::Act(Box::new(ActLeaf {
                minute: Minute(reader.be32("minute")?),
                height: Height(reader.be64("height")?),
                approved: ApprovedAct::decode_from(&mut reader)?,
            })),
            TYPE_BLOCK => Self::Block(BlockLeaf {
                minute: Minute(reader.be32("minute")?),
                height: Height(reader.be64("height")?),
                epoch: Epoch(reader.be32("epoch")?),
                validator_set_hash: Digest::from_bytes(reader.array("validator set hash")?),
                index_root: Digest::from_bytes(reader.array("index root")?),
            }),
            other => return Err(DecodeError::Value { field: "leaf type", value: other.into() }.into()),
        };
        reader.finish()?;
        Ok(leaf)
    }
}

impl RecordLeaf {
    fn leaf_type(&self) -> u8 {
        if self.entries.has_edit() { TYPE_EDIT } else { TYPE_CAPTURE }
    }

    fn decode_from(reader: &mut Reader<'_>, leaf_type: u8) -> Result<Self, LeafError> {
        let minute = Minute(reader.be32("minute")?);
        let authority = AuthorityNumber(reader.be16("authority")?);
        let submitter = SubmitterNumber(reader.be16("submitter")?);
        let assurance = Assurance::from_number(reader.u8("assurance")?)?;
        let endorsement_hash = match assurance {
            Assurance::Endorsed => Some(Digest::from_bytes(reader.array("endorsement hash")?)),
            Assurance::Asserted | Assurance::Attested => None,
        };
        let entries = Entries::decode_from(reader)?;
        let leaf = Self { minute, authority, submitter, assurance, endorsement_hash, entries };
        if leaf.leaf_type() == leaf_type { Ok(leaf) } else { Err(LeafError::Type) }
    }
}

const VERSION: u8 = 1;
const TYPE_CAPTURE: u8 = 1;
const TYPE_EDIT: u8 = 2;
const TYPE_ACT: u8 = 3;
const TYPE_BLOCK: u8 = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::body::tests::{any_entries, capture};

    fn record(entries: Entries) -> Leaf {
        Leaf::Record(RecordLeaf {
            minute: Minute(29_000_000),
            authority: AuthorityNumber(1),
            submitter: SubmitterNumber(1),
            assurance: Assurance::Attested,
            endorsement_hash: None,
            entries,
        })
    }

    #[test]
    fn truncated_extended_and_mistyped_bytes_are_refused() {
        let good = record(capture().entries).encode();
        for cut in 0..good.len() {
            assert!(Leaf::decode(&good[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Leaf::decode(&[good.as_slice(), &[0]].concat()).is_err());
        for (at, value) in [(0, 0), (0, 2), (1, 0), (1, 3), (1, 5), (10, 3)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Leaf::decode(&bad).is_err(), "byte {at} = {value}");
        }
        let mut edit_without_edit = good;
        edit_without_edit[1] = TYPE_EDIT;
        assert_eq!(Leaf::decode(&edit_without_edit), Err(LeafError::Type));
    }

    #[test]
    fn block_leaf_has_the_stated_layout() {
        let leaf = Leaf::Block(BlockLeaf {
            minute: Minute(1),
            height: Height(2),
            epoch: Epoch(3),
            validator_set_hash: Digest::from_bytes([4; 32]),
            index_root: Digest::from_bytes([5; 32]),
        });
        let expected = format!("0104{:08x}{:016x}{:08x}{}{}", 1, 2, 3, "04".repeat(32), "05".repeat(32));
        assert_eq!(crate::hex::encode(leaf.encode()), expected);
        assert_eq!(Leaf::decode(&leaf.encode()), Ok(leaf));
    }

    proptest! {
        #[test]
        fn every_record_round_trips(entries in any_entries(), endorsed: Option<[u8; 32]>, minute: u32) {
            let leaf = Leaf::Record(RecordLeaf {
                minute: Minute(minute),
                authority: AuthorityNumber(7),
                submitter: SubmitterNumber(8),
                assurance: if endorsed.is_some() { Assurance::Endorsed } else { Assurance::Asserted },
                endorsement_hash: endorsed.map(Digest::from_bytes),
                entries,
            });
            prop_assert_eq!(Leaf::decode(&leaf.encode()), Ok(leaf));
        }
    }
}
