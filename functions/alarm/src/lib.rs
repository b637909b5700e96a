//! From what CloudWatch tells of an alarm to the change that the agent takes at `POST /v1/alarms`.
//!
//! ```text
//!   SNS, SQS, EventBridge, DescribeAlarms ─▶ read ─▶ AlarmChange ─▶ deliver ─▶ every agent
//!                                            (pure)
//! ```
//!
//! Which tier an alarm asks for stands in its description (see [`request`]) and nowhere else. An alarm
//! without such a line asks for nothing, and is no change.

pub mod deliver;
mod form;
mod moment;
pub mod request;
#[cfg(test)]
mod tests;

use spillway_model::UnixMillis;
use spillway_model::api::{ALARM_CHARS_MAX, AlarmChange, AlarmState, BY_CHARS_MAX, unprintable};

pub use form::{read, read_value};
pub use moment::moment;
pub use request::BadRequest;

/// Why what was told of an alarm cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum BadEvent {
    /// It is no JSON, or the text in one of its envelopes is not.
    #[error("it is not JSON")]
    Json(#[source] serde_json::Error),
    /// It is JSON of another kind.
    #[error(
        "it is in none of the forms that tell of alarms: a notification of SNS, a message of SQS, an event of EventBridge, an answer of DescribeAlarms"
    )]
    Form,
    /// A member is not there, or is no text.
    #[error("`{0}` is missing, or is not text")]
    Member(&'static str),
    /// A message of SNS that notifies of nothing, such as the confirmation of a subscription.
    #[error("SNS sends a `{0}` here, which is no Notification")]
    NoNotification(String),
    /// There is no such state.
    #[error("`{0}` is not a state of an alarm: there are OK, ALARM and INSUFFICIENT_DATA")]
    State(String),
    /// There is no such time.
    #[error("`{0}` is not a time such as 2026-11-23T17:04:40.985+0000")]
    Time(String),
    /// No alarm can be called so.
    #[error("`{0}` cannot be the name of an alarm")]
    Name(String),
    /// The description asks, but not in words that are known.
    #[error("the description of alarm `{alarm}` asks for what cannot be")]
    Request {
        /// Which alarm.
        alarm: String,
        /// What is wrong with it.
        #[source]
        source: BadRequest,
    },
}

/// What is told of one alarm, in whatever form.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Its name.
    pub alarm: &'a str,
    /// What it changed to, as CloudWatch writes it: `OK`, `ALARM` or `INSUFFICIENT_DATA`.
    pub state: &'a str,
    /// When it did.
    pub changed_at: UnixMillis,
    /// Its description, if it has one.
    pub description: Option<&'a str>,
    /// Why it changed.
    pub reason: &'a str,
}

/// The change that the agent should hear of; `None` when the alarm asks for no tier.
///
/// # Errors
/// When there is no such state, no alarm can be called so, or the description asks for what cannot be.
pub fn change(told: &Told<'_>) -> Result<Option<AlarmChange>, BadEvent> {
    let chars = told.alarm.chars().count();
    if !(1..=ALARM_CHARS_MAX).contains(&chars) || told.alarm.chars().any(unprintable) {
        return Err(BadEvent::Name(quoted(told.alarm)));
    }
    let state = match told.state {
        "OK" => AlarmState::Ok,
        "ALARM" => AlarmState::Alarm,
        "INSUFFICIENT_DATA" => AlarmState::InsufficientData,
        other => return Err(BadEvent::State(quoted(other))),
    };
    let request = match request::of(told.description.unwrap_or_default()) {
        Ok(Some(request)) => request,
        Ok(None) => return Ok(None),
        Err(source) => return Err(BadEvent::Request { alarm: quoted(told.alarm), source }),
    };
    Ok(Some(AlarmChange {
        alarm: told.alarm.to_owned(),
        state,
        changed_at: told.changed_at,
        tier: request.tier,
        lease_secs: request.lease_secs,
        site: request.site,
        why: printable(told.reason),
    }))
}

/// The reason on one line, as long as the agent takes it.
fn printable(reason: &str) -> String {
    let clean = reason.chars().map(|c| if unprintable(c) { ' ' } else { c });
    let clean: String = clean.collect();
    let short: String = clean.trim().chars().take(BY_CHARS_MAX).collect();
    if short.is_empty() { "no reason is given".to_owned() } else { short }
}

/// The beginning of what others wrote, for a message about it.
fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut quoted: String = text.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        quoted.push('…');
    }
    quoted
}
