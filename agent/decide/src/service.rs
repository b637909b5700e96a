//! Whether home serves at all: groups of routes that no gateway has a healthy service for, and answers
//! that fail. Neither shows in bytes or in processor time: what fails costs almost nothing.

use serde::{Deserialize, Serialize};

use crate::observe::SiteSense;

/// A group is without a service when it is in so many ticks in a row: a connection that fails once has
/// its gateway pass over the service for a moment.
const TICKS: u32 = 2;
/// More failed answers than this part of all, for so many seconds, are worth saying.
const FAILED_PART: f64 = 0.02;
const FAILED_SECS: f64 = 3.0;

/// What one tick hands to the next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServiceState {
    /// Groups without a healthy service, and for how many ticks in a row.
    unserved: Vec<(String, u32)>,
    failing_secs: f64,
}

/// How home serves now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Service {
    /// Groups of routes without a healthy service.
    pub(crate) unserved: Vec<String>,
    /// All of them are: home has no capacity.
    pub(crate) down: bool,
    pub(crate) failing: Option<Failing>,
}

/// More than a few answers fail, and have for a while.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failing {
    pub(crate) part: f64,
    pub(crate) per_sec: f64,
    pub(crate) secs: f64,
}

impl ServiceState {
    /// Takes in one tick of a site whose routes are in `groups` groups.
    pub(crate) fn update(&mut self, sense: &SiteSense, groups: usize) -> Service {
        let before = |group: &String| {
            self.unserved.iter().find(|(name, _)| name == group).map_or(0, |(_, ticks)| *ticks)
        };
        self.unserved = sense
            .unserved
            .iter()
            .map(|group| (group.clone(), before(group).saturating_add(1)))
            .collect();
        let lasting = self.unserved.iter().filter(|(_, ticks)| *ticks >= TICKS);
        let unserved: Vec<String> = lasting.map(|(group, _)| group.clone()).collect();
        Service {
            down: groups > 0 && unserved.len() == groups,
            unserved,
            failing: self.failing(sense),
        }
    }

    fn failing(&mut self, sense: &SiteSense) -> Option<Failing> {
        let failed: f64 = sense.routes.iter().map(|counts| counts.failed).sum();
        let good: f64 = sense.routes.iter().map(|counts| counts.served + counts.shed).sum();
        // A tick without answers says nothing of them.
        if failed + good > 0.0 {
            let part = failed / (failed + good);
            self.failing_secs =
                if part > FAILED_PART { self.failing_secs + sense.secs } else { 0.0 };
            if self.failing_secs >= FAILED_SECS {
                return Some(Failing { part, per_sec: failed, secs: self.failing_secs });
            }
        }
        None
    }
}
