//! Normal deviates for the simulated sensor: quick, and the same on every thread.
//!
//! For: a stream of bits in which each place can be computed alone (a counter through the finaliser of
//! `SplitMix64`, Steele and others 2014), and normal deviates from them by a table of quantiles.
//!
//! Not for: keys, nonces or anything that an attacker must not guess.

use birthmark_core::hash::Digest;

use super::DeviceSeed;

/// Deviates that 64 bits give.
pub(super) const DRAWS: usize = 4;

/// What a stream of bits is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// The sites' gains and offsets.
    FixedPattern,
    /// Which sites are warm, and how warm.
    WarmSites,
    /// The noise of one frame.
    Frame(u64),
}

/// Bits by place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream(u64);

/// Quantiles of the standard normal distribution.
#[derive(Debug)]
pub(super) struct Normal(Box<[f32; QUANTILES as usize]>);

impl Stream {
    /// The stream of one device for one purpose.
    pub(super) fn new(seed: &DeviceSeed, purpose: Purpose) -> Self {
        let (kind, number) = match purpose {
            Purpose::FixedPattern => (0_u8, 0),
            Purpose::WarmSites => (1, 0),
            Purpose::Frame(frame) => (2, frame),
        };
        let parts: [&[u8]; 4] = [b"birthmark/simulated-imx477/stream/v1", &seed.0, &[kind], &number.to_be_bytes()];
        let digest = Digest::of_parts(&parts);
        let [start, ..] = digest.as_bytes().as_chunks().0 else { return Self(0) };
        Self(u64::from_be_bytes(*start))
    }

    /// The 64 bits at a place.
    pub(super) const fn bits(self, place: usize) -> u64 {
        let mut z = self.0.wrapping_add((place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Normal {
    /// Computes the table, scaled so that its variance is exactly 1.
    pub(super) fn new() -> Self {
        let place = |place: u16| (f64::from(place) + 0.5) / f64::from(QUANTILES);
        let values: Vec<f64> = (0..QUANTILES).map(|number| quantile(place(number))).collect();
        let variance = values.iter().map(|value| value * value).sum::<f64>() / f64::from(QUANTILES);
        let mut table = Box::new([0.0; QUANTILES as usize]);
        for (entry, value) in table.iter_mut().zip(values) {
            *entry = single(value / variance.sqrt());
        }
        Self(table)
    }

    /// Four deviates from the upper 12 bits of each quarter.
    pub(super) fn draws(&self, bits: u64) -> [f32; DRAWS] {
        [bits, bits >> 16, bits >> 32, bits >> 48].map(|quarter| {
            let [low, high, ..] = quarter.to_le_bytes();
            self.0[usize::from(u16::from_le_bytes([low, high]) >> 4)]
        })
    }
}

/// The standard normal quantile by Newton's method on the complementary error function's series.
fn quantile(p: f64) -> f64 {
    // By symmetry only the lower half is computed, where the steps converge from the left.
    if p > 0.5 {
        return -quantile(1.0 - p);
    }
    let mut x = 0.0_f64;
    for _ in 0..60 {
        let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let step = (cumulative(x, density) - p) / density;
        x -= step.clamp(-0.5, 0.5);
        if step.abs() < 1e-13 {
            break;
        }
    }
    x
}

/// The cumulative distribution: 1/2 + density x (x + x^3/3 + x^5/15 + ...), good to 1e-12 for |x| < 4.
fn cumulative(x: f64, density: f64) -> f64 {
    let (mut sum, mut term) = (x, x);
    for odd in (3..160_u16).step_by(2) {
        term *= x * x / f64::from(odd);
        sum += term;
    }
    0.5 + density * sum
}

#[expect(clippy::cast_possible_truncation, reason = "single precision is what the sensor model computes in")]
const fn single(value: f64) -> f32 {
    value as f32
}

const QUANTILES: u16 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_match_published_values() {
        for (p, expected) in [(0.5, 0.0), (0.025, -1.959_964), (0.841_344_746, 1.0), (0.001, -3.090_232)] {
            assert!((quantile(p) - expected).abs() < 1e-6, "{p}: {}", quantile(p));
        }
    }

    #[test]
    fn deviates_have_mean_zero_variance_one_and_do_not_follow_each_other() {
        let stream = Stream::new(&DeviceSeed::from_label("deviates"), Purpose::Frame(7));
        let normal = Normal::new();
        let draws: Vec<f64> = (0..50_000).flat_map(|place| normal.draws(stream.bits(place))).map(f64::from).collect();
        let count = f64::from(u32::try_from(draws.len()).unwrap());
        let mean = draws.iter().sum::<f64>() / count;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / count;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
        for lag in [1, 2, 3, 4, 64] {
            let product = draws.iter().zip(&draws[lag..]).map(|(a, b)| a * b).sum::<f64>() / count;
            assert!(product.abs() < 0.01, "lag {lag}: {product}");
        }
    }

    #[test]
    fn purposes_devices_and_frames_have_streams_of_their_own() {
        let [one, other] = ["one", "other"].map(DeviceSeed::from_label);
        let starts = [
            Stream::new(&one, Purpose::FixedPattern),
            Stream::new(&one, Purpose::WarmSites),
            Stream::new(&one, Purpose::Frame(0)),
            Stream::new(&one, Purpose::Frame(1)),
            Stream::new(&other, Purpose::Frame(0)),
        ]
        .map(|stream| stream.bits(0));
        for (place, start) in starts.iter().enumerate() {
            assert!(!starts[..place].contains(start), "{place}");
        }
    }
}
