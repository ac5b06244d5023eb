//! Judging over SQLite: what the questions touch is loaded, the rules decide, passes are written.
//!
//! For: the store's one job that runs all day. Not for: the rules (`rules`).

use birthmark_core::time::Minute;
use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{self, Number, STANDING};
use super::{StoreError, keys};
use crate::counters::UsedCounter;
use crate::devices::DeviceId;
use crate::replay::{FirstUse, RepeatDigest};
use crate::rules::{self, Loaded, Pass, Prepared, PreparedToken, Rules};
use crate::store::Judged;

pub(super) fn judge(
    connection: &Connection,
    rules: &Rules,
    questions: &[Prepared],
    now: Minute,
) -> Result<Judged, StoreError> {
    let mut loaded = load(connection, questions)?;
    let mut passes = Vec::new();
    let verdicts = rules.judge(questions, now, &mut loaded, &mut passes);
    write(connection, &passes)?;
    let warned = passes.iter().filter(|pass| pass.warn).map(|pass| super::devices::serial(connection, pass.device));
    Ok(Judged { verdicts, warned: warned.collect::<Result<_, _>>()? })
}

fn load(connection: &Connection, questions: &[Prepared]) -> Result<Loaded, StoreError> {
    let device = format!(
        "SELECT {STANDING} FROM device_registry AS d LEFT JOIN device_use AS u ON u.device_id = d.id
         WHERE d.nuc_digest = ?1"
    );
    let mut device = connection.prepare_cached(&device)?;
    let mut token = connection.prepare_cached("SELECT repeat_digest FROM used_token WHERE token = ?1")?;
    let mut slot =
        connection.prepare_cached("SELECT counter, digest FROM used_counter WHERE device_id = ?1 AND slot = ?2")?;
    let mut loaded = Loaded::default();
    let mut bound = false;
    for Prepared { nuc_digest, token: prepared } in questions {
        let found = device.query_row([nuc_digest.0], rows::standing).optional()?;
        let id = found.as_ref().map_or(DeviceId(0), |device| device.id);
        if let Some(found) = found {
            loaded.add_device(nuc_digest, found);
        }
        match prepared {
            PreparedToken::One { use_id, .. } => {
                let prior = token.query_row([use_id.0], |row| row.get::<_, Option<[u8; 16]>>(0)).optional()?;
                if let Some(repeat) = prior {
                    loaded.add_use(*use_id, FirstUse(repeat.map(RepeatDigest)));
                }
            }
            PreparedToken::Two(token) => {
                bound = true;
                let used = slot.query_row(params![id.0, token.slot().number()], |row| {
                    Ok(UsedCounter { counter: row.get(0)?, digest: row.get(1)? })
                });
                if let Some(used) = used.optional()? {
                    loaded.add_slot(id, used);
                }
            }
        }
    }
    if bound {
        loaded.set_signing_keys(keys::signing(connection)?);
    }
    Ok(loaded)
}

fn write(connection: &Connection, passes: &[Pass]) -> rusqlite::Result<()> {
    let mut token =
        connection.prepare_cached("INSERT INTO used_token (token, repeat_digest, day) VALUES (?1, ?2, ?3)")?;
    for (id, (FirstUse(repeat), day)) in rules::tokens(passes) {
        token.execute(params![id.0, repeat.map(|digest| digest.0), day.0])?;
    }
    let mut slot = connection.prepare_cached(
        "INSERT OR REPLACE INTO used_counter (device_id, slot, counter, digest) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for ((device, number), used) in rules::last_of_each_slot(passes) {
        slot.execute(params![device.0, number.number(), Number(used.counter.value()), used.digest.as_bytes()])?;
    }
    let mut device = connection.prepare_cached(
        "INSERT OR REPLACE INTO device_use (device_id, day, day_count, highest_counter) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (id, (tally, highest)) in rules::last_of_each_device(passes) {
        device.execute(params![id.0, tally.day.0, tally.count, Number(highest.value())])?;
    }
    Ok(())
}
