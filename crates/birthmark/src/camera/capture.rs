//! `birthmark camera capture`: photographs now, queued durably and submitted.
//!
//! For: flags, the seed's printed steps, exit codes. Not for: photographing when something asks for it
//! (`daemon`).

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use birthmark_camera::device::{ElementKind, TokenVersion};
use birthmark_camera::queue::PhotoState;
use birthmark_camera::upload::Outcome;
use birthmark_service::shutdown;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::opening::CameraArgs;
use super::session::Session;
use super::{peak_rss_mb, shows_steps};
use crate::terminal::{Waiting, note, say};

/// Flags of `camera capture`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
#[command(group = clap::ArgGroup::new("how_many").required(true).args(["once", "continuous"]))]
pub(crate) struct CaptureArgs {
    /// Take one photograph.
    #[arg(long, alias = "capture-once")]
    once: bool,
    /// Take N photographs.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    continuous: Option<u32>,
    /// Seconds from one photograph's start to the next one's, as far as the camera keeps up.
    #[arg(long, value_name = "SECONDS", requires = "continuous", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    interval: Option<u32>,
    #[command(flatten)]
    camera: CameraArgs,
    /// Wait until everything is on record; exit 3 if it does not come to that within two minutes, or 20
    /// seconds where nobody answers.
    #[arg(long)]
    wait: bool,
    /// One JSON object at the end instead of the steps.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default)]
struct Tally {
    per_capture_ms: Vec<u64>,
    confirmed: u64,
    pending: u64,
    parked: u64,
}

impl Tally {
    const fn unfinished(&self) -> bool {
        self.pending + self.parked > 0
    }
}

pub(super) async fn run(args: &CaptureArgs) -> anyhow::Result<ExitCode> {
    let tally = capture(args).await?;
    Ok(if args.wait && tally.unfinished() { ExitCode::from(NOT_CONFIRMED) } else { ExitCode::SUCCESS })
}

async fn capture(args: &CaptureArgs) -> anyhow::Result<Tally> {
    let stop = shutdown::on_signal().context("cannot watch for signals")?;
    let count = args.continuous.unwrap_or(1);
    let steps = shows_steps(!args.json);
    let mut session = Session::open(args.camera.opening(count.into()), args.camera.token()).await?;
    let (version, element) = (session.credentials.token_version(), session.credentials.element());
    let mut tally = Tally::default();
    let mut taken = Vec::new();
    let (uploader, done) = (session.uploader(), CancellationToken::new());
    let photograph = async {
        let mut next = Instant::now();
        for _ in 0..count {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(next) => {}
            }
            // A photograph that took longer moves those after it.
            next = Instant::now() + Duration::from_secs(args.interval.unwrap_or(0).into());
            let (captured, elapsed) = session.capture(steps).await?;
            tally.per_capture_ms.push(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
            taken.push(captured.photo);
        }
        Ok::<_, anyhow::Error>(())
    };
    let photograph = async {
        let photographed = photograph.await;
        done.cancel();
        photographed
    };
    // What is queued goes out, several at a time, while the next photograph is taken.
    let (sent, photographed) = tokio::join!(uploader.run(&done, &steps), photograph);
    sent?;
    photographed?;
    if let Some(last) = taken.last() {
        // One try tells whether anybody answers; who does not costs no patience.
        let tried = uploader.submit_one(*last, None, &steps).await?;
        let most = match (args.wait, tried) {
            (true, Outcome::Pending { receipt: None, .. }) => SILENCE,
            (true, _) => LONG_WAIT,
            (false, Outcome::Pending { receipt: None, .. }) => Duration::ZERO,
            (false, _) => ANSWER,
        };
        let _waiting = Waiting::new("waiting for the record");
        session.drain(most, &stop, &steps).await?;
    }
    for id in &taken {
        match session.state(*id).await? {
            PhotoState::Confirmed => tally.confirmed += 1,
            PhotoState::Queued | PhotoState::Sent => tally.pending += 1,
            PhotoState::Parked => tally.parked += 1,
        }
    }
    session.close().await;
    report(args, &tally, version, element);
    Ok(tally)
}

fn report(args: &CaptureArgs, tally: &Tally, version: TokenVersion, element: ElementKind) {
    let captured = tally.per_capture_ms.len();
    if args.json {
        say(json!({
            "captured": captured,
            "confirmed": tally.confirmed,
            "queued": tally.pending,
            "parked": tally.parked,
            "token_version": version.number(),
            "secure_element": element.as_str(),
            "per_capture_ms": tally.per_capture_ms,
            "peak_rss_mb": peak_rss_mb(),
        }));
        return;
    }
    if args.continuous.is_some() {
        let slowest = tally.per_capture_ms.iter().max().copied().unwrap_or_default();
        say(format_args!("✓ {captured} captures complete, the slowest in {slowest} ms"));
    }
    if tally.pending > 0 {
        note(format_args!("queued: {} not on record yet; kept, and sent again", photographs(tally.pending)));
    }
    if tally.parked > 0 {
        note(format_args!(
            "parked: {} refused; kept; `camera queue list --state parked` says why",
            photographs(tally.parked)
        ));
    }
}

fn photographs(count: u64) -> String {
    if count == 1 { "1 photograph".to_owned() } else { format!("{count} photographs") }
}

const EXIT_CODES: &str = "\
Exit codes:
  0  captured; what nobody has taken yet is queued and sent again
  1  not captured
  2  wrong usage
  3  captured, but with --wait not all of it is on record";
const NOT_CONFIRMED: u8 = 3;
/// How long an aggregator that answers may take to see a photograph registered before we go on.
const ANSWER: Duration = Duration::from_secs(10);
/// How long `--wait` goes on asking an aggregator that has not answered once.
const SILENCE: Duration = Duration::from_secs(20);
/// How long `--wait` waits after the last photograph for an aggregator that answers.
const LONG_WAIT: Duration = Duration::from_mins(2);
