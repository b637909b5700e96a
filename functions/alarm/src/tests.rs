use std::error::Error as _;

use proptest::prelude::*;
use serde_json::{Value, json};
use spillway_model::{SiteId, Tier};

use super::*;

const NOTIFICATION: &str = include_str!("samples/notification.json");
const COMPOSITE: &str = include_str!("samples/composite.json");
const EVENT: &str = include_str!("samples/event.json");
const COMPOSITE_EVENT: &str = include_str!("samples/composite_event.json");
const DESCRIBED: &str = include_str!("samples/described.json");

fn all(json: &str) -> Vec<AlarmChange> {
    read(json.as_bytes()).into_iter().collect::<Result<_, _>>().unwrap()
}

fn fault(json: &str) -> String {
    let mut found = read(json.as_bytes());
    assert_eq!(found.len(), 1, "{found:?}");
    let e = found.pop().unwrap().unwrap_err();
    e.source().map_or(e.to_string(), |source| format!("{e}: {source}"))
}

/// The change that the samples of alarm `shop/failing` tell of.
fn failing() -> AlarmChange {
    AlarmChange {
        alarm: "shop/failing".to_owned(),
        state: AlarmState::Alarm,
        changed_at: UnixMillis(1_795_453_212_345),
        tier: Tier::Visible,
        lease_secs: 600,
        site: None,
        why: "Threshold Crossed: 2 out of the last 3 datapoints [7.5 (23/11/26 16:59:00), 6.1 (23/11/26 16:58:00)] were greater than the threshold (2.0).".to_owned(),
    }
}

/// The envelope of SNS, with what its message is.
fn sns(message: &str) -> Value {
    json!({
        "Type": "Notification",
        "MessageId": "95df01b4-ee98-5cb9-9903-4c221d41eb5e",
        "TopicArn": "arn:aws:sns:eu-central-1:123456789012:shop-requests",
        "Subject": "ALARM: \"shop/failing\" in EU (Frankfurt)",
        "Message": message,
        "Timestamp": "2026-11-23T17:00:12.401Z",
        "SignatureVersion": "2",
        "Signature": "EXAMPLE",
        "SigningCertURL": "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0.pem",
        "UnsubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe",
    })
}

/// What Lambda gets from SQS.
fn sqs(body: &str) -> Value {
    json!({"messageId": "1", "receiptHandle": "h", "body": body, "eventSource": "aws:sqs"})
}

#[test]
fn one_change_reads_the_same_by_every_way() {
    let by_sns = sns(NOTIFICATION);
    let detail: Value = serde_json::from_str(EVENT).unwrap();
    let described: Value = serde_json::from_str(DESCRIBED).unwrap();
    let ways = [
        ("the message itself", NOTIFICATION.to_owned()),
        ("SNS to a queue, or to an endpoint", by_sns.to_string()),
        (
            "SNS to a function",
            json!({"Records": [{"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": by_sns}]})
                .to_string(),
        ),
        (
            "SNS by a queue to a function",
            json!({"Records": [sqs(&by_sns.to_string())]}).to_string(),
        ),
        ("EventBridge", EVENT.to_owned()),
        ("EventBridge by a queue to a function", json!({"Records": [sqs(EVENT)]}).to_string()),
        (
            "an alarm's call of a function",
            json!({"source": "aws.cloudwatch", "alarmData": detail["detail"]}).to_string(),
        ),
        ("DescribeAlarms, one entry", described["MetricAlarms"][0].to_string()),
    ];
    for (way, json) in ways {
        assert_eq!(all(&json), [failing()], "{way}");
    }
}

#[test]
fn alarms_on_alarms_have_no_metric() {
    let [over] = all(COMPOSITE).try_into().unwrap();
    assert_eq!((over.alarm.as_str(), over.state), ("shop/overwhelmed", AlarmState::Ok));
    assert_eq!((over.tier, over.lease_secs), (Tier::Severe, 300));
    assert_eq!(over.site, Some(SiteId::new("east").unwrap()));
    let [on] = all(COMPOSITE_EVENT).try_into().unwrap();
    assert_eq!((on.state, on.changed_at), (AlarmState::Alarm, UnixMillis(1_795_453_380_500)));
    assert_eq!((on.tier, &on.site), (Tier::Severe, &over.site));
}

/// Its topic does not hear of it either; that it is over is told all the same.
#[test]
fn a_suppressed_alarm_asks_for_nothing() {
    let mut event: Value = serde_json::from_str(COMPOSITE_EVENT).unwrap();
    event["detail"]["state"]["actionsSuppressedBy"] = "WaitPeriod".into();
    assert!(all(&event.to_string()).is_empty());
    event["detail"]["state"]["value"] = "OK".into();
    assert_eq!(all(&event.to_string()).len(), 1);
}

#[test]
fn what_describe_alarms_answers_is_read_whole() {
    let [first, last] = all(DESCRIBED).try_into().unwrap();
    assert_eq!(first, failing());
    assert_eq!((last.alarm.as_str(), last.state), ("shop/exhausted", AlarmState::InsufficientData));
    assert_eq!((last.changed_at, last.lease_secs), (first.changed_at, 3600));
    assert_eq!(last.why, "[2Jnobody  knows", "nothing in it rewrites a terminal");
}

#[test]
fn an_alarm_without_a_request_is_no_change() {
    for description in [
        Value::Null,
        "".into(),
        "The site is down.".into(),
        "spillway:tier=2 for=10m".into(),
        " spillway: tier=2 for=10m".into(),
        "The site is down.\nspillway: tier=2 for=10m".into(),
    ] {
        let mut message: Value = serde_json::from_str(NOTIFICATION).unwrap();
        message["AlarmDescription"] = description;
        assert!(all(&message.to_string()).is_empty(), "{message}");
    }
    let mut message: Value = serde_json::from_str(COMPOSITE).unwrap();
    message.as_object_mut().unwrap().remove("AlarmDescription");
    assert!(all(&message.to_string()).is_empty());
}

/// The queue of alarms holds EventBridge's news of other things, too.
#[test]
fn news_of_other_things_is_passed_over() {
    for kind in ["AWS Health Event", "EC2 Instance Launch Successful"] {
        let event = json!({"version": "0", "detail-type": kind, "source": "aws", "detail": {}});
        assert!(all(&event.to_string()).is_empty());
    }
}

#[test]
fn one_bad_record_does_not_hide_the_others() {
    let event = json!({"Records": [sqs("hello"), sqs(EVENT), {"body": 7}, 5]});
    let found = read(event.to_string().as_bytes());
    let good: Vec<_> = found.iter().map(Result::is_ok).collect();
    assert_eq!(good, [false, true, false, false]);
    assert_eq!(found[1].as_ref().unwrap(), &failing());
}

#[test]
fn what_cannot_be_read_is_named() {
    let changed = |path: &str, value: Value| {
        let mut message: Value = serde_json::from_str(NOTIFICATION).unwrap();
        message[path] = value;
        message.to_string()
    };
    let deep = |n: u32| (0..n).fold(NOTIFICATION.to_owned(), |text, _| sns(&text).to_string());
    assert_eq!(all(&deep(3)), [failing()]);
    let confirmation = json!({"Type": "SubscriptionConfirmation", "TopicArn": "a", "Token": "t"});
    for (json, says) in [
        ("", "not JSON"),
        ("hello", "not JSON"),
        ("[]", "none of the forms"),
        ("{}", "none of the forms"),
        ("7", "none of the forms"),
        (r#"{"Records":[{}]}"#, "`body` is missing"),
        (r#"{"Records":[{"Sns":{"Message":null}}]}"#, "`Message` is missing"),
        (r#"{"detail-type":"CloudWatch Alarm State Change"}"#, "`detail` is missing"),
        (r#"{"alarmData":{}}"#, "`state` is missing"),
        (&confirmation.to_string(), "`SubscriptionConfirmation` here"),
        (&sns("Hello\r\nworld!").to_string(), "not JSON"),
        (&deep(4), "none of the forms"),
        (&changed("AlarmName", Value::Null), "`AlarmName` is missing"),
        (&changed("AlarmName", "".into()), "cannot be the name"),
        (&changed("AlarmName", "x".repeat(256).into()), "cannot be the name"),
        (&changed("AlarmName", "a\u{202e}b".into()), "cannot be the name"),
        (&changed("AlarmDescription", 7.into()), "`AlarmDescription` is missing, or is not text"),
        (&changed("NewStateValue", "alarm\n".into()), r"`alarm\n` is not a state"),
        (&changed("StateChangeTime", "today".into()), "`today` is not a time"),
        (&changed("StateChangeTime", 1e300.into()), "is not a time"),
        (&changed("StateChangeTime", (-5).into()), "is not a time"),
    ] {
        let message = fault(json);
        assert!(message.contains(says), "{json}: {message}");
        assert!(message.len() < 300, "{message}");
    }
}

#[test]
fn requests_are_read_by_the_contract() {
    let of = |line: &str| request::of(line).map(|request| request.map(|r| (r.tier, r.lease_secs)));
    for (line, expected) in [
        ("spillway: tier=1 for=90s", (Tier::Invisible, 90)),
        ("spillway:   for=24h  tier=3 ", (Tier::Severe, 86_400)),
        ("spillway: tier=2 for=10m site=east\r\nIt fails.", (Tier::Visible, 600)),
        ("spillway: colour=blue tier=2 soon for=010m =", (Tier::Visible, 600)),
    ] {
        assert_eq!(of(line), Ok(Some(expected)), "{line}");
    }
    for (line, says) in [
        ("spillway: ", "`tier=` is missing"),
        ("spillway: tier=2", "`for=` is missing"),
        ("spillway: for=10m", "`tier=` is missing"),
        ("spillway: tier=0 for=10m", "`tier=0`: write 1, 2 or 3"),
        ("spillway: tier=4 for=10m", "`tier=4`"),
        ("spillway: tier=+1 for=10m", "`tier=+1`"),
        ("spillway: tier=1 tier=2 for=10m", "`tier=` is there twice"),
        ("spillway: tier=1 for=10", "`for=10`"),
        ("spillway: tier=1 for=0s", "`for=0s`"),
        ("spillway: tier=1 for=25h", "`for=25h`"),
        ("spillway: tier=1 for=m", "`for=m`"),
        ("spillway: tier=1 for=-1m", "`for=-1m`"),
        ("spillway: tier=1 for=99999999999999999999h", "`for=99999999999999999999h`"),
        ("spillway: tier=1 for=9999999999999999h", "`for=9999999999999999h`"),
        ("spillway: tier=1 for=10m site=East", "`site=East` is not the name"),
    ] {
        let message = of(line).unwrap_err().to_string();
        assert!(message.contains(says), "{line}: {message}");
    }
    let mut message: Value = serde_json::from_str(NOTIFICATION).unwrap();
    message["AlarmDescription"] = "spillway: tier=9 for=10m".into();
    assert_eq!(
        fault(&message.to_string()),
        "the description of alarm `shop/failing` asks for what cannot be: `tier=9`: write 1, 2 or 3"
    );
}

#[test]
fn times_are_read_as_aws_writes_them() {
    for (text, millis) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-23T17:00:12.345+0000", 1_795_453_212_345),
        ("2026-11-23T17:00:12.345999999Z", 1_795_453_212_345),
        ("2026-11-23T18:30:12.3+01:30", 1_795_453_212_300),
        ("2026-11-23T12:00:12-0500", 1_795_453_212_000),
        ("2000-02-29T12:34:56.789Z", 951_827_696_789),
        ("9999-12-31T23:59:60Z", 253_402_300_800_000),
    ] {
        assert_eq!(moment(text), Some(UnixMillis(millis)), "{text}");
    }
    for bad in [
        "",
        "2026-11-23",
        "2026-11-23T17:00:12",
        "2026-11-23 17:00:12Z",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-11-00T00:00:00Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T17:00:12.Z",
        "2026-11-23T17:00:12.1234567890Z",
        "2026-11-23T17:00:12+00",
        "2026-11-23T17:00:12+1:000",
        "2026-11-23T17:00:12+2400",
        "2026-11-23T17:00:12Zulu",
        "2026-11-23T17:00Z",
        "2026-11-23T17:00:12:00Z",
        "+026-11-23T17:00:12Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+0001",
        "2026-11-23T1é:00:12Z",
    ] {
        assert_eq!(moment(bad), None, "{bad}");
    }
}

/// JSON made of the words that the reader looks for.
fn any_document() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "Records",
        "Sns",
        "Message",
        "body",
        "TopicArn",
        "Type",
        "detail-type",
        "detail",
        "alarmData",
        "state",
        "value",
        "timestamp",
        "configuration",
        "description",
        "alarmName",
        "AlarmName",
        "NewStateValue",
        "StateChangeTime",
        "AlarmDescription",
        "StateValue",
        "StateUpdatedTimestamp",
        "MetricAlarms",
        "CompositeAlarms",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "Notification",
            "CloudWatch Alarm State Change",
            "ALARM",
            "OK",
            "a",
            "2026-11-23T17:00:12Z",
            "spillway: tier=1 for=1m",
            "spillway: tier=é",
            "{}",
            EVENT,
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(word.clone(), inner.clone(), 0..7).prop_map(|members| {
                members.into_iter().map(|(word, value)| (word.to_owned(), value)).collect()
            }),
            inner.prop_map(|value| Value::from(value.to_string())),
        ]
    })
}

proptest! {
    #[test]
    fn a_time_reads_back_as_it_is_written(millis in 0..253_402_300_800_000_u64) {
        prop_assert_eq!(moment(&UnixMillis(millis).to_string()), Some(UnixMillis(millis)));
    }

    #[test]
    fn no_text_breaks_the_readers(text in any::<String>(), near in "[0-9TZ:.+-]{0,30}") {
        let _ = (moment(&text), moment(&near), request::of(&format!("spillway: {text}")));
        let _ = (read(text.as_bytes()), request::of(&format!("spillway: tier=1 for={text}")));
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }

    #[test]
    fn no_document_breaks_the_reader(document in any_document()) {
        for change in read_value(&document).into_iter().flatten() {
            prop_assert!((1..=3).contains(&u8::from(change.tier)));
            prop_assert!((1..=86_400).contains(&change.lease_secs));
            prop_assert!((1..=BY_CHARS_MAX).contains(&change.why.chars().count()));
        }
    }

    #[test]
    fn damage_to_a_sample_breaks_nothing(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for sample in [NOTIFICATION, COMPOSITE, EVENT, COMPOSITE_EVENT, DESCRIBED] {
            let mut bytes = sample.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = read(&bytes);
            let _ = read(&bytes[..at]);
        }
    }
}
