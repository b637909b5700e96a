//! Upstreams: their health as far as it is known, and which of several takes a request.
//!
//! ```text
//!            fall checks in a row fail ──▶ out ── rise checks pass ──▶ in
//! in ────────a connect fails ────────────▶ out ── a check passes, or `eject` later ──▶ in
//!            3 requests in a row unanswered ──▶ one request at a time ── one is answered ──▶ in
//! ```
//!
//! An upstream whose checks pass while its requests hang would come back with every check; so what it
//! left unanswered is only forgiven for an answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use spillway_model::load::UpstreamLoad;
use spillway_part::clock;

use crate::options::PoolOptions;
use crate::pool::Pool;

/// Requests in a row without an answer after which an upstream is given one at a time.
const UNANSWERED_MAX: u32 = 3;

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
    answers: AtomicU64,
    /// Requests without an answer since the last answer.
    unanswered: AtomicU32,
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
            answers: AtomicU64::new(0),
            unanswered: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
            eject: options.eject,
            born: clock::instant(),
        })
    }

    /// Whether it should be given a request.
    pub(crate) fn available(&self, now: Instant) -> bool {
        self.reachable(now) && (self.answering() || self.active.load(Relaxed) == 0)
    }

    fn reachable(&self, now: Instant) -> bool {
        self.healthy.load(Relaxed) && self.millis(now) >= self.ejected_until_ms.load(Relaxed)
    }

    fn answering(&self) -> bool {
        self.unanswered.load(Relaxed) < UNANSWERED_MAX
    }

    /// Counts a failed attempt.
    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// It could not be connected to: passes it over for a moment.
    pub(crate) fn unreachable(&self, now: Instant) {
        self.failed();
        self.ejected_until_ms.store(self.millis(now + self.eject), Relaxed);
    }

    /// It was given a request and did not answer.
    pub(crate) fn left_unanswered(&self) {
        self.failed();
        if self.unanswered.fetch_add(1, Relaxed) + 1 == UNANSWERED_MAX {
            tracing::warn!(upstream = &*self.name, "an upstream answers nothing any more");
        }
    }

    /// It answered, whatever it said.
    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Relaxed);
        // Read first: most of the time there is nothing to write.
        if self.unanswered.load(Relaxed) > 0 && self.unanswered.swap(0, Relaxed) >= UNANSWERED_MAX {
            tracing::info!(upstream = &*self.name, "the upstream answers again");
        }
    }

    /// How many requests it has answered.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
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
            healthy: self.reachable(now) && self.answering(),
            active: self.active.load(Relaxed),
            failures: self.failures.load(Relaxed),
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.born);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Chooses an upstream that is available and was not `tried` yet: of two random ones, the one with
/// fewer requests in flight.
pub(crate) fn choose(
    upstreams: &[Arc<Upstream>],
    tried: &[usize],
    random: u64,
    now: Instant,
) -> Option<usize> {
    let candidates: Vec<usize> = (0..upstreams.len())
        .filter(|i| !tried.contains(i) && upstreams[*i].available(now))
        .collect();
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

    fn upstream(name: &str) -> Arc<Upstream> {
        Upstream::new(name, "127.0.0.1:1".parse().unwrap(), &PoolOptions::default())
    }

    #[test]
    fn the_unreachable_are_passed_over_for_a_moment_or_until_a_check_passes() {
        let all = [upstream("a"), upstream("b")];
        let now = clock::instant();
        all[0].unreachable(now);
        for random in [0, 1 << 32, u64::MAX] {
            assert_eq!(choose(&all, &[], random, now), Some(1));
        }
        assert_eq!(choose(&all, &[1], 0, now), None);
        let later = now + PoolOptions::default().eject + Duration::from_millis(2);
        assert!(all[0].available(later));
        all[0].unreachable(now);
        all[0].checked(true, 2, 1);
        assert!(all[0].available(now), "a passed check brings it back at once");
    }

    #[test]
    fn who_answers_nothing_is_given_one_request_at_a_time_until_it_answers() {
        let upstream = upstream("a");
        let now = clock::instant();
        let healthy = || upstream.load(now).healthy;
        for _ in 0..2 {
            upstream.left_unanswered();
        }
        upstream.answered();
        for _ in 0..2 {
            upstream.left_unanswered();
        }
        assert!(healthy(), "only those in a row count");
        upstream.left_unanswered();
        upstream.checked(true, 2, 1);
        assert!(!healthy(), "a check is no answer");
        assert!(upstream.available(now), "one is let through to see");
        let in_flight = InFlight::new(&upstream);
        assert!(!upstream.available(now));
        drop(in_flight);
        upstream.answered();
        assert!(healthy() && upstream.available(now));
    }
}
