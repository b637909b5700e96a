//! A Lambda Runtime API for one function's process: events in, answers out.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

/// Longest that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Runtime API that hands on what [`RuntimeApi::invoke`] is given, one event at a time. It ends when
/// dropped.
#[derive(Debug)]
pub struct RuntimeApi {
    events: mpsc::Sender<Value>,
    answers: mpsc::Receiver<(String, Value)>,
    address: String,
    serving: tokio::task::JoinHandle<()>,
}

struct Shared {
    events: Mutex<mpsc::Receiver<Value>>,
    answers: mpsc::Sender<(String, Value)>,
}

impl RuntimeApi {
    /// Starts one on a port of its own.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start() -> Self {
        let (events, events_out) = mpsc::channel(1);
        let (answers_in, answers) = mpsc::channel(1);
        let shared = Arc::new(Shared { events: Mutex::new(events_out), answers: answers_in });
        let app = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{outcome}", post(answered))
            .route("/2018-06-01/runtime/init/error", post(not_started))
            .with_state(shared);
        let Ok(listener) = TcpListener::bind("127.0.0.1:0").await else { panic!("no free port") };
        let Ok(address) = listener.local_addr() else { panic!("a listener has an address") };
        let serving = tokio::spawn(async move {
            if let Err(e) = axum::serve(listener, app).await {
                panic!("the Runtime API broke: {e}");
            }
        });
        Self { events, answers, address: address.to_string(), serving }
    }

    /// Gives a function's process the variables that its environment has.
    pub fn environment(&self, function: &str, process: &mut Command) {
        process
            .env("AWS_LAMBDA_RUNTIME_API", &self.address)
            .env("AWS_LAMBDA_FUNCTION_NAME", function)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128");
    }

    /// Hands on an event and waits for what the function answers: a response, or an error.
    ///
    /// # Panics
    /// When it answers nothing in time.
    pub async fn invoke(&mut self, event: Value) -> Result<Value, Value> {
        let exchange = async {
            self.events.send(event).await.ok()?;
            self.answers.recv().await
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(Some((outcome, answer))) if outcome == "response" => Ok(answer),
            Ok(Some((_, error))) => Err(error),
            Ok(None) | Err(_) => panic!("the function has not answered within {PATIENCE:?}"),
        }
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Result<impl IntoResponse, StatusCode> {
    let event = shared.events.lock().await.recv().await.ok_or(StatusCode::GONE)?;
    let headers = [
        ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
        ("lambda-runtime-deadline-ms", "99999999999999"),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:local:0:function:test"),
    ];
    Ok((headers, event.to_string()))
}

async fn not_started(State(shared): State<Arc<Shared>>, body: String) -> StatusCode {
    tell(&shared, "init error".to_owned(), body).await
}

async fn answered(
    State(shared): State<Arc<Shared>>,
    Path((_, outcome)): Path<(String, String)>,
    body: String,
) -> StatusCode {
    tell(&shared, outcome, body).await
}

async fn tell(shared: &Shared, outcome: String, body: String) -> StatusCode {
    let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    match shared.answers.send((outcome, body)).await {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::GONE,
    }
}
