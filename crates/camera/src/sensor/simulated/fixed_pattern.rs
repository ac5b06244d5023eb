//! What is peculiar to one simulated device: each site's gain and offset.
//!
//! For: putting PRNU, DSNU and warm sites into a mosaic of mean signals. They are the same in every
//! frame, so they are applied once.
//!
//! Not for: noise that differs from frame to frame (`simulated::read_out`), or estimating a pattern.

use rayon::prelude::*;

use super::noise::{DRAWS, Normal, Purpose, Stream};
use super::{BLOCK, DeviceSeed, model, mosaic};

/// Turns the light on each site into the mean signal that this device reads there.
pub(super) fn apply(signal: &mut [u16], seed: &DeviceSeed, normal: &Normal) {
    let pattern = Stream::new(seed, Purpose::FixedPattern);
    let warmth = Stream::new(seed, Purpose::WarmSites);
    signal.par_chunks_mut(BLOCK).enumerate().for_each(|(block, signal)| {
        for (place, signal) in signal.iter_mut().enumerate() {
            let place = block * BLOCK + place;
            let [gain, offset, ..] = normal.draws(pattern.bits(place));
            let light = mosaic::electrons(*signal).min(model::FULL_WELL) * (1.0 + model::PRNU * gain);
            let dark = model::DSNU * offset + warm_electrons(warmth.bits(place));
            *signal = mosaic::stored((light + dark).min(model::FULL_WELL));
        }
    });
}

/// 50 to 800 electrons of dark signal on few sites, none on the others.
fn warm_electrons(bits: u64) -> f32 {
    let [low, high] = [bits & 0xffff_ffff, bits >> 32];
    let unit = |bits: u64| u32::try_from(bits).map_or(0.0, |bits| f64::from(bits) / f64::from(u32::MAX));
    if unit(low) >= f64::from(model::WARM_SITES) {
        return 0.0;
    }
    #[expect(clippy::cast_possible_truncation, reason = "single precision is what the sensor model computes in")]
    let share = unit(high) as f32;
    50.0 + 750.0 * share
}

const _: () = assert!(BLOCK.is_multiple_of(DRAWS));
