//! Visitors: clients of other sites that this one helps.
//!
//! Name servers send them here by the plan of their own site, as that site's gateways do. They are served
//! like everybody else, and counted beside: what they ask is their own site's demand, not this one's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use spillway_model::config::{Config, Site};
use spillway_model::load::{Load, VisitorLoad};
use spillway_model::plan::SitePlan;
use spillway_model::{ClientPrefix, Plan, Salt, SiteId, rank};
use spillway_part::counters::add;

use crate::route::Route;

/// What one site's clients ask here of one route; as in [`VisitorLoad`].
#[derive(Debug, Default)]
struct Counters {
    arrivals: AtomicU64,
    left: AtomicU64,
}

/// A site of the configuration.
#[derive(Debug)]
struct Guest {
    id: SiteId,
    /// By route; of a site that this one may help.
    counters: Vec<Counters>,
}

/// The clients of all sites that this one may help.
#[derive(Debug)]
pub(crate) struct Visitors {
    here: SiteId,
    /// All sites, since it takes all of them to tell whose client one is; none where this one helps nobody.
    sites: Vec<Guest>,
}

/// One client of another site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visitor<'p> {
    /// The place of its site.
    pub(crate) site: usize,
    /// What its site is told.
    pub(crate) plan: &'p SitePlan,
}

impl Visitors {
    pub(crate) fn new(config: &Config, site: &Site, routes: usize) -> Self {
        let helps = |other: &Site| other.helped_by.contains(&site.id);
        let guest = |other: &Site| {
            let routes = if helps(other) { routes } else { 0 };
            let counters = (0..routes).map(|_| Counters::default()).collect();
            Guest { id: other.id.clone(), counters }
        };
        let any = config.sites.iter().any(helps);
        let sites = if any { config.sites.iter().map(guest).collect() } else { Vec::new() };
        Self { here: site.id.clone(), sites }
    }

    /// Whose client one is, if it is a visitor: one that its own site's plan sends here, or did until a
    /// moment ago.
    pub(crate) fn of<'p>(
        &self,
        plan: &'p Plan,
        salt: &Salt,
        prefix: ClientPrefix,
    ) -> Option<Visitor<'p>> {
        let helped = |guest: &Guest| {
            let plan = plan.sites.get(&guest.id).filter(|_| !guest.counters.is_empty())?;
            let help = plan.helped.iter().find(|help| help.site == self.here)?;
            Some((plan, help.visits_below()))
        };
        // Nearly always nobody is helped, which is quickly seen.
        let most = self.sites.iter().filter_map(helped).map(|(_, below)| below);
        let most = most.reduce(|a, b| if a > b { a } else { b })?;
        if !rank::spilled(salt, prefix, most) {
            return None;
        }
        let home = rank::home(salt, prefix, &self.sites, |guest| &guest.id)?;
        let (plan, below) = helped(home)?;
        let site = self.sites.iter().position(|guest| guest.id == home.id)?;
        rank::spilled(salt, prefix, below).then_some(Visitor { site, plan })
    }

    /// Counts the arrival of a request.
    pub(crate) fn arrived(&self, site: usize, route: usize) {
        if let Some(counters) = self.counters(site, route) {
            add(&counters.arrivals, 1);
        }
    }

    /// Counts that it went on to the cloud.
    pub(crate) fn left(&self, site: usize, route: usize) {
        if let Some(counters) = self.counters(site, route) {
            add(&counters.left, 1);
        }
    }

    fn counters(&self, site: usize, route: usize) -> Option<&Counters> {
        self.sites.get(site)?.counters.get(route)
    }

    /// Fills in a load report, where there is something to report.
    pub(crate) fn fill(&self, routes: &[Route], load: &mut Load) {
        for guest in &self.sites {
            let read = |(route, counters): (&Route, &Counters)| {
                let arrivals = counters.arrivals.load(Relaxed);
                let left = counters.left.load(Relaxed);
                (arrivals > 0).then(|| (route.id.clone(), VisitorLoad { arrivals, left }))
            };
            let asked: BTreeMap<_, _> =
                routes.iter().zip(&guest.counters).filter_map(read).collect();
            if !asked.is_empty() {
                load.visitors.insert(guest.id.clone(), asked);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use spillway_model::Share;
    use spillway_model::plan::Help;

    use super::*;

    const SALT: Salt = Salt::new(*b"0123456789abcdef");

    fn id(name: &str) -> SiteId {
        SiteId::new(name).unwrap()
    }

    fn visitors(here: &str) -> Visitors {
        let text = include_str!("../../../examples/spillway.toml");
        let mut config = Config::parse(text, Path::new("")).unwrap();
        let mut west = config.sites[0].clone();
        west.id = id("west");
        config.sites[0].helped_by = vec![id("west")];
        config.sites.push(west);
        let site = config.sites.iter().find(|site| site.id == id(here)).unwrap();
        Visitors::new(&config, site, 2)
    }

    fn plan(below: f64, until: f64) -> Plan {
        let mut plan = Plan::initial([id("east"), id("west")], 5);
        let (below, until) = (Share::clamped(below), Share::clamped(until));
        let help = Help { site: id("west"), below, until };
        let east = plan.sites.get_mut(&id("east")).unwrap();
        (east.share, east.helped) = (below, vec![help]);
        plan
    }

    proptest! {
        /// Every client of the helped site that may come by the plan or by the one before, and nobody else.
        #[test]
        fn a_visitor_is_who_was_sent(octets: [u8; 3], below in 0.0..=1.0, until in 0.0..=1.0) {
            let prefix = ClientPrefix::V4(octets);
            let plan = plan(below, until);
            let sites = [id("east"), id("west")];
            let east = rank::home(&SALT, prefix, &sites, |id| id) == Some(&sites[0]);
            let sent = east && rank::rank(&SALT, prefix) < f64::max(below, until);
            prop_assert_eq!(visitors("west").of(&plan, &SALT, prefix).is_some(), sent);
            prop_assert!(visitors("east").of(&plan, &SALT, prefix).is_none(), "east helps nobody");
            let unhelped = Plan::initial(sites, 5);
            prop_assert!(visitors("west").of(&unhelped, &SALT, prefix).is_none());
        }
    }
}
