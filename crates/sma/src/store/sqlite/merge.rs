//! Moves passes from the journal to the tables where they stay.
//!
//! For: one thread that works in slices, each a job of the writer's next transaction, so that no answer
//! waits for more than a slice. Not for: when to begin (`sqlite`).
//!
//! Sorted over all that has gathered, neighbouring rows come one after the other, and a page is written
//! once a merge instead of once a pass. A merge that breaks off is begun anew: writing a row twice changes
//! nothing, and the journal is emptied last.

use foldhash::HashMap;
use rusqlite::{Connection, params};

use super::rows::Number;
use super::state::{Frozen, State};
use super::work::Shared;
use crate::counters::{Highest, Slot, UsedCounter};
use crate::devices::DeviceId;
use crate::quota::Tally;
use crate::replay::{Day, FirstUse, UseId};
use crate::store::StoreError;

/// What a job of a merge came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    More,
    Done,
    /// The memory was read anew meanwhile, and what was being merged is to be merged with the rest.
    Overtaken,
}

/// Merges what there is now.
pub(super) fn merge(shared: &Shared) -> Result<(), StoreError> {
    let frozen = shared.job(|connection, state| {
        state.begin(connection)?;
        let frozen = state.freeze();
        state.end();
        Ok(frozen)
    })?;
    let Some(frozen) = frozen else { return Ok(()) };
    // The more there is, the more goes first: passes that gather meanwhile are merged no slower than they come.
    let slice = shared.tuning.slice.max(frozen.part.rows() / SLICES);
    let written = write(shared, &frozen, slice, &sorted(&frozen.part.tokens), write_tokens)?
        && write(shared, &frozen, slice, &sorted(&frozen.part.counters), write_counters)?
        && write(shared, &frozen, slice, &sorted(&frozen.part.devices), write_devices)?;
    let most = i64::try_from(slice).unwrap_or(i64::MAX);
    let forget =
        move |connection: &Connection, state: &mut State, frozen: &Frozen| state.forget(connection, frozen, most);
    while written && step(shared, &frozen, forget)? == Step::More {}
    Ok(())
}

/// The rows of a table, in its order.
fn sorted<K: Copy + Ord, V: Copy>(rows: &HashMap<K, V>) -> Vec<(K, V)> {
    let mut rows: Vec<(K, V)> = rows.iter().map(|(key, value)| (*key, *value)).collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    rows
}

/// Writes rows in slices; false if it was overtaken.
fn write<R: Copy + Send + 'static>(
    shared: &Shared,
    frozen: &Frozen,
    slice: usize,
    rows: &[R],
    statement: fn(&Connection, &mut State, &[R]) -> rusqlite::Result<()>,
) -> Result<bool, StoreError> {
    for part in rows.chunks(slice) {
        let part = part.to_vec();
        let written =
            step(shared, frozen, move |connection, state, _| statement(connection, state, &part).map(|()| false))?;
        if written == Step::Overtaken {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One job, unless the memory was read anew. `work` says whether it was the last.
fn step(
    shared: &Shared,
    frozen: &Frozen,
    work: impl FnOnce(&Connection, &mut State, &Frozen) -> rusqlite::Result<bool> + Send + 'static,
) -> Result<Step, StoreError> {
    let frozen = frozen.clone();
    shared.job(move |connection, state| {
        state.begin(connection)?;
        let done = if state.is_frozen(&frozen) {
            work(connection, state, &frozen).map(|last| if last { Step::Done } else { Step::More })
        } else {
            Ok(Step::Overtaken)
        };
        state.end();
        Ok(done?)
    })
}

fn write_tokens(connection: &Connection, state: &mut State, rows: &[(UseId, (FirstUse, Day))]) -> rusqlite::Result<()> {
    let mut insert = connection
        .prepare_cached("INSERT OR IGNORE INTO used_token (token, repeat_digest, day) VALUES (?1, ?2, ?3)")?;
    for (id, (first, day)) in rows {
        state.add_merged(*id);
        insert.execute(params![id.0, first.0.map(|digest| digest.0), day.0])?;
    }
    Ok(())
}

fn write_counters(
    connection: &Connection,
    _: &mut State,
    rows: &[((DeviceId, Slot), UsedCounter)],
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO used_counter (device_id, slot, counter, digest) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for ((device, slot), used) in rows {
        let counter = Number(used.counter.value());
        insert.execute(params![device.0, slot.number(), counter, used.digest.as_bytes()])?;
    }
    Ok(())
}

fn write_devices(
    connection: &Connection,
    _: &mut State,
    rows: &[(DeviceId, (Tally, Highest))],
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO device_use (device_id, day, day_count, highest_counter) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (device, (tally, highest)) in rows {
        insert.execute(params![device.0, tally.day.0, tally.count, Number(highest.value())])?;
    }
    Ok(())
}

/// Of a merge at most, but for the journal's.
const SLICES: usize = 128;
