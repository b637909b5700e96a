//! Chance, from a seed.
//!
//! A run draws from streams of its own: the requests of a second depend on the seed and on the second
//! alone, so that all policies are asked the same.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{RngCore as _, SeedableRng as _};

/// Below this mean a Poisson variable is drawn exactly.
const EXACT: f64 = 30.0;

/// So many are drawn one by one.
const FEW: u64 = 32;

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Chance(Pcg64Mcg);

impl Chance {
    /// Stream `stream` of `seed`.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mixed =
            seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03);
        Self(Pcg64Mcg::seed_from_u64(mixed))
    }

    /// From [0,1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / 9_007_199_254_740_992.0
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.next_u64() % (high.saturating_sub(low) + 1)
    }

    /// Near enough to a standard normal variable: twelve uniform ones less six. It never exceeds six,
    /// and takes only sums, so that it is the same on every machine.
    pub(crate) fn normal(&mut self) -> f64 {
        let mut sum = 0;
        for _ in 0..3 {
            let bits = self.0.next_u64();
            sum += (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48);
        }
        (sum as f64 + 6.0) / 65_536.0 - 6.0
    }

    /// A Poisson variable: below a mean of 30 by Knuth's products of uniform variables, above by a normal
    /// one with its skew corrected (Cornish and Fisher, 1938), which keeps mean and variance.
    pub(crate) fn poisson(&mut self, mean: f64) -> u64 {
        if mean >= EXACT {
            let z = self.normal();
            return whole(mean + mean.sqrt() * z + (z * z - 1.0) / 6.0);
        }
        if mean <= 0.0 {
            return 0;
        }
        let limit = (-mean).exp();
        let (mut product, mut count) = (self.uniform(), 0);
        while product > limit {
            product *= self.uniform();
            count += 1;
        }
        count
    }

    /// How many of `count` fall to a part of probability `part`: of few one by one, else a normal variable, or
    /// a Poisson one for what is rare.
    pub(crate) fn binomial(&mut self, count: u64, part: f64) -> u64 {
        if part <= 0.0 || count == 0 {
            return 0;
        }
        if part >= 1.0 {
            return count;
        }
        if count <= FEW {
            return (0..count).filter(|_| self.uniform() < part).count() as u64;
        }
        let mean = count as f64 * part;
        let variance = mean * (1.0 - part);
        let drawn = if variance >= EXACT / 2.0 {
            whole(mean + variance.sqrt() * self.normal())
        } else if part < 0.5 {
            self.poisson(mean)
        } else {
            count.saturating_sub(self.poisson(count as f64 - mean))
        };
        drawn.min(count)
    }
}

/// The nearest count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and counts of requests are far below 2^63"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value.round().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::Chance;

    fn moments(draw: impl Fn(&mut Chance) -> f64) -> (f64, f64) {
        let mut chance = Chance::new(7, 1);
        let values: Vec<f64> = (0..40_000).map(|_| draw(&mut chance)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, variance)
    }

    #[test]
    fn poisson_variables_have_the_variance_of_their_mean() {
        for wanted in [0.3, 5.0, 29.0, 31.0, 1500.0] {
            let (mean, variance) = moments(|chance| chance.poisson(wanted) as f64);
            assert!((mean / wanted - 1.0).abs() < 0.02, "{wanted}: mean {mean}");
            assert!((variance / wanted - 1.0).abs() < 0.05, "{wanted}: variance {variance}");
        }
        assert_eq!(Chance::new(7, 1).poisson(0.0), 0);
    }

    #[test]
    fn parts_add_up() {
        for (count, part) in [(3, 0.5), (1000, 0.01), (1000, 0.4), (1000, 0.99)] {
            let (mean, variance) = moments(|chance| chance.binomial(count, part) as f64);
            let wanted = count as f64 * part;
            assert!((mean - wanted).abs() < 0.05 * wanted, "{count} {part}: {mean}");
            if count > 3 {
                let usual = wanted * (1.0 - part);
                assert!((variance / usual - 1.0).abs() < 0.1, "{count} {part}: {variance}");
            }
        }
        let mut chance = Chance::new(1, 1);
        assert_eq!((chance.binomial(9, 0.0), chance.binomial(9, 1.0)), (0, 9));
    }
}
