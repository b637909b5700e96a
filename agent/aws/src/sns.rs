//! Messages that SNS posts to an endpoint: whether SNS of this account's region wrote them, for a topic
//! that is listed, and just now. Pure: the certificate is fetched by whoever asks.
//!
//! ```text
//!  bytes ─▶ Envelope::read ─▶ check: topic, age, certificate's URL ─▶ (fetch) ─▶ verify ─▶ what it says
//! ```
//!
//! What is signed, and how: <https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>.

mod certificate;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Uri;
use serde::Deserialize;
use spillway_alarm::moment;
use spillway_model::UnixMillis;

pub(crate) use certificate::{BadCertificate, Certificate};

/// A message is taken for so long, before and after the time that it tells: SNS tries a delivery again,
/// and clocks differ, but what somebody kept for later is not to be sent again.
const AGE_MILLIS_MAX: u64 = 3_600_000;

/// Why a message is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It is no message of SNS.
    #[error("it is no message of SNS")]
    Form(#[from] serde_json::Error),
    /// It is of a kind that SNS does not send.
    #[error("its Type is none of SNS's")]
    Kind,
    /// Nobody here waits for it.
    #[error("its topic is not among `cloud.aws.alarm_endpoint.topics`")]
    Topic,
    /// It was written at another time, or nobody knows when.
    #[error("its Timestamp is not of the last hour")]
    Age,
    /// Its certificate or subscription is not at SNS.
    #[error("its {0} is not of SNS in the topic's region")]
    Url(&'static str),
    /// It is signed in a way that is not known.
    #[error("its SignatureVersion is neither 1 nor 2, or its Signature no base64")]
    Signature,
    /// Its certificate is none, or not of now.
    #[error("its certificate is not good")]
    Certificate(#[from] BadCertificate),
    /// Somebody else wrote it.
    #[error("its signature is not SNS's")]
    Forged,
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Something was published to the topic.
    Notification,
    /// The endpoint is asked whether it wants to be subscribed.
    SubscriptionConfirmation,
    /// The endpoint is not subscribed any more.
    UnsubscribeConfirmation,
}

/// A message as it is posted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Posted {
    #[serde(rename = "Type")]
    kind: String,
    message_id: String,
    topic_arn: String,
    subject: Option<String>,
    message: String,
    timestamp: String,
    signature_version: String,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: String,
    token: Option<String>,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: Option<String>,
}

/// A message of a listed topic and of now that names a certificate of SNS. Nobody has vouched for it yet.
#[derive(Debug)]
pub(crate) struct Envelope {
    posted: Posted,
    kind: Kind,
    version: Version,
    signature: Vec<u8>,
}

/// How a message is signed: RSA with PKCS #1 v1.5, over a digest by
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// SHA-1, as topics do by default,
    One,
    /// or SHA-256.
    Two,
}

/// What SNS said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    /// This was published.
    Notified(&'a str),
    /// A GET of this URL subscribes the endpoint.
    Confirm(&'a str),
    /// It is not subscribed any more.
    Unsubscribed,
}

/// Where SNS is, and which of its topics are listened to.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    topics: Vec<String>,
    stand_in: Option<String>,
}

impl Trust {
    /// Trusts SNS for these topics' ARNs: AWS's, or what stands for it at a URL.
    pub(crate) fn new(topics: Vec<String>, stand_in: Option<String>) -> Self {
        let stand_in = stand_in.map(|url| url.trim_end_matches('/').to_owned());
        Self { topics, stand_in }
    }

    /// Reads a message, and checks all of it but who wrote it.
    ///
    /// # Errors
    /// When it cannot be one of SNS for a listed topic, written about `now`.
    pub(crate) fn read(&self, body: &[u8], now: UnixMillis) -> Result<Envelope, Refused> {
        let posted: Posted = serde_json::from_slice(body)?;
        let kind = match posted.kind.as_str() {
            "Notification" => Kind::Notification,
            "SubscriptionConfirmation" => Kind::SubscriptionConfirmation,
            "UnsubscribeConfirmation" => Kind::UnsubscribeConfirmation,
            _ => return Err(Refused::Kind),
        };
        if !self.topics.contains(&posted.topic_arn) {
            return Err(Refused::Topic);
        }
        let at = moment(&posted.timestamp).ok_or(Refused::Age)?;
        if now.millis_since(at).max(at.millis_since(now)) > AGE_MILLIS_MAX {
            return Err(Refused::Age);
        }
        let version = match posted.signature_version.as_str() {
            "1" => Version::One,
            "2" => Version::Two,
            _ => return Err(Refused::Signature),
        };
        let signature = BASE64.decode(&posted.signature).map_err(|_| Refused::Signature)?;
        let uri = self.uri(&posted.topic_arn, &posted.signing_cert_url);
        let file = |uri: &Uri| {
            let name = uri.path().strip_prefix("/SimpleNotificationService-");
            let name = name.and_then(|name| name.strip_suffix(".pem"));
            let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            // The same host answers calls, whose answers anybody could have a part in.
            uri.query().is_none() && name.is_some_and(plain)
        };
        if !uri.as_ref().is_some_and(file) {
            return Err(Refused::Url("SigningCertURL"));
        }
        if kind != Kind::Notification {
            let url = posted.subscribe_url.as_deref().unwrap_or_default();
            let uri = self.uri(&posted.topic_arn, url);
            let confirms = |uri: &Uri| {
                let query = uri.query().unwrap_or_default();
                uri.path() == "/" && query.split('&').any(|p| p == "Action=ConfirmSubscription")
            };
            if !uri.as_ref().is_some_and(confirms) {
                return Err(Refused::Url("SubscribeURL"));
            }
        }
        Ok(Envelope { posted, kind, version, signature })
    }

    /// A URL, if it leads to SNS of a topic's region and nowhere else.
    fn uri(&self, topic: &str, url: &str) -> Option<Uri> {
        let uri: Uri = url.parse().ok()?;
        if let Some(stand_in) = &self.stand_in {
            let rest = url.strip_prefix(stand_in)?;
            return rest.starts_with('/').then_some(uri);
        }
        let mut parts = topic.split(':').skip(1);
        let (partition, region) = (parts.next()?, parts.nth(1)?);
        let end = if partition == "aws-cn" { ".cn" } else { "" };
        // All of it, so neither a user, a port nor a longer name passes; an absolute path follows.
        let there = format!("sns.{region}.amazonaws.com{end}");
        let at_sns = uri.scheme_str() == Some("https")
            && uri.authority().is_some_and(|authority| authority.as_str() == there);
        at_sns.then_some(uri)
    }
}

impl Envelope {
    /// Where its certificate is.
    pub(crate) fn certificate_url(&self) -> &str {
        &self.posted.signing_cert_url
    }

    /// What SNS says with it, if the holder of a certificate of SNS signed it.
    ///
    /// # Errors
    /// When the certificate is not of `now`, or somebody else signed the message.
    pub(crate) fn verify(
        &self,
        certificate: &Certificate,
        now: UnixMillis,
    ) -> Result<Said<'_>, Refused> {
        certificate.check(now)?;
        self.verify_signature(certificate)
    }

    /// As [`Envelope::verify`], whenever the certificate is good.
    ///
    /// # Errors
    /// When somebody else signed the message.
    pub(crate) fn verify_signature(&self, certificate: &Certificate) -> Result<Said<'_>, Refused> {
        let signed = self.signed();
        if !certificate.signed(self.version, signed.as_bytes(), &self.signature) {
            return Err(Refused::Forged);
        }
        Ok(match (self.kind, &self.posted.subscribe_url) {
            (Kind::Notification, _) => Said::Notified(&self.posted.message),
            (Kind::SubscriptionConfirmation, Some(url)) => Said::Confirm(url),
            (Kind::SubscriptionConfirmation | Kind::UnsubscribeConfirmation, _) => {
                Said::Unsubscribed
            }
        })
    }

    /// The topic's ARN.
    pub(crate) fn topic(&self) -> &str {
        &self.posted.topic_arn
    }

    /// The text that is signed: names and values in the order of the names, each on a line.
    fn signed(&self) -> String {
        let p = &self.posted;
        let notified = self.kind == Kind::Notification;
        let fields = [
            ("Message", Some(&p.message)),
            ("MessageId", Some(&p.message_id)),
            ("Subject", p.subject.as_ref().filter(|_| notified)),
            ("SubscribeURL", p.subscribe_url.as_ref().filter(|_| !notified)),
            ("Timestamp", Some(&p.timestamp)),
            ("Token", p.token.as_ref().filter(|_| !notified)),
            ("TopicArn", Some(&p.topic_arn)),
            ("Type", Some(&p.kind)),
        ];
        let mut text = String::new();
        for (name, value) in fields {
            if let Some(value) = value {
                text.extend([name, "\n", value.as_str(), "\n"]);
            }
        }
        text
    }
}
