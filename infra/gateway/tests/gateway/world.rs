//! A gateway on free ports, its configuration and plan, and what it reports.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use spillway_gateway::{GatewayError, Listeners, Options, serve};
use spillway_model::config::{Config, ServiceInstance};
use spillway_model::load::{Load, RouteLoad};
use spillway_model::plan::{KnobLease, SpillMode};
use spillway_model::{ClientPrefix, KnobId, Plan, RouteId, Share, SiteId, UnixMillis, rank};
use spillway_part::client::Client as Caller;
use spillway_part::follow::Publisher;
use spillway_part::{Shutdown, clock};
use spillway_test_support::until;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::client::{Client, PATIENCE};
use crate::upstream::{Upstream, nowhere};

const ROUTES: &str = r#"
[[route]]
id = "item"
method = "GET"
path = "/items/{id}"
group = "codes"

[[route]]
id = "create"
method = "POST"
path = "/items"
group = "codes"
body_bytes_max = 1000

[[route]]
id = "slow"
path = "/slow/{*rest}"
group = "codes"
deadline_ms = 1000

[[route]]
id = "any"
path = "/any/{*rest}"
group = "codes"

[[route]]
id = "proxied"
path = "/proxied/{*rest}"
group = "codes"
spill = ["proxy"]

[[route]]
id = "home"
path = "/home/{*rest}"
group = "codes"
deadline_ms = 1000
spill = []

[[knob]]
id = "essential-only"
tier = 3
owner = "duty manager"
users_see = "less"
releases = 0.2
sheds = ["item"]
"#;

/// How to start one.
pub(crate) struct Setup {
    pub(crate) services: Vec<(String, SocketAddr)>,
    pub(crate) cloud: Option<SocketAddr>,
    pub(crate) options: Options,
    pub(crate) share: f64,
    pub(crate) mode: SpillMode,
    /// Where PROXY headers are believed from; by default, what the example says.
    pub(crate) sources: Vec<IpAddr>,
    /// Whether the cloud's load balancer stands before it.
    pub(crate) forwards: bool,
    /// Whether there is a second site, and each may help the other.
    pub(crate) neighbours: bool,
    /// What its services can serve; by default, what the example says.
    pub(crate) weighted_qps: Option<f64>,
}

/// A running one.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) config: Config,
    pub(crate) shutdown: Shutdown,
    publisher: Publisher,
    generation: u64,
    share: f64,
    mode: SpillMode,
    admin: SocketAddr,
    log: PathBuf,
    served: JoinHandle<Result<(), GatewayError>>,
    _folder: TempDir,
}

pub(crate) fn east() -> SiteId {
    SiteId::new("east").unwrap()
}

pub(crate) fn west() -> SiteId {
    SiteId::new("west").unwrap()
}

impl Setup {
    pub(crate) fn of(services: &[&Upstream]) -> Self {
        let mut options = Options::default();
        options.health.period = Duration::from_millis(20);
        options.health.deadline = Duration::from_secs(2);
        options.drain_accept = Duration::from_millis(50);
        Self {
            services: services.iter().map(|s| (s.name.to_owned(), s.address)).collect(),
            cloud: None,
            options,
            share: 0.0,
            mode: SpillMode::Redirect,
            sources: Vec::new(),
            forwards: false,
            neighbours: false,
            weighted_qps: None,
        }
    }

    pub(crate) fn raw(name: &str, address: SocketAddr) -> Self {
        let mut setup = Self::of(&[]);
        setup.services.push((name.to_owned(), address));
        setup
    }

    pub(crate) async fn start(mut self) -> World {
        let example = include_str!("../../../../examples/spillway.toml");
        let before_routes = example.split("[[route]]").next().unwrap();
        let mut config = Config::parse(&format!("{before_routes}{ROUTES}"), Path::new("")).unwrap();
        let site = &mut config.sites[0];
        let groups = site.services[0].groups.clone();
        let service = |(name, listen): &(String, SocketAddr)| ServiceInstance {
            name: name.clone(),
            listen: *listen,
            admin: *listen,
            groups: groups.clone(),
        };
        site.services = self.services.iter().map(service).collect();
        site.balancer.sources = std::mem::take(&mut self.sources);
        site.balancer.forwards = self.forwards;
        site.capacity.weighted_qps = self.weighted_qps.unwrap_or(site.capacity.weighted_qps);
        if self.neighbours {
            let (mut here, mut other) = (site.clone(), site.clone());
            other.id = west();
            (here.host, here.helped_by) = (Some("east.example.test".to_owned()), vec![west()]);
            (other.host, other.helped_by) = (Some("west.example.test".to_owned()), vec![east()]);
            config.sites = vec![here, other];
        }
        let cloud = match self.cloud {
            Some(cloud) => cloud,
            None => nowhere().await,
        };
        config.cloud.slb_addresses = vec![cloud.ip()];
        config.service.port = cloud.port();

        let folder = TempDir::new().unwrap();
        let log = folder.path().join("log/east-gw-1.access.log");
        self.options.access_log = Some(log.clone());
        let requests = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, admin_address) =
            (requests.local_addr().unwrap(), admin.local_addr().unwrap());
        let (publisher, plans) = Publisher::new(Plan::initial([east()], 5));
        let shutdown = Shutdown::new();
        let served = {
            let (config, shutdown, options) = (config.clone(), shutdown.clone(), self.options);
            tokio::spawn(async move {
                let site = &config.sites[0];
                let listeners = Listeners { requests, admin };
                serve(&config, site, "east-gw-1", plans, listeners, options, shutdown).await
            })
        };
        let mut world = World {
            address,
            config,
            shutdown,
            publisher,
            generation: 0,
            share: self.share,
            mode: self.mode,
            admin: admin_address,
            log,
            served,
            _folder: folder,
        };
        world.publish(|_| {});
        world
    }
}

impl World {
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Publishes the next plan, changed as told.
    pub(crate) fn publish(&mut self, change: impl FnOnce(&mut Plan)) {
        self.generation += 1;
        let mut plan = Plan::initial([east()], 5);
        plan.generation = self.generation;
        let site = plan.sites.get_mut(&east()).unwrap();
        site.share = Share::clamped(self.share);
        site.mode = self.mode;
        change(&mut plan);
        assert!(self.publisher.publish(plan));
    }

    /// Publishes a plan with this share and mode.
    pub(crate) fn spill(&mut self, share: f64, mode: SpillMode) {
        (self.share, self.mode) = (share, mode);
        self.publish(|_| {});
    }

    /// Publishes a plan with a knob on for a minute, on top of share and mode.
    pub(crate) fn turn_on(&mut self, knob: &str) {
        let lease = KnobLease { until: clock::now().plus_secs(60), by: "tier 3".to_owned() };
        self.publish(|plan| {
            plan.knobs.insert(KnobId::new(knob).unwrap(), lease);
        });
    }

    pub(crate) fn rank(&self, address: &str) -> f64 {
        let prefix = ClientPrefix::from(address.parse::<IpAddr>().unwrap());
        rank::rank(&self.config.plan.salt, prefix)
    }

    pub(crate) async fn load(&self) -> Load {
        Caller::default().get(self.admin, "/v1/load", PATIENCE).await.unwrap()
    }

    pub(crate) async fn metrics(&self) -> String {
        String::from_utf8(self.admin("/metrics").await.body.to_vec()).unwrap()
    }

    /// What a balancer's check is answered.
    pub(crate) async fn health(&self) -> u16 {
        self.admin("/healthz").await.status.as_u16()
    }

    async fn admin(&self, path: &str) -> spillway_part::client::Answer {
        let call = Caller::default();
        call.call(Method::GET, self.admin, path, Bytes::new(), PATIENCE).await.unwrap()
    }

    /// Waits until the load report is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Load) -> bool) -> Load {
        let mut found = None;
        let holds = async || {
            found = Some(self.load().await).filter(|load| wanted(load));
            found.is_some()
        };
        until(what, PATIENCE, holds).await;
        found.unwrap()
    }

    /// Waits until so many requests of a route have ended, and answers its counters.
    pub(crate) async fn ended(&self, id: &str, requests: u64) -> RouteLoad {
        let id = RouteId::new(id).unwrap();
        let ended =
            |r: &RouteLoad| r.served + r.redirected + r.proxied + r.shed + r.failed == requests;
        let load = self.until("requests to end", |load| ended(&load.routes[&id])).await;
        load.routes[&id].clone()
    }

    /// Shuts down and answers the lines of the access log.
    pub(crate) async fn end(self) -> Vec<serde_json::Value> {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.served).await.unwrap().unwrap().unwrap();
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A moment so far off that it never comes in a test.
pub(crate) const NEVER: UnixMillis = UnixMillis(u64::MAX);
