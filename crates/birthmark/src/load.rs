//! `birthmark load`: many captures at once, with real tokens of provisioned devices and no imaging.
//!
//! For: whether an installation bears a load, loses nothing, and how long a camera waits. Not for: what each
//! path costs beside a reference (`bench`), or pictures: hashes are random.
//!
//! Each of the concurrent clients seals a token, submits as a camera does (again after errors that say so),
//! and then asks for its receipt until the proof is there. The proof itself is not checked: `verify` does.
//!
//! ```text
//! {"captures": 250, "concurrency": 16, "accepted": 250, "confirmed": 250, "rejected": 0, "lost": 0, "seconds": 1.9,
//!  "submit_ms": {"p50": 4.1, "p99": 11.7}, "proof_ms": {"p50": 61.2, "p99": 140.3}}
//! ```
//! `submit_ms` runs from the first byte to the receipt, `proof_ms` from there to the proof in hand.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use birthmark_camera::device::{self, Credentials, Sealer};
use birthmark_camera::nuc::{self, NucMap};
use birthmark_camera::queue::PhotoHashes;
use birthmark_camera::{sensor, upload};
use birthmark_core::ImageHash;
use birthmark_core::api::submit::{SubmissionStatus, SubmitAnswer};
use birthmark_core::submission::SubmissionJson;
use birthmark_core::time::Clock as _;
use birthmark_core::token::NucHash;
use birthmark_service::backoff::Backoff;
use birthmark_service::client::{ClientOptions, HttpClient};
use birthmark_service::clock::SystemClock;
use birthmark_service::random::OsRng;
use futures::future::join_all;
use rand_core::Rng as _;
use serde_json::json;
use tokio::time::Instant;

use crate::runtime::block_on;
use crate::terminal::{Waiting, complain, note, say};

/// Flags of `load`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes:\n  0  every capture was accepted and confirmed\n  1  not, or it could not be tried\n  \
                        2  wrong usage\n\nOne address may send 500 submissions in 10 minutes; see --rate-limit of \
                        `aggregator serve` and `demo`."
)]
pub(crate) struct Args {
    /// Configurations of provisioned devices, which take turns. The sensor's seed or map lies beside each.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Captures in all.
    #[arg(long, default_value_t = 250, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    captures: u32,
    /// Captures under way at one time.
    #[arg(long, default_value_t = 16, value_name = "C", value_parser = clap::value_parser!(u32).range(1..=1024))]
    concurrency: u32,
    /// Where to submit, if not where the configurations say.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Seconds after which a capture without a proof counts as lost, and one without a receipt as refused.
    #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    timeout: u32,
    /// Print the report as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// One device that submits.
struct Device {
    sealer: Arc<Sealer<OsRng>>,
    aggregator: HttpClient,
}

/// What became of one capture.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// None if it was not accepted.
    submit: Option<Duration>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Confirmed(Duration),
    Rejected,
    Unknown,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match block_on(load(args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn load(args: &Args) -> anyhow::Result<bool> {
    let devices = args.config.iter().map(|config| open(config, args.url.as_deref()));
    let devices = devices.collect::<anyhow::Result<Vec<_>>>()?;
    let patience = Duration::from_secs(args.timeout.into());
    let captures = usize::try_from(args.captures)?;
    let progress = Waiting::with_length("captures", args.captures.into());
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let clients = (0..args.concurrency).map(|_| async {
        let mut fates = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(device) = devices.get(number % devices.len().max(1)).filter(|_| number < captures) else {
                return Ok::<_, anyhow::Error>(fates);
            };
            fates.push(device.capture(patience).await?);
            progress.advance();
        }
    });
    let fates = join_all(clients).await.into_iter().collect::<anyhow::Result<Vec<_>>>()?.concat();
    drop(progress);
    Ok(report(args, &fates, started.elapsed()))
}

fn open(config: &Path, url: Option<&str>) -> anyhow::Result<Device> {
    let credentials = Arc::new(Credentials::load(config, fingerprint(config)?)?);
    let url = url.unwrap_or_else(|| credentials.aggregator_url());
    let aggregator = HttpClient::new(url, &ClientOptions::default())?;
    Ok(Device { sealer: Arc::new(Sealer::new(credentials, OsRng)), aggregator })
}

/// As the camera has it: of the simulated sensor, or of the enrolled one. Neither is made here.
fn fingerprint(config: &Path) -> anyhow::Result<NucHash> {
    let map = nuc::map_path(config);
    if device::seed_path(config).exists() {
        let seed = device::simulated_seed(config, &mut OsRng)?;
        return Ok(NucHash::from_bytes(*sensor::simulated::nuc_hash(&seed).as_bytes()));
    }
    if map.exists() {
        return Ok(NucHash::from_bytes(*NucMap::load(&map)?.nuc_hash().as_bytes()));
    }
    anyhow::bail!("beside {} there is neither a sensor_seed nor a nuc_map: whose device is it?", config.display())
}

impl Device {
    async fn capture(&self, patience: Duration) -> anyhow::Result<Fate> {
        let sealer = Arc::clone(&self.sealer);
        let submission = tokio::task::spawn_blocking(move || submission(&sealer)).await??;
        let started = Instant::now();
        let Some(receipt) = self.submit(&submission, started + patience).await? else {
            return Ok(Fate { submit: None, end: End::Unknown });
        };
        let submit = started.elapsed();
        let end = self.end_of(&receipt, started, patience).await;
        Ok(Fate { submit: Some(submit), end })
    }

    /// The receipt; none if there was no chance of one in time.
    async fn submit(&self, submission: &SubmissionJson, deadline: Instant) -> anyhow::Result<Option<String>> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let error = match self.aggregator.post_json::<SubmitAnswer>("/api/v1/submit", submission).await {
                Ok(answer) => return Ok(Some(answer.body.receipt_id.to_string())),
                Err(error) => error,
            };
            let pause = backoff.next(&mut OsRng).max(error.retry_after().unwrap_or_default());
            if !error.is_retryable() || Instant::now() + pause >= deadline {
                note(format_args!("a capture was not accepted: {error}"));
                return Ok(None);
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn end_of(&self, receipt: &str, started: Instant, patience: Duration) -> End {
        let path = format!("/api/v1/submission/{receipt}");
        let mut pause = FIRST_PAUSE;
        while started.elapsed() < patience {
            // An error is no end: it is asked again.
            if let Ok(answer) = self.aggregator.get_json::<SubmitAnswer>(&path).await {
                match answer.body.status {
                    SubmissionStatus::Confirmed if answer.body.proof.is_some() => {
                        return End::Confirmed(started.elapsed());
                    }
                    SubmissionStatus::Rejected => return End::Rejected,
                    SubmissionStatus::Confirmed | SubmissionStatus::PendingValidation | SubmissionStatus::Validated => {
                    }
                }
            }
            tokio::time::sleep(pause).await;
            // Each look is a tenth of what was waited, so that looking disturbs little and costs no precision.
            pause = (started.elapsed() / 10).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        }
        End::Unknown
    }
}

fn submission(sealer: &Sealer<OsRng>) -> anyhow::Result<SubmissionJson> {
    let authority = sealer.credentials().authority();
    let hashes = PhotoHashes { raw: random_hash(), processed: random_hash(), image_data: random_hash() };
    let token = sealer.seal_for(&upload::body(&authority.authority_id, &hashes)?).context("cannot seal a token")?;
    Ok(upload::submission(authority, &hashes, &token, SystemClock.now()))
}

fn random_hash() -> ImageHash {
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    ImageHash::from_bytes(bytes)
}

/// Prints it; true if all went well.
fn report(args: &Args, fates: &[Fate], elapsed: Duration) -> bool {
    let submit: Vec<_> = fates.iter().filter_map(|fate| fate.submit).collect();
    let proof = fates.iter().filter_map(|fate| match fate.end {
        End::Confirmed(time) => Some(time),
        End::Rejected | End::Unknown => None,
    });
    let proof: Vec<_> = proof.collect();
    let rejected = fates.iter().filter(|fate| fate.end == End::Rejected).count();
    let (accepted, confirmed) = (submit.len(), proof.len());
    let lost = accepted.saturating_sub(confirmed + rejected);
    let ([submit_p50, submit_p99], [proof_p50, proof_p99]) = (percentiles(submit), percentiles(proof));
    if args.json {
        say(json!({
            "captures": args.captures, "concurrency": args.concurrency,
            "accepted": accepted, "confirmed": confirmed, "rejected": rejected, "lost": lost,
            "seconds": elapsed.as_secs_f64(),
            "submit_ms": {"p50": submit_p50, "p99": submit_p99},
            "proof_ms": {"p50": proof_p50, "p99": proof_p99},
        }));
    } else {
        let shown = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.1}"));
        say(format_args!("accepted   {accepted} of {}", args.captures));
        say(format_args!(
            "confirmed  {confirmed}, rejected {rejected}, lost {lost}, in {:.1} s",
            elapsed.as_secs_f64()
        ));
        say(format_args!("submit ms  p50 {}, p99 {}", shown(submit_p50), shown(submit_p99)));
        say(format_args!("proof ms   p50 {}, p99 {}", shown(proof_p50), shown(proof_p99)));
    }
    u32::try_from(confirmed) == Ok(args.captures)
}

/// The median and the time that one in a hundred exceeds, in milliseconds.
fn percentiles(mut times: Vec<Duration>) -> [Option<f64>; 2] {
    times.sort_unstable();
    [50, 99].map(|percent| {
        let at = (times.len().saturating_sub(1) * percent).div_ceil(100);
        times.get(at).map(|time| time.as_secs_f64() * 1e3)
    })
}

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_occurred() {
        let millis = |times: &[u64]| times.iter().map(|time| Duration::from_millis(*time)).collect();
        assert_eq!(percentiles(millis(&[])), [None, None]);
        assert_eq!(percentiles(millis(&[7])), [Some(7.0), Some(7.0)]);
        assert_eq!(percentiles((1..=101).rev().map(Duration::from_millis).collect()), [Some(51.0), Some(100.0)]);
    }
}
