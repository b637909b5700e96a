//! The Lambda Runtime API (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>) of one
//! environment, on a listener of its own as each real one has its own `127.0.0.1:9001`.
//!
//! It holds at most one invocation: offered by the environment, handed to the function by
//! `invocation/next`, answered by `response` or `error`.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use spillway_part::clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;

const PREFIX: &str = "/2018-06-01/runtime/";
/// Lambda's limit of a synchronous answer.
const PAYLOAD_BYTES_MAX: usize = 6 * 1024 * 1024;
/// Largest answer that is read, to be refused.
const DISCARDED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A runtime needs one connection; its client may open a second while the first is not yet free.
const CONNECTIONS_MAX: usize = 8;

/// One event for the function.
#[derive(Debug)]
pub struct Invocation {
    /// `Lambda-Runtime-Aws-Request-Id`.
    pub id: String,
    /// The payload.
    pub event: Bytes,
    /// When the answer must be there, in milliseconds since the Unix epoch.
    pub deadline_ms: u64,
    /// `Lambda-Runtime-Trace-Id`.
    pub trace_id: String,
    /// Where the outcome goes; dropped when there is none.
    pub reply: oneshot::Sender<Outcome>,
}

/// What became of an invocation that the function took.
#[derive(Debug)]
pub struct Outcome {
    /// The answer, or the error that the function reported.
    pub result: Result<Bytes, String>,
    /// From `next` to the answer.
    pub duration: Duration,
}

#[derive(Debug)]
struct InFlight {
    id: String,
    reply: oneshot::Sender<Outcome>,
    since: Instant,
}

#[derive(Debug, Default)]
struct Slot {
    offered: Option<Invocation>,
    in_flight: Option<InFlight>,
    init_error: Option<String>,
}

/// The state behind the API.
#[derive(Debug)]
pub struct RuntimeApi {
    function_arn: String,
    slot: Mutex<Slot>,
    offered: Notify,
    /// Whether the function has asked for work, which is when its start is over.
    polled: watch::Sender<bool>,
}

impl RuntimeApi {
    /// One that has nothing to do yet, for the function with this ARN.
    #[must_use]
    pub fn new(function_arn: String) -> Self {
        Self {
            function_arn,
            slot: Mutex::default(),
            offered: Notify::new(),
            polled: watch::Sender::new(false),
        }
    }

    /// Puts an invocation where the next `invocation/next` finds it.
    pub fn offer(&self, invocation: Invocation) {
        self.slot().offered = Some(invocation);
        self.offered.notify_one();
    }

    /// Takes back an invocation that the function has not taken; says whether there was one.
    pub fn withdraw(&self) -> bool {
        self.slot().offered.take().is_some()
    }

    /// What the function reported as the reason why it cannot start.
    pub fn init_error(&self) -> Option<String> {
        self.slot().init_error.take()
    }

    /// Waits until the function has asked for work.
    pub async fn ready(&self) {
        // The sender is ours, so waiting cannot fail.
        let _ = self.polled.subscribe().wait_for(|polled| *polled).await;
    }

    /// Serves until dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            if connections.len() >= CONNECTIONS_MAX {
                connections.join_next().await;
                continue;
            }
            match listener.accept().await {
                Ok((stream, _)) => {
                    connections.spawn(connection(self.clone(), stream));
                }
                Err(error) => {
                    tracing::debug!(%error, "the Runtime API cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let Some(call) = path.strip_prefix(PREFIX) else { return not_found() };
        match (request.method(), call) {
            (&Method::GET, "invocation/next") => self.next().await,
            (&Method::POST, "init/error") => {
                let text = error_text(&request);
                let text = body(request).await.map_or(text, |body| described(&body));
                self.slot().init_error = Some(text);
                accepted()
            }
            (&Method::POST, call) => {
                let Some((id, what)) = call
                    .strip_prefix("invocation/")
                    .and_then(|rest| rest.split_once('/'))
                    .filter(|(_, what)| ["response", "error"].contains(what))
                else {
                    return not_found();
                };
                let failed = what == "error";
                // The function may name what is wrong in a header alone (streamed answers do).
                let named = request.headers().contains_key("lambda-runtime-function-error-type");
                let text = error_text(&request);
                match body(request).await {
                    Ok(body) if failed => self.finish(id, Err(described(&body))),
                    Ok(_) if named => self.finish(id, Err(text)),
                    Ok(body) => self.finish(id, Ok(body)),
                    Err(BadBody::TooLarge) => {
                        let text = format!("the answer is larger than {PAYLOAD_BYTES_MAX} bytes");
                        self.finish(id, Err(text.clone()));
                        error_response(
                            StatusCode::PAYLOAD_TOO_LARGE,
                            "RequestEntityTooLarge",
                            &text,
                        )
                    }
                    // What is in flight stays so: its end, or its next call, tells what became of it.
                    Err(BadBody::BrokeOff) => error_response(
                        StatusCode::BAD_REQUEST,
                        "InvalidRequest",
                        "the body broke off",
                    ),
                }
            }
            _ => not_found(),
        }
    }

    /// Waits for work. Asking again without having answered gives the earlier work up.
    async fn next(&self) -> Response<Full<Bytes>> {
        self.slot().in_flight = None;
        self.polled.send_replace(true);
        loop {
            let notified = self.offered.notified();
            if let Some(response) = self.hand_over() {
                return response;
            }
            notified.await;
        }
    }

    fn hand_over(&self) -> Option<Response<Full<Bytes>>> {
        let mut slot = self.slot();
        let Invocation { id, event, deadline_ms, trace_id, reply } = slot.offered.take()?;
        let response = Response::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .header("lambda-runtime-aws-request-id", &id)
            .header("lambda-runtime-deadline-ms", deadline_ms)
            .header("lambda-runtime-invoked-function-arn", &self.function_arn)
            .header("lambda-runtime-trace-id", trace_id)
            .body(Full::new(event));
        slot.in_flight = Some(InFlight { id, reply, since: clock::instant() });
        // Every header is made of visible ASCII here; were one not, the reply is dropped and the
        // invocation fails.
        response.inspect_err(|_| slot.in_flight = None).ok()
    }

    fn finish(&self, id: &str, result: Result<Bytes, String>) -> Response<Full<Bytes>> {
        let Some(in_flight) = self.slot().in_flight.take_if(|in_flight| in_flight.id == id) else {
            let message = "there is no such invocation in flight";
            return error_response(StatusCode::BAD_REQUEST, "InvalidRequestID", message);
        };
        let duration = clock::instant().saturating_duration_since(in_flight.since);
        // Nobody waits any more when the environment is being ended.
        let _ = in_flight.reply.send(Outcome { result, duration });
        accepted()
    }
}

async fn connection(api: Arc<RuntimeApi>, stream: TcpStream) {
    // Best effort: without it answers are merely later.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let api = api.clone();
        async move { Ok::<_, Infallible>(api.handle(request).await) }
    });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
    {
        tracing::trace!(%error, "a Runtime API connection broke");
    }
}

/// Why a body was not taken.
enum BadBody {
    TooLarge,
    BrokeOff,
}

/// The whole body. One that is too large is read to its end all the same: a runtime that is cut off
/// while it writes takes that for the end of its environment, and is no use for the next request.
async fn body(request: Request<Incoming>) -> Result<Bytes, BadBody> {
    let mut body = request.into_body();
    let mut kept = BytesMut::new();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BadBody::BrokeOff)?.into_data() else { continue };
        total += data.len();
        if total > DISCARDED_BYTES_MAX {
            return Err(BadBody::TooLarge);
        }
        if total <= PAYLOAD_BYTES_MAX {
            kept.extend_from_slice(&data);
        }
    }
    if total <= PAYLOAD_BYTES_MAX { Ok(kept.freeze()) } else { Err(BadBody::TooLarge) }
}

fn error_text(request: &Request<Incoming>) -> String {
    let named = request.headers().get("lambda-runtime-function-error-type");
    named.map_or_else(
        || "Unhandled".to_owned(),
        |name| String::from_utf8_lossy(name.as_bytes()).into(),
    )
}

/// The `errorType: errorMessage` of an error that a function reports, cut to a log line.
fn described(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Reported {
        error_type: String,
        error_message: String,
    }
    let text = serde_json::from_slice::<Reported>(body).map_or_else(
        |_| String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned(),
        |reported| format!("{}: {}", reported.error_type, reported.error_message),
    );
    text.chars().take(500).collect()
}

fn accepted() -> Response<Full<Bytes>> {
    json(StatusCode::ACCEPTED, r#"{"status":"OK"}"#.to_owned())
}

fn not_found() -> Response<Full<Bytes>> {
    error_response(StatusCode::NOT_FOUND, "NotFound", "the Runtime API has no such call")
}

fn error_response(status: StatusCode, kind: &str, message: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({"errorType": kind, "errorMessage": message});
    json(status, body.to_string())
}

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
