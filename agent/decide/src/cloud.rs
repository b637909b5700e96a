//! What the cloud can take within the lead time of a spill.
//!
//! An environment serves one request at a time. Within `h` seconds there are those alive, those that
//! may start at once, and those that the refill of the burst lets start early enough to be warm.

use serde::{Deserialize, Serialize};
use spillway_model::UnixMillis;
use spillway_model::api::CloudStatus;

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
    pub(crate) status: CloudStatus,
}

impl Default for CloudState {
    fn default() -> Self {
        Self {
            duration_secs: DURATION_PRIOR_SECS,
            ceiling: None,
            proven: 0.0,
            limit: None,
            status: CloudStatus::default(),
        }
    }
}

/// The most that may be spilled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limit {
    /// Requests per second; infinite where nothing limits.
    pub(crate) requests: f64,
    /// The present share may be kept whatever the limit, because the limit is a guess.
    pub(crate) keeps: bool,
    /// Where the limit comes from.
    pub(crate) why: String,
}

impl CloudState {
    /// Takes in one tick and says what the cloud can take.
    pub(crate) fn limit(
        &mut self,
        policy: &Policy,
        sense: &Result<CloudSense, String>,
        at: UnixMillis,
    ) -> Limit {
        match sense {
            Ok(sense) => self.known(policy, sense, at),
            Err(why) => self.unknown(policy, why, at),
        }
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
        Limit { requests, keeps: false, why }
    }

    /// No data is not zero, and not plenty: what was found lately holds for a while; after that no
    /// more is spilled than it has proven to serve, and what is spilled stays.
    fn unknown(&self, policy: &Policy, why: &str, at: UnixMillis) -> Limit {
        match self.limit {
            None if !policy.cloud_reports => Limit {
                requests: f64::INFINITY,
                keeps: true,
                why: "no limit, for its side reports none".to_owned(),
            },
            Some((then, requests)) if then <= at && at.millis_since(then) <= LIMIT_VALID_MS => {
                Limit {
                    requests,
                    keeps: true,
                    why: format!("{requests:.0} requests/s as last heard ({why})"),
                }
            }
            _ => Limit {
                requests: self.proven,
                keeps: true,
                why: format!("{:.0} requests/s, which it has proven to serve ({why})", self.proven),
            },
        }
    }

    /// After a restart: limits and rates are of another time, the duration of a request is not.
    pub(crate) fn forget_present(&mut self) {
        *self = Self { duration_secs: self.duration_secs, ..Self::default() };
    }
}
