//! Row `submit_to_proof`: one camera after the other submission, from sending to the proof in hand.
//!
//! Authority, aggregator and node with one validator run in this process, on loopback, nothing mixed.

use std::time::Duration;

use axum::http::HeaderMap;
use birthmark_core::api::submit::{SubmissionStatus, SubmitAnswer};
use birthmark_service::client::{ClientOptions, HttpClient};
use tokio::time::Instant;

use super::Bench;
use super::host::Host;
use super::installation::{Counterparties, Installation, camera, url};
use super::measure::{fdatasync_ms, latency};
use super::row::Row;
use super::submissions::Submissions;
use crate::terminal::Waiting;

pub(super) const NAME: &str = "submit_to_proof";

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let installation = Installation::new(bench, 1)?;
    let host = Host::new("bench-all")?;
    let node = installation.node(&host)?;
    let (authority, aggregator) = (host.bind()?, host.bind()?);
    let (authority_address, address) = (authority.local_addr(), aggregator.local_addr());
    let sma = installation.authority(authority_address, address)?;
    Installation::serve_authority(&host, authority, &sma)?;
    let (credentials, sealer) = camera(&host, &sma, installation.folder.path())?;
    let submissions = Submissions::new(credentials, sealer);
    let to = Counterparties {
        authority: authority_address,
        nodes: vec![url(node)],
        max_unfinished: 250_000,
        call_timeout: CALL,
        database_url: None,
    };
    installation.aggregator(&host, aggregator, to)?;

    let times = host.block_on(submit_all(bench, &url(address), &submissions));
    let fdatasync = fdatasync_ms(installation.folder.path())?;
    host.end()?;
    let latency = latency(times?);
    let row = Row { latency: Some(latency), ..Row::new("ms", latency.p50) };
    Ok(row
        .at_most("p50 ms", latency.p50, 60.0)
        .at_most("p99 ms", latency.p99, 1000.0)
        .detail("fdatasync_ms", fdatasync))
}

async fn submit_all(bench: &Bench, aggregator: &str, submissions: &Submissions) -> anyhow::Result<Vec<Duration>> {
    let samples = bench.options.samples;
    let progress = Waiting::with_length("submitting", samples.into());
    let client = HttpClient::new(aggregator, &ClientOptions::default())?;
    let mut headers = HeaderMap::new();
    headers.insert("prefer", "wait=30".parse()?);
    let mut times = Vec::new();
    // The first one pays for all connections.
    for _ in 0..=samples {
        bench.check()?;
        let submission = submissions.make()?;
        let started = Instant::now();
        let answer = client.post_json_with::<SubmitAnswer>("/api/v1/submit", headers.clone(), &submission).await?.body;
        times.push(started.elapsed());
        anyhow::ensure!(
            answer.status == SubmissionStatus::Confirmed && answer.proof.is_some(),
            "a submission has no proof after 30 s: {}",
            answer.message
        );
        progress.advance();
    }
    Ok(times.split_off(1))
}

/// The aggregator's default.
const CALL: Duration = Duration::from_secs(10);
