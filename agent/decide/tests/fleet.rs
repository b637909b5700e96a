//! The two stages of a burst: functions take the shock, gateways in the cloud what lasts, and after it
//! there is nothing left.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sim;

use sim::aws::config_on_aws;
use sim::{CloudLimits, Tick, World, flash};
use spillway_decide::decide;

fn world(seed: u64, boots: &[Option<u64>]) -> World {
    let mut world = World::new(&config_on_aws(&[]), seed);
    world.aws.as_mut().unwrap().boots = boots.to_vec();
    world
}

/// Eight times what the line takes, for five minutes; then ten minutes of calm.
fn storm(world: &mut World) {
    world.run(1000, 0.05, flash(0.4, 8.0, 20, 300));
}

/// The second in which the plan first says so.
fn first(world: &World, says: impl Fn(&Tick) -> bool) -> u64 {
    world.ticks.iter().find(|tick| says(tick)).map_or(u64::MAX, |tick| tick.secs)
}

/// What became of gateways and their part, for messages.
fn course(world: &World) -> String {
    let mut text = String::new();
    let mut before = None;
    for tick in &world.ticks {
        let now = (tick.fleet.gateways, tick.fleet.gateway_percent);
        if before != Some(now) {
            before = Some(now);
            text.push_str(&format!("{} s: {now:?} {}\n", tick.secs, tick.reasons.join(" | ")));
        }
    }
    text
}

/// Gateways first only rise, then only fall.
fn assert_no_flap(world: &World) {
    let counts: Vec<u32> = world.ticks.iter().map(|tick| tick.fleet.gateways).collect();
    let peak = counts.iter().position(|n| n == counts.iter().max().unwrap()).unwrap();
    assert!(counts[..peak].is_sorted(), "{}", course(world));
    assert!(counts[peak..].iter().rev().is_sorted(), "{}", course(world));
}

#[test]
fn functions_take_the_shock_and_gateways_what_lasts() {
    let boots: [&[Option<u64>]; 4] =
        [&[Some(25)], &[Some(60)], &[Some(90)], &[Some(25), Some(90), Some(40)]];
    for (seed, boots) in (1..).zip(boots) {
        let mut world = world(seed, boots);
        storm(&mut world);
        let course = course(&world);
        // From second 30 on the load rises for 20 s; the first pays when it is a part of what one serves.
        let wanted = first(&world, |tick| tick.fleet.gateways > 0);
        assert!((38..=55).contains(&wanted), "{wanted}\n{course}");
        let carried = first(&world, |tick| tick.fleet.gateway_percent > 0);
        let boot = boots.iter().flatten().min().unwrap();
        assert!((wanted + boot..=wanted + boot + 5).contains(&carried), "{carried}\n{course}");
        let peak = &world.ticks[320..348];
        assert!(peak.iter().all(|tick| tick.fleet.gateways == 2), "{course}");
        assert!(peak.iter().all(|tick| tick.fleet.gateway_percent >= 70), "{course}");
        assert_no_flap(&world);
        let changes = world.ticks.windows(2).filter(|pair| pair[0].fleet != pair[1].fleet).count();
        assert!(changes <= 20, "{changes} changes\n{course}");
        let aws = world.aws.as_ref().unwrap();
        assert_eq!((aws.lost, aws.running(), aws.percent()), (0, 0, 0), "{course}");
        assert!(world.state.plan().fleet.is_none(), "{course}");
        assert!(world.ticks.iter().all(|tick| tick.tier == 0), "{course}");
        // Back at zero a dwell and what it takes to drain three of them, one after the other.
        let gone = world.ticks.iter().rposition(|tick| tick.fleet.gateways > 0).unwrap();
        assert!(gone < 370 + 60 + 60 + 3 * 40, "{gone}\n{course}");
    }
}

#[test]
fn a_burst_of_seconds_is_for_functions_alone() {
    for seed in 1..=3 {
        let mut world = world(seed, &[Some(25)]);
        world.run(300, 0.05, |second| if (30..33).contains(&second) { 8.0 } else { 0.4 });
        assert!(world.ticks.iter().any(|tick| tick.share > 0.5));
        assert!(world.ticks.iter().all(|tick| tick.fleet.is_none()), "{}", course(&world));
    }
}

#[test]
fn the_load_balancer_gives_less_before_there_are_fewer() {
    let mut world = world(4, &[Some(30)]);
    storm(&mut world);
    for (pair, seen) in world.ticks.windows(2).zip(&world.observations[1..]) {
        if pair[1].fleet.gateways < pair[0].fleet.gateways {
            let there = seen.loads.iter().find_map(|load| load.fleet.as_ref()).unwrap();
            assert!(there.gateway_percent <= pair[1].fleet.gateway_percent, "{}", course(&world));
            assert_eq!(there.gateways_draining, 0, "one batch after the other\n{}", course(&world));
        }
    }
}

#[test]
fn gateways_that_never_boot_are_given_nothing() {
    let mut world = world(5, &[None]);
    storm(&mut world);
    assert!(world.ticks.iter().any(|tick| tick.fleet.gateways == 2), "{}", course(&world));
    assert!(world.ticks.iter().all(|tick| tick.fleet.gateway_percent == 0), "{}", course(&world));
    assert!(world.state.plan().fleet.is_none(), "{}", course(&world));

    // Of those that boot, each carries its part.
    let mut world = self::world(5, &[Some(30), None]);
    storm(&mut world);
    let some = world.ticks[..180].iter().map(|tick| tick.fleet.gateway_percent).max().unwrap();
    assert!((20..=80).contains(&some), "{}", course(&world));
    assert_eq!(world.aws.as_ref().unwrap().lost, 0);
    assert!(world.state.plan().fleet.is_none(), "{}", course(&world));
}

#[test]
fn a_gateway_that_dies_takes_its_part_with_it_at_once() {
    let mut world = world(6, &[Some(30)]);
    world.run(250, 0.05, flash(0.4, 8.0, 20, 300));
    let before = world.state.plan().fleet.clone();
    world.aws.as_mut().unwrap().lose_one();
    world.run(2, 0.05, |_| 8.0);
    let after = world.state.plan().fleet.clone();
    assert_eq!(after.gateways, before.gateways);
    assert!(after.gateway_percent <= 60 && after.gateway_percent > 30, "{}", course(&world));
    assert!(before.gateway_percent > after.gateway_percent, "{}", course(&world));
    world.run(60, 0.05, |_| 8.0);
    assert!(world.state.plan().fleet.gateway_percent >= before.gateway_percent - 5);
}

#[test]
fn what_is_not_heard_of_is_held() {
    for silent in [&["aws"][..], &["east-gw-1"], &["cloud"], &["east", "cloud", "aws"]] {
        let mut world = world(7, &[Some(30)]);
        world.run(250, 0.05, flash(0.4, 8.0, 20, 300));
        let before = world.state.plan().fleet.clone();
        assert!(before.gateways == 2 && before.gateway_percent >= 70, "{}", course(&world));
        world.silent = silent.iter().map(|name| (*name).to_owned()).collect();
        world.run(300, 0.05, |_| 0.4);
        assert_eq!(world.state.plan().fleet.gateways, 2, "{silent:?}\n{}", course(&world));
        if silent.contains(&"aws") {
            assert_eq!(world.state.plan().fleet, before, "{}", course(&world));
            assert!(world.course().contains("fleet: holding 2 gateways"), "{}", course(&world));
        }
        world.silent.clear();
        world.run(400, 0.05, |_| 0.4);
        assert!(world.state.plan().fleet.is_none(), "{silent:?}\n{}", course(&world));
        assert_eq!(world.aws.as_ref().unwrap().running(), 0);
    }
}

#[test]
fn a_report_that_is_of_long_ago_is_none() {
    let mut world = world(8, &[Some(30)]);
    world.run(250, 0.05, flash(0.4, 8.0, 20, 300));
    let last = world.observations.last().unwrap().clone();
    let mut state = world.state.clone();
    let mut before = state.plan().fleet.clone();
    for second in 1..=200 {
        let mut observation = last.clone();
        observation.at = last.at.plus_secs(second);
        for load in &mut observation.loads {
            load.at = observation.at;
        }
        // Nobody asks any more, and the process answers; but what it says is old.
        let outcome = decide(&world.policy, &state, &observation);
        if second > 31 {
            assert!(outcome.decision.reasons.iter().any(|r| r.contains("heard of the cloud")));
            assert!(outcome.cloud.fleet.unwrap().there.is_none());
            assert_eq!(outcome.plan.fleet.gateways, before.gateways);
        }
        before = outcome.plan.fleet;
        state = outcome.state;
    }
}

#[test]
fn an_absurd_report_breaks_nothing() {
    let mut world = world(12, &[Some(30)]);
    world.run(250, 0.05, flash(0.4, 8.0, 20, 300));
    let last = world.observations.last().unwrap().clone();
    for n in [0, 1, u32::MAX] {
        for percent in [0, 100, u8::MAX] {
            let mut observation = last.clone();
            observation.at = last.at.plus_secs(1);
            for load in &mut observation.loads {
                load.at = observation.at;
                if let Some(there) = &mut load.fleet {
                    there.gateways_launched = n;
                    there.gateways_healthy = n;
                    there.gateways_draining = n;
                    there.gateway_percent = percent;
                    there.seen_at = observation.at.plus_secs(u64::from(n));
                }
            }
            let outcome = decide(&world.policy, &world.state, &observation);
            let fleet = &outcome.plan.fleet;
            assert!(fleet.gateways <= 8 && fleet.gateway_percent <= 100, "{fleet:?}");
        }
    }
}

#[test]
fn gateways_give_back_what_a_small_quota_of_functions_cost() {
    let mut world = world(9, &[Some(30)]);
    // 350 requests a second, by design.
    world.limits = CloudLimits {
        environments_max: 10,
        burst_per_sec: 10.0,
        burst: 10.0,
        ..CloudLimits::default()
    };
    world.run(700, 0.03, |s| if (20..420).contains(&s) { 3.0 } else { 0.4 });
    assert!(world.ticks[20..80].iter().any(|tick| tick.tier > 0), "{}", world.course());
    assert!(world.ticks[300..419].iter().all(|tick| tick.tier == 0), "{}", world.course());
    assert!(world.state.plan().fleet.is_none(), "{}", course(&world));
    assert_eq!((world.share(), world.tier()), (0.0, 0));
}

#[test]
fn the_agent_restarts_without_a_jump_of_the_fleet() {
    for lost in [false, true] {
        let mut world = world(10, &[Some(30)]);
        world.run(250, 0.05, flash(0.4, 8.0, 20, 300));
        let before = world.state.plan().fleet.clone();
        world.restart_agent(lost);
        let since = world.ticks.len();
        world.run(120, 0.05, |_| 8.0);
        for tick in &world.ticks[since..] {
            assert_eq!(tick.fleet.gateways, before.gateways, "lost {lost}\n{}", course(&world));
            assert!(tick.fleet.gateway_percent.abs_diff(before.gateway_percent) <= 10);
        }
        world.run(500, 0.05, |_| 0.4);
        assert!(world.state.plan().fleet.is_none(), "lost {lost}\n{}", course(&world));
    }
}

/// One gateway that is full must not be given more on the first glimpse of a restarted agent.
#[test]
fn a_restart_gives_a_full_gateway_no_more() {
    for seed in 1..=8 {
        let mut world = world(seed, &[Some(30), None, None]);
        world.run(250, 0.3, flash(0.4, 8.0, 20, 400));
        let before = world.state.plan().fleet.gateway_percent;
        assert!(before > 0, "{}", course(&world));
        world.restart_agent(false);
        let since = world.ticks.len();
        world.run(20, 0.3, |_| 8.0);
        let most =
            world.ticks[since..since + 10].iter().map(|tick| tick.fleet.gateway_percent).max();
        assert!(most <= Some(before), "seed {seed}\n{}", course(&world));
    }
}

#[test]
fn the_journal_replays_to_the_same_bits() {
    let mut world = world(11, &[Some(25), None, Some(90)]);
    storm(&mut world);
    world.replays();
}

/// What an operator would have read of the gateways. After a change that is meant:
/// `UPDATE_GOLDEN=1 cargo test -p spillway-decide`.
#[test]
fn a_lasting_burst_as_it_is_told() {
    let mut world = world(1, &[Some(25), Some(60), Some(90)]);
    storm(&mut world);
    let (mut told, mut before) = (String::new(), None);
    for tick in &world.ticks {
        if tick.secs == 60 || before.as_ref() != Some(&tick.fleet) {
            before = Some(tick.fleet.clone());
            for line in tick.reasons.iter().filter(|line| line.starts_with("fleet: ")) {
                told.push_str(&format!("{} s: {line}\n", tick.secs));
            }
        }
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/fleet.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, &told).unwrap();
    }
    assert_eq!(told, std::fs::read_to_string(file).unwrap_or_default());
}
