//! `combined` of Nginx and Apache, and what people append to it.
//!
//! ```text
//! 2001:db8::7 - ann [23/Nov/2026:11:19:48 +0100] "GET /a?b HTTP/1.1" 200 512 "https://…" "Mozilla…" 0.025
//! ```

use spillway_model::UnixMillis;

use super::words::{Words, seconds};
use super::{BadLine, Entry, request, whole};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// What the request time may be called, and the time of the servers behind, which is told first.
const TIMES: [&str; 2] = ["rt", "request_time"];
const SERVICE_TIMES: [&str; 2] = ["urt", "upstream_response_time"];

pub(super) fn parse(line: &str) -> Result<Entry<'_>, BadLine> {
    let (end, rest) = time(line).ok_or(BadLine::Field("has no time in brackets"))?;
    let mut words = Words(rest);
    let first = words.next().filter(|word| word.quoted);
    let first = first.ok_or(BadLine::Field("has no request in quotes after its time"))?;
    let status = words.next().and_then(|word| self::status(word.text));
    let status = status.ok_or(BadLine::Field("has no status after its request"))?;
    let bytes = words.next().and_then(|word| match word.text {
        "-" => Some(0),
        text => text.parse().ok(),
    });
    let bytes = bytes.ok_or(BadLine::Field("has no number of bytes after its status"))?;
    let (took, service_secs) = times(words);
    let took = took.or(service_secs);
    let request = request::parse(first.text);
    // The time is that of the end, cut to the second: in the mean, half a second later.
    let end = end.plus_millis(500);
    Ok(Entry {
        at: UnixMillis(end.0.saturating_sub(took.map_or(0, super::survey::millis))),
        route: None,
        status,
        bytes,
        service_secs: service_secs.or(took),
        answered: whole(status) && request.is_some(),
        request,
    })
}

/// How long it took, and how long the servers behind did.
fn times(words: Words<'_>) -> (Option<f64>, Option<f64>) {
    let (mut took, mut service, mut bare) = (None, None, None);
    // The first two are where the client came from and what it is.
    for (place, word) in words.enumerate() {
        let pair = word.text.split_once('=').filter(|_| !word.quoted);
        if let Some((name, value)) = pair {
            let value = seconds(value.trim_matches('"'));
            if TIMES.contains(&name) {
                took = took.or(value);
            } else if SERVICE_TIMES.contains(&name) {
                service = service.or(value);
            }
        } else if place >= 2 && word.text.contains('.') {
            bare = bare.or_else(|| seconds(word.text));
        }
    }
    (took.or(bare), service)
}

pub(super) fn status(text: &str) -> Option<u16> {
    let is_status = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_status.then(|| text.parse().ok())?
}

/// The time of a line, and what stands behind it. An IPv6 address may stand in brackets before it.
fn time(line: &str) -> Option<(UnixMillis, &str)> {
    let mut rest = line;
    loop {
        let (_, inner) = rest.split_once('[')?;
        if let Some((text, behind)) = inner.split_once(']')
            && let Some(at) = moment(text)
        {
            return Some((at, behind));
        }
        rest = inner;
    }
}

/// `23/Nov/2026:11:19:48 +0100`.
fn moment(text: &str) -> Option<UnixMillis> {
    let (day, rest) = text.split_once('/')?;
    let (month, rest) = rest.split_once('/')?;
    let (year, rest) = rest.split_once(':')?;
    let (clock, zone) = rest.split_once(' ')?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let mut clock = clock.split(':').map(|part| part.parse().ok());
    let clock = (clock.next()??, clock.next()??, clock.next()??);
    UnixMillis::utc((year.parse().ok()?, month, day.parse().ok()?), clock)?.from_zone(zone)
}
