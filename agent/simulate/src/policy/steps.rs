//! Step scaling of EC2 Auto Scaling, on average CPU utilisation.
//!
//! <https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-scaling-simple-step.html>. The default is the
//! example under "Step adjustments": with a threshold of 50 %, nothing up to 60 %, 10 % more from there and
//! 30 % more from 70 %; nothing down to 40 %, 10 % fewer from there and 30 % fewer from 30 %. Per cents are
//! rounded as described there: towards zero, and what lies between 0 and 1 to 1. While instances warm up
//! (300 s) they count as capacity that is there: the same step adds nothing more and a higher one the
//! difference; nothing is removed. The alarm is that of the example there: two periods of 120 s.

use super::{Bounds, Period, Recent, Scaler, Seen};

const PERIODS: usize = 2;
/// Seconds of the example's period, and of detailed monitoring's.
pub(crate) const PERIOD_SECS: u64 = 120;
pub(crate) const DETAILED_SECS: u64 = 60;
const WARM_SECS: u64 = 300;
/// Breaches of the threshold, and percent of the capacity.
const STEPS: [(f64, i64); 2] = [(0.1, 10), (0.2, 30)];
/// The example's threshold.
pub(crate) const THRESHOLD: f64 = 0.5;

/// The rule.
#[derive(Debug)]
pub(crate) struct Steps {
    threshold: f64,
    period: Period,
    points: Recent,
    /// Capacity before those that warm up, and until when they do.
    warming: Option<(u32, u64)>,
}

impl Steps {
    pub(crate) fn new(_bounds: Bounds, threshold: f64, period_secs: u64) -> Self {
        Self {
            threshold,
            period: Period::new(period_secs),
            points: Recent::new(PERIODS),
            warming: None,
        }
    }
}

/// Percent of the capacity for a breach of at least zero.
fn percent(breach: f64) -> i64 {
    let steps = STEPS.iter().rev();
    steps.filter(|(from, _)| breach >= from - 1e-9).map(|(_, percent)| *percent).next().unwrap_or(0)
}

/// That part of a capacity, as the documentation rounds it.
fn part(capacity: u32, percent: i64) -> u32 {
    let change = i64::from(capacity) * percent;
    let change = if change > 0 { (change / 100).max(1) } else { 0 };
    u32::try_from(change).unwrap_or(0)
}

impl Scaler for Steps {
    fn step(&mut self, seen: &Seen) -> u32 {
        let Some(point) = self.period.push(seen.at, seen.busy) else { return seen.wanted };
        self.points.push(point);
        self.warming = self.warming.filter(|(_, until)| seen.at < *until);
        let points = self.points.values();
        if !self.points.full() {
            return seen.wanted;
        }
        if points.iter().all(|point| *point >= self.threshold) {
            let capacity = self.warming.map_or(seen.wanted, |(before, _)| before);
            let asked = capacity + part(capacity, percent(point - self.threshold));
            if asked > seen.wanted {
                self.warming = Some((capacity, seen.at + WARM_SECS));
                return asked;
            }
        } else if points.iter().all(|point| *point <= self.threshold) && self.warming.is_none() {
            return seen.wanted - part(seen.wanted, percent(self.threshold - point));
        }
        seen.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bounds, changes, play};
    use super::*;

    const FULL: f64 = 1_764.705_882;

    #[test]
    fn the_documentations_example() {
        // "If the metric value gets to 60, the group's desired capacity increases by 1 instance to 11
        // instances, based on the second step adjustment" of a group of ten.
        let mut steps = Steps::new(bounds(), THRESHOLD, PERIOD_SECS);
        let wanted = play(&mut steps, 400, 30, |_| 0.6 * FULL + 0.1);
        assert_eq!(changes(&wanted), [(240, 11)]);
        // At 70 and above "by another 3 instances".
        let mut steps = Steps::new(bounds(), THRESHOLD, PERIOD_SECS);
        let wanted = play(&mut steps, 260, 30, |_| 0.75 * FULL);
        assert_eq!(changes(&wanted), [(240, 13)]);
        assert_eq!((part(14, 10), part(14, 30), part(5, 10)), (1, 4, 1));
    }

    #[test]
    fn a_higher_step_adds_the_difference_while_instances_warm_up() {
        let mut steps = Steps::new(bounds(), THRESHOLD, DETAILED_SECS);
        let load = |at| if at <= 120 { 0.65 * FULL } else { 1.5 * FULL };
        let wanted = play(&mut steps, 600, 30, load);
        // 10 % of ten; then 30 % of ten and not of eleven; after 300 s 30 % of 13.
        assert_eq!(changes(&wanted), [(120, 11), (180, 13), (480, 16)]);
    }

    #[test]
    fn it_falls_by_steps() {
        let mut steps = Steps::new(bounds(), THRESHOLD, DETAILED_SECS);
        let seen = |at, busy, wanted| Seen { at, arrivals: 0.0, ready: wanted, busy, wanted };
        let mut wanted = 40;
        for at in 1..=180 {
            wanted = steps.step(&seen(at, if at <= 120 { 0.35 } else { 0.3 }, wanted));
        }
        // 10 % of 40 after two periods, 30 % of 36 after the third.
        assert_eq!(wanted, 26);
    }
}
