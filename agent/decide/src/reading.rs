//! One reading of a part's counters, and what was counted since the one before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spillway_model::load::RouteLoad;
use spillway_model::{Load, SiteId, UnixMillis, histogram};

use crate::policy::Policy;

/// No bucket gets more answers in a tick. What claims to is absurd, and must not overflow a sum.
pub(crate) const BUCKET_MAX: u64 = 1 << 40;

/// No counter has counted more.
pub(crate) const MOST: u64 = i64::MAX.cast_unsigned();

/// Counters of one route as they are kept for the next tick, in the order of [`Counts::of`].
pub(crate) type Counters = [u64; 7];

/// The counters of one part at one time. Bounded by the number of routes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) boot: u64,
    pub(crate) at: UnixMillis,
    /// In the order of the policy's routes.
    pub(crate) routes: Vec<Counters>,
    pub(crate) response_bytes: u64,
    /// Over all routes, without the empty buckets at the end.
    pub(crate) latency: Vec<u64>,
    pub(crate) uplink_bytes: u64,
    pub(crate) drops: u64,
    pub(crate) invocations: u64,
    pub(crate) duration_us: u64,
    pub(crate) throttled: u64,
    /// Over all routes. Readings before had none.
    #[serde(default)]
    pub(crate) displaced: u64,
    /// Arrivals of visitors and those of them that left, by their site and by route.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) visitors: BTreeMap<SiteId, Vec<[u64; 2]>>,
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
        let add = |sum: &mut f64, n: u64| {
            // Most stand still, and a division takes its time.
            if n > 0 {
                // Of signed numbers, which is quicker, and there are many. None that is sane is that large.
                *sum += n.min(MOST).cast_signed() as f64 / secs;
            }
        };
        let [arrivals, served, redirected, proxied, shed, failed, served_bytes] = counted;
        add(&mut self.arrivals, arrivals);
        add(&mut self.served, served);
        add(&mut self.redirected, redirected);
        add(&mut self.proxied, proxied);
        add(&mut self.shed, shed);
        add(&mut self.failed, failed);
        add(&mut self.served_bytes, served_bytes);
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
pub(crate) struct Delta {
    pub(crate) secs: f64,
    pub(crate) response_bytes: f64,
    pub(crate) latency: Vec<u64>,
    pub(crate) uplink_bytes: f64,
    pub(crate) drops: u64,
    pub(crate) invocations: u64,
    pub(crate) duration_us: u64,
    pub(crate) throttled: f64,
    pub(crate) displaced: f64,
    pub(crate) visitors: BTreeMap<SiteId, Vec<Visits>>,
}

pub(crate) fn counters(route: &RouteLoad) -> Counters {
    let RouteLoad { arrivals, served, redirected, proxied, shed, failed, served_bytes, .. } =
        *route;
    [arrivals, served, redirected, proxied, shed, failed, served_bytes]
}

impl Reading {
    pub(crate) fn of(policy: &Policy, load: &Load) -> Self {
        let latency = load.latency.iter().take(histogram::BUCKETS);
        let buckets = latency.clone().rposition(|n| *n > 0).map_or(0, |last| last + 1);
        let latency = latency.take(buckets).copied().collect();
        let uplink = load.uplink.as_ref();
        let functions = load.functions.as_ref();
        let mut routes = vec![Counters::default(); policy.routes.len()];
        let (mut response_bytes, mut displaced) = (0_u64, 0_u64);
        // Once through all of it: a load is large, and no other part of a decision takes as long.
        policy.each_place(&load.routes, |place, route| {
            response_bytes = response_bytes.saturating_add(route.response_bytes);
            displaced = displaced.saturating_add(route.displaced);
            if let Some(counts) = place.and_then(|place| routes.get_mut(place)) {
                *counts = counters(route);
            }
        });
        Self {
            boot: load.boot,
            at: load.at,
            routes,
            response_bytes,
            latency,
            uplink_bytes: uplink.map_or(0, |u| u.bytes),
            drops: uplink.map_or(0, |u| u.drops),
            invocations: functions.map_or(0, |f| f.invocations),
            duration_us: functions.map_or(0, |f| f.duration_us),
            throttled: functions.map_or(0, |f| f.throttled),
            displaced,
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
    pub(crate) fn since(&self, earlier: &Self, millis: u64, sums: &mut [Counts]) -> Option<Delta> {
        let changed = self.boot != earlier.boot
            || self.routes.len() != earlier.routes.len()
            || self.latency.len() < earlier.latency.len();
        let routes = || self.routes.iter().zip(&earlier.routes);
        // Without an end at the first, which is quicker: there hardly ever is one.
        let back = |(now, then): (&Counters, &Counters)| {
            now.iter().zip(then).fold(false, |back, (now, then)| back | (now < then))
        };
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

pub(crate) fn add_buckets(sum: &mut Vec<u64>, more: &[u64]) {
    if sum.len() < more.len() {
        sum.resize(more.len(), 0);
    }
    for (sum, n) in sum.iter_mut().zip(more) {
        *sum = sum.saturating_add(*n);
    }
}
