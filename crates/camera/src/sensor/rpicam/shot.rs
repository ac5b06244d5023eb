//! From the three files of a shot to an exposure, or the reason why they are none.
//!
//! For: deciding whether raw, JPEG and metadata are whole, are new, and are of one exposure. The program
//! writes all three from one request of its library, but a stuck or replaced one may not.
//!
//! Not for: obtaining the files (`process`).

use std::io::Cursor;
use std::time::Duration;

use birthmark_core::image_data::jpeg_image_data;
use exif::{In, Tag, Value};

use super::RpicamError;
use super::metadata::{self, Metadata, SensorTimestamp};
use crate::dng::{self, DngFile};
use crate::raw_frame::{CfaOrder, FrameSize, RawFrame};

/// The files of one shot, each of bounded length.
#[derive(Debug)]
pub(super) struct ShotFiles {
    pub(super) jpeg: Vec<u8>,
    pub(super) dng: Vec<u8>,
    pub(super) metadata: Vec<u8>,
}

/// What a shot must be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) size: FrameSize,
    /// The mosaic of this sensor, once it is known.
    pub(super) cfa: Option<CfaOrder>,
    /// The shot before this one.
    pub(super) last: Option<SensorTimestamp>,
}

/// One exposure, checked.
#[derive(Debug)]
pub(super) struct Shot {
    pub(super) raw: RawFrame,
    pub(super) jpeg: Vec<u8>,
    pub(super) metadata: Metadata,
    pub(super) make: Option<String>,
    pub(super) model: Option<String>,
}

pub(super) fn check(files: ShotFiles, expected: Expected) -> Result<Shot, RpicamError> {
    let ShotFiles { jpeg, dng, metadata } = files;
    let metadata = metadata::parse(&metadata)?;
    // A time that does not move on is a picture of a moment that has passed.
    if expected.last.is_some_and(|last| metadata.timestamp <= last) {
        return Err(RpicamError::Stale);
    }
    let DngFile { raw, make, model, exposure_time, iso } = dng::read(&dng)?;
    drop(dng);
    let format = raw.format();
    if format.size != expected.size {
        return Err(RpicamError::Size { expected: expected.size, actual: format.size });
    }
    if let Some(cfa) = expected.cfa.filter(|cfa| *cfa != format.cfa) {
        return Err(RpicamError::BayerOrder { expected: cfa, actual: format.cfa });
    }
    if !same_time(exposure_time, metadata.exposure_time) || !same_gain(iso, metadata.analogue_gain) {
        return Err(RpicamError::Mismatch("DNG"));
    }
    jpeg_image_data(&jpeg).ok_or(RpicamError::Jpeg)?;
    if !same_time(jpeg_exposure_time(&jpeg), metadata.exposure_time) {
        return Err(RpicamError::Mismatch("JPEG"));
    }
    Ok(Shot { raw, jpeg, metadata, make, model })
}

/// The exposure time in a JPEG's EXIF, where there is one.
pub(crate) fn jpeg_exposure_time(jpeg: &[u8]) -> Option<Duration> {
    let exif = exif::Reader::new().read_from_container(&mut Cursor::new(jpeg)).ok()?;
    match &exif.get_field(Tag::ExposureTime, In::PRIMARY)?.value {
        Value::Rational(values) => Duration::try_from_secs_f64(values.first()?.to_f64()).ok(),
        _ => None,
    }
}

/// Whether a file that may say nothing contradicts. Files have microseconds or a fraction near them.
fn same_time(file: Option<Duration>, metadata: Duration) -> bool {
    let tolerance = metadata / 500 + Duration::from_micros(2);
    file.is_none_or(|file| file.abs_diff(metadata) <= tolerance)
}

/// The DNG's sensitivity is the gain times 100, cut to a whole number.
fn same_gain(iso: Option<u16>, gain: f64) -> bool {
    iso.is_none_or(|iso| (f64::from(iso) - gain * 100.0).abs() <= 1.0 + gain * 0.01)
}
