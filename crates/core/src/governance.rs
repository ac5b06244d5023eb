//! Acts of governance: one change of who runs a network or may speak in it, approved by a quorum of its
//! validators.
//!
//! For: the bytes of an act, of its approvals, and of both together; [`ActFile`] is what people hand
//! around. Not for: whether an act may be enacted in a network and what it changes (`network`), nor for
//! recording it (`birthmark_ledger`).
//!
//! Format: `docs/PROTOCOL.md` section 14:
//! ```text
//! act      = u8 version (1) ‖ network_id 32 ‖ be32 number ‖ previous 32 ‖ be32 epoch ‖ u8 kind ‖ change
//! 1 add a validator        consensus key 32 ‖ log key 32 ‖ cosigning key 32 ‖ u8 len ‖ p2p_address
//! 2 remove a validator     consensus key 32
//! 3 set an authority       be16 number ‖ u8 len ‖ id ‖ u8 min_token_version ‖ u8 t ‖ [token key 32, if t = 1]
//!                            ‖ u8 n ‖ n × (u8 state ‖ be16 len ‖ spki)
//! 4 remove an authority    be16 number
//! 5 add a submitter        be16 number ‖ u8 len ‖ name ‖ key 32
//! 6 remove a submitter     be16 number
//! approval = Ed25519 by a validator's log key over "birthmark/act/v1" ‖ act
//! approved = be16 len ‖ act ‖ u8 n ‖ n × (log key 32 ‖ approval 64)          keys strictly rising
//! ```

mod approved;
mod change;

use crate::codec::{DecodeError, Reader};
use crate::hash::Digest;
use crate::ids::{AuthorityNumber, Epoch, IdError, NetworkId, SubmitterNumber};
use crate::network::{Authority, Submitter, Validator};
use crate::note::{KeyError, PublicKey};

pub use self::approved::{ActFile, ActFileError, Approval, ApprovedAct, MAX_ACT_FILE, MAX_APPROVED};

/// Longest act: that of an authority with 64 endorsement keys of 4096 bits has 36 KiB.
pub const MAX_ACT: usize = 48 * 1024;

/// How many blocks after the one that holds it a change of validators takes effect. By then every honest
/// validator knows that it is final, so all agree on the last block of their epoch before they make it.
pub const NOTICE: u64 = 32;

/// One change, and the one place in a network's history where it may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// In which network.
    pub network: NetworkId,
    /// Which act of the network this is, from 1.
    pub number: u32,
    /// SHA-256 of the act before it; for the first, of the network file's document.
    pub previous: Digest,
    /// The epoch whose validators approve it.
    pub epoch: Epoch,
    /// What changes.
    pub change: Change,
}

/// What an act changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// One more validator, from the next epoch on.
    AddValidator(Box<Validator>),
    /// The validator with this consensus key decides no more, from the next epoch on.
    RemoveValidator(PublicKey),
    /// A new authority, or another entry for a known one.
    SetAuthority(Box<Authority>),
    /// Nothing new is recorded under it. What is recorded stays.
    RemoveAuthority(AuthorityNumber),
    /// Somebody more may send batches.
    AddSubmitter(Submitter),
    /// Its batches are taken no more.
    RemoveSubmitter(SubmitterNumber),
}

/// Why bytes are no act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActError {
    /// The bytes do not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A key in them is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A name in them is none.
    #[error(transparent)]
    Name(#[from] IdError),
    /// Longer than [`MAX_ACT`].
    #[error("an act of {0} bytes is too long")]
    TooLong(usize),
    /// Approvals are not in strictly rising order of their keys.
    #[error("approvals are out of order, or a key has approved twice")]
    Order,
}

impl Act {
    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(self.network.as_bytes());
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(self.previous.as_bytes());
        out.extend_from_slice(&self.epoch.0.to_be_bytes());
        self.change.encode_into(&mut out);
        out
    }

    /// Reads exactly one act.
    pub fn decode(bytes: &[u8]) -> Result<Self, ActError> {
        if bytes.len() > MAX_ACT {
            return Err(ActError::TooLong(bytes.len()));
        }
        let mut reader = Reader::new(bytes);
        let version = reader.u8("act version")?;
        if version != VERSION {
            return Err(DecodeError::Value { field: "act version", value: version.into() }.into());
        }
        let act = Self {
            network: NetworkId(Digest::from_bytes(reader.array("network id")?)),
            number: reader.be32("act number")?,
            previous: Digest::from_bytes(reader.array("previous act")?),
            epoch: Epoch(reader.be32("epoch")?),
            change: Change::decode_from(&mut reader)?,
        };
        reader.finish()?;
        Ok(act)
    }

    /// What the next act names as `previous`.
    pub fn digest(&self) -> Digest {
        Digest::of_parts(&[&self.encode()])
    }

    /// What a validator signs to approve it.
    pub(crate) fn signed_message(&self) -> Vec<u8> {
        [DOMAIN, &self.encode()].concat()
    }
}

impl Change {
    /// Whether other validators decide after it, so that it ends an epoch.
    pub const fn ends_epoch(&self) -> bool {
        matches!(self, Self::AddValidator(_) | Self::RemoveValidator(_))
    }
}

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"birthmark/act/v1";

#[cfg(test)]
mod tests;
