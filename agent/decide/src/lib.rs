//! The decision: from what was observed to the plan, and why.
//!
//! [`decide`] is a plain function. It reads no clock, does no IO and draws no random numbers: the
//! same inputs give the same bits on any machine, so a decision can be recomputed from the journal.
//! Once a second it goes from readings to rates, from rates to a forecast of demand, from the
//! forecast to the smallest share that keeps each site under its limits, and where the cloud cannot
//! take that much, to a tier. Raising is at once; lowering waits for a dwell. No data is not zero:
//! a blind site holds.

mod budget;
mod bytes;
mod calendar;
mod capacity;
mod chance;
mod cloud;
mod conformal;
mod demand;
mod event;
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
mod reason;
mod record;
mod release;
mod season;
mod service;
mod share;
mod shortage;
mod solve;
mod state;
mod tier;
mod weights;
mod window;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spillway_model::api::{
    Advice, Bound, CloudStatus, Decision, FleetStatus, ShareOrder, SiteStatus,
};
use spillway_model::load::FleetLoad;
use spillway_model::mode::Mode;
use spillway_model::plan::{Help, SitePlan, SpillMode, Tier};
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

use budget::Cost;
use cloud::Limit;
use demand::{Context, Expected, Following, Now, Spilled};
use event::Coming;
use fleet::{FleetSense, FleetState};
use help::{Offer, Room};
use learning::Seen;
use mode::Acting;
use observe::{CloudSense, SiteSense, sense};
use policy::SitePolicy;
use reason::Degraded;
use record::Unraised;
use release::Trust;
use service::Service;
use share::{Allowed, Case, ForMoney, Move, Need, Pressure};
use state::SiteState;
use tier::KnobSet;

/// What gateways give home is changed where it changes by this part.
const HOME_QPS_BAND: f64 = 0.02;

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

/// One site during one tick.
pub(crate) struct View<'a> {
    pub(crate) site: &'a SitePolicy,
    pub(crate) sense: SiteSense,
    pub(crate) service: Service,
    pub(crate) now: Now,
    pub(crate) pressure: Pressure,
    /// Upper bounds at the redirect horizon, with the operator's knobs only.
    pub(crate) expected: Expected,
    pub(crate) need: Need,
    /// The present, with the knobs in force.
    pub(crate) present: Expected,
    /// The share before.
    pub(crate) share: f64,
    /// Largest share that the cloud takes.
    pub(crate) most: f64,
    /// What other sites offer, in the order of ranks, and what they are given.
    pub(crate) offers: Vec<Offer>,
    pub(crate) helped: Vec<Help>,
    /// What it could take of other sites' clients beside those it has, where it helps at all.
    pub(crate) room: Option<Room>,
    /// The operator's order on the share.
    pub(crate) order: Option<&'a ShareOrder>,
    pub(crate) moved: Move,
    pub(crate) mode: SpillMode,
    /// What each gateway is to give home at most.
    pub(crate) home_qps: Option<f64>,
    /// Why other weights are used from now on.
    pub(crate) reweighed: Option<String>,
}

impl View<'_> {
    /// Largest share that there can be: what the cloud takes and the operator allows.
    fn reach(&self) -> f64 {
        match self.order {
            Some(order) if order.bound != Bound::AtLeast => self.most.min(order.share.get()),
            _ => self.most,
        }
    }

    /// The part of the clients that other sites would serve.
    fn offered(&self) -> f64 {
        self.offers.iter().map(|offer| offer.part).sum()
    }

    /// The part of the clients that needs the cloud.
    fn beyond(&self) -> f64 {
        (self.need.share() - self.offered()).max(0.0)
    }

    /// The part of the clients that other sites serve from now on.
    fn helped(&self) -> f64 {
        let bounds = self.helped.iter().map(|help| help.below.get());
        bounds.fold(0.0, f64::max).min(self.moved.share())
    }
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

/// What the cloud's side is asked for by.
struct Asked<'a> {
    acting: Acting,
    there: &'a Result<&'a FleetLoad, String>,
    limit: &'a Limit,
    views: &'a [View<'a>],
    observation: &'a Observation,
    /// How many gateways the budget allows.
    afford: u32,
}

/// What the cloud is to have at hand, and why.
fn fleet(
    policy: &Policy,
    next: &mut State,
    asked: &Asked<'_>,
    reasons: &mut Vec<String>,
    advice: &mut Vec<Advice>,
) -> Fleet {
    let Asked { acting, there, limit, views, observation, afford } = *asked;
    let (at, orders) = (observation.at, &observation.orders);
    let in_cloud = spilled(policy, next);
    let mut sense = FleetSense::of(there.clone(), in_cloud, views, policy.tick_secs);
    let told = event::Told {
        policy,
        sites: &next.sites,
        learned: &next.learned,
        leads: &next.leads,
        orders,
        asked: if sense.sees { sense.asked } else { 0.0 },
        carried: policy
            .fleet
            .as_ref()
            .zip(there.as_ref().ok())
            .map_or(0.0, |(fleet, there)| f64::from(there.gateways_healthy) * fleet.carries()),
        at,
    };
    let coming = Coming::of(&told);
    reasons.extend(event::reasons(policy, orders, &coming, at));
    if !policy.on_aws {
        return Fleet::default();
    }
    // What would be asked of a dead cloud is not seen: its gateways are held for its return.
    sense.sees &= !limit.dead();
    sense.whole &= !limit.dead();
    sense.coming = coming;
    let order = orders.gateways(at);
    sense.order = order.map(|order| (order.bound, order.gateways));
    sense.holds = acting.holds();
    sense.afford = afford;
    let before = &next.plan.fleet;
    let mut wanted = None;
    let mut fleet = match &policy.fleet {
        None => Fleet { gateways: 0, gateway_percent: 0, ..before.clone() },
        Some(gateways) => {
            sense.boot_secs = next.leads.gateways.mean_secs(gateways.boot_secs);
            let (fleet, why) = next.fleet.step(gateways, &sense, before, at);
            let by = order.map_or("", |order| order.by.as_str());
            reasons.extend(next.fleet.reasons(gateways, &sense, &fleet, why, by));
            let advised = || next.fleet.advised(gateways, &sense, fleet.gateways, at);
            wanted = acting.holds().then(advised);
            fleet
        }
    };
    let mut loads = vec![0.0; policy.routes.len()];
    for site in next.sites.values() {
        site.demand.add_spilled(policy, &mut loads);
    }
    if !acting.holds() {
        reasons.extend(next.levers.step(&policy.levers, &sense, &loads, &mut fleet, at));
    } else {
        // What would be at hand is told; what is at hand stays.
        let mut other = fleet.clone();
        next.levers.step(&policy.levers, &sense, &loads, &mut other, at);
        advice.extend(mode::of_fleet(&fleet, wanted.unwrap_or(fleet.gateways), &other));
    }
    if let Ok(there) = there {
        next.leads.step(&fleet, there, at);
    }
    fleet
}

/// What the cloud takes: functions, and gateways beside them.
fn limit(
    policy: &Policy,
    next: &mut State,
    cloud: &Result<CloudSense, String>,
    there: Option<&FleetLoad>,
    observation: &Observation,
) -> Limit {
    let limit = next.cloud.limit(policy, cloud, observation);
    let (Some(fleet), Some(there)) = (&policy.fleet, there) else { return limit };
    if limit.dead() || there.gateway_percent == 0 || !limit.requests.is_finite() {
        return limit;
    }
    let (requests, weighted) = spilled(policy, next);
    let each = if requests > 0.0 && weighted > 0.0 { weighted / requests } else { 1.0 };
    let requests = FleetState::with_gateways(fleet, there, limit.requests, each);
    let why = format!(
        "{requests:.0} requests/s with {} gateways; functions alone {}",
        there.gateways_healthy, limit.why
    );
    Limit { requests, why, ..limit }
}

/// Requests per second, and weighted ones, of all sites that are in the cloud.
fn spilled(policy: &Policy, state: &State) -> (f64, f64) {
    let sites = state.sites.values().map(|site| site.demand.spilled(policy));
    sites.fold((0.0, 0.0), |sum, site| (sum.0 + site.0, sum.1 + site.1))
}

/// How far clients of `site` have followed its share. What is remembered holds for as long as that takes
/// after the cloud died, too: it was counted, and what home tells is less exact.
fn following(policy: &Policy, state: &State, site: &SitePolicy, at: UnixMillis) -> Following {
    let share = state.plan.share(&site.id).get();
    let dead = state.cloud.dead_secs(at).is_some_and(|secs| secs >= policy.dns_horizon_secs());
    let site = state.sites.get(&site.id);
    let following = site.map(|site| site.share.following(policy, share, at));
    following.map_or(Following { all: false, largest: 1.0 }, |following| Following {
        all: following.all && dead,
        ..following
    })
}

/// Which part of the cloud's arrivals each site sent there. Their clients cannot be told apart
/// there, so they are divided by what each site should have spilled.
fn cloud_parts(policy: &Policy, state: &State, sensed: &[SiteSense]) -> Vec<f64> {
    let spilled = |site: &SitePolicy, share: f64| {
        state.sites.get(&site.id).map_or(0.0, |s| s.demand.requests() * share)
    };
    let sites = || policy.sites.iter();
    // Who followed an older plan there may be there still.
    let in_cloud = |site: &SitePolicy| {
        let followed = state.sites.get(&site.id).map(|kept| kept.in_cloud);
        let plan = state.plan.sites.get(&site.id);
        plan.map_or(0.0, SitePlan::in_cloud).max(followed.unwrap_or(0.0))
    };
    let by_share: Vec<f64> = sites().map(|site| spilled(site, in_cloud(site))).collect();
    let by_size: Vec<f64> = sites().map(|site| spilled(site, 1.0)).collect();
    // Where the plan sends nobody there, it was for want of room.
    let displaced: Vec<f64> = sensed.iter().map(SiteSense::own_displaced).collect();
    for weights in [by_share, displaced, by_size] {
        let sum: f64 = weights.iter().sum();
        if sum > 0.0 {
            return weights.iter().map(|weight| weight / sum).collect();
        }
    }
    vec![1.0 / policy.sites.len() as f64; policy.sites.len()]
}

/// Takes in what was seen of one site and computes what share it needs.
fn view<'a>(
    policy: &Policy,
    next: &mut State,
    site: &'a SitePolicy,
    mut sense: SiteSense,
    spilled: &Spilled<'_>,
    cloud_gap: &str,
    observation: &'a Observation,
) -> View<'a> {
    let (at, orders) = (observation.at, &observation.orders);
    let in_force = next.tier.set(policy, orders, at);
    let settled = next.tier.settled(&in_force, at);
    let share = next.plan.share(&site.id).get();
    let plan = next.plan.sites.get(&site.id);
    let mode = plan.map_or(SpillMode::Redirect, |plan| plan.mode);
    let home_qps = plan.and_then(|plan| plan.home_qps);
    let in_cloud = plan.map_or(0.0, SitePlan::in_cloud);
    let State { sites, learned, .. } = next;
    let kept = sites.entry(site.id.clone()).or_default();
    let settling = kept.share.settling(at) || !settled || kept.host.hosts(at);
    let pressure = Pressure::of(site, &sense, settling);
    let mut view = View {
        site,
        service: Service::default(),
        now: Now::default(),
        pressure,
        expected: Expected::default(),
        need: Need::default(),
        present: Expected::default(),
        share,
        most: 1.0,
        offers: Vec::new(),
        helped: Vec::new(),
        room: None,
        order: orders.share(&site.id, at),
        moved: Move::Kept(share),
        mode,
        home_qps,
        reweighed: None,
        sense: SiteSense::default(),
    };
    if matches!(spilled, Spilled::Unknown) && (in_cloud > 0.0 || kept.demand.in_cloud()) {
        sense.gaps.push(cloud_gap.to_owned());
    }
    if sense.sees() {
        let context = Context {
            policy,
            site,
            set: &in_force,
            learns: settled,
            at,
            usual: !orders.events_at(&site.id).near(at),
            share,
            steady: kept.share.steady(at),
            congested: pressure.held_back,
        };
        view.now = kept.demand.update(&context, learned, &sense, spilled);
        view.pressure = pressure.with_compute(site, view.now.home_weight);
        view.service = kept.service.update(&sense, site.groups.len());
        let floor = orders.floor(at).map_or(Tier::Normal, |order| order.tier);
        // While home alone serves, what the knobs in force release is room for who comes home.
        let asked = match spilled {
            Spilled::Lost(_) => in_force.clone(),
            _ => KnobSet::of(policy, |knob| knob.tier <= floor, orders, at),
        };
        let horizon = policy.redirect_horizon_secs();
        let bytes = learned.bytes(policy, &asked, Trust::Likely);
        let loads = kept.demand.loads(policy, learned, &asked, &bytes);
        view.expected = kept.demand.upper(&loads, horizon);
        let case = Case {
            expected: &view.expected,
            likely: kept.demand.likely(&loads, horizon),
            present: kept.demand.present(&loads),
            lasting: kept.demand.lasting(&loads),
            falls: kept.demand.falls(),
            redirect_bits: view.now.redirect_bits,
            down: view.service.down,
            overflows: home_qps.is_some() && !matches!(spilled, Spilled::Lost(_)),
            noise: kept.demand.noise(),
            pressure: view.pressure,
            sense: &sense,
        };
        view.need = kept.share.need(policy, site, &case, share);
    }
    let plain = settled && in_force.key.is_empty();
    view.reweighed = learn_site(policy, kept, &view, &sense, observation, plain);
    view.sense = sense;
    view
}

/// Learns from what was seen of one site, blind or not; says why other weights are used from now on.
fn learn_site(
    policy: &Policy,
    kept: &mut SiteState,
    view: &View<'_>,
    sense: &SiteSense,
    observation: &Observation,
    plain: bool,
) -> Option<String> {
    let seen = Seen {
        policy,
        site: view.site,
        observation,
        sense,
        service: &view.service,
        load: (view.now.home_weight, view.now.served_weight),
        plain,
    };
    let SiteState { learning, demand, .. } = kept;
    let new = learning.update(&seen, |place| demand.weight(policy, place))?;
    demand.reweigh(policy, new.weights);
    Some(new.why)
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

/// Divides what the cloud takes among the sites, in proportion to what each needs beside what other sites
/// offer.
fn allot(policy: &Policy, state: &State, limit: &Limit, views: &mut [View<'_>]) {
    if limit.dead() {
        for view in views {
            view.most = view.offered();
        }
        return;
    }
    let total: f64 = views.iter().map(|view| asked(state, view)).sum();
    let part = if total > limit.requests { limit.requests / total } else { return };
    for view in views {
        view.most = view.offered() + part * view.beyond();
        if limit.keeps || policy.routes.is_empty() {
            view.most = view.most.max(view.share);
        }
    }
}

/// Requests per second that a site asks of the cloud.
fn asked(state: &State, view: &View<'_>) -> f64 {
    if view.sense.sees() {
        view.beyond() * view.expected.movable_requests
    } else {
        let site = state.sites.get(&view.site.id);
        let in_cloud = (view.share - view.offered()).max(0.0);
        in_cloud * site.map_or(0.0, |site| site.demand.requests())
    }
}

/// What each gateway is to give the site's services at most: its part of what these serve within their
/// limit. Where the cloud takes nothing more as it is, `full`, gateways leave everything to home: what may
/// come is for the share.
fn home_qps(policy: &Policy, view: &View<'_>, limit: &Limit, full: bool) -> Option<f64> {
    let held = view.order.is_some() && view.need.share() > view.reach();
    if limit.dead() || (view.sense.sees() && (full || held)) {
        return None;
    }
    if !view.sense.sees() {
        return view.home_qps;
    }
    let room = view.site.weighted_qps * policy.compute_target * view.now.declared;
    let each = room / f64::from(view.sense.gateways.max(1));
    // No plan is worth a small difference.
    let same = |before: &f64| (each / before - 1.0).abs() < HOME_QPS_BAND;
    Some(view.home_qps.filter(same).unwrap_or(each))
}

/// What a share is moved by, beside what the site needs.
struct Way {
    /// When the cloud is dead: whether home takes what it carries at once.
    alone: Option<bool>,
    /// Whether what is in force stays, but for an order.
    holds: bool,
    /// Where money allows no more.
    money: Option<ForMoney>,
}

/// Moves the share of one site, and says how what is spilled is to move.
fn move_share(
    policy: &Policy,
    site: &mut SiteState,
    view: &mut View<'_>,
    way: &Way,
    at: UnixMillis,
) {
    let Way { alone, holds, money } = *way;
    let allowed = Allowed { most: view.most, whole: view.sense.whole(), money };
    let before = site.share.clone();
    view.moved = match alone {
        _ if !view.sense.sees() => Move::Kept(view.share),
        // As long as sites that help serve all that is away, nothing is as if the cloud were dead.
        Some(_) if view.offered() > 0.0 && view.share <= view.offered() => {
            site.share.next(policy, &view.need, allowed, view.share, at)
        }
        Some(at_once) => {
            let shares = (view.share, view.offered());
            site.share.next_alone(policy, &view.need, at_once, shares, at)
        }
        None => site.share.next(policy, &view.need, allowed, view.share, at),
    };
    let decided = view.moved.share();
    let held = held(view, alone.is_some(), holds);
    if (held - decided).abs() > 0.0 {
        let decided_state = std::mem::replace(&mut site.share, before);
        let calm = decided_state.calm(policy, at);
        site.share.ordered(policy, decided_state, (view.share, held), at);
        let moves = (held - view.share).abs() > 0.0;
        let obeys = |order: &ShareOrder| order.bound.hold(decided, order.share.get());
        let obeyed = view.order.map(obeys).is_some_and(|obeyed| (obeyed - decided).abs() > 0.0);
        view.moved = match view.moved {
            _ if moves || obeyed => Move::Ordered(held, decided),
            // Step by step, but who is told wants to know how far.
            Move::Lowered(next) => Move::Advised(held, calm.unwrap_or(next).min(next)),
            _ => Move::Advised(held, decided),
        };
    }
    if !view.sense.sees() || holds {
        return;
    }
    let line = view.expected.line(view.site.cap, policy.uplink_target, 0.0);
    let fits = |part: f64| view.expected.bits() <= line * part;
    view.mode = match (view.mode, view.share > 0.0) {
        _ if view.moved.share() <= 0.0 => SpillMode::Redirect,
        // Proxying spares the client a turn, but its answers cross the uplink after all.
        (_, false) if view.need.compute > 0.0 && fits(0.9) => SpillMode::Proxy,
        (SpillMode::Proxy, true) if fits(1.0) => SpillMode::Proxy,
        _ => SpillMode::Redirect,
    };
}

/// Where the share of a site is held, by an order or because what is in force stays; else where it was
/// decided to be. While the cloud is dead nobody is sent there, nor does an order stand against bringing
/// clients home; where nothing else brings them, one may.
fn held(view: &View<'_>, dead: bool, holds: bool) -> f64 {
    let ordered = |share: f64| view.order.map_or(share, |o| o.bound.hold(share, o.share.get()));
    match (holds, dead) {
        (false, true) => view.moved.share(),
        (false, false) => ordered(view.moved.share()),
        (true, false) => ordered(view.share),
        (true, true) => ordered(view.share).min(view.share),
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

/// The site as people see it. A blind site is shown as last seen.
fn note_status(view: &View<'_>, status: &mut SiteStatus) {
    status.share = Share::clamped(view.moved.share());
    status.mode = view.mode;
    status.helped = view.helped.iter().filter(|help| !help.below.is_zero()).cloned().collect();
    status.uplink_cap_bits_per_sec = view.site.cap;
    status.weighted_qps_max = view.site.weighted_qps;
    status.p95_limit_ms = view.site.p95_ms;
    if let Some(uplink) = view.sense.uplink {
        status.uplink_bits_per_sec = uplink.bits_per_sec;
    }
    if view.sense.sees() {
        status.demand_bits_per_sec = view.now.bits;
        status.forecast_bits_per_sec = view.expected.bits();
        status.weighted_qps = view.now.home_weight;
        status.requests_per_sec = view.now.requests;
        status.visitors_per_sec = view.now.visitors;
        status.p95_ms = view.sense.p95_ms;
        status.failed_per_sec = view.now.failed;
    }
}
