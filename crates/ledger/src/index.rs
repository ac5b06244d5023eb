//! What the index says about one image hash: the list of its records.
//!
//! For: the value format and the rule by which a list takes up another record.
//!
//! Not for: storage (`store`), nor the tree over all keys that proves absence; block leaves carry
//! zeros as index root until that tree exists.
//!
//! Format: `docs/PROTOCOL.md` section 9:
//! ```text
//! value = u8 count (1..16) ‖ count × (be64 tx_id ‖ u8 entry ‖ u8 assurance)
//! ```
//! All endorsed records, and of each submitter's others only the best; by assurance descending,
//! then `tx_id` ascending; cut at 16.

use birthmark_core::batch::Assurance;
use birthmark_core::codec::{DecodeError, Reader};
use birthmark_core::ids::{SubmitterNumber, TxId};

/// Most records listed for one hash.
pub const MAX_RECORDS: usize = 16;

/// One record of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexRecord {
    /// The leaf.
    pub tx_id: TxId,
    /// Which of the leaf's entries, counted from 1.
    pub entry: u8,
    /// How much the record is worth.
    pub assurance: Assurance,
}

/// Encodes a list of 1 to [`MAX_RECORDS`].
pub fn encode_value(records: &[IndexRecord]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + 10 * records.len());
    out.push(u8::try_from(records.len()).unwrap_or(u8::MAX));
    for record in records {
        out.extend_from_slice(&record.tx_id.0.to_be_bytes());
        out.extend_from_slice(&[record.entry, record.assurance as u8]);
    }
    out
}

/// Reads exactly one list.
pub fn decode_value(bytes: &[u8]) -> Result<Vec<IndexRecord>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let count = reader.u8("record count")?;
    if count == 0 || usize::from(count) > MAX_RECORDS {
        return Err(DecodeError::Value { field: "record count", value: count.into() });
    }
    let records = (0..count)
        .map(|_| {
            Ok(IndexRecord {
                tx_id: TxId(reader.be64("tx_id")?),
                entry: reader.u8("entry")?,
                assurance: Assurance::from_number(reader.u8("assurance")?)?,
            })
        })
        .collect::<Result<_, DecodeError>>()?;
    reader.finish()?;
    Ok(records)
}

/// Takes up one more record of `submitter`; `submitter_of` names those of the records listed so far.
pub fn insert<E>(
    records: &mut Vec<IndexRecord>,
    new: IndexRecord,
    submitter: SubmitterNumber,
    mut submitter_of: impl FnMut(TxId) -> Result<SubmitterNumber, E>,
) -> Result<(), E> {
    if new.assurance != Assurance::Endorsed {
        for at in 0..records.len() {
            let Some(other) = records.get(at).copied() else { break };
            if other.assurance == Assurance::Endorsed || submitter_of(other.tx_id)? != submitter {
                continue;
            }
            if order(&other) <= order(&new) {
                return Ok(());
            }
            records.remove(at);
            break;
        }
    }
    let at = records.partition_point(|other| order(other) <= order(&new));
    records.insert(at, new);
    records.truncate(MAX_RECORDS);
    Ok(())
}

/// Best first.
const fn order(record: &IndexRecord) -> (u8, u64) {
    (2 - record.assurance as u8, record.tx_id.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(tx_id: u64, assurance: Assurance) -> IndexRecord {
        IndexRecord { tx_id: TxId(tx_id), entry: 1, assurance }
    }

    fn add(records: &mut Vec<IndexRecord>, tx_id: u64, assurance: Assurance) {
        // In these tests the submitter is the tx_id's last digit.
        let submitter = |tx_id: TxId| Ok::<_, ()>(SubmitterNumber(u16::try_from(tx_id.0 % 10).unwrap()));
        let own = submitter(TxId(tx_id)).unwrap();
        insert(records, record(tx_id, assurance), own, submitter).unwrap();
    }

    #[test]
    fn of_one_submitters_records_the_best_stays_and_endorsed_ones_all_stay() {
        use Assurance::{Asserted, Attested, Endorsed};
        let mut list = vec![];
        add(&mut list, 11, Asserted);
        add(&mut list, 21, Asserted);
        assert_eq!(list, [record(11, Asserted)]);
        add(&mut list, 31, Attested);
        assert_eq!(list, [record(31, Attested)]);
        add(&mut list, 41, Endorsed);
        add(&mut list, 51, Endorsed);
        add(&mut list, 62, Asserted);
        assert_eq!(
            list,
            [41, 51]
                .map(|id| record(id, Endorsed))
                .into_iter()
                .chain([record(31, Attested), record(62, Asserted)])
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn nobody_can_push_a_better_record_out_of_the_list() {
        let mut list = vec![];
        for tx_id in 0..40 {
            add(&mut list, tx_id * 10 + tx_id % 10, Assurance::Asserted);
        }
        add(&mut list, 1001, Assurance::Endorsed);
        assert_eq!(list[0], record(1001, Assurance::Endorsed));
        assert!(list.len() <= MAX_RECORDS);
    }

    #[test]
    fn malformed_values_are_refused() {
        let good = encode_value(&[record(1, Assurance::Attested)]);
        for cut in 0..good.len() {
            assert!(decode_value(&good[..cut]).is_err());
        }
        for bad in [vec![0], [good.as_slice(), &[0]].concat(), [&[17], good.as_slice()].concat()] {
            assert!(decode_value(&bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn every_list_round_trips(ids in prop::collection::vec((any::<u64>(), 0u8..3), 1..=16)) {
            let list: Vec<_> =
                ids.into_iter().map(|(id, a)| record(id, Assurance::from_number(a).unwrap())).collect();
            prop_assert_eq!(decode_value(&encode_value(&list)), Ok(list));
        }
    }
}
