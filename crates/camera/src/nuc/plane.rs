//! One colour of a mosaic as a picture of its own.
//!
//! For: comparing sites with their neighbours of the same colour: in the mosaic itself, neighbours see
//! other colours.
//!
//! Not for: pictures (`isp`).

use rayon::prelude::*;

use crate::raw_frame::FrameSize;

/// The values of every second site of every second row.
#[derive(Clone, Debug)]
pub(super) struct Plane {
    width: usize,
    pub(super) values: Vec<f32>,
}

/// The place of a plane's first site in the mosaic's cell: column, row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Corner(usize, usize);

impl Corner {
    pub(super) const ALL: [Self; 4] = [Self(0, 0), Self(1, 0), Self(0, 1), Self(1, 1)];

    /// Its number in the mosaic's cell.
    pub(super) const fn index(self) -> usize {
        self.1 * 2 + self.0
    }

    /// The mosaic's number of a plane's site.
    pub(super) const fn site(self, size: FrameSize, place: usize) -> usize {
        let width = size.width() / 2;
        let (x, y) = (place % width, place / width);
        (y * 2 + self.1) * size.width() + x * 2 + self.0
    }

    /// Takes one colour out of something that has a value for each site of a mosaic.
    pub(super) fn plane(self, size: FrameSize, value: impl Fn(usize) -> f32 + Sync) -> Plane {
        let width = size.width() / 2;
        let mut values = vec![0.0; width * (size.height() / 2)];
        values.par_chunks_mut(width).enumerate().for_each(|(y, row)| {
            for (x, out) in row.iter_mut().enumerate() {
                *out = value(self.site(size, y * width + x));
            }
        });
        Plane { width, values }
    }
}

impl Plane {
    /// A plane of the same shape, computed site by site.
    pub(super) fn map(&self, value: impl Fn(usize, f32) -> f32 + Sync + Send) -> Self {
        let values = self.values.par_iter().enumerate().map(|(place, old)| value(place, *old)).collect();
        Self { width: self.width, values }
    }

    /// For each site the mean of the square around it, cut at the edges.
    pub(super) fn local_mean(&self, radius: usize) -> Self {
        let (width, height) = (self.width, self.values.len() / self.width);
        let mut along = vec![0.0; self.values.len()];
        along.par_chunks_mut(width).zip(self.values.par_chunks(width)).for_each(|(out, row)| {
            // In double precision: a running sum in single drifts over a row.
            let mut sum: f64 = row.iter().take(radius).map(|value| f64::from(*value)).sum();
            for (x, out) in out.iter_mut().enumerate() {
                if let Some(next) = row.get(x + radius) {
                    sum += f64::from(*next);
                }
                if let Some(last) = x.checked_sub(radius + 1) {
                    sum -= f64::from(row[last]);
                }
                *out = single(sum / count(span(x, width, radius)));
            }
        });
        let mut values = vec![0.0; self.values.len()];
        values.par_chunks_mut(width).enumerate().for_each(|(y, out)| {
            let rows = y.saturating_sub(radius)..(y + radius + 1).min(height);
            let share = single(1.0 / count(rows.len()));
            for row in rows {
                for (out, value) in out.iter_mut().zip(&along[row * width..(row + 1) * width]) {
                    *out += value * share;
                }
            }
        });
        Self { width, values }
    }

    /// Takes each row's and each column's mean off: what sensors of one make share is in those.
    pub(super) fn without_lines(mut self) -> Self {
        let height = self.values.len() / self.width;
        let mut columns = vec![0.0_f64; self.width];
        for row in self.values.chunks_mut(self.width) {
            let mean = single(row.iter().map(|value| f64::from(*value)).sum::<f64>() / count(self.width));
            for (value, column) in row.iter_mut().zip(&mut columns) {
                *value -= mean;
                *column += f64::from(*value);
            }
        }
        let columns: Vec<f32> = columns.into_iter().map(|sum| single(sum / count(height))).collect();
        for row in self.values.chunks_mut(self.width) {
            for (value, column) in row.iter_mut().zip(&columns) {
                *value -= column;
            }
        }
        self
    }

    pub(super) fn mean(&self) -> f64 {
        self.values.par_iter().map(|value| f64::from(*value)).sum::<f64>() / count(self.values.len())
    }
}

/// Sites of a row or column that lie within the square.
fn span(place: usize, len: usize, radius: usize) -> usize {
    (place + radius + 1).min(len) - place.saturating_sub(radius)
}

#[expect(clippy::cast_possible_truncation, reason = "samples have 16 bits, single precision 24")]
pub(super) const fn single(value: f64) -> f32 {
    value as f32
}

#[expect(clippy::cast_precision_loss, reason = "sites of a frame are below 2^26")]
pub(super) const fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn planes_take_every_site_once() {
        let shape = FrameSize::new(18, 16).unwrap();
        let mut seen = vec![0; shape.samples()];
        for corner in Corner::ALL {
            let plane = corner.plane(shape, |site| f32::from(u16::try_from(site).unwrap()));
            assert_eq!((plane.width, plane.values.len()), (9, 72));
            for (place, value) in plane.values.iter().enumerate() {
                let site = corner.site(shape, place);
                assert!((value - f32::from(u16::try_from(site).unwrap())).abs() < 0.5);
                assert_eq!((site / 18 % 2) * 2 + site % 2, corner.index());
                seen[site] += 1;
            }
        }
        assert!(seen.iter().all(|times| *times == 1));
    }

    #[test]
    fn lines_that_all_sensors_share_are_taken_off() {
        let values = (0..12_u8).map(|place| f32::from(place / 4) * 10.0 + f32::from(place % 4));
        let plane = Plane { width: 4, values: values.collect() }.without_lines();
        assert!(plane.values.iter().all(|value| value.abs() < 1e-5), "{plane:?}");
    }

    proptest! {
        #[test]
        fn local_mean_is_the_mean_of_the_square(
            width in 1_usize..12, height in 1_usize..12, radius in 0_usize..5, seed in 1_usize..1000,
        ) {
            let whole = |number: usize| f32::from(u16::try_from(number).unwrap());
            let values: Vec<f32> = (0..width * height).map(|place| whole(place * seed % 4096)).collect();
            let plane = Plane { width, values: values.clone() };
            for (place, mean) in plane.local_mean(radius).values.iter().enumerate() {
                let (x, y) = (place % width, place / width);
                let near: Vec<f32> = (0..height)
                    .flat_map(|v| (0..width).map(move |u| (u, v)))
                    .filter(|(u, v)| u.abs_diff(x) <= radius && v.abs_diff(y) <= radius)
                    .map(|(u, v)| values[v * width + u])
                    .collect();
                let expected = near.iter().sum::<f32>() / whole(near.len());
                prop_assert!((mean - expected).abs() < 0.1, "{mean} {expected}");
            }
        }
    }
}
