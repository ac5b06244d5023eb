//! A folder in which another program leaves photographs: a DNG and a JPEG of the same name.
//!
//! For: registering what a camera without our software took (`picamera2`, a tethering program). Its
//! files are left as they are. The JPEG is kept byte for byte, since others may hold it already.
//!
//! Not for: captures. Anybody who can write to the folder decides what is in it, so what comes out says
//! [`Origin::OtherProgram`], and [`Camera::open`](crate::capture::Camera::open) refuses it. It is taken by
//! [`Camera::open_for_other_programs`](crate::capture::Camera::open_for_other_programs) alone, with a data
//! folder and thus a queue of its own. Which authority stands behind that queue is its uploader's to
//! say: one whose policy allows such photographs, never the one that vouches for a sensor.
//!
//! A pair is taken when both files have kept size and time for [`WatchConfig::settle`], as seen by looking
//! again (no clock has a say in it), and both are whole. That holds for programs that write in place and for those that rename. Files that stay damaged
//! for [`WatchConfig::give_up`] are named once and then passed over.
//!
//! What has been kept is noted beside the data, so that a restart does not take it again:
//! ```text
//! <64 hex digits>\n …      SHA-256 of a pair's names, sizes and times of change
//! ```

mod done;
mod folder;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use birthmark_core::image_data::jpeg_image_data;

use self::done::Done;
use self::folder::{Pair, PairId};
use super::rpicam::jpeg_exposure_time;
use super::{Exposure, ExposureMetadata, Origin, Picture, Sensor, SensorError};
use crate::dng::{self, DngError, DngFile};

/// A watched folder.
#[derive(Debug)]
pub struct Watch {
    config: WatchConfig,
    next_frame: u64,
    done: Done,
    /// Refused in this run: named once.
    refused: BTreeSet<PairId>,
    /// In how many looks in a row a pair has been as it is.
    seen: BTreeMap<PairId, u32>,
    /// Given out, and not yet known to be kept.
    given: Option<PairId>,
}

/// A folder to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchConfig {
    /// Where the other program writes. It is only read.
    pub folder: PathBuf,
    /// Where it is noted what has been kept.
    pub done: PathBuf,
    /// The number of the first photograph.
    pub first_frame: u64,
    /// How long both files must stay as they are.
    pub settle: Duration,
    /// How long a damaged file may yet become whole.
    pub give_up: Duration,
    /// How long an exposure waits for a pair.
    pub patience: Duration,
}

/// Why there is no photograph.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The folder cannot be read.
    #[error("cannot watch {}: {source}", path.display())]
    Folder {
        /// The folder or a file in it.
        path: PathBuf,
        /// The system's cause.
        source: io::Error,
    },
    /// More files than are looked through.
    #[error("{} holds more than {max} files; move away what has been registered", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// What it may hold.
        max: usize,
    },
    /// The note of what has been kept cannot be read or written.
    #[error("cannot note what has been registered in {}: {source}", path.display())]
    Done {
        /// The file.
        path: PathBuf,
        /// The system's cause.
        source: io::Error,
    },
    /// The note has been changed by somebody else.
    #[error("{}: damaged; without it, photographs would be registered again", .0.display())]
    DoneDamaged(PathBuf),
    /// Nothing new has come in time. Asking again is right.
    #[error("no new photograph has come within {:.0} s", .0.as_secs_f32())]
    Idle(Duration),
    /// The pair's DNG gives no raw frame.
    #[error("{name}: {cause}")]
    Dng {
        /// The file.
        name: String,
        /// What is wrong with it.
        cause: DngError,
    },
    /// The pair's JPEG is not whole.
    #[error("{name}: not a complete JPEG")]
    Jpeg {
        /// The file.
        name: String,
    },
    /// A file is longer than any photograph.
    #[error("{name}: longer than a photograph can be")]
    TooLong {
        /// The file.
        name: String,
    },
    /// The files say of themselves that they are of two exposures.
    #[error("{name}: DNG and JPEG have different exposure times; they are not of the same exposure")]
    Mismatch {
        /// The JPEG.
        name: String,
    },
}

impl WatchConfig {
    /// Watches a folder with times that suit programs on the same machine.
    pub fn new(folder: &Path, done: &Path, first_frame: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            done: done.to_owned(),
            first_frame,
            settle: Duration::from_secs(1),
            give_up: Duration::from_secs(30),
            patience: Duration::from_mins(1),
        }
    }
}

impl Watch {
    /// Reads the note of what has been kept; it is shortened to what is still in the folder.
    pub fn open(config: WatchConfig) -> Result<Self, WatchError> {
        let present = folder::pairs(&config.folder)?.into_iter().map(|pair| pair.id()).collect();
        let done = Done::open(&config.done, &present)?;
        let next_frame = config.first_frame;
        Ok(Self { config, next_frame, done, refused: BTreeSet::new(), seen: BTreeMap::new(), given: None })
    }

    /// The oldest pair that is complete and new, if there is one by now.
    fn take(&mut self) -> Result<Option<Exposure>, WatchError> {
        let pairs = folder::pairs(&self.config.folder)?;
        let looks = |id| self.seen.get(&id).map_or(0, |looks| looks.saturating_add(1));
        self.seen = pairs.iter().map(|pair| (pair.id(), looks(pair.id()))).collect();
        for pair in pairs {
            let id = pair.id();
            let unchanged = POLL * self.seen.get(&id).copied().unwrap_or_default();
            if self.done.contains(&id) || self.refused.contains(&id) || unchanged < self.config.settle {
                continue;
            }
            match read(&self.config.folder, &pair, self.next_frame) {
                Ok(exposure) => {
                    self.given = Some(id);
                    return Ok(Some(exposure));
                }
                // It may still be on its way, with pauses longer than `settle`.
                Err(error) if may_become_whole(&error) && unchanged < self.config.give_up => {}
                Err(error) => {
                    self.refused.insert(id);
                    return Err(error);
                }
            }
        }
        Ok(None)
    }
}

impl Sensor for Watch {
    fn expose(&mut self) -> Result<Exposure, SensorError> {
        let next = self.next_frame.checked_add(1).ok_or(SensorError::FramesExhausted)?;
        let looks = self.config.patience.as_millis().div_ceil(POLL.as_millis());
        for look in 0..=looks {
            if let Some(exposure) = self.take()? {
                self.next_frame = next;
                return Ok(exposure);
            }
            if look < looks {
                std::thread::sleep(POLL);
            }
        }
        Err(WatchError::Idle(self.config.patience).into())
    }

    fn number_from(&mut self, frame: u64) {
        self.next_frame = frame;
    }

    fn kept(&mut self) {
        if let Some(given) = self.given.take()
            && let Err(error) = self.done.add(given)
        {
            tracing::warn!(%error, "a photograph is registered and may be registered again after a restart");
        }
    }
}

/// Reads both files and sees whether they are a photograph.
fn read(folder: &Path, pair: &Pair, frame: u64) -> Result<Exposure, WatchError> {
    let dng = folder::read(folder, &pair.dng)?;
    let DngFile { raw, make, model, exposure_time, iso } =
        dng::read(&dng).map_err(|cause| WatchError::Dng { name: pair.dng.name.clone(), cause })?;
    drop(dng);
    let jpeg = folder::read(folder, &pair.jpeg)?;
    let name = || pair.jpeg.name.clone();
    jpeg_image_data(&jpeg).ok_or_else(|| WatchError::Jpeg { name: name() })?;
    let of_jpeg = jpeg_exposure_time(&jpeg);
    if let (Some(dng), Some(jpeg)) = (exposure_time, of_jpeg)
        && dng.abs_diff(jpeg) > dng / 50
    {
        return Err(WatchError::Mismatch { name: name() });
    }
    let metadata = ExposureMetadata {
        make: make.unwrap_or_else(|| "unknown".to_owned()),
        model: model.unwrap_or_else(|| "unknown camera".to_owned()),
        origin: Origin::OtherProgram,
        frame,
        exposure_time: exposure_time.or(of_jpeg).unwrap_or_default(),
        iso: iso.unwrap_or_default(),
        f_number: None,
        lens: None,
    };
    Ok(Exposure { raw, metadata, picture: Picture::Published(jpeg) })
}

/// Whether the cause may be that the other program has not finished.
const fn may_become_whole(error: &WatchError) -> bool {
    matches!(
        error,
        WatchError::Jpeg { .. }
            | WatchError::Folder { .. }
            | WatchError::Dng {
                cause: DngError::NotTiff | DngError::Truncated(_) | DngError::NoRaw | DngError::Missing(_),
                ..
            }
    )
}

/// How often the folder is looked at.
const POLL: Duration = Duration::from_millis(200);
