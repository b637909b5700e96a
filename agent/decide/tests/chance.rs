//! A small line, of which chance moves the use by a tenth from second to second, and thin evidence.

mod sim;

use sim::{CloudLimits, World, config, flash};

/// Some hundred answers a second.
fn small(seed: u64) -> World {
    World::new(&config(&[("bits_per_sec = 6_000_000", "bits_per_sec = 4_000_000")]), seed)
}

/// The part of these ticks in which the line was full.
fn full<'a>(ticks: impl Iterator<Item = &'a sim::Tick>) -> f64 {
    let (mut all, mut full) = (0.0, 0.0);
    for tick in ticks {
        all += 1.0;
        full += if tick.used >= 0.98 { 1.0 } else { 0.0 };
    }
    full / all
}

#[test]
fn a_small_line_is_not_filled_by_chance() {
    let (mut steady, mut storm) = (Vec::new(), Vec::new());
    for seed in 1..=10 {
        for load in [0.9, 1.3, 6.0] {
            let mut world = small(seed);
            world.run(130, 0.0, |_| load);
            steady.extend(world.ticks.split_off(30));
        }
        let mut world = small(seed);
        world.run(80, 0.0, flash(0.17, 8.0, 15, 30));
        let over = world.ticks.iter().position(|tick| tick.requests as f64 > world.full());
        storm.extend(world.ticks.split_off(over.unwrap() + 5));
    }
    assert!(full(steady.iter()) < 0.001, "steady: {}", full(steady.iter()));
    assert!(full(storm.iter()) < 0.01, "storm: {}", full(storm.iter()));
    // What the target of 80 % alone would have allowed, with nowhere to spill to.
    let mut filled = Vec::new();
    for seed in 1..=10 {
        let mut world = small(seed);
        world.limits = CloudLimits { environments_max: 0, burst: 0.0, ..CloudLimits::default() };
        world.run(130, 0.0, |_| 0.8);
        assert_eq!((world.share(), world.tier()), (0.0, 0));
        filled.extend(world.ticks.split_off(30));
    }
    assert!(full(filled.iter()) > 0.02, "at the target: {}", full(filled.iter()));
}

#[test]
fn the_margin_for_chance_is_named() {
    let mut world = small(3);
    world.run(60, 0.0, |_| 1.5);
    let last = world.ticks.last().unwrap();
    let line = last.reasons.iter().find(|line| line.starts_with("uplink: ")).unwrap();
    assert!(line.contains("of 4.0 Mbit/s, the rest is for chance"), "{line}");
}

#[test]
fn on_a_large_line_chance_costs_nothing() {
    let config = config(&[
        ("bits_per_sec = 6_000_000", "bits_per_sec = 1_000_000_000"),
        ("weighted_qps = 1500", "weighted_qps = 1_000_000"),
    ]);
    let mut world = World::new(&config, 1);
    world.run(6, 0.0, |_| 1.2);
    let last = world.ticks.last().unwrap();
    let line = last.reasons.iter().find(|line| line.starts_with("uplink: ")).unwrap();
    assert!(line.contains("against 800.0 Mbit/s (80.0 % of 1.0 Gbit/s): spill"), "{line}");
}

#[test]
fn the_first_requests_lead_to_nothing() {
    for seed in 1..=20 {
        let mut world = small(seed);
        world.run(5, 0.0, |_| 0.0);
        world.run(20, 0.0, |second| if second == 0 { 0.25 } else { 0.45 });
        assert!(world.ticks.iter().all(|t| t.share == 0.0), "seed {seed}\n{}", world.course());
    }
}

#[test]
fn a_true_flash_crowd_is_still_met_at_once() {
    for seed in 1..=20 {
        // After a calm, with evidence to lead on; and from nothing at all, where what is seen suffices.
        for calm in [0.17, 0.0] {
            let mut world = small(seed);
            world.run(40, 0.0, |s| if s < 20 { calm } else { calm + 0.4 * (s - 19) as f64 });
            let over = world.ticks.iter().position(|tick| tick.requests as f64 > world.full());
            let spilled = world.ticks.iter().position(|tick| tick.share > 0.0);
            assert!(spilled.unwrap() <= over.unwrap(), "seed {seed}, {calm}\n{}", world.course());
        }
    }
}
