//! What a sensor saw, in the one form that is hashed.
//!
//! For: [`RawFrame`], the canonical raw and what is needed to interpret it.
//!
//! Not for: obtaining one (`sensor`), making a picture of it (`isp`), or keeping it (`dng`).
//!
//! Format, the canonical raw: width x height samples from the top left, row by row without padding, each
//! a `u16` in little endian whose value starts at bit 0. The raw hash is SHA-256 of these bytes
//! (24,660,480 of them at 4056 x 3040). Size, levels and colours are no part of the hash.

use std::fmt;
use std::str::FromStr;

use birthmark_core::ImageHash;

pub use crate::colour::ColourProfile;

/// The canonical raw of one exposure.
#[derive(Clone, PartialEq)]
pub struct RawFrame {
    format: RawFormat,
    bytes: Vec<u8>,
}

/// How to interpret the samples of a [`RawFrame`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawFormat {
    /// Columns and rows.
    pub size: FrameSize,
    /// Which colour each site of the 2 x 2 cell sees.
    pub cfa: CfaOrder,
    /// What darkness reads, in DN, for the cell's sites: top left, top right, bottom left, bottom right.
    pub black: [f32; 4],
    /// The value at which a sample is saturated.
    pub white: u16,
    /// What the colours mean.
    pub colour: ColourProfile,
}

/// Even numbers of columns and rows, each from 16 to 8192.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSize {
    width: u16,
    height: u16,
}

/// The colour filter array: the colours of the first two sites of the first two rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CfaOrder {
    /// Red, green / green, blue.
    Rggb,
    /// Green, red / blue, green.
    Grbg,
    /// Green, blue / red, green.
    Gbrg,
    /// Blue, green / green, red.
    Bggr,
}

/// One of the three colours, numbered as in DNG's `CFAPattern`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Red, 0.
    Red = 0,
    /// Green, 1.
    Green = 1,
    /// Blue, 2.
    Blue = 2,
}

/// Why samples are no frame.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum RawFrameError {
    /// More or fewer bytes than the size needs.
    #[error("a raw frame of {size} has {expected} bytes, not {actual}")]
    Length {
        /// Columns and rows.
        size: FrameSize,
        /// Bytes that this size needs.
        expected: usize,
        /// Bytes that came.
        actual: usize,
    },
    /// No range between darkness and saturation.
    #[error("black level {black} does not lie between 0 and the white level {white}")]
    Levels {
        /// The offending black level.
        black: f32,
        /// The white level.
        white: u16,
    },
}

/// Why a size is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameSizeError {
    /// Not two numbers with an `x` between them.
    #[error("a frame size is written WIDTHxHEIGHT, as in 4056x3040")]
    Syntax,
    /// Too small, too large or odd.
    #[error("width and height must be even and from {min} to {max}", min = FrameSize::MIN, max = FrameSize::MAX)]
    Range,
}

impl RawFrame {
    /// Takes canonical bytes; their number and the levels are checked.
    pub fn new(format: RawFormat, bytes: Vec<u8>) -> Result<Self, RawFrameError> {
        let expected = format.size.bytes();
        if bytes.len() != expected {
            return Err(RawFrameError::Length { size: format.size, expected, actual: bytes.len() });
        }
        match format.black.into_iter().find(|black| !(0.0..f32::from(format.white)).contains(black)) {
            Some(black) => Err(RawFrameError::Levels { black, white: format.white }),
            None => Ok(Self { format, bytes }),
        }
    }

    /// Size, levels and colours.
    pub const fn format(&self) -> &RawFormat {
        &self.format
    }

    /// The bytes that are hashed and stored.
    pub fn canonical_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The raw hash: SHA-256 of the canonical bytes.
    pub fn hash(&self) -> ImageHash {
        ImageHash::of(&self.bytes)
    }

    /// One row of samples, each as two little-endian bytes. Rows beyond the last are empty.
    pub fn row(&self, y: usize) -> &[[u8; 2]] {
        let width = self.format.size.width();
        self.bytes.as_chunks().0.get(y * width..(y + 1) * width).unwrap_or_default()
    }
}

/// The samples are a photograph: only their hash and format are shown.
impl fmt::Debug for RawFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawFrame").field("format", &self.format).field("bytes", &self.bytes.len()).finish()
    }
}

impl RawFormat {
    /// Bits that the white level takes: 12 for 4095.
    pub const fn bits(&self) -> u32 {
        u16::BITS - self.white.leading_zeros()
    }
}

impl FrameSize {
    /// The IMX477's full frame, 4056 x 3040.
    pub const IMX477: Self = Self { width: 4056, height: 3040 };
    /// Least columns or rows.
    pub const MIN: u16 = 16;
    /// Most columns or rows.
    pub const MAX: u16 = 8192;

    /// Checks both numbers.
    pub fn new(width: u32, height: u32) -> Result<Self, FrameSizeError> {
        let side = |value: u32| match u16::try_from(value) {
            Ok(value) if (Self::MIN..=Self::MAX).contains(&value) && value.is_multiple_of(2) => Ok(value),
            _ => Err(FrameSizeError::Range),
        };
        Ok(Self { width: side(width)?, height: side(height)? })
    }

    /// Columns.
    pub const fn width(self) -> usize {
        self.width as usize
    }

    /// Rows.
    pub const fn height(self) -> usize {
        self.height as usize
    }

    /// Columns and rows as JPEG counts them.
    pub const fn sides(self) -> (u16, u16) {
        (self.width, self.height)
    }

    /// Samples in a frame.
    pub const fn samples(self) -> usize {
        self.width() * self.height()
    }

    /// Bytes of the canonical raw.
    pub const fn bytes(self) -> usize {
        self.samples() * 2
    }
}

impl fmt::Display for FrameSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl FromStr for FrameSize {
    type Err = FrameSizeError;
    fn from_str(text: &str) -> Result<Self, FrameSizeError> {
        let side = |part: &str| match part.parse() {
            Ok(value) if part.bytes().all(|b| b.is_ascii_digit()) => Ok(value),
            _ => Err(FrameSizeError::Syntax),
        };
        let (width, height) = text.split_once('x').ok_or(FrameSizeError::Syntax)?;
        Self::new(side(width)?, side(height)?)
    }
}

impl CfaOrder {
    /// The colour at a place of the frame.
    pub const fn channel(self, x: usize, y: usize) -> Channel {
        self.channels()[(y % 2) * 2 + x % 2]
    }

    /// The colours of the 2 x 2 cell, row by row.
    pub const fn channels(self) -> [Channel; 4] {
        use Channel::{Blue, Green, Red};
        match self {
            Self::Rggb => [Red, Green, Green, Blue],
            Self::Grbg => [Green, Red, Blue, Green],
            Self::Gbrg => [Green, Blue, Red, Green],
            Self::Bggr => [Blue, Green, Green, Red],
        }
    }

    /// The order with this cell, as DNG's `CFAPattern` writes it.
    pub fn from_pattern(pattern: &[u8]) -> Option<Self> {
        [Self::Rggb, Self::Grbg, Self::Gbrg, Self::Bggr].into_iter().find(|order| order.pattern() == pattern)
    }

    /// The cell as DNG's `CFAPattern` writes it: 0 red, 1 green, 2 blue.
    pub fn pattern(self) -> [u8; 4] {
        self.channels().map(|channel| channel as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(white: u16, black: f32) -> RawFormat {
        let size = FrameSize::new(16, 18).unwrap();
        RawFormat { size, cfa: CfaOrder::Bggr, black: [black; 4], white, colour: ColourProfile::IMX477_4559K }
    }

    #[test]
    fn sizes_are_even_and_bounded() {
        assert_eq!("4056x3040".parse(), Ok(FrameSize::IMX477));
        assert_eq!(FrameSize::IMX477.bytes(), 24_660_480);
        for bad in ["15x16", "17x16", "16x8194", "14x16", "4294967312x16", "0x0"] {
            assert!(bad.parse::<FrameSize>().is_err(), "{bad}");
        }
        for bad in ["", "16", "x", "16x", "+16x16", "16X16", "16x16x16", " 16x16", "-16x16"] {
            assert_eq!(bad.parse::<FrameSize>(), Err(FrameSizeError::Syntax), "{bad}");
        }
    }

    #[test]
    fn frames_of_the_wrong_length_or_without_range_are_refused() {
        let good = format(4095, 256.3);
        assert!(RawFrame::new(good, vec![0; 16 * 18 * 2]).is_ok());
        assert!(matches!(RawFrame::new(good, vec![0; 16 * 18 * 2 - 1]), Err(RawFrameError::Length { .. })));
        for (white, black) in [(4095, 4095.0), (4095, -1.0), (0, 0.0), (4095, f32::NAN)] {
            let refused = RawFrame::new(format(white, black), vec![0; 16 * 18 * 2]);
            assert!(matches!(refused, Err(RawFrameError::Levels { .. })), "{white} {black}");
        }
    }

    #[test]
    fn raw_hash_is_sha256_of_little_endian_samples() {
        let bytes: Vec<u8> = (0..16_u16 * 18).flat_map(u16::to_le_bytes).collect();
        let frame = RawFrame::new(format(4095, 0.0), bytes).unwrap();
        assert_eq!(u16::from_le_bytes(frame.row(1)[2]), 18);
        // From `python3 -c "import hashlib,struct; print(hashlib.sha256(struct.pack('<288H',*range(288))).hexdigest())"`.
        assert_eq!(frame.hash().to_string(), PYTHON_SHA256);
        assert!(frame.row(18).is_empty());
    }

    #[test]
    fn cfa_orders_are_read_back_from_their_pattern() {
        for order in [CfaOrder::Rggb, CfaOrder::Grbg, CfaOrder::Gbrg, CfaOrder::Bggr] {
            assert_eq!(CfaOrder::from_pattern(&order.pattern()), Some(order));
        }
        assert_eq!(CfaOrder::from_pattern(&[0, 1, 2, 1]), None);
        assert_eq!(CfaOrder::from_pattern(&[0, 1, 1]), None);
    }

    const PYTHON_SHA256: &str = "014676a3639ed0a392dc5182a9311621af121597707bc4acdb53c76844e20b32";
}
