//! A load, what of it has lasted, and what would have sufficed for it: what levers with a lead time or a
//! price go by, so that nothing between the two moves them.

use serde::{Deserialize, Serialize};
use spillway_model::UnixMillis;

use crate::forecast::weight;
use crate::window::{Span, Window};

/// Time constant of the mean, in seconds.
pub(crate) const MEAN_SECS: f64 = 10.0;

/// How long a load must have lasted before more is wanted, and less of it before less is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dwell {
    pub(crate) after: Span,
    pub(crate) keep: Span,
}

impl Dwell {
    pub(crate) fn secs(after: u64, keep: u64, tick_ms: u64) -> Self {
        Self { after: Span::secs(after, tick_ms), keep: Span::secs(keep, tick_ms) }
    }

    /// Both, in seconds, for people.
    pub(crate) fn in_secs(self) -> (u64, u64) {
        (self.after.millis / 1000, self.keep.millis / 1000)
    }
}

/// The data of one tick: the time since the last, and whether they are whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) secs: f64,
    pub(crate) whole: bool,
}

impl Seen {
    /// A mean with one more value. Data that are not whole may add, never take away.
    pub(crate) fn mean(self, mean: f64, value: f64) -> f64 {
        let taken = self.whole || value > mean;
        if taken { mean + weight(self.secs, MEAN_SECS) * (value - mean) } else { mean }
    }
}

/// What is kept of a load. Bounded by the windows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Lasting {
    mean: f64,
    /// The least of the time after which more is wanted, with its sign changed.
    least: Window,
    /// The most of the time after which less is wanted.
    most: Window,
}

impl Lasting {
    /// Takes in a load. What the season is to bring would not have been sufficed for by less either: a forecast
    /// that changes its mind lowers nothing before a load that fell would.
    pub(crate) fn take_in(
        &mut self,
        dwell: Dwell,
        load: f64,
        season: f64,
        seen: Seen,
        at: UnixMillis,
    ) {
        self.mean = seen.mean(self.mean, load);
        self.least.push(dwell.after, at, -self.mean);
        if seen.whole {
            self.most.push(dwell.keep, at, self.mean.max(season));
        }
    }

    /// What has lasted; nothing until that is known. Where it is `now` less, that is over already.
    pub(crate) fn lasted(&self, dwell: Dwell, now: f64, at: UnixMillis) -> f64 {
        self.least.max_over(dwell.after, at).map_or(0.0, |least| -least).min(now)
    }

    /// What would have sufficed, once that is known.
    pub(crate) fn sufficed(&self, dwell: Dwell, at: UnixMillis) -> Option<f64> {
        self.most.max_over(dwell.keep, at)
    }
}
