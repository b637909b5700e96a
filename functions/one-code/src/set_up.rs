//! Putting the service together from its configuration, however it then runs.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use spillway_model::config::Store;
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
    /// How the data is used.
    pub(crate) database: Options,
    /// The password of PostgreSQL shards whose URLs have none.
    pub(crate) password: Option<&'a str>,
    /// Where shards have replicas besides those of the configuration: `SPILLWAY_REPLICAS`.
    pub(crate) replicas: Option<&'a str>,
    pub(crate) cache: Cache,
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
    /// Replicas that are none.
    #[error(
        "SPILLWAY_REPLICAS has `{0}`, which names no replica: write SHARD=REPLICA, names of hosts, with commas between several"
    )]
    Replicas(String),
}

impl Service {
    /// Puts the service together. Nothing is connected to yet.
    pub(crate) fn new(config: &Config, setting: Setting<'_>) -> Result<Self, SetUpError> {
        let now = clock::now();
        let (secret, made) = Secret::load(setting.secret, config)?;
        let state = config.path(&config.plan.state_dir);
        let with_password = |url: &String| match setting.password {
            Some(password) => spillway_store::with_password(url, password),
            None => url.clone(),
        };
        let replicas = replicas(&config.store, setting.replicas.unwrap_or_default())?;
        let shards: Vec<String> = config.store.shards.iter().map(with_password).collect();
        let replicas: Vec<String> = replicas.iter().map(with_password).collect();
        let database = Database::open(&shards, &state, setting.database)?;
        let app = AppState::new(Parts {
            database: database.with_replicas(&replicas, setting.database)?,
            cache: setting.cache,
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

/// The replicas of all shards, an empty one where there is none: those of the configuration, but for shards
/// whose hosts have one in `hosts`.
fn replicas(store: &Store, hosts: &str) -> Result<Vec<String>, SetUpError> {
    let mut replicas = store.replicas.clone();
    for pair in hosts.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (shard, replica) = match pair.split_once('=') {
            Some((shard, replica)) if !shard.is_empty() && !replica.is_empty() => (shard, replica),
            _ => return Err(SetUpError::Replicas(pair.to_owned())),
        };
        for (i, url) in store.shards.iter().enumerate() {
            if let Some(url) = spillway_store::at_host(url, shard, replica) {
                replicas.resize(store.shards.len(), String::new());
                replicas[i] = url;
            }
        }
    }
    Ok(replicas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_that_of_the_shard_at_its_host() {
        let found = |configured: &[&str], hosts: &str| {
            let list = |urls: &[&str]| urls.iter().map(ToString::to_string).collect();
            let shards = list(&["postgres://app@one/d", "sqlite:a.db", "postgres://app@two:1/d"]);
            let cache = "process".to_owned();
            replicas(&Store { shards, replicas: list(configured), cache }, hosts)
        };
        let none: [&str; 0] = [];
        assert_eq!(found(&[], "").unwrap(), none);
        assert_eq!(found(&[], "three=ro").unwrap(), none);
        assert_eq!(found(&[], "two=ro").unwrap(), ["", "", "postgres://app@ro:1/d"]);
        let configured = ["postgres://app@home/d", "", "postgres://app@home2/d"];
        assert_eq!(found(&configured, "").unwrap(), configured);
        assert_eq!(
            found(&configured, " two=ro:2, three=x,").unwrap(),
            ["postgres://app@home/d", "", "postgres://app@ro:2/d"]
        );
        for bad in ["ro", "=ro", "two=", "two=ro,postgres://x"] {
            let said = found(&[], bad).unwrap_err().to_string();
            assert!(said.contains("write SHARD=REPLICA"), "{said}");
        }
    }
}
