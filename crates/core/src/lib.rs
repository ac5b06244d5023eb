//! What all parties of Birthmark must agree on, byte for byte.
//!
//! For: hashes and identifiers, the camera token, the submission and what the registry records of it,
//! the RFC 6962 tree, checkpoints, proofs, the network file, and `verify`, which needs no server.
//!
//! Not for: anything that reads a file, a clock, a socket or the system's randomness. Time and
//! randomness come in as arguments, so that every function here gives the same answer everywhere.
//!
//! Formats: `docs/PROTOCOL.md`. Golden vectors: `vectors/`.

pub mod codec;
pub mod hash;
pub mod hex;
pub mod ids;
pub mod json;
pub mod time;

pub use hash::ImageHash;
