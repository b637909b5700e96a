//! An alarm of the cloud's console degrades at home, by each of its ways, and is over with its cause.

use std::future::Future;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::json;
use spillway_model::config::edited;
use spillway_test_aws::{Config, Fault, FaultKind, Hooks, Invocation, Invoked, Service, Shape};
use spillway_test_support::{Certificate, Process, RuntimeApi, Spillway, program, wait_until};
use tokio::sync::Mutex;

use super::cloud::Cloud;
use super::home::{Logs, SpillwayAws, agent, get, on_aws};
use crate::alone;
use crate::packages::cannot;

/// From an alarm's change to the tier in the plan.
const RAISED: Duration = Duration::from_secs(2);
/// From its end to the end of the tier: a dwell for each of the four knobs of two tiers, and the way there.
const DWELL_SECS: i64 = 3;
const LOWERED: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(20);

/// Functions of the cloud as the one process that there is.
#[derive(Default)]
struct Function {
    api: OnceLock<Arc<Mutex<RuntimeApi>>>,
    invoked: Arc<AtomicUsize>,
}

impl Hooks for Function {
    fn invoke(&self, invocation: Invocation) -> Pin<Box<dyn Future<Output = Invoked> + Send>> {
        let (api, invoked) = (self.api.get().unwrap().clone(), self.invoked.clone());
        Box::pin(async move {
            let event = serde_json::from_slice(&invocation.payload).unwrap();
            let answer = api.lock().await.invoke(event).await;
            invoked.fetch_add(1, SeqCst);
            let (failed, answer) = match answer {
                Ok(answer) => (false, answer),
                Err(error) => (true, error),
            };
            Invoked { payload: answer.to_string().into_bytes(), failed }
        })
    }
}

struct Stage {
    cloud: Cloud,
    function: Arc<Function>,
    spillway: Spillway,
    agent: SocketAddr,
    _logs: Logs,
}

impl Stage {
    /// Everything but `spillway-aws`. `way` is what `[cloud.aws]` says of alarms, for a cloud and the
    /// agent's address.
    fn open(way: impl FnOnce(&Cloud, SocketAddr) -> String) -> Self {
        let function = Arc::new(Function::default());
        let cloud = Cloud::start(Config::default(), Shape::default(), 1.0, function.clone());
        let api = cloud.runtime.block_on(RuntimeApi::start());
        assert!(function.api.set(Arc::new(Mutex::new(api))).is_ok());
        let spillway = Spillway::up(|example| {
            let group = &cloud.stack.group;
            let gateways = format!("autoscaling_group = \"{group}\"\nweighted_qps = 1000\nmax = 2");
            let way = way(&cloud, agent(&example));
            let text = on_aws(&example, &cloud, &gateways, &way);
            edited(&text, &[("agent.tier_dwell_secs", DWELL_SECS.into())]).unwrap()
        });
        let agent = agent(&std::fs::read_to_string(spillway.config()).unwrap());
        let logs = Logs(vec![spillway.folder().to_owned()]);
        Self { cloud, function, spillway, agent, _logs: logs }
    }

    /// The tier of the plan that parts are given.
    fn tier(&self) -> u64 {
        get(self.agent, "/v1/plan").unwrap()["plan"]["tier"].as_u64().unwrap()
    }

    fn set(&self, alarm: &str, state: &str) {
        let input =
            json!({ "AlarmName": alarm, "StateValue": state, "StateReason": "a rehearsal" });
        let action = "SetAlarmState";
        self.cloud.server.with(|aws| aws.look(Service::CloudWatch, action, input)).unwrap();
    }

    /// The alarm goes off and is over again; `tier` is what it asks for.
    fn rehearse(&self, alarm: &str, tier: u64) {
        assert_eq!(self.tier(), 0);
        self.set(alarm, "ALARM");
        wait_until("the alarm raises the tier", RAISED, || self.tier() == tier);
        self.set(alarm, "OK");
        let mut seen = vec![tier];
        wait_until("the tier falls again", LOWERED, || {
            seen.push(self.tier());
            self.tier() == 0
        });
        assert!(seen.windows(2).all(|two| two[1] <= two[0]), "{seen:?}");
    }
}

#[test]
fn an_alarm_raises_the_tier_within_two_seconds() {
    if cannot("alarms, which are signed", &["openssl"], &[]) {
        return;
    }
    let _alone = alone();
    let queue = |cloud: &Cloud, _| format!("alarm_queue = \"{}\"", cloud.stack.queue_url);
    let stage = Stage::open(queue);
    by_the_function(&stage);
    by_the_queue(&stage);
}

fn by_the_function(stage: &Stage) {
    let made = stage.cloud.server.with(|aws| {
        let function = json!({
            "FunctionName": "east-alarm", "Code": { "ZipFile": "UEsFBg==" }, "Timeout": 30,
            "Role": "arn:aws:iam::123456789012:role/alarm",
        });
        let function = aws.look(Service::Lambda, "CreateFunction", function)?;
        let topic = aws.look(Service::Sns, "CreateTopic", json!({ "Name": "east-function" }))?;
        let subscription = json!({
            "TopicArn": topic["TopicArn"], "Protocol": "lambda",
            "Endpoint": function["FunctionArn"],
        });
        aws.look(Service::Sns, "Subscribe", subscription)?;
        let alarm = json!({
            "AlarmName": "east/errors", "Namespace": "AWS/Lambda", "MetricName": "Errors",
            "AlarmDescription": "spillway: tier=1 for=10m\nFunctions fail.",
            "AlarmActions": [topic["TopicArn"]], "OKActions": [topic["TopicArn"]],
            "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 10,
            "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "ignore",
        });
        aws.look(Service::CloudWatch, "PutMetricAlarm", alarm)
    });
    made.unwrap();
    let mut command = Command::new(program("alarm"));
    let api = stage.function.api.get().unwrap();
    stage.cloud.runtime.block_on(async {
        api.lock().await.environment("east-alarm", &mut command);
    });
    let token = stage.spillway.folder().join("state/operator.token");
    command.env("SPILLWAY_AGENTS", format!("http://{}", stage.agent));
    command.env("SPILLWAY_TOKEN", std::fs::read_to_string(token).unwrap());
    let _function = Process::logged(&command, &stage.spillway.folder().join("alarm.log"));
    // A first message has the environment started and the topic's key made; an alarm that was never on
    // changes nothing by being over.
    stage.set("east/errors", "OK");
    wait_until("the function was called", SOON, || stage.function.invoked.load(SeqCst) == 1);
    stage.rehearse("east/errors", 1);
    assert_eq!(stage.function.invoked.load(SeqCst), 3);
}

fn by_the_queue(stage: &Stage) {
    let _spillway_aws = SpillwayAws::start(stage.spillway.config(), &stage.cloud);
    let alarm = stage.cloud.stack.alarm.clone();
    stage.set(&alarm, "OK");
    wait_until("the queue is read", SOON, || !stage.cloud.taken("DeleteMessage").is_empty());
    stage.rehearse(&alarm, 2);
}

/// SNS itself asks the program whether it wants to hear of a topic, and nothing else tells it of alarms.
#[test]
fn an_alarm_comes_over_https_alone() {
    if cannot("alarms, which are signed", &["openssl"], &[]) {
        return;
    }
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut endpoint = None;
    let stage = Stage::open(|cloud, agent| {
        let certificate = Certificate::make(folder.path(), agent.ip());
        cloud.server.trust(certificate.certificate()).unwrap();
        let listen = SocketAddr::from((agent.ip(), 8443));
        endpoint = Some(listen);
        format!(
            r#"
                [aws.alarm_endpoint]
                listen = "{listen}"
                certificate = "{}"
                key = "{}"
                topics = ["{}"]
                stand_in = "{}"
            "#,
            certificate.certificate().display(),
            certificate.key().display(),
            cloud.stack.topic,
            cloud.server.endpoint(),
        )
    });
    let (endpoint, alarm) = (endpoint.unwrap(), stage.cloud.stack.alarm.clone());
    // Or else the program would hear of it by asking, too.
    let denied = Fault {
        service: Some(Service::CloudWatch),
        action: Some("DescribeAlarms".to_owned()),
        after: 0,
        times: None,
        kind: FaultKind::AccessDenied,
    };
    stage.cloud.server.with(|aws| aws.add_faults(vec![denied]));
    let _spillway_aws = SpillwayAws::start(stage.spillway.config(), &stage.cloud);
    wait_until("the endpoint listens", SOON, || TcpStream::connect(endpoint).is_ok());
    let topic = json!({ "TopicArn": stage.cloud.stack.topic });
    let mut subscription = topic.clone();
    subscription["Protocol"] = "https".into();
    subscription["Endpoint"] = format!("https://{endpoint}/v1/alarms").into();
    stage.cloud.server.with(|aws| aws.look(Service::Sns, "Subscribe", subscription)).unwrap();
    wait_until("the program confirms the subscription", SOON, || {
        let action = "ListSubscriptionsByTopic";
        let all = stage.cloud.server.with(|aws| aws.look(Service::Sns, action, topic.clone()));
        let all = all.unwrap().to_string();
        all.contains("https://") && !all.contains("PendingConfirmation")
    });
    stage.rehearse(&alarm, 2);
    for action in ["ReceiveMessage", "DescribeAlarms"] {
        assert_eq!(stage.cloud.taken(action).len(), 0, "{action}");
    }
}
