//! The threads of the store: two that judge, one that merges.
//!
//! For: who waits for what. While one batch is being flushed, the next one gathers, and is taken out by its
//! job at the last moment: nothing that has arrived waits for a commit that has not begun. Two, so that one
//! gives out answers while the other's job is at work. Not for: what is done in a job (`judge`, `merge`).

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use birthmark_service::gather::{Batches, Gatherer, Job, gatherer};
use birthmark_service::sqlite::{Database, WriteError};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio_util::task::TaskTracker;

use super::judge::Answers;
use super::state::State;
use super::{judge, merge};
use crate::rules::Rules;
use crate::store::{Asked, Judged, StoreError, block_on};

pub(super) type AskedJob = Job<Asked, Result<Judged, StoreError>>;
type AskedBatches = Batches<Asked, Result<Judged, StoreError>>;

/// When passes are moved to the tables, and how many at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuning {
    /// Rows that gather before a merge: so many that neighbours share pages, at a hundred bytes each.
    pub(super) merged_at: usize,
    /// How long a pass waits for a merge at most: a journal also tells in which order passes came.
    pub(super) merged_after: Duration,
    /// Rows written in one job at least, and journal rows deleted: a few milliseconds.
    pub(super) slice: usize,
    /// Rows in memory that are not being merged yet, at most; then merging goes first.
    pub(super) most: usize,
    /// Questions in [`RESTS`] merges by the clock from which on devices and tokens are kept in memory.
    pub(super) known_from: usize,
    /// Devices or tokens that are taken into memory in one job at most: a few milliseconds.
    pub(super) read_at_once: usize,
    /// Of 64 bytes and 51 tokens, in memory.
    pub(super) most_blocks: usize,
    /// How long questions that can wait do: some ten signatures' time, in which as many more come.
    pub(super) company: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        let (merged_after, company) = (Duration::from_mins(1), Duration::from_millis(10));
        let (merged_at, most, most_blocks) = (256 * 1024, 1024 * 1024, 256 * 1024);
        Self { merged_at, merged_after, slice: 512, most, known_from: 4096, read_at_once: 4096, most_blocks, company }
    }
}

/// What the threads work on.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) tuning: Tuning,
    pub(super) database: Database,
    pub(super) rules: Arc<Rules>,
    pub(super) gatherer: Gatherer<Asked, Result<Judged, StoreError>>,
    pub(super) state: Arc<Mutex<State>>,
    /// Wakes the thread that merges; none once the store is being closed.
    merger: Mutex<Option<SyncSender<()>>>,
}

impl Shared {
    /// Starts the threads. They end after [`Shared::stop`], which `threads` waits for.
    pub(super) fn start(
        database: Database,
        state: State,
        rules: Arc<Rules>,
        tuning: Tuning,
        threads: &TaskTracker,
    ) -> io::Result<Arc<Self>> {
        let (sender, wake) = sync_channel(1);
        let (gatherer, batches) = gatherer(BATCH, PLACES);
        let batches = Arc::new(batches);
        let shared = Arc::new(Self {
            tuning,
            database,
            rules,
            gatherer,
            state: Arc::new(Mutex::new(state)),
            merger: Mutex::new(Some(sender)),
        });
        for number in 1..=2 {
            let (shared, batches, token) = (Arc::clone(&shared), Arc::clone(&batches), threads.token());
            let work = move || {
                let _token = token;
                shared.judge_batches(&batches);
            };
            Builder::new().name(format!("sma-judge-{number}")).spawn(work)?;
        }
        let (merging, token) = (Arc::clone(&shared), threads.token());
        let work = move || {
            let _token = token;
            merging.merge_when_told(&wake);
        };
        Builder::new().name("sma-merge".to_owned()).spawn(work)?;
        shared.merge_if_due();
        Ok(shared)
    }

    /// What waits is still carried out; a merge that is under way too.
    pub(super) fn stop(&self) {
        self.gatherer.close();
        self.merger.lock().take();
    }

    /// A job of the writer's thread, with the memory. Blocks.
    pub(super) fn job<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection, &mut State) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let state = Arc::clone(&self.state);
        Ok(self.database.write_blocking(move |connection| job(connection, &mut state.lock()))?)
    }

    fn judge_batches(self: &Arc<Self>, batches: &Arc<AskedBatches>) {
        while let Some(jobs) = block_on(batches.next()) {
            if jobs.iter().all(|job| job.work.can_wait) {
                std::thread::sleep(self.tuning.company);
            }
            let taken = Arc::new(Mutex::new(jobs));
            let judged = self.judge_batch(batches, &taken);
            let jobs: Vec<AskedJob> = std::mem::take(&mut *taken.lock());
            match judged {
                Ok(answers) => {
                    for (job, answer) in jobs.into_iter().zip(answers) {
                        job.settle(answer);
                    }
                }
                Err(error) => {
                    let error = StoreError::from(error);
                    for job in jobs {
                        job.settle(Err(error.clone()));
                    }
                }
            }
            self.merge_if_due();
        }
    }

    fn judge_batch(
        self: &Arc<Self>,
        batches: &Arc<AskedBatches>,
        taken: &Arc<Mutex<Vec<AskedJob>>>,
    ) -> Result<Answers, WriteError<StoreError>> {
        let (shared, batches, taken) = (Arc::clone(self), Arc::clone(batches), Arc::clone(taken));
        self.database.write_blocking(move |connection| {
            let mut jobs = taken.lock();
            batches.add_to(&mut jobs);
            let state = &mut shared.state.lock();
            judge::judge(connection, &shared.rules, state, shared.tuning.most, &jobs)
        })
    }

    fn merge_if_due(&self) {
        if self.state.lock().tail.weight() >= self.tuning.merged_at {
            // If it was told already, it will see this too.
            self.merger.lock().as_ref().map(|merger| merger.try_send(()));
        }
    }

    /// When told, when passes have waited long enough, and at the end.
    fn merge_when_told(&self, wake: &Receiver<()>) {
        let (mut open, mut rests) = (true, 0);
        while open {
            let woken = wake.recv_timeout(self.tuning.merged_after);
            open = woken != Err(RecvTimeoutError::Disconnected);
            rests += u32::from(woken == Err(RecvTimeoutError::Timeout));
            if rests >= RESTS {
                rests = 0;
                self.state.lock().forget_known();
            }
            if self.state.lock().tail.weight() > 0
                && let Err(error) = merge::merge(self)
            {
                tracing::warn!(%error, "a merge of passes was broken off; the next one takes it up again");
            }
        }
    }
}

/// Minutes without much to merge, after which devices and tokens may be forgotten.
const RESTS: u32 = 10;
/// Questions of one job: about ten milliseconds' worth.
const BATCH: usize = 2048;
/// About 40 MB of version 2 questions.
const PLACES: usize = 32 * 1024;
