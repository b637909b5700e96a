//! Points in time as they travel between parts. Nothing here reads a clock: shells pass time in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How far a clock is ahead of UTC or behind it at most, in milliseconds.
const AHEAD_MAX: u64 = 14 * 3_600_000;
const BEHIND_MAX: u64 = 12 * 3_600_000;

/// Milliseconds since 1970-01-01T00:00:00Z, by the wall clock of whoever wrote it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// A date and time of day in UTC, from 1970 to 9999; `None` for one that no calendar has. A leap
    /// second counts as the one before it.
    #[must_use]
    pub fn utc((year, month, day): (u64, u64, u64), (h, m, s): (u64, u64, u64)) -> Option<Self> {
        const DAYS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let of_month = DAYS.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
        let of_month = of_month + u64::from(leap && month == 2);
        let good = (1970..=9999).contains(&year) && (1..=of_month).contains(&day);
        if !good || h > 23 || m > 59 || s > 60 {
            return None;
        }
        // Days from civil, the converse of what `Display` does: years begin in March.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let of_year = (153 * month + 2) / 5 + day - 1;
        let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468;
        Some(Self((days * 86_400 + h * 3600 + m * 60 + s.min(59)) * 1000))
    }

    /// `self`, told by a clock whose offset from UTC is `offset` (`+01:00`, `-0700` or `Z`), in UTC. Clocks
    /// are from 12 hours behind to 14 ahead; `None` for what no clock is.
    #[must_use]
    pub fn from_zone(self, offset: &str) -> Option<Self> {
        if offset.eq_ignore_ascii_case("z") {
            return Some(self);
        }
        let (hours, minutes) = match offset.as_bytes() {
            [b'+' | b'-', _, _, b':', _, _] => (offset.get(1..3)?, offset.get(4..6)?),
            [b'+' | b'-', _, _, _, _] => (offset.get(1..3)?, offset.get(3..5)?),
            _ => return None,
        };
        let minutes = digits(minutes).filter(|minutes| *minutes < 60)?;
        let millis = (digits(hours)? * 60 + minutes) * 60_000;
        let utc = if offset.starts_with('+') {
            self.0.checked_sub(Some(millis).filter(|ahead| *ahead <= AHEAD_MAX)?)?
        } else {
            self.0.checked_add(Some(millis).filter(|behind| *behind <= BEHIND_MAX)?)?
        };
        Some(Self(utc))
    }

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

/// A number written in digits alone.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A text that is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no time such as 2026-11-23T11:19:48Z")]
pub struct BadTime;

impl FromStr for UnixMillis {
    type Err = BadTime;

    /// RFC 3339, to the millisecond.
    fn from_str(text: &str) -> Result<Self, BadTime> {
        read(text).ok_or(BadTime)
    }
}

fn read(text: &str) -> Option<UnixMillis> {
    let marks = [(4, "-"), (7, "-"), (13, ":"), (16, ":")];
    let marked = marks.iter().all(|(at, mark)| text.get(*at..*at + 1) == Some(mark));
    if !marked || !matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' ')) {
        return None;
    }
    let part = |from: usize, to: usize| text.get(from..to).and_then(digits);
    let date = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let seconds = UnixMillis::utc(date, (part(11, 13)?, part(14, 16)?, part(17, 19)?))?;
    let rest = text.get(19..)?;
    let (millis, zone) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
            let (fraction, zone) = rest.split_at(end);
            (digits(&format!("{fraction:0<3}")[..3])?, zone)
        }
    };
    seconds.plus_millis(millis).from_zone(zone)
}

impl fmt::Display for UnixMillis {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((year, month, day), of_day) = (self.date(), self.0 % 86_400_000);
        let (h, m, s, ms) =
            (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60, of_day % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
    }
}

impl UnixMillis {
    /// The month of UTC that it is in, counted through all years.
    #[must_use]
    pub fn month(self) -> u64 {
        let (year, month, _) = self.date();
        year * 12 + month - 1
    }

    /// Year, month and day in UTC, by the civil-from-days algorithm of Howard Hinnant
    /// (<https://howardhinnant.github.io/date_algorithms.html>).
    fn date(self) -> (u64, u64, u64) {
        let z = self.0 / 86_400_000 + 719_468;
        let era = z / 146_097;
        let day_of_era = z % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_index = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_index + 2) / 5 + 1;
        let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
        (year_of_era + era * 400 + u64::from(month <= 2), month, day)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BadTime, UnixMillis, secs_of};

    proptest! {
        #[test]
        fn what_is_written_is_read(millis in 0u64..253_402_300_800_000) {
            let at = UnixMillis(millis);
            prop_assert_eq!(at.to_string().parse(), Ok(at));
        }

        #[test]
        fn no_text_breaks_the_reader(text in ".{0,40}", digits in "[0-9T:Z. +-]{0,30}") {
            let _either = (text.parse::<UnixMillis>(), digits.parse::<UnixMillis>());
        }
    }

    #[test]
    fn times_are_read_in_any_zone() {
        for text in [
            "2026-11-23T11:19:48.001Z",
            "2026-11-23t12:19:48.0019999+01:00",
            "2026-11-23 04:19:48.001-0700",
        ] {
            assert_eq!(text.parse(), Ok(UnixMillis(1_795_432_788_001)), "{text}");
        }
        assert_eq!("2016-12-31T23:59:60Z".parse(), Ok(UnixMillis(1_483_228_799_000)));
        for bad in [
            "",
            "2026-11-23",
            "2026-11-23T11:19:48",
            "2026-11-23T11:19:48.Z",
            "2026-02-29T11:19:48Z",
            "2026-00-10T11:19:48Z",
            "2026-11-23T24:00:00Z",
            "1969-12-31T23:00:00Z",
            "1970-01-01T00:00:00+01:00",
            "2026-11-23T11:19:48+é1:00",
            "+026-11-23T11:19:48Z",
            "2026-11-23T11:19:48+99:99",
            "2026-11-23T11:19:48+14:01",
            "2026-11-23T11:19:48-12:01",
            "2026-11-23T11:19:48+00:60",
        ] {
            assert_eq!(bad.parse::<UnixMillis>(), Err(BadTime), "{bad}");
        }
    }

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
    fn months_are_those_of_the_calendar() {
        let month = |date| UnixMillis::utc(date, (0, 0, 0)).unwrap().month();
        let of = |year: u64, month: u64| year * 12 + month - 1;
        assert_eq!(month((2028, 2, 29)), of(2028, 2));
        let begins = UnixMillis::utc((2027, 1, 1), (0, 0, 0)).unwrap();
        assert_eq!((begins.month(), UnixMillis(begins.0 - 1).month()), (of(2027, 1), of(2026, 12)));
        assert_eq!(UnixMillis(0).month(), of(1970, 1));
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
