//! A simulated IMX477: what the camera uses where no sensor is attached.
//!
//! For: demonstrations and tests on any machine, and enrolment (darks, flats) without a chip. The result
//! of an exposure depends on nothing but the device seed, the scene, the size and the frame number: the
//! number of threads, the clock and the system's randomness have no part in it.
//!
//! Not for: evidence. What it gives says "simulated" in its metadata, its [`nuc_hash`] can be computed by
//! whoever knows the seed, and its generator is quick, not cryptographic.
//!
//! The model: `DN = clamp(black + K x (e x gain + offset + N(0,1) x sqrt(e + read noise^2)))` with the
//! figures of [`model`]; `gain` (PRNU) and `offset` (DSNU, warm pixels) are fixed for each site of a
//! device, the noise is drawn anew for each frame.

mod fixed_pattern;
mod landscape;
mod mosaic;
mod noise;
mod photograph;
mod scene;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use birthmark_core::hash::Digest;
use rayon::prelude::*;

pub use photograph::PhotographError;
pub use scene::{Scene, SceneError};

use self::noise::Normal;
use super::{Exposure, ExposureMetadata, Origin, Picture, Sensor, SensorError};
use crate::raw_frame::{CfaOrder, ColourProfile, FrameSize, RawFormat, RawFrame};

/// A camera without light: a scene held still before a sensor with its own fixed pattern.
pub struct SimulatedImx477 {
    seed: DeviceSeed,
    size: FrameSize,
    next_frame: u64,
    /// For each site the mean signal with the device's fixed pattern, as `mosaic` stores it.
    signal: Vec<u16>,
    normal: Normal,
}

/// What makes one simulated device different from another.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceSeed([u8; 32]);

/// A simulated sensor to build.
#[derive(Clone, Debug)]
pub struct SimulatedConfig {
    /// Which device it is.
    pub seed: DeviceSeed,
    /// Columns and rows.
    pub size: FrameSize,
    /// What lies before the lens.
    pub scene: Scene,
    /// The number of the first exposure. The same number gives the same samples, thus the same hash:
    /// whoever restarts a device must go on where it stopped.
    pub first_frame: u64,
}

/// Figures of the sensor, as measured ones have been published.
pub mod model {
    /// What darkness reads, in DN.
    pub const BLACK_LEVEL: f32 = 256.3;
    /// Saturation of the 12-bit converter, in DN.
    pub const WHITE_LEVEL: u16 = 4095;
    /// DN for each electron at gain 1.
    pub const DN_PER_ELECTRON: f32 = 0.47;
    /// Most electrons that a site holds.
    pub const FULL_WELL: f32 = 8180.0;
    /// Noise of reading a site, in electrons.
    pub const READ_NOISE: f32 = 3.0;
    /// Photo response non-uniformity: standard deviation of a site's gain.
    pub const PRNU: f32 = 0.006;
    /// Dark signal non-uniformity: standard deviation of a site's offset, in electrons.
    pub const DSNU: f32 = 0.4;
    /// Share of warm sites.
    pub const WARM_SITES: f32 = 30e-6;
}

impl SimulatedImx477 {
    /// Renders the scene once, so that exposures are quick. Takes a second or so at full size.
    pub fn new(config: SimulatedConfig) -> Result<Self, SceneError> {
        let normal = Normal::new();
        let mut signal = scene::electrons(&config.scene, config.size, &COLOUR, CFA)?;
        fixed_pattern::apply(&mut signal, &config.seed, &normal);
        Ok(Self { seed: config.seed, size: config.size, next_frame: config.first_frame, signal, normal })
    }

    /// The device's [`nuc_hash`].
    pub fn nuc_hash(&self) -> Digest {
        nuc_hash(&self.seed)
    }

    /// The number that the next exposure will have.
    pub const fn next_frame(&self) -> u64 {
        self.next_frame
    }
}

impl Sensor for SimulatedImx477 {
    fn expose(&mut self) -> Result<Exposure, SensorError> {
        let frame = self.next_frame;
        let stream = noise::Stream::new(&self.seed, noise::Purpose::Frame(frame));
        let mut bytes = vec![0; self.size.bytes()];
        let blocks = bytes.par_chunks_mut(2 * BLOCK).zip(self.signal.par_chunks(BLOCK)).enumerate();
        blocks.for_each(|(block, (bytes, signal))| {
            let first = block * (BLOCK / noise::DRAWS);
            read_out(bytes.as_chunks_mut().0, signal, |group| self.normal.draws(stream.bits(first + group)));
        });
        self.next_frame = frame.checked_add(1).ok_or(SensorError::FramesExhausted)?;
        let black = [model::BLACK_LEVEL; 4];
        let format = RawFormat { size: self.size, cfa: CFA, black, white: model::WHITE_LEVEL, colour: COLOUR };
        Ok(Exposure { raw: RawFrame::new(format, bytes)?, metadata: metadata(frame), picture: Picture::Undeveloped })
    }

    fn number_from(&mut self, frame: u64) {
        self.next_frame = frame;
    }
}

impl fmt::Debug for SimulatedImx477 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, next_frame, .. } = self;
        f.debug_struct("SimulatedImx477").field("size", size).field("next_frame", next_frame).finish_non_exhaustive()
    }
}

impl DeviceSeed {
    /// Takes 32 bytes, best random ones.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The seed that goes with a name, for tests and examples: anybody can compute it.
    pub fn from_label(label: &str) -> Self {
        Self(*Digest::of_parts(&[b"birthmark/simulated-imx477/seed/v1", label.as_bytes()]).as_bytes())
    }
}

/// The NUC hash is a secret of the device, and this seed gives it.
impl fmt::Debug for DeviceSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceSeed(redacted)")
    }
}

/// Says early, before anything depends on it, whether a file can serve as the scene.
pub fn check_photograph(path: &Path) -> Result<(), PhotographError> {
    photograph::Photograph::open(path).map(drop)
}

/// The NUC hash of a simulated device: SHA-256("birthmark/nuc/v1" || "simulated-imx477" || seed).
///
/// A real device's comes out of measured calibration maps; this one stands for it where the maps
/// themselves come out of the seed. It is as secret as the seed.
pub fn nuc_hash(seed: &DeviceSeed) -> Digest {
    Digest::of_parts(&[b"birthmark/nuc/v1", b"simulated-imx477", &seed.0])
}

/// Adds the noise to a block of mean signals and converts it to DN.
fn read_out(out: &mut [[u8; 2]], signal: &[u16], draws: impl Fn(usize) -> [f32; noise::DRAWS]) {
    let groups = out.chunks_mut(noise::DRAWS).zip(signal.chunks(noise::DRAWS));
    for (group, (out, signal)) in groups.enumerate() {
        for ((out, signal), deviate) in out.iter_mut().zip(signal).zip(draws(group)) {
            let electrons = mosaic::electrons(*signal);
            let variance = electrons.max(0.0) + model::READ_NOISE * model::READ_NOISE;
            let value = model::BLACK_LEVEL + model::DN_PER_ELECTRON * (electrons + deviate * variance.sqrt());
            *out = quantise(value).to_le_bytes();
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is clamped first")]
fn quantise(value: f32) -> u16 {
    (value + 0.5).clamp(0.0, f32::from(model::WHITE_LEVEL)) as u16
}

fn metadata(frame: u64) -> ExposureMetadata {
    ExposureMetadata {
        make: "Birthmark".to_owned(),
        model: "Birthmark simulated IMX477".to_owned(),
        origin: Origin::Simulation,
        frame,
        exposure_time: Duration::from_millis(10),
        iso: 100,
        f_number: None,
        lens: None,
    }
}

/// Sites that one task reads out; a multiple of [`noise::DRAWS`], so that results do not depend on it.
const BLOCK: usize = 16_384;

/// The HQ camera's order as mounted, turned by 180 degrees.
const CFA: CfaOrder = CfaOrder::Bggr;
const COLOUR: ColourProfile = ColourProfile::IMX477_4559K;

#[cfg(test)]
mod tests;
