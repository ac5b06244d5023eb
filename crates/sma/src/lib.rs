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
//! DIR/master.key      32 random bytes, or these sealed under a key from elsewhere; mode 0600. Every other
//!                     secret is derived from it, or lies in the database encrypted under what is
//! DIR/authority.json  the public halves, for the network file
//! DIR/tables.sealed   table keys that were taken over from another installation, if any; needed like master.key
//! DIR/ca.pem          the certificate of the CA of devices, against which the list of revocations is checked
//! DIR/sma.db          cameras (fingerprints as keyed digests only), the tokens that have passed, endorsement
//!                     keys and the audit log; or the same in a PostgreSQL that several authorities share
//! DIR/.lock           held while an authority is open
//! ```

#[cfg(test)]
mod attack;
mod audit;
mod authority;
mod certificate;
mod config;
mod counters;
mod devices;
mod endorsement_keys;
mod endorser;
mod http;
mod install;
mod keys;
mod provision;
mod question;
mod quota;
mod replay;
mod revocations;
mod rules;
mod sealed;
mod seed;
mod signer;
mod statement;
mod store;
mod tables;
#[cfg(test)]
mod testing;
mod tpm;
mod validation;
mod views;

pub use authority::control::{Control, ControlError, ReprovisionError, ReprovisionRequest};
pub use authority::importing::{ImportError, Imported};
pub use authority::{Sma, SmaError};
pub use certificate::authority::{CaExpired, IssueError};
pub use certificate::check::CheckError;
pub use certificate::pem::PemError;
pub use config::{InitOptions, SmaConfig, UrlError, WrappingKeySource};
pub use devices::Status as DeviceStatus;
pub use endorsement_keys::{KeySize, KeySizeError, OpenKeyError};
pub use endorser::{EndorseError, KeyError};
pub use install::{init, is_installed};
pub use provision::ProvisionError;
pub use quota::{Quota, QuotaOverride};
pub use revocations::{RevocationPage, RevocationPageError, revocation_entry};
pub use sealed::wrapping_key::WrappingKeyError;
pub use sealed::{MasterFileError, RowError};
pub use seed::{RegistryError, RegistryRowError, TablesError};
pub use signer::pool::PoolError;
pub use signer::{LoadError, SignError, Signer};
pub use store::{StoreError, StoreOpenError};
pub use tpm::TpmEvidenceError;
pub use views::{AuditChain, AuditCheck, AuditEntry, AuditPage, DeviceView, KeyChangeView};
