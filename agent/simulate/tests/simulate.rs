//! Whole simulations: text in, text out; the same for the same seed; and what must hold for any demand.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use spillway_simulate::{
    Demand, Options, Outcome, Policy, Results, Setting, SimulateError, Sweep, Trace, Unit, simulate,
};

const FLASH: &[u8] = include_bytes!("golden/flash.csv");

fn flash() -> Trace {
    Trace::parse(FLASH, "flash.csv", "requests", 60, Unit::Count).unwrap()
}

fn run(
    trace: &Trace,
    factor: f64,
    seed: u64,
    policies: &[Policy],
    tune: bool,
    workers: usize,
) -> Results {
    let setting = Setting::for_peak(factor);
    let peak = factor * setting.capacity();
    let demand = Demand::new(trace, 60, peak, seed);
    let options = Options { policies: policies.to_vec(), tune, sweep: None, seed, workers };
    simulate(&demand, &setting, peak, &options, &|_| {}).unwrap()
}

fn one(trace: &Trace, factor: f64, seed: u64, policy: Policy) -> Outcome {
    let results = run(trace, factor, seed, &[policy], false, 1);
    results.policies.get(policy.name()).unwrap().clone()
}

fn values(values: &[f64]) -> Trace {
    Trace { values: values.to_vec(), notes: Vec::new() }
}

/// A flash crowd as every policy takes it. After a change that is meant:
/// `UPDATE_GOLDEN=1 cargo test -p spillway-simulate`.
#[test]
fn a_flash_crowd_as_it_is_told() {
    let trace = flash();
    let results = run(&trace, 4.0, 1, &Policy::ALL, true, 2);
    let mut told = trace.notes.join("\n");
    told.push('\n');
    told.push_str(&serde_json::to_string_pretty(&results).unwrap());
    told.push('\n');
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/flash.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, &told).unwrap();
    }
    assert_eq!(told, std::fs::read_to_string(file).unwrap_or_default());
}

#[test]
fn the_same_seed_gives_the_same_whoever_works() {
    let once = run(&flash(), 4.0, 5, &Policy::ALL, true, 1);
    let again = run(&flash(), 4.0, 5, &Policy::ALL, true, 3);
    assert_eq!(once, again);
    let other = run(&flash(), 4.0, 6, &Policy::ALL, false, 3);
    assert_ne!(once.policies.get("hpa"), other.policies.get("hpa"));
}

#[test]
fn all_are_asked_the_same() {
    let results = run(&flash(), 4.0, 1, &Policy::ALL, true, 2);
    let mut requests = results.policies.values().map(|outcome| outcome.requests);
    let first = requests.next().unwrap();
    assert!(first > 5_000_000 / 60 && requests.all(|requests| requests == first));
    assert_eq!(results.policies.len(), 12 + 9);
    assert_eq!(results.tuned.len(), 9);
}

#[test]
fn what_fits_at_home_costs_nothing() {
    for policy in Policy::ALL {
        let outcome = one(&values(&[10.0, 12.0, 11.0, 10.0, 12.0]), 0.25, 1, policy);
        let told = (outcome.seconds_over, outcome.requests_failed, outcome.reversals);
        assert_eq!(told, (0, 0, 0), "{policy}: {outcome:?}");
        assert_eq!(outcome.cost_usd, 0.0, "{policy}");
    }
}

#[test]
fn nobody_does_better_than_the_clairvoyant() {
    let results = run(&flash(), 4.0, 1, &Policy::ALL, true, 2);
    let least = results.policies.get("clairvoyant").unwrap();
    assert_eq!((least.seconds_over, least.requests_failed), (0, 0));
    for (name, outcome) in &results.policies {
        let better =
            outcome.seconds_over <= least.seconds_over && outcome.cost_usd < least.cost_usd;
        assert!(!better, "{name}: {outcome:?}");
    }
}

#[test]
fn more_than_the_cloud_takes_raises_tiers_of_spillway_alone() {
    let results = run(&flash(), 12.0, 1, &[Policy::Spillway, Policy::Hpa], false, 2);
    let spillway = results.policies.get("spillway").unwrap();
    assert!(spillway.tier_seconds[&1] + spillway.tier_seconds[&2] + spillway.tier_seconds[&3] > 0);
    assert!(results.policies["hpa"].tier_seconds.values().all(|secs| *secs == 0));
}

fn swept(sweep: &str) -> Result<Results, SimulateError> {
    let setting = Setting::for_peak(4.0);
    let peak = 4.0 * setting.capacity();
    let demand = Demand::new(&flash(), 60, peak, 1);
    let sweep = Some(sweep.parse::<Sweep>().unwrap());
    let options =
        Options { policies: vec![Policy::Spillway], tune: false, sweep, seed: 1, workers: 2 };
    simulate(&demand, &setting, peak, &options, &|_| {})
}

#[test]
fn a_sweep_has_a_point_for_each_value() {
    let results = swept("compute_target=0.5,0.8,0.97").unwrap();
    let frontier = results.frontier.unwrap();
    let values: Vec<f64> = frontier.points.iter().map(|point| point.value).collect();
    assert_eq!(values, [0.5, 0.8, 0.97]);
    // The default is a point like any other.
    assert_eq!(Some(&frontier.points[2].outcome), results.policies.get("spillway"));
    let costs: Vec<f64> = frontier.points.iter().map(|point| point.outcome.cost_usd).collect();
    assert!(costs[0] > costs[2], "more headroom costs more: {costs:?}");
    assert!(frontier.points.iter().any(|point| point.efficient));
    let over = |point: usize| frontier.points[point].outcome.seconds_over;
    assert!(over(0) <= over(2), "and violates less");
}

#[test]
fn a_cap_costs_seconds_over_the_limit() {
    let results = swept("budget.usd_per_hour=0.05,0.4,1000").unwrap();
    let points = results.frontier.unwrap().points;
    let costs: Vec<f64> = points.iter().map(|point| point.outcome.cost_usd).collect();
    assert!(costs.is_sorted() && costs[0] < 0.5 * costs[2], "{costs:?}");
    let degraded: Vec<u64> =
        points.iter().map(|point| point.outcome.tier_seconds.values().sum()).collect();
    assert!(degraded[0] > degraded[2], "{degraded:?}");
    assert_eq!(Some(&points[2].outcome), results.policies.get("spillway"), "it never binds");
}

#[test]
fn what_the_agent_cannot_be_set_to_is_refused() {
    for (wrong, told) in [
        ("no_such_setting=1", "no_such_setting"),
        ("budget.usd_per_hour=0", "0 must be above 0 and at most 1000000"),
        ("compute_target=2", "2 is not a share: it must lie between 0 and 1"),
    ] {
        let error = swept(wrong).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(told), "{error}: {source}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A fixed number of servers is over its limit for no fewer seconds when more is asked.
    #[test]
    fn more_demand_never_gives_fewer_seconds_over(
        steps in prop::collection::vec(1.0..100.0_f64, 2..12),
        more in 1.0..3.0_f64,
        seed: u64,
    ) {
        let most = steps.iter().copied().fold(0.0, f64::max);
        let over = |factor: f64| {
            // From 50 requests a second on, chance is drawn alike whatever the mean.
            let demand = Demand::new(&values(&steps), 60, factor * most * 50.0, seed);
            let options =
                Options { policies: vec![Policy::StaticPeak], tune: false, sweep: None, seed, workers: 1 };
            // What it was bought for is the same for both.
            let results = simulate(&demand, &Setting::default(), 3000.0, &options, &|_| {});
            results.unwrap().policies["static-peak"].seconds_over
        };
        prop_assert!(over(1.0) <= over(more), "{} {}", over(1.0), over(more));
    }

    /// Twice with one seed is twice the same, for any demand and policy.
    #[test]
    fn runs_are_deterministic(
        steps in prop::collection::vec(0.0..100.0_f64, 2..8),
        factor in 0.1..8.0_f64,
        seed: u64,
        policy in prop::sample::select(Policy::ALL.to_vec()),
    ) {
        prop_assume!(steps.iter().any(|step| *step > 0.0));
        let trace = values(&steps);
        prop_assert_eq!(one(&trace, factor, seed, policy), one(&trace, factor, seed, policy));
    }
}
