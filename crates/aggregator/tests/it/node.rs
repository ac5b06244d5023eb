//! A node that speaks the real wire format, checks every batch and every endorsement as a real one would,
//! and keeps its log in memory.

use std::sync::{Arc, Mutex};

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use birthmark_core::api::transactions::{TransactionResult, TransactionsAnswer};
use birthmark_core::batch::{Assurance, Batch, MAX_WIRE, Transaction};
use birthmark_core::body::Body;
use birthmark_core::ids::{AuthorityNumber, Height, SubmitterNumber, TxId};
use birthmark_core::leaf::{Leaf, RecordLeaf};
use birthmark_core::network::{EndorsementKeyState, Network};
use birthmark_core::proof::ProofBundle;
use birthmark_core::time::Minute;
use serde_json::json;

use crate::script::{Act, Script, cut, misbehave};

/// A submission whose first image hash starts with this byte is refused by the registry.
pub(crate) const REFUSED: u8 = 0xee;

/// Every batch with such a submission fails with `500`, as a fault in the node would have it.
pub(crate) const CRASHER: u8 = 0xef;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) script: Script,
    /// For `verify`, which has its own.
    pub(crate) verify: Script,
    network: Arc<Network>,
    log: Mutex<Vec<Transaction>>,
    /// Transactions of each batch, and whether they came in ascending order of their first hash.
    sizes: Mutex<Vec<usize>>,
}

impl Node {
    pub(crate) fn new(network: Arc<Network>) -> Arc<Self> {
        Arc::new(Self {
            script: Script::new(),
            verify: Script::new(),
            network,
            log: Mutex::default(),
            sizes: Mutex::default(),
        })
    }

    pub(crate) fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/api/v1/transactions", post(transactions))
            .route("/api/v1/verify/{hash}", get(verify))
            .with_state(Arc::clone(self))
    }

    /// Everything on record, in order.
    pub(crate) fn log(&self) -> Vec<Body> {
        self.records().iter().map(|record| record.body().clone()).collect()
    }

    /// The same, with what vouches for it.
    pub(crate) fn records(&self) -> Vec<Transaction> {
        self.log.lock().unwrap().clone()
    }

    /// Transactions of each batch that was served.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.sizes.lock().unwrap().clone()
    }

    fn record(&self, transaction: &Transaction) -> TransactionResult {
        let body = transaction.body();
        if body.entries.as_slice()[0].hash.as_bytes()[0] == REFUSED {
            return refused("unknown_authority");
        }
        if transaction.assurance() == Assurance::Endorsed {
            let authority = self.network.authority_by_id(&body.authority).unwrap().number;
            match self.network.check_endorsement(authority, transaction.endorsement(), &body.encode()) {
                Ok(EndorsementKeyState::Revoked) => return refused("revoked_endorsement_key"),
                Ok(_) => {}
                Err(_) => return refused("unknown_endorsement_key"),
            }
        }
        let mut log = self.log.lock().unwrap();
        let serves = |known: &Transaction| known.body() == body && known.assurance() >= transaction.assurance();
        let at = log.iter().rposition(serves).unwrap_or_else(|| {
            log.push(transaction.clone());
            log.len() - 1
        });
        TransactionResult::Recorded { tx_id: TxId(at as u64), block_height: Height(at as u64 + 100) }
    }
}

fn refused(code: &str) -> TransactionResult {
    TransactionResult::Refused { code: code.to_owned() }
}

async fn transactions(State(node): State<Arc<Node>>, request: Request) -> Response {
    let act = node.script.next().await;
    if !matches!(act, Act::Serve | Act::ServeAndCut | Act::OnlyAccept) {
        return misbehave(act).await;
    }
    assert_eq!(request.headers()["content-type"], "application/octet-stream");
    assert_eq!(request.headers()["prefer"], "wait=10");
    assert_eq!(request.headers()["authorization"], "Bearer node-secret");
    let bytes = axum::body::to_bytes(request.into_body(), MAX_WIRE).await.unwrap();
    let batch = Batch::decode(&bytes).unwrap();
    let submitter = node.network.submitter(batch.submitter).unwrap();
    batch.verify(node.network.network_id(), submitter.key.as_bytes()).unwrap();
    assert!(batch.transactions.iter().all(|transaction| transaction.assurance() >= Assurance::Attested));
    node.sizes.lock().unwrap().push(batch.transactions.len());
    let first_byte = |body: &Body| body.entries.as_slice()[0].hash.as_bytes()[0];
    if batch.transactions.iter().any(|transaction| first_byte(transaction.body()) == CRASHER) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let results = batch
        .transactions
        .iter()
        .map(|transaction| match act {
            Act::OnlyAccept => TransactionResult::Accepted,
            _ => node.record(transaction),
        })
        .collect();
    if act == Act::ServeAndCut { cut() } else { Json(TransactionsAnswer { results }).into_response() }
}

async fn verify(State(node): State<Arc<Node>>, Path(hash): Path<String>, request: Request) -> Response {
    let act = node.verify.next().await;
    if act != Act::Serve {
        return misbehave(act).await;
    }
    let log = node.records();
    let has =
        |record: &Transaction| record.body().entries.as_slice().iter().any(|entry| entry.hash.to_string() == hash);
    let found = log.iter().enumerate().filter(|(_, record)| has(record));
    // The first of the best ones.
    let at = found.rev().max_by_key(|(_, record)| record.assurance()).map(|(at, _)| at);
    let query = request.uri().query().unwrap_or_default().to_owned();
    let Some(at) = at else {
        return Json(json!({
            "verified": false, "recorded": false, "image_hash": hash, "as_of": {"size": log.len(), "time": 60},
            "query": query,
        }))
        .into_response();
    };
    Json(json!({
        "verified": true, "recorded": true, "image_hash": hash, "timestamp": 60, "block_height": at + 100, "tx_id": at,
        "modification_level": 0, "modification_display": "Validated Raw", "parent_image_hash": null,
        "authority_id": "SIMULATED_MFG_001", "aggregator": "aggregator_node_001", "assurance": log[at].assurance(),
        "provenance_chain": [], "other_records": [], "proof": proof(at, &log[at]), "query": query,
    }))
    .into_response()
}

/// In full where there is an endorsement to carry. The checkpoint is one in form only.
fn proof(at: usize, record: &Transaction) -> String {
    if record.assurance() != Assurance::Endorsed {
        return format!("proof of {at}");
    }
    let leaf = RecordLeaf {
        minute: Minute(1),
        authority: AuthorityNumber(1),
        submitter: SubmitterNumber(5),
        assurance: record.assurance(),
        endorsement_hash: record.endorsement_hash(),
        entries: record.body().entries.clone(),
    };
    let checkpoint = "birthmark.example/log\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u{2014} x AAAAAAA=\n";
    let bundle = ProofBundle {
        leaf: Leaf::Record(leaf).encode(),
        endorsement: Some(record.endorsement().to_vec()),
        index: at as u64,
        path: Vec::new(),
        checkpoint: checkpoint.to_owned(),
    };
    bundle.to_string()
}
