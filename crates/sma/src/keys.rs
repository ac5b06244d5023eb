//! Everything that is derived from the master key.
//!
//! For: one root secret from which all others follow, so that none of them is ever stored.
//! Not for: the root's file (`sealed`, `install`), the endorsement keys, which are random
//! (`endorsement_keys`), or the key of one token (`birthmark_core::keytable`).
//!
//! Format: `docs/PROTOCOL.md` sections 5 and 6 for what cameras share; the rest is this authority's own:
//! ```text
//! derived        = HKDF-SHA256(ikm = master key, salt = empty, info, 32 bytes)
//! table key      : info = "birthmark/table-key/v1" ‖ be16(table_id)
//! table order    : info = "birthmark/table-order/v1" ‖ be16(table_id)      sort key of the permutation
//! nuc digest     : HMAC-SHA256 under info = "birthmark/nuc-digest/v1"
//! repeats        : HMAC-SHA256 under info = "birthmark/repeat-digest/v1"
//! counter digest : HMAC-SHA256 under info = "birthmark/counter-digest/v1", first 8 bytes
//! token key      : info = "birthmark/token-key/v1"      seed of X25519, by RFC 9180 section 7.1.3
//! device key     : info = "birthmark/device-key/v1" ‖ be32(generation) ‖ nuc digest (32)
//! CA seed        : info = "birthmark/ca-key/v1"                             Ed25519
//! row-seal key   : info = "birthmark/row-seal/v1"                           AES-256-GCM
//! key check      : info = "birthmark/key-check/v1", first 16 bytes
//! ```

mod digest;
mod master;

use std::sync::OnceLock;

use birthmark_core::ids::TableId;
use birthmark_core::keytable::TableKey;
use birthmark_core::token::NucHash;
use birthmark_core::token::v2::{DeviceKey, TokenSecretKey};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::sealed::RowSealKey;
use crate::seed::ImportedTables;
use crate::tables::TableOrder;
use digest::DigestKey;
pub(crate) use master::MasterKey;

/// All keys in use, derived once. About 80 KB, wiped when dropped.
pub(crate) struct Keys {
    check: [u8; 16],
    tables: Box<[TableKey]>,
    /// Those of another installation, which take the place of derived ones.
    imported: OnceLock<ImportedTables>,
    order: TableOrder,
    nuc: DigestKey,
    repeat: DigestKey,
    counter: DigestKey,
    token: TokenSecretKey,
    /// HKDF's pseudorandom key, for the keys of devices, which are too many to hold.
    devices: DigestKey,
    ca_seed: Zeroizing<[u8; 32]>,
    row_seal: RowSealKey,
}

/// A fingerprint as the database knows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct NucDigest(pub(crate) [u8; 32]);

/// How many times a camera's key has been given out anew; 0 at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyGeneration(pub(crate) u32);

impl Keys {
    pub(crate) fn derive(master: &MasterKey) -> Self {
        let (mut extracted, schedule) = Hkdf::<Sha256>::extract(None, master.expose());
        let digest_key = |label: &[u8]| DigestKey::filled_by(|out| expand(&schedule, &[label], out));
        let secret = |label: &[u8]| {
            let mut secret = Zeroizing::new([0; 32]);
            expand(&schedule, &[label], secret.as_mut_slice());
            secret
        };
        let keys = Self {
            check: master.check(),
            imported: OnceLock::new(),
            tables: all_tables().map(|id| table_key(&schedule, id)).collect(),
            order: TableOrder::by(|id| {
                let mut place = [0; 32];
                expand(&schedule, &[b"birthmark/table-order/v1", &id.value().to_be_bytes()], &mut place);
                place
            }),
            nuc: digest_key(b"birthmark/nuc-digest/v1"),
            repeat: digest_key(b"birthmark/repeat-digest/v1"),
            counter: digest_key(b"birthmark/counter-digest/v1"),
            token: TokenSecretKey::from_seed(&secret(b"birthmark/token-key/v1")),
            devices: DigestKey::filled_by(|out| out.copy_from_slice(&extracted)),
            ca_seed: secret(b"birthmark/ca-key/v1"),
            row_seal: RowSealKey::from_bytes(*secret(b"birthmark/row-seal/v1")),
        };
        extracted.zeroize();
        keys
    }

    /// The key of a table; `None` cannot happen, since a [`TableId`] is below their number.
    pub(crate) fn table(&self, id: TableId) -> Option<&TableKey> {
        let imported = self.imported.get().and_then(|imported| imported.get(id));
        imported.or_else(|| self.tables.get(usize::from(id.value())))
    }

    /// Uses these instead of derived ones from now on, unless others were adopted before.
    pub(crate) fn adopt_tables(&self, tables: ImportedTables) {
        let _ = self.imported.set(tables);
    }

    /// What was adopted.
    pub(crate) fn imported_tables(&self) -> Option<&ImportedTables> {
        self.imported.get()
    }

    /// [`MasterKey::check`].
    pub(crate) const fn check(&self) -> &[u8; 16] {
        &self.check
    }

    pub(crate) const fn order(&self) -> &TableOrder {
        &self.order
    }

    pub(crate) fn nuc_digest(&self, nuc_hash: &NucHash) -> NucDigest {
        NucDigest(self.nuc.mac(&[nuc_hash.expose()]))
    }

    /// What stands where no fingerprint came out of a token: the look-up is made all the same.
    pub(crate) fn no_nuc_digest(&self) -> NucDigest {
        NucDigest(self.nuc.mac(&[]))
    }

    pub(crate) fn repeat_mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.repeat.mac(parts)
    }

    /// What is kept of a version 2 token beside its counter.
    pub(crate) fn counter_digest(&self, parts: &[&[u8]]) -> [u8; 8] {
        let mut digest = [0; 8];
        digest.iter_mut().zip(self.counter.mac(parts)).for_each(|(to, from)| *to = from);
        digest
    }

    /// To whose public half cameras seal version 2 tokens.
    pub(crate) const fn token_secret(&self) -> &TokenSecretKey {
        &self.token
    }

    /// The secret that a camera shares with nobody but this authority.
    pub(crate) fn device_key(&self, generation: KeyGeneration, nuc: NucDigest) -> DeviceKey {
        // HKDF-Expand (RFC 5869 section 2.3) for one hash length is its first block.
        let parts: [&[u8]; 4] = [b"birthmark/device-key/v1", &generation.0.to_be_bytes(), &nuc.0, &[1]];
        DeviceKey::from_bytes(self.devices.mac(&parts))
    }

    /// The Ed25519 seed of the authority that signs device certificates.
    pub(crate) fn ca_seed(&self) -> &[u8; 32] {
        &self.ca_seed
    }

    pub(crate) const fn row_seal(&self) -> &RowSealKey {
        &self.row_seal
    }
}

/// Every table in ascending order.
pub(crate) fn all_tables() -> impl Iterator<Item = TableId> {
    (0..=TableId::MAX).filter_map(|id| TableId::new(id).ok())
}

fn table_key(schedule: &Hkdf<Sha256>, id: TableId) -> TableKey {
    let mut bytes = [0; 32];
    expand(schedule, &[b"birthmark/table-key/v1", &id.value().to_be_bytes()], &mut bytes);
    let key = TableKey::from_bytes(bytes);
    bytes.zeroize();
    key
}

fn expand(schedule: &Hkdf<Sha256>, info: &[&[u8]], out: &mut [u8]) {
    // Fails only above 255 hash lengths; nothing here is longer than one. Should that change, `out`
    // stays zero, and the known answers below fail.
    let _ = schedule.expand_multi_info(info, out);
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(redacted)")
    }
}

impl std::fmt::Debug for NucDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NucDigest(redacted)")
    }
}

#[cfg(test)]
mod tests;
