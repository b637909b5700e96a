//! The shell: sockets, counters, and a snapshot rebuilt with each plan.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use spillway_model::Config;
use spillway_model::load::{DnsLoad, Part};
use spillway_part::admin::{Admin, Identity};
use spillway_part::counters::add;
use spillway_part::{Plans, Shutdown};
use tokio::net::{TcpListener, UdpSocket};

use crate::answer::{Outcome, Transport, answer};
use crate::steer::{Snapshot, Steering};
use crate::zone::Zones;
use crate::{DnsError, tcp};

/// Longest query read over UDP; we offer clients 1,232 and none needs as much.
const QUERY_BYTES_MAX: usize = 4096;
/// Pause after an error of a listening socket, so that a lasting one does not take a whole core.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// The name server's sockets, bound.
#[derive(Debug)]
pub struct Sockets {
    /// Queries over UDP.
    pub udp: UdpSocket,
    /// Queries over TCP, at the same address.
    pub tcp: TcpListener,
    /// `/v1/load`, `/metrics`, `/healthz`.
    pub admin: TcpListener,
}

/// What all loops share.
#[derive(Debug)]
pub(crate) struct Server {
    snapshot: ArcSwap<Snapshot>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    queries: AtomicU64,
    to_site: AtomicU64,
    to_cloud: AtomicU64,
    malformed: AtomicU64,
}

impl Server {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot: ArcSwap::new(snapshot), counters: Counters::default() }
    }

    /// Answers one packet and counts it.
    pub(crate) fn answer(
        &self,
        packet: &[u8],
        peer: SocketAddr,
        transport: Transport,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let outcome = answer(packet, peer.ip(), transport, &self.snapshot.load(), out);
        let counters = &self.counters;
        add(&counters.queries, 1);
        match outcome {
            Outcome::Plain => {}
            Outcome::ToSite => add(&counters.to_site, 1),
            Outcome::ToCloud => add(&counters.to_cloud, 1),
            Outcome::Dropped | Outcome::Malformed => add(&counters.malformed, 1),
        }
        outcome
    }

    fn load(&self) -> DnsLoad {
        let counters = &self.counters;
        DnsLoad {
            queries: counters.queries.load(Relaxed),
            to_site: counters.to_site.load(Relaxed),
            to_cloud: counters.to_cloud.load(Relaxed),
            malformed: counters.malformed.load(Relaxed),
        }
    }
}

/// Serves `zones` by `plans` until `shutdown`. The zones must know the steered names, as those of
/// [`crate::zones`] do.
///
/// # Errors
/// When the admin listener fails.
pub async fn serve(
    config: &Config,
    zones: Arc<Zones>,
    sockets: Sockets,
    plans: Plans,
    shutdown: Shutdown,
) -> Result<(), DnsError> {
    let snapshot = |plans: &Plans| {
        Arc::new(Snapshot::new(zones.clone(), Steering::new(config, &plans.load())))
    };
    let server = Arc::new(Server::new(snapshot(&plans)));
    let counted = server.clone();
    let identity = Identity::new(Part::Dns, "dns", None);
    let admin = Admin::new(identity, plans.clone(), move |load| load.dns = Some(counted.load()));

    let rebuild = async {
        let mut plans = plans;
        loop {
            tokio::select! {
                () = plans.changed() => server.snapshot.store(snapshot(&plans)),
                () = shutdown.cancelled() => return,
            }
        }
    };
    // A loop a task, so that TCP and the admin listener never wait behind a burst of datagrams.
    let udp = tokio::spawn(datagrams(sockets.udp, server.clone(), shutdown.clone()));
    let tcp = tokio::spawn(tcp::accept(
        sockets.tcp,
        server.clone(),
        tcp::Limits::default(),
        shutdown.clone(),
    ));
    let admin = async {
        let served = admin.serve(sockets.admin, shutdown.clone()).await;
        // Without its admin listener the part is blind: end all of it, and let it be started anew.
        shutdown.cancel();
        served.map_err(DnsError::Admin)
    };
    let ((), udp, tcp, admin) = tokio::join!(rebuild, udp, tcp, admin);
    for ended in [udp, tcp] {
        if let Err(panic) = ended
            && panic.is_panic()
        {
            std::panic::resume_unwind(panic.into_panic());
        }
    }
    admin
}

/// Answers datagrams one after the other, in buffers that are used again.
async fn datagrams(socket: UdpSocket, server: Arc<Server>, shutdown: Shutdown) {
    let mut packet = vec![0; QUERY_BYTES_MAX];
    let mut out = Vec::with_capacity(QUERY_BYTES_MAX);
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut packet) => received,
            () = shutdown.cancelled() => return,
        };
        let (length, peer) = match received {
            Ok(received) => received,
            Err(e) => {
                tracing::warn!(error = %e, "cannot receive queries over UDP");
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => continue,
                    () = shutdown.cancelled() => return,
                }
            }
        };
        if server.answer(&packet[..length], peer, Transport::Udp, &mut out) == Outcome::Dropped {
            continue;
        }
        // A client that cannot be reached, or a full send queue, loses its answer and asks again;
        // the others do not wait for it.
        if let Err(e) = socket.try_send_to(&out, peer) {
            tracing::debug!(error = %e, "an answer over UDP was not sent");
        }
    }
}
