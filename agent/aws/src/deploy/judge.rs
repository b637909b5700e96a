//! Whether a new version does worse than the old one: more errors or throttles than chance explains, or
//! clearly slower. Pure.

use super::seen::{Figures, Seen};

/// Errors that any version is granted.
const ERRORS: f64 = 0.005;
/// Throttles that any function is granted: during a burst there are some.
const THROTTLES: f64 = 0.01;
/// How many times the old version's rate the new one is granted.
const TIMES: f64 = 2.0;
/// What has less than this probability is not chance.
const CHANCE: f64 = 0.01;
/// How many times as long, and how much longer in milliseconds, the new version may take: what it does
/// for the first time it has to connect for.
const SLOWER: (f64, f64) = (1.5, 150.0);
/// Durations are compared from so many invocations on.
const INVOCATIONS_MIN: f64 = 50.0;

/// What speaks against the new version of a function.
#[must_use]
pub(crate) fn worse(figures: &Figures) -> Option<String> {
    let Figures { old, new, before, since, .. } = figures;
    let granted = (TIMES * rate(old.errors, old.invocations)).max(ERRORS);
    if beyond_chance(new.errors, new.invocations * granted) {
        return Some(format!(
            "{} of {} invocations failed, and {} of {} of the old version",
            new.errors, new.invocations, old.errors, old.invocations
        ));
    }
    let (answers, answers_before) = (figures.answers_since, figures.answers_before);
    let granted = (TIMES * rate(answers_before.1, answers_before.0)).max(ERRORS);
    if beyond_chance(answers.1, answers.0 * granted) {
        return Some(format!(
            "{} of {} requests were answered 5xx, and {} of {} before",
            answers.1, answers.0, answers_before.1, answers_before.0
        ));
    }
    let (tries, tries_before) = (since.0 + since.1, before.0 + before.1);
    let granted = (TIMES * rate(before.1, tries_before)).max(THROTTLES);
    if beyond_chance(since.1, tries * granted) {
        return Some(format!(
            "{} of {tries} invocations were throttled, and {} of {tries_before} before",
            since.1, before.1
        ));
    }
    let enough = new.invocations >= INVOCATIONS_MIN && old.invocations >= INVOCATIONS_MIN;
    match (new.p95_ms, old.p95_ms) {
        (Some(new), Some(old)) if enough && new > old * SLOWER.0 + SLOWER.1 => {
            Some(format!("it is slower: p95 {new:.0} ms, and {old:.0} ms of the old version"))
        }
        _ => None,
    }
}

/// Alarms that are on, but for those of `known` that have been on all the time.
#[must_use]
pub(crate) fn new_alarms<'a>(
    seen: &'a Seen,
    known: &std::collections::BTreeMap<String, spillway_model::UnixMillis>,
) -> Vec<&'a str> {
    let on = seen.alarms.iter().flatten();
    on.filter(|(name, since)| known.get(*name) != Some(since)).map(|(name, _)| &**name).collect()
}

fn rate(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// Whether so many events are too many to be chance where `expected` are: by Poisson's distribution.
fn beyond_chance(events: f64, expected: f64) -> bool {
    if events < 1.0 {
        return false;
    }
    // Far out the sum below would have nothing to add, and far above it no precision.
    let spread = expected.sqrt();
    if events > expected + 10.0 * spread + 20.0 {
        return true;
    }
    if expected > 300.0 {
        return events > expected + 2.33 * spread;
    }
    let (mut term, mut fewer, mut i) = ((-expected).exp(), 0.0, 0.0);
    while i < events {
        fewer += term;
        i += 1.0;
        term *= expected / i;
    }
    1.0 - fewer < CHANCE
}

#[cfg(test)]
mod tests {
    use super::super::seen::Sums;
    use super::*;

    fn sums(invocations: f64, errors: f64, p95: f64) -> Sums {
        Sums { invocations, errors, p95_ms: Some(p95) }
    }

    #[test]
    fn errors_count_when_chance_does_not_explain_them() {
        for (errors, invocations, old_errors, bad) in [
            (0.0, 1_000.0, 0.0, false),
            (1.0, 1.0, 0.0, true),
            (1.0, 10.0, 0.0, false),
            (2.0, 20.0, 0.0, true),
            (3.0, 200.0, 0.0, false),
            (6.0, 200.0, 0.0, true),
            (60.0, 1_000.0, 30.0, false),
            (90.0, 1_000.0, 30.0, true),
            (2_200.0, 100_000.0, 10.0, true),
            (500.0, 100_000.0, 0.0, false),
        ] {
            let figures = Figures {
                old: sums(1_000.0, old_errors, 10.0),
                new: sums(invocations, errors, 10.0),
                ..Figures::default()
            };
            assert_eq!(worse(&figures).is_some(), bad, "{errors} of {invocations}");
        }
    }

    #[test]
    fn answers_that_say_an_error_count_as_errors() {
        for (before, since, bad) in [
            ((1_000.0, 0.0), (1_000.0, 50.0), true),
            ((1_000.0, 0.0), (1_000.0, 5.0), false),
            ((1_000.0, 300.0), (1_000.0, 350.0), false),
            ((0.0, 0.0), (0.0, 0.0), false),
        ] {
            let figures =
                Figures { answers_before: before, answers_since: since, ..Figures::default() };
            assert_eq!(worse(&figures).is_some(), bad, "{before:?} {since:?}");
        }
    }

    #[test]
    fn durations_count_when_there_are_enough_of_them() {
        for (n, new, bad) in [(49.0, 900.0, false), (50.0, 200.0, false), (50.0, 201.0, true)] {
            let figures = Figures {
                old: sums(1_000.0, 0.0, 100.0 / 3.0),
                new: sums(n, 0.0, new),
                ..Figures::default()
            };
            assert_eq!(worse(&figures).is_some(), bad, "{n} {new}");
        }
    }

    #[test]
    fn throttles_count_that_were_not_there_before() {
        let burst = |before, since| {
            let figures = Figures { before, since, ..Figures::default() };
            worse(&figures).is_some()
        };
        assert!(!burst((1_000.0, 0.0), (1_000.0, 10.0)));
        assert!(burst((1_000.0, 0.0), (1_000.0, 50.0)));
        assert!(!burst((1_000.0, 50.0), (1_000.0, 50.0)));
    }

    #[test]
    fn an_alarm_that_was_on_already_says_nothing() {
        use spillway_model::UnixMillis;
        let known = [("a".to_owned(), UnixMillis(1)), ("b".to_owned(), UnixMillis(1))].into();
        let on = [("a", 1), ("b", 2), ("c", 3)];
        let on = on.map(|(name, at)| (name.to_owned(), UnixMillis(at))).into();
        let seen = Seen { alarms: Some(on), ..Seen::default() };
        assert_eq!(new_alarms(&seen, &known), ["b", "c"]);
    }
}
