//! An authority that serves on a free port, with one client of each role.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use birthmark_core::api::provision::{DeviceConfig, ProvisionRequest};
use birthmark_core::api::validate::{ValidateAnswer, ValidateRequest};
use birthmark_core::base64;
use birthmark_core::ids::{AuthorityId, DeviceFamily, DeviceSerial, KeyIndex};
use birthmark_core::keytable::TableKey;
use birthmark_core::token::{self, NucHash, SealedToken, TokenJson};
use birthmark_service::auth::{Authenticator, issue_token};
use birthmark_service::client::{BearerToken, ClientOptions, HttpClient};
use birthmark_service::clock::SystemClock;
use birthmark_service::random::OsRng;
use birthmark_service::server::{Limits, Server};
use birthmark_sma::{InitOptions, Sma, SmaConfig, init};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const AUTHORITY: &str = "SIMULATED_MFG_001";

pub(crate) struct Running {
    _folder: TempDir,
    address: SocketAddr,
    sma: Sma,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    admin: HttpClient,
    pub(crate) aggregator: HttpClient,
}

impl Running {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bound = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = bound.local_addr();
        let credentials = folder.path().join("tokens");
        let client = |name, role| {
            let bearer = issue_token(&credentials, name, role).unwrap();
            let bearer = Some(BearerToken::new(bearer.to_string()));
            HttpClient::new(&format!("http://{address}"), &ClientOptions { bearer, ..ClientOptions::default() })
                .unwrap()
        };
        let (admin, aggregator) = (client("office", "admin"), client("gate-1", "aggregator"));

        let data = folder.path().join("sma");
        let authority_id = AuthorityId::new(AUTHORITY).unwrap();
        init(&data, &InitOptions::new(authority_id), &SystemClock).unwrap();
        let config = SmaConfig::new("http://127.0.0.1:8545".to_owned(), format!("http://{address}"));
        let sma = Sma::open(&data, config, Arc::new(SystemClock)).unwrap();
        let router = sma.router(Authenticator::tokens(&credentials).unwrap());
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(bound.serve(router, Limits::default(), shutdown.clone()));
        tasks.close();
        Self { _folder: folder, address, sma, tasks, shutdown, admin, aggregator }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) async fn provision(&self, serial: &str, nuc_hash: [u8; 32]) -> DeviceConfig {
        let request = ProvisionRequest {
            device_serial: DeviceSerial::new(serial).unwrap(),
            device_family: DeviceFamily::new("Raspberry Pi HQ Camera").unwrap(),
            nuc_hash: birthmark_core::hex::encode(nuc_hash),
            min_token_version: 1,
            tpm: None,
        };
        self.admin.post_json("/api/v1/devices/provision", &request).await.unwrap().body
    }

    pub(crate) async fn ask(&self, question: &ValidateRequest) -> ValidateAnswer {
        self.aggregator.post_json("/validate", question).await.unwrap().body
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(20), self.tasks.wait()).await.unwrap();
        self.sma.close().await;
    }
}

/// A fresh token of the camera, and the question about it.
pub(crate) fn seal(camera: &DeviceConfig, nuc_hash: [u8; 32]) -> (SealedToken, ValidateRequest) {
    let key = TableKey::from_bytes(base64::decode_array(&camera.encryption_key.0).unwrap());
    let index = KeyIndex::new(0).unwrap();
    let token = token::v1::seal((camera.table_id, &key), index, &NucHash::from_bytes(nuc_hash), &mut OsRng);
    let question = ValidateRequest {
        camera_token: TokenJson::from(&token),
        manufacturer_authority_id: AUTHORITY.to_owned(),
        request_id: None,
        enc: None,
        key_id: None,
        blinded_message: None,
    };
    (token, question)
}
