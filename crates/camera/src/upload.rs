//! From the queue to the registry's proof, through an aggregator that may be away for days.
//!
//! For: submitting photographs, following their receipts, fetching their proofs, and trying again.
//!
//! Not for: capturing (it never waits for this), or judging a proof's trust (`birthmark_core::verify`).
//!
//! `docs/PROTOCOL.md` sections 2 and 5. A token is on disk before it is first sent, and the same one is
//! sent until its receipt ends: whatever is lost on the way, there is one submission, and one token for a
//! number. Errors are tried again with back-off and jitter, forever; only what would be refused for ever is
//! parked. Where there are several aggregators, `aggregators` says who is asked.
//!
//! ```text
//! POST /api/v1/submit            Prefer: wait=30      queued ones
//! GET  /api/v1/submission/{id}                        sent ones
//! GET  /api/v1/verify/{hash}?proof=1                  confirmed ones without a proof
//! GET  /network.json                                  when the authority's key has changed
//! ```

mod aggregators;
mod attempt;
mod pulse;
mod request;
mod seal;
mod verdict;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use birthmark_core::time::Clock;
use birthmark_service::client::{ClientOptions, ClientSetupError};
use birthmark_service::random::OsRng;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rand_core::CryptoRng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::capture::Step;
use crate::device::Sealer;
use crate::queue::{Claimed, Hold, Photo, PhotoId, PhotoState, Queue, QueueError, Recorded};

pub use request::{body, submission};

use aggregators::Aggregators;
use attempt::Next;
use pulse::Pulse;

/// What an uploader works with.
pub struct UploadSettings<R = OsRng> {
    /// The data folder, where proofs are put.
    pub data: PathBuf,
    /// Its queue.
    pub queue: Queue,
    /// Who seals.
    pub sealer: Arc<Sealer<R>>,
    /// `http://host[:port]` each, the preferred one first, usually `Credentials::aggregator_url` alone.
    pub aggregators: Vec<String>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How patient to be.
    pub options: UploadOptions,
}

/// How patient an uploader is.
#[derive(Clone, Debug)]
pub struct UploadOptions {
    /// Photographs under way at the same time.
    pub in_flight: usize,
    /// Back-off after the first failure; it doubles up to `retry_max`.
    pub retry_base: Duration,
    /// The longest back-off of our own; a server may ask for more, up to an hour.
    pub retry_max: Duration,
    /// How long to wait before asking about a receipt; it doubles up to `poll_max`.
    pub poll_base: Duration,
    /// Aggregators hold submissions back for tens of seconds to mix them; this is how late we notice.
    pub poll_max: Duration,
    /// Tokens sealed for one photograph before it is parked.
    pub max_seals: u32,
    /// How long an aggregator must have failed before another is given what it may have taken in.
    pub move_after: Duration,
    /// How long an answer may take beyond the wait that was asked for.
    pub answer_time: Duration,
    /// Limits of a call. Its time limit must exceed the longest `Prefer: wait` and `answer_time`.
    pub client: ClientOptions,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self {
            // As many as a mixing batch: a camera alone can fill one.
            in_flight: 16,
            retry_base: Duration::from_secs(1),
            retry_max: Duration::from_mins(5),
            poll_base: Duration::from_millis(250),
            poll_max: Duration::from_secs(10),
            max_seals: 3,
            move_after: Duration::from_mins(5),
            answer_time: Duration::from_secs(10),
            client: ClientOptions { max_response: 512 * 1024, ..ClientOptions::default() },
        }
    }
}

/// Brings photographs of one queue to an aggregator: the one that answers, and no two the same photograph as
/// long as that can be helped.
pub struct Uploader<R = OsRng> {
    settings: UploadSettings<R>,
    aggregators: Aggregators,
    /// Held while a newer network file is looked for.
    renewal: tokio::sync::Mutex<()>,
    pulse: Pulse,
}

/// How far a photograph has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// On record.
    Confirmed {
        /// Where.
        recorded: Recorded,
        /// The proof's file under the data folder, unless it is still to be fetched.
        proof: Option<PathBuf>,
    },
    /// Safe in the queue, to be tried again.
    Pending {
        /// If the aggregator has it.
        receipt: Option<Uuid>,
        /// What went wrong last.
        last_error: Option<String>,
    },
    /// Refused for good.
    Parked {
        /// Why.
        reason: String,
    },
}

/// What a run over the queue came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Photographs that were confirmed in this run, with their proof on disk.
    pub confirmed: usize,
    /// Photographs that were parked in this run.
    pub parked: usize,
    /// Photographs of the whole queue that are not on record yet, parked ones apart.
    pub pending: u64,
}

/// Told of each step. Where several photographs are under way, their steps are interleaved.
pub type OnStep<'a> = &'a (dyn Fn(Step) + Sync);

#[derive(Clone, Copy, PartialEq, Eq)]
enum WhenEmpty {
    End,
    Wait,
}

impl<R: CryptoRng + Send + 'static> Uploader<R> {
    /// Checks the aggregators' addresses; connects when one is first used.
    pub fn new(settings: UploadSettings<R>) -> Result<Self, ClientSetupError> {
        let now = Instant::now();
        let aggregators = Aggregators::new(&settings.aggregators, &settings.options.client, now)?;
        Ok(Self { settings, aggregators, renewal: tokio::sync::Mutex::default(), pulse: Pulse::new(now) })
    }

    /// Tries one photograph, due or not. Without `wait` once, with it until its proof is there, it is
    /// parked, or the time is over.
    pub async fn submit_one(
        &self,
        id: PhotoId,
        wait: Option<Duration>,
        on_step: OnStep<'_>,
    ) -> Result<Outcome, QueueError> {
        let deadline = Instant::now() + wait.unwrap_or_default();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let next = match self.settings.queue.claim_one(self.hold(), id).await? {
                Some(claimed) => self.attempt(claimed, left, on_step).await?,
                None if !self.is_unfinished(id).await? => break,
                // Somebody else is at it.
                None => Next::Later(ELSEWHERE),
            };
            let pause = match next {
                Next::Confirmed | Next::Parked => break,
                Next::Now => Duration::ZERO,
                Next::Later(pause) => pause,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if next != Next::Now && left.is_zero() {
                break;
            }
            tokio::time::sleep(pause.min(left)).await;
        }
        Ok(outcome(self.settings.queue.photo(id).await?))
    }

    /// Submits all that is in the queue, until nothing is left to do or `until` is cancelled. Cancel it
    /// that way: if the future is dropped, rows under way stay held for a minute.
    pub async fn drain(&self, until: &CancellationToken, on_step: OnStep<'_>) -> Result<DrainReport, QueueError> {
        self.work(until, WhenEmpty::End, on_step).await
    }

    /// Submits what is in the queue and what comes into it, until `until` is cancelled.
    pub async fn run(&self, until: &CancellationToken, on_step: OnStep<'_>) -> Result<DrainReport, QueueError> {
        self.work(until, WhenEmpty::Wait, on_step).await
    }

    /// When a run over the queue was last seen to get on: every second at least, unless an attempt hangs or
    /// nobody runs it.
    pub fn last_progress(&self) -> Instant {
        self.pulse.last()
    }

    async fn work(
        &self,
        until: &CancellationToken,
        when_empty: WhenEmpty,
        on_step: OnStep<'_>,
    ) -> Result<DrainReport, QueueError> {
        let queue = &self.settings.queue;
        let mut report = DrainReport::default();
        let mut running = FuturesUnordered::new();
        let mut held = Vec::new();
        while !until.is_cancelled() {
            self.pulse.looked(Instant::now());
            // Before the look into the queue, so that nothing that comes after it is missed.
            let mut changed = std::pin::pin!(queue.changed());
            changed.as_mut().enable();
            let places = self.settings.options.in_flight.max(1).saturating_sub(running.len());
            if places > 0 {
                for claimed in queue.claim(self.hold(), places).await? {
                    held.push(claimed.photo.id);
                    running.push(self.attempt_to_report(claimed, on_step));
                }
            }
            if running.is_empty() && when_empty == WhenEmpty::End && queue.unfinished().await? == 0 {
                break;
            }
            tokio::select! {
                biased;
                () = until.cancelled() => {}
                Some(done) = running.next(), if !running.is_empty() => {
                    let (id, next) = done?;
                    // One of them only: the row may have been claimed again as soon as it was let go of,
                    // before this answer was looked at.
                    if let Some(at) = held.iter().position(|held| *held == id) {
                        held.swap_remove(at);
                    }
                    match next {
                        Next::Confirmed => report.confirmed += 1,
                        Next::Parked => report.parked += 1,
                        Next::Now | Next::Later(_) => {}
                    }
                }
                () = changed => {}
                // Rows become due by the passing of time, or by another process that lets go of them.
                () = tokio::time::sleep(TICK) => {}
            }
        }
        drop(running);
        for id in held {
            queue.release(id).await?;
        }
        let counts = queue.counts().await?;
        Ok(DrainReport { pending: counts.queued + counts.sent, ..report })
    }

    async fn attempt_to_report(&self, claimed: Claimed, on_step: OnStep<'_>) -> Result<(PhotoId, Next), QueueError> {
        let id = claimed.photo.id;
        Ok((id, self.attempt(claimed, LONGEST_WAIT, on_step).await?))
    }

    async fn is_unfinished(&self, id: PhotoId) -> Result<bool, QueueError> {
        let photo = self.settings.queue.photo(id).await?;
        Ok(match photo.state {
            PhotoState::Queued | PhotoState::Sent => true,
            PhotoState::Confirmed => photo.proof.is_none(),
            PhotoState::Parked => false,
        })
    }

    fn hold(&self) -> Hold {
        Hold { holder: std::process::id(), now: self.settings.clock.now() }
    }
}

impl<R> fmt::Debug for Uploader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploader").field("aggregators", &self.settings.aggregators).finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for UploadSettings<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadSettings").field("aggregators", &self.aggregators).finish_non_exhaustive()
    }
}

fn outcome(photo: Photo) -> Outcome {
    match (photo.state, photo.recorded) {
        (PhotoState::Confirmed, Some(recorded)) => Outcome::Confirmed { recorded, proof: photo.proof },
        (PhotoState::Parked, _) => Outcome::Parked { reason: photo.last_error.unwrap_or_default() },
        (PhotoState::Queued | PhotoState::Sent | PhotoState::Confirmed, _) => {
            Outcome::Pending { receipt: photo.receipt, last_error: photo.last_error }
        }
    }
}

/// The longest `Prefer: wait` that an aggregator grants.
const LONGEST_WAIT: Duration = Duration::from_secs(birthmark_service::prefer::MAX_WAIT_SECONDS);
/// Between two looks at a photograph that somebody else is submitting.
const ELSEWHERE: Duration = Duration::from_millis(100);
/// Between two looks at the queue when nothing happens. Times in it have whole seconds.
const TICK: Duration = Duration::from_secs(1);
