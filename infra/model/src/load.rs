//! The load report: what `GET /v1/load` of every data-plane process answers.
//!
//! All numbers but gauges (named so) are monotonic counters since the process started, so that a
//! lost or repeated reading costs nothing: whoever reads subtracts. A `boot` that changed means that
//! the counters restarted from zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{RouteId, SiteId};
use crate::time::UnixMillis;

/// What kind of part a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Authoritative DNS.
    Dns,
    /// Layer-4 balancer.
    Balancer,
    /// Layer-7 gateway.
    Gateway,
    /// An instance of the service, on-prem.
    Service,
    /// The cloud's side: SLB and functions.
    Cloud,
    /// The agent itself.
    Agent,
    /// Who makes a cloud on AWS what the plan says.
    Aws,
}

/// One reading of one process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// What it is.
    pub part: Part,
    /// Its name in the configuration.
    pub name: String,
    /// Its site; `None` for parts that belong to none.
    pub site: Option<SiteId>,
    /// Random per process start.
    pub boot: u64,
    /// When the reading was taken, by the process's own clock.
    pub at: UnixMillis,
    /// Generation of the plan it acts on.
    pub generation: u64,
    /// CPU seconds used, user and system.
    pub cpu_secs: f64,
    /// Per route, for parts that see requests. Of a name server: one entry per steered name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<RouteId, RouteLoad>,
    /// Time from the request's head to the answer's head, of all requests counted in `served` of any route:
    /// [`crate::histogram`] buckets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latency: Vec<u64>,
    /// Of a balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<UplinkLoad>,
    /// Of the cloud's side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<FunctionsLoad>,
    /// Of a name server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsLoad>,
    /// Of whoever makes the cloud what the plan says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetLoad>,
    /// Of a gateway: what clients of other sites, which its own helps, have asked; by their site.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub visitors: BTreeMap<SiteId, BTreeMap<RouteId, VisitorLoad>>,
    /// Upstreams and their health as this process sees them (balancer, gateway).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub upstreams: BTreeMap<String, UpstreamLoad>,
}

impl Load {
    /// The reading of a process that has counted nothing yet, on no plan.
    #[must_use]
    pub fn new(part: Part, name: &str, site: Option<SiteId>, boot: u64, at: UnixMillis) -> Self {
        Self {
            part,
            name: name.to_owned(),
            site,
            boot,
            at,
            generation: 0,
            cpu_secs: 0.0,
            routes: BTreeMap::new(),
            latency: Vec::new(),
            uplink: None,
            functions: None,
            dns: None,
            fleet: None,
            visitors: BTreeMap::new(),
            upstreams: BTreeMap::new(),
        }
    }

    /// Makes `latency` the sum of the routes'.
    pub fn sum_latency(&mut self) {
        self.latency.clear();
        for route in self.routes.values() {
            add_buckets(&mut self.latency, &route.latency);
        }
    }
}

/// Requests of one route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteLoad {
    /// Requests that arrived.
    pub arrivals: u64,
    /// Answered from here: by an on-prem upstream, or, of the cloud's side, by a function.
    pub served: u64,
    /// Answered 307 towards the cloud or a site that helps.
    pub redirected: u64,
    /// Forwarded to the cloud over the link.
    pub proxied: u64,
    /// Of those redirected or proxied: moved because home had no service or no room for them, whatever
    /// the plan's share.
    pub displaced: u64,
    /// Answered 503 by a knob, on purpose.
    pub shed: u64,
    /// Failed: 5xx of an upstream or our own that no knob asked for, deadlines included.
    pub failed: u64,
    /// Bytes of all answers, heads included, as written to the client's connection.
    pub response_bytes: u64,
    /// Bytes of the answers counted in `served`.
    pub served_bytes: u64,
    /// As [`Load::latency`], which readers of a load are told in its place: with hundreds of routes this
    /// would be most of it.
    #[serde(skip)]
    pub latency: Vec<u64>,
}

/// Requests of one route by clients of one other site. They are counted in [`RouteLoad`] as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VisitorLoad {
    /// Requests that arrived.
    pub arrivals: u64,
    /// Of those, redirected or proxied to the cloud.
    pub left: u64,
}

/// The site's way out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UplinkLoad {
    /// Bytes that left the site.
    pub bytes: u64,
    /// Segments dropped because the queue was full, each sent again later.
    pub drops: u64,
    /// Connections given up after repeated drops.
    pub resets: u64,
    /// Bytes waiting now. A gauge.
    pub queued_bytes: u64,
    /// Connections open now. A gauge.
    pub connections: u64,
}

/// The cloud's functions, summed over functions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FunctionsLoad {
    /// Invocations that ended.
    pub invocations: u64,
    /// Wall time of those, in microseconds, cold starts not counted.
    pub duration_us: u64,
    /// Environments ever started.
    pub started: u64,
    /// Requests refused for want of an environment.
    pub throttled: u64,
    /// Environments alive now, starting ones included. A gauge.
    pub environments: u64,
    /// Environments at work now. A gauge.
    pub busy: u64,
    /// Most environments that may be alive. A gauge.
    pub environments_max: u64,
    /// Environments that could be started at once now. A gauge.
    pub burst_left: u64,
    /// Environments that may be started additionally each second. A gauge.
    pub burst_per_sec: f64,
    /// Time from the wish for a new environment to its first answer, in milliseconds. A gauge.
    pub cold_start_ms: f64,
}

/// A name server's answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsLoad {
    /// Queries that arrived.
    pub queries: u64,
    /// Steered answers that named the site.
    pub to_site: u64,
    /// Steered answers that named the cloud.
    pub to_cloud: u64,
    /// Packets that were no query (dropped or answered FORMERR).
    pub malformed: u64,
}

/// What there is of a plan's [`crate::plan::Fleet`], as last heard from the cloud. All are gauges.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetLoad {
    /// When the cloud last said all of this. The numbers are of then, however new the report is.
    pub seen_at: UnixMillis,
    /// Gateways that run or are starting; those that are draining are not counted.
    pub gateways_launched: u32,
    /// Those of them that the load balancer's health checks pass.
    pub gateways_healthy: u32,
    /// Gateways that take nothing new and are about to end.
    pub gateways_draining: u32,
    /// Percent of the cloud's requests that the load balancer gives to gateways now: the largest of
    /// its rules.
    pub gateway_percent: u8,
    /// Warm environments at hand, by function.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub provisioned_ready: BTreeMap<String, u32>,
    /// Capacity units that the load balancer holds ready, reserved ones only.
    #[serde(skip_serializing_if = "is_zero")]
    pub capacity_units: u32,
    /// Replicas of each shard of the cache, those that Terraform made among them.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_replicas: u32,
    /// Replicas that were added to the database and serve.
    #[serde(skip_serializing_if = "is_zero")]
    pub database_replicas: u32,
    /// What the account has cost this month, where that is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spend: Option<Spend>,
    /// What is not as it should be, and what to do about it, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What an account has cost since the month began, as it estimates itself some times a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spend {
    /// US dollars.
    pub usd: f64,
    /// When that was estimated.
    pub at: UnixMillis,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// One upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamLoad {
    /// Whether it is given requests: its health check passes, it can be connected to, and it answers
    /// what it is given.
    pub healthy: bool,
    /// Connections or requests in flight now. A gauge.
    pub active: u64,
    /// Attempts that failed.
    pub failures: u64,
}

impl RouteLoad {
    /// What happened between an `earlier` reading and this one; saturates at zero.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let minus = |a: u64, b: u64| a.saturating_sub(b);
        Self {
            arrivals: minus(self.arrivals, earlier.arrivals),
            served: minus(self.served, earlier.served),
            redirected: minus(self.redirected, earlier.redirected),
            proxied: minus(self.proxied, earlier.proxied),
            displaced: minus(self.displaced, earlier.displaced),
            shed: minus(self.shed, earlier.shed),
            failed: minus(self.failed, earlier.failed),
            response_bytes: minus(self.response_bytes, earlier.response_bytes),
            served_bytes: minus(self.served_bytes, earlier.served_bytes),
            latency: self
                .latency
                .iter()
                .enumerate()
                .map(|(i, n)| minus(*n, earlier.latency.get(i).copied().unwrap_or(0)))
                .collect(),
        }
    }

    /// Adds another reading to this one, bucket by bucket.
    pub fn add(&mut self, other: &Self) {
        self.arrivals += other.arrivals;
        self.served += other.served;
        self.redirected += other.redirected;
        self.proxied += other.proxied;
        self.displaced += other.displaced;
        self.shed += other.shed;
        self.failed += other.failed;
        self.response_bytes += other.response_bytes;
        self.served_bytes += other.served_bytes;
        add_buckets(&mut self.latency, &other.latency);
    }
}

fn add_buckets(sum: &mut Vec<u64>, more: &[u64]) {
    if sum.len() < more.len() {
        sum.resize(more.len(), 0);
    }
    for (sum, n) in sum.iter_mut().zip(more) {
        *sum += n;
    }
}
