//! Dates, and how far a clock is ahead of UTC, as configurations write them.

use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::UnixMillis;

const DAY_MILLIS: u64 = 86_400_000;

/// A day of the calendar, such as 2026-12-25.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(u64);

impl Date {
    /// Days since 1970-01-01.
    #[must_use]
    pub fn day(self) -> u64 {
        self.0
    }
}

/// A text that is no date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no date such as 2026-12-25")]
pub struct BadDate(String);

impl FromStr for Date {
    type Err = BadDate;

    fn from_str(text: &str) -> Result<Self, BadDate> {
        let date = format!("{text}T00:00:00Z").parse::<UnixMillis>();
        // The time's reader takes nothing but digits and these marks at their places.
        let good = date.ok().filter(|_| text.len() == 10);
        good.map(|at| Self(at.0 / DAY_MILLIS)).ok_or_else(|| BadDate(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How far a clock is ahead of UTC, such as +01:00.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UtcOffset {
    ahead: u64,
    behind: u64,
}

impl UtcOffset {
    /// What such a clock shows at `at`, as if that were UTC.
    #[must_use]
    pub fn local(self, at: UnixMillis) -> UnixMillis {
        UnixMillis(at.0.saturating_add(self.ahead).saturating_sub(self.behind))
    }
}

/// A text that is no offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no offset from UTC such as +01:00, from -12:00 to +14:00")]
pub struct BadOffset(String);

impl FromStr for UtcOffset {
    type Err = BadOffset;

    fn from_str(text: &str) -> Result<Self, BadOffset> {
        let noon = UnixMillis(30 * DAY_MILLIS);
        let utc = noon.from_zone(text).ok_or_else(|| BadOffset(text.to_owned()))?;
        Ok(Self { ahead: noon.millis_since(utc), behind: utc.millis_since(noon) })
    }
}

impl<'de> Deserialize<'de> for UtcOffset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days() {
        assert_eq!("1970-01-01".parse(), Ok(Date(0)));
        assert_eq!("2026-12-25".parse(), Ok(Date(20_812)));
        for bad in ["2026-02-29", "2026-1-1", "25.12.2026", "", "2026-12-25T", "2026-12-2é"] {
            assert_eq!(bad.parse::<Date>(), Err(BadDate(bad.to_owned())));
        }
    }

    #[test]
    fn clocks_are_ahead_or_behind() {
        let noon = UnixMillis(86_400_000);
        let local = |text: &str| text.parse::<UtcOffset>().map(|offset| offset.local(noon).0);
        assert_eq!(local("+01:00"), Ok(90_000_000));
        assert_eq!(local("-0330"), Ok(73_800_000));
        assert_eq!(local("Z"), Ok(86_400_000));
        for bad in ["1", "+14:01", "-12:30", "Europe/Berlin", "+99:99", "+01:60"] {
            assert_eq!(local(bad), Err(BadOffset(bad.to_owned())));
        }
    }
}
