//! What the cloud has at hand beside gateways follows a burst: it comes with what lasts, and is gone
//! after it.

mod sim;

use sim::aws::config_on_aws;
use sim::{Tick, World, flash};
use spillway_model::Fleet;

/// The levers with dwells of a test. A client of the simulation opens five connections for a request,
/// so that the few there are need capacity.
const EDITS: [(&str, &str); 7] = [
    ("max_units = 0 ", "max_units = 500 "),
    ("# requests_per_connection = 1 ", "requests_per_connection = 0.2 "),
    ("# keep_secs = 3600 ", "keep_secs = 120 "),
    ("warm_max = 0 ", "warm_max = 20 "),
    ("cache_max = 0 ", "cache_max = 1 "),
    ("database_max = 0 ", "database_max = 2 "),
    ("weighted_qps = 3000 ", "after_secs = 40\nkeep_secs = 100\nweighted_qps = 500 "),
];

fn world(seed: u64) -> World {
    World::new(&config_on_aws(&EDITS), seed)
}

/// Each change of a lever.
fn changes<T: PartialEq + Copy>(world: &World, of: impl Fn(&Fleet) -> T) -> Vec<T> {
    let mut values: Vec<T> = world.ticks.iter().map(|tick: &Tick| of(&tick.fleet)).collect();
    values.dedup_by(|a, b| a == b);
    values
}

fn warm(fleet: &Fleet) -> u32 {
    fleet.provisioned.get("one-code").copied().unwrap_or(0)
}

#[test]
fn they_come_with_what_lasts_and_are_gone_after_it() {
    for seed in 1..=3 {
        let mut world = world(seed);
        world.run(1000, 0.05, flash(0.4, 8.0, 20, 300));
        let peak = |of: fn(&Fleet) -> u32| world.ticks.iter().map(|t| of(&t.fleet)).max().unwrap();
        assert!(peak(|fleet| fleet.capacity_units) >= 100, "{}", world.course());
        assert!(peak(warm) >= 10);
        assert_eq!(peak(|fleet| fleet.cache_replicas), 1);
        assert_eq!(peak(|fleet| fleet.database_replicas), 2);
        // Capacity is given back once, and not on the way down: AWS takes two decreases a day.
        let units = changes(&world, |fleet| fleet.capacity_units);
        assert_eq!((units.first(), units.last()), (Some(&0), Some(&0)), "{units:?}");
        assert!(units[..units.len() - 1].is_sorted() && units.len() <= 8, "{units:?}");
        assert!(units.iter().all(|n| *n == 0 || (100..=500).contains(n)), "{units:?}");
        // Environments are kept warm for what functions serve, and gateways take over most of it.
        let course = changes(&world, warm);
        assert!(course.len() <= 20, "{course:?}");
        for of in [|fleet: &Fleet| fleet.cache_replicas, |fleet: &Fleet| fleet.database_replicas] {
            let course = changes(&world, of);
            let top = course.iter().position(|n| n == course.iter().max().unwrap()).unwrap();
            assert!(course[..top].is_sorted() && course[top..].is_sorted_by(|a, b| a >= b));
        }
        assert!(world.state.plan().fleet.is_none(), "{:?}", world.state.plan().fleet);
        for said in
            ["reserving", "giving back", "environments of one-code warm", "adding", "kept at hand"]
        {
            let told = |tick: &Tick| tick.reasons.iter().any(|reason| reason.contains(said));
            assert!(world.ticks.iter().any(told), "{said}");
        }
    }
}

#[test]
fn a_second_burst_within_the_dwell_lowers_nothing_in_between() {
    let mut world = world(4);
    let burst = |second: u64| if (30..150).contains(&(second % 210)) { 8.0 } else { 0.4 };
    world.run(420, 0.05, burst);
    let units = changes(&world, |fleet| fleet.capacity_units);
    assert!(units.len() > 1 && units.is_sorted(), "{units:?}");
}

#[test]
fn what_is_not_seen_is_held() {
    for silent in [&["east-gw-1"][..], &["east", "cloud", "aws"]] {
        let mut world = world(5);
        world.run(200, 0.05, flash(0.4, 8.0, 20, 300));
        let before = world.state.plan().fleet.clone();
        assert!(before.capacity_units > 0 && before.database_replicas > 0, "{before:?}");
        world.silent = silent.iter().map(|name| (*name).to_owned()).collect();
        world.run(400, 0.05, |_| 0.4);
        let held = &world.state.plan().fleet;
        assert_eq!(held.capacity_units, before.capacity_units, "{silent:?}");
        assert_eq!(held.database_replicas, before.database_replicas, "{silent:?}");
        world.silent.clear();
        world.run(500, 0.05, |_| 0.4);
        assert!(world.state.plan().fleet.is_none(), "{silent:?}");
    }
}

#[test]
fn the_agent_restarts_without_a_jump() {
    for lost in [false, true] {
        let mut world = world(6);
        world.run(250, 0.05, flash(0.4, 8.0, 20, 300));
        let before = world.state.plan().fleet.clone();
        world.restart_agent(lost);
        world.run(20, 0.05, |_| 8.0);
        let after = &world.state.plan().fleet;
        assert_eq!(after.capacity_units, before.capacity_units, "lost {lost}");
        assert_eq!(after.provisioned, before.provisioned, "lost {lost}");
        assert_eq!(after.database_replicas, before.database_replicas, "lost {lost}");
    }
}

#[test]
fn the_journal_replays_to_the_same_bits() {
    let mut world = world(7);
    world.run(500, 0.05, flash(0.4, 8.0, 20, 200));
    world.replays();
}
