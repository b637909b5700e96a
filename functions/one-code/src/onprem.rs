//! The service on-prem: one process that listens, with an admin listener beside it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::{Router, middleware};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use spillway_model::Config;
use spillway_model::config::{ServiceInstance, Site};
use spillway_model::load::Part;
use spillway_part::admin::Identity;
use spillway_part::{Admin, Shutdown, StartError, clock, follow, start};
use spillway_store::{Cache, Database, Options, StoreError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::api::{UnknownGroup, router};
use crate::app::{AppState, Parts};
use crate::meter::{self, Meter};
use crate::schema;
use crate::secret::{Secret, SecretError};

/// Most connections open at once; more wait in the listener's queue. They come from a few gateways.
const CONNECTIONS_MAX: usize = 4096;
/// How long a connection may be without a whole request head. Longer than gateways keep idle ones,
/// so that none is closed here while a request is on its way.
const IDLE: Duration = Duration::from_secs(120);
/// How long the data may take to be given up.
const CLOSE: Duration = Duration::from_secs(1);
/// Pause after a connection could not be accepted, for want of descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What an instance is given besides the configuration.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `ONE_CODE_SECRET`: the key as a line of base64; the key file in the state folder when absent.
    pub secret: Option<String>,
    /// `ONE_CODE_SEED`: how many demo users an empty database is filled with.
    pub seed: u32,
}

/// Why an instance could not start, or failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration, an address, or the key of plans.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A route group that there is not.
    #[error(transparent)]
    Group(#[from] UnknownGroup),
    /// The data or the cache.
    #[error("cannot open the store")]
    Store(#[from] StoreError),
    /// The service's key.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The admin listener.
    #[error("the admin listener failed")]
    Admin(#[source] io::Error),
}

/// Runs the instance that the configuration calls `name` until `shutdown`, then drains.
///
/// A database that is away does not keep it from starting: requests that need it are answered 503
/// until it is back.
///
/// # Errors
/// When it cannot start.
pub async fn run(
    config: Arc<Config>,
    name: &str,
    environment: Environment,
    shutdown: Shutdown,
) -> Result<(), RunError> {
    let (site, service) = instance(&config, name)?;
    let listener = start::listen_tcp(service.listen, &format!("service {name}")).await?;
    let admin_listener =
        start::listen_tcp(service.admin, &format!("service {name}'s admin")).await?;
    let plans = follow::follow(&config, name, &shutdown)?;
    let options = Options { max_connections: 8, ..Options::default() };
    let app = AppState::new(Parts {
        database: Database::open(
            &config.store.shards,
            &config.path(&config.plan.state_dir),
            options,
        )?,
        cache: Cache::open(&config.store.cache)?,
        plans: plans.clone(),
        secret: Secret::load(environment.secret.as_deref(), &config)?,
        clock: Arc::new(clock::now),
        served_by: None,
        shutdown: shutdown.clone(),
    });
    let meter = Arc::new(Meter::new(&config.routes));
    let router = router(&service.groups, &app)?
        .layer(middleware::from_fn_with_state(meter.clone(), meter::count));
    prepare(&app, environment.seed).await;

    let identity = Identity::new(Part::Service, name, Some(site.id.clone()));
    let admin = Admin::new(identity, plans, move |load| load.routes = meter.read());
    let serving_admin = tokio::spawn(admin.serve(admin_listener, shutdown.clone()));
    tracing::info!(name, listen = %service.listen, groups = service.groups.join(","), "service ready");
    serve(listener, router, &shutdown).await;
    // A connection that is still held is cut off by the end of the process.
    let _ = tokio::time::timeout(CLOSE, app.close()).await;
    match tokio::time::timeout(start::DRAIN, serving_admin).await {
        Ok(Ok(Err(e))) => Err(RunError::Admin(e)),
        // It ended well, or somebody still holds a connection to it, which ends with the process.
        _ => Ok(()),
    }
}

fn instance<'a>(
    config: &'a Config,
    name: &str,
) -> Result<(&'a Site, &'a ServiceInstance), StartError> {
    let all = || config.sites.iter().flat_map(|site| site.services.iter().map(move |s| (site, s)));
    all().find(|(_, service)| service.name == name).ok_or_else(|| {
        let known: Vec<&str> = all().map(|(_, service)| service.name.as_str()).collect();
        StartError::NoSuchPart { kind: "service", name: name.to_owned(), known: known.join(", ") }
    })
}

async fn prepare(app: &AppState, users: u32) {
    let prepared = match app.database().await {
        Ok(database) if users > 0 => schema::seed(database, users, clock::now()).await,
        Ok(_) => Ok(0),
        Err(e) => Err(e),
    };
    match prepared {
        Ok(0) => {}
        Ok(users) => tracing::info!(users, "demo users made"),
        Err(e) => {
            tracing::warn!(
                error = &e as &dyn std::error::Error,
                "the database is not ready; starting without it"
            );
        }
    }
}

/// Serves `router` on `listener` until `shutdown`, then lets what is under way finish within
/// [`start::DRAIN`].
pub async fn serve(listener: TcpListener, router: Router, shutdown: &Shutdown) {
    let (connections, places) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let place = places.clone().acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let served = connection(stream, router.clone(), shutdown.clone());
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(e) => {
                tracing::warn!(error = %e, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(start::DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "not all requests ended in time");
    }
}

async fn connection(stream: TcpStream, router: Router, shutdown: Shutdown) {
    // Answers are written whole; waiting to fill a segment only delays them.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "a connection broke");
    }
}
