//! Points in time as AWS writes them.

use spillway_model::UnixMillis;

/// Reads an ISO 8601 time with a zone, such as `2026-11-23T17:04:40.985+0000`, `…+00:00` or `…Z`, to the
/// millisecond. `None` when it is none, or before 1970.
#[must_use]
pub fn moment(text: &str) -> Option<UnixMillis> {
    let (date, time) = text.split_once('T')?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let zone = time.find(['Z', '+', '-'])?;
    let (time, zone) = time.split_at_checked(zone)?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let is_date = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    // A minute may have a leap second.
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_before(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let millis = (seconds - offset_secs(zone)?) * 1000 + millis_of(fraction)?;
    u64::try_from(millis).ok().map(UnixMillis)
}

/// Three numbers of so many digits each.
fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(between);
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        *number = parts.next().filter(|part| part.len() == digits).and_then(number_of)?;
    }
    parts.next().is_none().then_some(numbers)
}

fn number_of(digits: &str) -> Option<i64> {
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| digits.parse().ok()).flatten()
}

/// Digits after the point, up to nanoseconds; what is below a millisecond is cut off.
fn millis_of(fraction: &str) -> Option<i64> {
    if !(1..=9).contains(&fraction.len()) {
        return None;
    }
    number_of(&format!("{fraction:0<9}")).map(|nanos| nanos / 1_000_000)
}

/// `Z`, `+hhmm` or `+hh:mm`.
fn offset_secs(zone: &str) -> Option<i64> {
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("Z", "") => return Some(0),
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = match digits.split_once(':') {
        Some((hours, minutes)) if hours.len() == 2 => format!("{hours}{minutes}"),
        Some(_) => return None,
        None => digits.to_owned(),
    };
    let number = number_of(&digits).filter(|_| digits.len() == 4)?;
    let (hours, minutes) = (number / 100, number % 100);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar. A year is counted from March, so that the
/// day that some years have is its last.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}
