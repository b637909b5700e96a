//! The forms in which CloudWatch's alarms reach a reader, and the envelopes they come in.
//!
//! | from | form |
//! | --- | --- |
//! | Lambda, called by SNS or SQS | `Records[].Sns.Message`, `Records[].body` |
//! | Lambda, called by an alarm | `alarmData` |
//! | SNS to a queue or an endpoint | `Message` of a `Notification`; or the message itself |
//! | EventBridge | `detail` of a `CloudWatch Alarm State Change` |
//! | DescribeAlarms | `MetricAlarms` and `CompositeAlarms`, or one of their entries |

use serde_json::Value;
use spillway_model::UnixMillis;
use spillway_model::api::AlarmChange;

use crate::{BadEvent, Told, change, moment, quoted};

/// A message of SQS in an event of Lambda holds a notification of SNS that holds the alarm: deeper
/// than that, no envelope is opened.
const ENVELOPES_MAX: u32 = 3;
/// How EventBridge calls a change of an alarm.
const STATE_CHANGE: &str = "CloudWatch Alarm State Change";

type Found = Vec<Result<AlarmChange, BadEvent>>;

/// All changes that a document tells of, each or why it cannot be understood: one that cannot does
/// not keep the others from the agent. Alarms that ask for no tier are left out, and so are events of
/// EventBridge about other things than alarms.
#[must_use]
pub fn read(json: &[u8]) -> Vec<Result<AlarmChange, BadEvent>> {
    match serde_json::from_slice(json) {
        Ok(value) => read_value(&value),
        Err(e) => vec![Err(BadEvent::Json(e))],
    }
}

/// [`read`], of JSON that is parsed already.
#[must_use]
pub fn read_value(document: &Value) -> Vec<Result<AlarmChange, BadEvent>> {
    let mut found = Found::new();
    open(document, ENVELOPES_MAX, &mut found);
    found
}

fn open(document: &Value, envelopes: u32, found: &mut Found) {
    let Some(object) = document.as_object() else { return found.push(Err(BadEvent::Form)) };
    let list = |name: &str| object.get(name).and_then(Value::as_array);
    if let Some(records) = list("Records") {
        for record in records {
            let text = match record.get("Sns") {
                Some(sns) => member(sns, "Message"),
                None => member(record, "body"),
            };
            open_text(text, envelopes, found);
        }
    } else if object.contains_key("TopicArn") {
        let kind = object.get("Type").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "Notification" => open_text(member(document, "Message"), envelopes, found),
            other => found.push(Err(BadEvent::NoNotification(quoted(other)))),
        }
    } else if let Some(kind) = object.get("detail-type").and_then(Value::as_str) {
        if kind == STATE_CHANGE {
            keep(told_by_event(object.get("detail")), found);
        }
    } else if object.contains_key("alarmData") {
        keep(told_by_event(object.get("alarmData")), found);
    } else if object.contains_key("NewStateValue") {
        keep(told_by_notification(document), found);
    } else if object.contains_key("StateValue") {
        keep(described(document), found);
    } else if list("MetricAlarms").is_some() || list("CompositeAlarms").is_some() {
        let entries = ["MetricAlarms", "CompositeAlarms"].into_iter().filter_map(list);
        entries.flatten().for_each(|entry| keep(described(entry), found));
    } else {
        found.push(Err(BadEvent::Form));
    }
}

fn open_text(text: Result<&str, BadEvent>, envelopes: u32, found: &mut Found) {
    let text = match (text, envelopes) {
        (Ok(_), 0) => return found.push(Err(BadEvent::Form)),
        (Ok(text), _) => text,
        (Err(e), _) => return found.push(Err(e)),
    };
    match serde_json::from_str(text) {
        Ok(inner) => open(&inner, envelopes - 1, found),
        Err(e) => found.push(Err(BadEvent::Json(e))),
    }
}

fn keep(change: Result<Option<AlarmChange>, BadEvent>, found: &mut Found) {
    found.extend(change.transpose());
}

/// The message that CloudWatch publishes to a topic, of alarms on metrics and on alarms alike.
fn told_by_notification(message: &Value) -> Result<Option<AlarmChange>, BadEvent> {
    change(&Told {
        alarm: member(message, "AlarmName")?,
        state: member(message, "NewStateValue")?,
        changed_at: time(message.get("StateChangeTime"), "StateChangeTime")?,
        description: optional(message, "AlarmDescription")?,
        reason: member(message, "NewStateReason").unwrap_or_default(),
    })
}

/// What EventBridge has in `detail`, and an alarm that calls a function itself in `alarmData`.
fn told_by_event(detail: Option<&Value>) -> Result<Option<AlarmChange>, BadEvent> {
    let detail = detail.ok_or(BadEvent::Member("detail"))?;
    let state = detail.get("state").ok_or(BadEvent::Member("state"))?;
    let told = Told {
        alarm: member(detail, "alarmName")?,
        state: member(state, "value")?,
        changed_at: time(state.get("timestamp"), "timestamp")?,
        description: match detail.get("configuration") {
            Some(configuration) => optional(configuration, "description")?,
            None => None,
        },
        reason: member(state, "reason").unwrap_or_default(),
    };
    unless_suppressed(&told, state.get("actionsSuppressedBy"))
}

/// An entry of what DescribeAlarms answers.
fn described(entry: &Value) -> Result<Option<AlarmChange>, BadEvent> {
    let told = Told {
        alarm: member(entry, "AlarmName")?,
        state: member(entry, "StateValue")?,
        changed_at: time(entry.get("StateUpdatedTimestamp"), "StateUpdatedTimestamp")?,
        description: optional(entry, "AlarmDescription")?,
        reason: member(entry, "StateReason").unwrap_or_default(),
    };
    unless_suppressed(&told, entry.get("ActionsSuppressedBy"))
}

/// While another alarm suppresses the actions of an alarm on alarms, its topic hears nothing of a
/// change to ALARM. Whoever hears of it by another way does nothing either.
fn unless_suppressed(
    told: &Told<'_>,
    suppressor: Option<&Value>,
) -> Result<Option<AlarmChange>, BadEvent> {
    let suppressed = suppressor.is_some_and(|by| !by.is_null()) && told.state == "ALARM";
    if suppressed { Ok(None) } else { change(told) }
}

fn member<'a>(of: &'a Value, name: &'static str) -> Result<&'a str, BadEvent> {
    of.get(name).and_then(Value::as_str).ok_or(BadEvent::Member(name))
}

/// A text that may be left out, or null.
fn optional<'a>(of: &'a Value, name: &'static str) -> Result<Option<&'a str>, BadEvent> {
    match of.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(BadEvent::Member(name)),
    }
}

/// A time as text, or in seconds since 1970, as the API itself has it.
fn time(value: Option<&Value>, name: &'static str) -> Result<UnixMillis, BadEvent> {
    match value {
        Some(Value::String(text)) => moment(text).ok_or_else(|| BadEvent::Time(quoted(text))),
        Some(Value::Number(seconds)) => {
            let millis = seconds.as_f64().map(|seconds| (seconds * 1000.0).round());
            let millis = millis.filter(|millis| (0.0..MILLIS_MAX).contains(millis));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a whole number below 2^53"
            )]
            millis
                .map(|millis| UnixMillis(millis as u64))
                .ok_or_else(|| BadEvent::Time(quoted(&seconds.to_string())))
        }
        _ => Err(BadEvent::Member(name)),
    }
}

/// Whole numbers below this are exact as a float.
const MILLIS_MAX: f64 = 9_007_199_254_740_992.0;
