//! What is to come: announced events, which an operator knows of and no forecast could, and what the season's
//! forecast ([`crate::season`]) says, where it has earned trust. The larger of the two counts.
//!
//! ```text
//! announced     begins − lead time            begins              is over
//!     │  nothing     │  the lever is made ready  │  and kept so     │  forgotten
//! ```
//!
//! From its lead time before an event on, each slow lever is there for so many times the usual demand, less
//! what home carries of that. Shares are moved by what is seen: a crowd that does not come costs what was
//! made ready for it, and nobody's way. An event only adds; without one nothing is different. The same is true
//! of the season, whose forecast is absolute; it is taken as so many times the usual demand, too, for its mix.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use spillway_model::api::EventOrder;
use spillway_model::{EventId, SiteId, UnixMillis};

use crate::Orders;
use crate::bytes::LearnedBytes;
use crate::demand::Demand;
use crate::expected::home_part;
use crate::fleet::FleetPolicy;
use crate::lead::{Lead, Leads};
use crate::policy::{Policy, SitePolicy};
use crate::season::Ahead;
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
pub(crate) const WARM_LEAD: u64 = 180;
pub(crate) const CAPACITY_LEAD: u64 = 600;
pub(crate) const REPLICAS_LEAD: u64 = 1200;
/// Places of the levers in the season's policy.
const GATEWAYS: usize = 0;
const WARM: usize = 1;
const CAPACITY: usize = 2;
const REPLICAS: usize = 3;
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

/// Who says what is to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Source {
    #[default]
    Event,
    Season,
}

impl Source {
    /// `load` where the season says it. An event says itself when it is over.
    pub(crate) fn of_season(self, load: f64) -> f64 {
        if self == Self::Season { load } else { 0.0 }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Event => "an event",
            Self::Season => "the season",
        })
    }
}

/// What is to come to the cloud within the lead time of one lever.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Announced {
    /// Weighted requests per second by route; empty for none.
    pub(crate) loads: Vec<f64>,
    /// Requests per second, and bytes per second of their answers.
    pub(crate) requests: f64,
    pub(crate) bytes: f64,
    /// Who says most of it.
    pub(crate) source: Source,
    /// What of the weighted requests per second the season's forecast says.
    by_season: f64,
    /// Of the sites that it says so of: what is asked in all, and the least part of the last hours that was
    /// within such forecasts.
    season: Option<(f64, f64)>,
}

impl Announced {
    /// Weighted requests per second.
    pub(crate) fn load(&self) -> f64 {
        self.loads.iter().sum()
    }

    fn add(&mut self, other: &Self) {
        self.loads.resize(other.loads.len(), 0.0);
        self.loads.iter_mut().zip(&other.loads).for_each(|(sum, load)| *sum += load);
        self.requests += other.requests;
        self.bytes += other.bytes;
    }

    fn add_season(&mut self, brought: &Self, ahead: &Ahead) {
        let (asked, covered) = self.season.unwrap_or((0.0, 1.0));
        self.season = Some((asked + ahead.upper, covered.min(ahead.covered)));
        self.by_season += brought.load();
        self.add(brought);
    }

    /// This less what `other` brings anyway.
    fn without(mut self, other: &Self) -> Self {
        self.loads.iter_mut().zip(&other.loads).for_each(|(load, less)| *load -= less);
        self.requests -= other.requests;
        self.bytes -= other.bytes;
        self
    }

    fn scaled(mut self, by: f64) -> Self {
        self.loads.iter_mut().for_each(|load| *load *= by);
        self.requests *= by;
        self.bytes *= by;
        self
    }
}

/// The same of every lever: the larger of what is announced and what the season brings.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Coming {
    pub(crate) gateways: Announced,
    pub(crate) warm: Announced,
    pub(crate) capacity: Announced,
    pub(crate) replicas: Announced,
}

/// What says what is to come, and of what.
pub(crate) struct Told<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) sites: &'a BTreeMap<SiteId, SiteState>,
    pub(crate) learned: &'a LearnedBytes,
    /// How long levers have taken, before an event.
    pub(crate) leads: &'a Leads,
    pub(crate) orders: &'a Orders,
    /// Weighted requests per second that are asked of the cloud, as far as that is seen.
    pub(crate) asked: f64,
    /// Weighted requests per second that the gateways that are healthy carry.
    pub(crate) carried: f64,
    pub(crate) at: UnixMillis,
}

impl Coming {
    pub(crate) fn of(told: &Told<'_>) -> Self {
        let Leads { gateways, warm, capacity, replicas } = told.leads;
        Self {
            gateways: told.for_gateways(lead(gateways, GATEWAYS_LEAD)),
            // Functions take the shock of an event whole, but of what comes each day what gateways do not carry.
            warm: told.within(WARM, lead(warm, WARM_LEAD), told.beyond_gateways()),
            capacity: told.within(CAPACITY, lead(capacity, CAPACITY_LEAD), 1.0),
            replicas: told.within(REPLICAS, lead(replicas, REPLICAS_LEAD), 1.0),
        }
    }

    /// What a person reads of what the season brings: of the levers that it concerns the one with the most.
    fn season(&self, policy: &Policy) -> Option<String> {
        let levers = [&self.gateways, &self.warm, &self.capacity, &self.replicas];
        let levers = levers.into_iter().enumerate();
        let most = levers.max_by(|(_, a), (_, b)| a.by_season.total_cmp(&b.by_season));
        let (lever, brings) = most.filter(|(_, brings)| brings.by_season > 0.0)?;
        let (asked, covered) = brings.season?;
        Some(format!(
            "season: up to {asked:.0} weighted requests/s are forecast within {} s, {:.0} of them more than home carries, and levers are made ready for these; {:.0} % of the last hours was within such forecasts",
            policy.season.secs(lever),
            brings.by_season,
            100.0 * covered
        ))
    }
}

impl Told<'_> {
    /// What is to come within the lead time of the lever at place `lever` of the season's policy; of what the
    /// season brings `part` concerns it.
    fn within(&self, lever: usize, lead_secs: u64, part: f64) -> Announced {
        let mut sum = Announced::default();
        for (site, demand) in self.demands() {
            let event = self.event(site, demand, lead_secs);
            let ahead = self.season(demand, lever);
            let season = ahead.map(|ahead| self.brought(site, demand, ahead.upper).scaled(part));
            let load = |of: &Option<Announced>| of.as_ref().map_or(0.0, Announced::load);
            if load(&season) > load(&event) {
                season.iter().zip(&ahead).for_each(|(season, ahead)| sum.add_season(season, ahead));
            } else {
                event.iter().for_each(|event| sum.add(event));
            }
        }
        if sum.by_season > sum.load() / 2.0 {
            sum.source = Source::Season;
        }
        sum
    }

    /// The same for gateways. What is asked is known to the second, and they boot within one or two of the steps
    /// that forecasts are of: what the season says beyond what the present may become by itself comes on top
    /// of that. Less than one of them carries is left to their accounts, which see it in time: a slow rise that
    /// is foreseen a little too large would only have the last one come and go.
    fn for_gateways(&self, lead_secs: u64) -> Announced {
        let mut event = Announced::default();
        let mut season = Announced::default();
        for (site, demand) in self.demands() {
            self.event(site, demand, lead_secs).iter().for_each(|brought| event.add(brought));
            let Some(ahead) = self.season(demand, GATEWAYS) else { continue };
            let now = demand.weigh(self.policy, demand.usual.rates());
            let rise = ahead.upper - ahead.persists - ahead.since.max(0.0);
            if rise <= 0.0 {
                continue;
            }
            let then = self.brought(site, demand, now + rise);
            season.add_season(&then.without(&self.brought(site, demand, now)), &ahead);
        }
        let least = self.policy.fleet.as_ref().map_or(0.0, FleetPolicy::carries);
        if season.load() <= least || self.asked + season.load() <= event.load() {
            return event;
        }
        season.loads.push(self.asked);
        Announced { by_season: season.load(), source: Source::Season, ..season }
    }

    /// The part of what the season brings that gateways do not carry.
    fn beyond_gateways(&self) -> f64 {
        let brought = self.demands().filter_map(|(site, demand)| {
            Some(self.brought(site, demand, self.season(demand, WARM)?.upper).load())
        });
        let brought: f64 = brought.sum();
        if brought > self.carried { 1.0 - self.carried / brought } else { 0.0 }
    }

    fn demands(&self) -> impl Iterator<Item = (&SitePolicy, &Demand)> {
        let sites = self.policy.sites.iter();
        sites.filter_map(|site| Some((site, &self.sites.get(&site.id)?.demand)))
    }

    fn event(&self, site: &SitePolicy, demand: &Demand, lead_secs: u64) -> Option<Announced> {
        let factor = self.orders.events_at(&site.id).factor(self.at, lead_secs);
        let usual = demand.weigh(self.policy, demand.usual.rates());
        (factor > 1.0).then(|| self.brought(site, demand, factor * usual))
    }

    /// What the season's forecast says, where it is trusted and says more than that what is asked now may stay.
    fn season(&self, demand: &Demand, lever: usize) -> Option<Ahead> {
        let ahead = demand.season.within(&self.policy.season, lever, self.at)?;
        (ahead.trusted && ahead.upper > ahead.persists).then_some(ahead)
    }

    /// What `load` weighted requests per second at a site bring to the cloud: what is more than home carries.
    fn brought(&self, site: &SitePolicy, demand: &Demand, load: f64) -> Announced {
        let policy = self.policy;
        let usual = demand.weigh(policy, demand.usual.rates());
        let times = if usual > 0.0 { load / usual } else { 0.0 };
        let expected = demand.usual(policy, self.learned, times);
        let part = 1.0 - home_part(carries(policy, site, &expected), expected.skew);
        let routes = policy.routes.iter().zip(demand.usual.rates()).enumerate();
        let loads = routes.map(|(place, (route, rate))| match route.spills {
            true => part * times * rate * demand.weight(policy, place),
            false => 0.0,
        });
        Announced {
            loads: loads.collect(),
            requests: part * expected.movable_requests,
            bytes: part * expected.movable_bits / 8.0,
            ..Announced::default()
        }
    }
}

/// How long before an event a lever is asked for: twice what nineteen of twenty took is in time for the last,
/// too. An event is near no longer than that.
fn lead(lead: &Lead, usual: u64) -> u64 {
    (2 * lead.most_secs(usual / 2)).min(NEAR)
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
    let load = coming.replicas.load() - coming.replicas.by_season;
    if !lines.is_empty() && policy.on_aws {
        lines.push(format!(
            "event: {load:.0} weighted requests/s of that are more than home carries, and levers are made ready for them by their lead times"
        ));
    }
    lines.extend(coming.season(policy).filter(|_| policy.on_aws));
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
