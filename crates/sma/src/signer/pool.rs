//! Signing on threads of its own, as many as there are processors.
//!
//! For: keeping milliseconds of arithmetic off the threads that answer requests, and saying no at once
//! when more wait than can be served soon.
//! Not for: retrying (the caller's), or choosing the key.
//!
//! A thread takes one message after the other until none waits: between two signatures no processor waits
//! for a task to be told that it is its turn. A dropped future gives up its place if it was waiting. Once
//! signing runs it cannot be stopped, and its place stays taken until it ends: cancelled requests
//! cannot pile up work beyond the bound.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{SignError, Signer};

/// Runs signatures on a bounded number of blocking threads.
#[derive(Clone, Debug)]
pub(crate) struct SigningPool {
    queue: Arc<Mutex<Queue>>,
    threads: usize,
    places: usize,
}

/// What waits, first come, first served.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Task>,
    /// Messages that wait or are being signed.
    places: usize,
    /// Threads that sign, or are about to.
    running: usize,
    /// Of the next task.
    number: u64,
}

#[derive(Debug)]
struct Task {
    number: u64,
    signer: Arc<dyn Signer>,
    blinded_message: Vec<u8>,
    answer: oneshot::Sender<Result<Vec<u8>, PoolError>>,
}

/// Why the pool gave no signature.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Too many wait; to be tried again later.
    #[error("too many signatures are waited for")]
    Busy,
    /// The signer's answer.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The signer panicked; this message may be why.
    #[error("the signer panicked")]
    Panicked,
    /// The process is ending.
    #[error("the pool has stopped")]
    Stopped,
}

impl SigningPool {
    /// As many threads as processors, and for each of them room for two full batches of
    /// `/validate/batch`.
    pub(crate) fn for_this_machine() -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self::new(threads, threads.get().saturating_mul(WAITING_PER_THREAD))
    }

    /// At most `threads` sign and `waiting` more wait at the same time.
    pub(crate) fn new(threads: NonZeroUsize, waiting: usize) -> Self {
        Self { queue: Arc::default(), threads: threads.get(), places: threads.get().saturating_add(waiting) }
    }

    /// Whether each thread has more than ten milliseconds' work before it, however fast the signer.
    pub(crate) fn is_far_behind(&self) -> bool {
        self.queue.lock().waiting.len() >= self.threads.saturating_mul(FAR_BEHIND)
    }

    /// Signs when a thread is free.
    pub(crate) async fn sign(&self, signer: Arc<dyn Signer>, blinded_message: Vec<u8>) -> Result<Vec<u8>, PoolError> {
        let (answer, answered) = oneshot::channel();
        let (number, starts) = {
            let mut queue = self.queue.lock();
            if queue.places >= self.places {
                return Err(PoolError::Busy);
            }
            queue.places += 1;
            let starts = queue.running < self.threads;
            queue.running += usize::from(starts);
            let number = queue.number;
            queue.number = number.wrapping_add(1);
            queue.waiting.push_back(Task { number, signer, blinded_message, answer });
            (number, starts)
        };
        if starts {
            let thread = Thread { queue: Arc::clone(&self.queue), running: true };
            // It tells its results by itself.
            drop(tokio::task::spawn_blocking(move || thread.run()));
        }
        let mut place = Place { queue: &self.queue, number: Some(number) };
        let answer = answered.await;
        place.number = None;
        answer.unwrap_or(Err(PoolError::Stopped))
    }
}

/// One that signs.
struct Thread {
    queue: Arc<Mutex<Queue>>,
    /// Counted as such.
    running: bool,
}

impl Thread {
    fn run(mut self) {
        while let Some(Task { signer, blinded_message, answer, .. }) = self.next() {
            let signed = catch_unwind(AssertUnwindSafe(|| signer.sign(&blinded_message)));
            self.queue.lock().places -= 1;
            // Whoever stopped waiting does not matter.
            let _ = answer.send(signed.map_or(Err(PoolError::Panicked), |signed| signed.map_err(PoolError::Sign)));
        }
    }

    /// The next that waits. Without one this thread is over, and whoever comes starts another; as that costs
    /// both of them more than a look, those who are about to come are let go first.
    fn next(&mut self) -> Option<Task> {
        for _ in 0..LOOKS {
            if let Some(task) = self.queue.lock().waiting.pop_front() {
                return Some(task);
            }
            std::thread::yield_now();
        }
        let mut queue = self.queue.lock();
        let next = queue.waiting.pop_front();
        if next.is_none() {
            queue.running -= 1;
            self.running = false;
        }
        next
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if self.running {
            // It never got to run, because the process is ending. What waits hears so by its sender's end.
            let mut queue = self.queue.lock();
            queue.running -= 1;
            queue.places -= queue.waiting.len();
            queue.waiting.clear();
        }
    }
}

/// A caller that waits.
struct Place<'a> {
    queue: &'a Mutex<Queue>,
    /// None once it was answered.
    number: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let mut queue = self.queue.lock();
            let before = queue.waiting.len();
            queue.waiting.retain(|task| task.number != number);
            queue.places -= before - queue.waiting.len();
        }
    }
}

const LOOKS: u32 = 16;
/// Messages a thread: seventeen milliseconds for OpenSSL, seventy for the signer that is built in.
const FAR_BEHIND: usize = 64;
/// About half a second at 1.1 ms a signature.
const WAITING_PER_THREAD: usize = 512;

#[cfg(test)]
mod tests;
