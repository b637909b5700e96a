//! Levers and the season's forecast: what has a lead time is ready before the day's crowd, clients go by what is
//! asked, and without trust nothing is different.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sim;

use std::sync::OnceLock;

use proptest::prelude::*;
use sim::aws::config_on_aws;
use sim::{Tick, World, site};
use spillway_decide::{Calendar, Season, SeasonPolicy, State, decide};
use spillway_model::{Fleet, UnixMillis, UtcOffset};

/// Every lever, with dwells of a test, and gateways that boot in five minutes.
const EDITS: [(&str, &str); 11] = [
    ("max_units = 0 ", "max_units = 500 "),
    ("# requests_per_connection = 1 ", "requests_per_connection = 0.2 "),
    ("# keep_secs = 3600 ", "keep_secs = 120 "),
    ("warm_max = 0 ", "warm_max = 20 "),
    ("cache_max = 0 ", "cache_max = 1 "),
    ("database_max = 0 ", "database_max = 2 "),
    ("weighted_qps = 3000 ", "after_secs = 40\nkeep_secs = 100\nweighted_qps = 500 "),
    ("boot_secs = 40", "boot_secs = 300"),
    ("max = 8 ", "max = 40 "),
    // Small ones: what comes while one boots fills several.
    ("weighted_qps = 1500              #", "weighted_qps = 100 #"),
    ("gateway_usd_per_hour = 0.7", "gateway_usd_per_hour = 0.05"),
];
const STEP: u64 = 300;
const DAY: u64 = 86_400;
/// From when on the crowd is there, counted from the world's first second, and by how much more it is than before.
const CROWD: u64 = 2700;
const MORE: f64 = 20.0;

type Count = fn(&Fleet) -> u32;

fn warm(fleet: &Fleet) -> u32 {
    fleet.provisioned.get("one-code").copied().unwrap_or(0)
}

/// What a day asks for, `secs` after its crowd began, in what is asked before it: it rises for a quarter of an
/// hour, and stays for two.
fn day(secs: i64) -> f64 {
    let (rise, stays) = (900.0, 7200.0);
    let at = secs.rem_euclid(DAY as i64) as f64;
    let part = if at < rise {
        at / rise
    } else if at < stays {
        1.0
    } else {
        0.0
    };
    1.0 + (MORE - 1.0) * part
}

/// A season of three weeks until now, in the state of `world`: every day the crowd comes when it will come today.
fn teach(world: &mut World, of: impl Fn(i64) -> f64) {
    let mut state = serde_json::to_value(&world.state).unwrap();
    let kept = &mut state["sites"]["east"]["demand"]["season"];
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let before = number(&kept["open"]["sum"]) / number(&kept["open"]["secs"]);
    let leads = [(300, 0.75), (180, 0.95), (600, 0.95), (1200, 0.95)];
    let calendar = Calendar::new(&[], UtcOffset::default());
    let policy = SeasonPolicy::new(calendar, leads.to_vec());
    let mut season = Season::default();
    let now = world.now().0 / 1000;
    let begins = now + CROWD - world.ticks.last().unwrap().secs;
    let from = (now - 21 * DAY) / STEP;
    for step in from..now / STEP {
        let load = before * of((step * STEP + STEP / 2) as i64 - begins as i64);
        season.take_in(&policy, UnixMillis(step * STEP * 1000), load, STEP as f64);
    }
    season.take_in(&policy, world.now(), before, (now % STEP) as f64);
    *kept = serde_json::to_value(&season).unwrap();
    world.state = serde_json::from_value(state).unwrap();
}

/// A quiet world that knows its days.
fn taught(seed: u64) -> World {
    let mut world = World::new(&config_on_aws(&EDITS), seed);
    world.run(330, 0.03, |_| 0.4);
    teach(&mut world, day);
    world
}

fn first(world: &World, says: impl Fn(&Tick) -> bool) -> u64 {
    world.ticks.iter().find(|tick| says(tick)).map_or(u64::MAX, |tick| tick.secs)
}

#[test]
fn levers_are_ready_before_the_days_crowd_and_clients_wait_for_it() {
    let mut world = taught(1);
    let from = world.ticks.last().unwrap().secs;
    world.run(CROWD - from, 0.03, |_| 0.4);
    let course = world.course();
    // By when home carries no more of it, and the lead times before that.
    let over = CROWD + 60;
    let leads: [(u64, Count); 3] =
        [(1200, |fleet| fleet.database_replicas), (600, |fleet| fleet.capacity_units), (180, warm)];
    let mut before = 0;
    for (lead, of) in leads {
        let ready = first(&world, |tick| of(&tick.fleet) > 0);
        // Profiles are of quarters of an hour, so that a rise is expected up to half of one sooner.
        let due = over - lead;
        assert!((due.saturating_sub(600)..due + 120).contains(&ready), "{lead}: {ready}\n{course}");
        assert!(before <= ready, "the longest lead time is first: {lead}");
        before = ready;
        let after: Vec<u32> = world.ticks.iter().map(|tick| of(&tick.fleet)).collect();
        assert!(after.is_sorted(), "what is made ready stays: {lead} {after:?}");
    }
    assert_eq!((world.share(), world.tier()), (0.0, 0));
    let said = [
        "season: up to ",
        " % of the last hours was within such forecasts",
        "for the season is to need ",
    ];
    for said in said {
        assert!(course.contains(said), "{said}");
    }
    assert!(!course.contains("an event"), "nothing was announced");
}

#[test]
fn gateways_boot_for_what_will_be_asked_when_they_serve() {
    let launched = |mut world: World| {
        let from = world.ticks.last().unwrap().secs;
        for second in from..CROWD + 900 {
            world.run(1, 0.03, |_| 0.4 * day(second as i64 - CROWD as i64));
        }
        let several = first(&world, |tick| tick.fleet.gateways >= 15);
        (several, world.ticks.iter().map(|tick| tick.throttled).sum::<u64>(), world.course())
    };
    let mut unknown = World::new(&config_on_aws(&EDITS), 4);
    unknown.run(330, 0.03, |_| 0.4);
    let (known, unknown) = (launched(taught(4)), launched(unknown));
    println!("{} {}", known.0, unknown.0);
    assert!(known.0 + 20 < unknown.0, "{} {}\n{}", known.0, unknown.0, known.2);
    assert!(known.2.contains("the season is to bring ") && !unknown.2.contains("season"));
    assert_eq!(known.1, 0, "what comes finds environments");
}

#[test]
fn without_trust_nothing_is_made_ready() {
    let mut world = World::new(&config_on_aws(&EDITS), 1);
    world.run(330, 0.03, |_| 0.4);
    // The crowd of each day came at another hour.
    teach(&mut world, |secs| {
        let days = secs.div_euclid(DAY as i64);
        day(secs + (days * days).rem_euclid(23) * 3600)
    });
    let from = world.ticks.last().unwrap().secs;
    world.run(CROWD - from, 0.03, |_| 0.4);
    assert!(world.ticks.iter().all(|tick| tick.fleet.is_none()), "{}", world.course());
    assert!(!world.course().contains("season:"));
}

#[test]
fn a_restart_keeps_the_season_and_blindness_holds_what_is_ready() {
    let mut world = taught(2);
    let from = world.ticks.last().unwrap().secs;
    world.run(CROWD - 700 - from, 0.03, |_| 0.4);
    let ready = world.state.plan().fleet.clone();
    assert!(ready.database_replicas > 0, "{}", world.course());
    world.restart_agent(false);
    world.run(30, 0.03, |_| 0.4);
    assert!(world.state.plan().fleet.database_replicas >= ready.database_replicas);
    world.run(300, 0.03, |_| 0.4);
    let ready = world.state.plan().fleet.clone();
    assert!(ready.capacity_units > 0, "{}", world.course());
    // An hour without a word: the present is not known, and what there is stays.
    world.silent = vec!["east-gw-1".to_owned(), "cloud".to_owned()];
    world.run(1800, 0.03, |_| 0.4);
    let held = world.state.plan().fleet.clone();
    assert!(held.database_replicas >= ready.database_replicas, "{}", world.course());
    assert!(held.capacity_units >= ready.capacity_units, "{}", world.course());
}

/// A day's crowd from an hour before on, with the state before each second.
fn course() -> &'static (World, Vec<State>) {
    static COURSE: OnceLock<(World, Vec<State>)> = OnceLock::new();
    COURSE.get_or_init(|| {
        let mut world = taught(3);
        let from = world.ticks.last().unwrap().secs;
        let mut states = Vec::new();
        world.observations.clear();
        for second in from..CROWD + 900 {
            states.push(world.state.clone());
            world.run(1, 0.05, |_| 0.4 * day(second as i64 - CROWD as i64));
        }
        (world, states)
    })
}

proptest! {
    /// At whatever moment of it the season is forgotten: no lever is higher for that, share and tier are the same.
    #[test]
    fn the_season_only_adds(second in 0usize..3200) {
        let (world, states) = course();
        let (state, seen) = (&states[second], &world.observations[second]);
        let mut forgets = serde_json::to_value(state).unwrap();
        forgets["sites"]["east"]["demand"]["season"] = serde_json::json!({});
        let forgets: State = serde_json::from_value(forgets).unwrap();
        let with = decide(&world.policy, state, seen).plan;
        let without = decide(&world.policy, &forgets, seen).plan;
        prop_assert_eq!(with.share(&site()), without.share(&site()));
        prop_assert_eq!(with.tier, without.tier);
        let (with, without) = (with.fleet, without.fleet);
        prop_assert!(with.gateways >= without.gateways);
        if with.gateway_percent == without.gateway_percent {
            prop_assert!(with.capacity_units >= without.capacity_units);
            prop_assert!(warm(&with) >= warm(&without));
        }
        prop_assert!(with.cache_replicas >= without.cache_replicas);
        prop_assert!(with.database_replicas >= without.database_replicas);
    }
}
