//! An act with its approvals: as bytes in blocks and leaves, as JSON among people.

use serde::{Deserialize, Serialize};

use super::{Act, ActError, MAX_ACT};
use crate::codec::{DecodeError, Reader, put_prefixed16};
use crate::hex;
use crate::json::{self, JsonError};
use crate::network::MAX_VALIDATORS;
use crate::note::{PublicKey, SecretKey};

/// Most bytes of an act with its approvals.
pub const MAX_APPROVED: usize = 2 + MAX_ACT + 1 + MAX_VALIDATORS * APPROVAL_LEN;

/// Longest act file.
pub const MAX_ACT_FILE: usize = 128 * 1024;

/// One validator's signature under an act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The validator's log key.
    pub key: PublicKey,
    /// Ed25519 over `"birthmark/act/v1" ‖ act`.
    #[serde(serialize_with = "write_hex", deserialize_with = "hex::deserialize_array")]
    pub signature: [u8; 64],
}

/// An act and who has approved it. Whether these suffice is for a network to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovedAct {
    act: Act,
    approvals: Vec<Approval>,
}

/// An act on its way from one validator's operator to the next, at most [`MAX_ACT_FILE`] bytes:
/// ```text
/// {"act": "<hex>", "approvals": [{"key": "<hex>", "signature": "<hex>"}]}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActFile {
    act: String,
    #[serde(default)]
    approvals: Vec<Approval>,
}

/// Why a file is no act's.
#[derive(Debug, thiserror::Error)]
pub enum ActFileError {
    /// Longer than [`MAX_ACT_FILE`].
    #[error("an act's file of {0} bytes is too long")]
    TooLong(usize),
    /// Not the JSON object above.
    #[error("not an act's file: {0}")]
    Json(#[from] JsonError),
    /// `act` is not hex.
    #[error("`act` must be hex")]
    Hex,
    /// The bytes in it are no act.
    #[error(transparent)]
    Act(#[from] ActError),
    /// More approvals than a network has validators.
    #[error("{0} approvals are more than a network has validators")]
    TooMany(usize),
}

impl Approval {
    /// Whether the signature is the key's under the act.
    pub fn holds_for(&self, act: &Act) -> bool {
        self.key.verifies(&act.signed_message(), &self.signature)
    }
}

impl ApprovedAct {
    /// Puts approvals beside an act. Of several by one key the first is kept.
    pub fn new(act: Act, mut approvals: Vec<Approval>) -> Self {
        approvals.sort_by_key(|approval| approval.key);
        approvals.dedup_by_key(|approval| approval.key);
        Self { act, approvals }
    }

    /// The act.
    pub const fn act(&self) -> &Act {
        &self.act
    }

    /// Who approved it, by rising keys.
    pub fn approvals(&self) -> &[Approval] {
        &self.approvals
    }

    /// Adds a validator's approval by its log key.
    pub fn approve(&mut self, log_key: &SecretKey) {
        let key = log_key.public_key();
        if let Err(at) = self.approvals.binary_search_by_key(&key, |approval| approval.key) {
            self.approvals.insert(at, Approval { key, signature: log_key.sign(&self.act.signed_message()) });
        }
    }

    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_prefixed16(&mut out, &self.act.encode());
        out.push(u8::try_from(self.approvals.len()).unwrap_or(u8::MAX));
        for Approval { key, signature } in &self.approvals {
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(signature);
        }
        out
    }

    /// Reads exactly one.
    pub fn decode(bytes: &[u8]) -> Result<Self, ActError> {
        let mut reader = Reader::new(bytes);
        let approved = Self::decode_from(&mut reader)?;
        reader.finish()?;
        Ok(approved)
    }

    /// Reads one off the front of what `reader` holds.
    pub fn decode_from(reader: &mut Reader<'_>) -> Result<Self, ActError> {
        let act = Act::decode(reader.prefixed16("act", MAX_ACT)?)?;
        let count = reader.u8("approvals")?;
        if usize::from(count) > MAX_VALIDATORS {
            return Err(DecodeError::Value { field: "approvals", value: count.into() }.into());
        }
        let mut approvals: Vec<Approval> = Vec::with_capacity(count.into());
        for _ in 0..count {
            let key = PublicKey::from_bytes(&reader.array("approving key")?)?;
            if approvals.last().is_some_and(|before| before.key >= key) {
                return Err(ActError::Order);
            }
            approvals.push(Approval { key, signature: reader.array("approval")? });
        }
        Ok(Self { act, approvals })
    }
}

impl ActFile {
    /// Reads a file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<ApprovedAct, ActFileError> {
        if bytes.len() > MAX_ACT_FILE {
            return Err(ActFileError::TooLong(bytes.len()));
        }
        json::from_slice::<Self>(bytes)?.try_into()
    }
}

impl TryFrom<ActFile> for ApprovedAct {
    type Error = ActFileError;

    fn try_from(file: ActFile) -> Result<Self, ActFileError> {
        if file.approvals.len() > MAX_VALIDATORS {
            return Err(ActFileError::TooMany(file.approvals.len()));
        }
        let act = hex::decode_bounded(&file.act, MAX_ACT).map_err(|_| ActFileError::Hex)?;
        Ok(Self::new(Act::decode(&act)?, file.approvals))
    }
}

impl From<&ApprovedAct> for ActFile {
    fn from(approved: &ApprovedAct) -> Self {
        Self { act: hex::encode(approved.act.encode()), approvals: approved.approvals.clone() }
    }
}

fn write_hex<S: serde::Serializer>(bytes: &[u8; 64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(bytes))
}

const APPROVAL_LEN: usize = 32 + 64;
