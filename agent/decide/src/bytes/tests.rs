use std::path::Path;

use spillway_model::{Config, UnixMillis};

use super::*;
use crate::Orders;

const QR: usize = 2;

fn policy() -> Policy {
    let text = include_str!("../../../../examples/spillway.toml");
    Policy::new(&Config::parse(text, Path::new(".")).unwrap())
}

fn set(policy: &Policy, knobs: &[&str]) -> KnobSet {
    let on = |knob: &KnobPolicy| knobs.contains(&knob.id.as_str());
    KnobSet::of(policy, on, &Orders::default(), UnixMillis(0))
}

/// Ten seconds of a hundred answers of each route that is served, with so many bytes, a second.
fn answers(
    learned: &mut LearnedBytes,
    policy: &Policy,
    set: &KnobSet,
    bytes: impl Fn(usize) -> f64,
) {
    for _ in 0..10 {
        let counts = |place| {
            let served_bytes = 100.0 * bytes(place);
            Counts { served: 100.0, served_bytes, ..Counts::default() }
        };
        let counts: Vec<Counts> = (0..policy.routes.len()).map(counts).collect();
        learned.learn(policy, set, &counts, 1.0);
        learned.pass(policy, set, 1.0);
    }
}

fn text(place: usize) -> f64 {
    if place == QR { 500.0 } else { 2000.0 }
}

#[test]
fn measured_in_force_else_what_knobs_leave_of_what_was_measured() {
    let (policy, mut learned) = (policy(), LearnedBytes::default());
    let (none, qr) = (set(&policy, &[]), set(&policy, &["qr-text"]));
    let bytes = |learned: &LearnedBytes, set, trust| learned.bytes(&policy, set, trust)[QR];
    assert!((bytes(&learned, &none, Trust::Likely) - 9000.0).abs() < 1e-9, "configured");
    answers(&mut learned, &policy, &none, |_| 2000.0);
    let seen = bytes(&learned, &none, Trust::Likely);
    assert!((2000.0..2800.0).contains(&seen), "{seen}");
    // Declared, and what is relied on of that.
    assert!((bytes(&learned, &qr, Trust::Likely) / seen - 0.65).abs() < 1e-9);
    assert!((bytes(&learned, &qr, Trust::Least) / seen - 0.755).abs() < 1e-9);
    answers(&mut learned, &policy, &qr, text);
    let seen = bytes(&learned, &qr, Trust::Least);
    assert!((500.0..700.0).contains(&seen), "measured, with no margin: {seen}");
    // Another knob beside it takes its part of that.
    let both = set(&policy, &["history-hidden", "qr-text"]);
    assert!((bytes(&learned, &both, Trust::Likely) / seen - 0.9).abs() < 1e-9);
    // Without it they are what they were, and no more.
    let without = learned.bytes_without(&policy, &qr, &policy.knobs[3], &none)[QR];
    assert!((1900.0..2800.0).contains(&without), "{without}");
    assert_eq!(learned.undegraded(&policy)(QR).to_bits(), without.to_bits());
}

#[test]
fn a_set_that_was_too_short_is_compared_with_what_was_before_it() {
    let (policy, mut learned) = (policy(), LearnedBytes::default());
    answers(&mut learned, &policy, &set(&policy, &[]), |_| 2000.0);
    let mild = set(&policy, &["notices-cached", "stats-frozen"]);
    let mut counts = vec![Counts::default(); policy.routes.len()];
    counts[QR] = Counts { served: 100.0, served_bytes: 2e5, ..Counts::default() };
    learned.learn(&policy, &mild, &counts, 1.0);
    learned.pass(&policy, &mild, 1.0);
    assert_eq!(learned.releases, Releases::default());
    let all = set(&policy, &["notices-cached", "stats-frozen", "qr-text"]);
    answers(&mut learned, &policy, &all, text);
    for knob in &policy.knobs[..2] {
        assert!(learned.releases.promise(&knob.id).is_some(), "{}", knob.id);
    }
    assert!(learned.releases.promise(&policy.knobs[3].id).unwrap().delivered > 0.08);
}

#[test]
fn two_sets_are_remembered_at_most() {
    let (policy, mut learned) = (policy(), LearnedBytes::default());
    answers(&mut learned, &policy, &set(&policy, &[]), |_| 2000.0);
    for turn in 0..64_usize {
        let on: Vec<&str> = policy.knobs.iter().map(|knob| knob.id.as_str()).collect();
        let on: Vec<&str> = (0..4).filter(|bit| turn >> bit & 1 == 1).map(|bit| on[bit]).collect();
        answers(&mut learned, &policy, &set(&policy, &on), text);
        assert!(learned.sets.len() <= 2, "{learned:?}");
    }
}
