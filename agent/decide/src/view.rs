//! One site during one tick: what was seen of it, what it will need, and what is decided of it.

use spillway_model::Share;
use spillway_model::api::{Bound, ShareOrder, SiteStatus};
use spillway_model::plan::{Help, SitePlan, SpillMode, Tier};

use crate::Observation;
use crate::demand::{Context, Now, Spilled};
use crate::expected::Expected;
use crate::help::{Offer, Room};
use crate::learning::Seen;
use crate::observe::SiteSense;
use crate::policy::{Policy, SitePolicy};
use crate::release::Trust;
use crate::service::Service;
use crate::share::{Case, Move, Need, Pressure};
use crate::state::{SiteState, State};
use crate::tier::KnobSet;

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
    pub(crate) fn reach(&self) -> f64 {
        match self.order {
            Some(order) if order.bound != Bound::AtLeast => self.most.min(order.share.get()),
            _ => self.most,
        }
    }

    /// The part of the clients that other sites would serve.
    pub(crate) fn offered(&self) -> f64 {
        self.offers.iter().map(|offer| offer.part).sum()
    }

    /// The part of the clients that needs the cloud.
    pub(crate) fn beyond(&self) -> f64 {
        (self.need.share() - self.offered()).max(0.0)
    }

    /// The part of the clients that other sites serve from now on.
    pub(crate) fn helped(&self) -> f64 {
        let bounds = self.helped.iter().map(|help| help.below.get());
        bounds.fold(0.0, f64::max).min(self.moved.share())
    }
}

/// Takes in what was seen of one site and computes what share it needs.
pub(crate) fn view<'a>(
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

/// The site as people see it. A blind site is shown as last seen.
pub(crate) fn note_status(view: &View<'_>, status: &mut SiteStatus) {
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
