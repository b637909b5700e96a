//! What the decision goes by: the configuration, reduced to what control needs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use spillway_model::config::ServiceInstance;
use spillway_model::mode::Mode;
use spillway_model::plan::{SpillMode, Tier};
use spillway_model::{Config, KnobId, Plan, RouteId, Salt, SiteId};

use crate::budget::BudgetPolicy;
use crate::calendar::Calendar;
use crate::event::{CAPACITY_LEAD, REPLICAS_LEAD, WARM_LEAD};
use crate::fleet::FleetPolicy;
use crate::levers::LeversPolicy;
use crate::season::SeasonPolicy;
use crate::state::State;

/// No request weighs more, so that sums of weights stay finite.
const WEIGHT_MAX: f64 = 1e9;

/// What the decision goes by. Immutable; made once from the configuration.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) salt: Salt,
    pub(crate) lease_secs: u64,
    pub(crate) dns_ttl_secs: u32,
    /// Seconds between two decisions.
    pub(crate) tick_secs: f64,
    pub(crate) tick_ms: u64,
    pub(crate) uplink_target: f64,
    pub(crate) compute_target: f64,
    pub(crate) share_dwell_secs: u64,
    /// Most that the share falls by in a second.
    pub(crate) share_step_down: f64,
    pub(crate) tier_rise_secs: u64,
    pub(crate) tier_dwell_secs: u64,
    pub(crate) sites: Vec<SitePolicy>,
    pub(crate) routes: Vec<RoutePolicy>,
    /// The routes' places in the order of their names, as loads have them.
    by_name: Vec<(RouteId, usize)>,
    pub(crate) knobs: Vec<KnobPolicy>,
    /// Bits that a request in the cloud brings back over its site's uplink.
    pub(crate) backhaul_bits: f64,
    /// Whether the cloud's side reports its load. Where nothing does, its part of the demand is
    /// inferred from the ranks, and its limits are unknown.
    pub(crate) cloud_reports: bool,
    /// What gateways call the cloud's addresses among their upstreams.
    pub(crate) cloud_upstreams: Vec<String>,
    /// How far it is acted on, without an order.
    pub(crate) mode: Mode,
    /// How far the season's forecast looks ahead, lever by lever as in [`Coming`](crate::event::Coming).
    pub(crate) season: SeasonPolicy,
    /// Whether there is a cloud on AWS.
    pub(crate) on_aws: bool,
    /// What it may have at hand beside gateways.
    pub(crate) levers: LeversPolicy,
    /// What the cloud costs and may cost, if there is a cap.
    pub(crate) budget: Option<BudgetPolicy>,
    /// The cloud's gateways, if there may be any.
    pub(crate) fleet: Option<FleetPolicy>,
}

#[derive(Debug, Clone)]
pub(crate) struct SitePolicy {
    pub(crate) id: SiteId,
    /// The cap of the uplink, bits per second.
    pub(crate) cap: f64,
    pub(crate) queue_bytes: f64,
    /// What is served in time, as learned, and as declared.
    pub(crate) weighted_qps: f64,
    pub(crate) declared_qps: f64,
    pub(crate) p95_ms: f64,
    pub(crate) interface: bool,
    /// Places of the sites that may help it in [`Policy::sites`], the first one first.
    pub(crate) helped_by: Vec<usize>,
    /// Name and data address of each gateway, the two names a balancer may know it by.
    pub(crate) gateways: Vec<(String, String)>,
    /// Names of the services of each group of routes.
    pub(crate) groups: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone)]
pub(crate) struct RoutePolicy {
    pub(crate) id: RouteId,
    pub(crate) weight: f64,
    pub(crate) response_bytes: f64,
    /// A 307 may send it away, which spares the uplink.
    pub(crate) redirects: bool,
    /// It may be served by the cloud in some way, which spares compute.
    pub(crate) spills: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct KnobPolicy {
    pub(crate) id: KnobId,
    pub(crate) tier: Tier,
    pub(crate) releases: f64,
    /// Places in [`Policy::routes`].
    pub(crate) sheds: Vec<usize>,
}

impl KnobPolicy {
    /// The part of the bytes of what it does not shed that it is declared to release: one that sheds is
    /// counted by that.
    pub(crate) fn declared(&self) -> f64 {
        if self.sheds.is_empty() { self.releases } else { 0.0 }
    }
}

impl Policy {
    /// What `of` says of each route that a load has, in the order of the routes' places.
    pub(crate) fn by_place<L, T: Copy + Default>(
        &self,
        loads: &BTreeMap<RouteId, L>,
        of: impl Fn(&L) -> T,
    ) -> Vec<T> {
        let mut all = vec![T::default(); self.routes.len()];
        self.each_place(loads, |place, load| {
            if let Some(all) = place.and_then(|place| all.get_mut(place)) {
                *all = of(load);
            }
        });
        all
    }

    /// Goes through what a load has of each route, with the route's place where there is such a route. Both
    /// have their order by name, and are walked through together.
    pub(crate) fn each_place<L>(
        &self,
        loads: &BTreeMap<RouteId, L>,
        mut take: impl FnMut(Option<usize>, &L),
    ) {
        let mut places = self.by_name.iter().peekable();
        for (id, load) in loads {
            let mut found = None;
            while let Some((name, place)) = places.peek() {
                // Nearly always: parts have the routes of the same configuration.
                if name == id {
                    found = Some(*place);
                } else if name > id {
                    break;
                }
                places.next();
                if found.is_some() {
                    break;
                }
            }
            take(found, load);
        }
    }

    /// Reduces a configuration to what control needs.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let places: BTreeMap<&RouteId, usize> =
            config.routes.iter().enumerate().map(|(i, route)| (&route.id, i)).collect();
        let agent = &config.agent;
        let fleet = config.cloud.aws.as_ref().and_then(|aws| {
            let gateways = aws.gateways.as_ref()?;
            Some(FleetPolicy::new(gateways, &aws.prices, agent.compute_target.get()))
        });
        Self {
            by_name: places.iter().map(|(id, place)| (RouteId::clone(id), *place)).collect(),
            salt: config.plan.salt,
            lease_secs: config.plan.lease_secs,
            dns_ttl_secs: config.dns.ttl_secs,
            tick_secs: agent.tick_ms as f64 / 1000.0,
            tick_ms: agent.tick_ms,
            uplink_target: agent.uplink_target.get(),
            compute_target: agent.compute_target.get(),
            share_dwell_secs: agent.share_dwell_secs,
            share_step_down: agent.share_step_down.get(),
            tier_rise_secs: agent.tier_rise_secs,
            tier_dwell_secs: agent.tier_dwell_secs,
            sites: config
                .sites
                .iter()
                .map(|site| SitePolicy {
                    id: site.id.clone(),
                    cap: site.uplink.bits_per_sec as f64,
                    queue_bytes: site.uplink.queue_bytes as f64,
                    weighted_qps: site.capacity.weighted_qps,
                    declared_qps: site.capacity.weighted_qps,
                    p95_ms: site.capacity.p95_ms,
                    interface: site.uplink.interface.is_some(),
                    helped_by: site
                        .helped_by
                        .iter()
                        .filter_map(|id| config.sites.iter().position(|other| other.id == *id))
                        .collect(),
                    gateways: site
                        .gateways
                        .iter()
                        .map(|gateway| (gateway.name.clone(), gateway.listen.to_string()))
                        .collect(),
                    groups: config
                        .routes
                        .iter()
                        .map(|route| {
                            let of =
                                |service: &&ServiceInstance| service.groups.contains(&route.group);
                            let services = site.services.iter().filter(of);
                            let names = services.map(|service| service.name.clone()).collect();
                            (route.group.clone(), names)
                        })
                        .collect(),
                })
                .collect(),
            routes: config
                .routes
                .iter()
                .map(|route| RoutePolicy {
                    id: route.id.clone(),
                    weight: route.weight.min(WEIGHT_MAX),
                    response_bytes: route.response_bytes as f64,
                    redirects: route.spill.contains(&SpillMode::Redirect),
                    spills: !route.spill.is_empty(),
                })
                .collect(),
            knobs: config
                .knobs
                .iter()
                .map(|knob| KnobPolicy {
                    id: knob.id.clone(),
                    tier: knob.tier,
                    releases: knob.releases.get(),
                    sheds: knob.sheds.iter().filter_map(|id| places.get(id).copied()).collect(),
                })
                .collect(),
            backhaul_bits: 8.0 * config.cloud.backhaul_bytes as f64,
            cloud_reports: config.cloud.local.is_some(),
            cloud_upstreams: config
                .cloud
                .slb_addresses
                .iter()
                .map(|address| format!("cloud-{address}"))
                .collect(),
            mode: agent.mode,
            on_aws: config.cloud.aws.is_some(),
            budget: BudgetPolicy::new(config),
            levers: LeversPolicy::new(config),
            season: season(config, fleet.as_ref()),
            fleet,
        }
    }

    /// This with what has been learned of capacities in place of what is declared.
    pub(crate) fn learned(&self, state: &State) -> Cow<'_, Self> {
        let mut policy = Cow::Borrowed(self);
        for (place, site) in self.sites.iter().enumerate() {
            let learning = state.sites.get(&site.id).map(|kept| &kept.learning);
            if let Some(capacity) = learning.and_then(|learning| learning.capacity(site)) {
                policy.to_mut().sites[place].weighted_qps = capacity;
            }
        }
        policy
    }

    /// The plan of sites that serve everything themselves.
    pub(crate) fn initial_plan(&self) -> Plan {
        Plan::initial(self.sites.iter().map(|site| site.id.clone()), self.dns_ttl_secs)
    }

    /// A reading older than this says nothing about now.
    pub(crate) fn stale_ms(&self) -> u64 {
        (3 * self.tick_ms).max(3000)
    }

    /// Seconds from a reading until a decision made on it has moved a client by 307, and the next
    /// decision could have: one tick, and two seconds for the plan to arrive and answers under way
    /// to end.
    pub(crate) fn redirect_horizon_secs(&self) -> f64 {
        self.tick_secs + 2.0
    }

    /// The same until every client has asked DNS again.
    pub(crate) fn dns_horizon_secs(&self) -> f64 {
        f64::from(self.dns_ttl_secs) + 2.0
    }
}

/// Gateways look ahead as far as they boot, and are as sure as pays; the others as is told.
fn season(config: &Config, fleet: Option<&FleetPolicy>) -> SeasonPolicy {
    let agent = &config.agent;
    let quantile = agent.forecast_quantile;
    let gateways = fleet.map_or((0, quantile), |fleet| fleet.looks_ahead(quantile));
    let others = [WARM_LEAD, CAPACITY_LEAD, REPLICAS_LEAD].map(|secs| (secs, quantile));
    let leads = std::iter::once(gateways).chain(others).collect();
    SeasonPolicy::new(Calendar::new(&agent.holidays, agent.utc_offset), leads)
}
