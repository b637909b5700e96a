//! Home without a service that answers: it hangs, dies, fails and comes back.

mod sim;

use sim::{CloudLimits, Home, Tick, World, config};

/// All but those that go on asking home.
const SPILLED: f64 = 31.0 / 32.0;

fn world(seed: u64) -> World {
    let mut world = World::new(&config(&[]), seed);
    world.run(20, 0.02, |_| 0.4);
    assert!(world.ticks.iter().all(|t| t.share == 0.0 && t.tier == 0), "{}", world.course());
    world
}

fn says(tick: &Tick, what: &str) -> bool {
    tick.reasons.iter().any(|line| line.contains(what))
}

#[test]
fn a_home_without_a_service_spills_everything_and_comes_back() {
    for hangs in [false, true] {
        let mut world = world(1);
        if hangs {
            world.hang()
        } else {
            world.kill()
        }
        world.run(30, 0.02, |_| 0.4);
        let down = &world.ticks[20..];
        // Health checks take one second, and two ticks must say it.
        assert!(down[3..].iter().all(|t| t.share == SPILLED), "{}", world.course());
        assert!(down[10..].iter().all(|t| t.failed == 0), "{}", world.course());
        let last = down.last().unwrap();
        assert_eq!((last.binding.as_str(), last.tier), ("compute", 0));
        assert!(last.headline.contains("No healthy service at home"), "{}", last.headline);
        assert!(says(last, "compute: no healthy service at home"), "{}", world.course());
        // Back: the usual dwell, then step by step, and no turn.
        world.home = Home::Serves;
        world.run(60, 0.02, |_| 0.4);
        let back = &world.ticks[50..];
        assert!(back[..8].iter().all(|t| t.share == SPILLED), "{}", world.course());
        assert!(back[15].share < SPILLED, "{}", world.course());
        assert_eq!(world.share(), 0.0, "{}", world.course());
        assert_eq!(world.reversals(), 1, "{}", world.course());
        assert!(world.ticks.last().unwrap().headline.contains("All is served at home"));
        world.replays();
    }
}

#[test]
fn a_service_that_comes_and_goes_does_not_flap() {
    let mut world = world(2);
    for _ in 0..6 {
        world.kill();
        world.run(5, 0.02, |_| 0.4);
        world.home = Home::Serves;
        world.run(5, 0.02, |_| 0.4);
    }
    assert_eq!(world.reversals(), 0, "{}", world.course());
    assert_eq!(world.share(), SPILLED, "{}", world.course());
}

#[test]
fn one_tick_without_a_service_is_no_outage() {
    let mut world = world(3);
    world.kill();
    // Noticed after a second, and healthy again right after the tick that saw it.
    world.run(1, 0.02, |_| 0.4);
    world.run(1, 0.02, |_| 0.4);
    world.home = Home::Serves;
    world.run(20, 0.02, |_| 0.4);
    assert!(world.ticks.iter().all(|t| t.share == 0.0), "{}", world.course());
}

#[test]
fn what_a_small_cloud_does_not_take_raises_no_tier() {
    let mut world = world(4);
    world.limits = CloudLimits {
        environments_max: 1,
        burst_per_sec: 1.0,
        burst: 1.0,
        ..CloudLimits::default()
    };
    world.kill();
    world.run(30, 0.02, |_| 0.4);
    let last = world.ticks.last().unwrap();
    assert!(last.share > 0.0 && last.share < 1.0, "{}", world.course());
    assert_eq!(last.binding, "cloud");
    assert!(last.headline.contains("No healthy service at home"), "{}", last.headline);
    assert!(world.ticks.iter().all(|t| t.tier == 0), "{}", world.course());
}

#[test]
fn failing_answers_are_told() {
    let mut world = world(5);
    world.home = Home::Fails(0.3);
    world.run(10, 0.02, |_| 0.4);
    assert!(!says(&world.ticks[21], "failed: "), "not at once\n{}", world.course());
    let last = world.ticks.last().unwrap();
    assert!(says(last, "failed: "), "{}", world.course());
    assert!(last.headline.contains("of answers at east fail"), "{}", last.headline);
    assert!(!last.headline.contains("All is served"), "{}", last.headline);
    // One in a hundred is not worth a sentence, and spilling is not what helps.
    world.home = Home::Fails(0.01);
    world.run(10, 0.02, |_| 0.4);
    let told = world.ticks[32..].iter().filter(|t| says(t, "failed: ")).count();
    assert_eq!(told, 0, "{}", world.course());
    assert!(world.ticks.iter().all(|t| t.share == 0.0), "{}", world.course());
}
