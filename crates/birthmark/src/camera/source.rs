//! Which sensor a command looks through, as flags.
//!
//! For: `enroll` and `selfcheck`, whose exposures are no photographs: they have numbers of their own, are
//! not kept and are not registered.

use std::path::{Path, PathBuf};
use std::time::Duration;

use birthmark_camera::sensor::Origin;
use birthmark_camera::sensor::rpicam::{ExposureControl, Rpicam, RpicamConfig};
use birthmark_camera::sensor::simulated::{Scene, SimulatedConfig, SimulatedImx477};
use birthmark_camera::{FrameSize, Sensor, device};
use birthmark_service::random::OsRng;

/// Where exposures come from.
#[derive(Debug, clap::Args)]
pub(crate) struct SourceArgs {
    /// Where exposures come from.
    #[arg(long, value_enum, default_value_t = Kind::Simulated)]
    sensor: Kind,
    /// Size of the sensor's frames.
    #[arg(long, default_value = "4056x3040", value_name = "WIDTHxHEIGHT")]
    sensor_size: FrameSize,
    /// The camera program of `--sensor rpicam`, by name or path.
    #[arg(long, default_value = "rpicam-still", value_name = "PROGRAM")]
    rpicam_still: PathBuf,
}

/// A sensor, on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Computed on this machine, from the seed beside the configuration.
    Simulated,
    /// A Raspberry Pi's camera, by way of rpicam-still.
    Rpicam,
}

/// What the sensor is to see, and how.
#[derive(Debug)]
pub(crate) struct View {
    /// Before the simulated lens.
    pub(crate) scene: Scene,
    /// For a real one.
    pub(crate) exposure: ExposureControl,
    /// The number of the first exposure.
    pub(crate) first_frame: u64,
}

impl SourceArgs {
    pub(crate) fn is_simulated(&self) -> bool {
        self.sensor == Kind::Simulated
    }

    /// What stands behind its exposures.
    pub(crate) fn origin(&self) -> Origin {
        if self.is_simulated() { Origin::Simulation } else { Origin::Hardware }
    }

    /// Opens it. A simulated one that is not there yet is made, as `camera init` does.
    pub(crate) fn open(&self, config: &Path, view: View) -> anyhow::Result<Box<dyn Sensor>> {
        let View { scene, exposure, first_frame } = view;
        let size = self.sensor_size;
        Ok(match self.sensor {
            Kind::Simulated => {
                let seed = device::simulated_seed(config, &mut OsRng)?;
                Box::new(SimulatedImx477::new(SimulatedConfig { seed, size, scene, first_frame })?)
            }
            Kind::Rpicam => {
                let program = self.rpicam_still.clone();
                let config = RpicamConfig { program, exposure, ..RpicamConfig::new(size, first_frame) };
                // A fixed exposure may be long, and the program must start.
                let time = if let ExposureControl::Fixed { time, .. } = exposure { time } else { Duration::ZERO };
                Box::new(Rpicam::open(&RpicamConfig { shot_timeout: config.shot_timeout + 4 * time, ..config })?)
            }
        })
    }
}

/// The first number that no photograph ever has: those are kept in SQLite, whose integers are signed. A
/// simulated sensor has the same noise in frames of the same number.
pub(crate) const FIRST_UNKEPT_FRAME: u64 = 1 << 63;
