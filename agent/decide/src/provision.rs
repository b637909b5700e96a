//! What the cloud is to have at hand: gateways, functions, capacity, replicas.

use spillway_model::Fleet;
use spillway_model::api::Advice;
use spillway_model::load::FleetLoad;

use crate::Observation;
use crate::allot::spilled;
use crate::cloud::Limit;
use crate::event;
use crate::event::Coming;
use crate::fleet::FleetSense;
use crate::mode;
use crate::mode::Acting;
use crate::policy::Policy;
use crate::state::State;
use crate::view::View;

/// What the cloud's side is asked for by.
pub(crate) struct Asked<'a> {
    pub(crate) acting: Acting,
    pub(crate) there: &'a Result<&'a FleetLoad, String>,
    pub(crate) limit: &'a Limit,
    pub(crate) views: &'a [View<'a>],
    pub(crate) observation: &'a Observation,
    /// How many gateways the budget allows.
    pub(crate) afford: u32,
}

/// What the cloud is to have at hand, and why.
pub(crate) fn fleet(
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
