//! The real program on a Runtime API, telling a real agent.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use spillway_daemon::Agent;
use spillway_model::api::Status;
use spillway_model::plan::{encode_key, signing_key};
use spillway_model::{Config, Tier, UnixMillis};
use spillway_part::client::Client;
use spillway_part::start::listen_tcp;
use spillway_part::{Shutdown, clock};
use spillway_test_support::{Block, Process, RuntimeApi, SecretsManager, example_config};
use tempfile::TempDir;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SAMPLE: &str = include_str!("../src/samples/notification.json");
const PATIENCE: Duration = Duration::from_secs(30);
/// From the alarm's message to the tier in the plan.
const SOON: Duration = Duration::from_secs(2);

/// An agent whose parts are all away: alarms count all the same.
struct World {
    config: Arc<Config>,
    shutdown: Shutdown,
    agent: tokio::task::JoinHandle<()>,
    api: RuntimeApi,
    _folder: TempDir,
    _block: Block,
}

impl World {
    async fn new() -> Self {
        let (block, folder) = (Block::claim(), TempDir::new().unwrap());
        let text = example_config(&block, folder.path());
        let config = Arc::new(Config::parse(&text, folder.path()).unwrap());
        std::fs::create_dir_all(config.state_path("")).unwrap();
        let line = encode_key(&[7; 32]);
        let public = encode_key(signing_key(&line).unwrap().verifying_key().as_bytes());
        write_secret(&config, "plan.key", &line);
        write_secret(&config, "operator.token", TOKEN);
        std::fs::write(config.state_path("plan.pub"), public).unwrap();
        let agent = Agent::start(config.clone()).await.unwrap();
        let listener = listen_tcp(config.agent.listen, "agent.listen").await.unwrap();
        let shutdown = Shutdown::new();
        let agent = tokio::spawn(spillway_daemon::serve(agent, listener, shutdown.clone()));
        let api = RuntimeApi::start().await;
        Self { config, shutdown, agent, api, _folder: folder, _block: block }
    }

    /// The function's process, telling `agents` with `token`.
    fn function(&self, agents: &str, token: &str) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alarm"));
        self.api.environment("alarm", &mut command);
        command.env("SPILLWAY_AGENTS", agents).env("SPILLWAY_TOKEN", token);
        Process::start(&command)
    }

    fn agent(&self) -> String {
        format!("http://{}", self.config.agent.listen)
    }

    async fn status(&self) -> Status {
        Client::default().get(self.config.agent.listen, "/v1/status", PATIENCE).await.unwrap()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.agent).await.unwrap().unwrap();
    }
}

fn write_secret(config: &Config, name: &str, content: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = config.state_path(name);
    std::fs::write(&path, format!("{content}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The event by which SNS calls the function when an alarm changes.
fn sns(state: &str, at: UnixMillis) -> Value {
    let mut message: Value = serde_json::from_str(SAMPLE).unwrap();
    message["NewStateValue"] = state.into();
    message["StateChangeTime"] = at.to_string().replace('Z', "+0000").into();
    record(&message.to_string())
}

fn record(message: &str) -> Value {
    json!({"Records": [{
        "EventSource": "aws:sns",
        "EventVersion": "1.0",
        "Sns": {"Type": "Notification", "TopicArn": "arn:aws:sns:local:0:requests", "Message": message},
    }]})
}

fn reason(error: &Value) -> String {
    assert_eq!(error["errorType"], "AlarmNotDelivered", "{error}");
    let reason = error["errorMessage"].as_str().unwrap().to_owned();
    assert!(!reason.contains(TOKEN), "{reason}");
    reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_raises_the_tier_within_two_seconds() {
    let mut world = World::new().await;
    assert_eq!(world.status().await.tier, Tier::Normal);
    let _function = world.function(&world.agent(), TOKEN);

    let (began, at) = (clock::instant(), clock::now());
    assert_eq!(world.api.invoke(sns("ALARM", at)).await, Ok(json!(1)));
    let status = world.status().await;
    let took = clock::instant() - began;
    assert_eq!(status.tier, Tier::Visible);
    assert!(took < SOON, "it took {took:?}, the start of the function included");
    assert_eq!(status.orders[0].subject, "alarm shop/failing");
    assert_eq!(status.orders[0].until, at.plus_secs(600));

    // Lambda calls at least once; what was said before is no fault.
    assert_eq!(world.api.invoke(sns("ALARM", at)).await, Ok(json!(1)));
    assert_eq!(world.status().await.orders, status.orders);
    assert_eq!(world.api.invoke(sns("OK", at.plus_millis(1))).await, Ok(json!(1)));
    assert!(world.status().await.orders.is_empty());
    // News of something else is nothing to tell.
    let news = json!({"version": "0", "detail-type": "AWS Health Event", "detail": {}});
    assert_eq!(world.api.invoke(news).await, Ok(json!(0)));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_delivered_fails_the_call() {
    let mut world = World::new().await;
    // A listener that answers nobody takes the second agent's place.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = nobody.local_addr().unwrap();
    drop(nobody);
    let function = world.function(&format!("http://{closed},{}", world.agent()), TOKEN);
    let at = clock::now();
    let error = world.api.invoke(sns("ALARM", at)).await.unwrap_err();
    let expected = format!(
        "the agent {closed} has not taken the change of alarm `shop/failing`: cannot reach"
    );
    assert!(reason(&error).starts_with(&expected), "{error}");
    assert_eq!(world.status().await.tier, Tier::Visible, "the other agent was told");

    // What cannot be read does not keep the rest from the agents.
    let mut two = record("hello");
    let over = sns("OK", at.plus_millis(1))["Records"][0].clone();
    two["Records"].as_array_mut().unwrap().push(over);
    let error = world.api.invoke(two).await.unwrap_err();
    assert!(reason(&error).starts_with("it is not JSON: "), "{error}");
    assert!(world.status().await.orders.is_empty());
    drop(function);

    let _function = world.function(&world.agent(), "another token");
    let error = world.api.invoke(sns("ALARM", at.plus_millis(2))).await.unwrap_err();
    assert!(reason(&error).contains("401 Unauthorized"), "{error}");
    assert!(world.status().await.orders.is_empty());
    world.stop().await;
}

/// The token of each agent in one secret, as Terraform names it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_fetched_once() {
    let mut world = World::new().await;
    let manager = SecretsManager::start().await;
    let arn = manager.keep("east/operator-token", &format!("{TOKEN}\n"));
    let command = |arn: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alarm"));
        world.api.environment("alarm", &mut command);
        manager.environment(&mut command);
        command.env("SPILLWAY_AGENTS", world.agent()).env("SPILLWAY_TOKEN_ARN", arn);
        command
    };
    let (good, bad) = (command(&arn), command(&arn.replace("token", "nothing")));
    let function = Process::start(&good);
    let at = clock::now();
    for (state, at) in [("ALARM", at), ("OK", at.plus_millis(1)), ("ALARM", at.plus_millis(2))] {
        assert_eq!(world.api.invoke(sns(state, at)).await, Ok(json!(1)));
    }
    assert_eq!(world.status().await.tier, Tier::Visible);
    assert_eq!(manager.calls(), 1);
    drop(function);

    // Whoever invokes a function that cannot begin is told why.
    let _function = Process::start(&bad);
    let told = world.api.invoke(sns("OK", at)).await.unwrap_err();
    assert_eq!(told["errorType"], "AlarmNotBegun", "{told}");
    let why = told["errorMessage"].as_str().unwrap();
    assert!(why.contains("secret:east/operator-nothing-AbCdEf does not exist"), "{why}");
    world.stop().await;
}

#[test]
fn a_function_that_cannot_start_says_why() {
    let said = |change: &dyn Fn(&mut Command)| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alarm"));
        command
            .env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9")
            .env("AWS_LAMBDA_FUNCTION_NAME", "alarm")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("SPILLWAY_AGENTS", "http://127.0.0.1:9")
            .env("SPILLWAY_TOKEN", TOKEN);
        change(&mut command);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains(TOKEN), "{said}");
        said
    };
    for name in ["SPILLWAY_AGENTS", "SPILLWAY_TOKEN", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] {
        let said = said(&|command| {
            command.env_remove(name);
        });
        assert!(said.contains(&format!("{name} is not set")), "{said}");
    }
    let said = said(&|command| {
        command.env("SPILLWAY_AGENTS", "https://agent.example");
    });
    assert!(said.contains("SPILLWAY_AGENTS names `https://agent.example`"), "{said}");
}
