//! One exposure, two files, one row: a photograph that is really kept.
//!
//! For: [`Camera::capture`]. Raw and JPEG come from the same exposure, EXIF is in the JPEG before it is
//! hashed, both files are on disk before their row is, and only then is the photograph "captured".
//!
//! Not for: submitting ([`upload`](crate::upload)): capturing waits for no network and no clock.
//!
//! ```text
//! <data>/photos/IMG_000042.dng   its one strip is the canonical raw
//!               IMG_000042.jpg   IMG_000042.jpg.tlog-proof (later)
//!               .lock            shared by cameras at work, alone to one that mends
//!               .other-programs  only where photographs of other programs are kept
//! ```
//!
//! What a killed process leaves behind is mended when a camera is opened and no other is at work:
//! half-written temporary files are removed, and a complete pair of files without a row is hashed anew
//! and queued ("recovered"). A single file of a pair is reported and left alone.

mod recover;
mod source;
mod step;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use birthmark_core::ImageHash;
use birthmark_core::image_data::jpeg_image_data;
use birthmark_core::time::Clock;

use crate::device::ElementKind;
use crate::dng::{self, DngWriteError};
use crate::durable_file::{DurableFileError, IfTaken, write_durably};
use crate::exif::{CaptureDetails, CaptureTime, ExifError, TimeSource};
use crate::fault;
use crate::jpeg::{self, JpegError};
use crate::queue::{NewPhoto, PhotoHashes, PhotoId, Queue, QueueError};
use crate::raw_frame::RawFrame;
use crate::sensor::{Exposure, Origin, Picture, Sensor, SensorError};

use source::Source;

pub use recover::Recovery;
pub use step::Step;

/// What a camera is made of.
#[derive(Debug)]
pub struct CameraSettings<S> {
    /// The data folder; must exist.
    pub data: PathBuf,
    /// The queue in it.
    pub queue: Queue,
    /// Numbers reserved from the frame counter; the sensor's first exposure has the first of them.
    pub frames: Range<u64>,
    /// Where exposures come from.
    pub sensor: S,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How far to trust that.
    pub time_source: TimeSource,
    /// Where the keys are that will vouch for the photographs; said in the steps.
    pub element: ElementKind,
}

/// A camera at work on one data folder.
#[derive(Debug)]
pub struct Camera<S> {
    settings: CameraSettings<S>,
    source: Source,
    /// On disk without a row, because the queue could not be written.
    unqueued: Vec<NewPhoto>,
    /// Held shared for as long as this camera may write files.
    _at_work: File,
}

/// A photograph that is on disk, with its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Its row.
    pub photo: PhotoId,
    /// Its number.
    pub frame: u64,
    /// The JPEG, under the data folder as it was given.
    pub jpeg: PathBuf,
    /// The DNG, likewise.
    pub dng: PathBuf,
    /// Of the canonical raw, which is the DNG's strip.
    pub raw_hash: ImageHash,
    /// Of the JPEG file's bytes.
    pub processed_hash: ImageHash,
    /// Of the JPEG without its metadata segments.
    pub image_data_hash: ImageHash,
}

/// Why there is no photograph, or why it has no row.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The data folder cannot be used: missing, read-only, not a folder.
    #[error("data folder {}: {source}", path.display())]
    Folder {
        /// The folder, or what stands in it.
        path: PathBuf,
        /// The system's cause.
        source: io::Error,
    },
    /// The sensor gave no exposure.
    #[error(transparent)]
    Sensor(#[from] SensorError),
    /// The sensor counts otherwise than the frame counter.
    #[error("the sensor gave frame {frame}, but {} to {} are reserved", reserved.start, reserved.end.saturating_sub(1))]
    Frame {
        /// What the sensor gave.
        frame: u64,
        /// What was reserved and is left.
        reserved: Range<u64>,
    },
    /// A photograph of another program where a sensor's are kept, or the reverse.
    #[error("{}", if *.0 == Origin::OtherProgram {
        "a photograph of another program is not kept as a capture of this camera's sensor"
    } else {
        "a capture of a sensor is not kept as a photograph of another program"
    })]
    Source(Origin),
    /// The data folder is for photographs of the other kind: they have another authority, thus another queue.
    #[error("{}: {}", path.display(), if *other_programs {
        "holds photographs of other programs; a sensor needs a data folder of its own"
    } else {
        "holds photographs of a sensor; those of other programs need a data folder of their own"
    })]
    OtherSource {
        /// The folder of photographs.
        path: PathBuf,
        /// Whether it holds photographs of other programs.
        other_programs: bool,
    },
    /// No JPEG could be made.
    #[error(transparent)]
    Jpeg(#[from] JpegError),
    /// The encoder's file is no complete JPEG.
    #[error("the JPEG that was made is not complete")]
    JpegStructure,
    /// No DNG could be made.
    #[error(transparent)]
    Dng(#[from] DngWriteError),
    /// No EXIF could be made.
    #[error(transparent)]
    Exif(#[from] ExifError),
    /// A file could not be written; neither file is left.
    #[error("the photograph was not kept: {0}")]
    Write(#[from] DurableFileError),
    /// Both files are on disk, but not their row: the next capture adds it, or the next start.
    #[error("the photograph {} is on disk but not in the queue yet, and will be added: {source}", jpeg.display())]
    Unqueued {
        /// The JPEG.
        jpeg: PathBuf,
        /// Why there is no row.
        source: QueueError,
    },
    /// The queue could not be asked.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl<S: Sensor> Camera<S> {
    /// Prepares the data folder and, if no other camera is at work there, mends what a killed one left.
    /// Blocks; photographs that are recovered are read and hashed.
    pub fn open(settings: CameraSettings<S>) -> Result<(Self, Recovery), CaptureError> {
        Self::open_for(Source::Sensor, settings)
    }

    /// As [`Camera::open`], but for [`watch`](crate::sensor::watch): the data folder is marked as one of
    /// photographs that no sensor of ours vouches for, and its queue must be submitted under an authority
    /// whose policy allows them.
    pub fn open_for_other_programs(settings: CameraSettings<S>) -> Result<(Self, Recovery), CaptureError> {
        Self::open_for(Source::OtherPrograms, settings)
    }

    fn open_for(source: Source, settings: CameraSettings<S>) -> Result<(Self, Recovery), CaptureError> {
        let photos = settings.data.join(PHOTOS);
        let in_folder = |source| CaptureError::Folder { path: photos.clone(), source };
        match fs::create_dir(&photos) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(in_folder(error)),
            // A new folder's name must be as durable as what is put into it.
            Ok(()) => File::open(&settings.data).and_then(|folder| folder.sync_all()).map_err(in_folder)?,
            Err(_) => {}
        }
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(photos.join(LOCK_FILE));
        let lock = lock.map_err(in_folder)?;
        let recovery = match lock.try_lock() {
            Ok(()) => {
                source.claim(&photos)?;
                let recovery = recover::recover(&settings.data, &settings.queue)?;
                lock.unlock().map_err(in_folder)?;
                recovery
            }
            Err(TryLockError::WouldBlock) => {
                source.check(&photos)?;
                Recovery::default()
            }
            Err(TryLockError::Error(error)) => return Err(in_folder(error)),
        };
        lock.lock_shared().map_err(in_folder)?;
        Ok((Self { settings, source, unqueued: Vec::new(), _at_work: lock }, recovery))
    }

    /// The reserved numbers that are left.
    pub fn frames_left(&self) -> Range<u64> {
        self.settings.frames.clone()
    }

    /// Goes on with other numbers that were reserved.
    pub fn go_on_with(&mut self, frames: Range<u64>) {
        self.settings.sensor.number_from(frames.start);
        self.settings.frames = frames;
    }

    /// How far to trust the clock from now on.
    pub const fn trust_clock(&mut self, source: TimeSource) {
        self.settings.time_source = source;
    }

    /// Adds the rows that are missing because the queue could not be written when they were due. Blocks.
    pub fn queue_left_behind(&mut self) -> Result<(), QueueError> {
        while let Some(photo) = self.unqueued.first() {
            // A write may have succeeded although it was not answered.
            if !self.settings.queue.has_frame(photo.frame)? {
                self.settings.queue.insert(photo.clone())?;
            }
            self.unqueued.remove(0);
        }
        Ok(())
    }

    /// Takes one photograph. When this returns `Ok`, it survives a power cut, and so does its row.
    /// Blocks for the exposure, the computing and the disk.
    pub fn capture(&mut self, on_step: &mut dyn FnMut(Step)) -> Result<Captured, CaptureError> {
        self.queue_left_behind()?;
        let Exposure { raw, metadata, picture } = self.settings.sensor.expose()?;
        if !self.source.takes(metadata.origin) {
            return Err(CaptureError::Source(metadata.origin));
        }
        let frame = self.number(metadata.frame)?;
        fault::reached("exposed");
        on_step(Step::RawCaptured { size: raw.format().size, origin: metadata.origin });
        let time = CaptureTime { at: self.settings.clock.now(), source: self.settings.time_source };
        let details = CaptureDetails { metadata: &metadata, time };
        let files = Files::of(frame);
        let made = files.write(&self.settings.data, &raw, picture, &details)?;
        fault::reached("both files kept");
        on_step(Step::RawHashed { hash: made.hashes.raw, element: self.settings.element });
        on_step(Step::JpegProcessed { bytes: made.jpeg_bytes });
        on_step(Step::ProcessedHashed { hash: made.hashes.processed });
        let Files { jpeg, dng } = files;
        let (taken_at, time_source) = (time.at, time.source);
        let captured = self.enqueue(NewPhoto { frame, taken_at, time_source, jpeg, dng, hashes: made.hashes })?;
        fault::reached("row kept");
        self.settings.sensor.kept();
        on_step(Step::Queued);
        Ok(captured)
    }

    /// The exposure's number, which must be one that was reserved and has not been used.
    fn number(&mut self, frame: u64) -> Result<u64, CaptureError> {
        let reserved = &mut self.settings.frames;
        if !reserved.contains(&frame) {
            return Err(CaptureError::Frame { frame, reserved: reserved.clone() });
        }
        reserved.start = frame + 1;
        Ok(frame)
    }

    fn enqueue(&mut self, photo: NewPhoto) -> Result<Captured, CaptureError> {
        let (jpeg, dng) = (self.settings.data.join(&photo.jpeg), self.settings.data.join(&photo.dng));
        let frame = photo.frame;
        let PhotoHashes { raw: raw_hash, processed: processed_hash, image_data: image_data_hash } = photo.hashes;
        match self.settings.queue.insert(photo.clone()) {
            Ok(photo) => Ok(Captured { photo, frame, jpeg, dng, raw_hash, processed_hash, image_data_hash }),
            Err(source) => {
                self.unqueued.push(photo);
                Err(CaptureError::Unqueued { jpeg, source })
            }
        }
    }
}

/// The two files of a photograph, relative to the data folder.
#[derive(Clone, Debug)]
struct Files {
    jpeg: PathBuf,
    dng: PathBuf,
}

/// What was written.
struct Made {
    hashes: PhotoHashes,
    jpeg_bytes: usize,
}

impl Files {
    fn of(frame: u64) -> Self {
        let name = |end: &str| Path::new(PHOTOS).join(format!("IMG_{frame:06}.{end}"));
        Self { jpeg: name("jpg"), dng: name("dng") }
    }

    /// Writes both files, side by side on two threads. If one fails, the other is taken away again.
    fn write(
        &self,
        data: &Path,
        raw: &RawFrame,
        picture: Picture,
        details: &CaptureDetails<'_>,
    ) -> Result<Made, CaptureError> {
        let (dng, jpeg) = (data.join(&self.dng), data.join(&self.jpeg));
        let (raw_made, jpeg_made) = rayon::join(
            || write_dng(&dng, raw, details),
            || jpeg_of(raw, picture, details).and_then(|bytes| write_jpeg(&jpeg, &bytes)),
        );
        match (raw_made, jpeg_made) {
            (Ok(raw), Ok((processed, image_data, jpeg_bytes))) => {
                Ok(Made { hashes: PhotoHashes { raw, processed, image_data }, jpeg_bytes })
            }
            (raw_made, jpeg_made) => {
                // Only what this call has written: a file that was there before is why the other failed.
                // A power cut in between leaves a single file, which is reported at the next start.
                if raw_made.is_ok() {
                    drop(fs::remove_file(&dng));
                }
                if jpeg_made.is_ok() {
                    drop(fs::remove_file(&jpeg));
                }
                Err(raw_made.err().or(jpeg_made.err()).unwrap_or(CaptureError::JpegStructure))
            }
        }
    }
}

fn write_dng(path: &Path, raw: &RawFrame, details: &CaptureDetails<'_>) -> Result<ImageHash, CaptureError> {
    let header = dng::header(raw, details)?;
    let (hash, written) = rayon::join(
        || raw.hash(),
        || {
            write_durably(path, IfTaken::Refuse, |file| {
                file.write_all(&header)?;
                file.write_all(raw.canonical_bytes())
            })
        },
    );
    written?;
    Ok(hash)
}

/// The file that is hashed: with EXIF already inside, unless it is somebody else's.
fn jpeg_of(raw: &RawFrame, picture: Picture, details: &CaptureDetails<'_>) -> Result<Vec<u8>, CaptureError> {
    let exif = || details.to_exif(raw.format().size);
    Ok(match picture {
        Picture::Undeveloped => jpeg::encode(raw, &exif()?)?,
        Picture::Developed(made) => jpeg::with_exif(&made, &exif()?)?,
        Picture::Published(file) => file,
    })
}

fn write_jpeg(path: &Path, jpeg: &[u8]) -> Result<(ImageHash, ImageHash, usize), CaptureError> {
    let image_data = jpeg_image_data(jpeg).ok_or(CaptureError::JpegStructure)?;
    write_durably(path, IfTaken::Refuse, |file| file.write_all(jpeg))?;
    Ok((ImageHash::of(jpeg), image_data, jpeg.len()))
}

const PHOTOS: &str = "photos";
const LOCK_FILE: &str = ".lock";
