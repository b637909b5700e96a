//! The endpoint over TLS: against the stand-in's own deliveries, and against strangers.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use futures_util::future::join_all;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use spillway_model::config::AwsAlarmEndpoint;
use spillway_part::clock;
use spillway_part::serve::{Limits, http};
use spillway_test_aws::{Config, Request, Server, Service, Shape, Stack};
use spillway_test_support::{Certificate, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::shell::{Script, Stage, stage};
use super::sns::{SNS, Signer};
use crate::alarms::Teller;
use crate::endpoint::{Outcomes, prepare};
use crate::https::provider;

const SOON: Duration = Duration::from_secs(20);
const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:east-requests";

/// An endpoint that serves, and an agent that it tells.
struct Served {
    stage: Stage,
    at: SocketAddr,
    certificate: PathBuf,
    tls: TlsConnector,
    outcomes: Arc<Outcomes>,
}

impl Served {
    async fn new(script: Script, topics: &[&str], sns: &str) -> Self {
        let stage = stage(script).await;
        let ours = Certificate::make(stage.folder.path(), Ipv4Addr::LOCALHOST.into());
        let config = AwsAlarmEndpoint {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            certificate: ours.certificate().to_owned(),
            key: ours.key().to_owned(),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            stand_in: Some(sns.to_owned()),
        };
        let teller = Arc::new(Teller::new(stage.config.clone()));
        let outcomes = Arc::new(Outcomes::default());
        let path = |path: &std::path::Path| path.to_owned();
        let ready = prepare(&config, path, teller, outcomes.clone(), clock::now).await.unwrap();
        let at = ready.address().unwrap();
        tokio::spawn(ready.serve(stage.shutdown.clone()));
        let mut roots = RootCertStore::empty();
        let pem = std::fs::read(ours.certificate()).unwrap();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (certificate, tls) = (ours.certificate().to_owned(), Arc::new(config).into());
        Self { stage, at, certificate, tls, outcomes }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.at).await.unwrap();
        let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        self.tls.connect(name, stream).await.unwrap()
    }

    /// The status of an answer.
    async fn ask(&self, head: &str, body: &[u8]) -> u16 {
        let mut stream = self.connect().await;
        let head = format!("{head}host: a\r\nconnection: close\r\n\r\n");
        // It may be answered before all of it is sent.
        let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
    }

    async fn post(&self, message: &Value) -> u16 {
        let body = message.to_string();
        let length = body.len();
        let head = format!("POST /v1/alarms HTTP/1.1\r\ncontent-length: {length}\r\n");
        self.ask(&head, body.as_bytes()).await
    }

    fn told(&self) -> Vec<String> {
        self.stage.script.lock().unwrap().told.clone()
    }
}

#[tokio::test]
async fn sns_subscribes_the_endpoint_and_its_alarms_reach_the_agent() {
    for version in ["1", "2"] {
        let listen = (Ipv4Addr::LOCALHOST, 0).into();
        let aws = Server::start(Config::default(), listen, Arc::new(())).await.unwrap();
        let stack = aws.with(|aws| Stack::make(aws, "east", Shape::default())).unwrap();
        let served = Served::new(Script::default(), &[&stack.topic], aws.endpoint()).await;
        aws.trust(&served.certificate).unwrap();
        let call = |service, action: &str, input: Value| {
            let action = action.to_owned();
            aws.with(|aws| aws.call(&Request { service, action, input })).answer.unwrap()
        };
        let attribute = json!({
            "TopicArn": stack.topic, "AttributeName": "SignatureVersion", "AttributeValue": version,
        });
        call(Service::Sns, "SetTopicAttributes", attribute);
        let url = format!("https://{}/v1/alarms", served.at);
        let subscribe = json!({ "TopicArn": stack.topic, "Protocol": "https", "Endpoint": url });
        call(Service::Sns, "Subscribe", subscribe);
        let confirmed = async || {
            let input = json!({ "TopicArn": stack.topic });
            let all = call(Service::Sns, "ListSubscriptionsByTopic", input).to_string();
            all.contains(&url) && !all.contains("PendingConfirmation")
        };
        until("the subscription is confirmed", SOON, confirmed).await;
        let alarm = json!({
            "AlarmName": stack.alarm, "StateValue": "ALARM", "StateReason": "a test",
        });
        call(Service::CloudWatch, "SetAlarmState", alarm);
        until("the agent is told", SOON, async || !served.told().is_empty()).await;
        assert!(served.told()[0].contains(&stack.alarm), "{:?}", served.told());
        let counts = served.outcomes.metrics();
        assert!(counts.contains("{outcome=\"confirmed\"} 1"), "version {version}: {counts}");
        assert!(counts.contains("{outcome=\"told\"} 1"), "version {version}: {counts}");
    }
}

#[tokio::test]
async fn a_topic_that_is_not_listed_is_not_subscribed_to() {
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let aws = Server::start(Config::default(), listen, Arc::new(())).await.unwrap();
    let stack = aws.with(|aws| Stack::make(aws, "east", Shape::default())).unwrap();
    let other = format!("{}-2", stack.topic);
    let served = Served::new(Script::default(), &[&other], aws.endpoint()).await;
    aws.trust(&served.certificate).unwrap();
    let input = json!({
        "TopicArn": stack.topic, "Protocol": "https",
        "Endpoint": format!("https://{}/v1/alarms", served.at),
    });
    let request = Request { service: Service::Sns, action: "Subscribe".to_owned(), input };
    aws.with(|aws| aws.call(&request)).answer.unwrap();
    let refused = async || served.outcomes.metrics().contains("{outcome=\"topic\"}");
    until("it is refused", SOON, refused).await;
    assert!(!aws.with(|aws| aws.calls().any(|call| call.action == "ConfirmSubscription")));
}

/// A server that has SNS's certificate, and counts how often it is asked for anything.
async fn sns_with_certificate() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let app = Router::new().fallback(get(async move || {
        counted.fetch_add(1, Relaxed);
        SNS.pem()
    }));
    let never = spillway_part::Shutdown::new();
    tokio::spawn(http(listener, app, Limits::default(), never));
    (format!("http://{at}"), asked)
}

fn notification(sns: &str, text: &str) -> Value {
    json!({
        "Type": "Notification",
        "MessageId": "95df01b4-ee98-5cb9-9903-4c221d41eb5e",
        "TopicArn": TOPIC,
        "Message": text,
        "Timestamp": clock::now().to_string(),
        "SigningCertURL": format!("{sns}/SimpleNotificationService-0.pem"),
    })
}

fn alarm() -> String {
    json!({
        "AlarmName": "east/slow",
        "AlarmDescription": "spillway: tier=1 for=10m",
        "NewStateValue": "ALARM",
        "NewStateReason": "it is slow",
        "StateChangeTime": "2026-11-23T16:00:00.000+0000",
    })
    .to_string()
}

#[tokio::test]
async fn strangers_are_refused_and_cost_next_to_nothing() {
    let (sns, asked) = sns_with_certificate().await;
    let served = Served::new(Script::default(), &[TOPIC], &sns).await;
    assert_eq!(served.ask("GET /v1/alarms HTTP/1.1\r\n", b"").await, 405);
    assert_eq!(served.ask("POST / HTTP/1.1\r\ncontent-length: 0\r\n", b"").await, 404);
    assert_eq!(served.post(&json!({})).await, 400);
    // More than SNS ever sends, told of or not.
    let large = vec![b' '; 256 * 1024 + 1];
    let told = format!("POST /v1/alarms HTTP/1.1\r\ncontent-length: {}\r\n", large.len());
    assert_eq!(served.ask(&told, &large).await, 413);
    let chunked = "POST /v1/alarms HTTP/1.1\r\ntransfer-encoding: chunked\r\n";
    let chunk = [b"40001\r\n".as_slice(), &large, b"\r\n0\r\n\r\n"].concat();
    assert_eq!(served.ask(chunked, &chunk).await, 413);
    let mut other = notification(&sns, &alarm());
    other["TopicArn"] = format!("{TOPIC}-2").into();
    assert_eq!(served.post(&SNS.signed(other, "2")).await, 403);
    let mut old = notification(&sns, &alarm());
    old["Timestamp"] = "2026-01-01T00:00:00.000Z".into();
    assert_eq!(served.post(&SNS.signed(old, "2")).await, 403);
    assert_eq!(asked.load(Relaxed), 0, "nothing was fetched for any of them");
    let mut forged = SNS.signed(notification(&sns, "{}"), "2");
    forged["Message"] = alarm().into();
    assert_eq!(served.post(&forged).await, 403);
    assert_eq!(served.post(&Signer::make().signed(notification(&sns, &alarm()), "2")).await, 403);
    assert_eq!(asked.load(Relaxed), 1, "SNS's certificate is fetched once");
    // Names of certificates can be made up; asking SNS for them is paced.
    let made_up = (0..5).map(|i| {
        let mut message = SNS.signed(notification(&sns, &alarm()), "2");
        message["SigningCertURL"] = format!("{sns}/SimpleNotificationService-x{i}.pem").into();
        message["Signature"] = "AAAA".into();
        message
    });
    let made_up: Vec<Value> = made_up.collect();
    let statuses = join_all(made_up.iter().map(|message| served.post(message))).await;
    assert!(statuses.contains(&503), "{statuses:?}");
    assert_eq!(served.told(), Vec::<String>::new());
    // And through all of that SNS is heard.
    assert_eq!(served.post(&SNS.signed(notification(&sns, &alarm()), "1")).await, 200);
    assert_eq!(served.told().len(), 1);
}

#[tokio::test]
async fn sns_is_told_whether_to_send_it_again() {
    let (sns, _) = sns_with_certificate().await;
    let script = Script { agent: [503, 422].into(), ..Script::default() };
    let served = Served::new(script, &[TOPIC], &sns).await;
    let message = SNS.signed(notification(&sns, &alarm()), "2");
    assert_eq!(served.post(&message).await, 503, "the agent is away");
    assert_eq!(served.post(&message).await, 422, "the agent refuses it");
    assert_eq!(served.post(&message).await, 200);
    // What comes twice is told twice: the agent passes over what it knows.
    assert_eq!(served.post(&message).await, 200);
    assert_eq!(served.told().len(), 4);
    let nonsense = SNS.signed(notification(&sns, "nonsense"), "2");
    assert_eq!(served.post(&nonsense).await, 422);
    let without = alarm().replace("spillway: ", "");
    assert_eq!(served.post(&SNS.signed(notification(&sns, &without), "2")).await, 200);
    let mut over = notification(&sns, "You have chosen to leave the topic.");
    over["Type"] = "UnsubscribeConfirmation".into();
    over["Token"] = "t".into();
    over["SubscribeURL"] = format!("{sns}/?Action=ConfirmSubscription&Token=t").into();
    assert_eq!(served.post(&SNS.signed(over, "2")).await, 200);
    assert_eq!(served.told().len(), 4);
}
