//! From readings to rates: what happened since the last reading of each part.
//!
//! A counter says nothing alone. A first reading, one of a restarted process, a repeated one and a
//! stale one give no rate, and no rate is not a rate of zero: the site is then blind, which holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use spillway_model::histogram;
use spillway_model::load::{FunctionsLoad, Part, RouteLoad};
use spillway_model::{Load, Plan, SiteId, UnixMillis};

use crate::Observation;
use crate::policy::{Policy, SitePolicy};

/// No bucket gets more answers in a tick. What claims to is absurd, and must not overflow a sum.
const BUCKET_MAX: u64 = 1 << 40;

/// No counter has counted more.
const MOST: u64 = i64::MAX.cast_unsigned();

/// Counters of one route as they are kept for the next tick, in the order of [`Counts::of`].
type Counters = [u64; 7];

/// The counters of one part at one time. Bounded by the number of routes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    boot: u64,
    at: UnixMillis,
    /// In the order of the policy's routes.
    routes: Vec<Counters>,
    response_bytes: u64,
    /// Over all routes, without the empty buckets at the end.
    latency: Vec<u64>,
    uplink_bytes: u64,
    drops: u64,
    invocations: u64,
    duration_us: u64,
    throttled: u64,
    /// Over all routes. Readings before had none.
    #[serde(default)]
    displaced: u64,
    /// Arrivals of visitors and those of them that left, by their site and by route.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    visitors: BTreeMap<SiteId, Vec<[u64; 2]>>,
}

/// All readings that the next tick subtracts from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Readings {
    parts: BTreeMap<String, Arc<Reading>>,
    interfaces: BTreeMap<String, (UnixMillis, u64)>,
}

/// Requests per second of one route, and bytes per second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) arrivals: f64,
    pub(crate) served: f64,
    pub(crate) redirected: f64,
    pub(crate) proxied: f64,
    pub(crate) shed: f64,
    pub(crate) failed: f64,
    pub(crate) served_bytes: f64,
}

impl Counts {
    /// Adds what was counted in so many seconds.
    fn add(&mut self, counted: Counters, secs: f64) {
        // Of signed numbers, which is quicker, and there are many. None that is sane is that large.
        let rate = |n: u64| n.min(MOST).cast_signed() as f64 / secs;
        let [arrivals, served, redirected, proxied, shed, failed, served_bytes] = counted;
        self.arrivals += rate(arrivals);
        self.served += rate(served);
        self.redirected += rate(redirected);
        self.proxied += rate(proxied);
        self.shed += rate(shed);
        self.failed += rate(failed);
        self.served_bytes += rate(served_bytes);
    }

    /// Requests per second that stayed where they arrived.
    pub(crate) fn stayed(&self) -> f64 {
        (self.arrivals - self.redirected - self.proxied).max(0.0)
    }

    /// Requests per second sent on to the cloud.
    pub(crate) fn sent_on(&self) -> f64 {
        self.redirected + self.proxied
    }
}

/// Requests per second of one route by clients of another site.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Visits {
    pub(crate) arrivals: f64,
    /// Sent on to the cloud.
    pub(crate) left: f64,
}

impl Visits {
    pub(crate) fn stayed(&self) -> f64 {
        (self.arrivals - self.left).max(0.0)
    }

    pub(crate) fn plus(self, other: &Self) -> Self {
        Self { arrivals: self.arrivals + other.arrivals, left: self.left + other.left }
    }
}

/// What happened between two readings of one part.
#[derive(Debug)]
struct Delta {
    secs: f64,
    response_bytes: f64,
    latency: Vec<u64>,
    uplink_bytes: f64,
    drops: u64,
    invocations: u64,
    duration_us: u64,
    throttled: f64,
    displaced: f64,
    visitors: BTreeMap<SiteId, Vec<Visits>>,
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
    let mut reader = Reader { policy, readings, observation, kept: Vec::new() };
    let sites = policy.sites.iter().map(|site| reader.site(site, plan.generation));
    let mut sites: Vec<SiteSense> = sites.collect();
    hand_over(policy, plan, &mut sites);
    let cloud = reader.cloud();
    let kept = reader.kept;
    // A part that is gone for good would otherwise be kept for ever.
    readings.parts.retain(|key, reading| {
        kept.contains(key) || observation.at.millis_since(reading.at) < 60_000
    });
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
    /// Keys of the parts that answered.
    kept: Vec<String>,
}

impl Reader<'_> {
    fn site(&mut self, site: &SitePolicy, generation: u64) -> SiteSense {
        let observation = self.observation;
        let mut sense = SiteSense {
            routes: vec![Counts::default(); self.policy.routes.len()],
            ..SiteSense::default()
        };
        let balancer = observation
            .loads
            .iter()
            .find(|load| load.part == Part::Balancer && load.site.as_ref() == Some(&site.id));
        let mut latency = Vec::new();
        let mut heard = Vec::new();
        for (name, address) in &site.gateways {
            let load = observation
                .loads
                .iter()
                .find(|load| load.part == Part::Gateway && &load.name == name);
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
        for load in observation.loads.iter().filter(|load| load.part == Part::Cloud).take(16) {
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
        self.kept.push(title.to_owned());
        let age = self.observation.at.millis_since(load.at);
        if age > self.policy.stale_ms() {
            return Err(format!("{title}: its reading is {:.1} s old", age as f64 / 1000.0));
        }
        let now = Arc::new(Reading::of(self.policy, load));
        let Some(earlier) = self.readings.parts.get(title) else {
            self.readings.parts.insert(title.to_owned(), now);
            return Err(format!("{title}: first reading, no rate yet"));
        };
        let millis = now.at.millis_since(earlier.at);
        let repeated = now.at >= earlier.at && millis < self.policy.tick_ms / 4;
        if repeated && now.boot == earlier.boot {
            // Kept as it is, so that the next reading has a span to divide by.
            return Err(format!("{title}: the same reading again"));
        }
        let delta = now.since(earlier, millis, routes);
        self.readings.parts.insert(title.to_owned(), now);
        delta.ok_or_else(|| format!("{title}: restarted, no rate yet"))
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

fn counters(route: &RouteLoad) -> Counters {
    let RouteLoad { arrivals, served, redirected, proxied, shed, failed, served_bytes, .. } =
        *route;
    [arrivals, served, redirected, proxied, shed, failed, served_bytes]
}

impl Reading {
    fn of(policy: &Policy, load: &Load) -> Self {
        let buckets = load.latency.iter().rposition(|n| *n > 0).map_or(0, |last| last + 1);
        let latency = load.latency.iter().take(buckets).copied().collect();
        let uplink = load.uplink.as_ref();
        let functions = load.functions.as_ref();
        Self {
            boot: load.boot,
            at: load.at,
            routes: policy.by_place(&load.routes, counters),
            response_bytes: load
                .routes
                .values()
                .fold(0, |sum, route| sum.saturating_add(route.response_bytes)),
            latency,
            uplink_bytes: uplink.map_or(0, |u| u.bytes),
            drops: uplink.map_or(0, |u| u.drops),
            invocations: functions.map_or(0, |f| f.invocations),
            duration_us: functions.map_or(0, |f| f.duration_us),
            throttled: functions.map_or(0, |f| f.throttled),
            displaced: load.routes.values().fold(0, |sum, r| sum.saturating_add(r.displaced)),
            // Of sites that are in the configuration, which bounds them.
            visitors: policy
                .sites
                .iter()
                .filter_map(|site| Some((site.id.clone(), load.visitors.get(&site.id)?)))
                .map(|(id, routes)| (id, policy.by_place(routes, |v| [v.arrivals, v.left])))
                .collect(),
        }
    }

    /// Visitors since an earlier reading, per second; `None` when a counter went back.
    fn visits(&self, earlier: &Self, secs: f64) -> Option<BTreeMap<SiteId, Vec<Visits>>> {
        let rate = |now: u64, then: u64| Some(now.checked_sub(then)?.min(MOST) as f64 / secs);
        let of_site = |(id, routes): (&SiteId, &Vec<[u64; 2]>)| {
            let before = earlier.visitors.get(id);
            let visits = routes.iter().enumerate().map(|(place, now)| {
                let then = before.and_then(|routes| routes.get(place)).copied().unwrap_or([0; 2]);
                Some(Visits { arrivals: rate(now[0], then[0])?, left: rate(now[1], then[1])? })
            });
            Some((id.clone(), visits.collect::<Option<Vec<_>>>()?))
        };
        self.visitors.iter().map(of_site).collect()
    }

    /// `None` when the process restarted in between: its boot changed, its clock went back, or a
    /// counter did. Otherwise what was counted of each route is added to `sums`.
    fn since(&self, earlier: &Self, millis: u64, sums: &mut [Counts]) -> Option<Delta> {
        let changed = self.boot != earlier.boot
            || self.routes.len() != earlier.routes.len()
            || self.latency.len() < earlier.latency.len();
        let routes = || self.routes.iter().zip(&earlier.routes);
        let back = |(now, then): (&Counters, &Counters)| now.iter().zip(then).any(|(n, t)| n < t);
        if changed || millis == 0 || routes().any(back) {
            return None;
        }
        let secs = millis as f64 / 1000.0;
        let mut latency = self.latency.clone();
        for (now, then) in latency.iter_mut().zip(&earlier.latency) {
            *now = now.checked_sub(*then)?.min(BUCKET_MAX);
        }
        let per_sec = |now: u64, then: u64| Some(now.checked_sub(then)? as f64 / secs);
        let delta = Delta {
            secs,
            response_bytes: per_sec(self.response_bytes, earlier.response_bytes)?,
            latency,
            uplink_bytes: per_sec(self.uplink_bytes, earlier.uplink_bytes)?,
            drops: self.drops.checked_sub(earlier.drops)?,
            invocations: self.invocations.checked_sub(earlier.invocations)?,
            duration_us: self.duration_us.checked_sub(earlier.duration_us)?,
            throttled: per_sec(self.throttled, earlier.throttled)?,
            displaced: per_sec(self.displaced, earlier.displaced)?,
            visitors: self.visits(earlier, secs)?,
        };
        for (sum, (now, then)) in sums.iter_mut().zip(routes()) {
            let mut counted = *now;
            counted.iter_mut().zip(then).for_each(|(now, then)| *now -= then);
            sum.add(counted, secs);
        }
        Some(delta)
    }
}

fn add_buckets(sum: &mut Vec<u64>, more: &[u64]) {
    if sum.len() < more.len() {
        sum.resize(more.len(), 0);
    }
    for (sum, n) in sum.iter_mut().zip(more) {
        *sum = sum.saturating_add(*n);
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
