//! Messages of SNS, signed as SNS signs, and what strangers make of them.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::prelude::*;
use serde_json::{Value, json};
use spillway_alarm::moment;
use spillway_model::UnixMillis;

use crate::sns::{Certificate, Refused, Said, Trust};

const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:east-requests";
const CERTIFICATE: &str =
    "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem";
const AT: &str = "2026-11-23T17:00:12.401Z";

/// A key and its certificate, made by `openssl`.
pub(crate) struct Signer(tempfile::TempDir);

pub(crate) static SNS: LazyLock<Signer> = LazyLock::new(Signer::make);
static STRANGER: LazyLock<Signer> = LazyLock::new(Signer::make);

impl Signer {
    pub(crate) fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("openssl");
        command
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"])
            .args(["-subj", "/CN=sns.amazonaws.com", "-keyout", "key.pem"])
            .args(["-out", "certificate.pem"])
            .stderr(Stdio::null())
            .current_dir(folder.path());
        let made = command.status().expect("openssl is not installed: `apt-get install openssl`");
        assert!(made.success(), "openssl failed");
        Self(folder)
    }

    pub(crate) fn pem(&self) -> Vec<u8> {
        std::fs::read(self.0.path().join("certificate.pem")).unwrap()
    }

    fn sign(&self, text: &str, version: &str) -> String {
        let file = tempfile::NamedTempFile::new_in(self.0.path()).unwrap();
        std::fs::write(file.path(), text).unwrap();
        let digest = if version == "2" { "-sha256" } else { "-sha1" };
        let mut command = Command::new("openssl");
        command.args(["dgst", digest, "-sign", "key.pem"]).arg(file.path());
        let output = command.current_dir(self.0.path() as &Path).output().unwrap();
        assert!(output.status.success(), "openssl failed");
        BASE64.encode(output.stdout)
    }

    /// Signs what is in a message, as AWS documents it.
    pub(crate) fn signed(&self, mut message: Value, version: &str) -> Value {
        let fields: &[&str] = match message["Type"].as_str().unwrap() {
            "Notification" => &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
            _ => {
                &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
            }
        };
        let known = fields.iter().filter_map(|name| Some((name, message.get(name)?.as_str()?)));
        let text: String = known.map(|(name, value)| format!("{name}\n{value}\n")).collect();
        message["Signature"] = self.sign(&text, version).into();
        message["SignatureVersion"] = version.into();
        message
    }
}

fn notification() -> Value {
    json!({
        "Type": "Notification",
        "MessageId": "95df01b4-ee98-5cb9-9903-4c221d41eb5e",
        "TopicArn": TOPIC,
        "Subject": "ALARM: \"east-failing\" in EU (Frankfurt)",
        "Message": "{\"AlarmName\":\"east-failing\"}\nand a second line: ü",
        "Timestamp": AT,
        "SigningCertURL": CERTIFICATE,
        "UnsubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe",
    })
}

fn confirmation(kind: &str) -> Value {
    json!({
        "Type": kind,
        "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
        "Token": "2336412f37",
        "TopicArn": TOPIC,
        "Message": "You have chosen to subscribe to the topic.",
        "SubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37",
        "Timestamp": AT,
        "SigningCertURL": CERTIFICATE,
    })
}

fn now() -> UnixMillis {
    moment(AT).unwrap()
}

fn trust() -> Trust {
    Trust::new(vec![TOPIC.to_owned(), format!("{TOPIC}-notices")], None)
}

/// What becomes of a message at a time, with the certificate of SNS: what was said, and its text.
fn taken_at(message: &Value, now: UnixMillis) -> Result<String, Refused> {
    let envelope = trust().read(message.to_string().as_bytes(), now)?;
    let certificate = Certificate::read(&SNS.pem()).unwrap();
    // The certificate is of the test's day, which is another than the message's.
    match envelope.verify_signature(&certificate)? {
        Said::Notified(text) => Ok(format!("notified: {text}")),
        Said::Confirm(url) => Ok(format!("confirm: {url}")),
        Said::Unsubscribed => Ok("unsubscribed".to_owned()),
    }
}

fn refused(message: &Value) -> Refused {
    taken_at(message, now()).unwrap_err()
}

#[test]
fn what_sns_signed_is_taken_in_both_versions() {
    for version in ["1", "2"] {
        let message = SNS.signed(notification(), version);
        let text = taken_at(&message, now()).unwrap();
        assert_eq!(text, format!("notified: {}", message["Message"].as_str().unwrap()));
        let mut bare = notification();
        bare.as_object_mut().unwrap().remove("Subject");
        assert!(taken_at(&SNS.signed(bare, version), now()).is_ok(), "a subject may be missing");
        let confirm = SNS.signed(confirmation("SubscriptionConfirmation"), version);
        assert!(taken_at(&confirm, now()).unwrap().ends_with("&Token=2336412f37"));
        let over = SNS.signed(confirmation("UnsubscribeConfirmation"), version);
        assert_eq!(taken_at(&over, now()).unwrap(), "unsubscribed");
    }
}

#[test]
fn what_was_changed_or_signed_by_another_is_refused() {
    for (field, value) in [
        ("Message", "{\"AlarmName\":\"another\"}"),
        ("MessageId", "another"),
        ("Subject", "another"),
        ("Timestamp", "2026-11-23T17:00:12.402Z"),
        ("TopicArn", &format!("{TOPIC}-notices")),
        ("SignatureVersion", "1"),
        ("Signature", &SNS.sign("another text", "2")),
        ("Signature", "AAAA"),
    ] {
        let mut message = SNS.signed(notification(), "2");
        message[field] = value.into();
        assert!(matches!(refused(&message), Refused::Forged), "{field}");
    }
    let mut without = SNS.signed(notification(), "2");
    without.as_object_mut().unwrap().remove("Subject");
    assert!(matches!(refused(&without), Refused::Forged));
    assert!(matches!(refused(&STRANGER.signed(notification(), "2")), Refused::Forged));
    // What asks for a subscription is no notification, and the other way round.
    let mut kind = SNS.signed(confirmation("SubscriptionConfirmation"), "2");
    kind["Type"] = "Notification".into();
    assert!(matches!(refused(&kind), Refused::Forged));
}

#[test]
fn only_listed_topics_are_heard() {
    for topic in [
        "arn:aws:sns:eu-central-1:666666666666:east-requests",
        "arn:aws:sns:eu-central-1:123456789012:east-requests-2",
        "ARN:aws:sns:eu-central-1:123456789012:east-requests",
        "",
    ] {
        let mut message = notification();
        message["TopicArn"] = topic.into();
        assert!(matches!(refused(&SNS.signed(message, "2")), Refused::Topic), "{topic}");
    }
}

#[test]
fn what_was_kept_for_later_is_refused() {
    let message = SNS.signed(notification(), "2");
    let hour = 3_600_000;
    let at = |offset: i64| UnixMillis(now().0.checked_add_signed(offset).unwrap());
    for offset in [-hour, 0, hour] {
        assert!(taken_at(&message, at(offset)).is_ok(), "{offset}");
    }
    for offset in [-hour - 1, hour + 1, 30 * 24 * hour] {
        assert!(matches!(taken_at(&message, at(offset)), Err(Refused::Age)), "{offset}");
    }
    let mut undated = notification();
    undated["Timestamp"] = "now".into();
    assert!(matches!(refused(&SNS.signed(undated, "2")), Refused::Age));
}

#[test]
fn certificates_are_fetched_from_sns_of_the_region_alone() {
    let file = "SimpleNotificationService-0123456789abcdef.pem";
    for url in [
        format!("http://sns.eu-central-1.amazonaws.com/{file}"),
        format!("https://evil.example/{file}"),
        format!("https://sns.eu-central-1.amazonaws.com.evil.example/{file}"),
        format!("https://sns.eu-central-1.amazonaws.com@evil.example/{file}"),
        format!("https://user@sns.eu-central-1.amazonaws.com/{file}"),
        format!("https://user:pw@sns.eu-central-1.amazonaws.com/{file}"),
        format!("https://sns.eu-central-1.amazonaws.com:8443/{file}"),
        format!("https://sns.eu-central-1.amazonaws.com./{file}"),
        format!("https://evil.sns.eu-central-1.amazonaws.com/{file}"),
        format!("https://evil-sns.eu-central-1.amazonaws.com/{file}"),
        format!("https://sns.us-east-1.amazonaws.com/{file}"),
        format!("https://sns.eu-central-1.amazonaws.com.cn/{file}"),
        format!("https://evil.example\\@sns.eu-central-1.amazonaws.com/{file}"),
        format!("https://evil.example#@sns.eu-central-1.amazonaws.com/{file}"),
        format!("https://evil.example/sns.eu-central-1.amazonaws.com/{file}"),
        format!("https://sns.eu-central-1.amazonaws.com/bucket/{file}"),
        format!("https://sns.eu-central-1.amazonaws.com/../{file}"),
        format!("https://sns.eu-central-1.amazonaws.com/{file}?Action=Echo"),
        "https://sns.eu-central-1.amazonaws.com/?Action=Echo&Text=x.pem".to_owned(),
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-a/b.pem".to_owned(),
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-%2e%2e.pem".to_owned(),
        file.to_owned(),
        String::new(),
    ] {
        let mut message = SNS.signed(notification(), "2");
        message["SigningCertURL"] = url.as_str().into();
        assert!(matches!(refused(&message), Refused::Url("SigningCertURL")), "{url}");
    }
    let china = "arn:aws-cn:sns:cn-north-1:123456789012:east-requests";
    let trust = Trust::new(vec![china.to_owned()], None);
    let mut message = SNS.signed(notification(), "2");
    message["TopicArn"] = china.into();
    message["SigningCertURL"] = format!("https://sns.cn-north-1.amazonaws.com.cn/{file}").into();
    assert!(trust.read(message.to_string().as_bytes(), now()).is_ok());
    message["SigningCertURL"] = format!("https://sns.cn-north-1.amazonaws.com/{file}").into();
    assert!(trust.read(message.to_string().as_bytes(), now()).is_err());
}

#[test]
fn a_stand_in_is_trusted_only_where_it_is_named() {
    let file = "SimpleNotificationService-0123456789abcdef.pem";
    let mut message = SNS.signed(notification(), "2");
    message["SigningCertURL"] = format!("http://127.0.0.1:4566/{file}").into();
    assert!(matches!(refused(&message), Refused::Url(_)));
    let trust = Trust::new(vec![TOPIC.to_owned()], Some("http://127.0.0.1:4566/".to_owned()));
    assert!(trust.read(message.to_string().as_bytes(), now()).is_ok());
    for url in [
        format!("http://127.0.0.1:45660/{file}"),
        format!("http://127.0.0.1:4566@evil.example/{file}"),
        CERTIFICATE.to_owned(),
    ] {
        message["SigningCertURL"] = url.as_str().into();
        assert!(trust.read(message.to_string().as_bytes(), now()).is_err(), "{url}");
    }
}

#[test]
fn a_subscription_is_confirmed_at_sns_alone() {
    for url in [
        "https://evil.example/?Action=ConfirmSubscription",
        "https://sns.eu-central-1.amazonaws.com/?Action=Publish&Message=x",
        "https://sns.eu-central-1.amazonaws.com/x?Action=ConfirmSubscription",
        "http://169.254.169.254/?Action=ConfirmSubscription",
        "",
    ] {
        let mut message = confirmation("SubscriptionConfirmation");
        message["SubscribeURL"] = url.into();
        let refused = refused(&SNS.signed(message, "2"));
        assert!(matches!(refused, Refused::Url("SubscribeURL")), "{url}");
    }
}

#[test]
fn what_is_no_message_of_sns_is_refused() {
    let signed = SNS.signed(notification(), "2").to_string();
    for body in ["", "{}", "[]", "null", "hello", &signed[..signed.len() - 1]] {
        let read = trust().read(body.as_bytes(), now());
        assert!(matches!(read, Err(Refused::Form(_))), "{body}");
    }
    // Two readers could take different ones of two members of a name.
    let twice = signed.replacen('{', "{\"Message\":\"another\",", 1);
    assert!(matches!(trust().read(twice.as_bytes(), now()), Err(Refused::Form(_))));
    for (field, value) in [("Type", "notification"), ("Type", ""), ("SignatureVersion", "3")] {
        let mut message = SNS.signed(notification(), "2");
        message[field] = value.into();
        let refused = refused(&message);
        assert!(matches!(refused, Refused::Kind | Refused::Signature), "{field} {value}");
    }
    let mut message = SNS.signed(notification(), "2");
    message["Signature"] = "not base64!".into();
    assert!(matches!(refused(&message), Refused::Signature));
}

#[test]
fn a_certificate_that_is_over_vouches_for_nothing() {
    let certificate = Certificate::read(&SNS.pem()).unwrap();
    let message = SNS.signed(notification(), "2").to_string();
    let envelope = trust().read(message.as_bytes(), now()).unwrap();
    for years in [-2, 2] {
        let at = UnixMillis(clock_now().0.checked_add_signed(years * 31_536_000_000).unwrap());
        assert!(matches!(envelope.verify(&certificate, at), Err(Refused::Certificate(_))));
    }
    assert!(envelope.verify(&certificate, clock_now()).is_ok());
}

fn clock_now() -> UnixMillis {
    // A certificate is good from the second in which it is made.
    spillway_part::clock::now().plus_secs(1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_text_breaks_the_reader(text in any::<String>(), url in "https?://[a-z0-9.:@/\\\\?#%-]{0,60}") {
        let _ = trust().read(text.as_bytes(), now());
        let mut message = notification();
        (message["SigningCertURL"], message["Message"]) = (url.into(), text.into());
        (message["Signature"], message["SignatureVersion"]) = ("AAAA".into(), "2".into());
        let read = trust().read(message.to_string().as_bytes(), now());
        prop_assert!(read.is_err(), "{message}");
    }
}
