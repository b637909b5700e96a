//! The smoke invocation: the event that is sent to a version, and what its answer must be. Pure.

use serde_json::{Value, json};
use spillway_model::config::AwsProgram;

/// Most characters told of a wrong answer.
const CHARS_MAX: usize = 160;

/// An event that changes nothing: a request for `/healthz` as a load balancer puts it, or an account
/// without an alarm.
#[must_use]
pub(crate) fn event(program: AwsProgram, host: &str) -> Value {
    match program {
        AwsProgram::OneCode => json!({
            "requestContext": { "elb": {
                "targetGroupArn": "arn:aws:elasticloadbalancing:region:000000000000:targetgroup/smoke/0",
            } },
            "httpMethod": "GET",
            "path": "/healthz",
            "queryStringParameters": {},
            "headers": { "host": host, "user-agent": "spillway-deploy" },
            "body": "",
            "isBase64Encoded": false,
        }),
        AwsProgram::Alarm => json!({ "MetricAlarms": [], "CompositeAlarms": [] }),
    }
}

/// What an invocation gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'a> {
    /// How the function failed, if it did: `Unhandled` and such.
    pub error: Option<&'a str>,
    /// What it answered.
    pub payload: &'a [u8],
}

/// Reads the answer: a function behind the load balancer must have said 200, that of alarms how many
/// changes it has told, which are none.
///
/// # Errors
/// What is wrong with it, in a sentence for people.
pub(crate) fn passes(program: AwsProgram, answer: Answer<'_>) -> Result<(), String> {
    let said = String::from_utf8_lossy(answer.payload);
    let said: String =
        said.chars().take(CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if let Some(error) = answer.error {
        return Err(format!("the function failed ({error}): {said}"));
    }
    if program == AwsProgram::Alarm {
        let count = serde_json::from_slice::<u64>(answer.payload);
        return count.map(|_| ()).map_err(|_| format!("it answers no number: {said}"));
    }
    let status = serde_json::from_slice::<Value>(answer.payload).ok();
    match status.and_then(|answer| answer.get("statusCode")?.as_u64()) {
        Some(200) => Ok(()),
        Some(status) => Err(format!("it answers {status} and not 200: {said}")),
        None => Err(format!("it answers no status: {said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_200_or_wrong() {
        let told = |program, error, payload: &str| {
            passes(program, Answer { error, payload: payload.as_bytes() })
        };
        let service = AwsProgram::OneCode;
        assert_eq!(told(service, None, r#"{"statusCode":200,"body":"ok"}"#), Ok(()));
        for (error, payload, says) in [
            (None, r#"{"statusCode":503,"body":"not yet deployed"}"#, "503 and not 200"),
            (None, "null", "no status: null"),
            (None, "\u{1b}[2J", "no status:  [2J"),
            (Some("Unhandled"), r#"{"errorType":"Runtime.ExitError"}"#, "Runtime.ExitError"),
        ] {
            let said = told(service, error, payload).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
        assert_eq!(told(AwsProgram::Alarm, None, "0"), Ok(()));
        assert!(told(AwsProgram::Alarm, Some("Unhandled"), "{}").is_err());
        assert!(told(AwsProgram::Alarm, None, r#"{"statusCode":503}"#).is_err());
    }

    #[test]
    fn the_alarm_function_is_told_of_nothing() {
        assert!(spillway_alarm::read_value(&event(AwsProgram::Alarm, "")).is_empty());
    }
}
