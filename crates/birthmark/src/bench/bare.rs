//! The references: servers that do the least that could be called the same.
//!
//! For: the most that this machine, axum and its disk can give. Not for: anything correct; they keep no
//! promise but to answer.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use birthmark_core::ImageHash;
use birthmark_core::api::submit::{SubmissionStatus, SubmitAnswer};
use birthmark_core::submission::Submission;
use birthmark_service::random::OsRng;
use bytes::Bytes;
use rand_core::Rng as _;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::records::jpeg_hash;

/// A map in memory behind `GET /api/v1/verify/{hash}`.
#[derive(Debug)]
struct Map {
    places: HashMap<ImageHash, u32>,
    /// Sent with every hit.
    proof: Option<String>,
}

/// As long as ours.
#[derive(Serialize)]
struct Hit<'a> {
    verified: bool,
    recorded: bool,
    image_hash: ImageHash,
    timestamp: u32,
    block_height: u32,
    tx_id: u32,
    modification_level: u8,
    modification_display: &'static str,
    parent_image_hash: ImageHash,
    authority_id: &'static str,
    aggregator: &'static str,
    assurance: &'static str,
    provenance_chain: [Link; 1],
    other_records: [u8; 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<&'a str>,
}

#[derive(Serialize)]
struct Link {
    image_hash: ImageHash,
    modification_level: u8,
}

#[derive(Serialize)]
struct Miss {
    verified: bool,
    recorded: bool,
    image_hash: ImageHash,
    as_of: AsOf,
}

#[derive(Serialize)]
struct AsOf {
    size: u32,
    time: u32,
}

/// Answers from a map of as many records as the registry has, each hit with `proof` if there is one.
pub(super) fn map(records: u32, proof: Option<String>) -> Router {
    let places = (0..records).map(|record| (jpeg_hash(record), record)).collect();
    Router::new().route("/api/v1/verify/{hash}", get(look_up)).with_state(Arc::new(Map { places, proof }))
}

async fn look_up(State(map): State<Arc<Map>>, UrlPath(hash): UrlPath<String>) -> Response {
    let Ok(image_hash) = ImageHash::from_hex(&hash) else { return StatusCode::UNPROCESSABLE_ENTITY.into_response() };
    let Some(place) = map.places.get(&image_hash).copied() else {
        let as_of = AsOf { size: 100_000, time: 1_733_259_600 };
        return Json(Miss { verified: false, recorded: false, image_hash, as_of }).into_response();
    };
    Json(Hit {
        verified: true,
        recorded: true,
        image_hash,
        timestamp: 1_733_259_600,
        block_height: place / 256,
        tx_id: place,
        modification_level: 1,
        modification_display: "Validated",
        parent_image_hash: image_hash,
        authority_id: "SIMULATED_MFG_001",
        aggregator: "aggregator_node_001",
        assurance: "attested",
        provenance_chain: [Link { image_hash, modification_level: 0 }],
        other_records: [],
        proof: map.proof.as_deref(),
    })
    .into_response()
}

/// Parses a submission as ours does, appends its bytes to a file, and answers once they are on disk.
#[derive(Clone, Debug)]
pub(super) struct Log {
    waiting: mpsc::Sender<(Bytes, oneshot::Sender<()>)>,
}

impl Log {
    /// Opens the file; a thread of its own writes, and ends with the last clone of this.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let mut file = File::create_new(path).with_context(|| format!("cannot create {}", path.display()))?;
        let (waiting, mut arriving) = mpsc::channel::<(Bytes, oneshot::Sender<()>)>(GROUP);
        let write = move || {
            let (mut group, mut bytes) = (Vec::new(), Vec::new());
            // All that came while the disk was busy goes with the next flush.
            while arriving.blocking_recv_many(&mut group, GROUP) > 0 {
                bytes.clear();
                for (line, _) in &group {
                    bytes.extend_from_slice(line);
                }
                if let Err(error) = file.write_all(&bytes).and_then(|()| file.sync_data()) {
                    tracing::error!(%error, "the reference's log cannot be written");
                    return;
                }
                for (_, done) in group.drain(..) {
                    // A client that went away needs no answer.
                    let _ = done.send(());
                }
            }
        };
        std::thread::Builder::new().name("bench-log".to_owned()).spawn(write)?;
        Ok(Self { waiting })
    }

    /// True once it is on disk.
    pub(super) async fn append(&self, line: Bytes) -> bool {
        let (done, written) = oneshot::channel();
        self.waiting.send((line, done)).await.is_ok() && written.await.is_ok()
    }

    pub(super) fn router(self) -> Router {
        Router::new().route("/api/v1/submit", post(append)).with_state(self)
    }
}

async fn append(State(log): State<Log>, body: Bytes) -> Response {
    if Submission::from_json(&body).is_err() {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    if log.append(body).await { receipt() } else { StatusCode::INTERNAL_SERVER_ERROR.into_response() }
}

/// The answer to a submission that was stored and not judged.
pub(super) fn receipt() -> Response {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    let answer = SubmitAnswer {
        receipt_id: uuid::Builder::from_random_bytes(bytes).into_uuid(),
        status: SubmissionStatus::PendingValidation,
        message: "stored; the authority has not judged the token yet".to_owned(),
        assurance: None,
        tx_id: None,
        block_height: None,
        reason: None,
        reseal: None,
        proof: None,
    };
    (StatusCode::ACCEPTED, Json(answer)).into_response()
}

const GROUP: usize = 1024;
