//! `birthmark camera enroll`: measures the sensor's non-uniformity, once.
//!
//! For: leading a person through darks and flats, and keeping the map. Not for: computing it
//! (`birthmark_camera::nuc`), or telling the authority (`provision`).

use std::io::{self, BufRead as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use birthmark_camera::nuc::{self, Enrolment, EnrolmentError, NucMap};
use birthmark_camera::sensor::rpicam::ExposureControl;
use birthmark_camera::sensor::simulated::{self, Scene};
use birthmark_camera::{Exposure, Sensor, device};
use birthmark_core::hash::Digest;
use birthmark_service::random::OsRng;
use birthmark_service::secret_file::{self, FileMode};
use serde_json::json;

use super::source::{FIRST_UNKEPT_FRAME, SourceArgs, View};
use crate::terminal::{Waiting, note, say};

/// Flags of `camera enroll`.
#[derive(Debug, clap::Args)]
pub(crate) struct EnrollArgs {
    /// Where the camera's configuration is or will be; the map is made beside it.
    #[arg(long, default_value = "/etc/birthmark/device_config.json", value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    source: SourceArgs,
    /// Dark frames, with the lens covered.
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=200))]
    darks: u32,
    /// Flat frames, of even light.
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=200))]
    flats: u32,
    /// Exposure time of all frames of a real sensor, in milliseconds: flats need half of the range.
    #[arg(long, default_value_t = 20, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    exposure: u64,
    /// Where to put a picture of the map. Without it, `nuc_map.png` beside the map.
    #[arg(long, value_name = "PNG")]
    picture: Option<PathBuf>,
    /// Measure again although there is a map. A real sensor gets another NUC hash, and must be provisioned
    /// anew.
    #[arg(long)]
    replace: bool,
    /// One JSON object at the end.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &EnrollArgs) -> anyhow::Result<ExitCode> {
    let path = nuc::map_path(&args.config);
    let picture_path = args.picture.clone().unwrap_or_else(|| path.with_extension("png"));
    refuse_to_overwrite(args, &path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot use the folder {}", folder.display()))?;
    let map = measure(args)?;
    let picture = nuc::picture(&map)?;
    if args.replace { map.replace(&path) } else { map.create(&path) }?;
    secret_file::replace(&picture_path, &picture, FileMode::Secret)?;
    report(args, &map, &path, &picture_path)?;
    Ok(ExitCode::SUCCESS)
}

/// The NUC hash of a provisioned camera must stay what its authority was told.
fn refuse_to_overwrite(args: &EnrollArgs, map: &Path) -> anyhow::Result<()> {
    if args.replace {
        return Ok(());
    }
    if map.exists() {
        bail!("{}: this camera is enrolled already; --replace measures it again", map.display());
    }
    if !args.source.is_simulated() && args.config.exists() {
        bail!(
            "{}: this camera is provisioned already, and another NUC hash would make its tokens fail; \
             --replace measures it all the same, then provision it anew",
            args.config.display()
        );
    }
    Ok(())
}

fn measure(args: &EnrollArgs) -> anyhow::Result<NucMap> {
    let time = Duration::from_millis(args.exposure);
    let open = |scene, first_frame| {
        let exposure = ExposureControl::Fixed { time, gain: 1.0 };
        args.source.open(&args.config, View { scene, exposure, first_frame })
    };
    let mut enrolment = Enrolment::default();
    let mut sensor = open(Scene::Flat(0.0), FIRST_UNKEPT_FRAME)?;
    ask(args, "Cover the lens so that no light comes in, then press Enter.")?;
    take(&mut *sensor, "dark frames", args.darks, |exposure| enrolment.dark(exposure))?;
    if args.source.is_simulated() {
        sensor = open(Scene::Flat(0.5), FIRST_UNKEPT_FRAME + u64::from(args.darks))?;
    }
    ask(args, "Take the lens off or point it at an even, bright surface, out of focus, then press Enter.")?;
    take(&mut *sensor, "flat frames", args.flats, |exposure| enrolment.flat(exposure))?;
    drop(sensor);
    let _waiting = Waiting::new("computing the map");
    Ok(enrolment.finish()?)
}

/// Waits for a person, where there is light to be dealt with.
fn ask(args: &EnrollArgs, what: &str) -> anyhow::Result<()> {
    if args.source.is_simulated() {
        return Ok(());
    }
    note(what);
    let read = io::stdin().lock().read_line(&mut String::new()).context("cannot read standard input")?;
    if read == 0 {
        bail!("standard input ended while waiting for Enter");
    }
    Ok(())
}

/// Takes so many frames. A sensor that fails now and then is asked again, one that fails always is not.
fn take(
    sensor: &mut dyn Sensor,
    what: &str,
    count: u32,
    mut add: impl FnMut(Exposure) -> Result<(), EnrolmentError>,
) -> anyhow::Result<()> {
    let bar = Waiting::with_length(what, count.into());
    for _ in 0..count {
        let mut attempt = 1;
        let exposure = loop {
            match sensor.expose() {
                Ok(exposure) => break exposure,
                Err(error) if attempt < ATTEMPTS => tracing::warn!(%error, attempt, "no frame; trying again"),
                Err(error) => return Err(error.into()),
            }
            attempt += 1;
        };
        add(exposure)?;
        bar.advance();
    }
    Ok(())
}

fn report(args: &EnrollArgs, map: &NucMap, path: &Path, picture: &Path) -> anyhow::Result<()> {
    let (nuc_hash, strength) = (nuc_hash(args, map)?, map.strength());
    if args.json {
        say(json!({
            "nuc_hash": nuc_hash,
            "map_hash": map.nuc_hash(),
            "map": path,
            "picture": picture,
            "simulated": args.source.is_simulated(),
            "model": map.mode().model(),
            "size": map.mode().size().to_string(),
            "darks": strength.darks,
            "flats": strength.flats,
            "prnu": strength.prnu,
            "reliability": strength.reliability,
            "defects": map.defects(),
        }));
        return Ok(());
    }
    note(format_args!("enrolled: {}", map.mode()));
    note(format_args!(
        "pattern: {:.2} % from site to site, {:.0} % of the map is the sensor's own, {} defective sites",
        strength.prnu * 100.0,
        strength.reliability * 100.0,
        map.defects()
    ));
    note(format_args!("map: {} (secret: it gives the NUC hash)", path.display()));
    note(format_args!("picture: {}", picture.display()));
    if args.source.is_simulated() {
        note("simulated sensor: the NUC hash is its seed's, as before; the map serves `selfcheck`");
    }
    // Alone on standard output, as `sma provision --nuc-hash` takes it.
    say(nuc_hash);
    Ok(())
}

/// What the authority is told. A simulated sensor keeps the one that its seed gives.
fn nuc_hash(args: &EnrollArgs, map: &NucMap) -> anyhow::Result<Digest> {
    if !args.source.is_simulated() {
        return Ok(map.nuc_hash());
    }
    Ok(simulated::nuc_hash(&device::simulated_seed(&args.config, &mut OsRng)?))
}

const ATTEMPTS: u32 = 3;
