//! `birthmark camera capture`: takes photographs, queues them durably, submits them.
//!
//! For: flags, the seed's printed steps, exit codes. [`session`] ties a camera's parts together; `demo`
//! uses it too. Not for: any of those parts (`birthmark-camera`).

mod session;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use birthmark_camera::FrameSize;
use birthmark_camera::capture::Step;
use birthmark_camera::sensor::simulated::Scene;
use birthmark_camera::upload::Outcome;
use birthmark_service::shutdown;
use clap::Subcommand;
use serde_json::json;
use tokio::sync::mpsc;

use crate::serve::block_on;
use crate::terminal::{Waiting, complain, note, say};
pub(crate) use session::{Opening, Session};

/// The camera.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Photograph, queue, and submit what is queued.
    Capture(CaptureArgs),
}

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
    /// What provisioning handed out.
    #[arg(long, default_value = "/etc/birthmark/device_config.json", value_name = "FILE")]
    config: PathBuf,
    /// Folder of queue and photographs. The default is the configuration's own.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to submit, if not where the configuration says.
    #[arg(long, env = "AGGREGATOR_URL", value_name = "URL")]
    aggregator_url: Option<String>,
    /// A JPEG that the simulated sensor looks at. Without it, a scene of its own.
    #[arg(long, value_name = "PHOTO")]
    scene: Option<PathBuf>,
    /// Size of the simulated sensor.
    #[arg(long, default_value = "4056x3040", value_name = "WIDTHxHEIGHT")]
    sensor_size: FrameSize,
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

pub(crate) fn run(Command::Capture(args): &Command) -> ExitCode {
    match block_on(capture(args)) {
        Ok(tally) if args.wait && tally.pending + tally.parked > 0 => ExitCode::from(NOT_CONFIRMED),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn capture(args: &CaptureArgs) -> anyhow::Result<Tally> {
    let stop = shutdown::on_signal().context("cannot watch for signals")?;
    let count = args.continuous.unwrap_or(1);
    let opening = Opening {
        config: args.config.clone(),
        data: args.data.clone(),
        aggregator_url: args.aggregator_url.clone(),
        scene: args.scene.clone().map_or(Scene::Procedural, Scene::Photograph),
        size: args.sensor_size,
        frames: count.into(),
    };
    let quiet = args.json;
    let steps = move |step: Step| {
        if !quiet {
            let mark = if step.is_progress() { "✓" } else { "…" };
            say(format_args!("{mark} {step}"));
        }
    };
    let mut session = Session::open(opening).await?;
    let mut tally = Tally::default();
    let (taken, mut to_send) = mpsc::channel(QUEUE);
    let uploader = session.uploader();
    // What is queued goes out while the next photograph is taken.
    let upload = async {
        let mut sent = Vec::new();
        while let Some(id) = to_send.recv().await {
            sent.push((id, session::submit(&uploader, id, ANSWER, &steps).await?));
        }
        Ok::<_, anyhow::Error>(sent)
    };
    let per_capture_ms = &mut tally.per_capture_ms;
    let photograph = async {
        let taken = taken;
        for _ in 0..count {
            if stop.is_cancelled() {
                break;
            }
            let (captured, elapsed) = session.capture(steps).await?;
            per_capture_ms.push(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
            taken.send(captured.photo).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let (sent, photographed) = tokio::join!(upload, photograph);
    let mut sent = sent?;
    photographed?;
    // Photographs of earlier sessions go out too, if there is anybody to take them.
    let answered = sent.iter().any(|(_, outcome)| !matches!(outcome, Outcome::Pending { receipt: None, .. }));
    if args.wait || answered {
        let _waiting = Waiting::new("waiting for the record");
        let most = match (args.wait, answered) {
            (false, _) => ANSWER,
            (true, false) => SILENCE,
            (true, true) => LONG_WAIT,
        };
        session.drain(most, &stop, &steps).await?;
        for (id, outcome) in &mut sent {
            if !matches!(outcome, Outcome::Confirmed { .. }) {
                *outcome = uploader.submit_one(*id, None, &steps).await?;
            }
        }
    }
    for (_, outcome) in &sent {
        match outcome {
            Outcome::Confirmed { .. } => tally.confirmed += 1,
            Outcome::Pending { .. } => tally.pending += 1,
            Outcome::Parked { .. } => tally.parked += 1,
        }
    }
    session.close().await;
    report(args, &tally);
    Ok(tally)
}

fn report(args: &CaptureArgs, tally: &Tally) {
    let captured = tally.per_capture_ms.len();
    if args.json {
        say(json!({
            "captured": captured,
            "confirmed": tally.confirmed,
            "queued": tally.pending,
            "parked": tally.parked,
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
        note(format_args!("queued: {} photographs are not on record yet; they are kept and sent again", tally.pending));
    }
    if tally.parked > 0 {
        note(format_args!("parked: {} photographs were refused and wait for a decision", tally.parked));
    }
}

/// The most memory that this process has held.
pub(crate) fn peak_rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().split(' ').next()).and_then(|digits| digits.parse::<u64>().ok());
    kilobytes.unwrap_or_default().div_ceil(1024)
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
/// Photographs that may wait for their first sending; all are in the durable queue anyway.
const QUEUE: usize = 64;
