//! The knobs of the configuration, and their values under a plan.

use serde::Serialize;
use spillway_model::api::KnobStatus;
use spillway_model::config::Knob;
use spillway_model::{KnobId, Plan, Tier, UnixMillis};

/// The flag that tells the tier. It shadows a knob of the same name.
pub const TIER_FLAG: &str = "spillway-tier";

/// The knobs of the configuration, mildest tier first, and in the order of the file within a tier.
#[derive(Debug, Clone)]
pub struct Registry {
    knobs: Vec<Knob>,
}

impl Registry {
    /// The registry of configured knobs.
    #[must_use]
    pub fn new(knobs: &[Knob]) -> Self {
        let mut knobs = knobs.to_vec();
        knobs.sort_by_key(|knob| knob.tier);
        Self { knobs }
    }

    /// All knobs.
    #[must_use]
    pub fn knobs(&self) -> &[Knob] {
        &self.knobs
    }

    /// The knob of a name.
    #[must_use]
    pub fn knob(&self, id: &str) -> Option<&Knob> {
        self.knobs.iter().find(|knob| knob.id.as_str() == id)
    }

    /// Every knob and whether it is on under `plan` at `now`.
    #[must_use]
    pub fn status(&self, plan: &Plan, now: UnixMillis) -> Vec<KnobStatus> {
        self.knobs.iter().map(|knob| status_of(knob, plan, now)).collect()
    }

    /// One knob and whether it is on; `None` when there is no such knob.
    #[must_use]
    pub fn status_of(&self, id: &KnobId, plan: &Plan, now: UnixMillis) -> Option<KnobStatus> {
        self.knob(id.as_str()).map(|knob| status_of(knob, plan, now))
    }

    /// The value of one flag; `None` when there is no such flag.
    #[must_use]
    pub fn evaluate(&self, key: &str, plan: &Plan, now: UnixMillis) -> Option<Evaluation> {
        if key == TIER_FLAG {
            return Some(tier_flag(plan, now));
        }
        self.knob(key).map(|knob| knob_flag(knob, plan, now))
    }

    /// The values of all flags: the tier first, then the knobs.
    #[must_use]
    pub fn evaluate_all(&self, plan: &Plan, now: UnixMillis) -> Vec<Evaluation> {
        let knobs = self.knobs.iter().filter(|knob| knob.id.as_str() != TIER_FLAG);
        std::iter::once(tier_flag(plan, now))
            .chain(knobs.map(|knob| knob_flag(knob, plan, now)))
            .collect()
    }
}

fn status_of(knob: &Knob, plan: &Plan, now: UnixMillis) -> KnobStatus {
    let lease = plan.knobs.get(&knob.id).filter(|lease| now < lease.until);
    KnobStatus {
        id: knob.id.clone(),
        tier: knob.tier,
        owner: knob.owner.clone(),
        users_see: knob.users_see.clone(),
        releases: knob.releases,
        on: lease.is_some(),
        until: lease.map(|lease| lease.until),
        by: lease.map(|lease| lease.by.clone()),
        // The plan does not tell: who asks the agent hears of its orders from the agent.
        order: None,
        replaced: None,
    }
}

/// The value of one flag, in the shape of OFREP's `evaluationSuccess`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// The flag.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Name of the value: `on`, `off`, or that of the tier.
    pub variant: &'static str,
    /// Always `TARGETING_MATCH`: the plan decides, at any time. `STATIC` would let an SDK keep an
    /// "off" for good, and OFREP has no `DEFAULT`.
    pub reason: &'static str,
    /// What an operator may want to see beside it.
    pub metadata: Metadata,
}

/// A flag's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Of a knob: whether it is on.
    Bool(bool),
    /// Of [`TIER_FLAG`]: 0 to 3.
    Integer(u8),
}

/// OFREP metadata: only strings, numbers and booleans are allowed in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Metadata {
    /// The tier that turns the knob on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<u8>,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// End of the lease, RFC 3339, while it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Who turned it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Generation of the plan it comes from.
    pub generation: u64,
}

const REASON: &str = "TARGETING_MATCH";

fn knob_flag(knob: &Knob, plan: &Plan, now: UnixMillis) -> Evaluation {
    let status = status_of(knob, plan, now);
    Evaluation {
        key: knob.id.as_str().to_owned(),
        value: Value::Bool(status.on),
        variant: if status.on { "on" } else { "off" },
        reason: REASON,
        metadata: Metadata {
            tier: Some(knob.tier.into()),
            owner: Some(status.owner),
            until: status.until.map(|until| until.to_string()),
            by: status.by,
            generation: plan.generation,
        },
    }
}

/// The degradations of an expired plan have lapsed, and its tier with them.
fn tier_flag(plan: &Plan, now: UnixMillis) -> Evaluation {
    let tier = if now < plan.expires_at { plan.tier } else { Tier::Normal };
    let variant = match tier {
        Tier::Normal => "normal",
        Tier::Invisible => "invisible",
        Tier::Visible => "visible",
        Tier::Severe => "severe",
    };
    Evaluation {
        key: TIER_FLAG.to_owned(),
        value: Value::Integer(tier.into()),
        variant,
        reason: REASON,
        metadata: Metadata {
            until: (tier > Tier::Normal).then(|| plan.expires_at.to_string()),
            generation: plan.generation,
            ..Metadata::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spillway_model::Share;
    use spillway_model::plan::KnobLease;

    use super::*;

    fn knob(id: &str, tier: Tier) -> Knob {
        Knob {
            id: KnobId::new(id).unwrap(),
            tier,
            owner: "owner".to_owned(),
            users_see: "less".to_owned(),
            releases: Share::clamped(0.1),
            sheds: Vec::new(),
        }
    }

    fn plan_with(id: &str, until: u64) -> Plan {
        let mut plan = Plan::initial([], 5);
        let lease = KnobLease { until: UnixMillis(until), by: "tier 2".to_owned() };
        plan.knobs.insert(KnobId::new(id).unwrap(), lease);
        plan
    }

    #[test]
    fn knobs_stand_mildest_first() {
        let registry = Registry::new(&[
            knob("c", Tier::Severe),
            knob("b", Tier::Invisible),
            knob("a", Tier::Invisible),
        ]);
        let ids: Vec<_> = registry.knobs().iter().map(|knob| knob.id.as_str()).collect();
        assert_eq!(ids, ["b", "a", "c"]);
    }

    #[test]
    fn the_tier_lapses_with_its_plan() {
        let registry = Registry::new(&[]);
        let mut plan = Plan::initial([], 5);
        plan.tier = Tier::Visible;
        plan.expires_at = UnixMillis(100);
        let value = |now| registry.evaluate(TIER_FLAG, &plan, UnixMillis(now)).unwrap().value;
        assert_eq!(value(99), Value::Integer(2));
        assert_eq!(value(100), Value::Integer(0));
    }

    proptest! {
        /// The operator's list, the flag and the gateways' own test say the same at any time.
        #[test]
        fn a_knob_has_one_value(until in 0u64..20, now in 0u64..20) {
            let registry = Registry::new(&[knob("a", Tier::Visible)]);
            let (plan, now) = (plan_with("a", until), UnixMillis(now));
            let on = plan.knob_on(&KnobId::new("a").unwrap(), now);
            prop_assert_eq!(registry.status(&plan, now)[0].on, on);
            prop_assert_eq!(registry.status(&plan, now)[0].until.is_some(), on);
            prop_assert_eq!(registry.evaluate("a", &plan, now).unwrap().value, Value::Bool(on));
            prop_assert_eq!(registry.evaluate("b", &plan, now), None);
        }
    }
}
