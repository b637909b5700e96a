//! An upper quantile of what a forecast gets wrong, learned online.
//!
//! The quantile is tracked (Gibbs and Candès, Adaptive conformal inference under distribution shift, 2021; the
//! tracker with a step of the errors' own size is that of Angelopoulos, Candès and Tibshirani, Conformal PID
//! control, 2023): a value above it raises it, one below lowers it by as much less as values are to be below more
//! often. So the part of the values that it covers comes to the nominal one whatever their distribution is, and
//! however it changes. It costs five numbers and a dozen operations a value.

use serde::{Deserialize, Serialize};

/// A step of the quantile, as a part of the usual error.
const RATE: f64 = 0.1;
/// The usual error is a mean of so many values, and so is the coverage.
const USUAL_VALUES: f64 = 48.0;
/// The loss is a mean of so many, which is a day of steps: a season wins by day and draws by night.
const LOSS_VALUES: f64 = 288.0;
/// What is missed may be half more than nominal, and so much above that, before coverage is broken.
const MISSED: (f64, f64) = (1.5, 0.05);

/// One forecast's quantile at one horizon: what to add to a forecast, in units that the caller chooses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conformal {
    /// Above the forecast, in units that are handed in.
    offset: f64,
    /// Mean absolute error in these.
    error: f64,
    /// The part of the values that were not above, of late.
    covered: f64,
    /// Mean pinball loss, in what the values are in.
    loss: f64,
    /// Values so far, as far as means go.
    values: f64,
}

/// The gain of a plain mean until it is one of so many.
pub(crate) fn gain(values: f64, most: f64) -> f64 {
    1.0 / values.clamp(1.0, most)
}

impl Conformal {
    /// The quantile of what a forecast of `expected` was for.
    #[must_use]
    pub fn upper(&self, expected: f64, unit: f64) -> f64 {
        (expected + self.offset * unit).max(0.0)
    }

    /// `value` came where `expected` had been forecast. The quantile that was told then is compared first, and
    /// learns afterwards.
    pub fn take_in(&mut self, quantile: f64, value: f64, expected: f64, unit: f64) {
        if unit <= 0.0 {
            return;
        }
        let above = value - self.upper(expected, unit);
        let covers = above <= 0.0;
        self.values = (self.values + 1.0).min(LOSS_VALUES);
        let loss = if covers { (quantile - 1.0) * above } else { quantile * above };
        self.loss += gain(self.values, LOSS_VALUES) * (loss - self.loss);
        let hit = if covers { 1.0 } else { 0.0 };
        // As if all had been well before: a first miss is one of many.
        let before = if self.values > 1.0 { self.covered } else { quantile };
        self.covered = before + (hit - before) / USUAL_VALUES;
        let error = ((value - expected) / unit).abs();
        self.error += gain(self.values, USUAL_VALUES) * (error - self.error);
        self.offset += RATE * self.error * (quantile - hit);
    }

    /// The part of the values of late that were within the quantile.
    pub(crate) fn covered(&self) -> f64 {
        self.covered
    }

    /// Whether clearly more is missed than should be.
    pub(crate) fn broken(&self, quantile: f64) -> bool {
        1.0 - self.covered > MISSED.0 * (1.0 - quantile) + MISSED.1
    }

    /// Mean pinball loss, once it is one of a whole day.
    pub(crate) fn loss(&self) -> Option<f64> {
        (self.values >= LOSS_VALUES).then_some(self.loss)
    }

    /// Goes on in another unit, of which one of the old is `by`.
    pub(crate) fn scale(&mut self, by: f64) {
        self.loss *= by;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of values that are a hash of their number, between 0 and 1.
    fn noise(n: u32) -> f64 {
        f64::from(
            n.wrapping_add(1).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(40_503)
                >> 12,
        ) / f64::from(1_u32 << 20)
    }

    #[test]
    fn coverage_is_nominal_and_stays_so_when_the_spread_changes() {
        for quantile in [0.5, 0.75, 0.95] {
            let mut conformal = Conformal::default();
            let mut covered = [0.0, 0.0];
            for n in 0..8000_u32 {
                let spread = if n < 4000 { 1.0 } else { 5.0 };
                let value = 10.0 + spread * (noise(n) - 0.5);
                let hit = value <= conformal.upper(10.0, 10.0);
                if n % 4000 >= 1000 && hit {
                    covered[usize::from(n >= 4000)] += 1.0 / 3000.0;
                }
                conformal.take_in(quantile, value, 10.0, 10.0);
            }
            for part in covered {
                assert!((part - quantile).abs() < 0.02, "{quantile}: {covered:?}");
            }
            assert!(!conformal.broken(quantile));
            // What is uniform has its quantile there, give or take steps.
            let upper = conformal.upper(10.0, 10.0);
            assert!((upper - (7.5 + 5.0 * quantile)).abs() < 0.5, "{quantile}: {upper}");
        }
    }

    #[test]
    fn a_forecast_that_falls_short_breaks_within_an_hour_and_recovers() {
        let mut conformal = Conformal::default();
        for n in 0..1000 {
            conformal.take_in(0.95, 100.0 + noise(n), 100.0, 100.0);
        }
        let mut missed = 0;
        while !conformal.broken(0.95) {
            conformal.take_in(0.95, 200.0, 100.0, 100.0);
            missed += 1;
        }
        assert!((3..12).contains(&missed), "{missed}");
        for n in 0..300 {
            conformal.take_in(0.95, 200.0 + noise(n), 100.0, 100.0);
        }
        assert!(!conformal.broken(0.95), "{conformal:?}");
    }

    proptest! {
        #[test]
        fn any_values_leave_numbers(values in proptest::collection::vec((0.0..1e12_f64, 0.0..1e12_f64), 1..200)) {
            let mut conformal = Conformal::default();
            for (value, expected) in values {
                conformal.take_in(0.95, value, expected, expected + 1.0);
                prop_assert!(conformal.upper(expected, expected + 1.0).is_finite());
                prop_assert!((0.0..=1.0).contains(&conformal.covered()));
            }
        }
    }
}
