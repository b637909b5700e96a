//! Storms over a simulated site: what the share and the tier do from calm to calm.

mod sim;

use sim::{CloudLimits, World, config, flash};

/// The dwells of the example are those of a demonstration: ten seconds.
fn world(seed: u64) -> World {
    World::new(&config(&[]), seed)
}

#[test]
fn a_flash_crowd_of_eight_times_the_capacity() {
    for seed in 1..=4 {
        for rise in [30, 60] {
            let mut world = world(seed);
            world.run(30 + 2 * rise + 60 + 60, 0.03, flash(0.4, 8.0, rise, 60));
            let course = world.course();
            assert!(world.ticks[..28].iter().all(|t| t.share == 0.0), "seed {seed}\n{course}");
            assert!(world.over() <= 5, "seed {seed}: {} s over\n{course}", world.over());
            assert!(world.reversals() <= 1, "seed {seed}: {} turns\n{course}", world.reversals());
            assert_eq!(world.share(), 0.0, "seed {seed}\n{course}");
            assert!(world.ticks.iter().all(|t| t.tier == 0), "seed {seed}\n{course}");
        }
    }
}

#[test]
fn a_step_of_eight_times() {
    for seed in 1..=4 {
        let mut world = world(seed);
        world.run(150, 0.03, |s| if (20..80).contains(&s) { 8.0 } else { 0.5 });
        let course = world.course();
        assert!(world.over() <= 5, "seed {seed}: {} s over\n{course}", world.over());
        assert!(world.reversals() <= 1, "seed {seed}: {} turns\n{course}", world.reversals());
        assert_eq!(world.share(), 0.0, "seed {seed}\n{course}");
        assert!(world.ticks.iter().all(|t| t.tier == 0), "seed {seed}\n{course}");
    }
}

#[test]
fn noise_around_the_target_does_not_flap() {
    for seed in 1..=3 {
        for load in [0.5, 0.7, 0.74, 0.78, 0.82, 0.9, 1.5, 4.0] {
            let mut world = world(seed);
            world.run(600, 0.1, |_| load);
            let turns = world.reversals();
            assert!(turns <= 1, "seed {seed}, {load}: {turns} turns\n{}", world.course());
            assert!(world.ticks.iter().all(|t| t.tier == 0));
        }
    }
}

#[test]
fn tiers_rise_in_order_and_only_as_far_as_needed() {
    for (load, expected) in [(0.85, 0), (1.2, 1), (1.6, 2), (5.0, 3)] {
        let config = config(&[
            ("releases = 0.02", "releases = 0.17"),
            ("releases = 0.10", "releases = 0.15"),
            ("releases = 0.35", "releases = 0.12"),
        ]);
        let mut world = World::new(&config, 3);
        world.limits = CloudLimits {
            environments_max: 0,
            burst_per_sec: 0.0,
            burst: 0.0,
            ..CloudLimits::default()
        };
        world.run(180, 0.03, |s| if (20..80).contains(&s) { load } else { 0.3 });
        let course = world.course();
        let highest = world.ticks.iter().map(|t| t.tier).max().unwrap();
        assert_eq!(highest, expected, "{load}\n{course}");
        for pair in world.ticks.windows(2) {
            assert!(pair[1].tier.abs_diff(pair[0].tier) <= 1, "{load}\n{course}");
        }
        let turns =
            world.ticks.windows(3).filter(|w| w[1].tier > w[0].tier && w[2].tier < w[1].tier);
        assert_eq!(turns.count(), 0, "{load}\n{course}");
        assert_eq!(world.tier(), 0, "{load}\n{course}");
        assert_eq!(world.share(), 0.0, "{load}\n{course}");
        let first = |tier: u8| world.ticks.iter().find(|t| t.tier == tier).map_or(0, |t| t.secs);
        if expected == 3 {
            // Tiers that are clearly too little are passed, not waited at.
            assert!(first(3) - first(1) <= 2, "{load}\n{course}");
        }
    }
}

#[test]
fn a_small_cloud_is_filled_before_a_tier_is_raised() {
    // Ten environments of 20 ms carry 500 requests a second, 350 of them by design.
    let mut world = world(5);
    world.limits = CloudLimits {
        environments_max: 10,
        burst_per_sec: 10.0,
        burst: 10.0,
        ..CloudLimits::default()
    };
    world.run(200, 0.03, |s| if (20..100).contains(&s) { 2.5 } else { 0.4 });
    let course = world.course();
    let at_peak = &world.ticks[60..100];
    assert!(at_peak.iter().all(|t| t.share > 0.2 && t.share < 0.6), "{course}");
    assert!(world.ticks.iter().any(|t| t.tier > 0), "{course}");
    assert!(world.ticks.iter().any(|t| t.binding == "cloud"), "{course}");
    assert_eq!((world.share(), world.tier()), (0.0, 0), "{course}");
}

#[test]
fn compute_alone_is_spilled_by_proxy() {
    let config = config(&[
        ("weighted_qps = 1500", "weighted_qps = 200"),
        ("bits_per_sec = 6_000_000", "bits_per_sec = 60_000_000"),
    ]);
    let mut world = World::new(&config, 2);
    world.run(60, 0.03, |s| if s < 20 { 0.02 } else { 0.15 });
    let outcome = world.outcome.as_ref().unwrap();
    let course = world.course();
    assert_eq!(outcome.decision.binding, "compute", "{course}");
    assert_eq!(outcome.plan.sites[&sim::site()].mode, spillway_model::plan::SpillMode::Proxy);
    assert!(outcome.sites[&sim::site()].weighted_qps < 200.0, "{course}");
}

/// What an operator would have read during a storm that a small cloud cannot take, tick by tick where
/// something changed. After a change that is meant: `UPDATE_GOLDEN=1 cargo test -p spillway-decide`.
#[test]
fn a_storm_as_it_is_told() {
    let mut world = world(1);
    world.limits = CloudLimits {
        environments_max: 10,
        burst_per_sec: 10.0,
        burst: 10.0,
        ..CloudLimits::default()
    };
    world.run(120, 0.03, |s| if (10..60).contains(&s) { 3.0 } else { 0.4 });
    let mut told = String::new();
    let mut before = (-1.0, 9);
    for tick in &world.ticks {
        if (tick.share, tick.tier) == before {
            continue;
        }
        before = (tick.share, tick.tier);
        told.push_str(&format!("{} s, bound by {}: {}\n", tick.secs, tick.binding, tick.headline));
        for reason in &tick.reasons {
            told.push_str(&format!("    {reason}\n"));
        }
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/storm.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, &told).unwrap();
    }
    assert_eq!(told, std::fs::read_to_string(file).unwrap_or_default());
}
