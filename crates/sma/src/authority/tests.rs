mod lasting;
mod postgres;

use birthmark_core::api::provision::ProvisionRequest;

use super::*;
use crate::ProvisionError;
use crate::testing::{self, Authority};

fn open_err(folder: &Path) -> SmaError {
    Sma::open(folder, testing::config(), testing::clock()).unwrap_err()
}

#[tokio::test]
async fn folder_is_held_while_open_and_free_after_close() {
    let authority = Authority::new();
    assert!(matches!(open_err(authority.folder.path()), SmaError::Lock(_)));
    authority.sma.close().await;
    Sma::open(authority.folder.path(), testing::config(), testing::clock()).unwrap();
}

#[test]
fn folder_without_an_authority_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("missing")] {
        let error = open_err(&path);
        assert!(matches!(error, SmaError::NotInstalled { .. }));
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    // Looking did not make one.
    assert!(!store::database_path(folder.path()).exists());
}

#[tokio::test]
async fn another_authority_than_the_installed_one_is_refused() {
    let authority = Authority::new();
    authority.sma.close().await;
    let configured = |name| SmaConfig { authority_id: Some(AuthorityId::new(name).unwrap()), ..testing::config() };
    let open = |name| Sma::open(authority.folder.path(), configured(name), testing::clock());
    let error = open("ANOTHER").unwrap_err();
    assert!(matches!(error, SmaError::WrongAuthority { .. }), "{error}");
    assert_eq!(open(testing::AUTHORITY).unwrap().authority_id().as_str(), testing::AUTHORITY);
}

#[tokio::test]
async fn missing_or_foreign_parts_are_refused_and_nothing_is_put_in_their_place() {
    let authority = Authority::new();
    authority.sma.close().await;
    let (key, database) =
        (store::master_key_path(authority.folder.path()), store::database_path(authority.folder.path()));
    let other = Authority::new();
    other.sma.close().await;

    let own = std::fs::read(&key).unwrap();
    std::fs::copy(store::master_key_path(other.folder.path()), &key).unwrap();
    assert!(matches!(open_err(authority.folder.path()), SmaError::ForeignMasterKey { .. }));
    for wrong in [&own[..31], &[own.as_slice(), b"\n"].concat(), &[0; 100]] {
        std::fs::write(&key, wrong).unwrap();
        assert!(matches!(open_err(authority.folder.path()), SmaError::MasterFile { .. }), "{}", wrong.len());
    }
    std::fs::write(&key, &own).unwrap();
    std::fs::remove_file(&database).unwrap();
    assert!(matches!(open_err(authority.folder.path()), SmaError::NoDatabase { .. }));
    assert!(!database.exists());
}

#[test]
fn address_that_cameras_could_not_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = SmaConfig { aggregator_url: "aggregator:8545".to_owned(), ..testing::config() };
    let error = Sma::open(folder.path(), config, testing::clock()).unwrap_err();
    assert!(error.to_string().contains("aggregator_url"), "{error}");
}

/// Everything on disk except the key file itself, searched for every secret that passed through.
#[tokio::test]
async fn files_hold_no_fingerprint_no_table_key_and_no_master_key() {
    let authority = Authority::new();
    let camera = authority.camera(1).await;
    let asked = camera.question();
    assert_eq!(authority.verdict(&asked).await, "token_valid");
    let master = std::fs::read(store::master_key_path(authority.folder.path())).unwrap();
    let mut secrets = vec![master, camera.nuc_hash.expose().to_vec()];
    secrets.extend(camera.table_keys().iter().map(|(_, key)| key.expose().to_vec()));
    let search = |when: &str| {
        let mut searched = 0;
        for entry in std::fs::read_dir(authority.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("master.key") {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            searched += bytes.len();
            for secret in &secrets {
                for form in [
                    secret.clone(),
                    birthmark_core::hex::encode(secret).into(),
                    birthmark_core::base64::encode(secret).into(),
                ] {
                    assert!(!bytes.windows(form.len()).any(|window| window == form), "{when}: {}", path.display());
                }
            }
        }
        searched
    };
    // The write-ahead log with both rows, then the database itself.
    assert!(search("open") > 4096);
    authority.sma.close().await;
    assert!(search("closed") > 4096);
    // The search would find what is there.
    let database = std::fs::read(store::database_path(authority.folder.path())).unwrap();
    let serial = testing::serial(1);
    assert!(database.windows(serial.len()).any(|window| window == serial.as_bytes()));
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let authority = Authority::new();
    let camera = authority.camera(1).await;
    let shown = format!("{:?} {:?} {:?}", authority.sma, camera.config, camera.nuc_hash);
    assert!(!shown.contains(&camera.config.encryption_key.0));
    assert!(!shown.contains(&testing::nuc_hex(1)));
    assert_eq!(format!("{:?}", authority.sma), r#"Sma { authority_id: AuthorityId("SIMULATED_MFG_001"), .. }"#);
}

#[tokio::test]
async fn provisioned_at_once_under_one_serial_one_camera_exists() {
    let authority = Authority::new();
    let results = futures::future::join_all((1..=20).map(|nuc| {
        let nuc_hash = testing::nuc_hex(nuc);
        authority.sma.provision(ProvisionRequest { nuc_hash, ..testing::camera_request(1) })
    }))
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().filter_map(|r| r.as_ref().err()).all(|e| matches!(e, ProvisionError::DuplicateSerial)));
}
