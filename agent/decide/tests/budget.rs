//! A cap of what the cloud may cost: spilling goes as far as the money, knobs take over from there, and
//! nobody is sent home at once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sim;

use sim::aws::config_on_aws;
use sim::{World, config, flash};
use spillway_model::api::BudgetStatus;

/// The example with a cap, and functions at a price at which a crowd of the simulation costs something.
fn world(budget: &str, seed: u64) -> World {
    let text = format!("\n[cloud.budget]\n{budget}\n[cloud.local]\n");
    World::new(&config(&[("\n[cloud.local]\n", &text)]), seed)
}

/// The same with gateways.
fn world_on_aws(budget: &str, seed: u64) -> World {
    let text = format!("\n[cloud.budget]\n{budget}\n[cloud.local]\n");
    World::new(&config_on_aws(&[("\n[cloud.local]\n", &text)]), seed)
}

fn status(world: &World) -> BudgetStatus {
    world.outcome.as_ref().unwrap().cloud.budget.clone().unwrap()
}

/// What each second cost, at most.
fn tick_usd(world: &World) -> f64 {
    let most = world.ticks.iter().map(|tick| tick.requests).max().unwrap();
    most as f64 * 3.0 * 0.53e-6
}

#[test]
fn a_cap_binds_where_home_takes_over_by_its_knobs() {
    // Some 300 requests/s fill home; twice as many cost some $1 an hour in the cloud.
    let mut world = world("usd_per_hour = 0.05", 1);
    world.run(1200, 0.05, flash(0.4, 2.0, 20, 900));
    let status = status(&world);
    assert!(status.hour.usd <= 0.05 + tick_usd(&world), "{status:?}\n{}", world.course());
    let course = world.course();
    assert!(course.contains("cost: the cap of $0.05 an hour binds: "), "{course}");
    assert!(course.contains("; raise the cap or set `usd_per_second_over` above that"), "{course}");
    // It had half the cap at once, then knobs did what money could not.
    assert!(world.ticks.iter().any(|tick| tick.share > 0.5 && tick.tier == 0), "{course}");
    assert!(world.ticks.iter().any(|tick| tick.tier > 0), "{course}");
    // No jump: clients come home step by step.
    for pair in world.ticks.windows(2) {
        assert!(pair[1].share >= pair[0].share - 0.051, "{} s\n{course}", pair[1].secs);
    }
    world.replays();
}

#[test]
fn a_burst_never_costs_more_than_the_cap() {
    for (seed, cap) in [(2, 0.01), (3, 0.03), (4, 0.1)] {
        let mut world = world(&format!("usd_per_hour = {cap}"), seed);
        world.run(1500, 0.05, flash(0.4, 8.0, 20, 1400));
        let usd = status(&world).hour.usd;
        assert!(usd <= cap + tick_usd(&world), "{usd} of {cap}\n{}", world.course());
        assert!(usd > 0.4 * cap, "{usd} of {cap}\n{}", world.course());
    }
}

#[test]
fn a_lower_cap_costs_no_more() {
    let costs = [0.005, 0.02, 0.08, 0.32, 10.0].map(|cap| {
        let mut world = world(&format!("usd_per_hour = {cap}"), 5);
        world.run(900, 0.05, flash(0.4, 3.0, 20, 800));
        status(&world).hour.usd
    });
    assert!(costs.is_sorted() && costs[4] > 2.0 * costs[0], "{costs:?}");
}

#[test]
fn what_a_second_is_worth_keeps_the_cap_from_binding() {
    let run = |budget: &str| {
        let mut world = world(budget, 6);
        world.run(300, 0.05, flash(0.4, 3.0, 20, 250));
        let tiers = world.ticks.iter().filter(|tick| tick.tier > 0).count();
        (tiers, world.course().contains("binds"), status(&world).hour.usd)
    };
    let (tiers, binds, usd) = run("usd_per_hour = 0.01\nusd_per_second_over = 1.0");
    assert!(tiers == 0 && !binds && usd > 0.02, "{usd}");
    let (tiers, binds, _) = run("usd_per_hour = 0.01\nusd_per_second_over = 0.000001");
    assert!(tiers > 0 && binds);
}

#[test]
fn what_was_spent_outlives_the_agent() {
    let mut world = world("usd_per_hour = 0.1", 7);
    world.run(90, 0.05, flash(0.4, 3.0, 20, 600));
    let before = status(&world);
    assert!(before.hour.usd > 0.005, "{before:?}");
    world.restart_agent(false);
    world.run(300, 0.05, |_| 3.0);
    let after = status(&world);
    assert!(after.hour.usd > before.hour.usd, "{after:?}");
    assert!(after.hour.usd <= 0.1 + tick_usd(&world), "{after:?}\n{}", world.course());
}

#[test]
fn gateways_are_kept_to_what_is_paid_for() {
    // A gateway costs $0.70 an hour here, and functions four times that for what it serves.
    let most = |budget: &str| {
        let mut world = world_on_aws(budget, 8);
        world.run(600, 0.05, flash(0.4, 8.0, 20, 500));
        (world.ticks.iter().map(|tick| tick.fleet.gateways).max().unwrap(), world)
    };
    let (free, _) = most("usd_per_hour = 1000");
    let (capped, world) = most("usd_per_hour = 0.3");
    assert!(free == 2 && capped < free, "{free} {capped}\n{}", world.course());
    assert!(status(&world).hour.usd < 0.3);
    assert_eq!(world.aws.as_ref().unwrap().lost, 0);
}

/// What an operator would have read of a cap. After a change that is meant:
/// `UPDATE_GOLDEN=1 cargo test -p spillway-decide`.
#[test]
fn a_cap_as_it_is_told() {
    let mut world = world("usd_per_hour = 0.05", 9);
    world.run(700, 0.03, flash(0.4, 2.0, 20, 500));
    let (mut told, mut before) = (String::new(), None);
    for tick in &world.ticks {
        let lines: Vec<&String> = tick.reasons.iter().filter(|l| l.starts_with("cost: ")).collect();
        let now = (lines.len(), tick.tier);
        if before != Some(now) || (!lines.is_empty() && tick.secs.is_multiple_of(120)) {
            told.push_str(&format!("{} s: {}\n", tick.secs, tick.headline));
            lines.iter().for_each(|line| told.push_str(&format!("  {line}\n")));
        }
        before = Some(now);
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/budget.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, &told).unwrap();
    }
    assert_eq!(told, std::fs::read_to_string(file).unwrap_or_default());
}
