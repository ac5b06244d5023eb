use birthmark_core::ids::{KeyIndex, TableId};
use birthmark_core::keytable::TableKey;
use birthmark_core::token::{NucHash, v1};
use serde_json::{Value, json};

use super::*;
use crate::testing::{self, Authority, question};

/// The seed's two files of one camera of the seed, and one that is revoked.
fn files() -> (Vec<u8>, Vec<u8>) {
    let tables: Vec<_> = (0..10).map(|id| json!({"table_id": id, "master_key": table_hex(id)})).collect();
    let tables = json!({"total_tables": 10, "tables_per_device": 3, "key_tables": tables, "assigned_tables": {}});
    let device = |serial: &str, nuc: u8, revoked: bool| {
        json!({"device_serial": serial, "table_assignments": [4, 5, 7], "device_family": "Raspberry Pi",
               "provisioned_at": "2025-11-15T20:24:41.201985", "device_secret": "", "key_table_indices": null,
               "is_blacklisted": revoked, "nuc_hash": testing::nuc_hex(nuc)})
    };
    let registry = json!({"devices": [device("SEED_1", 1, false), device("SEED_2", 2, true)], "total_devices": 2});
    (tables.to_string().into(), registry.to_string().into())
}

fn table_hex(id: u8) -> String {
    birthmark_core::hex::encode([id; 32])
}

/// What a camera of the seed sends.
fn asked(table: u8, nuc: u8) -> Value {
    let nuc_hash = NucHash::from_hex(&testing::nuc_hex(nuc)).unwrap();
    let key = TableKey::from_bytes([table; 32]);
    let table = TableId::new(u16::from(table)).unwrap();
    question(&v1::seal((table, &key), KeyIndex::new(7).unwrap(), &nuc_hash, &mut OsRng))
}

fn imported(tables: usize, devices: usize, existing: usize, revoked: usize) -> Imported {
    Imported { tables, devices, existing, revoked }
}

#[tokio::test]
async fn seeds_cameras_pass_with_their_old_keys_also_after_a_restart() {
    let authority = Authority::new();
    let (tables, registry) = files();
    assert_eq!(authority.sma.import(Some(&tables), Some(&registry)).await.unwrap(), imported(10, 2, 0, 1));
    let authority = authority.restarted(testing::config()).await;
    assert_eq!(authority.verdict(&asked(5, 1)).await, "token_valid");
    assert_eq!(authority.verdict(&asked(6, 1)).await, "token_invalid", "not its table");
    assert_eq!(authority.verdict(&asked(5, 2)).await, "token_invalid", "revoked");
    // And new cameras are provisioned beside them.
    let camera = authority.camera(3).await;
    assert_eq!(authority.verdict(&camera.question()).await, "token_valid");
    let again = authority.sma.import(Some(&tables), Some(&registry)).await.unwrap();
    assert_eq!(again, imported(10, 0, 2, 0));
    let kept = std::fs::read(authority.folder.path().join("tables.sealed")).unwrap();
    assert!(!kept.windows(32).any(|window| window == [5; 32]));
}

#[tokio::test]
async fn lost_or_exchanged_tables_are_noticed_at_the_start() {
    let authority = Authority::new();
    authority.sma.import(Some(&files().0), None).await.unwrap();
    authority.sma.close().await;
    let path = authority.folder.path().join("tables.sealed");
    let kept = std::fs::read(&path).unwrap();
    let open = || Sma::open(authority.folder.path(), testing::config(), testing::clock());
    let other = Authority::new();
    other.sma.import(Some(&files().0), None).await.unwrap();
    let foreign = std::fs::read(other.folder.path().join("tables.sealed")).unwrap();
    for wrong in [&kept[..kept.len() - 1], &foreign, b""] {
        std::fs::write(&path, wrong).unwrap();
        assert!(matches!(open().unwrap_err(), SmaError::ImportedTables { .. }));
    }
    std::fs::remove_file(&path).unwrap();
    assert!(open().unwrap_err().to_string().contains("tables.sealed"));
    secret_file::create(&path, &kept).unwrap();
    open().unwrap();
}

#[tokio::test]
async fn tables_are_never_exchanged_under_cameras() {
    let authority = Authority::new();
    let camera = authority.camera(1).await;
    let (tables, registry) = files();
    assert!(matches!(authority.sma.import(Some(&tables), None).await, Err(ImportError::TablesInUse)));
    assert_eq!(authority.verdict(&camera.question()).await, "token_valid");
    let taken = authority.sma.import(None, Some(&registry)).await;
    assert!(matches!(taken, Err(ImportError::DuplicateSensor { entry: 1 })), "{taken:?}");

    let authority = Authority::new();
    authority.sma.import(Some(&tables), None).await.unwrap();
    let others = authority.sma.export_tables().unwrap();
    assert!(matches!(authority.sma.import(Some(&others), None).await, Err(ImportError::OtherTables)));
}

#[tokio::test]
async fn bad_files_change_nothing() {
    let authority = Authority::new();
    let (tables, _) = files();
    let bad = json!({"devices": [{"device_serial": "", "device_family": "F"}]}).to_string();
    assert!(matches!(authority.sma.import(Some(&tables), Some(bad.as_bytes())).await, Err(ImportError::Registry(_))));
    assert!(matches!(authority.sma.import(Some(b"{"), None).await, Err(ImportError::Tables(_))));
    assert!(!authority.folder.path().join("tables.sealed").exists());
    assert_eq!(authority.sma.device_count().await.unwrap(), 0);
}

/// An export of tables and registry, read by another installation of the same master key.
#[tokio::test]
async fn export_can_be_imported_again() {
    let one = Authority::new();
    let camera = one.camera(1).await;
    let (tables, registry) = (one.sma.export_tables().unwrap(), one.sma.export_registry().await.unwrap());
    let text = String::from_utf8(registry.clone()).unwrap();
    assert!(!text.contains(&testing::nuc_hex(1)));
    let other = Authority::new();
    let foreign = other.sma.import(None, Some(&registry)).await;
    assert!(matches!(foreign, Err(ImportError::Registry(_))), "{foreign:?}");

    one.sma.close().await;
    one.sql(|connection| {
        connection.execute_batch("PRAGMA foreign_keys = 0; DELETE FROM device_use; DELETE FROM device_registry;")
    });
    let one = one.restarted(testing::config()).await;
    assert_eq!(one.verdict(&camera.question()).await, "token_invalid");
    assert_eq!(one.sma.import(None, Some(&registry)).await.unwrap(), imported(0, 1, 0, 0));
    assert_eq!(one.verdict(&camera.question()).await, "token_valid");
    drop(tables);
}
