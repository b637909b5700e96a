//! Cost weights from windows whose truth is known.

#![allow(clippy::unwrap_used, reason = "tests may fail here")]

#[path = "sim/noise.rs"]
mod noise;

use proptest::prelude::*;
use spillway_decide::{Fit, Weights, Window, weigh};

use self::noise::Noise;

/// Twelve routes: busy milliseconds of a request, and requests per second in the mean.
const ROUTES: [(f64, f64); 12] = [
    (2.0, 40.0),
    (3.0, 35.0),
    (5.0, 30.0),
    (2.5, 30.0),
    (8.0, 25.0),
    (4.0, 25.0),
    (12.0, 20.0),
    (6.0, 20.0),
    (20.0, 15.0),
    (10.0, 15.0),
    (40.0, 10.0),
    (15.0, 10.0),
];
/// Part of a request's cost that varies from one to the other.
const VARIES: f64 = 0.3;

/// A day of `secs` long windows: Poisson arrivals of routes that have their peaks at hours of their own,
/// and `idle` busy seconds each. In one hour everything takes three times as long, for the database is slow.
fn day(seed: u64, secs: f64, idle: f64) -> Vec<Window> {
    let mut noise = Noise::new(seed);
    let steps = (0..).map(|step| f64::from(step) * secs).take_while(|at| *at < 86_400.0);
    let mut window = |at: f64| {
        let mut window = Window { requests: Vec::new(), busy_secs: idle };
        let mut variance = 0.0;
        for (route, (millis, rate)) in (0_u32..).zip(ROUTES) {
            let phase = (at / 86_400.0 + f64::from(route) / 24.0).fract();
            let wave = 4.0 * phase * (1.0 - phase);
            let count = noise.poisson(rate * (0.3 + wave) * secs) as f64;
            window.requests.push(count);
            window.busy_secs += count * millis / 1000.0;
            variance += count * (VARIES * millis / 1000.0) * (VARIES * millis / 1000.0);
        }
        window.busy_secs += variance.sqrt() * noise.normal();
        if (50_400.0..54_000.0).contains(&at) {
            window.busy_secs *= 3.0;
        }
        window
    };
    steps.map(&mut window).collect()
}

/// The largest part by which a weight is off.
fn off(fit: &Fit) -> f64 {
    let routes = fit.weights.iter().zip(ROUTES);
    routes.map(|(weight, (millis, _))| (1000.0 * weight / millis - 1.0).abs()).fold(0.0, f64::max)
}

#[test]
fn twelve_routes_are_found_within_a_tenth_in_spite_of_a_slow_hour() {
    for seed in 0..10 {
        for (secs, idle, slow) in [(10.0, 0.0, 360), (30.0, 6.0, 120)] {
            let windows = day(seed, secs, idle);
            let fit = weigh(&[1.0; 12], &windows);
            assert!(off(&fit) < 0.1, "{seed}: {fit:?}");
            assert!(!fit.kept && fit.r2 > 0.95 && fit.condition < 1e7, "{seed}: {fit:?}");
            assert!((slow..slow + 10).contains(&fit.aside), "{seed}: {} aside", fit.aside);
            assert!((fit.idle_secs - idle).abs() < 3.0, "{seed}: {}", fit.idle_secs);
            // Errors are what they say: hardly any weight is off by three of them.
            let known = fit.weights.iter().zip(&fit.errors).zip(ROUTES);
            let far = known
                .filter(|((x, error), (millis, _))| (*x - millis / 1000.0).abs() > 3.0 * **error);
            assert!(far.count() <= 1, "{seed}: {fit:?}");
        }
    }
}

#[test]
fn a_service_that_is_watched_teaches_the_same() {
    let mut weights = Weights::new(ROUTES.map(|(_, rate)| rate).to_vec());
    let mut fit = None;
    for (at, window) in day(3, 10.0, 0.2).iter().enumerate() {
        // Waiting for a database keeps no processor busy.
        let slow = (5040..5400).contains(&at);
        let busy = if slow { window.busy_secs / 3.0 } else { window.busy_secs };
        weights.add_window(&window.requests, busy);
        if at % 6 == 5 {
            fit = Some(weights.fade(1.0 - 1.0 / 720.0));
        }
    }
    let fit = fit.unwrap();
    assert!(off(&fit) < 0.1, "{fit:?}");
}

#[test]
fn a_new_cost_is_learned_as_the_old_windows_fade() {
    let mut weights = Weights::new(vec![1.0; 2]);
    let mut noise = Noise::new(7);
    let mut last = 0.0;
    for window in 0..4000 {
        let requests = [noise.poisson(1000.0) as f64, noise.poisson(500.0) as f64];
        let cost = if window < 1000 { [0.001, 0.002] } else { [0.001, 0.008] };
        weights.add_window(&requests, requests[0] * cost[0] + requests[1] * cost[1]);
        let fit = weights.fade(0.995);
        last = fit.weights[1];
        if window == 999 {
            assert!((0.0019..0.0021).contains(&last), "{fit:?}");
        }
    }
    assert!((0.0076..0.0084).contains(&last), "{last}");
}

#[test]
fn what_is_asked_for_together_keeps_its_proportion() {
    let mut noise = Noise::new(1);
    let mut windows = Vec::new();
    for _ in 0..500 {
        let pages = noise.poisson(600.0) as f64;
        let others = noise.poisson(900.0) as f64;
        // A page always asks for two pictures; both together cost 7 ms.
        let requests = vec![pages, 2.0 * pages, others];
        windows.push(Window { requests, busy_secs: pages * 0.007 + others * 0.002 });
    }
    let fit = weigh(&[3.0, 0.5, 1.0], &windows);
    let [page, picture, other] = fit.weights[..] else { unreachable!() };
    assert!((page + 2.0 * picture - 0.007).abs() < 1e-4, "{fit:?}");
    assert!((other - 0.002).abs() < 1e-4, "{fit:?}");
    // The ridge moves both by the same number of their units.
    assert!((3.0..9.0).contains(&(page / picture)), "{fit:?}");
    assert!(fit.condition > 1e6, "{fit:?}");
}

#[test]
fn windows_of_one_mix_keep_the_last_weights() {
    let mix = [10.0, 30.0, 5.0];
    let window =
        |load: f64| Window { requests: mix.map(|n| n * load).to_vec(), busy_secs: load * 0.4 };
    let windows: Vec<Window> = (1..300).map(|load| window(f64::from(load % 17 + 1))).collect();
    let fit = weigh(&[1.0, 2.0, 4.0], &windows);
    assert!(fit.kept && fit.condition > 1e6, "{fit:?}");
    let unit = fit.weights[0];
    assert!(
        (fit.weights[1] / unit - 2.0).abs() < 1e-9 && (fit.weights[2] / unit - 4.0).abs() < 1e-9
    );
    // Together they explain all the same.
    assert!((unit * (10.0 + 60.0 + 20.0) - 0.4).abs() < 1e-6, "{fit:?}");
}

#[test]
fn few_windows_teach_nothing_and_absurd_ones_are_none() {
    let windows = day(1, 60.0, 0.0);
    let fit = weigh(&[1.0; 12], &windows[..20]);
    assert!(fit.kept, "{fit:?}");
    let mut weights = Weights::new(vec![1.0; 2]);
    for (requests, busy) in [
        (vec![1.0], 1.0),
        (vec![-1.0, 1.0], 1.0),
        (vec![f64::NAN, 1.0], 1.0),
        (vec![1.0, 1.0], f64::INFINITY),
        (vec![1.0, 1.0], -1.0),
        (vec![1.0, 1e300], 1.0),
    ] {
        weights.add_window(&requests, busy);
    }
    assert_eq!(weights, Weights::new(vec![1.0; 2]));
    assert!(weights.fit().kept && weights.windows() == 0.0);
}

#[test]
fn a_route_that_cost_nothing_may_cost_something_again() {
    let mut weights = Weights::new(vec![1.0; 2]);
    let mut noise = Noise::new(4);
    let mut fit = weights.fit();
    for window in 0..3000 {
        let requests = [noise.poisson(1000.0) as f64, noise.poisson(1000.0) as f64];
        let cost = if window < 1500 { 0.0 } else { 0.004 };
        weights.add_window(&requests, requests[0] * 0.002 + requests[1] * cost);
        fit = weights.fade(0.99);
        if window == 1499 {
            assert!(fit.weights[1] < 1e-4, "{fit:?}");
        }
    }
    assert!((fit.weights[1] / 0.004 - 1.0).abs() < 0.05, "{fit:?}");
}

#[test]
fn of_many_routes_those_that_cost_most_have_weights_of_their_own() {
    let mut noise = Noise::new(5);
    let mut weights = Weights::new(vec![1.0; 500]);
    let mut costly = 0;
    let mut fit = weights.fit();
    for window in 0..3000 {
        // Another few routes are asked for most after a while.
        costly = if window < 1000 { 100 } else { 300 };
        let rate = |place: usize| if (costly..costly + 5).contains(&place) { 400.0 } else { 2.0 };
        let requests: Vec<f64> = (0..500).map(|place| noise.poisson(rate(place)) as f64).collect();
        let cost = |place: usize| if place == costly { 0.01 } else { 0.002 };
        let busy = requests.iter().enumerate().map(|(place, n)| n * cost(place)).sum();
        weights.add_window(&requests, busy);
        if window % 6 == 5 {
            fit = weights.fade(0.99);
        }
        if window == 999 {
            assert!((fit.weights[100] / 0.01 - 1.0).abs() < 0.1, "{}", fit.weights[100]);
        }
    }
    assert!((fit.weights[costly] / 0.01 - 1.0).abs() < 0.1, "{}", fit.weights[costly]);
    assert!((fit.weights[costly + 1] / 0.002 - 1.0).abs() < 0.2, "{}", fit.weights[costly + 1]);
    assert!((fit.weights[7] / 0.002 - 1.0).abs() < 0.3, "{}", fit.weights[7]);
    assert!(serde_json::to_string(&weights).unwrap().len() < 100_000);
}

#[test]
fn a_year_of_windows_takes_no_more_room_than_a_day() {
    let mut weights = Weights::new(vec![1.0; 12]);
    let windows = day(2, 600.0, 0.0);
    let mut sizes = Vec::new();
    let mut fit = weights.fit();
    for _ in 0..365 {
        for (at, window) in windows.iter().enumerate() {
            weights.add_window(&window.requests, window.busy_secs);
            if at % 6 == 5 {
                fit = weights.fade(0.99);
            }
        }
        sizes.push(serde_json::to_string(&weights).unwrap().len());
    }
    let (first, most) = (sizes[0], sizes.iter().max().unwrap());
    assert!(*most < first + first / 10 && *most < 5000, "{first} {most}");
    let text = serde_json::to_string(&weights).unwrap();
    assert_eq!(serde_json::from_str::<Weights>(&text).unwrap(), weights);
    assert!(fit.weights.iter().all(|x| x.is_finite() && *x >= 0.0), "{fit:?}");
}

fn windows() -> impl Strategy<Value = Vec<Window>> {
    (1_usize..6).prop_flat_map(|routes| {
        let requests = prop::collection::vec(prop_oneof![Just(0.0), 0.0..5000.0], routes);
        let window = (requests, prop_oneof![Just(0.0), 0.0..100.0])
            .prop_map(|(requests, busy_secs)| Window { requests, busy_secs });
        prop::collection::vec(window, 1..80)
    })
}

fn fit_of(windows: &[Window]) -> Fit {
    let mut weights = Weights::new(vec![1.0; windows[0].requests.len()]);
    for window in windows {
        weights.add_window(&window.requests, window.busy_secs);
    }
    weights.fit()
}

proptest! {
    #[test]
    fn no_weight_is_ever_below_zero(windows in windows()) {
        for fit in [fit_of(&windows), weigh(&vec![1.0; windows[0].requests.len()], &windows)] {
            prop_assert!(fit.weights.iter().all(|x| x.is_finite() && *x >= 0.0), "{:?}", fit);
            prop_assert!(fit.idle_secs.is_finite() && fit.idle_secs >= 0.0, "{:?}", fit);
            prop_assert!(fit.condition.is_finite() && fit.condition >= 1.0 - 1e-9, "{:?}", fit);
            prop_assert!(fit.r2.is_finite() && fit.r2 <= 1.0, "{:?}", fit);
        }
    }

    #[test]
    fn the_order_of_windows_does_not_matter(windows in windows(), seed: u64) {
        let mut noise = Noise::new(seed);
        let mut others: Vec<(f64, Window)> =
            windows.iter().map(|window| (noise.uniform(), window.clone())).collect();
        others.sort_by(|a, b| a.0.total_cmp(&b.0));
        let others: Vec<Window> = others.into_iter().map(|(_, window)| window).collect();
        let (one, other) = (fit_of(&windows), fit_of(&others));
        prop_assert_eq!(one.kept, other.kept);
        let mean = one.weights.iter().sum::<f64>() / one.weights.len() as f64;
        for (a, b) in one.weights.iter().zip(&other.weights) {
            prop_assert!((a - b).abs() <= 1e-4 * (a.abs() + mean), "{:?} {:?}", one, other);
        }
    }

    #[test]
    fn what_has_faded_has_no_say_in_the_end(cost in 0.001..0.1_f64) {
        let mut weights = Weights::new(vec![1.0]);
        for at in 0..200 {
            let secs = if at < 20 { 5.0 } else { cost * 100.0 };
            weights.add_window(&[100.0], secs);
            weights.fade(0.8);
        }
        let fit = weights.fit();
        prop_assert!((fit.weights[0] / cost - 1.0).abs() < 0.01, "{:?}", fit);
    }
}
