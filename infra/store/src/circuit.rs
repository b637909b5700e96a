//! Whether a server that may be away is asked.
//!
//! ```text
//! asked ──failure──▶ left alone for a pause ──▶ one caller tries ──answer──▶ asked
//!                            ▲                         │
//!                            └─────────failure─────────┘
//! ```

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// So that an outage costs one caller in many a deadline, and not each of them.
#[derive(Debug)]
pub(crate) struct Circuit {
    pause: Duration,
    made: Instant,
    /// Milliseconds after `made` until which nobody asks; 0 while there are answers.
    away_until: AtomicU64,
}

impl Circuit {
    pub(crate) fn new(pause: Duration, now: Instant) -> Self {
        Self { pause, made: now, away_until: AtomicU64::new(0) }
    }

    /// Whether to ask now. At the end of each pause one caller is told to, who may be given up: then
    /// another is at the end of the next.
    pub(crate) fn asks(&self, now: Instant) -> bool {
        let until = self.away_until.load(Relaxed);
        let next = || {
            let after = self.millis(now + self.pause);
            self.away_until.compare_exchange(until, after, Relaxed, Relaxed).is_ok()
        };
        until == 0 || (self.millis(now) >= until && next())
    }

    /// Takes note of an answer to what was asked at a time, and says whether there was none before. One that
    /// was under way when another failed proves nothing.
    pub(crate) fn answered(&self, asked: Instant) -> bool {
        let until = self.away_until.load(Relaxed);
        let proves = until != 0 && self.millis(asked + self.pause) >= until;
        proves && self.away_until.compare_exchange(until, 0, Relaxed, Relaxed).is_ok()
    }

    /// Takes note of a failure, and says whether it is the first.
    pub(crate) fn failed(&self, now: Instant) -> bool {
        self.away_until.swap(self.millis(now + self.pause).max(1), Relaxed) == 0
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.made).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_each_pause_one_caller_asks() {
        let second = Duration::from_secs(1);
        let mut now = Instant::now();
        let circuit = Circuit::new(second, now);
        assert!(circuit.asks(now) && circuit.asks(now));
        assert!(!circuit.answered(now), "it was never away");
        assert!(circuit.failed(now) && !circuit.failed(now));
        for _ in 0..3 {
            assert!(!circuit.asks(now));
            now += second;
            assert!(circuit.asks(now) && !circuit.asks(now));
        }
        assert!(!circuit.answered(now - second), "it was asked before");
        assert!(circuit.answered(now) && !circuit.answered(now));
        assert!(circuit.asks(now) && circuit.asks(now));
        assert!(circuit.failed(now), "it was back");
    }
}
