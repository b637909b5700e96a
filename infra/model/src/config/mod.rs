//! The configuration: one TOML file per site set, the same for all parts.
//!
//! [`Config::parse`] either gives a configuration in which every reference resolves, or every
//! [`Problem`] it found with line and column. A [`Draft`] is the step before: what could be read of a
//! file with mistakes. Paths in the file are relative to the file.

mod aws;
mod budget;
mod check;
mod edit;
mod read;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::calendar::{Date, UtcOffset};
use crate::ids::{KnobId, RouteId, SiteId};
use crate::mode::Mode;
use crate::plan::{SpillMode, Tier};
use crate::rank::{Salt, Share};

pub use aws::{
    Aws, AwsAlarmEndpoint, AwsCapacity, AwsFunction, AwsGateways, AwsPrices, AwsProgram,
    AwsReplicas, AwsRule,
};
pub use budget::Budget;
pub use edit::{EditError, edited};
pub use read::{Draft, Problem, Problems};

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What clients ask for.
    pub service: Service,
    /// How plans are made out and kept.
    pub plan: PlanConfig,
    /// The authoritative name server.
    pub dns: Dns,
    /// The agent.
    pub agent: Agent,
    /// Where the reference service keeps its data.
    pub store: Store,
    /// The private data centres. At least one.
    #[serde(rename = "site")]
    pub sites: Vec<Site>,
    /// The public side.
    pub cloud: Cloud,
    /// What the gateways route. The first that matches in specificity (as `matchit` orders) wins.
    #[serde(rename = "route")]
    pub routes: Vec<Route>,
    /// The degradation flags.
    #[serde(rename = "knob", default)]
    pub knobs: Vec<Knob>,
    /// Folder of the file; relative paths start there.
    #[serde(skip)]
    pub base: PathBuf,
}

/// What clients ask for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The name that is steered, without a trailing dot.
    pub host: String,
    /// The cloud SLB's own name: where a 307 points.
    pub slb_host: String,
    /// The port that clients use at site and cloud alike.
    pub port: u16,
}

/// How plans are made out and kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanConfig {
    /// Key of the rank hash.
    pub salt: Salt,
    /// Folder for last plans, keys, journal and database.
    pub state_dir: PathBuf,
    /// How long a plan is good for; the agent renews it at a third of that.
    #[serde(default = "defaults::lease_secs")]
    pub lease_secs: u64,
    /// Redis servers that the agent keeps a copy of the plan in, each `redis://…` or `rediss://…`:
    /// functions in the cloud read it there.
    #[serde(default)]
    pub mirrors: Vec<String>,
}

/// The authoritative name server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// UDP and TCP.
    pub listen: SocketAddr,
    /// `/v1/load`, `/metrics`, `/healthz`.
    pub admin: SocketAddr,
    /// Master files (RFC 1035 §5). The origin is the owner of the SOA.
    pub zone_files: Vec<PathBuf>,
    /// Time to live of steered answers while nothing moves, in seconds.
    #[serde(default = "defaults::dns_ttl_secs")]
    pub ttl_secs: u32,
}

/// The agent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Its API.
    pub listen: SocketAddr,
    /// Where it runs: decided once each this many milliseconds.
    #[serde(default = "defaults::tick_ms")]
    pub tick_ms: u64,
    /// Fraction of the uplink's cap to fill at most: 1 / (1 + headroom).
    #[serde(default = "defaults::target")]
    pub uplink_target: Share,
    /// Fraction of the site's weighted QPS to use at most. Gateways keep to it from request to request, so
    /// that little room for chance is needed.
    #[serde(default = "defaults::compute_target")]
    pub compute_target: Share,
    /// A lower share must have sufficed for this long before the share is lowered.
    #[serde(default = "defaults::share_dwell_secs")]
    pub share_dwell_secs: u64,
    /// Most that the share is lowered by in one second, once it may be.
    #[serde(default = "defaults::share_step_down")]
    pub share_step_down: Share,
    /// Spilling must have been insufficient for this long before knobs are turned on.
    #[serde(default = "defaults::tier_rise_secs")]
    pub tier_rise_secs: u64,
    /// Home must have done without the last knob of a tier for this long before it is turned off, and
    /// without each of several for a part of it.
    #[serde(default = "defaults::tier_dwell_secs")]
    pub tier_dwell_secs: u64,
    /// Levers with a lead time are made ready for this quantile of what the season's forecast brings.
    #[serde(default = "defaults::forecast_quantile")]
    pub forecast_quantile: f64,
    /// Days that are not like their day of the week: the forecast takes each for a Sunday until it has seen
    /// what holidays are like.
    #[serde(default)]
    pub holidays: Vec<Date>,
    /// When holidays begin and end.
    #[serde(default)]
    pub utc_offset: UtcOffset,
    /// How long the journal keeps decisions, in hours.
    #[serde(default = "defaults::journal_hours")]
    pub journal_hours: u64,
    /// How far it acts on what it decides, where no order says otherwise.
    #[serde(default)]
    pub mode: Mode,
    /// The API of the agent that this one runs in shadow of, and whose plans it reasons from.
    #[serde(default)]
    pub beside: Option<SocketAddr>,
}

/// Where the reference service keeps its data.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Database URLs, one a shard: `sqlite:FILE` (a relative FILE lies in the state folder) or
    /// `postgres://…`. Users are placed by them: add at the end, never reorder.
    pub shards: Vec<String>,
    /// Database URLs of replicas, `postgres://…`: one a shard, empty for a shard without; or none at all.
    #[serde(default)]
    pub replicas: Vec<String>,
    /// `process`, `redis://…`, or `rediss://…` with TLS.
    #[serde(default = "defaults::cache")]
    pub cache: String,
}

/// One private data centre.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Its name.
    pub id: SiteId,
    /// What DNS answers for the site.
    pub vips: Vec<IpAddr>,
    /// A name of this site alone, which gateways of the sites that it helps send clients to.
    #[serde(default)]
    pub host: Option<String>,
    /// Sites that serve clients of this one before the cloud does, as far as they have room: the first one
    /// first.
    #[serde(default)]
    pub helped_by: Vec<SiteId>,
    /// Its way out.
    pub uplink: Uplink,
    /// What it can serve.
    pub capacity: Capacity,
    /// Its layer 4.
    pub balancer: Balancer,
    /// Its layer 7.
    #[serde(rename = "gateway")]
    pub gateways: Vec<Instance>,
    /// Instances of the service.
    #[serde(rename = "service")]
    pub services: Vec<ServiceInstance>,
}

/// A site's way out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// Its cap.
    pub bits_per_sec: u64,
    /// Most bytes that wait for it.
    #[serde(default = "defaults::queue_bytes")]
    pub queue_bytes: u64,
    /// Whether the balancer itself holds answers to the cap, as a rate-limited line would. Switch it
    /// off where there is a real line.
    #[serde(default)]
    pub shape: bool,
    /// Read bytes that left from this network interface instead of from the balancer.
    #[serde(default)]
    pub interface: Option<String>,
}

/// What a site can serve.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Weighted requests per second.
    pub weighted_qps: f64,
    /// Limit of the 95th percentile of latency, in milliseconds.
    pub p95_ms: f64,
}

/// A site's layer 4.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balancer {
    /// Where clients connect, on a VIP.
    pub listen: SocketAddr,
    /// `/v1/load`, `/metrics`, `/healthz`.
    pub admin: SocketAddr,
    /// The addresses from which the site's balancers connect to its gateways. When empty: that of
    /// `admin`, or 127.0.0.1 and ::1 when that is a loopback address. See [`Balancer::believed`].
    #[serde(default)]
    pub sources: Vec<IpAddr>,
    /// In place of this balancer the cloud's load balancer stands before the gateways: it says who the
    /// client is at the end of `X-Forwarded-For`, and nobody else reaches them.
    #[serde(default)]
    pub forwards: bool,
}

impl Balancer {
    /// Whether a gateway of the site believes a peer of this address what its PROXY header says of
    /// who the client is. Nobody else is believed: a client could name itself whom it likes.
    #[must_use]
    pub fn believed(&self, peer: IpAddr) -> bool {
        if self.forwards {
            return false;
        }
        let peer = peer.to_canonical();
        let own = self.admin.ip().to_canonical();
        match self.sources.as_slice() {
            // Over loopback, connections come from its first address, whatever others are in use.
            [] if own.is_loopback() => {
                [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].contains(&peer)
            }
            [] => own == peer,
            sources => sources.iter().any(|source| source.to_canonical() == peer),
        }
    }
}

/// One process of a kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Its name, unique in the file.
    pub name: String,
    /// Where it takes requests.
    pub listen: SocketAddr,
    /// `/v1/load`, `/metrics`, `/healthz`.
    pub admin: SocketAddr,
}

/// One process of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceInstance {
    /// Its name, unique in the file.
    pub name: String,
    /// Where it takes requests.
    pub listen: SocketAddr,
    /// `/v1/load`, `/metrics`, `/healthz`.
    pub admin: SocketAddr,
    /// The route groups it serves; all of them makes a monolith.
    pub groups: Vec<String>,
}

/// The public side.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cloud {
    /// What DNS answers for a spilled client.
    pub slb_addresses: Vec<IpAddr>,
    /// Bytes that a request in the cloud brings back over its site's uplink: what it asks of a cache or a
    /// database at home. 0 where the cloud has its own.
    #[serde(default)]
    pub backhaul_bytes: u64,
    /// Functions and the route groups each serves; all of them in one makes a monolith.
    #[serde(rename = "function")]
    pub functions: Vec<Function>,
    /// A cloud on this machine, for `spillway up`.
    pub local: Option<LocalCloud>,
    /// A cloud on AWS, which the agent scales.
    pub aws: Option<Aws>,
    /// What it may cost.
    pub budget: Option<Budget>,
}

/// One function.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The route groups it serves.
    pub groups: Vec<String>,
}

/// A cloud on this machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalCloud {
    /// Where its SLB listens, on one of `slb_addresses`.
    pub listen: SocketAddr,
    /// `/v1/load`, `/metrics`, `/healthz`.
    pub admin: SocketAddr,
    /// Delay put before the start of each new environment, in milliseconds.
    #[serde(default = "defaults::cold_start_ms")]
    pub cold_start_ms: u64,
    /// Most environments alive at once (the account's concurrency quota).
    #[serde(default = "defaults::environments")]
    pub environments_max: u64,
    /// New environments per 10 seconds and function, refilled continuously.
    #[serde(default = "defaults::environments")]
    pub burst_per_10s: u64,
    /// An environment idle for this long is ended, in seconds.
    #[serde(default = "defaults::idle_secs")]
    pub idle_secs: u64,
    /// Whether functions get and give every value of a header and parameter, as with the target
    /// groups of `terraform/modules/public`, or the last one, as is AWS's default.
    #[serde(default = "defaults::multi_value_headers")]
    pub multi_value_headers: bool,
}

/// One route.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name.
    pub id: RouteId,
    /// Path pattern: `/v1/codes/{user}`; a trailing `{*rest}` takes the rest.
    pub path: String,
    /// Host it applies to; any when absent.
    #[serde(default)]
    pub host: Option<String>,
    /// Method it applies to; any when absent.
    #[serde(default)]
    pub method: Option<String>,
    /// Route group of the service that serves it.
    pub group: String,
    /// Cost of one request, in weighted requests.
    #[serde(default = "defaults::weight")]
    pub weight: f64,
    /// Bytes of a usual answer, head included: a first guess until it is measured.
    #[serde(default = "defaults::response_bytes")]
    pub response_bytes: u64,
    /// From the request's head to the answer's end.
    #[serde(default = "defaults::deadline_ms")]
    pub deadline_ms: u64,
    /// Largest request body taken, in bytes.
    #[serde(default = "defaults::body_bytes_max")]
    pub body_bytes_max: u64,
    /// How a spilled request of this route may move; empty keeps it at home.
    #[serde(default = "defaults::spill")]
    pub spill: Vec<SpillMode>,
}

/// A degradation flag.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knob {
    /// Its name.
    pub id: KnobId,
    /// Its tier: 1, 2 or 3. It may be turned on once all knobs of the milder ones are.
    pub tier: Tier,
    /// Who answers for it.
    pub owner: String,
    /// What users see while it is on.
    pub users_see: String,
    /// Share of the site's bytes it releases, as declared by its owner.
    pub releases: Share,
    /// Routes that a gateway answers 503 with `Retry-After` while it is on.
    #[serde(default)]
    pub sheds: Vec<RouteId>,
}

impl Config {
    /// Reads a configuration; `base` is the folder of its file.
    ///
    /// # Errors
    /// All problems found, in the order of their place in the text.
    pub fn parse(text: &str, base: &Path) -> Result<Self, Problems> {
        Draft::read(text, base).finish()
    }

    /// A path of the file made absolute or relative to the working directory.
    #[must_use]
    pub fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// A path in the state folder.
    #[must_use]
    pub fn state_path(&self, name: &str) -> PathBuf {
        self.path(&self.plan.state_dir).join(name)
    }

    /// The site of an id.
    #[must_use]
    pub fn site(&self, id: &SiteId) -> Option<&Site> {
        self.sites.iter().find(|site| &site.id == id)
    }
}

mod defaults {
    use crate::plan::SpillMode;
    use crate::rank::Share;

    pub(super) fn lease_secs() -> u64 {
        30
    }
    pub(super) fn dns_ttl_secs() -> u32 {
        30
    }
    pub(super) fn tick_ms() -> u64 {
        1000
    }
    pub(super) fn target() -> Share {
        Share::clamped(0.8)
    }
    pub(super) fn compute_target() -> Share {
        Share::clamped(0.97)
    }
    pub(super) fn share_dwell_secs() -> u64 {
        60
    }
    pub(super) fn share_step_down() -> Share {
        Share::clamped(0.02)
    }
    pub(super) fn tier_rise_secs() -> u64 {
        3
    }
    pub(super) fn tier_dwell_secs() -> u64 {
        60
    }
    pub(super) fn forecast_quantile() -> f64 {
        0.95
    }
    pub(super) fn journal_hours() -> u64 {
        72
    }
    pub(super) fn cache() -> String {
        "process".to_owned()
    }
    pub(super) fn queue_bytes() -> u64 {
        256 * 1024
    }
    pub(super) fn cold_start_ms() -> u64 {
        150
    }
    pub(super) fn environments() -> u64 {
        1000
    }
    pub(super) fn idle_secs() -> u64 {
        300
    }
    pub(super) fn multi_value_headers() -> bool {
        true
    }
    pub(super) fn weight() -> f64 {
        1.0
    }
    pub(super) fn response_bytes() -> u64 {
        1024
    }
    pub(super) fn deadline_ms() -> u64 {
        5000
    }
    pub(super) fn body_bytes_max() -> u64 {
        64 * 1024
    }
    pub(super) fn spill() -> Vec<SpillMode> {
        vec![SpillMode::Redirect, SpillMode::Proxy]
    }
}
