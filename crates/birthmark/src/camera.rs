//! `birthmark camera init | provision | capture`: makes a camera, takes photographs, queues them durably,
//! submits them.
//!
//! For: flags, the seed's printed steps, exit codes. [`session`] ties a camera's parts together; `demo`
//! uses it too. Not for: any of those parts (`birthmark-camera`).

mod element;
mod enroll;
mod provision;
mod queue;
mod selfcheck;
mod session;
mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use birthmark_camera::FrameSize;
use birthmark_camera::capture::Step;
use birthmark_camera::device::{self, ElementKind, TokenVersion};
use birthmark_camera::queue::PhotoState;
use birthmark_camera::sensor::simulated::{self, Scene};
use birthmark_camera::upload::Outcome;
use birthmark_service::random::OsRng;
use birthmark_service::{process, shutdown};
use clap::Subcommand;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::runtime::block_on;
use crate::terminal::{Waiting, complain, note, say};
use element::ElementArgs;
pub(crate) use session::{Opening, Session};

/// The camera.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the simulated sensor of a camera that is to be provisioned, and print its fingerprint.
    Init(InitArgs),
    /// Have the camera provisioned by its authority, and bring its network file.
    Provision(provision::ProvisionArgs),
    /// Measure the sensor's own pattern, once, and print the NUC hash that comes from it.
    Enroll(enroll::EnrollArgs),
    /// Say whether the camera could photograph now, and whether its sensor is the enrolled one.
    Selfcheck(selfcheck::SelfcheckArgs),
    /// Photograph, queue, and submit what is queued.
    Capture(CaptureArgs),
    /// Show what was captured, send refused photographs again, copy photographs with their proofs.
    #[command(subcommand)]
    Queue(queue::Command),
}

/// Flags of `camera init`.
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// Where the configuration will be; `sensor_seed` is made beside it and kept if it is there.
    #[arg(long, default_value = "/etc/birthmark/device_config.json", value_name = "FILE")]
    config: PathBuf,
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
    /// Seal this version of the token and no other. Without it the configuration decides: version 2 where it
    /// has a device key.
    #[arg(long, value_enum, value_name = "VERSION")]
    token: Option<Token>,
    #[command(flatten)]
    element: ElementArgs,
    /// Wait until everything is on record; exit 3 if it does not come to that within two minutes, or 20
    /// seconds where nobody answers.
    #[arg(long)]
    wait: bool,
    /// One JSON object at the end instead of the steps.
    #[arg(long)]
    json: bool,
}

/// A version of the camera token, on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Token {
    /// The seed's, bound to no photo.
    V1,
    /// Bound to one photo and one device, and endorsed by the authority.
    V2,
}

impl From<Token> for TokenVersion {
    fn from(token: Token) -> Self {
        match token {
            Token::V1 => Self::V1,
            Token::V2 => Self::V2,
        }
    }
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

pub(crate) fn run(command: &Command) -> ExitCode {
    // Keys are in memory while they are used; they must not be in a file after a crash.
    process::forbid_core_dumps();
    let outcome = match command {
        Command::Init(args) => init(&args.config).map(|()| ExitCode::SUCCESS),
        Command::Queue(command) => block_on(queue::run(command)).map(|()| ExitCode::SUCCESS),
        Command::Provision(args) => block_on(provision::run(args)).map(|()| ExitCode::SUCCESS),
        Command::Enroll(args) => enroll::run(args),
        Command::Selfcheck(args) => selfcheck::run(args),
        Command::Capture(args) => block_on(capture(args)).map(|tally| {
            if args.wait && tally.unfinished() { ExitCode::from(NOT_CONFIRMED) } else { ExitCode::SUCCESS }
        }),
    };
    outcome.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::FAILURE
    })
}

/// Standard output gets the fingerprint alone, as `sma provision --nuc-hash` takes it.
fn init(config: &Path) -> anyhow::Result<()> {
    if let Some(folder) = config.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot use the folder {}", folder.display()))?;
    }
    let seed = device::simulated_seed(config, &mut OsRng)?;
    say(simulated::nuc_hash(&seed));
    Ok(())
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
        element: args.element.choice(),
    };
    let quiet = args.json;
    let steps = move |step: Step| {
        if !quiet {
            let mark = if step.is_progress() { "✓" } else { "…" };
            say(format_args!("{mark} {step}"));
        }
    };
    let mut session = Session::open(opening, args.token.map(Into::into)).await?;
    let (version, element) = (session.credentials.token_version(), session.credentials.element());
    let mut tally = Tally::default();
    let mut taken = Vec::new();
    let (uploader, done) = (session.uploader(), CancellationToken::new());
    let photograph = async {
        for _ in 0..count {
            if stop.is_cancelled() {
                break;
            }
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
            "token_version": match version {
                TokenVersion::V1 => 1,
                TokenVersion::V2 => 2,
            },
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
