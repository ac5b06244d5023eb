//! `birthmark camera …`: makes a camera, takes photographs, queues them durably, submits them.
//!
//! For: choosing the subcommand, each of which has a file. [`session`] ties a camera's parts together; `demo`
//! uses it too. Not for: any of those parts (`birthmark-camera`).

mod capture;
mod daemon;
mod element;
mod enroll;
mod opening;
mod provision;
mod queue;
mod selfcheck;
mod session;
mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use birthmark_camera::capture::Step;
use birthmark_camera::device::{self, TokenVersion};
use birthmark_camera::sensor::simulated;
use birthmark_service::process;
use birthmark_service::random::OsRng;
use clap::Subcommand;

use crate::runtime::block_on;
use crate::terminal::{complain, say};

#[cfg(feature = "servers")]
pub(crate) use session::{Opening, Session};
#[cfg(feature = "servers")]
pub(crate) use source::SourceArgs;

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
    Capture(capture::CaptureArgs),
    /// Photograph whenever something asks for it, and submit whenever there is a network.
    Daemon(daemon::DaemonArgs),
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

pub(crate) fn run(command: &Command) -> ExitCode {
    // Keys are in memory while they are used; they must not be in a file after a crash.
    process::forbid_core_dumps();
    let outcome = match command {
        Command::Init(args) => init(&args.config).map(|()| ExitCode::SUCCESS),
        Command::Queue(command) => block_on(queue::run(command)).map(|()| ExitCode::SUCCESS),
        Command::Provision(args) => block_on(provision::run(args)).map(|()| ExitCode::SUCCESS),
        Command::Enroll(args) => enroll::run(args),
        Command::Selfcheck(args) => selfcheck::run(args),
        Command::Capture(args) => block_on(capture::run(args)),
        Command::Daemon(args) => block_on(daemon::run(args)).map(|()| ExitCode::SUCCESS),
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

/// Prints the seed's steps, or nothing.
fn shows_steps(show: bool) -> impl Fn(Step) + Copy + Send + Sync + 'static {
    move |step: Step| {
        if show {
            let mark = if step.is_progress() { "✓" } else { "…" };
            say(format_args!("{mark} {step}"));
        }
    }
}

/// The most memory that this process has held.
pub(crate) fn peak_rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().split(' ').next()).and_then(|digits| digits.parse::<u64>().ok());
    kilobytes.unwrap_or_default().div_ceil(1024)
}
