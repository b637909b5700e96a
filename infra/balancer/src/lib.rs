//! The layer-4 balancer of a site, in user space: TCP connections in, TCP connections to the
//! gateways out, the client's address handed on in a PROXY protocol v2 header.
//!
//! ```text
//! client ──▶ accept ──▶ upstreams: fewest connections among the healthy ──▶ PROXY v2 ──▶ gateway
//!    ▲                      ▲ health: GET /healthz of each gateway                         │
//!    └── line: the site's uplink as a token bucket ◀── relay: copies both ways ◀───────────┘
//! ```
//!
//! It knows nothing of HTTP and does not act on the plan: whatever the plan says, a connection goes
//! to a gateway, which decides. Everything towards clients passes [`line`], so that the site's uplink
//! has one place where it is counted and, where there is no real line, held to its cap.

mod accept;
mod health;
mod line;
mod proxy;
mod relay;
pub mod uplink;
mod upstreams;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use spillway_model::config::Site;
use spillway_model::load::{Load, Part};
use spillway_model::{Config, SiteId};
use spillway_part::admin::Identity;
use spillway_part::{Admin, Plans, Shutdown, StartError, follow, start};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::line::Line;
use crate::upstreams::Upstreams;

/// Most connections open at once, whatever the descriptor limit allows.
const CONNECTIONS_MAX: usize = 65_536;
/// Descriptors kept for everything that is not a user's connection: listeners, health checks, the
/// agent, the log.
const DESCRIPTORS_RESERVED: usize = 64;

/// Why the balancer ended.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError {
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its admin listener failed.
    #[error("the admin listener of the balancer failed")]
    Admin(#[source] io::Error),
}

/// The two bound listeners of a balancer.
#[derive(Debug)]
pub struct Listeners {
    /// Where clients connect.
    pub clients: TcpListener,
    /// `/v1/load`, `/metrics`, `/healthz`.
    pub admin: TcpListener,
}

/// What is not configured: deadlines and bounds, with the defaults that production uses.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most connections open at once; more wait in the kernel's accept queue.
    pub connections_max: usize,
    /// For one attempt at one gateway, the PROXY header included.
    pub connect_deadline: Duration,
    /// Between two health checks of a gateway.
    pub check_every: Duration,
    /// For one health check.
    pub check_deadline: Duration,
    /// A connection on which nothing moved for this long is closed.
    pub idle: Duration,
    /// The same once one side has finished sending.
    pub half_closed_idle: Duration,
    /// What happens to a segment that the uplink's queue has no room for.
    pub retransmission: uplink::Retransmission,
    /// How long connections may go on after the shutdown began.
    pub drain: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            connect_deadline: Duration::from_secs(1),
            check_every: Duration::from_millis(500),
            check_deadline: Duration::from_millis(400),
            idle: Duration::from_secs(600),
            half_closed_idle: Duration::from_secs(30),
            retransmission: uplink::Retransmission::default(),
            drain: start::DRAIN,
        }
    }
}

/// Runs the balancer of a site until `shutdown`, then lets its connections finish within
/// [`start::DRAIN`].
///
/// # Errors
/// When the configuration has no such site, a listener cannot be bound, or the key that plans are
/// verified with is missing.
pub async fn run(
    config: Arc<Config>,
    site: &SiteId,
    shutdown: Shutdown,
) -> Result<(), BalancerError> {
    let site = config.site(site).ok_or_else(|| StartError::NoSuchPart {
        kind: "site",
        name: site.to_string(),
        known: config.sites.iter().map(|s| s.id.to_string()).collect::<Vec<_>>().join(", "),
    })?;
    // Nobody stands in for it: who connects while it is started anew waits in its socket.
    let clients = start::listen_tcp_kept(site.balancer.listen, "site.balancer.listen").await?;
    let admin = start::listen_tcp(site.balancer.admin, "site.balancer.admin").await?;
    let plans = follow::follow(&config, &name(site), &shutdown)?;
    let options = Options { connections_max: connections_max(), ..Options::default() };
    serve(site, Listeners { clients, admin }, plans, options, shutdown).await
}

/// Serves a site's clients on listeners that are bound already, until `shutdown`.
///
/// # Errors
/// When the admin listener fails.
pub async fn serve(
    site: &Site,
    listeners: Listeners,
    plans: Plans,
    options: Options,
    shutdown: Shutdown,
) -> Result<(), BalancerError> {
    let upstreams = Arc::new(Upstreams::new(&site.gateways));
    let line = Arc::new(Line::new(&site.uplink, options.retransmission));
    let connections = TaskTracker::new();

    let identity = Identity::new(Part::Balancer, &name(site), Some(site.id.clone()));
    let admin = Admin::new(identity, plans, {
        let (upstreams, line, connections) = (upstreams.clone(), line.clone(), connections.clone());
        move |load: &mut Load| {
            load.uplink = Some(line.load(connections.len()));
            load.upstreams = upstreams.load();
        }
    });

    // Dropping the set ends the checks however this function ends.
    let mut checks = JoinSet::new();
    health::watch_all(&mut checks, &upstreams, &options, &shutdown);

    // Cancelled when the drain is over, and also when this function ends early.
    let cut = Shutdown::new();
    let _cut_on_drop = cut.clone().drop_guard();
    let admin = async {
        tokio::select! {
            served = admin.serve(listeners.admin, shutdown.clone()) => served.map_err(BalancerError::Admin),
            () = cut.cancelled() => Ok(()),
        }
    };
    let clients = async {
        let acceptor = accept::Acceptor {
            upstreams,
            line,
            connections: connections.clone(),
            cut: cut.clone(),
            options: Arc::new(options.clone()),
        };
        acceptor.accept_until(listeners.clients, &shutdown).await;
        drain(&connections, &cut, options.drain).await;
        Ok(())
    };
    tokio::try_join!(admin, clients)?;
    Ok(())
}

async fn drain(connections: &TaskTracker, cut: &Shutdown, within: Duration) {
    connections.close();
    let open = connections.len();
    tracing::info!(connections = open, "draining");
    if tokio::time::timeout(within, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "closing what has not finished in time");
    }
    cut.cancel();
    connections.wait().await;
}

fn name(site: &Site) -> String {
    format!("{}-balancer", site.id)
}

/// How many connections the limit on open files allows: one takes two, one on either side.
fn connections_max() -> usize {
    let pairs = start::open_files().saturating_sub(DESCRIPTORS_RESERVED) / 2;
    pairs.clamp(1, CONNECTIONS_MAX)
}
