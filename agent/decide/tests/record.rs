//! The record that goes with a decision says what it was made from, and what would have changed it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sim;

use sim::{World, config, site};
use spillway_model::api::{Action, Decision, SiteRecord};

fn world(seed: u64) -> World {
    World::new(&config(&[]), seed)
}

fn record(world: &World) -> SiteRecord {
    world.outcome.as_ref().unwrap().decision.sites[&site()].clone()
}

#[test]
fn holding_would_have_been_over_for_as_long_as_the_storm() {
    let mut world = world(1);
    world.run(30, 0.02, |_| 0.4);
    assert_eq!(record(&world).had_we_held, None);
    let mut raised = 0;
    for _ in 0..40 {
        let before = world.share();
        world.run(1, 0.02, |_| 3.0);
        let record = record(&world);
        if record.chosen == Action::Raise {
            raised += 1;
            assert!((record.runner_up.unwrap().share.get() - before).abs() < 1e-12);
        }
    }
    assert!(raised > 0, "{}", world.course());
    let held = record(&world).had_we_held.unwrap();
    assert_eq!(held.share.get(), 0.0);
    // From the raise on; what came in the second before that is not its doing.
    assert!((36.0..=40.0).contains(&held.over_secs), "{held:?}");
    assert!(held.since > world.observations[29].at);
    // Calm adds nothing, and once the share is back where it was there is nothing to tell.
    world.run(8, 0.02, |_| 0.4);
    let calm = record(&world).had_we_held.unwrap();
    assert!(calm.over_secs <= held.over_secs + 4.0, "{calm:?}");
    world.run(60, 0.02, |_| 0.4);
    assert_eq!((world.share(), record(&world).had_we_held), (0.0, None));
}

#[test]
fn the_thresholds_are_where_the_decision_is_another() {
    let mut world = world(2);
    world.run(120, 0.02, |_| 1.6);
    let thresholds = record(&world).thresholds;
    let (below, above) = (thresholds.home_below.unwrap(), thresholds.raised_above.unwrap());
    assert!(below < 1.6 * world.full() && above > below, "{thresholds:?}");
    for (part, spills) in [(0.85, false), (1.15, true)] {
        let mut other = self::world(3);
        let load = part * below / other.full();
        other.run(120, 0.02, |_| load);
        assert_eq!(other.share() > 0.0, spills, "{part}: {}", other.course());
    }
    // Where nothing is spilled the threshold is where that begins.
    let mut calm = self::world(4);
    calm.run(60, 0.02, |_| 0.3);
    let told = record(&calm).thresholds;
    assert_eq!(told.home_below, None);
    let begins = told.raised_above.unwrap();
    assert!((0.8..1.25).contains(&(begins / below)), "{begins} {below}");
}

#[test]
fn what_is_not_seen_has_no_thresholds() {
    let mut world = world(5);
    world.run(30, 0.02, |_| 2.0);
    world.silent = ["east", "cloud", "east-gw-1", "east-gw-2"].map(str::to_owned).to_vec();
    world.run(5, 0.02, |_| 2.0);
    let record = record(&world);
    assert_eq!((record.chosen, record.runner_up), (Action::Hold, None));
    assert_eq!((record.thresholds.home_below, record.thresholds.raised_above), (None, None));
}

#[test]
fn a_decision_of_before_there_were_records_is_read() {
    let text = r#"{"at":1,"generation":7,"tier":0,"shares":{"east":0.5},"binding":"none",
        "published":true,"reasons":["share: 50.0 %"]}"#;
    let decision: Decision = serde_json::from_str(text).unwrap();
    assert!(decision.sites.is_empty());
    assert!(!serde_json::to_string(&decision).unwrap().contains("sites"));
}
