//! Serving HTTP/1.1 to parts, operators and gateways: nobody can hold a place without using it.
//!
//! ```text
//!            head complete                    answer made
//! waiting ───────────────────▶ under way ───────────────────▶ waiting …
//!    │ deadline, or its place is needed         │ deadline
//!    ▼                                          ▼
//! closed, 408 if a head has begun            cut off
//! ```
//!
//! At the bound on connections the one that has waited longest for a request gives way to the next
//! client; while all of them have requests under way, that client waits. So many slow or idle
//! connections keep nobody out: not a check of health, and not the gateways.

use std::future::{Future as _, poll_fn, ready};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use crate::Shutdown;
use crate::start::DRAIN;

/// Most bytes of a connection that are buffered, and so of a request's head: twice what a gateway
/// takes, which adds fields of its own.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Pause after a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long after the shutdown the rest of a head is waited for: it is on its way, or never comes.
const LAST_HEAD: Duration = Duration::from_millis(500);
/// What is answered to a head that did not come in time (RFC 9110 §15.5.9).
const LATE: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Bounds of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most connections at once, beside one that waits for a place.
    pub connections_max: usize,
    /// From a connection's beginning to the end of its first request's head.
    pub first_head: Duration,
    /// From there to the answer, and from an answer until it is taken and the next head has come.
    /// Longer than any of our clients keeps an idle connection, so that none is closed here while a
    /// request is on its way, and longer than any long poll.
    pub step: Duration,
    /// How long requests under way may go on after the shutdown.
    pub drain: Duration,
}

impl Default for Limits {
    /// For a listener that parts or gateways keep connections to.
    fn default() -> Self {
        Self {
            connections_max: 4096,
            first_head: Duration::from_secs(10),
            step: Duration::from_secs(120),
            drain: DRAIN,
        }
    }
}

/// Serves `app` on `listener` until `shutdown`, then lets requests under way end within the drain
/// and cuts off the rest.
///
/// # Errors
/// When the listener itself is broken. A connection that cannot be accepted, or a lack of file
/// descriptors, is waited out.
pub async fn http(
    listener: TcpListener,
    app: Router,
    limits: Limits,
    shutdown: Shutdown,
) -> io::Result<()> {
    over(listener, |stream| ready(Ok(stream)), app, limits, shutdown).await
}

/// As [`http`], over what `wrap` makes of each connection: a stream of TLS, for example. A handshake may
/// take as long as the first head, and gives way to the next client as one that waits does.
///
/// # Errors
/// As for [`http`]. A handshake that fails is the client's loss alone.
pub async fn over<S, W>(
    listener: TcpListener,
    wrap: impl Fn(TcpStream) -> W,
    app: Router,
    limits: Limits,
    shutdown: Shutdown,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    W: Future<Output = io::Result<S>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let (connections, room_needed) = (TaskTracker::new(), Arc::new(Notify::new()));
    let cut = Shutdown::new();
    let served = loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break Ok(()),
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            // accept(2): the socket listens no more, and will not again.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => break Err(e),
            Err(e) => {
                tracing::warn!(error = %e, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if places.available_permits() == 0 {
            room_needed.notify_one();
        }
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            () = shutdown.cancelled() => break Ok(()),
        };
        // A call for room that nobody heard must not send a later connection away.
        let _unheard = pin!(room_needed.notified()).enable();
        // Answers are written whole; waiting to fill a segment only delays them.
        let _best_effort = stream.set_nodelay(true);
        let (wrapping, app) = (wrap(stream), app.clone());
        let (room_needed, shutdown) = (room_needed.clone(), shutdown.clone());
        let serving = async move {
            let wrapped = tokio::select! {
                biased;
                wrapped = tokio::time::timeout(limits.first_head, wrapping) => wrapped,
                () = room_needed.notified() => return,
                () = shutdown.cancelled() => return,
            };
            match wrapped {
                Ok(Ok(stream)) => connection(stream, app, limits, room_needed, shutdown).await,
                Ok(Err(e)) => tracing::debug!(error = %e, "a handshake failed"),
                Err(_) => tracing::debug!("a handshake takes too long"),
            }
        };
        let cut = cut.clone();
        connections.spawn(async move {
            let _cut_off = cut.run_until_cancelled(serving).await;
            drop(place);
        });
    };
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "requests under way are cut off");
        cut.cancel();
        connections.wait().await;
    }
    served
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    app: Router,
    limits: Limits,
    room_needed: Arc<Notify>,
    shutdown: Shutdown,
) {
    // Even while a head is waited for, odd while a request is under way. It changes only while the
    // connection is polled, so looking at it after each poll misses nothing.
    let turns = Arc::new(AtomicU32::new(0));
    let (app, counted) = (TowerToHyperService::new(app), turns.clone());
    let service = service_fn(move |request| {
        counted.fetch_add(1, Relaxed);
        let (answer, counted) = (app.call(request), counted.clone());
        async move {
            let answer = answer.await;
            counted.fetch_add(1, Relaxed);
            answer
        }
    });
    // hyper's own deadline for heads knows no answer, and without a timer it has none.
    let mut connection = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let waiting = |turn: u32| turn.is_multiple_of(2);
    let mut deadline = pin!(sleep(limits.first_head));
    // Who asks for room wakes whoever has waited for longest: the queue is first in, first out.
    let mut gives_way = pin!(Some(room_needed.notified()));
    let mut ending = pin!(shutdown.cancelled());
    let (mut turn, mut told) = (0, false);
    let ended = poll_fn(|cx| {
        if !told && ending.as_mut().poll(cx).is_ready() {
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
            if waiting(turn) {
                deadline.as_mut().reset(Instant::now() + LAST_HEAD);
            }
        }
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(Some(ended));
        }
        let now = turns.load(Relaxed);
        if turn != now {
            turn = now;
            deadline.as_mut().reset(Instant::now() + limits.step);
            gives_way.set(waiting(turn).then(|| room_needed.notified()));
        }
        let gave_way = gives_way.as_mut().as_pin_mut();
        if gave_way.is_some_and(|notified| notified.poll(cx).is_ready())
            || deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await;
    match ended {
        Some(Ok(())) => {}
        Some(Err(e)) => tracing::debug!(error = %e, "a connection broke"),
        None => {
            let parts = connection.into_parts();
            if waiting(turn) && !parts.read_buf.is_empty() {
                // To a client that takes nothing it is not said.
                let mut stream = parts.io.into_inner();
                let write = |cx: &mut Context<'_>| Pin::new(&mut stream).poll_write(cx, LATE);
                let _best_effort = now_or_never(write).await;
            }
        }
    }
}

/// What a poll gives at once, if it gives anything.
async fn now_or_never<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    poll_fn(|cx| match poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests;
