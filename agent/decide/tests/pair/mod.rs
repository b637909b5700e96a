//! Two sites that share a cloud, and their clients, in steps of a tenth of a second around the real decision.
//! Deterministic.
//!
//! What is real in it: each client has a home and a rank, and a DNS answer that it keeps; gateways go by the
//! plan of the site, and of the home of those who visit it, send on what is not theirs and count visitors
//! beside; each uplink is a line that drops what does not fit; a plan arrives two steps after its tick. The
//! cloud takes everything as long as it lives.

use std::collections::BTreeMap;
use std::path::Path;

use spillway_decide::{Observation, Orders, Outcome, Policy, State, decide};
use spillway_model::load::{FunctionsLoad, Part, RouteLoad, UplinkLoad, UpstreamLoad, VisitorLoad};
use spillway_model::rank::{self, Place};
use spillway_model::{
    ClientPrefix, Config, Load, Plan, RouteId, Salt, SiteId, UnixMillis, histogram,
};

use crate::sim::Noise;

const EXAMPLE: &str = include_str!("../../../../examples/spillway.toml");
const STEPS: u64 = 10;
const STEP_SECS: f64 = 0.1;
const EPOCH_MS: u64 = 1_800_000_000_000;
const TTL_STEPS: u64 = 50;
pub(crate) const EAST: usize = 0;
pub(crate) const WEST: usize = 1;

/// Edits for a cloud whose side reports nothing.
pub(crate) const NO_REPORT: &[(&str, &str)] = &[("no", "report")];

/// Share of the requests, and bytes of an answer.
const MIX: [(&str, f64, f64); 3] =
    [("code", 0.6, 520.0), ("qr", 0.2, 8_800.0), ("scan", 0.2, 380.0)];

/// The example with a second site that is like the first; `helped` says whom each is helped by. Lines are
/// wide enough for the target to bind, not chance.
pub(crate) fn config(helped: [&str; 2], edits: &[(&str, &str)]) -> Config {
    let (start, end) = (EXAMPLE.find("[[site]]").unwrap(), EXAMPLE.find("[cloud]").unwrap());
    let site = |name: &str, net: &str, port: &str, helped: &str| {
        let vips = "vips = [\"127.0.1.1\"]";
        let more = format!("{vips}\nhost = \"{name}.example.test\"\nhelped_by = [{helped}]");
        EXAMPLE[start..end]
            .replace("east", name)
            .replace(vips, &more)
            .replace("127.0.1.", net)
            .replace("127.0.0.1:93", port)
    };
    let sites = [
        site("east", "127.0.1.", "127.0.0.1:93", helped[0]),
        site("west", "127.0.3.", "127.0.0.1:95", helped[1]),
    ];
    let sites = sites.concat().replace("bits_per_sec = 6_000_000", "bits_per_sec = 24_000_000");
    let sites = sites.replace("weighted_qps = 1500", "weighted_qps = 9000");
    let mut text = format!("{}{}{}", &EXAMPLE[..start], sites, &EXAMPLE[end..]);
    if edits == NO_REPORT {
        let (from, to) = (
            text.find("# A cloud on this machine").unwrap(),
            text.find("# A cloud on AWS").unwrap(),
        );
        text.replace_range(from..to, "");
        return Config::parse(&text, Path::new("."))
            .unwrap_or_else(|problems| panic!("{problems}"));
    }
    for (from, to) in edits {
        assert!(text.contains(from), "{from} is not in the example");
        text = text.replace(from, to);
    }
    Config::parse(&text, Path::new(".")).unwrap_or_else(|problems| panic!("{problems}"))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    Site(usize),
    Cloud,
}

struct Client {
    home: usize,
    prefix: ClientPrefix,
    at: At,
    expires: u64,
}

/// One site of the world.
struct Site {
    id: SiteId,
    gateways: [Load; 2],
    admits: [f64; 2],
    balancer: Load,
    queue: f64,
    backlog: f64,
    clients: Vec<usize>,
    down: bool,
}

/// What one second was like; of both sites, and by the home of clients.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tick {
    pub(crate) secs: u64,
    pub(crate) share: [f64; 2],
    /// The part of the clients that the other site serves by the plan.
    pub(crate) helped: [f64; 2],
    /// What the site wanted to send, against its cap.
    pub(crate) offered: [f64; 2],
    /// Requests of the site's clients, and as the decision measured them.
    pub(crate) asked: [f64; 2],
    pub(crate) measured: [f64; 2],
    /// Of them, served by the cloud and by the other site.
    pub(crate) cloud: [f64; 2],
    pub(crate) visits: [f64; 2],
    pub(crate) lost: f64,
    pub(crate) tier: u8,
    pub(crate) reasons: Vec<String>,
    pub(crate) headline: String,
}

pub(crate) struct Pair {
    pub(crate) policy: Policy,
    pub(crate) state: State,
    pub(crate) orders: Orders,
    pub(crate) ticks: Vec<Tick>,
    pub(crate) silent: Vec<String>,
    pub(crate) cloud_dead: bool,
    /// Environments that the cloud says it has, of 20 ms a request.
    pub(crate) environments: u64,
    pub(crate) observations: Vec<Observation>,
    pub(crate) outcome: Option<Outcome>,
    salt: Salt,
    cap: f64,
    weights: [f64; MIX.len()],
    queue_max: f64,
    noise: Noise,
    clients: Vec<Client>,
    sites: [Site; 2],
    cloud: Load,
    acts_on: Plan,
    arriving: Option<(u64, Plan)>,
    step: u64,
    now: Tick,
}

impl Pair {
    pub(crate) fn new(config: &Config, seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        let policy = Policy::new(config);
        let salt = config.plan.salt;
        let clients: Vec<Client> = (0..6000_u32)
            .map(|i| {
                let [_, a, b, c] = i.to_be_bytes();
                let prefix = ClientPrefix::V4([10 + a, b, c]);
                let sites = &config.sites;
                let home = rank::home(&salt, prefix, sites, |site| &site.id).unwrap();
                let home = sites.iter().position(|site| site.id == home.id).unwrap();
                Client { home, prefix, at: At::Site(home), expires: 0 }
            })
            .collect();
        let mut load = |part, name: &str, site: Option<&SiteId>| {
            let boot = (noise.uniform() * 1e9) as u64;
            Load::new(part, name, site.cloned(), boot, UnixMillis(EPOCH_MS))
        };
        let sites = [EAST, WEST].map(|place| {
            let id = &config.sites[place].id;
            let gateway = |n| format!("{id}-gw-{n}");
            let mut balancer = load(Part::Balancer, id.as_str(), Some(id));
            balancer.uplink = Some(UplinkLoad::default());
            Site {
                id: id.clone(),
                gateways: [1, 2].map(|n| load(Part::Gateway, &gateway(n), Some(id))),
                admits: [0.0; 2],
                balancer,
                queue: 0.0,
                backlog: 0.0,
                clients: (0..clients.len()).filter(|who| clients[*who].home == place).collect(),
                down: false,
            }
        });
        let mut cloud = load(Part::Cloud, "cloud", None);
        cloud.functions = Some(FunctionsLoad::default());
        let state = State::initial(&policy);
        Self {
            acts_on: state.plan().clone(),
            policy,
            state,
            orders: Orders::default(),
            ticks: Vec::new(),
            silent: Vec::new(),
            cloud_dead: false,
            environments: 1000,
            observations: Vec::new(),
            outcome: None,
            salt,
            cap: config.sites[0].uplink.bits_per_sec as f64,
            weights: MIX.map(|(name, ..)| {
                let route = config.routes.iter().find(|route| route.id.as_str() == name);
                route.map_or(1.0, |route| route.weight)
            }),
            queue_max: config.sites[0].uplink.queue_bytes as f64,
            noise,
            clients,
            sites,
            cloud,
            arriving: None,
            step: 0,
            now: Tick::default(),
        }
    }

    /// Runs `secs` seconds in which each site's clients ask for so many times what fills its uplink, with
    /// `noise` as relative standard deviation from second to second.
    pub(crate) fn run(&mut self, secs: u64, noise: f64, load: impl Fn(u64) -> [f64; 2]) {
        let bytes: f64 = MIX.iter().map(|(_, part, bytes)| part * bytes).sum();
        let full = self.cap / 8.0 / bytes;
        for second in 0..secs {
            let load = load(second)
                .map(|times| full * times * (1.0 + noise * self.noise.normal()).max(0.0));
            self.now = Tick::default();
            for _ in 0..STEPS {
                self.advance(load);
            }
            self.tick();
        }
    }

    pub(crate) fn set_down(&mut self, site: usize, down: bool) {
        self.sites[site].down = down;
    }

    fn at(&self) -> UnixMillis {
        UnixMillis(EPOCH_MS + self.step * 100)
    }

    fn advance(&mut self, load: [f64; 2]) {
        match self.arriving.take() {
            Some((at, plan)) if at <= self.step => self.acts_on = plan,
            other => self.arriving = other,
        }
        for site in &mut self.sites {
            if let Some(qps) = self.acts_on.sites[&site.id].home_qps {
                let most = (qps * (STEP_SECS + 0.02)) + (240.0 / qps).min(8.0);
                for admits in &mut site.admits {
                    *admits = (*admits + qps * STEP_SECS).min(most);
                }
            }
        }
        let mut bytes = [0.0; 2];
        for home in [EAST, WEST] {
            for _ in 0..self.noise.poisson(load[home] * STEP_SECS) {
                let clients = &self.sites[home].clients;
                let who = clients[(self.noise.uniform() * clients.len() as f64) as usize];
                let route = self.route();
                self.now.asked[home] += 1.0;
                self.request(who, route, &mut bytes);
            }
        }
        for (place, bytes) in bytes.into_iter().enumerate() {
            self.now.offered[place] += bytes * 8.0 / self.cap;
            self.drain(place, bytes);
        }
        self.step += 1;
    }

    fn place(&self, id: &SiteId) -> usize {
        self.sites.iter().position(|site| site.id == *id).unwrap()
    }

    /// One request, from where DNS sends its client to where it is served.
    fn request(&mut self, who: usize, route: usize, bytes: &mut [f64; 2]) {
        let Client { home, prefix, .. } = self.clients[who];
        let own = &self.acts_on.sites[&self.sites[home].id];
        if self.clients[who].expires <= self.step {
            self.clients[who].at = match rank::place(&self.salt, prefix, own) {
                Place::Home => At::Site(home),
                Place::Site(id) => At::Site(self.place(id)),
                Place::Cloud => At::Cloud,
            };
            self.clients[who].expires = self.step + TTL_STEPS;
        }
        let mut at = self.clients[who].at;
        let mut hops = 0;
        while let At::Site(site) = at {
            let to = self.gateway((who, site, route), hops > 0, bytes);
            if to == at {
                self.now.visits[home] += f64::from(u8::from(site != home));
                return;
            }
            hops += 1;
            assert!(
                hops <= 2,
                "from its site to one that helps and from there to the cloud at most"
            );
            at = to;
        }
        if self.cloud_dead {
            self.now.lost += 1.0;
            return;
        }
        self.now.cloud[home] += 1.0;
        let (name, _, size) = MIX[route];
        let counts = self.cloud.routes.entry(RouteId::new(name).unwrap()).or_default();
        counts.arrivals += 1;
        serve(counts, size, 20_000);
        let functions = self.cloud.functions.as_mut().unwrap();
        functions.invocations += 1;
        functions.duration_us += 20_000;
    }

    /// What a site's gateway does with a request: serves it, or says where else.
    fn gateway(
        &mut self,
        (who, place, route): (usize, usize, usize),
        sent: bool,
        bytes: &mut [f64; 2],
    ) -> At {
        let Client { home, prefix, .. } = self.clients[who];
        let (here, home_id) = (self.sites[place].id.clone(), self.sites[home].id.clone());
        let (own, its) = (self.acts_on.sites[&here].clone(), &self.acts_on.sites[&home_id]);
        let helps = its.helped.iter().find(|help| home != place && help.site == here);
        let visits =
            helps.is_some_and(|help| rank::spilled(&self.salt, prefix, help.visits_below()));
        let to = match rank::place(&self.salt, prefix, &own) {
            Place::Cloud => At::Cloud,
            Place::Site(_) if sent || visits => At::Cloud,
            Place::Site(id) => At::Site(self.place(id)),
            Place::Home if visits && rank::place(&self.salt, prefix, its) == Place::Cloud => {
                At::Cloud
            }
            Place::Home => At::Site(place),
        };
        let (name, _, size) = MIX[route];
        let name = RouteId::new(name).unwrap();
        let site = &mut self.sites[place];
        let stays = to == At::Site(place);
        let full = own.home_qps.is_some() && site.admits[who % 2] < 0.0;
        let displaced = stays && (site.down || full);
        let leaves = !stays || displaced;
        let gateway = &mut site.gateways[who % 2];
        let counts = gateway.routes.entry(name.clone()).or_default();
        counts.arrivals += 1;
        if visits {
            let of_home = gateway.visitors.entry(home_id).or_default();
            let visitors: &mut VisitorLoad = of_home.entry(name).or_default();
            visitors.arrivals += 1;
            visitors.left += u64::from(leaves);
        }
        if leaves {
            counts.redirected += 1;
            counts.displaced += u64::from(displaced);
            counts.response_bytes += 350;
            bytes[place] += 350.0;
            return if displaced { At::Cloud } else { to };
        }
        if own.home_qps.is_some() {
            site.admits[who % 2] -= self.weights[route];
        }
        let latency_us = 15_000 + (site.queue / (self.cap / 8.0) * 1e6) as u64;
        serve(counts, size, latency_us);
        counts.response_bytes += size as u64;
        bytes[place] += size;
        to
    }

    fn drain(&mut self, place: usize, bytes: f64) {
        let site = &mut self.sites[place];
        let uplink = site.balancer.uplink.as_mut().unwrap();
        let pending = site.queue + site.backlog + bytes;
        let sent = pending.min(self.cap / 8.0 * STEP_SECS);
        site.queue = (pending - sent).min(self.queue_max);
        site.backlog = (pending - sent - site.queue).min(2.0 * self.cap / 8.0);
        uplink.bytes += sent as u64;
        uplink.drops += (site.backlog / 1500.0) as u64;
        uplink.queued_bytes = site.queue as u64;
    }

    fn route(&mut self) -> usize {
        let mut at = self.noise.uniform();
        for (place, (_, part, _)) in MIX.iter().enumerate() {
            at -= part;
            if at < 0.0 {
                return place;
            }
        }
        0
    }

    fn tick(&mut self) {
        let at = self.at();
        let functions = self.cloud.functions.as_mut().unwrap();
        functions.environments = self.environments;
        functions.environments_max = self.environments;
        functions.burst_left = 1000;
        let mut loads = Vec::new();
        for site in &mut self.sites {
            let healthy = |healthy| UpstreamLoad { healthy, ..UpstreamLoad::default() };
            for gateway in &mut site.gateways {
                let service = format!("{}-one-code", site.id);
                gateway.upstreams.insert(service, healthy(!site.down));
                gateway.upstreams.insert("cloud-127.0.2.1".to_owned(), healthy(!self.cloud_dead));
            }
            loads.push(site.balancer.clone());
            loads.extend(site.gateways.iter().cloned());
        }
        if !self.cloud_dead {
            loads.push(self.cloud.clone());
        }
        loads.retain(|load| !self.silent.contains(&load.name));
        for load in &mut loads {
            load.at = at;
            load.generation = self.acts_on.generation;
            load.sum_latency();
        }
        let gone = self.silent.iter().map(|name| (name.clone(), "connection refused".to_owned()));
        let observation = Observation {
            at,
            loads,
            missing: gone.collect::<BTreeMap<_, _>>(),
            interface_bytes: BTreeMap::new(),
            orders: self.orders.clone(),
            in_force: None,
        };
        let outcome = decide(&self.policy, &self.state, &observation);
        self.observations.push(observation);
        self.state = outcome.state.clone();
        if outcome.decision.published {
            self.arriving = Some((self.step + 2, outcome.plan.clone()));
        }
        let plans = [EAST, WEST].map(|place| &outcome.plan.sites[&self.sites[place].id]);
        self.ticks.push(Tick {
            secs: self.step / STEPS,
            share: plans.map(|plan| plan.share.get()),
            helped: plans.map(|plan| plan.helped_below().get()),
            measured: [EAST, WEST]
                .map(|place| outcome.sites[&self.sites[place].id].requests_per_sec),
            tier: outcome.plan.tier.into(),
            reasons: outcome.decision.reasons.clone(),
            headline: outcome.headline.clone(),
            ..std::mem::take(&mut self.now)
        });
        self.outcome = Some(outcome);
    }

    pub(crate) fn last(&self) -> &Tick {
        self.ticks.last().unwrap()
    }

    /// The journal comes to the same state, through JSON at each tick.
    pub(crate) fn replays(&self) {
        let mut state = State::initial(&self.policy);
        for observation in &self.observations {
            let text = serde_json::to_string(observation).unwrap();
            let observation: Observation = serde_json::from_str(&text).unwrap();
            let kept = serde_json::to_string(&decide(&self.policy, &state, &observation).state);
            state = serde_json::from_str(&kept.unwrap()).unwrap();
        }
        assert_eq!(state, self.state);
    }

    /// The course of events, for messages of failed tests.
    pub(crate) fn course(&self) -> String {
        let mut text = String::new();
        for t in &self.ticks {
            text.push_str(&format!(
                "{:4} s share {:.3?} helped {:.3?} offered {:.2?} asked {:.0?} measured {:.0?} cloud {:.0?} visits {:.0?} lost {:.0} {}\n",
                t.secs, t.share, t.helped, t.offered, t.asked, t.measured, t.cloud, t.visits, t.lost,
                t.reasons.join(" | "),
            ));
        }
        text
    }
}

fn serve(counts: &mut RouteLoad, size: f64, latency_us: u64) {
    counts.served += 1;
    counts.served_bytes += size as u64;
    if counts.latency.is_empty() {
        counts.latency.resize(histogram::BUCKETS, 0);
    }
    counts.latency[histogram::bucket(latency_us)] += 1;
}
