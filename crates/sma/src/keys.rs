//! The master key and everything that is derived from it.
//!
//! For: one secret file from which all tables follow, so that none of them is ever stored.
//! Not for: the file itself (`install`, `authority`), or the key of one token (`birthmark_core::keytable`).
//!
//! Format: `docs/PROTOCOL.md` section 5 for what cameras share; the rest is this authority's own:
//! ```text
//! derived     = HKDF-SHA256(ikm = master key, salt = empty, info, 32 bytes)
//! table key   : info = "birthmark/table-key/v1" ‖ be16(table_id)
//! table order : info = "birthmark/table-order/v1" ‖ be16(table_id)      sort key of the permutation
//! nuc digest  : HMAC-SHA256 under info = "birthmark/nuc-digest/v1"
//! repeats     : HMAC-SHA256 under info = "birthmark/repeat-digest/v1"
//! key check   : info = "birthmark/key-check/v1", first 16 bytes
//! ```

use birthmark_core::ids::TableId;
use birthmark_core::keytable::TableKey;
use birthmark_core::token::NucHash;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::tables::TableOrder;

/// The authority's one stored secret.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct MasterKey([u8; Self::BYTES]);

/// All keys in use, derived once. About 80 KB, wiped when dropped.
pub(crate) struct Keys {
    tables: Box<[TableKey]>,
    order: TableOrder,
    nuc: DigestKey,
    repeat: DigestKey,
}

/// A fingerprint as the database knows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct NucDigest(pub(crate) [u8; 32]);

impl MasterKey {
    pub(crate) const BYTES: usize = 32;

    pub(crate) fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; Self::BYTES];
        rng.fill_bytes(&mut bytes);
        let key = Self(bytes);
        bytes.zeroize();
        key
    }

    /// None if it has another length.
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) const fn expose(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Tells in the database which master key it belongs to, and nothing else about it.
    pub(crate) fn check(&self) -> [u8; 16] {
        let mut check = [0; 16];
        expand(&self.schedule(), &[b"birthmark/key-check/v1"], &mut check);
        check
    }

    fn schedule(&self) -> Hkdf<Sha256> {
        Hkdf::new(None, &self.0)
    }
}

impl Keys {
    pub(crate) fn derive(master: &MasterKey) -> Self {
        let schedule = master.schedule();
        let digest_key = |label: &[u8]| {
            let mut block = Zeroizing::new([0; 64]);
            expand(&schedule, &[label], block.split_at_mut(32).0);
            DigestKey(block)
        };
        Self {
            tables: all_tables().map(|id| table_key(&schedule, id)).collect(),
            order: TableOrder::by(|id| {
                let mut place = [0; 32];
                expand(&schedule, &[b"birthmark/table-order/v1", &id.value().to_be_bytes()], &mut place);
                place
            }),
            nuc: digest_key(b"birthmark/nuc-digest/v1"),
            repeat: digest_key(b"birthmark/repeat-digest/v1"),
        }
    }

    /// The key of a table; `None` cannot happen, since a [`TableId`] is below their number.
    pub(crate) fn table(&self, id: TableId) -> Option<&TableKey> {
        self.tables.get(usize::from(id.value()))
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
}

/// A key of 32 bytes for keyed digests of one kind, as HMAC takes it: filled up with zeros to SHA-256's
/// block (RFC 2104 section 2).
struct DigestKey(Zeroizing<[u8; 64]>);

impl DigestKey {
    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new((&*self.0).into());
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
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

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(redacted)")
    }
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
mod tests {
    use std::collections::HashSet;

    use birthmark_core::hex;

    use super::*;

    fn keys() -> Keys {
        Keys::derive(&MasterKey([7; 32]))
    }

    /// Computed with an independent implementation of RFC 5869 and RFC 2104 (Python's `hmac`).
    #[test]
    fn derivations_have_their_known_answers() {
        let master = MasterKey([7; 32]);
        let keys = Keys::derive(&master);
        let table = |id| hex::encode(keys.table(TableId::new(id).unwrap()).unwrap().expose());
        assert_eq!(table(0), "f3fbf8a0b67bb045a9e20bc793e1a9826c7d52fe80cac9415e92db6f5012d478");
        assert_eq!(table(2499), "d972a228e9b1d3ade5bbaf1ee460718fdfcf05f837efdef8bddd7e6708811a74");
        assert_eq!(hex::encode(master.check()), "ba8333ec1d4610da48e2f9e2d4e8e39b");
        assert_eq!(
            hex::encode(keys.nuc_digest(&NucHash::from_bytes([9; 32])).0),
            "165777dea733e89d846dd976135e2df023a531a0e4312ee5fab2c68afb2811c7"
        );
        assert_eq!(
            hex::encode(keys.repeat_mac(&[b"ab", b"c"])),
            "e96b27323986ffca8fc318cc5c128dfea38095656b0ef79bd2912fb6df0ebe67"
        );
        let first: Vec<u16> = keys.order().active(5000).iter().map(|id| id.value()).collect();
        assert_eq!(first, [1326, 1408, 647, 1361, 686]);
    }

    #[test]
    fn every_table_has_a_key_of_its_own() {
        let keys = keys();
        let distinct: HashSet<_> = all_tables().map(|id| *keys.table(id).unwrap().expose()).collect();
        assert_eq!(distinct.len(), 2500);
    }

    #[test]
    fn debug_shows_no_secret() {
        let keys = keys();
        assert_eq!(format!("{keys:?}"), "Keys(redacted)");
        assert_eq!(format!("{:?}", MasterKey([7; 32])), "MasterKey(redacted)");
        assert_eq!(format!("{:?}", keys.no_nuc_digest()), "NucDigest(redacted)");
    }

    #[test]
    fn master_key_of_another_length_is_none() {
        assert!(MasterKey::from_slice(&[0; 31]).is_none());
        assert!(MasterKey::from_slice(&[0; 33]).is_none());
        assert_eq!(MasterKey::from_slice(&[5; 32]).unwrap().expose(), &[5; 32]);
    }
}
