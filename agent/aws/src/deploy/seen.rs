//! What AWS was seen to have of the functions that are deployed. It is the only state that a deployment
//! has: one that was killed goes on from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use spillway_model::UnixMillis;

use super::package::Architecture;

/// One look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// When.
    pub at: UnixMillis,
    /// By the configuration's name.
    pub functions: BTreeMap<String, Function>,
    /// The site set's alarms that are on, and since when; `None` when CloudWatch could not be read.
    pub alarms: Option<BTreeMap<String, UnixMillis>>,
    /// How versions do, by function; `None` when CloudWatch could not be read.
    pub figures: Option<BTreeMap<String, Figures>>,
}

/// A function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its machine.
    pub architecture: Architecture,
    /// Digest of the code that a new version would have.
    pub sha: String,
    /// Whether that code can be published.
    pub readiness: Readiness,
    /// Its revision, by which another's upload is noticed.
    pub revision: String,
    /// The alias that requests come by.
    pub alias: Alias,
    /// The version that served before the last deployment, which `rollback` goes back to. An alias of its
    /// own remembers it.
    pub before: Option<u32>,
    /// What that alias also says until the deployment has ended that moved all requests away from it.
    pub moving: Option<Moving>,
    /// All published versions, and when each was.
    pub versions: BTreeMap<u32, UnixMillis>,
    /// Versions that any alias points to or weighs: they are never deleted.
    pub held: BTreeSet<u32>,
    /// Environments that are kept warm on the alias. AWS takes no weights beside them.
    pub warm: u32,
}

impl Function {
    /// Whether all requests were moved by a deployment that has not ended.
    #[must_use]
    pub(crate) fn is_unsettled(&self) -> bool {
        self.moving.is_some() && self.before.is_some_and(|before| before != self.alias.version)
    }

    /// The version that served before the one that the alias points to. Where requests have not been
    /// moved yet, or are back, the alias that remembers is one ahead.
    #[must_use]
    pub(crate) fn earlier(&self) -> Option<u32> {
        match self.moving {
            Some(moving) if self.before == Some(self.alias.version) => moving.after,
            _ => self.before,
        }
    }
}

/// A move of all requests that is still watched. It is kept as text: `moving since TIME, after VERSION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Moving {
    /// Since when.
    pub since: UnixMillis,
    /// The version that had served before the one that is remembered.
    pub after: Option<u32>,
}

impl Moving {
    const BEGINS: &str = "moving since ";

    /// Reads it; other texts say that nothing is moving.
    #[must_use]
    pub(crate) fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix(Self::BEGINS)?;
        let (since, after) = match text.split_once(", after ") {
            Some((since, after)) => (since, Some(after.parse().ok()?)),
            None => (text, None),
        };
        Some(Self { since: spillway_alarm::moment(since)?, after })
    }
}

impl fmt::Display for Moving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::BEGINS, self.since)?;
        self.after.map_or(Ok(()), |after| write!(f, ", after {after}"))
    }
}

/// Whether code can be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It can.
    Ready,
    /// Lambda is still taking it.
    Busy,
    /// Lambda could not take it, for this reason.
    Failed(String),
}

/// Where an alias leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alias {
    /// The version that has what is not given to another.
    pub version: u32,
    /// Another version, and the percentage of requests that it is given.
    pub weighed: Option<(u32, u8)>,
    /// Changes with each change, so that another's is noticed.
    pub revision: String,
}

impl Alias {
    /// The percentage of requests that a version is given.
    #[must_use]
    pub(crate) fn percent(&self, version: u32) -> u8 {
        match self.weighed {
            Some((other, percent)) if other == version => percent,
            Some((_, percent)) if self.version == version => 100_u8.saturating_sub(percent),
            None if self.version == version => 100,
            _ => 0,
        }
    }
}

/// How the new version of a function does, and the old one.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// The version that served before: since the canary began, and for some minutes before.
    pub old: Sums,
    /// The version that is deployed.
    pub new: Sums,
    /// All of the alias in the minutes before the canary: invocations and throttles.
    pub before: (f64, f64),
    /// All of the alias since then.
    pub since: (f64, f64),
    /// What the load balancer had of all functions in the minutes before the canary, where it is known:
    /// requests, and those that were answered 5xx. To Lambda an answer is an answer.
    pub answers_before: (f64, f64),
    /// The same since then.
    pub answers_since: (f64, f64),
    /// End of the last minute that shows invocations of the new version.
    pub shown_until: Option<UnixMillis>,
}

/// Sums over minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Sums {
    /// Invocations, those that failed included.
    pub invocations: f64,
    /// Those that failed.
    pub errors: f64,
    /// The 95th percentile of a minute's durations in milliseconds, in the mean of all invocations.
    pub p95_ms: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_moving_is_read_as_it_was_written() {
        let since = UnixMillis(1_764_495_062_123);
        for after in [None, Some(7)] {
            let moving = Moving { since, after };
            assert_eq!(Moving::read(&moving.to_string()), Some(moving), "{moving}");
        }
        for other in
            ["", "moving", "moving since now", "moving since 2026-11-30T09:31:02.123Z, after x"]
        {
            assert_eq!(Moving::read(other), None, "{other}");
        }
    }
}
