//! The references: an aggregator and a node that do the least that could be called the same.
//!
//! ```text
//! submission ─► parsed ─► bare authority, one token a call ─► log, flushed ─► receipt
//! batch      ─► parsed ─► log, flushed ─► recorded
//! ```
//! For: the most that this machine gives to that way. Not for: anything that must survive: no outbox, no repeats, no
//! receipts that could be asked for.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use birthmark_core::api::submit::{SubmissionStatus, SubmitAnswer};
use birthmark_core::api::transactions::{TransactionResult, TransactionsAnswer};
use birthmark_core::api::validate::{ValidateAnswer, ValidateRequest};
use birthmark_core::batch::Batch;
use birthmark_core::ids::{Height, TxId};
use birthmark_core::submission::Submission;
use birthmark_service::random::OsRng;
use bytes::Bytes;
use parking_lot::Mutex;
use rand_core::Rng as _;

use super::super::bare::Log;
use super::super::load::{self, Connection};

/// Where the bare authority is, with the connections to it that nobody uses at the moment.
#[derive(Debug)]
struct Chain {
    authority: SocketAddr,
    idle: Mutex<Vec<Connection>>,
    log: Log,
}

/// The whole way without an aggregator's promises.
pub(super) fn aggregator(authority: SocketAddr, log: Log) -> Router {
    let chain = Chain { authority, idle: Mutex::default(), log };
    Router::new().route("/api/v1/submit", post(submit)).with_state(Arc::new(chain))
}

async fn submit(State(chain): State<Arc<Chain>>, body: Bytes) -> Response {
    match chain.submit(body).await {
        Ok(answer) => (StatusCode::ACCEPTED, Json(answer)).into_response(),
        Err(error) => {
            tracing::error!(%error, "the reference failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl Chain {
    async fn submit(&self, body: Bytes) -> anyhow::Result<SubmitAnswer> {
        let Submission::Camera(camera) = Submission::from_json(&body)? else { anyhow::bail!("not a camera's") };
        let (mut request_id, mut receipt) = ([0; 16], [0; 16]);
        OsRng.fill_bytes(&mut request_id);
        OsRng.fill_bytes(&mut receipt);
        let question = ValidateRequest::of(&camera.token, None, &camera.body.authority, request_id);
        anyhow::ensure!(self.ask(&load::post("/validate", &question)?).await?, "the token did not pass");
        anyhow::ensure!(self.log.append(body).await, "the log is closed");
        Ok(SubmitAnswer {
            receipt_id: uuid::Builder::from_random_bytes(receipt).into_uuid(),
            status: SubmissionStatus::Confirmed,
            message: "on record".to_owned(),
            assurance: None,
            tx_id: Some(TxId(1)),
            block_height: Some(Height(1)),
            reason: None,
            reseal: None,
            proof: None,
        })
    }

    async fn ask(&self, question: &[u8]) -> anyhow::Result<bool> {
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(self.authority).await?,
        };
        let answer: ValidateAnswer = serde_json::from_slice(connection.exchange(question, "200").await?)?;
        self.idle.lock().push(connection);
        Ok(answer.valid)
    }
}

/// A registry without consensus: what it is handed is on record once it is flushed.
pub(super) fn node(log: Log) -> Router {
    Router::new().route("/api/v1/transactions", post(record)).with_state(log)
}

async fn record(State(log): State<Log>, body: Bytes) -> Response {
    let Ok(batch) = Batch::decode(&body) else { return StatusCode::UNPROCESSABLE_ENTITY.into_response() };
    if !log.append(body).await {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let recorded = |_| TransactionResult::Recorded { tx_id: TxId(1), block_height: Height(1) };
    Json(TransactionsAnswer { results: batch.transactions.iter().map(recorded).collect() }).into_response()
}
