//! Three colours on every site, by the linear filters of Malvar, He and Cutler ("High-quality linear
//! interpolation for demosaicing of Bayer-patterned color images", ICASSP 2004).
//!
//! For: one line at a time, from five lines of the mosaic.
//!
//! Not for: levels and colours, which are the caller's before and after.

use crate::raw_frame::{CfaOrder, Channel};

/// Values that a line has beyond each end.
pub(super) const MARGIN: usize = 2;

/// Five consecutive lines of the mosaic, each with its margin.
pub(super) struct Window<'a> {
    pub(super) above2: &'a [f32],
    pub(super) above: &'a [f32],
    pub(super) here: &'a [f32],
    pub(super) below: &'a [f32],
    pub(super) below2: &'a [f32],
}

/// What a line of the mosaic sees beside green, and which comes first.
#[derive(Clone, Copy)]
pub(super) struct Line {
    red: bool,
    green_first: bool,
}

impl Line {
    /// The line of a frame.
    pub(super) fn new(cfa: CfaOrder, y: usize) -> Self {
        let cell = [cfa.channel(0, y), cfa.channel(1, y)];
        Self { red: cell.contains(&Channel::Red), green_first: cell[0] == Channel::Green }
    }
}

/// Interpolates a line and hands each pixel's red, green and blue to `finish`.
pub(super) fn line(window: &Window<'_>, line: Line, out: &mut [[u8; 3]], finish: impl Fn([f32; 3]) -> [u8; 3]) {
    // The order is decided once a line, so that each of the four loops is straight.
    match (line.green_first, line.red) {
        (true, true) => {
            cells(window, out, |n| (n.on_green(0), n.on_colour(1)), |[own, g, other]| finish([own, g, other]));
        }
        (true, false) => {
            cells(window, out, |n| (n.on_green(0), n.on_colour(1)), |[own, g, other]| finish([other, g, own]));
        }
        (false, true) => {
            cells(window, out, |n| (n.on_colour(0), n.on_green(1)), |[own, g, other]| finish([own, g, other]));
        }
        (false, false) => {
            cells(window, out, |n| (n.on_colour(0), n.on_green(1)), |[own, g, other]| finish([other, g, own]));
        }
    }
}

/// The line's own colour, green, and the colour of the lines above and below.
type OwnGreenOther = [f32; 3];

fn cells(
    window: &Window<'_>,
    out: &mut [[u8; 3]],
    interpolate: impl Fn(&Neighbours<'_>) -> (OwnGreenOther, OwnGreenOther),
    finish: impl Fn(OwnGreenOther) -> [u8; 3],
) {
    let lines = [window.above2, window.above, window.here, window.below, window.below2];
    for (cell, out) in out.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let near = |line: &'_ [f32]| -> [f32; 6] { std::array::from_fn(|at| line[2 * cell..2 * cell + 6][at]) };
        let [above2, above, here, below, below2] = lines.map(near);
        let neighbours = Neighbours { above2: &above2, above: &above, here: &here, below: &below, below2: &below2 };
        let (first, second) = interpolate(&neighbours);
        *out = [finish(first), finish(second)];
    }
}

/// What surrounds two neighbouring sites; theirs are the columns 2 and 3.
struct Neighbours<'a> {
    above2: &'a [f32; 6],
    above: &'a [f32; 6],
    here: &'a [f32; 6],
    below: &'a [f32; 6],
    below2: &'a [f32; 6],
}

impl Neighbours<'_> {
    /// On a red or blue site.
    #[inline]
    fn on_colour(&self, site: usize) -> OwnGreenOther {
        let x = site + MARGIN;
        let own = self.here[x];
        let far = self.above2[x] + self.below2[x] + self.here[x - 2] + self.here[x + 2];
        let near = self.above[x] + self.below[x] + self.here[x - 1] + self.here[x + 1];
        let green = (4.0 * own + 2.0 * near - far) * 0.125;
        let other = (6.0 * own + 2.0 * self.diagonals(x) - 1.5 * far) * 0.125;
        [own, green, other]
    }

    /// On a green site.
    #[inline]
    fn on_green(&self, site: usize) -> OwnGreenOther {
        let x = site + MARGIN;
        let green = self.here[x];
        let (across, along) = (self.above2[x] + self.below2[x], self.here[x - 2] + self.here[x + 2]);
        let base = 5.0 * green - self.diagonals(x);
        let own = (base + 4.0 * (self.here[x - 1] + self.here[x + 1]) - along + 0.5 * across) * 0.125;
        let other = (base + 4.0 * (self.above[x] + self.below[x]) - across + 0.5 * along) * 0.125;
        [own, green, other]
    }

    #[inline]
    fn diagonals(&self, x: usize) -> f32 {
        self.above[x - 1] + self.above[x + 1] + self.below[x - 1] + self.below[x + 1]
    }
}
