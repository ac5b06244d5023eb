//! Whether a frame comes from the sensor that was enrolled.
//!
//! For: one number, its meaning, and what the number would be if the sensor were the same, so that a
//! frame that can tell nothing is not taken for one that tells.
//!
//! Not for: proof. Nor for frames that were scaled, turned or compressed: sites must be where they were.
//!
//! The statistic: at each usable site, with `r` what the sample has beyond its 24 neighbours of the same
//! colour, `x` the enrolled gain times the light there, and a weight that is small where the scene itself is
//! rough, `a = w r x`; then `z = sum(a) / sqrt(sum(a^2))`. On even light that is `rho x sqrt(N)`. For another
//! sensor `r` and `x` have nothing in common, and `z` is normal with variance 1. For the same sensor its
//! expectation is `reliability x sum(w x^2) / sqrt(sum(a^2))`.

use rayon::prelude::*;

use super::enrol::sample;
use super::plane::{Corner, count, single};
use super::{GAIN_UNIT, Mode, NucMap};
use crate::raw_frame::RawFrame;
use crate::sensor::Exposure;

/// The outcome of one comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Standard deviations from what another sensor gives.
    pub z: f64,
    /// What the same sensor would give in this light.
    pub expected: f64,
    /// Share of the sites that could be used: neither dark nor saturated nor defective.
    pub usable: f32,
}

/// What a comparison means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The sensor that was enrolled.
    Same,
    /// Not that one: it would have shown itself in this light.
    Another,
    /// The frame cannot tell.
    Inconclusive,
}

/// Why a frame cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// Other sites, another scale.
    #[error("the map is of {map}, and the frame of {frame}: they cannot be compared")]
    Mode {
        /// What was enrolled.
        map: Mode,
        /// What was exposed.
        frame: Mode,
    },
}

/// Compares an exposure with a map.
pub fn compare(map: &NucMap, exposure: &Exposure) -> Result<Comparison, CompareError> {
    let frame = Mode::of(exposure);
    if !map.mode.is_comparable(&frame) {
        return Err(CompareError::Mode { map: map.mode.clone(), frame });
    }
    let defects = defects(map);
    let sums = Corner::ALL.into_iter().map(|corner| plane(map, &defects, &exposure.raw, corner));
    let total = sums.fold(Sums::default(), Sums::plus);
    let root = total.squares.sqrt();
    let over = |value: f64| if root > 0.0 { value / root } else { 0.0 };
    Ok(Comparison {
        z: over(total.products),
        expected: f64::from(map.strength.reliability) * over(total.own),
        usable: single(count(total.sites) / count(map.mode.size.samples())),
    })
}

impl Comparison {
    /// What it means.
    pub fn verdict(&self) -> Verdict {
        if self.z >= SAME {
            Verdict::Same
        } else if self.z < ANOTHER && self.expected >= TELLING {
            Verdict::Another
        } else {
            Verdict::Inconclusive
        }
    }
}

impl Verdict {
    /// `same`, `another` or `inconclusive`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Another => "another",
            Self::Inconclusive => "inconclusive",
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    products: f64,
    squares: f64,
    own: f64,
    sites: usize,
}

impl Sums {
    fn plus(self, other: Self) -> Self {
        Self {
            products: self.products + other.products,
            squares: self.squares + other.squares,
            own: self.own + other.own,
            sites: self.sites + other.sites,
        }
    }
}

/// For each site whether it is defective.
fn defects(map: &NucMap) -> Vec<bool> {
    let mut defective = vec![false; map.mode.size.samples()];
    for site in &map.defects {
        if let Some(flag) = usize::try_from(*site).ok().and_then(|site| defective.get_mut(site)) {
            *flag = true;
        }
    }
    defective
}

fn plane(map: &NucMap, defects: &[bool], frame: &RawFrame, corner: Corner) -> Sums {
    let format = frame.format();
    let (shape, black, unit) = (format.size, format.black[corner.index()], map.mode.offset_unit());
    let range = f32::from(format.white) - black;
    let signal = corner.plane(shape, |site| sample(frame, site) - black - f32::from(map.offset[site]) * unit);
    let light = signal.local_mean(RESIDUAL_RADIUS);
    let residual = signal.map(|place, value| value - light.values[place]);
    let roughness = residual.map(|_, value| value * value).local_mean(RESIDUAL_RADIUS);
    let sites = (0..residual.values.len()).into_par_iter().with_min_len(1 << 14);
    let at = |place: usize| {
        let site = corner.site(shape, place);
        let light = light.values[place];
        if defects[site]
            || !(USABLE.start * range..USABLE.end * range).contains(&light)
            || signal.values[place] >= USABLE.end * range
        {
            return Sums::default();
        }
        let weight = f64::from(1.0 / (roughness.values[place] + range * FLOOR));
        let own = f64::from(light * f32::from(map.gain[site]) * GAIN_UNIT);
        let product = weight * f64::from(residual.values[place]) * own;
        Sums { products: product, squares: product * product, own: weight * own * own, sites: 1 }
    };
    sites.map(at).reduce(Sums::default, Sums::plus)
}

/// From here on it is the same sensor: chance gives that once in 10^15 comparisons.
const SAME: f64 = 8.0;
/// Below this it is not the same, if the frame can tell.
const ANOTHER: f64 = 4.0;
/// A frame can tell if the same sensor would come this far: twelve standard deviations above [`ANOTHER`].
const TELLING: f64 = 16.0;
/// In sites of one colour.
const RESIDUAL_RADIUS: usize = 2;
/// Light, as a share of the range, in which a site's gain shows.
const USABLE: std::ops::Range<f32> = 0.04..0.9;
/// Keeps weights finite; far below the square of any noise.
const FLOOR: f32 = 1e-6;
