//! Target tracking of EC2 Auto Scaling, on average CPU utilisation.
//!
//! <https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-scaling-target-tracking.html> and
//! <https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html>:
//! two alarms that the service makes itself, of one-minute points: three in a row above the target add, fifteen
//! in a row below nine tenths of it remove, each to `ceil(capacity × metric ÷ target)`. After either a cool-down
//! of 300 s: what was added counts as a part of what the next one asks for, and only a larger one adds; nothing
//! is removed. A variant has points of 20 s; its fifteen minutes stay fifteen minutes. 50 % is the target of
//! the documentation's examples.

use super::{Bounds, Period, Recent, Scaler, Seen, count};

/// Points above the target, in a row.
const OUT_POINTS: usize = 3;
const IN_SECS: u64 = 900;
const IN_PART: f64 = 0.9;
const COOL_SECS: u64 = 300;
/// The target of the examples.
pub(crate) const TARGET: f64 = 0.5;
/// Seconds of a point, and of the variant's.
pub(crate) const POINT_SECS: u64 = 60;
pub(crate) const FAST_POINT_SECS: u64 = 20;

/// The rule.
#[derive(Debug)]
pub(crate) struct Tracking {
    target: f64,
    min: u32,
    point: Period,
    out_points: Recent,
    in_points: Recent,
    /// Capacity before the last that was added, and until when that counts as a part of what is asked.
    added: Option<(u32, u64)>,
    removes_from: u64,
}

impl Tracking {
    pub(crate) fn new(bounds: Bounds, target: f64, point_secs: u64) -> Self {
        let in_points = usize::try_from(IN_SECS / point_secs).unwrap_or(1);
        Self {
            target,
            min: bounds.min,
            point: Period::new(point_secs),
            out_points: Recent::new(OUT_POINTS),
            in_points: Recent::new(in_points),
            added: None,
            removes_from: 0,
        }
    }

    fn on_point(&mut self, point: f64, seen: &Seen) -> u32 {
        self.out_points.push(point);
        self.in_points.push(point);
        let all = |points: &Recent, says: &dyn Fn(f64) -> bool| {
            points.full() && points.values().iter().all(|point| says(*point))
        };
        self.added = self.added.filter(|(_, until)| seen.at < *until);
        if all(&self.out_points, &|point| point > self.target) {
            let capacity = self.added.map_or(seen.wanted, |(before, _)| before);
            let asked = count(f64::from(capacity) * point / self.target);
            if asked > seen.wanted {
                self.added = Some((capacity, seen.at + COOL_SECS));
                self.removes_from = seen.at + COOL_SECS;
                return asked;
            }
        } else if all(&self.in_points, &|point| point < IN_PART * self.target)
            && seen.at >= self.removes_from
        {
            let asked = count(f64::from(seen.wanted) * point / self.target).max(self.min);
            if asked < seen.wanted {
                self.removes_from = seen.at + COOL_SECS;
                return asked;
            }
        }
        seen.wanted
    }
}

impl Scaler for Tracking {
    fn step(&mut self, seen: &Seen) -> u32 {
        match self.point.push(seen.at, seen.busy) {
            Some(point) => self.on_point(point, seen),
            None => seen.wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bounds, changes, play};
    use super::*;

    const FULL: f64 = 1_764.705_882;

    #[test]
    fn three_minutes_add_and_fifteen_remove() {
        let mut tracking = Tracking::new(bounds(), TARGET, POINT_SECS);
        // Ten servers at 80 %: 10 × 0.8 ÷ 0.5 = 16, which are then at 50 %.
        let load = |at| if (121..=1200).contains(&at) { 0.8 * FULL } else { 0.1 * FULL };
        let wanted = play(&mut tracking, 3000, 60, load);
        let changes = changes(&wanted);
        assert_eq!(changes[0], (300, 16));
        // The sixteenth minute of calm ends at 2100. At 6.25 % of a target of 50 %, two would do.
        assert_eq!(changes[1..], [(2100, 10)]);
    }

    #[test]
    fn the_variant_sees_it_within_a_minute() {
        let mut tracking = Tracking::new(bounds(), TARGET, FAST_POINT_SECS);
        let load = |at| if (121..=1200).contains(&at) { 0.8 * FULL } else { 0.1 * FULL };
        let wanted = play(&mut tracking, 3000, 60, load);
        assert_eq!(changes(&wanted), [(180, 16), (2100, 10)]);
    }

    #[test]
    fn what_was_added_counts_until_the_cool_down_has_passed() {
        let mut tracking = Tracking::new(bounds(), TARGET, POINT_SECS);
        // Three times full: 20 after three minutes. They are full as well, but for 300 s twice ten is
        // all that ten at 100 % ask for; then twice twenty.
        let wanted = play(&mut tracking, 1000, 30, |_| 3.0 * FULL);
        assert_eq!(changes(&wanted)[..2], [(180, 20), (480, 40)]);
        // From 40 at 75 % to 60.
        assert_eq!(changes(&wanted)[2], (780, 60));
    }
}
