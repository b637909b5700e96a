//! Answers in XML.

use serde_json::Value;

use crate::aws::Refusal;
use crate::time;

/// An answer of EC2, whose lists have items.
pub(super) fn ec2(action: &str, value: &Value, id: &str) -> String {
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>{id}</requestId>"
    );
    members(&mut out, value, "item");
    out.push_str(&format!("</{action}Response>"));
    out
}

/// An answer of the other services, whose lists have members.
pub(super) fn query(action: &str, namespace: &str, value: &Value, id: &str) -> String {
    let mut out = format!("<{action}Response xmlns=\"{namespace}\"><{action}Result>");
    members(&mut out, value, "member");
    out.push_str(&format!(
        "</{action}Result><ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{action}Response>"
    ));
    out
}

pub(super) fn ec2_error(refusal: &Refusal, id: &str) -> String {
    let (code, message) = (escaped(&refusal.code), escaped(&refusal.message));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>{id}</RequestID></Response>"
    )
}

pub(super) fn query_error(refusal: &Refusal, namespace: &str, id: &str) -> String {
    let (code, message) = (escaped(&refusal.code), escaped(&refusal.message));
    let whose = if refusal.status < 500 { "Sender" } else { "Receiver" };
    format!(
        "<ErrorResponse xmlns=\"{namespace}\"><Error><Type>{whose}</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>{id}</RequestId></ErrorResponse>"
    )
}

fn members(out: &mut String, value: &Value, item: &str) {
    match value {
        Value::Object(all) => {
            if let Some(ms) = all.get(time::MARK).and_then(Value::as_u64) {
                out.push_str(&time::iso(ms, "Z"));
            } else if let Some(Value::Array(list)) = all.get("$list") {
                let (name, elements) = (list.first(), list.get(1));
                let name = name.and_then(Value::as_str).unwrap_or(item);
                let elements = elements.and_then(Value::as_array);
                elements.into_iter().flatten().for_each(|value| element(out, name, value, item));
            } else {
                all.iter().for_each(|(name, value)| element(out, name, value, item));
            }
        }
        Value::Array(all) => all.iter().for_each(|value| element(out, item, value, item)),
        Value::String(text) => out.push_str(&escaped(text)),
        Value::Null => {}
        other => out.push_str(&other.to_string()),
    }
}

fn element(out: &mut String, name: &str, value: &Value, item: &str) {
    if !value.is_null() {
        out.push_str(&format!("<{name}>"));
        members(out, value, item);
        out.push_str(&format!("</{name}>"));
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
