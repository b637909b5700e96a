//! Sites that help one another before a cloud is paid: who goes where, what is measured, and what happens
//! when the one that helps needs its room or fails.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "counts and sizes of a simulation, and tests may fail here"
)]

mod pair;
mod sim;

use pair::{EAST, NO_REPORT, Pair, Tick, WEST, config};
use spillway_decide::explain_client;
use spillway_model::SiteId;

fn pair(seed: u64) -> Pair {
    Pair::new(&config(["\"west\"", ""], &[]), seed)
}

fn mean(ticks: &[Tick], of: impl Fn(&Tick) -> f64) -> f64 {
    ticks.iter().map(of).sum::<f64>() / ticks.len() as f64
}

fn over(ticks: &[Tick], site: usize) -> usize {
    ticks.iter().filter(|tick| tick.offered[site] > 1.0).count()
}

#[test]
fn the_cloud_gets_nothing_until_a_neighbour_is_full() {
    for seed in 1..=3 {
        let mut pair = pair(seed);
        // More than a rise asks for goes to the cloud, too, until its dwell is over.
        pair.run(20, 0.03, |_| [0.5, 0.1]);
        pair.run(60, 0.03, |_| [1.15, 0.1]);
        let (course, ticks) = (pair.course(), &pair.ticks[45..]);
        let asked = mean(ticks, |t| t.asked[EAST]);
        assert!(mean(ticks, |t| t.cloud[EAST]) < 0.01 * asked, "seed {seed}\n{course}");
        assert!(mean(ticks, |t| t.visits[EAST]) > 0.2 * asked, "seed {seed}\n{course}");
        assert!(
            over(&pair.ticks, EAST) <= 5 && over(&pair.ticks, WEST) == 0,
            "seed {seed}\n{course}"
        );
        // Twice the capacity, which is more than west has room for.
        pair.run(60, 0.03, |_| [2.0, 0.1]);
        let (course, ticks) = (pair.course(), &pair.ticks[95..]);
        let asked = mean(ticks, |t| t.asked[EAST]);
        let (cloud, visits) = (mean(ticks, |t| t.cloud[EAST]), mean(ticks, |t| t.visits[EAST]));
        assert!(cloud > 0.15 * asked, "seed {seed}: {cloud} of {asked}\n{course}");
        let used = mean(ticks, |t| t.offered[WEST]);
        assert!(
            (0.6..0.8).contains(&used),
            "seed {seed}: west uses {used}, {visits} visit\n{course}"
        );
        assert!(over(&pair.ticks, WEST) <= 2, "seed {seed}\n{course}");
        assert!(over(&pair.ticks, EAST) <= 10, "seed {seed}\n{course}");
    }
}

#[test]
fn demand_is_counted_where_it_belongs() {
    let mut pair = pair(1);
    pair.run(20, 0.0, |_| [0.5, 0.2]);
    pair.run(60, 0.0, |_| [1.6, 0.2]);
    let course = pair.course();
    // A few seconds around the move are those in which requests are on their way.
    for tick in pair.ticks[3..20].iter().chain(&pair.ticks[28..]) {
        for (site, noise) in [(EAST, 0.1), (WEST, 0.2)] {
            let off = (tick.measured[site] / tick.asked[site] - 1.0).abs();
            assert!(off < noise, "{} s, site {site}: {off}\n{course}", tick.secs);
        }
    }
    let ticks = &pair.ticks[28..];
    for site in [EAST, WEST] {
        let (asked, measured) = (mean(ticks, |t| t.asked[site]), mean(ticks, |t| t.measured[site]));
        assert!((measured / asked - 1.0).abs() < 0.01, "{site}: {measured} of {asked}\n{course}");
    }
}

#[test]
fn demand_is_counted_where_the_cloud_tells_nothing() {
    let mut pair = Pair::new(&config(["\"west\"", ""], NO_REPORT), 11);
    pair.silent = vec!["cloud".to_owned()];
    pair.run(20, 0.0, |_| [0.5, 0.2]);
    pair.run(80, 0.0, |_| [1.6, 0.2]);
    let (course, ticks) = (pair.course(), &pair.ticks[60..]);
    assert!(mean(ticks, |t| t.visits[EAST]) > 400.0, "{course}");
    for (site, noise) in [(EAST, 0.08), (WEST, 0.02)] {
        let (asked, measured) = (mean(ticks, |t| t.asked[site]), mean(ticks, |t| t.measured[site]));
        assert!((measured / asked - 1.0).abs() < noise, "{site}: {measured} of {asked}\n{course}");
    }
}

#[test]
fn a_neighbour_that_needs_its_room_has_it_within_seconds() {
    for seed in 1..=3 {
        let mut pair = pair(seed);
        pair.run(60, 0.03, |s| if s < 15 { [0.5, 0.1] } else { [1.2, 0.1] });
        let before = pair.last().clone();
        assert!(before.helped[EAST] > 0.25, "seed {seed}\n{}", pair.course());
        let rise = |s: u64| [1.2, 0.1 + 0.58 * (s as f64 / 20.0).min(1.0)];
        pair.run(50, 0.03, rise);
        let (course, ticks) = (pair.course(), &pair.ticks[60..]);
        assert!(ticks[20].helped[EAST] < before.helped[EAST] - 0.15, "seed {seed}\n{course}");
        assert_eq!(over(ticks, WEST), 0, "seed {seed}\n{course}");
        assert!(ticks[25..].iter().all(|t| t.visits[EAST] < 0.2 * t.asked[EAST]), "{course}");
        // They went to the cloud, and nobody came home.
        assert!(ticks.iter().all(|t| t.share[EAST] >= before.share[EAST] - 0.06), "{course}");
        assert!(mean(&ticks[25..], |t| t.cloud[EAST]) > 300.0, "seed {seed}\n{course}");
        assert!(over(ticks, EAST) <= 2, "seed {seed}\n{course}");
        assert!(ticks.iter().all(|t| t.share[WEST] <= 0.0), "it has no need to spill\n{course}");
        let told = ticks.iter().any(|t| t.reasons.join("\n").contains("its own clients need"));
        assert!(told, "{course}");
    }
}

/// A step from nothing to full costs a site that helps the seconds until a plan is in force, as it would one
/// that were full of its own.
#[test]
fn a_step_at_a_neighbour_is_over_in_two_seconds() {
    for seed in 1..=4 {
        let load = |s: u64| match s {
            0..15 => [0.5, 0.1],
            15..60 => [1.2, 0.1],
            _ => [1.2, 0.9],
        };
        let [helps, alone] = ["\"west\"", ""].map(|helped| {
            let mut pair = Pair::new(&config([helped, ""], &[]), seed);
            pair.run(90, 0.03, load);
            pair
        });
        let (course, ticks) = (helps.course(), &helps.ticks[60..]);
        let visits = ticks.iter().position(|t| t.visits[EAST] < 0.05 * t.asked[EAST]);
        assert!(visits.is_some_and(|secs| secs <= 3), "seed {seed}\n{course}");
        let (helps, alone) = (over(ticks, WEST), over(&alone.ticks[60..], WEST));
        assert!(helps <= alone + 2, "seed {seed}: {helps} s and {alone}\n{course}");
    }
}

#[test]
fn when_it_calms_the_cloud_is_empty_first() {
    for seed in 1..=2 {
        let mut pair = pair(seed);
        pair.run(80, 0.03, |s| if s < 15 { [0.5, 0.2] } else { [2.2, 0.2] });
        let before = pair.last().clone();
        assert!(before.share[EAST] - before.helped[EAST] > 0.15, "seed {seed}\n{}", pair.course());
        pair.run(90, 0.03, |_| [0.4, 0.2]);
        let course = pair.course();
        for two in pair.ticks[80..].windows(2) {
            if two[1].helped[EAST] < two[0].helped[EAST] {
                let in_cloud = two[1].share[EAST] - two[1].helped[EAST];
                assert!(in_cloud <= 0.0, "{} s\n{course}", two[1].secs);
            }
        }
        assert_eq!((pair.last().share[EAST], pair.last().helped[EAST]), (0.0, 0.0), "{course}");
        let east = SiteId::new("east").unwrap();
        assert!(
            pair.state.plan().sites[&east].helped.is_empty(),
            "nothing is left of it\n{course}"
        );
    }
}

#[test]
fn noise_moves_no_visitors() {
    for (seed, load) in [(1, [1.15, 0.3]), (2, [1.5, 0.3]), (3, [2.5, 0.2]), (4, [1.0, 0.6])] {
        let mut pair = pair(seed);
        pair.run(400, 0.05, |_| load);
        let ticks = &pair.ticks[20..];
        let (mut turns, mut direction) = (0, 0.0);
        for two in ticks.windows(2) {
            let change = two[1].helped[EAST] - two[0].helped[EAST];
            if change != 0.0 {
                turns += usize::from(direction * change < 0.0);
                direction = change;
            }
        }
        assert!(turns <= 6, "{load:?}: {turns} turns\n{}", pair.course());
        assert!(over(ticks, WEST) <= 1, "{load:?}\n{}", pair.course());
    }
}

#[test]
fn a_neighbour_that_fails_sends_nobody_home() {
    let mut pair = pair(1);
    pair.run(60, 0.02, |s| if s < 15 { [0.5, 0.1] } else { [1.2, 0.1] });
    let before = pair.last().clone();
    assert!(before.helped[EAST] > 0.25, "{}", pair.course());
    pair.set_down(WEST, true);
    pair.run(20, 0.02, |_| [1.2, 0.1]);
    let (course, ticks) = (pair.course(), &pair.ticks[60..]);
    assert!(ticks[3..].iter().all(|t| t.helped[EAST] <= 0.0), "{course}");
    assert!(ticks.iter().all(|t| t.share[EAST] >= before.share[EAST] - 0.01), "{course}");
    assert!(mean(&ticks[5..], |t| t.cloud[EAST]) > 100.0, "{course}");
    assert!(
        ticks[4]
            .reasons
            .join("\n")
            .contains("help: none of west; none, for it has no healthy service")
    );
    assert_eq!(over(ticks, EAST), 0, "{course}");
    pair.set_down(WEST, false);
    pair.run(120, 0.02, |_| [1.2, 0.1]);
    assert!(pair.last().helped[EAST] > 0.25, "it helps again\n{}", pair.course());
}

#[test]
fn of_a_neighbour_that_is_not_seen_nothing_more_is_asked() {
    let mut pair = pair(2);
    pair.run(60, 0.02, |s| if s < 15 { [0.5, 0.1] } else { [1.2, 0.1] });
    let before = pair.last().clone();
    pair.silent = ["west", "west-gw-1", "west-gw-2"].map(str::to_owned).to_vec();
    pair.run(8, 0.02, |_| [1.2, 0.1]);
    let course = pair.course();
    assert!(pair.ticks[60..].iter().all(|t| t.helped == before.helped), "it holds\n{course}");
    pair.run(5, 0.02, |_| [1.7, 0.1]);
    let course = pair.course();
    assert!(pair.last().share[EAST] > before.share[EAST] + 0.05, "{course}");
    assert!(pair.ticks[60..].iter().all(|t| t.helped[EAST] <= before.helped[EAST]), "{course}");
    assert_eq!(pair.last().helped[EAST], 0.0, "after ten seconds the cloud serves them\n{course}");
    pair.run(20, 0.02, |_| [0.4, 0.1]);
    pair.silent.clear();
    pair.run(60, 0.02, |_| [0.4, 0.1]);
    assert_eq!(pair.last().share[EAST], 0.0, "{}", pair.course());
}

#[test]
fn without_the_cloud_help_goes_on() {
    let mut pair = pair(3);
    pair.run(80, 0.02, |s| if s < 15 { [0.5, 0.1] } else { [1.9, 0.1] });
    let before = pair.last().clone();
    assert!(before.share[EAST] > before.helped[EAST] + 0.1, "{}", pair.course());
    pair.cloud_dead = true;
    pair.run(40, 0.02, |_| [1.9, 0.1]);
    let (course, ticks) = (pair.course(), &pair.ticks[80..]);
    let last = pair.last();
    assert!(last.helped[EAST] >= before.helped[EAST] - 0.02, "{course}");
    assert!(last.share[EAST] >= last.helped[EAST], "{course}");
    assert!(last.share[EAST] < before.share[EAST] - 0.05, "home is filled to its caps\n{course}");
    assert!(over(ticks, WEST) <= 1, "{course}");
    // What both carry is served: less is lost than would be alone.
    let lost = mean(&ticks[15..], |t| t.lost / t.asked[EAST]);
    assert!(lost < 0.3, "{lost}\n{course}");
    pair.run(20, 0.02, |_| [1.2, 0.1]);
    assert!(pair.last().lost < 0.02 * pair.last().asked[EAST], "{}", pair.course());
}

/// What the cloud takes is a limit on what goes to the cloud alone, and help goes on while a tier is on.
#[test]
fn a_full_cloud_takes_nothing_from_help() {
    let mut pair = pair(9);
    // 350 requests a second, where some 700 are beyond what both sites carry.
    pair.environments = 10;
    pair.run(90, 0.02, |s| if s < 15 { [0.5, 0.1] } else { [1.9, 0.1] });
    let (course, ticks) = (pair.course(), &pair.ticks[40..]);
    assert!(ticks.iter().all(|t| t.tier > 0), "{course}");
    assert!(ticks.iter().all(|t| t.helped[EAST] > 0.25), "{course}");
    let cloud = mean(ticks, |t| t.cloud[EAST]);
    assert!((200.0..450.0).contains(&cloud), "{cloud}\n{course}");
    assert!(over(ticks, WEST) <= 1, "{course}");
}

#[test]
fn a_site_that_is_not_seen_keeps_its_help() {
    let mut pair = pair(10);
    pair.run(60, 0.02, |s| if s < 15 { [0.5, 0.1] } else { [1.2, 0.1] });
    let before = pair.last().clone();
    pair.silent = ["east", "east-gw-1", "east-gw-2"].map(str::to_owned).to_vec();
    pair.run(30, 0.02, |_| [0.6, 0.1]);
    let course = pair.course();
    let held =
        |t: &Tick| (t.share[EAST], t.helped[EAST]) == (before.share[EAST], before.helped[EAST]);
    assert!(pair.ticks[60..].iter().all(held), "{course}");
    // Its neighbour's own clients come first even so.
    pair.run(20, 0.02, |_| [0.6, 0.75]);
    let last = pair.last();
    assert!(last.helped[EAST] < before.helped[EAST] - 0.1, "{}", pair.course());
    assert_eq!(last.share[EAST].to_bits(), before.share[EAST].to_bits(), "{}", pair.course());
}

#[test]
fn each_of_two_may_help_the_other_but_not_at_once() {
    let mut pair = Pair::new(&config(["\"west\"", "\"east\""], &[]), 4);
    pair.run(120, 0.03, |s| match s {
        0..15 => [0.3, 0.3],
        15..60 => [1.2, 0.2],
        60..100 => [1.4, 1.4],
        _ => [0.2, 1.2],
    });
    pair.run(80, 0.03, |_| [0.2, 1.2]);
    let course = pair.course();
    assert!(pair.ticks.iter().all(|t| t.helped[EAST] * t.helped[WEST] == 0.0), "{course}");
    assert!(pair.ticks[40].helped[EAST] > 0.2, "{course}");
    assert_eq!(pair.ticks[95].helped, [0.0, 0.0], "both are full\n{course}");
    assert!(pair.last().helped[WEST] > 0.2, "{course}");
    pair.replays();
}

#[test]
fn nobody_is_helped_who_is_not_to_be() {
    let mut pair = Pair::new(&config(["", ""], &[]), 5);
    pair.run(60, 0.03, |s| if s < 15 { [0.5, 0.1] } else { [1.2, 0.1] });
    assert!(pair.ticks.iter().all(|t| t.helped == [0.0, 0.0] && t.visits == [0.0, 0.0]));
    assert!(!serde_json::to_string(pair.state.plan()).unwrap().contains("helped"));
}

#[test]
fn processors_are_shared_too() {
    let edits = [
        ("weighted_qps = 9000", "weighted_qps = 400"),
        ("bits_per_sec = 24_000_000", "bits_per_sec = 120_000_000"),
    ];
    let mut pair = Pair::new(&config(["\"west\"", ""], &edits), 6);
    pair.run(90, 0.03, |s| if s < 15 { [0.02, 0.01] } else { [0.062, 0.01] });
    let (course, ticks) = (pair.course(), &pair.ticks[40..]);
    let (cloud, visits) = (mean(ticks, |t| t.cloud[EAST]), mean(ticks, |t| t.visits[EAST]));
    // What home has no room for at a moment goes to the cloud in any case.
    let asked = mean(ticks, |t| t.asked[EAST]);
    assert!(visits > 0.2 * asked && cloud < 0.1 * asked, "{cloud} and {visits}\n{course}");
    let measured = mean(ticks, |t| t.measured[EAST]);
    assert!((measured / asked - 1.0).abs() < 0.03, "{measured} of {asked}\n{course}");
}

#[test]
fn a_client_is_told_who_helps_it() {
    let mut pair = pair(7);
    pair.run(60, 0.03, |s| if s < 15 { [0.5, 0.1] } else { [2.0, 0.1] });
    let (east, plan) = (SiteId::new("east").unwrap(), pair.state.plan());
    let (mut served, helped) = ([0, 0, 0], plan.sites[&east].helped_below().get());
    for i in 0..200 {
        let address = format!("10.0.{i}.7").parse().unwrap();
        let explained = explain_client(&pair.policy, plan, address);
        let told = &explained.sites[&east];
        let by = told.helped_by.as_ref().map(SiteId::as_str);
        assert_eq!(by, (explained.rank < helped).then_some("west"));
        assert_eq!(told.why.contains("served by west, which helps"), by.is_some(), "{}", told.why);
        served[if by.is_some() { 0 } else { 1 + usize::from(told.spilled) }] += 1;
    }
    assert!(served.iter().all(|n| *n > 0), "{served:?}");
    let told = pair.last().reasons.join("\n");
    assert!(told.contains("east: help: west serves "), "{told}");
    assert!(told.contains("west: help: serves "), "{told}");
    assert!(pair.last().headline.contains("; west helps east"), "{}", pair.last().headline);
    let record = &pair.outcome.as_ref().unwrap().decision.sites[&east];
    assert_eq!(record.helped, plan.sites[&east].helped);
}

#[test]
fn a_state_of_before_there_was_help_is_read() {
    let mut pair = Pair::new(&config(["", ""], &[]), 8);
    pair.run(10, 0.03, |_| [0.5, 0.5]);
    let mut state = serde_json::to_value(&pair.state).unwrap();
    for site in state["sites"].as_object_mut().unwrap().values_mut() {
        let site = site.as_object_mut().unwrap();
        assert!(site.remove("host").is_some() && site.remove("in_cloud").is_some());
        assert!(!site.contains_key("help"));
    }
    assert_eq!(serde_json::from_value::<spillway_decide::State>(state).unwrap(), pair.state);
}
