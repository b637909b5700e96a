//! The season's forecast, fed with weeks of steps: what it expects, how sure it is, and when it is believed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use spillway_decide::{Ahead, Calendar, Season, SeasonPolicy};
use spillway_model::{UnixMillis, UtcOffset};

const STEP: u64 = 300;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;
const WEEK: u64 = 7 * DAY;
/// A Monday, 00:00 UTC.
const START: u64 = 1_767_571_200;
/// Lead times, and how far the middle of what they are scored by is from the last whole step's end.
const LEADS: [(u64, u64); 3] = [(180, 450), (600, 750), (1200, 1350)];

fn policy(quantile: f64, holidays: &[&str]) -> SeasonPolicy {
    let holidays: Vec<_> = holidays.iter().map(|date| date.parse().unwrap()).collect();
    let calendar = Calendar::new(&holidays, UtcOffset::default());
    SeasonPolicy::new(calendar, LEADS.map(|(secs, _)| (secs, quantile)).to_vec())
}

/// Working days with a steep morning and an evening; half as much, and later, on other days.
fn usual(secs: u64) -> f64 {
    let (day, hour) = (secs / DAY % 7, (secs % DAY) as f64 / HOUR as f64);
    let bump = |at: f64, wide: f64| (-((hour - at) / wide).powi(2)).exp();
    let free = day >= 5;
    if free {
        40.0 + 60.0 * bump(15.0, 4.0)
    } else {
        40.0 + 150.0 * bump(9.0, 1.2) + 120.0 * bump(19.0, 2.0)
    }
}

/// A number from -1 to 1 of each step, symmetric about 0.
fn noise(step: u64) -> f64 {
    let mut x = step.wrapping_add(0x9e37_79b9).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 31;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 29;
    (x % 20_001) as f64 / 10_000.0 - 1.0
}

/// A season, fed step by step from [`START`] on.
struct Fed {
    policy: SeasonPolicy,
    season: Season,
    /// Seconds since the start.
    secs: u64,
}

impl Fed {
    fn new(policy: SeasonPolicy) -> Self {
        Self { policy, season: Season::default(), secs: 0 }
    }

    fn now(&self) -> UnixMillis {
        UnixMillis((START + self.secs) * 1000)
    }

    /// One more step; what is told at its end of each lead, with the second since the start that it is of.
    fn step(&mut self, load: f64) -> [(Option<Ahead>, u64); 3] {
        self.season.take_in(&self.policy, self.now(), load, STEP as f64);
        self.secs += STEP;
        // The step is over with the next that begins.
        let mut over = self.season.clone();
        over.take_in(&self.policy, self.now(), load, 1.0);
        std::array::from_fn(|lead| {
            let (secs, middle) = LEADS[lead];
            let at = UnixMillis(self.now().0 + (middle - secs) * 1000);
            (over.then(&self.policy, lead, at), self.secs + middle)
        })
    }

    fn feed(&mut self, secs: u64, load: impl Fn(u64) -> f64) {
        for _ in 0..secs / STEP {
            self.step(load(self.secs + STEP / 2));
        }
    }
}

#[test]
fn a_week_is_known_after_two() {
    let mut fed = Fed::new(policy(0.95, &[]));
    fed.feed(2 * WEEK, usual);
    let (mut off, mut stays, mut count) = ([0.0; 3], [0.0; 3], 0.0);
    let mean = 75.0;
    for _ in 0..WEEK / STEP {
        let value = usual(fed.secs + STEP / 2);
        for (lead, (told, then)) in fed.step(value).into_iter().enumerate() {
            off[lead] += (told.unwrap().expected - usual(then)).abs() / mean;
            stays[lead] += (value - usual(then)).abs() / mean;
        }
        count += 1.0;
    }
    for lead in 0..3 {
        let (off, stays) = (off[lead] / count, stays[lead] / count);
        assert!(off < 0.025 && off < stays / 2.2, "{lead}: {off}, persistence {stays}");
    }
}

#[test]
fn the_quantile_covers_what_it_says_and_is_believed() {
    for quantile in [0.75, 0.95] {
        let mut fed = Fed::new(policy(quantile, &[]));
        let load = |secs: u64| usual(secs) * (1.0 + 0.15 * noise(secs / STEP));
        fed.feed(2 * WEEK, load);
        let (mut covered, mut trusted, mut count) = ([0.0; 3], [0.0; 3], 0.0);
        for _ in 0..4 * WEEK / STEP {
            let value = load(fed.secs + STEP / 2);
            for (lead, (told, then)) in fed.step(value).into_iter().enumerate() {
                let told = told.unwrap();
                covered[lead] += f64::from(u8::from(load(then) <= told.upper));
                trusted[lead] += f64::from(u8::from(told.trusted));
            }
            count += 1.0;
        }
        for lead in 0..3 {
            let (covered, trusted) = (covered[lead] / count, trusted[lead] / count);
            assert!((covered - quantile).abs() < 0.02, "{quantile} {lead}: {covered}");
            assert!(trusted > 0.9, "{quantile} {lead}: {trusted}");
        }
    }
}

#[test]
fn nothing_is_believed_before_it_has_been_right_for_a_day() {
    let mut fed = Fed::new(policy(0.95, &[]));
    for _ in 0..3 * DAY / STEP {
        let value = usual(fed.secs + STEP / 2);
        for (told, _) in fed.step(value) {
            assert!(fed.secs > 2 * DAY || told.is_none_or(|told| !told.trusted), "{}", fed.secs);
        }
    }
    fed.feed(5 * DAY, usual);
    assert!(fed.step(usual(fed.secs + STEP / 2)).iter().all(|(told, _)| told.unwrap().trusted));
    // Where there is no season, there is nothing to believe.
    let mut even = Fed::new(policy(0.95, &[]));
    for _ in 0..2 * WEEK / STEP {
        // A walk: what is asked now is all that can be known.
        let load = |secs: u64| 100.0 + (0..40).map(|n| noise(secs / STEP / 40 + n)).sum::<f64>();
        let told = even.step(load(even.secs));
        if even.secs > WEEK {
            assert!(told.iter().all(|(told, _)| told.unwrap().upper < 200.0));
        }
    }
}

#[test]
fn a_season_that_shifts_is_not_believed_until_it_is_learned_again() {
    let mut fed = Fed::new(policy(0.95, &[]));
    let load = |secs: u64| usual(secs) * (1.0 + 0.05 * noise(secs / STEP));
    fed.feed(3 * WEEK, load);
    assert!(fed.step(load(fed.secs)).iter().all(|(told, _)| told.unwrap().trusted));
    let (from, mut lost) = (fed.secs, [None; 3]);
    // Steps of each day in which it is believed.
    let mut believed = [[0; 3]; 35];
    for _ in 0..5 * WEEK / STEP {
        // Everything comes five hours later.
        let value = load(fed.secs + STEP / 2 - 5 * HOUR);
        for (lead, (told, _)) in fed.step(value).into_iter().enumerate() {
            let told = told.unwrap().trusted;
            if !told {
                lost[lead].get_or_insert(fed.secs - from);
            }
            let day = ((fed.secs - STEP - from) / DAY) as usize;
            believed[day][lead] += u64::from(told);
        }
    }
    for lead in 0..3 {
        // The morning's crowd, which does not come, is the first that is different.
        assert!(lost[lead].unwrap() < 11 * HOUR, "{lead}: {lost:?}");
        // Working days are known again in their second week, free days later.
        assert!(believed[9][lead] > 270, "{lead}: {believed:?}");
        let last: u64 = believed[28..].iter().map(|day| day[lead]).sum();
        assert!(last > 7 * 288 * 2 / 3, "{lead}: {believed:?}");
    }
}

#[test]
fn a_holiday_is_a_sunday_and_then_what_holidays_are_like() {
    // Two Wednesdays.
    let dates = ["2026-01-28", "2026-02-11"];
    let of = |date: usize| (23 + 14 * date as u64) * DAY;
    let free = |secs: u64| usual(secs % DAY + 6 * DAY);
    // What holidays have beside that is a crowd at noon.
    let load = move |secs: u64| match secs / DAY {
        23 | 37 => free(secs) + if secs % DAY / HOUR == 12 { 80.0 } else { 0.0 },
        _ => usual(secs),
    };
    let off = |dates: &[&str], day: u64, from: u64, to: u64| {
        let mut fed = Fed::new(policy(0.95, dates));
        fed.feed(day + from * HOUR, load);
        let mut off: f64 = 0.0;
        for _ in 0..(to - from) * HOUR / STEP {
            let (told, then) = fed.step(load(fed.secs + STEP / 2))[2];
            off += (told.unwrap().expected - load(then)).abs() * STEP as f64
                / ((to - from) * HOUR) as f64;
        }
        off
    };
    // The morning that does not come.
    let (told, untold) = (off(&dates, of(0), 6, 10), off(&[], of(0), 6, 10));
    assert!(told < 6.0 && untold > 2.0 * told, "{told}, not listed {untold}");
    // Noon comes as a surprise but once.
    let (first, second) = (off(&dates, of(0), 11, 14), off(&dates, of(1), 11, 14));
    assert!(second < 0.75 * first, "{first}, then {second}");
    // Sundays learn nothing of it, nor do Wednesdays, which have one less to learn from.
    for days in [4, 7] {
        let day = of(0) + days * DAY;
        let (told, never) = (off(&dates, day, 6, 20), {
            let mut fed = Fed::new(policy(0.95, &[]));
            fed.feed(day + 6 * HOUR, usual);
            let mut off = 0.0;
            for _ in 0..14 * HOUR / STEP {
                let (told, then) = fed.step(usual(fed.secs + STEP / 2))[2];
                off +=
                    (told.unwrap().expected - usual(then)).abs() * STEP as f64 / (14 * HOUR) as f64;
            }
            off
        });
        assert!((told - never).abs() < 0.6, "{days}: {told}, without a holiday {never}");
    }
}

#[test]
fn what_is_kept_is_bounded_and_survives_a_restart() {
    let mut fed = Fed::new(policy(0.95, &["2026-01-28"]));
    let load = |secs: u64| usual(secs) * (1.0 + 0.15 * noise(secs / STEP));
    fed.feed(5 * WEEK, load);
    let month = serde_json::to_string(&fed.season).unwrap();
    fed.feed(12 * WEEK, load);
    let text = serde_json::to_string(&fed.season).unwrap();
    assert!(
        text.len() < 16_000 && text.len() < month.len() + 500,
        "{} {}",
        month.len(),
        text.len()
    );
    let restarted: Season = serde_json::from_str(&text).unwrap();
    assert_eq!(restarted, fed.season, "JSON holds it without loss");
    // Ten minutes later nothing was missed but two steps.
    fed.season = restarted;
    fed.secs += 2 * STEP;
    let (told, then) = fed.step(load(fed.secs + STEP / 2))[2];
    assert!(told.unwrap().trusted && (told.unwrap().expected / usual(then) - 1.0).abs() < 0.2);
}

#[test]
fn what_is_asked_now_must_be_known() {
    let mut fed = Fed::new(policy(0.95, &[]));
    fed.feed(2 * WEEK, usual);
    let told = |season: &Season, secs: u64| {
        season.then(&fed.policy, 1, UnixMillis((START + 2 * WEEK + secs) * 1000))
    };
    assert!(told(&fed.season, 0).is_some() && told(&fed.season, 4 * 60).is_some());
    assert_eq!(told(&fed.season, 20 * 60), None, "it is over");
    assert_eq!(told(&Season::default(), 0), None);
    // A clock that was an hour ahead, and is set right.
    let mut season = fed.season.clone();
    for step in [12, 13, 0, 1, 2] {
        let at = UnixMillis((START + 2 * WEEK + step * STEP) * 1000);
        season.take_in(&fed.policy, at, 40.0, STEP as f64);
    }
    assert!(told(&season, 2 * STEP).is_some_and(|told| told.expected < 60.0));
}

proptest! {
    /// Whatever comes whenever, numbers stay numbers.
    #[test]
    fn no_load_breaks_it(steps in proptest::collection::vec((0u64..100_000, 0.0..1e12_f64, 0.0..900.0_f64), 1..300)) {
        let policy = policy(0.95, &["2026-01-06"]);
        let mut season = Season::default();
        let mut at = START;
        for (ahead, load, secs) in steps {
            at = if ahead % 50 == 0 { START } else { at + ahead % 400 };
            season.take_in(&policy, UnixMillis(at * 1000), load, secs);
            for lead in 0..3 {
                if let Some(told) = season.then(&policy, lead, UnixMillis(at * 1000)) {
                    prop_assert!(told.expected >= 0.0 && told.upper >= 0.0 && told.persists >= 0.0);
                    prop_assert!(told.upper.is_finite() && told.persists.is_finite());
                }
            }
        }
    }
}
