//! Copying between a client and a gateway until both have finished.
//!
//! Each direction has one buffer of a segment and reads only when that has been written, so memory is
//! bounded and a slow reader slows its sender. A side that shuts its write half still gets the other
//! side's bytes; when it has been shut and nothing moves any more, a shorter deadline ends it.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;

use crate::Options;
use crate::line::{GivenUp, Line};
use crate::uplink::SEGMENT_BYTES_MAX;

/// Why a connection ended before both sides had finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the client's side failed")]
    Client(#[source] io::Error),
    #[error("the gateway's side failed")]
    Gateway(#[source] io::Error),
    #[error("the uplink gave it up")]
    Uplink(#[from] GivenUp),
    #[error("its gateway is down")]
    Down,
    #[error("nothing moved within the deadline")]
    Idle,
}

/// Copies both ways. `connection` numbers the connection, for the jitter of its retransmissions.
pub(crate) async fn relay(
    client: &mut TcpStream,
    gateway: &mut TcpStream,
    line: &Line,
    connection: u64,
    options: &Options,
) -> Result<(), Broken> {
    let activity = Activity::new();
    let (client_read, client_write) = client.split();
    let (gateway_read, gateway_write) = gateway.split();
    let mut inwards = pin!(inwards(client_read, gateway_write, &activity));
    let mut outwards = pin!(outwards(gateway_read, client_write, line, connection, &activity));

    let client_finished = tokio::select! {
        done = &mut inwards => done.map(|()| true)?,
        done = &mut outwards => done.map(|()| false)?,
        () = activity.none_for(options.idle) => return Err(Broken::Idle),
    };
    // The shorter deadline starts anew: a client may ask its last after a long silence.
    activity.now();
    let rest =
        async { if client_finished { outwards.as_mut().await } else { inwards.as_mut().await } };
    tokio::select! {
        done = rest => done,
        () = activity.none_for(options.half_closed_idle) => Err(Broken::Idle),
    }
}

/// Client to gateway.
async fn inwards(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    activity: &Activity,
) -> Result<(), Broken> {
    let mut buffer = vec![0; SEGMENT_BYTES_MAX];
    loop {
        let n = from.read(&mut buffer).await.map_err(Broken::Client)?;
        let written = if n == 0 { to.shutdown().await } else { to.write_all(&buffer[..n]).await };
        if n == 0 && written.is_ok() {
            return Ok(());
        }
        if written.is_err() {
            break;
        }
        activity.now();
    }
    // A gateway may answer and close before it has taken the whole request. Its answer still counts,
    // and the client would lose it to a reset if its bytes stayed unread, so they are read and
    // dropped. That is no activity: the idle deadline bounds it.
    while from.read(&mut buffer).await.map_err(Broken::Client)? > 0 {}
    Ok(())
}

/// Gateway to client, over the site's uplink.
async fn outwards(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    line: &Line,
    connection: u64,
    activity: &Activity,
) -> Result<(), Broken> {
    let mut buffer = vec![0; SEGMENT_BYTES_MAX];
    loop {
        let n = from.read(&mut buffer).await.map_err(Broken::Gateway)?;
        if n == 0 {
            return to.shutdown().await.map_err(Broken::Client);
        }
        line.pass(n, connection).await?;
        to.write_all(&buffer[..n]).await.map_err(Broken::Client)?;
        line.left(n);
        activity.now();
    }
}

/// When bytes last moved on a connection, either way.
struct Activity {
    start: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self { start: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    fn now(&self) {
        let since = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(since, Relaxed);
    }

    /// Returns once there has been no activity for `limit`. Wakes once a limit at most, not once a
    /// segment.
    async fn none_for(&self, limit: Duration) {
        loop {
            let end = self.start + Duration::from_millis(self.last_ms.load(Relaxed)) + limit;
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}
