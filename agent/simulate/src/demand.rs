//! Demand: a trace scaled to a site and filled in to seconds.
//!
//! Within a step the rate is a straight line whose mean is the step's value, so that a step has as many
//! requests as the trace says, in expectation. Its slope is that of the values beside it, limited so that
//! the line stays between their means (the monotonized central slope of van Leer, 1977): a step that is
//! higher than both beside it is flat, and the highest per-second mean is the highest step's. What arrives
//! in a second is a Poisson variable of the rate in its middle.
//!
//! Nothing is kept but the trace: any block of seconds is drawn from the seed and its number.

use crate::chance::Chance;
use crate::trace::Trace;

/// What the values of a trace are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unit {
    /// Requests in a step.
    #[default]
    Count,
    /// Requests per second.
    Rate,
}

/// Seconds that are drawn from one stream.
pub(crate) const BLOCK: u64 = 4096;
/// The stream of the first block.
const STREAMS: u64 = 1 << 32;

/// The stream of the seconds before the first.
const BEFORE: u64 = 3;

/// How much is asked, second by second.
#[derive(Debug, Clone)]
pub struct Demand {
    /// Requests per second in the mean of each step.
    rates: Vec<f64>,
    step_secs: u64,
    seed: u64,
}

/// What is asked in one second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Second {
    /// Requests per second in the mean.
    pub(crate) rate: f64,
    /// Requests that arrive.
    pub(crate) arrivals: u64,
}

impl Demand {
    /// `trace`, of steps of `step_secs` seconds, so that its highest per-second mean is `peak`.
    #[must_use]
    pub fn new(trace: &Trace, step_secs: u64, peak: f64, seed: u64) -> Self {
        let most = trace.values.iter().copied().fold(0.0, f64::max);
        let scale = if most > 0.0 { peak / most } else { 0.0 };
        let rates = trace.values.iter().map(|value| value * scale).collect();
        Self { rates, step_secs: step_secs.max(1), seed }
    }

    /// How long it lasts.
    #[must_use]
    pub fn secs(&self) -> u64 {
        self.rates.len() as u64 * self.step_secs
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.secs().div_ceil(BLOCK)
    }

    /// All seconds.
    pub(crate) fn seconds(&self) -> impl Iterator<Item = Second> + '_ {
        (0..self.blocks()).flat_map(move |block| self.block(block))
    }

    /// `secs` seconds before the first that are all like it.
    pub(crate) fn before(&self, secs: u64) -> impl Iterator<Item = Second> + '_ {
        let line = self.line(0);
        let rate = line.middle + line.slope * (0.5 - line.at);
        let mut chance = Chance::new(self.seed, BEFORE);
        (0..secs).map(move |_| Second { rate, arrivals: chance.poisson(rate) })
    }

    /// The seconds of one block.
    pub(crate) fn block(&self, block: u64) -> impl Iterator<Item = Second> + '_ {
        let from = block * BLOCK;
        let to = (from + BLOCK).min(self.secs());
        let mut chance = Chance::new(self.seed, STREAMS + block);
        let mut line = Line::default();
        (from..to).map(move |at| {
            if at >= line.until {
                line = self.line(at);
            }
            let rate = line.middle + line.slope * (at as f64 + 0.5 - line.at);
            Second { rate, arrivals: chance.poisson(rate) }
        })
    }

    /// The line of the step that second `at` is in.
    fn line(&self, at: u64) -> Line {
        let step = at / self.step_secs;
        let place = usize::try_from(step).unwrap_or(usize::MAX);
        let value = |place: usize| self.rates.get(place).copied();
        let middle = value(place).unwrap_or(0.0);
        let before = place.checked_sub(1).and_then(value).unwrap_or(middle);
        let after = value(place + 1).unwrap_or(middle);
        let (rise, next) = (middle - before, after - middle);
        let slope = if rise * next > 0.0 {
            let least = (2.0 * rise.abs()).min(2.0 * next.abs()).min((after - before).abs() / 2.0);
            least.copysign(rise)
        } else {
            0.0
        };
        let secs = self.step_secs as f64;
        Line {
            middle,
            slope: slope / secs,
            at: (step as f64 + 0.5) * secs,
            until: (step + 1) * self.step_secs,
        }
    }
}

/// The rate within a step: `middle` at second `at`.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    middle: f64,
    slope: f64,
    at: f64,
    /// The first second after it.
    until: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(values: &[f64], step_secs: u64, peak: f64) -> Demand {
        let trace = Trace { values: values.to_vec(), notes: Vec::new() };
        Demand::new(&trace, step_secs, peak, 1)
    }

    #[test]
    fn a_step_has_its_mean_and_the_peak_is_what_was_asked_for() {
        let values = [0.0, 10.0, 40.0, 30.0, 30.0, 20.0, 0.0, 5.0];
        let demand = demand(&values, 60, 6000.0);
        let rates: Vec<f64> = demand.seconds().map(|second| second.rate).collect();
        assert_eq!(rates.len(), 8 * 60);
        for (step, value) in rates.chunks(60).zip(values) {
            let mean = step.iter().sum::<f64>() / 60.0;
            assert!((mean - value * 150.0).abs() < 1e-6, "{mean} is not {value} times 150");
        }
        let most = rates.iter().copied().fold(0.0, f64::max);
        assert!((most - 6000.0).abs() < 1e-6, "{most}");
        assert!(rates.iter().all(|rate| *rate >= 0.0));
        // The second step rises by half of what lies between the first and the third.
        assert!((rates[119] - rates[60] - 3000.0 * 59.0 / 60.0).abs() < 1e-6);
    }

    #[test]
    fn arrivals_are_those_of_the_trace_in_expectation() {
        let demand = demand(&[100.0, 300.0, 200.0, 100.0], 3600, 600.0);
        let arrivals: u64 = demand.seconds().map(|second| second.arrivals).sum();
        let wanted = 3600.0 * 2.0 * 700.0;
        assert!((arrivals as f64 - wanted).abs() < 4.0 * wanted.sqrt(), "{arrivals}");
    }

    #[test]
    fn blocks_are_drawn_alone_as_in_a_row() {
        let demand = demand(&[1.0, 2.0, 3.0], 5000, 50.0);
        let all: Vec<Second> = demand.seconds().collect();
        assert_eq!(all.len(), 15_000);
        let last: Vec<Second> = demand.block(3).collect();
        assert_eq!(last, all[3 * 4096..]);
        let first = all.first().map(|second| second.rate);
        assert!(demand.before(60).all(|second| Some(second.rate) == first));
        let other = Demand { seed: 2, ..demand.clone() };
        assert_ne!(other.block(3).collect::<Vec<_>>(), last);
    }
}
