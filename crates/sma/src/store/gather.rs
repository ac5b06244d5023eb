//! Gathers questions that arrive at the same time, so that they share a transaction and its flush.
//!
//! For: stores whose commits cost more than a question. Not for: what is done with a batch.
//!
//! Nobody waits for a batch to fill: whoever is free takes what is there. While all are busy, it grows.

use std::sync::Arc;

use birthmark_core::time::Minute;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};

use super::{Judged, StoreError};
use crate::rules::Prepared;

/// One caller's questions, to be answered together.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) questions: Vec<Prepared>,
    pub(super) now: Minute,
    answer: oneshot::Sender<Result<Judged, StoreError>>,
    _places: OwnedSemaphorePermit,
}

/// Where questions are put in.
#[derive(Debug)]
pub(super) struct Gatherer {
    sender: Mutex<Option<mpsc::UnboundedSender<Job>>>,
    /// Bounds the queue: a place for each question.
    places: Arc<Semaphore>,
}

/// Where batches are taken out, by several at once.
#[derive(Debug)]
pub(super) struct Batches(tokio::sync::Mutex<mpsc::UnboundedReceiver<Job>>);

pub(super) fn gatherer() -> (Gatherer, Batches) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let gatherer = Gatherer { sender: Mutex::new(Some(sender)), places: Arc::new(Semaphore::new(PLACES)) };
    (gatherer, Batches(tokio::sync::Mutex::new(receiver)))
}

impl Gatherer {
    /// Waits for the answer; an error at once if too many wait already.
    pub(super) async fn judge(&self, questions: Vec<Prepared>, now: Minute) -> Result<Judged, StoreError> {
        if questions.is_empty() {
            return Ok(Judged::default());
        }
        let count = u32::try_from(questions.len()).unwrap_or(u32::MAX);
        let places = match Arc::clone(&self.places).try_acquire_many_owned(count) {
            Ok(places) => places,
            Err(TryAcquireError::NoPermits) => return Err(StoreError::Busy),
            Err(TryAcquireError::Closed) => return Err(closed()),
        };
        let (answer, answered) = oneshot::channel();
        let job = Job { questions, now, answer, _places: places };
        match &*self.sender.lock() {
            Some(sender) => sender.send(job).map_err(|_| closed())?,
            None => return Err(closed()),
        }
        answered.await.unwrap_or_else(|_| Err(StoreError::Panicked))
    }

    /// What is in the queue is still carried out.
    pub(super) fn close(&self) {
        self.places.close();
        self.sender.lock().take();
    }
}

impl Batches {
    /// What is there, up to about [`BATCH`] questions; waits for the first. None once all is done.
    pub(super) async fn next(&self) -> Option<Vec<Job>> {
        let mut receiver = self.0.lock().await;
        let first = receiver.recv().await?;
        let mut questions = first.questions.len();
        let mut jobs = vec![first];
        while questions < BATCH
            && let Ok(job) = receiver.try_recv()
        {
            questions += job.questions.len();
            jobs.push(job);
        }
        Some(jobs)
    }
}

impl Job {
    pub(super) fn settle(self, answer: Result<Judged, StoreError>) {
        // A caller that stopped waiting does not matter.
        let _ = self.answer.send(answer);
    }
}

fn closed() -> StoreError {
    StoreError::Closed(Arc::from("it was closed"))
}

const BATCH: usize = 256;
/// About 20 MB of version 2 questions.
const PLACES: usize = 16 * 1024;
