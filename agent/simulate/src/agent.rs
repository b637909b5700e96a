//! Policy `spillway`: the agent's decision, fed with what its parts would report of the world.
//!
//! Once a second every part reports its counters, the decision is made on them, and its plan is in force in
//! the next second. Nothing else of the world is told: no rate, no capacity of the second, nothing that is
//! to come.

use std::collections::BTreeMap;
use std::path::Path;

use spillway_decide::{Observation, Orders, Policy, State, decide};
use spillway_model::config::Problems;
use spillway_model::load::{FleetLoad, FunctionsLoad, Part, RouteLoad, UplinkLoad, UpstreamLoad};
use spillway_model::plan::{Plan, SpillMode};
use spillway_model::{Config, Load, RouteId, SiteId, UnixMillis, histogram};

use crate::chance::whole;
use crate::setting::Setting;
use crate::world::{Control, Happened, Spill, Split, World};

/// Part of the requests of each route of the configuration, by its place.
const MIX: [f64; 4] = [0.4, 0.3, 0.2, 0.1];
/// The second before the first.
const EPOCH_MS: u64 = 1_800_000_000_000;

/// Counts by route.
type ByRoute = [u64; MIX.len()];

/// The agent of one run.
#[derive(Debug)]
pub(crate) struct Agent {
    policy: Policy,
    state: State,
    observation: Observation,
    site: Option<SiteId>,
    routes: Vec<RouteId>,
    /// The knobs and the place of the route that each sheds.
    sheds: Vec<(spillway_model::KnobId, usize)>,
    request_us: f64,
    cold_start_ms: f64,
    environments_max: f64,
    burst_per_sec: f64,
    answer_bytes: f64,
    queue_bytes: f64,
    /// Requests per second that a gateway on EC2 takes.
    ec2_qps: f64,
    /// Parts of requests that division by route has left over.
    rest: [f64; MIX.len()],
    /// Percent for EC2 that the load balancer has, a second after the plan.
    percent: u8,
    control: Control,
}

/// Places of the parts among the observation's loads.
const BALANCER: usize = 0;
const GATEWAY: usize = 1;
const CLOUD: usize = 2;
const AWS: usize = 3;

impl Agent {
    /// An agent that has seen nothing yet.
    ///
    /// # Errors
    /// When `setting` makes no configuration that `spillway check` would accept.
    pub(crate) fn new(setting: &Setting) -> Result<Self, Problems> {
        let config = config(setting)?;
        let policy = Policy::new(&config);
        let routes: Vec<RouteId> = config.routes.iter().map(|route| route.id.clone()).collect();
        let place = |id: &RouteId| routes.iter().position(|route| route == id);
        let sheds = config.knobs.iter().flat_map(|knob| {
            knob.sheds.iter().filter_map(|id| Some((knob.id.clone(), place(id)?)))
        });
        let sheds = sheds.collect();
        let sites: Vec<SiteId> = config.sites.iter().map(|site| site.id.clone()).collect();
        Ok(Self {
            state: State::initial(&policy),
            policy,
            observation: observation(&routes, &sites),
            site: sites.first().cloned(),
            routes,
            sheds,
            request_us: setting.functions.request_secs * 1e6,
            cold_start_ms: setting.functions.cold_start_ms,
            environments_max: setting.functions.environments_max,
            burst_per_sec: setting.functions.burst / 10.0,
            answer_bytes: setting.answer_bytes,
            queue_bytes: setting.uplink_queue_bytes,
            ec2_qps: setting.server_qps * config.agent.compute_target.get(),
            rest: [0.0; MIX.len()],
            percent: 0,
            control: Control { ec2: 0, split: Split::Spill(Spill::default()) },
        })
    }

    /// What is in force.
    pub(crate) fn control(&self) -> Control {
        self.control
    }

    /// Second `at` has ended like this.
    pub(crate) fn step(&mut self, at: u64, happened: &Happened, world: &World) {
        let now = UnixMillis(EPOCH_MS + at * 1000);
        self.report(now, happened, world);
        let outcome = decide(&self.policy, &self.state, &self.observation);
        self.state = outcome.state;
        for load in &mut self.observation.loads {
            load.generation = outcome.plan.generation;
        }
        let percent = std::mem::replace(&mut self.percent, outcome.plan.fleet.gateway_percent);
        self.control = self.controlled(&outcome.plan, now, percent);
    }

    fn controlled(&self, plan: &Plan, now: UnixMillis, percent: u8) -> Control {
        let sheds = self.sheds.iter().filter(|(knob, _)| plan.knob_on(knob, now));
        let site = self.site.as_ref().and_then(|site| plan.sites.get(site));
        let spill = Spill {
            share: site.map_or(0.0, |site| site.share.get()),
            proxies: site.is_some_and(|site| site.mode == SpillMode::Proxy),
            percent,
            sheds: sheds.filter_map(|(_, place)| MIX.get(*place)).sum(),
            tier: plan.tier.into(),
            home_qps: site.and_then(|site| site.home_qps),
            ec2_qps: Some(self.ec2_qps),
        };
        Control { ec2: plan.fleet.gateways, split: Split::Spill(spill) }
    }

    /// Adds what happened to the counters of all parts.
    fn report(&mut self, now: UnixMillis, happened: &Happened, world: &World) {
        self.observation.at = now;
        for load in &mut self.observation.loads {
            load.at = now;
        }
        let shed = self.shed();
        let stay: [bool; MIX.len()] = shed.map(|shed| !shed);
        let at_site = happened.at_site - happened.shed;
        let arrivals = self.by_route(at_site, stay);
        let sent_on = self.by_route(happened.sent_on, stay);
        let served = self.by_route(happened.home.served, stay);
        let failed = self.by_route(happened.home.failed, stay);
        let refused = self.by_route(happened.shed, shed);
        let displaced = self.by_route(happened.displaced, stay);
        let at_cloud = self.by_route(happened.at_cloud, [true; MIX.len()]);
        let cloud_served =
            self.by_route(happened.functions + happened.ec2.served, [true; MIX.len()]);
        let cloud_failed = self.by_route(happened.refused + happened.ec2.failed, [true; MIX.len()]);
        let proxies = matches!(self.control.split, Split::Spill(Spill { proxies: true, .. }));
        let bytes = self.answer_bytes;
        let bucket = histogram::bucket(whole(happened.home.p95_ms * 1000.0));
        for (place, id) in self.routes.iter().enumerate() {
            if let Some(route) = route(&mut self.observation, GATEWAY, id) {
                route.arrivals += arrivals[place] + refused[place];
                route.served += served[place];
                let on = if proxies { &mut route.proxied } else { &mut route.redirected };
                *on += sent_on[place];
                route.displaced += displaced[place];
                route.shed += refused[place];
                route.failed += failed[place];
                route.served_bytes += whole(served[place] as f64 * bytes);
                let proxied = if proxies { sent_on[place] as f64 * bytes } else { 0.0 };
                route.response_bytes += whole(served[place] as f64 * bytes + proxied);
            }
            if let Some(route) = route(&mut self.observation, CLOUD, id) {
                route.arrivals += at_cloud[place];
                route.served += cloud_served[place];
                route.failed += cloud_failed[place];
                route.served_bytes += whole(cloud_served[place] as f64 * bytes);
            }
        }
        let gateway = self.observation.loads.get_mut(GATEWAY);
        if let Some(count) = gateway.and_then(|load| load.latency.get_mut(bucket)) {
            *count += served.iter().sum::<u64>();
        }
        self.report_uplink(happened);
        self.report_cloud(now, happened, world);
    }

    fn report_uplink(&mut self, happened: &Happened) {
        let uplink = self.observation.loads.get_mut(BALANCER).and_then(|load| load.uplink.as_mut());
        let Some(uplink) = uplink else { return };
        uplink.bytes += whole(happened.uplink_bytes);
        uplink.queued_bytes = whole(happened.uplink_waits.min(self.queue_bytes));
        uplink.drops += whole((happened.uplink_waits - self.queue_bytes).max(0.0) / 1500.0);
    }

    fn report_cloud(&mut self, now: UnixMillis, happened: &Happened, world: &World) {
        let environments = world.environments();
        let cloud = self.observation.loads.get_mut(CLOUD).and_then(|load| load.functions.as_mut());
        if let Some(functions) = cloud {
            functions.invocations += happened.functions;
            functions.duration_us += whole(happened.functions as f64 * self.request_us);
            functions.started = environments.started();
            functions.throttled += happened.refused;
            functions.environments = environments.alive();
            functions.busy = whole(happened.functions as f64 * self.request_us / 1e6);
            functions.environments_max = whole(self.environments_max);
            functions.burst_left = environments.startable();
            functions.burst_per_sec = self.burst_per_sec;
            functions.cold_start_ms = self.cold_start_ms;
        }
        let fleet = self.observation.loads.get_mut(AWS).and_then(|load| load.fleet.as_mut());
        if let Some(fleet) = fleet {
            fleet.seen_at = now;
            fleet.gateways_launched = happened.launched;
            fleet.gateways_healthy = happened.ready;
            fleet.gateway_percent = match self.control.split {
                Split::Spill(spill) => spill.percent,
                _ => 0,
            };
        }
    }

    /// By route, whether gateways answer it 503.
    fn shed(&self) -> [bool; MIX.len()] {
        let mut shed = [false; MIX.len()];
        if let Split::Spill(spill) = self.control.split
            && spill.sheds > 0.0
        {
            // Knobs shed from the last route on, tier by tier.
            let mut left = spill.sheds + 1e-9;
            for (shed, part) in shed.iter_mut().zip(MIX).rev() {
                left -= part;
                *shed = left >= 0.0;
            }
        }
        shed
    }

    /// Divides `count` among the routes that `take` some.
    fn by_route(&mut self, count: u64, take: [bool; MIX.len()]) -> ByRoute {
        let mut counts = [0; MIX.len()];
        let all: f64 = MIX.iter().zip(take).filter(|(_, take)| *take).map(|(part, _)| part).sum();
        if count == 0 || all <= 0.0 {
            return counts;
        }
        let mut left = count;
        let places = counts.iter_mut().zip(MIX).zip(&mut self.rest).zip(take);
        for (((into, part), rest), take) in places {
            if !take {
                continue;
            }
            let exact = count as f64 * part / all + *rest;
            *into = whole(exact.floor()).min(left);
            *rest = (exact - *into as f64).clamp(0.0, 1.0);
            left -= *into;
        }
        // What is left over by rounding is of the first that takes any.
        if let Some((into, _)) = counts.iter_mut().zip(take).find(|(_, take)| *take) {
            *into += left;
        }
        counts
    }
}

fn route<'a>(
    observation: &'a mut Observation,
    part: usize,
    id: &RouteId,
) -> Option<&'a mut RouteLoad> {
    observation.loads.get_mut(part)?.routes.get_mut(id)
}

/// The configuration that such a site would have.
fn config(setting: &Setting) -> Result<Config, Problems> {
    let (mut agent, mut budget) = (String::new(), String::new());
    for (name, value) in &setting.agent {
        match name.strip_prefix("budget.") {
            None => agent.push_str(&format!("{name} = {value}\n")),
            // A whole number of dollars is one with a fraction there.
            Some(name) => budget.push_str(&format!("{name} = {value:?}\n")),
        }
    }
    if !budget.is_empty() {
        budget.insert_str(0, "[cloud.budget]\n");
    }
    let text = format!(
        include_str!("site.toml"),
        agent = agent,
        budget = budget,
        ttl = setting.dns_ttl_secs,
        uplink_bits = whole(setting.uplink_bytes() * 8.0),
        queue_bytes = whole(setting.uplink_queue_bytes),
        backhaul = whole(setting.backhaul_bytes),
        capacity = setting.capacity(),
        p95 = setting.p95_limit_ms(),
        server = setting.server_qps,
        ec2_max = setting.ec2_max,
        answer = whole(setting.answer_bytes),
    );
    Config::parse(&text, Path::new("."))
}

/// All parts with their counters at zero.
fn observation(routes: &[RouteId], sites: &[SiteId]) -> Observation {
    let load = |part, name: &str| {
        let site = sites.first().filter(|_| !matches!(part, Part::Cloud | Part::Aws));
        Load::new(part, name, site.cloned(), 1, UnixMillis(EPOCH_MS))
    };
    let counters = || routes.iter().cloned().map(|id| (id, RouteLoad::default())).collect();
    let mut balancer = load(Part::Balancer, sites.first().map_or("", SiteId::as_str));
    balancer.uplink = Some(UplinkLoad::default());
    let mut gateway = load(Part::Gateway, "gateway");
    gateway.routes = counters();
    gateway.latency = vec![0; histogram::BUCKETS];
    for name in ["service", "cloud-127.0.2.1"] {
        let upstream = UpstreamLoad { healthy: true, ..UpstreamLoad::default() };
        gateway.upstreams.insert(name.to_owned(), upstream);
    }
    let mut cloud = load(Part::Cloud, "cloud");
    cloud.routes = counters();
    cloud.functions = Some(FunctionsLoad::default());
    let mut aws = load(Part::Aws, "aws");
    aws.fleet = Some(FleetLoad::default());
    Observation {
        at: UnixMillis(EPOCH_MS),
        loads: vec![balancer, gateway, cloud, aws],
        missing: BTreeMap::new(),
        interface_bytes: BTreeMap::new(),
        orders: Orders::default(),
        in_force: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::Second;

    /// Plays `load(second)` requests a second without noise; what happened in each, and the control.
    fn play(setting: &Setting, secs: u64, load: impl Fn(u64) -> u64) -> Vec<(Happened, Control)> {
        let mut agent = Agent::new(setting).unwrap();
        let mut world = World::new(setting, 1);
        let mut told = Vec::new();
        for at in 1..=secs {
            let control = agent.control();
            let second = Second { rate: load(at) as f64, arrivals: load(at) };
            let happened = world.step(second, &control);
            agent.step(at, &happened, &world);
            told.push((happened, control));
        }
        told
    }

    fn spill(control: &Control) -> Spill {
        match control.split {
            Split::Spill(spill) => spill,
            _ => Spill::default(),
        }
    }

    #[test]
    fn nothing_is_spilled_that_fits_and_a_burst_is_within_seconds() {
        let told =
            play(&Setting::default(), 400, |at| if (60..200).contains(&at) { 4500 } else { 700 });
        assert!(told[..60].iter().all(|(_, control)| spill(control).share == 0.0));
        assert!(told[..59].iter().all(|(happened, _)| !happened.over));
        let over = told.iter().filter(|(happened, _)| happened.over).count();
        assert!(over < 10, "{over} s over");
        // Four fifths of 1500 stay at home, about.
        let share = spill(&told[150].1).share;
        assert!((0.66..0.85).contains(&share), "{share}");
        assert!(told[190].1.ec2 > 10, "{:?}", told[190]);
        assert_eq!(spill(&told[399].1).share, 0.0);
    }

    #[test]
    fn what_the_cloud_brings_back_over_the_uplink_is_room_that_home_lacks() {
        let burst = |at| if at >= 60 { 4500 } else { 700 };
        let plain = play(&Setting::default(), 200, burst);
        let setting = Setting { backhaul_bytes: 2000.0, ..Setting::default() };
        let told = play(&setting, 200, burst);
        // Four fifths of 15.75 MB/s are for 7000 bytes of each that stays and 2000 of each that does not.
        let share = spill(&told[199].1).share;
        assert!((0.82..0.92).contains(&share), "{share}");
        assert!(spill(&plain[199].1).share < 0.75);
        let over = told.iter().filter(|(happened, _)| happened.over).count();
        assert!(over < 10, "{over} s over");
        assert!(told[100..].iter().all(|(happened, _)| happened.uplink_waits == 0.0));
    }

    #[test]
    fn tiers_shed_what_the_cloud_does_not_take() {
        let mut setting = Setting { ec2_max: 1, ..Setting::default() };
        setting.functions.environments_max = 50.0;
        let told = play(&setting, 500, |at| if (60..150).contains(&at) { 4500 } else { 700 });
        let tiers = told.iter().map(|(happened, _)| happened.tier);
        assert_eq!(tiers.max(), Some(3));
        let shed: u64 = told.iter().map(|(happened, _)| happened.shed).sum();
        assert!(shed > 10_000, "{shed}");
        assert_eq!(told[499].0.tier, 0);
    }

    #[test]
    fn counters_are_whole_and_add_up() {
        let mut agent = Agent::new(&Setting::default()).unwrap();
        let all = [true; MIX.len()];
        for count in [0, 1, 3, 7, 1000, 999] {
            assert_eq!(agent.by_route(count, all).iter().sum::<u64>(), count);
        }
        let last = [false, false, false, true];
        assert_eq!(agent.by_route(10, last), [0, 0, 0, 10]);
        let (mut sums, mut n) = ([0; MIX.len()], 0);
        for _ in 0..1000 {
            for (sum, count) in sums.iter_mut().zip(agent.by_route(7, all)) {
                *sum += count;
                n += count;
            }
        }
        assert_eq!(n, 7000);
        assert!((2000..=2200).contains(&sums[1]), "{sums:?}");
    }
}
