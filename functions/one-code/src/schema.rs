//! The tables, and a population of demo users.

use spillway_model::UnixMillis;
use spillway_store::{Database, Migration, Shard, StoreError};
use sqlx::AssertSqlSafe;

/// What brings a database up to date. Only ever append.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { name: "one-code 1 schema", sql: include_str!("../sql/schema.sql") },
    Migration { name: "one-code 2 first notices", sql: include_str!("../sql/first_notices.sql") },
];

/// Most demo users.
pub const SEED_MAX: u32 = 100_000;

/// Users of one statement.
const CHUNK: usize = 500;

/// Whether any user was registered before `at`.
///
/// # Errors
/// When a shard cannot be reached.
pub(crate) async fn has_user_before(
    database: &Database,
    at: UnixMillis,
) -> Result<bool, StoreError> {
    for shard in database.shards() {
        let user = sqlx::query(include_str!("../sql/user_before.sql"))
            .bind(i64::try_from(at.0).unwrap_or(i64::MAX))
            .fetch_optional(shard.pool())
            .await
            .map_err(|e| shard.error(e))?;
        if user.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Fills shards without a user with the demo users `u000001` to `count` (at most [`SEED_MAX`]) that
/// live there, each with twenty past scans at the venues `v001` to `v100`. Any number of processes
/// may do so at once; one does. Returns how many users were made.
///
/// # Errors
/// When a shard cannot be reached; it is left empty then.
pub async fn seed(database: &Database, count: u32, now: UnixMillis) -> Result<usize, StoreError> {
    let mut made = 0;
    for shard in database.shards() {
        let users: Vec<(u32, String)> = (1..=count.min(SEED_MAX))
            .map(|i| (i, format!("u{i:06}")))
            .filter(|(_, id)| database.shard(id).index() == shard.index())
            .collect();
        made += seed_shard(shard, &users, now).await?;
    }
    Ok(made)
}

async fn seed_shard(
    shard: &Shard,
    users: &[(u32, String)],
    now: UnixMillis,
) -> Result<usize, StoreError> {
    let error = |e| shard.error(e);
    let any_user = || sqlx::query(include_str!("../sql/any_user.sql"));
    // Looked at without the lock first: usually the demo users are there.
    if users.is_empty() || any_user().fetch_optional(shard.pool()).await.map_err(error)?.is_some() {
        return Ok(0);
    }
    let mut tx = shard.begin_exclusive().await?;
    if any_user().fetch_optional(&mut *tx).await.map_err(error)?.is_some() {
        return Ok(0);
    }
    for chunk in users.chunks(CHUNK) {
        let rows: Vec<String> = chunk
            .iter()
            .map(|(i, id)| format!("('{id}', 'Demo user {i}', '{}', {})", color(*i), now.0))
            .collect();
        // Every value comes from the lines above, so nothing can be smuggled in.
        let insert =
            format!("INSERT INTO users (id, name, color, created_at) VALUES {}", rows.join(", "));
        sqlx::raw_sql(AssertSqlSafe(insert)).execute(&mut *tx).await.map_err(error)?;
    }
    sqlx::query(include_str!("../sql/seed_scans.sql"))
        .bind(i64::try_from(now.0).unwrap_or(i64::MAX))
        .execute(&mut *tx)
        .await
        .map_err(error)?;
    tx.commit().await.map_err(error)?;
    Ok(users.len())
}

/// Mostly green, as in life.
fn color(i: u32) -> &'static str {
    match i % 200 {
        67 => "red",
        13 | 113 | 163 => "yellow",
        _ => "green",
    }
}
