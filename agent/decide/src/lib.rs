//! The decision: from what was observed to the plan, and why.
//!
//! [`decide`] is a plain function. It reads no clock, does no IO and draws no random numbers: the
//! same inputs give the same bits on any machine, so a decision can be recomputed from the journal.
//! Once a second it goes from readings to rates, from rates to a forecast of demand, from the
//! forecast to the smallest share that keeps each site under its limits, and where the cloud cannot
//! take that much, to a tier. Raising is at once; lowering waits for a dwell. No data is not zero:
//! a blind site holds.

mod allot;
mod blend;
mod budget;
mod bytes;
mod calendar;
mod capacity;
mod chance;
mod cloud;
mod conformal;
mod demand;
mod event;
mod expected;
mod flaps;
mod fleet;
mod forecast;
mod help;
mod knobs;
mod lasting;
mod lead;
mod learning;
mod levers;
mod mode;
mod observe;
mod orders;
mod policy;
mod profile;
mod provision;
mod reading;
mod reason;
mod record;
mod release;
mod season;
mod service;
mod share;
mod shortage;
mod solve;
mod state;
mod steer;
mod tier;
mod view;
mod weights;
mod window;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spillway_model::api::{CloudStatus, Decision, FleetStatus, SiteStatus};
use spillway_model::mode::Mode;
use spillway_model::plan::SitePlan;
use spillway_model::{Fleet, Load, Plan, Share, SiteId, UnixMillis};

pub use calendar::Calendar;
pub use capacity::Capacity;
pub use conformal::Conformal;
pub use event::Events;
pub use orders::Orders;
pub use policy::Policy;
pub use reason::explain_client;
pub use season::{Ahead, Season, SeasonPolicy};
pub use state::State;
pub use weights::{Fit, Weights, Window, weigh};

use allot::{allot, cloud_parts, following, home_qps, limit, spilled};
use budget::Cost;
use demand::Spilled;
use mode::Acting;
use observe::sense;
use provision::{Asked, fleet};
use reason::Degraded;
use record::Unraised;
use release::Trust;
use share::ForMoney;
use steer::{Way, move_share};
use view::{View, note_status, view};

/// One tick's inputs, exactly as journalled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When the tick began, by the agent's clock.
    pub at: UnixMillis,
    /// Of every part that answered this tick.
    pub loads: Vec<Load>,
    /// Parts that did not, by name, and why.
    pub missing: BTreeMap<String, String>,
    /// Bytes sent by the named interface of a site, where one is named: a counter.
    pub interface_bytes: BTreeMap<SiteId, u64>,
    /// The orders in force.
    pub orders: Orders,
    /// A plan that another agent has published and that is in force, where this one does not act and had not
    /// read it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<Plan>,
}

/// What one tick came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// For the next tick.
    pub state: State,
    /// The plan in force from now on: a new generation if `decision.published`, else the last one.
    pub plan: Plan,
    /// For the journal.
    pub decision: Decision,
    /// Each site now; of a blind one, as last seen.
    pub sites: BTreeMap<SiteId, SiteStatus>,
    /// The cloud's side now.
    pub cloud: CloudStatus,
    /// One sentence that a person reads first.
    pub headline: String,
}

/// Decides one tick.
#[must_use]
pub fn decide(policy: &Policy, state: &State, observation: &Observation) -> Outcome {
    let at = observation.at;
    let mode = policy.mode(&observation.orders, at);
    let alone = (mode == Mode::Shadow).then(|| mode::without_orders(observation));
    let observation = alone.as_ref().unwrap_or(observation);
    let orders = &observation.orders;
    let mut next = state.fitted(policy);
    if let (false, Some(plan)) = (mode.acts(), &observation.in_force) {
        mode::take_up(policy, &mut next, plan, at);
    }
    let acting = Acting::of(mode, &next, observation);
    acting.follow(policy, &mut next, at);
    let learned = policy.learned(&next);
    let policy = learned.as_ref();

    let sensed = sense(policy, &mut next.readings, &next.plan, observation);
    let there = fleet::heard(policy, observation);
    let limit = limit(policy, &mut next, &sensed.cloud, there.as_ref().ok().copied(), observation);
    let parts = cloud_parts(policy, &next, &sensed.sites);
    let mut views = Vec::with_capacity(policy.sites.len());
    for ((site, sense), part) in policy.sites.iter().zip(sensed.sites).zip(parts) {
        let spilled = match &sensed.cloud {
            Ok(cloud) => Spilled::Counted(cloud, part),
            Err(_) if limit.dead() => Spilled::Lost(following(policy, &next, site, at)),
            Err(_) if policy.cloud_reports => Spilled::Unknown,
            Err(_) => Spilled::Inferred,
        };
        let why = sensed.cloud.as_ref().err().map_or("", String::as_str);
        views.push(view(policy, &mut next, site, sense, &spilled, why, observation));
    }
    learn_knobs(policy, &mut next, &views, orders, at);
    help::offer(policy, &mut next, &mut views, limit.dead(), at);
    let cost = Cost::of(policy, &next, &sensed.cloud, there.as_ref().ok().copied(), &views);
    let (limit, money) = next.budget.limit(policy, limit, &cost, at);
    allot(policy, &next, &limit, &mut views);
    let in_force = next.tier.set(policy, orders, at);
    let bytes = next.learned.bytes(policy, &in_force, Trust::Likely);
    let full = spilled(policy, &next).0 >= limit.requests;
    let mut advice = Vec::new();
    for view in &mut views {
        let home_qps = home_qps(policy, view, &limit, full);
        let at_once = view.pressure.settling || !following(policy, &next, view.site, at).all;
        let Some(site) = next.sites.get_mut(&view.site.id) else { continue };
        let loads = site.demand.loads(policy, &next.learned, &in_force, &bytes);
        view.present = site.demand.present(&loads);
        let way = Way {
            alone: limit.dead().then_some(at_once),
            holds: acting.holds(),
            money: money
                .spent
                .map(|spent| ForMoney { hard: share::bears(view.site, &view.present), spent }),
        };
        move_share(policy, site, view, &way, at);
        if acting.holds() {
            advice.extend(mode::of_share(view, home_qps));
        } else {
            view.home_qps = home_qps;
        }
        let moved = (view.share, view.moved.share());
        let (load, before) = (&view.present, site.unraised.take());
        site.unraised = Unraised::step(before, view.site, load, view.sense.secs, moved, at);
    }
    help::give(policy, &mut next, &mut views, acting.holds(), at);

    let verdict = shortage::verdict(policy, &next, &views, orders, at);
    let turned = next.tier.step(policy, &verdict, orders, acting.holds(), at);
    if acting.holds() {
        advice.extend(mode::of_knobs(&turned, &verdict));
    }
    let set = next.tier.set(policy, orders, at);
    next.tier.note(&set, at);

    let degraded = Degraded { verdict: &verdict, turned: &turned, set: &set };
    let mut reasons = reason::reasons(policy, &next, &views, &limit, observation, &degraded);
    let afford = money.gateways;
    let asked = Asked { acting, there: &there, limit: &limit, views: &views, observation, afford };
    let fleet = fleet(policy, &mut next, &asked, &mut reasons, &mut advice);
    reasons.extend(next.budget.reasons(policy));
    reasons.splice(..0, acting.reasons(orders.mode(at), &advice));
    let published =
        acting.publishes() && publish(policy, &mut next, &views, fleet, observation, &reasons);
    let (binding, mut headline) = reason::headline(&next, &views, &limit);
    headline.push_str(&acting.note(&advice));
    for view in &views {
        if let Some(site) = next.sites.get_mut(&view.site.id) {
            note_status(view, &mut site.status);
        }
    }
    let decision = Decision {
        at,
        generation: next.plan.generation,
        tier: next.tier.tier,
        shares: next.plan.sites.iter().map(|(id, plan)| (id.clone(), plan.share)).collect(),
        binding: binding.as_str().to_owned(),
        published,
        reasons,
        mode,
        advice,
        sites: record::all(policy, &next, &views),
    };
    Outcome {
        plan: next.plan.clone(),
        decision,
        sites: next.sites.iter().map(|(id, site)| (id.clone(), site.status.clone())).collect(),
        cloud: CloudStatus {
            fleet: policy.on_aws.then(|| FleetStatus {
                wanted: next.plan.fleet.clone(),
                there: there.ok().cloned(),
            }),
            budget: next.budget.status(policy),
            ..next.cloud.status.clone()
        },
        headline,
        state: next,
    }
}

/// Notes that the knobs in force have been for another tick.
fn learn_knobs(
    policy: &Policy,
    next: &mut State,
    views: &[View<'_>],
    orders: &Orders,
    at: UnixMillis,
) {
    let set = next.tier.set(policy, orders, at);
    let secs = views.iter().map(|view| view.sense.secs).fold(0.0, f64::max);
    if next.tier.settled(&set, at) {
        next.learned.pass(policy, &set, secs);
    }
}

/// Makes the plan of the next generation, if it says something new or the lease is to be renewed.
fn publish(
    policy: &Policy,
    next: &mut State,
    views: &[View<'_>],
    fleet: Fleet,
    observation: &Observation,
    reasons: &[String],
) -> bool {
    let at = observation.at;
    let sites = views.iter().map(|view| {
        let share = Share::clamped(view.moved.share());
        let (mode, home_qps) = (view.mode, view.home_qps);
        let helped = view.helped.clone();
        let plan = SitePlan { share, mode, dns_ttl_secs: policy.dns_ttl_secs, home_qps, helped };
        (view.site.id.clone(), plan)
    });
    let plan = Plan {
        generation: next.plan.generation.saturating_add(1),
        issued_at: at,
        expires_at: at.plus_secs(policy.lease_secs),
        sites: sites.collect(),
        tier: next.tier.tier,
        knobs: tier::leases(policy, &next.tier.on, &observation.orders, at),
        fleet,
        reasons: reasons.to_vec(),
    };
    let issued = next.plan.issued_at;
    let due = at < issued || at.millis_since(issued) >= policy.lease_secs * 1000 / 3;
    let published = due || !plan.same_instruction(&next.plan);
    if published {
        next.plan = plan;
    }
    published
}
