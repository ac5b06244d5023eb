//! Power cuts: the whole process group is killed at random moments while captures are submitted.
//!
//! Whatever was answered must be recorded exactly once, and every proof must hold. The seed is
//! printed; `BIRTHMARK_KILL_SEEDS=N` runs N of them.

use std::collections::BTreeMap;
use std::time::Duration;

use birthmark_core::api::submit::SubmissionStatus;
use birthmark_core::api::verify::VerifyAnswer;
use birthmark_core::body::Kind;
use birthmark_core::leaf::Leaf;
use birthmark_core::network::Trust;
use birthmark_core::proof::ProofBundle;
use birthmark_core::submission::SubmissionJson;
use birthmark_core::tile::{Tile, TileKind, decode_entries};
use birthmark_core::verify::{Candidate, Verdict, verify};
use birthmark_service::client::HttpClient;
use serde_json::Value;
use tokio::time::Instant;

use crate::installation::Demo;
use crate::submissions::{Device, jpeg_hash, raw_hash, receipt, send};

const KILLS: u64 = 20;
const CAPTURES: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_answered_before_a_power_cut_is_recorded_exactly_once() {
    let seeds = std::env::var("BIRTHMARK_KILL_SEEDS").map_or(1, |count| count.parse().unwrap());
    for seed in 1..=seeds {
        println!("seed {seed}");
        one_life(seed).await;
    }
}

async fn one_life(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let mut random = SplitMix(seed);
    let mut demo = Demo::start(&data, &[]);
    demo.result();
    let device = Device::provision(&demo.client("sma"), "KILL_TEST").await;
    // Each is sealed once and repeated until it is answered, as a camera does.
    let captures: Vec<_> = (0..CAPTURES).map(|number| device.submission(number)).collect();
    let mut answered: BTreeMap<u64, String> = BTreeMap::new();
    for kill in 0..KILLS {
        let until = CAPTURES * (kill + 1) / KILLS;
        let moment = Duration::from_micros(random.next() % 150_000);
        let aggregator = demo.client("aggregator");
        let sending = send_unanswered(&aggregator, &captures, &mut answered, until);
        // Not an error either way: the moment may come before, during or after the answers.
        let _ = tokio::time::timeout(moment, sending).await;
        demo.kill_group();
        demo = Demo::start(&data, &[]);
    }
    let aggregator = demo.client("aggregator");
    while answered.len() < captures.len() {
        send_unanswered(&aggregator, &captures, &mut answered, CAPTURES).await;
    }
    check_all_confirmed(&aggregator, &answered).await;
    check_proofs(&demo.client("node"), &demo.trust(), CAPTURES).await;
    check_log(&demo.client("node"), CAPTURES).await;
}

/// Sends, one after the other, every capture below `until` that has no receipt yet.
async fn send_unanswered(
    aggregator: &HttpClient,
    captures: &[SubmissionJson],
    answered: &mut BTreeMap<u64, String>,
    until: u64,
) {
    for (number, submission) in (0..until).zip(captures) {
        if answered.contains_key(&number) {
            continue;
        }
        if let Ok(answer) = send(aggregator, submission, 0).await {
            let id = answer.body["receipt_id"].as_str().map(str::to_owned);
            // A capture whose answer was lost may be on record already; then it has no receipt to give.
            answered.insert(number, id.unwrap_or_default());
        }
    }
}

async fn check_all_confirmed(aggregator: &HttpClient, answered: &BTreeMap<u64, String>) {
    let deadline = Instant::now() + Duration::from_mins(1);
    for (number, id) in answered.iter().filter(|(_, id)| !id.is_empty()) {
        loop {
            let answer = receipt(aggregator, id).await;
            match answer.status {
                SubmissionStatus::Confirmed => break,
                SubmissionStatus::Rejected => panic!("capture {number} was rejected: {:?}", answer.reason),
                SubmissionStatus::PendingValidation | SubmissionStatus::Validated => {
                    assert!(Instant::now() < deadline, "capture {number} is still {:?}", answer.status);
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

/// Every capture is on record, with proofs that hold.
pub(crate) async fn check_proofs(node: &HttpClient, trust: &Trust, captures: u64) {
    for number in 0..captures {
        for hash in [raw_hash(number), jpeg_hash(number)] {
            let answer = node.get_json::<VerifyAnswer>(&format!("/api/v1/verify/{hash}")).await.unwrap().body;
            let record = answer.record.unwrap_or_else(|| panic!("capture {number} is not on record"));
            let proof = ProofBundle::parse(&record.proof.unwrap()).unwrap();
            let verdict = verify(&[Candidate { kind: Kind::File, hash }], &proof, trust).unwrap();
            assert!(matches!(verdict, Verdict::Match(_)), "capture {number}");
        }
    }
}

/// Reads the whole log and counts in how many leaves each capture stands.
pub(crate) async fn check_log(node: &HttpClient, captures: u64) {
    let status = node.get_json::<Value>("/api/v1/status").await.unwrap().body;
    let size = status["checkpoint_size"].as_u64().unwrap();
    let mut leaves = Vec::new();
    for index in 0..size.div_ceil(256) {
        let tile = Tile::in_tree(TileKind::Entries, index, size).unwrap();
        let bundle = node.get_bytes(&format!("/{tile}")).await.unwrap().body;
        leaves.extend(decode_entries(&bundle, tile.width()).unwrap().into_iter().map(<[u8]>::to_vec));
    }
    assert_eq!(leaves.len() as u64, size);
    let mut times = BTreeMap::new();
    for leaf in &leaves {
        if let Leaf::Record(record) = Leaf::decode(leaf).unwrap() {
            for entry in record.entries.as_slice() {
                *times.entry(entry.hash).or_insert(0) += 1;
            }
        }
    }
    for number in 0..captures {
        assert_eq!(times.get(&raw_hash(number)), Some(&1), "leaves with capture {number}");
    }
}

/// Small, seeded, and the same everywhere (Steele, Lea, Flood 2014).
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
