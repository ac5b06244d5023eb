//! Row `proof`: how long a proof is, and how long it takes to read and verify.

use anyhow::Context as _;
use birthmark_core::api::verify::VerifyAnswer;
use birthmark_core::body::Kind;
use birthmark_core::network::{Network, Trust};
use birthmark_core::proof::ProofBundle;
use birthmark_core::verify::{Candidate, Verdict, verify};
use birthmark_service::client::{ClientOptions, HttpClient};

use super::Bench;
use super::installation::url;
use super::measure::{median, ms, number, timed};
use super::records::{Registry, jpeg_hash};
use super::row::Row;
use crate::terminal::Waiting;

pub(super) const NAME: &str = "proof";

pub(super) fn measure(bench: &Bench, registry: &Registry) -> anyhow::Result<Row> {
    let _waiting = Waiting::new("verifying a proof");
    let hash = jpeg_hash(registry.records / 2);
    let client = HttpClient::new(&url(registry.address), &ClientOptions::default())?;
    let path = format!("/api/v1/verify/{hash}");
    let answer = registry.host.block_on(client.get_json::<VerifyAnswer>(&path))?.body;
    let text = answer.record.and_then(|record| record.proof).context("the node gave no proof")?;
    let network = std::fs::read(registry.installation.folder.path().join("network.json"))?;
    let trust = Trust::Network(Box::new(Network::parse(&network)?));
    let candidates = [Candidate { kind: Kind::File, hash }];
    let mut times = Vec::new();
    for _ in 0..bench.options.samples {
        let (verdict, time) = timed(|| anyhow::Ok(verify(&candidates, &ProofBundle::parse(&text)?, &trust)?));
        anyhow::ensure!(matches!(verdict?, Verdict::Match(_)), "the proof is another file's");
        times.push(ms(time));
    }
    let (time, bytes) = (median(times), number(text.len()));
    Ok(Row::new("ms", time).at_most("ms", time, 0.3).at_most("bytes", bytes, 1536.0).detail("bytes", bytes))
}
