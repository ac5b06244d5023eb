//! What all parties of Birthmark must agree on, byte for byte.
//!
//! For: hashes and identifiers, the camera token, the submission and what the registry records of it,
//! the RFC 6962 tree, checkpoints, proofs, the network file, and `verify`, which needs no server.
//!
//! Not for: anything that reads a file, a clock, a socket or the system's randomness. Time and
//! randomness come in as arguments, so that every function here gives the same answer everywhere.
//!
//! Formats: `docs/PROTOCOL.md`. Golden vectors: `vectors/`.

pub mod absence;
pub mod api;
pub mod base64;
pub mod batch;
pub mod body;
pub mod checkpoint;
pub mod codec;
pub mod endorsement;
pub mod governance;
pub mod hash;
pub mod hex;
pub mod ids;
pub mod image_data;
pub mod index;
pub mod json;
pub mod keytable;
pub mod leaf;
pub mod merkle;
pub mod network;
pub mod note;
pub mod policy;
pub mod prefix;
pub mod proof;
pub mod submission;
pub mod tile;
pub mod time;
pub mod token;
pub mod verify;
pub mod witness;

pub use hash::ImageHash;
