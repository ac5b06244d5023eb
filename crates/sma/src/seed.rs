//! The seed's two files: `key_tables.json` and `device_registry.json`.
//!
//! For: reading and writing them. Not for: what becomes of their content (`authority::importing`), or for
//! backups: a registry's file carries no counters, quotas or used tokens. Copy the database for that.
//!
//! Format, as the seed's own programs write and read it; fields that are not shown are ignored:
//! ```text
//! {"total_tables": 2500, "tables_per_device": 3, "key_tables": [{"table_id": 0, "master_key": "<64 hex>"}, …]}
//!
//! {"devices": [{"device_serial": "…", "device_family": "…", "provisioned_at": "2025-11-15T20:24:00",
//!    "nuc_hash": "<64 hex>" | null, "device_secret": "<64 hex>" | "", "table_assignments": [4, 5, 7],
//!    "key_table_indices": [471, 1094, 2186] | [], "is_blacklisted": false}, …], "total_devices": 1,
//!  "birthmark": {"key_check": "<32 hex>",
//!    "devices": {"<serial>": {"nuc_digest": "<64 hex>", "min_token_version": 1, "key_generation": 0}}}}
//! ```
//! A table's `master_key` is the key from which its 1,000 keys follow by HKDF, the same here as there. A
//! fingerprint is `nuc_hash`, else `device_secret`. `birthmark` is ours: the registry holds no fingerprint in
//! the clear and cannot write one, so it writes its keyed digest, which only an authority of the same
//! master key can read (`key_check` tells).

mod registry;
mod tables;

pub(crate) use registry::{Fingerprint, SeedDevice, read_registry, write_registry};
pub use registry::{RegistryError, RowError as RegistryRowError};
pub use tables::TablesError;
pub(crate) use tables::{ImportedTables, MAX_SEALED, read_tables, write_tables};
