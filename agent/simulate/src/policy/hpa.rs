//! Kubernetes' HorizontalPodAutoscaler, `autoscaling/v2`, on CPU utilisation.
//!
//! <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>: every 15 s
//! `desired = ceil(current × metric ÷ target)`, and nothing within a tolerance of 0.1. Pods that are not
//! ready are set aside, and taken to use nothing before more are asked for. By default up to 100 % or 4 pods
//! more every 15 s, whichever is more, without a wait; down to the highest recommendation of the last 300 s.
//! Metrics are those of metrics-server, which asks every 15 s
//! (<https://kubernetes-sigs.github.io/metrics-server/>), here 8 s before the controller. The default target
//! is 80 % (`MetricSpec` of the API: 80 % average utilisation where no metric is named).

use std::collections::VecDeque;

use super::{Bounds, Period, Scaler, Seen, count};

const SYNC_SECS: u64 = 15;
/// When within the period the controller looks, after the metrics were read.
const SYNC_AT: u64 = 8;
const TOLERANCE: f64 = 0.1;
const DOWN_SECS: u64 = 300;
const UP_PODS: u32 = 4;
const UP_TIMES: u32 = 2;
/// The default target.
pub(crate) const TARGET: f64 = 0.8;

/// The rule.
#[derive(Debug)]
pub(crate) struct Hpa {
    target: f64,
    min: u32,
    scrape: Period,
    /// Fewest servers that served since the last reading.
    measured: u32,
    /// Utilisation as last read, and of how many servers: of those that served all the time it is over.
    usage: Option<(f64, u32)>,
    /// When each recommendation of the last while was made.
    recommended: VecDeque<(u64, u32)>,
}

impl Hpa {
    pub(crate) fn new(bounds: Bounds, target: f64) -> Self {
        Self {
            target,
            min: bounds.min,
            scrape: Period::new(SYNC_SECS),
            measured: u32::MAX,
            usage: None,
            recommended: VecDeque::new(),
        }
    }

    /// What the metric alone asks for, of `current` servers of which it is of `ready`.
    fn recommend(&self, usage: f64, ready: u32, current: u32) -> u32 {
        let ratio = usage / self.target;
        if ratio <= 1.0 || ready >= current {
            if (ratio - 1.0).abs() <= TOLERANCE {
                return current;
            }
            return count(ratio * f64::from(ready));
        }
        // With those that are not ready at nothing.
        let ratio = ratio * f64::from(ready) / f64::from(current);
        if ratio <= 1.0 + TOLERANCE { current } else { count(ratio * f64::from(current)) }
    }
}

impl Scaler for Hpa {
    fn step(&mut self, seen: &Seen) -> u32 {
        self.measured = self.measured.min(seen.ready);
        if let Some(usage) = self.scrape.push(seen.at, seen.busy) {
            self.usage = Some((usage, self.measured));
            self.measured = u32::MAX;
        }
        let Some((usage, ready)) = self.usage else { return seen.wanted };
        if seen.at % SYNC_SECS != SYNC_AT {
            return seen.wanted;
        }
        let ready = ready.min(seen.wanted);
        let recommended = self.recommend(usage, ready, seen.wanted).max(self.min);
        self.recommended.retain(|(at, _)| seen.at - at <= DOWN_SECS);
        self.recommended.push_back((seen.at, recommended));
        if recommended > seen.wanted {
            let most = (seen.wanted + UP_PODS).max(seen.wanted * UP_TIMES);
            return recommended.min(most);
        }
        let highest = self.recommended.iter().map(|(_, count)| *count).max();
        highest.map_or(seen.wanted, |highest| highest.min(seen.wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bounds, changes, play};
    use super::*;

    #[test]
    fn the_documentations_example_doubles() {
        // "If the current metric value is 200m, and the desired value is 100m, the number of replicas
        // will be doubled", and halved at 50m.
        let hpa = Hpa::new(bounds(), 0.4);
        assert_eq!(hpa.recommend(0.8, 10, 10), 20);
        assert_eq!(hpa.recommend(0.2, 10, 10), 5);
        // A ratio of 1.1 is within the tolerance, one of 1.15 is not.
        assert_eq!(hpa.recommend(0.44, 10, 10), 10);
        assert_eq!(hpa.recommend(0.46, 10, 10), 12);
        // Ten ready at 80 % and ten that boot are twenty at 40 %: enough.
        assert_eq!(hpa.recommend(0.8, 10, 20), 20);
        assert_eq!(hpa.recommend(1.0, 10, 20), 25);
    }

    #[test]
    fn more_is_asked_for_within_two_periods_and_less_after_five_minutes() {
        let full = 1764.7;
        // Three times what ten servers can: 100 % of ten at a target of 80 % is 13, then what is left.
        let wanted = play(&mut Hpa::new(bounds(), TARGET), 1500, 60, |at| match at {
            100..700 => 3.0 * full,
            _ => 0.5 * full,
        });
        let changes = changes(&wanted);
        // Read at 105, 60 % of it at the old load, and read whole at 120.
        assert_eq!(changes[0], (128, 13));
        // Those three serve from 188 on, so that 210 is the first reading of all thirteen: at 100 %.
        assert_eq!(changes[1], (218, 17));
        // 22, 28 and 35, which are at 86 %: within the tolerance.
        assert_eq!(changes[2..5].iter().map(|(_, count)| *count).collect::<Vec<_>>(), [22, 28, 35]);
        // It was last recommended at 698, and counts for 300 s; the mean of half a reading is between.
        assert_eq!(changes[5], (1013, 25));
        assert_eq!(changes[6..], [(1028, 10)]);
    }

    #[test]
    fn no_more_than_twice_as_many_in_a_period() {
        let mut hpa = Hpa::new(bounds(), 0.1);
        let wanted = play(&mut hpa, 60, 1, |_| 5000.0);
        assert_eq!(changes(&wanted), [(23, 20), (38, 40), (53, 80)]);
    }
}
