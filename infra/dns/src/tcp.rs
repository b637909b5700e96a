//! Queries over TCP (RFC 7766): two octets of length before each message, any number of messages a
//! connection, answered in their order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use spillway_part::Shutdown;
use spillway_part::start::DRAIN;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::answer::{Outcome, Transport};
use crate::serve::{PAUSE, Server};

/// What TCP clients may take up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at once; more wait in the listener's queue.
    pub(crate) connections: usize,
    /// How long a connection may take for its next query, and for taking its answers (RFC 7766
    /// §6.2.3 wants a few seconds).
    pub(crate) idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 1024, idle: Duration::from_secs(10) }
    }
}

/// Answers to queries that came together are sent together, up to this many bytes.
const BATCH_BYTES: usize = 16 * 1024;

/// Accepts connections until `shutdown`, then waits for those there are.
pub(crate) async fn accept(
    listener: TcpListener,
    server: Arc<Server>,
    limits: Limits,
    shutdown: Shutdown,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = async {
                // The semaphore is never closed, so a place always comes.
                let place = places.clone().acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
        };
        match accepted {
            (place, Ok((stream, peer))) => {
                let (server, shutdown) = (server.clone(), shutdown.clone());
                connections.spawn(async move {
                    if let Err(e) = connection(stream, peer, &server, limits.idle, &shutdown).await
                    {
                        tracing::debug!(error = %e, "a TCP connection ended early");
                    }
                    drop(place);
                });
            }
            (_, Err(e)) => {
                tracing::warn!(error = %e, "cannot accept TCP connections");
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = shutdown.cancelled() => break,
                }
            }
        }
    }
    connections.close();
    if timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "TCP connections did not end in time");
    }
}

/// Serves one connection until its end, until it is idle, or until `shutdown` between two queries.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    server: &Server,
    idle: Duration,
    shutdown: &Shutdown,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(4096, reader);
    let (mut packet, mut out, mut batch) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let read = tokio::select! {
            read = timeout(idle, message(&mut reader, &mut packet)) => read,
            () = shutdown.cancelled() => return Ok(()),
        };
        match read {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) | Err(_) => return Ok(()),
            Ok(Err(e)) => return Err(e),
        }
        let dropped = server.answer(&packet, peer, Transport::Tcp, &mut out) == Outcome::Dropped;
        if !dropped {
            // Responses have at most 65,535 octets.
            batch.extend(u16::try_from(out.len()).unwrap_or(u16::MAX).to_be_bytes());
            batch.extend(&out);
        }
        if dropped || batch.len() >= BATCH_BYTES || !has_message(reader.buffer()) {
            timeout(idle, writer.write_all(&batch))
                .await
                .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
            batch.clear();
        }
        if dropped {
            // Whoever sends what is no query has lost the thread of the messages.
            return Ok(());
        }
    }
}

/// Whether a whole message has been read ahead, so that its answer can go with the one before.
fn has_message(ahead: &[u8]) -> bool {
    ahead
        .split_first_chunk()
        .is_some_and(|(length, message)| message.len() >= usize::from(u16::from_be_bytes(*length)))
}

/// Reads one message; `false` at the end of the stream.
async fn message(
    reader: &mut BufReader<tokio::net::tcp::OwnedReadHalf>,
    packet: &mut Vec<u8>,
) -> std::io::Result<bool> {
    let length = match reader.read_u16().await {
        Ok(length) => length,
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(e) => return Err(e),
    };
    packet.clear();
    packet.resize(usize::from(length), 0);
    reader.read_exact(packet).await?;
    Ok(true)
}
