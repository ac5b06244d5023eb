//! `birthmark camera selfcheck`: whether this camera could photograph now, and whether it is still itself.
//!
//! For: one line for each thing that a photograph depends on, with the remedy, and an exit code for
//! scripts. Not for: changing anything, or sending anything but a question to the aggregator.
//!
//! Exit codes: 0 nothing is wrong (there may be warnings), 1 something is wrong, 3 something could not be
//! told.

mod checks;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use birthmark_camera::nuc::{self, Comparison, MapFileError, NucMap, Verdict};
use birthmark_camera::sensor::rpicam::ExposureControl;
use birthmark_camera::sensor::simulated::Scene;
use birthmark_core::time::Clock as _;
use birthmark_service::clock::SystemClock;
use serde_json::{Value, json};

pub(crate) use self::checks::is_synchronised as clock_is_synchronised;
use self::checks::{Check, Status};
use super::element::ElementArgs;
use super::source::{FIRST_UNKEPT_FRAME, SourceArgs, View};
use crate::runtime::block_on;
use crate::terminal::{Waiting, say};

/// Flags of `camera selfcheck`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct SelfcheckArgs {
    /// What provisioning handed out; the map of `enroll` lies beside it.
    #[arg(long, default_value = "/etc/birthmark/device_config.json", value_name = "FILE")]
    config: PathBuf,
    /// Folder of queue and photographs. The default is the configuration's own.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The aggregators to ask, if not the one of the configuration.
    #[arg(long, env = "AGGREGATOR_URL", value_name = "URL", value_delimiter = ',')]
    aggregator_url: Vec<String>,
    #[command(flatten)]
    element: ElementArgs,
    #[command(flatten)]
    source: SourceArgs,
    /// A JPEG that the simulated sensor looks at. Without it, a scene of its own.
    #[arg(long, value_name = "PHOTO")]
    scene: Option<PathBuf>,
    /// One JSON object instead of the lines.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &SelfcheckArgs) -> anyhow::Result<ExitCode> {
    let data = args.data.clone().unwrap_or_else(|| folder_of(&args.config).to_owned());
    let configured = checks::configuration(&args.config, &args.element.choice());
    let aggregators = match args.aggregator_url.as_slice() {
        [] => vec![configured.aggregator_url],
        given => given.iter().cloned().map(Some).collect(),
    };
    let mut checks = vec![
        configured.check,
        checks::clock(SystemClock.now(), checks::clock_floor(&args.config), clock_is_synchronised()),
        checks::disk(&data),
        block_on(async { Ok(checks::queue(&data).await) })?,
    ];
    for aggregator in &aggregators {
        checks.push(block_on(async { Ok(checks::network(aggregator.as_deref()).await) })?);
    }
    if !args.source.is_simulated() {
        checks.push(checks::defect_correction(Path::new(DEFECT_CORRECTION)));
    }
    let (sensor, comparison) = sensor(args);
    checks.push(sensor);
    let worst = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
    if args.json {
        say(json!({
            "result": worst.as_str(),
            "checks": checks.iter().map(Check::to_json).collect::<Vec<Value>>(),
            "sensor": comparison.map(|comparison| json!({
                "verdict": comparison.verdict().as_str(),
                "z": comparison.z,
                "expected_z": comparison.expected,
                "usable": comparison.usable,
                "simulated": args.source.is_simulated(),
            })),
        }));
    } else {
        for check in &checks {
            say(check);
        }
    }
    Ok(match worst {
        Status::Ok | Status::Warning => ExitCode::SUCCESS,
        Status::Unknown => ExitCode::from(COULD_NOT_BE_TOLD),
        Status::Failed => ExitCode::FAILURE,
    })
}

/// Compares a fresh frame with the enrolled map.
fn sensor(args: &SelfcheckArgs) -> (Check, Option<Comparison>) {
    let check = |status, message: String| Check { name: "sensor", status, message };
    let map = match NucMap::load(&nuc::map_path(&args.config)) {
        Ok(map) => map,
        Err(MapFileError::NotEnrolled { .. }) => {
            return (check(Status::Unknown, "not enrolled; run `birthmark camera enroll`".to_owned()), None);
        }
        Err(error) => return (check(Status::Failed, error.to_string()), None),
    };
    if map.origin() != args.source.origin() {
        let message = "the enrolled map is of the other kind of sensor; choose with --sensor".to_owned();
        return (check(Status::Unknown, message), None);
    }
    match compare(args, &map) {
        Ok(comparison) => (check(status(comparison.verdict()), message(&comparison, args)), Some(comparison)),
        Err(error) => (check(Status::Failed, format!("{error:#}")), None),
    }
}

fn compare(args: &SelfcheckArgs, map: &NucMap) -> anyhow::Result<Comparison> {
    let _waiting = Waiting::new("looking through the sensor");
    let scene = args.scene.clone().map_or(Scene::Procedural, Scene::Photograph);
    // A frame that no enrolment has had, nor any check before this one.
    let first_frame = FIRST_UNKEPT_FRAME + (FIRST_UNKEPT_FRAME >> 1) + SystemClock.now().0;
    let view = View { scene, exposure: ExposureControl::Auto, first_frame };
    let mut sensor = args.source.open(&args.config, view)?;
    let mut comparison = nuc::compare(map, &sensor.expose()?)?;
    // The first frames of a camera that has just been started may be too bright or too dark.
    for _ in 1..FRAMES {
        if comparison.verdict() != Verdict::Inconclusive {
            break;
        }
        comparison = nuc::compare(map, &sensor.expose()?)?;
    }
    Ok(comparison)
}

const fn status(verdict: Verdict) -> Status {
    match verdict {
        Verdict::Same => Status::Ok,
        Verdict::Another => Status::Failed,
        Verdict::Inconclusive => Status::Unknown,
    }
}

fn message(comparison: &Comparison, args: &SelfcheckArgs) -> String {
    let Comparison { z, expected, .. } = comparison;
    let what = match comparison.verdict() {
        Verdict::Same => "same: this is the enrolled sensor",
        Verdict::Another => "another: this is not the enrolled sensor; if it was exchanged, enrol and provision anew",
        Verdict::Inconclusive => "inconclusive: this frame cannot tell; look at something bright and even",
    };
    let simulated = if args.source.is_simulated() { ", simulated sensor" } else { "" };
    format!("{what} (z {z:.1}, the same sensor would give about {expected:.0}{simulated})")
}

fn folder_of(config: &Path) -> &Path {
    config.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

const EXIT_CODES: &str = "\
Exit codes:
  0  nothing is wrong; there may be warnings
  1  something is wrong, or the sensor is another one
  2  wrong usage
  3  something could not be told: not enrolled, not provisioned, nobody answers, too little light";
const COULD_NOT_BE_TOLD: u8 = 3;
/// Most frames that are looked at.
const FRAMES: usize = 3;
/// Whether an IMX477 replaces pixels that it takes for defective before anybody sees them.
const DEFECT_CORRECTION: &str = "/sys/module/imx477/parameters/dpc_enable";
