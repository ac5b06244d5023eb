//! Judging over SQLite: what the questions touch is found, the rules decide, passes go to the journal.
//!
//! For: the store's job that runs all day, on the writer's thread. Not for: the rules (`rules`), or gathering
//! questions (`gather`).

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::state::State;
use super::work::AskedJob;
use super::{devices, keys};
use crate::counters::{Slot, UsedCounter};
use crate::devices::DeviceId;
use crate::quota::Notice;
use crate::replay::{FirstUse, RepeatDigest, UseId};
use crate::rules::{Loaded, Prepared, PreparedToken, Rules};
use crate::store::{Judged, StoreError};

/// One answer for each job. What cannot be read is an error for its own job alone.
pub(super) type Answers = Vec<Result<Judged, StoreError>>;

pub(super) fn judge(
    connection: &Connection,
    rules: &Rules,
    state: &mut State,
    most_unmerged: usize,
    jobs: &[AskedJob],
) -> Result<Answers, StoreError> {
    state.begin(connection)?;
    let answers = if state.tail.weight() < most_unmerged {
        answer(connection, rules, state, jobs)
    } else {
        Err(StoreError::Busy)
    };
    state.end();
    answers
}

fn answer(connection: &Connection, rules: &Rules, state: &mut State, jobs: &[AskedJob]) -> Result<Answers, StoreError> {
    state.read_more(connection, jobs.iter().map(|job| job.work.questions.len()).sum())?;
    let mut loaded = Loaded::default();
    let bound =
        |job: &AskedJob| job.work.questions.iter().any(|question| matches!(question.token, PreparedToken::Two(_)));
    if jobs.iter().any(bound) {
        loaded.set_signing_keys(keys::signing(connection)?);
    }
    let mut merged = Merged::new(connection)?;
    let found: Vec<_> =
        jobs.iter().map(|job| load(connection, &mut merged, state, &job.work.questions, &mut loaded)).collect();
    let mut passes = Vec::new();
    let mut answers = Vec::with_capacity(jobs.len());
    for (job, found) in jobs.iter().zip(found) {
        let before = passes.len();
        answers.push(found.map(|()| {
            let verdicts = rules.judge(&job.work.questions, job.work.now, &mut loaded, &mut passes);
            let told = passes.iter().skip(before).filter_map(|pass| Some((pass.device, pass.notice?)));
            (verdicts, told.collect::<Vec<_>>())
        }));
    }
    let named = |(id, notice): (DeviceId, Notice)| Ok((devices::serial(connection, id)?, notice));
    let answers = answers
        .into_iter()
        .map(|answer| match answer {
            Ok((verdicts, told)) => {
                let notices = told.into_iter().map(named).collect::<rusqlite::Result<_>>()?;
                Ok(Ok(Judged { verdicts, notices }))
            }
            Err(error) => Ok(Err(error)),
        })
        .collect::<rusqlite::Result<_>>()?;
    // Also without any pass: a failure is not to be told from a pass by its delay.
    state.pass(connection, &passes)?;
    Ok(answers)
}

fn load(
    connection: &Connection,
    merged: &mut Merged<'_>,
    state: &State,
    questions: &[Prepared],
    loaded: &mut Loaded,
) -> Result<(), StoreError> {
    for Prepared { nuc_digest, token: prepared } in questions {
        let found = state.standing(connection, nuc_digest)?;
        let id = found.as_ref().map_or(DeviceId(0), |device| device.id);
        if let Some(found) = found {
            loaded.add_device(nuc_digest, found);
        }
        match prepared {
            PreparedToken::One { use_id, .. } => {
                let first = match state.tail.first_use(*use_id) {
                    None if state.may_be_merged(*use_id) => merged.first_use(*use_id)?,
                    first => first,
                };
                if let Some(first) = first {
                    loaded.add_use(*use_id, first);
                }
            }
            PreparedToken::Two(token) => {
                let merged = merged.counter(id, token.slot())?;
                if let Some(used) = state.tail.counter(id, token.slot()).or(merged) {
                    loaded.add_slot(id, used);
                }
            }
        }
    }
    Ok(())
}

/// What is in the tables. Its statements are prepared once a batch: finding one takes a fifth of a look-up.
struct Merged<'a> {
    token: CachedStatement<'a>,
    slot: CachedStatement<'a>,
}

impl<'a> Merged<'a> {
    fn new(connection: &'a Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            token: connection.prepare_cached("SELECT repeat_digest FROM used_token WHERE token = ?1")?,
            slot: connection
                .prepare_cached("SELECT counter, digest FROM used_counter WHERE device_id = ?1 AND slot = ?2")?,
        })
    }

    fn first_use(&mut self, id: UseId) -> rusqlite::Result<Option<FirstUse>> {
        let first = self.token.query_row([id.0], |row| row.get::<_, Option<[u8; 16]>>(0)).optional()?;
        Ok(first.map(|repeat| FirstUse(repeat.map(RepeatDigest))))
    }

    fn counter(&mut self, device: DeviceId, slot: Slot) -> rusqlite::Result<Option<UsedCounter>> {
        let used = |row: &Row<'_>| Ok(UsedCounter { counter: row.get(0)?, digest: row.get(1)? });
        self.slot.query_row(params![device.0, slot.number()], used).optional()
    }
}
