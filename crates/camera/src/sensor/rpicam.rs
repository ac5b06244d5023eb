//! The Raspberry Pi's camera, by way of `rpicam-still`.
//!
//! For: exposures of a real sensor: raw and JPEG of the same request, their metadata, from a program
//! that is kept running so that a shot costs no start. It is a child process and not a library because
//! that library's interface changes with each release, and a crash in it must not take the queue along.
//!
//! Not for: deciding what a frame is worth (`nuc`), or its EXIF (`exif`).
//!
//! ```text
//! rpicam-still -t 0 --keypress --zsl -n --raw --mode 4056:3040:12:U … -o %06d.jpg --metadata shot.json
//! ```
//! Every failure has a name and costs one shot: the program is ended and started anew, and the next shot
//! is taken with a program that knows nothing of the failure. Pi 4 and Pi 5 differ in the bits of their
//! samples only (12 and 16), which their DNGs say; the canonical raw is what the DNG holds.
//!
//! The IMX477 replaces pixels that it takes for defective. Raw is only what the sensor saw when that is
//! off: `echo 0 > /sys/module/imx477/parameters/dpc_enable`. `camera selfcheck` looks at it.

mod command;
mod metadata;
mod process;
mod scratch;
mod shot;
mod stderr;
mod supervisor;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use birthmark_service::lock::LockError;
use tokio::runtime;

pub use self::metadata::MetadataError;

use self::command::CommandLine;
use self::scratch::Scratch;
use self::shot::Shot;
pub(crate) use self::shot::jpeg_exposure_time;
use self::supervisor::{Reply, Supervisor};
use super::{Exposure, ExposureMetadata, Origin, Picture, Sensor, SensorError};
use crate::dng::DngError;
use crate::raw_frame::{CfaOrder, FrameSize};

/// A Raspberry Pi's camera. The program behind it ends when this is dropped.
#[derive(Debug)]
pub struct Rpicam {
    /// Nothing once it is being dropped.
    shots: Option<tokio::sync::mpsc::Sender<Reply>>,
    thread: Option<JoinHandle<()>>,
    next_frame: u64,
    lens: Option<String>,
    f_number: Option<f32>,
}

/// A camera to open.
#[derive(Clone, Debug, PartialEq)]
pub struct RpicamConfig {
    /// `rpicam-still`, by name or by path.
    pub program: PathBuf,
    /// The sensor mode's columns and rows.
    pub size: FrameSize,
    /// The mosaic that the sensor must have; without it, the first shot's counts.
    pub cfa: Option<CfaOrder>,
    /// Who chooses exposure time and gain.
    pub exposure: ExposureControl,
    /// The number of the first exposure.
    pub first_frame: u64,
    /// What EXIF is to say of the lens.
    pub lens: Option<String>,
    /// What EXIF is to say of its opening.
    pub f_number: Option<f32>,
    /// Where a folder for the program's files is made: best in memory.
    pub scratch: PathBuf,
    /// How long a shot may take, the program's start included.
    pub shot_timeout: Duration,
    /// The first pause of back-off.
    pub restart_base: Duration,
    /// The longest pause of back-off.
    pub restart_max: Duration,
}

/// Who chooses exposure time and gain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ExposureControl {
    /// The camera.
    Auto,
    /// Nobody: calibration needs exposures that are all alike.
    Fixed {
        /// How long the shutter is open.
        time: Duration,
        /// The analogue gain, 1 or more.
        gain: f32,
    },
}

/// Why there is no exposure. Unless said otherwise the camera program is at fault, and the next shot is
/// taken with a new run of it.
#[derive(Debug, thiserror::Error)]
pub enum RpicamError {
    /// It is not there.
    #[error("{}: no such program; install rpicam-apps, or say where it is", .0.display())]
    NotInstalled(PathBuf),
    /// The system would not start it.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// What was to be started.
        program: PathBuf,
        /// The system's cause.
        source: io::Error,
    },
    /// The thread that looks after it could not be started, or has ended.
    #[error("nothing looks after the camera program: {0}")]
    Supervisor(#[source] io::Error),
    /// The folder for its files cannot be used: full, not there, not writable.
    #[error("cannot use {} for the camera's files: {source}", path.display())]
    Scratch {
        /// The folder or file.
        path: PathBuf,
        /// The system's cause.
        source: io::Error,
    },
    /// The folder for its files is open to other users, who could exchange photographs.
    #[error("{}: not a folder that this user alone can use; remove it", .0.display())]
    ScratchNotOurs(PathBuf),
    /// The folder could not be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It ended.
    #[error("the camera program ended ({status}){}", said.as_ref().map_or(String::new(), |said| format!(", saying: {said}")))]
    Ended {
        /// How.
        status: String,
        /// Its last words.
        said: Option<String>,
    },
    /// It has not given a shot in time.
    #[error("the camera program gave no shot within {:.1} s", .0.as_secs_f32())]
    Hung(Duration),
    /// It has failed so often that it is not started again before this shot's time is over.
    #[error("the camera program has failed {failures} times in a row and is started again later")]
    Resting {
        /// Times in a row.
        failures: u32,
    },
    /// It said that a shot was done, and one of its files is not there.
    #[error("the camera program did not write {0}")]
    MissingFile(String),
    /// A file is longer than any shot's.
    #[error("the camera program wrote more than {max} bytes to {name}")]
    TooLong {
        /// The file.
        name: String,
        /// What it may have.
        max: usize,
    },
    /// The DNG gives no frame.
    #[error("the camera program's raw file is not usable: {0}")]
    Dng(#[from] DngError),
    /// The JPEG is not whole.
    #[error("the camera program's JPEG is cut off or damaged")]
    Jpeg,
    /// The metadata lacks what is needed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The shot is not newer than the one before it.
    #[error("stale metadata: the camera program gave an exposure that is not newer than the last one")]
    Stale,
    /// A file has another exposure time or gain than the metadata: they are of two exposures.
    #[error("the {0} and the metadata are not of the same exposure")]
    Mismatch(&'static str),
    /// Not the size that was asked for.
    #[error("the frame has {actual} samples, and {expected} were asked for")]
    Size {
        /// What was asked for.
        expected: FrameSize,
        /// What came.
        actual: FrameSize,
    },
    /// Not the mosaic that this sensor has: it is mounted otherwise, flipped, or another.
    #[error("wrong Bayer order: the frame's is {actual:?}, this sensor's is {expected:?}")]
    BayerOrder {
        /// The sensor's.
        expected: CfaOrder,
        /// The frame's.
        actual: CfaOrder,
    },
}

impl RpicamConfig {
    /// The usual camera program at this size, with automatic exposure.
    pub fn new(size: FrameSize, first_frame: u64) -> Self {
        let memory = Path::new("/dev/shm");
        Self {
            program: PathBuf::from("rpicam-still"),
            size,
            cfa: None,
            exposure: ExposureControl::Auto,
            first_frame,
            lens: None,
            f_number: None,
            scratch: if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() },
            shot_timeout: Duration::from_secs(20),
            restart_base: Duration::from_millis(500),
            restart_max: Duration::from_secs(10),
        }
    }
}

impl Rpicam {
    /// Starts the camera program. Whether it finds a camera is seen at the first exposure.
    pub fn open(config: &RpicamConfig) -> Result<Self, RpicamError> {
        let command = CommandLine::new(config)?;
        let scratch = Scratch::create(&config.scratch)?;
        let (shots, asked) = tokio::sync::mpsc::channel(1);
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(RpicamError::Supervisor)?;
        let config_of_thread = config.clone();
        let thread = thread::Builder::new().name("rpicam".to_owned()).spawn(move || {
            // Timers and processes need the runtime from the start.
            runtime.block_on(async { Supervisor::new(&config_of_thread, command, scratch).run(asked).await });
        });
        Ok(Self {
            shots: Some(shots),
            thread: Some(thread.map_err(RpicamError::Supervisor)?),
            next_frame: config.first_frame,
            lens: config.lens.clone(),
            f_number: config.f_number,
        })
    }

    /// The number that the next exposure will have. A failed one uses up none.
    pub const fn next_frame(&self) -> u64 {
        self.next_frame
    }

    fn shoot(&self) -> Result<Shot, RpicamError> {
        let gone = || RpicamError::Supervisor(io::ErrorKind::BrokenPipe.into());
        let (reply, answer) = mpsc::channel();
        // One shot is under way at most, so there is room.
        self.shots.as_ref().and_then(|shots| shots.try_send(reply).ok()).ok_or_else(gone)?;
        answer.recv().map_err(|_| gone())?
    }
}

impl Sensor for Rpicam {
    fn expose(&mut self) -> Result<Exposure, SensorError> {
        let frame = self.next_frame;
        let next = frame.checked_add(1).ok_or(SensorError::FramesExhausted)?;
        let shot = self.shoot()?;
        self.next_frame = next;
        let metadata = ExposureMetadata {
            make: shot.make.unwrap_or_else(|| "Raspberry Pi".to_owned()),
            model: shot.model.unwrap_or_else(|| "unknown camera".to_owned()),
            origin: Origin::Hardware,
            frame,
            exposure_time: shot.metadata.exposure_time,
            iso: iso(shot.metadata.analogue_gain),
            f_number: self.f_number,
            lens: self.lens.clone(),
        };
        Ok(Exposure { raw: shot.raw, metadata, picture: Picture::Developed(shot.jpeg) })
    }

    fn number_from(&mut self, frame: u64) {
        self.next_frame = frame;
    }
}

impl Drop for Rpicam {
    fn drop(&mut self) {
        // The thread ends the program when nobody can ask any more.
        drop(self.shots.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Gain 1 counts as ISO 100, as in the program's own files.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is clamped first")]
fn iso(gain: f64) -> u16 {
    (gain * 100.0).clamp(1.0, f64::from(u16::MAX)) as u16
}
