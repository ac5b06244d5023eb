//! The entries of the document, as they stand in JSON.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::hash::Digest;
use crate::ids::{AuthorityId, AuthorityNumber, Epoch, Height, SubmitterName, SubmitterNumber};
use crate::note::{KeyName, PublicKey, SecretKey};
use crate::{base64, hex};

/// The document inside the network file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Document {
    pub(super) version: u64,
    pub(super) genesis: String,
    pub(super) origin: KeyName,
    pub(super) epochs: Vec<EpochEntry>,
    pub(super) authorities: Vec<Authority>,
    pub(super) submitters: Vec<Submitter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) max_age: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EpochEntry {
    pub(super) epoch: Epoch,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first_height: Option<Height>,
    pub(super) policy: String,
    pub(super) validators: Vec<Validator>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_root: Option<Digest>,
}

/// A validator's three keys, and where its peers reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validator {
    /// Signs consensus messages.
    pub consensus_key: PublicKey,
    /// Signs checkpoints as the log, and the network file.
    pub log_key: PublicKey,
    /// Cosigns checkpoints.
    pub cosigning_key: PublicKey,
    /// `host:port` of its peer-to-peer listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p2p_address: Option<String>,
}

/// Who vouches for cameras.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Never reused.
    pub number: AuthorityNumber,
    /// The name that submissions give.
    pub id: AuthorityId,
    /// To which version 2 tokens are sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_key: Option<TokenKey>,
    /// What the network demands of its submissions.
    #[serde(default)]
    pub rules: Rules,
    /// Every endorsement key that it has ever used.
    #[serde(default)]
    pub endorsement_keys: Vec<EndorsementKey>,
}

/// What the network demands of an authority's submissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// The lowest version of the camera token that is taken.
    #[serde(default)]
    pub min_token_version: MinTokenVersion,
}

/// 1 or 2, a number in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u64", try_from = "u64")]
pub enum MinTokenVersion {
    /// Either version.
    #[default]
    V1,
    /// Version 2 only.
    V2,
}

/// A key under which an authority signs blindly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndorsementKey {
    /// The first 8 bytes of SHA-256(`spki`).
    pub key_id: EndorsementKeyId,
    /// The RSA public key's SPKI in DER.
    #[serde(serialize_with = "write_spki", deserialize_with = "read_spki")]
    pub spki: Vec<u8>,
    /// Whether it still counts.
    pub state: EndorsementKeyState,
}

/// The state of an endorsement key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndorsementKeyState {
    /// Signs now; at most one an authority.
    Current,
    /// Still signs for those that have not heard of its successor.
    Previous,
    /// Signs no more; what it signed holds.
    Retired,
    /// What it signs from now on does not hold.
    Revoked,
}

/// Who may send batches of transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitter {
    /// Never reused.
    pub number: SubmitterNumber,
    /// Shown to people.
    pub name: SubmitterName,
    /// Signs its batches.
    pub key: PublicKey,
}

/// One signature over the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSignature {
    pub(super) key: PublicKey,
    #[serde(serialize_with = "write_hex", deserialize_with = "hex::deserialize_array")]
    pub(super) signature: [u8; 64],
}

impl FileSignature {
    /// Signs a document's bytes with a validator's log key.
    pub(super) fn new(document: &[u8], log_key: &SecretKey) -> Self {
        Self { key: log_key.public_key(), signature: log_key.sign(&signed_message(document)) }
    }

    /// Whether the signature is the key's.
    pub(super) fn holds_for(&self, document: &[u8]) -> bool {
        self.key.verifies(&signed_message(document), &self.signature)
    }
}

fn signed_message(document: &[u8]) -> Vec<u8> {
    [b"birthmark/network/v1", document].concat()
}

impl Validator {
    /// `consensus key ‖ log key ‖ cosigning key`.
    pub(crate) fn key_bytes(&self) -> [[u8; 32]; 3] {
        [*self.consensus_key.as_bytes(), *self.log_key.as_bytes(), *self.cosigning_key.as_bytes()]
    }
}

impl Authority {
    /// The key under which it signs now.
    pub fn current_endorsement_key(&self) -> Option<&EndorsementKey> {
        self.endorsement_keys.iter().find(|key| key.state == EndorsementKeyState::Current)
    }

    /// The key with this id, whatever its state.
    pub fn endorsement_key(&self, id: EndorsementKeyId) -> Option<&EndorsementKey> {
        self.endorsement_keys.iter().find(|key| key.key_id == id)
    }
}

impl EndorsementKeyId {
    /// The id of the key with this SPKI.
    pub fn of_spki(spki: &[u8]) -> Self {
        let mut id = [0; 8];
        id.iter_mut().zip(Digest::of_parts(&[spki]).as_bytes()).for_each(|(to, from)| *to = *from);
        Self(id)
    }
}

impl From<MinTokenVersion> for u64 {
    fn from(version: MinTokenVersion) -> Self {
        match version {
            MinTokenVersion::V1 => 1,
            MinTokenVersion::V2 => 2,
        }
    }
}

impl TryFrom<u64> for MinTokenVersion {
    type Error = &'static str;
    fn try_from(version: u64) -> Result<Self, Self::Error> {
        match version {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            _ => Err("min_token_version must be 1 or 2"),
        }
    }
}

/// An authority's X25519 public key, to which version 2 tokens are sealed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey([u8; 32]);

/// Which endorsement key: the first 8 bytes of SHA-256 of its SPKI.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndorsementKeyId([u8; 8]);

crate::hex::value!(TokenKey, 32);
crate::hex::value!(EndorsementKeyId, 8);

/// Longest SPKI: an RSA key of 4096 bits with room to spare.
pub(crate) const MAX_SPKI_LEN: usize = 600;

fn write_spki<S: Serializer>(spki: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&base64::encode(spki))
}

fn read_spki<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    base64::decode_bounded(&String::deserialize(deserializer)?, MAX_SPKI_LEN).map_err(de::Error::custom)
}

fn write_hex<S: Serializer>(bytes: &[u8; 64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(bytes))
}
