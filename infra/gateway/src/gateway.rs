//! What all requests of a gateway share.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use http::HeaderValue;
use spillway_model::config::{Balancer, Config, Service, Site};
use spillway_model::load::Load;
use spillway_model::{ClientPrefix, RouteId, Salt, SiteId, rank};
use spillway_part::counters::RouteCounters;
use spillway_part::{Plans, Shutdown, clock};

use crate::access_log::AccessLog;
use crate::admission::Admission;
use crate::options::Options;
use crate::route::{RouteError, Table};
use crate::upstream::Upstream;
use crate::visitors::Visitors;

/// The route under which requests are counted that match none.
pub(crate) const UNROUTED: &str = "unrouted";

/// Everything shared.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) site: SiteId,
    pub(crate) service: Service,
    /// The names that sites have of their own, where clients of those that they help are sent.
    hosts: BTreeMap<SiteId, String>,
    pub(crate) visitors: Visitors,
    pub(crate) balancer: Balancer,
    /// Whether a PROXY header that is not believed was reported.
    pub(crate) disbelief: AtomicBool,
    pub(crate) salt: Salt,
    /// What the hop field of a request that this site set forwarded to the cloud says. A client that
    /// makes one up would otherwise stay at home while others are spilled; without the salt it cannot.
    pub(crate) hop: HeaderValue,
    pub(crate) plans: Plans,
    pub(crate) table: Table,
    pub(crate) options: Options,
    pub(crate) log: Option<AccessLog>,
    pub(crate) shutdown: Shutdown,
    /// The services of this site.
    pub(crate) services: Vec<Arc<Upstream>>,
    /// By route: those of them that have its group.
    homes: Vec<Vec<Arc<Upstream>>>,
    /// What the services are given.
    pub(crate) admission: Admission,
    /// Behind the cloud's load balancer: most weighted requests per second for them, as configured, for
    /// no plan names such a gateway's site. What is beyond is for functions.
    pub(crate) in_cloud_qps: Option<f64>,
    /// The cloud's SLB, by address.
    pub(crate) cloud: Vec<Arc<Upstream>>,
    counters: Vec<RouteCounters>,
    unrouted: RouteCounters,
    random: AtomicU64,
}

impl Gateway {
    pub(crate) fn new(
        config: &Config,
        site: &Site,
        plans: Plans,
        options: Options,
        log: Option<AccessLog>,
        shutdown: Shutdown,
    ) -> Result<Self, RouteError> {
        let table = Table::new(config)?;
        let services: Vec<_> = site
            .services
            .iter()
            .map(|service| Upstream::new(&service.name, service.listen, &options.pool))
            .collect();
        let of_group = |group: &String| {
            let with = site.services.iter().zip(&services);
            with.filter(|(service, _)| service.groups.contains(group))
                .map(|(_, upstream)| upstream.clone())
                .collect()
        };
        let homes = table.routes().iter().map(|route| of_group(&route.group)).collect();
        let of_cloud = |address: &IpAddr| {
            let name = format!("cloud-{address}");
            Upstream::new(&name, (*address, config.service.port).into(), &options.pool)
        };
        let cloud = config.cloud.slb_addresses.iter().map(of_cloud).collect();
        Ok(Self {
            site: site.id.clone(),
            service: config.service.clone(),
            hosts: config
                .sites
                .iter()
                .filter_map(|site| Some((site.id.clone(), site.host.clone()?)))
                .collect(),
            visitors: Visitors::new(config, site, table.routes().len()),
            balancer: site.balancer.clone(),
            disbelief: AtomicBool::new(false),
            salt: config.plan.salt,
            hop: hop(&config.plan.salt),
            plans,
            options,
            log,
            shutdown,
            services,
            homes,
            admission: Admission::new(),
            in_cloud_qps: site.balancer.forwards.then(|| {
                let each = site.capacity.weighted_qps / site.gateways.len().max(1) as f64;
                each * config.agent.compute_target.get()
            }),
            cloud,
            counters: table.routes().iter().map(|_| RouteCounters::default()).collect(),
            unrouted: RouteCounters::default(),
            random: AtomicU64::new(RandomState::new().build_hasher().finish()),
            table,
        })
    }

    /// The services that serve a route.
    pub(crate) fn home(&self, route: usize) -> &[Arc<Upstream>] {
        self.homes.get(route).map_or(&[], Vec::as_slice)
    }

    /// The counters of a route, or those of requests that match none.
    pub(crate) fn counters(&self, route: Option<usize>) -> &RouteCounters {
        route.and_then(|i| self.counters.get(i)).unwrap_or(&self.unrouted)
    }

    /// Whether requests for a host are served here; `host` is without port. HTTP/1.0 may name none and
    /// then means the service. A gateway behind the cloud's load balancer is asked by that one's name.
    pub(crate) fn serves(&self, host: &str) -> bool {
        host.is_empty()
            || host.eq_ignore_ascii_case(&self.service.host)
            || self.is_cloud(host)
            || self.is_here(host)
            || self.table.has_host(host)
    }

    /// Whether a host is the cloud's load balancer, to which clients are sent.
    pub(crate) fn is_cloud(&self, host: &str) -> bool {
        host.eq_ignore_ascii_case(&self.service.slb_host)
    }

    /// Whether a host is the name of this site alone: who asks for that was sent here by another.
    pub(crate) fn is_here(&self, host: &str) -> bool {
        self.host_of(&self.site).is_some_and(|name| host.eq_ignore_ascii_case(name))
    }

    /// The name of a site alone.
    pub(crate) fn host_of(&self, site: &SiteId) -> Option<&str> {
        self.hosts.get(site).map(String::as_str)
    }

    /// Fills in a load report.
    pub(crate) fn fill(&self, load: &mut Load) {
        for (route, counters) in self.table.routes().iter().zip(&self.counters) {
            load.routes.insert(route.id.clone(), counters.read());
        }
        if let Ok(id) = RouteId::new(UNROUTED) {
            load.routes.entry(id).or_default().add(&self.unrouted.read());
        }
        self.visitors.fill(self.table.routes(), load);
        let now = clock::instant();
        for upstream in self.services.iter().chain(&self.cloud) {
            load.upstreams.insert(upstream.name.to_string(), upstream.load(now));
        }
    }

    /// A request id that no other request of this process has: 128 bits in hexadecimal.
    pub(crate) fn request_id(&self) -> String {
        format!("{:016x}{:016x}", self.random(), self.random())
    }

    /// A number for choosing among upstreams: SplitMix64 (Steele, Lea and Flood, 2014) from a seed of
    /// the process's own. Nothing secret depends on it.
    pub(crate) fn random(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.random.fetch_add(GAMMA, Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The rank of a prefix that no client has, as 16 hexadecimal digits.
fn hop(salt: &Salt) -> HeaderValue {
    let nobody = ClientPrefix::V4([255, 255, 255]);
    let digits = format!("{:016x}", rank::rank(salt, nobody).to_bits());
    // Hexadecimal digits always make a value.
    HeaderValue::try_from(digits).unwrap_or(HeaderValue::from_static("0"))
}
