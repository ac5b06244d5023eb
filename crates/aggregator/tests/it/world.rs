//! A network file, a data folder, an authority, a node, and an aggregator between them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use birthmark_aggregator::{Aggregator, AggregatorConfig, SIGNING_KEY_FILE, SmaConfig};
use birthmark_core::ids::{AuthorityId, AuthorityNumber, SubmitterName, SubmitterNumber};
use birthmark_core::network::{
    Authority, EndorsementKey, EndorsementKeyId, EndorsementKeyState, MinTokenVersion, Network, NetworkBuilder, Rules,
    Submitter, Validator,
};
use birthmark_core::note::{KeyName, SecretKey};
use birthmark_core::time::{Minute, UnixSeconds};
use birthmark_service::client::{BearerToken, ClientError, ClientOptions, HttpClient};
use birthmark_service::clock::ManualClock;
use birthmark_service::secret_file;
use birthmark_service::server::{Limits, Server};
use birthmark_service::shutdown::Tasks;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::node::Node;
use crate::sma::{GOOD, Sma, signing_key, token_secret};

pub(crate) const AUTHORITY: &str = "SIMULATED_MFG_001";
pub(crate) const SUBMITTER: &str = "aggregator_node_001";
pub(crate) const SEED: [u8; 32] = [9; 32];
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Everything around the aggregator, which may be started and killed several times in it.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) network: Arc<Network>,
    pub(crate) network_file: Bytes,
    pub(crate) sma: Arc<Sma>,
    pub(crate) node: Arc<Node>,
    pub(crate) clock: ManualClock,
    sma_address: SocketAddr,
    node_address: SocketAddr,
    others: Tasks,
}

/// A running aggregator.
pub(crate) struct Running {
    aggregator: Aggregator,
    tasks: Tasks,
    client: HttpClient,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) code: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// What network files differ in. Keys are numbers of `vectors/keys`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) ours: &'static [(u8, EndorsementKeyState)],
    pub(crate) theirs: &'static [(u8, EndorsementKeyState)],
    pub(crate) min_token_version: MinTokenVersion,
}

pub(crate) const SETTING: Setting = Setting {
    ours: &[(1, EndorsementKeyState::Current)],
    theirs: &[(2, EndorsementKeyState::Current)],
    min_token_version: MinTokenVersion::V1,
};

/// All settings are of one network: they have the same genesis.
pub(crate) fn network(setting: Setting) -> (Bytes, Network) {
    let key = |seed: u8| SecretKey::from_seed(&[seed; 32]);
    let mut builder = NetworkBuilder::new(KeyName::new("birthmark.example/log").unwrap(), Minute(28_887_660));
    builder.validators = vec![Validator {
        consensus_key: key(1).public_key(),
        log_key: key(2).public_key(),
        cosigning_key: key(3).public_key(),
        p2p_address: None,
    }];
    builder.authorities = [(AUTHORITY, setting.ours), ("ANOTHER_MFG", setting.theirs)]
        .into_iter()
        .zip(1..)
        .map(|((id, keys), number)| Authority {
            number: AuthorityNumber(number),
            id: AuthorityId::new(id).unwrap(),
            token_key: Some(token_secret().public()),
            rules: Rules { min_token_version: setting.min_token_version },
            endorsement_keys: keys.iter().map(|(key, state)| endorsement_key(*key, *state)).collect(),
        })
        .collect();
    builder.submitters = vec![Submitter {
        number: SubmitterNumber(5),
        name: SubmitterName::new(SUBMITTER).unwrap(),
        key: SecretKey::from_seed(&SEED).public_key(),
    }];
    let (file, network) = builder.build().unwrap().sign(&[&key(2)]).unwrap();
    (file.into(), network)
}

fn endorsement_key(number: u8, state: EndorsementKeyState) -> EndorsementKey {
    let spki = signing_key(number).public_key().unwrap().to_der().unwrap();
    EndorsementKey { key_id: EndorsementKeyId::of_spki(&spki), spki, state }
}

/// Serves a router on a free port of this machine until the tasks are cancelled.
async fn serve(router: Router, tasks: &Tasks) -> SocketAddr {
    serve_at(router, ([127, 0, 0, 1], 0).into(), tasks).await
}

async fn serve_at(router: Router, address: SocketAddr, tasks: &Tasks) -> SocketAddr {
    let bound = Server::bind(address).await.unwrap();
    let address = bound.local_addr();
    let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
    let token = tasks.token().clone();
    tasks.spawn("server", async move {
        bound.serve(router, limits, token).await;
        Ok::<(), std::convert::Infallible>(())
    });
    address
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(SETTING).await
    }

    pub(crate) async fn with(setting: Setting) -> Self {
        let (network_file, network) = network(setting);
        let network = Arc::new(network);
        let (sma, node) = (Sma::new(network.network_id()), Node::new(Arc::clone(&network)));
        let others = Tasks::new(CancellationToken::new());
        let folder = tempfile::tempdir().unwrap();
        secret_file::create(&folder.path().join(SIGNING_KEY_FILE), &SEED).unwrap();
        Self {
            folder,
            network,
            network_file,
            sma_address: serve(sma.router(), &others).await,
            node_address: serve(node.router(), &others).await,
            sma,
            node,
            clock: ManualClock::at(UnixSeconds(1_733_259_600)),
            others,
        }
    }

    /// Quick retries, no mixing, no limit.
    pub(crate) fn config(&self) -> AggregatorConfig {
        let sma = SmaConfig {
            authority: AuthorityId::new(AUTHORITY).unwrap(),
            url: format!("http://{}", self.sma_address),
            bearer: Some(BearerToken::new("sma-secret")),
        };
        AggregatorConfig {
            node_bearer: Some(BearerToken::new("node-secret")),
            mix_delay: Duration::ZERO,
            rate_limit: None,
            lookup_limit: None,
            retry_base: Duration::from_millis(2),
            retry_max: Duration::from_millis(20),
            ..AggregatorConfig::new(
                self.folder.path().to_owned(),
                Arc::clone(&self.network),
                self.network_file.clone(),
                SubmitterName::new(SUBMITTER).unwrap(),
                vec![sma],
                vec![format!("http://{}", self.node_address)],
            )
        }
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_with(|_| {}).await
    }

    /// With another network file than the node's.
    pub(crate) async fn start_in(&self, setting: Setting) -> Running {
        let (file, network) = network(setting);
        self.start_with(|config| (config.network_file, config.network) = (file, Arc::new(network))).await
    }

    pub(crate) async fn start_with(&self, change: impl FnOnce(&mut AggregatorConfig)) -> Running {
        let mut config = self.config();
        change(&mut config);
        let aggregator = Aggregator::open(config, Arc::new(self.clock.clone())).unwrap();
        let tasks = Tasks::new(CancellationToken::new());
        aggregator.run(&tasks);
        let address = serve(aggregator.router(), &tasks).await;
        let options = ClientOptions { request_timeout: Duration::from_mins(1), ..ClientOptions::default() };
        Running { aggregator, tasks, client: HttpClient::new(&format!("http://{address}"), &options).unwrap() }
    }

    /// Where the node is.
    pub(crate) fn node_url(&self) -> String {
        format!("http://{}", self.node_address)
    }

    /// Serves another node of the same network; gives where.
    pub(crate) async fn serve_node(&self, node: &Arc<Node>) -> String {
        format!("http://{}", serve(node.router(), &self.others).await)
    }

    /// Serves the authority at a further address.
    pub(crate) async fn serve_sma_at(&self, address: SocketAddr) {
        serve_at(self.sma.router(), address, &self.others).await;
    }
}

/// An address at which nothing listens.
pub(crate) fn nowhere() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// One column of every row, as SQLite has it.
pub(crate) fn column<T: rusqlite::types::FromSql>(folder: &Path, name: &str) -> Vec<T> {
    let connection = rusqlite::Connection::open(folder.join("aggregator.db")).unwrap();
    let mut statement = connection.prepare(&format!("SELECT {name} FROM submission ORDER BY id")).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

impl Running {
    pub(crate) async fn submit(&self, body: &Value) -> Reply {
        self.send(Method::POST, "/api/v1/submit", None, body.to_string()).await
    }

    /// With `Prefer: wait`, of which no more is used up than needed.
    pub(crate) async fn submit_and_hear(&self, body: &Value) -> Reply {
        tokio::time::timeout(DEADLINE, self.submit_and_wait(body, 30)).await.expect("an answer well before 30 seconds")
    }

    /// With `Prefer: wait`.
    pub(crate) async fn submit_and_wait(&self, body: &Value, seconds: u64) -> Reply {
        self.send(Method::POST, "/api/v1/submit", Some(seconds), body.to_string()).await
    }

    /// Waits for the end of what may have been submitted before, by submitting it again.
    pub(crate) async fn end_of(&self, body: &Value) -> Value {
        let reply = self.submit_and_hear(body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.body
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None, String::new()).await
    }

    /// What is not JSON.
    pub(crate) async fn fetch(&self, path: &str) -> (HeaderMap, Bytes) {
        let answer = self.client.get_bytes(path).await.unwrap();
        (answer.headers, answer.body)
    }

    /// Asks for the figures until they are as expected.
    pub(crate) async fn until(&self, expected: impl Fn(&Value) -> bool) -> Value {
        let asking = async {
            loop {
                let figures = self.get("/api/v1/status").await.body;
                if expected(&figures) {
                    return figures;
                }
            }
        };
        tokio::time::timeout(DEADLINE, asking).await.expect("figures in time")
    }

    pub(crate) async fn receipt(&self, reply: &Reply) -> Value {
        let id = reply.body["receipt_id"].as_str().unwrap();
        self.get(&format!("/api/v1/submission/{id}")).await.body
    }

    pub(crate) async fn send(&self, method: Method, path: &str, wait: Option<u64>, body: impl Into<Bytes>) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        if let Some(seconds) = wait {
            headers.insert("prefer", HeaderValue::from_str(&format!("wait={seconds}")).unwrap());
        }
        self.send_with(method, path, headers, body).await
    }

    pub(crate) async fn send_with(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: impl Into<Bytes>,
    ) -> Reply {
        match self.client.send(method, path, headers, body.into()).await {
            Ok(answer) => Reply {
                status: answer.status.as_u16(),
                code: None,
                retry_after: None,
                headers: answer.headers,
                body: serde_json::from_slice(&answer.body).unwrap(),
            },
            Err(ClientError::Status { status, code, retry_after, .. }) => {
                Reply { status: status.as_u16(), code, retry_after, headers: HeaderMap::new(), body: Value::Null }
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// As a signal does.
    pub(crate) fn cancel(&self) {
        self.tasks.token().cancel();
    }

    /// Ends it as a shutdown does.
    pub(crate) async fn stop(self) {
        self.tasks.token().cancel();
        self.tasks.finish(DEADLINE).await.unwrap();
        self.aggregator.close().await;
    }

    /// Ends it without closing anything: what is under way is dropped where it stands.
    pub(crate) async fn kill(self) {
        self.tasks.token().cancel();
        self.tasks.finish(DEADLINE).await.unwrap();
        drop(self.aggregator);
    }

    /// The database is gone from under it, as after an I/O error.
    pub(crate) async fn close_database(&self) {
        self.aggregator.close().await;
    }
}

/// A well-formed submission with hashes and a nonce of its own; `table` stands for the verdict.
pub(crate) fn submission_of(number: u8, table: u64) -> Value {
    let hash = |kind: u8| format!("{kind:02x}{}", format!("{number:02x}").repeat(31));
    json!({
        "submission_type": "camera",
        "image_hashes": [
            {"image_hash": hash(1), "modification_level": 0, "parent_image_hash": null},
            {"image_hash": hash(2), "modification_level": 1, "parent_image_hash": hash(1)},
        ],
        "camera_token": {
            "ciphertext": "c1".repeat(32), "auth_tag": "d2".repeat(16), "nonce": format!("{number:02x}").repeat(12),
            "table_id": table, "key_index": 7,
        },
        "manufacturer_cert": {
            "authority_id": AUTHORITY, "validation_endpoint": "http://attacker.invalid/validate",
        },
        "timestamp": 1_733_259_600,
    })
}

pub(crate) fn submission(number: u8) -> Value {
    submission_of(number, GOOD)
}

/// The same photo under another token.
pub(crate) fn resealed(submission: &Value, nonce: u8, table: u64) -> Value {
    let mut other = submission.clone();
    other["camera_token"]["nonce"] = json!(format!("{nonce:02x}").repeat(12));
    other["camera_token"]["table_id"] = json!(table);
    other
}
