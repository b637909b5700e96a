//! How long levers take, as they have: from the plan that asks for more until that much more is there.
//!
//! ```text
//! the plan asks for 5 of 3      one more is there       one more is there
//!       │── two are awaited ─────────│── the first took ─────│── the second took
//! ```
//!
//! What is declared or usual stands until enough acts have been seen, and weighs as much as some of them in a
//! mean. Who is asked no more is awaited no more, the last first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spillway_model::load::FleetLoad;
use spillway_model::{Fleet, UnixMillis};

/// Acts that are remembered.
const KEPT: usize = 64;
/// So many acts weigh as much in a mean as what is declared.
const DECLARED_WEIGHT: f64 = 4.0;
/// Fewer tell nothing of how long the slowest take.
const TO_TELL: usize = 8;
/// How many asks may be awaited at once; what is asked beyond is counted with the last.
const AWAITED_MAX: usize = 16;
/// No lever takes longer: what is not there by then will not be.
const LONGEST_MS: u64 = 3_600_000;
/// A capacity unit is worth no act of its own; so many are.
const UNITS: u32 = 100;

/// The lead times of one lever.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Lead {
    /// Of the last acts, in milliseconds, in a ring.
    took_ms: Vec<u32>,
    next: usize,
    /// How many are awaited since when, oldest first.
    awaited: Vec<(u32, UnixMillis)>,
    /// How many there were, and were asked for, last.
    there: u32,
    wanted: u32,
}

impl Lead {
    /// `wanted` are asked for from now on, and `there` is what there is.
    pub(crate) fn step(&mut self, wanted: u32, there: u32, at: UnixMillis) {
        self.awaited.retain(|(_, since)| *since <= at && at.millis_since(*since) < LONGEST_MS);
        self.arrive(there.saturating_sub(self.there), at);
        let asked = wanted.saturating_sub(self.wanted.max(there));
        if asked > 0 {
            let full = self.awaited.len() == AWAITED_MAX;
            match self.awaited.last_mut() {
                Some((count, _)) if full => *count += asked,
                _ => self.awaited.push((asked, at)),
            }
        }
        self.forget(wanted.saturating_sub(there));
        (self.wanted, self.there) = (wanted, there);
    }

    /// `count` more are there: those that were asked for first.
    fn arrive(&mut self, mut count: u32, at: UnixMillis) {
        while let Some((awaited, since)) = self.awaited.first_mut().filter(|_| count > 0) {
            let arrived = count.min(*awaited);
            let took = u32::try_from(at.millis_since(*since)).unwrap_or(u32::MAX);
            (*awaited, count) = (*awaited - arrived, count - arrived);
            if *awaited == 0 {
                self.awaited.remove(0);
            }
            for _ in 0..arrived {
                self.note(took);
            }
        }
    }

    /// At most `most` are awaited still.
    fn forget(&mut self, most: u32) {
        let mut sum = 0;
        for (awaited, _) in &mut self.awaited {
            *awaited = (*awaited).min(most - sum);
            sum += *awaited;
        }
        self.awaited.retain(|(awaited, _)| *awaited > 0);
    }

    fn note(&mut self, took_ms: u32) {
        match self.took_ms.get_mut(self.next) {
            Some(oldest) => *oldest = took_ms,
            None => self.took_ms.push(took_ms),
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// How long an act takes in the mean, in seconds, where `declared` seconds are what is expected.
    pub(crate) fn mean_secs(&self, declared: f64) -> f64 {
        let took: f64 = self.took_ms.iter().map(|ms| f64::from(*ms) / 1000.0).sum();
        (DECLARED_WEIGHT * declared + took) / (DECLARED_WEIGHT + self.took_ms.len() as f64)
    }

    /// Within how many seconds nineteen of twenty acts are done; `usual` until that is known.
    pub(crate) fn most_secs(&self, usual: u64) -> u64 {
        if self.took_ms.len() < TO_TELL {
            return usual;
        }
        let mut took = self.took_ms.clone();
        took.sort_unstable();
        let place = (took.len() * 19).div_ceil(20) - 1;
        took.get(place).map_or(usual, |ms| u64::from(*ms).div_ceil(1000))
    }

    /// After a restart: nobody knows what happened meanwhile.
    fn forget_present(&mut self) {
        self.awaited.clear();
        (self.there, self.wanted) = (u32::MAX, u32::MAX);
    }
}

/// The lead times of all levers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Leads {
    pub(crate) gateways: Lead,
    pub(crate) warm: Lead,
    pub(crate) capacity: Lead,
    pub(crate) replicas: Lead,
}

impl Leads {
    /// `fleet` is asked for from now on, and `there` is what was heard of it.
    pub(crate) fn step(&mut self, fleet: &Fleet, there: &FleetLoad, at: UnixMillis) {
        let all = |warm: &BTreeMap<String, u32>| -> u32 {
            warm.values().fold(0, |sum, count| sum.saturating_add(*count))
        };
        self.gateways.step(fleet.gateways, there.gateways_healthy, at);
        self.warm.step(all(&fleet.provisioned), all(&there.provisioned_ready), at);
        self.capacity.step(fleet.capacity_units / UNITS, there.capacity_units / UNITS, at);
        self.replicas.step(fleet.database_replicas, there.database_replicas, at);
    }

    pub(crate) fn forget_present(&mut self) {
        let all = [&mut self.gateways, &mut self.warm, &mut self.capacity, &mut self.replicas];
        all.into_iter().for_each(Lead::forget_present);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: u64) -> UnixMillis {
        UnixMillis(1_800_000_000_000 + secs * 1000)
    }

    #[test]
    fn each_that_comes_is_of_those_asked_for_first() {
        let mut lead = Lead::default();
        lead.step(3, 0, at(0));
        lead.step(5, 0, at(10));
        lead.step(5, 2, at(60));
        lead.step(5, 5, at(100));
        assert_eq!(lead.took_ms, [60_000, 60_000, 100_000, 90_000, 90_000]);
        assert!(lead.awaited.is_empty());
        // One that fails and comes back was not asked for.
        lead.step(5, 4, at(200));
        lead.step(5, 5, at(220));
        assert_eq!(lead.took_ms.len(), 5);
    }

    #[test]
    fn who_is_asked_no_more_is_not_awaited() {
        let mut lead = Lead::default();
        lead.step(2, 0, at(0));
        lead.step(4, 0, at(10));
        lead.step(1, 0, at(20));
        assert_eq!(lead.awaited, [(1, at(0))]);
        lead.step(0, 0, at(30));
        lead.step(0, 1, at(40));
        assert_eq!((lead.took_ms.len(), lead.awaited.len()), (0, 0), "it came too late to tell");
    }

    #[test]
    fn what_is_declared_stands_until_acts_say_otherwise() {
        let mut lead = Lead::default();
        assert_eq!((lead.mean_secs(60.0), lead.most_secs(180)), (60.0, 180));
        for act in 0..20_u64 {
            let start = at(act * 1000);
            lead.step(1, 0, start);
            lead.step(1, 1, start.plus_secs(30 + act));
            lead.step(0, 0, start.plus_secs(500));
        }
        assert_eq!(lead.took_ms.len(), 20);
        assert!((40.0..44.0).contains(&lead.mean_secs(60.0)), "{}", lead.mean_secs(60.0));
        assert_eq!(lead.most_secs(180), 48);
    }

    #[test]
    fn a_restart_keeps_what_was_learned_and_nothing_that_was_awaited() {
        let mut leads = Leads::default();
        let fleet = |gateways| Fleet { gateways, ..Fleet::default() };
        let there = |gateways_healthy| FleetLoad { gateways_healthy, ..FleetLoad::default() };
        leads.step(&fleet(2), &there(0), at(0));
        leads.step(&fleet(2), &there(1), at(40));
        leads.forget_present();
        leads.step(&fleet(2), &there(2), at(900));
        leads.step(&fleet(2), &there(2), at(901));
        assert_eq!((leads.gateways.took_ms.len(), leads.gateways.awaited.len()), (1, 0));
        leads.step(&fleet(3), &there(2), at(902));
        leads.step(&fleet(3), &there(3), at(932));
        assert_eq!(leads.gateways.took_ms, [40_000, 30_000]);
    }

    proptest! {
        /// Whatever is asked and comes, no more is awaited than is missing, and all is bounded.
        #[test]
        fn no_more_is_awaited_than_is_missing(steps in prop::collection::vec((0_u32..2000, 0_u32..2000, 0_u64..400), 1..200)) {
            let mut lead = Lead::default();
            let mut now = at(0);
            for (wanted, there, secs) in steps {
                now = now.plus_secs(secs);
                lead.step(wanted, there, now);
                let awaited: u32 = lead.awaited.iter().map(|(count, _)| count).sum();
                prop_assert!(awaited <= wanted.saturating_sub(there));
                prop_assert!(lead.awaited.len() <= AWAITED_MAX && lead.took_ms.len() <= KEPT);
                prop_assert!(lead.most_secs(60) <= LONGEST_MS / 1000);
            }
        }
    }
}
