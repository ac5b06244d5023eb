//! The manufacturer authority: it provisions cameras and says of a token whether it passes.
//!
//! For: the manufacturer's secrets and what only they can decide: which camera gets which key tables,
//! whether a token was sealed by a provisioned camera, and whether it was used before.
//!
//! Not for: anything about photographs. No image hash, capture time or photo detail ever arrives here,
//! and the crate's `clippy.toml` forbids the type that could hold one. Taking submissions is the
//! aggregator's, recording them the node's. Command line and listening socket are the binary's.
//!
//! Formats: `docs/PROTOCOL.md` sections 3, 4 and 5.
//!
//! ```text
//! DIR/master.key   32 random bytes, mode 0600: every other secret is derived from it
//! DIR/sma.db       cameras (fingerprints as keyed digests only), the tokens that have passed, endorsement keys
//!                  and the audit log; or the same in a PostgreSQL that several authorities share
//! DIR/.lock        held while an authority is open
//! ```

mod audit;
mod authority;
#[cfg_attr(not(test), expect(dead_code, reason = "wired with the endorsement step"))]
mod certificate;
mod config;
mod counters;
mod devices;
#[cfg_attr(not(test), expect(dead_code, reason = "wired with the endorsement step"))]
mod endorsement_keys;
mod http;
mod install;
#[cfg_attr(not(test), expect(dead_code, reason = "wired with the endorsement step"))]
mod keys;
mod provision;
mod question;
mod quota;
mod replay;
mod rules;
#[cfg_attr(not(test), expect(dead_code, reason = "wired with the endorsement step"))]
mod sealed;
#[cfg_attr(not(test), expect(dead_code, reason = "wired with the endorsement step"))]
mod signer;
#[cfg_attr(not(test), expect(dead_code, reason = "admin acts are wired with their endpoints"))]
mod store;
mod tables;
#[cfg(test)]
mod testing;
mod validation;

pub use authority::{Sma, SmaError};
pub use config::{InitOptions, SmaConfig, UrlError};
pub use install::{init, is_installed};
pub use provision::ProvisionError;
pub use quota::Quota;
pub use store::{PostgresError, StoreError, StoreOpenError};
