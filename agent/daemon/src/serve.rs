//! Serving HTTP/1.1 with a bound on connections and a deadline for request heads.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use spillway_part::Shutdown;
use spillway_part::start::DRAIN;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// Most connections at once: every part of a large site holds one long poll.
const CONNECTIONS_MAX: usize = 4096;
/// Time for a request's head to arrive, and for an idle connection to send the next one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Largest head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Pause after a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, then gives requests under way [`DRAIN`] to end.
pub(crate) async fn http(listener: TcpListener, app: Router, shutdown: Shutdown) {
    bounded(listener, app, CONNECTIONS_MAX, shutdown).await;
}

async fn bounded(listener: TcpListener, app: Router, connections_max: usize, shutdown: Shutdown) {
    let slots = Arc::new(Semaphore::new(connections_max));
    let connections = TaskTracker::new();
    loop {
        // At the bound, further clients wait in the listener's backlog.
        let accepted = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (app, shutdown) = (app.clone(), shutdown.clone());
                connections.spawn(async move {
                    connection(stream, app, shutdown).await;
                    drop(slot);
                });
            }
            Err(e) => {
                tracing::warn!(error = %e, "cannot accept a connection to the API");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections to the API are cut off");
    }
}

async fn connection(stream: TcpStream, app: Router, shutdown: Shutdown) {
    // Answers are small and written whole.
    let _best_effort = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "a connection to the API broke");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    async fn answer(stream: &mut TcpStream) -> String {
        let mut answer = vec![0; 1024];
        let n = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..n]).into_owned()
    }

    #[tokio::test]
    async fn connections_beyond_the_bound_wait_their_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, shutdown) = (listener.local_addr().unwrap(), Shutdown::new());
        let app = Router::new().route("/", get(async || "here"));
        let server = tokio::spawn(bounded(listener, app, 1, shutdown.clone()));
        let mut first = TcpStream::connect(at).await.unwrap();
        first.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut first).await.ends_with("here"));

        let mut second = TcpStream::connect(at).await.unwrap();
        second.write_all(REQUEST).await.unwrap();
        // The first is served as long as it stays, and the second not until it goes.
        for _ in 0..10 {
            first.write_all(REQUEST).await.unwrap();
            assert!(answer(&mut first).await.ends_with("here"));
            let nothing = second.try_read(&mut [0; 1]).unwrap_err();
            assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
        }
        drop(first);
        assert!(answer(&mut second).await.ends_with("here"));

        // What is no HTTP is answered as such and costs nobody else anything.
        second.write_all(b"\x16\x03\x01 nonsense\r\n\r\n").await.unwrap();
        assert!(answer(&mut second).await.starts_with("HTTP/1.1 400"));
        shutdown.cancel();
        server.await.unwrap();
    }
}
