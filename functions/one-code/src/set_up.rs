//! Putting the service together from its configuration, however it then runs.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use spillway_model::{Config, UnixMillis};
use spillway_part::{Plans, Shutdown, clock};
use spillway_store::{Cache, Database, Options, StoreError};

use crate::api::{UnknownGroup, router};
use crate::app::{AppState, Parts};
use crate::schema;
use crate::secret::{Secret, SecretError, key_file};

/// In what the ways to run differ.
pub(crate) struct Setting<'a> {
    /// The route groups to serve.
    pub(crate) groups: &'a [String],
    /// The key as a line of base64; the key file in the state folder when absent.
    pub(crate) secret: Option<&'a str>,
    /// Most connections to each shard.
    pub(crate) max_connections: u32,
    pub(crate) plans: Plans,
    /// What `x-spillway-served-by` says.
    pub(crate) served_by: Option<&'static str>,
    pub(crate) shutdown: Shutdown,
}

/// The service, ready to be served.
pub(crate) struct Service {
    pub(crate) app: AppState,
    pub(crate) router: Router,
    /// The key file and the time just before it was made, if this process had to make it.
    new_key: Option<(PathBuf, UnixMillis)>,
}

/// Why the service cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// A route group that there is not.
    #[error(transparent)]
    Group(#[from] UnknownGroup),
    /// The data or the cache.
    #[error("cannot open the store")]
    Store(#[from] StoreError),
    /// The service's key.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl Service {
    /// Puts the service together. Nothing is connected to yet.
    pub(crate) fn new(config: &Config, setting: Setting<'_>) -> Result<Self, SetUpError> {
        let now = clock::now();
        let (secret, made) = Secret::load(setting.secret, config)?;
        let options = Options { max_connections: setting.max_connections, ..Options::default() };
        let state = config.path(&config.plan.state_dir);
        let app = AppState::new(Parts {
            database: Database::open(&config.store.shards, &state, options)?,
            cache: Cache::open(&config.store.cache)?,
            plans: setting.plans,
            secret,
            clock: Arc::new(clock::now),
            served_by: setting.served_by,
            shutdown: setting.shutdown,
        });
        let router = router(setting.groups, &app)?;
        Ok(Self { app, router, new_key: made.then(|| (key_file(config), now)) })
    }

    /// Brings the data up to date and fills an empty database with `users` demo users. When that
    /// fails the log says why; requests that need the data try again, and are answered 503 until it
    /// is back.
    pub(crate) async fn prepare(&self, users: u32) {
        match self.try_prepare(users).await {
            Ok(0) => {}
            Ok(users) => tracing::info!(users, "demo users made"),
            Err(e @ StoreError::Damaged { .. }) => {
                tracing::error!(error = &e as &dyn Error, "no data; starting without it");
            }
            Err(e) => {
                tracing::warn!(
                    error = &e as &dyn Error,
                    "the database is not ready; starting without it"
                );
            }
        }
    }

    async fn try_prepare(&self, users: u32) -> Result<usize, StoreError> {
        let database = self.app.database().await?;
        // Data that is older than the key was made under another one.
        if let Some((file, made_at)) = &self.new_key
            && schema::has_user_before(database, *made_at).await?
        {
            tracing::warn!(
                file = %file.display(),
                "the key was lost and a new one is made: codes shown until now are invalid, and who \
                 registers again becomes another user; to undo this, stop the service and put the \
                 old key in its place"
            );
        }
        if users == 0 { Ok(0) } else { schema::seed(database, users, clock::now()).await }
    }
}
