//! How mean signals are kept: one `u16` a site, in eighths of an electron above -8 electrons.
//!
//! For: holding a 12 MP scene in 25 MB, and turning linear sRGB into light on sites.
//!
//! Not for: DN, which only exist after read-out.

use rayon::prelude::*;

use super::model;
use crate::colour::Matrix;
use crate::raw_frame::{CfaOrder, FrameSize};

/// A picture in linear sRGB, computed row by row in any order.
pub(super) trait LinearPicture: Sync {
    /// Fills one row, each value from 0 to 1.
    fn row(&self, y: usize, out: &mut [[f32; 3]]);
}

/// The light that falls on each site when white just saturates green.
pub(super) fn expose(
    picture: &impl LinearPicture,
    size: FrameSize,
    cfa: CfaOrder,
    srgb_to_sensor: &Matrix,
) -> Vec<u16> {
    let mut signal = vec![0; size.samples()];
    let rows = signal.par_chunks_mut(size.width()).enumerate();
    rows.for_each_init(
        || vec![[0.0; 3]; size.width()],
        |row, (y, signal)| {
            picture.row(y, row);
            let weights = [0, 1].map(|x| srgb_to_sensor[cfa.channel(x, y) as usize]);
            for (pair, row) in signal.chunks_mut(2).zip(row.chunks(2)) {
                for ((signal, weights), rgb) in pair.iter_mut().zip(weights).zip(row) {
                    let light: f32 = weights.iter().zip(rgb).map(|(weight, value)| weight * value).sum();
                    *signal = stored(light * SATURATION);
                }
            }
        },
    );
    signal
}

/// Electrons that a stored signal stands for.
pub(super) fn electrons(stored: u16) -> f32 {
    f32::from(stored) * (1.0 / SCALE) - OFFSET
}

/// The form in which electrons are kept.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is clamped first")]
pub(super) fn stored(electrons: f32) -> u16 {
    ((electrons + OFFSET) * SCALE + 0.5).clamp(0.0, f32::from(u16::MAX)) as u16
}

/// Electrons at which the converter saturates; a little below the full well.
const SATURATION: f32 = (model::WHITE_LEVEL as f32 - model::BLACK_LEVEL) / model::DN_PER_ELECTRON;
/// Room for offsets below zero.
const OFFSET: f32 = 8.0;
/// Steps an electron; (8180 + 8) x 8 just fits.
const SCALE: f32 = 8.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_kept_to_a_sixteenth_of_an_electron() {
        for value in [-8.0, -0.3, 0.0, 1.17, 4090.55, model::FULL_WELL] {
            assert!((electrons(stored(value)) - value).abs() <= 0.0626, "{value}");
        }
        assert_eq!(stored(f32::MAX), u16::MAX);
        assert_eq!(stored(-100.0), 0);
    }
}
