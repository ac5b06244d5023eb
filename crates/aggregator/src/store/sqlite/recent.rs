//! What leads to the newest rows: in memory, until there is enough of it to be written in its order.
//!
//! For: finding rows by receipt and by body without an index that every submission writes to at random. Not for: rows
//! (`sql`), or anything that a restart may lose: all this is read from the rows again.
//!
//! ```text
//! stored rows ─► young ─(65,536 of them)─► old ─► slices in the order of the keys, one with each intake ─► tables
//! ```
//! Whoever follows a lead looks at the row that it comes to: it may be forgotten by now.

use std::collections::BTreeMap;
use std::ops::Bound;

use birthmark_core::hash::Digest;

/// A receipt's 16 bytes.
pub(super) type ReceiptBytes = [u8; 16];

/// By what one row is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lead {
    pub(super) id: i64,
    pub(super) receipt: ReceiptBytes,
    /// Of the encoded body.
    pub(super) digest: Digest,
    pub(super) idempotency: Digest,
}

/// Leads that are in no table yet, or not surely.
#[derive(Debug)]
pub(super) struct Recent {
    /// The newest row's number; none is ever given twice.
    last: i64,
    young: Leads,
    old: Option<Merging>,
    merge_at: usize,
}

#[derive(Debug, Default)]
struct Leads {
    receipts: BTreeMap<ReceiptBytes, i64>,
    bodies: BTreeMap<(Digest, Digest), i64>,
}

/// Leads on their way to the tables.
#[derive(Debug)]
struct Merging {
    leads: Leads,
    through: i64,
    /// The last ones that are there.
    receipt: Option<ReceiptBytes>,
    body: Option<(Digest, Digest)>,
}

/// The next leads for the tables, each list in its order.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) receipts: Vec<(ReceiptBytes, i64)>,
    pub(super) bodies: Vec<((Digest, Digest), i64)>,
    /// With it, the tables lead to all rows up to this one.
    pub(super) through: Option<i64>,
}

impl Recent {
    /// The tables lead to the rows up to `through`; `leads` are those of all later ones.
    pub(super) fn new(through: i64, leads: impl IntoIterator<Item = Lead>) -> Self {
        let mut this = Self { last: through, young: Leads::default(), old: None, merge_at: MERGE_AT };
        this.remember(leads);
        this
    }

    /// The number for the next row.
    pub(super) const fn next(&self) -> i64 {
        self.last + 1
    }

    /// Rows that were stored.
    pub(super) fn remember(&mut self, leads: impl IntoIterator<Item = Lead>) {
        for Lead { id, receipt, digest, idempotency } in leads {
            self.last = self.last.max(id);
            self.young.receipts.insert(receipt, id);
            self.young.bodies.insert((digest, idempotency), id);
        }
        if self.old.is_none() && self.young.receipts.len() >= self.merge_at {
            let leads = std::mem::take(&mut self.young);
            self.old = Some(Merging { leads, through: self.last, receipt: None, body: None });
        }
    }

    /// Rows that are gone.
    pub(super) fn forget(&mut self, gone: &[Lead]) {
        let old = self.old.as_mut().map(|old| &mut old.leads);
        for leads in [Some(&mut self.young), old].into_iter().flatten() {
            for Lead { id, receipt, digest, idempotency } in gone {
                remove(&mut leads.receipts, receipt, *id);
                remove(&mut leads.bodies, &(*digest, *idempotency), *id);
            }
        }
    }

    /// The row of a receipt.
    pub(super) fn receipt(&self, receipt: &ReceiptBytes) -> Option<i64> {
        self.all().find_map(|leads| leads.receipts.get(receipt)).copied()
    }

    /// The row of exactly this submission.
    pub(super) fn submission(&self, digest: Digest, idempotency: Digest) -> Option<i64> {
        self.all().find_map(|leads| leads.bodies.get(&(digest, idempotency))).copied()
    }

    /// At most `limit` rows of this body.
    pub(super) fn of_body(&self, digest: Digest, limit: usize) -> Vec<i64> {
        let first = (digest, Digest::from_bytes([0; 32]));
        let of_body = |leads: &Leads| {
            let rows = leads.bodies.range(first..).take_while(|((of, _), _)| *of == digest).take(limit);
            rows.map(|(_, id)| *id).collect::<Vec<_>>()
        };
        self.all().flat_map(of_body).take(limit).collect()
    }

    /// At most `count` of each list, if there is something to be written.
    pub(super) fn slice(&self, count: usize) -> Option<Slice> {
        let old = self.old.as_ref()?;
        let receipts: Vec<_> = behind(&old.leads.receipts, old.receipt, count);
        let bodies: Vec<_> = behind(&old.leads.bodies, old.body, count);
        let is_end = receipts.len() < count && bodies.len() < count;
        Some(Slice { receipts, bodies, through: is_end.then_some(old.through) })
    }

    /// This slice is in the tables, durably.
    pub(super) fn merged(&mut self, slice: &Slice) {
        let Some(old) = &mut self.old else { return };
        old.receipt = slice.receipts.last().map(|(receipt, _)| *receipt).or(old.receipt);
        old.body = slice.bodies.last().map(|(body, _)| *body).or(old.body);
        if slice.through.is_some() {
            self.old = None;
        }
    }

    fn all(&self) -> impl Iterator<Item = &Leads> {
        [Some(&self.young), self.old.as_ref().map(|old| &old.leads)].into_iter().flatten()
    }

    /// With fewer rows to a merge.
    #[cfg(test)]
    pub(super) fn merge_at(mut self, rows: usize) -> Self {
        self.merge_at = rows;
        self
    }
}

/// The next `count` behind `last`.
fn behind<K: Ord + Copy>(all: &BTreeMap<K, i64>, last: Option<K>, count: usize) -> Vec<(K, i64)> {
    let from = last.map_or(Bound::Unbounded, Bound::Excluded);
    all.range((from, Bound::Unbounded)).take(count).map(|(key, id)| (*key, *id)).collect()
}

/// Unless it leads to another row by now.
fn remove<K: Ord>(all: &mut BTreeMap<K, i64>, key: &K, id: i64) {
    if all.get(key) == Some(&id) {
        all.remove(key);
    }
}

/// Rows of one merge. About 9 MB of memory, and as much again while the next ones gather.
const MERGE_AT: usize = 65_536;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn digest(number: i64) -> Digest {
        Digest::of_parts(&[&number.to_be_bytes()])
    }

    /// Every third row is of the body of the one before.
    fn lead(id: i64) -> Lead {
        let receipt = digest(id).as_bytes()[..16].try_into().unwrap();
        Lead { id, receipt, digest: digest(id - i64::from(id % 3 == 0)), idempotency: digest(-id) }
    }

    proptest! {
        /// As plain maps would, whatever was merged or forgotten; and what is merged is all of it, in order.
        #[test]
        fn every_row_is_found_in_memory_or_in_the_tables(
            steps in prop::collection::vec((1..20_i64, 1..30_usize, prop::option::of(0..300_i64)), 1..40),
        ) {
            let mut recent = Recent::new(0, []).merge_at(50);
            let (mut receipts, mut bodies, mut through) = (BTreeMap::new(), BTreeMap::new(), 0);
            let mut gone = BTreeSet::new();
            let mut last = 0;
            for (rows, count, forgotten) in steps {
                let slice = recent.slice(count);
                let new: Vec<_> = (last + 1..=last + rows).map(lead).collect();
                assert_eq!(recent.next(), last + 1);
                last += rows;
                recent.remember(new);
                if let Some(slice) = slice {
                    assert!(slice.receipts.is_sorted() && slice.bodies.is_sorted());
                    receipts.extend(slice.receipts.iter().copied());
                    bodies.extend(slice.bodies.iter().copied());
                    through = slice.through.unwrap_or(through);
                    recent.merged(&slice);
                }
                if let Some(id) = forgotten.filter(|id| (1..=last).contains(id)) {
                    recent.forget(&[lead(id)]);
                    gone.insert(id);
                }
                for id in (1..=last).filter(|id| !gone.contains(id)) {
                    let lead = lead(id);
                    let key = (lead.digest, lead.idempotency);
                    if id <= through {
                        assert_eq!((receipts[&lead.receipt], bodies[&key]), (id, id));
                    } else {
                        assert_eq!(recent.receipt(&lead.receipt), Some(id));
                        assert_eq!(recent.submission(lead.digest, lead.idempotency), Some(id));
                        assert!(recent.of_body(lead.digest, 9).contains(&id));
                    }
                }
            }
        }
    }

    #[test]
    fn rows_of_one_body_are_found_up_to_a_limit() {
        let same = (1..=9).map(|id| Lead { digest: digest(0), ..lead(id) });
        let recent = Recent::new(0, same.chain([lead(10)]));
        let all: BTreeSet<_> = recent.of_body(digest(0), 99).into_iter().collect();
        assert_eq!(all, (1..=9).collect());
        assert_eq!(recent.of_body(digest(0), 4).len(), 4);
        assert!(recent.of_body(digest(77), 4).is_empty());
    }

    #[test]
    fn lead_that_a_later_row_took_over_is_not_forgotten() {
        let mut recent = Recent::new(0, [lead(1)]);
        let again = Lead { id: 2, ..lead(1) };
        recent.remember([again]);
        recent.forget(&[lead(1)]);
        assert_eq!(recent.receipt(&again.receipt), Some(2));
    }
}
