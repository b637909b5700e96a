//! A cloud on this machine, made of the same parts as the real one: a load balancer that turns HTTP
//! into ALB target-group events, and a Lambda Runtime API that starts real function processes.
//!
//! ```text
//!   HTTP ─▶ front ─▶ routes ─▶ event ─▶ fleet ─▶ environment ─▶ runtime_api ─▶ process
//!             │                (pure)     └▶ pool (pure): who takes it, what may be started
//!             └ reads heads through the gateway's guard: one strict reader at both doors
//! ```
//!
//! An environment serves one request at a time. Without an idle one, a new one is started after the
//! configured cold-start delay, within the account's concurrency and the function's burst; otherwise
//! the request is refused at once, as Lambda throttles.

mod environment;
pub mod event;
mod fleet;
mod front;
pub mod pool;
mod process;
mod routes;
pub mod runtime_api;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use spillway_model::Config;
use spillway_model::load::Part;
use spillway_part::admin::Identity;
use spillway_part::start::{DRAIN, listen_tcp, open_files};
use spillway_part::{Admin, Plans, Shutdown, StartError, follow};
use tokio::net::TcpListener;

use crate::fleet::Fleet;
use crate::front::Front;
use crate::pool::Limits;
use crate::routes::Routes;

pub use crate::routes::BadRoute;

/// Time kept of [`DRAIN`] for ending processes.
const END: Duration = Duration::from_secs(1);

/// Why the local cloud could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum LocalCloudError {
    /// The configuration describes none.
    #[error("the configuration has no [cloud.local], so there is no cloud to run on this machine")]
    NotConfigured,
    /// A listener, a key or the plan.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Two routes clash.
    #[error(transparent)]
    Route(#[from] BadRoute),
    /// The program of the functions cannot be used.
    #[error("cannot run functions as {program}")]
    Program {
        /// Which program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A listener broke.
    #[error("the {what} listener failed")]
    Listener {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The two listeners of the local cloud.
#[derive(Debug)]
pub struct Listeners {
    /// Of the load balancer.
    pub front: TcpListener,
    /// Of the load report.
    pub admin: TcpListener,
}

/// Runs the cloud that `[cloud.local]` describes until `shutdown`. Functions are processes of
/// `program`, which read the configuration at `config_path`.
///
/// # Errors
/// When something is missing at the start, or a listener fails.
pub async fn run(
    config: Arc<Config>,
    config_path: &Path,
    program: &Path,
    shutdown: Shutdown,
) -> Result<(), LocalCloudError> {
    let local = config.cloud.local.as_ref().ok_or(LocalCloudError::NotConfigured)?;
    let listeners = Listeners {
        front: listen_tcp(local.listen, "cloud.local.listen").await?,
        admin: listen_tcp(local.admin, "cloud.local.admin").await?,
    };
    let plans = follow::follow(&config, "cloud", &shutdown)?;
    serve(&config, config_path, program, listeners, plans, shutdown).await
}

/// What [`run`] does once it listens.
///
/// # Errors
/// When the program is missing, routes clash or a listener fails.
pub async fn serve(
    config: &Config,
    config_path: &Path,
    program: &Path,
    listeners: Listeners,
    plans: Plans,
    shutdown: Shutdown,
) -> Result<(), LocalCloudError> {
    let local = config.cloud.local.as_ref().ok_or(LocalCloudError::NotConfigured)?;
    let routes = Routes::new(config)?;
    // An environment takes four descriptors here and a client one.
    open_files();
    let limits = Limits {
        environments_max: local.environments_max,
        burst_per_10s: local.burst_per_10s,
        idle: Duration::from_secs(local.idle_secs),
    };
    let names: Vec<_> = config.cloud.functions.iter().map(|f| f.name.clone()).collect();
    let cold_start = Duration::from_millis(local.cold_start_ms);
    let fleet = Fleet::new(&names, limits, cold_start, program, config_path)
        .map_err(|source| LocalCloudError::Program { program: program.to_owned(), source })?;
    let broken = |what| move |source| LocalCloudError::Listener { what, source };
    let address: SocketAddr = listeners.front.local_addr().map_err(broken("load balancer"))?;
    tracing::info!(%address, functions = names.join(","), program = %program.display(), "the local cloud is up");

    let front = Arc::new(Front {
        routes,
        fleet,
        port: address.port(),
        multi_value: local.multi_value_headers,
    });
    let counted = front.clone();
    let identity = Identity::new(Part::Cloud, "cloud", None);
    let admin = Admin::new(identity, plans, move |load| {
        load.routes = counted.routes.load();
        load.functions = Some(counted.fleet.load());
    });
    let serving = async {
        front.clone().serve(listeners.front, shutdown.clone(), DRAIN - END).await;
        // Every request has its answer or was given up, so nothing needs its environment any more.
        front.fleet.close(Duration::from_millis(100)).await;
    };
    let watching = admin.serve(listeners.admin, shutdown.clone());
    tokio::pin!(serving, watching);
    tokio::select! {
        () = &mut serving => Ok(()),
        ended = &mut watching => {
            // Usually the shutdown; if it is a fault, the processes must end all the same.
            shutdown.cancel();
            serving.await;
            ended.map_err(broken("admin"))
        }
    }
}
