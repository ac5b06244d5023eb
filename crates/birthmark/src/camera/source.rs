//! Which sensor a command looks through, as flags.
//!
//! For: photographs, and the exposures of `enroll` and `selfcheck`, which are none: those have numbers of
//! their own, are not kept and are not registered. Not for: what a sensor is (`birthmark_camera::sensor`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use birthmark_camera::nuc::{self, NucMap};
use birthmark_camera::sensor::Origin;
use birthmark_camera::sensor::rpicam::{ExposureControl, Rpicam, RpicamConfig};
use birthmark_camera::sensor::simulated::{self, Scene, SimulatedConfig, SimulatedImx477};
use birthmark_camera::{FrameSize, Sensor, device};
use birthmark_core::hash::Digest;
use birthmark_service::random::OsRng;

/// Which sensor.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct SensorArg {
    /// Where exposures come from.
    #[arg(long, env = "BIRTHMARK_SENSOR", value_enum, default_value_t = Kind::Simulated)]
    sensor: Kind,
}

/// Which sensor, and how it is opened.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SourceArgs {
    #[command(flatten)]
    sensor: SensorArg,
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

impl SensorArg {
    pub(crate) fn is_simulated(self) -> bool {
        self.sensor == Kind::Simulated
    }

    /// What tokens hold and the authority knows the sensor by. A simulated sensor that is not there yet is
    /// made, as `camera init` does; a real one must have been enrolled.
    pub(crate) fn nuc_hash(self, config: &Path) -> anyhow::Result<Digest> {
        Ok(match self.sensor {
            Kind::Simulated => simulated::nuc_hash(&device::simulated_seed(config, &mut OsRng)?),
            Kind::Rpicam => {
                let path = nuc::map_path(config);
                let map = NucMap::load(&path).context("a real sensor is known by the map of `camera enroll`")?;
                anyhow::ensure!(
                    map.origin() == Origin::Hardware,
                    "{}: the enrolled map is of a simulated sensor; `camera enroll --sensor rpicam --replace` measures the real one",
                    path.display()
                );
                map.nuc_hash()
            }
        })
    }
}

impl SourceArgs {
    /// A simulated sensor of this size.
    #[cfg(feature = "servers")]
    pub(crate) fn simulated(size: FrameSize) -> Self {
        let sensor = SensorArg { sensor: Kind::Simulated };
        Self { sensor, sensor_size: size, rpicam_still: PathBuf::new() }
    }

    pub(crate) fn is_simulated(&self) -> bool {
        self.sensor.is_simulated()
    }

    /// See [`SensorArg::nuc_hash`].
    pub(crate) fn nuc_hash(&self, config: &Path) -> anyhow::Result<Digest> {
        self.sensor.nuc_hash(config)
    }

    /// What stands behind its exposures.
    pub(crate) fn origin(&self) -> Origin {
        if self.is_simulated() { Origin::Simulation } else { Origin::Hardware }
    }

    /// Opens it. A simulated one that is not there yet is made, as `camera init` does.
    pub(crate) fn open(&self, config: &Path, view: View) -> anyhow::Result<Box<dyn Sensor>> {
        let View { scene, exposure, first_frame } = view;
        let size = self.sensor_size;
        Ok(match self.sensor.sensor {
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
