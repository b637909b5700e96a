//! The stand-in's clock: the real one, faster, or moved by hand.

use std::time::{Duration, Instant};

/// Time that passes `factor` times as fast as real time.
#[derive(Debug)]
pub(crate) struct Clock {
    since: Instant,
    at: u64,
    factor: f64,
}

impl Clock {
    /// A clock that shows `at`, in milliseconds since the epoch, at the moment `since`.
    pub(crate) fn new(since: Instant, at: u64, factor: f64) -> Self {
        Self { since, at, factor: factor.max(0.0) }
    }

    /// What it shows at a moment.
    pub(crate) fn at(&self, moment: Instant) -> u64 {
        let real = moment.saturating_duration_since(self.since);
        self.at + crate::time::rounded(real.as_secs_f64() * 1_000.0 * self.factor)
    }

    /// Lets it go at another speed; 0 stops it.
    pub(crate) fn set_factor(&mut self, moment: Instant, factor: f64) {
        *self = Self::new(moment, self.at(moment), factor);
    }

    /// Moves it forward.
    pub(crate) fn forward(&mut self, by: Duration) {
        self.at += u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    }

    /// How long it really takes until it shows `due`; none while it stands still.
    pub(crate) fn until(&self, moment: Instant, due: u64) -> Option<Duration> {
        let left = due.saturating_sub(self.at(moment));
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        (self.factor > 0.0)
            .then(|| Duration::from_secs_f64(f64::from(left) / 1_000.0 / self.factor))
    }
}
