//! The largest value of some time, in a bounded number of buckets.

use serde::{Deserialize, Serialize};
use spillway_model::UnixMillis;

/// How long a window is, and how often it is given a value, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) millis: u64,
    pub(crate) tick_millis: u64,
}

impl Span {
    pub(crate) fn secs(secs: u64, tick_millis: u64) -> Self {
        Self { millis: secs.saturating_mul(1000), tick_millis }
    }

    /// Milliseconds of one bucket: some sixty make a window.
    fn width(self) -> u64 {
        self.tick_millis.max(self.millis / 60)
    }
}

/// The values of one [`Span`], which is the same in every call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Start of each bucket and its maximum, oldest first.
    buckets: Vec<(UnixMillis, f64)>,
}

impl Window {
    pub(crate) fn push(&mut self, span: Span, at: UnixMillis, value: f64) {
        let width = span.width();
        // One bucket that began before the span is kept: its data reaches into it.
        let kept = span.millis.saturating_add(width);
        self.buckets.retain(|(start, _)| *start <= at && at.millis_since(*start) <= kept);
        match self.buckets.last_mut() {
            // Ticks are not exact to the millisecond: half a tick early is the next bucket.
            Some((start, max)) if at.millis_since(*start) + span.tick_millis / 2 < width => {
                *max = max.max(value);
            }
            _ => self.buckets.push((at, value)),
        }
    }

    /// The maximum, if there has been data for the whole span, give or take gaps of half.
    pub(crate) fn max_over(&self, span: Span, at: UnixMillis) -> Option<f64> {
        let (first, _) = self.buckets.first()?;
        let covered = at.millis_since(*first) + span.tick_millis / 2 >= span.millis;
        let dense = self.buckets.len() as u64 * span.width() * 2 >= span.millis;
        let values = || self.buckets.iter().map(|(_, max)| *max);
        (covered && dense).then(|| values().fold(f64::NEG_INFINITY, f64::max))
    }
}
