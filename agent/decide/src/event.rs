//! Announced events: what an operator knows is to come, and no forecast could.
//!
//! ```text
//! announced     begins − lead time            begins              is over
//!     │  nothing     │  the lever is made ready  │  and kept so     │  forgotten
//! ```
//!
//! From its lead time before an event on, each slow lever is there for so many times the usual demand, less
//! what home carries of that. Shares are moved by what is seen: a crowd that does not come costs what was
//! made ready for it, and nobody's way. An event only adds; without one nothing is different.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spillway_model::api::EventOrder;
use spillway_model::{EventId, SiteId, UnixMillis};

use crate::Orders;
use crate::bytes::LearnedBytes;
use crate::demand::home_part;
use crate::lead::{Lead, Leads};
use crate::policy::Policy;
use crate::share::carries;
use crate::state::SiteState;

/// What is usual is a mean of so many seconds.
const USUAL_SECS: f64 = 300.0;
/// Kept at hand until the event is over is up to this much more than it needs: what is usual is known no
/// better than that, and a count that follows it would turn.
const KEPT: f64 = 1.1;

/// Usual lead times of the levers, in seconds, until they have been seen: from a plan that asks for more to requests that are served by it.
/// A gateway boots within 90 s and is then checked; provisioned concurrency takes one to two minutes;
/// reserved capacity some minutes more; a replica of a database or a cache a quarter of an hour.
const GATEWAYS_LEAD: u64 = 180;
const WARM_LEAD: u64 = 180;
const CAPACITY_LEAD: u64 = 600;
const REPLICAS_LEAD: u64 = 1200;
/// Early enough before an event for every lever. What is asked from then on may be its crowd, and is not
/// what is usual.
const NEAR: u64 = REPLICAS_LEAD;

/// The events that concern one site.
#[derive(Debug, Clone, Copy)]
pub struct Events<'a> {
    all: &'a BTreeMap<EventId, (EventOrder, UnixMillis)>,
    site: &'a SiteId,
}

impl<'a> Events<'a> {
    pub(crate) fn of(
        all: &'a BTreeMap<EventId, (EventOrder, UnixMillis)>,
        site: &'a SiteId,
    ) -> Self {
        Self { all, site }
    }

    /// How many times the usual demand is announced for some time within the next `horizon_secs`; 1 where
    /// nothing is. Of several events it is the largest: two announcements of one crowd are one crowd.
    #[must_use]
    pub fn factor(&self, at: UnixMillis, horizon_secs: u64) -> f64 {
        self.within(at, horizon_secs).map(|(_, order)| order.factor).fold(1.0, f64::max)
    }

    fn within(
        self,
        at: UnixMillis,
        horizon_secs: u64,
    ) -> impl Iterator<Item = (&'a EventId, &'a EventOrder)> {
        let horizon = at.plus_secs(horizon_secs);
        let here = move |order: &EventOrder| order.site.as_ref().is_none_or(|s| s == self.site);
        let all = self
            .all
            .iter()
            .filter(move |(_, (order, until))| order.at <= horizon && at < *until && here(order));
        all.map(|(name, (order, _))| (name, order))
    }

    /// Whether what is asked now may be the crowd of one.
    pub(crate) fn near(self, at: UnixMillis) -> bool {
        self.within(at, NEAR).next().is_some()
    }
}

/// What is asked of a site while no event is near: requests per second by route, a mean of some minutes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usual {
    rates: Vec<f64>,
    secs: f64,
}

impl Usual {
    /// Takes in the mean rates over `secs` seconds.
    pub(crate) fn take_in(&mut self, rates: &[f64], secs: f64) {
        self.rates.resize(rates.len(), 0.0);
        // A plain mean until it is as long as its time constant.
        self.secs = (self.secs + secs).min(USUAL_SECS + secs);
        for (mean, rate) in self.rates.iter_mut().zip(rates) {
            *mean += secs / self.secs * (rate - *mean);
        }
    }

    pub(crate) fn rates(&self) -> &[f64] {
        &self.rates
    }
}

/// What events bring to the cloud within the lead time of one lever.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Announced {
    /// Weighted requests per second by route; empty for none.
    pub(crate) loads: Vec<f64>,
    /// Requests per second, and bytes per second of their answers.
    pub(crate) requests: f64,
    pub(crate) bytes: f64,
}

impl Announced {
    /// Weighted requests per second.
    pub(crate) fn load(&self) -> f64 {
        self.loads.iter().sum()
    }
}

/// The same of every lever.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Coming {
    pub(crate) gateways: Announced,
    pub(crate) warm: Announced,
    pub(crate) capacity: Announced,
    pub(crate) replicas: Announced,
}

impl Coming {
    pub(crate) fn of(
        policy: &Policy,
        sites: &BTreeMap<SiteId, SiteState>,
        learned: &LearnedBytes,
        leads: &Leads,
        orders: &Orders,
        at: UnixMillis,
    ) -> Self {
        if orders.events.is_empty() {
            return Self::default();
        }
        // Twice what nineteen of twenty took is in time for the last, too; an event is near no longer than that.
        let lead = |lead: &Lead, usual| (2 * lead.most_secs(usual / 2)).min(NEAR);
        let within = |lead| announced(policy, sites, learned, orders, at, lead);
        Self {
            gateways: within(lead(&leads.gateways, GATEWAYS_LEAD)),
            warm: within(lead(&leads.warm, WARM_LEAD)),
            capacity: within(lead(&leads.capacity, CAPACITY_LEAD)),
            replicas: within(lead(&leads.replicas, REPLICAS_LEAD)),
        }
    }
}

fn announced(
    policy: &Policy,
    sites: &BTreeMap<SiteId, SiteState>,
    learned: &LearnedBytes,
    orders: &Orders,
    at: UnixMillis,
    lead_secs: u64,
) -> Announced {
    let mut sum = Announced { loads: vec![0.0; policy.routes.len()], ..Announced::default() };
    for site in &policy.sites {
        let factor = orders.events_at(&site.id).factor(at, lead_secs);
        let Some(demand) = sites.get(&site.id).map(|site| &site.demand) else { continue };
        if factor <= 1.0 {
            continue;
        }
        let expected = demand.usual(policy, learned, factor);
        let part = 1.0 - home_part(carries(policy, site, &expected), expected.skew);
        sum.requests += part * expected.movable_requests;
        sum.bytes += part * expected.movable_bits / 8.0;
        let routes = policy.routes.iter().zip(demand.usual.rates()).enumerate();
        for (load, (place, (route, rate))) in sum.loads.iter_mut().zip(routes) {
            if route.spills {
                *load += part * factor * rate * demand.weight(policy, place);
            }
        }
    }
    sum
}

/// What has lasted of a load, and what would have sufficed for it, with what is announced as the least of
/// both.
pub(crate) fn at_least(
    announced: f64,
    (lasted, sufficed): (f64, Option<f64>),
) -> (f64, Option<f64>) {
    (lasted.max(announced), sufficed.map(|most| most.max(KEPT * announced)))
}

/// What a person reads of the events that are near.
pub(crate) fn reasons(
    policy: &Policy,
    orders: &Orders,
    coming: &Coming,
    at: UnixMillis,
) -> Vec<String> {
    let near = |order: &EventOrder, until: UnixMillis| order.at <= at.plus_secs(NEAR) && at < until;
    let events = orders.events.iter().filter(|(_, (order, until))| near(order, *until));
    let mut lines: Vec<String> = events
        .map(|(name, (order, until))| {
            let when = match order.at.millis_since(at).div_ceil(1000) {
                0 => format!("for {} s more", until.millis_since(at).div_ceil(1000)),
                secs => format!("in {secs} s"),
            };
            let site = order.site.as_ref().map_or_else(String::new, |site| format!(" at {site}"));
            format!(
                "event {name}: {} times the usual demand{site} {when}, by {}",
                order.factor, order.by
            )
        })
        .collect();
    let load = coming.replicas.load();
    if !lines.is_empty() && policy.on_aws {
        lines.push(format!(
            "event: {load:.0} weighted requests/s of that are more than home carries, and levers are made ready for them by their lead times"
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixMillis = UnixMillis(1_800_000_000_000);

    fn orders(events: &[(&str, u64, u64, f64, Option<&str>)]) -> Orders {
        let events = events.iter().map(|(name, in_secs, for_secs, factor, site)| {
            let order = EventOrder {
                at: START.plus_secs(*in_secs),
                for_secs: *for_secs,
                factor: *factor,
                site: site.map(|site| SiteId::new(site).unwrap()),
                by: "ann: sale".to_owned(),
            };
            let until = order.until();
            (EventId::new(name).unwrap(), (order, until))
        });
        Orders { events: events.collect(), ..Orders::default() }
    }

    #[test]
    fn the_largest_of_what_is_announced_counts() {
        let orders = orders(&[
            ("sale", 1000, 600, 6.0, None),
            ("drop", 1200, 100, 9.0, Some("east")),
            ("away", 1200, 100, 20.0, Some("west")),
        ]);
        let east = SiteId::new("east").unwrap();
        let events = orders.events_at(&east);
        let factor = |secs, horizon| events.factor(START.plus_secs(secs), horizon);
        assert_eq!([factor(0, 0), factor(0, 999), factor(0, 1000)], [1.0, 1.0, 6.0]);
        assert_eq!([factor(1000, 0), factor(1000, 200), factor(1250, 0)], [6.0, 9.0, 9.0]);
        assert_eq!([factor(1299, 0), factor(1300, 0), factor(1599, 0)], [9.0, 6.0, 6.0]);
        assert_eq!(factor(1600, 86_400), 1.0, "it is over");
        assert!(events.near(START) && !Orders::default().events_at(&east).near(START));
    }

    #[test]
    fn what_is_usual_is_a_mean_of_some_minutes() {
        let mut usual = Usual::default();
        usual.take_in(&[0.0, 10.0], 1.0);
        usual.take_in(&[20.0, 10.0], 1.0);
        assert_eq!(usual.rates(), [10.0, 10.0]);
        for _ in 0..600 {
            usual.take_in(&[50.0, 10.0], 1.0);
        }
        assert!((40.0..50.0).contains(&usual.rates()[0]), "{usual:?}");
        let before = usual.rates()[0];
        usual.take_in(&[500.0, 10.0], 1.0);
        assert!(usual.rates()[0] < before + 2.0, "one second is next to nothing");
    }

    #[test]
    fn an_event_only_adds() {
        assert_eq!(at_least(100.0, (20.0, Some(50.0))), (100.0, Some(KEPT * 100.0)));
        assert_eq!(at_least(100.0, (200.0, Some(250.0))), (200.0, Some(250.0)));
        assert_eq!(at_least(0.0, (20.0, None)), (20.0, None));
    }
}
