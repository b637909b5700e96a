//! What every handler has: the data, the cache, the plan, the secret and the time.

use std::fmt;
use std::sync::Arc;

use spillway_model::UnixMillis;
use spillway_part::{Plans, Shutdown};
use spillway_store::{Cache, Database, StoreError};
use tokio::sync::OnceCell;

use crate::knobs::Knobs;
use crate::schema;
use crate::secret::Secret;

/// Where the time comes from.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// What an [`AppState`] is made of.
pub struct Parts {
    /// The data. Its schema is brought up to date at first use.
    pub database: Database,
    /// The cache.
    pub cache: Cache,
    /// The plan to follow.
    pub plans: Plans,
    /// The key of tokens and user numbers.
    pub secret: Secret,
    /// The time.
    pub clock: Clock,
    /// What `x-spillway-served-by` says; nothing on-prem, where the gateway sets it.
    pub served_by: Option<&'static str>,
    /// When it is cancelled, `/healthz` says so.
    pub shutdown: Shutdown,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// The state that all handlers share. Clones are the same.
#[derive(Clone)]
pub struct AppState(Arc<App>);

struct App {
    parts: Parts,
    migrated: OnceCell<()>,
}

impl fmt::Debug for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.parts.fmt(f)
    }
}

impl AppState {
    /// Puts it together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(App { parts, migrated: OnceCell::new() }))
    }

    /// The data, with its schema in place. The first caller sees to that, the others wait; when it
    /// fails the next caller tries again.
    ///
    /// # Errors
    /// When a shard cannot be reached or migrated.
    pub async fn database(&self) -> Result<&Database, StoreError> {
        let migrate = || self.0.parts.database.migrate(schema::MIGRATIONS);
        self.0.migrated.get_or_try_init(migrate).await?;
        Ok(&self.0.parts.database)
    }

    /// Gives the data up, at the end of a process.
    pub(crate) async fn close(&self) {
        self.0.parts.database.close().await;
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.0.parts.cache
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.0.parts.secret
    }

    pub(crate) fn served_by(&self) -> Option<&'static str> {
        self.0.parts.served_by
    }

    pub(crate) fn draining(&self) -> bool {
        self.0.parts.shutdown.is_cancelled()
    }

    pub(crate) fn now(&self) -> UnixMillis {
        (self.0.parts.clock)()
    }

    /// The knobs that are on now.
    pub(crate) fn knobs(&self) -> Knobs {
        Knobs::on(&self.0.parts.plans.load(), self.now())
    }
}
