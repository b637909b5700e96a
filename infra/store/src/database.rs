//! SQL over shards, SQLite and PostgreSQL alike.
//!
//! One SQLite file may be shared by very many processes. WAL lets them read while one writes, and a
//! writer waits its turn inside SQLite for up to five seconds, so transactions that write must be
//! short: one statement, or [`Shard::begin_exclusive`], which takes the write lock at its start and
//! therefore never fails half way because another writer came first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe};

use crate::StoreError;
use crate::place::place;
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
    /// How long a request waits for a connection.
    pub acquire_timeout: Duration,
    /// How long PostgreSQL works on a statement, and how long SQLite waits for a lock.
    pub statement_timeout: Duration,
}

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
        let connect: AnyConnectOptions = full.parse().map_err(|e: sqlx::Error| {
            StoreError::BadDatabaseUrl { url: url::without_password(url), message: e.to_string() }
        })?;
        let millis = options.statement_timeout.as_millis();
        let pool = AnyPoolOptions::new()
            .max_connections(options.max_connections.max(1))
            .acquire_timeout(options.acquire_timeout)
            // A connection to a file cannot go stale; one to a server can, above all after a freeze.
            .test_before_acquire(kind == Kind::Postgres)
            .idle_timeout((kind == Kind::Postgres).then_some(Duration::from_secs(300)))
            .max_lifetime((kind == Kind::Postgres).then_some(Duration::from_secs(1800)))
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    match kind {
                        Kind::Sqlite => prepare_sqlite(connection, millis).await,
                        Kind::Postgres => {
                            let set = format!("SET statement_timeout = {millis}");
                            sqlx::raw_sql(AssertSqlSafe(set)).execute(connection).await.map(|_| ())
                        }
                    }
                })
            })
            .connect_lazy_with(connect);
        Ok(Self { index, kind, file, pool })
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
