//! Predictive scaling of EC2 Auto Scaling beside target tracking.
//!
//! <https://docs.aws.amazon.com/autoscaling/ec2/userguide/predictive-scaling-policy-overview.html>: from 24 hours
//! of data on, a forecast of load by the hour for the next 48 hours, from up to 14 days, renewed every 6 hours.
//! It sets the least capacity of each hour, launched `SchedulingBufferTime` (300 s) ahead, and never removes
//! any: that is left to a dynamic policy. How AWS forecasts is not published. Here it is the mean of the same
//! hour of the days before, or, where there are 14 days, of the same hour of the weeks before: the two
//! patterns that the documentation names.

use std::collections::VecDeque;

use super::tracking::Tracking;
use super::{Bounds, Period, Scaler, Seen, count};

const HOUR_SECS: u64 = 3600;
const BUFFER_SECS: u64 = 300;
const DAY: usize = 24;
const WEEK: usize = 7 * DAY;
const HOURS_MAX: usize = 2 * WEEK;

/// The rule.
#[derive(Debug)]
pub(crate) struct Predictive {
    tracking: Tracking,
    /// Requests per second of a server at its target.
    each: f64,
    hour: Period,
    /// Requests per second of the last hours, oldest first.
    hours: VecDeque<f64>,
    /// Least servers of this hour, and of the next one from shortly before it on.
    least: u32,
}

impl Predictive {
    pub(crate) fn new(bounds: Bounds, target: f64, point_secs: u64) -> Self {
        Self {
            tracking: Tracking::new(bounds, target, point_secs),
            each: bounds.server_most * target,
            hour: Period::new(HOUR_SECS),
            hours: VecDeque::new(),
            least: 0,
        }
    }

    /// Servers for the hour that begins `ahead` hours after the last that is known.
    fn forecast(&self, ahead: usize) -> u32 {
        let known = self.hours.len();
        if known < DAY {
            return 0;
        }
        let season = if known >= HOURS_MAX { WEEK } else { DAY };
        let same = (1..).map_while(|n| (known + ahead).checked_sub(n * season));
        let values = same.filter_map(|place| self.hours.get(place));
        let (sum, n) = values.fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0));
        if n > 0.0 { count(sum / n / self.each) } else { 0 }
    }
}

impl Scaler for Predictive {
    fn step(&mut self, seen: &Seen) -> u32 {
        if let Some(mean) = self.hour.push(seen.at, seen.arrivals) {
            if self.hours.len() == HOURS_MAX {
                self.hours.pop_front();
            }
            self.hours.push_back(mean);
            self.least = self.forecast(0);
        }
        if seen.at % HOUR_SECS == HOUR_SECS - BUFFER_SECS {
            // The hour that is not over yet is missing.
            self.least = self.least.max(self.forecast(1));
        }
        self.tracking.step(seen).max(self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bounds, changes, play};
    use super::*;

    #[test]
    fn a_day_that_was_seen_is_launched_for_five_minutes_ahead() {
        let mut predictive = Predictive::new(bounds(), 0.5, 60);
        let busy_hour = |at: u64| if (at - 1) / 3600 % 24 == 10 { 3000.0 } else { 300.0 };
        let wanted = play(&mut predictive, 3 * 86_400, 30, busy_hour);
        let first_day: Vec<_> = changes(&wanted[..86_400]);
        assert_eq!(first_day[0].0, 36_180, "three points after it began");
        // 3000 ÷ (0.5 × 176.47) = 34.
        let second_day = changes(&wanted[86_400..2 * 86_400]);
        assert_eq!(second_day[0], (36_000 - 300, 34));
        assert_eq!(wanted[2 * 86_400 + 36_000], 34);
        assert_eq!(wanted[2 * 86_400 + 30_000], 10);
    }

    #[test]
    fn two_weeks_tell_of_weekdays() {
        let mut predictive = Predictive::new(bounds(), 0.5, 60);
        for hour in 0..HOURS_MAX {
            predictive.hours.push_back(if hour % WEEK == 30 { 3000.0 } else { 300.0 });
        }
        assert_eq!(predictive.forecast(30), 34);
        assert_eq!(predictive.forecast(6), 4);
    }
}
