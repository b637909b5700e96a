//! What each kind of an operator's order says, and whether it makes sense.

use std::ops::RangeInclusive;

use spillway_model::UnixMillis;
use spillway_model::api::{
    EventOrder, FACTOR_MAX, GatewaysOrder, KnobOrder, ModeOrder, ShareOrder, TierOrder,
};

/// Factors that an event may have: one of less than 1 would announce that fewer come, which is no reason
/// to make anything ready.
const FACTORS: RangeInclusive<f64> = 1.0..=FACTOR_MAX;

/// What every order of an operator has.
pub(crate) trait Terms {
    /// How long it holds, in seconds.
    fn for_secs(&self) -> u64;

    /// Who gives it and why.
    fn by(&self) -> &str;

    /// What it does. `subject` is what it is about, as in the journal.
    fn what(&self, subject: &str) -> String;

    /// The order as JSON, for the journal.
    fn body(&self) -> Result<String, serde_json::Error>;

    /// When it ends, given at `now`.
    fn until(&self, now: UnixMillis) -> UnixMillis {
        now.plus_secs(self.for_secs())
    }

    /// What else is wrong with it.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Terms for TierOrder {
    fn for_secs(&self) -> u64 {
        self.for_secs
    }

    fn by(&self) -> &str {
        &self.by
    }

    fn what(&self, _subject: &str) -> String {
        format!("at least tier {}", self.tier)
    }

    fn body(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

impl Terms for KnobOrder {
    fn for_secs(&self) -> u64 {
        self.for_secs
    }

    fn by(&self) -> &str {
        &self.by
    }

    fn what(&self, subject: &str) -> String {
        format!("{subject} {}", if self.on { "on" } else { "held off" })
    }

    fn body(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

impl Terms for ShareOrder {
    fn for_secs(&self) -> u64 {
        self.for_secs
    }

    fn by(&self) -> &str {
        &self.by
    }

    fn what(&self, subject: &str) -> String {
        format!("{subject} {} {}", self.bound, self.share)
    }

    fn body(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

impl Terms for GatewaysOrder {
    fn for_secs(&self) -> u64 {
        self.for_secs
    }

    fn by(&self) -> &str {
        &self.by
    }

    fn what(&self, subject: &str) -> String {
        format!("{} {} cloud {subject}", self.bound, self.gateways)
    }

    fn body(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

impl Terms for ModeOrder {
    fn for_secs(&self) -> u64 {
        self.for_secs
    }

    fn by(&self) -> &str {
        &self.by
    }

    fn what(&self, subject: &str) -> String {
        format!("{subject} {}", self.mode)
    }

    fn body(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

impl Terms for EventOrder {
    fn for_secs(&self) -> u64 {
        self.for_secs
    }

    fn by(&self) -> &str {
        &self.by
    }

    fn what(&self, subject: &str) -> String {
        let site = self.site.as_ref().map_or_else(String::new, |site| format!(" at {site}"));
        format!("{subject}: {} times the usual demand{site} from {}", self.factor, self.at)
    }

    fn body(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    fn until(&self, _now: UnixMillis) -> UnixMillis {
        EventOrder::until(self)
    }

    fn check(&self) -> Result<(), String> {
        if FACTORS.contains(&self.factor) {
            return Ok(());
        }
        Err(format!(
            "`factor` is {}, but it is how many times the usual demand comes: write 1 to {FACTOR_MAX}",
            self.factor
        ))
    }
}
