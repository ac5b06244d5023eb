//! `key_tables.json`, and the tables that were taken over from one.
//!
//! Tables of another installation do not follow from the master key, so they are kept, encrypted:
//! ```text
//! DIR/tables.sealed = "birthmark/tables/v1\n" ‖ row (`sealed`) of content, aad = "imported-tables"
//! content           = n × (be16 table ‖ key 32), tables rising
//! check             = first 16 bytes of SHA-256("birthmark/tables-check/v1" ‖ content)
//! ```
//! The audit log has the check, so a lost or exchanged file is noticed.

use std::collections::BTreeMap;

use birthmark_core::hash::Digest;
use birthmark_core::hex;
use birthmark_core::ids::TableId;
use birthmark_core::json::JsonError;
use birthmark_core::keytable::TableKey;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::keys::{Keys, all_tables};
use crate::sealed::RowSealKey;

/// Table keys of another installation. Wiped when dropped, by `TableKey`.
pub(crate) struct ImportedTables(BTreeMap<TableIndex, TableKey>);

/// A [`TableId`]'s number, which has an order.
type TableIndex = u16;

/// Why a file of tables was refused. Carries no key.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// Not the seed's JSON.
    #[error("not the seed's key_tables.json: {0}")]
    Json(#[from] JsonError),
    /// None in it.
    #[error("no table in it")]
    Empty,
    /// There are 2,500 at most.
    #[error("entry {entry}: table {table} is above {max}", max = TableId::MAX)]
    TableId {
        /// 1-based.
        entry: usize,
        /// As it stands there.
        table: u64,
    },
    /// One table with two keys.
    #[error("entry {entry}: table {table} is there twice")]
    Twice {
        /// 1-based.
        entry: usize,
        /// Which.
        table: u64,
    },
    /// Not 64 hex digits.
    #[error("entry {entry}: master_key is not 64 hex digits")]
    Key {
        /// 1-based.
        entry: usize,
    },
}

#[derive(Serialize, Deserialize)]
struct File {
    #[serde(default)]
    total_tables: usize,
    #[serde(default)]
    tables_per_device: usize,
    key_tables: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    table_id: u64,
    master_key: String,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.master_key.zeroize();
    }
}

/// Reads `key_tables.json`.
pub(crate) fn read_tables(json: &[u8]) -> Result<ImportedTables, TablesError> {
    let file: File = birthmark_core::json::from_slice(json)?;
    let mut tables = BTreeMap::new();
    for (at, read) in file.key_tables.iter().enumerate() {
        let (entry, table) = (at + 1, read.table_id);
        let id = u16::try_from(table).ok().and_then(|id| TableId::new(id).ok());
        let id = id.ok_or(TablesError::TableId { entry, table })?;
        let mut key = hex::decode_array(&read.master_key).map_err(|_| TablesError::Key { entry })?;
        if tables.insert(id.value(), TableKey::from_bytes(key)).is_some() {
            return Err(TablesError::Twice { entry, table });
        }
        key.zeroize();
    }
    if tables.is_empty() { Err(TablesError::Empty) } else { Ok(ImportedTables(tables)) }
}

/// All tables as `key_tables.json` has them.
pub(crate) fn write_tables(keys: &Keys) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let entry = |id: TableId| {
        let master_key = hex::encode(keys.table(id)?.expose());
        Some(Entry { table_id: u64::from(id.value()), master_key })
    };
    let key_tables: Vec<_> = all_tables().filter_map(entry).collect();
    let file = File { total_tables: key_tables.len(), tables_per_device: 3, key_tables };
    // Room from the start: a buffer that grows leaves unwiped copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(ROOM));
    serde_json::to_writer_pretty(&mut *text, &file)?;
    Ok(text)
}

impl ImportedTables {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The key of a table, if it is one of them.
    pub(crate) fn get(&self, id: TableId) -> Option<&TableKey> {
        self.0.get(&id.value())
    }

    /// Tells them from others.
    pub(crate) fn check(&self) -> String {
        let digest = Digest::of_parts(&[b"birthmark/tables-check/v1", &self.content()]);
        let (check, _) = digest.as_bytes().split_at(16);
        hex::encode(check)
    }

    pub(crate) fn seal(&self, key: &RowSealKey, rng: &mut impl CryptoRng) -> Vec<u8> {
        [MAGIC, &key.seal(AAD, &self.content(), rng)].concat()
    }

    /// None if it is damaged or belongs to another master key.
    pub(crate) fn open(sealed: &[u8], key: &RowSealKey) -> Option<Self> {
        let content = key.open(AAD, sealed.strip_prefix(MAGIC)?).ok()?;
        let (entries, rest) = content.as_chunks::<ENTRY>();
        let mut tables = BTreeMap::new();
        for entry in entries {
            let (id, key) = entry.split_first_chunk::<2>()?;
            let id = TableId::new(u16::from_be_bytes(*id)).ok()?;
            tables.insert(id.value(), TableKey::from_bytes(key.try_into().ok()?));
        }
        (rest.is_empty() && !tables.is_empty()).then_some(Self(tables))
    }

    fn content(&self) -> Zeroizing<Vec<u8>> {
        let mut content = Zeroizing::new(Vec::with_capacity(self.0.len() * ENTRY));
        for (id, key) in &self.0 {
            content.extend_from_slice(&id.to_be_bytes());
            content.extend_from_slice(key.expose());
        }
        content
    }
}

impl std::fmt::Debug for ImportedTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ImportedTables({})", self.0.len())
    }
}

const MAGIC: &[u8] = b"birthmark/tables/v1\n";
const AAD: &[u8] = b"imported-tables";
const ENTRY: usize = 34;
/// The longest sealed file.
pub(crate) const MAX_SEALED: usize = 100_000;
/// 2,500 entries of about 130 characters.
const ROOM: usize = 400_000;

#[cfg(test)]
mod tests {
    use birthmark_service::random::OsRng;
    use proptest::prelude::*;

    use super::*;
    use crate::keys::MasterKey;

    /// Phase 1 of the seed: ten tables, with fields that mean nothing here.
    fn seeds(tables: &[(u64, String)]) -> Vec<u8> {
        let entries: Vec<_> =
            tables.iter().map(|(id, key)| serde_json::json!({"table_id": id, "master_key": key})).collect();
        serde_json::json!({"total_tables": 10, "tables_per_device": 3, "key_tables": entries, "assigned_tables": {},
                           "derived_keys": {"0": {"0": "00"}}})
        .to_string()
        .into()
    }

    fn key(byte: u8) -> String {
        hex::encode([byte; 32])
    }

    fn row_key() -> RowSealKey {
        RowSealKey::from_bytes([5; 32])
    }

    #[test]
    fn seeds_file_is_read() {
        let tables = read_tables(&seeds(&[(7, key(7)), (0, key(1)), (2499, key(2).to_uppercase())])).unwrap();
        let of = |id| tables.get(TableId::new(id).unwrap()).map(|key| key.expose()[0]);
        assert_eq!((tables.len(), of(0), of(7), of(8), of(2499)), (3, Some(1), Some(7), None, Some(2)));
    }

    #[test]
    fn other_files_are_refused_and_the_place_is_named() {
        let error = |tables: &[(u64, String)]| read_tables(&seeds(tables)).unwrap_err().to_string();
        assert_eq!(error(&[]), "no table in it");
        assert_eq!(error(&[(0, key(1)), (2500, key(2))]), "entry 2: table 2500 is above 2499");
        assert_eq!(error(&[(0, key(1)), (u64::MAX, key(2))]), format!("entry 2: table {} is above 2499", u64::MAX));
        assert_eq!(error(&[(3, key(1)), (3, key(1))]), "entry 2: table 3 is there twice");
        for bad in ["", "zz", &"01".repeat(31), &"zz".repeat(32)] {
            assert_eq!(error(&[(0, bad.to_owned())]), "entry 1: master_key is not 64 hex digits");
        }
        for bad in ["", "[]", "{}", r#"{"key_tables": {}}"#, r#"{"key_tables": [], "key_tables": []}"#] {
            assert!(matches!(read_tables(bad.as_bytes()), Err(TablesError::Json(_))), "{bad}");
        }
    }

    #[test]
    fn what_is_written_reads_as_all_tables() {
        let keys = Keys::derive(&MasterKey::from_slice(&[7; 32]).unwrap());
        let written = write_tables(&keys).unwrap();
        assert!(written.len() < ROOM);
        let tables = read_tables(&written).unwrap();
        assert_eq!(tables.len(), 2500);
        assert!(all_tables().all(|id| tables.get(id).unwrap().expose() == keys.table(id).unwrap().expose()));
    }

    /// By Python's `hashlib`.
    #[test]
    fn check_has_its_known_answer() {
        assert_eq!(read_tables(&seeds(&[(7, key(7))])).unwrap().check(), "6b7d4a229274272d905b026c427a3329");
    }

    proptest! {
        #[test]
        fn sealed_tables_open_under_their_key_and_unchanged_only(
            ids in prop::collection::btree_set(0u64..2500, 1..20), place: prop::sample::Index,
        ) {
            let tables = read_tables(&seeds(&ids.iter().map(|id| (*id, key(3))).collect::<Vec<_>>())).unwrap();
            let mut sealed = tables.seal(&row_key(), &mut OsRng);
            prop_assert!(sealed.len() <= MAX_SEALED);
            prop_assert_eq!(ImportedTables::open(&sealed, &row_key()).unwrap().check(), tables.check());
            prop_assert!(ImportedTables::open(&sealed, &RowSealKey::from_bytes([6; 32])).is_none());
            let at = place.index(sealed.len());
            sealed[at] ^= 1;
            prop_assert!(ImportedTables::open(&sealed, &row_key()).is_none());
        }
    }
}
