//! One image file directory of a DNG and the values of its tags (TIFF 6.0, section 2).
//!
//! For: `reader`, which knows what the tags mean.
//! Not for: writing (`ifd`).

use super::DngError;
use crate::colour::ColourProfile;
use crate::dng::{PHOTOMETRIC_CFA, tag};
use crate::raw_frame::CfaOrder;

/// The entries of one directory, 12 bytes each.
#[derive(Clone, Copy)]
pub(super) struct Entries<'a> {
    file: &'a [u8],
    entries: &'a [[u8; 12]],
}

/// One tag's values, still in bytes.
struct Values<'a> {
    kind: u16,
    bytes: &'a [u8],
}

impl<'a> Entries<'a> {
    pub(super) fn at(file: &'a [u8], offset: u32) -> Result<Self, DngError> {
        let truncated = DngError::Truncated("directory");
        let rest = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)).ok_or(truncated.clone())?;
        let (count, rest) = rest.split_first_chunk().ok_or(truncated.clone())?;
        let entries = rest.as_chunks().0.get(..usize::from(u16::from_le_bytes(*count))).ok_or(truncated)?;
        Ok(Self { file, entries })
    }

    /// This directory or the first below it that holds a colour filter array.
    pub(super) fn raw_directory(self) -> Result<Self, DngError> {
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

    /// The directory with EXIF's tags, if there is one that can be read.
    pub(super) fn exif_directory(&self) -> Option<Self> {
        self.number(tag::EXIF_IFD).ok().flatten().and_then(|offset| Self::at(self.file, offset).ok())
    }

    /// The bytes of all strips, which must be one stretch of the file. A tile that is the whole frame is
    /// a strip by another name: that is how Python's `pidng` writes.
    pub(super) fn strips(&self) -> Result<&'a [u8], DngError> {
        let mut offsets = self.numbers(tag::STRIP_OFFSETS, "StripOffsets")?;
        let mut counts = self.numbers(tag::STRIP_BYTE_COUNTS, "StripByteCounts")?;
        if offsets.is_empty() && self.is_one_tile()? {
            offsets = self.numbers(tag::TILE_OFFSETS, "TileOffsets")?;
            counts = self.numbers(tag::TILE_BYTE_COUNTS, "TileByteCounts")?;
        }
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

    fn is_one_tile(&self) -> Result<bool, DngError> {
        let tile = (self.number(tag::TILE_WIDTH)?, self.number(tag::TILE_LENGTH)?);
        Ok(tile == (self.number(tag::IMAGE_WIDTH)?, self.number(tag::IMAGE_LENGTH)?))
    }

    pub(super) fn cfa(&self) -> Result<CfaOrder, DngError> {
        let missing = DngError::Missing("CFAPattern");
        let pattern = self.values(tag::CFA_PATTERN)?.ok_or(missing.clone())?;
        CfaOrder::from_pattern(pattern.bytes).ok_or(missing)
    }

    pub(super) fn black_levels(&self) -> [f32; 4] {
        let levels = self.values(tag::BLACK_LEVEL).ok().flatten().and_then(|values| values.reals());
        match levels.as_deref() {
            Some([one]) => [*one; 4],
            Some([a, b, c, d]) => [*a, *b, *c, *d],
            _ => [0.0; 4],
        }
    }

    pub(super) fn colours(&self) -> Option<ColourProfile> {
        let reals = |tag| self.values(tag).ok().flatten().and_then(|values| values.reals());
        let matrix = reals(tag::COLOR_MATRIX_1)?;
        let (rows, []) = matrix.as_chunks::<3>() else { return None };
        ColourProfile::from_dng(reals(tag::AS_SHOT_NEUTRAL)?.try_into().ok()?, rows.try_into().ok()?)
    }

    /// A tag's first number, whole or not.
    pub(super) fn real(&self, tag: u16) -> Option<f64> {
        let reals = self.values(tag).ok().flatten().and_then(|values| values.reals())?;
        reals.first().copied().map(f64::from).filter(|value| value.is_finite())
    }

    /// A tag's text up to its first zero byte; what is not printable ASCII becomes `?`.
    pub(super) fn text(&self, tag: u16) -> Option<String> {
        let values = self.values(tag).ok().flatten().filter(|values| values.kind == ASCII)?;
        let text = values.bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let printable = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '?' };
        let text: String = text.iter().take(MAX_TEXT).map(printable).collect();
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// A tag's first number.
    pub(super) fn number(&self, tag: u16) -> Result<Option<u32>, DngError> {
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
        BYTE | ASCII | 6 | 7 => Some(1),
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
/// Longest name of a maker or a camera.
const MAX_TEXT: usize = 64;

const BYTE: u16 = 1;
const ASCII: u16 = 2;
const SHORT: u16 = 3;
const LONG: u16 = 4;
const RATIONAL: u16 = 5;
const SIGNED_RATIONAL: u16 = 10;
const IFD: u16 = 13;
