//! From raw to picture: black level, white balance, demosaic, colour matrix, sRGB.
//!
//! For: [`Developer`], which computes any rows of the picture alone, so that encoding can run beside it
//! and nobody holds all of it.
//!
//! Not for: taste. There is no sharpening, denoising, tone curve or lens correction, so that the
//! picture is a plain function of the raw. Encoding is `jpeg`'s.

mod demosaic;

use rayon::prelude::*;

use self::demosaic::{Line, MARGIN, Window};
use crate::colour::{Matrix, linear_to_srgb};
use crate::raw_frame::{Channel, FrameSize, RawFrame};

/// Develops rows of one raw frame.
#[derive(Debug)]
pub struct Developer<'a> {
    frame: &'a RawFrame,
    /// For each site of the 2 x 2 cell, what makes white 1: black level and gain.
    levels: [(f32, f32); 4],
    to_srgb: Matrix,
    gamma: Vec<u8>,
}

/// A picture in sRGB, 3 bytes a pixel, row by row from the top left.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Columns and rows.
    pub size: FrameSize,
    /// Red, green and blue of each pixel.
    pub pixels: Vec<[u8; 3]>,
}

/// Develops a whole frame, on all threads. 37 MB at 12 MP: `jpeg::encode` does without.
pub fn develop(frame: &RawFrame) -> RgbImage {
    let developer = Developer::new(frame);
    let size = frame.format().size;
    let mut pixels = vec![[0; 3]; size.samples()];
    let bands = pixels.par_chunks_mut(size.width() * BAND_ROWS).enumerate();
    bands.for_each(|(band, pixels)| developer.rows(band * BAND_ROWS, pixels));
    RgbImage { size, pixels }
}

impl<'a> Developer<'a> {
    /// Prepares levels and tables.
    pub fn new(frame: &'a RawFrame) -> Self {
        let format = frame.format();
        let gain = |site: usize, channel: Channel| {
            let black = format.black[site];
            (black, 1.0 / ((f32::from(format.white) - black) * format.colour.neutral[channel as usize]))
        };
        let channels = format.cfa.channels();
        let levels = std::array::from_fn(|site| gain(site, channels[site]));
        let gamma = (0..GAMMA_STEPS).map(|step| eight_bits(linear_to_srgb(f32::from(step) / GAMMA_TOP))).collect();
        Self { frame, levels, to_srgb: format.colour.to_srgb, gamma }
    }

    /// The frame's columns and rows.
    pub fn size(&self) -> FrameSize {
        self.frame.format().size
    }

    /// Fills `out` with whole rows from `first` on; what lies beyond the last row is left as it is.
    pub fn rows(&self, first: usize, out: &mut [[u8; 3]]) {
        let size = self.size();
        let mut lines: [Vec<f32>; 5] = std::array::from_fn(|_| vec![0.0; size.width() + 2 * MARGIN]);
        for (ahead, line) in lines.iter_mut().take(4).enumerate() {
            self.load(mirrored(first + ahead, size.height()), line);
        }
        for (y, out) in (first..size.height()).zip(out.chunks_exact_mut(size.width())) {
            self.load(mirrored(y + 4, size.height()), &mut lines[4]);
            let [above2, above, here, below, below2] = &lines;
            let window = Window { above2, above, here, below, below2 };
            let line = Line::new(self.frame.format().cfa, y);
            demosaic::line(&window, line, out, |rgb| self.finish(rgb));
            lines.rotate_left(1);
        }
    }

    /// One row of the raw with black at 0 and white at 1, and a mirrored margin on both sides.
    fn load(&self, y: usize, line: &mut [f32]) {
        let levels = [self.levels[(y % 2) * 2], self.levels[(y % 2) * 2 + 1]];
        let width = self.size().width();
        let row = self.frame.row(y).as_chunks::<2>().0;
        let cells = line.get_mut(MARGIN..MARGIN + width).unwrap_or_default().as_chunks_mut::<2>().0;
        for (cell, samples) in cells.iter_mut().zip(row) {
            for ((value, sample), (black, gain)) in cell.iter_mut().zip(samples).zip(levels) {
                // What is brighter than a saturated white is white, or highlights turn magenta.
                *value = ((f32::from(u16::from_le_bytes(*sample)) - black) * gain).min(1.0);
            }
        }
        for margin in 0..MARGIN {
            line[margin] = line[2 * MARGIN - margin];
            line[MARGIN + width + margin] = line[MARGIN + width - 2 - margin];
        }
    }

    fn finish(&self, rgb: [f32; 3]) -> [u8; 3] {
        let rgb = rgb.map(|value| value.min(1.0));
        self.to_srgb.map(|[r, g, b]| {
            let light = r * rgb[0] + g * rgb[1] + b * rgb[2];
            self.gamma[gamma_step(light)]
        })
    }
}

impl std::fmt::Debug for RgbImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RgbImage").field("size", &self.size).finish_non_exhaustive()
    }
}

/// The row number `place - MARGIN`, mirrored at the frame's edges without repeating them, so that the
/// colours of the mosaic stay in step.
fn mirrored(place: usize, rows: usize) -> usize {
    let last = rows - 1;
    let y = place.abs_diff(MARGIN);
    if y > last { 2 * last - y } else { y }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is clamped first")]
fn gamma_step(light: f32) -> usize {
    (light.clamp(0.0, 1.0) * GAMMA_TOP + 0.5) as usize
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is clamped first")]
fn eight_bits(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}

/// Rows that one task develops.
const BAND_ROWS: usize = 64;
/// Steps of the sRGB table: fine enough that none of the 256 values is skipped in the shadows.
const GAMMA_STEPS: u16 = 16_384;
const GAMMA_TOP: f32 = 16_383.0;

#[cfg(test)]
mod tests;
