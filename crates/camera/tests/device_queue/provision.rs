use axum::Json;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use birthmark_camera::device::{Credentials, IfProvisioned, ProvisionError, provision, write_config};
use birthmark_core::api::provision::ProvisionRequest;
use birthmark_core::base64;
use birthmark_core::ids::{DeviceFamily, DeviceSerial};
use birthmark_core::token::NucHash;
use birthmark_service::client::BearerToken;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

const NUC: [u8; 32] = [0xa5; 32];

fn request(serial: &str) -> ProvisionRequest {
    ProvisionRequest {
        device_serial: DeviceSerial::new(serial).unwrap(),
        device_family: DeviceFamily::new("Raspberry Pi HQ Camera").unwrap(),
        nuc_hash: birthmark_core::hex::encode(NUC),
        min_token_version: 1,
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
