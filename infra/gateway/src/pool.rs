//! Connections to one upstream: the one used last is used next (LIFO), so that the others grow old
//! and close; their number is capped, and waiting for one is bounded.
//!
//! A permit is held by each connection in use and none by an idle one. A connection is opened only
//! when none is idle, so there are never more connections than permits.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use spillway_part::clock;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::options::PoolOptions;
use crate::upload::Upload;

/// How long a connection that was just returned may take to be ready again. It is mostly at once:
/// the connection's own task has to notice the end of the last answer.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(5);
/// Most of an upstream's bytes buffered on one connection, heads included.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Most fields of an upstream's head.
const HEADERS_MAX: usize = 100;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PoolError {
    #[error("all connections to {0} are in use")]
    Full(SocketAddr),
    #[error("cannot connect to {0}")]
    Connect(SocketAddr, #[source] io::Error),
    #[error("cannot speak HTTP with {0}")]
    Handshake(SocketAddr, #[source] hyper::Error),
}

/// The connections to one upstream.
#[derive(Debug)]
pub(crate) struct Pool {
    address: SocketAddr,
    options: PoolOptions,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Upload>,
    since: Instant,
}

/// A connection in use. Dropped, it is closed; [`Lease::give_back`] keeps it.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) sender: SendRequest<Upload>,
    /// Whether it has carried a request before.
    pub(crate) reused: bool,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(crate) fn new(address: SocketAddr, options: PoolOptions) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(options.connections_max));
        Arc::new(Self { address, options, permits, idle: Mutex::new(Vec::new()) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection: an idle one unless a `fresh` one is wanted, which closes the idle ones, since
    /// whoever wants it has found them stale.
    pub(crate) async fn lease(self: &Arc<Self>, fresh: bool) -> Result<Lease, PoolError> {
        let wait = tokio::time::timeout(self.options.wait, self.permits.clone().acquire_owned());
        let Ok(Ok(permit)) = wait.await else { return Err(PoolError::Full(self.address)) };
        if fresh {
            self.lock().clear();
        }
        while let Some(mut sender) = self.pop() {
            let ready = sender.is_ready()
                || (!sender.is_closed()
                    && matches!(tokio::time::timeout(SETTLE, sender.ready()).await, Ok(Ok(()))));
            if ready {
                return Ok(Lease { sender, reused: true, pool: self.clone(), _permit: permit });
            }
        }
        let sender = self.connect().await?;
        Ok(Lease { sender, reused: false, pool: self.clone(), _permit: permit })
    }

    /// Closes connections that have been idle for too long.
    pub(crate) fn reap(&self, now: Instant) {
        let deadline = self.options.idle_deadline;
        self.lock().retain(|idle| {
            now.saturating_duration_since(idle.since) < deadline && !idle.sender.is_closed()
        });
    }

    async fn connect(&self) -> Result<SendRequest<Upload>, PoolError> {
        let connect =
            tokio::time::timeout(self.options.connect_deadline, TcpStream::connect(self.address));
        let stream = connect
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|e| PoolError::Connect(self.address, e))?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| PoolError::Handshake(self.address, e))?;
        let address = self.address;
        // One task a connection; it ends with the connection, and the permits cap those.
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!(upstream = %address, error = %e, "an upstream connection ended");
            }
        });
        Ok(sender)
    }

    fn pop(&self) -> Option<SendRequest<Upload>> {
        let mut idle = self.lock();
        let last = idle.pop()?;
        let age = clock::instant().saturating_duration_since(last.since);
        if age >= self.options.idle_deadline {
            // The others have been idle for even longer.
            idle.clear();
            return None;
        }
        Some(last.sender)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Keeps the connection for the next request, if it is still good and there is room.
    pub(crate) fn give_back(self) {
        let Self { sender, pool, .. } = self;
        if sender.is_closed() {
            return;
        }
        let since = clock::instant();
        let mut idle = pool.lock();
        if idle.len() < pool.options.idle_max {
            idle.push(Idle { sender, since });
        }
    }
}
