//! The JSON that roles exchange, one file for each exchange.
//!
//! For: shapes with their units, the same on both sides of a connection.
//!
//! Not for: the submission's own JSON, whose parsing is part of its meaning (`submission`).
//!
//! Formats: `docs/PROTOCOL.md` sections 2 to 4, 7, 11 and 12.

pub mod provision;
pub mod submit;
pub mod transactions;
pub mod validate;
pub mod verify;
