//! What a node answers from, whether it validates or follows.
//!
//! For: the read side of the HTTP interface, which is the same for both. Not for: taking transactions (`node`).

use std::sync::Arc;

use birthmark_ledger::Ledger;
use tokio::sync::Semaphore;

use crate::acts::Acts;
use crate::mempool::Mempool;
use crate::publisher::Publisher;

/// Ledger, published checkpoint, the acts of governance that are proven, and what else is shown.
#[derive(Debug)]
pub(crate) struct Reads {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) acts: Arc<Acts>,
    /// What waits for a block; nothing ever does at a follower.
    pub(crate) mempool: Option<Arc<Mempool>>,
    /// Places for making pages of look-ups by prefix, each of which takes a thread and some megabytes.
    pub(crate) pages: Arc<Semaphore>,
}

impl Reads {
    /// The places for pages.
    pub(crate) fn pages() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(MAX_PAGES))
    }
}

const MAX_PAGES: usize = 8;
