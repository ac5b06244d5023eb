//! Builders for this crate's tests: an authority in a temporary folder, cameras, requests.

pub(crate) mod desk;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::response::Response;
use birthmark_core::api::provision::{DeviceConfig, ProvisionRequest};
use birthmark_core::base64;
use birthmark_core::hash::Digest;
use birthmark_core::ids::{AuthorityId, DeviceFamily, DeviceSerial, KeyIndex, NetworkId, TableId};
use birthmark_core::keytable::TableKey;
use birthmark_core::network::{EndorsementKeyId, EndorsementKeyState, TokenKey};
use birthmark_core::note::PublicKey;
use birthmark_core::time::{Clock, UnixSeconds};
use birthmark_core::token::v2::{DeviceKey, Seal};
use birthmark_core::token::{self, Blinding, NucHash, SealedToken, TokenJson};
use birthmark_service::auth::{Authenticator, issue_token};
use birthmark_service::clock::ManualClock;
use birthmark_service::random::OsRng;
use rand_core::Rng as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::certificate::check::Anchor;
use crate::certificate::pem;
use crate::devices::{Changed, Page, Status, Which};
use crate::{InitOptions, Sma, SmaConfig, init, store};

pub(crate) const AUTHORITY: &str = "SIMULATED_MFG_001";

pub(crate) fn config() -> SmaConfig {
    let urls = ("http://127.0.0.1:8545".to_owned(), "http://127.0.0.1:8001/".to_owned());
    SmaConfig { network_id: Some(network()), ..SmaConfig::new(urls.0, urls.1) }
}

pub(crate) fn network() -> NetworkId {
    NetworkId(Digest::from_bytes([0x4e; 32]))
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::at(UnixSeconds(1_733_259_600)))
}

pub(crate) fn serial(number: u8) -> String {
    format!("PI_CAMERA_{number:03}")
}

pub(crate) fn nuc_hex(number: u8) -> String {
    birthmark_core::hex::encode([number ^ 0xa5; 32])
}

pub(crate) fn camera_request(number: u8) -> ProvisionRequest {
    ProvisionRequest {
        device_serial: DeviceSerial::new(serial(number)).unwrap(),
        device_family: DeviceFamily::new("Raspberry Pi HQ Camera").unwrap(),
        nuc_hash: nuc_hex(number),
        min_token_version: 1,
        tpm: None,
    }
}

/// An authority with its router.
pub(crate) struct Authority {
    pub(crate) folder: TempDir,
    pub(crate) sma: Sma,
    router: Router,
    tokens: HashMap<&'static str, String>,
}

impl Authority {
    /// One that lets everyone in.
    pub(crate) fn new() -> Self {
        Self::configured(config())
    }

    pub(crate) fn configured(config: SmaConfig) -> Self {
        Self::build(config, HashMap::new(), |_| Authenticator::open("127.0.0.1:8001".parse().unwrap()).unwrap())
    }

    /// One with callers "aggregator-1", "aggregator-2" and "admin".
    pub(crate) fn with_tokens() -> Self {
        let secrets = tempfile::tempdir().unwrap();
        let path = secrets.path().join("tokens");
        let tokens = [("aggregator-1", "aggregator"), ("aggregator-2", "aggregator"), ("admin", "admin")]
            .map(|(name, role)| (name, issue_token(&path, name, role).unwrap().to_string()));
        Self::build(config(), HashMap::from(tokens), |folder| {
            let kept = folder.join("tokens");
            std::fs::copy(&path, &kept).unwrap();
            Authenticator::tokens(kept).unwrap()
        })
    }

    fn build(
        config: SmaConfig,
        tokens: HashMap<&'static str, String>,
        authenticator: impl FnOnce(&Path) -> Authenticator,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority_id = AuthorityId::new(AUTHORITY).unwrap();
        init(folder.path(), &InitOptions::new(authority_id), &*clock()).unwrap();
        let sma = Sma::open(folder.path(), config, clock()).unwrap();
        let router = sma.router(authenticator(folder.path()));
        Self { folder, sma, router, tokens }
    }

    /// The same authority after a restart of its process; lets everyone in.
    pub(crate) async fn restarted(self, config: SmaConfig) -> Self {
        self.sma.close().await;
        let sma = Sma::open(self.folder.path(), config, clock()).unwrap();
        let router = sma.router(Authenticator::open("127.0.0.1:8001".parse().unwrap()).unwrap());
        Self { sma, router, ..self }
    }

    /// A camera of its own number, provisioned for version 1.
    pub(crate) async fn camera(&self, number: u8) -> Camera {
        self.camera_with(camera_request(number)).await
    }

    pub(crate) async fn camera_with(&self, request: ProvisionRequest) -> Camera {
        let nuc_hash = NucHash::from_hex(&request.nuc_hash).unwrap();
        let token_key = self.sma.statement().await.unwrap().token_key.unwrap();
        Camera { config: self.sma.provision(request).await.unwrap(), nuc_hash, token_key }
    }

    pub(crate) async fn set_status(&self, camera: &Camera, status: Status) {
        let changed = self.sma.store().set_status(camera.config.device_serial.clone(), status, self.sma.act("admin"));
        assert_eq!(changed.await.unwrap(), Changed::Yes);
    }

    /// Behind the authority's back, in its own file.
    pub(crate) fn sql<T>(&self, work: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T>) -> T {
        let path = store::database_path(self.folder.path());
        work(&rusqlite::Connection::open(path).unwrap()).unwrap()
    }

    /// Tokens that have passed so far today.
    pub(crate) fn uses(&self) -> u32 {
        let all = Page { which: Which::All, after: None, limit: u32::MAX };
        let devices = store::block_on(self.sma.store().devices(all)).unwrap();
        devices.iter().map(|device| device.tally.count).sum()
    }

    pub(crate) async fn get(&self, path: &str) -> u16 {
        let request = Request::get(path).body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap().status().as_u16()
    }

    pub(crate) async fn get_as(&self, caller: Option<&str>, path: &str) -> (u16, Value) {
        self.ask("GET", caller, path, &Value::Null).await
    }

    pub(crate) async fn ask(&self, method: &str, caller: Option<&str>, path: &str, body: &Value) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        if let Some(caller) = caller {
            request = request.header("authorization", format!("Bearer {}", self.tokens[caller]));
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// The endorsement key that cameras are to use.
    pub(crate) async fn current_key(&self) -> EndorsementKeyId {
        let keys = self.sma.statement().await.unwrap().endorsement_keys;
        keys.iter().find(|key| key.state == EndorsementKeyState::Current).unwrap().key_id
    }

    /// What devices' certificates are checked against, from its file.
    pub(crate) fn ca_anchor(&self) -> Anchor {
        let file = std::fs::read_to_string(self.folder.path().join("ca.pem")).unwrap();
        Anchor::parse(&pem::decode(&file).unwrap()[0]).unwrap()
    }

    pub(crate) fn ca_key(&self) -> PublicKey {
        *self.ca_anchor().key()
    }

    /// The whole of a `200` from `/validate`.
    pub(crate) async fn answer(&self, question: &Value) -> Value {
        let (status, body) = self.post("/validate", question).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_as(None, path, body).await
    }

    pub(crate) async fn post_as(&self, caller: Option<&str>, path: &str, body: &Value) -> (u16, Value) {
        self.post_bytes(caller, path, body.to_string().into()).await
    }

    pub(crate) async fn post_bytes(&self, caller: Option<&str>, path: &str, body: Vec<u8>) -> (u16, Value) {
        let response = self.respond(caller, path, body).await;
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    pub(crate) async fn respond(&self, caller: Option<&str>, path: &str, body: Vec<u8>) -> Response {
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(caller) = caller {
            request = request.header("authorization", format!("Bearer {}", self.tokens[caller]));
        }
        self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
    }

    /// The message of a `200` from `/validate`.
    pub(crate) async fn verdict(&self, question: &Value) -> String {
        self.verdict_for(None, question).await
    }

    pub(crate) async fn verdict_for(&self, caller: Option<&str>, question: &Value) -> String {
        let (status, body) = self.post_as(caller, "/validate", question).await;
        assert_eq!(status, 200, "{body}");
        let message = body["message"].as_str().unwrap().to_owned();
        assert_eq!(body, json!({"valid": message == "token_valid", "message": message}));
        message
    }
}

/// A provisioned camera.
pub(crate) struct Camera {
    pub(crate) config: DeviceConfig,
    pub(crate) nuc_hash: NucHash,
    pub(crate) token_key: TokenKey,
}

impl Camera {
    /// The same camera with newer secrets.
    pub(crate) fn with(&self, config: DeviceConfig) -> Self {
        Self { config, nuc_hash: self.nuc_hash.clone(), token_key: self.token_key }
    }

    pub(crate) fn table_keys(&self) -> Vec<(TableId, TableKey)> {
        self.config
            .tables
            .iter()
            .map(|grant| (grant.table_id, base64::decode_array(&grant.encryption_key.0).unwrap()))
            .map(|(id, bytes)| (id, TableKey::from_bytes(bytes)))
            .collect()
    }

    /// A fresh token under the table of the seed's first fields.
    pub(crate) fn seal(&self) -> SealedToken {
        let key = TableKey::from_bytes(base64::decode_array(&self.config.encryption_key.0).unwrap());
        token::v1::seal((self.config.table_id, &key), KeyIndex::new(7).unwrap(), &self.nuc_hash, &mut OsRng)
    }

    pub(crate) fn device_key(&self) -> DeviceKey {
        let key = self.config.device_key.as_ref().unwrap();
        DeviceKey::from_bytes(base64::decode_array(&key.0).unwrap())
    }

    /// A question about a version 2 token for a key of 2048 bits.
    pub(crate) fn bound_question(&self, key_id: EndorsementKeyId, counter: u64) -> Value {
        let mut blinded_message = vec![0; 256];
        OsRng.fill_bytes(&mut blinded_message);
        // Below any modulus.
        blinded_message[0] = 0;
        let mut blinding = Blinding { enc: [0; 32], key_id, blinded_message };
        let key = TableKey::from_bytes(base64::decode_array(&self.config.encryption_key.0).unwrap());
        let seal = Seal {
            network: network(),
            token_key: self.token_key,
            table: (self.config.table_id, &key),
            key_index: KeyIndex::new(9).unwrap(),
            commitment: &blinding.commitment(),
            nuc_hash: &self.nuc_hash,
            device_key: &self.device_key(),
            counter,
        };
        let (token, enc) = seal.seal(&mut OsRng).unwrap();
        blinding.enc = enc;
        let mut asked = question(&token);
        asked["enc"] = json!(birthmark_core::hex::encode(blinding.enc));
        asked["key_id"] = json!(key_id);
        asked["blinded_message"] = json!(birthmark_core::hex::encode(&blinding.blinded_message));
        asked
    }

    /// A question about a fresh token.
    pub(crate) fn question(&self) -> Value {
        question(&self.seal())
    }
}

/// The seed's request, without `request_id`.
pub(crate) fn question(token: &SealedToken) -> Value {
    json!({"camera_token": TokenJson::from(token), "manufacturer_authority_id": AUTHORITY})
}
