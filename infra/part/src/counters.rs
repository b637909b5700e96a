//! Counters that request paths write and `/v1/load` reads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use spillway_model::histogram::{self, BUCKETS};
use spillway_model::load::RouteLoad;

/// The counters of one route. The fields mean what those of [`RouteLoad`] mean.
#[derive(Debug)]
#[expect(missing_docs, reason = "documented where they are defined, in RouteLoad")]
pub struct RouteCounters {
    pub arrivals: AtomicU64,
    pub served: AtomicU64,
    pub redirected: AtomicU64,
    pub proxied: AtomicU64,
    pub displaced: AtomicU64,
    pub shed: AtomicU64,
    pub failed: AtomicU64,
    pub response_bytes: AtomicU64,
    pub served_bytes: AtomicU64,
    latency: [AtomicU64; BUCKETS],
}

impl Default for RouteCounters {
    fn default() -> Self {
        Self {
            arrivals: AtomicU64::new(0),
            served: AtomicU64::new(0),
            redirected: AtomicU64::new(0),
            proxied: AtomicU64::new(0),
            displaced: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
            served_bytes: AtomicU64::new(0),
            latency: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }
}

impl RouteCounters {
    /// Counts the latency of one served request.
    pub fn observe(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency[histogram::bucket(micros)].fetch_add(1, Relaxed);
    }

    /// The counts so far. Counters are read one by one: two of them may be a request apart.
    #[must_use]
    pub fn read(&self) -> RouteLoad {
        RouteLoad {
            arrivals: self.arrivals.load(Relaxed),
            served: self.served.load(Relaxed),
            redirected: self.redirected.load(Relaxed),
            proxied: self.proxied.load(Relaxed),
            displaced: self.displaced.load(Relaxed),
            shed: self.shed.load(Relaxed),
            failed: self.failed.load(Relaxed),
            response_bytes: self.response_bytes.load(Relaxed),
            served_bytes: self.served_bytes.load(Relaxed),
            latency: self.latency.iter().map(|bucket| bucket.load(Relaxed)).collect(),
        }
    }
}

/// Adds to a counter.
pub fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}
