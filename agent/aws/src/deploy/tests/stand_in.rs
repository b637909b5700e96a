//! Against the stand-in of AWS: the SDK's own requests, and behaviour as AWS documents it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_sdk_ec2::config::Credentials;
use serde_json::{Value, json};
use spillway_model::config::{Aws, AwsProgram, AwsRule};
use spillway_model::plan::{encode_key, signing_key};
use spillway_model::{Config, UnixMillis};
use spillway_part::{Shutdown, clock};
use spillway_test_aws::{
    Fault, FaultKind, Hooks, Invocation, Invoked, Request, Server, Service, Shape, Stack,
};
use spillway_test_support::until;

use crate::call::Calls;
use crate::clients::{Clients, loader};
use crate::deploy::package::{Architecture, package};
use crate::deploy::run::{Deployment, Outcome, Pace, Wish};
use crate::deploy::tell::Said;
use crate::deploy::{chosen, deploy, rollback};
use crate::figures::load_balancer;

const EXAMPLE: &str = include_str!("../../../../../examples/spillway.toml");
/// Time that passes with each look of a test.
const TICK: Duration = Duration::from_secs(10);

thread_local! {
    /// How far a test's clock is ahead; each test has a thread of its own.
    static AHEAD_MS: Cell<u64> = const { Cell::new(0) };
}

fn now() -> UnixMillis {
    clock::now().plus_millis(AHEAD_MS.get())
}

/// Versions that answer 503 to a smoke invocation.
#[derive(Debug, Default)]
struct Broken(Mutex<BTreeSet<String>>);

impl Hooks for Broken {
    fn invoke(&self, invocation: Invocation) -> Pin<Box<dyn Future<Output = Invoked> + Send>> {
        let broken = self.0.lock().unwrap().contains(&invocation.version);
        let payload = match (broken, invocation.function.as_str()) {
            (true, _) => json!({ "statusCode": 503 }),
            (false, "east-alarm") => json!(0),
            (false, _) => json!({ "statusCode": 200 }),
        };
        let payload = payload.to_string().into_bytes();
        Box::pin(std::future::ready(Invoked { payload, failed: false }))
    }
}

struct Stage {
    server: Server,
    config: Config,
    clients: Clients,
    folder: tempfile::TempDir,
    broken: Arc<Broken>,
}

/// Both programs, for the machines that the stand-in's functions have.
fn build(folder: &Path, code: &str) {
    for program in [AwsProgram::OneCode, AwsProgram::Alarm] {
        let place = folder.join(Architecture::X86.to_string()).join(program.name());
        std::fs::create_dir_all(&place).unwrap();
        let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        elf.resize(18, 0);
        elf.extend([62, 0]);
        elf.extend(code.as_bytes());
        std::fs::write(place.join("bootstrap"), elf).unwrap();
    }
}

async fn stage() -> Stage {
    let broken = Arc::new(Broken::default());
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let server =
        Server::start(spillway_test_aws::Config::default(), listen, broken.clone()).await.unwrap();
    let stack = server.with(|aws| Stack::make(aws, "east", Shape::default())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    build(folder.path(), "one");
    let section = "[cloud.aws]\nregion = \"eu-central-1\"\nname = \"east\"\nadmin = \"127.0.0.1:9411\"\n\
                   [cloud.aws.functions.one-code]\nname = \"east-one-code\"\n\
                   [cloud.aws.functions.alarm]\nname = \"east-alarm\"\nprogram = \"alarm\"\n";
    let routes = "# What the gateways route.";
    let text = EXAMPLE.replace(routes, &format!("{section}{routes}"));
    let mut config = Config::parse(&text, folder.path()).unwrap();
    let rule = AwsRule { arn: stack.rule, target_group: stack.functions };
    config.cloud.aws.as_mut().unwrap().rules.push(rule);
    let retries =
        RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(1));
    let told = loader("eu-central-1")
        .endpoint_url(server.endpoint())
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
        .retry_config(retries);
    let mut clients = Clients::of(&told.load().await);
    clients.calls = Calls::every(Duration::ZERO);
    clients.now = now;
    let stage = Stage { server, config, clients, folder, broken };
    stage.lambda(
        "CreateFunction",
        json!({ "FunctionName": "east-alarm", "Code": { "ZipFile": "UEsFBg==" }, "Publish": true }),
    );
    let alias = json!({ "FunctionName": "east-alarm", "Name": "live", "FunctionVersion": "1" });
    stage.lambda("CreateAlias", alias);
    stage
}

impl Stage {
    fn aws(&self) -> &Aws {
        self.config.cloud.aws.as_ref().unwrap()
    }

    fn lambda(&self, action: &str, input: Value) -> Value {
        let request = Request { service: Service::Lambda, action: action.to_owned(), input };
        self.server.with(|aws| aws.call(&request)).answer.unwrap()
    }

    fn wish(&self) -> Wish {
        Wish {
            functions: Vec::new(),
            from: self.folder.path().to_owned(),
            steps: vec![5, 25, 100],
            hold_secs: 60,
            keep: 2,
            smoke: None,
            dry_run: false,
        }
    }

    /// A deployment, which tells `tell`; with each look at what goes on, time passes.
    async fn deploy(
        &self,
        wish: &Wish,
        shutdown: &Shutdown,
        mut tell: impl FnMut(&Said) + Send,
    ) -> Outcome {
        let mut told = |said: &Said| {
            tell(said);
            if matches!(said, Said::Watches { .. }) {
                self.server.advance(TICK);
                AHEAD_MS.set(AHEAD_MS.get() + 10_000);
            }
        };
        let deployment = Deployment {
            clients: &self.clients,
            config: &self.config,
            aws: self.aws(),
            functions: chosen(self.aws(), &wish.functions).unwrap(),
            wish,
            pace: Pace { soon: Duration::ZERO, watch: Duration::ZERO },
            tell: &mut told,
        };
        deployment.run(b"config", b"key", shutdown).await.unwrap()
    }

    /// So many invocations by the alias, of which those of `version` fail.
    fn requests(&self, many: u32, version: &str) {
        self.server.with(|aws| {
            for _ in 0..many {
                let invocation = aws.invoke("east-one-code", Some("live"), Vec::new()).unwrap();
                let failed = invocation.version == version;
                aws.invoked(&invocation, failed);
            }
        });
    }

    /// So many requests by the load balancer, some of which the function answered 5xx.
    fn answers(&self, many: f64, failed: f64) {
        let rule = &self.aws().rules[0];
        let balancer = load_balancer(&rule.arn).unwrap();
        let group = rule.target_group.rsplit(':').next().unwrap();
        let dimensions = [("LoadBalancer", balancer.as_str()), ("TargetGroup", group)];
        self.server.with(|aws| {
            for (metric, n) in [("RequestCount", many), ("HTTPCode_Target_5XX_Count", failed)] {
                aws.put_metric("AWS/ApplicationELB", metric, &dimensions, n);
            }
        });
    }

    /// Version, weights, and the version before, of both functions.
    fn stands(&self) -> Vec<(Value, Value, Value)> {
        let of = |name: &str| {
            let aliases = self.lambda("ListAliases", json!({ "FunctionName": name }));
            let find = |alias: &str| {
                let all = aliases["Aliases"].as_array().unwrap().clone();
                all.into_iter().find(|it| it["Name"] == alias).unwrap_or_default()
            };
            let live = find("live");
            (
                live["FunctionVersion"].clone(),
                live["RoutingConfig"]["AdditionalVersionWeights"].clone(),
                find("live-before")["FunctionVersion"].clone(),
            )
        };
        ["east-alarm", "east-one-code"].map(of).into()
    }

    fn calls(&self, action: &str) -> usize {
        self.server.with(|aws| aws.calls().filter(|call| call.action == action).count())
    }

    fn fault(&self, action: &str, after: u32, kind: FaultKind) {
        let fault = Fault {
            service: Some(Service::Lambda),
            action: Some(action.to_owned()),
            after,
            times: Some(1),
            kind,
        };
        self.server.with(|aws| aws.add_faults([fault]));
    }
}

fn both(version: &str, before: Value) -> Vec<(Value, Value, Value)> {
    vec![(json!(version), Value::Null, before); 2]
}

#[tokio::test]
async fn functions_are_shipped_by_weighted_steps() {
    let stage = stage().await;
    let (mut lines, mut weights) = (Vec::new(), BTreeSet::new());
    let outcome = stage
        .deploy(&stage.wish(), &Shutdown::new(), |said| {
            lines.push(said.to_string());
            weights.insert(stage.stands()[1].1.to_string());
            if matches!(said, Said::Watches { .. }) {
                stage.requests(200, "none");
            }
        })
        .await;
    assert_eq!(outcome, Outcome::Done, "{lines:#?}");
    assert_eq!(stage.stands(), both("2", json!("1")));
    let expected = ["null", "{\"2\":0.05}", "{\"2\":0.25}"].map(str::to_owned);
    assert_eq!(weights, expected.into());
    let text = lines.join("\n");
    for part in [
        "one-code: east-one-code, x86_64, 1 kB; version 1 has all requests",
        "alarm: publish a version: version 2 (",
        "one-code: give version 2 5 % of requests",
        "25 %, 60 s left; alarm: new 0 ok",
        " 0 errors p95 ",
        "done: all is as wanted",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    // Again: nothing is uploaded, and no alias is touched.
    let before = (stage.calls("UpdateFunctionCode"), stage.calls("UpdateAlias"));
    assert_eq!(stage.deploy(&stage.wish(), &Shutdown::new(), |_| {}).await, Outcome::Done);
    assert_eq!((stage.calls("UpdateFunctionCode"), stage.calls("UpdateAlias")), before);
    // Other memory is another version, of the same code.
    let more = json!({ "FunctionName": "east-alarm", "MemorySize": 256 });
    stage.lambda("UpdateFunctionConfiguration", more);
    assert_eq!(stage.deploy(&stage.wish(), &Shutdown::new(), |_| {}).await, Outcome::Done);
    assert_eq!(
        (stage.stands()[0].0.clone(), stage.stands()[1].0.clone()),
        (json!("3"), json!("2"))
    );
    assert_eq!(stage.calls("UpdateFunctionCode"), before.0);
}

#[tokio::test]
async fn what_does_worse_goes_back() {
    let stage = stage().await;
    let mut reason = String::new();
    let outcome = stage
        .deploy(&stage.wish(), &Shutdown::new(), |said| match said {
            Said::Watches { .. } => stage.requests(200, "2"),
            Said::GoesBack { reason: why } => reason.clone_from(why),
            _ => {}
        })
        .await;
    assert_eq!(outcome, Outcome::Failed(reason.clone()));
    assert!(reason.contains("the new version of one-code does worse") && reason.contains("failed"));
    assert_eq!(stage.stands(), both("1", Value::Null), "both, for they belong together");
    // An alarm of the site set is enough. What was in the minutes before does not count any more.
    stage.server.advance(Duration::from_secs(120));
    AHEAD_MS.set(AHEAD_MS.get() + 120_000);
    let outcome = stage
        .deploy(&stage.wish(), &Shutdown::new(), |said| {
            let of = json!({ "AlarmName": "east/uplink-full-east", "StateValue": "ALARM", "StateReason": "full" });
            let action = "SetAlarmState".to_owned();
            if matches!(said, Said::Watches { text, .. } if text.starts_with("25 %")) {
                let request = Request { service: Service::CloudWatch, action, input: of };
                stage.server.with(|aws| aws.call(&request)).answer.unwrap();
            }
        })
        .await;
    let Outcome::Failed(why) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("alarm east/uplink-full-east went on"), "{why}");
    assert_eq!(stage.stands(), both("1", Value::Null));
    assert_eq!(stage.calls("UpdateFunctionCode"), 2, "the code was there already");
}

#[tokio::test]
async fn a_version_that_answers_errors_goes_back() {
    let stage = stage().await;
    let outcome = stage
        .deploy(&stage.wish(), &Shutdown::new(), |said| {
            // While Lambda takes the code there is no new version yet that could answer.
            if matches!(said, Said::Watches { percent: Some(_), .. }) {
                stage.answers(200.0, 10.0);
            }
        })
        .await;
    let Outcome::Failed(why) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("requests were answered 5xx"), "{why}");
    assert_eq!(stage.stands(), both("1", Value::Null));
}

#[tokio::test]
async fn what_fails_its_smoke_is_given_no_request() {
    let stage = stage().await;
    stage.broken.0.lock().unwrap().insert("2".to_owned());
    let outcome = stage.deploy(&stage.wish(), &Shutdown::new(), |_| {}).await;
    let Outcome::Failed(why) = outcome else { panic!("{outcome:?}") };
    assert!(
        why.contains("version 2 of alarm fails its smoke invocation: it answers no number"),
        "{why}"
    );
    assert_eq!((stage.calls("UpdateAlias"), stage.stands()), (0, both("1", Value::Null)));
    // A version that stops to answer while it is watched goes back too.
    build(stage.folder.path(), "two");
    let outcome = stage
        .deploy(&stage.wish(), &Shutdown::new(), |said| {
            if matches!(said, Said::Watches { text, .. } if text.starts_with("25 %")) {
                stage.broken.0.lock().unwrap().insert("3".to_owned());
            }
        })
        .await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    assert_eq!(stage.stands(), both("1", Value::Null));
    // Where the old version answers nothing either, there is nothing to lose.
    stage.broken.0.lock().unwrap().extend(["1".to_owned()]);
    build(stage.folder.path(), "three");
    let wish = Wish { functions: vec!["one-code".to_owned()], ..stage.wish() };
    let weighed = stage.calls("UpdateAlias");
    assert_eq!(stage.deploy(&wish, &Shutdown::new(), |_| {}).await, Outcome::Done);
    // It is moved whole, and settled.
    assert_eq!(stage.calls("UpdateAlias"), weighed + 2);
    assert_eq!(stage.stands()[1].0, "4");
}

/// Calls that change something, and how many of each there are to be killed at.
const CHANGES: [(&str, u32); 6] = [
    ("UpdateFunctionCode", 2),
    ("PublishVersion", 2),
    ("Invoke", 4),
    ("UpdateAlias", 8),
    ("CreateAlias", 2),
    ("DeleteFunction", 2),
];

/// Another deployment before, so that there is a version to delete.
async fn third(stage: &Stage) {
    let quick = Wish { steps: vec![100], hold_secs: 0, ..stage.wish() };
    assert_eq!(stage.deploy(&quick, &Shutdown::new(), |_| {}).await, Outcome::Done);
    for name in ["east-alarm", "east-one-code"] {
        let alias = json!({ "FunctionName": name, "Name": "live-before" });
        stage.lambda("DeleteAlias", alias);
    }
    build(stage.folder.path(), "two");
}

#[tokio::test]
async fn it_can_be_killed_at_any_call_and_goes_on() {
    for (action, many) in CHANGES {
        for after in 0..many {
            let stage = stage().await;
            third(&stage).await;
            // The call is done, and the process never hears of it.
            stage.fault(action, after, FaultKind::Hang { millis: 3_600_000 });
            let shutdown = Shutdown::new();
            let wish = stage.wish();
            let stuck = async || stage.server.with(|aws| aws.calls().any(|call| !call.heard));
            tokio::select! {
                outcome = stage.deploy(&wish, &shutdown, |_| {}) => panic!("{action} {after}: {outcome:?}"),
                () = until("the process hangs", Duration::from_secs(20), stuck) => {}
            }
            let outcome = stage.deploy(&stage.wish(), &Shutdown::new(), |_| {}).await;
            assert_eq!(outcome, Outcome::Done, "{action} {after}");
            assert_eq!(stage.stands(), both("3", json!("2")), "{action} {after}");
            let versions =
                stage.lambda("ListVersionsByFunction", json!({ "FunctionName": "east-alarm" }));
            assert_eq!(versions["Versions"].as_array().unwrap().len(), 3, "{action} {after}");
            let before = json!({ "FunctionName": "east-alarm", "Name": "live-before" });
            let says = stage.lambda("GetAlias", before)["Description"].to_string();
            assert!(says.contains("goes back to"), "{action} {after}: {says}");
        }
    }
}

#[tokio::test]
async fn lost_answers_change_nothing() {
    for (action, many) in CHANGES {
        let stage = stage().await;
        third(&stage).await;
        for after in 0..many {
            stage.fault(action, after, FaultKind::LostAnswer);
        }
        let outcome = stage.deploy(&stage.wish(), &Shutdown::new(), |_| {}).await;
        assert_eq!((outcome, stage.stands()), (Outcome::Done, both("3", json!("2"))), "{action}");
    }
}

#[tokio::test]
async fn another_deployment_is_left_alone() {
    let stage = stage().await;
    let theirs = json!({
        "FunctionName": "east-one-code", "Name": "live",
        "RoutingConfig": { "AdditionalVersionWeights": { "2": 0.5 } },
    });
    let mut last = String::new();
    let outcome = stage
        .deploy(&stage.wish(), &Shutdown::new(), |said| {
            if matches!(said, Said::Watches { text, .. } if text.starts_with("5 %, 60")) {
                stage.lambda("UpdateAlias", theirs.clone());
            }
            last = said.to_string();
        })
        .await;
    let Outcome::Stopped(why) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("one-code") && why.contains("by another deployment"), "{why}");
    assert_eq!(stage.stands()[1].1, json!({ "2": 0.5 }), "theirs stays");
    assert!(last.contains("`spillway rollback` goes back"), "{last}");
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let stage = stage().await;
    stage.fault("UpdateAlias", 1, FaultKind::AccessDenied);
    let outcome = stage.deploy(&stage.wish(), &Shutdown::new(), |_| {}).await;
    let Outcome::Failed(why) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("AWS denies lambda:UpdateAlias"), "{why}");
    assert_eq!(stage.stands(), both("1", Value::Null), "what was shifted before has gone back");
}

#[tokio::test]
async fn who_interrupts_it_ends_it() {
    let stage = stage().await;
    let shutdown = Shutdown::new();
    let outcome = stage
        .deploy(&stage.wish(), &shutdown, |said| {
            if matches!(said, Said::Watches { text, .. } if text.starts_with("25 %")) {
                shutdown.cancel();
            }
        })
        .await;
    assert_eq!((outcome, stage.stands()), (Outcome::Interrupted, both("1", Value::Null)));
}

#[tokio::test]
async fn beside_warm_environments_nothing_is_weighed() {
    let stage = stage().await;
    let warm = json!({
        "FunctionName": "east-one-code", "Qualifier": "live", "ProvisionedConcurrentExecutions": 5,
    });
    stage.lambda("PutProvisionedConcurrencyConfig", warm);
    let outcome = stage.deploy(&stage.wish(), &Shutdown::new(), |_| {}).await;
    let Outcome::Stopped(why) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("5 environments of one-code are kept warm"), "{why}");
    assert_eq!(stage.stands(), both("1", Value::Null));
    let quick = Wish { steps: vec![100], hold_secs: 0, ..stage.wish() };
    assert_eq!(stage.deploy(&quick, &Shutdown::new(), |_| {}).await, Outcome::Done);
    // Lambda itself gives requests to the version before until the new one's environments are warm.
    let mut expected = both("2", json!("1"));
    expected[1].1 = json!({ "1": 1.0 });
    assert_eq!(stage.stands(), expected);
    let functions = chosen(stage.aws(), &["one-code".to_owned()]).unwrap();
    let back = rollback::run(&stage.clients, &functions, None, false, &mut |_| {}).await;
    assert_eq!(back.unwrap(), Outcome::Done);
    // By a weight of its own Lambda would give them to the version that was left: it is taken away.
    expected[1] = (json!("1"), Value::Null, json!("1"));
    assert_eq!(stage.stands(), expected);
}

#[tokio::test]
async fn a_rehearsal_changes_nothing() {
    let stage = stage().await;
    let mut lines = Vec::new();
    let wish = Wish { dry_run: true, ..stage.wish() };
    let outcome = stage.deploy(&wish, &Shutdown::new(), |said| lines.push(said.to_string())).await;
    assert_eq!(outcome, Outcome::Done);
    assert!(
        lines.contains(&"alarm: would upload the code, and publish it as a version".to_owned())
    );
    assert_eq!(stage.calls("UpdateFunctionCode"), 2, "Lambda is asked whether it would take it");
    assert_eq!(stage.calls("PublishVersion") + stage.calls("UpdateAlias"), 0);
    // Whether it may be done at all is told before it is done.
    stage.fault("UpdateFunctionCode", 0, FaultKind::AccessDenied);
    let outcome = stage.deploy(&wish, &Shutdown::new(), |_| {}).await;
    let Outcome::Stopped(why) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("denies lambda:UpdateFunctionCode"), "{why}");
}

#[tokio::test]
async fn what_was_before_is_brought_back_at_once() {
    let stage = stage().await;
    let functions = chosen(stage.aws(), &[]).unwrap();
    let mut lines = Vec::new();
    let mut back = async |to: Option<u32>, dry_run: bool| {
        let mut tell = |said: &Said| lines.push(said.to_string());
        rollback::run(&stage.clients, &functions, to, dry_run, &mut tell).await.unwrap()
    };
    // Nothing was deployed yet.
    let Outcome::Stopped(why) = back(None, false).await else { panic!() };
    assert!(why.contains("it is not known what served before version 1"), "{why}");
    let quick = Wish { steps: vec![100], hold_secs: 0, ..stage.wish() };
    assert_eq!(stage.deploy(&quick, &Shutdown::new(), |_| {}).await, Outcome::Done);
    assert_eq!(back(None, true).await, Outcome::Done);
    assert_eq!(stage.stands(), both("2", json!("1")), "only said");
    stage.fault("UpdateAlias", 0, FaultKind::LostAnswer);
    assert_eq!(back(None, false).await, Outcome::Done);
    assert_eq!(stage.stands(), both("1", json!("1")));
    // A second time there is nothing to go back to, but every version can be asked for.
    assert!(matches!(back(None, false).await, Outcome::Stopped(_)));
    assert_eq!(back(Some(2), false).await, Outcome::Done);
    assert_eq!(stage.stands(), both("2", json!("1")));
    let Outcome::Stopped(why) = back(Some(9), false).await else { panic!() };
    assert!(why.contains("there is no version 9; beside 2 there are: 1"), "{why}");
    // A canary is ended, and who has none is left alone.
    let weigh = json!({
        "FunctionName": "east-one-code", "Name": "live",
        "RoutingConfig": { "AdditionalVersionWeights": { "1": 0.25 } },
    });
    stage.lambda("UpdateAlias", weigh);
    assert_eq!(back(None, false).await, Outcome::Done);
    assert_eq!(stage.stands(), both("2", json!("1")));
    assert!(lines.iter().any(|line| line.contains("no canary is under way here")), "{lines:#?}");
}

#[tokio::test]
async fn the_whole_command_packs_the_configuration_and_the_key_and_leaves_a_record() {
    let stage = stage().await;
    let (folder, name) = (stage.folder.path(), ["alarm".to_owned()]);
    let file = folder.join("spillway.toml");
    std::fs::write(&file, "a = 1\n").unwrap();
    let mut config = stage.config.clone();
    config.plan.state_dir = folder.join("state");
    std::fs::create_dir(&config.plan.state_dir).unwrap();
    let wish = Wish { functions: name.to_vec(), steps: vec![100], hold_secs: 0, ..stage.wish() };
    let shutdown = Shutdown::new();
    let (clients, tell) = (&stage.clients, &mut |_: &Said| {});
    let failed = deploy(clients, &config, &file, &wish, &shutdown, tell).await.unwrap_err();
    assert!(failed.to_string().contains("spillway keygen"), "{failed}");
    let key = signing_key(&encode_key(&[7; 32])).unwrap();
    let public = encode_key(key.verifying_key().as_bytes());
    std::fs::write(folder.join("plan.pub"), &public).unwrap();
    stage.server.set_factor(50.0);
    let outcome = deploy(clients, &config, &file, &wish, &shutdown, tell).await.unwrap();
    assert_eq!(outcome, Outcome::Done);
    let packed =
        package(folder, Architecture::X86, AwsProgram::Alarm, b"a = 1\n", public.as_bytes());
    let there = stage.lambda("GetFunctionConfiguration", json!({ "FunctionName": "east-alarm" }));
    assert_eq!(there["CodeSha256"], packed.unwrap().sha);
    assert_eq!(rollback(clients, &config, &name, None, false, tell).await.unwrap(), Outcome::Done);
    let record = std::fs::read_to_string(config.plan.state_dir.join("deploy.jsonl")).unwrap();
    let lines = record.lines().filter(|line| !line.is_empty());
    let events: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let acts: Vec<_> = events.iter().filter_map(|event| event["act"].as_str()).collect();
    assert_eq!(acts, ["upload", "publish", "smoke", "remember", "move", "remember", "move"]);
    assert!(events.iter().all(|event| event["at"].is_string() || event["at"].is_number()));
}
