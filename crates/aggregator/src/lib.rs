//! Takes submissions durably and sees them registered, whatever happens in between.
//!
//! For: the intake of `POST /api/v1/submit`, the outbox that has each token judged by its authority and
//! each passed body recorded by a registry node, and the receipts by which a camera asks how far it is.
//!
//! Not for: judging tokens (`birthmark-sma`), deciding what may be recorded (`birthmark-ledger`), or
//! proving anything: proofs come from a node and are checked by whoever asked.
//!
//! ```text
//! POST /api/v1/submit ─► row committed ─► 202       received ─► validated ─► confirmed
//!                                                      └────────────┴──────► rejected
//! ```
//! An answer with a receipt means that the row is on disk. A verdict is final; an error is no verdict
//! and is tried again for ever. Every step may be repeated, and repeating it changes nothing.
//!
//! What is recorded for a version 2 token carries the authority's endorsement, which is unblinded and checked
//! here; for a version 1 token it rests on the authority's word to us (`attested`).
//!
//! Formats: `docs/PROTOCOL.md` sections 2, 3, 6, 7 and 11.

mod aggregator;
mod authority;
mod config;
mod figures;
mod http;
mod pipeline;
mod registry;
mod retention;
mod sharing;
mod store;
mod waiters;

pub use self::aggregator::{Aggregator, SIGNING_KEY_FILE};
pub use self::config::{AggregatorConfig, AggregatorError, LOOKUP_LIMIT, RATE_LIMIT, SmaConfig};
pub use self::retention::Retention;
pub use self::store::{StoreError, StoreOpenError};
