//! The service on-prem: one process that listens, with an admin listener beside it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::middleware;
use spillway_model::Config;
use spillway_model::config::{ServiceInstance, Site};
use spillway_model::load::Part;
use spillway_part::admin::Identity;
use spillway_part::serve::{self, Limits};
use spillway_part::{Admin, Shutdown, StartError, follow, start};
use spillway_store::{Cache, Options};

use crate::meter::{self, Meter};
use crate::set_up::{Service, SetUpError, Setting};

/// How long the data may take to be given up.
const CLOSE: Duration = Duration::from_secs(1);

/// What an instance is given besides the configuration.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `ONE_CODE_SECRET`: the key as a line of base64; the key file in the state folder when absent.
    pub secret: Option<String>,
    /// `SPILLWAY_CACHE`: the cache, in place of `store.cache`.
    pub cache: Option<String>,
    /// `SPILLWAY_REPLICAS`: replicas of shards, besides `store.replicas`.
    pub replicas: Option<String>,
    /// `ONE_CODE_SEED`: how many demo users an empty database is filled with.
    pub seed: u32,
}

/// Why an instance could not start, or failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration, an address, or the key of plans.
    #[error(transparent)]
    Start(#[from] StartError),
    /// What the service is made of.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
    /// The listener.
    #[error("the listener failed")]
    Listener(#[source] io::Error),
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
    let (site, instance) = instance(&config, name)?;
    let listener = start::listen_tcp(instance.listen, &format!("service {name}")).await?;
    let admin_listener =
        start::listen_tcp(instance.admin, &format!("service {name}'s admin")).await?;
    let plans = follow::follow(&config, name, &shutdown)?;
    let cache = environment.cache.as_ref().unwrap_or(&config.store.cache);
    let cache = Cache::open(cache).map_err(SetUpError::Store)?;
    let setting = Setting {
        groups: &instance.groups,
        secret: environment.secret.as_deref(),
        database: Options { max_connections: 8, ..Options::default() },
        // A driver of PostgreSQL reads PGPASSWORD itself.
        password: None,
        replicas: environment.replicas.as_deref(),
        cache,
        plans: plans.clone(),
        served_by: None,
        shutdown: shutdown.clone(),
    };
    let service = Service::new(&config, setting)?;
    service.prepare(environment.seed).await;
    let meter = Arc::new(Meter::new(&config.routes));
    let router = service.router.layer(middleware::from_fn_with_state(meter.clone(), meter::count));

    let identity = Identity::new(Part::Service, name, Some(site.id.clone()));
    let admin = Admin::new(identity, plans, move |load| load.routes = meter.read());
    let serving_admin = tokio::spawn(admin.serve(admin_listener, shutdown.clone()));
    tracing::info!(name, listen = %instance.listen, groups = instance.groups.join(","), "service ready");
    let served = serve::http(listener, router, Limits::default(), shutdown.clone()).await;
    // Usually it is cancelled already; if the listener is broken, the rest must end all the same.
    shutdown.cancel();
    // A connection that is still held is cut off by the end of the process.
    let _ = tokio::time::timeout(CLOSE, service.app.close()).await;
    let served_admin = match serving_admin.await {
        Ok(served) => served,
        Err(panicked) => Err(panicked.into()),
    };
    served.map_err(RunError::Listener)?;
    served_admin.map_err(RunError::Admin)
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
