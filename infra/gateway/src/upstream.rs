//! Upstreams: their health as far as it is known, and which of several takes a request.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use spillway_model::load::UpstreamLoad;
use spillway_part::clock;

use crate::options::PoolOptions;
use crate::pool::Pool;

/// What active checks say of an upstream: it falls after so many failures in a row and rises after so
/// many successes. It starts out healthy, so that a gateway serves before its first check.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    down: bool,
    /// Results in a row that speak against the present state.
    against: u32,
}

impl Checks {
    /// Takes the result of a check; answers whether the upstream is healthy, and whether that is new.
    pub(crate) fn observe(&mut self, passed: bool, fall: u32, rise: u32) -> (bool, bool) {
        self.against = if passed == self.down { self.against + 1 } else { 0 };
        let changed = self.against >= if self.down { rise } else { fall };
        if changed {
            self.down = !self.down;
            self.against = 0;
        }
        (!self.down, changed)
    }
}

/// One upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) name: Arc<str>,
    pub(crate) pool: Arc<Pool>,
    active: AtomicU64,
    failures: AtomicU64,
    healthy: AtomicBool,
    checks: Mutex<Checks>,
    /// Passed over until then, in milliseconds since `born`: connecting failed.
    ejected_until_ms: AtomicU64,
    eject: Duration,
    born: Instant,
}

/// A request in flight at an upstream.
#[derive(Debug)]
pub(crate) struct InFlight(pub(crate) Arc<Upstream>);

impl InFlight {
    pub(crate) fn new(upstream: &Arc<Upstream>) -> Self {
        upstream.active.fetch_add(1, Relaxed);
        Self(upstream.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}

impl Upstream {
    pub(crate) fn new(name: &str, address: SocketAddr, options: &PoolOptions) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            pool: Pool::new(address, options.clone()),
            active: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            healthy: AtomicBool::new(true),
            checks: Mutex::default(),
            ejected_until_ms: AtomicU64::new(0),
            eject: options.eject,
            born: clock::instant(),
        })
    }

    /// Whether it should be given requests.
    pub(crate) fn available(&self, now: Instant) -> bool {
        self.healthy.load(Relaxed) && self.millis(now) >= self.ejected_until_ms.load(Relaxed)
    }

    /// Counts a failed attempt.
    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// Passes it over for a moment, since it could not be connected to.
    pub(crate) fn eject(&self, now: Instant) {
        self.ejected_until_ms.store(self.millis(now + self.eject), Relaxed);
    }

    /// Takes the result of an active check.
    pub(crate) fn checked(&self, passed: bool, fall: u32, rise: u32) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let (healthy, changed) = checks.observe(passed, fall, rise);
        self.healthy.store(healthy, Relaxed);
        if passed {
            self.ejected_until_ms.store(0, Relaxed);
        }
        if changed {
            tracing::info!(upstream = &*self.name, healthy, "an upstream's health changed");
        }
    }

    pub(crate) fn load(&self, now: Instant) -> UpstreamLoad {
        UpstreamLoad {
            healthy: self.available(now),
            active: self.active.load(Relaxed),
            failures: self.failures.load(Relaxed),
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.born);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Chooses an upstream that was not `tried` yet: of two random ones that are available, the one with
/// fewer requests in flight. When none is available it chooses among all: a check can be wrong about
/// every upstream at once, and a request that fails is no worse than one that is not tried.
pub(crate) fn choose(
    upstreams: &[Arc<Upstream>],
    tried: &[usize],
    random: u64,
    now: Instant,
) -> Option<usize> {
    let untried = |i: &usize| !tried.contains(i);
    let mut candidates: Vec<usize> =
        (0..upstreams.len()).filter(untried).filter(|i| upstreams[*i].available(now)).collect();
    if candidates.is_empty() {
        candidates = (0..upstreams.len()).filter(untried).collect();
    }
    two_choices(&candidates, random, |i| upstreams[i].active.load(Relaxed))
}

fn two_choices(candidates: &[usize], random: u64, load: impl Fn(usize) -> u64) -> Option<usize> {
    let n = candidates.len();
    if n < 2 {
        return candidates.first().copied();
    }
    let below = |bits: u64, n: usize| usize::try_from(bits % n as u64).unwrap_or_default();
    let first = below(random >> 32, n);
    // The second is drawn from the others.
    let second = (first + 1 + below(random & 0xffff_ffff, n - 1)) % n;
    let (a, b) = (candidates[first], candidates[second]);
    Some(if load(b) < load(a) { b } else { a })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn checks_fall_after_two_and_rise_after_one() {
        let mut checks = Checks::default();
        let mut observe = |passed| checks.observe(passed, 2, 1);
        assert_eq!(observe(false), (true, false));
        assert_eq!(observe(true), (true, false));
        assert_eq!(observe(false), (true, false));
        assert_eq!(observe(false), (false, true));
        assert_eq!(observe(false), (false, false));
        assert_eq!(observe(true), (true, true));
    }

    proptest! {
        #[test]
        fn of_two_different_ones_the_less_busy(loads in prop::collection::vec(0u64..100, 1..8), random: u64) {
            let all: Vec<usize> = (0..loads.len()).collect();
            let chosen = two_choices(&all, random, |i| loads[i]).unwrap();
            if loads.len() > 1 {
                let busiest = loads.iter().max().unwrap();
                let unique = loads.iter().filter(|load| *load == busiest).count() == 1;
                prop_assert!(!(unique && loads[chosen] == *busiest), "the busiest is never chosen");
            }
        }
    }

    #[test]
    fn the_ejected_are_passed_over_until_all_are() {
        let options = PoolOptions::default();
        let make = |name| Upstream::new(name, "127.0.0.1:1".parse().unwrap(), &options);
        let all = [make("a"), make("b")];
        let now = clock::instant();
        all[0].eject(now);
        for random in [0, 1 << 32, u64::MAX] {
            assert_eq!(choose(&all, &[], random, now), Some(1));
        }
        assert_eq!(choose(&all, &[1], 0, now), Some(0));
        assert_eq!(choose(&all, &[0, 1], 0, now), None);
        assert!(all[0].available(now + options.eject + Duration::from_millis(2)));
        all[0].eject(now);
        all[0].checked(true, 2, 1);
        assert!(all[0].available(now), "a passed check brings it back at once");
    }
}
