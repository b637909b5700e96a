//! The stand-in as a server: a socket, a clock, and hands for what must be done.

mod deliver;
mod https;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Request as HttpRequest, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::json;
use spillway_part::clock as real;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::aws::{Aws, Delivery, Request};
use crate::clock::Clock;
use crate::config::Config;
use crate::control;
use crate::ec2::Machine;
use crate::functions::Invocation;
use crate::sign::{CERTIFICATE_PATH, Signer};
use crate::wire::{self, Protocol};

pub use https::TrustError;

/// A package of 50 MB, in base 64 and JSON.
const BODY_BYTES_MAX: usize = 80 * 1024 * 1024;
/// Connections at once, and things that are done for the state machine at once.
const CONNECTIONS_MAX: usize = 1_024;
const TASKS_MAX: usize = 256;
/// Calls of hooks that may wait.
const HOOKS_MAX: usize = 10_000;
/// How often a long poll looks again, and how long it really lasts at most.
const POLL: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_secs(20);
/// How long the worker sleeps when nothing falls due.
const IDLE: Duration = Duration::from_secs(60);

/// What a function's invocation gave.
#[derive(Debug, Clone)]
pub struct Invoked {
    /// The answer, or the error as the runtime puts it.
    pub payload: Vec<u8>,
    /// Whether it is an error.
    pub failed: bool,
}

/// What happens in the world when something happens in AWS. Calls for machines come in their order,
/// on a thread of their own.
pub trait Hooks: Send + Sync + 'static {
    /// An instance has booted: what runs on it is to be started.
    fn booted(&self, machine: &Machine) {
        let _nobody_listens = machine;
    }

    /// An instance has ended: what ran on it is to be stopped.
    fn ended(&self, machine: &Machine) {
        let _nobody_listens = machine;
    }

    /// A function is invoked. Without a hook it answers with the event itself.
    fn invoke(&self, invocation: Invocation) -> Pin<Box<dyn Future<Output = Invoked> + Send>> {
        Box::pin(std::future::ready(Invoked { payload: invocation.payload, failed: false }))
    }
}

/// No hooks.
impl Hooks for () {}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The thread of the hooks cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// The stand-in, which serves until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    _stop: DropGuard,
}

/// What connections and the worker share.
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    pub(crate) signer: Signer,
    pub(crate) endpoint: String,
    wake: Notify,
    hooks: Arc<dyn Hooks>,
    machines: mpsc::SyncSender<(bool, Machine)>,
    pub(crate) client: Client<HttpConnector, Full<Bytes>>,
    /// What SNS delivers over HTTPS by.
    tls: Mutex<Option<TlsConnector>>,
    tasks: Arc<Semaphore>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

struct Inner {
    aws: Aws,
    clock: Clock,
}

impl Server {
    /// Starts to serve on an address; port 0 takes a free one. Time passes as it really does.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(
        config: Config,
        listen: SocketAddr,
        hooks: Arc<dyn Hooks>,
    ) -> Result<Self, ServerError> {
        let listen_error = |e| ServerError::Listen(listen, e);
        let listener = TcpListener::bind(listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let endpoint = format!("http://{address}");
        let now = real::now().0;
        let (machines, calls) = mpsc::sync_channel::<(bool, Machine)>(HOOKS_MAX);
        let called = hooks.clone();
        let thread = std::thread::Builder::new().name("hooks".to_owned()).spawn(move || {
            for (booted, machine) in calls {
                if booted { called.booted(&machine) } else { called.ended(&machine) }
            }
        });
        // It ends when the last sender is dropped.
        drop(thread.map_err(ServerError::Thread)?);
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_secs(2)));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(4)
            .build(connector);
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner {
                aws: Aws::new(config, now, &endpoint),
                clock: Clock::new(real::instant(), now, 1.0),
            }),
            signer: Signer::default(),
            endpoint,
            wake: Notify::new(),
            hooks,
            machines,
            client,
            tls: Mutex::default(),
            tasks: Arc::new(Semaphore::new(TASKS_MAX)),
        });
        let stop = CancellationToken::new();
        let (work, served) = (shared.clone(), shared.clone());
        let (end, until) = (stop.clone(), stop.clone());
        tokio::spawn(async move { end.run_until_cancelled(work.work()).await });
        tokio::spawn(async move { until.run_until_cancelled(served.serve(listener)).await });
        Ok(Self { address, shared, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `AWS_ENDPOINT_URL` is to be.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.shared.endpoint
    }

    /// Lets SNS deliver over HTTPS to the server of this certificate, a file in PEM.
    ///
    /// # Errors
    /// When it is none.
    pub fn trust(&self, certificate: &Path) -> Result<(), TrustError> {
        let connector = https::connector(certificate)?;
        *self.shared.tls.lock().unwrap_or_else(PoisonError::into_inner) = Some(connector);
        Ok(())
    }

    /// Does something with the state machine, at the present.
    pub fn with<R>(&self, act: impl FnOnce(&mut Aws) -> R) -> R {
        self.shared.with(act)
    }

    /// Lets time pass at once.
    pub fn advance(&self, by: Duration) {
        self.shared.advance(by);
    }

    /// Lets time pass so many times as fast as it really does; 0 stops it.
    pub fn set_factor(&self, factor: f64) {
        self.shared.set_factor(factor);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic within leaves a state that is whole enough for a test to fail with.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Aws) -> R) -> R {
        let mut inner = self.lock();
        let now = inner.clock.at(real::instant());
        inner.aws.advance(now);
        let result = act(&mut inner.aws);
        drop(inner);
        self.wake.notify_one();
        result
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.lock().clock.forward(by);
        self.with(|_| ());
    }

    pub(crate) fn set_factor(&self, factor: f64) {
        self.lock().clock.set_factor(real::instant(), factor);
        self.wake.notify_one();
    }

    /// Lets what falls due happen, and does what follows from it.
    async fn work(self: Arc<Self>) {
        loop {
            let (effects, wait) = {
                let mut inner = self.lock();
                let moment = real::instant();
                let now = inner.clock.at(moment);
                inner.aws.advance(now);
                let due = inner.aws.next_due().and_then(|due| inner.clock.until(moment, due));
                (inner.aws.take_effects(), due.unwrap_or(IDLE).min(IDLE))
            };
            for effect in effects {
                self.clone().enact(effect).await;
            }
            // Not less, so that a rounded wait does not spin.
            let wait = wait.max(Duration::from_millis(1));
            // What was woken for while effects were enacted is not lost: a permit is kept.
            let _either = tokio::time::timeout(wait, self.wake.notified()).await;
        }
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(POLL).await;
                continue;
            };
            let shared = self.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| shared.clone().answer(request));
                // A connection that breaks is the client's, or was broken by a fault.
                let _ended = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                drop(place);
            });
        }
    }

    /// Answers a request, or breaks the connection.
    async fn answer(
        self: Arc<Self>,
        request: HttpRequest<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Broken> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|_| Broken)?;
        let body = body.to_bytes();
        if head.uri.path() == CERTIFICATE_PATH {
            let pem = self.signer.certificate().await.map_err(|_| Broken)?;
            return Ok(Response::new(Full::new(pem.into())));
        }
        if head.uri.path().starts_with("/_/") {
            let answer = control::answer(&self, &head.method, head.uri.path(), &body);
            return Ok(answer.map(Full::new));
        }
        let Some((asked, protocol)) = wire::read(&head.method, &head.uri, &head.headers, &body)
        else {
            let mut answer = Response::new(Full::new(Bytes::from_static(b"no such service\n")));
            *answer.status_mut() = StatusCode::NOT_FOUND;
            return Ok(answer);
        };
        let id = self.with(Aws::uuid);
        let (response, delivery) = if asked.action == "Invoke" {
            let kind = head.headers.get("x-amz-invocation-type");
            let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("RequestResponse");
            self.invoke(&asked, kind, &body, &id).await
        } else {
            let mut outcome = self.with(|aws| aws.call(&asked));
            if asked.action == "ReceiveMessage" && outcome.answer == Ok(json!({})) {
                outcome.answer = self.poll(&asked).await;
            }
            (wire::write(&outcome.answer, &protocol, &id), outcome.delivery)
        };
        match delivery {
            Delivery::Whole => {}
            Delivery::Lost => return Err(Broken),
            Delivery::Late(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        }
        Ok(response.map(Full::new))
    }

    /// Waits for a message as long as the request or its queue wants to.
    async fn poll(&self, asked: &Request) -> crate::aws::Answer {
        let (wait, began) = self.with(|aws| (aws.receive_wait(&asked.input), aws.now()));
        let really = real::instant();
        loop {
            let (answer, now) = self.with(|aws| (aws.act(asked), aws.now()));
            if answer != Ok(json!({})) || now >= began + wait || really.elapsed() >= POLL_MAX {
                return answer;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn invoke(
        self: &Arc<Self>,
        asked: &Request,
        kind: &str,
        payload: &Bytes,
        id: &str,
    ) -> (Response<Bytes>, Delivery) {
        let text = |key: &str| asked.input.get(key).and_then(|value| value.as_str());
        let (function, qualifier) = (text("FunctionName").unwrap_or_default(), text("Qualifier"));
        let (begun, delivery) = self.with(|aws| {
            aws.exposed(asked, |aws| aws.invoke(function, qualifier, payload.to_vec()))
        });
        let invocation = match begun {
            Ok(invocation) => invocation,
            Err(refusal) => {
                return (wire::write(&Err(refusal), &Protocol::Rest(200), id), delivery);
            }
        };
        let version = HeaderValue::from_str(&invocation.version);
        let empty = |status: StatusCode| {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = status;
            response
        };
        let response = match kind {
            "DryRun" => {
                self.with(|aws| aws.invoked(&invocation, false));
                empty(StatusCode::NO_CONTENT)
            }
            "Event" => {
                self.clone().invoke_later(invocation).await;
                empty(StatusCode::ACCEPTED)
            }
            _ => {
                let invoked = self.run(invocation).await;
                let mut response = Response::new(Bytes::from(invoked.payload));
                if invoked.failed {
                    let unhandled = HeaderValue::from_static("Unhandled");
                    response.headers_mut().insert("x-amz-function-error", unhandled);
                }
                if let Ok(log) = HeaderValue::from_str(&BASE64_STANDARD.encode("END RequestId")) {
                    response.headers_mut().insert("x-amz-log-result", log);
                }
                if let Ok(version) = version {
                    response.headers_mut().insert("x-amz-executed-version", version);
                }
                response
            }
        };
        (response, delivery)
    }
}

/// A connection that is closed instead of being answered.
#[derive(Debug, thiserror::Error)]
#[error("the connection is broken off")]
struct Broken;

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
