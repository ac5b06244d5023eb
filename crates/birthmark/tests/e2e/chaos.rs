//! Everything fails in turn while captures come in: killed, stopped, cut off, late, silent, torn.
//!
//! Two thousand captures by clients that try again, at two aggregators on one PostgreSQL. At the end each that was
//! accepted is on record exactly once, none was rejected but what deserved it, and no answer on the way was
//! contradicted by a later one. The order of faults comes from a seed; `BIRTHMARK_CHAOS_SEEDS=N` runs N of them.

mod link;
mod parts;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use birthmark_camera::device::{self, Credentials, Sealer};
use birthmark_camera::queue::PhotoHashes;
use birthmark_camera::{sensor, upload};
use birthmark_core::ImageHash;
use birthmark_core::api::submit::{SubmissionStatus, SubmitAnswer};
use birthmark_core::api::verify::VerifyAnswer;
use birthmark_core::submission::SubmissionJson;
use birthmark_core::time::UnixSeconds;
use birthmark_core::token::NucHash;
use birthmark_service::client::{ClientError, ClientOptions, HttpClient};
use birthmark_service::random::OsRng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::installation::Demo;
use crate::kill::{SplitMix, check_log, check_proofs};
use crate::submissions::{Device, jpeg_hash, raw_hash, send};
use link::Weather;
use parts::{Installation, VICTIMS, Victim};

const CAPTURES: u64 = 2_000;
const CLIENTS: u64 = 24;
/// Captures whose hashes somebody else posts first, with a token of his own making.
const POISONED: u64 = 100;
const PATIENCE: Duration = Duration::from_mins(4);

/// What happens to a victim for a while.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Killed,
    Stopped,
    Weather(Weather),
}

const FAULTS: [Fault; 6] = [
    Fault::Killed,
    Fault::Stopped,
    Fault::Weather(Weather::Slow),
    Fault::Weather(Weather::Silent),
    Fault::Weather(Weather::Cut),
    Fault::Weather(Weather::Torn),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_what_was_accepted_is_recorded_once_and_every_answer_was_true() {
    let seeds = std::env::var("BIRTHMARK_CHAOS_SEEDS").map_or(1, |count| count.parse().unwrap());
    for seed in 1..=seeds {
        one_storm(seed).await;
    }
}

async fn one_storm(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let (captures, trust) = lay_out(&data).await;
    let mut installation = Installation::start(&data).await;
    let started = Instant::now();
    let aggregators = [Victim::AggregatorA, Victim::AggregatorB].map(|victim| {
        let options = ClientOptions { request_timeout: Duration::from_secs(3), ..ClientOptions::default() };
        HttpClient::new(&installation.link(victim).url(), &options).unwrap()
    });

    let (let_in, gate) = watch::channel(0);
    let mut clients = JoinSet::new();
    for first in 0..CLIENTS {
        let (captures, gate, aggregators) = (Arc::clone(&captures), gate.clone(), aggregators.clone());
        clients.spawn(async move { submit_every(first, &captures, gate, &aggregators, started + PATIENCE).await });
    }
    let faults = storm(&mut installation, &mut SplitMix(seed), &let_in).await;
    let calm_after = started.elapsed();
    let_in.send_replace(CAPTURES);
    let mut fates: Vec<Fate> = Vec::new();
    while let Some(told) = clients.join_next().await {
        installation.supervise();
        fates.extend(told.unwrap());
    }

    assert_eq!(fates.len() as u64, CAPTURES);
    let node = installation.node();
    for fate in &fates {
        let path = format!("/api/v1/verify/{}", raw_hash(fate.number));
        let record = node.get_json::<VerifyAnswer>(&path).await.unwrap().body.record.unwrap();
        assert_eq!(record.tx_id.0, fate.tx_id, "capture {}: what its receipt said", fate.number);
    }
    check_proofs(&node, &trust, CAPTURES).await;
    check_log(&node, CAPTURES).await;
    assert_eq!(installation.count("state IN (0, 1)"), 0, "all came to an end");
    assert_eq!((installation.count("state = 2"), installation.count("state = 3")), (CAPTURES, POISONED));
    assert_eq!(installation.count("state = 3 AND reason = 'token_invalid'"), POISONED);
    println!(
        "chaos: seed {seed}: {CAPTURES} captures, {faults} faults in {:.1} s: {} accepted, {} confirmed once, 0 rejected, \
         0 lost; {POISONED} forgeries of the same hashes rejected; all done after {:.1} s, {} tries failed",
        calm_after.as_secs_f64(),
        fates.len(),
        fates.len(),
        started.elapsed().as_secs_f64(),
        fates.iter().map(|fate| fate.failures).sum::<u64>(),
    );
}

/// What one client sends for one photograph: sealed once, sent until it is answered.
struct Capture {
    submission: SubmissionJson,
    /// Sent before it by somebody else.
    forgery: Option<SubmissionJson>,
}

/// Makes an installation, and seals all captures with cameras of it: half with each version of the token.
async fn lay_out(data: &Path) -> (Arc<Vec<Capture>>, birthmark_core::network::Trust) {
    let mut demo = Demo::start(data, &[]);
    demo.result();
    let device = Device::provision(&demo.client("sma"), "CHAOS_TEST").await;
    let trust = demo.trust();
    assert!(demo.interrupt().success());
    let config = data.join("camera/device_config.json");
    let captures = tokio::task::spawn_blocking(move || {
        let seed = device::simulated_seed(&config, &mut OsRng).unwrap();
        let fingerprint = NucHash::from_bytes(*sensor::simulated::nuc_hash(&seed).as_bytes());
        let sealer = Sealer::new(Arc::new(Credentials::load(&config, fingerprint).unwrap()), OsRng);
        let capture = |number| {
            let submission = if number % 2 == 0 { device.submission(number) } else { bound(&sealer, number) };
            let forgery = (number < POISONED).then(|| forged(&device, number, &submission));
            Capture { submission, forgery }
        };
        (0..CAPTURES).map(capture).collect()
    });
    (Arc::new(captures.await.unwrap()), trust)
}

fn bound(sealer: &Sealer, number: u64) -> SubmissionJson {
    let image_data = ImageHash::of(format!("data {number}").as_bytes());
    let hashes = PhotoHashes { raw: raw_hash(number), processed: jpeg_hash(number), image_data };
    let authority = sealer.credentials().authority();
    let token = sealer.seal_for(&upload::body(&authority.authority_id, &hashes).unwrap()).unwrap();
    upload::submission(authority, &hashes, &token, UnixSeconds(1_733_259_600))
}

/// The same hashes with a token that no camera has sealed.
fn forged(device: &Device, number: u64, submission: &SubmissionJson) -> SubmissionJson {
    let mut token = device.submission(number).camera_token.unwrap();
    token.ciphertext = "00".repeat(token.ciphertext.len() / 2);
    SubmissionJson { camera_token: Some(token), ..submission.clone() }
}

/// Every fault to everything, in an order of the seed; lets captures in meanwhile. How many there were.
async fn storm(installation: &mut Installation, random: &mut SplitMix, let_in: &watch::Sender<u64>) -> u64 {
    let mut acts: Vec<_> = VICTIMS.iter().flat_map(|victim| FAULTS.map(|fault| (*victim, fault))).collect();
    let count = acts.len() as u64;
    for done in 1..=count {
        let at = usize::try_from(random.next() % acts.len() as u64).unwrap();
        let (victim, fault) = acts.swap_remove(at);
        let_in.send_replace(CAPTURES * done / count);
        let lasting = Duration::from_millis(200 + random.next() % 800);
        match fault {
            Fault::Killed => {
                installation.kill(victim).await;
                tokio::time::sleep(lasting).await;
                installation.restart(victim).await;
            }
            Fault::Stopped => {
                installation.pause(victim).await;
                tokio::time::sleep(lasting).await;
                installation.go_on(victim).await;
            }
            Fault::Weather(weather) => {
                installation.weather(victim, weather);
                tokio::time::sleep(lasting).await;
                installation.weather(victim, Weather::Clear);
            }
        }
        tokio::time::sleep(Duration::from_millis(random.next() % 300)).await;
        installation.supervise();
    }
    count
}

/// What became of a capture, as its client was told.
#[derive(Clone, Debug)]
struct Fate {
    number: u64,
    tx_id: u64,
    /// Tries without an answer, or with one that said to come again.
    failures: u64,
}

/// One client's captures, one after the other, each as soon as it is let in.
async fn submit_every(
    first: u64,
    captures: &[Capture],
    mut gate: watch::Receiver<u64>,
    aggregators: &[HttpClient; 2],
    deadline: Instant,
) -> Vec<Fate> {
    let mut fates = Vec::new();
    for number in (first..CAPTURES).step_by(usize::try_from(CLIENTS).unwrap()) {
        gate.wait_for(|let_in| number < *let_in).await.unwrap();
        let capture = &captures[usize::try_from(number).unwrap()];
        let mut client = Client { aggregators, turn: usize::try_from(number % 2).unwrap(), failures: 0, deadline };
        if let Some(forgery) = &capture.forgery {
            client.submit(forgery).await;
        }
        let receipt = client.submit(&capture.submission).await;
        if number % 5 == 0 {
            assert_eq!(client.submit(&capture.submission).await, receipt, "capture {number}, sent again");
        }
        let tx_id = client.confirmed(&receipt, number).await;
        fates.push(Fate { number, tx_id, failures: client.failures });
    }
    fates
}

/// One that tries again, at the other aggregator, until a deadline.
struct Client<'a> {
    aggregators: &'a [HttpClient; 2],
    turn: usize,
    failures: u64,
    deadline: Instant,
}

impl Client<'_> {
    /// The receipt.
    async fn submit(&mut self, submission: &SubmissionJson) -> String {
        loop {
            match send(self.next(), submission, 0).await {
                Ok(answer) => return answer.body["receipt_id"].as_str().unwrap().to_owned(),
                Err(error) => self.again(&error).await,
            }
        }
    }

    /// Follows a receipt to its record; it never goes back, and is never rejected.
    async fn confirmed(&mut self, receipt: &str, number: u64) -> u64 {
        let path = format!("/api/v1/submission/{receipt}");
        let mut furthest = 0;
        loop {
            let answer = match self.next().get_json::<SubmitAnswer>(&path).await {
                Ok(answer) => answer.body,
                Err(error) => {
                    self.again(&error).await;
                    continue;
                }
            };
            assert_eq!(answer.receipt_id.to_string(), receipt);
            let stage = match answer.status {
                SubmissionStatus::PendingValidation => 0,
                SubmissionStatus::Validated => 1,
                SubmissionStatus::Confirmed => return answer.tx_id.unwrap().0,
                SubmissionStatus::Rejected => panic!("capture {number} was rejected: {:?}", answer.reason),
            };
            assert!(stage >= furthest, "capture {number} went back from {furthest} to {stage}");
            furthest = stage;
            assert!(Instant::now() < self.deadline, "capture {number} is still {:?}", answer.status);
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn next(&mut self) -> &HttpClient {
        self.turn += 1;
        &self.aggregators[self.turn % 2]
    }

    /// Nothing that fails is a verdict.
    async fn again(&mut self, error: &ClientError) {
        let status = error.status().map(|status| status.as_u16());
        assert!(status.is_none_or(|status| status >= 500), "{error}");
        assert!(Instant::now() < self.deadline, "no answer: {error}");
        self.failures += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

const PAUSE: Duration = Duration::from_millis(100);
