//! Is this file the one that was recorded? Judged from hashes, a proof and a policy alone.
//!
//! For: everything that a verifier concludes, the same in the command line, a test and a browser.
//!
//! Not for: reading files or asking servers (`birthmark`), nor for inclusion and cosignatures,
//! which `proof` and `checkpoint` check. No server is trusted: a proof that holds comes from a quorum
//! of the validators that the verifier's own policy names. An endorsement that comes with it is checked
//! here once more, by the keys in the verifier's own network file: then the validators' word for it is
//! not needed either.
//!
//! Rules: `docs/PROTOCOL.md` section 10.

use crate::batch::Assurance;
use crate::body::{Body, Entry, Kind};
use crate::hash::{Digest, ImageHash};
use crate::ids::TxId;
use crate::leaf::{Leaf, LeafError, RecordLeaf};
use crate::network::{EndorsementKeyState, EndorsementRefusal, Network, Trust};
use crate::proof::{ProofBundle, ProofError};
use crate::time::UnixSeconds;

/// One hash of the file in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What was hashed.
    pub kind: Kind,
    /// The hash.
    pub hash: ImageHash,
}

/// What a proof that holds says about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The file is in the proven record.
    Match(Box<Finding>),
    /// The proof holds, but for a record that does not name this file.
    OtherFile {
        /// The record that it does prove.
        tx_id: TxId,
    },
}

/// The proven record of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file's entry.
    pub entry: Entry,
    /// Its parent's hash.
    pub parent: Option<ImageHash>,
    /// The whole record.
    pub record: RecordLeaf,
    /// The record's index in the log.
    pub tx_id: TxId,
    /// When it was recorded, by the registry's clock, to the minute.
    pub recorded_at: UnixSeconds,
    /// The authority's name, if the policy knows authorities.
    pub authority: Option<String>,
    /// The submitter's name, if the policy knows submitters.
    pub submitter: Option<String>,
    /// What is known of the authority's signature.
    pub endorsement: EndorsementCheck,
    /// Leaves that the checkpoint covers.
    pub checkpoint_size: u64,
    /// The least time among the counted cosignatures.
    pub checkpoint_time: Option<UnixSeconds>,
    /// Whose cosignatures counted.
    pub cosigners: Vec<String>,
}

/// What is known of the authority's signature under a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndorsementCheck {
    /// The record claims none.
    None,
    /// The validators checked it; it, or the network file with its key, is not here to check it again.
    ByValidators,
    /// It holds. Its key is in this state now: of a revoked one nobody can tell whether the authority still had
    /// it to itself.
    Verified(EndorsementKeyState),
}

/// Why a proof does not hold.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Inclusion, checkpoint or cosignatures.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// What is proven to be in the log is no leaf.
    #[error("the proven leaf does not decode: {0}")]
    Leaf(#[from] LeafError),
    /// It is a block's leaf.
    #[error("the proven leaf is not a record")]
    NotARecord,
    /// The endorsement beside the proof is not the one that the leaf names.
    #[error("the endorsement is not the one that the record names")]
    Endorsement,
    /// The endorsement is the one that the leaf names, and is not the authority's under this record.
    #[error("the record's endorsement does not hold: {0}")]
    EndorsementRefused(#[from] EndorsementRefusal),
    /// The record names an authority that the network file does not have.
    #[error("the record's authority is not in the network file")]
    UnknownAuthority,
}

/// Checks the proof, then looks for the file in what it proves. The best match wins: the file's own
/// bytes before its picture data.
pub fn verify(candidates: &[Candidate], proof: &ProofBundle, trust: &Trust) -> Result<Verdict, VerifyError> {
    let checkpoint = proof.verify_inclusion(trust)?;
    let Leaf::Record(record) = Leaf::decode(&proof.leaf)? else { return Err(VerifyError::NotARecord) };
    let endorsement = proof.endorsement.as_deref();
    let named = check_named(&record, endorsement)?;
    let (authority, submitter) = names(&record, trust)?;
    let endorsement = match (endorsement, trust.network()) {
        (Some(bytes), Some(network)) => check_signature(&record, bytes, network)?,
        _ => named,
    };
    let tx_id = TxId(proof.index);
    let entries = record.entries.as_slice();
    let matching = [Kind::File, Kind::ImageData].into_iter().find_map(|kind| {
        entries.iter().find(|entry| {
            entry.kind == kind && candidates.iter().any(|file| file.kind == kind && file.hash == entry.hash)
        })
    });
    let Some(entry) = matching.copied() else { return Ok(Verdict::OtherFile { tx_id }) };
    Ok(Verdict::Match(Box::new(Finding {
        entry,
        parent: record.entries.parent_hash(&entry),
        tx_id,
        recorded_at: record.minute.start(),
        authority,
        submitter,
        endorsement,
        checkpoint_size: checkpoint.checkpoint.size,
        checkpoint_time: checkpoint.time,
        cosigners: checkpoint.cosigners.iter().map(|name| name.as_str().to_owned()).collect(),
        record,
    })))
}

impl Finding {
    /// True if the record says more than that a submitter claims it.
    pub fn is_vouched_for(&self) -> bool {
        self.record.assurance > Assurance::Asserted
    }
}

/// What the leaf alone says of an endorsement: whose hash it has.
fn check_named(record: &RecordLeaf, endorsement: Option<&[u8]>) -> Result<EndorsementCheck, VerifyError> {
    match (record.endorsement_hash, endorsement) {
        (None, None) => Ok(EndorsementCheck::None),
        (Some(_), None) => Ok(EndorsementCheck::ByValidators),
        (Some(hash), Some(bytes)) if Digest::of_parts(&[bytes]) == hash => Ok(EndorsementCheck::ByValidators),
        (_, Some(_)) => Err(VerifyError::Endorsement),
    }
}

/// What was endorsed is the body, and that is the authority's name and the leaf's entries.
fn check_signature(
    record: &RecordLeaf,
    endorsement: &[u8],
    network: &Network,
) -> Result<EndorsementCheck, VerifyError> {
    let authority = network.authority(record.authority).ok_or(EndorsementRefusal::UnknownKey)?;
    let body = Body { authority: authority.id.clone(), entries: record.entries.clone() };
    let state = network.check_endorsement(record.authority, endorsement, &body.encode())?;
    Ok(EndorsementCheck::Verified(state))
}

fn names(record: &RecordLeaf, trust: &Trust) -> Result<(Option<String>, Option<String>), VerifyError> {
    let Some(network) = trust.network() else { return Ok((None, None)) };
    let authority = network.authority_name(record.authority).ok_or(VerifyError::UnknownAuthority)?;
    let submitter = network.submitter(record.submitter).map(|submitter| submitter.name.to_string());
    Ok((Some(authority.to_owned()), submitter))
}
