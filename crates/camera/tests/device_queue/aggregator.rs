//! An aggregator that keeps to the wire format and misbehaves on request.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use birthmark_core::api::validate::Message;
use birthmark_core::base64;
use birthmark_core::batch::Assurance;
use birthmark_core::body::Entries;
use birthmark_core::hash::Digest;
use birthmark_core::ids::{AuthorityNumber, SubmitterNumber};
use birthmark_core::leaf::{Leaf, RecordLeaf};
use birthmark_core::proof::ProofBundle;
use birthmark_core::submission::{CameraSubmission, Submission};
use birthmark_core::time::Minute;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::authority::{Authority, Judged};

/// How one `POST /api/v1/submit` is dealt with.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// What the authority says, at once. The default where there is an authority.
    Judge,
    /// Taken in and on record at once. The default where there is no authority.
    Confirm,
    /// The same, but the proof is left out of the answer.
    ConfirmWithoutProof,
    /// The same, with a proof of something else.
    ConfirmWithForeignProof,
    /// `{"status": "confirmed"}` without a receipt.
    OnRecord,
    /// Taken in; `GET` finds it confirmed, or what the authority says.
    Pend,
    /// Taken in, and the connection is cut before the answer.
    Cut,
    /// Rejected with `reseal`.
    Reseal,
    /// Rejected for good.
    Reject,
    /// An error with a code and perhaps `Retry-After`.
    Fail(u16, Option<u64>),
    /// Success with something that is no JSON.
    Garbage,
    /// No answer, ever.
    Hang,
}

/// One scripted aggregator on a port of its own.
pub(crate) struct Aggregator {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<Shared>>,
    arrivals: Arc<Notify>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    script: VecDeque<Act>,
    /// Receipts by idempotency key, as the real one gives them.
    receipts: HashMap<Digest, Uuid>,
    submissions: HashMap<Uuid, CameraSubmission>,
    /// How the authority has judged them.
    verdicts: HashMap<Uuid, Judged>,
    bodies: Vec<Value>,
    waits: Vec<Option<String>>,
    forgets: bool,
    arrivals: Arc<Notify>,
    authority: Option<Authority>,
    network: Option<Vec<u8>>,
    network_asked: usize,
}

#[cfg(test)]
impl Aggregator {
    pub(crate) async fn start(script: impl IntoIterator<Item = Act>) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script).await
    }

    pub(crate) async fn start_at(address: SocketAddr, script: impl IntoIterator<Item = Act>) -> Self {
        let script = script.into_iter().collect();
        Self::serve(address, Shared { script, ..Shared::default() }).await
    }

    /// One that asks this authority.
    pub(crate) async fn start_with(authority: Authority, script: impl IntoIterator<Item = Act>) -> Self {
        let shared = Shared { script: script.into_iter().collect(), authority: Some(authority), ..Shared::default() };
        Self::serve("127.0.0.1:0".parse().unwrap(), shared).await
    }

    async fn serve(address: SocketAddr, shared: Shared) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let arrivals = Arc::clone(&shared.arrivals);
        let state = Arc::new(Mutex::new(shared));
        let router = Router::new()
            .route("/api/v1/submit", post(submit))
            .route("/api/v1/submission/{receipt}", get(submission))
            .route("/api/v1/verify/{hash}", get(verify))
            .route("/network.json", get(network_file))
            .with_state(Arc::clone(&state));
        let task = TaskTracker::new().spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, state, arrivals, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Nonces of all tokens that came, in order.
    pub(crate) fn nonces(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.bodies.iter().map(|body| body["camera_token"]["nonce"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.state.lock().unwrap().bodies.clone()
    }

    /// Tokens with their bindings that came, in order.
    pub(crate) fn tokens(&self) -> Vec<Value> {
        self.bodies().iter().map(|body| body["camera_token"].clone()).collect()
    }

    pub(crate) fn authority<T>(&self, work: impl FnOnce(&mut Authority) -> T) -> T {
        work(self.state.lock().unwrap().authority.as_mut().unwrap())
    }

    /// Hands this on as the network file from now on.
    pub(crate) fn offer(&self, network: Vec<u8>) {
        self.state.lock().unwrap().network = Some(network);
    }

    /// How often the network file was asked for.
    pub(crate) fn network_asked(&self) -> usize {
        self.state.lock().unwrap().network_asked
    }

    /// Becomes ready once this many submissions have come.
    pub(crate) async fn has_got(&self, submissions: usize) {
        loop {
            let mut arrival = std::pin::pin!(self.arrivals.notified());
            // Before the look, so that nothing that comes after it is missed.
            arrival.as_mut().enable();
            if self.bodies().len() >= submissions {
                return;
            }
            arrival.await;
        }
    }

    pub(crate) fn waits(&self) -> Vec<Option<String>> {
        self.state.lock().unwrap().waits.clone()
    }

    /// How many submissions it knows, repeats not counted.
    pub(crate) fn receipts(&self) -> usize {
        self.state.lock().unwrap().receipts.len()
    }

    /// From now on it knows no receipt that was given before.
    pub(crate) fn forget(&self) {
        let mut state = self.state.lock().unwrap();
        state.submissions.clear();
        state.receipts.clear();
        state.verdicts.clear();
        state.forgets = true;
    }

    pub(crate) async fn stop(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

type Ledger = State<Arc<Mutex<Shared>>>;

async fn submit(State(state): Ledger, headers: HeaderMap, body: Bytes) -> Response {
    let (act, receipt, camera) = {
        let mut state = state.lock().unwrap();
        state.bodies.push(serde_json::from_slice(&body).unwrap());
        state.arrivals.notify_waiters();
        state.waits.push(headers.get("prefer").map(|value| value.to_str().unwrap().to_owned()));
        let usual = if state.authority.is_some() { Act::Judge } else { Act::Confirm };
        let act = state.script.pop_front().unwrap_or(usual);
        let Submission::Camera(camera) = Submission::from_json(&body).unwrap() else { panic!("a camera's") };
        if matches!(act, Act::Fail(..) | Act::Garbage | Act::Hang) {
            (act, Uuid::nil(), camera)
        } else {
            let next = Uuid::from_u128(0x4000_8000_0000_0000_0001 + state.receipts.len() as u128);
            let receipt = *state.receipts.entry(camera.idempotency_key()).or_insert(next);
            state.submissions.insert(receipt, camera.clone());
            let Shared { authority, verdicts, .. } = &mut *state;
            if let Some(authority) = authority {
                verdicts.entry(receipt).or_insert_with(|| authority.judge(&camera));
            }
            (act, receipt, camera)
        }
    };
    let mut answer = confirmed(receipt, &camera.body.entries);
    match act {
        Act::Judge => answer = judged(&state.lock().unwrap(), receipt, &camera),
        Act::Confirm => {}
        Act::ConfirmWithoutProof => drop(answer["proof"].take()),
        Act::ConfirmWithForeignProof => answer["proof"] = json!(proof(&camera.body.entries, TX_ID + 1)),
        Act::OnRecord => answer = json!({"status": "confirmed", "tx_id": TX_ID, "block_height": 3}),
        Act::Pend => {
            let answer = json!({"receipt_id": receipt, "status": "pending_validation", "message": "stored"});
            return (StatusCode::ACCEPTED, answer.to_string()).into_response();
        }
        Act::Cut => {
            let cut = futures::stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("cut"))]);
            return Body::from_stream(cut).into_response();
        }
        Act::Reseal => {
            answer = json!({"receipt_id": receipt, "status": "rejected", "message": "", "reason": "token_used", "reseal": true});
        }
        Act::Reject => {
            answer = json!({"receipt_id": receipt, "status": "rejected", "message": "", "reason": "token_invalid", "reseal": false});
        }
        Act::Fail(status, retry_after) => {
            let problem = json!({"status": status, "code": "scripted", "title": "scripted"}).to_string();
            let mut response = (StatusCode::from_u16(status).unwrap(), problem).into_response();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert("retry-after", seconds.into());
            }
            return response;
        }
        Act::Garbage => return "<html>welcome to the hotel's network".into_response(),
        Act::Hang => std::future::pending().await,
    }
    answer.to_string().into_response()
}

async fn submission(State(state): Ledger, Path(receipt): Path<Uuid>) -> Response {
    let state = state.lock().unwrap();
    match state.submissions.get(&receipt) {
        Some(camera) => judged(&state, receipt, camera).to_string().into_response(),
        None => (StatusCode::NOT_FOUND, r#"{"status":404,"code":"unknown_receipt","title":""}"#).into_response(),
    }
}

async fn verify(State(state): Ledger, Path(hash): Path<String>) -> Response {
    let state = state.lock().unwrap();
    let holds =
        |camera: &&CameraSubmission| camera.body.entries.as_slice().iter().any(|entry| entry.hash.to_string() == hash);
    let Some(camera) = state.submissions.values().find(holds) else {
        let miss = json!({"verified": false, "recorded": false, "image_hash": hash, "as_of": {"size": 1, "time": 60}});
        return miss.to_string().into_response();
    };
    json!({
        "verified": true, "recorded": true, "image_hash": hash, "timestamp": 60, "block_height": 3, "tx_id": TX_ID,
        "modification_level": 1, "modification_display": "Validated", "parent_image_hash": null,
        "authority_id": "SIMULATED_MFG_001", "aggregator": "a", "assurance": "attested",
        "provenance_chain": [], "other_records": [], "proof": proof(&camera.body.entries, TX_ID)
    })
    .to_string()
    .into_response()
}

async fn network_file(State(state): Ledger) -> Response {
    let mut state = state.lock().unwrap();
    state.network_asked += 1;
    match &state.network {
        Some(file) => file.clone().into_response(),
        None => (StatusCode::NOT_FOUND, r#"{"status":404,"code":"not_found","title":""}"#).into_response(),
    }
}

/// What becomes of a receipt: what the authority says, where there is one.
fn judged(state: &Shared, receipt: Uuid, camera: &CameraSubmission) -> Value {
    match state.verdicts.get(&receipt) {
        None | Some(Judged::Passed) => confirmed(receipt, &camera.body.entries),
        Some(Judged::Failed(message)) => json!({
            "receipt_id": receipt, "status": "rejected", "message": "refused", "reason": message.text(),
            "reseal": Message::asks_to_reseal(message.text())
        }),
    }
}

fn confirmed(receipt: Uuid, entries: &Entries) -> Value {
    json!({"receipt_id": receipt, "status": "confirmed", "message": "on record", "tx_id": TX_ID, "block_height": 3,
           "proof": proof(entries, TX_ID)})
}

/// Well-formed, and signed by nobody: the camera does not judge checkpoints.
pub(crate) fn proof(entries: &Entries, index: u64) -> String {
    let leaf = Leaf::Record(RecordLeaf {
        minute: Minute(1),
        authority: AuthorityNumber(1),
        submitter: SubmitterNumber(1),
        assurance: Assurance::Attested,
        endorsement_hash: None,
        entries: entries.clone(),
    });
    let (root, signature) = (base64::encode([7; 32]), base64::encode([1; 68]));
    let checkpoint = format!("example.org/log\n9\n{root}\n\n\u{2014} example.org/log {signature}\n");
    ProofBundle { leaf: leaf.encode(), endorsement: None, index, path: Vec::new(), checkpoint }.to_string()
}

pub(crate) const TX_ID: u64 = 5;
