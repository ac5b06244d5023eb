//! A registry node: orders transactions with the other validators, records them, and proves what is
//! recorded.
//!
//! The way of a transaction: `http::transactions` takes it if `admission` lets it in, `mempool` keeps it
//! until it is final, `relay` tells the other validators, `chain` puts it into a block and applies what
//! the engine decides, `cosigner` signs the log that results, `committee` tells the others and hears
//! them, `publisher` makes a quorum's checkpoint the one that everyone is answered from, `lookup` finds
//! and proves. `epochs` says with which validators this node decides, `acts` shows others how they came
//! to be these.
//!
//! A node without keys is a `follower`: `source` asks other nodes, `sync` applies what a quorum's checkpoint covers,
//! and the same read side answers.
//!
//! Not for: deciding what is valid (`birthmark-ledger`) or in which order (`birthmark-engine`). A node
//! knows hashes, authorities and submitters; of cameras, tokens and people it never learns.

mod acts;
mod admission;
mod allowance;
mod chain;
mod collector;
mod committee;
mod config;
mod cosigner;
mod epochs;
mod follower;
mod fsck;
mod http;
mod lookup;
mod mempool;
mod node;
mod offer;
mod peers;
mod publisher;
mod reads;
mod relay;
mod repair;
pub mod snapshot;
mod source;
mod staging;
mod statement;
mod sync;
#[cfg(test)]
mod testing;
pub mod witness;

pub use birthmark_ledger::Rebuilt;
pub use birthmark_ledger::fsck::{Damage, Location, Progress, Sound};
pub use config::{KeyFiles, NodeConfig, NodeError};
pub use cosigner::{CosignerError, create_state};
pub use follower::{Follower, FollowerConfig};
pub use fsck::{fsck, rebuild_index};
pub use node::Node;
pub use peers::PeerNetwork;
pub use repair::{Repaired, repair};
pub use source::SourceError;
pub use sync::SyncError;

/// May post to the seed's `POST /api/v1/blockchain/submit`.
pub const ROLE_SUBMIT: &str = "submitter";
