//! Sending a request to one of several upstreams and getting the head of its answer.
//!
//! A request is sent again only when that cannot do it twice: nothing of it was sent, or it is
//! idempotent and has no body. It is tried once more where a kept connection was just being closed, and
//! once at another upstream where one broke the exchange off. Who waited in vain is not sent to another
//! upstream here: that would double the load of a service that is slow because it is full.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use spillway_part::clock;
use tokio::time::{Instant, timeout_at};

use crate::pool::{Lease, PoolError};
use crate::upload::{Upload, Watch};
use crate::upstream::{self, InFlight, Upstream};

/// Most upstreams tried for one request.
const TRIES_MAX: usize = 3;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no upstream is healthy")]
    Nobody,
    #[error("no upstream can be connected to")]
    Connect(#[source] PoolError),
    #[error("all connections to the upstream are in use")]
    Full,
    #[error("the upstream broke the exchange off")]
    Protocol(#[source] hyper::Error),
    #[error("the upstream switched protocols unasked")]
    Switched,
    #[error("no answer in time")]
    Deadline,
}

/// A failed exchange.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    /// The request, if it may be sent again.
    pub(crate) request: Option<Request<Upload>>,
    /// The upstream it failed at last, if it was given to one.
    pub(crate) upstream: Option<Arc<str>>,
}

/// An answer's head; its body is still to come over the lease.
#[derive(Debug)]
pub(crate) struct Exchanged {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
    pub(crate) in_flight: InFlight,
}

/// Whether sending a request twice is the same as sending it once.
pub(crate) fn replayable(request: &Request<Upload>) -> bool {
    let idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    );
    idempotent && request.body().is_empty()
}

/// The same request again; for one without a body.
fn copy(request: &Request<Upload>) -> Request<Upload> {
    let mut copy = Request::new(Upload::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Sends a request and waits for the head of its answer until `deadline`.
pub(crate) async fn exchange(
    upstreams: &[Arc<Upstream>],
    mut request: Request<Upload>,
    watch: &Watch,
    deadline: Instant,
    mut random: impl FnMut() -> u64,
) -> Result<Exchanged, Box<Failed>> {
    let mut tried = Vec::new();
    let mut last = (Failure::Nobody, None);
    let mut stale = false;
    let mut broken_off = false;
    loop {
        let next = upstream::choose(upstreams, &tried, random(), clock::instant());
        let Some(i) = next.filter(|_| tried.len() < TRIES_MAX) else {
            let (failure, upstream) = last;
            return Err(Box::new(Failed { failure, request: Some(request), upstream }));
        };
        let upstream = &upstreams[i];
        let failed = |failure, request| {
            Err(Box::new(Failed { failure, request, upstream: Some(upstream.name.clone()) }))
        };
        let in_flight = InFlight::new(upstream);
        let mut lease = match timeout_at(deadline, upstream.pool.lease(stale)).await {
            Ok(Ok(lease)) => lease,
            Ok(Err(PoolError::Full(_))) => return failed(Failure::Full, Some(request)),
            Ok(Err(e)) => {
                upstream.unreachable(clock::instant());
                tracing::debug!(upstream = &*upstream.name, error = %e, "connecting failed");
                tried.push(i);
                last = (Failure::Connect(e), Some(upstream.name.clone()));
                continue;
            }
            Err(_elapsed) => return failed(Failure::Deadline, Some(request)),
        };
        let again = replayable(&request).then(|| copy(&request));
        let mut e = match timeout_at(deadline, lease.sender.try_send_request(request)).await {
            Ok(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                upstream.failed();
                return failed(Failure::Switched, None);
            }
            Ok(Ok(response)) => {
                upstream.answered();
                return Ok(Exchanged { response, lease, in_flight });
            }
            Ok(Err(e)) => e,
            Err(_elapsed) => {
                // A body that is late is the client's fault.
                if watch.sent() {
                    upstream.left_unanswered();
                }
                return failed(Failure::Deadline, again);
            }
        };
        let unsent = e.take_message();
        let e = e.into_error();
        // An error of the request's own body or of the answer's syntax is no stale connection.
        let was_stale = lease.reused && !stale && !e.is_user() && !e.is_parse();
        match unsent.or(again) {
            Some(same) if was_stale => {
                request = same;
                stale = true;
            }
            same => {
                if !e.is_user() {
                    upstream.left_unanswered();
                }
                match same {
                    Some(same) if !broken_off => {
                        request = same;
                        broken_off = true;
                        tried.push(i);
                        last = (Failure::Protocol(e), Some(upstream.name.clone()));
                    }
                    same => return failed(Failure::Protocol(e), same),
                }
            }
        }
    }
}
