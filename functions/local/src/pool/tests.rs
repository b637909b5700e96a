use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn pool(environments_max: u64, burst_per_10s: u64, functions: usize) -> Pool {
    Pool::new(Limits { environments_max, burst_per_10s, idle: secs(300) }, functions)
}

fn started(pool: &mut Pool, function: usize, now: Duration) -> EnvironmentId {
    match pool.take(function, now) {
        Take::Start { environment, .. } => {
            pool.ready(environment);
            environment
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_one_used_last_is_taken_first() {
    let mut pool = pool(10, 10, 1);
    let [a, b, c] = [(); 3].map(|()| started(&mut pool, 0, secs(0)));
    for (environment, at) in [(b, 1), (c, 2), (a, 3)] {
        pool.done(environment, secs(at));
    }
    let taken: Vec<_> = (0..3).map(|_| pool.take(0, secs(4))).collect();
    assert_eq!(taken, [Take::Idle(a), Take::Idle(c), Take::Idle(b)]);
}

#[test]
fn no_quota_means_no_environment() {
    assert_eq!(pool(0, 10, 1).take(0, secs(9)), Take::Throttled(Throttle::Concurrency));
    assert_eq!(pool(10, 0, 1).take(0, secs(9)), Take::Throttled(Throttle::Burst));
    assert_eq!(pool(0, 0, 1).counts(secs(9)), Counts::default());
}

#[test]
fn a_burst_refills_continuously_and_per_function() {
    let mut pool = pool(100, 4, 2);
    for _ in 0..4 {
        started(&mut pool, 0, secs(0));
    }
    assert_eq!(pool.take(0, secs(0)), Take::Throttled(Throttle::Burst));
    started(&mut pool, 1, secs(0));
    assert_eq!(pool.counts(secs(0)).burst_left, 3);
    assert_eq!(pool.take(0, Duration::from_millis(2499)), Take::Throttled(Throttle::Burst));
    started(&mut pool, 0, Duration::from_millis(2500));
    assert_eq!(pool.take(0, Duration::from_millis(2500)), Take::Throttled(Throttle::Burst));
    assert_eq!(pool.counts(secs(60)).burst_left, 8, "no more than the capacity");
}

#[test]
fn idle_environments_make_room_for_another_function() {
    let mut pool = pool(2, 10, 2);
    let [a, b] = [(); 2].map(|()| started(&mut pool, 0, secs(0)));
    assert_eq!(pool.take(1, secs(1)), Take::Throttled(Throttle::Concurrency));
    pool.done(b, secs(1));
    pool.done(a, secs(2));
    assert!(matches!(pool.take(1, secs(3)), Take::Start { evicted: Some(e), .. } if e == b));
    assert_eq!(pool.counts(secs(3)).alive, 2);
    assert_eq!(pool.take(0, secs(3)), Take::Idle(a));
}

#[test]
fn idle_environments_end() {
    let mut pool = pool(10, 10, 1);
    let [a, b] = [(); 2].map(|()| started(&mut pool, 0, secs(0)));
    pool.done(a, secs(0));
    pool.done(b, secs(1));
    assert_eq!(pool.tick(secs(299)), []);
    assert_eq!(pool.tick(secs(300)), [a]);
    assert_eq!(pool.take(0, secs(300)), Take::Idle(b));
    assert_eq!(pool.tick(secs(900)), [], "a busy one is never ended");
}

#[derive(Debug, Clone)]
enum Op {
    Take(usize),
    Ready(usize),
    Done(usize),
    Gone(usize),
    Tick,
    Wait(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0usize..2).prop_map(Op::Take),
        2 => any::<usize>().prop_map(Op::Ready),
        2 => any::<usize>().prop_map(Op::Done),
        1 => any::<usize>().prop_map(Op::Gone),
        1 => Just(Op::Tick),
        2 => (0u64..5_000).prop_map(Op::Wait),
    ];
    proptest::collection::vec(op, 1..200)
}

/// What an independent reader of the rules knows of an environment.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Known {
    Starting(usize),
    Busy(usize),
    Idle(usize),
}

fn nth(
    known: &BTreeMap<EnvironmentId, Known>,
    n: usize,
    of: fn(&Known) -> bool,
) -> Option<EnvironmentId> {
    let found: Vec<_> = known.iter().filter(|(_, k)| of(k)).map(|(id, _)| *id).collect();
    (!found.is_empty()).then(|| found[n % found.len()])
}

proptest! {
    #[test]
    fn quotas_hold_and_an_environment_has_one_request(max in 0u64..6, burst in 0u64..5, ops in ops()) {
        let limits = Limits { environments_max: max, burst_per_10s: burst, idle: secs(3) };
        let mut pool = Pool::new(limits, 2);
        let mut known = BTreeMap::new();
        let mut starts: [Vec<Duration>; 2] = Default::default();
        let mut now = Duration::ZERO;
        for op in ops {
            match op {
                Op::Take(function) => match pool.take(function, now) {
                    Take::Idle(id) => {
                        // Only one that waits for work, and of this function, is given away.
                        prop_assert_eq!(known.insert(id, Known::Busy(function)), Some(Known::Idle(function)));
                    }
                    Take::Start { environment, evicted } => {
                        prop_assert!(!known.values().any(|k| *k == Known::Idle(function)));
                        if let Some(evicted) = evicted {
                            prop_assert_eq!(known.remove(&evicted), Some(Known::Idle(1 - function)));
                        }
                        prop_assert_eq!(known.insert(environment, Known::Starting(function)), None);
                        starts[function].push(now);
                    }
                    Take::Throttled(_) => {
                        prop_assert!(!known.values().any(|k| *k == Known::Idle(function)));
                    }
                },
                Op::Ready(n) => if let Some(id) = nth(&known, n, |k| matches!(k, Known::Starting(_))) {
                    let Known::Starting(function) = known[&id] else { unreachable!() };
                    pool.ready(id);
                    known.insert(id, Known::Busy(function));
                },
                Op::Done(n) => if let Some(id) = nth(&known, n, |k| !matches!(k, Known::Idle(_))) {
                    let (Known::Starting(function) | Known::Busy(function)) = known[&id] else { unreachable!() };
                    pool.done(id, now);
                    known.insert(id, Known::Idle(function));
                },
                Op::Gone(n) => if let Some(id) = nth(&known, n, |_| true) {
                    pool.gone(id);
                    known.remove(&id);
                },
                Op::Tick => for id in pool.tick(now) {
                    prop_assert!(matches!(known.remove(&id), Some(Known::Idle(_))));
                },
                Op::Wait(ms) => now += Duration::from_millis(ms),
            }
            let counts = pool.counts(now);
            prop_assert!(counts.alive <= max);
            prop_assert_eq!(counts.alive, known.len() as u64);
            let busy = known.values().filter(|k| matches!(k, Known::Busy(_))).count();
            prop_assert_eq!(counts.busy, busy as u64);
        }
        for starts in &starts {
            for (i, first) in starts.iter().enumerate() {
                for (j, last) in starts.iter().enumerate().skip(i) {
                    let window_ms = u64::try_from((*last - *first).as_millis()).unwrap();
                    let allowed = burst + burst * window_ms / 10_000;
                    prop_assert!((j - i + 1) as u64 <= allowed, "{} starts in {window_ms} ms", j - i + 1);
                }
            }
        }
    }
}
