//! Numbers about many numbers.
//!
//! For: what enrolment needs to tell a pattern from noise and a defect from a pattern.

use super::plane::{count, single};

/// Centre and spread that a few wild values do not disturb: the median, and the median of the
/// deviations from it, scaled to the standard deviation of a normal distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Robust {
    pub(super) median: f32,
    pub(super) spread: f32,
}

impl Robust {
    /// Of no values: zeros.
    pub(super) fn of(values: &[f32]) -> Self {
        let mut values = values.to_vec();
        let median = median(&mut values);
        for value in &mut values {
            *value = (*value - median).abs();
        }
        Self { median, spread: self::median(&mut values) * 1.4826 }
    }
}

/// Mean and variance in one pass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    sum: f64,
    squares: f64,
    count: usize,
}

impl Moments {
    pub(super) fn of(values: impl Iterator<Item = f32>) -> Self {
        let mut moments = Self::default();
        for value in values {
            let value = f64::from(value);
            moments.sum += value;
            moments.squares += value * value;
            moments.count += 1;
        }
        moments
    }

    /// Of no values: 0.
    pub(super) fn variance(self) -> f64 {
        let count = count(self.count.max(1));
        (self.squares / count - (self.sum / count).powi(2)).max(0.0)
    }
}

/// The nearest whole number of steps that a signed byte holds.
#[expect(clippy::cast_possible_truncation, reason = "the range is clamped first")]
pub(super) fn quantise(value: f32, unit: f32) -> i8 {
    (value / unit).round().clamp(-127.0, 127.0) as i8
}

fn median(values: &mut [f32]) -> f32 {
    let middle = values.len() / 2;
    if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(middle, f32::total_cmp).1 }
}

/// A share of a whole in single precision; nothing of nothing.
pub(super) fn share(part: f64, whole: f64) -> f32 {
    if whole > 0.0 { single(part / whole) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wild_values_do_not_disturb() {
        let mut values: Vec<f32> = (0..1001_u16).map(f32::from).collect();
        let quiet = Robust::of(&values);
        values[3] = 1e30;
        values[700] = -1e30;
        let disturbed = Robust::of(&values);
        assert!((quiet.median - 500.0).abs() < 0.1 && (quiet.spread - 250.0 * 1.4826).abs() < 1.0, "{quiet:?}");
        assert!((disturbed.median - quiet.median).abs() < 2.0 && (disturbed.spread - quiet.spread).abs() < 3.0);
        assert_eq!(Robust::of(&[]), Robust { median: 0.0, spread: 0.0 });
    }

    #[test]
    fn variance_is_the_mean_square_off_the_mean() {
        assert!((Moments::of([1.0, 3.0, 5.0, 7.0].into_iter()).variance() - 5.0).abs() < 1e-9);
        assert!(Moments::of(std::iter::empty()).variance().abs() < 1e-9);
    }

    #[test]
    fn steps_are_rounded_and_bounded() {
        assert_eq!(
            [0.24, 0.26, -0.26, 1e9, -1e9, f32::NAN].map(|value| quantise(value, 0.5)),
            [0, 1, -1, 127, -127, 0]
        );
    }
}
