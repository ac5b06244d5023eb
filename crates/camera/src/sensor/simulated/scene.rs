//! What lies before the simulated lens.
//!
//! For: [`Scene`] and the light that it throws on the sensor.
//!
//! Not for: the sensor's own faults and noise (`fixed_pattern`, `simulated`).

use std::path::PathBuf;

use super::landscape::Landscape;
use super::model;
use super::mosaic;
use super::photograph::{Photograph, PhotographError};
use crate::colour::ColourProfile;
use crate::raw_frame::{CfaOrder, FrameSize};

/// What lies before the lens.
#[derive(Clone, Debug, PartialEq)]
pub enum Scene {
    /// A JPEG photograph, scaled to cover the sensor and cropped around its centre.
    Photograph(PathBuf),
    /// A painted landscape with a colour chart.
    Procedural,
    /// The same light on every site, as a share of the full well from 0 to 1: darks and flats.
    Flat(f32),
}

/// Why a scene cannot be put before the lens.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    /// The photograph is at fault.
    #[error(transparent)]
    Photograph(#[from] PhotographError),
    /// Light that no site can hold, or less than none.
    #[error("the light of a flat scene must be from 0 to 1, not {0}")]
    Light(f32),
    /// A sensor whose colours cannot be computed back.
    #[error("the sensor's colour matrix has no inverse")]
    Colours,
}

/// The light on each site, in the form of `mosaic`.
pub(super) fn electrons(
    scene: &Scene,
    size: FrameSize,
    colour: &ColourProfile,
    cfa: CfaOrder,
) -> Result<Vec<u16>, SceneError> {
    let to_sensor = colour.srgb_to_sensor().ok_or(SceneError::Colours)?;
    Ok(match scene {
        Scene::Photograph(path) => mosaic::expose(&Photograph::open(path)?.cover(size), size, cfa, &to_sensor),
        Scene::Procedural => mosaic::expose(&Landscape::new(size), size, cfa, &to_sensor),
        Scene::Flat(light) if (0.0..=1.0).contains(light) => {
            vec![mosaic::stored(light * model::FULL_WELL); size.samples()]
        }
        Scene::Flat(light) => return Err(SceneError::Light(*light)),
    })
}
