//! Upstreams: one that speaks HTTP and records what reaches it, one that does as a test says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A request as it reached an upstream.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[derive(Debug, Default)]
struct State {
    connections: AtomicUsize,
    unhealthy: AtomicBool,
    arrived: Notify,
    release: Notify,
    seen: Mutex<Vec<Seen>>,
}

/// A service: `/wait` answers when released, `/status/N` with N, all else 200. Answers name the
/// service and the request's body.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

impl Upstream {
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = Self { name, address, state: Arc::default() };
        let accepting = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().serve(stream));
            }
        });
        upstream
    }

    /// What reached it, health checks aside.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Connections that carried a request, health checks aside.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(SeqCst)
    }

    pub(crate) fn set_healthy(&self, healthy: bool) {
        self.state.unhealthy.store(!healthy, SeqCst);
    }

    /// Waits until a request has arrived at `/wait`.
    pub(crate) async fn arrived(&self) {
        self.state.arrived.notified().await;
    }

    /// Lets one request at `/wait` be answered.
    pub(crate) fn release(&self) {
        self.state.release.notify_one();
    }

    async fn serve(self, stream: TcpStream) {
        let counted = Arc::new(AtomicBool::new(false));
        let service = service_fn(move |request| {
            let (upstream, counted) = (self.clone(), counted.clone());
            async move { Ok::<_, Infallible>(upstream.answer(request, &counted).await) }
        });
        // Its connections end when the gateway or the test does.
        let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        counted: &AtomicBool,
    ) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let mut response = Response::new(Full::default());
        if path == "/healthz" {
            if self.state.unhealthy.load(SeqCst) {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            return response;
        }
        if !counted.swap(true, SeqCst) {
            self.state.connections.fetch_add(1, SeqCst);
        }
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return response };
        let body = body.to_bytes();
        self.state.seen.lock().unwrap().push(Seen {
            method: head.method,
            target: head.uri.to_string(),
            headers: head.headers,
            body: body.clone(),
        });
        if path.ends_with("/wait") {
            self.state.arrived.notify_one();
            self.state.release.notified().await;
        }
        if let Some((_, status)) = path.split_once("/status/") {
            *response.status_mut() = status.parse().unwrap();
        }
        let headers = response.headers_mut();
        headers.insert("connection", "x-private".parse().unwrap());
        headers.insert("x-private", "1".parse().unwrap());
        headers.insert("x-public", "1".parse().unwrap());
        *response.body_mut() = Full::from([self.name.as_bytes(), b" ", &body].concat());
        response
    }
}

/// An upstream that hands each connection, with its number, to `serve`. It answers no health checks
/// unless `serve` does.
pub(crate) async fn raw<F, S>(serve: F) -> SocketAddr
where
    F: Fn(usize, TcpStream) -> S + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(number, stream));
            number += 1;
        }
    });
    address
}

/// An address where nothing listens.
pub(crate) async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
