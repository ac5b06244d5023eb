//! Answers `verify` from the ledger at the published checkpoint.
//!
//! For: [`answer`], pure but for reading the ledger. Not for: HTTP.
//!
//! Shape: `docs/PROTOCOL.md` section 11.

use std::collections::HashSet;

use birthmark_core::api::verify::{AsOf, OtherRecord, ProvenanceLink, Record, VerifyAnswer};
use birthmark_core::batch::Assurance;
use birthmark_core::body::Entry;
use birthmark_core::hash::ImageHash;
use birthmark_core::ids::SubmitterName;
use birthmark_core::leaf::RecordLeaf;
use birthmark_core::network::Network;
use birthmark_core::proof::ProofBundle;
use birthmark_ledger::{Found, LedgerError, Reading, StoreError};

use crate::publisher::Published;

/// Which proofs to put into the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Of a record, or that there is none.
    Any,
    /// Of a record only.
    OfRecord,
    None,
}

/// What the log holds about `hash` as of `published`.
pub(crate) fn answer(
    network: &Network,
    published: &Published,
    hash: ImageHash,
    proof: Proof,
) -> Result<VerifyAnswer, LedgerError> {
    let Some(found) = published.reading.find(&hash)? else {
        let as_of = Some(AsOf { size: published.checkpoint.size, time: published.time });
        let absence = match proof {
            // Acts may come before the first record. A block of theirs has the root of an empty index, which
            // no verifier accepts behind genesis: that nothing at all is recorded is then said without proof.
            Proof::Any if published.reading.image_count() == 0 && published.checkpoint.size > 1 => None,
            Proof::Any => {
                let absence = published.reading.prove_absence(&hash, &published.note)?;
                // The list of records has just said that there is none.
                Some(Box::new(absence.ok_or(StoreError::Damaged { what: "the index names an image without records" })?))
            }
            Proof::OfRecord | Proof::None => None,
        };
        return Ok(VerifyAnswer { verified: false, recorded: false, image_hash: hash, record: None, as_of, absence });
    };
    let record = record(network, published, &found, proof)?;
    Ok(VerifyAnswer {
        verified: record.assurance > Assurance::Asserted,
        recorded: true,
        image_hash: hash,
        record: Some(record),
        as_of: None,
        absence: None,
    })
}

fn record(network: &Network, published: &Published, found: &Found, proof: Proof) -> Result<Record, LedgerError> {
    let best = found.records.first().copied().ok_or(UNNAMED)?;
    let entry = entry_of(&found.leaf, best.entry)?;
    let parent = found.leaf.entries.parent_hash(entry);
    let proof = match proof {
        Proof::None => None,
        Proof::Any | Proof::OfRecord => Some(
            ProofBundle {
                leaf: found.leaf_bytes.clone(),
                endorsement: found.endorsement.clone(),
                index: best.tx_id.0,
                path: published.reading.prove_inclusion(best.tx_id)?,
                checkpoint: published.note.clone(),
            }
            .to_string(),
        ),
    };
    Ok(Record {
        timestamp: found.leaf.minute.start(),
        block_height: found.height,
        tx_id: best.tx_id,
        modification_level: entry.level as u8,
        modification_display: displayed(entry, best.assurance),
        parent_image_hash: parent,
        authority_id: network.authority_name(found.leaf.authority).ok_or(UNNAMED)?.to_owned(),
        aggregator: submitter_name(network, &found.leaf)?,
        assurance: best.assurance,
        provenance_chain: ancestors(&published.reading, &found.leaf, entry)?,
        other_records: found
            .records
            .iter()
            .skip(1)
            .map(|other| OtherRecord { tx_id: other.tx_id, assurance: other.assurance })
            .collect(),
        proof,
    })
}

fn displayed(entry: &Entry, assurance: Assurance) -> String {
    match assurance {
        Assurance::Asserted => "Registered (unverified)",
        Assurance::Attested | Assurance::Endorsed => entry.level.display(),
    }
    .to_owned()
}

/// Parent by parent, within the record and beyond it, until one has no parent or is not on record.
fn ancestors(reading: &Reading, leaf: &RecordLeaf, entry: &Entry) -> Result<Vec<ProvenanceLink>, LedgerError> {
    let mut chain = Vec::new();
    let mut seen = HashSet::from([entry.hash]);
    let mut next = leaf.entries.parent_hash(entry);
    // An asserted record may name any parent, so a circle is possible and has to end.
    while let Some(hash) = next.filter(|hash| seen.insert(*hash) && chain.len() < MAX_CHAIN) {
        // A parent in the same leaf is found there; the index might list a better record of it.
        let own = leaf.entries.as_slice().iter().find(|other| other.hash == hash);
        let (level, parent) = match own {
            Some(own) => (Some(own.level as u8), leaf.entries.parent_hash(own)),
            None => match reading.find(&hash)? {
                None => (None, None),
                Some(found) => {
                    let best = found.records.first().copied().ok_or(UNNAMED)?;
                    let entry = entry_of(&found.leaf, best.entry)?;
                    (Some(entry.level as u8), found.leaf.entries.parent_hash(entry))
                }
            },
        };
        chain.push(ProvenanceLink { image_hash: hash, modification_level: level });
        next = parent;
    }
    Ok(chain)
}

fn entry_of(leaf: &RecordLeaf, number: u8) -> Result<&Entry, LedgerError> {
    let at = usize::from(number).checked_sub(1);
    Ok(at.and_then(|at| leaf.entries.as_slice().get(at)).ok_or(UNNAMED)?)
}

fn submitter_name(network: &Network, leaf: &RecordLeaf) -> Result<SubmitterName, LedgerError> {
    Ok(network.submitter(leaf.submitter).map(|submitter| submitter.name.clone()).ok_or(UNNAMED)?)
}

const MAX_CHAIN: usize = 64;
const UNNAMED: StoreError =
    StoreError::Damaged { what: "a record names an entry, authority or submitter that does not exist" };
