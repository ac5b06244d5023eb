//! Measuring a sensor's non-uniformity.
//!
//! For: averaging darks and flats into a [`NucMap`], and refusing what would give a map that says
//! nothing: light on a dark, a flat too dim or too bright, a sensor that repeats itself.
//!
//! Not for: taking the exposures, or asking somebody to cover the lens (`birthmark camera enroll`).
//!
//! 32 darks and 20 to 50 flats at half of the range, all with the same exposure time and gain. For each
//! colour: offset = mean dark - its median; gain = (mean flat - mean dark) / its local mean - 1, rows' and
//! columns' means taken off. Sites beyond 6 standard deviations of either are defects.
//!
//! How much of the gain map is noise of measuring follows from how much frames differ from each other,
//! so that a later comparison knows what to expect.

use rayon::prelude::*;

use super::plane::{Corner, Plane, count, single};
use super::statistics::{Moments, Robust, quantise, share};
use super::{GAIN_UNIT, Mode, NucMap, Strength};
use crate::raw_frame::{RawFormat, RawFrame};
use crate::sensor::{Exposure, Origin};

/// A measurement under way. Darks come first.
#[derive(Debug, Default)]
pub struct Enrolment {
    setup: Option<Setup>,
    darks: Stack,
    flats: Stack,
}

/// Why an exposure is refused, or why there is no map.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EnrolmentError {
    /// The exposure comes from files, not from a sensor.
    #[error("photographs of another program cannot enrol a sensor")]
    NotASensor,
    /// Exposures that cannot be averaged.
    #[error("the exposures are not alike: first {first}, now {now}")]
    Changed {
        /// Mode and exposure time of the first.
        first: String,
        /// Those of the refused one.
        now: String,
    },
    /// A dark after the first flat.
    #[error("darks must come before flats")]
    Order,
    /// More than are averaged.
    #[error("more than {MAX_FRAMES} exposures of a kind are not averaged")]
    TooMany,
    /// Light on a dark.
    #[error("a dark frame has {percent:.1} % of the full range: cover the lens")]
    NotDark {
        /// Of the range, beyond the black level.
        percent: f32,
    },
    /// Too dim or too bright.
    #[error(
        "a flat frame has {percent:.0} % of the full range, and 30 to 70 are needed: change light or exposure time"
    )]
    FlatLevel {
        /// The brightest colour's, of the range.
        percent: f32,
    },
    /// One colour of the light is missing.
    #[error("the light of a flat frame lacks a colour: its dimmest has {percent:.0} % of the range, and 8 are needed")]
    FlatColour {
        /// The dimmest colour's, of the range.
        percent: f32,
    },
    /// The scene was no even surface.
    #[error("a flat frame is not even: its parts differ by a factor of {factor:.1}")]
    Uneven {
        /// Brightest to dimmest part.
        factor: f32,
    },
    /// Twice the same samples: noise is never the same.
    #[error("the sensor gave the same frame twice")]
    Repeated,
    /// Not enough exposures.
    #[error("{darks} darks and {flats} flats are not enough: at least {MIN_DARKS} and {MIN_FLATS}")]
    TooFew {
        /// Darks so far.
        darks: u32,
        /// Flats so far.
        flats: u32,
    },
    /// More sites beyond six standard deviations than a sensor has.
    #[error("{0} defective sites are more than a sensor has: was there light on the darks?")]
    Defects(usize),
    /// Nothing but noise.
    #[error("the flats show no pattern of the sensor's own; take more of them, or brighter ones")]
    NoPattern,
}

/// What all exposures must have in common.
#[derive(Debug, PartialEq)]
struct Setup {
    mode: Mode,
    format: RawFormat,
    origin: Origin,
    exposure_time: std::time::Duration,
}

/// A sum of frames.
#[derive(Debug, Default)]
struct Stack {
    sum: Vec<u32>,
    frames: u32,
    last: Option<RawFrame>,
    /// Sums of each colour's variance between neighbouring frames.
    noise: [f64; 4],
}

/// One colour, measured.
struct Measured {
    gain: Plane,
    offset: Plane,
    dark: Robust,
    bright: Robust,
    /// Of the gain map, without defects.
    variance: f64,
    /// The part of it that is noise of measuring.
    noise: f64,
}

impl Enrolment {
    /// Takes a dark frame.
    pub fn dark(&mut self, exposure: Exposure) -> Result<(), EnrolmentError> {
        if self.flats.frames > 0 {
            return Err(EnrolmentError::Order);
        }
        let setup = self.like_the_first(&exposure)?;
        let level = levels(&exposure.raw).into_iter().fold(0.0, f32::max);
        if level > DARK_LEVEL {
            return Err(EnrolmentError::NotDark { percent: level * 100.0 });
        }
        self.darks.add(exposure.raw)?;
        self.setup.get_or_insert(setup);
        Ok(())
    }

    /// Takes a flat frame.
    pub fn flat(&mut self, exposure: Exposure) -> Result<(), EnrolmentError> {
        let setup = self.like_the_first(&exposure)?;
        let levels = levels(&exposure.raw);
        let (brightest, dimmest) = (levels.into_iter().fold(0.0, f32::max), levels.into_iter().fold(1.0, f32::min));
        if !FLAT_LEVELS.contains(&brightest) {
            return Err(EnrolmentError::FlatLevel { percent: brightest * 100.0 });
        }
        if dimmest < FLAT_COLOUR {
            return Err(EnrolmentError::FlatColour { percent: dimmest * 100.0 });
        }
        let factor = unevenness(&exposure.raw);
        if factor > MAX_UNEVENNESS {
            return Err(EnrolmentError::Uneven { factor });
        }
        // The last dark is not needed to see whether a flat repeats itself.
        self.darks.last = None;
        self.flats.add(exposure.raw)?;
        self.setup.get_or_insert(setup);
        Ok(())
    }

    /// Computes the map.
    pub fn finish(mut self) -> Result<NucMap, EnrolmentError> {
        let (darks, flats) = (self.darks.frames, self.flats.frames);
        let Some(setup) = self.setup.take().filter(|_| darks >= MIN_DARKS && flats >= MIN_FLATS) else {
            return Err(EnrolmentError::TooFew { darks, flats });
        };
        self.flats.last = None;
        let shape = setup.mode.size;
        let offset_unit = setup.mode.offset_unit();
        let (mut gain, mut offset) = (vec![0; shape.samples()], vec![0; shape.samples()]);
        let mut defects = Vec::new();
        let (mut variance, mut noise) = (0.0, 0.0);
        for corner in Corner::ALL {
            let measured = self.measure(&setup, corner);
            for (place, (g, o)) in measured.gain.values.iter().zip(&measured.offset.values).enumerate() {
                let site = corner.site(shape, place);
                if measured.is_defect(*g, *o) {
                    defects.push(site);
                } else {
                    gain[site] = quantise(*g, GAIN_UNIT);
                    offset[site] = quantise(*o, offset_unit);
                }
            }
            variance += measured.variance / 4.0;
            noise += measured.noise / 4.0;
        }
        if defects.len() > shape.samples() / MAX_DEFECTS {
            return Err(EnrolmentError::Defects(defects.len()));
        }
        defects.sort_unstable();
        let defects = defects.into_iter().filter_map(|site| u32::try_from(site).ok()).collect();
        let prnu = (variance - noise).max(0.0);
        let reliability = share(prnu, variance);
        if reliability < MIN_RELIABILITY {
            return Err(EnrolmentError::NoPattern);
        }
        let whole = |frames| u16::try_from(frames).unwrap_or(u16::MAX);
        let strength = Strength { prnu: single(prnu.sqrt()), reliability, darks: whole(darks), flats: whole(flats) };
        Ok(NucMap { mode: setup.mode, origin: setup.origin, strength, gain, offset, defects })
    }

    fn measure(&self, setup: &Setup, corner: Corner) -> Measured {
        let size = setup.mode.size;
        let mean = |stack: &Stack, site: usize| single(f64::from(stack.sum[site]) / f64::from(stack.frames));
        let dark = corner.plane(size, |site| mean(&self.darks, site));
        let level = Robust::of(&dark.values).median;
        let signal = corner.plane(size, |site| mean(&self.flats, site) - mean(&self.darks, site));
        let around = signal.local_mean(GAIN_RADIUS);
        let gain = signal.map(|place, value| value / around.values[place].max(1.0) - 1.0).without_lines();
        let offset = dark.map(|_, value| value - level);
        let (of_dark, of_bright) = (Robust::of(&offset.values), Robust::of(&gain.values));
        let mut measured = Measured { gain, offset, dark: of_dark, bright: of_bright, variance: 0.0, noise: 0.0 };
        let sound = measured.gain.values.iter().zip(&measured.offset.values);
        let sound = sound.filter(|(gain, offset)| !measured.is_defect(**gain, **offset)).map(|(gain, _)| *gain);
        measured.variance = Moments::of(sound).variance();
        let signal = signal.mean().max(1.0);
        let averaged = self.flats.variance(corner) / f64::from(self.flats.frames)
            + self.darks.variance(corner) / f64::from(self.darks.frames);
        measured.noise = averaged / (signal * signal) + f64::from(GAIN_UNIT).powi(2) / 12.0;
        measured
    }

    /// What the exposure must have in common with those before it.
    fn like_the_first(&self, exposure: &Exposure) -> Result<Setup, EnrolmentError> {
        let setup = Setup {
            mode: Mode::of(exposure),
            format: *exposure.raw.format(),
            origin: exposure.metadata.origin,
            exposure_time: exposure.metadata.exposure_time,
        };
        if setup.origin == Origin::OtherProgram {
            return Err(EnrolmentError::NotASensor);
        }
        match &self.setup {
            Some(first) if !first.is_like(&setup) => {
                Err(EnrolmentError::Changed { first: first.to_string(), now: setup.to_string() })
            }
            _ => Ok(setup),
        }
    }
}

impl Setup {
    /// White balance and colours follow the light; exposure time wobbles by what the sensor can set.
    fn is_like(&self, other: &Self) -> bool {
        let tolerance = self.exposure_time / 100;
        (&self.mode, self.origin) == (&other.mode, other.origin)
            && self.exposure_time.abs_diff(other.exposure_time) <= tolerance
    }
}

impl std::fmt::Display for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {:?}", self.mode, self.exposure_time)
    }
}

impl Measured {
    fn is_defect(&self, gain: f32, offset: f32) -> bool {
        let beyond = |value: f32, of: Robust| (value - of.median).abs() > SIGMAS * of.spread.max(f32::MIN_POSITIVE);
        beyond(gain, self.bright) || beyond(offset, self.dark)
    }
}

impl Stack {
    fn add(&mut self, frame: RawFrame) -> Result<(), EnrolmentError> {
        if self.frames >= MAX_FRAMES {
            return Err(EnrolmentError::TooMany);
        }
        if let Some(last) = &self.last {
            if last.canonical_bytes() == frame.canonical_bytes() {
                return Err(EnrolmentError::Repeated);
            }
            for (noise, corner) in self.noise.iter_mut().zip(Corner::ALL) {
                *noise += variance_between(last, &frame, corner);
            }
        }
        let samples: &[[u8; 2]] = frame.canonical_bytes().as_chunks().0;
        self.sum.resize(samples.len(), 0);
        let add = |(sum, sample): (&mut u32, &[u8; 2])| *sum += u32::from(u16::from_le_bytes(*sample));
        self.sum.par_iter_mut().zip(samples).for_each(add);
        self.frames += 1;
        self.last = Some(frame);
        Ok(())
    }

    /// Of one frame's samples, from exposure to exposure.
    fn variance(&self, corner: Corner) -> f64 {
        self.noise[corner.index()] / f64::from(self.frames.saturating_sub(1).max(1))
    }
}

/// Half of the variance of the difference of two frames, which have no pattern in common then.
fn variance_between(a: &RawFrame, b: &RawFrame, corner: Corner) -> f64 {
    let value = |frame: &RawFrame, site: usize| sample(frame, site);
    let difference = corner.plane(a.format().size, |site| value(a, site) - value(b, site));
    Moments::of(difference.values.into_iter()).variance() / 2.0
}

/// Each colour's mean beyond black, as a share of the range.
fn levels(frame: &RawFrame) -> [f32; 4] {
    let format = frame.format();
    Corner::ALL.map(|corner| {
        let black = format.black[corner.index()];
        let mean = corner.plane(format.size, |site| sample(frame, site)).mean();
        (single(mean) - black) / (f32::from(format.white) - black)
    })
}

/// Brightest to dimmest of the parts of a frame, in the second site's colour: green or nearly so.
fn unevenness(frame: &RawFrame) -> f32 {
    let format = frame.format();
    let corner = Corner::ALL[1];
    let black = format.black[corner.index()];
    let plane = corner.plane(format.size, |site| sample(frame, site) - black);
    let width = format.size.width() / 2;
    let rows = (format.size.height() / 2).div_ceil(PARTS);
    let columns = width.div_ceil(PARTS);
    let means: Vec<f64> = plane
        .values
        .chunks(width * rows)
        .flat_map(|band| {
            (0..width).step_by(columns).map(move |left| {
                let part = band.chunks(width).flat_map(|row| row.iter().skip(left).take(columns));
                let (sum, sites) = part.fold((0.0, 0), |(sum, sites), value| (sum + f64::from(*value), sites + 1));
                sum / count(sites)
            })
        })
        .collect();
    let (most, least) =
        means.iter().fold((0.0_f64, f64::MAX), |(most, least), mean| (most.max(*mean), least.min(*mean)));
    single(most / least.max(1.0))
}

pub(super) fn sample(frame: &RawFrame, site: usize) -> f32 {
    let samples: &[[u8; 2]] = frame.canonical_bytes().as_chunks().0;
    samples.get(site).map_or(0.0, |sample| u16::from_le_bytes(*sample).into())
}

const MIN_DARKS: u32 = 4;
const MIN_FLATS: u32 = 4;
const MAX_FRAMES: u32 = 1000;
/// Of the range: dark current and a little more.
const DARK_LEVEL: f32 = 0.02;
/// Of the range, for the brightest colour.
const FLAT_LEVELS: std::ops::RangeInclusive<f32> = 0.3..=0.7;
/// Of the range, for the dimmest colour.
const FLAT_COLOUR: f32 = 0.08;
/// A lens darkens its corners by up to two stops.
const MAX_UNEVENNESS: f32 = 4.0;
/// A frame is looked at in this many parts each way.
const PARTS: usize = 8;
/// In sites of one colour: larger than a pixel's neighbourhood, smaller than what a lens does.
const GAIN_RADIUS: usize = 8;
/// Beyond these a site is defective.
const SIGMAS: f32 = 6.0;
/// At most one site in so many is defective.
const MAX_DEFECTS: usize = 100;
/// Below this, a map is noise.
const MIN_RELIABILITY: f32 = 0.05;
