//! Which knobs are turned: the least harmful that free what is missing, corrected by what they deliver,
//! and off again one at a time.

mod sim;

use std::collections::BTreeSet;

use proptest::prelude::*;
use sim::{CloudLimits, Tick, World, config};
use spillway_decide::State;
use spillway_model::api::KnobOrder;
use spillway_model::{Config, KnobId, UnixMillis};

/// A site whose cloud takes nothing.
fn alone_on(config: &Config, seed: u64) -> World {
    let mut world = World::new(config, seed);
    world.limits = CloudLimits { environments_max: 0, burst: 0.0, ..CloudLimits::default() };
    world
}

/// On a line on which chance matters little.
fn alone(seed: u64) -> World {
    alone_on(&config(&LARGE), seed)
}

fn on(tick: &Tick) -> BTreeSet<&str> {
    tick.knobs.keys().map(String::as_str).collect()
}

fn says(tick: &Tick, what: &str) -> bool {
    tick.reasons.iter().any(|line| line.contains(what))
}

const LARGE: [(&str, &str); 2] = [
    ("bits_per_sec = 6_000_000", "bits_per_sec = 30_000_000"),
    ("weighted_qps = 1500", "weighted_qps = 100_000"),
];
const ALL: [&str; 5] =
    ["notices-cached", "stats-frozen", "history-hidden", "qr-text", "essential-only"];

/// In which tier each stands in the example.
fn tier(knob: &str) -> u8 {
    match ALL.iter().position(|of| *of == knob) {
        Some(0 | 1) => 1,
        Some(2 | 3) => 2,
        _ => 3,
    }
}

#[test]
fn only_those_of_a_tier_are_turned_on_that_are_needed() {
    let config = config(&[LARGE[0], LARGE[1], ("releases = 0.10", "releases = 0.20")]);
    for seed in 1..=3 {
        // A tenth is missing, then a fifth.
        for (load, needed, spared) in
            [(1.0, "history-hidden", "qr-text"), (1.1, "qr-text", "history-hidden")]
        {
            let mut world = alone_on(&config, seed);
            world.run(60, 0.0, |s| if s < 20 { 0.4 } else { load });
            let course = world.course();
            let last = world.ticks.last().unwrap();
            assert_eq!(last.tier, 2, "seed {seed}, {load}\n{course}");
            assert!(on(last).contains(needed), "seed {seed}, {load}\n{course}");
            let mut ticks = world.ticks.iter();
            assert!(ticks.all(|tick| !on(tick).contains(spared)), "seed {seed}, {load}\n{course}");
            let told = "the least harmful of tier 2 that free the";
            assert!(course.contains(told), "seed {seed}, {load}\n{course}");
        }
    }
}

#[test]
fn nothing_is_turned_on_while_the_cloud_takes_the_rest() {
    let mut world = World::new(&config(&[]), 4);
    world.run(120, 0.05, |s| if (20..80).contains(&s) { 6.0 } else { 0.4 });
    assert!(world.ticks.iter().any(|tick| tick.share > 0.8), "{}", world.course());
    assert!(world.ticks.iter().all(|tick| tick.knobs.is_empty()), "{}", world.course());
}

/// Within each tick: harsher tiers only with all of the milder ones, one knob less at most, and none less
/// where something was not seen.
fn in_order(ticks: &[Tick]) -> Result<(), String> {
    for pair in ticks.windows(2) {
        let (before, now) = (on(&pair[0]), on(&pair[1]));
        let highest = now.iter().map(|knob| tier(knob)).max().unwrap_or(0);
        let missing = ALL.iter().find(|knob| tier(knob) < highest && !now.contains(**knob));
        let off = before.difference(&now).count();
        let wrong = match missing {
            Some(knob) => format!("tier {highest} without {knob}"),
            None if pair[1].tier != highest => format!("tier {} for {now:?}", pair[1].tier),
            None if off > 1 => format!("{off} knobs off at once"),
            None if off > 0 && says(&pair[1], "holding") => "off while it holds".to_owned(),
            None if pair[1].tier > pair[0].tier + 1 => "a tier was passed over".to_owned(),
            None => continue,
        };
        return Err(format!("{} s: {wrong}", pair[1].secs));
    }
    Ok(())
}

#[test]
fn restoration_is_one_knob_at_a_time_the_most_harmful_first() {
    let mut world = alone(5);
    world.run(60, 0.02, |s| if s < 10 { 0.4 } else { 5.0 });
    assert_eq!(on(world.ticks.last().unwrap()).len(), 5, "{}", world.course());
    let restore = world.policy.restore_secs();
    assert_eq!(restore, 10 + 15 + 15);
    world.run(restore + 10, 0.02, |_| 0.3);
    let course = world.course();
    assert_eq!(in_order(&world.ticks), Ok(()), "{course}");
    let mut order = Vec::new();
    for pair in world.ticks[60..].windows(2) {
        let (before, now) = (on(&pair[0]), on(&pair[1]));
        assert!(now.is_subset(&before), "{course}");
        for knob in before.difference(&now) {
            order.push((*knob, pair[1].secs));
            assert!(says(&pair[1], &format!("knob turned off: {knob}")), "{course}");
        }
    }
    assert_eq!(order.iter().map(|(knob, _)| tier(knob)).collect::<Vec<_>>(), [3, 2, 2, 1, 1]);
    let gaps: Vec<u64> = order.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    assert_eq!(gaps, [5, 10, 5, 10], "{course}");
    assert_eq!((world.tier(), world.share()), (0, 0.0), "{course}");
}

#[test]
fn a_knob_that_is_not_needed_any_more_goes_although_its_tier_is() {
    let mut world = alone(6);
    world.run(60, 0.02, |s| if s < 10 { 0.4 } else { 1.4 });
    assert!(on(world.ticks.last().unwrap()).is_superset(&["history-hidden", "qr-text"].into()));
    world.run(60, 0.02, |_| 1.0);
    let last = world.ticks.last().unwrap();
    assert_eq!((last.tier, on(last).len()), (2, 3), "{}", world.course());
}

#[test]
fn what_a_knob_does_not_deliver_it_is_not_chosen_for_again() {
    let mut world = alone(7);
    let promise = |world: &mut World| {
        world.run(90, 0.01, |s| if s < 40 { 1.1 } else { 0.3 });
        let start = world.ticks.len() - 90;
        let first = world.ticks[start..].iter().find(|tick| on(tick).contains("qr-text"));
        on(first.unwrap()).contains("history-hidden")
    };
    world.run(20, 0.01, |_| 0.3);
    for (name, release, _) in &mut world.releases {
        if name == "qr-text" {
            *release = 0.15;
        }
    }
    assert!(!promise(&mut world), "it promises enough\n{}", world.course());
    assert_eq!(world.tier(), 0, "{}", world.course());
    assert!(promise(&mut world), "it does not any more\n{}", world.course());
    let course = world.course();
    let told = world.ticks.iter().rfind(|tick| on(tick).contains("qr-text")).unwrap();
    assert!(says(told, "qr-text (promised"), "{course}");
    assert!(course.contains("and delivered 1"), "{course}");
    assert_eq!(in_order(&world.ticks), Ok(()), "{course}");
    world.replays();
}

#[test]
fn blind_or_stale_nothing_is_turned_and_leases_are_renewed() {
    for silent in [&["east", "cloud", "east-gw-1", "east-gw-2"][..], &["east-gw-1"][..]] {
        let mut world = alone(8);
        world.run(60, 0.02, |s| if s < 10 { 0.4 } else { 1.4 });
        let held = world.ticks.last().unwrap().knobs.clone();
        assert_eq!(world.tier(), 2, "{}", world.course());
        world.silent = silent.iter().map(|name| (*name).to_owned()).collect();
        for _ in 0..60 {
            world.run(1, 0.0, |_| 0.2);
            assert_eq!(world.ticks.last().unwrap().knobs, held, "{silent:?}\n{}", world.course());
            let plan = world.state.plan();
            assert!(plan.knobs.values().all(|lease| lease.until > world.now()));
            assert!(plan.knobs.values().all(|lease| lease.until <= world.now().plus_secs(30)));
        }
        // The agent is gone, and the leases run out on their own.
        let plan = world.state.plan();
        let ends = plan.issued_at.plus_secs(30);
        assert!(plan.knobs.keys().all(|knob| !plan.knob_on(knob, ends)));
    }
}

#[test]
fn a_restart_goes_on_with_the_knobs_of_the_plan() {
    for lost in [false, true] {
        let mut world = alone(9);
        world.run(60, 0.02, |s| if s < 10 { 0.4 } else { 1.1 });
        let held = world.ticks.last().unwrap().knobs.clone();
        assert_eq!(world.tier(), 2, "{}", world.course());
        world.restart_agent(lost);
        world.run(30, 0.02, |_| 1.1);
        let after = &world.ticks[60..];
        assert!(after.iter().all(|tick| tick.knobs == held), "lost {lost}\n{}", world.course());
    }
}

#[test]
fn a_state_of_before_has_all_knobs_of_its_tier_on() {
    let mut world = alone(10);
    world.run(18, 0.02, |s| if s < 10 { 0.4 } else { 1.4 });
    let on = world.ticks.last().unwrap().knobs.clone();
    assert_eq!(on.len(), 4, "{}", world.course());
    let mut kept = serde_json::to_value(&world.state).unwrap();
    assert!(kept["tier"].as_object_mut().unwrap().remove("on").is_some());
    for key in ["releases", "before", "since", "compared"] {
        assert!(kept["learned"].as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    // Other sets were remembered then, too.
    let sets = kept["learned"]["sets"].as_object_mut().unwrap();
    let undegraded = sets[""].clone();
    for key in ["essential-only", "essential-only+qr-text"] {
        sets.insert(key.to_owned(), undegraded.clone());
    }
    world.state = serde_json::from_value::<State>(kept).unwrap();
    world.run(1, 0.02, |_| 1.4);
    assert_eq!(world.ticks.last().unwrap().knobs, on, "{}", world.course());
    world.run(120, 0.02, |s| if s < 40 { 1.4 } else { 0.3 });
    assert!(world.ticks.iter().all(|tick| tick.tier < 3), "{}", world.course());
    assert_eq!(world.tier(), 0, "{}", world.course());
}

#[test]
fn what_is_held_off_is_not_chosen_and_what_is_ordered_on_counts() {
    let order = |on, until: UnixMillis| {
        (KnobOrder { on, for_secs: 600, by: "on call".to_owned() }, until.plus_secs(600))
    };
    let qr = KnobId::new("qr-text").unwrap();
    let mut world = alone(11);
    world.orders.knobs.insert(qr.clone(), order(false, world.now()));
    world.run(60, 0.02, |s| if s < 10 { 0.4 } else { 1.1 });
    let last = world.ticks.last().unwrap();
    assert_eq!(last.tier, 3, "{}", world.course());
    assert!(!on(last).contains("qr-text") && on(last).contains("history-hidden"));
    // Had they had it, nothing else would have been needed.
    let mut world = alone(11);
    world.orders.knobs.insert(qr, order(true, world.now()));
    world.run(60, 0.02, |s| if s < 10 { 0.4 } else { 1.1 });
    assert!(world.ticks.iter().all(|tick| tick.tier == 0), "{}", world.course());
}

#[test]
fn when_no_knob_is_left_that_is_said() {
    let mut world = alone(12);
    world.run(60, 0.02, |s| if s < 10 { 0.4 } else { 9.0 });
    let last = world.ticks.last().unwrap();
    assert!(says(last, "even so spilling falls short, and no knob is left"), "{:?}", last.reasons);
    let mut config = config(&[]);
    config.knobs.clear();
    let mut world = alone_on(&config, 12);
    world.run(60, 0.02, |s| if s < 10 { 0.4 } else { 9.0 });
    let last = world.ticks.last().unwrap();
    assert_eq!((last.tier, last.knobs.len()), (0, 0), "{}", world.course());
    assert!(says(last, "even so spilling falls short, and no knob is left"), "{:?}", last.reasons);
}

#[test]
fn more_demand_never_ends_in_a_milder_tier() {
    let mut before = 0;
    for load in [0.5, 0.8, 0.95, 1.05, 1.3, 1.6, 2.0, 3.0, 5.0] {
        let mut world = alone(13);
        world.run(60, 0.01, |s| if s < 10 { 0.4 } else { load });
        assert!(world.tier() >= before, "{load}\n{}", world.course());
        before = world.tier();
    }
    assert_eq!(before, 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever is asked, whatever knobs really deliver, and whoever is silent for a while.
    #[test]
    fn knobs_are_turned_in_order(
        seed in 0_u64..1000,
        loads in prop::collection::vec((0.1..4.0_f64, 5_u64..40), 2..5),
        delivers in prop::collection::vec(0.0..0.5_f64, 5),
        silent in prop::option::of(0_usize..2),
    ) {
        let mut world = alone(seed);
        for ((_, release, _), delivers) in world.releases.iter_mut().zip(&delivers) {
            *release = *delivers / 2.5;
        }
        for (turn, (load, secs)) in loads.iter().enumerate() {
            world.silent = match silent {
                Some(turns) if turns == turn => vec!["east-gw-1".to_owned()],
                _ => Vec::new(),
            };
            world.run(*secs, 0.03, |_| *load);
        }
        world.silent.clear();
        world.run(world.policy.restore_secs() + 40, 0.02, |_| 0.2);
        prop_assert_eq!(in_order(&world.ticks), Ok(()), "{}", world.course());
        prop_assert_eq!(world.tier(), 0, "{}", world.course());
        prop_assert!(world.ticks.last().unwrap().knobs.is_empty());
        world.replays();
    }
}
