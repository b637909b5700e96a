//! Where a client goes: the plan and the configuration, made ready for answers.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::{RData, RecordType};
use spillway_model::plan::SitePlan;
use spillway_model::rank::{self, Place, rank};
use spillway_model::{ClientPrefix, Config, Plan, Salt, Share, SiteId};

use crate::zone::Zones;

/// All that an answer depends on besides the query: one immutable value a plan.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(crate) zones: Arc<Zones>,
    pub(crate) steering: Steering,
}

impl Snapshot {
    /// Puts zones and steering together. The zones must have been told of the steered names with
    /// [`Zones::steer`] and [`Zones::cloud`].
    #[must_use]
    pub fn new(zones: Arc<Zones>, steering: Steering) -> Self {
        Self { zones, steering }
    }
}

/// The plan, made ready.
#[derive(Debug, Clone)]
pub struct Steering {
    salt: Salt,
    sites: Vec<Site>,
    pub(crate) cloud: Addresses,
    /// Least of the sites' times to live: that of the cloud's own name.
    pub(crate) cloud_ttl_secs: u32,
}

#[derive(Debug, Clone)]
struct Site {
    id: SiteId,
    addresses: Addresses,
    plan: SitePlan,
}

/// Addresses as record data, by family.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses {
    v4: Vec<RData>,
    v6: Vec<RData>,
}

impl Addresses {
    fn new(addresses: &[IpAddr]) -> Self {
        let (v4, v6) = addresses.iter().partition::<Vec<_>, _>(|address| address.is_ipv4());
        let data = |list: Vec<IpAddr>| list.into_iter().map(RData::from).collect();
        Self { v4: data(v4), v6: data(v6) }
    }

    /// The data of A or AAAA records; none of other types.
    pub(crate) fn of(&self, rtype: RecordType) -> &[RData] {
        match rtype {
            RecordType::A => &self.v4,
            RecordType::AAAA => &self.v6,
            _ => &[],
        }
    }

    fn all(&self) -> Vec<IpAddr> {
        self.v4.iter().chain(&self.v6).filter_map(RData::ip_addr).collect()
    }
}

/// Where one client goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'s> {
    pub(crate) to_cloud: bool,
    pub(crate) addresses: &'s Addresses,
    pub(crate) ttl_secs: u32,
}

impl Steering {
    /// Makes a plan ready. A site that the plan does not know spills nobody.
    #[must_use]
    pub fn new(config: &Config, plan: &Plan) -> Self {
        let unknown =
            |id: &SiteId| Plan::initial([id.clone()], config.dns.ttl_secs).sites.remove(id);
        let of = |id| plan.sites.get(id).cloned().or_else(|| unknown(id));
        let sites: Vec<Site> = config
            .sites
            .iter()
            .filter_map(|site| {
                Some(Site {
                    id: site.id.clone(),
                    addresses: Addresses::new(&site.vips),
                    plan: of(&site.id)?,
                })
            })
            .collect();
        let ttls = sites.iter().map(|site| site.plan.dns_ttl_secs);
        Self {
            salt: config.plan.salt,
            cloud: Addresses::new(&config.cloud.slb_addresses),
            cloud_ttl_secs: ttls.min().unwrap_or(config.dns.ttl_secs),
            sites,
        }
    }

    /// The addresses of the configuration's site at `place`, by their type, for its own name; none where
    /// there is no such site.
    pub(crate) fn site(&self, place: usize, rtype: RecordType) -> (&[RData], u32) {
        let site = self.sites.get(place);
        site.map_or((&[], self.cloud_ttl_secs), |site| {
            (site.addresses.of(rtype), site.plan.dns_ttl_secs)
        })
    }

    /// The client's site. Every name server agrees, and a site that is added or removed moves only the
    /// clients that it gains or loses.
    fn home(&self, client: ClientPrefix) -> Option<&Site> {
        rank::home(&self.salt, client, &self.sites, |site| &site.id)
    }

    /// The site that serves a client of `home`; `None` when the cloud does. A site that helps and is not
    /// in the configuration is not known to be anywhere.
    fn served_by<'s>(&'s self, client: ClientPrefix, home: &'s Site) -> Option<&'s Site> {
        match rank::place(&self.salt, client, &home.plan) {
            Place::Home => Some(home),
            Place::Site(id) => self.sites.iter().find(|site| site.id == *id),
            Place::Cloud => None,
        }
    }

    pub(crate) fn choose(&self, client: ClientPrefix) -> Choice<'_> {
        let Some(home) = self.home(client) else {
            return Choice {
                to_cloud: true,
                addresses: &self.cloud,
                ttl_secs: self.cloud_ttl_secs,
            };
        };
        let site = self.served_by(client, home);
        Choice {
            to_cloud: site.is_none(),
            addresses: site.map_or(&self.cloud, |site| &site.addresses),
            ttl_secs: home.plan.dns_ttl_secs,
        }
    }
}

/// Why a client gets the answer it gets.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Explanation {
    /// The prefix it is steered by.
    pub client: ClientPrefix,
    /// Its site.
    pub site: Option<SiteId>,
    /// Its rank, in [0,1).
    pub rank: f64,
    /// What its site spills; it is spilled when its rank is below.
    pub share: Share,
    /// The other site that serves it, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helped_by: Option<SiteId>,
    /// Whether the cloud serves it.
    pub to_cloud: bool,
    /// What it is told, both families.
    pub addresses: Vec<IpAddr>,
    /// For how long it may remember that, in seconds.
    pub ttl_secs: u32,
}

/// Explains the answer that a client gets for the steered name.
#[must_use]
pub fn explain(snapshot: &Snapshot, client: IpAddr) -> Explanation {
    let steering = &snapshot.steering;
    let client = ClientPrefix::from(client);
    let home = steering.home(client);
    let choice = steering.choose(client);
    Explanation {
        client,
        site: home.map(|site| site.id.clone()),
        rank: rank(&steering.salt, client),
        share: home.map_or(Share::ONE, |site| site.plan.share),
        helped_by: home.and_then(|home| {
            let site = steering.served_by(client, home)?;
            (site.id != home.id).then(|| site.id.clone())
        }),
        to_cloud: choice.to_cloud,
        addresses: choice.addresses.all(),
        ttl_secs: choice.ttl_secs,
    }
}
