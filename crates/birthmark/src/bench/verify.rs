//! Rows `verify_hit`, `verify_miss`, `verify_proof`: a node's look-up beside a bare map behind axum.

use std::net::SocketAddr;

use birthmark_core::ImageHash;
use birthmark_core::api::verify::VerifyAnswer;
use birthmark_service::client::{ClientOptions, HttpClient};

use super::host::Host;
use super::installation::url;
use super::load::{self, Load, Order};
use super::measure::{in_turns, number};
use super::records::{Registry, jpeg_hash};
use super::row::Row;
use super::{Bench, bare};
use crate::terminal::Waiting;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// A hash on record, without its proof.
    Hit,
    /// A hash that nobody registered.
    Miss,
    /// A hash on record, with its proof.
    Proof,
}

pub(super) const QUESTIONS: [Question; 3] = [Question::Hit, Question::Miss, Question::Proof];

impl Question {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Hit => "verify_hit",
            Self::Miss => "verify_miss",
            Self::Proof => "verify_proof",
        }
    }

    const fn query(self) -> &'static str {
        match self {
            Self::Hit | Self::Miss => "?proof=0",
            Self::Proof => "",
        }
    }

    /// Of what bare axum serves.
    const fn goal(self) -> f64 {
        match self {
            Self::Hit | Self::Miss => 0.85,
            Self::Proof => 0.60,
        }
    }
}

pub(super) fn measure(bench: &Bench, registry: &Registry, question: Question) -> anyhow::Result<Row> {
    measure_at(bench, registry, registry.address, question)
}

/// The same, asked of whoever passes it on to the registry.
pub(super) fn measure_at(
    bench: &Bench,
    registry: &Registry,
    address: SocketAddr,
    question: Question,
) -> anyhow::Result<Row> {
    let _waiting = Waiting::new(format!("measuring {}", question.name()));
    let records = registry.records;
    // Spread over all records, in an order that no cache foresees.
    let asked = (0..records.min(MOST_ASKED)).map(|number| {
        let record = u32::try_from(u64::from(number) * STRIDE % u64::from(records)).unwrap_or_default();
        match question {
            Question::Hit | Question::Proof => jpeg_hash(record),
            Question::Miss => ImageHash::of(format!("never registered {number}").as_bytes()),
        }
    });
    let load = Load {
        requests: asked.map(|hash| request(hash, question)).collect(),
        order: Order::Cycle,
        status: "200",
        time: bench.turn(),
        connections: load::CONNECTIONS,
        operations: 1,
    };
    let ours = answer(registry, question)?;
    let proof = ours.record.as_ref().and_then(|record| record.proof.clone());
    let bare = Host::new("bench-bare")?;
    let reference = bare.serve_bare(bare::map(records, proof))?;
    let measured = in_turns(bench, || load::run(reference, &load), || load::run(address, &load));
    bare.end()?;
    let (references, turns) = measured?;
    let row = load::row(&references, &turns);
    let (p99, bound) = match (row.latency, row.reference_latency) {
        (Some(ours), Some(reference)) => (ours.p99, 2.0 * reference.p99),
        _ => (f64::INFINITY, 0.0),
    };
    let row = row.ratio_at_least(question.goal()).detail("answer_bytes", number(serde_json::to_vec(&ours)?.len()));
    Ok(match question {
        Question::Hit | Question::Miss => row.at_most("p99 over twice the reference's", p99 / bound, 1.0),
        Question::Proof => row,
    })
}

/// One answer of ours, read and checked to be what is going to be measured.
fn answer(registry: &Registry, question: Question) -> anyhow::Result<VerifyAnswer> {
    let hash = match question {
        Question::Hit | Question::Proof => jpeg_hash(0),
        Question::Miss => ImageHash::of(b"never registered"),
    };
    let client = HttpClient::new(&url(registry.address), &ClientOptions::default())?;
    let path = format!("/api/v1/verify/{hash}{}", question.query());
    let answer = registry.host.block_on(client.get_json::<VerifyAnswer>(&path))?.body;
    anyhow::ensure!(answer.recorded == (question != Question::Miss), "the node does not know its records");
    let has_proof = answer.record.as_ref().is_some_and(|record| record.proof.is_some());
    anyhow::ensure!(has_proof == (question == Question::Proof), "the node does not answer as asked");
    Ok(answer)
}

fn request(hash: ImageHash, question: Question) -> Vec<u8> {
    format!("GET /api/v1/verify/{hash}{} HTTP/1.1\r\nhost: bench\r\n\r\n", question.query()).into_bytes()
}

const MOST_ASKED: u32 = 50_000;
/// A prime larger than any number of records that is usual.
const STRIDE: u64 = 15_485_863;
