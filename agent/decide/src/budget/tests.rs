use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::cloud::Reach;

const HOUR_MS: u64 = 3_600_000;
/// The beginning of an hour.
const START: UnixMillis = UnixMillis(500_000 * HOUR_MS);

fn policy(budget: &str) -> Policy {
    let text = include_str!("../../../../examples/spillway.toml");
    let config = Config::parse(&format!("{text}\n[cloud.budget]\n{budget}\n"), Path::new("."));
    Policy::new(&config.unwrap())
}

fn limit() -> Limit {
    Limit { requests: 1e9, keeps: true, reach: Reach::Answers, why: "much".to_owned() }
}

/// `asked` requests per second of weight 1, and `served` of them by functions in the last second.
fn cost(asked: f64, served: f64) -> Cost {
    Cost {
        counted: Some(served),
        asked,
        each: 1.0,
        functions: 1.0,
        way_home_secs: 20.0,
        ..Cost::default()
    }
}

/// What is spent from hour to hour where the cloud is asked for so much in each second of `asks`, and all
/// that money allows is served.
fn spends(policy: &Policy, start: UnixMillis, asks: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut state = BudgetState { at: start, ..BudgetState::default() };
    let (mut served, mut hours) = (0.0, vec![0.0]);
    for (second, asked) in (1u64..).zip(asks) {
        let at = start.plus_secs(second);
        let (limit, _) = state.limit(policy, limit(), &cost(asked, served), at);
        served = asked.min(limit.requests);
        if at.0.is_multiple_of(HOUR_MS) {
            hours.push(0.0);
        }
        *hours.last_mut().unwrap() = state.hour_usd;
    }
    hours
}

#[test]
fn a_burst_is_not_paid_beyond_the_cap() {
    // 100,000 requests a second are $0.053 a second, $190 an hour.
    let policy = policy("usd_per_hour = 2.0");
    let each = 0.53e-6;
    for at in [0, 600, 1800, 3500] {
        let asks = (0..7200u64).map(|s| if s < at { 0.0 } else { 100_000.0 });
        let hours = spends(&policy, START, asks);
        let tick = 100_000.0 * each;
        assert!(hours.iter().all(|usd| *usd <= 2.0 + tick), "{at}: {hours:?}");
        // Nor is money left where it was asked for all the time.
        assert!(at > 600 || hours[0] > 1.9, "{at}: {hours:?}");
    }
}

#[test]
fn neither_the_beginning_nor_the_end_of_an_hour_goes_without() {
    let policy = policy("usd_per_hour = 2.0");
    let mut state = BudgetState { at: START, ..BudgetState::default() };
    let (mut served, mut course) = (0.0, Vec::new());
    for second in 1..3600 {
        let at = START.plus_secs(second);
        let (limit, _) = state.limit(&policy, limit(), &cost(1e5, served), at);
        served = limit.requests.min(1e5);
        course.push(served);
    }
    // A dollar at once, within a minute or so.
    let mean = 2.0 / 3600.0 / 0.53e-6;
    assert!(course[..60].iter().sum::<f64>() / 60.0 > 25.0 * mean);
    assert!(course.iter().all(|served| *served >= 0.49 * mean), "{:?}", course.last());
    // It glides: no second has a twentieth less than the one before.
    assert!(course[2..].windows(2).all(|pair| pair[1] > 0.95 * pair[0]), "{:?}", &course[..9]);
}

#[test]
fn what_a_second_is_worth_is_paid_beyond_the_cap() {
    // $0.0053 a second are asked for, a third of the most that the first cap ever allows.
    let asks = || (0..7200u64).map(|_| 10_000.0);
    let capped = spends(&policy("usd_per_hour = 1.0"), START, asks());
    let less = spends(&policy("usd_per_hour = 1.0\nusd_per_second_over = 0.003"), START, asks());
    let worth = spends(&policy("usd_per_hour = 1.0\nusd_per_second_over = 0.006"), START, asks());
    assert!(capped[0] <= 1.01, "{capped:?}");
    assert!(worth[0] > 19.0 && worth[1] > 19.0, "it never binds: {worth:?}");
    assert!(less[0] >= capped[0] && less[0] < 3.0, "{less:?}");
}

#[test]
fn a_month_binds_where_the_rest_would_be_gone_within_an_hour() {
    let policy = policy("usd_per_month = 10.0");
    let mut state = BudgetState { at: START, ..BudgetState::default() };
    let binds = |state: &mut BudgetState, asked, second| {
        let at = START.plus_secs(second);
        let (limit, money) = state.limit(&policy, limit(), &cost(asked, 0.0), at);
        (money.spent, limit.requests)
    };
    // $10 within an hour are 5,241 requests a second.
    assert_eq!(binds(&mut state, 5000.0, 1).0, None);
    let (spent, requests) = binds(&mut state, 6000.0, 2);
    assert!(spent == Some(false) && (5200.0..5300.0).contains(&requests), "{requests}");
    let told = state.reasons(&policy);
    assert!(told[0].starts_with("cost: the cap of $10.00 a month binds: 7"), "{told:?}");
    // In the next month it is whole again.
    state.month_usd = 9.9;
    assert!(
        state.reasons(&policy).contains(&"cost: $9.90 of $10.00 are spent in this month".into())
    );
    let next = UnixMillis::utc((2027, 2, 1), (0, 0, 1)).unwrap();
    assert!(next.month() == START.month() + 1 && next > START);
    let (_, money) = state.limit(&policy, limit(), &cost(5000.0, 0.0), next);
    assert_eq!((money.spent, state.month_usd), (None, 0.0));
}

#[test]
fn what_ran_while_nobody_looked_is_counted_to_its_hour() {
    let policy = policy("usd_per_hour = 2.0");
    let mut state = BudgetState { at: UnixMillis(START.0 - 600_000), ..BudgetState::default() };
    (state.hour, state.month) = (START.0 / HOUR_MS - 1, START.month());
    (state.hour_usd, state.month_usd) = (1.5, 4.0);
    let gateways = Cost { gateways: 2, rate: 100.0, functions: 1.0, each: 1.0, ..Cost::default() };
    // Ten minutes before the hour and five of it.
    let at = START.plus_secs(300);
    state.limit(&policy, limit(), &gateways, at);
    let (second, functions) = (2.0 * 0.0725 / 3600.0, 1000.0 * 0.53e-6);
    assert!((state.hour_usd - (900.0 * second + functions) / 3.0).abs() < 1e-9, "{state:?}");
    assert!((state.month_usd - 4.0 - 900.0 * second - functions).abs() < 1e-9, "{state:?}");
    // A clock that is set back by an hour spends nothing again, and forgets nothing.
    let before = state.clone();
    state.limit(&policy, limit(), &gateways, UnixMillis(at.0 - HOUR_MS));
    assert_eq!((state.hour, state.hour_usd), (before.hour, before.hour_usd));
}

#[test]
fn gateways_are_started_only_where_they_can_be_kept() {
    let policy = policy("usd_per_hour = 0.29");
    let budget = policy.budget.as_ref().unwrap();
    let afford = |spent: f64, there: u32| {
        let state = BudgetState { hour_usd: spent, ..BudgetState::default() };
        let left = state.left(budget, START.plus_secs(600)).unwrap();
        gateways(&Cost { gateways: there, ..Cost::default() }, budget, &left, 0.0)
    };
    // $0.29 an hour are four gateways; half of it is at hand from the beginning on.
    assert!(afford(0.0, 0) > 4);
    let there = [0, 3, 100].map(|there| afford(0.168, there));
    assert_eq!(there, [2, 3, 3], "what there is stays while it is paid");
    assert_eq!(afford(0.2, 4), 0);
}

proptest! {
    /// Whatever is asked: a lower cap never spends more, by the end of any hour.
    #[test]
    fn a_lower_cap_never_spends_more(
        low in 0.1..3.0f64,
        more in 0.0..3.0f64,
        begins in 0u64..3600,
        asks in prop::collection::vec(0.0..50_000.0f64, 1..40),
    ) {
        let spends = |cap: f64| {
            let policy = policy(&format!("usd_per_hour = {cap:?}"));
            let asks = asks.iter().flat_map(|asked| std::iter::repeat_n(*asked, 120));
            spends(&policy, START.plus_secs(begins), asks)
        };
        let (low, high) = (spends(low), spends(low + more));
        for (low, high) in low.iter().zip(&high) {
            prop_assert!(*low <= high + 1e-9, "{low} {high}");
        }
    }

    /// Nothing that is reported makes a number that is none.
    #[test]
    fn no_report_breaks_it(
        costs in prop::collection::vec((0.0..1e13f64, 0.0..1e13f64, 0u32..=u32::MAX, 0.0..=1.0f64), 1..30),
        secs in 0u64..100_000,
    ) {
        let policy = policy("usd_per_hour = 2.0\nusd_per_month = 100.0");
        let mut state = BudgetState::default();
        for (place, (asked, served, gateways, functions)) in (1u64..).zip(costs) {
            let cost = Cost { gateways, functions, carried: 1.0, ..cost(asked, served) };
            let (limit, _) = state.limit(&policy, limit(), &cost, START.plus_secs(place * secs));
            prop_assert!(limit.requests >= 0.0);
            prop_assert!(state.hour_usd.is_finite() && state.month_usd.is_finite());
            let text = serde_json::to_string(&state).unwrap();
            prop_assert_eq!(&serde_json::from_str::<BudgetState>(&text).unwrap(), &state);
        }
    }
}
