//! What the cloud takes, what of it each site asks for, and what each gets.

use spillway_model::UnixMillis;
use spillway_model::load::FleetLoad;
use spillway_model::plan::SitePlan;

use crate::Observation;
use crate::cloud::Limit;
use crate::demand::Following;
use crate::fleet::FleetState;
use crate::observe::{CloudSense, SiteSense};
use crate::policy::{Policy, SitePolicy};
use crate::state::State;
use crate::view::View;

/// What gateways give home is changed where it changes by this part.
const HOME_QPS_BAND: f64 = 0.02;

/// What the cloud takes: functions, and gateways beside them.
pub(crate) fn limit(
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
pub(crate) fn spilled(policy: &Policy, state: &State) -> (f64, f64) {
    let sites = state.sites.values().map(|site| site.demand.spilled(policy));
    sites.fold((0.0, 0.0), |sum, site| (sum.0 + site.0, sum.1 + site.1))
}

/// How far clients of `site` have followed its share. What is remembered holds for as long as that takes
/// after the cloud died, too: it was counted, and what home tells is less exact.
pub(crate) fn following(
    policy: &Policy,
    state: &State,
    site: &SitePolicy,
    at: UnixMillis,
) -> Following {
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
pub(crate) fn cloud_parts(policy: &Policy, state: &State, sensed: &[SiteSense]) -> Vec<f64> {
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

/// Divides what the cloud takes among the sites, in proportion to what each needs beside what other sites
/// offer.
pub(crate) fn allot(policy: &Policy, state: &State, limit: &Limit, views: &mut [View<'_>]) {
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
pub(crate) fn asked(state: &State, view: &View<'_>) -> f64 {
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
pub(crate) fn home_qps(policy: &Policy, view: &View<'_>, limit: &Limit, full: bool) -> Option<f64> {
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
