//! Recording a scan at a venue, and a user's history of them.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use bytes::Bytes;
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use spillway_model::UnixMillis;
use spillway_store::{Shard, StoreError};

use crate::api::{ApiError, Body, Example, Segment, user_id, venue_id};
use crate::app::AppState;
use crate::knobs::{Knob, not_essential};

/// How long a history is asked of its shard after a scan: a replica may not have it yet.
const REPLICATED: Duration = Duration::from_secs(10);

/// Scans in a history when no limit is asked for, and the highest limit.
const LIMIT: (u32, u32) = (20, 100);

pub(crate) fn routes(app: &AppState) -> Router<AppState> {
    let shed = middleware::from_fn_with_state(app.clone(), not_essential);
    Router::new()
        .route("/v1/users/{user}/scans", get(history))
        .route_layer(shed)
        .route("/v1/scans", post(scan))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScanWish {
    user: Option<String>,
    token: Option<String>,
    venue: String,
}

impl Example for ScanWish {
    const EXAMPLE: &'static str =
        r#"{"user": "u000001", "venue": "v001"}, or "token" instead of "user""#;
}

#[derive(Serialize)]
struct Scanned {
    user: String,
    venue: String,
    at: String,
}

async fn scan(
    State(app): State<AppState>,
    Body(wish): Body<ScanWish>,
) -> Result<impl IntoResponse, ApiError> {
    let now = app.now();
    let venue = venue_id(&wish.venue)?;
    let user = match (&wish.user, &wish.token) {
        (Some(user), None) => user_id(user)?,
        (None, Some(token)) => {
            app.secret().user_of_token(token, now.0 / 1000).ok_or_else(|| {
                let message = "this token is not ours or has expired; scan the code again";
                ApiError::Bad(message.to_owned())
            })?
        }
        _ => {
            return Err(ApiError::Bad(format!(
                "send either `user` or `token`, for example {}",
                ScanWish::EXAMPLE
            )));
        }
    };
    // Two scans of a user in the same millisecond are told apart by this.
    let random = getrandom::u64().map_err(|_| ApiError::Internal("no random bytes"))?;
    let shard = app.database().await?.shard(user);
    let write = sqlx::query(include_str!("../sql/scan.sql"))
        .bind(i64::try_from(random >> 1).unwrap_or(0))
        .bind(user)
        .bind(venue)
        .bind(i64::try_from(now.0).unwrap_or(i64::MAX))
        .execute(shard.pool());
    let (written, ()) = tokio::join!(write, mark(&app, shard, user));
    let written = written.map_err(|e| shard.error(e))?;
    if written.rows_affected() == 0 {
        return Err(ApiError::unknown_user(user));
    }
    let scanned = Scanned { user: user.to_owned(), venue: venue.to_owned(), at: now.to_string() };
    Ok((StatusCode::CREATED, Json(scanned)))
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<u32>,
}

#[derive(Serialize)]
struct History {
    user: String,
    scans: Vec<PastScan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<&'static str>,
}

#[derive(Serialize)]
struct PastScan {
    venue: String,
    at: String,
}

async fn history(
    State(app): State<AppState>,
    Segment(user): Segment,
    limit: Result<Query<Limit>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (usual, most) = LIMIT;
    let limit = limit.ok().map(|Query(Limit { limit })| limit.unwrap_or(usual));
    let limit = limit.filter(|limit| (1..=most).contains(limit)).ok_or_else(|| {
        ApiError::Bad(format!("`limit` must be a number from 1 to {most}, as in ?limit={usual}"))
    })?;
    let user = user_id(&user)?.to_owned();
    if app.knobs().has(Knob::HistoryHidden) {
        let notice = "Past scans are not shown at the moment because very many people use the \
                      service. None is lost; they will be back soon.";
        let hidden = History { user, scans: Vec::new(), notice: Some(notice) };
        return Ok(Knob::HistoryHidden.mark(Json(hidden)));
    }
    let shard = app.database().await?.shard(&user);
    let rows = past(&app, shard, &user, i64::from(limit)).await?;
    if rows.is_empty() && !known(shard, &user).await? {
        return Err(ApiError::unknown_user(&user));
    }
    let scans = rows
        .into_iter()
        .map(|(venue, at)| PastScan {
            venue,
            at: UnixMillis(u64::try_from(at).unwrap_or(0)).to_string(),
        })
        .collect();
    let history = History { user, scans, notice: None };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(history)).into_response())
}

/// Remembers, for whoever shares the cache, that a user has scanned just now.
async fn mark(app: &AppState, shard: &Shard, user: &str) {
    if shard.has_replica() {
        app.cache().set(&mark_of(user), Bytes::from_static(b"1"), REPLICATED).await;
    }
}

fn mark_of(user: &str) -> String {
    format!("one-code:scanned:{user}")
}

/// A user's scans, newest first. Who has scanned just now sees it: a replica is asked for the history of
/// others alone, not while nobody can say who has scanned, and not believed when it knows of none.
async fn past(
    app: &AppState,
    shard: &Shard,
    user: &str,
    limit: i64,
) -> Result<Vec<(String, i64)>, StoreError> {
    let ask = |pool| async move {
        let history = sqlx::query_as(include_str!("../sql/history.sql"));
        history.bind(user).bind(limit).fetch_all(&pool).await
    };
    if shard.has_replica() && app.cache().has(&mark_of(user)).await == Some(false) {
        let rows: Vec<_> = shard.read(ask).await?;
        if !rows.is_empty() {
            return Ok(rows);
        }
    }
    ask(shard.pool().clone()).await.map_err(|e| shard.error(e))
}

async fn known(shard: &Shard, user: &str) -> Result<bool, ApiError> {
    let found = sqlx::query(include_str!("../sql/user.sql"))
        .bind(user)
        .fetch_optional(shard.pool())
        .await
        .map_err(|e| shard.error(e))?;
    Ok(found.is_some())
}
