//! The rule by which the list of a hash's records takes up another one.
//!
//! Not for: the list's format (`birthmark_core::index`), where it is kept (`store`), nor the tree over
//! all keys (`trie`).
//!
//! Format: `docs/PROTOCOL.md` section 9: all endorsed records, and of each submitter's others only the
//! best; by assurance descending, then `tx_id` ascending; cut at 16.

use birthmark_core::batch::Assurance;
use birthmark_core::ids::{SubmitterNumber, TxId};
use birthmark_core::index::{IndexRecord, MAX_RECORDS};

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
}
