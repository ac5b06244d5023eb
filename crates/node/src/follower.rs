//! A node that does not validate: it fetches final blocks from others, applies them by the same rules, and
//! answers everything that validators answer.
//!
//! For: reading at scale, without asking validators. It has no keys and signs nothing. It believes no other node: it
//! shows only checkpoints that a quorum has signed, with the tree of its own ledger.
//!
//! Not for: taking transactions; it refuses them, so that nobody takes a follower's promise for a validator's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use birthmark_core::network::{Network, acts_of};
use birthmark_core::time::UnixSeconds;
use birthmark_ledger::Ledger;
use birthmark_service::backoff::Backoff;
use birthmark_service::client::ClientSetupError;
use birthmark_service::lock::FolderLock;
use birthmark_service::random::OsRng;
use birthmark_service::secret_file::SecretFileError;
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::acts::Acts;
use crate::config::NodeError;
use crate::epochs;
use crate::http;
use crate::publisher::Publisher;
use crate::reads::Reads;
use crate::source::{Source, SourceError};
use crate::sync::{SyncError, catch_up};

/// What a follower needs to start.
#[derive(Clone, Debug)]
pub struct FollowerConfig {
    /// `ledger/` is kept here.
    pub data_dir: PathBuf,
    /// The checked network file.
    pub network: Arc<Network>,
    /// The same file's bytes, for serving.
    pub network_file: Bytes,
    /// Where to fetch from, `http://host:port` each: the first that serves.
    pub sources: Vec<String>,
}

/// A follower with its ledger open.
#[derive(Debug)]
pub struct Follower {
    reads: Arc<Reads>,
    /// As it was given; the ledger may have come further since.
    network: Arc<Network>,
    sources: Vec<Source>,
    _lock: FolderLock,
}

impl Follower {
    /// Opens the folder and shows what an earlier run has shown.
    pub fn start(config: FollowerConfig) -> Result<Self, NodeError> {
        let FollowerConfig { data_dir, network, network_file, sources } = config;
        let folder = data_dir.join("ledger");
        std::fs::create_dir_all(&folder).map_err(|source| SecretFileError::Io { path: folder.clone(), source })?;
        let lock = FolderLock::acquire(&data_dir)?;
        let sources = sources.iter().map(|origin| Source::new(origin)).collect::<Result<Vec<_>, ClientSetupError>>()?;
        if sources.is_empty() {
            return Err(NodeError::NoSource);
        }
        let ledger = Arc::new(Ledger::open(&folder, Arc::clone(&network))?);
        epochs::keep_proven(&acts_of(&network_file).unwrap_or_default(), &ledger)?;
        let publisher = Publisher::new();
        publisher.resume(&ledger)?;
        let acts = Arc::new(Acts::new(network_file));
        let reads = Reads { ledger, publisher: Arc::new(publisher), acts, mempool: None, pages: Reads::pages() };
        Ok(Self { reads: Arc::new(reads), network, sources, _lock: lock })
    }

    /// The follower's HTTP interface.
    pub fn router(&self) -> Router {
        http::follower_router(Arc::clone(&self.reads))
    }

    /// Follows until `stop`. An error if it cannot go on, whichever node it asks.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), NodeError> {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = self.follow() => ended,
        }
    }

    /// Stays with a node as long as that has news; ends with an error only.
    async fn follow(&self) -> Result<(), NodeError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut failed = 0;
        let mut news = Instant::now();
        for source in self.sources.iter().cycle() {
            info!(source = source.origin(), "following");
            let cause = loop {
                match self.step(source).await {
                    Ok(is_news) => {
                        failed = 0;
                        backoff.reset();
                        if is_news {
                            news = Instant::now();
                        } else if news.elapsed() > SILENCE && self.sources.len() > 1 {
                            news = Instant::now();
                            break None;
                        }
                    }
                    Err(SyncError::Source(cause)) => break Some(cause),
                    Err(fatal) => return Err(fatal.into()),
                }
                tokio::time::sleep(POLL).await;
            };
            if let Some(cause) = &cause {
                warn!(source = source.origin(), %cause, "a node is not followed any more");
            } else {
                warn!(source = source.origin(), "a node has had no newer checkpoint for minutes");
            }
            failed += usize::from(cause.is_some());
            if failed >= self.sources.len() {
                tokio::time::sleep(backoff.next(&mut OsRng)).await;
            }
        }
        Err(NodeError::NoSource)
    }

    /// Asks once. Says whether there was anything newer.
    async fn step(&self, source: &Source) -> Result<bool, SyncError> {
        let Reads { ledger, publisher, .. } = &*self.reads;
        let mut told = |size, target| info!(size, target, "applied");
        let proven = catch_up(ledger, &self.network, source, None, &mut told).await?;
        let (size, time) = (proven.verified.checkpoint.size, proven.verified.time.unwrap_or(UnixSeconds(0)));
        if publisher.newest().is_some_and(|known| (known.checkpoint.size, known.time) >= (size, time)) {
            return Ok(false);
        }
        let (ledger, publisher) = (Arc::clone(ledger), Arc::clone(publisher));
        tokio::task::spawn_blocking(move || publisher.adopt(&ledger, proven.note, proven.verified)).await??;
        Ok(true)
    }
}

impl From<ClientSetupError> for NodeError {
    fn from(cause: ClientSetupError) -> Self {
        Self::Address(cause)
    }
}

impl From<SourceError> for NodeError {
    fn from(cause: SourceError) -> Self {
        Self::Sync(cause.into())
    }
}

/// How often the checkpoint is asked for.
const POLL: Duration = Duration::from_millis(500);
/// Validators sign each minute: whoever shows nothing newer for so long is cut off.
const SILENCE: Duration = Duration::from_secs(150);
/// After all have failed in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests;
