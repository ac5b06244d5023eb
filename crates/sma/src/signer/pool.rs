//! Signing on threads of its own, as many as there are processors.
//!
//! For: keeping milliseconds of arithmetic off the threads that answer requests, and saying no at once
//! when more wait than can be served soon.
//! Not for: retrying (the caller's), or choosing the key.
//!
//! A dropped future gives up its place if it was waiting. Once signing runs it cannot be stopped, and its
//! thread stays counted until it ends: cancelled requests cannot pile up work beyond the bound.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{SignError, Signer};

/// Runs signatures on a bounded number of blocking threads.
#[derive(Clone, Debug)]
pub(crate) struct SigningPool {
    /// One permit for each that waits or runs.
    places: Arc<Semaphore>,
    /// One permit for each that runs.
    threads: Arc<Semaphore>,
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
        let threads = threads.get().min(Semaphore::MAX_PERMITS);
        let places = threads.saturating_add(waiting).min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(places)), threads: Arc::new(Semaphore::new(threads)) }
    }

    /// Signs when a thread is free; first come, first served.
    pub(crate) async fn sign(&self, signer: Arc<dyn Signer>, blinded_message: Vec<u8>) -> Result<Vec<u8>, PoolError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| PoolError::Busy)?;
        let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| PoolError::Stopped)?;
        let signing = tokio::task::spawn_blocking(move || {
            // Held here and not by the future, which may be dropped before this ends.
            let _held = (place, thread);
            signer.sign(&blinded_message)
        });
        match signing.await {
            Ok(answer) => answer.map_err(PoolError::Sign),
            Err(error) if error.is_panic() => Err(PoolError::Panicked),
            Err(_) => Err(PoolError::Stopped),
        }
    }
}

/// About half a second at 1.1 ms a signature.
const WAITING_PER_THREAD: usize = 512;

#[cfg(test)]
mod tests;
