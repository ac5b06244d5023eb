//! The raw frame as a file that any raw converter opens (Adobe DNG 1.4).
//!
//! For: keeping the canonical raw so that anybody can compute the raw hash again, without our programs:
//! the file's one strip, from `StripOffsets` over `StripByteCounts` bytes, *is* the canonical raw.
//!
//! Read are files of other programs too, as long as their samples are not compressed (`reader`).
//!
//! Not for: DNGs in general. Compressed, truly tiled or big-endian ones are refused by name.
//!
//! What is written:
//! ```text
//! "II" ‖ le16 42 ‖ le32 8 ‖ main directory ‖ EXIF directory ‖ canonical raw
//! ```

mod reader;

use std::io::{self, Write};

use crate::colour::Matrix;
use crate::exif::{CaptureDetails, ExifError, TooLong, write_directories};
use crate::ifd::{HEADER, Value};
use crate::raw_frame::RawFrame;

pub use reader::{DngError, DngFile, read, read_canonical_raw};

/// Why no DNG was written.
#[derive(Debug, thiserror::Error)]
pub enum DngWriteError {
    /// The file system refused.
    #[error("cannot write the DNG: {0}")]
    Write(#[from] io::Error),
    /// The metadata is at fault.
    #[error(transparent)]
    Metadata(#[from] ExifError),
    /// Too much of it.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// Colours that cannot be computed back.
    #[error("the sensor's colour matrix has no inverse")]
    Colours,
}

/// Everything that comes before the strip. A file is this, then `frame.canonical_bytes()`.
pub fn header(frame: &RawFrame, details: &CaptureDetails<'_>) -> Result<Vec<u8>, DngWriteError> {
    let format = frame.format();
    let (width, height) = format.size.sides();
    let to_camera = format.colour.dng_matrix().ok_or(DngWriteError::Colours)?;
    let mut main = details.main_directory();
    main.set(tag::NEW_SUBFILE_TYPE, Value::long(0))
        .set(tag::IMAGE_WIDTH, Value::long(width.into()))
        .set(tag::IMAGE_LENGTH, Value::long(height.into()))
        .set(tag::BITS_PER_SAMPLE, Value::short(16))
        .set(tag::COMPRESSION, Value::short(COMPRESSION_NONE))
        .set(tag::PHOTOMETRIC, Value::short(PHOTOMETRIC_CFA))
        .set(tag::STRIP_OFFSETS, Value::long(0))
        .set(tag::ORIENTATION, Value::short(1))
        .set(tag::SAMPLES_PER_PIXEL, Value::short(1))
        .set(tag::ROWS_PER_STRIP, Value::long(height.into()))
        .set(tag::STRIP_BYTE_COUNTS, Value::Long(vec![u32::from(width) * u32::from(height) * 2]))
        .set(tag::PLANAR_CONFIGURATION, Value::short(1))
        .set(tag::CFA_REPEAT_PATTERN_DIM, Value::Short(vec![2, 2]))
        .set(tag::CFA_PATTERN, Value::Byte(format.cfa.pattern().to_vec()))
        .set(tag::DNG_VERSION, Value::Byte(vec![1, 4, 0, 0]))
        .set(tag::DNG_BACKWARD_VERSION, Value::Byte(vec![1, 1, 0, 0]))
        .set(tag::UNIQUE_CAMERA_MODEL, Value::text(&details.metadata.model))
        .set(tag::CFA_PLANE_COLOR, Value::Byte(vec![0, 1, 2]))
        .set(tag::CFA_LAYOUT, Value::short(1))
        .set(tag::BLACK_LEVEL_REPEAT_DIM, Value::Short(vec![2, 2]))
        .set(tag::BLACK_LEVEL, Value::Rational(format.black.map(rational).to_vec()))
        .set(tag::WHITE_LEVEL, Value::long(format.white.into()))
        .set(tag::COLOR_MATRIX_1, signed_rationals(&to_camera))
        .set(tag::AS_SHOT_NEUTRAL, Value::Rational(format.colour.neutral.map(rational).to_vec()))
        .set(tag::CALIBRATION_ILLUMINANT_1, Value::short(ILLUMINANT_D65));
    // Numbers take the same room whatever they are, so a first pass tells where the strip begins.
    let exif = details.exif_directory()?;
    let mut file = HEADER.to_vec();
    write_directories(&mut main, &exif, &mut file)?;
    let strip = file.len().next_multiple_of(16);
    main.set(tag::STRIP_OFFSETS, Value::long(u32::try_from(strip).map_err(|_| TooLong)?));
    file.truncate(HEADER.len());
    write_directories(&mut main, &exif, &mut file)?;
    file.resize(strip, 0);
    Ok(file)
}

/// Writes a whole file, the strip straight from the frame.
pub fn write(out: &mut dyn Write, frame: &RawFrame, details: &CaptureDetails<'_>) -> Result<(), DngWriteError> {
    out.write_all(&header(frame, details)?)?;
    Ok(out.write_all(frame.canonical_bytes())?)
}

fn signed_rationals(matrix: &Matrix) -> Value {
    Value::SignedRational(matrix.iter().flatten().map(|value| (fixed(*value), DENOMINATOR)).collect())
}

fn rational(value: f32) -> (u32, u32) {
    (fixed(value).unsigned_abs(), DENOMINATOR.unsigned_abs())
}

#[expect(clippy::cast_possible_truncation, reason = "levels are below 65536, so ten thousandths fit")]
fn fixed(value: f32) -> i32 {
    (f64::from(value) * f64::from(DENOMINATOR)).round() as i32
}

const DENOMINATOR: i32 = 10_000;
const COMPRESSION_NONE: u16 = 1;
const PHOTOMETRIC_CFA: u16 = 32_803;
const ILLUMINANT_D65: u16 = 21;

mod tag {
    pub(super) const NEW_SUBFILE_TYPE: u16 = 254;
    pub(super) const IMAGE_WIDTH: u16 = 256;
    pub(super) const IMAGE_LENGTH: u16 = 257;
    pub(super) const BITS_PER_SAMPLE: u16 = 258;
    pub(super) const COMPRESSION: u16 = 259;
    pub(super) const PHOTOMETRIC: u16 = 262;
    pub(super) const MAKE: u16 = 271;
    pub(super) const MODEL: u16 = 272;
    pub(super) const STRIP_OFFSETS: u16 = 273;
    pub(super) const ORIENTATION: u16 = 274;
    pub(super) const SAMPLES_PER_PIXEL: u16 = 277;
    pub(super) const ROWS_PER_STRIP: u16 = 278;
    pub(super) const STRIP_BYTE_COUNTS: u16 = 279;
    pub(super) const PLANAR_CONFIGURATION: u16 = 284;
    pub(super) const TILE_WIDTH: u16 = 322;
    pub(super) const TILE_LENGTH: u16 = 323;
    pub(super) const TILE_OFFSETS: u16 = 324;
    pub(super) const TILE_BYTE_COUNTS: u16 = 325;
    pub(super) const SUB_IFDS: u16 = 330;
    pub(super) const EXPOSURE_TIME: u16 = 33_434;
    pub(super) const EXIF_IFD: u16 = 34_665;
    pub(super) const ISO: u16 = 34_855;
    pub(super) const CFA_REPEAT_PATTERN_DIM: u16 = 33_421;
    pub(super) const CFA_PATTERN: u16 = 33_422;
    pub(super) const DNG_VERSION: u16 = 50_706;
    pub(super) const DNG_BACKWARD_VERSION: u16 = 50_707;
    pub(super) const UNIQUE_CAMERA_MODEL: u16 = 50_708;
    pub(super) const CFA_PLANE_COLOR: u16 = 50_710;
    pub(super) const CFA_LAYOUT: u16 = 50_711;
    pub(super) const BLACK_LEVEL_REPEAT_DIM: u16 = 50_713;
    pub(super) const BLACK_LEVEL: u16 = 50_714;
    pub(super) const WHITE_LEVEL: u16 = 50_717;
    pub(super) const COLOR_MATRIX_1: u16 = 50_721;
    pub(super) const AS_SHOT_NEUTRAL: u16 = 50_728;
    pub(super) const CALIBRATION_ILLUMINANT_1: u16 = 50_778;
}

#[cfg(test)]
mod tests;
