//! What the store has in memory, held to what is in the database.
//!
//! For: one look at the start of each job that judges or merges: whether the database is as the memory has
//! it. It is not after a commit that failed, since the job had changed the memory already; and acts of
//! admins change the database alone. Not for: the memory's parts (`registry`, `tail`).
//!
//! The database decides. Its history is told by the ends of the journal, which only jobs of this look
//! write, and by the newest row of the audit log, whose digest stands for all acts before it. So no job
//! sees a status from before an act that was answered.

use std::sync::Arc;

use rusqlite::Connection;

use super::journal::{self, Ends};
use super::part::Part;
use super::registry::Registry;
use super::seen::Seen;
use super::tail::Tail;
use super::work::Tuning;
use super::{audit, devices};
use crate::audit::Chain;
use crate::counters::Highest;
use crate::devices::{DeviceId, Standing};
use crate::keys::NucDigest;
use crate::quota::Tally;
use crate::replay::UseId;
use crate::rules::Pass;
use crate::store::StoreError;

/// Devices, tokens and unmerged passes, and the state of the database that they are of.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tail: Tail,
    registry: Registry,
    seen: Seen,
    /// Questions since the memory of devices was last looked at, about.
    asked: usize,
    tuning: Tuning,
    journal: Ends,
    /// Of the next journal row: never one that was there before.
    next: i64,
    acts: Chain,
    /// A job is at work, or was when it broke off.
    at_work: bool,
    /// Changes whenever what was frozen is no more what is being merged, and when it has been.
    version: u64,
}

/// What is being merged.
#[derive(Clone, Debug)]
pub(super) struct Frozen {
    pub(super) part: Arc<Part>,
    through: i64,
    version: u64,
}

impl State {
    /// Reads what is not merged.
    pub(super) fn load(connection: &Connection, tuning: Tuning) -> Result<Self, StoreError> {
        let mut state = Self {
            tail: Tail::default(),
            registry: Registry::default(),
            seen: Seen::default(),
            asked: 0,
            tuning,
            journal: None,
            next: 1,
            acts: audit::newest(connection)?,
            at_work: false,
            version: 0,
        };
        state.replay(connection)?;
        Ok(state)
    }

    /// Brings the memory to the database's state, and begins a job.
    pub(super) fn begin(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let acts = audit::newest(connection)?;
        let broke_off = std::mem::replace(&mut self.at_work, true);
        if broke_off || !self.follow_acts(connection, acts)? || journal::ends(connection)? != self.journal {
            tracing::warn!("something was not stored that was in memory: it is read again");
            self.acts = acts;
            self.replay(connection)?;
        }
        Ok(())
    }

    /// Ends a job that did not break off.
    pub(super) const fn end(&mut self) {
        self.at_work = false;
    }

    /// Takes some more devices and tokens into memory, if there are questions enough to be worth it.
    pub(super) fn read_more(&mut self, connection: &Connection, questions: usize) -> Result<(), StoreError> {
        self.asked = self.asked.saturating_add(questions);
        let wanted = !self.registry.is_empty() || self.asked >= self.tuning.known_from;
        if !wanted {
            return Ok(());
        }
        // Where there are few questions, what they could save is little too.
        let most = questions.saturating_mul(READ_A_QUESTION).clamp(1, self.tuning.read_at_once);
        if self.registry.is_complete() {
            self.seen.read_more(connection, most, self.tuning.most_blocks)?;
        } else {
            self.registry.read_more(connection, most, &self.tail)?;
        }
        Ok(())
    }

    /// Forgets them again if there were too few questions since the last time to be worth it.
    pub(super) fn forget_known(&mut self) {
        if std::mem::take(&mut self.asked) < self.tuning.known_from {
            (self.registry, self.seen) = (Registry::default(), Seen::default());
        }
    }

    /// The device with this fingerprint, with all passes so far.
    pub(super) fn standing(&self, connection: &Connection, digest: &NucDigest) -> Result<Option<Standing>, StoreError> {
        match self.registry.standing(digest) {
            Some(known) => known.map(Some),
            None if self.registry.is_complete() => Ok(None),
            None => Ok(devices::standing(connection, digest)?.map(|standing| self.tail.standing(standing))),
        }
    }

    /// False only if this token never passed, or its pass is not merged yet.
    pub(super) fn may_be_merged(&self, id: UseId) -> bool {
        self.seen.may_have(id)
    }

    /// A token is merged.
    pub(super) fn add_merged(&mut self, id: UseId) {
        self.seen.add(id);
    }

    /// Writes passes to the journal and remembers them. After an error nothing has changed.
    pub(super) fn pass(&mut self, connection: &Connection, passes: &[Pass]) -> rusqlite::Result<()> {
        journal::append(connection, self.next, passes)?;
        self.journal = Some((self.journal.map_or(self.next, |(first, _)| first), self.next));
        self.next = self.next.saturating_add(1);
        self.tail.add(passes);
        for pass in passes {
            self.registry.set_usage(pass.device, pass.tally, pass.highest);
        }
        Ok(())
    }

    /// A device's passes that are not merged yet.
    pub(super) fn usage(&self, device: DeviceId) -> Option<(Tally, Highest)> {
        self.tail.usage(device)
    }

    /// Changes whenever passes leave the memory for the tables.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// What is to be merged, and the last journal row of it; `None` if there is nothing.
    pub(super) fn freeze(&mut self) -> Option<Frozen> {
        let (_, last) = self.journal?;
        let (part, through) = self.tail.freeze(last);
        Some(Frozen { part, through, version: self.version })
    }

    /// Whether this is still what is to be merged.
    pub(super) const fn is_frozen(&self, frozen: &Frozen) -> bool {
        self.version == frozen.version
    }

    /// Deletes some journal rows of what was merged; true once none is left.
    pub(super) fn forget(&mut self, connection: &Connection, frozen: &Frozen, most: i64) -> rusqlite::Result<bool> {
        let done = journal::delete(connection, frozen.through, most)?;
        self.journal = journal::ends(connection)?;
        if done {
            self.tail.forget_frozen();
            self.version = self.version.wrapping_add(1);
        }
        Ok(done)
    }

    /// Reads the devices again that acts have changed since; false if an act that was seen is not there any
    /// more.
    fn follow_acts(&mut self, connection: &Connection, acts: Chain) -> Result<bool, StoreError> {
        if acts == self.acts {
            return Ok(true);
        }
        if self.acts != audit::at(connection, self.acts.sequence)? {
            return Ok(false);
        }
        if !self.registry.is_empty() {
            for id in devices::changed_since(connection, self.acts.sequence)? {
                self.registry.read_again(connection, id, &self.tail)?;
            }
        }
        self.acts = acts;
        Ok(true)
    }

    /// Takes the whole journal into memory, and forgets what was there.
    fn replay(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.version = self.version.wrapping_add(1);
        self.registry = Registry::default();
        self.tail = Tail::default();
        // Not in order until it was read to its end.
        self.journal = None;
        let ends = journal::read(connection, |batch| self.tail.absorb(batch))?;
        self.journal = ends;
        self.next = self.next.max(ends.map_or(0, |(_, last)| last).saturating_add(1));
        Ok(())
    }
}

/// A millisecond and a half for each thousand that are read, at about ten microseconds a question.
const READ_A_QUESTION: usize = 16;

#[cfg(test)]
mod tests;
