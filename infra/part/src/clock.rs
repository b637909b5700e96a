//! The one place that reads the wall clock for what travels between parts.

use spillway_model::UnixMillis;

/// Milliseconds since the Unix epoch, now.
#[expect(clippy::disallowed_methods, reason = "the shells take their time from here")]
#[must_use]
pub fn now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixMillis(since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
}

/// A point on the monotonic clock, for measuring durations within a process.
#[expect(clippy::disallowed_methods, reason = "the shells take their time from here")]
#[must_use]
pub fn instant() -> std::time::Instant {
    std::time::Instant::now()
}
