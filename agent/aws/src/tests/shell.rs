//! The shell against a server that says what the test tells it to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_sdk_ec2::config::Credentials;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use spillway_model::{Config, Fleet};
use spillway_part::Shutdown;
use spillway_part::serve::{Limits, http as serve};
use spillway_test_support::until;

use crate::alarms::{Teller, follow_queue};
use crate::clients::{ATTEMPTS, Clients, loader};
use crate::{Journal, Keeper};

const EXAMPLE: &str = include_str!("../../../../examples/spillway.toml");
const EC2: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";
const BALANCING: &str = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/";

/// A server of AWS's query protocol, of its queue, and of the agent's API.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// What RunInstances is answered, one after the other; then that it is done.
    pub(super) launches: VecDeque<(u16, &'static str)>,
    pub(super) tokens: Vec<String>,
    /// What the agent answers, one after the other; then that it has taken it.
    pub(super) agent: VecDeque<u16>,
    pub(super) told: Vec<String>,
    pub(super) message: Option<String>,
}

pub(super) type Shared = Arc<Mutex<Script>>;

async fn answer(State(script): State<Shared>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let target = request.headers().get("x-amz-target").map(|t| t.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let mut script = script.lock().unwrap();
    if path == "/v1/alarms" {
        script.told.push(body);
        let status = script.agent.pop_front().unwrap_or(200);
        return (StatusCode::from_u16(status).unwrap(), "{}").into_response();
    }
    match target.as_deref() {
        Some("AmazonSQS.ReceiveMessage") => {
            let message = script.message.as_ref();
            let messages: Vec<_> = message
                .iter()
                .map(|body| serde_json::json!({"MessageId": "m", "ReceiptHandle": "r", "Body": body}))
                .collect();
            return serde_json::json!({ "Messages": messages }).to_string().into_response();
        }
        Some("AmazonSQS.DeleteMessage") => {
            script.message = None;
            return "{}".into_response();
        }
        _ => {}
    }
    let form: Vec<(&str, &str)> = body.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let field = |name| form.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    match field("Action").unwrap_or_default() {
        "DescribeInstances" => format!(
            "<DescribeInstancesResponse xmlns=\"{EC2}\"><reservationSet/></DescribeInstancesResponse>"
        )
        .into_response(),
        "DescribeTargetHealth" => format!(
            "<DescribeTargetHealthResponse xmlns=\"{BALANCING}\"><DescribeTargetHealthResult>\
             <TargetHealthDescriptions/></DescribeTargetHealthResult></DescribeTargetHealthResponse>"
        )
        .into_response(),
        "RunInstances" => {
            script.tokens.push(field("ClientToken").unwrap().to_owned());
            match script.launches.pop_front() {
                Some((status, code)) => {
                    let error = format!(
                        "<Response><Errors><Error><Code>{code}</Code><Message>so it is</Message></Error>\
                         </Errors><RequestID>r</RequestID></Response>"
                    );
                    (StatusCode::from_u16(status).unwrap(), error).into_response()
                }
                None => format!(
                    "<RunInstancesResponse xmlns=\"{EC2}\"><instancesSet><item><instanceId>i-1</instanceId>\
                     </item></instancesSet></RunInstancesResponse>"
                )
                .into_response(),
            }
        }
        other => (StatusCode::BAD_REQUEST, format!("what is {other}?")).into_response(),
    }
}

pub(super) struct Stage {
    pub(super) script: Shared,
    pub(super) config: Arc<Config>,
    clients: Clients,
    pub(super) folder: tempfile::TempDir,
    pub(super) shutdown: Shutdown,
    at: SocketAddr,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(super) async fn stage(script: Script) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let script = Arc::new(Mutex::new(script));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let app = Router::new().fallback(answer).with_state(script.clone());
    let shutdown = Shutdown::new();
    tokio::spawn(serve(listener, app, Limits::default(), shutdown.clone()));
    let aws =
        "[cloud.aws]\nregion = \"eu-central-1\"\nname = \"east\"\nadmin = \"127.0.0.1:9411\"\n";
    let routes = "# What the gateways route.";
    let text = EXAMPLE.replace(routes, &format!("{aws}{routes}"));
    let text = text.replace("127.0.0.1:9100", &at.to_string());
    let mut config = Config::parse(&text, folder.path()).unwrap();
    config.plan.state_dir = folder.path().to_owned();
    let gateways =
        "launch_template = \"lt-1\"\ntarget_group = \"arn:t\"\nweighted_qps = 1\nmax = 3";
    config.cloud.aws.as_mut().unwrap().gateways = Some(toml::from_str(gateways).unwrap());
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(1));
    let told = loader("eu-central-1")
        .endpoint_url(format!("http://{at}"))
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
        .retry_config(retries);
    let clients = Clients::of(&told.load().await);
    let token = folder.path().join("operator.token");
    std::fs::write(&token, "token").unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Stage { script, config: Arc::new(config), clients, folder, shutdown, at }
}

impl Stage {
    fn keeper(&self) -> Keeper<'_> {
        let (journal, kept) = Journal::open(self.folder.path()).unwrap();
        Keeper::new(&self.clients, self.config.cloud.aws.as_ref().unwrap(), journal, kept)
    }

    fn tokens(&self) -> Vec<String> {
        self.script.lock().unwrap().tokens.clone()
    }
}

fn one() -> Fleet {
    Fleet { gateways: 1, ..Fleet::default() }
}

#[tokio::test]
async fn a_launch_without_an_answer_is_sent_again_with_its_token_after_a_restart() {
    let lost = (500, "InternalError");
    let script = Script { launches: [lost; ATTEMPTS as usize].into(), ..Script::default() };
    let stage = stage(script).await;
    let round = stage.keeper().round(Some(&one())).await;
    assert!(round.failed[0].contains("no clear answer"), "{:?}", round.failed);
    assert_eq!(stage.tokens().len(), ATTEMPTS as usize, "retries are bounded");
    let round = stage.keeper().round(Some(&one())).await;
    assert_eq!(round.failed, Vec::<String>::new());
    let tokens = stage.tokens();
    assert_eq!(tokens.len(), ATTEMPTS as usize + 1);
    assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
    // The instance that no description shows yet is there all the same.
    let round = stage.keeper().round(Some(&one())).await;
    assert_eq!((round.acts.len(), stage.tokens().len()), (0, tokens.len()));
}

#[tokio::test]
async fn a_denial_names_the_permission_and_is_not_repeated() {
    let script =
        Script { launches: [(403, "UnauthorizedOperation"); 9].into(), ..Script::default() };
    let stage = stage(script).await;
    let mut keeper = stage.keeper();
    let round = keeper.round(Some(&one())).await;
    assert_eq!(stage.tokens().len(), 1);
    let told = round.warnings.iter().filter(|w| w.contains("denies ec2:RunInstances"));
    assert_eq!(told.count(), 1, "{:?}", round.warnings);
    // It stands in the warnings until it is over, but AWS is left in peace for a while.
    let round = keeper.round(Some(&one())).await;
    assert_eq!((round.acts.len(), stage.tokens().len()), (0, 1));
    assert!(round.warnings.iter().any(|w| w.contains("denies ec2:RunInstances")));
}

#[tokio::test]
async fn throttling_is_tried_again_so_often_and_no_more() {
    let script =
        Script { launches: [(503, "RequestLimitExceeded"); 9].into(), ..Script::default() };
    let stage = stage(script).await;
    let round = stage.keeper().round(Some(&one())).await;
    assert_eq!(stage.tokens().len(), ATTEMPTS as usize);
    assert!(round.failed[0].contains("throttles ec2:RunInstances"), "{:?}", round.failed);
    let counts = stage.clients.calls.metrics();
    let line = "spillway_aws_calls_total{operation=\"ec2:RunInstances\",outcome=\"throttled\"} 1";
    assert!(counts.contains(line), "{counts}");
}

#[tokio::test]
async fn a_message_stays_in_the_queue_until_the_agent_knows_of_it() {
    let alarm = serde_json::json!({
        "AlarmName": "east/slow",
        "AlarmDescription": "spillway: tier=1 for=10m",
        "NewStateValue": "ALARM",
        "NewStateReason": "it is slow",
        "StateChangeTime": "2026-11-23T16:00:00.000+0000",
    });
    let notification = serde_json::json!({
        "Type": "Notification", "TopicArn": "arn:topic", "Message": alarm.to_string(),
    });
    let script = Script {
        agent: [503].into(),
        message: Some(notification.to_string()),
        ..Script::default()
    };
    let stage = stage(script).await;
    let teller = Teller::new(stage.config.clone());
    let url = format!("http://{}/1/east-alarms", stage.at);
    let emptied = async {
        let emptied = async || stage.script.lock().unwrap().message.is_none();
        until("the queue is empty", Duration::from_secs(20), emptied).await;
        stage.shutdown.cancel();
    };
    let follow = follow_queue(&stage.clients, &url, &teller, &stage.shutdown);
    let both = futures_util::future::join(follow, emptied);
    tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    let script = stage.script.lock().unwrap();
    assert_eq!(script.told.len(), 2, "refused once, then taken: {:?}", script.told);
    assert!(script.told[1].contains("east/slow"));
}
