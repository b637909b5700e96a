//! Announced events: what has a lead time is ready when they begin, and nothing else is different.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sim;

use std::sync::OnceLock;

use proptest::prelude::*;
use sim::aws::config_on_aws;
use sim::{Tick, World, flash, site};
use spillway_decide::{Orders, State, decide};
use spillway_model::api::EventOrder;
use spillway_model::{EventId, Fleet, UnixMillis};

/// Every lever, with dwells of a test.
const EDITS: [(&str, &str); 7] = [
    ("max_units = 0 ", "max_units = 500 "),
    ("# requests_per_connection = 1 ", "requests_per_connection = 0.2 "),
    ("# keep_secs = 3600 ", "keep_secs = 120 "),
    ("warm_max = 0 ", "warm_max = 20 "),
    ("cache_max = 0 ", "cache_max = 1 "),
    ("database_max = 0 ", "database_max = 2 "),
    ("weighted_qps = 3000 ", "after_secs = 40\nkeep_secs = 100\nweighted_qps = 500 "),
];

/// How much of something a fleet has.
type Count = fn(&Fleet) -> u32;

fn world(seed: u64) -> World {
    World::new(&config_on_aws(&EDITS), seed)
}

fn announce(orders: &mut Orders, at: UnixMillis, for_secs: u64, factor: f64) {
    let order = EventOrder { at, for_secs, factor, site: None, by: "ann: sale".to_owned() };
    let until = order.until();
    orders.events.insert(EventId::new("sale").unwrap(), (order, until));
}

/// What the book of orders does once an event is over.
fn forget(orders: &mut Orders, now: UnixMillis) {
    orders.events.retain(|_, (_, until)| now < *until);
}

/// The second of the first tick that says so.
fn first(world: &World, says: impl Fn(&Tick) -> bool) -> u64 {
    world.ticks.iter().find(|tick| says(tick)).map_or(u64::MAX, |tick| tick.secs)
}

fn warm(fleet: &Fleet) -> u32 {
    fleet.provisioned.get("one-code").copied().unwrap_or(0)
}

#[test]
fn levers_are_ready_by_their_lead_times_and_shares_wait_for_clients() {
    let mut world = world(1);
    world.run(300, 0.03, |_| 0.4);
    // Two fifths of what fills the uplink become nearly nine times that.
    let begins = world.now().plus_secs(1500);
    announce(&mut world.orders, begins, 300, 22.0);
    world.run(1500, 0.03, |_| 0.4);
    let course = world.course();
    let of_gateways = |tick: &Tick| tick.fleet.gateways;
    assert!(world.ticks.iter().map(of_gateways).is_sorted(), "{course}");
    let leads: [(u64, Count); 5] = [
        (1200, |fleet| fleet.database_replicas),
        (1200, |fleet| fleet.cache_replicas),
        (600, |fleet| fleet.capacity_units),
        (180, warm),
        (180, |fleet| fleet.gateways),
    ];
    for (lead, of) in leads {
        let ready = first(&world, |tick| of(&tick.fleet) > 0);
        // However much functions cost, a gateway is launched after some seconds of that.
        assert!((1800 - lead..1800 - lead + 6).contains(&ready), "{lead}: {ready}");
        assert!(of(&world.state.plan().fleet) > 0, "what is made ready stays: {lead}");
    }
    assert_eq!(world.share(), 0.0, "{course}");
    assert!(world.ticks.iter().all(|tick| tick.share == 0.0 && tick.tier == 0), "{course}");
    assert_eq!(world.aws.as_ref().unwrap().healthy(), 3, "{:?}", world.state.plan().fleet);
    for said in ["event sale: 22 times the usual demand in ", "for an event is to "] {
        assert!(course.contains(said), "{said}");
    }
    // The crowd comes: functions and gateways are there, and nothing is counted twice.
    let ready = world.state.plan().fleet.clone();
    world.run(300, 0.03, |_| 8.0);
    let at_event = &world.ticks[1800..2100];
    assert!(at_event.iter().all(|tick| tick.fleet.gateways == ready.gateways), "{ready:?}");
    assert!(at_event[10..].iter().all(|tick| tick.share > 0.8 && tick.tier == 0));
    assert!(at_event.iter().all(|tick| tick.throttled == 0));
    // It is over, and everything is given back.
    let now = world.now();
    forget(&mut world.orders, now);
    assert!(world.orders.events.is_empty());
    world.run(700, 0.03, |_| 0.4);
    assert!(world.state.plan().fleet.is_none(), "{:?}", world.state.plan().fleet);
    world.replays();
}

#[test]
fn a_crowd_that_does_not_come_costs_what_was_made_ready_and_no_more() {
    let mut world = world(2);
    world.run(120, 0.03, |_| 0.4);
    let begins = world.now().plus_secs(60);
    announce(&mut world.orders, begins, 200, 22.0);
    world.run(259, 0.1, |_| 0.4);
    assert_eq!(world.state.plan().fleet.gateways, 3);
    assert_eq!((world.share(), world.tier()), (0.0, 0));
    let now = world.now();
    forget(&mut world.orders, now);
    world.run(400, 0.1, |_| 0.4);
    assert!(world.state.plan().fleet.is_none(), "{:?}", world.state.plan().fleet);
    for of in [|fleet: &Fleet| fleet.gateways, warm, |fleet: &Fleet| fleet.capacity_units] {
        let mut course: Vec<u32> = world.ticks.iter().map(|tick| of(&tick.fleet)).collect();
        course.dedup();
        let top = course.iter().position(|n| n == course.iter().max().unwrap()).unwrap();
        let turns = course[..top].is_sorted() && course[top..].is_sorted_by(|a, b| a >= b);
        assert!(turns, "{course:?}");
    }
}

#[test]
fn an_agent_that_is_blind_or_has_restarted_still_makes_ready() {
    for lost in [false, true] {
        let mut world = world(3);
        world.run(120, 0.03, |_| 0.4);
        let begins = world.now().plus_secs(300);
        announce(&mut world.orders, begins, 200, 22.0);
        if lost {
            world.silent = vec!["east-gw-1".to_owned(), "cloud".to_owned()];
        } else {
            world.restart_agent(false);
        }
        world.run(160, 0.03, |_| 0.4);
        // The third would hardly pay: whether it does is up to chance.
        assert!(world.state.plan().fleet.gateways >= 2, "{}", world.course());
    }
}

/// A burst, with the state before each second and what was seen in it.
fn burst() -> &'static (World, Vec<State>) {
    static BURST: OnceLock<(World, Vec<State>)> = OnceLock::new();
    BURST.get_or_init(|| {
        let mut world = world(4);
        let load = flash(0.4, 6.0, 20, 150);
        let mut states = Vec::new();
        for second in 0..420 {
            states.push(world.state.clone());
            world.run(1, 0.05, |_| load(second));
        }
        (world, states)
    })
}

proptest! {
    /// Whatever is announced at whatever moment: no lever is lower for it, share and tier are the same.
    #[test]
    fn an_event_never_lowers(
        second in 0usize..420,
        begins in -1000i64..2000,
        for_secs in 1u64..2000,
        factor in 1.0..1000.0,
    ) {
        let (world, states) = burst();
        let (state, mut seen) = (&states[second], world.observations[second].clone());
        let without = decide(&world.policy, state, &seen).plan;
        let at = seen.at.0.saturating_add_signed(begins * 1000);
        announce(&mut seen.orders, UnixMillis(at), for_secs, factor);
        let with = decide(&world.policy, state, &seen).plan;
        prop_assert_eq!(with.share(&site()), without.share(&site()));
        prop_assert_eq!(with.tier, without.tier);
        let (with, without) = (with.fleet, without.fleet);
        prop_assert!(with.gateways >= without.gateways);
        // A gateway that stays takes requests from functions, which then need less.
        if with.gateway_percent == without.gateway_percent {
            prop_assert!(with.capacity_units >= without.capacity_units);
            prop_assert!(warm(&with) >= warm(&without));
        }
        prop_assert!(with.cache_replicas >= without.cache_replicas);
        prop_assert!(with.database_replicas >= without.database_replicas);
    }
}
