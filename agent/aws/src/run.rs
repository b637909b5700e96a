//! The process: follows the plan, keeps AWS to it, carries alarms and figures, and serves its load report.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join5;
use spillway_model::config::Aws;
use spillway_model::load::{FleetLoad, Part};
use spillway_model::{Config, Fleet};
use spillway_part::admin::{Admin, Identity};
use spillway_part::{Plans, Shutdown, StartError, follow, start};

use crate::alarms::{Teller, ask, follow_queue};
use crate::clients::Clients;
use crate::endpoint::{self, Outcomes, TlsError};
use crate::figures::{self, Figures};
use crate::journal::{Journal, JournalError};
use crate::keeper::{Keeper, Round};

/// AWS is looked at this often while all is as it should be,
const IDLE: Duration = Duration::from_secs(5);
/// and this often while something is under way.
const BUSY: Duration = Duration::from_secs(2);
/// Most warnings that the load report carries.
const WARNINGS_MAX: usize = 20;

/// Why the process ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration has no `[cloud.aws]`.
    #[error("the configuration has no [cloud.aws]: there is nothing on AWS to look after")]
    NotConfigured,
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its journal cannot be kept, or another process has it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Its alarm endpoint cannot be.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its alarm endpoint failed.
    #[error("the listener of cloud.aws.alarm_endpoint failed")]
    Endpoint(#[source] std::io::Error),
    /// Its admin listener failed.
    #[error("the admin listener of part aws failed")]
    Admin(#[source] std::io::Error),
}

/// The part of a configuration that is about AWS.
///
/// # Errors
/// When there is none.
pub fn configured(config: &Config) -> Result<&Aws, RunError> {
    config.cloud.aws.as_ref().ok_or(RunError::NotConfigured)
}

/// Runs until `shutdown`. What is launched stays: it serves, and the next start goes on with it.
///
/// # Errors
/// When it cannot start, or its admin listener fails.
pub async fn run(config: Arc<Config>, shutdown: Shutdown) -> Result<(), RunError> {
    let aws = configured(&config)?.clone();
    let listener = start::listen_tcp(aws.admin, "cloud.aws.admin").await?;
    let (journal, kept) = Journal::open(&config.state_path(""))?;
    let plans = follow::follow(&config, "aws", &shutdown)?;
    let clients = Arc::new(Clients::new(&aws.region).await);
    let figures = Arc::new(Figures::default());
    let seen: Arc<Mutex<Option<FleetLoad>>> = Arc::default();

    let identity = Identity::new(Part::Aws, "aws", None);
    let (shown, counted, figured) = (seen.clone(), clients.clone(), figures.clone());
    let (outcomes, told) = (Arc::new(Outcomes::default()), figures.clone());
    let ended = outcomes.clone();
    let admin = Admin::new(identity, plans.clone(), move |load| {
        load.fleet = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(fleet) = &mut load.fleet {
            told.add_to(fleet);
            fleet.warnings.truncate(WARNINGS_MAX);
        }
    })
    .with_metrics(move || counted.calls.metrics() + &figured.metrics() + &ended.metrics());
    let teller = Arc::new(Teller::new(config.clone()));
    let endpoint = match &aws.alarm_endpoint {
        None => None,
        Some(endpoint) => {
            let path = |path: &Path| config.path(path);
            let now = clients.now;
            Some(endpoint::prepare(endpoint, path, teller.clone(), outcomes, now).await?)
        }
    };
    let serving = tokio::spawn(admin.serve(listener, shutdown.clone()));

    let keeper = Keeper::new(&clients, &aws, journal, kept);
    let queue = async {
        if let Some(url) = &aws.alarm_queue {
            follow_queue(&clients, url, &teller, &shutdown).await;
        }
    };
    let alarms = async {
        let Some(endpoint) = endpoint else { return Ok(()) };
        endpoint.serve(shutdown.clone()).await
    };
    let (_, _, _, _, alarms) = join5(
        keep(keeper, plans, &seen, &shutdown),
        queue,
        ask(&clients, &aws.name, &teller, &shutdown),
        figures::exchange(&clients, &config, &aws, &figures, &seen, &shutdown),
        alarms,
    )
    .await;
    alarms.map_err(RunError::Endpoint)?;
    match serving.await {
        Ok(served) => served.map_err(RunError::Admin),
        Err(e) => Err(RunError::Admin(e.into())),
    }
}

/// Round after round, and at once when the plan wants another fleet. A round under way is finished, so
/// that what was done is journalled.
async fn keep(
    mut keeper: Keeper<'_>,
    mut plans: Plans,
    seen: &Mutex<Option<FleetLoad>>,
    shutdown: &Shutdown,
) {
    while !shutdown.is_cancelled() {
        let plan = plans.load();
        // Without any plan nothing is known, and nothing is done: an agent that was never heard does not
        // want no gateways.
        let wanted = (plan.generation > 0).then_some(&plan.fleet);
        let round = keeper.round(wanted).await;
        let pause = if round.acts.is_empty() && round.waiting.is_empty() { IDLE } else { BUSY };
        show(seen, round);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = other_fleet(&mut plans, &plan.fleet) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

async fn other_fleet(plans: &mut Plans, fleet: &Fleet) {
    loop {
        plans.changed().await;
        if plans.load().fleet != *fleet {
            return;
        }
    }
}

/// Numbers that are not whole are not shown: the agent goes by when AWS was last heard of.
fn show(seen: &Mutex<Option<FleetLoad>>, round: Round) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let before = seen.take();
    let mut load = match before {
        Some(before) if !round.fleet_complete => before,
        None if !round.fleet_complete => FleetLoad::default(),
        _ => round.seen,
    };
    load.warnings = round.warnings.into_iter().take(WARNINGS_MAX).collect();
    *seen = Some(load);
}
