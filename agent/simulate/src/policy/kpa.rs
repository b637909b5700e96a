//! Knative's pod autoscaler, on requests per second.
//!
//! <https://knative.dev/docs/serving/autoscaling/> and `config-autoscaler`
//! (<https://github.com/knative/serving/blob/main/config/core/configmaps/autoscaler.yaml>): every 2 s the
//! mean over a stable window of 60 s and over a panic window of 10 % of it; a target of 200 requests per
//! second at 70 % (`requests-per-second-target-default`, `container-concurrency-target-percentage`). When the
//! panic window asks for 200 % of what is ready, panic begins, in which nothing falls, until the stable window
//! has passed without that. At most 1000 times as many as are ready at once, at least half of them
//! (`max-scale-up-rate`, `max-scale-down-rate`). The other default metric, a concurrency of 100, is more than
//! a server here can hold within its limit of latency.

use super::{Bounds, Recent, Scaler, Seen, count};

const TICK_SECS: u64 = 2;
const STABLE_SECS: u64 = 60;
const PANIC_PART: f64 = 0.1;
const PANIC_THRESHOLD: f64 = 2.0;
const UP_RATE: f64 = 1000.0;
const DOWN_RATE: f64 = 2.0;
const TARGET_QPS: f64 = 200.0;
/// The default part of the target.
pub(crate) const UTILISATION: f64 = 0.7;

/// The rule.
#[derive(Debug)]
pub(crate) struct Kpa {
    target: f64,
    stable: Recent,
    panic: Recent,
    /// Until when panic lasts, and the most that it asked for.
    panics: Option<(u64, u32)>,
}

impl Kpa {
    pub(crate) fn new(_bounds: Bounds, utilisation: f64) -> Self {
        let window = |secs: f64| Recent::new(count(secs) as usize);
        Self {
            target: TARGET_QPS * utilisation,
            stable: window(STABLE_SECS as f64),
            panic: window(STABLE_SECS as f64 * PANIC_PART),
            panics: None,
        }
    }
}

impl Scaler for Kpa {
    fn step(&mut self, seen: &Seen) -> u32 {
        self.stable.push(seen.arrivals);
        self.panic.push(seen.arrivals);
        if !seen.at.is_multiple_of(TICK_SECS) {
            return seen.wanted;
        }
        let ready = f64::from(seen.ready.max(1));
        let (most, least) = (count(UP_RATE * ready), count((ready / DOWN_RATE).floor()));
        let asked = |mean: f64| count(mean / self.target);
        let at_panic = asked(self.panic.mean());
        let stable = asked(self.stable.mean()).clamp(least, most);
        let over = f64::from(at_panic) / ready >= PANIC_THRESHOLD;
        self.panics = match self.panics {
            Some((_, held)) if over => Some((seen.at + STABLE_SECS, held)),
            None if over => Some((seen.at + STABLE_SECS, seen.ready)),
            Some((until, _)) if until < seen.at => None,
            same => same,
        };
        match &mut self.panics {
            Some((_, held)) => {
                *held = stable.max(at_panic.clamp(least, most)).max(*held);
                *held
            }
            None => stable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bounds, changes, play};
    use super::*;

    #[test]
    fn a_rise_below_twice_is_followed_over_the_stable_window() {
        let wanted = play(&mut Kpa::new(bounds(), UTILISATION), 400, 30, |at| match at {
            201.. => 2100.0,
            _ => 1400.0,
        });
        assert_eq!(wanted[199], 10);
        // Half way through the window, the mean is 1750: 12.5 of 140 each.
        assert_eq!(wanted[229], 13);
        assert_eq!(wanted[259], 15);
        assert!(changes(&wanted).iter().all(|(_, count)| *count <= 15));
    }

    #[test]
    fn panic_takes_what_six_seconds_ask_for_and_keeps_it_for_a_minute() {
        let wanted = play(&mut Kpa::new(bounds(), UTILISATION), 400, 30, |at| match at {
            201..=220 => 5600.0,
            _ => 700.0,
        });
        // 20 servers are twice the ten that are ready. After two seconds of six with 5600 the mean asks for
        // 17 of 140 each, after four for 29.
        assert_eq!(changes(&wanted)[0], (204, 29));
        assert_eq!(changes(&wanted)[1], (206, 40));
        // The last six seconds that ask for twice what is ready end with 222. After a minute without it,
        // no more than half of what is ready goes at a time.
        assert_eq!(changes(&wanted)[2], (284, 20));
        assert_eq!(*wanted.last().unwrap(), 10);
    }
}
