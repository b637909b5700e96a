//! Modes in which the agent only tells: what is in force stays, whatever is seen, and acting again begins
//! from there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sim;

use std::collections::BTreeMap;

use proptest::prelude::*;
use sim::aws::config_on_aws;
use sim::{CloudLimits, World, config, flash, site};
use spillway_decide::{Policy, State, decide};
use spillway_model::api::{Bound, GatewaysOrder, KnobOrder, ModeOrder, ShareOrder, TierOrder};
use spillway_model::mode::Mode;
use spillway_model::{KnobId, Plan, Share, Tier};

const BY: &str = "ann: trial";

fn world(seed: u64) -> World {
    World::new(&config(&[]), seed)
}

fn set_mode(world: &mut World, mode: Mode, for_secs: u64) {
    let order = ModeOrder { mode, for_secs, by: BY.to_owned() };
    world.orders.mode = Some((order, world.now().plus_secs(for_secs)));
}

fn recommend(world: &mut World) {
    set_mode(world, Mode::Recommend, 86_400);
}

fn act(world: &mut World) {
    world.orders.mode = None;
}

fn hold_share(world: &mut World, share: f64, for_secs: u64) {
    let share = Share::new(share).unwrap();
    let by = BY.to_owned();
    let order = ShareOrder { share, bound: Bound::Exactly, for_secs, by };
    world.orders.shares.insert(site(), (order, world.now().plus_secs(for_secs)));
}

fn hold_tier(world: &mut World, tier: Tier, for_secs: u64) {
    let order = TierOrder { tier, for_secs, by: BY.to_owned() };
    world.orders.tier = Some((order, world.now().plus_secs(for_secs)));
}

/// A cloud that takes nothing.
fn no_cloud(world: &mut World) {
    world.limits = CloudLimits { environments_max: 0, burst: 0.0, ..CloudLimits::default() };
}

/// The commands that the last decision told.
fn orders(world: &World) -> Vec<String> {
    let decision = &world.outcome.as_ref().unwrap().decision;
    decision.advice.iter().filter_map(|advice| advice.order.clone()).collect()
}

/// Every plan since `plan` says the same, and no lease of it has ended.
fn assert_held(world: &World, plan: &Plan) {
    let now = world.state.plan();
    assert!(now.same_instruction(plan), "{plan:?}\n{now:?}\n{}", world.course());
    assert!(now.knobs.values().all(|lease| lease.until > world.now()), "{}", world.course());
}

#[test]
fn what_is_in_force_stays_and_what_would_be_done_is_told() {
    let mut world = world(1);
    world.run(20, 0.02, |_| 0.4);
    recommend(&mut world);
    let before = world.state.plan().clone();
    for _ in 0..60 {
        world.run(1, 0.02, |_| 1.6);
        assert_held(&world, &before);
    }
    let outcome = world.outcome.as_ref().unwrap();
    assert_eq!(outcome.decision.mode, Mode::Recommend);
    let told = outcome.decision.reasons.join("\n");
    assert!(told.starts_with("mode: recommend by order of ann: trial: what is in force"), "{told}");
    assert!(told.contains("recommended: raise the share of east from 0.0 % to "), "{told}");
    assert!(outcome.headline.contains("; mode recommend, "), "{}", outcome.headline);
    let record = &outcome.decision.sites[&site()];
    assert_eq!(record.chosen, spillway_model::api::Action::Advise);
    // It is asked for as much as the order that is told gives.
    let told = orders(&world).into_iter().find(|order| order.starts_with("spillway share east "));
    let percent = told.unwrap().split(' ').nth(3).unwrap().trim_end_matches('%').parse::<f64>();
    hold_share(&mut world, percent.unwrap() / 100.0, 600);
    world.run(30, 0.02, |_| 1.6);
    assert!(world.ticks[85..].iter().all(|tick| tick.offered < 1.0), "{}", world.course());
    let renewed = world.ticks[20..80].iter().filter(|tick| tick.published).count();
    assert!((5..=7).contains(&renewed), "leases are renewed: {renewed}");
    world.replays();
}

#[test]
fn a_fall_is_told_as_far_as_it_goes() {
    let mut world = world(2);
    world.run(60, 0.02, |_| 2.0);
    let share = world.share();
    recommend(&mut world);
    world.run(60, 0.02, |_| 0.4);
    assert!((world.share() - share).abs() < 1e-12, "{}", world.course());
    assert!(orders(&world).contains(&"spillway share east 0.0% --for 10m".to_owned()));
    // Acting again it comes back step by step from there, and not as if it had been on its way.
    act(&mut world);
    world.run(1, 0.02, |_| 0.4);
    assert!(world.share() >= share - 0.05 - 1e-3 && world.share() < share, "{}", world.course());
    world.run(60, 0.02, |_| 0.4);
    assert_eq!(world.share(), 0.0, "{}", world.course());
    assert!(world.reversals() <= 1, "{}", world.course());
}

#[test]
fn knobs_in_force_stay_on_and_others_are_told() {
    let mut world = world(3);
    no_cloud(&mut world);
    world.run(20, 0.02, |_| 0.4);
    recommend(&mut world);
    world.run(60, 0.02, |_| 1.3);
    assert_eq!(world.tier(), 0);
    let told = orders(&world);
    assert!(told.iter().any(|order| order.starts_with("spillway tier set 1")), "{told:?}");
    act(&mut world);
    world.run(60, 0.02, |_| 1.3);
    let (before, knobs) = (world.tier(), world.state.plan().knobs.len());
    assert!(before > 0);
    recommend(&mut world);
    let plan = world.state.plan().clone();
    world.run(300, 0.02, |_| 0.4);
    assert_held(&world, &plan);
    let told = orders(&world);
    assert!(told.iter().any(|order| order.contains(" off --for 10m")), "{told:?}");
    // Five minutes in which none was needed turn off one, not all.
    act(&mut world);
    world.run(1, 0.02, |_| 0.4);
    assert_eq!(world.state.plan().knobs.len(), knobs - 1, "{}", world.course());
    world.run(1, 0.02, |_| 0.4);
    assert_eq!(world.state.plan().knobs.len(), knobs - 1, "{}", world.course());
}

#[test]
fn orders_act_and_knobs_lapse_with_theirs() {
    let mut world = world(4);
    world.run(20, 0.02, |_| 0.4);
    recommend(&mut world);
    hold_share(&mut world, 0.4, 20);
    hold_tier(&mut world, Tier::Visible, 20);
    world.run(19, 0.02, |_| 0.4);
    assert_eq!((world.share(), world.tier()), (0.4, 2));
    let qr = KnobId::new("qr-text").unwrap();
    assert!(world.state.plan().knobs.contains_key(&qr));
    world.run(2, 0.02, |_| 0.4);
    // Nobody is sent home because an order ended; knobs are leases.
    assert_eq!((world.share(), world.tier()), (0.4, 0), "{}", world.course());
    assert!(world.state.plan().knobs.is_empty());
    // One that was held off stays off, as when the decision acts.
    act(&mut world);
    no_cloud(&mut world);
    world.run(60, 0.02, |_| 1.3);
    let on = world.state.plan().knobs.keys().next().unwrap().clone();
    recommend(&mut world);
    let off = KnobOrder { on: false, for_secs: 5, by: BY.to_owned() };
    world.orders.knobs.insert(on.clone(), (off, world.now().plus_secs(5)));
    world.run(20, 0.02, |_| 1.3);
    assert!(!world.state.plan().knobs.contains_key(&on), "{}", world.course());
}

#[test]
fn an_ordered_tier_lapses_whenever_the_mode_began() {
    // The order is older than the mode, and the agent may be started anew in between.
    for restarts in [false, true] {
        let mut world = world(5);
        world.run(20, 0.02, |_| 0.4);
        hold_tier(&mut world, Tier::Invisible, 20);
        world.run(5, 0.02, |_| 0.4);
        recommend(&mut world);
        world.run(5, 0.02, |_| 0.4);
        if restarts {
            world.restart_agent(true);
        }
        world.run(5, 0.02, |_| 0.4);
        assert_eq!(world.tier(), 1);
        world.run(10, 0.02, |_| 0.4);
        assert_eq!((world.tier(), world.state.plan().knobs.len()), (0, 0), "{}", world.course());
    }
}

#[test]
fn a_dead_cloud_is_left_by_order() {
    let mut world = world(6);
    world.run(60, 0.02, |_| 1.2);
    recommend(&mut world);
    let share = world.share();
    world.kill_cloud();
    world.run(30, 0.02, |_| 0.4);
    assert!((world.share() - share).abs() < 1e-12);
    assert!(orders(&world).contains(&"spillway share east 0.0% --for 10m".to_owned()));
    hold_share(&mut world, 0.9, 60);
    world.run(3, 0.02, |_| 0.4);
    assert!((world.share() - share).abs() < 1e-12, "nobody is sent to a dead cloud");
    hold_share(&mut world, 0.0, 60);
    world.run(3, 0.02, |_| 0.4);
    assert_eq!(world.share(), 0.0, "{}", world.course());
}

#[test]
fn gateways_that_were_only_recommended_are_not_there() {
    let mut world = World::new(&config_on_aws(&[]), 7);
    world.run(30, 0.05, |_| 0.4);
    hold_share(&mut world, 0.9, 86_400);
    recommend(&mut world);
    world.run(10, 0.05, |_| 0.4);
    let before = world.state.plan().clone();
    world.run(300, 0.05, |_| 8.0);
    assert_held(&world, &before);
    let told = orders(&world);
    assert!(told.contains(&"spillway gateways 2 --for 10m".to_owned()), "{told:?}");
    // What would have been saved all that time is no reason to start any once it is over.
    let mut calm = world;
    calm.run(60, 0.05, |_| 0.4);
    act(&mut calm);
    calm.run(200, 0.05, |_| 0.4);
    let course = calm.course();
    assert!(calm.ticks.iter().all(|tick| tick.fleet.gateways == 0), "{course}");
}

#[test]
fn gateways_are_started_by_order_and_given_their_part() {
    let mut world = World::new(&config_on_aws(&[]), 8);
    world.run(60, 0.05, flash(0.4, 8.0, 20, 600));
    recommend(&mut world);
    let order = |gateways, for_secs| GatewaysOrder {
        gateways,
        bound: Bound::AtLeast,
        for_secs,
        by: BY.to_owned(),
    };
    world.orders.gateways = Some((order(2, 200), world.now().plus_secs(200)));
    world.run(150, 0.05, |_| 8.0);
    let fleet = world.state.plan().fleet.clone();
    assert!(fleet.gateways == 2 && fleet.gateway_percent >= 50, "{fleet:?}");
    world.run(300, 0.05, |_| 8.0);
    assert_eq!(world.state.plan().fleet.gateways, 2, "they stay when the order ends");
    world.run(300, 0.05, |_| 0.4);
    assert_eq!(world.state.plan().fleet.gateways, 2);
    assert!(orders(&world).contains(&"spillway gateways 0 --for 10m".to_owned()));
    act(&mut world);
    world.run(1, 0.05, |_| 0.4);
    assert_eq!(world.state.plan().fleet.gateways, 2, "first they are given nothing more");
    world.run(300, 0.05, |_| 0.4);
    assert!(world.state.plan().fleet.is_none(), "{}", world.course());
    assert_eq!(world.aws.as_ref().unwrap().lost, 0);
}

#[test]
fn others_whose_plan_is_not_known_are_not_overruled() {
    let mut world = world(9);
    world.run(20, 0.02, |_| 0.4);
    recommend(&mut world);
    let mut last = world.observations.last().unwrap().clone();
    let before = world.state.plan().clone();
    let mut state = world.state.clone();
    for second in 1..120 {
        last.at = last.at.plus_secs(1);
        for load in &mut last.loads {
            load.at = last.at;
            load.generation = before.generation + 40;
        }
        last.orders = world.orders.clone();
        let outcome = decide(&world.policy, &state, &last);
        assert!(!outcome.decision.published, "{second}");
        let told = outcome.decision.reasons.join("\n");
        assert!(told.contains(&format!("generation {}", before.generation + 40)), "{told}");
        state = outcome.state;
    }
}

#[test]
fn knobs_that_lapsed_while_the_agent_was_away_stay_off() {
    let mut world = world(12);
    no_cloud(&mut world);
    world.run(80, 0.02, |second| if second < 20 { 0.4 } else { 1.3 });
    assert!(!world.state.plan().knobs.is_empty(), "{}", world.course());
    recommend(&mut world);
    world.run(1, 0.02, |_| 1.3);
    let mut later = world.observations.last().unwrap().clone();
    later.at = later.at.plus_secs(600);
    let state = world.state.clone().resume(world.state.plan());
    let outcome = decide(&world.policy, &state, &later);
    assert_eq!((outcome.plan.tier, outcome.plan.knobs.len()), (Tier::Normal, 0));
    assert!(outcome.decision.published);
    assert_eq!(outcome.plan.share(&site()), world.state.plan().share(&site()), "shares hold");
}

#[test]
fn a_shadow_publishes_nothing_and_lets_leases_lapse() {
    let mut world = world(10);
    no_cloud(&mut world);
    world.run(80, 0.02, |second| if second < 20 { 0.4 } else { 1.3 });
    assert!(world.tier() > 0, "{}", world.course());
    set_mode(&mut world, Mode::Shadow, 86_400);
    hold_share(&mut world, 0.5, 600);
    let before = world.state.plan().clone();
    world.run(120, 0.02, |_| 1.3);
    assert_eq!(world.state.plan(), &before, "{}", world.course());
    assert!(world.ticks[80..].iter().all(|tick| !tick.published));
    // Nobody renewed the knobs: they are off by now, and it says what it would turn on.
    let decision = &world.outcome.as_ref().unwrap().decision;
    assert_eq!(decision.tier, Tier::Normal, "{}", world.course());
    assert!(orders(&world).iter().any(|order| order.starts_with("spillway tier set 1")));
    world.replays();
}

#[test]
fn a_shadow_reasons_from_what_another_agent_has_published() {
    let mut world = world(11);
    let policy =
        Policy::new(&config(&[("share_dwell_secs", "mode = \"shadow\"\nshare_dwell_secs")]));
    let mut shadow = State::initial(&policy);
    let mut advised = 0;
    let load = flash(0.4, 3.0, 20, 60);
    for second in 0..240 {
        let published = world.state.plan().clone();
        world.run(1, 0.02, |_| load(second));
        let mut observation = world.observations.last().unwrap().clone();
        observation.in_force = Some(published.clone());
        let outcome = decide(&policy, &shadow, &observation);
        assert!(!outcome.decision.published);
        assert_eq!(outcome.plan, published, "it is what is in force");
        advised += usize::from(!outcome.decision.advice.is_empty());
        shadow = outcome.state;
    }
    // The other one does what it would do, so most of the time there is nothing to advise.
    assert!((1..120).contains(&advised), "{advised}");
    assert!(world.share() < 0.1, "{}", world.course());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is seen, nothing of the instruction changes.
    #[test]
    fn nothing_changes_whatever_is_seen(
        seed in 0u64..1000,
        acted in 20u64..120,
        loads in prop::collection::vec((0.0..9.0f64, 0u8..8), 1..6),
        aws in any::<bool>(),
    ) {
        let config = if aws { config_on_aws(&[]) } else { config(&[]) };
        let mut world = World::new(&config, seed);
        if seed % 3 == 0 {
            no_cloud(&mut world);
        }
        world.run(acted, 0.05, |second| if second < 15 { 0.4 } else { loads[0].0 });
        recommend(&mut world);
        let before = world.state.plan().clone();
        for (load, fault) in loads {
            match fault {
                0 => world.kill_cloud(),
                1 => world.revive_cloud(true),
                2 => world.kill(),
                3 => world.home = sim::Home::Serves,
                4 => world.silent = ["east", "cloud", "aws"].map(str::to_owned).to_vec(),
                5 => world.silent = vec!["east-gw-1".to_owned()],
                6 => world.restart_agent(false),
                _ => world.silent.clear(),
            }
            for _ in 0..15 {
                world.run(1, 0.1, |_| load);
                let now = world.state.plan();
                prop_assert!(now.same_instruction(&before), "{:?}\n{:?}", before, now);
                prop_assert!(now.knobs.values().all(|lease| lease.until > world.now()));
            }
        }
        // The first second of acting again is one from what is in force: it falls by no more than a step,
        // turns off one knob at most, and ends no gateway that is given requests.
        world.cloud_is = sim::Cloud::Serves;
        act(&mut world);
        world.run(1, 0.05, |_| 0.4);
        let now = world.state.plan();
        let alive = !world.ticks.last().unwrap().reasons.iter().any(|r| r.starts_with("cloud: has not"));
        prop_assert!(!alive || now.share(&site()).get() >= before.share(&site()).get() - 0.051);
        prop_assert!(now.knobs.len() + 1 >= before.knobs.len());
        // Where the plan sent nobody to the cloud they have had nothing to do all the while.
        let idle = before.sites.values().all(|site| site.share.is_zero() && site.home_qps.is_none());
        let drained = before.fleet.gateway_percent == 0;
        prop_assert!(drained || idle || now.fleet.gateways >= before.fleet.gateways);
    }
}

/// What an operator would have read of a storm in mode recommend. After a change that is meant:
/// `UPDATE_GOLDEN=1 cargo test -p spillway-decide`.
#[test]
fn a_storm_as_it_is_recommended() {
    let mut world = World::new(&config_on_aws(&[]), 1);
    recommend(&mut world);
    let (mut told, mut before) = (String::new(), BTreeMap::new());
    let load = flash(0.4, 3.0, 20, 60);
    for second in 0..160 {
        world.run(1, 0.02, |_| load(second));
        let decision = &world.outcome.as_ref().unwrap().decision;
        // One line where what is advised is about something else than before, or it is over.
        let about =
            |what: &str| what.split_once(" from ").map_or(what, |(about, _)| about).to_owned();
        let now: BTreeMap<String, String> = decision
            .reasons
            .iter()
            .filter(|line| line.starts_with("mode: ") || line.starts_with("recommended: "))
            .map(|line| (about(line), line.clone()))
            .collect();
        if !now.keys().eq(before.keys()) {
            told.push_str(&format!(
                "{} s: {}\n",
                second + 1,
                world.outcome.as_ref().unwrap().headline
            ));
            now.values().for_each(|line| told.push_str(&format!("  {line}\n")));
        }
        before = now;
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/recommended.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, &told).unwrap();
    }
    assert_eq!(told, std::fs::read_to_string(file).unwrap_or_default());
}
