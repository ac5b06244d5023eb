//! A painted scene for demonstrations without a photograph: sky, sun, mountains, a lake, a meadow and a
//! colour chart whose patches show at a glance whether the colours are right.
//!
//! For: something recognisable that needs no file.
//!
//! Not for: measuring a sensor: `Scene::Flat` is even.

use std::f32::consts::PI;

use super::mosaic::LinearPicture;
use crate::colour::srgb_to_linear;
use crate::raw_frame::FrameSize;

/// The scene at one size. Lengths are shares of the picture's height.
pub(super) struct Landscape {
    height: f32,
    /// Width divided by height.
    aspect: f32,
    ridges: [Horizon; 3],
}

/// One chain of mountains.
struct Horizon {
    /// Where it ends, at each column.
    crest: Vec<f32>,
    top: Rgb,
    foot: Rgb,
}

type Rgb = [f32; 3];

impl Landscape {
    /// Lays the mountains out.
    pub(super) fn new(size: FrameSize) -> Self {
        let height = real(size.height());
        let ridges = RIDGES.map(|ridge| Horizon {
            crest: (0..size.width()).map(|x| ridge.crest(real(x) / height)).collect(),
            top: srgb(ridge.top),
            foot: srgb(ridge.foot),
        });
        Self { height, aspect: real(size.width()) / height, ridges }
    }

    fn colour(&self, column: usize, u: f32, v: f32) -> Rgb {
        if let Some(patch) = chart(u - (self.aspect - CHART_WIDTH) / 2.0, v - CHART_TOP) {
            return patch;
        }
        if v < SHORE {
            return self.above_water(column, u, v);
        }
        if v < MEADOW + 0.012 * (5.0 * u).sin() {
            let depth = (v - SHORE) / (MEADOW - SHORE);
            let ripple = 0.010 * depth * (2.0 * PI * (26.0 * depth.sqrt() + 1.5 * (9.0 * u).sin())).sin();
            let mirrored = self.above_water(column, u, (SHORE - (v - SHORE) * 1.7 + ripple).clamp(0.0, SHORE));
            return blend(mirrored, srgb([24, 62, 92]), 0.30 + 0.25 * depth);
        }
        let blades = 0.5 + 0.25 * (310.0 * u + 40.0 * (23.0 * v).sin()).sin() + 0.25 * (170.0 * v + 90.0 * u).sin();
        blend(srgb([52, 92, 30]), srgb([132, 164, 58]), blades * (1.6 - v))
    }

    fn above_water(&self, column: usize, u: f32, v: f32) -> Rgb {
        let (sun_u, sun_v) = (0.72 * self.aspect, 0.25);
        let from_sun = (u - sun_u).hypot(v - sun_v);
        let haze = (v / SHORE).clamp(0.0, 1.0);
        let sky = blend(srgb([58, 118, 196]), srgb([246, 206, 160]), haze * haze);
        let glow = blend(sky, srgb([255, 226, 150]), (-from_sun * 5.0).exp() * 0.8);
        let mut colour = blend(srgb([255, 248, 222]), glow, self.edge(from_sun - 0.055));
        for ridge in &self.ridges {
            let crest = ridge.crest.get(column).copied().unwrap_or(SHORE);
            let slope = blend(ridge.top, ridge.foot, ((v - crest) / 0.16).clamp(0.0, 1.0));
            colour = blend(colour, slope, self.edge(v - crest));
        }
        colour
    }

    /// 0 before an edge, 1 behind it, and one pixel to change.
    fn edge(&self, distance: f32) -> f32 {
        (distance * self.height + 0.5).clamp(0.0, 1.0)
    }
}

impl LinearPicture for Landscape {
    fn row(&self, y: usize, out: &mut [Rgb]) {
        let v = (real(y) + 0.5) / self.height;
        for (x, out) in out.iter_mut().enumerate() {
            *out = self.colour(x, (real(x) + 0.5) / self.height, v);
        }
    }
}

#[derive(Clone, Copy)]
struct Ridge {
    base: f32,
    swing: f32,
    pitch: f32,
    top: Rgb8,
    foot: Rgb8,
}

type Rgb8 = [u8; 3];

impl Ridge {
    fn crest(&self, u: f32) -> f32 {
        let waves: f32 = [(1.0, 0.55), (2.3, 0.27), (5.1, 0.12), (11.7, 0.06)]
            .into_iter()
            .map(|(pitch, share)| share * (self.pitch * pitch * u + 7.0 * self.base * pitch).sin())
            .sum();
        self.base - self.swing * waves
    }
}

/// The colour of a chart of two rows of twelve patches on a white board; nothing beside it.
fn chart(u: f32, v: f32) -> Option<Rgb> {
    if !(0.0..CHART_WIDTH).contains(&u) || !(0.0..CHART_HEIGHT).contains(&v) {
        return None;
    }
    let (across, down) = (12.0 * u / CHART_WIDTH, 2.0 * v / CHART_HEIGHT);
    let in_gap = |place: f32| !(0.08..0.92).contains(&place.fract());
    if in_gap(across) || in_gap(down) {
        return Some(srgb([236, 236, 232]));
    }
    let patch = PATCHES.get(whole(down)).and_then(|row| row.get(whole(across)));
    patch.copied().map(srgb)
}

fn srgb(value: Rgb8) -> Rgb {
    value.map(|value| srgb_to_linear(f32::from(value) / 255.0))
}

fn blend(from: Rgb, to: Rgb, share: f32) -> Rgb {
    std::array::from_fn(|channel| from[channel] + (to[channel] - from[channel]) * share.clamp(0.0, 1.0))
}

#[expect(clippy::cast_precision_loss, reason = "sides of a frame fit 16 bits")]
const fn real(value: usize) -> f32 {
    value as f32
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the conversion saturates at 0")]
const fn whole(value: f32) -> usize {
    value as usize
}

const SHORE: f32 = 0.56;
const MEADOW: f32 = 0.76;
const CHART_TOP: f32 = 0.80;
const CHART_WIDTH: f32 = 0.90;
const CHART_HEIGHT: f32 = 0.15;

const RIDGES: [Ridge; 3] = [
    Ridge { base: 0.36, swing: 0.110, pitch: 5.0, top: [226, 230, 240], foot: [122, 144, 184] },
    Ridge { base: 0.44, swing: 0.060, pitch: 6.5, top: [96, 118, 150], foot: [84, 116, 134] },
    Ridge { base: 0.51, swing: 0.035, pitch: 9.0, top: [48, 84, 62], foot: [30, 62, 44] },
];

/// sRGB values: twelve hues, then a ramp from black to white.
const PATCHES: [[Rgb8; 12]; 2] = [
    [
        [115, 82, 68],
        [194, 150, 130],
        [98, 122, 157],
        [87, 108, 67],
        [133, 128, 177],
        [103, 189, 170],
        [214, 126, 44],
        [56, 61, 150],
        [70, 148, 73],
        [175, 54, 60],
        [231, 199, 31],
        [187, 86, 149],
    ],
    [
        [12, 12, 12],
        [34, 34, 34],
        [56, 56, 56],
        [78, 78, 78],
        [100, 100, 100],
        [122, 122, 122],
        [144, 144, 144],
        [166, 166, 166],
        [188, 188, 188],
        [210, 210, 210],
        [232, 232, 232],
        [252, 252, 252],
    ],
];
