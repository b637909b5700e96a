//! What came of a storm.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spillway_model::{SiteId, Tier, UnixMillis};

use crate::cohort::Move;
use crate::outcome::Failures;

/// What came of a storm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When the first second began.
    pub started_at: UnixMillis,
    /// The profile in words.
    pub profile: String,
    /// Size of the population.
    pub clients: u32,
    /// Seed of all that was drawn by chance.
    pub seed: u64,
    /// The mix of operations.
    pub mix: String,
    /// Whether the storm was ended before its profile was.
    pub interrupted: bool,
    /// Second by second. A request belongs to the second in which it was meant to start.
    pub seconds: Vec<Second>,
    /// In all.
    pub totals: Totals,
    /// Every client's first side and changes of side, in the order of sending.
    pub moves: Vec<Move>,
    /// Moves beyond the millionth, which are not kept.
    pub moves_dropped: u64,
    /// The share of each site as the agent's status said, with the times at which it was seen to
    /// change: at most a second late, so allow for that in [`crate::check_cohorts`].
    pub shares: BTreeMap<SiteId, Vec<(UnixMillis, f64)>>,
}

/// One second. `arrivals = ok + refused + failed`, less requests still under way at an interruption.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Whole seconds since the start.
    pub t: u32,
    /// Requests that the profile expects.
    pub wanted: f64,
    /// Requests that the schedule had.
    pub arrivals: u64,
    /// Of those, sent (all but overruns).
    pub sent: u64,
    /// Answered 2xx or 3xx in time.
    pub ok: u64,
    /// Of `ok`: answered with less because a knob is on (`x-spillway-knob`).
    pub degraded: u64,
    /// Refused with 503 by a knob, on purpose.
    pub refused: u64,
    /// Failed.
    pub failed: u64,
    /// Failed, by kind.
    pub failures: Failures,
    /// Of `ok`: served by a site.
    pub site: u64,
    /// Of `ok`: served by the cloud.
    pub cloud: u64,
    /// Median latency in milliseconds of answers, and of timeouts at the deadline.
    pub p50_ms: Option<f64>,
    /// The 99th percentile of that.
    pub p99_ms: Option<f64>,
    /// Bits per second that left all sites, by their balancers.
    pub uplink_bits_per_sec: Option<f64>,
    /// What may leave all sites, by the configuration.
    pub uplink_cap_bits_per_sec: f64,
    /// The highest share of any site in the agent's status.
    pub share: Option<f64>,
    /// The tier in the agent's status.
    pub tier: Option<Tier>,
    /// The generation in the agent's status.
    pub generation: Option<u64>,
}

/// Latency in milliseconds from the intended start to the answer's last byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many are counted.
    pub count: u64,
    /// Half are faster.
    pub p50_ms: f64,
    /// 95 % are faster.
    pub p95_ms: f64,
    /// 99 % are faster.
    pub p99_ms: f64,
    /// 99.9 % are faster.
    pub p999_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// The whole storm.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Requests that the schedule had.
    pub arrivals: u64,
    /// Of those, sent.
    pub sent: u64,
    /// Answered 2xx or 3xx in time.
    pub ok: u64,
    /// Of `ok`: answered with less because a knob is on (`x-spillway-knob`).
    pub degraded: u64,
    /// Refused with 503 by a knob, on purpose.
    pub refused: u64,
    /// Failed.
    pub failed: u64,
    /// Failed, by kind.
    pub failures: Failures,
    /// Sent, but under way when an interrupted storm ended.
    pub abandoned: u64,
    /// Of `ok`, by who served: a site's id, `cloud`, or `elsewhere`.
    pub served: BTreeMap<String, u64>,
    /// Answers by the function that gave them (`x-spillway-function`).
    pub functions: BTreeMap<String, u64>,
    /// 307 that were followed.
    pub redirects: u64,
    /// Names looked up.
    pub lookups: u64,
    /// Connections opened.
    pub connections: u64,
    /// Requests sent again because a kept connection had been closed meanwhile.
    pub retries: u64,
    /// Bytes of answers' bodies.
    pub body_bytes: u64,
    /// Of all answers; timeouts count at the deadline.
    pub latency: Latency,
    /// Of answers by a site.
    pub latency_site: Latency,
    /// Of answers by the cloud.
    pub latency_cloud: Latency,
    /// Most that a request started late, in milliseconds; latency includes it.
    pub late_ms_max: f64,
    /// Bytes that left the sites meanwhile, by their balancers; `None` when none could be read.
    pub uplink_bytes: Option<u64>,
    /// When the first answer by the cloud began.
    pub first_cloud_at: Option<UnixMillis>,
}

impl Totals {
    /// Failed requests as a fraction of arrivals; zero when there were none.
    #[must_use]
    pub fn failed_fraction(&self) -> f64 {
        fraction(self.failed, self.arrivals)
    }

    /// Part of the good answers that the cloud gave; zero when there were none.
    #[must_use]
    pub fn cloud_fraction(&self) -> f64 {
        fraction(self.served.get("cloud").copied().unwrap_or(0), self.ok)
    }
}

pub(crate) fn fraction(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}
