//! Days: which day of the week a moment is, and which days are holidays.
//!
//! Demand is kept by the hours of UTC, so that only what begins at midnight needs to know where people live:
//! holidays. When clocks change, people come an hour sooner or later by UTC; that is learned anew within
//! some days, and until then the forecast counts no more than it is worth.

use std::collections::BTreeSet;

use spillway_model::{Date, UnixMillis, UtcOffset};

const DAY_MILLIS: u64 = 86_400_000;
/// Days from a Sunday to 1970-01-01.
const FIRST: u64 = 4;

/// Holidays, and when days begin.
#[derive(Debug, Clone, Default)]
pub struct Calendar {
    holidays: BTreeSet<u64>,
    offset: UtcOffset,
}

impl Calendar {
    /// Of days that are told by a clock that is `offset` ahead of UTC.
    #[must_use]
    pub fn new(holidays: &[Date], offset: UtcOffset) -> Self {
        Self { holidays: holidays.iter().map(|date| date.day()).collect(), offset }
    }

    /// Days since the Sunday before, if it is a holiday.
    pub(crate) fn holiday(&self, at: UnixMillis) -> Option<u64> {
        let day = self.offset.local(at).0 / DAY_MILLIS;
        self.holidays.contains(&day).then_some((day + FIRST) % 7)
    }
}
