//! Accepting connections, serving each, and ending all of them in good order.
//!
//! ```text
//! accepting ──shutdown──▶ accepting, answers close ──drain_accept──▶ finishing ──DRAIN──▶ cut off
//! ```

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use spillway_model::ClientPrefix;
use spillway_part::start::DRAIN;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gateway::Gateway;
use crate::guard::Guard;
use crate::handle::{self, Client};
use crate::proxy_protocol::{self, ProxyProtocolError};

/// Most of a connection's bytes that the HTTP implementation buffers.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Pause after a failed accept: out of file descriptors, only time helps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Kept of the drain's time for what comes after it.
const DRAIN_MARGIN: Duration = Duration::from_millis(500);

/// What tells a connection to end.
#[derive(Debug, Clone, Default)]
struct End {
    /// Finish the request under way.
    finish: CancellationToken,
    /// Do not even do that.
    cut: CancellationToken,
}

/// Accepts and serves until shutdown, then drains.
pub(crate) async fn accept(gateway: Arc<Gateway>, listener: TcpListener) {
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(gateway.options.connections_max));
    let end = End::default();
    let mut last_call = pin!(async {
        gateway.shutdown.cancelled().await;
        tokio::time::sleep(gateway.options.drain_accept).await;
    });
    loop {
        let next = async {
            // The semaphore is never closed.
            let permit = room.clone().acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = &mut last_call => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (gateway, end) = (gateway.clone(), end.clone());
                connections.spawn(async move {
                    let cut = end.cut.clone();
                    tokio::select! {
                        () = connection(gateway, stream, peer, end.finish) => {}
                        () = cut.cancelled() => {}
                    }
                    drop(permit);
                });
            }
            Err(e) if is_of_connection(&e) => {}
            Err(e) => {
                tracing::warn!(error = %e, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    end.finish.cancel();
    connections.close();
    let left = DRAIN.saturating_sub(gateway.options.drain_accept + DRAIN_MARGIN);
    if tokio::time::timeout(left, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests under way are cut off");
        end.cut.cancel();
        connections.wait().await;
    }
}

/// Errors of the connection to be accepted, not of the listener (accept(2)).
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

async fn connection(
    gateway: Arc<Gateway>,
    mut stream: TcpStream,
    peer: SocketAddr,
    finish: CancellationToken,
) {
    let options = &gateway.options;
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let believed = gateway.balancer.believed(peer.ip());
    let first = proxy_protocol::client(&mut stream, peer, believed);
    let first = tokio::time::timeout(options.head_deadline, first);
    let first = tokio::select! {
        first = first => first,
        () = finish.cancelled() => return,
    };
    let (client, bytes) = match first {
        Ok(Ok(Some(first))) => first,
        Ok(Err(ProxyProtocolError::Disbelieved)) if !gateway.disbelief.swap(true, Relaxed) => {
            // Once: whoever reaches this address could fill the log with it.
            tracing::warn!(
                peer = %ClientPrefix::from(peer.ip()),
                "a PROXY header came from an address that site.balancer.sources does not name; such connections are closed",
            );
            return;
        }
        Ok(Err(e)) => {
            tracing::debug!(peer = %ClientPrefix::from(peer.ip()), error = %e, "a connection was refused");
            return;
        }
        // Closed again without a byte, as checks do, or silent.
        Ok(Ok(None)) | Err(_) => return,
    };
    let refusal = Arc::new(OnceLock::new());
    let guard = Guard::new(stream, &bytes, options, refusal.clone());
    let client = Client { address: client.ip(), prefix: client.ip().into(), refusal };
    let client = Arc::new(client);
    let service = {
        let gateway = gateway.clone();
        service_fn(move |request| {
            let answer = handle::handle(gateway.clone(), client.clone(), request);
            async move { Ok::<_, Infallible>(answer.await) }
        })
    };
    // hyper's header deadline runs from the end of the last answer, so it is the idle deadline here;
    // the guard times the head itself. Without a timer hyper would have none at all.
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.idle_deadline)
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_headers(options.headers_max)
        .serve_connection(TokioIo::new(guard), service);
    let mut serving = pin!(serving);
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = finish.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(e) = served {
        tracing::debug!(error = %e, "a connection ended");
    }
}
