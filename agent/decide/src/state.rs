//! What one tick hands to the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spillway_model::api::SiteStatus;
use spillway_model::{Plan, RouteId, SiteId};

use crate::budget::BudgetState;
use crate::bytes::LearnedBytes;
use crate::cloud::CloudState;
use crate::demand::Demand;
use crate::fleet::FleetState;
use crate::help::{HelpState, HostState};
use crate::lead::Leads;
use crate::learning::Learning;
use crate::levers::Levers;
use crate::observe::Readings;
use crate::policy::Policy;
use crate::record::Unraised;
use crate::service::ServiceState;
use crate::share::ShareState;
use crate::tier::TierState;

/// What one tick hands to the next: last readings, what was learned, forecasts, timers, and the plan.
/// Its size is bounded by the configuration, and JSON holds it without loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The routes that the lists below are in the order of.
    routes: Vec<RouteId>,
    pub(crate) readings: Readings,
    pub(crate) learned: LearnedBytes,
    pub(crate) sites: BTreeMap<SiteId, SiteState>,
    pub(crate) cloud: CloudState,
    pub(crate) tier: TierState,
    #[serde(default)]
    pub(crate) fleet: FleetState,
    #[serde(default)]
    pub(crate) levers: Levers,
    /// How long both take.
    #[serde(default)]
    pub(crate) leads: Leads,
    /// Money that was spent is not forgotten, whatever else is.
    #[serde(default)]
    pub(crate) budget: BudgetState,
    pub(crate) plan: Plan,
}

/// What is kept of one site.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SiteState {
    pub(crate) demand: Demand,
    pub(crate) share: ShareState,
    #[serde(default)]
    pub(crate) service: ServiceState,
    #[serde(default)]
    pub(crate) learning: Learning,
    #[serde(default)]
    pub(crate) unraised: Option<Unraised>,
    /// What it has of sites that help it, and what it is as one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) help: BTreeMap<SiteId, HelpState>,
    #[serde(default)]
    pub(crate) host: HostState,
    /// The part of its clients that the cloud serves, or did until they asked DNS again.
    #[serde(default)]
    pub(crate) in_cloud: f64,
    /// As last seen: what a blind tick shows.
    pub(crate) status: SiteStatus,
}

impl State {
    /// Of an agent that has seen nothing yet.
    #[must_use]
    pub fn initial(policy: &Policy) -> Self {
        Self {
            routes: policy.routes.iter().map(|route| route.id.clone()).collect(),
            readings: Readings::default(),
            learned: LearnedBytes::default(),
            sites: policy
                .sites
                .iter()
                .map(|site| (site.id.clone(), SiteState::default()))
                .collect(),
            cloud: CloudState::default(),
            tier: TierState::default(),
            fleet: FleetState::default(),
            levers: Levers::default(),
            leads: Leads::default(),
            budget: BudgetState::default(),
            plan: policy.initial_plan(),
        }
    }

    /// After a restart: the newer of the own plan and `plan`, the one the data plane acts on, goes
    /// on. What was learned slowly is kept; readings, forecasts and timers are of another time, so
    /// everything holds until there is fresh data, and nothing is lowered before a whole dwell of it.
    #[must_use]
    pub fn resume(mut self, plan: &Plan) -> Self {
        if plan.generation > self.plan.generation {
            self.plan = plan.clone();
        }
        self.tier = TierState::resumed(&self.plan);
        self.readings = Readings::default();
        self.learned.forget_present();
        self.cloud.forget_present();
        self.fleet.forget_present();
        self.levers.forget_present();
        self.leads.forget_present();
        for site in self.sites.values_mut() {
            site.demand.forget_present();
            site.share.forget_present();
            site.service = ServiceState::default();
            site.learning.forget_present();
            site.unraised = None;
            site.help.clear();
            (site.host, site.in_cloud) = (HostState::default(), 0.0);
        }
        self
    }

    /// The plan in force.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// This state for `policy`: a changed configuration drops what no longer fits it.
    pub(crate) fn fitted(&self, policy: &Policy) -> Self {
        let mut next = self.clone();
        if !policy.routes.iter().map(|route| &route.id).eq(&self.routes) {
            let fresh = Self::initial(policy);
            next.routes = fresh.routes;
            next.readings = fresh.readings;
            next.learned = fresh.learned;
            for site in next.sites.values_mut() {
                site.demand.forget_routes();
                site.learning.forget_routes();
            }
        }
        next.tier.fit(policy);
        next.learned.releases.fit(policy);
        next.sites.retain(|id, _| policy.sites.iter().any(|site| &site.id == id));
        for site in &policy.sites {
            next.sites.entry(site.id.clone()).or_default();
        }
        next
    }
}
