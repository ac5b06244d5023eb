//! Golden vectors: builds each file of `vectors/` from fixed inputs, compares it byte for byte with the
//! committed one, and holds what is in it against this crate. `BLESS=1` writes the files anew.
//!
//! Not for: a second opinion. That is `vectors/check.mjs`, which shares no code with this crate.

#[cfg(test)]
#[path = "vectors/absence.rs"]
mod absence;
#[cfg(test)]
#[path = "vectors/act.rs"]
mod act;
#[cfg(test)]
#[path = "vectors/authority.rs"]
mod authority;
#[cfg(test)]
#[path = "vectors/batch.rs"]
mod batch;
#[cfg(test)]
#[path = "vectors/endorsed.rs"]
mod endorsed;
#[cfg(test)]
#[path = "vectors/endorsement.rs"]
mod endorsement;
#[cfg(test)]
#[path = "vectors/frame.rs"]
mod frame;
#[cfg(test)]
#[path = "vectors/given.rs"]
mod given;
#[cfg(test)]
#[path = "vectors/hpke.rs"]
mod hpke;
#[cfg(test)]
#[path = "vectors/index_trie.rs"]
mod index_trie;
#[cfg(test)]
#[path = "vectors/log.rs"]
mod log;
#[cfg(test)]
#[path = "vectors/network.rs"]
mod network;
#[cfg(test)]
#[path = "vectors/policy.rs"]
mod policy;
#[cfg(test)]
#[path = "vectors/proof.rs"]
mod proof;
#[cfg(test)]
#[path = "vectors/records.rs"]
mod records;
#[cfg(test)]
#[path = "vectors/submission.rs"]
mod submission;
#[cfg(test)]
#[path = "vectors/token.rs"]
mod token;
#[cfg(test)]
#[path = "vectors/world.rs"]
mod world;
