//! Non-uniformity: what makes one image sensor different from every other.
//!
//! For: measuring it once ([`Enrolment`], giving a [`NucMap`] and its fingerprint, the NUC hash), and
//! seeing later whether a frame still comes from the sensor that was measured ([`compare`]).
//!
//! Not for: proof, or a secret that withstands its owner. It finds a swapped module. The map stays in
//! the camera: whoever has it has the NUC hash. Nor for correcting pictures.
//!
//! Dark frames give each site's offset and the defects, even flats its gain, both averaged over many
//! exposures. A new measurement never gives the same bits, so the hash is computed once, and afterwards
//! only *correlation* is looked at: frames of one mode are never shifted against each other, so what the
//! frame has beyond its surroundings is compared site by site with the gain map.
//!
//! ```text
//! nuc_hash = SHA-256("birthmark/nuc/v1" ‖ mode ‖ gain ‖ offset ‖ be32 n ‖ n × be32 defect)
//! mode     = u8 length ‖ model ‖ be16 columns ‖ be16 rows ‖ 4 × u8 CFA ‖ be16 white level ‖ be16 ISO
//! gain     = a signed byte for each site, in 1/2048 of the signal
//! offset   = a signed byte for each site, in 1/65536 of the white level's range
//! ```
//! The simulated sensor's NUC hash is another one, computed from its seed
//! ([`simulated::nuc_hash`](crate::sensor::simulated::nuc_hash)): all its maps come out of the seed, and
//! cameras that were provisioned with it must stay what they are. Its maps can be enrolled like any
//! sensor's, for the comparison; what they hash to names the map, not the device.

mod compare;
mod enrol;
mod file;
mod picture;
mod plane;
mod statistics;

use std::fmt;

use birthmark_core::hash::Digest;

use crate::raw_frame::{CfaOrder, FrameSize};
use crate::sensor::{Exposure, Origin};

pub use compare::{CompareError, Comparison, Verdict, compare};
pub use enrol::{Enrolment, EnrolmentError};
pub use file::{MapFileError, map_path};
pub use picture::{PictureError, picture};

/// What one sensor's sites have of their own.
#[derive(Clone, PartialEq)]
pub struct NucMap {
    mode: Mode,
    origin: Origin,
    strength: Strength,
    /// For each site, in [`GAIN_UNIT`].
    gain: Vec<i8>,
    /// For each site, in [`Mode::offset_unit`].
    offset: Vec<i8>,
    /// Sites that say nothing, ascending.
    defects: Vec<u32>,
}

/// What frames must have in common to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    model: String,
    size: FrameSize,
    cfa: CfaOrder,
    white: u16,
    iso: u16,
}

/// How well a map is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strength {
    /// Standard deviation of the sites' gains, the noise of measuring taken off.
    pub prnu: f32,
    /// The share of the gain map's variance that is the sensor's and not the measurement's, from 0 to 1.
    pub reliability: f32,
    /// Dark frames that went into it.
    pub darks: u16,
    /// Flat frames that went into it.
    pub flats: u16,
}

impl NucMap {
    /// The fingerprint. For the simulated sensor see the module's note.
    pub fn nuc_hash(&self) -> Digest {
        let mode = self.mode.to_bytes();
        let defects: Vec<u8> = self.defects.iter().flat_map(|site| site.to_be_bytes()).collect();
        let count = u32::try_from(self.defects.len()).unwrap_or(u32::MAX).to_be_bytes();
        Digest::of_parts(&[
            b"birthmark/nuc/v1",
            &mode,
            &file::unsigned(&self.gain),
            &file::unsigned(&self.offset),
            &count,
            &defects,
        ])
    }

    /// Which frames it can be compared with.
    pub const fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Whether the sensor was a real one.
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// How well it is known.
    pub const fn strength(&self) -> Strength {
        self.strength
    }

    /// How many sites say nothing.
    pub fn defects(&self) -> usize {
        self.defects.len()
    }
}

/// The map is a secret of the camera.
impl fmt::Debug for NucMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, origin, strength, defects, .. } = self;
        f.debug_struct("NucMap")
            .field("mode", mode)
            .field("origin", origin)
            .field("strength", strength)
            .field("defects", &defects.len())
            .finish_non_exhaustive()
    }
}

impl Mode {
    fn of(exposure: &Exposure) -> Self {
        let format = exposure.raw.format();
        Self {
            // As many as fit the length byte and are text everywhere.
            model: exposure.metadata.model.chars().filter(char::is_ascii).take(MAX_MODEL).collect(),
            size: format.size,
            cfa: format.cfa,
            white: format.white,
            iso: exposure.metadata.iso,
        }
    }

    /// Which camera it is.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Columns and rows.
    pub const fn size(&self) -> FrameSize {
        self.size
    }

    /// The mosaic.
    pub const fn cfa(&self) -> CfaOrder {
        self.cfa
    }

    /// Whether frames of these two can be compared. The gain is no hindrance: a site's sensitivity is
    /// the same at any.
    fn is_comparable(&self, other: &Self) -> bool {
        let Self { model, size, cfa, white, iso: _ } = self;
        (model, size, cfa, white) == (&other.model, &other.size, &other.cfa, &other.white)
    }

    /// In DN.
    fn offset_unit(&self) -> f32 {
        (f32::from(self.white) + 1.0) / 65_536.0
    }

    fn to_bytes(&self) -> Vec<u8> {
        let (width, height) = self.size.sides();
        let model = self.model.as_bytes();
        let mut bytes = vec![u8::try_from(model.len()).unwrap_or(u8::MAX)];
        bytes.extend(model);
        bytes.extend([width, height].map(u16::to_be_bytes).concat());
        bytes.extend(self.cfa.pattern());
        bytes.extend([self.white, self.iso].map(u16::to_be_bytes).concat());
        bytes
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, size, cfa, white, iso } = self;
        write!(f, "{model}, {size}, {cfa:?}, white {white}, ISO {iso}")
    }
}

/// The share of the signal that one step of the gain map is.
const GAIN_UNIT: f32 = 1.0 / 2048.0;
const MAX_MODEL: usize = 64;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
