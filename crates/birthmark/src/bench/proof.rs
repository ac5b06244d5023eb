//! Row `proof`: how long a proof is, and how long it takes to read and verify.

use anyhow::Context as _;
use birthmark_core::ImageHash;
use birthmark_core::api::verify::VerifyAnswer;
use birthmark_core::body::Kind;
use birthmark_core::network::{Network, Trust};
use birthmark_core::proof::ProofBundle;
use birthmark_core::verify::{Candidate, Verdict, verify};
use birthmark_service::client::{ClientOptions, HttpClient};

use super::Bench;
use super::host::Host;
use super::installation::url;
use super::measure::{median, ms, number, timed};
use super::records::{Registry, jpeg_hash};
use super::row::Row;
use crate::terminal::Waiting;

pub(super) const NAME: &str = "proof";

pub(super) fn measure(bench: &Bench, registry: &Registry) -> anyhow::Result<Row> {
    let client = HttpClient::new(&url(registry.address), &ClientOptions::default())?;
    let trust = Trust::Network(Box::new(Network::clone(&registry.installation.network)));
    let (bytes, time) = check(bench, &registry.host, &client, jpeg_hash(registry.records / 2), &trust)?;
    Ok(Row::new("ms", time).at_most("ms", time, 0.3).at_most("bytes", bytes, 1536.0).detail("bytes", bytes))
}

/// Asks for a JPEG's proof and verifies it; gives its bytes and the milliseconds that reading and verifying
/// take.
pub(super) fn check(
    bench: &Bench,
    host: &Host,
    client: &HttpClient,
    hash: ImageHash,
    trust: &Trust,
) -> anyhow::Result<(f64, f64)> {
    let _waiting = Waiting::new("verifying a proof");
    let path = format!("/api/v1/verify/{hash}");
    let answer = host.block_on(client.get_json::<VerifyAnswer>(&path))?.body;
    let text = answer.record.and_then(|record| record.proof).context("the node gave no proof")?;
    let candidates = [Candidate { kind: Kind::File, hash }];
    let mut times = Vec::new();
    for _ in 0..bench.options.samples {
        let (verdict, time) = timed(|| anyhow::Ok(verify(&candidates, &ProofBundle::parse(&text)?, trust)?));
        anyhow::ensure!(matches!(verdict?, Verdict::Match(_)), "the proof is another file's");
        times.push(ms(time));
    }
    Ok((number(text.len()), median(times)))
}
