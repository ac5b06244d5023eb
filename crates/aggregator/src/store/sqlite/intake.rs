//! Taking submissions in: whatever has come while the last ones were being flushed, in one transaction.
//!
//! ```text
//! submissions ─► gatherer ─► looked up, written, leads of older rows filed ─► commit ─► remembered ─► answers
//! ```
//! For: the one thread that inserts rows, and so sees to it that a submission is stored once. Not for: the statements
//! (`sql`), or where leads are between row and table (`recent`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use birthmark_service::gather::{Batches, Gatherer, Job, gatherer};
use birthmark_service::postgres::block_on;
use birthmark_service::sqlite::Database;
use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;

use super::keys::TokenKeys;
use super::recent::{Lead, Recent, Slice};
use super::{leads, sql};
use crate::store::columns::Keys;
use crate::store::{Answer, Arrival, Intake, NewRow, Receipt, StoreError};

/// What comes in together.
type Arrivals = Vec<(Keys, Arrival)>;
type Answers = Result<Vec<Intake>, StoreError>;

/// The way in.
#[derive(Debug)]
pub(super) struct Entrance {
    gatherer: Gatherer<Arrivals, Answers>,
    /// None once closed.
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread works with.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    pub(super) database: Database,
    pub(super) keys: Arc<TokenKeys>,
    pub(super) recent: Arc<RwLock<Recent>>,
}

/// What one transaction did, to be remembered once it is durable.
struct Done {
    answers: Vec<Intake>,
    leads: Vec<Lead>,
    slice: Option<Slice>,
}

impl Entrance {
    /// Starts the thread. It ends once this is closed or dropped.
    pub(super) fn open(outbox: Outbox) -> std::io::Result<Self> {
        let (gatherer, batches) = gatherer(BATCH, PLACES);
        let thread = std::thread::Builder::new().name("intake".to_owned()).spawn(move || outbox.run(&batches))?;
        Ok(Self { gatherer, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn take_in(&self, arrivals: Vec<Arrival>) -> Answer<'_, Vec<Intake>> {
        let arrivals: Arrivals = arrivals.into_iter().map(|arrival| (arrival.row.keys(), arrival)).collect();
        let count = arrivals.len();
        Box::pin(async move { self.gatherer.put(arrivals, count).await? })
    }

    /// Takes in what waits, and no more. Blocks.
    pub(super) fn close(&self) {
        self.gatherer.close();
        if let Some(thread) = self.thread.lock().take() {
            // If it panicked, those who waited have heard of it.
            let _ = thread.join();
        }
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.gatherer.close();
    }
}

impl Outbox {
    fn run(&self, batches: &Batches<Arrivals, Answers>) {
        while let Some(jobs) = block_on(batches.next()) {
            self.settle(jobs);
        }
    }

    fn settle(&self, mut jobs: Vec<Job<Arrivals, Answers>>) {
        let counts: Vec<_> = jobs.iter().map(|job| job.work.len()).collect();
        let arrivals: Arrivals = jobs.iter_mut().flat_map(|job| std::mem::take(&mut job.work)).collect();
        let this = self.clone();
        let done = self.database.write_blocking(move |connection| this.take_in(connection, arrivals));
        match done {
            Ok(Done { answers, leads, slice }) => {
                let mut recent = self.recent.write();
                recent.remember(leads);
                if let Some(slice) = &slice {
                    recent.merged(slice);
                }
                drop(recent);
                let mut answers = answers.into_iter();
                for (job, count) in jobs.into_iter().zip(counts) {
                    let own = answers.by_ref().take(count).collect();
                    job.settle(Ok(own));
                }
            }
            Err(error) => {
                let error = StoreError::from(error);
                for job in jobs {
                    job.settle(Err(error.clone()));
                }
            }
        }
    }

    fn take_in(&self, connection: &Connection, arrivals: Arrivals) -> rusqlite::Result<Done> {
        let mut batch = Batch { outbox: self, connection, next: self.recent.read().next(), leads: Vec::new() };
        let mut seen = BTreeMap::new();
        let mut answers = Vec::with_capacity(arrivals.len());
        for (keys, Arrival { row, place }) in arrivals {
            let answer = match seen.get(&keys.idempotency) {
                Some(known) => Intake::Repeat(Receipt::clone(known)),
                None => batch.take_in(&keys, &row, place)?,
            };
            if let Intake::New(receipt) = &answer {
                seen.insert(keys.idempotency, receipt.clone());
            }
            answers.push(answer);
        }
        let leads = batch.leads;
        let slice = self.recent.read().slice((SLICE * leads.len()).clamp(SLICE_MIN, SLICE_MAX));
        if let Some(slice) = &slice {
            leads::file(connection, slice)?;
        }
        Ok(Done { answers, leads, slice })
    }
}

/// Submissions that are stored together.
struct Batch<'a> {
    outbox: &'a Outbox,
    connection: &'a Connection,
    next: i64,
    leads: Vec<Lead>,
}

impl Batch<'_> {
    fn take_in(&mut self, keys: &Keys, row: &NewRow, place: bool) -> rusqlite::Result<Intake> {
        let of_body = self.rows_of(keys)?;
        if let Some((id, known)) = self.known(keys, &of_body)? {
            if !row.is_taken_up_again(&known.state) {
                return Ok(Intake::Repeat(known));
            }
            if !place {
                return Ok(Intake::NoPlace);
            }
            sql::take_up_again(self.connection, id, row.received_at)?;
            return Ok(Intake::New(Receipt { state: row.state(), ..known }));
        }
        if let Some(recorded) = leads::best_record(self.connection, &of_body, keys.digest, row.aim())? {
            return Ok(Intake::OnRecord(recorded));
        }
        if !place {
            return Ok(Intake::NoPlace);
        }
        let id = self.next;
        sql::insert(self.connection, &self.outbox.keys, id, row, keys)?;
        self.next += 1;
        let receipt = row.receipt.into_bytes();
        self.leads.push(Lead { id, receipt, digest: keys.digest, idempotency: keys.idempotency });
        let (id, state, body) = (row.receipt, row.state(), row.submission.body().clone());
        Ok(Intake::New(Receipt { id, state, body, elsewhere: false }))
    }

    /// Stored rows of this body, [`SAME_BODY`] of each place at most: whoever poisons a photo with more of them only
    /// has it validated once more.
    fn rows_of(&self, keys: &Keys) -> rusqlite::Result<Vec<i64>> {
        let mut rows = self.outbox.recent.read().of_body(keys.digest, SAME_BODY);
        rows.extend(leads::of_body(self.connection, keys.digest, SAME_BODY)?);
        Ok(rows)
    }

    /// The row of the same submission, if there is one.
    fn known(&self, keys: &Keys, of_body: &[i64]) -> rusqlite::Result<Option<(i64, Receipt)>> {
        if of_body.is_empty() {
            return Ok(None);
        }
        let (body, own) = (keys.digest, keys.idempotency);
        let recent = self.outbox.recent.read().submission(body, own);
        let id = match recent {
            Some(id) => Some(id),
            None => leads::submission(self.connection, body, own)?,
        };
        let Some(id) = id else { return Ok(None) };
        Ok(leads::by_number(self.connection, id, own)?.map(|receipt| (id, receipt)))
    }
}

/// Submissions of one transaction.
const BATCH: usize = 512;
/// Submissions that may wait: about 20 MB of version 2.
const PLACES: usize = 16 * 1024;
/// Rows of one body that are looked at.
const SAME_BODY: usize = 64;
/// Older leads that are filed with each new row: they are all there before as many have come again.
const SLICE: usize = 2;
const SLICE_MIN: usize = 64;
const SLICE_MAX: usize = 1024;
