//! The load balancer: HTTP/1.1 in, invocations out. Statuses are those that an ALB gives
//! (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html>):
//!
//! | what | status |
//! | --- | --- |
//! | a head that can be read in two ways, or has a line end that is not CR LF | 400 |
//! | "16 K per request line, 16 K per single header, or 64 K for the entire request header" exceeded | 400 |
//! | no route | 404, the usual fixed response of a listener's default rule |
//! | a WebSocket ("upgrade requests are rejected") | 400 |
//! | TRACE ("not supported by Application Load Balancers") | 405 |
//! | head or body do not come within the idle timeout | 408 |
//! | "the target is a Lambda function and the request body exceeds 1 MB" | 413 |
//! | more than 30 addresses in `x-forwarded-for` | 463 |
//! | "the target is a Lambda function that returned an error or the function was throttled by the Lambda service" | 502 |
//! | "the target is a Lambda function and the response body exceeds 1 MB", its header 32 K, or it is malformed | 502 |
//! | an HTTP version other than 1 | 505 |
//! | the route's deadline has passed | 504 |
//!
//! The last row is ours: an ALB waits for the function's own timeout and answers 502 then. Our routes
//! have a deadline of their own, which counts like a gateway's, so it answers like one.
//!
//! Heads are read as a gateway reads them, which is what an ALB does in its strictest desync
//! mitigation mode: what a site refuses, the cloud does not take. An error is JSON as a gateway's is;
//! it names the reason, with the word that an ALB puts into its access log where it has one, and
//! carries as `x-request-id` the root of the `x-amzn-trace-id` that the function saw.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming as IncomingBody};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use spillway_gateway::Guard;
use spillway_model::ClientPrefix;
use spillway_part::counters::{RouteCounters, add};
use spillway_part::{Shutdown, clock};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::event::{self, ALB_BYTES_MAX, Incoming};
use crate::fleet::{Answered, Fleet, InvokeError};
use crate::routes::{Routes, Target};

/// An ALB's idle timeout: of a connection between requests, and of a request's head and body.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// What an ALB takes of a request's head, of its request line or one field, and of an answer's head
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html#http-headers-quotas>).
const HEAD_BYTES_MAX: usize = 64 * 1024;
const LINE_BYTES_MAX: usize = 16 * 1024;
const ANSWER_HEAD_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 100;
/// Further clients wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 16 * 1024;
/// An ALB takes that many addresses in `x-forwarded-for`.
const FORWARDED_FOR_MAX: usize = 30;
/// Pause after the listener failed, as it does while file descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

const SERVED_BY: HeaderName = HeaderName::from_static("x-spillway-served-by");
/// Names the function and the environment, and so the process, that answered.
const FUNCTION: HeaderName = HeaderName::from_static("x-spillway-function");
/// As a gateway names it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Set by a service on an answer that a knob shaped; with 503, on one that it refused on purpose.
const KNOB: HeaderName = HeaderName::from_static("x-spillway-knob");

/// The load balancer and what is behind it.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) routes: Routes,
    pub(crate) fleet: Fleet,
    pub(crate) port: u16,
    /// Whether the target groups have multi-value headers.
    pub(crate) multi_value: bool,
}

/// Why the load balancer itself answered.
#[derive(Debug)]
struct Refusal(u16, &'static str);

impl From<spillway_gateway::Refusal> for Refusal {
    /// The statuses are a gateway's but for those that an ALB documents otherwise.
    fn from(refusal: spillway_gateway::Refusal) -> Self {
        let status = match refusal.status {
            StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => 400,
            StatusCode::NOT_IMPLEMENTED => 405,
            status => status.as_u16(),
        };
        Self(status, refusal.reason)
    }
}

/// The body of an error, as a gateway has it.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    request_id: &'a str,
}

impl Front {
    /// Serves until `shutdown`, then lets requests under way end within `drain`.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        shutdown: Shutdown,
        drain: Duration,
    ) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let connections = TaskTracker::new();
        let abort = CancellationToken::new();
        let accepting = async {
            loop {
                // The semaphore is never closed.
                let Ok(place) = room.clone().acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, client)) => {
                        let connection = self.clone().connection(stream, client, shutdown.clone());
                        let abort = abort.clone();
                        connections.spawn(async move {
                            tokio::select! {
                                () = connection => {}
                                () = abort.cancelled() => {}
                            }
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the load balancer cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accepting => {}
            () = shutdown.cancelled() => {}
        }
        drop(listener);
        connections.close();
        if tokio::time::timeout(drain, connections.wait()).await.is_err() {
            tracing::warn!(left = connections.len(), "closing connections that are in use");
            abort.cancel();
            connections.wait().await;
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        shutdown: Shutdown,
    ) {
        // Best effort: without it answers are merely later.
        let _ = stream.set_nodelay(true);
        let options = spillway_gateway::Options {
            head_bytes_max: HEAD_BYTES_MAX,
            headers_max: HEADERS_MAX,
            target_bytes_max: LINE_BYTES_MAX,
            head_deadline: IDLE_MAX,
            write_deadline: IDLE_MAX,
            ..spillway_gateway::Options::default()
        };
        let refused = Arc::new(OnceLock::new());
        let guard = Guard::new(stream, &[], &options, refused.clone());
        let service = service_fn(move |request: Request<IncomingBody>| {
            let front = self.clone();
            let refused = spillway_gateway::refusal(request.uri(), &refused);
            async move {
                Ok::<_, Infallible>(match refused {
                    Some(refused) => front.refuse_head(&refused.into(), client.ip()),
                    None => front.request(request, client.ip()).await,
                })
            }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(IDLE_MAX);
        // The guard keeps heads within their limits; what it lets pass must fit in here.
        builder.max_buf_size(2 * HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
        let connection = builder.serve_connection(TokioIo::new(guard), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::trace!(%error, "a client's connection broke");
        }
    }

    async fn request(
        &self,
        request: Request<IncomingBody>,
        client: IpAddr,
    ) -> Response<Full<Bytes>> {
        let began = clock::instant();
        let id = self.fleet.trace_root();
        let head_only = request.method() == http::Method::HEAD;
        let Some(target) = self.routes.find(request.method(), request.uri().path()) else {
            let why = Refusal(404, "no route");
            // Gateways ask for it twice a second each: any answer says that the cloud is reached.
            if request.uri().path() == "/healthz" {
                return refusal(&why, &id).map(Full::new);
            }
            return refuse(&why, &id, "none", client).map(Full::new);
        };
        add(&target.counters.arrivals, 1);
        // A client that hangs up is counted too, by the guard.
        let mut counted = Counted { counters: &target.counters, ended: false };
        let (mut response, by_function) = match self.forward(request, client, target, &id).await {
            Ok(response) => (response, true),
            Err(why) => (refuse(&why, &id, target.route.as_str(), client), false),
        };
        let served_by = HeaderValue::from_static("cloud");
        response.headers_mut().entry(SERVED_BY).or_insert(served_by);
        let bytes = sent_bytes(&response, head_only);
        counted.ended = true;
        count(&target.counters, &response, by_function, bytes, clock::instant() - began);
        response.map(Full::new)
    }

    /// Answers a request whose head never reached the HTTP implementation.
    fn refuse_head(&self, why: &Refusal, client: IpAddr) -> Response<Full<Bytes>> {
        let mut response = refuse(why, &self.fleet.trace_root(), "none", client);
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response.map(Full::new)
    }

    async fn forward(
        &self,
        request: Request<IncomingBody>,
        client: IpAddr,
        target: &Target,
        id: &str,
    ) -> Result<Response<Bytes>, Refusal> {
        let began = clock::instant();
        let (head, body) = request.into_parts();
        admissible(&head.headers)?;
        let body = whole(body).await?;
        let trace_id = event::trace_id(&head.headers, id);
        let function = self.fleet.function(target.function);
        let event = event::event(&Incoming {
            target_group_arn: &function.target_group_arn,
            multi_value: self.multi_value,
            method: &head.method,
            uri: &head.uri,
            headers: &head.headers,
            body: &body,
            client,
            port: self.port,
            trace_id: &trace_id,
        })
        .map_err(|_| Refusal(500, "the request cannot be put into an event"))?;
        let left = target.deadline.saturating_sub(clock::instant() - began);
        let Answered { result, environment } =
            self.fleet.invoke(target.function, &event, &trace_id, left).await;
        let payload = result.map_err(|error| {
            if !matches!(error, InvokeError::Throttled(_)) {
                tracing::debug!(route = %target.route, %error, "an invocation failed");
            }
            because(&error)
        })?;
        let mut response = event::answer(&payload, self.multi_value).map_err(|error| {
            tracing::warn!(function = function.name, %error, "a function's answer cannot be used");
            match error {
                event::BadAnswer::TooLarge(_) => Refusal(502, "LambdaResponseTooLarge"),
                _ => Refusal(502, "LambdaInvalidResponse"),
            }
        })?;
        if fields(response.headers()).sum::<usize>() > ANSWER_HEAD_BYTES_MAX {
            return Err(Refusal(502, "the answer's header has more than 32 K"));
        }
        let by = environment.map(|environment| format!("{}/{environment}", function.name));
        if let Some(by) = by.and_then(|by| HeaderValue::try_from(by).ok()) {
            response.headers_mut().insert(FUNCTION, by);
        }
        Ok(response)
    }
}

/// What an ALB refuses before it looks at the body.
fn admissible(headers: &HeaderMap) -> Result<(), Refusal> {
    if fields(headers).any(|bytes| bytes > LINE_BYTES_MAX) {
        return Err(Refusal(400, "a header field has more than 16 K"));
    }
    if headers.contains_key(header::UPGRADE) {
        return Err(Refusal(400, "a function cannot serve an upgrade"));
    }
    let forwarded_for = headers.get_all("x-forwarded-for").iter();
    let addresses: usize =
        forwarded_for.map(|value| value.as_bytes().split(|byte| *byte == b',').count()).sum();
    if addresses > FORWARDED_FOR_MAX {
        return Err(Refusal(463, "more than 30 addresses in x-forwarded-for"));
    }
    Ok(())
}

async fn whole(body: IncomingBody) -> Result<Bytes, Refusal> {
    const TOO_LARGE: Refusal = Refusal(413, "LambdaRequestTooLarge");
    if body.size_hint().lower() > ALB_BYTES_MAX as u64 {
        return Err(TOO_LARGE);
    }
    let collected = Limited::new(body, ALB_BYTES_MAX).collect();
    match tokio::time::timeout(IDLE_MAX, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(TOO_LARGE),
        Ok(Err(_)) => Err(Refusal(400, "the body broke off")),
        Err(_) => Err(Refusal(408, "the body did not come in time")),
    }
}

/// An ALB logs these words as `error_reason`
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html#error-reason-codes>).
fn because(error: &InvokeError) -> Refusal {
    match error {
        InvokeError::Throttled(_) => Refusal(502, "LambdaThrottling"),
        InvokeError::Ended(_) | InvokeError::NotTaken | InvokeError::Failed(_) => {
            Refusal(502, "LambdaUnhandled")
        }
        InvokeError::Deadline => Refusal(504, "the deadline of the route has passed"),
        InvokeError::Closed => Refusal(502, "the cloud is being stopped"),
    }
}

/// The load balancer's own answer, which is logged.
fn refuse(why: &Refusal, id: &str, route: &str, client: IpAddr) -> Response<Bytes> {
    let Refusal(status, reason) = *why;
    let client = ClientPrefix::from(client);
    tracing::info!(request_id = id, %client, route, status, reason, "refused");
    refusal(why, id)
}

fn refusal(why: &Refusal, id: &str) -> Response<Bytes> {
    let Refusal(status, reason) = *why;
    let body = serde_json::to_vec(&ErrorBody { error: reason, request_id: id }).unwrap_or_default();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(SERVED_BY, HeaderValue::from_static("cloud"));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// Bytes of each field on the wire.
fn fields(headers: &HeaderMap) -> impl Iterator<Item = usize> {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4)
}

/// Counts a request as failed if it is given up before there was an answer.
struct Counted<'a> {
    counters: &'a RouteCounters,
    ended: bool,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.ended {
            add(&self.counters.failed, 1);
        }
    }
}

fn count(
    counters: &RouteCounters,
    response: &Response<Bytes>,
    by_function: bool,
    bytes: u64,
    latency: Duration,
) {
    add(&counters.response_bytes, bytes);
    let status = response.status();
    if status == StatusCode::SERVICE_UNAVAILABLE && response.headers().contains_key(KNOB) {
        add(&counters.shed, 1);
    } else if status.is_server_error() {
        add(&counters.failed, 1);
    } else if by_function {
        add(&counters.served, 1);
        add(&counters.served_bytes, bytes);
        counters.observe(latency);
    }
}

/// Bytes of an answer on the wire: status line, fields, the `date` and `content-length` that hyper
/// adds, and the body.
fn sent_bytes(response: &Response<Bytes>, head_only: bool) -> u64 {
    let phrase = match response.extensions().get::<hyper::ext::ReasonPhrase>() {
        Some(phrase) => phrase.as_bytes().len(),
        None => response.status().canonical_reason().map_or(9, str::len),
    };
    let fields: usize = fields(response.headers()).sum();
    let date = if response.headers().contains_key(header::DATE) { 0 } else { 37 };
    let bare = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status());
    let length = response.body().len();
    let content_length = if bare { 0 } else { length.to_string().len() + 18 };
    let body = if head_only || bare { 0 } else { length };
    ("HTTP/1.1 200 ".len() + phrase + 2 + fields + date + content_length + 2 + body) as u64
}
