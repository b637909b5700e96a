//! From readings to rates: what happened since the last reading of each part.
//!
//! A counter says nothing alone. A first reading, one of a restarted process, a repeated one and a
//! stale one give no rate, and no rate is not a rate of zero: the site is then blind, which holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use spillway_model::histogram;
use spillway_model::load::{FunctionsLoad, Part};
use spillway_model::{Load, Plan, SiteId, UnixMillis};

use crate::Observation;
use crate::policy::{Policy, SitePolicy};
use crate::reading::{Counts, Delta, Reading, Visits, add_buckets};

/// A part that does not answer is given so long to come back, and so many are that nobody configured: the
/// cloud's side names its parts itself.
const ABSENT_MS: u64 = 60_000;
const ABSENT_MAX: usize = CLOUD_MAX;

/// Parts of the cloud's side that are read.
const CLOUD_MAX: usize = 16;

/// All readings that the next tick subtracts from. Bounded: at most twice as many as the sites and gateways
/// of the configuration and [`CLOUD_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Readings {
    /// All are made anew each tick.
    parts: Arc<BTreeMap<String, Arc<Reading>>>,
    interfaces: BTreeMap<String, (UnixMillis, u64)>,
}

/// The way out, over the last tick.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UplinkSense {
    pub(crate) bits_per_sec: f64,
    pub(crate) drops: u64,
    pub(crate) queued_bytes: f64,
}

/// One site, over the last tick.
#[derive(Debug, Default)]
pub(crate) struct SiteSense {
    /// Seconds the rates are over; zero when no gateway gave any.
    pub(crate) secs: f64,
    /// Summed over the gateways that gave rates.
    pub(crate) routes: Vec<Counts>,
    pub(crate) response_bits_per_sec: f64,
    /// Requests per second that left because home had no service or no room for them.
    pub(crate) displaced: f64,
    /// What clients of other sites asked here, by their site and by route; counted in `routes` as well.
    pub(crate) visitors: BTreeMap<SiteId, Vec<Visits>>,
    /// What the site's own clients asked of others, by route; empty where that is nothing.
    pub(crate) helped: Vec<Visits>,
    /// Whether some of those are not known.
    pub(crate) helped_unknown: bool,
    /// Gateways that gave rates.
    pub(crate) gateways: u32,
    pub(crate) uplink: Option<UplinkSense>,
    pub(crate) p95_ms: Option<f64>,
    /// How many answers `p95_ms` is over.
    pub(crate) answers: u64,
    /// Why the data is not whole, one clause each; empty when it is.
    pub(crate) gaps: Vec<String>,
    /// Parts that act on an older generation than the plan.
    pub(crate) behind: Vec<String>,
    /// Groups of routes that every gateway heard from has no healthy service for.
    pub(crate) unserved: Vec<String>,
}

impl SiteSense {
    /// Whether anything at all is known about the requests of this tick.
    pub(crate) fn sees(&self) -> bool {
        self.secs > 0.0
    }

    /// Requests per second of the site's own clients that were sent to the cloud for want of room, here or
    /// where they visited.
    pub(crate) fn own_displaced(&self) -> f64 {
        let visitors: f64 = self.visitors.values().flatten().map(|visits| visits.left).sum();
        let elsewhere: f64 = self.helped.iter().map(|visits| visits.left).sum();
        (self.displaced - visitors).max(0.0) + elsewhere
    }

    /// Whether everything is known, which is what a share may be lowered on.
    pub(crate) fn whole(&self) -> bool {
        self.sees() && self.gaps.is_empty()
    }
}

/// The cloud's side, over the last tick.
#[derive(Debug)]
pub(crate) struct CloudSense {
    pub(crate) secs: f64,
    pub(crate) routes: Vec<Counts>,
    /// Gauges of the reading.
    pub(crate) functions: FunctionsLoad,
    pub(crate) invocations: u64,
    pub(crate) duration_us: u64,
    pub(crate) throttled_per_sec: f64,
}

/// Everything that was seen this tick. Sites are in the policy's order.
#[derive(Debug)]
pub(crate) struct Sensed {
    pub(crate) sites: Vec<SiteSense>,
    /// `Err` says why nothing is known.
    pub(crate) cloud: Result<CloudSense, String>,
}

/// Subtracts the last readings from those of `observation`, and keeps these for the next tick.
pub(crate) fn sense(
    policy: &Policy,
    readings: &mut Readings,
    plan: &Plan,
    observation: &Observation,
) -> Sensed {
    let mut reader = Reader::new(policy, readings, observation);
    let sites = policy.sites.iter().map(|site| reader.site(site, plan.generation));
    let mut sites: Vec<SiteSense> = sites.collect();
    hand_over(policy, plan, &mut sites);
    let cloud = reader.cloud();
    let mut parts = reader.parts;
    // A part that is gone for good would otherwise be kept for ever, and so would one whose clock is ahead.
    let mut absent: Vec<_> = readings
        .parts
        .iter()
        .filter(|(key, reading)| {
            let (at, then) = (observation.at, reading.at);
            !parts.contains_key(*key)
                && at.millis_since(then).max(then.millis_since(at)) < ABSENT_MS
        })
        .collect();
    absent.sort_by_key(|(_, reading)| std::cmp::Reverse(reading.at));
    let most = ABSENT_MAX + policy.sites.iter().map(|site| 1 + site.gateways.len()).sum::<usize>();
    let absent = absent.into_iter().take(most);
    parts.extend(absent.map(|(key, reading)| (key.clone(), reading.clone())));
    readings.parts = Arc::new(parts);
    readings.interfaces.retain(|id, _| policy.sites.iter().any(|site| site.id.as_str() == id));
    Sensed { sites, cloud }
}

/// Tells each site what others served of its clients, and that this is not known where a site that helps is
/// not seen whole.
fn hand_over(policy: &Policy, plan: &Plan, sites: &mut [SiteSense]) {
    for (place, site) in
        policy.sites.iter().enumerate().filter(|(_, site)| !site.helped_by.is_empty())
    {
        let mut helped = Vec::new();
        for visits in sites.iter().filter_map(|other| other.visitors.get(&site.id)) {
            helped.resize(policy.routes.len(), Visits::default());
            helped.iter_mut().zip(visits).for_each(|(sum, visits)| *sum = sum.plus(visits));
        }
        let helps = |id: &SiteId| {
            let plan = plan.sites.get(&site.id);
            plan.is_some_and(|plan| plan.helped.iter().any(|help| help.site == *id))
        };
        let unseen = |other: &usize| {
            let (id, sense) = (&policy.sites.get(*other)?.id, sites.get(*other)?);
            (helps(id) && !sense.whole()).then_some(id)
        };
        let unseen: Vec<_> = site.helped_by.iter().filter_map(unseen).collect();
        let Some(sense) = sites.get_mut(place) else { continue };
        sense.helped_unknown = !unseen.is_empty();
        sense.helped = helped;
        for id in unseen {
            sense.gaps.push(format!("{id} helps, and what it serves is not known whole"));
        }
    }
}

struct Reader<'a> {
    policy: &'a Policy,
    readings: &'a mut Readings,
    observation: &'a Observation,
    /// The first load of each name that gateways have, and of each site that balancers have.
    gateways: BTreeMap<&'a str, &'a Load>,
    balancers: BTreeMap<&'a SiteId, &'a Load>,
    /// What is kept of the parts that answered.
    parts: BTreeMap<String, Arc<Reading>>,
}

impl<'a> Reader<'a> {
    fn new(policy: &'a Policy, readings: &'a mut Readings, observation: &'a Observation) -> Self {
        let of_part = |part| observation.loads.iter().rev().filter(move |load| load.part == part);
        let balancers = of_part(Part::Balancer);
        Self {
            policy,
            readings,
            observation,
            // In reverse order, so that the first stays.
            gateways: of_part(Part::Gateway).map(|load| (load.name.as_str(), load)).collect(),
            balancers: balancers.filter_map(|load| Some((load.site.as_ref()?, load))).collect(),
            parts: BTreeMap::new(),
        }
    }

    fn site(&mut self, site: &SitePolicy, generation: u64) -> SiteSense {
        let mut sense = SiteSense {
            routes: vec![Counts::default(); self.policy.routes.len()],
            ..SiteSense::default()
        };
        let balancer = self.balancers.get(&site.id).copied();
        let mut latency = Vec::new();
        let mut heard = Vec::new();
        for (name, address) in &site.gateways {
            let load = self.gateways.get(name.as_str()).copied();
            if load.is_some_and(|load| load.generation < generation) {
                sense.behind.push(name.clone());
            }
            match self.delta(load, name, &format!("gateway {name}"), &mut sense.routes) {
                Ok(delta) => {
                    heard.extend(load);
                    sense.secs = sense.secs.max(delta.secs);
                    sense.response_bits_per_sec += delta.response_bytes * 8.0;
                    sense.displaced += delta.displaced;
                    for (site, visits) in delta.visitors {
                        let sums = sense.visitors.entry(site).or_default();
                        sums.resize(visits.len(), Visits::default());
                        sums.iter_mut().zip(&visits).for_each(|(sum, v)| *sum = sum.plus(v));
                    }
                    sense.gateways += 1;
                    add_buckets(&mut latency, &delta.latency);
                }
                // A gateway that the balancer has taken out gets no requests: nothing is missed.
                Err(_) if load.is_none() && taken_out(balancer, name, address) => {}
                Err(gap) => sense.gaps.push(gap),
            }
        }
        sense.answers = latency.iter().sum();
        sense.p95_ms = histogram::quantile_ms(&latency, 0.95);
        sense.unserved = unserved(site, &heard);
        self.uplink(site, balancer, &mut sense);
        sense
    }

    fn uplink(&mut self, site: &SitePolicy, balancer: Option<&Load>, sense: &mut SiteSense) {
        let name = format!("balancer of {}", site.id);
        let queued_bytes =
            balancer.and_then(|load| load.uplink.as_ref()).map_or(0.0, |u| u.queued_bytes as f64);
        let delta = match self.delta(balancer, site.id.as_str(), &name, &mut []) {
            Ok(delta) => delta,
            Err(gap) => return sense.gaps.push(gap),
        };
        let bytes_per_sec = if site.interface {
            match self.interface(site) {
                Some(rate) => rate,
                None => {
                    let gap = format!("the interface of {} gave no byte count yet", site.id);
                    return sense.gaps.push(gap);
                }
            }
        } else {
            delta.uplink_bytes
        };
        sense.uplink = Some(UplinkSense {
            bits_per_sec: bytes_per_sec * 8.0,
            drops: delta.drops,
            queued_bytes,
        });
    }

    /// Bytes per second that left from the site's named interface.
    fn interface(&mut self, site: &SitePolicy) -> Option<f64> {
        let now = *self.observation.interface_bytes.get(&site.id)?;
        let at = self.observation.at;
        let earlier = self.readings.interfaces.insert(site.id.to_string(), (at, now));
        let (then, bytes) = earlier?;
        let millis = at.millis_since(then);
        if millis == 0 || millis > 20 * self.policy.stale_ms() {
            return None;
        }
        Some(now.checked_sub(bytes)? as f64 * 1000.0 / millis as f64)
    }

    fn cloud(&mut self) -> Result<CloudSense, String> {
        let observation = self.observation;
        let mut sum: Option<CloudSense> = None;
        for load in observation.loads.iter().filter(|load| load.part == Part::Cloud).take(CLOUD_MAX)
        {
            let title = format!("cloud {}", load.name);
            let mut routes = match &mut sum {
                Some(sum) => std::mem::take(&mut sum.routes),
                None => vec![Counts::default(); self.policy.routes.len()],
            };
            let delta = self.delta(Some(load), &load.name, &title, &mut routes)?;
            let functions = load.functions.clone().unwrap_or_default();
            let sense = sum.get_or_insert_with(|| CloudSense {
                secs: delta.secs,
                routes: Vec::new(),
                functions: FunctionsLoad::default(),
                invocations: 0,
                duration_us: 0,
                throttled_per_sec: 0.0,
            });
            sense.routes = routes;
            sense.invocations = sense.invocations.saturating_add(delta.invocations);
            sense.duration_us = sense.duration_us.saturating_add(delta.duration_us);
            sense.throttled_per_sec += delta.throttled;
            let gauges = &mut sense.functions;
            gauges.environments = gauges.environments.saturating_add(functions.environments);
            gauges.environments_max =
                gauges.environments_max.saturating_add(functions.environments_max);
            gauges.burst_left = gauges.burst_left.saturating_add(functions.burst_left);
            gauges.burst_per_sec += functions.burst_per_sec.max(0.0);
            gauges.cold_start_ms = gauges.cold_start_ms.max(functions.cold_start_ms);
        }
        sum.ok_or_else(|| match self.why_missing("cloud") {
            Some(why) => format!("cloud: {why}"),
            None => "the cloud's side did not answer".to_owned(),
        })
    }

    /// What happened since the last reading of a part, that of each route added to `routes`; or a clause that
    /// says why it is unknown.
    fn delta(
        &mut self,
        load: Option<&Load>,
        name: &str,
        title: &str,
        routes: &mut [Counts],
    ) -> Result<Delta, String> {
        let Some(load) = load else {
            return Err(match self.why_missing(name) {
                Some(why) => format!("{title}: {why}"),
                None => format!("{title} did not answer"),
            });
        };
        let earlier = self.earlier(title);
        let age = self.observation.at.millis_since(load.at);
        if age > self.policy.stale_ms() {
            self.parts.extend(earlier.map(|earlier| (title.to_owned(), earlier)));
            return Err(format!("{title}: its reading is {:.1} s old", age as f64 / 1000.0));
        }
        let now = Arc::new(Reading::of(self.policy, load));
        let Some(earlier) = earlier else {
            self.parts.insert(title.to_owned(), now);
            return Err(format!("{title}: first reading, no rate yet"));
        };
        let millis = now.at.millis_since(earlier.at);
        let repeated = now.at >= earlier.at && millis < self.policy.tick_ms / 4;
        if repeated && now.boot == earlier.boot {
            // Kept as it is, so that the next reading has a span to divide by.
            self.parts.insert(title.to_owned(), earlier);
            return Err(format!("{title}: the same reading again"));
        }
        let delta = now.since(&earlier, millis, routes);
        self.parts.insert(title.to_owned(), now);
        delta.ok_or_else(|| format!("{title}: restarted, no rate yet"))
    }

    /// What was kept last of the part of this title: of this tick, if it was named twice.
    fn earlier(&self, title: &str) -> Option<Arc<Reading>> {
        self.parts.get(title).or_else(|| self.readings.parts.get(title)).cloned()
    }

    fn why_missing(&self, name: &str) -> Option<&str> {
        let missing = &self.observation.missing;
        missing
            .get(name)
            .or_else(|| {
                missing
                    .iter()
                    .find(|(key, _)| key.split(' ').any(|word| word == name))
                    .map(|(_, v)| v)
            })
            .map(String::as_str)
    }
}

/// Groups of which some service is known to these gateways, and none is healthy to any.
fn unserved(site: &SitePolicy, gateways: &[&Load]) -> Vec<String> {
    let is = |services: &[String]| {
        let known = services.iter().flat_map(|name| {
            gateways.iter().filter_map(move |gateway| gateway.upstreams.get(name))
        });
        let (known, healthy) = known.fold((0, 0), |(known, healthy), upstream| {
            (known + 1, healthy + u32::from(upstream.healthy))
        });
        known > 0 && healthy == 0
    };
    let groups = site.groups.iter().filter(|(_, services)| is(services));
    groups.map(|(group, _)| group.clone()).collect()
}

fn taken_out(balancer: Option<&Load>, name: &str, address: &str) -> bool {
    let upstreams = balancer.map(|load| &load.upstreams);
    upstreams
        .and_then(|upstreams| upstreams.get(name).or_else(|| upstreams.get(address)))
        .is_some_and(|upstream| !upstream.healthy)
}
