//! Topics and subscriptions. What is published becomes one [`Notice`] for each subscription; the
//! server signs and delivers it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::aws::{Answer, Aws, Effect, Refusal, unknown};
use crate::input::Input;

/// State of SNS.
#[derive(Debug, Default)]
pub(crate) struct Sns {
    topics: BTreeMap<String, BTreeMap<String, String>>,
    subscriptions: BTreeMap<String, Subscription>,
}

#[derive(Debug)]
struct Subscription {
    topic: String,
    protocol: Protocol,
    endpoint: String,
    /// What confirms it, until it is confirmed.
    token: Option<String>,
    raw: bool,
}

/// How a subscription is delivered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Into a queue.
    Sqs,
    /// To a function.
    Lambda,
    /// To an endpoint, by HTTP or HTTPS.
    Http,
    /// To people, and so to nobody here.
    Email,
}

impl Protocol {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "sqs" => Some(Self::Sqs),
            "lambda" => Some(Self::Lambda),
            "http" | "https" => Some(Self::Http),
            "email" | "email-json" => Some(Self::Email),
            _ => None,
        }
    }

    fn shown(self, endpoint: &str) -> &'static str {
        match self {
            Self::Sqs => "sqs",
            Self::Lambda => "lambda",
            Self::Http if endpoint.starts_with("https:") => "https",
            Self::Http => "http",
            Self::Email => "email",
        }
    }
}

/// A notification on its way to one subscription.
#[derive(Debug, Clone)]
pub struct Notice {
    /// `Notification` or `SubscriptionConfirmation`.
    pub kind: &'static str,
    /// How it is delivered.
    pub protocol: Protocol,
    /// Where: a queue's or function's ARN, or a URL.
    pub endpoint: String,
    /// The subscription's ARN.
    pub subscription: String,
    /// The topic's ARN.
    pub topic: String,
    /// Its id.
    pub id: String,
    /// Its subject, if it has one.
    pub subject: Option<String>,
    /// What it says.
    pub message: String,
    /// When it was published, in ISO 8601.
    pub timestamp: String,
    /// What confirms a subscription.
    pub token: Option<String>,
    /// 1 or 2: signed with SHA-1 or SHA-256.
    pub signature_version: u8,
    /// Whether the message is delivered without its envelope.
    pub raw: bool,
}

fn not_found(what: &str) -> Refusal {
    Refusal::new(404, "NotFound", format!("{what} does not exist"))
}

fn invalid(message: &str) -> Refusal {
    Refusal::new(400, "InvalidParameter", format!("Invalid parameter: {message}"))
}

impl Aws {
    pub(crate) fn sns_call(&mut self, action: &str, input: Input<'_>) -> Answer {
        match action {
            "CreateTopic" => {
                let arn = self.arn("sns", &input.required("Name")?);
                self.sns.topics.entry(arn.clone()).or_default().extend(input.map("Attributes"));
                Ok(json!({ "TopicArn": arn }))
            }
            "DeleteTopic" => {
                let arn = input.required("TopicArn")?;
                self.sns.topics.remove(&arn);
                self.sns.subscriptions.retain(|_, held| held.topic != arn);
                Ok(json!({}))
            }
            "SetTopicAttributes" => {
                let (arn, name) = (input.required("TopicArn")?, input.required("AttributeName")?);
                let topic = self.sns.topics.get_mut(&arn).ok_or_else(|| not_found("Topic"))?;
                topic.insert(name, input.text("AttributeValue").unwrap_or_default());
                Ok(json!({}))
            }
            "GetTopicAttributes" => {
                let arn = input.required("TopicArn")?;
                let topic = self.sns.topics.get(&arn).ok_or_else(|| not_found("Topic"))?;
                let mut all = topic.clone();
                all.insert("TopicArn".to_owned(), arn);
                Ok(json!({ "Attributes": entries(&all) }))
            }
            "Subscribe" => self.subscribe(input),
            "ConfirmSubscription" => self.confirm(input),
            "Unsubscribe" => {
                self.sns.subscriptions.remove(&input.required("SubscriptionArn")?);
                Ok(json!({}))
            }
            "SetSubscriptionAttributes" => {
                let arn = input.required("SubscriptionArn")?;
                let held = self.sns.subscriptions.get_mut(&arn);
                let held = held.ok_or_else(|| not_found("Subscription"))?;
                if input.required("AttributeName")? == "RawMessageDelivery" {
                    held.raw = input.flag("AttributeValue")?.unwrap_or(false);
                }
                Ok(json!({}))
            }
            "ListSubscriptionsByTopic" => self.list_subscriptions(input),
            "Publish" => {
                let topic = input.required("TopicArn")?;
                let id = self.publish(
                    &topic,
                    input.text("Subject").as_deref(),
                    &input.required("Message")?,
                );
                Ok(json!({ "MessageId": id.ok_or_else(|| not_found("Topic"))? }))
            }
            _ => Err(unknown(action)),
        }
    }

    fn subscribe(&mut self, input: Input<'_>) -> Answer {
        let (topic, endpoint) = (input.required("TopicArn")?, input.required("Endpoint")?);
        if !self.sns.topics.contains_key(&topic) {
            return Err(not_found("Topic"));
        }
        let protocol = input.required("Protocol")?;
        let protocol = Protocol::parse(&protocol).ok_or_else(|| invalid("Protocol"))?;
        let same = |held: &Subscription| {
            (&held.topic, held.protocol, &held.endpoint) == (&topic, protocol, &endpoint)
        };
        let known = self.sns.subscriptions.iter().find(|(_, held)| same(held));
        if let Some((arn, _)) = known {
            return Ok(json!({ "SubscriptionArn": arn }));
        }
        let arn = format!("{topic}:{}", self.uuid());
        let must_confirm = matches!(protocol, Protocol::Http | Protocol::Email);
        let token = must_confirm.then(|| self.hex(32));
        let raw =
            input.map("Attributes").get("RawMessageDelivery").is_some_and(|raw| raw == "true");
        let confirmed = token.is_none() || input.flag("ReturnSubscriptionArn")? == Some(true);
        let held = Subscription { topic, protocol, endpoint, token: token.clone(), raw };
        if let Some(token) = token {
            let message = format!(
                "You have chosen to subscribe to the topic {}.\nTo confirm the subscription, visit the SubscribeURL included in this message.",
                held.topic
            );
            let mut notice = self.notice(&arn, &held, None, message);
            (notice.kind, notice.token) = ("SubscriptionConfirmation", Some(token));
            self.effect(Effect::Notify(notice));
        }
        self.sns.subscriptions.insert(arn.clone(), held);
        Ok(
            json!({ "SubscriptionArn": if confirmed { arn } else { "pending confirmation".to_owned() } }),
        )
    }

    fn confirm(&mut self, input: Input<'_>) -> Answer {
        let (topic, token) = (input.required("TopicArn")?, input.required("Token")?);
        let mut all = self.sns.subscriptions.iter_mut();
        let meant =
            |held: &Subscription| held.topic == topic && held.token.as_ref() == Some(&token);
        let (arn, held) = all.find(|(_, held)| meant(held)).ok_or_else(|| invalid("Token"))?;
        held.token = None;
        Ok(json!({ "SubscriptionArn": arn }))
    }

    fn list_subscriptions(&self, input: Input<'_>) -> Answer {
        let topic = input.required("TopicArn")?;
        let all = self.sns.subscriptions.iter().filter(|(_, held)| held.topic == topic);
        let all = all.map(|(arn, held)| {
            json!({
                "SubscriptionArn": if held.token.is_some() { "PendingConfirmation" } else { arn },
                "Owner": self.config.account,
                "Protocol": held.protocol.shown(&held.endpoint),
                "Endpoint": held.endpoint,
                "TopicArn": held.topic,
            })
        });
        Ok(json!({ "Subscriptions": all.collect::<Vec<_>>() }))
    }

    /// Publishes to a topic; the message's id, if there is such a topic.
    pub(crate) fn publish(
        &mut self,
        topic: &str,
        subject: Option<&str>,
        message: &str,
    ) -> Option<String> {
        if !self.sns.topics.contains_key(topic) {
            return None;
        }
        let id = self.uuid();
        let subscriptions = std::mem::take(&mut self.sns.subscriptions);
        for (arn, held) in &subscriptions {
            if held.topic == topic && held.token.is_none() && held.protocol != Protocol::Email {
                let subject = subject.map(str::to_owned);
                let mut notice = self.notice(arn, held, subject, message.to_owned());
                notice.id.clone_from(&id);
                self.effect(Effect::Notify(notice));
            }
        }
        self.sns.subscriptions = subscriptions;
        Some(id)
    }

    fn notice(
        &mut self,
        arn: &str,
        held: &Subscription,
        subject: Option<String>,
        message: String,
    ) -> Notice {
        let attributes = self.sns.topics.get(&held.topic);
        let version = attributes.and_then(|attributes| attributes.get("SignatureVersion"));
        Notice {
            kind: "Notification",
            protocol: held.protocol,
            endpoint: held.endpoint.clone(),
            subscription: arn.to_owned(),
            topic: held.topic.clone(),
            signature_version: if version.is_some_and(|v| v == "2") { 2 } else { 1 },
            id: self.uuid(),
            subject,
            message,
            timestamp: crate::time::iso(self.now, "Z"),
            token: None,
            raw: held.raw,
        }
    }
}

/// A map as queries answer it.
fn entries(map: &BTreeMap<String, String>) -> Value {
    let all: Vec<Value> =
        map.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    json!({ "$list": ["entry", all] })
}
