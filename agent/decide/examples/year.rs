//! Decides each second of a simulated year, and tells after each month how large the state is as JSON and how
//! much memory the process has taken: both have to be flat after the first weeks.
//!
//! ```text
//! year [DAYS]
//! ```
//!
//! The world is a rate that follows the hour, the weekday and bursts, and parts that report it and obey the
//! plan. Parts restart under new boot numbers and names, sites are blind now and then, knobs turn, and orders
//! and events come and go.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use spillway_decide::{Observation, Orders, Policy, State, decide};
use spillway_model::api::{Bound, EventOrder, KnobOrder, ShareOrder, TierOrder};
use spillway_model::load::{FleetLoad, FunctionsLoad, Part, RouteLoad, UplinkLoad};
use spillway_model::plan::Tier;
use spillway_model::{Config, EventId, Load, Plan, Share, UnixMillis, histogram};

const DAY: u64 = 86_400;
/// Seconds between two lines.
const MONTH: u64 = 30 * DAY;
const EPOCH: UnixMillis = UnixMillis(1_800_000_000_000);

fn main() -> Result<(), Box<dyn Error>> {
    let days = match std::env::args().nth(1) {
        Some(days) => days.parse().map_err(|e| format!("{days} is no number of days: {e}"))?,
        None => 365_u64,
    };
    let config = config()?;
    let policy = Policy::new(&config);
    let mut world = World::new(&config);
    let mut state = State::initial(&policy);
    let (mut spilled, mut degraded) = (0_u64, 0_u64);
    println!("  day  state, bytes  resident, KiB  most, KiB  s spilled  s degraded  generation");
    for second in 1..=days * DAY {
        let observation = world.second(second, state.plan())?;
        state = decide(&policy, &state, &observation).state;
        spilled += u64::from(state.plan().sites.values().any(|site| site.share.get() > 0.0));
        degraded += u64::from(state.plan().tier > Tier::Normal);
        if second % MONTH == 0 || second == days * DAY {
            let bytes = serde_json::to_vec(&state)?.len();
            println!(
                "{:>5}  {bytes:>12}  {:>13}  {:>9}  {spilled:>9}  {degraded:>10}  {:>10}",
                second / DAY,
                memory("VmRSS:"),
                memory("VmHWM:"),
                state.plan().generation
            );
        }
    }
    Ok(())
}

/// What Linux says of this process, in KiB.
fn memory(what: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    line.and_then(|line| line.split_whitespace().next()).unwrap_or("?").to_owned()
}

/// The example, with what it has for AWS.
fn config() -> Result<Config, Box<dyn Error>> {
    let example = include_str!("../../../examples/spillway.toml");
    let lines = example.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting,
        _ => line,
    });
    Ok(Config::parse(&lines.collect::<Vec<_>>().join("\n"), Path::new("."))?)
}

/// What there is: parts that report, and orders.
struct World {
    parts: Vec<Load>,
    knobs: Vec<spillway_model::KnobId>,
    site: Option<spillway_model::SiteId>,
    /// Requests per second whose answers fill the uplinks.
    capacity: f64,
    orders: Orders,
}

impl World {
    fn new(config: &Config) -> Self {
        let mut parts = Vec::new();
        let zero = || config.routes.iter().map(|route| (route.id.clone(), RouteLoad::default()));
        for site in &config.sites {
            let id = Some(site.id.clone());
            let part = |part, name: &str| Load::new(part, name, id.clone(), 1, EPOCH);
            parts.push(part(Part::Balancer, site.id.as_str()));
            parts.extend(site.gateways.iter().map(|of| part(Part::Gateway, &of.name)));
            parts.extend(site.services.iter().map(|of| part(Part::Service, &of.name)));
        }
        parts.push(Load::new(Part::Cloud, "cloud", None, 1, EPOCH));
        parts.push(Load::new(Part::Aws, "aws", None, 1, EPOCH));
        for part in &mut parts {
            if matches!(part.part, Part::Gateway | Part::Service | Part::Cloud) {
                part.routes = zero().collect();
            }
        }
        Self {
            parts,
            knobs: config.knobs.iter().map(|knob| knob.id.clone()).collect(),
            site: config.sites.first().map(|site| site.id.clone()),
            capacity: config.sites.iter().map(|site| site.uplink.bits_per_sec as f64).sum::<f64>()
                / 16_000.0,
            orders: Orders::default(),
        }
    }

    /// Second `second` passes under `plan`: what is observed at its end.
    fn second(&mut self, second: u64, plan: &Plan) -> Result<Observation, Box<dyn Error>> {
        let at = EPOCH.plus_secs(second);
        let asked = asked(second) * self.capacity;
        let share = plan.sites.values().next().map_or(0.0, |site| site.share.get());
        self.restart(second);
        let gateways = self.parts.iter().filter(|part| part.part == Part::Gateway).count();
        for (place, part) in self.parts.iter_mut().enumerate() {
            part.at = at;
            part.generation = plan.generation;
            let rate = match part.part {
                Part::Cloud => asked * share,
                _ => asked * (1.0 - share) / gateways.max(1) as f64,
            };
            report(part, rate, chance(second * 64 + place as u64), plan, at);
        }
        self.order(second, at)?;
        let blind = chance(second / 20).is_multiple_of(500);
        let seen = |part: &&Load| !blind || part.part == Part::Balancer;
        Ok(Observation {
            at,
            loads: self.parts.iter().filter(seen).cloned().collect(),
            missing: BTreeMap::new(),
            interface_bytes: BTreeMap::new(),
            orders: self.orders.clone(),
            in_force: None,
        })
    }

    /// Each part restarts some times a day, the cloud's side under another name.
    fn restart(&mut self, second: u64) {
        for (place, part) in self.parts.iter_mut().enumerate() {
            if !chance(second * 64 + place as u64 + 32).is_multiple_of(20_000) {
                continue;
            }
            part.boot += 1;
            part.cpu_secs = 0.0;
            part.latency.clear();
            part.routes.values_mut().for_each(|route| *route = RouteLoad::default());
            (part.uplink, part.functions) = (None, None);
            if part.part == Part::Cloud {
                part.name = format!("cloud-{second}");
            }
        }
    }

    /// Events are announced each day, orders given some times a day, and what is over is forgotten.
    fn order(&mut self, second: u64, at: UnixMillis) -> Result<(), Box<dyn Error>> {
        let until = at.plus_secs(600);
        if second % DAY == 3600 {
            let begins = at.plus_secs(6 * 3600);
            let by = "the calendar".to_owned();
            let order = EventOrder { at: begins, for_secs: 3600, factor: 3.0, site: None, by };
            let over = order.until();
            self.orders.events.insert(EventId::new(&format!("e{}", second / DAY))?, (order, over));
        }
        let random = chance(second);
        if random.is_multiple_of(7_000) {
            let knob = usize::try_from(random >> 32)? % self.knobs.len().max(1);
            let order =
                KnobOrder { on: random.is_multiple_of(2), for_secs: 600, by: "a drill".to_owned() };
            self.orders.knobs.extend(self.knobs.get(knob).map(|id| (id.clone(), (order, until))));
        }
        if random.is_multiple_of(50_001) {
            let order = TierOrder { tier: Tier::Visible, for_secs: 600, by: "a drill".to_owned() };
            self.orders.tier = Some((order, until));
        }
        if random.is_multiple_of(30_001) {
            let (share, by) = (Share::clamped(0.3), "a drill".to_owned());
            let order = ShareOrder { share, bound: Bound::AtLeast, for_secs: 600, by };
            self.orders.shares.extend(self.site.clone().map(|id| (id, (order, until))));
        }
        self.orders.events.retain(|_, (_, until)| at < *until);
        self.orders.knobs.retain(|_, (_, until)| at < *until);
        self.orders.shares.retain(|_, (_, until)| at < *until);
        self.orders.tier = self.orders.tier.take().filter(|(_, until)| at < *until);
        Ok(())
    }
}

/// What is asked, as a multiple of what home serves: by hour, weekday and burst.
fn asked(second: u64) -> f64 {
    let hour = (second % DAY) as f64 / 3600.0;
    let day = 1.0 - (hour - 14.0).abs() / 14.0;
    let week = if second / DAY % 7 >= 5 { 0.6 } else { 1.0 };
    // One hour in twenty has ten minutes that are many times as much.
    let random = chance(second / 3600 + 1_000_000_007);
    let bursts = random.is_multiple_of(20) && (600..1200).contains(&(second % 3600));
    let burst = if bursts { 3.0 + (random >> 32 & 7) as f64 } else { 1.0 };
    week * (0.15 + 0.45 * day.max(0.0)) * burst
}

/// Adds a second of `rate` requests to what a part has counted.
fn report(part: &mut Load, rate: f64, random: u64, plan: &Plan, at: UnixMillis) {
    let mut all = 0;
    let routes = part.routes.len().max(1) as f64;
    for (place, route) in part.routes.values_mut().enumerate() {
        let exact = rate / routes * (0.8 + 0.4 * (random >> (place % 32) & 255) as f64 / 255.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let count = exact as u64;
        route.arrivals += count;
        route.served += count;
        let sent = count * (500 + 700 * (place as u64 % 5));
        route.served_bytes += sent;
        route.response_bytes += sent;
        all += count;
    }
    part.cpu_secs += 0.0008 * all as f64;
    match part.part {
        Part::Gateway => {
            part.latency.resize(histogram::BUCKETS, 0);
            let micros = if all > 2000 { 900_000 } else { 20_000 };
            if let Some(bucket) = part.latency.get_mut(histogram::bucket(micros)) {
                *bucket += all;
            }
        }
        Part::Balancer => {
            let uplink = part.uplink.get_or_insert_with(UplinkLoad::default);
            uplink.bytes += 2_000_000;
            uplink.drops += u64::from(random.is_multiple_of(3_000)) * 5;
        }
        Part::Cloud => {
            let functions = part.functions.get_or_insert_with(FunctionsLoad::default);
            functions.invocations += all;
            functions.duration_us += 20_000 * all;
            functions.environments = 100;
            functions.environments_max = 1000;
            functions.burst_left = 500;
            functions.throttled += u64::from(random.is_multiple_of(5_000)) * all / 10;
        }
        Part::Aws => {
            let fleet = &plan.fleet;
            part.fleet = Some(FleetLoad {
                seen_at: at,
                gateways_launched: fleet.gateways,
                gateways_healthy: fleet.gateways,
                gateway_percent: fleet.gateway_percent,
                ..FleetLoad::default()
            });
        }
        _ => {}
    }
}

/// A number that looks random, the same each time.
fn chance(of: u64) -> u64 {
    let mut x = of.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
