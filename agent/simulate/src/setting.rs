//! The world's numbers.

use std::collections::BTreeMap;

/// What there is at home and in the cloud, how fast it comes, and what it costs.
///
/// One request is one unit of load. A server, at home or on EC2, is a processor that all its requests
/// share; its `server_qps` is the load at which the 95th percentile of latency is at its limit. The site
/// is [`Setting::site_servers`] such servers, which cost nothing more and cannot be given back.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Servers at home.
    pub site_servers: u32,
    /// Requests per second that fill one server to its limit.
    pub server_qps: f64,
    /// The part of a server's processor that is busy then.
    pub busy_at_limit: f64,
    /// 95th percentile of latency on an idle server, in milliseconds. With shared processors it is this
    /// over the idle part (Kleinrock, Queueing Systems II, 1976, section 4.4), here 400 ms at the limit.
    pub idle_p95_ms: f64,
    /// Who has not been served for so many seconds fails.
    pub patience_secs: f64,
    /// The uplink, in units of what the site's answers need at its limit.
    pub uplink: f64,
    /// Bytes of an answer, of a 307, and of a 503.
    pub answer_bytes: f64,
    /// See above.
    pub redirect_bytes: f64,
    /// See above.
    pub shed_bytes: f64,
    /// Bytes that a request in the cloud brings back over the uplink, asking cache and database at home.
    pub backhaul_bytes: f64,
    /// What may wait for the uplink, in bytes, before segments are dropped.
    pub uplink_queue_bytes: f64,
    /// Time to live of DNS answers, which resolvers keep to.
    pub dns_ttl_secs: u32,
    /// Most servers on EC2.
    pub ec2_max: u32,
    /// Seconds from an instance's launch until it serves: each is drawn evenly from these.
    pub boot_secs: (u64, u64),
    /// Price of an EC2 server, in dollars an hour, from its launch on: a c7g.large on demand
    /// (<https://aws.amazon.com/ec2/pricing/on-demand/>, us-east-1).
    pub ec2_usd_per_hour: f64,
    /// Least seconds that are billed.
    pub ec2_secs_min: u64,
    /// The functions.
    pub functions: Functions,
    /// What `[agent]` of Spillway's configuration sets, by name, and `[cloud.budget]` by `budget.` and the
    /// name; the rest has its defaults.
    pub agent: BTreeMap<String, f64>,
}

/// What Lambda gives and takes
/// (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html>,
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>,
/// <https://aws.amazon.com/lambda/pricing/>).
#[derive(Debug, Clone, PartialEq)]
pub struct Functions {
    /// How long a request takes.
    pub request_secs: f64,
    /// Environments alive at once: the account's default.
    pub environments_max: f64,
    /// New environments in ten seconds, of one function; refilled continuously.
    pub burst: f64,
    /// Requests per second for each of the account's environments.
    pub requests_each: f64,
    /// An environment that nothing needs ends after so long.
    pub idle_secs: f64,
    /// Time until a new environment answers.
    pub cold_start_ms: f64,
    /// Price of a request of `request_secs` at 256 MB on arm64, in dollars.
    pub usd_per_request: f64,
}

impl Setting {
    /// The usual world, for demand of at most `peak` times the site's capacity.
    #[must_use]
    pub fn for_peak(peak: f64) -> Self {
        let setting = Self::default();
        // Twice what all of the peak would need.
        let most = 2.0 * peak.clamp(1.0, 1e5) * f64::from(setting.site_servers);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 1 to a few millions by the clamp"
        )]
        let ec2_max = most.ceil() as u32;
        Self { ec2_max, ..setting }
    }

    /// Requests per second that the site serves within its limit.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        f64::from(self.site_servers) * self.server_qps
    }

    /// Requests per second that a server can serve at all.
    pub(crate) fn server_most(&self) -> f64 {
        self.server_qps / self.busy_at_limit
    }

    /// The limit of the 95th percentile of latency.
    pub(crate) fn p95_limit_ms(&self) -> f64 {
        self.idle_p95_ms / (1.0 - self.busy_at_limit)
    }

    /// Bytes per second that the uplink carries.
    pub(crate) fn uplink_bytes(&self) -> f64 {
        self.uplink * self.capacity() * self.answer_bytes
    }

    pub(crate) fn ec2_usd_per_sec(&self) -> f64 {
        self.ec2_usd_per_hour / 3600.0
    }

    /// Seconds that a server is billed for before it serves, in the mean.
    pub(crate) fn boot_mean_secs(&self) -> f64 {
        f64::midpoint(self.boot_secs.0 as f64, self.boot_secs.1 as f64)
    }
}

impl Functions {
    /// Most requests per second.
    pub(crate) fn most(&self) -> f64 {
        self.environments_max * self.requests_each.min(1.0 / self.request_secs)
    }
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            site_servers: 10,
            server_qps: 150.0,
            busy_at_limit: 0.85,
            idle_p95_ms: 60.0,
            patience_secs: 5.0,
            uplink: 1.5,
            answer_bytes: 7000.0,
            redirect_bytes: 350.0,
            shed_bytes: 300.0,
            backhaul_bytes: 0.0,
            uplink_queue_bytes: 3e6,
            dns_ttl_secs: 5,
            ec2_max: 80,
            boot_secs: (25, 90),
            ec2_usd_per_hour: 0.0725,
            ec2_secs_min: 60,
            functions: Functions {
                request_secs: 0.1,
                environments_max: 1000.0,
                burst: 1000.0,
                requests_each: 10.0,
                idle_secs: 300.0,
                cold_start_ms: 150.0,
                // 0.25 GB for 0.1 s at 0.0000133334 dollars a GB-second, and 0.20 a million requests.
                usd_per_request: 0.25 * 0.1 * 0.000_013_333_4 + 0.20e-6,
            },
            agent: BTreeMap::new(),
        }
    }
}
