//! Orders opaque payloads among 1 to 22 validators, so that every honest one sees the same sequence of blocks.
//!
//! For: the wiring of the Byzantine fault tolerant engine (simplex consensus, block archive, authenticated and
//! encrypted connections between validators), one owned thread with its own runtime, and a small gossip channel.
//! [`Engine::start`] takes an [`EngineConfig`] and a [`Chain`]; the chain builds, judges and applies blocks.
//!
//! Not for: what a block contains or whether it is valid (the ledger, behind [`Chain`]), the mempool (the node),
//! or proofs: light clients trust cosigned checkpoints and never see this engine. Blocks on disk and between
//! validators are described in `block.rs`; nothing of it is part of `docs/PROTOCOL.md`, so the engine can be replaced.
//!
//! It is a crate of its own, without generics over the application, because its monomorphized code takes minutes to
//! compile and must not be compiled again when other crates change.
//!
//! # What the caller must know
//! - A live validator's storage folder is never deleted nor restored from a backup: it remembers how it has voted, and
//!   a validator that forgets may vote twice. One process at a time uses it; a second one waits for the first.
//! - The limits in [`EngineConfig`] must be equal on all validators and must never shrink while stored blocks remain.
//! - The validator set is constant within an epoch, and an engine runs one epoch. When [`Chain::epoch_end`] is known and
//!   that block is applied, the caller ends this engine and starts one for the next epoch with the same folder.

mod application;
mod applier;
mod block;
mod calls;
mod chain;
mod config;
mod connections;
mod engine;
mod epoch;
mod error;
mod gossip;
mod network;
mod pace;
mod parts;
mod progress;
mod run;
mod settings;
mod storage;
#[cfg(test)]
mod tests;
mod transition;

pub use chain::{Chain, ChainError, Judgement, OrderedBlock, Proposal, Topic};
pub use config::{EngineConfig, MAX_VALIDATORS, PastEpoch, Timing, Validator, public_key_of};
pub use connections::{Connections, Network, Sources};
pub use engine::Engine;
pub use error::EngineError;
pub use gossip::{BroadcastError, Gossip};
