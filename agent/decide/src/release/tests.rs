use std::path::Path;

use spillway_model::Config;

use super::*;

const QR: usize = 2;
const NOTICES: usize = 6;

/// The example's: knobs are notices-cached, stats-frozen, history-hidden, qr-text and essential-only.
fn policy() -> Policy {
    let text = include_str!("../../../../examples/spillway.toml");
    Policy::new(&Config::parse(text, Path::new(".")).unwrap())
}

/// A thousand answers of each route, with what these parts of them leave.
fn window(key: &str, left: &[(usize, f64)]) -> Window {
    let mut window = Window::of(key);
    for place in 0..7 {
        let left = left.iter().find(|(of, _)| *of == place).map_or(1.0, |(_, left)| *left);
        window.add(place, 1000.0, 1000.0 * 2000.0 * left);
    }
    window
}

fn knob<'a>(policy: &'a Policy, id: &str) -> &'a KnobPolicy {
    policy.knobs.iter().find(|knob| knob.id.as_str() == id).unwrap()
}

/// What a knob releases of a route.
fn of(releases: &Releases, knob: &KnobPolicy, place: usize, trust: Trust) -> f64 {
    1.0 - releases.left([knob].into_iter(), 7, trust)[place]
}

#[test]
fn a_declaration_is_relied_on_in_part_until_there_is_a_measurement() {
    let (policy, mut releases) = (policy(), Releases::default());
    let qr = knob(&policy, "qr-text");
    assert!((of(&releases, qr, QR, Trust::Likely) - 0.35).abs() < 1e-9);
    assert!((of(&releases, qr, QR, Trust::Least) - 0.245).abs() < 1e-9);
    releases.compare(&policy, &window("", &[]), &window("qr-text", &[(QR, 0.1)]));
    assert!((0.85..0.9).contains(&of(&releases, qr, QR, Trust::Likely)), "{releases:?}");
    assert!((0.7..0.85).contains(&of(&releases, qr, QR, Trust::Least)), "{releases:?}");
    // It is left as it is what it does not touch, and what is seen of it is known.
    assert!(of(&releases, qr, NOTICES, Trust::Likely) < 0.02, "{releases:?}");
    assert_eq!(of(&releases, qr, NOTICES, Trust::Least), 0.0);
    let mix = [1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0];
    assert!((releases.seen_part(qr, &mix) - 0.25).abs() < 1e-9);
    // A fifth of all bytes times nine tenths, of which a quarter less than the declaration was promised.
    let promise = releases.promise(&qr.id).unwrap();
    assert!((promise.delivered - 0.9 / 7.0).abs() < 1e-3, "{promise:?}");
    assert!((promise.promised - 0.245).abs() < 1e-3, "{promise:?}");
}

#[test]
fn what_was_not_delivered_is_not_promised_again() {
    let (policy, mut releases) = (policy(), Releases::default());
    let qr = knob(&policy, "qr-text");
    let all: Vec<(usize, f64)> = (0..7).map(|place| (place, 0.95)).collect();
    for turn in 0..4 {
        let (before, after) = (window("", &[]), window("qr-text", &all));
        // On and off tell the same.
        if turn % 2 == 0 {
            releases.compare(&policy, &before, &after);
        } else {
            releases.compare(&policy, &after, &before);
        }
        let promise = releases.promise(&qr.id).unwrap();
        assert!(turn == 0 || promise.promised < 0.06, "{turn}: {promise:?}");
        assert!((promise.delivered - 0.05).abs() < 1e-3, "{turn}: {promise:?}");
    }
    assert!((of(&releases, qr, QR, Trust::Likely) - 0.05).abs() < 0.01, "{releases:?}");
}

#[test]
fn what_is_delivered_now_and_then_is_relied_on_less() {
    let (policy, mut steady, mut erratic) = (policy(), Releases::default(), Releases::default());
    let qr = knob(&policy, "qr-text");
    for turn in 0..8 {
        let with = |left: f64| window("qr-text", &[(QR, left)]);
        steady.compare(&policy, &window("", &[]), &with(0.5));
        erratic.compare(&policy, &window("", &[]), &with(if turn % 2 == 0 { 0.1 } else { 0.9 }));
    }
    let least = |releases: &Releases| of(releases, qr, QR, Trust::Least);
    assert!(least(&steady) > 0.42, "{}", least(&steady));
    assert!(least(&erratic) < 0.3, "{}", least(&erratic));
}

#[test]
fn what_several_release_together_is_divided_by_how_little_is_known_of_each() {
    let (policy, mut releases) = (policy(), Releases::default());
    let (history, qr) = (knob(&policy, "history-hidden"), knob(&policy, "qr-text"));
    let both = window("history-hidden+qr-text", &[(QR, 0.1)]);
    releases.compare(&policy, &window("", &[]), &both);
    let told = |releases: &Releases, trust| {
        (of(releases, history, QR, trust), of(releases, qr, QR, trust))
    };
    let (of_history, of_qr) = told(&releases, Trust::Likely);
    assert!((of_history + of_qr - 0.9).abs() < 0.02, "{of_history} {of_qr}");
    // Either alone is not relied on for what both did.
    let (of_history, of_qr) = told(&releases, Trust::Least);
    assert!(of_history < 0.1 && of_qr < 0.7, "{of_history} {of_qr}");
    // Once one is turned alone, that is known.
    releases.compare(&policy, &both, &window("qr-text", &[(QR, 0.1)]));
    let (of_history, _) = told(&releases, Trust::Likely);
    assert!(of_history < 0.1, "{of_history}");
    releases.compare(&policy, &window("qr-text", &[(QR, 0.1)]), &window("", &[]));
    let (_, of_qr) = told(&releases, Trust::Likely);
    assert!(of_qr > 0.85, "{of_qr}");
}

#[test]
fn nothing_is_told_by_few_answers_or_by_an_exchange() {
    let (policy, mut releases) = (policy(), Releases::default());
    let exchanged = window("qr-text", &[(QR, 0.1)]);
    releases.compare(&policy, &window("history-hidden", &[]), &exchanged);
    releases.compare(&policy, &exchanged, &exchanged);
    assert_eq!(releases, Releases::default());
    let mut few = Window::of("qr-text");
    few.add(QR, 29.0, 29.0 * 200.0);
    releases.compare(&policy, &window("", &[]), &few);
    let qr = knob(&policy, "qr-text");
    assert!((of(&releases, qr, QR, Trust::Likely) - 0.35).abs() < 1e-9, "{releases:?}");
}

#[test]
fn what_is_shed_is_known_and_what_else_a_knob_releases_is_measured() {
    let (policy, mut releases) = (policy(), Releases::default());
    let essential = knob(&policy, "essential-only");
    assert_eq!(of(&releases, essential, QR, Trust::Likely), 0.0);
    // The last routes that are shed have no answers at all.
    let mut with = Window::of("essential-only");
    for place in [1, QR, 3] {
        with.add(place, 1000.0, if place == QR { 2e5 } else { 2e6 });
    }
    releases.compare(&policy, &window("", &[]), &with);
    assert!(of(&releases, essential, QR, Trust::Likely) > 0.5, "{releases:?}");
    let promise = releases.promise(&essential.id).unwrap();
    let shed = 4.0 / 7.0 * (1.0 - 300.0 / 2000.0);
    assert!((promise.promised - shed).abs() < 1e-3, "{promise:?}");
    assert!((promise.delivered - shed - 0.9 / 7.0).abs() < 1e-3, "{promise:?}");
    let mix = [1.0; 7];
    assert!((releases.seen_part(essential, &mix) - 5.0 / 7.0).abs() < 1e-9);
}

#[test]
fn knobs_of_before_are_forgotten_and_the_rest_survives_json() {
    let (mut policy, mut releases) = (policy(), Releases::default());
    releases.compare(&policy, &window("", &[]), &window("history-hidden+qr-text", &[(QR, 0.1)]));
    let text = serde_json::to_string(&releases).unwrap();
    assert_eq!(serde_json::from_str::<Releases>(&text).unwrap(), releases);
    policy.knobs.retain(|knob| knob.id.as_str() != "qr-text");
    releases.fit(&policy);
    assert_eq!(releases.0.len(), 1);
}
