//! Transactions, and the signed batches in which a submitter hands them to the registry.
//!
//! For: the wire form of `POST /api/v1/transactions`, the form in which a block carries a batch, and
//! the one signature that serves both.
//!
//! Not for: whether a transaction may be recorded (`birthmark-ledger`). Duplicates are found by
//! body, never by signature bytes.
//!
//! Format: `docs/PROTOCOL.md` section 7:
//! ```text
//! t     = SHA-256(u8 assurance ‖ SHA-256(endorsement) or 32 zeros ‖ body)
//! sig   = Ed25519("birthmark/batch/v1" ‖ network_id ‖ be16(submitter) ‖ be16(count) ‖ count × t)
//! wire  = u8 1 ‖ be16 submitter ‖ be16 count ‖ count × (u8 assurance ‖ be16 len ‖ endorsement ‖ be16 len ‖ body) ‖ sig 64
//! block = be16 submitter ‖ be16 count ‖ count × place ‖ sig 64
//! place = u8 assurance ‖ be16 len ‖ endorsement ‖ be16 len ‖ body      (the transaction)
//!       | u8 255 ‖ t                                                  (left out: a late duplicate)
//! ```
//! The signature's validity is ZIP215, the one rule under which single and batched checks agree.

use ed25519_consensus::{Signature, SigningKey, VerificationKey};

use crate::body::{Body, BodyError, MAX_BODY};
use crate::codec::{DecodeError, Reader, put_prefixed16};
use crate::endorsement::MAX_ENDORSEMENT;
use crate::hash::Digest;
use crate::ids::{NetworkId, SubmitterNumber};

/// Most transactions of one batch.
pub const MAX_BATCH: usize = 256;
/// Most bytes of a batch on the wire.
pub const MAX_WIRE: usize = 5 + MAX_BATCH * MAX_PLACE + 64;
/// Most bytes of a batch in a block.
pub const MAX_BLOCK_BATCH: usize = 4 + MAX_BATCH * MAX_PLACE + 64;

const MAX_PLACE: usize = 1 + 2 + MAX_ENDORSEMENT + 2 + MAX_BODY;

/// How much a record is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(rename_all = "snake_case"))]
#[repr(u8)]
pub enum Assurance {
    /// A registered submitter says so; nothing more is known.
    Asserted = 0,
    /// The submitter says that the authority passed its token.
    Attested = 1,
    /// The authority's own signature is there.
    Endorsed = 2,
}

/// One thing to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    assurance: Assurance,
    endorsement: Vec<u8>,
    body: Body,
}

/// A batch as a submitter signs and sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Who sends it.
    pub submitter: SubmitterNumber,
    /// 1 to [`MAX_BATCH`].
    pub transactions: Vec<Transaction>,
    /// Over the digests of all of them.
    pub signature: [u8; 64],
}

/// A batch as a block carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockBatch {
    /// Who sent it.
    pub submitter: SubmitterNumber,
    /// One for each transaction that was signed, in order.
    pub places: Vec<Place>,
    /// Over the digests of all of them.
    pub signature: [u8; 64],
}

/// One place of a batch in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// To be recorded.
    Record(Transaction),
    /// Left out; its digest keeps the signature checkable.
    Omitted(Digest),
}

/// Why bytes are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes do not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A body in it does not decode.
    #[error("transaction {at}: {cause}")]
    Body {
        /// Counted from 0.
        at: usize,
        /// What is wrong.
        cause: BodyError,
    },
    /// An endorsement without assurance 2, or the reverse.
    #[error("transaction {0}: an endorsement must be given exactly at assurance 2")]
    Endorsement(usize),
}

/// Why a batch's signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch's signature is not its submitter's")]
pub struct SignatureError;

/// The Ed25519 key with which a submitter signs its batches.
#[derive(Clone)]
pub struct SubmitterKey(SigningKey);

impl SubmitterKey {
    /// Takes the 32 secret bytes of RFC 8032.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from(seed))
    }

    /// The public half, as the network file carries it.
    pub fn public(&self) -> [u8; 32] {
        self.0.verification_key().to_bytes()
    }
}

impl std::fmt::Debug for SubmitterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SubmitterKey(public {})", crate::hex::encode(self.public()))
    }
}

impl Transaction {
    /// `endorsement` is empty below assurance 2 and given at 2.
    pub fn new(assurance: Assurance, endorsement: Vec<u8>, body: Body) -> Option<Self> {
        ((assurance == Assurance::Endorsed) != endorsement.is_empty() && endorsement.len() <= MAX_ENDORSEMENT)
            .then_some(Self { assurance, endorsement, body })
    }

    /// How much it is worth.
    pub const fn assurance(&self) -> Assurance {
        self.assurance
    }

    /// `key_id (8) ‖ signature`, or nothing.
    pub fn endorsement(&self) -> &[u8] {
        &self.endorsement
    }

    /// What is to be recorded.
    pub const fn body(&self) -> &Body {
        &self.body
    }

    /// SHA-256 of the endorsement, if there is one.
    pub fn endorsement_hash(&self) -> Option<Digest> {
        (!self.endorsement.is_empty()).then(|| Digest::of_parts(&[&self.endorsement]))
    }

    /// `t`: what the submitter signs.
    pub fn digest(&self) -> Digest {
        let endorsement = self.endorsement_hash().unwrap_or(Digest::from_bytes([0; 32]));
        Digest::of_parts(&[&[self.assurance as u8], endorsement.as_bytes(), &self.body.encode()])
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        out.push(self.assurance as u8);
        put_prefixed16(out, &self.endorsement);
        put_prefixed16(out, &self.body.encode());
    }

    fn decode_from(reader: &mut Reader<'_>, assurance: u8, at: usize) -> Result<Self, BatchError> {
        let assurance = Assurance::from_number(assurance)?;
        let endorsement = reader.prefixed16("endorsement", MAX_ENDORSEMENT)?.to_vec();
        let body = reader.prefixed16("body", MAX_BODY)?;
        let body = Body::decode(body).map_err(|cause| BatchError::Body { at, cause })?;
        Self::new(assurance, endorsement, body).ok_or(BatchError::Endorsement(at))
    }
}

impl Batch {
    /// Signs `transactions` (1 to [`MAX_BATCH`]) as `submitter`.
    pub fn sign(
        network: NetworkId,
        submitter: SubmitterNumber,
        key: &SubmitterKey,
        transactions: Vec<Transaction>,
    ) -> Self {
        let message = signed_message(network, submitter, transactions.iter().map(Transaction::digest));
        Self { submitter, signature: key.0.sign(&message).to_bytes(), transactions }
    }

    /// Checks the signature against the submitter's registered key.
    pub fn verify(&self, network: NetworkId, key: &[u8; 32]) -> Result<(), SignatureError> {
        let message = signed_message(network, self.submitter, self.transactions.iter().map(Transaction::digest));
        check(key, &self.signature, &message)
    }

    /// The wire form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![WIRE_VERSION];
        put_head(&mut out, self.submitter, self.transactions.len());
        for transaction in &self.transactions {
            transaction.encode_into(&mut out);
        }
        out.extend_from_slice(&self.signature);
        out
    }

    /// Reads exactly one batch.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8("version")?;
        if version != WIRE_VERSION {
            return Err(DecodeError::Value { field: "version", value: version.into() }.into());
        }
        let (submitter, count) = take_head(&mut reader)?;
        let transactions = (0..count)
            .map(|at| {
                let assurance = reader.u8("assurance")?;
                Transaction::decode_from(&mut reader, assurance, at)
            })
            .collect::<Result<_, _>>()?;
        let signature = reader.array("signature")?;
        reader.finish()?;
        Ok(Self { submitter, transactions, signature })
    }
}

impl BlockBatch {
    /// Checks the signature against the submitter's registered key.
    pub fn verify(&self, network: NetworkId, key: &[u8; 32]) -> Result<(), SignatureError> {
        let message = signed_message(network, self.submitter, self.places.iter().map(Place::digest));
        check(key, &self.signature, &message)
    }

    /// Appends the form in which a block carries it.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        put_head(out, self.submitter, self.places.len());
        for place in &self.places {
            match place {
                Place::Record(transaction) => transaction.encode_into(out),
                Place::Omitted(digest) => {
                    out.push(OMITTED);
                    out.extend_from_slice(digest.as_bytes());
                }
            }
        }
        out.extend_from_slice(&self.signature);
    }

    /// Takes one batch off a reader.
    pub fn decode_from(reader: &mut Reader<'_>) -> Result<Self, BatchError> {
        let (submitter, count) = take_head(reader)?;
        let places = (0..count)
            .map(|at| match reader.u8("place")? {
                OMITTED => Ok(Place::Omitted(Digest::from_bytes(reader.array("omitted digest")?))),
                assurance => Transaction::decode_from(reader, assurance, at).map(Place::Record),
            })
            .collect::<Result<_, BatchError>>()?;
        Ok(Self { submitter, places, signature: reader.array("signature")? })
    }
}

impl Place {
    /// `t` of what stands, or stood, here.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Record(transaction) => transaction.digest(),
            Self::Omitted(digest) => *digest,
        }
    }
}

impl Assurance {
    /// Reads the format's number.
    pub const fn from_number(number: u8) -> Result<Self, DecodeError> {
        match number {
            0 => Ok(Self::Asserted),
            1 => Ok(Self::Attested),
            2 => Ok(Self::Endorsed),
            _ => Err(DecodeError::Value { field: "assurance", value: number as u64 }),
        }
    }

    /// As JSON and people see it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asserted => "asserted",
            Self::Attested => "attested",
            Self::Endorsed => "endorsed",
        }
    }
}

impl serde::Serialize for Assurance {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for Assurance {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        [Self::Asserted, Self::Attested, Self::Endorsed]
            .into_iter()
            .find(|assurance| assurance.name() == text)
            .ok_or_else(|| serde::de::Error::custom("not an assurance"))
    }
}

fn put_head(out: &mut Vec<u8>, submitter: SubmitterNumber, count: usize) {
    out.extend_from_slice(&submitter.0.to_be_bytes());
    // Callers hold at most MAX_BATCH.
    out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}

fn take_head(reader: &mut Reader<'_>) -> Result<(SubmitterNumber, usize), DecodeError> {
    let submitter = SubmitterNumber(reader.be16("submitter")?);
    let count = reader.be16("count")?;
    if count == 0 || usize::from(count) > MAX_BATCH {
        return Err(DecodeError::Value { field: "count", value: count.into() });
    }
    Ok((submitter, count.into()))
}

fn signed_message(
    network: NetworkId,
    submitter: SubmitterNumber,
    digests: impl ExactSizeIterator<Item = Digest>,
) -> Vec<u8> {
    let mut message = Vec::with_capacity(54 + 32 * digests.len());
    message.extend_from_slice(b"birthmark/batch/v1");
    message.extend_from_slice(network.as_bytes());
    put_head(&mut message, submitter, digests.len());
    for digest in digests {
        message.extend_from_slice(digest.as_bytes());
    }
    message
}

fn check(key: &[u8; 32], signature: &[u8; 64], message: &[u8]) -> Result<(), SignatureError> {
    VerificationKey::try_from(*key)
        .and_then(|key| key.verify(&Signature::from(*signature), message))
        .map_err(|_| SignatureError)
}

const WIRE_VERSION: u8 = 1;
const OMITTED: u8 = 255;

#[cfg(test)]
mod tests;
