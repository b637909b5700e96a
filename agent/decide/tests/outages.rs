//! A cloud that dies, and what only looks like it.

mod sim;

use sim::{Tick, World, config, site};
use spillway_decide::{Policy, State};
use spillway_model::Config;

/// Seconds until gateways have found it, three ticks have said it, and the plan has arrived.
const FOUND: usize = 5;
/// And until all clients have asked DNS again.
const HOME: usize = FOUND + 5 + 1;

fn spilling_on(config: &Config, seed: u64, load: f64) -> World {
    let mut world = World::new(config, seed);
    world.run(60, 0.02, |s| if s < 10 { 0.5 } else { load });
    assert_eq!(world.tier(), 0, "{}", world.course());
    world
}

/// A site whose cloud has served part of its clients for a while.
fn spilling(seed: u64, load: f64) -> World {
    spilling_on(&config(&[]), seed, load)
}

fn says(tick: &Tick, what: &str) -> bool {
    tick.headline.contains(what)
        && tick.reasons.iter().any(|line| line.contains("has not answered"))
}

/// Ticks in which home was asked for more than its uplink carries, by more than chance.
fn over(ticks: &[Tick]) -> usize {
    ticks.iter().filter(|tick| tick.offered > 1.1).count()
}

#[test]
fn clients_of_a_dead_cloud_come_home_as_far_as_home_carries_them() {
    for seed in 1..=3 {
        let mut world = spilling(seed, 4.0);
        let before = world.share();
        assert!(before > 0.75, "{}", world.course());
        world.kill_cloud();
        world.run(60, 0.02, |_| 4.0);
        let dead = &world.ticks[60..];
        let course = world.course();
        assert!(dead[FOUND].share < before - 0.02, "seed {seed}\n{course}");
        assert!(
            dead.windows(2).all(|pair| pair[1].share <= pair[0].share),
            "seed {seed}\n{course}"
        );
        // Everything has been tried, home is as full as it may be, and the rest stays away.
        let last = dead.last().unwrap();
        assert_eq!(last.tier, 3, "seed {seed}\n{course}");
        assert!(last.share > 0.2 && last.share < before - 0.2, "seed {seed}\n{course}");
        let full = dead[30..].iter().map(|tick| tick.offered).sum::<f64>() / 30.0;
        assert!((0.85..1.02).contains(&full), "seed {seed}: {full}\n{course}");
        assert!(over(dead) <= 2, "seed {seed}: {}\n{course}", over(dead));
        assert!(says(last, "The cloud does not answer: east serves as many"), "{}", last.headline);
        assert_eq!(last.binding, "cloud");
        let status = &world.outcome.as_ref().unwrap().cloud;
        assert_eq!((status.requests_per_sec, status.environments), (0.0, 0));

        world.revive_cloud(true);
        world.run(120, 0.02, |_| 4.0);
        let (back, course) = (&world.ticks[120..], world.course());
        assert!(back[FOUND + 5].share > 0.7, "seed {seed}\n{course}");
        assert!(back[70..].iter().all(|tick| tick.tier == 0), "seed {seed}\n{course}");
        assert!((world.share() - before).abs() < 0.08, "seed {seed}\n{course}");
        assert!(back.iter().all(|tick| tick.lost == 0), "seed {seed}\n{course}");
        world.run(60, 0.02, |_| 0.3);
        assert_eq!((world.share(), world.tier()), (0.0, 0), "seed {seed}\n{}", world.course());
        // Down as it died, up as it came back, down in the calm; and the first overshoot's.
        assert!(world.reversals() <= 5, "{} turns\n{}", world.reversals(), world.course());
        world.replays();
    }
}

#[test]
fn tiers_rise_until_all_are_at_home_and_fall_with_the_load_although_the_cloud_stays_dead() {
    for seed in 1..=3 {
        let mut world = spilling(seed, 1.6);
        assert!(world.share() > 0.4, "{}", world.course());
        world.kill_cloud();
        world.run(60, 0.02, |_| 1.6);
        let (dead, course) = (&world.ticks[60..], world.course());
        assert_eq!(world.share(), 0.0, "seed {seed}\n{course}");
        assert_eq!(world.tier(), 2, "seed {seed}\n{course}");
        let first = dead.iter().position(|tick| tick.share == 0.0).unwrap_or(usize::MAX);
        assert!(first <= FOUND + 10, "seed {seed}: {first}\n{course}");
        assert!(dead[first + HOME..].iter().all(|tick| tick.lost == 0), "seed {seed}\n{course}");
        assert!(over(dead) <= 2, "seed {seed}: {}\n{course}", over(dead));
        let last = dead.last().unwrap();
        assert!(says(last, "The cloud does not answer: east serves all"), "{}", last.headline);
        world.run(60, 0.02, |_| 0.4);
        assert_eq!((world.share(), world.tier()), (0.0, 0), "seed {seed}\n{}", world.course());
        world.replays();
    }
}

#[test]
fn an_idle_home_takes_all_of_a_cloud_that_hangs() {
    // The load falls just before, or unseen in the cloud just after.
    for before in [true, false] {
        let mut world = spilling(4, 4.0);
        if before {
            world.run(5, 0.02, |_| 0.3);
            assert!(world.share() > 0.4, "{}", world.course());
        }
        let start = world.ticks.len();
        world.kill_cloud();
        world.run(60, 0.02, |s| if s < 1 && !before { 4.0 } else { 0.3 });
        let (dead, course) = (&world.ticks[start..], world.course());
        let first = dead.iter().position(|tick| tick.share == 0.0).unwrap_or(usize::MAX);
        assert!(first <= if before { FOUND } else { HOME }, "{first}\n{course}");
        assert!(dead[first + HOME..].iter().all(|tick| tick.lost == 0), "{course}");
        assert!(!before || dead.iter().all(|tick| tick.tier == 0), "{course}");
        assert_eq!((world.share(), world.tier()), (0.0, 0), "{course}");
        // It goes on where it was, and nobody needs it.
        world.revive_cloud(false);
        world.run(30, 0.02, |_| 0.3);
        let back = &world.ticks[start + 60..];
        assert!(back.iter().all(|tick| tick.share == 0.0 && tick.tier == 0), "{}", world.course());
        assert!(back.last().unwrap().headline.contains("All is served at home"));
    }
}

#[test]
fn nobody_is_counted_twice_or_forgotten_on_the_way_home() {
    let mut world = spilling(5, 2.0);
    let demand = |world: &World| world.outcome.as_ref().unwrap().sites[&site()].requests_per_sec;
    let before = demand(&world);
    world.kill_cloud();
    for _ in 0..40 {
        world.run(1, 0.0, |_| 2.0);
        let now = demand(&world);
        assert!((0.8..1.25).contains(&(now / before)), "{now} of {before}\n{}", world.course());
    }
}

#[test]
fn a_cloud_whose_side_alone_is_silent_keeps_its_clients() {
    let mut world = spilling(6, 4.0);
    let share = world.share();
    world.silent = vec!["cloud".to_owned()];
    world.run(60, 0.02, |_| 4.0);
    assert!(world.share() >= share, "{}", world.course());
    assert!(!world.course().contains("has not answered"), "{}", world.course());
    assert_eq!(world.ticks.iter().map(|tick| tick.lost).sum::<u64>(), 0);
}

#[test]
fn a_cloud_that_only_gateways_cannot_reach_keeps_its_clients() {
    let mut world = spilling(7, 4.0);
    let share = world.share();
    world.cut_cloud();
    world.run(60, 0.02, |_| 4.0);
    assert!((world.share() - share).abs() < 0.1, "{}", world.course());
    assert_eq!(world.tier(), 0);
    let last = world.ticks.last().unwrap();
    assert!(last.reasons.iter().any(|line| line.contains("no gateway's check of it does")));
    assert!(!last.headline.contains("does not answer"), "{}", last.headline);
}

#[test]
fn a_tick_or_two_without_the_cloud_are_no_outage() {
    let mut world = spilling(8, 4.0);
    let share = world.share();
    for _ in 0..6 {
        // Found dead by gateways after a second, so in the last two of these ticks.
        world.kill_cloud();
        world.run(2, 0.02, |_| 4.0);
        world.revive_cloud(false);
        world.run(5, 0.02, |_| 4.0);
    }
    assert!(world.ticks[60..].iter().all(|tick| tick.share > share - 0.15), "{}", world.course());
    assert!(!world.course().contains("has not answered"), "{}", world.course());
}

#[test]
fn nobody_heard_is_no_evidence() {
    let mut world = spilling(9, 4.0);
    let share = world.share();
    world.kill_cloud();
    world.silent = ["east", "east-gw-1", "east-gw-2"].map(str::to_owned).to_vec();
    world.run(60, 0.02, |_| 0.3);
    assert_eq!(world.share().to_bits(), share.to_bits(), "{}", world.course());
    world.silent.clear();
    world.run(40, 0.02, |_| 0.3);
    assert_eq!(world.share(), 0.0, "{}", world.course());
}

#[test]
fn an_agent_started_during_an_outage_brings_nobody_home_too_many() {
    for lost in [false, true] {
        let mut world = spilling(10, 4.0);
        world.kill_cloud();
        world.restart_agent(lost);
        world.run(60, 0.02, |_| 4.0);
        let (dead, course) = (&world.ticks[60..], world.course());
        assert!(over(dead) <= 2, "lost {lost}: {}\n{course}", over(dead));
        let last = dead.last().unwrap();
        assert!(last.share > 0.2 && last.share < 0.65 && last.tier == 3, "lost {lost}\n{course}");
    }
}

#[test]
fn a_cloud_that_never_reports_is_dead_by_the_checks_alone() {
    let mut config = config(&[]);
    config.cloud.local = None;
    let mut world = World::new(&config, 11);
    world.silent = vec!["cloud".to_owned()];
    world.run(60, 0.02, |s| if s < 10 { 0.5 } else { 1.6 });
    assert!(world.share() > 0.4 && world.tier() == 0, "{}", world.course());
    world.kill_cloud();
    world.run(60, 0.02, |_| 1.6);
    assert_eq!((world.share(), world.tier()), (0.0, 2), "{}", world.course());
    assert!(over(&world.ticks[60..]) <= 2, "{}", world.course());
    world.revive_cloud(true);
    world.run(90, 0.02, |_| 1.6);
    assert!(world.share() > 0.4 && world.tier() == 0, "{}", world.course());
    world.replays();
}

#[test]
fn a_state_of_before_is_read() {
    let world = spilling(12, 2.0);
    let mut kept = serde_json::to_value(&world.state).unwrap();
    let cloud = kept["cloud"].as_object_mut().unwrap();
    assert!(cloud.remove("dead_since").is_some() && cloud.remove("against").is_some());
    assert_eq!(serde_json::from_value::<State>(kept).unwrap(), world.state);
}

#[test]
fn an_absurd_weight_breaks_nothing() {
    let mut config = config(&[]);
    for route in &mut config.routes {
        route.weight = 1e308;
    }
    let mut world = World::new(&config, 13);
    world.policy = Policy::new(&config);
    world.run(20, 0.02, |_| 0.4);
    world.kill_cloud();
    world.run(20, 0.02, |_| 0.4);
    world.restart_agent(false);
}
