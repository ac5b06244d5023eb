//! The passes that are in the journal alone, in memory.
//!
//! For: looking them up, and handing them over to be merged. Not for: whether they are on disk (`state`).
//!
//! ```text
//! pass ──► fresh ── freeze ──► frozen ── merged into the tables, deleted from the journal ──► gone
//! ```

use std::sync::Arc;

use super::part::Part;
use crate::counters::{Highest, Slot, UsedCounter};
use crate::devices::{DeviceId, Standing};
use crate::quota::Tally;
use crate::replay::{FirstUse, UseId};
use crate::rules::Pass;

/// What was used up since the last merge began, and before that what is being merged.
#[derive(Debug, Default)]
pub(super) struct Tail {
    fresh: Part,
    /// Journal rows of `fresh`, those without any pass too.
    batches: usize,
    /// With its last journal row.
    frozen: Option<(Arc<Part>, i64)>,
}

impl Tail {
    /// Adds a batch that was just judged.
    pub(super) fn add(&mut self, passes: &[Pass]) {
        self.batches += 1;
        self.fresh.add(passes);
    }

    /// Adds a batch that was read from the journal.
    pub(super) fn absorb(&mut self, batch: Part) {
        self.batches += 1;
        self.fresh.absorb(batch);
    }

    pub(super) fn first_use(&self, id: UseId) -> Option<FirstUse> {
        self.parts().find_map(|part| part.tokens.get(&id)).map(|(first, _)| *first)
    }

    pub(super) fn counter(&self, device: DeviceId, slot: Slot) -> Option<UsedCounter> {
        self.parts().find_map(|part| part.counters.get(&(device, slot))).copied()
    }

    pub(super) fn usage(&self, device: DeviceId) -> Option<(Tally, Highest)> {
        self.parts().find_map(|part| part.devices.get(&device)).copied()
    }

    /// A device as it was read from the tables, with its passes since.
    pub(super) fn standing(&self, standing: Standing) -> Standing {
        match self.usage(standing.id) {
            Some((tally, highest)) => Standing { tally, highest, ..standing },
            None => standing,
        }
    }

    /// How much has come since the last merge began: rows here and in the journal.
    pub(super) fn weight(&self) -> usize {
        self.fresh.rows() + self.batches
    }

    /// What is there now, up to the journal's `last` row, to be merged; from now on apart from what comes.
    /// What was frozen before and not merged to its end stays.
    pub(super) fn freeze(&mut self, last: i64) -> (Arc<Part>, i64) {
        let (fresh, batches) = (&mut self.fresh, &mut self.batches);
        let frozen = || {
            *batches = 0;
            (Arc::new(std::mem::take(fresh)), last)
        };
        self.frozen.get_or_insert_with(frozen).clone()
    }

    /// What was frozen is in the tables now.
    pub(super) fn forget_frozen(&mut self) {
        self.frozen = None;
    }

    /// The newer one first: a slot in both holds what came last.
    fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.fresh).chain(self.frozen.as_ref().map(|(part, _)| &**part))
    }
}
