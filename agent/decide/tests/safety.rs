//! What must hold whatever comes in: no data holds, restarts do not jump, orders are leases, and the
//! same inputs give the same bits.

mod sim;

use std::collections::BTreeMap;

use proptest::prelude::*;
use sim::{World, config, site};
use spillway_decide::{Observation, Orders, Policy, State, decide, explain_client};
use spillway_model::api::{KnobOrder, TierOrder};
use spillway_model::load::{FunctionsLoad, Part, RouteLoad, UplinkLoad};
use spillway_model::plan::Tier;
use spillway_model::{KnobId, Load, RouteId, UnixMillis};

fn world(seed: u64) -> World {
    World::new(&config(&[]), seed)
}

/// A site that has spilled half and more for a while.
fn spilling(seed: u64) -> World {
    let mut world = world(seed);
    world.run(60, 0.03, |s| if s < 10 { 0.5 } else { 2.5 });
    assert!(world.share() > 0.5, "{}", world.course());
    world
}

#[test]
fn nobody_answers_and_everything_holds() {
    let mut world = spilling(1);
    let (share, generation) = (world.share(), world.state.plan().generation);
    world.silent = ["east", "cloud", "east-gw-1", "east-gw-2"].map(str::to_owned).to_vec();
    world.run(120, 0.0, |_| 0.0);
    assert_eq!(world.share().to_bits(), share.to_bits());
    let outcome = world.outcome.as_ref().unwrap();
    assert!(outcome.headline.contains("Holding"), "{}", outcome.headline);
    assert!(outcome.decision.reasons[0].contains("connection refused"));
    // The lease is renewed, at a third of its thirty seconds.
    assert!((10..=14).contains(&(outcome.plan.generation - generation)));
    assert!(outcome.plan.expires_at > world.now());
    assert!(outcome.sites[&site()].requests_per_sec > 0.0, "shown as last seen");
    world.silent.clear();
    world.run(60, 0.0, |_| 0.0);
    assert_eq!(world.share(), 0.0, "nobody asks, which is data\n{}", world.course());
}

#[test]
fn each_missing_part_holds_the_share() {
    for part in ["east", "cloud", "east-gw-1", "east-gw-2"] {
        let mut world = spilling(2);
        world.silent = vec![part.to_owned()];
        let share = world.share();
        world.run(60, 0.02, |_| 0.3);
        assert!(world.share() >= share, "{part}\n{}", world.course());
        world.silent.clear();
        world.run(60, 0.02, |_| 0.3);
        assert_eq!(world.share(), 0.0, "{part}\n{}", world.course());
    }
}

#[test]
fn one_gateway_is_enough_to_add() {
    let mut world = world(3);
    world.run(20, 0.03, |_| 0.5);
    world.silent = vec!["east-gw-2".to_owned()];
    world.run(10, 0.03, |_| 4.0);
    assert!(world.share() > 0.5, "{}", world.course());
}

#[test]
fn a_stale_reading_is_no_reading() {
    let world = spilling(4);
    let mut old = world.observations.last().unwrap().clone();
    let mut state = world.state.clone();
    let share = world.share();
    for _ in 0..60 {
        old.at = old.at.plus_secs(1);
        let outcome = decide(&world.policy, &state, &old);
        assert_eq!(outcome.plan.share(&site()).get().to_bits(), share.to_bits());
        state = outcome.state;
    }
}

#[test]
fn restarted_gateways_are_not_silence() {
    let mut world = spilling(5);
    let share = world.share();
    for _ in 0..5 {
        world.restart_gateways();
        world.run(3, 0.02, |_| 2.5);
    }
    assert!((world.share() - share).abs() < 0.1, "{}", world.course());
    assert!(world.ticks.iter().skip(15).all(|t| t.share > 0.4), "{}", world.course());
}

#[test]
fn the_agent_restarts_without_a_jump() {
    for lost in [false, true] {
        let mut world = spilling(6);
        // Past the correction of the first overshoot.
        world.run(60, 0.02, |_| 2.5);
        let (share, generation) = (world.share(), world.state.plan().generation);
        world.restart_agent(lost);
        let before = world.ticks.len();
        world.run(40, 0.02, |_| 2.5);
        let after = &world.ticks[before..];
        let jump = after.iter().map(|t| (t.share - share).abs()).fold(0.0, f64::max);
        assert!(jump < 0.08, "lost {lost}: {jump}\n{}", world.course());
        assert_eq!(after[0].share.to_bits(), share.to_bits());
        assert!(world.state.plan().generation > generation);
        world.run(60, 0.02, |_| 0.3);
        assert_eq!(world.share(), 0.0, "{}", world.course());
    }
}

#[test]
fn generations_rise_only_with_news() {
    let mut world = world(7);
    world.run(100, 0.02, |_| 0.4);
    let published = world.ticks.iter().filter(|t| t.published).count();
    // One at the start, then a renewal each ten seconds.
    assert!((10..=11).contains(&published), "{published}");
    assert_eq!(world.state.plan().generation, published as u64);
}

#[test]
fn a_tier_order_is_a_floor_with_an_end() {
    let mut world = world(8);
    world.run(10, 0.02, |_| 0.4);
    let order = TierOrder { tier: Tier::Visible, for_secs: 30, by: "drill".to_owned() };
    world.orders.tier = Some((order, world.now().plus_secs(30)));
    world.run(1, 0.02, |_| 0.4);
    assert_eq!(world.tier(), 2);
    let lease = &world.state.plan().knobs[&KnobId::new("qr-text").unwrap()];
    assert_eq!(lease.by, "drill");
    let told = |world: &World| world.ticks.last().unwrap().reasons.join("\n");
    assert!(told(&world).contains("at least 2 (visible) by order"), "{}", told(&world));
    assert!(!told(&world).contains("milder"), "{}", told(&world));
    world.run(28, 0.02, |_| 0.4);
    assert_eq!(world.tier(), 2);
    // One knob a dwell once it is over, of ten seconds for the last of a tier, and the reason says that it
    // was an order.
    world.run(4, 0.02, |_| 0.4);
    assert_eq!(world.tier(), 2, "{}", world.course());
    assert_eq!(world.state.plan().knobs.len(), 3, "{}", world.course());
    assert!(told(&world).contains("tier: still 2 (visible); the order ended"), "{}", told(&world));
    world.run(8, 0.02, |_| 0.4);
    assert_eq!(world.tier(), 1, "{}", world.course());
    assert!(
        told(&world).contains("tier: still 1 (invisible); the order ended"),
        "{}",
        told(&world)
    );
    world.run(16, 0.02, |_| 0.4);
    assert_eq!(world.tier(), 0, "{}", world.course());
    assert!(world.state.plan().knobs.is_empty());
    for step in
        ["lowered to 1 (invisible): the order ended", "lowered to 0 (normal): the order ended"]
    {
        assert!(world.course().contains(step), "{}", world.course());
    }
}

#[test]
fn the_floor_is_the_highest_that_operator_and_alarms_ask_for() {
    let mut world = world(13);
    world.run(10, 0.02, |_| 0.4);
    let start = world.now();
    let order = |tier, secs, by: &str| {
        (TierOrder { tier, for_secs: secs, by: by.to_owned() }, start.plus_secs(secs))
    };
    world.orders.tier = Some(order(Tier::Invisible, 60, "drill"));
    world.orders.alarms = BTreeMap::from([
        ("slow".to_owned(), order(Tier::Invisible, 30, "alarm slow")),
        ("failing".to_owned(), order(Tier::Visible, 20, "alarm failing")),
        ("over".to_owned(), order(Tier::Severe, 0, "alarm over")),
    ]);
    let by = |secs| world.orders.floor_until(start.plus_secs(secs)).map(|(o, _)| o.by.as_str());
    assert_eq!(
        [by(0), by(20), by(59), by(60)],
        [Some("alarm failing"), Some("drill"), Some("drill"), None]
    );
    world.run(1, 0.02, |_| 0.4);
    assert_eq!(world.tier(), 2);
    let told = world.ticks.last().unwrap().reasons.join("\n");
    assert!(told.contains("at least 2 (visible) by order of alarm failing"), "{told}");
    world.run(45, 0.02, |_| 0.4);
    assert_eq!(world.tier(), 1, "the operator's order goes on: {}", world.course());
}

#[test]
fn an_order_that_ends_where_load_needs_the_tier_is_not_the_reason() {
    let mut world = world(12);
    world.limits.environments_max = 0;
    world.limits.burst = 0.0;
    world.run(10, 0.02, |_| 0.4);
    let order = TierOrder { tier: Tier::Visible, for_secs: 10, by: "drill".to_owned() };
    world.orders.tier = Some((order, world.now().plus_secs(10)));
    world.run(30, 0.02, |_| 1.3);
    assert_eq!(world.tier(), 2, "{}", world.course());
    assert!(!world.course().contains("the order ended"), "{}", world.course());
}

#[test]
fn knob_orders_win_over_the_tier() {
    let mut world = world(9);
    world.run(5, 0.02, |_| 0.4);
    let (qr, history) = (KnobId::new("qr-text").unwrap(), KnobId::new("history-hidden").unwrap());
    let until = world.now().plus_secs(20);
    let order = |on| KnobOrder { on, for_secs: 20, by: "on call".to_owned() };
    world.orders.knobs = BTreeMap::from([
        (qr.clone(), (order(true), until)),
        (history.clone(), (order(false), until)),
    ]);
    let tier = TierOrder { tier: Tier::Visible, for_secs: 60, by: "drill".to_owned() };
    world.orders.tier = Some((tier, world.now().plus_secs(60)));
    world.run(2, 0.02, |_| 0.4);
    let plan = world.state.plan();
    assert_eq!(plan.knobs[&qr].by, "on call");
    assert!(plan.knobs[&qr].until <= until, "a knob outlives its order");
    assert!(!plan.knobs.contains_key(&history));
    world.run(20, 0.02, |_| 0.4);
    assert!(world.state.plan().knobs.contains_key(&history), "the order is over, the tier is not");
}

#[test]
fn a_client_is_told_why() {
    let world = spilling(10);
    let plan = world.state.plan();
    let share = plan.share(&site());
    let mut sides = [0, 0];
    for i in 0..200 {
        let address = format!("10.0.{i}.7").parse().unwrap();
        let explained = explain_client(&world.policy, plan, address);
        let told = &explained.sites[&site()];
        assert_eq!(told.spilled, explained.rank < share.get());
        assert!(told.why.contains(&format!("{:.4}", explained.rank)), "{}", told.why);
        sides[usize::from(told.spilled)] += 1;
    }
    assert!(sides[0] > 0 && sides[1] > 0);
}

#[test]
fn the_same_inputs_give_the_same_bits() {
    let world = spilling(11);
    let journal: Vec<String> =
        world.observations.iter().map(|o| serde_json::to_string(o).unwrap()).collect();
    let replay = || {
        let mut state = State::initial(&world.policy);
        let mut text = String::new();
        for line in &journal {
            let observation: Observation = serde_json::from_str(line).unwrap();
            let outcome = decide(&world.policy, &state, &observation);
            text.push_str(&serde_json::to_string(&outcome).unwrap());
            // Through JSON each time, as after a restart at any tick.
            let kept = serde_json::to_string(&outcome.state).unwrap();
            state = serde_json::from_str(&kept).unwrap();
            assert_eq!(state, outcome.state);
        }
        (state, text)
    };
    let ((state, first), (_, second)) = (replay(), replay());
    assert_eq!(first, second);
    assert_eq!(state, world.state, "a replay of the journal comes to what was decided live");
}

/// Readings of a site whose one busy gateway has served `total` requests of each of two routes, and
/// of a cloud without limits.
#[expect(clippy::unwrap_used, reason = "tests may fail here")]
fn readings(at: UnixMillis, total: f64, bytes: u64, drops: u64) -> Vec<Load> {
    let mut routes = BTreeMap::new();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "test counts")]
    let count = total as u64;
    for name in ["code", "qr"] {
        let mut load = RouteLoad { arrivals: count, served: count, ..RouteLoad::default() };
        load.served_bytes = count.saturating_mul(bytes);
        load.response_bytes = load.served_bytes;
        routes.insert(RouteId::new(name).unwrap(), load);
    }
    let load = |part, name: &str| Load::new(part, name, Some(site()), 1, at);
    let mut balancer = load(Part::Balancer, "balancer");
    balancer.uplink = Some(UplinkLoad { drops, ..UplinkLoad::default() });
    let mut gateway = load(Part::Gateway, "east-gw-1");
    gateway.routes = routes;
    let mut cloud = load(Part::Cloud, "cloud");
    cloud.functions = Some(FunctionsLoad {
        environments_max: 1_000_000,
        burst_left: 1_000_000,
        ..FunctionsLoad::default()
    });
    vec![balancer, gateway, load(Part::Gateway, "east-gw-2"), cloud]
}

fn observed(at: UnixMillis, loads: Vec<Load>) -> Observation {
    Observation {
        at,
        loads,
        missing: BTreeMap::new(),
        interface_bytes: BTreeMap::new(),
        orders: Orders::default(),
        in_force: None,
    }
}

/// The share after one tick of `rate` requests per second on two routes.
fn fresh_share(rate: f64) -> f64 {
    let policy = Policy::new(&config(&[]));
    let start = UnixMillis(1_800_000_000_000);
    let first = observed(start, readings(start, 0.0, 1000, 0));
    let state = decide(&policy, &State::initial(&policy), &first).state;
    let at = start.plus_secs(1);
    decide(&policy, &state, &observed(at, readings(at, rate, 1000, 0))).plan.share(&site()).get()
}

proptest! {
    #[test]
    fn more_demand_never_means_less_share(a in 0.0..20_000.0, b in 0.0..20_000.0) {
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        prop_assert!(fresh_share(low) <= fresh_share(high));
    }

    /// Absurd readings, in any order of time, give a share in [0,1] and finite numbers.
    #[test]
    fn no_reading_breaks_it(
        ticks in prop::collection::vec((0u64..20_000, 0.0..1e12, 0u64..1_000_000_000, 0u64..1_000_000), 1..40)
    ) {
        let policy = Policy::new(&config(&[]));
        let mut state = State::initial(&policy);
        let mut generation = 0;
        for (millis, total, bytes, drops) in ticks {
            let at = UnixMillis(1_800_000_000_000 + millis);
            let outcome = decide(&policy, &state, &observed(at, readings(at, total, bytes, drops)));
            let share = outcome.plan.share(&site()).get();
            prop_assert!((0.0..=1.0).contains(&share));
            prop_assert!(outcome.plan.generation >= generation);
            prop_assert!(outcome.sites[&site()].forecast_bits_per_sec.is_finite());
            generation = outcome.plan.generation;
            let text = serde_json::to_string(&outcome.state).unwrap();
            prop_assert_eq!(&serde_json::from_str::<State>(&text).unwrap(), &outcome.state);
            state = outcome.state;
        }
    }
}

#[test]
fn the_state_stays_small() {
    let policy = Policy::new(&config(&[("share_dwell_secs = 10", "share_dwell_secs = 600")]));
    let mut state = State::initial(&policy);
    let start = UnixMillis(1_800_000_000_000);
    let mut total = 0.0;
    let mut largest = 0;
    for tick in 0..100_000_u64 {
        let at = start.plus_secs(tick);
        total += f64::from(u32::try_from(tick % 1500).unwrap());
        let mut loads = readings(at, total, 1000, 0);
        // Names that nobody configured, and an environment of knobs that changes all the time.
        loads[3].name = format!("cloud-{tick}");
        let mut observation = observed(at, loads);
        let knob =
            ["qr-text", "history-hidden", "notices-cached", "stats-frozen", "essential-only"];
        for (bit, id) in knob.into_iter().enumerate() {
            let order =
                KnobOrder { on: ((tick / 50) >> bit) & 1 == 1, for_secs: 9, by: "x".to_owned() };
            let until = at.plus_secs(9);
            observation.orders.knobs.insert(KnobId::new(id).unwrap(), (order, until));
        }
        state = decide(&policy, &state, &observation).state;
        if tick % 1000 == 999 {
            largest = largest.max(serde_json::to_string(&state).unwrap().len());
        }
    }
    assert!(largest < 64 * 1024, "{largest} bytes");
}

#[test]
fn two_sites_share_one_cloud() {
    let mut config = config(&[]);
    let mut west = config.sites[0].clone();
    west.id = spillway_model::SiteId::new("west").unwrap();
    for (i, gateway) in west.gateways.iter_mut().enumerate() {
        gateway.name = format!("west-gw-{}", i + 1);
    }
    config.sites.push(west.clone());
    let policy = Policy::new(&config);
    let mut state = State::initial(&policy);
    let start = UnixMillis(1_800_000_000_000);
    let mut plan = None;
    for tick in 0..10_u32 {
        let at = start.plus_secs(tick.into());
        let mut loads = readings(at, f64::from(tick) * 1500.0, 1000, 0);
        let cloud = loads.pop().unwrap();
        for mut load in readings(at, f64::from(tick) * 20.0, 1000, 0) {
            if load.part != Part::Cloud {
                load.site = Some(west.id.clone());
                load.name = load.name.replace("east", "west");
                loads.push(load);
            }
        }
        loads.push(cloud);
        let outcome = decide(&policy, &state, &observed(at, loads));
        assert_eq!(outcome.sites.len(), 2);
        state = outcome.state;
        plan = Some(outcome.plan);
    }
    let plan = plan.unwrap();
    assert!(plan.share(&site()).get() > 0.5, "{:?}", plan.reasons);
    assert_eq!(plan.share(&west.id).get(), 0.0, "{:?}", plan.reasons);
    assert!(plan.reasons.iter().any(|line| line.starts_with("east: uplink")));
}
