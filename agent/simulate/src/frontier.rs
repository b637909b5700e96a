//! What cost buys: runs of Spillway with one value of its settings after the other, and which of them nobody
//! would pass over.

use std::str::FromStr;

use serde::Serialize;

use crate::setting::Setting;
use crate::tally::Outcome;

/// Most values of a sweep: each is a run.
const VALUES_MAX: usize = 100;

/// Settings of `[agent]` in the configuration, and of `[cloud.budget]` as `budget.NAME`, all of which get the same value, one value after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// Their names.
    pub settings: Vec<String>,
    /// The values, rising.
    pub values: Vec<f64>,
}

impl Sweep {
    /// The one that is made when none is named: how full lines and servers may be.
    pub const USUAL: &'static str =
        "uplink_target,compute_target=0.5,0.6,0.7,0.75,0.8,0.85,0.9,0.95,0.97,0.99";

    /// `setting` with one of the values.
    pub(crate) fn apply(&self, setting: &Setting, value: f64) -> Setting {
        let mut setting = setting.clone();
        setting.agent.extend(self.settings.iter().map(|name| (name.clone(), value)));
        setting
    }
}

/// A text that is no sweep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write settings and up to {VALUES_MAX} values, such as `{}`", Sweep::USUAL)]
pub struct BadSweep;

impl FromStr for Sweep {
    type Err = BadSweep;

    /// `NAME,…=VALUE,…`
    fn from_str(text: &str) -> Result<Self, BadSweep> {
        let (names, values) = text.split_once('=').ok_or(BadSweep)?;
        let settings: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
        let is_name = |name: &String| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'.')
        };
        let values: Option<Vec<f64>> =
            values.split(',').map(|value| value.trim().parse().ok()).collect();
        let mut values = values.filter(|values| values.iter().all(|value| value.is_finite()));
        let values = values.as_mut().ok_or(BadSweep)?;
        if !settings.iter().all(is_name) || values.len() > VALUES_MAX {
            return Err(BadSweep);
        }
        values.sort_by(f64::total_cmp);
        values.dedup();
        Ok(Self { settings, values: std::mem::take(values) })
    }
}

/// What the values came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Frontier {
    /// What was set.
    pub settings: Vec<String>,
    /// A run for each value.
    pub points: Vec<Point>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// What the settings had.
    pub value: f64,
    /// Whether no other point is better without being worse: in cost, in seconds over the limit, or in requests
    /// that failed or were refused. A small budget refuses many where a second is never over the limit.
    pub efficient: bool,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Frontier {
    pub(crate) fn new(sweep: &Sweep, runs: Vec<(f64, Outcome)>) -> Self {
        let harm = |outcome: &Outcome| {
            let unserved = outcome.requests_failed.saturating_add(outcome.requests_shed);
            (outcome.seconds_over, unserved, outcome.cost_usd)
        };
        let seen: Vec<_> = runs.iter().map(|(_, outcome)| harm(outcome)).collect();
        let points = runs.into_iter().map(|(value, outcome)| {
            let this @ (over, unserved, cost) = harm(&outcome);
            let better = |other: &(u64, u64, f64)| {
                other.0 <= over && other.1 <= unserved && other.2 <= cost && *other != this
            };
            Point { value, efficient: !seen.iter().any(better), outcome }
        });
        Self { settings: sweep.settings.clone(), points: points.collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn sweeps_are_read() {
        let usual: Sweep = Sweep::USUAL.parse().unwrap();
        assert_eq!((usual.settings.len(), usual.values.len()), (2, 10));
        let sweep: Sweep = "risk = 3, 0.1,0.1".parse().unwrap();
        assert_eq!(sweep, Sweep { settings: vec!["risk".into()], values: vec![0.1, 3.0] });
        for bad in ["", "risk", "risk=", "=1", "risk=a", "risk=nan", "a b=1", "a\nb=1", ",a=1"] {
            assert_eq!(bad.parse::<Sweep>(), Err(BadSweep), "{bad}");
        }
        assert!(format!("a={}0", "1,".repeat(VALUES_MAX)).parse::<Sweep>().is_err());
    }

    #[test]
    fn who_is_better_in_nothing_is_passed_over() {
        let outcome = |seconds_over: u64, requests_shed: u64, cost_usd: f64| Outcome {
            seconds_over,
            requests: 0,
            requests_failed: 0,
            requests_shed,
            cost_usd,
            theta_u: 0.0,
            theta_o: 0.0,
            tau_u: 0.0,
            tau_o: 0.0,
            instability: 0.0,
            reversals: 0,
            tier_seconds: BTreeMap::new(),
        };
        let sweep: Sweep = "risk=1,2,3,4,5,6,7".parse().unwrap();
        let runs = [
            (9, 0, 1.0),
            (4, 0, 2.0),
            (4, 0, 2.5),
            (5, 0, 2.0),
            (4, 0, 2.0),
            // Cheap by refusing, and cheaper by refusing more.
            (4, 50, 0.5),
            (4, 60, 0.5),
        ];
        let runs = (1..).zip(runs).map(|(value, (o, r, c))| (f64::from(value), outcome(o, r, c)));
        let frontier = Frontier::new(&sweep, runs.collect());
        let efficient: Vec<bool> = frontier.points.iter().map(|point| point.efficient).collect();
        assert_eq!(efficient, [true, true, false, false, true, true, false]);
    }
}
