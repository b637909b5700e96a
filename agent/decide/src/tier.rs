//! Tiers: degraded only when spilling cannot suffice, one step at a time, and restored the same way.
//!
//! ```text
//!            short for tier_rise_secs             short for tier_rise_secs
//!   0 normal ───────────────────────▶ 1 invisible ─────────▶ 2 visible ─────────▶ 3 severe
//!            ◀───────────────────────             ◀─────────           ◀─────────
//!            milder suffices for tier_dwell_secs, one step a dwell
//! ```
//!
//! A tier that is clearly too little, by what its knobs release, is passed after a second.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spillway_model::plan::{KnobLease, Tier};
use spillway_model::{KnobId, UnixMillis};

use crate::Orders;
use crate::policy::Policy;

/// Answers of the old knobs may be under way for this long after a change.
const SETTLE_MS: u64 = 3000;

/// The knobs that are on together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct KnobSet {
    /// Their names joined by `+`; empty for none.
    pub(crate) key: String,
    /// What they are declared to release; those that shed are counted by what they shed instead.
    pub(crate) releases: f64,
    /// By route; shorter than the routes where nothing is shed.
    shed: Vec<bool>,
}

impl KnobSet {
    /// The knobs of `tier`, with the operator's orders at `at`.
    pub(crate) fn of(policy: &Policy, tier: Tier, orders: &Orders, at: UnixMillis) -> Self {
        let mut set = Self::default();
        for knob in &policy.knobs {
            let on = match orders.knob(&knob.id, at) {
                Some((order, _)) => order.on,
                None => knob.tier <= tier,
            };
            if !on {
                continue;
            }
            if !set.key.is_empty() {
                set.key.push('+');
            }
            set.key.push_str(knob.id.as_str());
            if knob.sheds.is_empty() {
                set.releases += knob.releases;
            }
            for &place in &knob.sheds {
                if set.shed.len() <= place {
                    set.shed.resize(place + 1, false);
                }
                set.shed[place] = true;
            }
        }
        set
    }

    /// Whether gateways answer route `place` 503.
    pub(crate) fn sheds(&self, place: usize) -> bool {
        self.shed.get(place).copied().unwrap_or(false)
    }
}

/// The leases of the knobs that are on.
pub(crate) fn leases(
    policy: &Policy,
    tier: Tier,
    orders: &Orders,
    at: UnixMillis,
) -> BTreeMap<KnobId, KnobLease> {
    let lease = at.plus_secs(policy.lease_secs);
    let floor = orders.floor(at);
    let mut on = BTreeMap::new();
    for knob in &policy.knobs {
        let (until, by) = match orders.knob(&knob.id, at) {
            Some((order, until)) if order.on => (lease.min(until), order.by.clone()),
            Some(_) => continue,
            None if knob.tier > tier => continue,
            None => match floor {
                Some(order) if knob.tier <= order.tier => (lease, order.by.clone()),
                _ => (lease, format!("tier {}", u8::from(knob.tier))),
            },
        };
        on.insert(knob.id.clone(), KnobLease { until, by });
    }
    on
}

/// Where the tier is, and since when it should be elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TierState {
    pub(crate) tier: Tier,
    /// Since when spilling has fallen short at this tier.
    short_since: Option<UnixMillis>,
    /// Since when the next milder tier would have sufficed.
    enough_since: Option<UnixMillis>,
    /// Whether this tier was clearly too little already when it was raised to.
    #[serde(default)]
    passing: bool,
    /// Whether an order of the operator's holds the tier, or held it and nothing has needed it since.
    #[serde(default)]
    pub(crate) by_order: bool,
    /// The knobs in force, by [`KnobSet::key`], and since when.
    key: String,
    changed_at: UnixMillis,
}

/// What the sites say together about the tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Spilling falls short at the present tier; `clearly`: at the next harsher one, too.
    Short { clearly: bool },
    /// The present tier is needed.
    Right,
    /// The next milder one would do at every site.
    Milder,
    /// Some site is blind, or has no service: nothing is lowered.
    Held,
}

impl TierState {
    /// After a restart: the tier of the plan in force, and no timers.
    pub(crate) fn resumed(tier: Tier) -> Self {
        Self { tier, ..Self::default() }
    }

    /// One step of the diagram above, and never more. Returns whether the tier changed.
    pub(crate) fn step(
        &mut self,
        policy: &Policy,
        verdict: Verdict,
        floor: Tier,
        at: UnixMillis,
    ) -> bool {
        let before = self.tier;
        self.tier = self.tier.max(floor);
        if self.tier > Tier::Normal && floor == self.tier {
            self.by_order = true;
        } else if self.tier == Tier::Normal
            || matches!(verdict, Verdict::Short { .. } | Verdict::Right)
        {
            self.by_order = false;
        }
        let short = matches!(verdict, Verdict::Short { .. });
        since(&mut self.short_since, short, at);
        since(&mut self.enough_since, verdict == Verdict::Milder, at);
        // Ticks are not exact to the millisecond: half a tick early is on time.
        let lasted = |from: Option<UnixMillis>, secs: u64| {
            from.is_some_and(|from| at.millis_since(from) + policy.tick_ms / 2 >= secs * 1000)
        };
        self.passing &= short;
        if lasted(self.short_since, self.rise_secs(policy))
            && let Some(harsher) = self.tier.harsher()
        {
            self.tier = harsher;
            self.short_since = Some(at);
            self.passing = verdict == Verdict::Short { clearly: true };
        } else if lasted(self.enough_since, policy.tier_dwell_secs)
            && let Some(milder) = self.tier.milder()
            && milder >= floor
        {
            self.tier = milder;
            self.enough_since = Some(at);
        }
        self.tier != before
    }

    /// Notes the knobs that are in force from now on.
    pub(crate) fn note(&mut self, set: &KnobSet, at: UnixMillis) {
        if self.key != set.key {
            self.key.clone_from(&set.key);
            self.changed_at = at;
        }
    }

    /// Whether the knobs have been in force for long enough that what is seen is their doing.
    pub(crate) fn settled(&self, set: &KnobSet, at: UnixMillis) -> bool {
        self.key == set.key && at.millis_since(self.changed_at) >= SETTLE_MS
    }

    /// How long spilling must fall short for the tier to rise, in seconds.
    pub(crate) fn rise_secs(&self, policy: &Policy) -> u64 {
        if self.passing { policy.tier_rise_secs.min(1) } else { policy.tier_rise_secs }
    }

    /// How long spilling has fallen short, in seconds.
    pub(crate) fn short_secs(&self, at: UnixMillis) -> Option<f64> {
        self.short_since.map(|from| at.millis_since(from) as f64 / 1000.0)
    }
}

/// Starts, keeps or stops a timer. One from the future (the clock was set back) starts again.
fn since(timer: &mut Option<UnixMillis>, holds: bool, at: UnixMillis) {
    *timer = match *timer {
        _ if !holds => None,
        Some(from) if from <= at => Some(from),
        _ => Some(at),
    };
}
