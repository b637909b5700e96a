//! What is decided, and that it can be killed between any two calls.

use proptest::prelude::*;
use spillway_model::UnixMillis;

use super::world::{End, World, wanted};
use crate::deploy::act::Act;
use crate::deploy::next::Step;
use crate::deploy::seen::{Figures, Readiness, Sums};

const NAMES: [&str; 2] = ["codes", "scans"];

fn kinds(world: &World, name: &str) -> Vec<String> {
    let acts = world.acts.iter().filter(|act| act.function() == name);
    acts.map(ToString::to_string).collect()
}

#[test]
fn all_are_uploaded_and_smoked_before_any_is_shifted_and_then_shifted_in_step() {
    let mut world = World::new(&NAMES);
    let wanted = wanted(&NAMES, "b");
    assert_eq!(world.run(&wanted, usize::MAX, &[]), End::Step(Step::Done));
    let shifts = |act: &Act| matches!(act, Act::Weigh { .. } | Act::Move { .. });
    let first = world.acts.iter().position(shifts).unwrap();
    let (before, after) = world.acts.split_at(first);
    assert_eq!(before.iter().filter(|act| matches!(act, Act::Upload { .. })).count(), 2);
    // The new and the old version of each.
    assert_eq!(before.iter().filter(|act| matches!(act, Act::Smoke { .. })).count(), 4);
    let percents: Vec<_> = after
        .iter()
        .filter_map(|act| match act {
            Act::Weigh { function, percent, .. } => Some((function.as_str(), *percent)),
            Act::Move { function, .. } => Some((function.as_str(), 100)),
            _ => None,
        })
        .collect();
    let expected = [5, 25, 100].map(|percent| NAMES.map(|name| (name, percent))).concat();
    assert_eq!(percents, expected);
    for function in world.functions.values() {
        assert_eq!((function.alias.version, function.alias.weighed), (2, None));
        assert_eq!(function.before, Some(1));
    }
    // Each step was held for a minute.
    assert!(world.now >= UnixMillis(10_000_000).plus_secs(180));
    let acts = world.acts.len();
    assert_eq!(world.run(&wanted, usize::MAX, &[]), End::Step(Step::Done));
    assert_eq!(kinds(&world, "codes").last().unwrap(), "publish a version");
    assert_eq!(world.acts.len(), acts + 2, "a second time only asks whether memory was changed");
}

#[test]
fn what_fails_its_smoke_is_given_nothing() {
    let mut world = World::new(&NAMES);
    world.broken.push("b".to_owned());
    let End::Step(Step::Back(why)) = world.run(&wanted(&NAMES, "b"), usize::MAX, &[]) else {
        panic!("{:?}", world.acts)
    };
    assert!(why.contains("version 2 of codes fails its smoke invocation: 503"), "{why}");
    assert!(world.functions.values().all(|f| f.alias.version == 1 && f.alias.weighed.is_none()));
}

#[test]
fn what_was_never_deployed_is_moved_at_once() {
    let mut world = World::new(&["codes"]);
    world.broken.push("a".to_owned());
    assert_eq!(world.run(&wanted(&["codes"], "b"), usize::MAX, &[]), End::Step(Step::Done));
    assert!(!world.acts.iter().any(|act| matches!(act, Act::Weigh { .. })), "{:?}", world.acts);
    assert_eq!(world.functions["codes"].alias.version, 2);
}

fn goes_back(world: &mut World) -> String {
    let End::Step(Step::Back(why)) = world.run(&wanted(&NAMES, "b"), usize::MAX, &[]) else {
        panic!("{:#?}", world.acts)
    };
    for function in world.functions.values() {
        assert_eq!((function.alias.version, function.alias.weighed), (1, None), "all go back");
    }
    why
}

fn sums(invocations: f64, errors: f64, p95: f64) -> Sums {
    Sums { invocations, errors, p95_ms: Some(p95) }
}

#[test]
fn what_does_worse_goes_back_whenever_it_shows() {
    // From the first step on, only with a quarter of the requests, and only with all of them.
    let worse: [fn(u8) -> Figures; 3] = [
        |_| Figures { new: sums(20.0, 9.0, 1.0), ..Figures::default() },
        |percent| Figures {
            new: sums(200.0, if percent >= 25 { 20.0 } else { 0.0 }, 1.0),
            ..Figures::default()
        },
        |percent| Figures {
            old: sums(1_000.0, 0.0, 20.0),
            new: sums(900.0, 0.0, if percent == 100 { 300.0 } else { 20.0 }),
            ..Figures::default()
        },
    ];
    for (figures, furthest) in worse.into_iter().zip([5, 25, 100]) {
        let mut world = World::new(&NAMES);
        world.figures = Some(figures);
        let why = goes_back(&mut world);
        assert!(why.contains("does worse"), "{why}");
        assert_eq!(world.given["codes"].iter().max(), Some(&furthest));
    }
}

#[test]
fn an_alarm_that_goes_on_brings_all_back_and_one_that_was_on_does_not() {
    let mut world = World::new(&NAMES);
    world.alarms = Some([("east-full".to_owned(), UnixMillis(1))].into());
    assert_eq!(world.run(&wanted(&NAMES, "b"), usize::MAX, &[]), End::Step(Step::Done));
    let mut world = World::new(&NAMES);
    let wanted = wanted(&NAMES, "b");
    assert_eq!(world.run(&wanted, 10, &[]), End::Killed);
    assert!(world.functions.values().all(|f| f.alias.percent(2) >= 5), "{:?}", world.acts);
    // Killed, and on before the next process looks: it may be the canary's fault.
    world.alarms = Some([("east-errors".to_owned(), world.now)].into());
    assert!(goes_back(&mut world).contains("alarm east-errors went on"));
}

#[test]
fn who_cannot_see_does_not_go_on() {
    for blind in [0, 1] {
        let mut world = World::new(&NAMES);
        if blind == 0 {
            world.alarms = None
        } else {
            world.figures = None
        }
        assert!(goes_back(&mut world).contains("CloudWatch cannot be read"));
    }
    // Where nothing is watched, nothing has to be seen.
    let mut world = World::new(&NAMES);
    (world.alarms, world.figures) = (None, None);
    let mut wanted = wanted(&NAMES, "b");
    (wanted.steps, wanted.hold_secs) = (vec![100], 0);
    assert_eq!(world.run(&wanted, usize::MAX, &[]), End::Step(Step::Done));
}

#[test]
fn figures_are_waited_for_where_there_are_requests() {
    let mut world = World::new(&["codes"]);
    // A thousand requests a minute, of which none is ever shown.
    world.figures = Some(|_| Figures { before: (10_000.0, 0.0), ..Figures::default() });
    let begun = world.now;
    assert_eq!(world.run(&wanted(&["codes"], "b"), usize::MAX, &[]), End::Step(Step::Done));
    assert!(world.now >= begun.plus_secs(3 * (60 + 180)), "{} {}", begun, world.now);
}

#[test]
fn warm_environments_are_left_alone() {
    let mut world = World::new(&["codes"]);
    world.functions.get_mut("codes").unwrap().warm = 10;
    let mut wanted = wanted(&["codes"], "b");
    let End::Step(Step::Stopped(why)) = world.run(&wanted, usize::MAX, &[]) else {
        panic!("{:?}", world.acts)
    };
    assert!(why.contains("10 environments of codes") && why.contains("--no-canary"), "{why}");
    (wanted.steps, wanted.hold_secs) = (vec![100], 0);
    assert_eq!(world.run(&wanted, usize::MAX, &[]), End::Step(Step::Done));
    assert_eq!(world.functions["codes"].alias.version, 2);
}

#[test]
fn the_newest_versions_are_kept_and_what_an_alias_leads_to() {
    let mut world = World::new(&["codes"]);
    for code in ["b", "c", "d", "e", "f"] {
        assert_eq!(world.run(&wanted(&["codes"], code), usize::MAX, &[]), End::Step(Step::Done));
    }
    let kept: Vec<u32> = world.functions["codes"].versions.keys().copied().collect();
    assert_eq!(kept, [4, 5, 6]);
    // The one that went before is kept though it is old.
    world.functions.get_mut("codes").unwrap().before = Some(4);
    for code in ["g", "h"] {
        world.broken.push(code.to_owned());
        assert!(matches!(
            world.run(&wanted(&["codes"], code), usize::MAX, &[]),
            End::Step(Step::Back(_))
        ));
    }
    assert_eq!(world.run(&wanted(&["codes"], "i"), usize::MAX, &[]), End::Step(Step::Done));
    let kept: Vec<u32> = world.functions["codes"].versions.keys().copied().collect();
    assert_eq!(kept, [6, 7, 8, 9], "6 served before 9");
}

#[test]
fn another_deployment_is_noticed() {
    let mut world = World::new(&["codes"]);
    let mine = wanted(&["codes"], "b");
    // The other one comes between two of ours, at every place: whatever is decided, it is said.
    for after in 0..12 {
        let mut progress = crate::deploy::next::Progress::default();
        let mut here = world.clone();
        let mut made = 0;
        let end = loop {
            if made == after {
                here.functions.get_mut("codes").unwrap().alias.revision = "theirs".to_owned();
            }
            made += 1;
            match here.step(&mine, &mut progress) {
                Some(end) => break end,
                None if made > 500 => panic!("it does not end"),
                None => {}
            }
        };
        let expected = if after == 0 { "Done" } else { "changed by another deployment" };
        assert!(format!("{end:?}").contains(expected), "{after}: {end:?}");
    }
    world.functions.get_mut("codes").unwrap().readiness = Readiness::Failed("no role".to_owned());
    world.functions.get_mut("codes").unwrap().sha = "b".to_owned();
    let End::Step(Step::Back(why)) = world.run(&mine, usize::MAX, &[]) else { panic!() };
    assert!(why.contains("no role"), "{why}");
}

#[test]
fn requests_that_somebody_took_away_stay_away() {
    let mine = wanted(&["codes"], "b");
    for percent in [5, 25, 100] {
        let mut world = World::new(&["codes"]);
        let mut progress = crate::deploy::next::Progress::default();
        let end = (0..500).find_map(|_| {
            let alias = &mut world.functions.get_mut("codes").unwrap().alias;
            if alias.percent(2) == percent {
                (alias.version, alias.weighed) = (1, None);
            }
            world.step(&mine, &mut progress)
        });
        let Some(Step::Stopped(why)) = end else { panic!("{percent}: {end:?}") };
        assert!(why.contains("taken from version 2 of codes"), "{why}");
        assert_eq!(world.functions["codes"].alias.percent(2), 0);
    }
}

#[test]
fn a_deployment_that_goes_back_leaves_what_a_rollback_goes_back_to() {
    let mut world = World::new(&["codes"]);
    assert_eq!(world.run(&wanted(&["codes"], "b"), usize::MAX, &[]), End::Step(Step::Done));
    assert_eq!(world.functions["codes"].before, Some(1));
    world.figures = Some(|percent| Figures {
        answers_before: (1_000.0, 0.0),
        answers_since: (1_000.0, if percent == 100 { 500.0 } else { 0.0 }),
        ..Figures::default()
    });
    let end = world.run(&wanted(&["codes"], "c"), usize::MAX, &[]);
    let End::Step(Step::Back(why)) = end else { panic!("{end:?}") };
    assert!(why.contains("500 of 1000 requests were answered 5xx"), "{why}");
    let codes = &world.functions["codes"];
    assert_eq!((codes.alias.version, codes.before), (2, Some(1)));
}

/// Kills a deployment after every single call, and lets another process go on.
#[test]
fn it_can_be_killed_between_any_two_calls() {
    let wanted = wanted(&NAMES, "b");
    let mut whole = World::new(&NAMES);
    assert_eq!(whole.run(&wanted, usize::MAX, &[]), End::Step(Step::Done));
    for calls in 0..whole.acts.len() {
        let mut world = World::new(&NAMES);
        assert_eq!(world.run(&wanted, calls, &[]), End::Killed);
        assert_eq!(world.run(&wanted, usize::MAX, &[]), End::Step(Step::Done), "after {calls}");
        for (name, function) in &world.functions {
            let there = &whole.functions[name];
            assert_eq!(
                (&function.alias.weighed, function.alias.version, function.before, function.moving),
                (&there.alias.weighed, there.alias.version, there.before, None)
            );
            assert_eq!(
                function.versions.keys().collect::<Vec<_>>(),
                there.versions.keys().collect::<Vec<_>>()
            );
        }
    }
}

/// Version 2 serves everywhere after version 1, and version 3 is on its way: killed after so many calls. The
/// last number is how many calls a deployment makes until it settles something.
fn killed_after(calls: usize) -> (World, usize) {
    let mut world = World::new(&NAMES);
    assert_eq!(world.run(&wanted(&NAMES, "b"), usize::MAX, &[]), End::Step(Step::Done));
    let mut whole = world.clone();
    whole.acts.clear();
    assert_eq!(whole.run(&wanted(&NAMES, "c"), usize::MAX, &[]), End::Step(Step::Done));
    let settles = |act: &Act| matches!(act, Act::Remember { moving: None, .. });
    let until = whole.acts.iter().position(settles).unwrap();
    world.acts.clear();
    assert_eq!(world.run(&wanted(&NAMES, "c"), calls, &[]), End::Killed);
    (world, until)
}

#[test]
fn who_goes_on_takes_back_what_another_process_moved() {
    let (_, until) = killed_after(0);
    for calls in 0..=until {
        // Two functions, of which one does worse; or a version that fails from then on.
        for breaks in [false, true] {
            let (mut world, _) = killed_after(calls);
            if breaks {
                world.broken.push("c".to_owned());
                world.tolerant = true;
            } else {
                world.figures = Some(|percent| Figures {
                    new: sums(200.0, if percent > 0 { 20.0 } else { 0.0 }, 1.0),
                    ..Figures::default()
                });
            }
            let end = world.run(&wanted(&NAMES, "c"), usize::MAX, &[]);
            // Nobody invokes what has all requests already before its figures are in.
            let unseen = breaks && world.functions.values().all(|f| f.alias.version == 3);
            assert!(unseen || matches!(end, End::Step(Step::Back(_))), "{calls}: {end:?}");
            for function in world.functions.values().filter(|_| !unseen) {
                let alias = &function.alias;
                assert_eq!((alias.version, alias.weighed), (2, None), "{calls}: {:#?}", world.acts);
                assert_eq!((function.before, function.moving), (Some(1), None), "{calls}");
            }
        }
    }
}

#[test]
fn who_goes_on_holds_the_last_step_again() {
    let (_, until) = killed_after(0);
    let (mut world, _) = killed_after(until);
    let all = world.functions.values().all(|f| f.alias.version == 3 && f.is_unsettled());
    assert!(all, "{:#?}", world.acts);
    let mut quiet = world.clone();
    let since = quiet.now;
    assert_eq!(quiet.run(&wanted(&NAMES, "c"), usize::MAX, &[]), End::Step(Step::Done));
    assert!(quiet.now >= since.plus_secs(60), "{} {since}", quiet.now);
    assert!(quiet.functions.values().all(|f| f.moving.is_none() && f.before == Some(2)));
    // What has served long enough is settled without another look.
    let mut later = world.clone();
    later.now = later.now.plus_secs(4_000);
    let since = later.now;
    assert_eq!(later.run(&wanted(&NAMES, "c"), usize::MAX, &[]), End::Step(Step::Done));
    assert!(later.now < since.plus_secs(10), "{} {since}", later.now);
    assert!(later.functions.values().all(|f| f.moving.is_none()));
    world.alarms = Some([("east-errors".to_owned(), world.now)].into());
    let End::Step(Step::Back(why)) = world.run(&wanted(&NAMES, "c"), usize::MAX, &[]) else {
        panic!("{:#?}", world.acts)
    };
    assert!(why.contains("alarm east-errors went on"), "{why}");
    assert!(world.functions.values().all(|f| f.alias.version == 2));
}

#[test]
fn who_goes_on_gives_nobody_more_than_all_have_shown_to_do_well_with() {
    // Version 3 has everything and is watched yet; one function is mended, the other is as it was.
    let (_, until) = killed_after(0);
    let (mut world, _) = killed_after(until);
    world.given.clear();
    let mut mended = wanted(&NAMES, "c");
    mended.functions.insert("scans".to_owned(), "d".to_owned());
    assert_eq!(world.run(&mended, usize::MAX, &[]), End::Step(Step::Done));
    let mut steps: Vec<u8> = world.given["scans"].clone();
    steps.dedup();
    // Of version 3, until version 4 is there.
    assert_eq!(steps, [100, 0, 5, 25, 100]);
    assert_eq!(world.functions["codes"].alias.version, 3);
}

#[test]
fn what_was_held_does_not_go_back_for_what_comes_after() {
    let (_, until) = killed_after(0);
    let (mut world, _) = killed_after(until);
    let wanted = wanted(&NAMES, "c");
    let mut progress = crate::deploy::next::Progress::default();
    while !progress.over {
        assert_eq!(world.step(&wanted, &mut progress), None);
    }
    // An alarm, or an interruption, between what is settled and what is not.
    world.alarms = Some([("east-errors".to_owned(), world.now)].into());
    progress.failed = Some("it was interrupted".to_owned());
    let end = (0..100).find_map(|_| world.step(&wanted, &mut progress));
    assert_eq!(end, Some(Step::Done));
    assert!(world.functions.values().all(|f| f.alias.version == 3 && f.moving.is_none()));
}

#[test]
fn what_is_watched_goes_back_however_long_ago_it_was_moved() {
    let (_, until) = killed_after(0);
    let (mut world, _) = killed_after(until);
    // Just before it would be too long ago, and the alarm goes on when it is.
    let since = world.functions["codes"].moving.unwrap().since;
    world.now = since.plus_secs(3600 + 2 * 60 - 20);
    let wanted = wanted(&NAMES, "c");
    let mut progress = crate::deploy::next::Progress::default();
    let end = (0..200).find_map(|round| {
        if round == 6 {
            world.alarms = Some([("east-errors".to_owned(), world.now)].into());
        }
        world.step(&wanted, &mut progress)
    });
    assert!(matches!(end, Some(Step::Back(_))), "{end:?}");
    assert!(world.functions.values().all(|f| f.alias.version == 2), "{:#?}", world.acts);
}

#[test]
fn what_aws_says_to_have_done_and_has_not_is_not_asked_for_for_ever() {
    let mut world = World::new(&["codes"]);
    world.deaf = true;
    let end = world.run(&wanted(&["codes"], "b"), usize::MAX, &[]);
    let End::Step(Step::Back(why)) = end else { panic!("{end:?}") };
    assert!(why.contains("codes, and has not: upload the code"), "{why}");
    assert_eq!(world.acts.len(), 5);
    // Though time passes with each, a mark that is not kept is the same mark.
    let mut world = World::new(&["codes"]);
    world.forgetful = true;
    let end = world.run(&wanted(&["codes"], "b"), usize::MAX, &[]);
    let End::Step(Step::Back(why)) = end else { panic!("{end:?}") };
    assert!(why.contains("codes, and has not: remember version 1"), "{why}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Deployments of good and bad code, killed and with lost answers at any calls; the world checks that
    /// no alias leads to a version that fails its smoke and that nothing that is routed is deleted.
    #[test]
    fn it_ends_as_if_nothing_had_happened(
        codes in prop::collection::vec((0..6_usize, any::<bool>()), 1..6),
        kills in prop::collection::vec(0..14_usize, 0..6),
        lost in prop::collection::vec(1..14_usize, 0..4),
    ) {
        let mut world = World::new(&NAMES);
        let mut live = "a".to_owned();
        for (code, broken) in codes {
            let code = format!("{}{code}", if broken { "bad" } else { "good" });
            if broken {
                world.broken.push(code.clone());
            }
            let wanted = wanted(&NAMES, &code);
            for kill in &kills {
                world.run(&wanted, *kill, &lost);
            }
            let end = world.run(&wanted, usize::MAX, &lost);
            if broken {
                prop_assert!(matches!(end, End::Step(Step::Back(_))), "{end:?}");
            } else {
                prop_assert_eq!(end, End::Step(Step::Done));
                live = code;
            }
            for (name, function) in &world.functions {
                let there = &world.code[&(name.clone(), function.alias.version)];
                prop_assert_eq!((there, function.alias.weighed), (&live, None));
                prop_assert!(function.versions.len() <= 3 + function.held.len() + usize::from(broken) * 10);
            }
        }
    }
}
