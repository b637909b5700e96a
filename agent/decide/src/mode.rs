//! Modes in which the agent only tells what it would do.
//!
//! ```text
//!             decided     published                        reasons from
//!  act        is done     what changes, and renewals       what it did
//!  recommend  is told     orders, and renewals             what is in force
//!  shadow     is told     nothing                          what is in force, or lapsed, or others published
//! ```
//!
//! The decision is made as ever, from the plan in force; what it would move is put back to where it was,
//! as an order puts a share back. What was seen is kept: windows and dwells go on, accounts stop where the
//! decision would act on them, and nothing counts as there that was only recommended. So the first second
//! of acting again is a second from what is in force.
//!
//! What an order moved stays when it ends, as shares hold when a plan expires; but knobs lapse with
//! theirs, as all knobs do.

use std::collections::BTreeSet;

use spillway_model::api::{Advice, ModeOrder};
use spillway_model::mode::Mode;
use spillway_model::plan::Tier;
use spillway_model::{Fleet, Plan, UnixMillis};

use crate::Observation;
use crate::orders::Orders;
use crate::policy::Policy;
use crate::share::Move;
use crate::shortage::Verdict;
use crate::state::State;
use crate::tier::Turned;
use crate::view::View;

/// How long the commands of what is recommended hold: long enough to look again.
const FOR: &str = "--for 10m";
/// No agent has counted so far: whoever reports it is broken.
const GENERATION_MAX: u64 = 1 << 53;

/// How far one tick's decision is acted on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acting {
    pub(crate) mode: Mode,
    /// The generation that some part acts on, where it is none that the state knows.
    unknown: Option<u64>,
}

impl Acting {
    pub(crate) fn of(mode: Mode, state: &State, observation: &Observation) -> Self {
        let seen = observation.loads.iter().map(|load| load.generation);
        let newest = seen.filter(|generation| *generation < GENERATION_MAX).max();
        Self { mode, unknown: newest.filter(|newest| *newest > state.plan.generation) }
    }

    /// Whether what is in force stays.
    pub(crate) fn holds(self) -> bool {
        !self.mode.acts()
    }

    /// Whether anything may be published. Where others' plan is in force and not known, what would be
    /// held is not known either.
    pub(crate) fn publishes(self) -> bool {
        match self.mode {
            Mode::Act => true,
            Mode::Recommend => self.unknown.is_none(),
            Mode::Shadow => false,
        }
    }

    /// Takes up what is in force without this agent's doing: leases have ended that nobody renewed, in
    /// shadow or while the agent was away.
    pub(crate) fn follow(self, policy: &Policy, next: &mut State, at: UnixMillis) {
        let plan = &next.plan;
        if self.holds() && (!self.publishes() || plan.expires_at <= at) {
            next.tier.keep(policy, |id| plan.knobs.get(id).is_none_or(|lease| at < lease.until));
        }
    }

    /// What a person reads of it first.
    pub(crate) fn reasons(self, by: Option<&ModeOrder>, advice: &[Advice]) -> Vec<String> {
        if !self.holds() {
            return by.map(|by| format!("mode: act by order of {}", by.by)).into_iter().collect();
        }
        let by = by.map_or_else(String::new, |by| format!(" by order of {}", by.by));
        let does = match (self.mode, self.unknown) {
            (Mode::Recommend, None) => "what is in force stays, but for orders",
            (Mode::Recommend, Some(_)) => "what is in force is not known, so nothing is published",
            _ => "nothing is published, and orders wait",
        };
        let mut lines = vec![format!("mode: {}{by}: {does}", self.mode)];
        if let Some(generation) = self.unknown {
            lines.push(format!(
                "mode: parts act on generation {generation} of another agent, whose plan was not read; this is decided from the last one known"
            ));
        }
        lines.extend(advice.iter().map(|advice| match &advice.order {
            Some(order) => format!("recommended: {}; `{order}` does it", advice.what),
            None => format!("recommended: {}; no order does it, but mode act", advice.what),
        }));
        lines
    }

    /// What the headline ends with.
    pub(crate) fn note(self, advice: &[Advice]) -> String {
        let changes = match advice.len() {
            0 => "nothing would be changed".to_owned(),
            1 => "one change is recommended".to_owned(),
            n => format!("{n} changes are recommended"),
        };
        match self.mode {
            Mode::Act => String::new(),
            Mode::Recommend => format!("; mode recommend, {changes}"),
            Mode::Shadow => format!("; mode shadow, {changes}"),
        }
    }
}

impl Policy {
    /// How far what is decided at `at` is acted on, by order or as configured.
    #[must_use]
    pub fn mode(&self, orders: &Orders, at: UnixMillis) -> Mode {
        orders.mode(at).map_or(self.mode, |order| order.mode)
    }
}

/// Puts in force what others have published since.
pub(crate) fn take_up(policy: &Policy, next: &mut State, plan: &Plan, at: UnixMillis) {
    if plan.generation <= next.plan.generation {
        return;
    }
    for (id, site) in &mut next.sites {
        let (from, to) = (next.plan.share(id).get(), plan.share(id).get());
        let seen = site.share.clone();
        site.share.ordered(policy, seen, (from, to), at);
    }
    next.tier.follow(policy, plan);
    next.fleet.follow();
    next.plan = plan.clone();
}

/// In shadow orders have nothing to act on. Events are no orders to do something.
pub(crate) fn without_orders(observation: &Observation) -> Observation {
    let Orders { mode, events, .. } = &observation.orders;
    let orders = Orders { mode: mode.clone(), events: events.clone(), ..Orders::default() };
    Observation { orders, ..observation.clone() }
}

/// What would be done about shares and what each gateway gives home.
pub(crate) fn of_share(view: &View<'_>, home_qps: Option<f64>) -> Vec<Advice> {
    let id = &view.site.id;
    let mut advice = Vec::new();
    if let Move::Advised(share, wanted) = view.moved {
        // Rounded up: a share that is a little too small would not do.
        let percent = |share: f64| (share * 1000.0).ceil() / 10.0;
        let (from, to) = (percent(share), percent(wanted));
        let verb = if wanted > share { "raise" } else { "lower" };
        advice.push(Advice {
            what: format!("{verb} the share of {id} from {from:.1} % to {to:.1} %"),
            order: Some(format!("spillway share {id} {to:.1}% {FOR}")),
        });
    }
    match (view.home_qps, home_qps) {
        (None, Some(each)) => advice.push(Advice {
            what: format!(
                "have each gateway of {id} give home {each:.0} weighted requests/s at most"
            ),
            order: None,
        }),
        (Some(_), None) => advice.push(Advice {
            what: format!("have the gateways of {id} leave to home all that stays"),
            order: None,
        }),
        _ => {}
    }
    advice
}

/// What would be turned.
pub(crate) fn of_knobs(turned: &Turned, verdict: &Verdict) -> Vec<Advice> {
    let set = |id: &spillway_model::KnobId, state: &str| Advice {
        what: format!("turn knob {id} {state}"),
        order: Some(format!("spillway knob set {id} {state} {FOR}")),
    };
    let whole = match verdict {
        Verdict::Short(more) if more.left_out == 0 && more.tier > Tier::Normal => Some(more.tier),
        _ => None,
    };
    let mut advice = match (whole, turned.on.is_empty()) {
        (Some(tier), false) => vec![Advice {
            what: format!("raise the tier to {tier}"),
            order: Some(format!("spillway tier set {} {FOR}", u8::from(tier))),
        }],
        _ => turned.on.iter().map(|id| set(id, "on")).collect(),
    };
    advice.extend(turned.off.iter().map(|(id, _)| set(id, "off")));
    advice
}

/// What the cloud would be given, where that is not `fleet`.
pub(crate) fn of_fleet(fleet: &Fleet, gateways: u32, wanted: &Fleet) -> Vec<Advice> {
    let mut advice = Vec::new();
    let mut other = |what: &str, from: u32, to: u32, order: Option<String>| {
        if from != to {
            advice.push(Advice { what: format!("have {to} {what} in place of {from}"), order });
        }
    };
    let order = format!("spillway gateways {gateways} {FOR}");
    other("gateways in the cloud", fleet.gateways, gateways, Some(order));
    let (from, to) = (fleet.capacity_units, wanted.capacity_units);
    other("capacity units of the load balancer", from, to, None);
    let names: BTreeSet<&String> =
        fleet.provisioned.keys().chain(wanted.provisioned.keys()).collect();
    for name in names {
        let of = |fleet: &Fleet| fleet.provisioned.get(name).copied().unwrap_or(0);
        other(&format!("warm environments of {name}"), of(fleet), of(wanted), None);
    }
    other("replicas of the cache", fleet.cache_replicas, wanted.cache_replicas, None);
    other("replicas of the database", fleet.database_replicas, wanted.database_replicas, None);
    advice
}
