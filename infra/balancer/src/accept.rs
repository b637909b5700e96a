//! Accepting clients, and one task for each from its gateway's choice to its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use spillway_part::Shutdown;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::line::Line;
use crate::relay::{Broken, relay};
use crate::upstreams::{Lease, Upstreams};
use crate::{Options, proxy};

/// Pause after an accept that failed for want of something: long enough not to spin, short enough
/// for the accept queue to hold who comes meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// What a connection needs.
#[derive(Debug, Clone)]
pub(crate) struct Acceptor {
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) line: Arc<Line>,
    pub(crate) connections: TaskTracker,
    /// Ends the connections that are left when the drain is over.
    pub(crate) cut: Shutdown,
    pub(crate) options: Arc<Options>,
}

impl Acceptor {
    /// Accepts until `shutdown`, then closes the listener.
    pub(crate) async fn accept_until(&self, listener: TcpListener, shutdown: &Shutdown) {
        tokio::select! {
            () = self.accept_all(&listener) => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn accept_all(&self, listener: &TcpListener) {
        let slots = Arc::new(Semaphore::new(self.options.connections_max));
        let (mut failing, mut full) = (false, false);
        for number in 0.. {
            let Some(slot) = self.slot(&slots, &mut full).await else { return };
            let (client, address) = loop {
                match listener.accept().await {
                    Ok(accepted) => break accepted,
                    // The client went away while it waited.
                    Err(e) if is_clients(&e) => {}
                    Err(e) => {
                        // Out of descriptors or memory: said once, not once a try.
                        if !std::mem::replace(&mut failing, true) {
                            tracing::error!(error = %e, "cannot accept connections; trying on");
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            };
            if std::mem::take(&mut failing) {
                tracing::info!("accepting connections again");
            }
            self.connections.spawn(self.clone().connection(client, address, number, slot));
        }
    }

    /// Waits for room under the cap. Who comes meanwhile waits in the kernel's accept queue.
    /// `full` remembers that this was said: it is over once an eighth of the slots are free.
    async fn slot(&self, slots: &Arc<Semaphore>, full: &mut bool) -> Option<OwnedSemaphorePermit> {
        let connections_max = self.options.connections_max;
        if let Ok(slot) = slots.clone().try_acquire_owned() {
            *full &= slots.available_permits() < connections_max / 8;
            return Some(slot);
        }
        if !std::mem::replace(full, true) {
            tracing::warn!(connections_max, "at the cap of connections; more have to wait");
        }
        slots.clone().acquire_owned().await.ok()
    }

    async fn connection(
        self,
        client: TcpStream,
        address: SocketAddr,
        number: u64,
        _slot: OwnedSemaphorePermit,
    ) {
        tokio::select! {
            () = self.converse(client, address, number) => {}
            () = self.cut.cancelled() => {}
        }
    }

    async fn converse(&self, mut client: TcpStream, address: SocketAddr, number: u64) {
        let Some((mut gateway, lease)) = self.connect(&client, address).await else {
            // A reset tells the client more plainly than an empty answer that nobody is there.
            return reset(&client);
        };
        // Without it only latency is worse.
        let _ = client.set_nodelay(true);
        let ended = tokio::select! {
            ended = relay(&mut client, &mut gateway, &self.line, number, &self.options) => ended,
            () = lease.cut() => Err(Broken::Down),
        };
        match ended {
            Ok(()) | Err(Broken::Idle) => {}
            // Whoever is still there must not take what it has for the whole.
            Err(Broken::Client(_) | Broken::Gateway(_) | Broken::Uplink(_) | Broken::Down) => {
                reset(&client);
                reset(&gateway);
            }
        }
        if let Err(e) = ended {
            tracing::debug!(number, gateway = %lease.address(), reason = %e, "connection broken off");
        }
    }

    /// Connects to a gateway and introduces the client: the least busy healthy one first, then the
    /// others, each at most once.
    async fn connect(&self, client: &TcpStream, address: SocketAddr) -> Option<(TcpStream, Lease)> {
        let header = match client.local_addr().and_then(|vip| proxy::header(address, vip)) {
            Ok(header) => header,
            Err(e) => {
                tracing::debug!(error = %e, "the client is gone already");
                return None;
            }
        };
        let mut tried = Vec::new();
        while let Some(lease) = self.upstreams.choose(&tried) {
            let attempt = introduce(lease.address(), &header);
            let outcome = tokio::time::timeout(self.options.connect_deadline, attempt).await;
            let error = match outcome {
                Ok(Ok(gateway)) => return Some((gateway, lease)),
                Ok(Err(e)) if is_ours(&e) => {
                    // No other gateway would change that, and this one is not to blame.
                    tracing::warn!(error = %e, "cannot open a connection to any gateway");
                    return None;
                }
                Ok(Err(e)) => e,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            tracing::debug!(gateway = %lease.address(), %error, "a connect failed");
            tried.push(lease.index());
            lease.failed();
        }
        None
    }
}

async fn introduce(gateway: SocketAddr, header: &[u8]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(gateway).await?;
    stream.set_nodelay(true)?;
    stream.write_all(header).await?;
    Ok(stream)
}

/// Makes the close that follows a reset.
fn reset(stream: &TcpStream) {
    // It fails only where the connection is reset already.
    let _ = stream.set_zero_linger();
}

/// Whether an accept failed because of the one client it was about (accept(2) hands on errors of the
/// connection).
fn is_clients(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::CONNABORTED | Errno::CONNRESET | Errno::INTR | Errno::PERM | Errno::PROTO)
    )
}

/// Whether a connect failed for want of something on this machine.
fn is_ours(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL)
    )
}
