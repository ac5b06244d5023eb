//! `POST /api/v1/devices/provision`: a camera gets its secrets.
//!
//! Request and answer: `docs/PROTOCOL.md` section 4.
//! ```text
//! {"device_serial": "…", "device_family": "…", "nuc_hash": "<64 hex>", "min_token_version": 1 | 2}
//! 201 device_config.json, handed out once
//! 409 duplicate_serial, duplicate_nuc_hash
//! 422 malformed_nuc_hash, unknown_token_version, wrong_tpm_evidence, wrong_field
//! ```

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use birthmark_core::api::provision::ProvisionRequest;
use birthmark_service::auth::Caller;
use birthmark_service::extract::StrictJson;
use birthmark_service::problem::Problem;

use super::{ADMIN, store_problem};
use crate::authority::Sma;
use crate::provision::ProvisionError;

/// With the evidence of a TPM, whose certificate may have some kilobytes.
const MAX_BODY: usize = 16 * 1024;

pub(super) async fn handle(
    State(sma): State<Sma>,
    caller: Caller,
    StrictJson(request): StrictJson<ProvisionRequest, MAX_BODY>,
) -> Result<Response, Problem> {
    caller.require(&[ADMIN])?;
    let config = sma.provision_by(caller.name(), request).await.map_err(|error| problem(&error))?;
    let secret = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, secret, Json(config)).into_response())
}

pub(super) fn problem(error: &ProvisionError) -> Problem {
    match error {
        ProvisionError::NucHash(cause) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed_nuc_hash", "nuc_hash is not 64 hex digits")
                .with_detail(cause.to_string())
        }
        ProvisionError::TokenVersion => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "unknown_token_version",
            "min_token_version is neither 1 nor 2",
        ),
        ProvisionError::Tpm(cause) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_tpm_evidence", "the TPM's evidence does not hold")
                .with_detail(cause.to_string())
        }
        ProvisionError::DuplicateSerial => {
            Problem::new(StatusCode::CONFLICT, "duplicate_serial", "a camera of this serial exists")
        }
        ProvisionError::DuplicateNucHash => {
            Problem::new(StatusCode::CONFLICT, "duplicate_nuc_hash", "a camera of another serial has this sensor")
        }
        ProvisionError::NotIssuing(error) => {
            tracing::error!(%error, "no camera can be provisioned");
            Problem::internal()
        }
        ProvisionError::Certificate(error) => {
            tracing::error!(%error, "a camera was registered and got no certificate");
            Problem::internal()
        }
        ProvisionError::Store(error) => store_problem(error),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use crate::testing::{self, Authority};

    const PATH: &str = "/api/v1/devices/provision";

    fn request(serial: &str, nuc: u8) -> Value {
        json!({"device_serial": serial, "device_family": "Raspberry Pi HQ Camera", "nuc_hash": testing::nuc_hex(nuc)})
    }

    fn keys(object: &Value) -> BTreeSet<&str> {
        object.as_object().unwrap().keys().map(String::as_str).collect()
    }

    const WITHOUT_NETWORK: [&str; 8] = [
        "device_serial",
        "table_id",
        "encryption_key",
        "aggregator_url",
        "manufacturer_cert",
        "tables",
        "device_key",
        "device_certificate",
    ];

    #[tokio::test]
    async fn answer_is_the_seeds_five_fields_and_three_distinct_tables() {
        let authority = Authority::new();
        let (status, body) = authority.post(PATH, &request("PI_CAMERA_001", 1)).await;
        assert_eq!(status, 201, "{body}");
        assert_eq!(keys(&body), BTreeSet::from(WITHOUT_NETWORK));
        assert_eq!(body["device_serial"], "PI_CAMERA_001");
        assert_eq!(body["aggregator_url"], "http://127.0.0.1:8545");
        assert_eq!(
            body["manufacturer_cert"],
            json!({"authority_id": "SIMULATED_MFG_001", "validation_endpoint": "http://127.0.0.1:8001/validate"})
        );
        let tables = body["tables"].as_array().unwrap();
        let ids: BTreeSet<u64> = tables.iter().map(|table| table["table_id"].as_u64().unwrap()).collect();
        assert_eq!((tables.len(), ids.len()), (3, 3));
        assert_eq!(tables[0], json!({"table_id": body["table_id"], "encryption_key": body["encryption_key"]}));
        let key = birthmark_core::base64::decode_array::<32>(body["encryption_key"].as_str().unwrap());
        assert_ne!(key.unwrap(), [0; 32]);
    }

    #[tokio::test]
    async fn network_is_handed_out_where_it_is_configured() {
        let network = json!({"url": "http://127.0.0.1:8546/network.json", "sha256": "00"});
        let authority = Authority::configured(crate::SmaConfig { network: Some(network.clone()), ..testing::config() });
        let (_, body) = authority.post(PATH, &request("PI_CAMERA_001", 1)).await;
        assert_eq!(body["network"], network);
        let with_network: BTreeSet<_> = WITHOUT_NETWORK.into_iter().chain(["network"]).collect();
        assert_eq!(keys(&body), with_network);
    }

    #[tokio::test]
    async fn configuration_must_not_be_cached() {
        let authority = Authority::new();
        let response = authority.respond(None, PATH, request("PI_CAMERA_001", 1).to_string().into()).await;
        assert_eq!(response.headers()["cache-control"], "no-store");
    }

    #[tokio::test]
    async fn duplicates_are_refused_and_change_nothing() {
        let authority = Authority::new();
        let first = authority.camera(1).await;
        for (serial, nuc, code) in [
            (testing::serial(1), 2, "duplicate_serial"),
            (testing::serial(1), 1, "duplicate_serial"),
            (testing::serial(2), 1, "duplicate_nuc_hash"),
        ] {
            let (status, body) = authority.post(PATH, &request(&serial, nuc)).await;
            assert_eq!((status, body["code"].as_str()), (409, Some(code)));
        }
        assert_eq!(authority.verdict(&first.question()).await, "token_valid");
        assert_eq!(authority.post(PATH, &request(&testing::serial(2), 2)).await.0, 201);
    }

    #[tokio::test]
    async fn wrong_fields_are_refused_without_their_content() {
        let authority = Authority::new();
        for (field, value, code) in [
            ("nuc_hash", json!("zz".repeat(32)), "malformed_nuc_hash"),
            ("nuc_hash", json!("ab".repeat(31)), "malformed_nuc_hash"),
            ("nuc_hash", json!(""), "malformed_nuc_hash"),
            ("nuc_hash", json!("٣".repeat(32)), "malformed_nuc_hash"),
            ("nuc_hash", json!(12), "wrong_field"),
            ("device_serial", json!(""), "wrong_field"),
            ("device_serial", json!("S".repeat(65)), "wrong_field"),
            ("device_serial", json!("S\n1"), "wrong_field"),
            ("device_serial", json!("Kamera-Ü"), "wrong_field"),
            ("device_serial", Value::Null, "wrong_field"),
            ("device_family", json!("F".repeat(129)), "wrong_field"),
            ("min_token_version", json!(0), "unknown_token_version"),
            ("min_token_version", json!(3), "unknown_token_version"),
            ("min_token_version", json!(256), "wrong_field"),
            ("min_token_version", json!("1"), "wrong_field"),
            ("min_token_version", json!(1.0), "wrong_field"),
            ("min_token_version", json!(true), "wrong_field"),
        ] {
            let mut request = request("PI_CAMERA_001", 1);
            request[field] = value.clone();
            let (status, body) = authority.post(PATH, &request).await;
            assert_eq!((status, body["code"].as_str()), (422, Some(code)), "{field}: {value}");
            if let Some(text) = value.as_str().filter(|text| text.len() > 1) {
                assert!(!body.to_string().contains(text), "{body}");
            }
        }
    }

    #[tokio::test]
    async fn a_tpm_that_shows_itself_is_kept_and_one_that_does_not_is_refused() {
        let authority = Authority::new();
        let evidence: Value = serde_json::from_str(include_str!("../tpm/evidence.json")).unwrap();
        let mut shown = request("PI_CAMERA_002", 2);
        shown["tpm"] = evidence.clone();
        let (status, body) = authority.post(PATH, &shown).await;
        assert_eq!((status, body["code"].as_str()), (422, Some("wrong_tpm_evidence")), "of another camera");
        shown["device_serial"] = json!("PI_CAMERA_001");
        assert_eq!(authority.post(PATH, &shown).await.0, 201);
        assert_eq!(authority.post(PATH, &request("PI_CAMERA_003", 3)).await.0, 201, "without a TPM");
        let (status, kept) = authority.get_as(None, "/api/v1/devices/PI_CAMERA_001/tpm").await;
        assert_eq!((status, &kept), (200, &evidence));
        for (serial, code) in [("PI_CAMERA_003", "no_tpm"), ("PI_CAMERA_002", "unknown_device")] {
            let (status, body) = authority.get_as(None, &format!("/api/v1/devices/{serial}/tpm")).await;
            assert_eq!((status, body["code"].as_str()), (404, Some(code)));
        }
        let (_, log) = authority.get_as(None, "/api/v1/audit").await;
        let details: Vec<_> =
            log["rows"].as_array().unwrap().iter().map(|row| row["detail"].as_str().unwrap()).collect();
        assert_eq!(details.iter().filter(|detail| detail.ends_with(", keys in a TPM")).count(), 1, "{details:?}");
        // It showed where the keys of before were; nobody has shown anything of the new ones.
        let again = json!({"nuc_hash": shown["nuc_hash"]});
        assert_eq!(authority.post("/api/v1/devices/PI_CAMERA_001/reprovision", &again).await.0, 201);
        assert_eq!(authority.get_as(None, "/api/v1/devices/PI_CAMERA_001/tpm").await.0, 404);
        let (_, log) = authority.get_as(None, "/api/v1/audit").await;
        assert!(log.to_string().contains(", TPM evidence dropped"), "{log}");
    }

    #[tokio::test]
    async fn only_an_admin_may_provision() {
        let authority = Authority::with_tokens();
        let body = request("PI_CAMERA_001", 1);
        assert_eq!(authority.post_as(None, PATH, &body).await.0, 401);
        assert_eq!(authority.post_as(Some("aggregator-1"), PATH, &body).await.0, 403);
        assert_eq!(authority.post_as(Some("admin"), PATH, &body).await.0, 201);
    }

    #[tokio::test]
    async fn closed_database_is_an_error_and_nothing_else() {
        let authority = Authority::new();
        authority.sma.close().await;
        let (status, body) = authority.post(PATH, &request("PI_CAMERA_001", 1)).await;
        assert_eq!((status, body["code"].as_str()), (500, Some("internal")));
    }
}
