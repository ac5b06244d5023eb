//! Further submissions without imaging, to time submit to proof in hand.
//!
//! Each has a real token and new hashes; only the picture is missing. They go out one after the
//! other, as one camera would send them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::http::HeaderMap;
use birthmark_camera::device::Sealer;
use birthmark_camera::queue::PhotoHashes;
use birthmark_camera::upload;
use birthmark_core::ImageHash;
use birthmark_core::api::submit::{SubmissionStatus, SubmitAnswer};
use birthmark_core::submission::SubmissionJson;
use birthmark_core::time::Clock as _;
use birthmark_service::client::{ClientOptions, HttpClient};
use birthmark_service::clock::SystemClock;
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
    let sealer = Arc::new(Sealer::new(credentials, OsRng));
    let mut headers = HeaderMap::new();
    headers.insert("prefer", "wait=30".parse()?);
    let progress = Waiting::with_length("timing submissions", count.into());
    let mut times = Vec::new();
    for _ in 0..count {
        let own = Arc::clone(&sealer);
        let submission = tokio::task::spawn_blocking(move || submission(&own)).await??;
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

fn submission(sealer: &Sealer) -> anyhow::Result<SubmissionJson> {
    let authority = sealer.credentials().authority();
    let hashes = PhotoHashes { raw: random_hash(), processed: random_hash(), image_data: random_hash() };
    let token = sealer.seal_for(&upload::body(&authority.authority_id, &hashes)?)?;
    Ok(upload::submission(authority, &hashes, &token, SystemClock.now()))
}

fn random_hash() -> ImageHash {
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    ImageHash::from_bytes(bytes)
}
