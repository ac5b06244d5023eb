//! Captures without imaging: real tokens for hashes of a counter.

use birthmark_core::ImageHash;
use birthmark_core::api::provision::DeviceConfig;
use birthmark_core::api::submit::SubmitAnswer;
use birthmark_core::base64;
use birthmark_core::ids::KeyIndex;
use birthmark_core::keytable::TableKey;
use birthmark_core::submission::{ImageJson, ManufacturerCert, SubmissionJson};
use birthmark_core::token::v1::seal;
use birthmark_core::token::{NucHash, TokenJson};
use birthmark_service::client::{Answer, BearerToken, ClientError, ClientOptions, HttpClient};
use birthmark_service::random::OsRng;
use serde_json::{Value, json};

/// A provisioned device that needs no camera.
pub(crate) struct Device {
    config: DeviceConfig,
    nuc_hash: NucHash,
}

impl Device {
    /// Provisions `serial`, whose fingerprint is made from its name.
    pub(crate) async fn provision(sma: &HttpClient, serial: &str) -> Self {
        let fingerprint = ImageHash::of(serial.as_bytes());
        let request = json!({
            "device_serial": serial, "device_family": "Test", "nuc_hash": fingerprint.to_string(),
        });
        let config = sma.post_json::<DeviceConfig>("/api/v1/devices/provision", &request).await.unwrap().body;
        Self { config, nuc_hash: NucHash::from_bytes(*fingerprint.as_bytes()) }
    }

    /// The submission of capture `number`, sealed anew.
    pub(crate) fn submission(&self, number: u64) -> SubmissionJson {
        let key: [u8; 32] = base64::decode_array(&self.config.encryption_key.0).unwrap();
        let index = KeyIndex::new(u16::try_from(number % 1000).unwrap()).unwrap();
        let table = TableKey::from_bytes(key);
        let token = seal((self.config.table_id, &table), index, &self.nuc_hash, &mut OsRng);
        let raw = raw_hash(number);
        SubmissionJson {
            submission_type: "camera".to_owned(),
            image_hashes: vec![
                ImageJson { image_hash: raw.to_string(), modification_level: 0, parent_image_hash: None, kind: None },
                ImageJson {
                    image_hash: jpeg_hash(number).to_string(),
                    modification_level: 1,
                    parent_image_hash: Some(raw.to_string()),
                    kind: None,
                },
            ],
            camera_token: Some(TokenJson::from(&token)),
            manufacturer_cert: Some(ManufacturerCert {
                authority_id: self.config.manufacturer_cert.authority_id.to_string(),
                validation_endpoint: None,
                camera_token: None,
                key_reference: None,
            }),
            timestamp: Some(1_733_259_600),
            owner_hash: None,
            gps_hash: None,
        }
    }
}

pub(crate) fn raw_hash(number: u64) -> ImageHash {
    ImageHash::of(format!("raw {number}").as_bytes())
}

pub(crate) fn jpeg_hash(number: u64) -> ImageHash {
    ImageHash::of(format!("jpeg {number}").as_bytes())
}

/// Sends a submission; `wait` seconds for its end, 0 for none.
pub(crate) async fn send(
    aggregator: &HttpClient,
    submission: &SubmissionJson,
    wait: u8,
) -> Result<Answer<Value>, ClientError> {
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("prefer", format!("wait={wait}").parse().unwrap());
    aggregator.post_json_with::<Value>("/api/v1/submit", headers, submission).await
}

/// Where a receipt stands.
pub(crate) async fn receipt(aggregator: &HttpClient, receipt: &str) -> SubmitAnswer {
    aggregator.get_json::<SubmitAnswer>(&format!("/api/v1/submission/{receipt}")).await.unwrap().body
}

/// Provisions over HTTP with a bearer token; gives the configuration's text.
pub(crate) fn provision_with_token(sma: &str, token: &str, serial: &str, fingerprint: &str) -> String {
    let request = json!({"device_serial": serial, "device_family": "Test", "nuc_hash": fingerprint});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let refused = HttpClient::new(sma, &ClientOptions::default()).unwrap();
        let refused = refused.post_json::<Value>("/api/v1/devices/provision", &request).await.unwrap_err();
        assert_eq!(refused.status().map(|status| status.as_u16()), Some(401), "without a token");
        let options = ClientOptions { bearer: Some(BearerToken::new(token)), ..ClientOptions::default() };
        let client = HttpClient::new(sma, &options).unwrap();
        client.post_json::<Value>("/api/v1/devices/provision", &request).await.unwrap().body.to_string()
    })
}
