//! The layer-7 gateway: routes requests to the site's services, and moves or sheds those that the
//! plan says the site shall not serve.
//!
//! ```text
//! accept ─▶ proxy_protocol ─▶ guard (framing, head) ─▶ hyper ─▶ handle ─▶ route ─▶ verdict
//!                                                                 ▼
//!               record (counters, access_log) ◀─ respond ◀───── place ─▶ forward ─▶ upstream ─▶ pool
//!                                                                                      ▲
//!                                                                                    health
//! ```
//!
//! Only what `head` lets pass reaches the HTTP implementation; only whole, re-framed requests
//! reach an upstream. A request never makes more than one hop between sites and cloud.
//!
//! Counters of `/v1/load`: `response_bytes` are the bytes of bodies as written plus an estimate of each
//! head (its fields, and 90 bytes for what hyper adds); chunk framing is not counted. Requests that
//! match no route, and heads that were refused, count as arrivals of the route `unrouted`. An answer
//! that says the client was wrong before any upstream saw the request (400, 404, 405, 413, 421) counts as
//! an arrival and by its bytes, and under no outcome.

mod accept;
mod access_log;
mod admission;
mod forward;
mod framing;
mod gateway;
mod guard;
mod handle;
mod head;
mod headers;
mod health;
mod options;
mod place;
mod pool;
mod proxy_protocol;
mod record;
mod respond;
mod route;
mod upload;
mod upstream;
mod verdict;
mod visitors;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use spillway_model::config::{Config, Instance, Site};
use spillway_model::load::Part;
use spillway_part::admin::Identity;
use spillway_part::{Admin, Plans, Shutdown, StartError, follow, start};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::access_log::AccessLog;
use crate::gateway::Gateway;
pub use crate::guard::{Guard, refusal};
pub use crate::head::Refusal;
pub use crate::options::{HealthOptions, Options, PoolOptions};
pub use crate::route::{RouteError, Table as RouteTable};

/// Open files that are not connections of clients or to services: listeners, logs, checks.
const FILES_RESERVED: usize = 64;
/// How long the last lines of the access log may take, and the last answers of the admin listener.
const END_DEADLINE: Duration = Duration::from_millis(200);

/// Why a gateway could not run.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its routes cannot be built.
    #[error("the routes of the configuration cannot be built")]
    Route(#[from] RouteError),
    /// Its admin listener failed.
    #[error("the admin listener failed")]
    Admin(#[source] std::io::Error),
}

/// The sockets of a gateway, bound.
#[derive(Debug)]
pub struct Listeners {
    /// Takes requests. Whoever connects from an address of the site's balancers may name its client by
    /// the PROXY protocol.
    pub requests: TcpListener,
    /// `/v1/load`, `/metrics`, `/healthz`.
    pub admin: TcpListener,
}

/// Runs the gateway `name` of the configuration until `shutdown`.
///
/// # Errors
/// When the configuration has no such gateway, an address is taken, the plan's key is missing, or the
/// routes contradict one another.
pub async fn run(config: Arc<Config>, name: &str, shutdown: Shutdown) -> Result<(), GatewayError> {
    let (site, instance, what) = find(&config, name)?;
    let requests = start::listen_tcp(instance.listen, &format!("{what}.listen")).await?;
    let admin = start::listen_tcp(instance.admin, &format!("{what}.admin")).await?;
    let plans = follow::follow(&config, name, &shutdown)?;
    let access_log = Some(config.state_path("log").join(format!("{name}.access.log")));
    let mut options = Options { access_log, ..Options::default() };
    // A client's request may have its connection to an upstream beside it.
    let pairs = start::open_files().saturating_sub(FILES_RESERVED) / 2;
    options.connections_max = options.connections_max.min(pairs.max(1));
    serve(&config, site, name, plans, Listeners { requests, admin }, options, shutdown).await
}

/// Serves as the gateway `name` of `site` on listeners that are already bound, until `shutdown`.
///
/// # Errors
/// When the routes contradict one another or the admin listener fails.
pub async fn serve(
    config: &Config,
    site: &Site,
    name: &str,
    plans: Plans,
    listeners: Listeners,
    options: Options,
    shutdown: Shutdown,
) -> Result<(), GatewayError> {
    let (log, writer) = options.access_log.clone().map(AccessLog::start).unzip();
    let gateway =
        Gateway::new(config, site, plans.clone(), options, log.clone(), shutdown.clone())?;
    let gateway = Arc::new(gateway);

    let services = gateway.services.iter().map(|upstream| (upstream, health::Pass::Success));
    let cloud = gateway.cloud.iter().map(|upstream| (upstream, health::Pass::Answer));
    for (upstream, pass) in services.chain(cloud) {
        let health = gateway.options.health.clone();
        tokio::spawn(health::watch(upstream.clone(), pass, health, shutdown.clone()));
    }
    if let Some(log) = log.clone() {
        tokio::spawn(reopen_on_hangup(log, shutdown.clone()));
    }
    let identity = Identity::new(Part::Gateway, name, Some(site.id.clone()));
    let reported = gateway.clone();
    let admin = Admin::new(identity, plans, move |load| reported.fill(load));
    // A balancer must see that this gateway drains, or it would take it for dead and end the
    // connections on which requests are under way.
    let drained = Shutdown::new();
    let admin = admin.serve_until(listeners.admin, &shutdown, drained.clone());

    tracing::info!(name, site = %site.id, "gateway ready");
    let (mut accepting, mut admin) =
        (pin!(accept::accept(gateway, listeners.requests)), pin!(admin));
    let served = tokio::select! {
        () = &mut accepting => {
            drained.cancel();
            // A caller that holds its connection does not hold the process.
            tokio::time::timeout(END_DEADLINE, admin).await.unwrap_or(Ok(()))
        }
        served = &mut admin => {
            // Users are served on whatever becomes of the admin listener.
            accepting.await;
            served
        }
    };
    if let (Some(log), Some(writer)) = (log, writer) {
        log.end();
        let ended = tokio::task::spawn_blocking(move || writer.join().is_ok());
        if !matches!(tokio::time::timeout(END_DEADLINE, ended).await, Ok(Ok(true))) {
            tracing::warn!("the access log could not be finished");
        }
        if log.lost() > 0 {
            tracing::warn!(lines = log.lost(), "lines of the access log were lost");
        }
    }
    served.map_err(GatewayError::Admin)
}

fn find<'a>(
    config: &'a Config,
    name: &str,
) -> Result<(&'a Site, &'a Instance, String), StartError> {
    let all = || {
        config.sites.iter().enumerate().flat_map(|(i, site)| {
            site.gateways
                .iter()
                .enumerate()
                .map(move |(j, gateway)| (site, gateway, format!("site.{i}.gateway.{j}")))
        })
    };
    all().find(|(_, gateway, _)| gateway.name == name).ok_or_else(|| StartError::NoSuchPart {
        kind: "gateway",
        name: name.to_owned(),
        known: all().map(|(_, gateway, _)| gateway.name.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// SIGHUP has the access log opened anew: whoever rotates it moves the file away first.
async fn reopen_on_hangup(log: AccessLog, shutdown: Shutdown) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(e) => {
            tracing::warn!(error = %e, "SIGHUP will not reopen the access log");
            return;
        }
    };
    loop {
        tokio::select! {
            received = hangup.recv() => match received {
                Some(()) => log.reopen(),
                None => return,
            },
            () = shutdown.cancelled() => return,
        }
    }
}
