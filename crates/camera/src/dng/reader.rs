//! The canonical raw out of a DNG.
//!
//! For: computing the raw hash from a file that anybody may have made. Nothing is allocated beyond the
//! frame itself, whose size is bounded, and at most `MAX_VALUES` values of a tag are looked at.
//!
//! Not for: pictures; tags that only matter for colour may be missing or senseless without harm, since
//! they are no part of the hash: levels then take DNG's defaults, colours are taken for sRGB.
//!
//! Read are little-endian files with 16-bit uncompressed strips in the main directory, or in the first
//! of its `SubIFDs` that holds a colour filter array. The strips must follow each other in the file.

use super::{COMPRESSION_NONE, PHOTOMETRIC_CFA, tag};
use crate::colour::ColourProfile;
use crate::raw_frame::{CfaOrder, FrameSize, FrameSizeError, RawFormat, RawFrame, RawFrameError};

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
    let main = match file.first_chunk::<8>() {
        Some([b'I', b'I', 42, 0, offset @ ..]) => Entries::at(file, u32::from_le_bytes(*offset))?,
        Some([b'M', b'M', 0, 42, _, _, _, _]) => return Err(DngError::BigEndian),
        _ => return Err(DngError::NotTiff),
    };
    let raw = main.raw_directory()?;
    for (what, tag, supported) in [
        ("compression", tag::COMPRESSION, COMPRESSION_NONE.into()),
        ("bits per sample", tag::BITS_PER_SAMPLE, 16),
        ("number of samples per pixel", tag::SAMPLES_PER_PIXEL, 1),
    ] {
        let value = raw.number(tag)?.unwrap_or(1);
        if value != supported {
            return Err(DngError::Unsupported { what, value, supported });
        }
    }
    let required = |tag, name| raw.number(tag)?.ok_or(DngError::Missing(name));
    let size = FrameSize::new(required(tag::IMAGE_WIDTH, "ImageWidth")?, required(tag::IMAGE_LENGTH, "ImageLength")?)?;
    let strips = raw.strips()?;
    let format = RawFormat {
        size,
        cfa: raw.cfa()?,
        black: raw.black_levels(),
        white: raw.number(tag::WHITE_LEVEL)?.and_then(|white| u16::try_from(white).ok()).unwrap_or(u16::MAX),
        // Colours stand in the main directory, wherever the samples are.
        colour: main.colours().unwrap_or(ColourProfile::UNKNOWN),
    };
    if strips.len() != size.bytes() {
        return Err(RawFrameError::Length { size, expected: size.bytes(), actual: strips.len() }.into());
    }
    Ok(RawFrame::new(format, strips.to_vec())?)
}

/// The entries of one directory, 12 bytes each.
#[derive(Clone, Copy)]
struct Entries<'a> {
    file: &'a [u8],
    entries: &'a [[u8; 12]],
}

/// One tag's values, still in bytes.
struct Values<'a> {
    kind: u16,
    bytes: &'a [u8],
}

impl<'a> Entries<'a> {
    fn at(file: &'a [u8], offset: u32) -> Result<Self, DngError> {
        let truncated = DngError::Truncated("directory");
        let rest = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)).ok_or(truncated.clone())?;
        let (count, rest) = rest.split_first_chunk().ok_or(truncated.clone())?;
        let entries = rest.as_chunks().0.get(..usize::from(u16::from_le_bytes(*count))).ok_or(truncated)?;
        Ok(Self { file, entries })
    }

    /// This directory or the first below it that holds a colour filter array.
    fn raw_directory(self) -> Result<Self, DngError> {
        if self.is_raw()? {
            return Ok(self);
        }
        for offset in self.numbers(tag::SUB_IFDS, "SubIFDs")?.into_iter().take(MAX_DIRECTORIES) {
            let below = Self::at(self.file, offset)?;
            if below.is_raw()? {
                return Ok(below);
            }
        }
        Err(DngError::NoRaw)
    }

    fn is_raw(&self) -> Result<bool, DngError> {
        Ok(self.number(tag::PHOTOMETRIC)? == Some(PHOTOMETRIC_CFA.into()))
    }

    /// The bytes of all strips, which must be one stretch of the file.
    fn strips(&self) -> Result<&'a [u8], DngError> {
        let offsets = self.numbers(tag::STRIP_OFFSETS, "StripOffsets")?;
        let counts = self.numbers(tag::STRIP_BYTE_COUNTS, "StripByteCounts")?;
        let first = *offsets.first().ok_or(DngError::Missing("StripOffsets"))?;
        if offsets.len() != counts.len() {
            return Err(DngError::Strips);
        }
        let mut end = u64::from(first);
        for (offset, count) in offsets.into_iter().zip(counts) {
            if u64::from(offset) != end {
                return Err(DngError::Strips);
            }
            end += u64::from(count);
        }
        let range = usize::try_from(first).ok().zip(usize::try_from(end).ok());
        range.and_then(|(first, end)| self.file.get(first..end)).ok_or(DngError::Truncated("strip"))
    }

    fn cfa(&self) -> Result<CfaOrder, DngError> {
        let missing = DngError::Missing("CFAPattern");
        let pattern = self.values(tag::CFA_PATTERN)?.ok_or(missing.clone())?;
        CfaOrder::from_pattern(pattern.bytes).ok_or(missing)
    }

    fn black_levels(&self) -> [f32; 4] {
        let levels = self.values(tag::BLACK_LEVEL).ok().flatten().and_then(|values| values.reals());
        match levels.as_deref() {
            Some([one]) => [*one; 4],
            Some([a, b, c, d]) => [*a, *b, *c, *d],
            _ => [0.0; 4],
        }
    }

    fn colours(&self) -> Option<ColourProfile> {
        let reals = |tag| self.values(tag).ok().flatten().and_then(|values| values.reals());
        let matrix = reals(tag::COLOR_MATRIX_1)?;
        let (rows, []) = matrix.as_chunks::<3>() else { return None };
        ColourProfile::from_dng(reals(tag::AS_SHOT_NEUTRAL)?.try_into().ok()?, rows.try_into().ok()?)
    }

    /// A tag's first number.
    fn number(&self, tag: u16) -> Result<Option<u32>, DngError> {
        Ok(self.values(tag)?.and_then(|values| values.numbers()).and_then(|numbers| numbers.first().copied()))
    }

    /// All of a tag's numbers; none where it is missing.
    fn numbers(&self, tag: u16, name: &'static str) -> Result<Vec<u32>, DngError> {
        match self.values(tag)? {
            Some(values) => values.numbers().ok_or(DngError::Missing(name)),
            None => Ok(Vec::new()),
        }
    }

    fn values(&self, tag: u16) -> Result<Option<Values<'a>>, DngError> {
        let Some(entry) = self.entries.iter().find(|entry| entry.starts_with(&tag.to_le_bytes())) else {
            return Ok(None);
        };
        let [_, _, kind0, kind1, count0, count1, count2, count3, value @ ..] = entry;
        let (kind, count) =
            (u16::from_le_bytes([*kind0, *kind1]), u32::from_le_bytes([*count0, *count1, *count2, *count3]));
        let len = usize::try_from(count).ok().filter(|count| *count <= MAX_VALUES).zip(unit(kind));
        let len = len.map(|(count, unit)| count * unit).ok_or(DngError::Truncated("tag"))?;
        if len <= value.len() {
            return Ok(Some(Values { kind, bytes: &value[..len] }));
        }
        let rest = usize::try_from(u32::from_le_bytes(*value)).ok().and_then(|offset| self.file.get(offset..));
        let bytes = rest.and_then(|rest| rest.get(..len)).ok_or(DngError::Truncated("tag"))?;
        Ok(Some(Values { kind, bytes }))
    }
}

impl Values<'_> {
    /// Whole numbers of 8, 16 or 32 bits.
    fn numbers(&self) -> Option<Vec<u32>> {
        match self.kind {
            BYTE => Some(self.bytes.iter().map(|byte| u32::from(*byte)).collect()),
            SHORT => Some(self.bytes.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes).into()).collect()),
            LONG | IFD => Some(self.bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()),
            _ => None,
        }
    }

    /// Whole numbers or fractions.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "levels and colours, not hashed")]
    fn reals(&self) -> Option<Vec<f32>> {
        let halves = || self.bytes.as_chunks::<8>().0.iter().map(|[a, b, c, d, rest @ ..]| ([*a, *b, *c, *d], *rest));
        let divided = |over: f64, under: f64| (over / under) as f32;
        match self.kind {
            RATIONAL => Some(
                halves().map(|(n, d)| divided(u32::from_le_bytes(n).into(), u32::from_le_bytes(d).into())).collect(),
            ),
            SIGNED_RATIONAL => Some(
                halves().map(|(n, d)| divided(i32::from_le_bytes(n).into(), i32::from_le_bytes(d).into())).collect(),
            ),
            _ => self.numbers().map(|numbers| numbers.into_iter().map(|number| number as f32).collect()),
        }
    }
}

/// Bytes of one value of a type.
fn unit(kind: u16) -> Option<usize> {
    match kind {
        BYTE | 2 | 6 | 7 => Some(1),
        SHORT | 8 => Some(2),
        LONG | 9 | 11 | IFD => Some(4),
        RATIONAL | SIGNED_RATIONAL | 12 => Some(8),
        _ => None,
    }
}

/// Most directories below the main one that are looked at; DNGs have two or three.
const MAX_DIRECTORIES: usize = 16;
/// Most values of a tag: one strip a row of the largest frame.
const MAX_VALUES: usize = 8192;

const BYTE: u16 = 1;
const SHORT: u16 = 3;
const LONG: u16 = 4;
const RATIONAL: u16 = 5;
const SIGNED_RATIONAL: u16 = 10;
const IFD: u16 = 13;
