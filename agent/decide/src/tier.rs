//! Tiers: degraded only when spilling cannot suffice, and restored one knob at a time.
//!
//! ```text
//!            short for tier_rise_secs             short for tier_rise_secs
//!   0 normal ───────────────────────▶ 1 invisible ─────────▶ 2 visible ─────────▶ 3 severe
//!            ◀───────────────────────             ◀─────────           ◀─────────
//!            each knob once home has done without it for its part of tier_dwell_secs
//! ```
//!
//! The tier is the harshest that a knob is turned on of. It rises when all knobs of the milder ones are
//! on and do not suffice; within it, only those that [`crate::shortage`] chooses are turned on. A tier
//! that is clearly too little, by what its knobs release, is passed after a second.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use spillway_model::plan::{KnobLease, Tier};
use spillway_model::{KnobId, Plan, UnixMillis};

use crate::Orders;
use crate::policy::{KnobPolicy, Policy};
use crate::shortage::Verdict;

/// Answers of the old knobs may be under way for this long after a change.
const SETTLE_MS: u64 = 3000;
/// And this long it takes to see what the change did.
const SEEN_MS: u64 = 5000;

/// The knobs that are on together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct KnobSet {
    /// Their names joined by `+`; empty for none.
    pub(crate) key: String,
    /// Their places in the policy.
    on: Vec<usize>,
    /// By route; shorter than the routes where nothing is shed.
    shed: Vec<bool>,
}

/// The names of a [`KnobSet::key`].
pub(crate) fn names(key: &str) -> impl Iterator<Item = &str> {
    key.split('+').filter(|name| !name.is_empty())
}

impl KnobSet {
    /// The knobs that are `on`, but for those that the operator ordered otherwise at `at`.
    pub(crate) fn of(
        policy: &Policy,
        on: impl Fn(&KnobPolicy) -> bool,
        orders: &Orders,
        at: UnixMillis,
    ) -> Self {
        let mut set = Self::default();
        for (place, knob) in policy.knobs.iter().enumerate() {
            if !orders.knob(&knob.id, at).map_or_else(|| on(knob), |(order, _)| order.on) {
                continue;
            }
            if !set.key.is_empty() {
                set.key.push('+');
            }
            set.key.push_str(knob.id.as_str());
            set.on.push(place);
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

    /// Its knobs.
    pub(crate) fn knobs<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = &'a KnobPolicy> {
        self.on.iter().filter_map(|place| policy.knobs.get(*place))
    }

    /// Whether it has all knobs of another, by its key.
    pub(crate) fn has_all(&self, key: &str) -> bool {
        names(key).all(|name| names(&self.key).any(|of| of == name))
    }
}

/// The leases of the knobs that are on.
pub(crate) fn leases(
    policy: &Policy,
    on: &BTreeSet<KnobId>,
    orders: &Orders,
    at: UnixMillis,
) -> BTreeMap<KnobId, KnobLease> {
    let lease = at.plus_secs(policy.lease_secs);
    let floor = orders.floor(at);
    let mut leases = BTreeMap::new();
    for knob in &policy.knobs {
        let (until, by) = match orders.knob(&knob.id, at) {
            Some((order, until)) if order.on => (lease.min(until), order.by.clone()),
            Some(_) => continue,
            None if !on.contains(&knob.id) => continue,
            None => match floor {
                Some(order) if knob.tier <= order.tier => (lease, order.by.clone()),
                _ => (lease, format!("tier {}", u8::from(knob.tier))),
            },
        };
        leases.insert(knob.id.clone(), KnobLease { until, by });
    }
    leases
}

/// What is turned on, and since when it should be otherwise. Bounded by the configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TierState {
    pub(crate) tier: Tier,
    /// The knobs that are on because spilling fell short, or because the tier was ordered. What the
    /// operator orders of single knobs stands above it.
    #[serde(default)]
    pub(crate) on: BTreeSet<KnobId>,
    /// Of those, what an order on the tier alone turned on.
    #[serde(default)]
    lent: BTreeSet<KnobId>,
    /// Since when spilling has fallen short with these knobs.
    short_since: Option<UnixMillis>,
    /// Since when home would have done with a knob less.
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

/// What one tick turned.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Turned {
    /// The tier before.
    pub(crate) before: Tier,
    /// Turned on because spilling falls short.
    pub(crate) on: Vec<KnobId>,
    /// Turned off, and how long home would have done without it, in seconds.
    pub(crate) off: Option<(KnobId, f64)>,
    /// Whether this is only what would be turned.
    pub(crate) held: bool,
}

impl TierState {
    /// After a restart: the knobs of the plan in force, and no timers.
    pub(crate) fn resumed(plan: &Plan) -> Self {
        let needed = |by: &str| by.strip_prefix("tier ").is_some_and(|n| n.parse::<u8>().is_ok());
        let lent = plan.knobs.iter().filter(|(_, lease)| !needed(&lease.by));
        Self {
            tier: plan.tier,
            on: plan.knobs.keys().cloned().collect(),
            lent: lent.map(|(id, _)| id.clone()).collect(),
            ..Self::default()
        }
    }

    /// Takes up the knobs of a plan that another agent has published.
    pub(crate) fn follow(&mut self, policy: &Policy, plan: &Plan) {
        let Self { on, lent, .. } = Self::resumed(plan);
        if on != self.on {
            (self.short_since, self.enough_since) = (None, None);
        }
        (self.on, self.lent) = (on, lent);
        self.tier = self.highest(policy);
    }

    /// Keeps those of the knobs that are on which `stay`.
    pub(crate) fn keep(&mut self, policy: &Policy, stay: impl Fn(&KnobId) -> bool) {
        let before = self.on.len();
        self.on.retain(|id| stay(id));
        if self.on.len() < before {
            self.tier = self.highest(policy);
        }
    }

    /// Turns on all knobs of an ordered tier, and while what is in force `holds`, turns off those of an
    /// order that has ended: they lapse as leases do. Else they stay until nothing needs them.
    fn lend(&mut self, policy: &Policy, floor: Tier, holds: bool) {
        let ordered = |id: &KnobId| policy.knobs.iter().any(|k| k.id == *id && k.tier <= floor);
        if holds {
            let lent = &self.lent;
            self.on.retain(|id| !lent.contains(id) || ordered(id));
        }
        let on = &self.on;
        self.lent.retain(|id| ordered(id) && on.contains(id));
        for knob in policy.knobs.iter().filter(|knob| knob.tier <= floor) {
            if self.on.insert(knob.id.clone()) {
                self.lent.insert(knob.id.clone());
            }
        }
    }

    /// The same for a configuration that has changed. What stands above its tier was turned on by an order;
    /// a state of before names no knobs, for all up to its tier were on.
    pub(crate) fn fit(&mut self, policy: &Policy) {
        let of_tier = || policy.knobs.iter().filter(|knob| knob.tier <= self.tier);
        if self.on.is_empty() {
            self.on = of_tier().map(|knob| knob.id.clone()).collect();
        } else {
            self.on.retain(|id| of_tier().any(|knob| knob.id == *id));
        }
    }

    /// The knobs in force, with the operator's orders at `at`.
    pub(crate) fn set(&self, policy: &Policy, orders: &Orders, at: UnixMillis) -> KnobSet {
        KnobSet::of(policy, |knob| self.on.contains(&knob.id), orders, at)
    }

    /// One step of the diagram above, and never more. While what is in force `holds` it is only told; time
    /// goes on, for nothing was turned.
    pub(crate) fn step(
        &mut self,
        policy: &Policy,
        verdict: &Verdict,
        orders: &Orders,
        holds: bool,
        at: UnixMillis,
    ) -> Turned {
        let floor = orders.floor(at).map_or(Tier::Normal, |order| order.tier);
        let mut turned = Turned { before: self.tier, held: holds, ..Turned::default() };
        // What is held off is off; once that ends it is turned on again only if it is needed.
        self.on.retain(|id| orders.knob(id, at).is_none_or(|(order, _)| order.on));
        self.lend(policy, floor, holds);
        let short = matches!(verdict, Verdict::Short(_));
        let tier = self.tier.max(floor);
        if tier > Tier::Normal && tier == floor {
            self.by_order = true;
        } else if tier == Tier::Normal || short || *verdict == Verdict::Right {
            self.by_order = false;
        }
        since(&mut self.short_since, short, at);
        since(&mut self.enough_since, matches!(verdict, Verdict::Spare(_)), at);
        self.passing &= short;
        // Ticks are not exact to the millisecond: half a tick early is on time.
        let lasted = |from: Option<UnixMillis>, millis: u64| {
            from.is_some_and(|from| at.millis_since(from) + policy.tick_ms / 2 >= millis)
        };
        match verdict {
            Verdict::Short(more)
                if !more.knobs.is_empty()
                    && lasted(self.short_since, 1000 * self.rise_secs(policy)) =>
            {
                turned.on.clone_from(&more.knobs);
                if !holds {
                    self.on.extend(more.knobs.iter().cloned());
                    self.short_since = Some(at);
                    self.passing = more.clearly;
                }
            }
            Verdict::Spare(id) => {
                let knob = policy.knobs.iter().find(|knob| knob.id == *id && knob.tier > floor);
                let dwell = knob.map(|knob| self.dwell_millis(policy, knob.tier));
                if dwell.is_some_and(|dwell| lasted(self.enough_since, dwell)) {
                    turned.off = dwell.map(|dwell| (id.clone(), dwell as f64 / 1000.0));
                    if !holds {
                        self.on.remove(id);
                        self.enough_since = Some(at);
                    }
                }
            }
            _ => {}
        }
        self.tier = self.highest(policy).max(floor);
        turned
    }

    /// The harshest tier that a knob is on of.
    fn highest(&self, policy: &Policy) -> Tier {
        let on = policy.knobs.iter().filter(|knob| self.on.contains(&knob.id));
        on.map(|knob| knob.tier).max().unwrap_or_default()
    }

    /// How long home must have done without a knob of `tier` before it is turned off. The last one waits
    /// for the tier's dwell, each of several for its part of it, for with many knobs a tier would take as
    /// many dwells to leave; but no less than it takes to see what the one before brought back.
    pub(crate) fn dwell_millis(&self, policy: &Policy, tier: Tier) -> u64 {
        let of_tier = policy.knobs.iter().filter(|of| of.tier == tier);
        let on = of_tier.filter(|of| self.on.contains(&of.id)).count() as u64;
        dwell_millis(policy.tier_dwell_secs, on)
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

    /// How long spilling must fall short for more to be turned on, in seconds.
    pub(crate) fn rise_secs(&self, policy: &Policy) -> u64 {
        if self.passing { policy.tier_rise_secs.min(1) } else { policy.tier_rise_secs }
    }

    /// How long spilling has fallen short, in seconds.
    pub(crate) fn short_secs(&self, at: UnixMillis) -> Option<f64> {
        self.short_since.map(|from| at.millis_since(from) as f64 / 1000.0)
    }
}

/// The dwell of one of `on` knobs of a tier.
fn dwell_millis(tier_dwell_secs: u64, on: u64) -> u64 {
    let dwell = 1000 * tier_dwell_secs;
    (dwell / on.max(1)).max(SEEN_MS).min(dwell)
}

impl Policy {
    /// Seconds until all knobs are off again once none is needed, were all of them on.
    #[must_use]
    pub fn restore_secs(&self) -> u64 {
        let dwells = |tier: &Tier| {
            let on = self.knobs.iter().filter(|knob| knob.tier == *tier).count() as u64;
            (1..=on).map(|on| dwell_millis(self.tier_dwell_secs, on)).sum::<u64>()
        };
        Tier::ALL.iter().map(dwells).sum::<u64>().div_ceil(1000)
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
