//! From the bytes of a DNG's strips to the canonical raw.
//!
//! For: the layouts in which programs leave uncompressed samples. None of them changes a value.
//! Not for: finding the strips (`directory`), or compressed ones.
//!
//! ```text
//! 16 bits          le16 a sample; rpicam-still on every Pi (a Pi 5 scales samples to 16 bits)
//! 10, 12, 14 bits  a stream of bits, the highest first, each row from a new byte (TIFF 6.0, FillOrder 1)
//! 10 bits, CSI-2   4 samples in 5 bytes: their 8 high bits one by one, then the low pairs, the first lowest
//! 12 bits, CSI-2   2 samples in 3 bytes: their 8 high bits one by one, then the low halves, the first lowest
//! ```
//! TIFF leaves no gap between rows. Rows that are longer, in steps of 32 bytes, are what the camera
//! receiver of a Pi 4 leaves in memory (8128 bytes a row of 4056 samples of 16 bits, 6112 of 12 bits):
//! the gap is skipped, and fewer than 16 bits are in the order of CSI-2 (MIPI CSI-2, "RAW10", "RAW12").

use super::DngError;
use crate::raw_frame::{FrameSize, RawFrameError};

/// How wide a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// 10 bits.
    Ten,
    /// 12 bits.
    Twelve,
    /// 14 bits.
    Fourteen,
    /// 16 bits.
    Sixteen,
}

impl Layout {
    pub(super) const fn of(bits: u32) -> Option<Self> {
        match bits {
            10 => Some(Self::Ten),
            12 => Some(Self::Twelve),
            14 => Some(Self::Fourteen),
            16 => Some(Self::Sixteen),
            _ => None,
        }
    }

    const fn bits(self) -> usize {
        match self {
            Self::Ten => 10,
            Self::Twelve => 12,
            Self::Fourteen => 14,
            Self::Sixteen => 16,
        }
    }

    /// The highest value, which is DNG's default for the white level.
    pub(super) const fn white(self) -> u16 {
        u16::MAX >> (16 - self.bits())
    }

    /// The canonical raw of a frame whose rows are these bytes.
    pub(super) fn canonical(self, strips: &[u8], size: FrameSize) -> Result<Vec<u8>, DngError> {
        let tight = (size.width() * self.bits()).div_ceil(8);
        let row = strips.len() / size.height();
        let padded = row > tight && row - tight < MAX_GAP && row.is_multiple_of(ALIGNMENT);
        if !strips.len().is_multiple_of(size.height()) || !(row == tight || padded) {
            let (expected, actual) = (tight * size.height(), strips.len());
            return Err(RawFrameError::Length { size, expected, actual }.into());
        }
        if matches!(self, Self::Sixteen) && !padded {
            return Ok(strips.to_vec());
        }
        let mut canonical = Vec::with_capacity(size.bytes());
        for row in strips.chunks_exact(row) {
            let end = canonical.len() + 2 * size.width();
            match (self, padded) {
                (Self::Sixteen, _) => canonical.extend(row),
                (Self::Ten, true) => canonical.extend(row.as_chunks().0.iter().copied().flat_map(csi2_ten)),
                (Self::Twelve, true) => canonical.extend(row.as_chunks().0.iter().copied().flat_map(csi2_twelve)),
                // Receivers leave no samples of 14 bits; a row that is too long is a row of bits with a gap.
                (Self::Ten | Self::Twelve | Self::Fourteen, _) => self.unpack(row, &mut canonical),
            }
            canonical.truncate(end);
        }
        Ok(canonical)
    }

    /// Appends the samples of a row of bits.
    fn unpack(self, row: &[u8], canonical: &mut Vec<u8>) {
        let (mut held, mut count) = (0_u32, 0);
        for byte in row {
            held = (held << 8) | u32::from(*byte);
            count += 8;
            if count >= self.bits() {
                count -= self.bits();
                let [low, high, ..] = (held >> count).to_le_bytes();
                canonical.extend((u16::from_le_bytes([low, high]) & self.white()).to_le_bytes());
            }
        }
    }
}

fn csi2_ten([a, b, c, d, low]: [u8; 5]) -> [u8; 8] {
    let sample = |high: u8, shift: u32| (u16::from(high) << 2) | u16::from((low >> shift) & 0b11);
    let samples = [sample(a, 0), sample(b, 2), sample(c, 4), sample(d, 6)];
    let [[a0, a1], [b0, b1], [c0, c1], [d0, d1]] = samples.map(u16::to_le_bytes);
    [a0, a1, b0, b1, c0, c1, d0, d1]
}

fn csi2_twelve([a, b, low]: [u8; 3]) -> [u8; 4] {
    let sample = |high: u8, shift: u32| (u16::from(high) << 4) | u16::from((low >> shift) & 0xf);
    let [[a0, a1], [b0, b1]] = [sample(a, 0), sample(b, 4)].map(u16::to_le_bytes);
    [a0, a1, b0, b1]
}

/// Receivers begin each row at a multiple of this.
const ALIGNMENT: usize = 32;
/// A gap of this many bytes is none of a receiver's.
const MAX_GAP: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(width: u32, height: u32) -> FrameSize {
        FrameSize::new(width, height).unwrap()
    }

    fn bytes(samples: &[u16]) -> Vec<u8> {
        samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }

    /// Packs a row the way TIFF does, bit by bit.
    fn packed(samples: &[u16], bits: usize) -> Vec<u8> {
        let stream = samples.iter().flat_map(|sample| (0..bits).rev().map(move |bit| (sample >> bit) & 1 == 1));
        let stream: Vec<bool> = stream.collect();
        stream
            .chunks(8)
            .map(|eight| (0..8).fold(0, |byte, bit| byte << 1 | u8::from(eight.get(bit) == Some(&true))))
            .collect()
    }

    #[test]
    fn three_bytes_hold_two_samples_in_either_order() {
        let samples = bytes(&[0xabc, 0x123].repeat(8 * 16));
        let tiff = [0xab, 0xc1, 0x23].repeat(8 * 16);
        assert_eq!(Layout::Twelve.canonical(&tiff, size(16, 16)).unwrap(), samples);
        let row = [[0xab, 0x12, 0x3c].repeat(8), vec![0xee; 8]].concat();
        assert_eq!(Layout::Twelve.canonical(&row.repeat(16), size(16, 16)).unwrap(), samples);
    }

    #[test]
    fn five_bytes_hold_four_samples_of_a_receiver() {
        let samples = bytes(&[0x3ff, 0x001, 0x202, 0x0ff].repeat(4 * 16));
        let row = [[0xff, 0x00, 0x80, 0x3f, 0b11_10_01_11].repeat(4), vec![0xee; 12]].concat();
        assert_eq!(Layout::Ten.canonical(&row.repeat(16), size(16, 16)).unwrap(), samples);
    }

    #[test]
    fn rows_of_a_pi_4_lose_their_gap() {
        // The figures of the IMX477's full width: 4056 samples in 8128 or 6112 bytes.
        let full = size(4056, 16);
        let samples: Vec<u16> = (0..full.width()).map(|x| u16::try_from(x * 7 % 4096).unwrap()).collect();
        let mut wide = bytes(&samples);
        wide.resize(8128, 0xee);
        let expected = bytes(&samples).repeat(16);
        assert_eq!(Layout::Sixteen.canonical(&wide.repeat(16), full).unwrap(), expected);
        let pairs = samples.as_chunks::<2>().0.iter();
        let mut narrow: Vec<u8> = pairs
            .flat_map(|[a, b]| [a >> 4, b >> 4, (a & 0xf) | ((b & 0xf) << 4)].map(|byte| u8::try_from(byte).unwrap()))
            .collect();
        narrow.resize(6112, 0xee);
        assert_eq!(Layout::Twelve.canonical(&narrow.repeat(16), full).unwrap(), expected);
    }

    #[test]
    fn rows_of_another_length_are_refused() {
        for (layout, bytes) in [
            (Layout::Sixteen, 31 * 16),
            (Layout::Sixteen, 32 * 16 + 1),
            (Layout::Sixteen, 36 * 16),
            (Layout::Sixteen, 96 * 16),
            (Layout::Twelve, 23 * 16),
            (Layout::Ten, 0),
        ] {
            let refused = layout.canonical(&vec![0; bytes], size(16, 16));
            assert!(matches!(refused, Err(DngError::Frame(RawFrameError::Length { .. }))), "{layout:?} {bytes}");
        }
    }

    proptest! {
        #[test]
        fn bits_in_a_row_come_back(
            layout in prop::sample::select(vec![Layout::Ten, Layout::Twelve, Layout::Fourteen]),
            width in 8_u32..40,
            seed: u16,
        ) {
            let size = size(width * 2, 16);
            let row: Vec<u16> = (0..size.width())
                .map(|x| seed.wrapping_mul(u16::try_from(x * 257 + 1).unwrap()) & layout.white())
                .collect();
            let canonical = layout.canonical(&packed(&row, layout.bits()).repeat(16), size).unwrap();
            prop_assert_eq!(canonical, bytes(&row.repeat(16)));
        }
    }
}
