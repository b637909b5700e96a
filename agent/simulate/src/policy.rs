//! The peers: rules that scale the number of servers, each as its documentation has it.
//!
//! They see what their system measures of the servers that serve, at home and on EC2 alike, and say
//! how many there are to be. They cannot spill to functions, degrade, or look ahead, unless they say so.
//! A metric is at hand the moment its period ends, which flatters those whose metrics take minutes to arrive.

pub(crate) mod cudgx;
pub(crate) mod hpa;
pub(crate) mod k8s_cpu;
pub(crate) mod kpa;
pub(crate) mod predictive;
pub(crate) mod steps;
pub(crate) mod tracking;

use crate::setting::Setting;

/// What a peer sees of a second that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// Seconds since the beginning, this one included.
    pub(crate) at: u64,
    /// Requests that arrived.
    pub(crate) arrivals: f64,
    /// Servers that served, at home and on EC2.
    pub(crate) ready: u32,
    /// The part of their time that their processors were busy.
    pub(crate) busy: f64,
    /// Servers that there are to be, as the rule said last.
    pub(crate) wanted: u32,
}

/// Bounds of the number of servers, and what one of them is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) min: u32,
    pub(crate) max: u32,
    /// Requests per second that fill one to its limit, and at all.
    pub(crate) server_qps: f64,
    pub(crate) server_most: f64,
}

impl Bounds {
    pub(crate) fn of(setting: &Setting) -> Self {
        Self {
            min: setting.site_servers,
            max: setting.site_servers + setting.ec2_max,
            server_qps: setting.server_qps,
            server_most: setting.server_most(),
        }
    }
}

/// A rule.
pub(crate) trait Scaler {
    /// The number of servers that there are to be, of both kinds; it is kept within the bounds.
    fn step(&mut self, seen: &Seen) -> u32;
}

/// The number of servers for some exact need.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 0 to a million by the clamp"
)]
pub(crate) fn count(need: f64) -> u32 {
    // A need of three and a rounding error is three.
    (need - 1e-9).ceil().clamp(0.0, 1e6) as u32
}

/// The mean of the last some values.
#[derive(Debug, Clone)]
pub(crate) struct Recent {
    values: Vec<f64>,
    next: usize,
    filled: usize,
    sum: f64,
}

impl Recent {
    pub(crate) fn new(values: usize) -> Self {
        Self { values: vec![0.0; values.max(1)], next: 0, filled: 0, sum: 0.0 }
    }

    pub(crate) fn push(&mut self, value: f64) {
        if let Some(oldest) = self.values.get_mut(self.next) {
            self.sum += value - *oldest;
            *oldest = value;
        }
        self.next += 1;
        if self.next == self.values.len() {
            self.next = 0;
            // Errors of rounding do not add up.
            self.sum = self.values.iter().sum();
        }
        self.filled = (self.filled + 1).min(self.values.len());
    }

    /// Of those that there are.
    pub(crate) fn mean(&self) -> f64 {
        if self.filled == 0 { 0.0 } else { self.sum / self.filled as f64 }
    }

    pub(crate) fn full(&self) -> bool {
        self.filled == self.values.len()
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.values[..self.filled]
    }
}

/// The mean of each period.
#[derive(Debug, Clone)]
pub(crate) struct Period {
    secs: u64,
    sum: f64,
}

impl Period {
    pub(crate) fn new(secs: u64) -> Self {
        Self { secs, sum: 0.0 }
    }

    /// The mean when the period ends with this second.
    pub(crate) fn push(&mut self, at: u64, value: f64) -> Option<f64> {
        self.sum += value;
        if !at.is_multiple_of(self.secs) {
            return None;
        }
        let mean = self.sum / self.secs as f64;
        self.sum = 0.0;
        Some(mean)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Servers of the default setting.
    pub(crate) fn bounds() -> Bounds {
        Bounds::of(&Setting::default())
    }

    /// Plays `load(second)` requests per second to a rule for `secs` seconds, with servers that serve
    /// `boot` seconds after they are asked for; what it said after each second.
    pub(crate) fn play(
        scaler: &mut dyn Scaler,
        secs: u64,
        boot: u64,
        load: impl Fn(u64) -> f64,
    ) -> Vec<u32> {
        let bounds = bounds();
        let mut wanted = vec![bounds.min];
        for at in 1..=secs {
            let now = wanted[wanted.len() - 1];
            let old = usize::try_from(at.saturating_sub(boot)).unwrap();
            // Fewer are fewer at once, more after they have booted.
            let ready = wanted[old.min(wanted.len() - 1)..].iter().copied().min().unwrap();
            let busy = (load(at) / (f64::from(ready) * bounds.server_most)).min(1.0);
            let seen = Seen { at, arrivals: load(at), ready, busy, wanted: now };
            wanted.push(scaler.step(&seen).clamp(bounds.min, bounds.max));
        }
        wanted.remove(0);
        wanted
    }

    /// The seconds in which it said something else, and what.
    pub(crate) fn changes(wanted: &[u32]) -> Vec<(usize, u32)> {
        let pairs = wanted.windows(2).enumerate();
        pairs.filter(|(_, pair)| pair[0] != pair[1]).map(|(i, pair)| (i + 2, pair[1])).collect()
    }

    #[test]
    fn means_are_of_what_there_is() {
        let mut recent = Recent::new(3);
        assert_eq!(recent.mean(), 0.0);
        for (value, mean) in [(3.0, 3.0), (5.0, 4.0), (7.0, 5.0), (9.0, 7.0), (2.0, 6.0)] {
            recent.push(value);
            assert!((recent.mean() - mean).abs() < 1e-12);
        }
        let mut period = Period::new(2);
        assert_eq!(
            [(1, 4.0), (2, 6.0), (3, 1.0), (4, 1.0)].map(|(at, v)| period.push(at, v)),
            [None, Some(5.0), None, Some(1.0)]
        );
        assert_eq!((count(3.0 + 1e-12), count(3.1), count(-1.0)), (3, 4, 0));
    }
}
