use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Json;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use birthmark_camera::device::{
    ConfigError, Credentials, DeviceError, FetchError, IfProvisioned, Missing, NetworkFileError, NetworkPlace,
    ProvisionError, TokenVersion, fetch_network, provision, provision_request, write_config,
};
use birthmark_core::api::provision::ProvisionRequest;
use birthmark_core::base64;
use birthmark_core::hash::Digest;
use birthmark_core::ids::{DeviceFamily, DeviceSerial};
use birthmark_core::network::EndorsementKeyState::{Current, Previous};
use birthmark_core::network::MAX_FILE_LEN;
use birthmark_core::token::NucHash;
use birthmark_service::client::BearerToken;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::world::{as_value, device_config, network};

const NUC: [u8; 32] = [0xa5; 32];

fn request(serial: &str) -> ProvisionRequest {
    ProvisionRequest {
        device_serial: DeviceSerial::new(serial).unwrap(),
        device_family: DeviceFamily::new("Raspberry Pi HQ Camera").unwrap(),
        nuc_hash: birthmark_core::hex::encode(NUC),
        min_token_version: 1,
        tpm: None,
    }
}

/// An authority that gives every camera the same answer, and only to who shows the credential.
async fn authority(answer: Value) -> String {
    let handle = move |headers: HeaderMap, Json(request): Json<Value>| async move {
        if headers.get("authorization").is_none_or(|value| value != "Bearer admin") {
            return (StatusCode::UNAUTHORIZED, r#"{"code":"unauthorized"}"#).into_response();
        }
        assert_eq!(request["nuc_hash"], json!("a5".repeat(32)));
        if request["device_serial"] == "TAKEN" {
            return (StatusCode::CONFLICT, r#"{"code":"duplicate_serial"}"#).into_response();
        }
        (StatusCode::CREATED, answer.to_string()).into_response()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/api/v1/devices/provision", post(handle));
    drop(TaskTracker::new().spawn(async move { axum::serve(listener, router).await.unwrap() }));
    url
}

fn config() -> Value {
    let key = base64::encode([1; 32]);
    json!({
        "device_serial": "PI_CAMERA_001", "table_id": 42, "encryption_key": key, "aggregator_url": "http://127.0.0.1:8545",
        "manufacturer_cert": {"authority_id": "A", "validation_endpoint": "http://127.0.0.1:8001/validate"},
        "tables": [{"table_id": 42, "encryption_key": key}]
    })
}

fn admin() -> BearerToken {
    BearerToken::new("admin")
}

#[tokio::test]
async fn configuration_that_is_handed_out_can_be_written_and_loaded() {
    let url = authority(config()).await;
    let handed_out = provision(&url, &request("PI_CAMERA_001"), Some(admin())).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device_config.json");
    write_config(&path, &handed_out, IfProvisioned::Refuse).unwrap();
    let credentials = Credentials::load(&path, NucHash::from_bytes(NUC)).unwrap();
    assert_eq!(credentials.serial().as_str(), "PI_CAMERA_001");
}

#[tokio::test]
async fn refusals_are_told_by_their_code() {
    let url = authority(config()).await;
    let taken = provision(&url, &request("TAKEN"), Some(admin())).await.unwrap_err();
    assert!(taken.to_string().contains("duplicate_serial"), "{taken}");
    let stranger = provision(&url, &request("PI_CAMERA_001"), None).await.unwrap_err();
    assert!(stranger.to_string().contains("401"), "{stranger}");
    let nowhere = provision("not an address", &request("PI_CAMERA_001"), None).await.unwrap_err();
    assert!(matches!(nowhere, ProvisionError::Setup(_)), "{nowhere}");
    let bare = ProvisionRequest { nuc_hash: "a5".to_owned(), ..request("PI_CAMERA_001") };
    assert!(matches!(provision(&url, &bare, Some(admin())).await, Err(ProvisionError::NucHash(_))));
}

#[tokio::test]
async fn answers_that_are_anothers_or_unusable_are_refused() {
    let url = authority(config()).await;
    let other = provision(&url, &request("PI_CAMERA_002"), Some(admin())).await.unwrap_err();
    assert!(matches!(other, ProvisionError::OtherSerial), "{other}");
    let mut broken = config();
    broken["tables"][0]["table_id"] = json!(7);
    let url = authority(broken).await;
    let unusable = provision(&url, &request("PI_CAMERA_001"), Some(admin())).await.unwrap_err();
    assert!(matches!(unusable, ProvisionError::Config(_)), "{unusable}");
}

/// Serves one file as `/network.json?all`, and counts how often.
async fn file_server(file: Vec<u8>) -> (String, Arc<AtomicUsize>) {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let handle = move |query: axum::extract::RawQuery| async move {
        assert_eq!(query.0.as_deref(), Some("all"));
        count.fetch_add(1, Ordering::SeqCst);
        file
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/network.json?all", listener.local_addr().unwrap());
    let router = Router::new().route("/network.json", get(handle));
    drop(TaskTracker::new().spawn(async move { axum::serve(listener, router).await.unwrap() }));
    (url, served)
}

fn named(url: &str, file: &[u8]) -> Value {
    json!({"url": url, "sha256": Digest::of_parts(&[file]).to_string()})
}

/// Writes a configuration with this network.
fn configured(folder: &Path, network: Value) -> PathBuf {
    let path = folder.join("device_config.json");
    let config = serde_json::from_value(device_config(network)).unwrap();
    write_config(&path, &config, IfProvisioned::ReplaceSameSerial).unwrap();
    path
}

fn load(config: &Path) -> Result<TokenVersion, DeviceError> {
    Credentials::load(config, NucHash::from_bytes(NUC)).map(|credentials| credentials.token_version())
}

#[tokio::test]
async fn camera_is_provisioned_for_version_2_and_fetches_its_network_file_once() {
    let file = network(&[(1, Current)]);
    let (url, served) = file_server(file.clone()).await;
    let authority = authority(device_config(named(&url, &file))).await;
    let request = provision_request(
        DeviceSerial::new("PI_CAMERA_001").unwrap(),
        DeviceFamily::new("Raspberry Pi HQ Camera").unwrap(),
        "a5".repeat(32),
        TokenVersion::default(),
    );
    assert_eq!(request.min_token_version, 2);
    let handed_out = provision(&authority, &request, Some(admin())).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device_config.json");
    write_config(&path, &handed_out, IfProvisioned::Refuse).unwrap();

    let error = load(&path).unwrap_err();
    assert!(matches!(error, DeviceError::Network(NetworkFileError::Absent { .. })), "{error}");
    assert_eq!(fetch_network(&path).await.unwrap(), NetworkPlace::Fetched);
    assert_eq!(load(&path).unwrap(), TokenVersion::V2);
    assert_eq!(std::fs::read(folder.path().join("network.json")).unwrap(), file);
    assert_eq!(fetch_network(&path).await.unwrap(), NetworkPlace::Beside);
    assert_eq!(served.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn network_files_with_another_hash_or_content_are_not_kept() {
    let file = network(&[(1, Current)]);
    let folder = tempfile::tempdir().unwrap();
    let fetch = async |served: Vec<u8>, pinned: &[u8]| {
        let (url, _) = file_server(served).await;
        let error = fetch_network(&configured(folder.path(), named(&url, pinned))).await.unwrap_err();
        assert!(!folder.path().join("network.json").exists(), "{error}");
        error
    };
    // Newer, and signed; but not the one that was meant.
    let newer = network(&[(1, Previous), (2, Current)]);
    assert!(matches!(fetch(newer, &file).await, FetchError::OtherHash { .. }));
    assert!(matches!(fetch(Vec::new(), &file).await, FetchError::OtherHash { .. }));
    let long = vec![b' '; MAX_FILE_LEN + 1];
    assert!(matches!(fetch(long.clone(), &long).await, FetchError::Call(_)));
    assert!(matches!(fetch(b"{}".to_vec(), b"{}").await, FetchError::Unusable(_)));

    for (url, expected) in
        [("no address", "address"), ("http://127.0.0.1:1/network.json", "connect"), ("ftp://a/b", "")]
    {
        let error = fetch_network(&configured(folder.path(), named(url, &file))).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = fetch_network(&configured(folder.path(), json!("a/b"))).await.unwrap_err();
    assert!(
        matches!(error, FetchError::Device(DeviceError::Config { cause: ConfigError::NetworkForm, .. })),
        "{error}"
    );
}

#[tokio::test]
async fn configurations_that_name_no_address_need_nothing_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), as_value(&network(&[(1, Current)])));
    assert_eq!(fetch_network(&config).await.unwrap(), NetworkPlace::Embedded);
    assert_eq!(load(&config).unwrap(), TokenVersion::V2);
    let config = configured(folder.path(), Value::Null);
    assert_eq!(fetch_network(&config).await.unwrap(), NetworkPlace::Nowhere);
    let error = load(&config).unwrap_err();
    assert!(matches!(error, DeviceError::Config { cause: ConfigError::Missing(Missing::Network), .. }), "{error}");
}

#[tokio::test]
async fn authority_that_gives_no_device_key_does_not_provision_for_version_2() {
    let url = authority(config()).await;
    let request = ProvisionRequest { min_token_version: 2, ..request("PI_CAMERA_001") };
    let refused = provision(&url, &request, Some(admin())).await.unwrap_err();
    assert!(matches!(refused, ProvisionError::Config(ConfigError::Missing(Missing::DeviceKey))), "{refused}");
    let mut broken = device_config(Value::Null);
    broken["device_key"] = json!("short");
    let url = authority(broken).await;
    let refused = provision(&url, &request, Some(admin())).await.unwrap_err();
    assert!(matches!(refused, ProvisionError::Config(ConfigError::DeviceKey(_))), "{refused}");
}
