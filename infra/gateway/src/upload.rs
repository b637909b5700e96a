//! A request's body on its way to an upstream: streamed, and cut where it is larger than its route
//! takes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// How far a body has come: shared with whoever waits for the upstream's answer.
#[derive(Debug, Clone)]
pub(crate) struct Watch(Arc<AtomicU8>);

const UNDER_WAY: u8 = 0;
const SENT: u8 = 1;
const TOO_LARGE: u8 = 2;
const BROKEN: u8 = 3;

/// Why a body ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadFault {
    /// It is larger than the route takes.
    #[error("the request's body is too large")]
    TooLarge,
    /// It is malformed, or the client is gone.
    #[error("the request's body broke off")]
    Broken,
}

impl Watch {
    /// What was wrong with the body, if anything.
    pub(crate) fn fault(&self) -> Option<UploadFault> {
        match self.0.load(Relaxed) {
            TOO_LARGE => Some(UploadFault::TooLarge),
            BROKEN => Some(UploadFault::Broken),
            _ => None,
        }
    }

    /// Whether the upstream has had all of it: only then is it to blame for answering nothing.
    pub(crate) fn sent(&self) -> bool {
        self.0.load(Relaxed) == SENT
    }
}

/// The body.
#[derive(Debug)]
pub(crate) enum Upload {
    Empty,
    Stream { body: Incoming, left: u64, watch: Watch },
}

impl Upload {
    /// A body of at most `bytes_max`, and how far it has come.
    pub(crate) fn new(body: Incoming, bytes_max: u64) -> (Self, Watch) {
        let watch = Watch(Arc::new(AtomicU8::new(UNDER_WAY)));
        let upload = if body.is_end_stream() {
            watch.0.store(SENT, Relaxed);
            Self::Empty
        } else {
            Self::Stream { body, left: bytes_max, watch: watch.clone() }
        };
        (upload, watch)
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        let Self::Stream { body, left, watch } = self.get_mut() else { return Poll::Ready(None) };
        let fault = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            None => {
                watch.0.store(SENT, Relaxed);
                return Poll::Ready(None);
            }
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                if let Some(rest) = left.checked_sub(bytes) {
                    *left = rest;
                    if body.is_end_stream() {
                        watch.0.store(SENT, Relaxed);
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                UploadFault::TooLarge
            }
            Some(Err(_gone)) => UploadFault::Broken,
        };
        watch.0.store(if fault == UploadFault::TooLarge { TOO_LARGE } else { BROKEN }, Relaxed);
        Poll::Ready(Some(Err(fault)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream { body, .. } => body.size_hint(),
        }
    }
}
