//! The real program as a Lambda function, on a Runtime API that this test is.

use std::process::Command;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::{Value, json};
use spillway_test_support::Process;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

use crate::site::{Site, key};
use crate::{SOON, until};

/// The Runtime API: events in, answers out.
struct Api {
    events: mpsc::Sender<Value>,
    answers: mpsc::Receiver<(String, Value)>,
    serving: tokio::task::JoinHandle<()>,
    address: String,
}

struct Shared {
    events: Mutex<mpsc::Receiver<Value>>,
    answers: mpsc::Sender<(String, Value)>,
}

impl Api {
    async fn start() -> Self {
        let (events, events_out) = mpsc::channel(1);
        let (answers_in, answers) = mpsc::channel(1);
        let shared = Arc::new(Shared { events: Mutex::new(events_out), answers: answers_in });
        let app = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{outcome}", post(outcome))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .with_state(shared);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { events, answers, serving, address }
    }

    /// Sends an ALB event with single-value headers and returns the function's answer.
    async fn invoke(&mut self, method: &str, path: &str, body: &str) -> Value {
        let event = json!({
            "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:local:0:targetgroup/one-code/0"}},
            "httpMethod": method,
            "path": path,
            "queryStringParameters": {},
            "headers": {"host": "cloud.example.test:8080", "x-forwarded-proto": "http", "x-forwarded-port": "8080"},
            "body": body,
            "isBase64Encoded": false,
        });
        self.events.send(event).await.unwrap();
        let (outcome, answer) =
            tokio::time::timeout(SOON, self.answers.recv()).await.unwrap().unwrap();
        assert_eq!(outcome, "response", "{answer}");
        answer
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let event = shared.events.lock().await.recv().await.unwrap();
    let headers = [
        ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
        ("lambda-runtime-deadline-ms", "99999999999999"),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:local:0:function:one-code"),
    ];
    (headers, event.to_string())
}

async fn outcome(
    State(shared): State<Arc<Shared>>,
    Path((_, outcome)): Path<(String, String)>,
    body: String,
) -> StatusCode {
    let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    shared.answers.send((outcome, body)).await.unwrap();
    StatusCode::ACCEPTED
}

async fn init_error(State(shared): State<Arc<Shared>>, body: String) -> StatusCode {
    shared.answers.send(("init error".to_owned(), Value::String(body))).await.unwrap();
    StatusCode::ACCEPTED
}

fn command(site: &Site, api: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_one-code"));
    command
        .env("AWS_LAMBDA_RUNTIME_API", api)
        .env("AWS_LAMBDA_FUNCTION_NAME", "one-code")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("SPILLWAY_CONFIG", &site.config_file);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_is_a_lambda_function() {
    let site = Site::new();
    site.agent.offer(3, &[], &key());
    site.start_agent().await;
    let mut api = Api::start().await;
    let mut process = Process::start(&command(&site, &api.address));

    let answer =
        api.invoke("POST", "/v1/users", r#"{"name": "Ada", "id_number": "X1234567"}"#).await;
    assert_eq!((&answer["statusCode"], &answer["isBase64Encoded"]), (&json!(201), &json!(false)));
    assert_eq!(answer["statusDescription"], "201 Created");
    assert_eq!(answer["headers"]["x-spillway-served-by"], "cloud");
    assert_eq!(answer["multiValueHeaders"]["content-type"], json!(["application/json"]));
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    let qr = format!("/v1/users/{}/qr", body["user"].as_str().unwrap());

    let answer = api.invoke("GET", &qr, "").await;
    assert_eq!(answer["headers"]["content-type"], "image/svg+xml");
    assert_eq!(answer["isBase64Encoded"], false);
    assert!(answer["body"].as_str().unwrap().starts_with("<svg"), "{answer}");

    // A newer plan is heard of on use, within a second or so.
    site.agent.offer(4, &["qr-text"], &key());
    until("the knob acts", async || {
        let answer = api.invoke("GET", &qr, "").await;
        answer["headers"]["x-spillway-knob"] == "qr-text"
    })
    .await;
    assert_eq!(api.invoke("GET", "/v1/users/nobody/code", "").await["statusCode"], 400);

    // When the Runtime API is gone there is nothing left to do.
    api.serving.abort();
    drop(api);
    let ended = tokio::task::spawn_blocking(move || process.wait(SOON)).await.unwrap();
    assert!(ended.is_some_and(|status| !status.success()), "{ended:?}");
}

#[tokio::test]
async fn a_function_that_cannot_start_says_why() {
    let site = Site::new();
    let output = |change: &dyn Fn(&mut Command)| {
        let mut command = command(&site, "127.0.0.1:9");
        change(&mut command);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = output(&|command| {
        command.env("AWS_LAMBDA_FUNCTION_NAME", "two-code");
    });
    assert!(said.contains("names no function `two-code`; it has one-code"), "{said}");
    let said = output(&|command| {
        command.env_remove("SPILLWAY_CONFIG");
    });
    assert!(said.contains("the variable SPILLWAY_CONFIG is not set"), "{said}");
    let said = output(&|command| {
        command.env("ONE_CODE_SECRET", "short");
    });
    assert!(said.contains("ONE_CODE_SECRET holds no key"), "{said}");
    assert!(!said.contains("short"), "{said}");
}
