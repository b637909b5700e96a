//! Points in time as they travel between parts. Nothing here reads a clock: shells pass time in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z, by the wall clock of whoever wrote it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// `self` plus whole seconds, saturating.
    #[must_use]
    pub fn plus_secs(self, secs: u64) -> Self {
        Self(self.0.saturating_add(secs.saturating_mul(1000)))
    }

    /// `self` plus milliseconds, saturating.
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to `self`; zero when `earlier` is not earlier.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Seconds of a time as people write it, a number and `s`, `m` or `h`: from `1s` to `24h`.
#[must_use]
pub fn secs_of(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let secs = number.parse::<u64>().ok()?.checked_mul(factor)?;
    (1..=86_400).contains(&secs).then_some(secs)
}

impl fmt::Display for UnixMillis {
    /// RFC 3339 in UTC with milliseconds, by the civil-from-days algorithm of Howard Hinnant
    /// (<https://howardhinnant.github.io/date_algorithms.html>).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, of_day) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let z = days + 719_468;
        let era = z / 146_097;
        let day_of_era = z % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_index = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_index + 2) / 5 + 1;
        let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (h, m, s, ms) =
            (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60, of_day % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::{UnixMillis, secs_of};

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        for (text, secs) in [
            ("1s", Some(1)),
            ("15m", Some(900)),
            ("24h", Some(86_400)),
            ("25h", None),
            ("0s", None),
            ("90", None),
            ("m", None),
            ("+5s", None),
            ("5 m", None),
            ("5é", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(secs_of(text), secs, "{text}");
        }
    }

    #[test]
    fn displays_rfc3339() {
        assert_eq!(UnixMillis(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(UnixMillis(951_827_696_789).to_string(), "2000-02-29T12:34:56.789Z");
        assert_eq!(UnixMillis(1_795_432_788_001).to_string(), "2026-11-23T11:19:48.001Z");
    }

    #[test]
    fn differences_saturate() {
        assert_eq!(UnixMillis(5).millis_since(UnixMillis(9)), 0);
        assert_eq!(UnixMillis(9).millis_since(UnixMillis(5)), 4);
        assert_eq!(UnixMillis(u64::MAX).plus_secs(1), UnixMillis(u64::MAX));
    }
}
