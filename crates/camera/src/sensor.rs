//! Where exposures come from.
//!
//! For: [`Sensor`], the one thing that the rest of the camera knows about imaging hardware, and what an
//! exposure consists of.
//!
//! Not for: developing (`isp`, `jpeg`), keeping (`dng`, `durable_file`) or registering an exposure.
//!
//! Every sensor says by [`Origin`] what stood behind an exposure, and every file says so after it.

pub mod rpicam;
pub mod simulated;
pub mod watch;

use std::fmt;
use std::time::Duration;

use self::rpicam::RpicamError;
use self::watch::WatchError;
use crate::raw_frame::{RawFrame, RawFrameError};

/// Something that gives one exposure when asked.
pub trait Sensor: fmt::Debug + Send {
    /// Opens the shutter once and waits for the samples. Blocks. After an error it may be asked again.
    fn expose(&mut self) -> Result<Exposure, SensorError>;

    /// Gives the next exposure this number, which must be above all numbers so far.
    fn number_from(&mut self, frame: u64);

    /// Is told that the last exposure is on disk and in the queue, and need not be given again.
    fn kept(&mut self) {}
}

impl<S: Sensor + ?Sized> Sensor for Box<S> {
    fn expose(&mut self) -> Result<Exposure, SensorError> {
        (**self).expose()
    }

    fn number_from(&mut self, frame: u64) {
        (**self).number_from(frame);
    }

    fn kept(&mut self) {
        (**self).kept();
    }
}

/// What one opening of the shutter gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Exposure {
    /// What the sensor saw.
    pub raw: RawFrame,
    /// How it saw it.
    pub metadata: ExposureMetadata,
    /// The picture that came with it, if one did.
    pub picture: Picture,
}

/// The JPEG of an exposure, as far as its source made one.
#[derive(Clone, PartialEq, Eq)]
pub enum Picture {
    /// None: it is developed from the raw frame.
    Undeveloped,
    /// The image processor's, of this very exposure. It gets our EXIF before anything is hashed.
    Developed(Vec<u8>),
    /// A file that others may hold already. It is kept and hashed byte for byte.
    Published(Vec<u8>),
}

/// The circumstances of an exposure, as EXIF and DNG record them.
#[derive(Clone, Debug, PartialEq)]
pub struct ExposureMetadata {
    /// Who made the camera.
    pub make: String,
    /// Which camera it is.
    pub model: String,
    /// What stood behind it.
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

/// What stood behind an exposure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Light fell on silicon, and the samples came from this camera's own sensor.
    Hardware,
    /// A program computed the samples.
    Simulation,
    /// Another program left files in a folder. Whatever they show, no sensor of ours vouches for it.
    OtherProgram,
}

/// Why there is no exposure.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// The sensor gave samples that are no frame.
    #[error("the sensor gave no usable frame: {0}")]
    Frame(#[from] RawFrameError),
    /// All frame numbers are used up.
    #[error("the sensor has used its last frame number")]
    FramesExhausted,
    /// The Raspberry Pi's camera program.
    #[error(transparent)]
    Rpicam(#[from] RpicamError),
    /// The folder that another program fills.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

/// A picture is shown by its length alone.
impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undeveloped => f.write_str("Undeveloped"),
            Self::Developed(jpeg) => write!(f, "Developed({} bytes)", jpeg.len()),
            Self::Published(jpeg) => write!(f, "Published({} bytes)", jpeg.len()),
        }
    }
}
