//! An authority that speaks the real wire format. Tables stand for verdicts: see [`verdict`].

use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use birthmark_core::api::validate::{Message, ValidateAnswer, ValidateRequest};
use birthmark_core::json;
use birthmark_service::problem::Problem;

use crate::script::{Act, Script, cut, misbehave};
use crate::world::AUTHORITY;

pub(crate) const GOOD: u64 = 0;
pub(crate) const BAD: u64 = 1;
pub(crate) const USED: u64 = 2;
/// Asked about alone, `422`; within a batch, a verdict.
pub(crate) const MALFORMED: u64 = 3;
/// The whole batch is refused with `422` for it; asked about alone it gets the same.
pub(crate) const SPOILER: u64 = 4;

/// Every call with it fails with `500`, as a fault in the authority would have it.
pub(crate) const CRASHER: u64 = 5;

#[derive(Debug)]
pub(crate) struct Sma {
    pub(crate) script: Script,
    /// Every request id in the order of arrival, repeats included.
    asked: Mutex<Vec<String>>,
    /// Tokens of each call.
    sizes: Mutex<Vec<usize>>,
    /// Whose tokens it judges.
    name: Mutex<String>,
}

impl Sma {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            script: Script::new(),
            asked: Mutex::default(),
            sizes: Mutex::default(),
            name: Mutex::new(AUTHORITY.to_owned()),
        })
    }

    pub(crate) fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/validate", post(single))
            .route("/validate/batch", post(batch))
            .with_state(Arc::clone(self))
    }

    /// Answers as this authority from now on.
    pub(crate) fn rename(&self, name: &str) {
        name.clone_into(&mut self.name.lock().unwrap());
    }

    /// Request ids in the order of arrival, repeats included.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Tokens of each call.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.sizes.lock().unwrap().clone()
    }

    fn judge(&self, request: &ValidateRequest) -> ValidateAnswer {
        assert_eq!(request.manufacturer_authority_id, AUTHORITY);
        if *self.name.lock().unwrap() != AUTHORITY {
            return ValidateAnswer { valid: false, message: "wrong_authority".to_owned(), endorsement: None };
        }
        let id = request.request_id.clone().expect("the aggregator always sends a request id");
        assert_eq!(id.len(), 32);
        self.asked.lock().unwrap().push(id);
        verdict(request)
    }
}

fn table(request: &ValidateRequest) -> u64 {
    request.camera_token.table_id.unwrap()
}

fn verdict(request: &ValidateRequest) -> ValidateAnswer {
    let (valid, message) = match table(request) {
        BAD => (false, Message::Invalid.text()),
        USED => (false, Message::Used.text()),
        MALFORMED | SPOILER => (false, "malformed_token"),
        _ => (true, Message::Valid.text()),
    };
    ValidateAnswer { valid, message: message.to_owned(), endorsement: None }
}

async fn body<T: serde::de::DeserializeOwned>(request: Request) -> T {
    json::from_slice(&axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap()).unwrap()
}

async fn single(State(sma): State<Arc<Sma>>, request: Request) -> Response {
    let act = sma.script.next().await;
    if !matches!(act, Act::Serve | Act::ServeAndCut) {
        return misbehave(act).await;
    }
    let request: ValidateRequest = body(request).await;
    sma.sizes.lock().unwrap().push(1);
    if table(&request) == CRASHER {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let verdict = sma.judge(&request);
    if act == Act::ServeAndCut {
        return cut();
    }
    if verdict.message == "wrong_authority" {
        return Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_authority", "another's token").into_response();
    }
    if [MALFORMED, SPOILER].contains(&table(&request)) {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    Json(verdict).into_response()
}

#[derive(serde::Deserialize)]
struct Questions {
    requests: Vec<ValidateRequest>,
}

async fn batch(State(sma): State<Arc<Sma>>, request: Request) -> Response {
    let act = sma.script.next().await;
    if !matches!(act, Act::Serve | Act::ServeAndCut) {
        return misbehave(act).await;
    }
    let Questions { requests } = body(request).await;
    assert!((1..=256).contains(&requests.len()));
    sma.sizes.lock().unwrap().push(requests.len());
    if requests.iter().any(|request| table(request) == CRASHER) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    if requests.iter().any(|request| table(request) == SPOILER) {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    let results: Vec<_> = requests.iter().map(|request| sma.judge(request)).collect();
    if act == Act::ServeAndCut {
        return cut();
    }
    Json(serde_json::json!({ "results": results })).into_response()
}
