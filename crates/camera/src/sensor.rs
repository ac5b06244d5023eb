//! Where exposures come from.
//!
//! For: [`Sensor`], the one thing that the rest of the camera knows about imaging hardware, and what an
//! exposure consists of.
//!
//! Not for: developing (`isp`, `jpeg`), keeping (`dng`, `durable_file`) or registering an exposure.
//!
//! Every sensor says by [`Origin`] whether light was involved, and every file says so after it.

pub mod simulated;

use std::fmt;
use std::time::Duration;

use crate::raw_frame::{RawFrame, RawFrameError};

/// Something that gives one exposure when asked.
pub trait Sensor: fmt::Debug + Send {
    /// Opens the shutter once and waits for the samples.
    fn expose(&mut self) -> Result<Exposure, SensorError>;
}

/// What one opening of the shutter gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Exposure {
    /// What the sensor saw.
    pub raw: RawFrame,
    /// How it saw it.
    pub metadata: ExposureMetadata,
}

/// The circumstances of an exposure, as EXIF and DNG record them.
#[derive(Clone, Debug, PartialEq)]
pub struct ExposureMetadata {
    /// Who made the camera.
    pub make: String,
    /// Which camera it is.
    pub model: String,
    /// Whether there was light.
    pub origin: Origin,
    /// The exposure's number in the life of this sensor.
    pub frame: u64,
    /// How long the shutter was open.
    pub exposure_time: Duration,
    /// Sensitivity after ISO 12232.
    pub iso: u16,
    /// The lens opening, where it is known.
    pub f_number: Option<f32>,
    /// The lens, where it is known.
    pub lens: Option<String>,
}

/// Whether an exposure shows the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Light fell on silicon.
    Hardware,
    /// A program computed the samples.
    Simulation,
}

/// Why there is no exposure.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// The sensor gave samples that are no frame.
    #[error("the sensor gave no usable frame: {0}")]
    Frame(#[from] RawFrameError),
    /// All frame numbers are used up.
    #[error("the simulated sensor has used its last frame number")]
    FramesExhausted,
}
