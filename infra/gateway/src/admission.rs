//! Admission to the site's services: so many weighted requests a second, and a little more at once.
//!
//! The plan's share divides clients for the seconds to come; what a single second brings beyond what home
//! can serve within its limit of latency is known here alone, and leaves at once. The rule is the generic
//! cell rate algorithm (ITU-T I.371, annex A), whose whole state is one number: when the next request
//! would come if all came evenly.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use spillway_part::clock;

/// What may come at once: of this time, and so many requests where few come, for these never come evenly.
/// The more come, the more chance evens them out: above this rate the number falls as that rises.
const AT_ONCE: Duration = Duration::from_millis(20);
const REQUESTS_AT_ONCE: f64 = 8.0;
const FEW_QPS: f64 = 30.0;
/// What has to stay at home is not held to the rate, and keeps others away for at most this long. So does
/// one request that weighs more than that.
const DEBT_MAX: Duration = Duration::from_secs(1);

/// What has been admitted lately.
#[derive(Debug)]
pub(crate) struct Admission {
    born: Instant,
    /// When the next request would come, in nanoseconds since `born`.
    next: AtomicU64,
}

impl Admission {
    pub(crate) fn new() -> Self {
        Self { born: clock::instant(), next: AtomicU64::new(0) }
    }

    /// Takes a request of this weight in where `qps` are to be, if there is room for it, and whatever
    /// there is if it `must` stay.
    pub(crate) fn takes(&self, qps: f64, weight: f64, must: bool) -> bool {
        let now = nanos(clock::instant().saturating_duration_since(self.born).as_secs_f64());
        self.takes_at(now, qps, weight, must)
    }

    fn takes_at(&self, now: u64, qps: f64, weight: f64, must: bool) -> bool {
        if qps.is_nan() || qps <= 0.0 {
            return must;
        }
        let requests = REQUESTS_AT_ONCE * (FEW_QPS / qps).min(1.0);
        let tolerance = nanos(AT_ONCE.as_secs_f64() + requests / qps);
        let cost = nanos(weight / qps);
        let enough = now.saturating_add(tolerance);
        let most = enough.saturating_add(nanos(DEBT_MAX.as_secs_f64()));
        let taken = self.next.fetch_update(Relaxed, Relaxed, |next| {
            let after = next.max(now).saturating_add(cost);
            (must || next <= enough).then(|| after.min(most.max(next)))
        });
        taken.is_ok()
    }
}

/// Seconds as whole nanoseconds; what is no time at all is the longest.
fn nanos(secs: f64) -> u64 {
    Duration::try_from_secs_f64(secs)
        .ok()
        .and_then(|time| u64::try_from(time.as_nanos()).ok())
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many of those that come at these times, in milliseconds, are taken in.
    fn taken(qps: f64, weight: f64, times: impl IntoIterator<Item = u64>) -> usize {
        let admission = Admission::new();
        let times = times.into_iter();
        times.filter(|ms| admission.takes_at(ms * 1_000_000, qps, weight, false)).count()
    }

    #[test]
    fn the_rate_is_kept_to_and_a_few_may_come_at_once() {
        // All that come at once: of 20 ms, and the one that finds that there was room.
        assert_eq!(taken(1000.0, 1.0, vec![0; 500]), 21);
        assert_eq!(taken(10.0, 1.0, vec![0; 500]), 9);
        // Twice the rate for ten seconds.
        let twice = (0..10_000).flat_map(|ms| [ms, ms]);
        assert!((10_000..=10_021).contains(&taken(1000.0, 1.0, twice.clone())));
        assert!((2_500..=2_507).contains(&taken(1000.0, 4.0, twice)));
        // What comes evenly is taken in whole.
        assert_eq!(taken(1000.0, 1.0, 0..10_000), 10_000);
    }

    #[test]
    fn what_must_stay_is_taken_in_and_keeps_others_away_for_a_second() {
        let admission = Admission::new();
        for _ in 0..10_000 {
            assert!(admission.takes_at(0, 1000.0, 1.0, true));
        }
        assert!(!admission.takes_at(900_000_000, 1000.0, 1.0, false));
        assert!(admission.takes_at(1_000_000_000, 1000.0, 1.0, false));
    }

    proptest! {
        /// Whatever comes whenever, no more is taken in over any time than the rate and what may come
        /// at once; and no number makes it panic.
        #[test]
        fn no_more_than_the_rate(
            qps in 0.1..100_000.0_f64, steps in prop::collection::vec(0_u64..50, 1..2000),
        ) {
            let mut now = 0;
            let times: Vec<u64> = steps.iter().map(|step| { now += step; now }).collect();
            let secs = now as f64 / 1000.0;
            let most = qps * (secs + AT_ONCE.as_secs_f64()) + REQUESTS_AT_ONCE + 1.0;
            prop_assert!(taken(qps, 1.0, times) as f64 <= most + 1e-6);
        }

        #[test]
        fn nothing_panics(qps: f64, weight: f64, now: u64, must: bool) {
            let admission = Admission::new();
            admission.takes_at(now, qps, weight, must);
            prop_assert!(!must || admission.takes_at(now, qps, weight, true));
        }
    }
}
