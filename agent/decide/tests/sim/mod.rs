//! A site, its clients and a cloud, simulated in steps of a tenth of a second around the real
//! decision. Deterministic: noise comes from a seeded generator.
//!
//! What is real in it: each client has a rank and a DNS cache with the TTL of the answer; a spilled
//! client that still comes to the site gets a 307 and asks again at the cloud; the uplink is a
//! bounded queue that drains at the cap, and what does not fit is dropped, counted and sent again;
//! environments start at a bounded rate, serve one request at a time, and what finds none is refused;
//! plans arrive two steps after the tick, and the parts report counters; gateways find a dead or hung
//! service within a second and send its requests to the cloud until one that they try is answered; a
//! cloud may die, and what is sent there then fails until DNS says otherwise.

#![allow(dead_code, reason = "each test binary uses the parts of the simulation that it needs")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "counts and sizes of a simulation, and tests may fail here"
)]

pub(crate) mod aws;
pub(crate) mod noise;

use std::collections::BTreeMap;
use std::path::Path;

use spillway_decide::{Observation, Orders, Outcome, Policy, State, decide};
use spillway_model::load::{FunctionsLoad, Part, RouteLoad, UplinkLoad, UpstreamLoad};
use spillway_model::rank::rank;
use spillway_model::{
    ClientPrefix, Config, Fleet, Load, Plan, RouteId, SiteId, UnixMillis, histogram,
};

use self::aws::Aws;
pub(crate) use self::noise::Noise;

const EXAMPLE: &str = include_str!("../../../../examples/spillway.toml");
const STEPS: u64 = 10;
const STEP_SECS: f64 = 0.1;
const EPOCH_MS: u64 = 1_800_000_000_000;

/// Share of the requests, and true bytes of an answer, of each route of the example.
const MIX: [(&str, f64, f64); 7] = [
    ("register", 0.02, 420.0),
    ("code", 0.45, 520.0),
    ("qr", 0.20, 8_800.0),
    ("scan", 0.20, 380.0),
    ("history", 0.06, 3_200.0),
    ("stats", 0.02, 640.0),
    ("notices", 0.05, 4_100.0),
];

/// The example's configuration with some of its text replaced.
pub(crate) fn config(edits: &[(&str, &str)]) -> Config {
    edited(EXAMPLE.to_owned(), edits)
}

fn edited(mut text: String, edits: &[(&str, &str)]) -> Config {
    for (from, to) in edits {
        assert!(text.contains(from), "{from} is not in the example");
        text = text.replace(from, to);
    }
    Config::parse(&text, Path::new(".")).unwrap()
}

pub(crate) fn site() -> SiteId {
    SiteId::new("east").unwrap()
}

/// From `low` to `high` within `rise` seconds after a calm of 30, kept for `hold`, and back as fast.
pub(crate) fn flash(low: f64, high: f64, rise: u64, hold: u64) -> impl Fn(u64) -> f64 {
    move |second| {
        let (up, down) = (30 + rise, 30 + rise + hold);
        let part = |t: u64| (t as f64 / rise as f64).min(1.0);
        match second {
            0..30 => low,
            s if s < up => low * (high / low).powf(part(s - 30)),
            s if s < down => high,
            s => (high * (low / high).powf(part(s - down))).max(low),
        }
    }
}

struct Client {
    rank: f64,
    /// Where its last DNS answer points, and the step it is forgotten at.
    to_cloud: bool,
    expires: u64,
}

pub(crate) struct CloudLimits {
    pub(crate) environments_max: u64,
    pub(crate) burst_per_sec: f64,
    pub(crate) burst: f64,
    pub(crate) request_secs: f64,
}

impl Default for CloudLimits {
    fn default() -> Self {
        Self { environments_max: 1000, burst_per_sec: 100.0, burst: 1000.0, request_secs: 0.02 }
    }
}

/// How the one service at home is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Home {
    Serves,
    /// Connections are refused since this step.
    Dead(u64),
    /// Connections are taken but never answered since this step.
    Hung(u64),
    /// Answers, but this part of the answers are 5xx.
    Fails(f64),
}

/// How the cloud is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cloud {
    Serves,
    /// Refuses or hangs since this step: nothing sent there is answered, nor its admin listener.
    Dead(u64),
    /// Serves clients, but gateways cannot reach it since this step.
    Cut(u64),
}

/// Steps until health checks notice, and until a request that hangs fails.
const NOTICED: u64 = 10;
const DEADLINE: u64 = 50;

/// What one tick looked like from outside.
#[derive(Debug, Clone)]
pub(crate) struct Tick {
    pub(crate) secs: u64,
    pub(crate) share: f64,
    pub(crate) tier: u8,
    /// Bits per second that home wanted to send, against the cap.
    pub(crate) offered: f64,
    /// Bits per second that left, against the cap.
    pub(crate) used: f64,
    /// Requests that failed at home.
    pub(crate) failed: u64,
    pub(crate) throttled: u64,
    /// Requests that a dead cloud left without an answer.
    pub(crate) lost: u64,
    pub(crate) requests: u64,
    pub(crate) home: u64,
    pub(crate) published: bool,
    pub(crate) headline: String,
    pub(crate) reasons: Vec<String>,
    pub(crate) binding: String,
    pub(crate) fleet: Fleet,
    /// Knobs that are on, and who turned each on.
    pub(crate) knobs: BTreeMap<String, String>,
}

pub(crate) struct World {
    pub(crate) policy: Policy,
    pub(crate) state: State,
    pub(crate) orders: Orders,
    /// What another agent has published, for the next tick.
    pub(crate) in_force: Option<Plan>,
    pub(crate) limits: CloudLimits,
    pub(crate) ticks: Vec<Tick>,
    /// Parts that do not answer.
    pub(crate) silent: Vec<String>,
    pub(crate) observations: Vec<Observation>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) home: Home,
    pub(crate) cloud_is: Cloud,
    lost: u64,
    /// The cloud's gateways, where there may be any.
    pub(crate) aws: Option<Aws>,
    hanging: u64,
    /// Whether gateways take the service for one that answers.
    believed: bool,
    cap: f64,
    queue_max: f64,
    ttl_secs: u64,
    lookups: BTreeMap<String, Vec<usize>>,
    /// Of each knob, what it really releases, and the routes that it sheds.
    pub(crate) releases: Vec<(String, f64, Vec<usize>)>,
    noise: Noise,
    clients: Vec<Client>,
    gateways: [Load; 2],
    /// Weighted requests that each may still admit.
    admits: [f64; 2],
    weights: [f64; MIX.len()],
    balancer: Load,
    cloud: Load,
    /// The plan the data plane acts on, and the next with the step it arrives at.
    acts_on: Plan,
    arriving: Option<(u64, Plan)>,
    step: u64,
    queue: f64,
    backlog: f64,
    tokens: f64,
    environments: f64,
}

impl World {
    pub(crate) fn new(config: &Config, seed: u64) -> Self {
        let policy = Policy::new(config);
        let mut noise = Noise::new(seed);
        let clients = (0..3000_u32)
            .map(|i| {
                let [_, a, b, c] = i.to_be_bytes();
                let prefix = ClientPrefix::V4([10 + a, b, c]);
                Client { rank: rank(&config.plan.salt, prefix), to_cloud: false, expires: 0 }
            })
            .collect();
        let place = |id: &RouteId| MIX.iter().position(|(name, ..)| *name == id.as_str()).unwrap();
        let load = |part, name: &str, noise: &mut Noise| {
            let site = (!matches!(part, Part::Cloud | Part::Aws)).then(site);
            Load::new(part, name, site, (noise.uniform() * 1e9) as u64, UnixMillis(EPOCH_MS))
        };
        let gateways = ["east-gw-1", "east-gw-2"].map(|name| load(Part::Gateway, name, &mut noise));
        let mut balancer = load(Part::Balancer, "east", &mut noise);
        balancer.uplink = Some(UplinkLoad::default());
        let mut cloud = load(Part::Cloud, "cloud", &mut noise);
        cloud.functions = Some(FunctionsLoad::default());
        let state = State::initial(&policy);
        Self {
            acts_on: state.plan().clone(),
            policy,
            state,
            orders: Orders::default(),
            in_force: None,
            limits: CloudLimits::default(),
            ticks: Vec::new(),
            silent: Vec::new(),
            observations: Vec::new(),
            outcome: None,
            home: Home::Serves,
            cloud_is: Cloud::Serves,
            lost: 0,
            aws: Aws::of(
                config,
                MIX.map(|(name, ..)| name),
                load(Part::Aws, "aws", &mut Noise::new(seed)),
            ),
            hanging: 0,
            believed: true,
            cap: config.sites[0].uplink.bits_per_sec as f64,
            queue_max: config.sites[0].uplink.queue_bytes as f64,
            ttl_secs: u64::from(config.dns.ttl_secs),
            lookups: BTreeMap::new(),
            releases: config
                .knobs
                .iter()
                .map(|knob| {
                    let sheds = knob.sheds.iter().map(place).collect();
                    (knob.id.to_string(), knob.releases.get(), sheds)
                })
                .collect(),
            noise,
            clients,
            gateways,
            admits: [0.0; 2],
            weights: MIX.map(|(name, ..)| {
                let route = config.routes.iter().find(|route| route.id.as_str() == name);
                route.map_or(1.0, |route| route.weight)
            }),
            balancer,
            cloud,
            arriving: None,
            step: 0,
            queue: 0.0,
            backlog: 0.0,
            tokens: 1e9,
            environments: 0.0,
        }
    }

    /// Requests per second that fill the uplink exactly.
    pub(crate) fn full(&self) -> f64 {
        self.cap / 8.0 / MIX.iter().map(|(_, part, bytes)| part * bytes).sum::<f64>()
    }

    pub(crate) fn now(&self) -> UnixMillis {
        UnixMillis(EPOCH_MS + self.step * 100)
    }

    /// Runs `secs` seconds at `load(second)` times what fills the uplink, with `noise` relative
    /// standard deviation from second to second on top of that of the arrivals themselves.
    pub(crate) fn run(&mut self, secs: u64, noise: f64, load: impl Fn(u64) -> f64) {
        for second in 0..secs {
            let factor = (1.0 + noise * self.noise.normal()).max(0.0);
            let rate = self.full() * load(second) * factor;
            self.second(rate);
        }
    }

    fn second(&mut self, rate: f64) {
        let before = (self.requests(), self.throttled(), self.home(), self.sent(), self.failed());
        let lost = self.lost;
        let mut offered = 0.0;
        for _ in 0..STEPS {
            offered += self.advance(rate);
        }
        let outcome = self.tick();
        let last = Tick {
            secs: self.step / STEPS,
            share: outcome.plan.share(&site()).get(),
            tier: outcome.plan.tier.into(),
            offered: offered * 8.0 / self.cap,
            used: (self.sent() - before.3) as f64 * 8.0 / self.cap,
            failed: self.failed() - before.4,
            throttled: self.throttled() - before.1,
            lost: self.lost - lost,
            requests: self.requests() - before.0 + self.lost - lost,
            home: self.home() - before.2,
            published: outcome.decision.published,
            headline: outcome.headline.clone(),
            reasons: outcome.decision.reasons.clone(),
            binding: outcome.decision.binding.clone(),
            fleet: outcome.plan.fleet.clone(),
            knobs: outcome
                .plan
                .knobs
                .iter()
                .map(|(id, lease)| (id.to_string(), lease.by.clone()))
                .collect(),
        };
        self.ticks.push(last);
        self.outcome = Some(outcome);
    }

    /// One decision on what the parts report now.
    fn tick(&mut self) -> Outcome {
        let now = self.now();
        let mut loads = vec![self.balancer.clone(), self.cloud.clone()];
        loads.extend(self.gateways.iter().cloned());
        loads.extend(self.aws.as_ref().map(|aws| aws.load(now)));
        for load in &mut loads {
            load.at = now;
            load.generation = self.acts_on.generation;
            load.sum_latency();
        }
        let mut missing = BTreeMap::new();
        loads.retain(|load| {
            let dead = load.part == Part::Cloud && matches!(self.cloud_is, Cloud::Dead(_));
            let silent = dead || self.silent.contains(&load.name);
            if silent {
                missing.insert(load.name.clone(), "connection refused".to_owned());
            }
            !silent
        });
        let observation = Observation {
            at: now,
            loads,
            missing,
            interface_bytes: BTreeMap::new(),
            orders: self.orders.clone(),
            in_force: self.in_force.take(),
        };
        let outcome = decide(&self.policy, &self.state, &observation);
        self.observations.push(observation);
        self.state = outcome.state.clone();
        if outcome.decision.published {
            self.arriving = Some((self.step + 2, outcome.plan.clone()));
        }
        outcome
    }

    /// A tenth of a second; returns the bytes that home had to send.
    fn advance(&mut self, rate: f64) -> f64 {
        if let Some((at, plan)) = self.arriving.take() {
            if at <= self.step {
                self.acts_on = plan;
            } else {
                self.arriving = Some((at, plan));
            }
        }
        let now = self.now();
        let share = self.acts_on.share(&site()).get();
        let mut factor = 1.0;
        let mut shed = [false; MIX.len()];
        for (id, lease) in &self.acts_on.knobs {
            let (_, release, sheds) =
                self.releases.iter().find(|(name, ..)| name == id.as_str()).unwrap();
            if now >= lease.until {
                continue;
            }
            if sheds.is_empty() {
                factor -= release;
            }
            for place in sheds {
                shed[*place] = true;
            }
        }
        let latency_us = 15_000 + (self.queue / (self.cap / 8.0) * 1e6) as u64;
        self.serve_or_not();
        if let Some(aws) = &mut self.aws {
            aws.advance(self.step, &self.acts_on.fleet);
        }
        let capacity = self.start_environments();
        let home_qps = self.acts_on.sites.get(&site()).and_then(|plan| plan.home_qps);
        if let Some(qps) = home_qps {
            // As gateways do it, but for the length of a step.
            let most = (qps * (STEP_SECS + 0.02)) + (240.0 / qps).min(8.0);
            for admits in &mut self.admits {
                *admits = (*admits + qps * STEP_SECS).min(most);
            }
        }
        let mut in_cloud = 0.0;
        let mut bytes = 0.0;
        for _ in 0..self.noise.poisson(rate * STEP_SECS) {
            let who = (self.noise.uniform() * self.clients.len() as f64) as usize;
            let place = self.route();
            let client = &mut self.clients[who];
            if client.expires <= self.step {
                client.to_cloud = client.rank < share;
                client.expires = self.step + self.ttl_secs * STEPS;
            }
            let spilled = client.rank < share;
            let (name, _, size) = MIX[place];
            let size = if shed[place] { 300.0 } else { size * factor };
            if !client.to_cloud {
                // The first request after a time without a service is the one that is tried.
                self.believed |= matches!(self.home, Home::Serves | Home::Fails(_)) && !spilled;
                let admits = &mut self.admits[who % 2];
                let full = home_qps.is_some() && *admits < 0.0;
                let displaced = !spilled && (full || !self.believed) && !shed[place];
                let moves = displaced || spilled && !shed[place];
                if home_qps.is_some() && !moves && !shed[place] {
                    *admits -= self.weights[place];
                }
                let gateway = &mut self.gateways[who % 2];
                let counts = gateway.routes.entry(RouteId::new(name).unwrap()).or_default();
                counts.arrivals += 1;
                if shed[place] {
                    counts.shed += 1;
                } else if moves {
                    counts.redirected += 1;
                    counts.displaced += u64::from(displaced);
                } else if let Home::Dead(_) = self.home {
                    counts.failed += 1;
                } else if let Home::Hung(_) = self.home {
                    self.hanging += 1;
                } else if matches!(self.home, Home::Fails(part) if self.noise.uniform() < part) {
                    counts.failed += 1;
                } else {
                    serve(counts, size, latency_us);
                }
                let sent = match self.home {
                    _ if moves => 350.0,
                    Home::Dead(_) | Home::Hung(_) if !shed[place] => 0.0,
                    _ => size,
                };
                counts.response_bytes += sent as u64;
                bytes += sent;
                if !moves {
                    continue;
                }
            }
            if let Cloud::Dead(_) = self.cloud_is {
                self.lost += 1;
                continue;
            }
            let counts = self.cloud.routes.entry(RouteId::new(name).unwrap()).or_default();
            counts.arrivals += 1;
            if self.aws.as_mut().is_some_and(|aws| aws.takes(place)) {
                serve(counts, size, 20_000);
                continue;
            }
            let functions = self.cloud.functions.as_mut().unwrap();
            if in_cloud + 1.0 > capacity {
                functions.throttled += 1;
                counts.failed += 1;
            } else {
                in_cloud += 1.0;
                functions.invocations += 1;
                functions.duration_us += (self.limits.request_secs * 1e6) as u64;
                serve(counts, size, 20_000);
            }
        }
        // What the next step is likely to ask for, and a little more.
        let wanted = (in_cloud / STEP_SECS * self.limits.request_secs / 0.6).ceil();
        self.environments = self.environments.max(wanted.min(self.limits.environments_max as f64));
        self.drain(bytes);
        self.step += 1;
        bytes
    }

    /// Notes what gateways find of the service.
    fn serve_or_not(&mut self) {
        let down = match self.home {
            Home::Serves | Home::Fails(_) => None,
            Home::Dead(since) | Home::Hung(since) => Some(self.step - since),
        };
        self.believed &= down.is_none_or(|steps| steps < NOTICED);
        let reached = match self.cloud_is {
            Cloud::Serves => true,
            Cloud::Dead(since) | Cloud::Cut(since) => self.step - since < NOTICED,
        };
        for gateway in &mut self.gateways {
            for (name, healthy) in [("east-one-code", self.believed), ("cloud-127.0.2.1", reached)]
            {
                let upstream = UpstreamLoad { healthy, ..UpstreamLoad::default() };
                gateway.upstreams.insert(name.to_owned(), upstream);
            }
        }
        if down.is_some_and(|steps| steps >= DEADLINE) {
            let code = RouteId::new("code").unwrap();
            self.gateways[0].routes.entry(code).or_default().failed += self.hanging;
            self.hanging = 0;
        }
    }

    pub(crate) fn kill(&mut self) {
        self.home = Home::Dead(self.step);
    }

    pub(crate) fn hang(&mut self) {
        self.home = Home::Hung(self.step);
    }

    pub(crate) fn kill_cloud(&mut self) {
        self.cloud_is = Cloud::Dead(self.step);
    }

    pub(crate) fn cut_cloud(&mut self) {
        self.cloud_is = Cloud::Cut(self.step);
    }

    /// It starts again with nothing, or its processes go on where they were.
    pub(crate) fn revive_cloud(&mut self, fresh: bool) {
        self.cloud_is = Cloud::Serves;
        if fresh {
            self.cloud.boot += 1;
            self.cloud.routes.clear();
            self.cloud.functions = Some(FunctionsLoad::default());
            self.environments = 0.0;
        }
    }

    /// Requests that the cloud can serve in this step.
    fn start_environments(&mut self) -> f64 {
        let limits = &self.limits;
        self.tokens = (self.tokens + limits.burst_per_sec * STEP_SECS).min(limits.burst);
        let most = (self.environments + self.tokens.floor()).min(limits.environments_max as f64);
        let functions = self.cloud.functions.as_mut().unwrap();
        functions.environments = self.environments as u64;
        functions.environments_max = limits.environments_max;
        functions.burst_left = self.tokens as u64;
        functions.burst_per_sec = limits.burst_per_sec;
        functions.cold_start_ms = 200.0;
        most * STEP_SECS / limits.request_secs
    }

    fn drain(&mut self, bytes: f64) {
        let uplink = self.balancer.uplink.as_mut().unwrap();
        let room = self.cap / 8.0 * STEP_SECS;
        let pending = self.queue + self.backlog + bytes;
        let sent = pending.min(room);
        let rest = pending - sent;
        self.queue = rest.min(self.queue_max);
        // Who waits for more than two seconds gives up.
        self.backlog = (rest - self.queue).min(2.0 * self.cap / 8.0);
        uplink.bytes += sent as u64;
        uplink.drops += (self.backlog / 1500.0) as u64;
        uplink.queued_bytes = self.queue as u64;
    }

    fn route(&mut self) -> usize {
        let mut at = self.noise.uniform();
        for (place, (_, part, _)) in MIX.iter().enumerate() {
            at -= part;
            if at < 0.0 {
                return place;
            }
        }
        1
    }

    /// The agent is killed and started again: with the state it wrote last, or, where that is `lost`,
    /// with nothing but the plan the data plane has.
    pub(crate) fn restart_agent(&mut self, lost: bool) {
        let text = serde_json::to_string(&self.state).unwrap();
        let state: State = serde_json::from_str(&text).unwrap();
        assert_eq!(state, self.state);
        let state = if lost { State::initial(&self.policy) } else { state };
        self.state = state.resume(&self.acts_on);
    }

    pub(crate) fn restart_gateways(&mut self) {
        for gateway in &mut self.gateways {
            gateway.boot += 1;
            gateway.routes.clear();
        }
    }

    fn requests(&self) -> u64 {
        let arrivals = |load: &Load| load.routes.values().map(|r| r.arrivals).sum::<u64>();
        let redirected = |load: &Load| load.routes.values().map(|r| r.redirected).sum::<u64>();
        self.gateways.iter().map(|g| arrivals(g) - redirected(g)).sum::<u64>()
            + arrivals(&self.cloud)
    }

    fn home(&self) -> u64 {
        let served = |load: &Load| load.routes.values().map(|r| r.served + r.shed).sum::<u64>();
        self.gateways.iter().map(served).sum()
    }

    fn sent(&self) -> u64 {
        self.balancer.uplink.as_ref().unwrap().bytes
    }

    fn failed(&self) -> u64 {
        let failed = |load: &Load| load.routes.values().map(|r| r.failed).sum::<u64>();
        self.gateways.iter().map(failed).sum()
    }

    fn throttled(&self) -> u64 {
        self.cloud.functions.as_ref().unwrap().throttled
    }

    pub(crate) fn share(&self) -> f64 {
        self.state.plan().share(&site()).get()
    }

    pub(crate) fn tier(&self) -> u8 {
        self.state.plan().tier.into()
    }

    /// Times that the share turned from rising to falling or back.
    pub(crate) fn reversals(&self) -> usize {
        let mut turns = 0;
        let mut direction = 0.0;
        for pair in self.ticks.windows(2) {
            let change = pair[1].share - pair[0].share;
            if change != 0.0 {
                if direction * change < 0.0 {
                    turns += 1;
                }
                direction = change;
            }
        }
        turns
    }

    /// Ticks in which home had more to send than the uplink carries.
    pub(crate) fn over(&self) -> usize {
        self.ticks.iter().filter(|tick| tick.offered > 1.0).count()
    }

    /// The journal comes to the same state, through JSON at each tick, and no state is large.
    pub(crate) fn replays(&self) {
        let mut state = State::initial(&self.policy);
        for observation in &self.observations {
            let text = serde_json::to_string(observation).unwrap();
            let observation: Observation = serde_json::from_str(&text).unwrap();
            let kept = decide(&self.policy, &state, &observation).state;
            let kept = serde_json::to_string(&kept).unwrap();
            assert!(kept.len() < 64 * 1024);
            state = serde_json::from_str(&kept).unwrap();
        }
        assert_eq!(state, self.state);
    }

    /// The course of events, for messages of failed tests.
    pub(crate) fn course(&self) -> String {
        let mut text = String::new();
        for t in &self.ticks {
            text.push_str(&format!(
                "{:4} s share {:.3} tier {} offered {:.2} req {:5} home {:5} failed {:4} throttled {:4} lost {:4} {}{}\n",
                t.secs,
                t.share,
                t.tier,
                t.offered,
                t.requests,
                t.home,
                t.failed,
                t.throttled,
                t.lost,
                if t.published { "* " } else { "  " },
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
