//! When each request starts, whose it is and what it asks for: a pure function of profile, mix,
//! population and seed.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use crate::mix::{Mix, Operation};
use crate::profile::Curve;

/// One request to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// From the storm's start.
    pub at: Duration,
    /// Whose it is.
    pub client: u32,
    /// What it asks for.
    pub operation: Operation,
    /// Random; decides details such as the venue.
    pub token: u64,
}

/// The arrivals of a storm in the order of time: a Poisson process that follows the curve, because
/// exponential gaps are laid on the curve's integral instead of on time.
#[derive(Debug)]
pub struct Schedule<'a> {
    curve: &'a Curve,
    mix: &'a Mix,
    clients: u32,
    rng: Pcg64Mcg,
    sum: f64,
}

impl<'a> Schedule<'a> {
    /// The schedule of a seed; `clients` is at least 1.
    #[must_use]
    pub fn new(curve: &'a Curve, mix: &'a Mix, clients: u32, seed: u64) -> Self {
        Self { curve, mix, clients: clients.max(1), rng: Pcg64Mcg::seed_from_u64(seed), sum: 0.0 }
    }
}

impl Iterator for Schedule<'_> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        // Each arrival draws the same four numbers, so that another mix or population leaves the
        // times as they are.
        let gap = -(1.0 - self.rng.random::<f64>()).ln();
        let (client, operation, token) =
            (self.rng.random::<f64>(), self.rng.random(), self.rng.random());
        self.sum += gap;
        let at = self.curve.second_of(self.sum)?;
        Some(Arrival {
            at: Duration::from_secs_f64(at),
            client: pick(client, self.clients),
            operation: self.mix.pick(operation),
            token,
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the product lies within 0..=n"
)]
fn pick(drawn: f64, n: u32) -> u32 {
    ((drawn * f64::from(n)) as u32).min(n - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Profile, second_index};

    fn storm(profile: &Profile, seed: u64) -> Vec<Arrival> {
        let (curve, mix) = (profile.curve().unwrap(), Mix::default());
        Schedule::new(&curve, &mix, 500, seed).collect()
    }

    #[test]
    fn a_seed_is_a_schedule() {
        let profile = Profile::Ramp { from: 5.0, to: 300.0, secs: 20.0 };
        let first = storm(&profile, 7);
        assert_eq!(first, storm(&profile, 7));
        assert_ne!(first, storm(&profile, 8));
        assert!(first.windows(2).all(|pair| pair[0].at <= pair[1].at));
    }

    #[test]
    fn another_mix_leaves_the_times_as_they_are() {
        let curve = Profile::Constant { rate: 100.0, secs: 5.0 }.curve().unwrap();
        let (all, one) = (Mix::default(), "qr=1".parse().unwrap());
        let times =
            |mix| Schedule::new(&curve, mix, 9, 3).map(|a| (a.at, a.client)).collect::<Vec<_>>();
        assert_eq!(times(&all), times(&one));
    }

    /// Counts per piece of a Poisson process have variance equal to their mean; five standard
    /// deviations leave one chance in a million, and the seeds are fixed.
    #[test]
    fn arrivals_follow_the_integral_of_the_rate() {
        let profiles = [
            Profile::Constant { rate: 800.0, secs: 30.0 },
            Profile::Step { base: 50.0, peak: 2000.0, at: 10.0, secs: 20.0 },
            Profile::Ramp { from: 0.0, to: 1500.0, secs: 25.0 },
        ];
        for (profile, seed) in profiles.iter().zip(1..) {
            let curve = profile.curve().unwrap();
            let arrivals = storm(profile, seed);
            let mut per_second = vec![0.0; second_index(curve.secs()) + 1];
            for arrival in &arrivals {
                per_second[second_index(arrival.at.as_secs_f64())] += 1.0;
            }
            for (second, got) in per_second.iter().enumerate() {
                let from = second as f64;
                let wanted = curve.arrivals_before(from + 1.0) - curve.arrivals_before(from);
                let off = (got - wanted).abs();
                assert!(off <= 5.0 * wanted.sqrt() + 1.0, "{profile}, s {second}: {got} {wanted}");
            }
            let off = (arrivals.len() as f64 - curve.arrivals()).abs();
            assert!(off < 4.0 * curve.arrivals().sqrt(), "{profile}: {}", arrivals.len());
        }
    }

    #[test]
    fn clients_and_operations_are_drawn_evenly() {
        let arrivals = storm(&Profile::Constant { rate: 5000.0, secs: 10.0 }, 1);
        let mut per_client = vec![0u32; 500];
        let mut qr = 0.0;
        for arrival in &arrivals {
            per_client[arrival.client as usize] += 1;
            qr += f64::from(u8::from(arrival.operation == Operation::Qr));
        }
        assert!(per_client.iter().all(|n| (50..170).contains(n)), "mean is 100");
        let share = qr / arrivals.len() as f64;
        assert!((0.24..0.26).contains(&share), "{share}");
    }
}
