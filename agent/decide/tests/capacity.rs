//! The capacity, learned from windows whose truth is known.

#![allow(clippy::unwrap_used, reason = "tests may fail here")]

#[path = "sim/noise.rs"]
mod noise;

use proptest::prelude::*;
use spillway_decide::Capacity;

use self::noise::Noise;

/// Milliseconds: the limit of the 95th percentile of latency, and what it is on an idle server.
const LIMIT: f64 = 400.0;
const IDLE: f64 = 60.0;
/// The load at which it is at the limit, where processors are shared: `IDLE / (1 − load / most)`.
const KNEE: f64 = 1000.0;
const MOST: f64 = KNEE / (1.0 - IDLE / LIMIT);

/// One site, which is at the mercy of its load.
struct Site {
    noise: Noise,
    /// What the database adds.
    waits_ms: f64,
    knee: f64,
}

impl Site {
    fn new(seed: u64) -> Self {
        Self { noise: Noise::new(seed), waits_ms: 0.0, knee: KNEE }
    }

    fn window(&mut self, capacity: &mut Capacity, load: f64) {
        let load = load * (1.0 + 0.03 * self.noise.normal()).max(0.1);
        let idle = (1.0 - load / (MOST * self.knee / KNEE)).max(0.01);
        let p95 = (IDLE / idle + self.waits_ms) * (1.0 + 0.15 * self.noise.normal()).max(0.1);
        capacity.add_window(load, p95 > LIMIT);
    }

    /// A day of windows of a minute: from 300 at night to `peak`, with a slow database in one hour.
    fn day(&mut self, capacity: &mut Capacity, peak: f64, slow: std::ops::Range<u32>) {
        for minute in 0..1440 {
            let day = f64::from(minute) / 1440.0;
            self.waits_ms = if slow.contains(&minute) { 900.0 } else { 0.0 };
            self.window(capacity, 300.0 + (peak - 300.0) * 4.0 * day * (1.0 - day));
        }
        self.waits_ms = 0.0;
    }
}

#[test]
fn the_knee_is_found_within_a_tenth_in_spite_of_a_slow_hour() {
    for seed in 0..10 {
        for declared in [500.0, 800.0, 1000.0, 1300.0, 3000.0] {
            for slow in [120..180, 300..360, 690..750] {
                let mut capacity = Capacity::new(declared);
                Site::new(seed).day(&mut capacity, 1200.0, slow.clone());
                let used = capacity.used();
                assert!((used / KNEE - 1.0).abs() < 0.1, "{seed} {declared} {slow:?}: {used}");
            }
        }
    }
}

#[test]
fn what_agrees_with_the_declared_capacity_leaves_it() {
    for seed in 0..10 {
        let mut capacity = Capacity::new(KNEE);
        let mut site = Site::new(seed);
        for day in 0..5 {
            // On most days home is held to its target; then the cloud is away.
            site.day(&mut capacity, if day == 3 { 1300.0 } else { 800.0 }, 0..0);
            assert_eq!(capacity.used(), KNEE, "{seed} {day}");
            capacity.fade();
        }
    }
}

#[test]
fn a_slow_database_is_no_want_of_capacity() {
    for seed in 0..10 {
        for hours in [120..180, 660..720, 700..820] {
            let mut capacity = Capacity::new(1500.0);
            let mut site = Site { knee: 1500.0, ..Site::new(seed) };
            // It has been seen to be quick for two days, or for a night only.
            if seed % 2 == 0 {
                site.day(&mut capacity, 900.0, 0..0);
                site.day(&mut capacity, 900.0, 0..0);
            }
            site.day(&mut capacity, 900.0, hours.clone());
            assert_eq!(capacity.used(), 1500.0, "{seed} {hours:?}");
        }
    }
}

#[test]
fn a_site_that_has_become_slower_is_believed() {
    let mut capacity = Capacity::new(KNEE);
    let mut site = Site::new(3);
    site.day(&mut capacity, 1000.0, 0..0);
    assert_eq!(capacity.used(), KNEE);
    site.knee = 700.0;
    for _ in 0..3 {
        site.day(&mut capacity, 1000.0, 0..0);
        capacity.fade();
    }
    assert!((capacity.used() / 700.0 - 1.0).abs() < 0.1, "{}", capacity.used());
}

#[test]
fn it_is_lowered_soon_and_raised_late() {
    // Two minutes of windows of ten seconds are enough for less, five are for more.
    let after = |load: f64, slow: bool| {
        let mut capacity = Capacity::new(1000.0);
        (1..1000).find(|_| {
            capacity.add_window(load, slow);
            capacity.used() != 1000.0
        })
    };
    assert_eq!(after(800.0, true), Some(12));
    assert_eq!(after(1400.0, false), Some(30));
    // Where not half of it is in use, something else is slow, unless that lasts.
    assert_eq!(after(450.0, true), Some(96));
    // What only agrees moves nothing.
    assert_eq!(after(1400.0, true), None);
    assert_eq!(after(800.0, false), None);
}

#[test]
fn it_is_never_more_than_has_held() {
    let mut capacity = Capacity::new(1000.0);
    for _ in 0..100 {
        capacity.add_window(1400.0, false);
    }
    assert!((1300.0..=1400.0).contains(&capacity.used()), "{}", capacity.used());
    for _ in 0..10_000 {
        capacity.add_window(1e9, false);
    }
    assert!(capacity.used() < 2100.0, "{}", capacity.used());
}

#[test]
fn a_year_takes_no_more_room_than_a_day() {
    let mut capacity = Capacity::new(KNEE);
    let mut site = Site::new(1);
    let mut most = 0;
    for _ in 0..365 {
        site.day(&mut capacity, 1200.0, 300..360);
        capacity.fade();
        most = most.max(serde_json::to_string(&capacity).unwrap().len());
    }
    assert!(most < 4000, "{most}");
    assert!((capacity.used() / KNEE - 1.0).abs() < 0.1, "{}", capacity.used());
    let text = serde_json::to_string(&capacity).unwrap();
    assert_eq!(serde_json::from_str::<Capacity>(&text).unwrap(), capacity);
}

fn seen() -> impl Strategy<Value = Vec<(f64, bool)>> {
    prop::collection::vec(
        (prop_oneof![0.0..3000.0, Just(f64::NAN), Just(1e300)], any::<bool>()),
        0..200,
    )
}

proptest! {
    #[test]
    fn it_stays_within_bounds(windows in seen()) {
        let mut capacity = Capacity::new(1000.0);
        for (load, slow) in windows {
            capacity.add_window(load, slow);
            prop_assert!((125.0..2100.0).contains(&capacity.used()));
        }
    }

    #[test]
    fn quick_answers_never_lower_it_and_slow_ones_never_raise_it(
        windows in prop::collection::vec((100.0..3000.0, any::<bool>()), 0..50),
        load in 100.0..3000.0,
        slow: bool,
    ) {
        let mut capacity = Capacity::new(1000.0);
        for (load, slow) in windows {
            capacity.add_window(load, slow);
        }
        let before = capacity.found();
        capacity.add_window(load, slow);
        let after = capacity.found();
        prop_assert!(if slow { after <= before } else { after >= before }, "{before} {after}");
    }
}
