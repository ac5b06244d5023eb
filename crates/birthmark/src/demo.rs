//! `birthmark demo`: the whole system on this machine, from one photograph to its proof.
//!
//! The way: `folder` makes or resumes the installation, `children` starts authority, nodes and
//! aggregator as processes of this same binary, `photograph` takes and registers one picture,
//! `samples` times further submissions, and this module verifies the written JPEG by its own bytes,
//! exactly as `birthmark verify` would.
//!
//! Not for: production. Callers need no credentials, so everything listens on loopback only.

mod children;
mod folder;
mod photograph;
mod report;
mod samples;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use birthmark_aggregator::RATE_LIMIT;
use birthmark_camera::FrameSize;
use birthmark_camera::device::TokenVersion;
use birthmark_camera::sensor::simulated::Scene;
use birthmark_service::shutdown;

use crate::camera::Token;
use crate::runtime::block_on;
use crate::terminal::{complain, note};
use children::{Addresses, AggregatorArgs, Ports};
use folder::Folder;
use report::Report;

/// Flags of `demo`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes:\n  0  the photograph is verified\n  1  it is not, or the demo could not run\n  2  wrong usage"
)]
pub(crate) struct Args {
    /// A JPEG that the simulated sensor looks at. Without it, a scene of its own.
    #[arg(value_name = "PHOTO")]
    photo: Option<PathBuf>,
    /// End when the photograph is verified; otherwise the services stay until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// Folder of the whole installation. The same folder resumes with the same keys.
    #[arg(long, default_value = "birthmark-demo", value_name = "DIR")]
    data: PathBuf,
    /// Further submissions, without imaging, to time.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    samples: u32,
    /// Version of the camera's tokens: v2 are endorsed, v1 are the seed's, attested. A resumed folder keeps its
    /// camera's.
    #[arg(long, value_enum, value_name = "VERSION")]
    token: Option<Token>,
    /// PostgreSQL for the aggregator's submissions, instead of SQLite in the folder.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Submissions that one address may send in 10 minutes; 0 for as many as it likes. The default is 500, or
    /// enough for --samples.
    #[arg(long, value_name = "N")]
    rate_limit: Option<u32>,
    /// Size of the simulated sensor.
    #[arg(long, default_value = "4056x3040", value_name = "WIDTHxHEIGHT")]
    sensor_size: FrameSize,
    /// Port of the authority; 0 takes any free one.
    #[arg(long, default_value_t = 8001, value_name = "PORT")]
    sma_port: u16,
    /// Port of the aggregator; 0 takes any free one.
    #[arg(long, default_value_t = 8545, value_name = "PORT")]
    aggregator_port: u16,
    /// Validators of the registry, 1 to 22, each a process. A resumed folder keeps its own; a new one has 1.
    #[arg(long, value_name = "N")]
    validators: Option<usize>,
    /// Port of the first node, the next ones 10 above each other; 0 takes any free ones.
    #[arg(long, default_value_t = 8546, value_name = "PORT")]
    node_port: u16,
    /// Port of the first node for other validators, likewise; 0 takes any free ones.
    #[arg(long, default_value_t = 8547, value_name = "PORT")]
    p2p_port: u16,
    /// JSON lines on stdout: `ready`, then `result`.
    #[arg(long)]
    json: bool,
}

/// Whether the photograph's proof held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verified {
    Yes,
    No,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match block_on(demo(args)) {
        Ok(Verified::Yes) => ExitCode::SUCCESS,
        Ok(Verified::No) => ExitCode::FAILURE,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn demo(args: &Args) -> anyhow::Result<Verified> {
    let stop = shutdown::on_signal().context("cannot watch for signals")?;
    let report = if args.json { Report::Program } else { Report::Person };
    // Bad input is said before anything is made or started.
    let scene = photograph::scene(args.photo.as_deref())?;
    let folder = Folder::open(&args.data, args.token.map(TokenVersion::from), args.validators)?;
    report.folder(folder.path());
    let ports =
        Ports { sma: args.sma_port, aggregator: args.aggregator_port, node: args.node_port, p2p: args.p2p_port };
    let aggregator = AggregatorArgs {
        database_url: args.database_url.clone(),
        rate_limit: args.rate_limit.unwrap_or_else(|| RATE_LIMIT.requests.max(args.samples.saturating_add(100))),
    };
    let mut children = children::start(&folder, ports, &aggregator, &stop).await?;
    let at = children.addresses.clone();
    report.ready(&at);
    let outcome = tokio::select! {
        outcome = photograph_and_verify(args, &folder, &at, scene, report) => outcome,
        failed = children.first_to_be_missed(report) => Err(failed),
        () = stop.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    if !args.once && outcome.is_ok() {
        report.staying(&at);
        tokio::select! {
            failed = children.first_to_be_missed(report) => {
                children.stop(DRAIN).await;
                return Err(failed);
            }
            () = stop.cancelled() => {}
        }
    }
    if !args.json {
        note("stopping the services");
    }
    children.stop(DRAIN).await;
    outcome
}

async fn photograph_and_verify(
    args: &Args,
    folder: &Folder,
    at: &Addresses,
    scene: Scene,
    report: Report,
) -> anyhow::Result<Verified> {
    let mut camera = photograph::camera(folder, at, scene, args.sensor_size).await?;
    let taken = photograph::take(&mut camera, report).await?;
    let trust = crate::verify::read_trust(Some(&folder.network_file()))?;
    let started = tokio::time::Instant::now();
    let outcome = crate::verify::check(&taken.jpeg, Some(&taken.proof), None, &trust).await;
    let verify_time = started.elapsed();
    let latency = samples::run(&camera, args.samples).await?;
    camera.close().await;
    // Last, and without a wait behind it: whoever has seen the result may press Ctrl-C.
    report.result(folder, &taken, &outcome, verify_time, latency);
    Ok(if outcome.exit_code() == 0 { Verified::Yes } else { Verified::No })
}

const DRAIN: Duration = Duration::from_secs(20);
