//! SQL over shards, SQLite and PostgreSQL alike.
//!
//! One SQLite file may be shared by very many processes. WAL lets them read while one writes, and a
//! writer waits its turn inside SQLite for up to five seconds, so transactions that write must be
//! short: one statement, or [`Shard::begin_exclusive`], which takes the write lock at its start and
//! therefore never fails half way because another writer came first.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Connection as _};

use crate::StoreError;
use crate::place::place;
use crate::replica::{self, Replica};
use crate::url::{self, Target};

/// A transaction on one shard; rolled back when dropped.
pub type Transaction = sqlx::Transaction<'static, sqlx::Any>;

/// What a shard runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

/// How a database is used by one process.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Most connections to each shard. They are opened when first needed.
    pub max_connections: u32,
    /// How long a request waits for a connection, be it given back or opened.
    pub acquire_timeout: Duration,
    /// How long PostgreSQL works on a statement or waits for the next one of a transaction, and how
    /// long SQLite waits for a lock.
    pub statement_timeout: Duration,
}

/// How long a connection that was held may take to say that it is one. A process may have been frozen
/// since it was last used, and who stands between may have forgotten it: then nothing is answered.
const PING: Duration = Duration::from_millis(500);

/// How long a process keeps a connection that it does not use.
const IDLE: Duration = Duration::from_secs(300);

/// How long it keeps one at all.
const LIFETIME: Duration = Duration::from_secs(1800);

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 4,
            acquire_timeout: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(5),
        }
    }
}

/// A change of the schema. Its SQL may hold several statements and runs at most once a shard.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its name, for ever.
    pub name: &'static str,
    /// What it does, in SQL that SQLite and PostgreSQL both take.
    pub sql: &'static str,
}

/// All shards.
#[derive(Debug, Clone)]
pub struct Database {
    shards: Vec<Shard>,
}

/// One shard.
#[derive(Debug, Clone)]
pub struct Shard {
    index: usize,
    kind: Kind,
    /// Of a SQLite shard.
    file: Option<PathBuf>,
    pool: AnyPool,
    replica: Option<Arc<Replica>>,
}

impl Database {
    /// Opens a database of one shard a URL: `sqlite:FILE` (relative to `base`, made when missing) or
    /// `postgres://…`. No connection is made yet. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// When a URL cannot be used or the folder of a file cannot be made.
    pub fn open(urls: &[String], base: &Path, options: Options) -> Result<Self, StoreError> {
        if urls.is_empty() {
            return Err(StoreError::NoShards);
        }
        sqlx::any::install_default_drivers();
        let shards = urls
            .iter()
            .enumerate()
            .map(|(index, url)| Shard::open(index, url, base, options))
            .collect::<Result<_, _>>()?;
        Ok(Self { shards })
    }

    /// The same with replicas, `postgres://…`, one a shard and an empty one where there is none; or with
    /// none at all. Each has as many connections as its shard.
    ///
    /// # Errors
    /// When there are more or fewer than shards, or a URL cannot be used.
    pub fn with_replicas(mut self, urls: &[String], options: Options) -> Result<Self, StoreError> {
        if !urls.is_empty() && urls.len() != self.shards.len() {
            let (replicas, shards) = (urls.len(), self.shards.len());
            return Err(StoreError::Replicas { replicas, shards });
        }
        for (shard, url) in self.shards.iter_mut().zip(urls).filter(|(_, url)| !url.is_empty()) {
            shard.replica = Some(Arc::new(shard.open_replica(url, options)?));
        }
        Ok(self)
    }

    /// The shard of a key, as [`place`] says.
    #[must_use]
    pub fn shard(&self, key: &str) -> &Shard {
        &self.shards[place(key, self.shards.len())]
    }

    /// All shards, for questions that concern all keys.
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Applies what is missing of `migrations`, in their order, to every shard. Any number of
    /// processes may do so at once. When nothing is missing this is one read a shard.
    ///
    /// # Errors
    /// When a shard cannot be reached or a migration fails; those before it stay applied.
    pub async fn migrate(&self, migrations: &[Migration]) -> Result<(), StoreError> {
        for shard in &self.shards {
            shard.migrate(migrations).await?;
        }
        Ok(())
    }

    /// Closes every connection, those in use once they are given back. A SQLite file is then whole
    /// without its write-ahead log, unless other processes have it open.
    pub async fn close(&self) {
        for shard in &self.shards {
            shard.pool.close().await;
            if let Some(replica) = &shard.replica {
                replica.close().await;
            }
        }
    }
}

const APPLIED_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (name TEXT PRIMARY KEY)";
const APPLIED: &str = "SELECT name FROM schema_migrations";
const APPLY: &str = "INSERT INTO schema_migrations (name) VALUES ($1)";

/// The advisory lock that [`Shard::begin_exclusive`] holds on PostgreSQL; any constant would do.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7310029157)";

impl Shard {
    fn open(index: usize, url: &str, base: &Path, options: Options) -> Result<Self, StoreError> {
        let Target { kind, url: full, file } = url::target(url, base)?;
        if let Some(folder) = file.as_deref().and_then(Path::parent) {
            std::fs::create_dir_all(folder)
                .map_err(|source| StoreError::Folder { path: folder.to_owned(), source })?;
        }
        let pool = pool(kind, connect_options(url, &full)?, options, LIFETIME);
        Ok(Self { index, kind, file, pool, replica: None })
    }

    fn open_replica(&self, url: &str, options: Options) -> Result<Replica, StoreError> {
        let shown = url::without_password(url);
        // What is no server has no folder to be relative to.
        let Target { kind, url: full, .. } = url::target(url, Path::new("/"))?;
        if (self.kind, kind) != (Kind::Postgres, Kind::Postgres) {
            let message = "a replica is a server, and one of a server".to_owned();
            return Err(StoreError::BadDatabaseUrl { url: shown, message });
        }
        let connect = connect_options(url, &full)?;
        let options = Options {
            acquire_timeout: options.acquire_timeout.min(replica::DEADLINE),
            statement_timeout: options.statement_timeout.min(replica::DEADLINE),
            ..options
        };
        let open = move || pool(kind, connect.clone(), options, replica::LIFETIME);
        Ok(Replica::new(shown, open))
    }

    /// Its place in the list, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// What it runs on.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its connections.
    #[must_use]
    pub fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Whether it has a replica.
    #[must_use]
    pub fn has_replica(&self) -> bool {
        self.replica.is_some()
    }

    /// Has a question answered whose answer may be a moment old: by the replica, if there is one and it
    /// answers within half a second, else by the shard itself, so `ask` may be called twice. A replica that
    /// does not is left alone for five seconds.
    ///
    /// # Errors
    /// When the shard does not answer either.
    pub async fn read<T, Asking>(&self, ask: impl Fn(AnyPool) -> Asking) -> Result<T, StoreError>
    where
        Asking: Future<Output = Result<T, sqlx::Error>>,
    {
        if let Some(replica) = &self.replica
            && let Some(answer) = replica.ask(&ask).await
        {
            return Ok(answer);
        }
        ask(self.pool.clone()).await.map_err(|e| self.error(e))
    }

    /// Says of an error on which shard it happened, and of a damaged file which it is.
    #[must_use]
    pub fn error(&self, source: sqlx::Error) -> StoreError {
        match &self.file {
            Some(path) if is_damage(&source) => StoreError::Damaged { path: path.clone(), source },
            _ => StoreError::Database { shard: self.index, source },
        }
    }

    /// Begins a transaction that no other such transaction on this shard runs beside, in whichever
    /// process. On SQLite this is the write lock, so keep it short.
    ///
    /// # Errors
    /// When the shard cannot be reached or the lock is not had in time.
    pub async fn begin_exclusive(&self) -> Result<Transaction, StoreError> {
        let begun = match self.kind {
            Kind::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await,
            Kind::Postgres => match self.pool.begin().await {
                Ok(mut tx) => sqlx::raw_sql(LOCK).execute(&mut *tx).await.map(|_| tx),
                Err(e) => Err(e),
            },
        };
        begun.map_err(|e| self.error(e))
    }

    async fn migrate(&self, migrations: &[Migration]) -> Result<(), StoreError> {
        // On a new database the table is missing, which is an answer and not a failure; whatever
        // else is wrong shows again below.
        let applied: Vec<String> =
            sqlx::query_scalar(APPLIED).fetch_all(&self.pool).await.unwrap_or_default();
        let missing =
            |applied: &[String], m: &Migration| !applied.iter().any(|name| name == m.name);
        if !migrations.iter().any(|m| missing(&applied, m)) {
            return Ok(());
        }
        let mut tx = self.begin_exclusive().await?;
        let error = |e| self.error(e);
        sqlx::raw_sql(APPLIED_TABLE).execute(&mut *tx).await.map_err(error)?;
        // Read again under the lock: another process may have been here.
        let applied: Vec<String> =
            sqlx::query_scalar(APPLIED).fetch_all(&mut *tx).await.map_err(error)?;
        for migration in migrations.iter().filter(|m| missing(&applied, m)) {
            let failed = |source| match self.error(source) {
                StoreError::Database { shard, source } => {
                    StoreError::Migration { name: migration.name, shard, source }
                }
                damaged => damaged,
            };
            sqlx::raw_sql(migration.sql).execute(&mut *tx).await.map_err(failed)?;
            sqlx::query(APPLY).bind(migration.name).execute(&mut *tx).await.map_err(failed)?;
            tracing::info!(shard = self.index, migration = migration.name, "migration applied");
        }
        tx.commit().await.map_err(error)
    }
}

/// How `url` is connected to, which is `full` as the driver takes it.
fn connect_options(url: &str, full: &str) -> Result<AnyConnectOptions, StoreError> {
    full.parse().map_err(|e: sqlx::Error| StoreError::BadDatabaseUrl {
        url: url::without_password(url),
        message: e.to_string(),
    })
}

/// Connections to one database, opened when first needed. A held one that does not answer leaves time to
/// open another.
fn pool(kind: Kind, connect: AnyConnectOptions, options: Options, lifetime: Duration) -> AnyPool {
    let millis = options.statement_timeout.as_millis();
    let ping = PING.min(options.acquire_timeout / 2);
    AnyPoolOptions::new()
        .max_connections(options.max_connections.max(1))
        .acquire_timeout(options.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(move |connection, _| Box::pin(is_alive(kind, connection, ping)))
        .idle_timeout((kind == Kind::Postgres).then_some(IDLE))
        .max_lifetime((kind == Kind::Postgres).then_some(lifetime))
        .after_connect(move |connection, _| {
            Box::pin(async move {
                match kind {
                    Kind::Sqlite => prepare_sqlite(connection, millis).await,
                    Kind::Postgres => prepare_postgres(connection, millis).await,
                }
            })
        })
        .connect_lazy_with(connect)
}

/// Whether a connection that was held still is one. A connection to a file cannot go stale; one to a
/// server can, above all after a freeze.
async fn is_alive(
    kind: Kind,
    connection: &mut AnyConnection,
    ping: Duration,
) -> Result<bool, sqlx::Error> {
    if kind == Kind::Sqlite {
        return Ok(true);
    }
    Ok(matches!(tokio::time::timeout(ping, connection.ping()).await, Ok(Ok(()))))
}

/// Sets a new connection up, in one round trip. A process can be frozen at any moment, and then keeps
/// no promise: the server ends a transaction that it left open, which may hold the lock that all others
/// wait for, and, where it can (PostgreSQL 14), a session that it does not come back to.
async fn prepare_postgres(connection: &mut AnyConnection, millis: u128) -> Result<(), sqlx::Error> {
    let idle = (2 * IDLE).as_millis();
    let set = format!(
        "SET statement_timeout = {millis}; SET idle_in_transaction_session_timeout = {millis}; \
         SELECT set_config('idle_session_timeout', '{idle}', false) \
         WHERE current_setting('idle_session_timeout', true) IS NOT NULL"
    );
    sqlx::raw_sql(AssertSqlSafe(set)).execute(connection).await.map(|_| ())
}

/// Sets a new connection up. The change to WAL is kept in the file, so for all but the first
/// connection it is a read. SQLite refuses it without waiting while another connection does the
/// same, hence the bounded retry.
///
/// The pool would hide a failure here and try again until its deadline. Whatever else is wrong with
/// the file is therefore left for the first statement on the connection to meet, and to tell.
async fn prepare_sqlite(connection: &mut AnyConnection, busy_ms: u128) -> Result<(), sqlx::Error> {
    let set = format!(
        "PRAGMA busy_timeout = {busy_ms}; PRAGMA synchronous = NORMAL; PRAGMA journal_mode = WAL"
    );
    let mut left = 100;
    loop {
        match sqlx::raw_sql(AssertSqlSafe(set.clone())).execute(&mut *connection).await {
            Err(e) if is_busy(&e) && left > 0 => {
                left -= 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(e) if is_busy(&e) => return Err(e),
            Ok(_) | Err(_) => return Ok(()),
        }
    }
}

/// Whether SQLite reports `SQLITE_BUSY`.
fn is_busy(error: &sqlx::Error) -> bool {
    sqlite_code(error) == Some(5)
}

/// Whether SQLite reports `SQLITE_CORRUPT` or `SQLITE_NOTADB`.
fn is_damage(error: &sqlx::Error) -> bool {
    matches!(sqlite_code(error), Some(11 | 26))
}

/// SQLite's primary result code: an extended one has it in its lowest byte.
fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    Some(error.as_database_error()?.code()?.parse::<u32>().ok()? & 0xff)
}
