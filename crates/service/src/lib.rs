//! Plumbing for servers and clients, without domain words.
//!
//! For: what every role needs to run well and none should write twice: the clock and the randomness,
//! secret files and locks, HTTP servers and clients with their limits, credentials, SQLite with group
//! commit, PostgreSQL, logging and shutdown.
//!
//! Not for: anything that knows a hash, a token, a camera or a ledger. Formats and decisions are in
//! `birthmark_core`; each role's endpoints and tables are in its own crate.

pub mod auth;
pub mod backoff;
pub mod client;
pub mod clock;
pub mod extract;
pub mod gather;
pub mod held;
pub mod lock;
pub mod logging;
pub mod peer;
pub mod postgres;
pub mod prefer;
pub mod problem;
pub mod process;
pub mod random;
pub mod rate_limit;
pub mod secret_file;
pub mod server;
pub mod shutdown;
pub mod sqlite;
