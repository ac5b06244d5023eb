//! What of a block does not follow from its leaves: enough to give the whole block again, as it was ordered.
//!
//! For: handing blocks on to followers, into snapshots and to a node whose store is damaged, without keeping any
//! body a second time. A body and its endorsement are kept with the record's leaf; here are the header, which
//! batch each record came in, the batches' signatures, and the digests of what was left out.
//!
//! Not for: how blocks travel (`transfer`), or where a frame lies (`store`).
//!
//! ```text
//! frame = header 41 ‖ u8 0 ‖ n × (be16 submitter ‖ be16 count ‖ count × place ‖ signature 64)
//!       | header 41 ‖ u8 1 ‖ payload                         where the payload does not follow from the leaves: with an act
//! place = u8 0 (the next leaf) | u8 255 ‖ t 32               (left out)
//! ```

use birthmark_core::batch::{BlockBatch, MAX_BATCH, Place, Transaction};
use birthmark_core::body::Body;
use birthmark_core::codec::{DecodeError, Reader};
use birthmark_core::hash::Digest;
use birthmark_core::ids::{AuthorityId, SubmitterNumber, TxId};
use birthmark_core::network::Network;

use crate::apply::Changes;
use crate::block::{HEADER_LEN, Payload, encode_payload};
use crate::ledger::record_leaf;
use crate::store::StoreError;

/// The frame of a block that was just judged valid.
pub(crate) fn of(network: &Network, header: &[u8], payload: &[u8], changes: &Changes) -> Vec<u8> {
    let mut short = header.to_vec();
    short.push(BY_LEAVES);
    for batch in &Payload::decode(payload).unwrap_or_default().batches {
        put_batch(&mut short, batch);
    }
    let mut leaves = changes.leaves.iter();
    let leaf = |_| Ok(leaves.next().cloned().unwrap_or_default());
    let endorsement = |tx_id| {
        let at = changes.endorsements.binary_search_by_key(&tx_id, |(tx_id, _)| *tx_id).ok();
        Ok(at.and_then(|at| changes.endorsements.get(at)).map(|(_, endorsement)| endorsement.clone()))
    };
    // One with an act, and whatever else a frame cannot give again, is kept whole.
    match payload_of(network, &short, changes.first, leaf, endorsement) {
        Ok(Some(given)) if given == payload => short,
        Ok(_) | Err(_) => [header, &[WHOLE], payload].concat(),
    }
}

/// A block's header.
pub(crate) fn header_of(frame: &[u8]) -> Result<[u8; HEADER_LEN], StoreError> {
    Ok(Reader::new(frame).array("header")?)
}

/// The payload; nothing where an endorsement that was in it is not kept any more. `leaf` is asked for the
/// block's leaves from `first` on, one after the other.
pub(crate) fn payload_of(
    network: &Network,
    frame: &[u8],
    first: TxId,
    mut leaf: impl FnMut(TxId) -> Result<Vec<u8>, StoreError>,
    endorsement: impl Fn(TxId) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut reader = Reader::new(frame);
    reader.array::<HEADER_LEN>("header")?;
    match reader.u8("kind of frame")? {
        BY_LEAVES => {}
        WHOLE => return Ok(Some(reader.rest().to_vec())),
        kind => return Err(DecodeError::Value { field: "kind of frame", value: kind.into() }.into()),
    }
    let mut batches = Vec::new();
    let mut next = first;
    while !reader.rest().is_empty() {
        let submitter = SubmitterNumber(reader.be16("submitter")?);
        let count = usize::from(reader.be16("count")?);
        if count > MAX_BATCH {
            return Err(DecodeError::Value { field: "count", value: count as u64 }.into());
        }
        let mut places = Vec::with_capacity(count);
        for _ in 0..count {
            if reader.u8("place")? == OMITTED {
                places.push(Place::Omitted(Digest::from_bytes(reader.array("omitted digest")?)));
                continue;
            }
            let record = record_leaf(&leaf(next)?)?;
            let endorsement = match record.endorsement_hash {
                None => Vec::new(),
                Some(_) => match endorsement(next)? {
                    Some(endorsement) => endorsement,
                    None => return Ok(None),
                },
            };
            let authority = network.authority_name(record.authority).and_then(|name| AuthorityId::new(name).ok());
            let body = Body { authority: authority.ok_or(UNNAMED)?, entries: record.entries };
            let transaction = Transaction::new(record.assurance, endorsement, body).ok_or(UNNAMED)?;
            places.push(Place::Record(transaction));
            next = TxId(next.0.saturating_add(1));
        }
        batches.push(BlockBatch { submitter, places, signature: reader.array("signature")? });
    }
    Ok(Some(encode_payload(&batches)))
}

fn put_batch(out: &mut Vec<u8>, batch: &BlockBatch) {
    out.extend_from_slice(&batch.submitter.0.to_be_bytes());
    out.extend_from_slice(&u16::try_from(batch.places.len()).unwrap_or(u16::MAX).to_be_bytes());
    for place in &batch.places {
        match place {
            Place::Record(_) => out.push(NEXT_LEAF),
            Place::Omitted(digest) => {
                out.push(OMITTED);
                out.extend_from_slice(digest.as_bytes());
            }
        }
    }
    out.extend_from_slice(&batch.signature);
}

const BY_LEAVES: u8 = 0;
const WHOLE: u8 = 1;
const NEXT_LEAF: u8 = 0;
const OMITTED: u8 = 255;
const UNNAMED: StoreError = StoreError::Damaged { what: "a record does not give the transaction that it came from" };
