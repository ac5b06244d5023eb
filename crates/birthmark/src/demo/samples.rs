//! Further submissions without imaging, to time submit to proof in hand.
//!
//! Each has a real token and new hashes; only the picture is missing. They go out one after the
//! other, as one camera would send them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::http::HeaderMap;
use birthmark_camera::device::Sealer;
use birthmark_core::ImageHash;
use birthmark_core::api::submit::{SubmissionStatus, SubmitAnswer};
use birthmark_core::submission::{ImageJson, ManufacturerCert, SubmissionJson};
use birthmark_core::token::TokenJson;
use birthmark_service::client::{ClientOptions, HttpClient};
use birthmark_service::random::OsRng;
use rand_core::Rng as _;

use crate::camera::Session;
use crate::terminal::Waiting;

/// Times from sending to having the proof.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    pub(super) count: usize,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

/// Sends `count` submissions; nothing if `count` is 0.
pub(super) async fn run(session: &Session, count: u32) -> anyhow::Result<Option<Latency>> {
    let credentials = Arc::clone(&session.credentials);
    let aggregator = HttpClient::new(credentials.aggregator_url(), &ClientOptions::default())?;
    let authority = credentials.authority().authority_id.to_string();
    let sealer = Sealer::new(credentials, OsRng);
    let mut headers = HeaderMap::new();
    headers.insert("prefer", "wait=30".parse()?);
    let progress = Waiting::with_length("timing submissions", count.into());
    let mut times = Vec::new();
    for _ in 0..count {
        let submission = submission(&authority, TokenJson::from(&sealer.seal()));
        let started = tokio::time::Instant::now();
        let answer =
            aggregator.post_json_with::<SubmitAnswer>("/api/v1/submit", headers.clone(), &submission).await?.body;
        let elapsed = started.elapsed();
        anyhow::ensure!(
            answer.status == SubmissionStatus::Confirmed && answer.proof.is_some(),
            "a timed submission was not confirmed within 30 s: {}",
            answer.message
        );
        times.push(elapsed);
        progress.advance();
    }
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len().saturating_sub(1) * percent).div_ceil(100)).copied();
    let Some(p50) = at(50) else { return Ok(None) };
    Ok(Some(Latency { count: times.len(), p50, p99: at(99).context("no times")? }))
}

fn submission(authority: &str, token: TokenJson) -> SubmissionJson {
    let random = || {
        let mut bytes = [0; 32];
        OsRng.fill_bytes(&mut bytes);
        ImageHash::from_bytes(bytes).to_string()
    };
    let raw = random();
    SubmissionJson {
        submission_type: "camera".to_owned(),
        image_hashes: vec![
            ImageJson { image_hash: raw.clone(), modification_level: 0, parent_image_hash: None, kind: None },
            ImageJson { image_hash: random(), modification_level: 1, parent_image_hash: Some(raw), kind: None },
        ],
        camera_token: Some(token),
        manufacturer_cert: Some(ManufacturerCert {
            authority_id: authority.to_owned(),
            validation_endpoint: None,
            camera_token: None,
            key_reference: None,
        }),
        timestamp: None,
        owner_hash: None,
        gps_hash: None,
    }
}
