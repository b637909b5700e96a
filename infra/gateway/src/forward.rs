//! Sending a request to one of several upstreams and getting the head of its answer.
//!
//! A request is sent again only when that cannot do it twice: nothing of it was sent, or it is
//! idempotent, has no body, and met a kept connection that the upstream was just closing.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use spillway_part::clock;

use crate::pool::{Lease, PoolError};
use crate::upload::Upload;
use crate::upstream::{self, InFlight, Upstream};

/// Most upstreams tried for one request.
const TRIES_MAX: usize = 3;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no upstream can be connected to")]
    Connect(#[source] Option<PoolError>),
    #[error("all connections to the upstream are in use")]
    Full,
    #[error("the upstream broke the exchange off")]
    Protocol(#[source] hyper::Error),
    #[error("the upstream switched protocols unasked")]
    Switched,
}

/// A failed exchange, with the request if nothing of it was sent.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    pub(crate) unsent: Option<Request<Upload>>,
    /// The upstream it failed at, if it was given to one.
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
pub(crate) fn copy(request: &Request<Upload>) -> Request<Upload> {
    let mut copy = Request::new(Upload::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Sends a request and waits for the head of its answer, without a deadline of its own.
pub(crate) async fn exchange(
    upstreams: &[Arc<Upstream>],
    mut request: Request<Upload>,
    mut random: impl FnMut() -> u64,
) -> Result<Exchanged, Box<Failed>> {
    let mut tried = Vec::new();
    let mut last = None;
    let mut stale = false;
    loop {
        let next = upstream::choose(upstreams, &tried, random(), clock::instant());
        let Some(i) = next.filter(|_| tried.len() < TRIES_MAX) else {
            let failure = Failure::Connect(last);
            return Err(Box::new(Failed { failure, unsent: Some(request), upstream: None }));
        };
        let upstream = &upstreams[i];
        let failed = |failure, unsent| {
            Err(Box::new(Failed { failure, unsent, upstream: Some(upstream.name.clone()) }))
        };
        let in_flight = InFlight::new(upstream);
        let mut lease = match upstream.pool.lease(stale).await {
            Ok(lease) => lease,
            Err(PoolError::Full(_)) => return failed(Failure::Full, Some(request)),
            Err(e) => {
                upstream.failed();
                upstream.eject(clock::instant());
                tracing::debug!(upstream = &*upstream.name, error = %e, "connecting failed");
                tried.push(i);
                last = Some(e);
                continue;
            }
        };
        let again = (lease.reused && replayable(&request)).then(|| copy(&request));
        match lease.sender.try_send_request(request).await {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                upstream.failed();
                return failed(Failure::Switched, None);
            }
            Ok(response) => return Ok(Exchanged { response, lease, in_flight }),
            Err(mut e) => {
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
                            upstream.failed();
                        }
                        return failed(Failure::Protocol(e), same);
                    }
                }
            }
        }
    }
}
