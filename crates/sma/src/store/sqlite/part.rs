//! What passes leave behind: tokens and counters that are used up, and what became of the devices.
//!
//! For: [`Part`], the same for a batch in the journal, for all that is in memory, and for what is merged.
//! Not for: its bytes (`journal`), or where it goes (`merge`).

use foldhash::HashMap;

use crate::counters::{Highest, Slot, UsedCounter};
use crate::devices::DeviceId;
use crate::quota::Tally;
use crate::replay::{Day, FirstUse, UseId};
use crate::rules::{Pass, Used};

/// The effect of some passes, each device's and each slot's as the last of them left it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) tokens: HashMap<UseId, (FirstUse, Day)>,
    pub(super) counters: HashMap<(DeviceId, Slot), UsedCounter>,
    pub(super) devices: HashMap<DeviceId, (Tally, Highest)>,
}

impl Part {
    /// Adds later passes.
    pub(super) fn add(&mut self, passes: &[Pass]) {
        for pass in passes {
            match pass.used {
                Used::Token { id, first, day } => drop(self.tokens.insert(id, (first, day))),
                Used::Counter(used) => drop(self.counters.insert((pass.device, used.counter.slot()), used)),
            }
            self.devices.insert(pass.device, (pass.tally, pass.highest));
        }
    }

    /// Adds what later passes left behind.
    pub(super) fn absorb(&mut self, later: Self) {
        self.tokens.extend(later.tokens);
        self.counters.extend(later.counters);
        self.devices.extend(later.devices);
    }

    /// Rows that it is merged to.
    pub(super) fn rows(&self) -> usize {
        self.tokens.len() + self.counters.len() + self.devices.len()
    }
}
