//! Authorities over one PostgreSQL: made, joined, and kept apart.

use std::path::Path;

use birthmark_core::api::provision::DeviceConfig;
use birthmark_core::base64;
use birthmark_core::ids::KeyIndex;
use birthmark_core::keytable::TableKey;
use birthmark_core::token::{NucHash, v1};
use birthmark_service::postgres::cluster::Cluster;
use birthmark_service::random::OsRng;
use tempfile::TempDir;

use super::*;
use crate::question::{AskedToken, Question};
use crate::rules::Verdict;
use crate::{InitOptions, init, is_installed};

fn init_in(folder: &Path, name: &str, url: &str) -> Result<(), SmaError> {
    let options =
        InitOptions { database_url: Some(url.to_owned()), ..InitOptions::new(AuthorityId::new(name).unwrap()) };
    init(folder, &options, &*testing::clock()).map(drop)
}

fn open_in(folder: &Path, url: Option<&str>) -> Result<Sma, SmaError> {
    let config = SmaConfig { database_url: url.map(str::to_owned), ..testing::config() };
    Sma::open(folder, config, testing::clock())
}

/// A folder with a copy of another's key and nothing else.
fn folder_with_key_of(other: &TempDir) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(store::master_key_path(other.path()), store::master_key_path(folder.path())).unwrap();
    folder
}

async fn ask(sma: &Sma, question: &Question) -> Verdict {
    sma.judge("gate-1", std::slice::from_ref(question)).await.unwrap()[0]
}

fn question_of(config: &DeviceConfig, number: u8) -> Question {
    let nuc_hash = NucHash::from_hex(&testing::nuc_hex(number)).unwrap();
    let key = TableKey::from_bytes(base64::decode_array(&config.encryption_key.0).unwrap());
    let token = v1::seal((config.table_id, &key), KeyIndex::new(7).unwrap(), &nuc_hash, &mut OsRng);
    Question { token: AskedToken::Unbound(token), request_id: None }
}

#[tokio::test]
async fn second_server_joins_with_a_copy_of_the_key_and_sees_every_use() {
    let cluster = Cluster::start();
    let url = cluster.database("shared");
    let first = tempfile::tempdir().unwrap();
    init_in(first.path(), "MFG", &url).unwrap();
    assert_eq!(std::fs::read_dir(first.path()).unwrap().count(), 4, "the key, two statements and the lock");
    let second = folder_with_key_of(&first);
    let (one, two) = (open_in(first.path(), Some(&url)).unwrap(), open_in(second.path(), Some(&url)).unwrap());
    assert_eq!(two.authority_id().as_str(), "MFG");

    let config = one.provision(testing::camera_request(1)).await.unwrap();
    let twice = two.provision(testing::camera_request(1)).await.unwrap_err();
    assert!(matches!(twice, ProvisionError::DuplicateSerial), "{twice}");
    let question = question_of(&config, 1);
    assert_eq!(ask(&two, &question).await, Verdict::Passed);
    let used = Verdict::Failed(birthmark_core::api::validate::Message::Used);
    assert_eq!(ask(&one, &question).await, used);
    one.close().await;
    // The other does not need it.
    assert_eq!(ask(&two, &question_of(&config, 1)).await, Verdict::Passed);
    two.close().await;
    assert_eq!(ask(&open_in(first.path(), Some(&url)).unwrap(), &question).await, used);
}

#[tokio::test]
async fn database_of_another_authority_is_never_taken_over_or_opened() {
    let cluster = Cluster::start();
    let url = cluster.database("theirs");
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    init_in(theirs.path(), "THEIRS", &url).unwrap();
    // Unused as it still is.
    let error = init_in(ours.path(), "OURS", &url).unwrap_err();
    assert!(matches!(error, SmaError::DatabaseInUse { .. }), "{error}");
    assert!(!is_installed(ours.path()));
    let own = cluster.database("ours");
    init_in(ours.path(), "OURS", &own).unwrap();
    assert!(matches!(open_in(ours.path(), Some(&url)).unwrap_err(), SmaError::ForeignMasterKey { .. }));
    open_in(theirs.path(), Some(&url)).unwrap().close().await;

    // The key is there, the database not: neither in the folder nor where the URL leads.
    assert!(matches!(open_in(ours.path(), None).unwrap_err(), SmaError::NoDatabase { .. }));
    let empty = cluster.database("nothing");
    assert!(matches!(open_in(ours.path(), Some(&empty)).unwrap_err(), SmaError::NoDatabase { .. }));
    assert!(matches!(init_in(ours.path(), "OURS", &own).unwrap_err(), SmaError::AlreadyInstalled { .. }));
}

#[tokio::test]
async fn url_with_a_password_is_shown_nowhere() {
    let url = "postgresql://sma:hunter2@localhost:1/registry";
    let config = SmaConfig { database_url: Some(url.to_owned()), ..testing::config() };
    let options =
        InitOptions { database_url: Some(url.to_owned()), ..InitOptions::new(AuthorityId::new("M").unwrap()) };
    let folder = tempfile::tempdir().unwrap();
    let error = init(folder.path(), &options, &*testing::clock()).unwrap_err();
    let shown = format!("{config:?} {options:?} {error} {error:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(error.to_string().contains("PostgreSQL at localhost, registry"), "{error}");
    assert!(!is_installed(folder.path()));
}
