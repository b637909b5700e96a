//! Where a client goes: the plan and the configuration, made ready for answers.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::{RData, RecordType};
use spillway_model::rank::{affinity, rank, spilled};
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
    share: Share,
    ttl_secs: u32,
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
        let ttl_secs =
            |id| plan.sites.get(id).map_or(config.dns.ttl_secs, |site| site.dns_ttl_secs);
        let sites: Vec<Site> = config
            .sites
            .iter()
            .map(|site| Site {
                id: site.id.clone(),
                addresses: Addresses::new(&site.vips),
                share: plan.share(&site.id),
                ttl_secs: ttl_secs(&site.id),
            })
            .collect();
        Self {
            salt: config.plan.salt,
            cloud: Addresses::new(&config.cloud.slb_addresses),
            cloud_ttl_secs: sites.iter().map(|s| s.ttl_secs).min().unwrap_or(config.dns.ttl_secs),
            sites,
        }
    }

    /// The client's site: the one of the greatest affinity. Without a map of networks there is no
    /// nearer or farther, but every name server agrees, and a site that is added or removed moves
    /// only the clients that it gains or loses.
    fn home(&self, client: ClientPrefix) -> Option<&Site> {
        match self.sites.as_slice() {
            [only] => Some(only),
            many => many.iter().max_by_key(|site| affinity(&self.salt, client, &site.id)),
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
        let to_cloud = spilled(&self.salt, client, home.share);
        let addresses = if to_cloud { &self.cloud } else { &home.addresses };
        Choice { to_cloud, addresses, ttl_secs: home.ttl_secs }
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
        share: home.map_or(Share::ONE, |site| site.share),
        to_cloud: choice.to_cloud,
        addresses: choice.addresses.all(),
        ttl_secs: choice.ttl_secs,
    }
}
