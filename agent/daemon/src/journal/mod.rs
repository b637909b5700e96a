//! The journal: every observation, decision and plan, operators' orders and their audit, in SQLite.
//!
//! One connection writes; a small pool reads. A failed write costs what it would have written and
//! nothing else: the next write connects anew and begins with a checkpoint, so that what is in the
//! journal can always be replayed.

mod aside;
mod delta;
mod replay;
#[cfg(test)]
mod tests;
mod ticks;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use spillway_decide::{Observation, State};
use spillway_model::api::Decision;
use spillway_model::{SignedPlan, UnixMillis};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::Mutex;

pub(crate) use aside::set_aside;
pub use delta::BadChange;
pub use replay::recompute;
pub use ticks::{Tick, Ticks};

/// How long a statement waits for another process that writes.
const BUSY: Duration = Duration::from_millis(100);
/// How long a reader waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(1);
/// Connections that read.
const READERS: u32 = 2;
/// Most rows that one step of pruning deletes from a table: a step is short, and at one a minute it
/// still removes many times what a minute adds.
const PRUNE_ROWS: i64 = 1000;
/// Entries of the audit that are kept, whatever their age.
const AUDIT_ROWS: i64 = 100_000;

/// Why the journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file is no journal, or no longer.
    #[error("{0} is damaged")]
    Damaged(PathBuf, #[source] sqlx::Error),
    /// There is no file.
    #[error("there is no journal {0}")]
    Absent(PathBuf),
    /// The database failed.
    #[error("the journal {0} failed")]
    Database(PathBuf, #[source] sqlx::Error),
    /// The journal is of a later version.
    #[error(
        "{path} was written by a later version (its version is {version}, this program knows {VERSION}): run that version, or move the file away"
    )]
    Later {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: i64,
    },
    /// What the journal holds cannot be understood.
    #[error("the journal holds JSON that cannot be read")]
    Json(#[from] serde_json::Error),
    /// A stretch of observations does not fit together.
    #[error(transparent)]
    Change(#[from] BadChange),
    /// There is no such plan, or its observations are gone.
    #[error("the journal cannot recompute generation {0}: it is not there, or too old")]
    NoSuchPlan(u64),
}

const VERSION: i64 = 1;
/// A start replays at most this many observations, and so does recomputing a plan.
const CHECKPOINT_EVERY: u32 = 60;

impl JournalError {
    /// Whether the file is of no use any more, so that a new one should take its place.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(..) | Self::Json(_))
    }
}

/// What one tick writes, in one transaction.
#[derive(Debug)]
pub struct Entry<'a> {
    /// When.
    pub at: UnixMillis,
    /// What was seen.
    pub observation: &'a Observation,
    /// The state the decision began with.
    pub state: &'a State,
    /// Whether that state did not come from the decision before, so that a checkpoint is needed.
    pub fresh: bool,
    /// The decision.
    pub decision: &'a Decision,
    /// The plan, if a new one is about to be published.
    pub plan: Option<&'a SignedPlan>,
}

/// The journal of one state folder.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    options: SqliteConnectOptions,
    readers: SqlitePool,
    writer: Mutex<Writer>,
}

#[derive(Debug, Default)]
struct Writer {
    connection: Option<SqliteConnection>,
    /// The observation written last, and the number of entries since the last checkpoint. The next
    /// entry may be written as a change of it.
    last: Option<(Value, u32)>,
}

impl Journal {
    /// The journal at `path`, made when it is not there yet.
    ///
    /// The second value says why it cannot be written now; it is tried again at every write.
    pub async fn open(path: &Path) -> (Self, Option<JournalError>) {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY)
            .disable_statement_logging();
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE)
            .connect_lazy_with(options.clone().read_only(true));
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal);
        let journal = Self { path: path.to_owned(), options, readers, writer: Mutex::default() };
        let failure = {
            let mut writer = journal.writer.lock().await;
            journal.connection(&mut writer).await.err()
        };
        (journal, failure)
    }

    /// The journal at `path`, to be read alone: nothing of it is changed, whether an agent writes to it or
    /// it is a copy. What the write-ahead log beside it holds is read too.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub async fn open_to_read(path: &Path) -> Result<Self, JournalError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .busy_timeout(BUSY)
            .disable_statement_logging();
        if !path.is_file() {
            return Err(JournalError::Absent(path.to_owned()));
        }
        let journal = Self::reading(path, options.clone());
        let failure = match journal.checked().await {
            Ok(()) => return Ok(journal),
            Err(failure) => failure,
        };
        // Where nothing can be written, SQLite finds no place for what readers of a write-ahead log tell
        // one another. Without such a log there is nothing to tell.
        if aside::write_ahead_log(path).exists() {
            return Err(failure);
        }
        let journal = Self::reading(path, options.immutable(true));
        journal.checked().await.map_err(|_| failure)?;
        Ok(journal)
    }

    fn reading(path: &Path, options: SqliteConnectOptions) -> Self {
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE)
            .connect_lazy_with(options.clone());
        Self { path: path.to_owned(), options, readers, writer: Mutex::default() }
    }

    /// Whether it is a journal that this program can read.
    async fn checked(&self) -> Result<(), JournalError> {
        let mut connection = self.options.connect().await.map_err(|e| self.failed(e))?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&mut connection)
            .await
            .map_err(|e| self.failed(e))?;
        if version > VERSION {
            return Err(JournalError::Later { path: self.path.clone(), version });
        }
        self.check_tables(&mut connection).await?;
        connection.close().await.map_err(|e| self.failed(e))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends all connections, so that the write-ahead log is folded into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        if let Some(connection) = self.writer.lock().await.connection.take()
            && let Err(e) = connection.close().await
        {
            tracing::warn!(error = %e, "the journal did not close well");
        }
    }

    /// Writes one tick.
    ///
    /// # Errors
    /// When the database fails. Nothing of the entry is written then.
    pub async fn write(&self, entry: Entry<'_>) -> Result<(), JournalError> {
        let mut writer = self.writer.lock().await;
        // Taken out first: whatever ends this write early, also the caller's deadline, leaves the
        // writer without a last observation, and the next entry begins a new stretch.
        let last = writer.last.take();
        let seen = serde_json::to_value(entry.observation)?;
        let (body, checkpoint, since) = match last {
            Some((last, since)) if !entry.fresh && since < CHECKPOINT_EVERY => {
                (delta::change(&last, &seen).to_string(), None, since + 1)
            }
            _ => (seen.to_string(), Some(serde_json::to_string(entry.state)?), 1),
        };
        let mut connection = self.take(&mut writer).await?;
        insert(&mut connection, &entry, body, checkpoint).await.map_err(|e| self.failed(e))?;
        *writer = Writer { connection: Some(connection), last: Some((seen, since)) };
        Ok(())
    }

    /// The plan published last, as signed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_plan(&self) -> Result<Option<SignedPlan>, JournalError> {
        let query = sqlx::query_scalar(include_str!("../../queries/plan_last.sql"));
        let signed: Option<String> =
            query.fetch_optional(&self.readers).await.map_err(|e| self.failed(e))?;
        Ok(signed.as_deref().map(serde_json::from_str).transpose()?)
    }

    /// Decisions as JSON, newest first; those of generations after `after` oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn decisions(
        &self,
        after: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Box<RawValue>>, JournalError> {
        let query = match after {
            None => sqlx::query_scalar(include_str!("../../queries/decisions_newest.sql")),
            Some(after) => sqlx::query_scalar(include_str!("../../queries/decisions_after.sql"))
                .bind(integer(after)),
        };
        let rows: Vec<String> =
            query.bind(limit).fetch_all(&self.readers).await.map_err(|e| self.failed(e))?;
        Ok(rows.into_iter().map(RawValue::from_string).collect::<Result<_, _>>()?)
    }

    /// The decision that published a generation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn decision_of(&self, generation: u64) -> Result<Option<Decision>, JournalError> {
        self.decision(include_str!("../../queries/decision_of_plan.sql"), generation).await
    }

    /// The last decision until a time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn decision_at(&self, at: UnixMillis) -> Result<Option<Decision>, JournalError> {
        self.decision(include_str!("../../queries/decision_at.sql"), at.0).await
    }

    async fn decision(
        &self,
        query: &'static str,
        key: u64,
    ) -> Result<Option<Decision>, JournalError> {
        let body: Option<String> = sqlx::query_scalar(query)
            .bind(integer(key))
            .fetch_optional(&self.readers)
            .await
            .map_err(|e| self.failed(e))?;
        Ok(body.as_deref().map(serde_json::from_str).transpose()?)
    }

    /// Operators' orders and changes of alarms that end after `now`: subject, end, JSON.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orders(
        &self,
        now: UnixMillis,
    ) -> Result<Vec<(String, UnixMillis, String)>, JournalError> {
        let query = sqlx::query_as(include_str!("../../queries/orders_live.sql"));
        let rows: Vec<(String, i64, String)> = query
            .bind(integer(now.0))
            .fetch_all(&self.readers)
            .await
            .map_err(|e| self.failed(e))?;
        let rows = rows.into_iter();
        Ok(rows.map(|(subject, until, body)| (subject, unsigned(until), body)).collect())
    }

    /// Keeps an order, or with `None` forgets it, and notes in the audit who did what.
    ///
    /// # Errors
    /// When the database fails. Neither is written then.
    pub async fn order(
        &self,
        subject: &str,
        order: Option<(UnixMillis, &str)>,
        audit: Audit<'_>,
    ) -> Result<(), JournalError> {
        let mut writer = self.writer.lock().await;
        let last = writer.last.take();
        let mut connection = self.take(&mut writer).await?;
        let written = async {
            let mut transaction = connection.begin().await?;
            match order {
                Some((until, body)) => {
                    sqlx::query(include_str!("../../queries/order_put.sql"))
                        .bind(subject)
                        .bind(integer(until.0))
                        .bind(body)
                        .execute(&mut *transaction)
                        .await?
                }
                None => {
                    sqlx::query(include_str!("../../queries/order_delete.sql"))
                        .bind(subject)
                        .execute(&mut *transaction)
                        .await?
                }
            };
            sqlx::query(include_str!("../../queries/audit_insert.sql"))
                .bind(integer(audit.at.0))
                .bind(audit.who)
                .bind(audit.what)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        };
        written.await.map_err(|e| self.failed(e))?;
        *writer = Writer { connection: Some(connection), last };
        Ok(())
    }

    /// Deletes a bounded number of rows written before `before`, and orders that ended before `now`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prune(&self, before: UnixMillis, now: UnixMillis) -> Result<(), JournalError> {
        let mut writer = self.writer.lock().await;
        let last = writer.last.take();
        let mut connection = self.take(&mut writer).await?;
        let aged = [
            include_str!("../../queries/prune_decisions.sql"),
            include_str!("../../queries/prune_plans.sql"),
            include_str!("../../queries/prune_observations.sql"),
        ];
        let pruned = async {
            for sql in aged {
                let query = sqlx::query(sql).bind(integer(before.0)).bind(PRUNE_ROWS);
                query.execute(&mut connection).await?;
            }
            let orders = sqlx::query(include_str!("../../queries/prune_orders.sql"));
            orders.bind(integer(now.0)).execute(&mut connection).await?;
            let audit = sqlx::query(include_str!("../../queries/prune_audit.sql"));
            audit.bind(AUDIT_ROWS).execute(&mut connection).await
        };
        pruned.await.map_err(|e| self.failed(e))?;
        *writer = Writer { connection: Some(connection), last };
        Ok(())
    }

    /// Takes the connection out of the writer. A write that fails or is cut short does not put it
    /// back, so the next one starts from a clean one.
    async fn take(&self, writer: &mut Writer) -> Result<SqliteConnection, JournalError> {
        self.connection(writer).await?;
        writer.connection.take().ok_or_else(|| self.failed(sqlx::Error::WorkerCrashed))
    }

    /// Connects, if need be, and makes the tables.
    async fn connection(&self, writer: &mut Writer) -> Result<(), JournalError> {
        if writer.connection.is_some() {
            return Ok(());
        }
        let mut connection = self.options.connect().await.map_err(|e| self.failed(e))?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&mut connection)
            .await
            .map_err(|e| self.failed(e))?;
        if version > VERSION {
            return Err(JournalError::Later { path: self.path.clone(), version });
        }
        if version < VERSION {
            let mut transaction = connection.begin().await.map_err(|e| self.failed(e))?;
            sqlx::raw_sql(include_str!("../../queries/schema.sql"))
                .execute(&mut *transaction)
                .await
                .map_err(|e| self.misfit(e))?;
            transaction.commit().await.map_err(|e| self.failed(e))?;
        }
        self.check_tables(&mut connection).await?;
        writer.connection = Some(connection);
        Ok(())
    }

    async fn check_tables(&self, connection: &mut SqliteConnection) -> Result<(), JournalError> {
        let check = sqlx::raw_sql(include_str!("../../queries/schema_check.sql"));
        check.execute(connection).await.map_err(|e| self.misfit(e))?;
        Ok(())
    }

    fn failed(&self, error: sqlx::Error) -> JournalError {
        const SQLITE_CORRUPT: i32 = 11;
        const SQLITE_NOTADB: i32 = 26;
        if primary_code(&error).is_some_and(|code| [SQLITE_CORRUPT, SQLITE_NOTADB].contains(&code))
        {
            JournalError::Damaged(self.path.clone(), error)
        } else {
            JournalError::Database(self.path.clone(), error)
        }
    }

    /// Like [`Self::failed`], where the statement itself is good, so that the tables must be wrong.
    fn misfit(&self, error: sqlx::Error) -> JournalError {
        const SQLITE_ERROR: i32 = 1;
        if primary_code(&error) == Some(SQLITE_ERROR) {
            JournalError::Damaged(self.path.clone(), error)
        } else {
            self.failed(error)
        }
    }
}

/// The low byte of an extended result code is the primary one.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    match error {
        sqlx::Error::Database(e) => e.code()?.parse::<i32>().ok().map(|code| code & 0xff),
        _ => None,
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    entry: &Entry<'_>,
    body: String,
    checkpoint: Option<String>,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let id = sqlx::query(include_str!("../../queries/observation_insert.sql"))
        .bind(integer(entry.at.0))
        .bind(body)
        .bind(checkpoint)
        .execute(&mut *transaction)
        .await?
        .last_insert_rowid();
    sqlx::query(include_str!("../../queries/decision_insert.sql"))
        .bind(id)
        .bind(integer(entry.decision.generation))
        .bind(integer(entry.at.0))
        .bind(entry.decision.published)
        .bind(encode(entry.decision)?)
        .execute(&mut *transaction)
        .await?;
    if let Some(signed) = entry.plan {
        sqlx::query(include_str!("../../queries/plan_insert.sql"))
            .bind(integer(entry.decision.generation))
            .bind(integer(entry.at.0))
            .bind(id)
            .bind(encode(signed)?)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

/// Who gave or cleared an order.
#[derive(Debug, Clone, Copy)]
pub struct Audit<'a> {
    /// When.
    pub at: UnixMillis,
    /// Who and why, in their own words.
    pub who: &'a str,
    /// What was ordered.
    pub what: &'a str,
}

fn encode<T: serde::Serialize>(value: &T) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|e| sqlx::Error::Encode(Box::new(e)))
}

/// SQLite's integers are signed; no time or generation reaches the half of the range that is lost.
fn integer(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> UnixMillis {
    UnixMillis(u64::try_from(n).unwrap_or(0))
}
