//! The raw samples out of a DNG.
//!
//! For: computing the raw hash from a file that anybody may have made, and taking a frame over from a
//! program that writes DNGs. Nothing is allocated beyond the frame itself, whose size is bounded, and at
//! most 8192 values of a tag are looked at.
//!
//! Not for: pictures; tags that only matter for colour may be missing or senseless without harm, since
//! they are no part of the hash: levels then take DNG's defaults, colours are taken for sRGB.
//!
//! Read are little-endian files with uncompressed strips in the main directory, or in the first of its
//! `SubIFDs` that holds a colour filter array. The strips must follow each other in the file. How the
//! samples may lie in them says `samples`.

mod directory;
mod samples;

use std::time::Duration;

use self::directory::Entries;
use self::samples::Layout;
use super::{COMPRESSION_NONE, tag};
use crate::colour::ColourProfile;
use crate::raw_frame::{FrameSize, FrameSizeError, RawFormat, RawFrame, RawFrameError};

/// What a DNG says about one exposure. All but the frame may be missing.
#[derive(Clone, Debug, PartialEq)]
pub struct DngFile {
    /// The samples in canonical form.
    pub raw: RawFrame,
    /// Who made the camera.
    pub make: Option<String>,
    /// Which camera it is.
    pub model: Option<String>,
    /// How long the shutter was open.
    pub exposure_time: Option<Duration>,
    /// Sensitivity after ISO 12232.
    pub iso: Option<u16>,
}

/// Why a file gives no canonical raw. The file is at fault in every case.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DngError {
    /// Not even the first bytes of a TIFF file.
    #[error("this is not a DNG file")]
    NotTiff,
    /// A big-endian file; its samples are not in canonical order.
    #[error("big-endian DNG files are not supported")]
    BigEndian,
    /// A TIFF file without raw samples.
    #[error("the file has no colour filter array: it is not a raw photograph")]
    NoRaw,
    /// The file ends before what it announces.
    #[error("the DNG is cut off: its {0} lies beyond the end of the file")]
    Truncated(&'static str),
    /// A tag that must be there is not.
    #[error("the DNG has no usable {0}")]
    Missing(&'static str),
    /// A layout that is not read here.
    #[error("the DNG's {what} is {value}, and only {supported} is supported")]
    Unsupported {
        /// The property.
        what: &'static str,
        /// What the file has.
        value: u32,
        /// What would be read.
        supported: u32,
    },
    /// Samples of another width than those that are read here.
    #[error("the DNG has {0} bits per sample, and only 10, 12, 14 and 16 are supported")]
    Bits(u32),
    /// A size beyond all sensors.
    #[error("the DNG's size is refused: {0}")]
    Size(#[from] FrameSizeError),
    /// Strips that leave gaps or overlap.
    #[error("the DNG's strips do not follow each other")]
    Strips,
    /// Strips that are not as long as the frame.
    #[error("the DNG's strips do not hold a frame: {0}")]
    Frame(#[from] RawFrameError),
}

/// Reads the canonical raw; its hash is the raw hash if the file is the one that the camera wrote.
pub fn read_canonical_raw(file: &[u8]) -> Result<RawFrame, DngError> {
    read(file).map(|read| read.raw)
}

/// Reads the canonical raw and what the file says about the exposure.
pub fn read(file: &[u8]) -> Result<DngFile, DngError> {
    let main = match file.first_chunk::<8>() {
        Some([b'I', b'I', 42, 0, offset @ ..]) => Entries::at(file, u32::from_le_bytes(*offset))?,
        Some([b'M', b'M', 0, 42, _, _, _, _]) => return Err(DngError::BigEndian),
        _ => return Err(DngError::NotTiff),
    };
    let raw = frame(&main, &main.raw_directory()?)?;
    // Some programs put these tags beside the others instead of where EXIF has them.
    let exif = main.exif_directory().unwrap_or(main);
    let real = |tag| exif.real(tag).or_else(|| main.real(tag));
    let seconds = real(tag::EXPOSURE_TIME).filter(|seconds| *seconds > 0.0);
    Ok(DngFile {
        raw,
        make: main.text(tag::MAKE),
        model: main.text(tag::MODEL),
        exposure_time: seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        iso: exif
            .number(tag::ISO)
            .or_else(|_| main.number(tag::ISO))
            .ok()
            .flatten()
            .and_then(|iso| iso.try_into().ok()),
    })
}

fn frame(main: &Entries<'_>, raw: &Entries<'_>) -> Result<RawFrame, DngError> {
    for (what, tag, supported) in [
        ("compression", tag::COMPRESSION, COMPRESSION_NONE.into()),
        ("number of samples per pixel", tag::SAMPLES_PER_PIXEL, 1),
    ] {
        let value = raw.number(tag)?.unwrap_or(1);
        if value != supported {
            return Err(DngError::Unsupported { what, value, supported });
        }
    }
    let required = |tag, name| raw.number(tag)?.ok_or(DngError::Missing(name));
    let size = FrameSize::new(required(tag::IMAGE_WIDTH, "ImageWidth")?, required(tag::IMAGE_LENGTH, "ImageLength")?)?;
    let bits = raw.number(tag::BITS_PER_SAMPLE)?.unwrap_or(1);
    let layout = Layout::of(bits).ok_or(DngError::Bits(bits))?;
    let strips = raw.strips()?;
    let white = raw.number(tag::WHITE_LEVEL)?.and_then(|white| u16::try_from(white).ok());
    let format = RawFormat {
        size,
        cfa: raw.cfa()?,
        black: raw.black_levels(),
        white: white.unwrap_or(layout.white()),
        // Colours stand in the main directory, wherever the samples are.
        colour: main.colours().unwrap_or(ColourProfile::UNKNOWN),
    };
    let samples = layout.canonical(strips, size)?;
    Ok(RawFrame::new(format, samples)?)
}
