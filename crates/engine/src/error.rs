//! Why the engine does not start, or has ended.

use std::{net::SocketAddr, path::PathBuf};

use crate::{chain::ChainError, config::MAX_VALIDATORS};

/// Why the engine does not start, or has ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The set of validators is empty or too large.
    #[error("{0} validators are configured, 1 to {MAX_VALIDATORS} are possible")]
    ValidatorCount(usize),
    /// A configured key is no Ed25519 public key.
    #[error("the key of validator {0} is not an Ed25519 public key")]
    ValidatorKey(usize),
    /// A key is configured twice.
    #[error("two validators have the same key")]
    DuplicateValidator,
    /// An address is configured twice, so that dialling one validator would reach the other.
    #[error("two validators have the address {0}")]
    DuplicateAddress(SocketAddr),
    /// Settings of connections are unusable.
    #[error("settings of connections are unusable: {0}")]
    Connections(&'static str),
    /// Epochs are not numbered from 0, or their heights do not rise from 0.
    #[error("the epochs are not numbered from 0 with rising heights, or one of their keys is none")]
    Epochs,
    /// The own key is not in the set.
    #[error("the own consensus key is not one of the configured validators")]
    NotAValidator,
    /// Time-outs contradict each other.
    #[error("time-outs contradict each other: {0}")]
    Timing(&'static str),
    /// Size limits are unusable.
    #[error("size limits are unusable: {0}")]
    Limits(&'static str),
    /// The address for other validators cannot be used.
    #[error("cannot listen for other validators on {address}: {source}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The storage folder cannot be used.
    #[error("cannot use the consensus folder {path}: {source}")]
    Folder {
        /// The configured folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The system gives no thread.
    #[error("cannot start the consensus thread: {0}")]
    Thread(std::io::Error),
    /// The archive of blocks or certificates cannot be opened.
    #[error("the consensus archive cannot be opened: {0}")]
    Archive(#[from] commonware_storage::archive::Error),
    /// The storage folder belongs to another chain.
    #[error("the consensus folder belongs to another network: its genesis block differs")]
    Genesis,
    /// The ledger is ahead of the archive: the consensus folder was lost or exchanged. Going on could fork the chain.
    #[error("the ledger has applied block {applied}, which the consensus folder does not hold")]
    ArchiveBehind {
        /// The ledger's height.
        applied: u64,
    },
    /// Ledger and archive hold different blocks at one height.
    #[error("ledger and consensus folder hold different blocks at height {height}")]
    Diverged {
        /// The height.
        height: u64,
    },
    /// A finalized block is missing between the ledger and what is to be applied next.
    #[error("finalized block {wanted} is missing, the next one at hand is {found}")]
    Gap {
        /// The height that must come next.
        wanted: u64,
        /// The height that came.
        found: u64,
    },
    /// The ledger refused or failed to apply a finalized block.
    #[error("a finalized block could not be applied: {0}")]
    Chain(#[source] ChainError),
    /// The ledger reported success but its height does not show it.
    #[error("the ledger reported blocks up to {expected} as applied but stands at {applied}")]
    NotApplied {
        /// Where it should be.
        expected: u64,
        /// Where it is.
        applied: u64,
    },
    /// A part of the engine ended although nobody asked it to.
    #[error("the engine's {0} ended unexpectedly")]
    Stopped(&'static str),
    /// A part of the engine panicked, as it does when its storage fails.
    #[error("the engine failed: {0}")]
    Panicked(String),
}
