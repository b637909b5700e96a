//! What the cloud can take within the lead time of a spill.
//!
//! An environment serves one request at a time. Within `h` seconds there are those alive, those that
//! may start at once, and those that the refill of the burst lets start early enough to be warm.
//!
//! ```text
//!            its side is silent and every gateway's check of it fails, 3 ticks in a row
//! answers ──────────────────────────────────────────────────────────────────────────────▶ dead
//!         ◀──────────────────────────────────────────────────────────────────────────────
//!            its side is heard or some gateway's check passes, 3 ticks in a row
//! ```

use serde::{Deserialize, Serialize};
use spillway_model::UnixMillis;
use spillway_model::api::CloudStatus;
use spillway_model::load::Part;

use crate::Observation;
use crate::forecast::weight;
use crate::observe::CloudSense;
use crate::policy::Policy;

/// Environments are to be busy for at most this part of the time, for requests come in clumps.
const BUSY_MAX: f64 = 0.7;
/// Duration of a request until it is measured, in seconds.
const DURATION_PRIOR_SECS: f64 = 0.02;
const INVOCATIONS_TO_TRUST: f64 = 100.0;
/// A limit is believed for this long after the cloud's side was last heard of.
const LIMIT_VALID_MS: u64 = 10_000;
/// The rate that was served once is forgotten over this time.
const PROVEN_SECS: f64 = 120.0;
/// After refusals the ceiling rises each second by this part of itself, and of the nominal limit.
const RECOVERY_SELF: f64 = 0.05;
const RECOVERY_NOMINAL: f64 = 0.005;
/// Ticks in a row that must speak against what is believed, that the cloud answers or that it is dead.
const TICKS: u32 = 3;

/// What is known of the cloud's side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CloudState {
    duration_secs: f64,
    /// Requests per second it refused at last, and what has been tried since.
    ceiling: Option<f64>,
    /// Most it has served lately.
    proven: f64,
    /// The last limit, and when it was found.
    limit: Option<(UnixMillis, f64)>,
    /// Since when it is dead.
    #[serde(default)]
    dead_since: Option<UnixMillis>,
    /// Ticks in a row that spoke against its being so, or not being so.
    #[serde(default)]
    against: u32,
    pub(crate) status: CloudStatus,
}

impl Default for CloudState {
    fn default() -> Self {
        Self {
            duration_secs: DURATION_PRIOR_SECS,
            ceiling: None,
            proven: 0.0,
            limit: None,
            dead_since: None,
            against: 0,
            status: CloudStatus::default(),
        }
    }
}

/// Who has an answer of the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It has not been found to be otherwise.
    Answers,
    /// Its own side is heard, but no gateway's check of it passes. Clients have a way of their own.
    NotGateways,
    /// Nobody.
    Dead,
}

/// Signs of life of the cloud in one tick.
struct Signs {
    /// Its own side reports.
    heard: bool,
    /// Whether some gateway's check of it passes; `None` when no gateway that checks it was heard.
    checks: Option<bool>,
}

impl Signs {
    fn of(policy: &Policy, observation: &Observation) -> Self {
        let at = observation.at;
        let of_part = |part: Part| {
            observation.loads.iter().filter(move |load| {
                load.part == part && at.millis_since(load.at) <= policy.stale_ms()
            })
        };
        let names = &policy.cloud_upstreams;
        let checks = of_part(Part::Gateway)
            .flat_map(|load| names.iter().filter_map(|name| load.upstreams.get(name)))
            .map(|upstream| upstream.healthy);
        Self {
            heard: of_part(Part::Cloud).next().is_some(),
            checks: checks.reduce(|some, healthy| some || healthy),
        }
    }

    /// Whether it is alive; `None` when there is no sign of either.
    fn alive(&self) -> Option<bool> {
        if self.heard { Some(true) } else { self.checks }
    }
}

/// The most that may be spilled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limit {
    /// Requests per second; infinite where nothing limits.
    pub(crate) requests: f64,
    /// The present share may be kept whatever the limit, because the limit is a guess.
    pub(crate) keeps: bool,
    pub(crate) reach: Reach,
    /// Where the limit comes from.
    pub(crate) why: String,
}

impl Limit {
    pub(crate) fn dead(&self) -> bool {
        self.reach == Reach::Dead
    }
}

impl CloudState {
    /// Takes in one tick and says what the cloud can take.
    pub(crate) fn limit(
        &mut self,
        policy: &Policy,
        sense: &Result<CloudSense, String>,
        observation: &Observation,
    ) -> Limit {
        let at = observation.at;
        let signs = Signs::of(policy, observation);
        self.believe(&signs, at);
        let mut limit = match sense {
            Ok(sense) => self.known(policy, sense, at),
            Err(why) => self.unknown(policy, why, at),
        };
        if self.dead_since.is_some() {
            self.status = CloudStatus {
                environments_max: self.status.environments_max,
                ..CloudStatus::default()
            };
            return Limit {
                requests: 0.0,
                keeps: false,
                reach: Reach::Dead,
                why: "nothing: neither its side nor any gateway's check of it answers".to_owned(),
            };
        }
        if signs.heard && signs.checks == Some(false) {
            limit.reach = Reach::NotGateways;
        }
        limit
    }

    /// A tick without a sign speaks neither for nor against.
    fn believe(&mut self, signs: &Signs, at: UnixMillis) {
        let dead = self.dead_since.is_some();
        self.against = if signs.alive() == Some(dead) { self.against + 1 } else { 0 };
        if self.against >= TICKS {
            self.dead_since = (!dead).then_some(at);
            self.against = 0;
        }
    }

    /// For how long it has been dead, in seconds.
    pub(crate) fn dead_secs(&self, at: UnixMillis) -> Option<f64> {
        self.dead_since.map(|since| at.millis_since(since) as f64 / 1000.0)
    }

    fn known(&mut self, policy: &Policy, sense: &CloudSense, at: UnixMillis) -> Limit {
        if sense.invocations > 0 {
            let invocations = sense.invocations as f64;
            let seen = sense.duration_us as f64 / invocations / 1e6;
            let gain = weight(invocations, INVOCATIONS_TO_TRUST).min(0.3);
            self.duration_secs += gain * (seen.max(1e-4) - self.duration_secs);
        }
        let served: f64 = sense.routes.iter().map(|counts| counts.served).sum();
        let f = &sense.functions;
        let early = (policy.redirect_horizon_secs() - f.cold_start_ms.max(0.0) / 1000.0).max(0.0);
        let startable = f.burst_left as f64 + f.burst_per_sec.max(0.0) * early;
        let environments = (f.environments as f64 + startable).min(f.environments_max as f64);
        let nominal = environments * BUSY_MAX / self.duration_secs;
        if sense.throttled_per_sec > 0.0 {
            let ceiling = self.ceiling.unwrap_or(f64::INFINITY).min(served).max(1.0);
            self.ceiling = Some(ceiling);
        } else if let Some(ceiling) = self.ceiling {
            let raised =
                ceiling + sense.secs * (RECOVERY_SELF * ceiling + RECOVERY_NOMINAL * nominal);
            self.ceiling = (raised < nominal).then_some(raised);
        }
        let forgotten = self.proven * (1.0 - weight(sense.secs, PROVEN_SECS));
        self.proven = if sense.throttled_per_sec > 0.0 { forgotten } else { forgotten.max(served) };
        let requests = self.ceiling.map_or(nominal, |ceiling| ceiling.min(nominal));
        self.limit = Some((at, requests));
        self.status = CloudStatus {
            requests_per_sec: served,
            environments: f.environments,
            environments_max: f.environments_max,
            throttled_per_sec: sense.throttled_per_sec,
            fleet: None,
            budget: None,
        };
        let why = if self.ceiling.is_some() {
            format!(
                "{requests:.0} requests/s, for it refused {:.1}/s and is tried again slowly",
                sense.throttled_per_sec
            )
        } else {
            format!(
                "{requests:.0} requests/s: {environments:.0} environments of {:.1} ms within {:.1} s",
                self.duration_secs * 1000.0,
                policy.redirect_horizon_secs()
            )
        };
        Limit { requests, keeps: false, reach: Reach::Answers, why }
    }

    /// No data is not zero, and not plenty: what was found lately holds for a while; after that no
    /// more is spilled than it has proven to serve, and what is spilled stays.
    fn unknown(&self, policy: &Policy, why: &str, at: UnixMillis) -> Limit {
        match self.limit {
            None if !policy.cloud_reports => Limit {
                requests: f64::INFINITY,
                keeps: true,
                reach: Reach::Answers,
                why: "no limit, for its side reports none".to_owned(),
            },
            Some((then, requests)) if then <= at && at.millis_since(then) <= LIMIT_VALID_MS => {
                Limit {
                    requests,
                    keeps: true,
                    reach: Reach::Answers,
                    why: format!("{requests:.0} requests/s as last heard ({why})"),
                }
            }
            _ => Limit {
                requests: self.proven,
                keeps: true,
                reach: Reach::Answers,
                why: format!("{:.0} requests/s, which it has proven to serve ({why})", self.proven),
            },
        }
    }

    /// After a restart: limits and rates are of another time, the duration of a request is not.
    pub(crate) fn forget_present(&mut self) {
        *self = Self { duration_secs: self.duration_secs, ..Self::default() };
    }
}
