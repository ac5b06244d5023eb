//! `birthmark bench`: what each path costs here, beside what it could cost here at best.
//!
//! For: one row for each goal of `docs/PERFORMANCE.md` that can be measured, one file for each row. The
//! reference of a row is part of the program and runs in turns with ours, because machines are noisy:
//! a ratio says something, a figure alone does not.
//!
//! Not for: passing or failing. A goal that is missed is printed as missed; only a row that could not be
//! measured makes the exit code 1.

mod aggregator;
mod bare;
mod capture;
mod disk;
mod durable_submit;
mod host;
mod installation;
mod load;
mod measure;
mod memory;
mod proof;
mod raw_hash;
mod records;
mod registry;
mod row;
mod sensor;
mod sma;
mod submissions;
mod submit_to_proof;
mod table;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use birthmark_camera::FrameSize;
use birthmark_camera::sensor::simulated::{DeviceSeed, Scene, SimulatedConfig, SimulatedImx477};
use birthmark_service::shutdown;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::terminal::{Waiting, complain};
use host::Host;
use records::Registry;
use table::Table;

/// Flags of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    options: Options,
}

/// Rows that belong together. Without one, all are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
enum Part {
    /// Sensor, raw hash, capture.
    Camera,
    /// The authority: validation of both versions, endorsement. Provisions `--devices` cameras first.
    Sma,
    /// Services: look-up, intake, submit to proof, memory, disk, proof.
    System,
    /// The aggregator: submissions through it, with consensus and without, endorsed, on PostgreSQL.
    Aggregator,
    /// A network of `--validators` node processes: rate, finality, disk, proofs, start after SIGKILL.
    Registry,
}

/// How long and how much.
#[derive(Clone, Debug, clap::Args)]
struct Options {
    /// One JSON object instead of the table.
    #[arg(long, global = true)]
    json: bool,
    /// Seconds for which each server of a row is under load, over all turns.
    #[arg(long, global = true, default_value_t = 6, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Records of the registry that is asked.
    #[arg(long, global = true, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    records: u32,
    /// Validators of the network that `registry` measures.
    #[arg(long, global = true, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=22))]
    validators: u32,
    /// Single operations that are timed one by one.
    #[arg(long, global = true, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    samples: u32,
    /// Cameras that the authority knows.
    #[arg(long, global = true, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    devices: u32,
    /// Only this row, by its name in the table; may be given several times.
    #[arg(long = "row", global = true, value_name = "NAME", value_parser = PossibleValuesParser::new(row_names()))]
    rows: Vec<String>,
    /// Size of the simulated sensor.
    #[arg(long, global = true, default_value = "4056x3040", value_name = "WIDTHxHEIGHT")]
    sensor_size: FrameSize,
    /// Existing folder, on the disk to be judged, in which temporary ones are made. The account `postgres` must be able
    /// to enter it, for the row that starts a PostgreSQL.
    #[arg(long, global = true, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// What every row is measured with.
#[derive(Debug)]
struct Bench {
    options: Options,
    stop: CancellationToken,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match measure_all(args) {
        Ok(failed) => ExitCode::from(u8::from(failed > 0)),
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Every row that there is, in the order in which they are measured.
fn row_names() -> impl Iterator<Item = &'static str> {
    let camera = [raw_hash::NAME, sensor::NAME, capture::NAME];
    let services = [proof::NAME, disk::NAME, durable_submit::NAME, submit_to_proof::NAME, memory::NAME];
    let questions = verify::QUESTIONS.map(verify::Question::name);
    camera
        .into_iter()
        .chain(questions)
        .chain(services)
        .chain(registry::NAMES)
        .chain(sma::NAMES)
        .chain(aggregator::NAMES)
}

/// Measures every row of the part; gives the number of those that failed.
fn measure_all(args: &Args) -> anyhow::Result<usize> {
    let signals = Host::new("bench-signals")?;
    let bench = Bench { options: args.options.clone(), stop: signals.block_on(async { shutdown::on_signal() })? };
    let mut table = Table::start(&bench.options);
    // First, because the peak of this process's memory is one of its figures.
    let wanted = |part| args.part.is_none_or(|only| only == part);
    if wanted(Part::Camera) {
        camera(&bench, &mut table);
    }
    if wanted(Part::System) {
        system(&bench, &mut table);
    }
    if wanted(Part::Registry) {
        registry::measure(&bench, &mut table);
    }
    if wanted(Part::Sma) {
        sma::measure(&bench, &mut table);
    }
    if wanted(Part::Aggregator) {
        aggregator::measure(&bench, &mut table);
    }
    Ok(table.end())
}

fn camera(bench: &Bench, table: &mut Table) {
    let opened = {
        let _waiting = Waiting::new("preparing the sensor");
        let seed = DeviceSeed::from_label("bench");
        let (size, scene) = (bench.options.sensor_size, Scene::Procedural);
        SimulatedImx477::new(SimulatedConfig { seed, size, scene, first_frame: 0 })
    };
    let mut sensor = match opened {
        Ok(sensor) => sensor,
        Err(error) => return table.failed(&[raw_hash::NAME, sensor::NAME, capture::NAME], &error.into()),
    };
    table.measured(raw_hash::NAME, || raw_hash::measure(bench, &mut sensor));
    table.measured(sensor::NAME, || sensor::measure(bench, &mut sensor));
    table.measured(capture::NAME, || capture::measure(bench, sensor));
}

fn system(bench: &Bench, table: &mut Table) {
    let filled = Registry::start(bench);
    match &filled {
        Ok(registry) => {
            for question in verify::QUESTIONS {
                table.measured(question.name(), || verify::measure(bench, registry, question));
            }
            table.measured(proof::NAME, || proof::measure(bench, registry));
            table.measured(disk::NAME, || disk::measure(registry));
        }
        Err(error) => {
            let questions = verify::QUESTIONS.map(verify::Question::name);
            table.failed(&[questions.as_slice(), &[proof::NAME, disk::NAME]].concat(), error);
        }
    }
    if let Ok(registry) = filled
        && let Err(error) = registry.end()
    {
        table.failed(&["registry"], &error);
    }
    table.measured(durable_submit::NAME, || durable_submit::measure(bench));
    table.measured(submit_to_proof::NAME, || submit_to_proof::measure(bench));
    table.measured(memory::NAME, || memory::measure(bench));
}

impl Bench {
    /// A new folder that is removed with its content when dropped.
    fn folder(&self) -> anyhow::Result<TempDir> {
        let parent = self.options.folder.clone().unwrap_or_else(std::env::temp_dir);
        let made = tempfile::Builder::new().prefix("birthmark-bench-").tempdir_in(&parent);
        made.with_context(|| format!("cannot make a folder in {}", parent.display()))
    }

    /// The time for which one server is under load in one turn.
    fn turn(&self) -> Duration {
        Duration::from_secs(self.options.seconds.into()) / TURNS
    }

    /// Operations of one turn that are timed one by one, at most `most`.
    fn samples(&self, most: u32) -> u32 {
        self.options.samples.min(most)
    }

    /// An error once somebody has asked this program to end.
    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.stop.is_cancelled(), "interrupted");
        Ok(())
    }
}

/// Bytes of everything in a folder, as the disk holds them.
fn disk_usage(folder: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { disk_usage(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// Turns of ours and of the reference that count; one before them warms up.
const TURNS: u32 = 3;
