//! CudgX's redundancy keeper.
//!
//! <https://github.com/galaxy-future/cudgx>, `internal/predict`: once a minute the median of the last minute
//! without its last 5 s of redundancy R = benchmarked QPS of an instance ÷ weighted QPS that it has. Inside
//! the band nothing is done, outside of it the count goes towards `count × middle of the band ÷ R` by the
//! rule's ratio, at most 30 at once. Under 30 samples it holds. There is no default: the band of 100 to
//! 300 % and the ratio of 30 % are the examples of `docs/developer_api.md`.

use super::{Bounds, Recent, Scaler, Seen, count};

const ROUND_SECS: u64 = 60;
/// Seconds whose metrics are still on their way.
const SENDS_SECS: u64 = 5;
const SAMPLES_MIN: usize = 30;
const STEP_MAX: i64 = 30;
/// A time without requests has no redundancy to speak of; this is a lot of it.
const IDLE: f64 = 1e6;

/// A rule's band and ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Band {
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) ratio: f64,
}

/// The example.
pub(crate) const BAND: Band = Band { min: 1.0, max: 3.0, ratio: 0.3 };

/// The rule.
#[derive(Debug)]
pub(crate) struct Cudgx {
    band: Band,
    benchmark: f64,
    redundancy: Recent,
}

impl Cudgx {
    pub(crate) fn new(bounds: Bounds, band: Band) -> Self {
        let samples = usize::try_from(ROUND_SECS - SENDS_SECS).unwrap_or(1);
        Self { band, benchmark: bounds.server_qps, redundancy: Recent::new(samples) }
    }

    fn median(&self) -> Option<f64> {
        let mut values = self.redundancy.values().to_vec();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().filter(|_| values.len() >= SAMPLES_MIN)
    }
}

impl Scaler for Cudgx {
    fn step(&mut self, seen: &Seen) -> u32 {
        // What is on its way is never looked at, so it is not kept.
        if (1..=ROUND_SECS - SENDS_SECS).contains(&(seen.at % ROUND_SECS)) {
            let each = seen.arrivals / f64::from(seen.ready.max(1));
            self.redundancy.push(if each > 0.0 { self.benchmark / each } else { IDLE });
        }
        if !seen.at.is_multiple_of(ROUND_SECS) {
            return seen.wanted;
        }
        let Some(redundancy) = self.median() else { return seen.wanted };
        let Band { min, max, ratio } = self.band;
        if redundancy > min && redundancy < max {
            return seen.wanted;
        }
        let expected = (f64::midpoint(min, max) / redundancy * f64::from(seen.wanted)).floor();
        let change = ((expected - f64::from(seen.wanted)) * ratio).ceil();
        let change = i64::from(count(change.abs())) * if change < 0.0 { -1 } else { 1 };
        let wanted = i64::from(seen.wanted) + change.clamp(-STEP_MAX, STEP_MAX);
        u32::try_from(wanted).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bounds, changes, play};
    use super::*;

    #[test]
    fn outside_of_the_band_it_goes_towards_its_middle() {
        // R of ten servers of 150 at 1500 requests is 1.0, outside: 2.0 ÷ 1.0 × 10 = 20, of which 30 %.
        let wanted = play(&mut Cudgx::new(bounds(), BAND), 240, 1, |_| 1500.0);
        // 13 servers have an R of 1.3, which is inside.
        assert_eq!(changes(&wanted), [(60, 13)]);
        // At 600 R is 2.5: inside. At 300 it is 5.0, and nothing is under the least count.
        assert!(changes(&play(&mut Cudgx::new(bounds(), BAND), 240, 1, |_| 600.0)).is_empty());
        assert!(changes(&play(&mut Cudgx::new(bounds(), BAND), 240, 1, |_| 300.0)).is_empty());
    }

    #[test]
    fn it_falls_by_its_ratio_and_at_most_by_thirty() {
        let seen = |at, arrivals, wanted| Seen { at, arrivals, ready: wanted, busy: 0.0, wanted };
        let mut cudgx = Cudgx::new(bounds(), BAND);
        let mut last = 0;
        for at in 1..=60 {
            last = cudgx.step(&seen(at, 1500.0, 80));
        }
        // R = 8; 2 ÷ 8 × 80 = 20; 30 % of −60 is −18.
        assert_eq!(last, 62);
        let mut cudgx = Cudgx::new(bounds(), Band { ratio: 1.0, ..BAND });
        for at in 1..=60 {
            last = cudgx.step(&seen(at, 0.0, 80));
        }
        assert_eq!(last, 50);
    }

    #[test]
    fn a_burst_shorter_than_half_a_minute_is_not_seen() {
        let load = |at| if (1..=27).contains(&(at % 60)) { 4000.0 } else { 600.0 };
        assert!(changes(&play(&mut Cudgx::new(bounds(), BAND), 240, 1, load)).is_empty());
        let load = |at| if (1..=28).contains(&(at % 60)) { 4000.0 } else { 600.0 };
        assert_eq!(changes(&play(&mut Cudgx::new(bounds(), BAND), 60, 1, load)).len(), 1);
    }
}
