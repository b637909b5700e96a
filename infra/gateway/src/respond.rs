//! Answers: their bodies, which keep the record of the request, and those that a gateway gives
//! itself.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use serde::Serialize;
use tokio::time::{Instant, Sleep};

use crate::headers;
use crate::pool::Lease;
use crate::record::{Outcome, Record};
use crate::upstream::InFlight;

/// Bytes of a head beside its fields: status line, `Date`, the framing that hyper adds, empty line.
const HEAD_BYTES: u64 = 90;

/// Why an answer broke off. The client's connection is closed, so that it can tell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the answer was not complete at its deadline")]
    Deadline,
    #[error("the upstream broke the answer off")]
    Upstream(#[from] hyper::Error),
}

/// Where an answer's body comes from.
#[derive(Debug)]
enum Source {
    Own(Option<Bytes>),
    Upstream(Box<Stream>),
}

#[derive(Debug)]
struct Stream {
    body: Incoming,
    /// Given back when the body has ended.
    lease: Option<Lease>,
    _in_flight: InFlight,
    deadline: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

/// An answer's body. The request is counted and logged when it is dropped.
#[derive(Debug)]
pub(crate) struct Answer {
    source: Source,
    record: Record,
}

/// An answer of the gateway's own.
#[derive(Debug)]
pub(crate) struct Own {
    status: StatusCode,
    fields: HeaderMap,
    body: Bytes,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    request_id: &'a str,
}

impl Own {
    /// An error, as JSON that says what happened.
    pub(crate) fn error(status: StatusCode, error: &str, request_id: &str) -> Self {
        let body = serde_json::to_vec(&ErrorBody { error, request_id }).unwrap_or_default();
        let mut fields = HeaderMap::new();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self { status, fields, body: body.into() }
    }

    /// An answer without a body.
    pub(crate) fn bare(status: StatusCode) -> Self {
        Self { status, fields: HeaderMap::new(), body: Bytes::new() }
    }

    /// Adds a field.
    pub(crate) fn with(mut self, name: http::HeaderName, value: HeaderValue) -> Self {
        self.fields.insert(name, value);
        self
    }

    /// Closes the connection behind the answer.
    pub(crate) fn closing(self) -> Self {
        self.with(header::CONNECTION, HeaderValue::from_static("close"))
    }

    pub(crate) fn into_response(self, record: Record, draining: bool) -> Response<Answer> {
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.fields;
        finish(response, Source::Own(Some(self.body)), record, draining)
    }
}

/// An upstream's answer, its head already rewritten, its body to be streamed until `deadline`.
pub(crate) fn stream(
    response: Response<Incoming>,
    lease: Lease,
    in_flight: InFlight,
    deadline: Instant,
    record: Record,
    draining: bool,
) -> Response<Answer> {
    let (head, body) = response.into_parts();
    let source = if body.is_end_stream() {
        lease.give_back();
        Source::Own(None)
    } else {
        let lease = Some(lease);
        Source::Upstream(Box::new(Stream {
            body,
            lease,
            _in_flight: in_flight,
            deadline,
            timer: None,
        }))
    };
    finish(Response::from_parts(head, ()), source, record, draining)
}

fn finish(
    response: Response<()>,
    source: Source,
    mut record: Record,
    draining: bool,
) -> Response<Answer> {
    let (mut head, ()) = response.into_parts();
    if let Ok(id) = HeaderValue::from_str(&record.request_id) {
        head.headers.insert(headers::REQUEST_ID, id);
    }
    head.headers.insert(headers::GENERATION, HeaderValue::from(record.generation));
    if draining {
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let fields: usize = head.headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
    record.answered(head.status, HEAD_BYTES + fields as u64);
    Response::from_parts(head, Answer { source, record })
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { source, record } = self.get_mut();
        let stream = match source {
            Source::Own(body) => {
                let body = body.take().filter(|body| !body.is_empty());
                record.sent(body.as_ref().map_or(0, Bytes::len));
                return Poll::Ready(body.map(|body| Ok(Frame::data(body))));
            }
            Source::Upstream(stream) => stream,
        };
        match Pin::new(&mut stream.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                record.sent(frame.data_ref().map_or(0, Bytes::len));
                if stream.body.is_end_stream() {
                    stream.give_back();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(e))) => {
                record.decide(Outcome::Failed, "the upstream broke the answer off");
                Poll::Ready(Some(Err(e.into())))
            }
            Poll::Ready(None) => {
                stream.give_back();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let deadline = stream.deadline;
                let timer = stream
                    .timer
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                record.decide(Outcome::Failed, "the answer was not complete at its deadline");
                Poll::Ready(Some(Err(BodyError::Deadline)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(body) => body.as_ref().is_none_or(Bytes::is_empty),
            Source::Upstream(stream) => stream.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
            Source::Upstream(stream) => stream.body.size_hint(),
        }
    }
}

impl Stream {
    fn give_back(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}
