//! The memory of the state is bounded by the configuration, whatever parts report and operators order.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sim;

use std::collections::BTreeMap;

use proptest::prelude::*;
use sim::aws::config_on_aws;
use spillway_decide::{Observation, Orders, Policy, State, decide};
use spillway_model::api::{Bound, EventOrder, GatewaysOrder, KnobOrder, ShareOrder, TierOrder};
use spillway_model::load::{FleetLoad, FunctionsLoad, Part, RouteLoad, UplinkLoad, UpstreamLoad};
use spillway_model::plan::Tier;
use spillway_model::{Config, EventId, Load, RouteId, Share, SiteId, UnixMillis, histogram};

const START: UnixMillis = UnixMillis(1_800_000_000_000);
/// Events announced at any time, each for so many seconds.
const EVENTS: usize = 200;
const EVENT_SECS: u64 = 40;

/// The most bytes of a state as JSON. A number has at most 26 characters with its comma. A part has counters
/// of seven kinds by route and a histogram; at most twice as many parts as are known are kept, and 32 more.
/// A site has means by route and buckets of windows, a knob what it releases by route, and each event of the
/// present at most a line.
fn most(config: &Config, events: usize) -> usize {
    const NUMBER: usize = 26;
    let routes = config.routes.len();
    let parts = 32 + 2 * config.sites.iter().map(|site| 1 + site.gateways.len()).sum::<usize>();
    let reading = NUMBER * (7 * routes + histogram::BUCKETS + 20);
    let site = NUMBER * (40 * routes + 2000);
    let knob = NUMBER * (8 * routes + 20);
    parts * reading + config.sites.len() * site + config.knobs.len() * knob + events * 250 + 65_536
}

/// What parts tell that come back under another name and boot number each second, with clocks that are wrong,
/// routes that nobody configured, histograms without end and counters that jump.
fn loads(config: &Config, tick: u64, seed: u64) -> Vec<Load> {
    let chance = |of: u64| (seed ^ tick ^ of << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let clock = |of: u64| match chance(of) % 4 {
        0 => START.plus_secs(tick + chance(of) % 100_000),
        1 => UnixMillis(START.0 + 1000 * tick - chance(of) % 100_000),
        _ => START.plus_secs(tick),
    };
    let fill = |mut load: Load, of: u64| {
        let mut ids: Vec<RouteId> = config.routes.iter().map(|route| route.id.clone()).collect();
        ids.extend((0..chance(of) % 5).map(|n| RouteId::new(&format!("r{tick}-{n}")).unwrap()));
        ids.truncate(1 + (chance(of + 7) % 16) as usize);
        load.routes = ids.into_iter().map(|id| (id, counts(chance(of + 1)))).collect();
        load.latency = vec![chance(of + 2); (chance(of + 3) % 4096) as usize];
        load.cpu_secs = tick as f64;
        load
    };
    let mut loads = Vec::new();
    for site in &config.sites {
        let id = Some(site.id.clone());
        let part =
            |part, name: &str, of| Load::new(part, name, id.clone(), chance(of) % 3, clock(of));
        let mut balancer = part(Part::Balancer, site.id.as_str(), 1);
        balancer.uplink = Some(UplinkLoad { drops: chance(2), ..UplinkLoad::default() });
        loads.push(balancer);
        for (of, gateway) in (10..).zip(&site.gateways) {
            let mut load = fill(part(Part::Gateway, &gateway.name, of), of);
            for n in 0..50 {
                load.upstreams.insert(format!("u{tick}-{n}"), UpstreamLoad::default());
            }
            loads.push(load);
        }
        for n in 0..40 {
            loads.push(fill(part(Part::Service, &format!("service-{tick}-{n}"), 40 + n), 40 + n));
        }
    }
    for n in 0..20 {
        let name = format!("cloud-{tick}-{n}");
        let mut cloud = fill(Load::new(Part::Cloud, &name, None, tick, clock(n)), 100 + n);
        let functions = FunctionsLoad { environments_max: chance(n), ..FunctionsLoad::default() };
        cloud.functions = Some(functions);
        loads.push(cloud);
    }
    let mut aws = Load::new(Part::Aws, "aws", None, tick, START.plus_secs(tick));
    let gateways_launched = (chance(5) % 100) as u32;
    aws.fleet = Some(FleetLoad { gateways_launched, seen_at: aws.at, ..FleetLoad::default() });
    loads.push(aws);
    loads.retain(|load| !chance(load.at.0 ^ load.boot).is_multiple_of(9));
    loads
}

fn counts(n: u64) -> RouteLoad {
    RouteLoad {
        arrivals: n,
        served: n,
        served_bytes: n * 1000,
        response_bytes: n * 1000,
        ..RouteLoad::default()
    }
}

/// Orders of every kind, all of them others each second, and events that begin and are over.
fn orders(config: &Config, tick: u64, events: &mut Orders) -> Orders {
    let at = START.plus_secs(tick);
    let until = at.plus_secs(5);
    let by = || format!("ann: order {tick}");
    for n in 0..EVENTS as u64 / EVENT_SECS {
        let factor = 1.0 + (tick % 90) as f64;
        let order = EventOrder { at, for_secs: EVENT_SECS, factor, site: None, by: by() };
        let over = order.until();
        events.events.insert(EventId::new(&format!("e{tick}-{n}")).unwrap(), (order, over));
    }
    events.events.retain(|_, (_, until)| at < *until);
    let mut orders = events.clone();
    for (bit, knob) in config.knobs.iter().enumerate() {
        let on = (tick / 7) >> bit & 1 == 1;
        orders.knobs.insert(knob.id.clone(), (KnobOrder { on, for_secs: 5, by: by() }, until));
    }
    let tier = TierOrder { tier: Tier::ALL[(tick / 11 % 4) as usize], for_secs: 5, by: by() };
    orders.alarms.insert(format!("home/alarm-{tick}"), (tier, until));
    let share = Share::clamped((tick % 10) as f64 / 10.0);
    let order = ShareOrder { share, bound: Bound::AtLeast, for_secs: 5, by: by() };
    orders.shares.insert(config.sites[0].id.clone(), (order, until));
    let gateways = (tick % 9) as u32;
    let order = GatewaysOrder { gateways, bound: Bound::Exactly, for_secs: 5, by: by() };
    orders.gateways = Some((order, until));
    orders
}

/// Sizes of the state as JSON, of every tenth tick. After each `change` of them there is another configuration.
fn sizes(configs: &[Config], ticks: u64, seed: u64, change: u64) -> Vec<usize> {
    let policies: Vec<Policy> = configs.iter().map(Policy::new).collect();
    let mut state = State::initial(&policies[0]);
    let mut events = Orders::default();
    let mut sizes = Vec::new();
    for tick in 0..ticks {
        let which = usize::try_from(tick / change).unwrap() % configs.len();
        let (config, policy) = (&configs[which], &policies[which]);
        let observation = Observation {
            at: START.plus_secs(tick),
            loads: loads(config, tick, seed),
            missing: (0..9).map(|n| (format!("part-{tick}-{n}"), "late".to_owned())).collect(),
            interface_bytes: BTreeMap::from([(SiteId::new(&format!("s{tick}")).unwrap(), tick)]),
            orders: orders(config, tick, &mut events),
            in_force: None,
        };
        state = decide(policy, &state, &observation).state;
        if tick % 10 == 9 {
            sizes.push(serde_json::to_vec(&state).unwrap().len());
        }
    }
    sizes
}

fn configs() -> Vec<Config> {
    let config = config_on_aws(&[]);
    let mut other = config.clone();
    other.sites[0].id = SiteId::new("west").unwrap();
    other.sites[0].uplink.interface = Some("eth0".to_owned());
    other.routes.truncate(4);
    other.knobs.truncate(3);
    vec![config, other]
}

#[test]
fn the_state_grows_to_a_limit_and_no_further() {
    let configs = configs();
    let sizes = sizes(&configs, 6000, 1, 1500);
    let most = most(&configs[0], EVENTS);
    let largest = |part: &[usize]| part.iter().copied().max().unwrap();
    let (first, second) = sizes.split_at(sizes.len() / 2);
    assert!(largest(&sizes) <= most, "{} bytes of {most}", largest(&sizes));
    // Chance decides how many of the absent are kept, within a tenth.
    let (first, second) = (largest(first), largest(second));
    assert!(second * 10 <= first * 11, "{first}, then {second} bytes, of at most {most}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn no_world_makes_the_state_large(seed: u64) {
        let configs = configs();
        let most = most(&configs[0], EVENTS);
        for size in sizes(&configs, 200, seed, 60) {
            prop_assert!(size <= most, "{} bytes of {}", size, most);
        }
    }
}
