//! Points in time as AWS writes and reads them. Inside, a time is milliseconds since the epoch.

use serde_json::{Value, json};

/// Marks a time in an answer, which each protocol writes in its own way.
pub(crate) const MARK: &str = "$time";

/// A time in an answer.
pub(crate) fn value(ms: u64) -> Value {
    json!({ MARK: ms })
}

/// Year, month, day of a day since the epoch (proleptic Gregorian).
fn civil(day: u64) -> (u64, u64, u64) {
    let z = day + 719_468;
    let era = z / 146_097;
    let of_era = z % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

/// The day since the epoch; none before it.
fn day_of(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    (era * 146_097 + of_era).checked_sub(719_468)
}

/// `2026-11-23T15:40:40.123` and a zone, such as `Z` or `+0000`.
pub(crate) fn iso(ms: u64, zone: &str) -> String {
    let (year, month, day) = civil(ms / 86_400_000);
    let seconds = ms / 1_000 % 86_400;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = ms % 1_000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}{zone}")
}

/// Reads ISO 8601 in UTC, or seconds since the epoch.
pub(crate) fn parse(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds >= 0.0).then(|| rounded(seconds * 1_000.0));
    }
    let text = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00")).unwrap_or(text);
    let (date, clock) = text.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let mut clock = clock.split(':');
    let (hour, minute) = (clock.next()?.parse::<u64>().ok()?, clock.next()?.parse::<u64>().ok()?);
    let second: f64 = clock.next().unwrap_or("0").parse().ok()?;
    let minutes = day_of(year, month, day)? * 1_440 + hour * 60 + minute;
    Some(minutes * 60_000 + rounded(second * 1_000.0))
}

/// The nearest whole number of milliseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "no test lives so long, and a negative time is clamped"
)]
pub(crate) fn rounded(ms: f64) -> u64 {
    ms.max(0.0).round() as u64
}
