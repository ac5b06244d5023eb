//! Devices in memory, as far as a verdict depends on them: fifty-odd bytes each.
//!
//! For: finding a device without a look-up in the database, which costs more than a version 1 token's
//! cryptography once there are a million of them. Not for: names, listing, or anything that admins do: those
//! read and write the database (`devices`), and what they changed is read again (`state` sees to that).
//!
//! Empty at the start, and filled from the first device on, some in each job, once there are questions enough:
//! an authority that rests holds none, however many it knows, and no job waits for a million rows.

use std::collections::HashMap;

use rusqlite::{Connection, Row};

use super::rows::{self, STANDING};
use super::tail::Tail;
use crate::counters::Highest;
use crate::devices::{DeviceId, Standing, Status, TokenVersion};
use crate::keys::{KeyGeneration, NucDigest};
use crate::quota::{QuotaOverride, Tally};
use crate::replay::Day;
use crate::store::StoreError;
use crate::tables::AssignedTables;

/// The devices by number and by fingerprint.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// Device n is at n - 1.
    entries: Vec<Entry>,
    /// Open addressing by the digest's first bytes; a device's number, 0 where free. A power of two, at most
    /// half full.
    slots: Vec<u32>,
    /// The few that have limits of their own.
    quotas: HashMap<u32, QuotaOverride>,
    /// The few that were not given three tables.
    tables: HashMap<u32, AssignedTables>,
    /// Every device is here.
    complete: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Half of the fingerprint's digest. It is keyed, so nobody can look for a second one.
    digest: [u8; 16],
    highest: Highest,
    day: Day,
    count: u32,
    generation: KeyGeneration,
    /// 0xffff where they are in the map beside.
    tables: [u16; 3],
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active(TokenVersion),
    Revoked(TokenVersion),
    /// The row cannot be read, or there is none.
    Damaged,
}

impl Registry {
    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reads up to so many further devices; `usage` has what is not merged of them.
    pub(super) fn read_more(&mut self, connection: &Connection, most: usize, usage: &Tail) -> Result<(), StoreError> {
        let mut statement = connection.prepare_cached(&select("d.id > ?1 ORDER BY d.id LIMIT ?2"))?;
        let after = i64::try_from(self.entries.len()).unwrap_or(i64::MAX);
        let mut rows = statement.query([after, i64::try_from(most).unwrap_or(i64::MAX)])?;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            self.put(row, usage)?;
            read += 1;
        }
        self.complete = read < most;
        Ok(())
    }

    /// Reads a device again; one that is not here yet is read in its turn.
    pub(super) fn read_again(&mut self, connection: &Connection, id: DeviceId, usage: &Tail) -> Result<(), StoreError> {
        if !usize::try_from(id.0).is_ok_and(|number| number <= self.entries.len()) {
            self.complete = false;
            return Ok(());
        }
        let mut statement = connection.prepare_cached(&select("d.id = ?1"))?;
        let mut rows = statement.query([id.0])?;
        rows.next()?.map_or(Ok(()), |row| self.put(row, usage))
    }

    /// The device with this fingerprint.
    pub(super) fn standing(&self, digest: &NucDigest) -> Option<Result<Standing, StoreError>> {
        let number = self.find(half(digest))?;
        let entry = self.entry(number)?;
        let (status, min_token_version) = match entry.state {
            State::Active(version) => (Status::Active, version),
            State::Revoked(version) => (Status::Revoked, version),
            State::Damaged => return Some(Err(StoreError::Damaged("the row of a device"))),
        };
        let tables = AssignedTables::of_three(entry.tables).or_else(|| self.tables.get(&number).cloned());
        Some(tables.ok_or(StoreError::Damaged("the tables of a device")).map(|tables| Standing {
            id: DeviceId(i64::from(number)),
            status,
            tables,
            min_token_version,
            generation: entry.generation,
            quota: self.quotas.get(&number).copied().unwrap_or_default(),
            tally: Tally { day: entry.day, count: entry.count },
            highest: entry.highest,
        }))
    }

    pub(super) fn set_usage(&mut self, id: DeviceId, tally: Tally, highest: Highest) {
        let place = usize::try_from(id.0).ok().and_then(|number| number.checked_sub(1));
        if let Some(entry) = place.and_then(|place| self.entries.get_mut(place)) {
            (entry.day, entry.count, entry.highest) = (tally.day, tally.count, highest);
        }
    }

    fn put(&mut self, row: &Row<'_>, usage: &Tail) -> Result<(), StoreError> {
        let number = row.get::<_, i64>(0)?;
        let next = self.entries.len().saturating_add(1);
        let number = u32::try_from(number)
            .ok()
            .filter(|number| (1..=next).contains(&usize::try_from(*number).unwrap_or(usize::MAX)))
            .ok_or(StoreError::Damaged("the numbering of devices"))?;
        let digest = NucDigest(row.get(DIGEST)?);
        let entry = match rows::standing(row) {
            Ok(standing) => self.entry_of(number, &digest, usage.standing(standing)),
            Err(error) => {
                tracing::error!(device = number, %error, "a device's row cannot be read; its tokens get errors");
                Entry { state: State::Damaged, ..Entry::empty(half(&digest)) }
            }
        };
        let known = usize::try_from(number).ok().and_then(|number| self.entries.get_mut(number - 1));
        if let Some(known) = known {
            *known = entry;
        } else {
            self.entries.push(entry);
            self.make_room();
            self.insert(number, entry.digest);
        }
        Ok(())
    }

    fn entry_of(&mut self, number: u32, digest: &NucDigest, standing: Standing) -> Entry {
        let Standing { id: _, status, tables, min_token_version, generation, quota, tally, highest } = standing;
        if quota == QuotaOverride::default() {
            self.quotas.remove(&number);
        } else {
            self.quotas.insert(number, quota);
        }
        let three = tables.as_three();
        match three {
            Some(_) => drop(self.tables.remove(&number)),
            None => drop(self.tables.insert(number, tables)),
        }
        let state = match status {
            Status::Active => State::Active(min_token_version),
            Status::Revoked => State::Revoked(min_token_version),
        };
        let tables = three.unwrap_or([u16::MAX; 3]);
        Entry { highest, day: tally.day, count: tally.count, generation, tables, state, ..Entry::empty(half(digest)) }
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    fn find(&self, digest: [u8; 16]) -> Option<u32> {
        let free = |number: &u32| *number == 0;
        let holds = |number: &u32| self.entry(*number).is_some_and(|entry| entry.digest == digest);
        let mut probes = self.probes(digest).filter_map(|slot| self.slots.get(slot).copied());
        probes.find(|number| free(number) || holds(number)).filter(|number| !free(number))
    }

    fn insert(&mut self, number: u32, digest: [u8; 16]) {
        let free = self.probes(digest).find(|slot| self.slots.get(*slot) == Some(&0));
        if let Some(slot) = free.and_then(|slot| self.slots.get_mut(slot)) {
            *slot = number;
        }
    }

    /// Doubles the slots when half of them are taken.
    fn make_room(&mut self) {
        if self.entries.len() * 2 <= self.slots.len() {
            return;
        }
        self.slots = vec![0; (self.entries.len() * 4).next_power_of_two()];
        let entries = std::mem::take(&mut self.entries);
        // The newest is inserted by the caller.
        for (entry, number) in entries.iter().zip(1..).take(entries.len() - 1) {
            self.insert(number, entry.digest);
        }
        self.entries = entries;
    }

    /// Where the digest may be, nearest first.
    fn probes(&self, digest: [u8; 16]) -> impl Iterator<Item = usize> + use<> {
        let count = self.slots.len();
        let first = digest.first_chunk().copied().map_or(0, u64::from_be_bytes);
        let start = usize::try_from(first).unwrap_or(0);
        (0..count).map(move |step| start.wrapping_add(step) & (count - 1))
    }
}

impl Entry {
    const fn empty(digest: [u8; 16]) -> Self {
        Self {
            digest,
            highest: Highest::NONE,
            day: Day(0),
            count: 0,
            generation: KeyGeneration(0),
            tables: [u16::MAX; 3],
            state: State::Damaged,
        }
    }
}

fn half(digest: &NucDigest) -> [u8; 16] {
    digest.0.first_chunk().copied().unwrap_or_default()
}

fn select(condition: &str) -> String {
    format!(
        "SELECT {STANDING}, d.nuc_digest FROM device_registry AS d LEFT JOIN device_use AS u ON u.device_id = d.id
         WHERE {condition}"
    )
}

const DIGEST: usize = 10;
