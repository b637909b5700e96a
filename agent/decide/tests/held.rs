//! What operators hold: a share, or the number of gateways in the cloud, until the order ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sim;

use proptest::prelude::*;
use sim::aws::config_on_aws;
use sim::{World, config, flash, site};
use spillway_decide::{Orders, State, decide};
use spillway_model::Share;
use spillway_model::api::{Bound, GatewaysOrder, ShareOrder};

fn world(seed: u64) -> World {
    World::new(&config(&[]), seed)
}

fn hold_share(world: &mut World, bound: Bound, share: f64, for_secs: u64) {
    let share = Share::new(share).unwrap();
    let order = ShareOrder { share, bound, for_secs, by: "ann: drill".to_owned() };
    world.orders.shares.insert(site(), (order, world.now().plus_secs(for_secs)));
}

fn hold_gateways(world: &mut World, bound: Bound, gateways: u32, for_secs: u64) {
    let order = GatewaysOrder { gateways, bound, for_secs, by: "ann: drill".to_owned() };
    world.orders.gateways = Some((order, world.now().plus_secs(for_secs)));
}

#[test]
fn a_share_is_held_until_the_order_ends() {
    let mut world = world(1);
    world.run(20, 0.02, |_| 0.4);
    hold_share(&mut world, Bound::Exactly, 0.4, 30);
    world.run(30, 0.02, |_| 0.4);
    let held = &world.ticks[20..49];
    assert!(held.iter().all(|tick| (tick.share - 0.4).abs() < 1e-12), "{}", world.course());
    let told = held[20].reasons.join("\n");
    assert!(
        told.contains("share: held, exactly 40.0 % by order of ann: drill; without it "),
        "{told}"
    );
    assert!(held[20].headline.contains("; held there by order"), "{}", held[20].headline);
    // The decision takes over where the order left it, and brings clients back after its dwell.
    world.run(3, 0.02, |_| 0.4);
    assert!((0.1..0.3).contains(&world.share()), "{}", world.course());
    world.run(40, 0.02, |_| 0.4);
    assert_eq!(world.share(), 0.0, "{}", world.course());
}

#[test]
fn bounds_leave_the_rest_to_the_decision() {
    let mut world = world(2);
    world.run(20, 0.02, |_| 0.4);
    hold_share(&mut world, Bound::AtLeast, 0.1, 600);
    world.run(10, 0.02, |_| 0.4);
    assert!((world.share() - 0.1).abs() < 1e-12, "{}", world.course());
    world.run(30, 0.02, |_| 3.0);
    assert!(world.share() > 0.6, "{}", world.course());
    assert!(
        world.ticks.last().unwrap().reasons.iter().any(|line| line.contains("at least 10.0 %"))
    );
    world.run(90, 0.02, |_| 0.4);
    assert!((world.share() - 0.1).abs() < 1e-12, "{}", world.course());
}

#[test]
fn what_may_not_be_spilled_is_shed() {
    let mut world = world(3);
    world.run(20, 0.02, |_| 0.4);
    hold_share(&mut world, Bound::AtMost, 0.2, 600);
    world.run(40, 0.02, |_| 3.0);
    assert!(world.ticks.iter().all(|tick| tick.share <= 0.2), "{}", world.course());
    assert_eq!(world.tier(), 3, "{}", world.course());
    world.orders.shares.clear();
    world.run(60, 0.02, |_| 3.0);
    assert!(world.share() > 0.6 && world.tier() == 0, "{}", world.course());
}

#[test]
fn nobody_is_held_at_a_dead_cloud() {
    let mut world = world(4);
    world.run(20, 0.02, |_| 0.4);
    hold_share(&mut world, Bound::Exactly, 0.5, 600);
    world.run(20, 0.02, |_| 0.4);
    world.kill_cloud();
    world.run(20, 0.02, |_| 0.4);
    assert_eq!(world.share(), 0.0, "{}", world.course());
    assert!(world.course().contains("which waits until the cloud answers"), "{}", world.course());
    world.revive_cloud(false);
    world.run(10, 0.02, |_| 0.4);
    assert!((world.share() - 0.5).abs() < 1e-12, "{}", world.course());
}

#[test]
fn an_order_holds_a_site_that_is_not_seen() {
    let mut world = world(5);
    world.run(20, 0.02, |_| 0.4);
    world.silent = ["east", "cloud", "east-gw-1", "east-gw-2"].map(str::to_owned).to_vec();
    hold_share(&mut world, Bound::Exactly, 0.5, 10);
    world.run(5, 0.02, |_| 0.4);
    assert!((world.share() - 0.5).abs() < 1e-12, "{}", world.course());
    world.run(30, 0.02, |_| 0.4);
    assert!((world.share() - 0.5).abs() < 1e-12, "no data holds\n{}", world.course());
}

#[test]
fn gateways_are_held_and_drained_before_they_end() {
    let mut world = World::new(&config_on_aws(&[]), 6);
    world.run(20, 0.02, |_| 0.4);
    hold_gateways(&mut world, Bound::Exactly, 3, 120);
    world.run(119, 0.02, |_| 0.4);
    assert_eq!(world.state.plan().fleet.gateways, 3);
    hold_gateways(&mut world, Bound::AtMost, 1, 400);
    world.run(200, 0.02, |_| 0.4);
    assert!(world.state.plan().fleet.gateways <= 1);
    // Nothing needed the one that may stay, either.
    let course = world.course();
    assert!(course.contains("to 0 gateways: the others have cost "), "{course}");
    assert_eq!(world.state.plan().fleet.gateways, 0, "{course}");
    assert_eq!(world.aws.as_ref().unwrap().lost, 0);
    // More than one are not started while that holds, whatever lasts; after it they are.
    world.run(150, 0.02, |_| 8.0);
    assert_eq!(world.state.plan().fleet.gateways, 1);
    let told = world.ticks.last().unwrap().reasons.join("\n");
    assert!(told.contains("fleet: at most 1 gateway by order of ann: drill"), "{told}");
    world.run(100, 0.02, |_| 8.0);
    assert_eq!(world.state.plan().fleet.gateways, 2, "as many as pay");
    hold_gateways(&mut world, Bound::Exactly, 1000, 100);
    world.run(1, 0.02, |_| 8.0);
    assert_eq!(world.state.plan().fleet.gateways, 8, "the configuration's most is a cap of costs");
    hold_gateways(&mut world, Bound::AtMost, 2, 100);
    world.run(30, 0.02, |_| 8.0);
    assert_eq!(world.state.plan().fleet.gateways, 2);
    let course = world.course();
    assert!(course.contains("fleet: lowered from 8 to 2 gateways for the order"), "{course}");
    assert_eq!(world.aws.as_ref().unwrap().lost, 0);
    world.replays();
}

proptest! {
    /// Whatever is ordered when: it holds while it is in force, and is gone when it ends.
    #[test]
    fn overrides_expire(
        share in 0.0..=1.0,
        bound in prop::sample::select(vec![Bound::Exactly, Bound::AtLeast, Bound::AtMost]),
        gateways in 0u32..=8,
        for_secs in 1u64..30,
    ) {
        let config = config_on_aws(&[]);
        let mut world = World::new(&config, 7);
        world.run(3, 0.02, |_| 0.4);
        hold_share(&mut world, bound, share, for_secs);
        hold_gateways(&mut world, bound, gateways, for_secs);
        let (start, orders) = (world.now(), world.orders.clone());
        let mut observation = world.observations.last().unwrap().clone();
        observation.orders = orders;
        let mut state: State = world.state.clone();
        for second in 1..60 {
            observation.at = start.plus_secs(second);
            let with = decide(&world.policy, &state, &observation);
            let mut bare = observation.clone();
            bare.orders = Orders::default();
            let without = decide(&world.policy, &state, &bare);
            let (held, decided) = (with.plan.share(&site()).get(), without.plan.share(&site()).get());
            if second < for_secs {
                prop_assert!((held - bound.hold(decided, share)).abs() < 1e-12);
            } else {
                prop_assert_eq!(&with.plan, &without.plan);
            }
            state = with.state;
        }
    }
}

#[test]
fn the_same_storm_is_weathered_after_an_override() {
    let mut world = world(8);
    hold_share(&mut world, Bound::AtMost, 0.0, 30);
    world.run(200, 0.03, flash(0.4, 8.0, 20, 60));
    assert!(world.ticks.iter().all(|tick| tick.tier == 0), "{}", world.course());
    assert!(world.over() <= 5, "{}", world.course());
    assert_eq!(world.share(), 0.0, "{}", world.course());
}
