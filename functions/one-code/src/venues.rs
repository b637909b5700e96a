//! What happened at a venue, over all shards.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use futures_util::future::try_join_all;
use http::header;
use serde::Serialize;
use spillway_model::UnixMillis;
use spillway_store::{Age, Database, StoreError};

use crate::api::{ApiError, Segment, venue_id};
use crate::app::AppState;
use crate::knobs::{Knob, not_essential};

/// How old statistics may be usually, and while they are frozen.
const FRESH: Duration = Duration::from_secs(2);
const FROZEN: Duration = Duration::from_secs(600);

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

pub(crate) fn routes(app: &AppState) -> Router<AppState> {
    Router::new()
        .route("/v1/venues/{venue}/stats", get(stats))
        .route_layer(middleware::from_fn_with_state(app.clone(), not_essential))
}

#[derive(Serialize)]
struct Stats<'a> {
    venue: &'a str,
    last_hour: i64,
    last_day: i64,
    total: i64,
    as_of: String,
}

async fn stats(State(app): State<AppState>, Segment(venue): Segment) -> Result<Response, ApiError> {
    let venue = venue_id(&venue)?;
    let frozen = app.knobs().has(Knob::StatsFrozen);
    let now = app.now();
    let age = Age { now, max: if frozen { FROZEN } else { FRESH }, keep: FROZEN };
    let load = || async {
        let database = app.database().await?;
        let counts = count(database, venue, now).await?;
        let [total, last_hour, last_day] = counts;
        let stats = Stats { venue, last_hour, last_day, total, as_of: now.to_string() };
        Ok::<_, StoreError>(serde_json::to_vec(&stats).unwrap_or_default().into())
    };
    let cached = app.cache().get_or_load(&format!("one-code:stats:{venue}"), age, load).await?;
    let answer = ([(header::CONTENT_TYPE, "application/json")], cached.bytes);
    Ok(if frozen { Knob::StatsFrozen.mark(answer) } else { answer.into_response() })
}

/// Scans at a venue: all, in the last hour, in the last day.
async fn count(database: &Database, venue: &str, now: UnixMillis) -> Result<[i64; 3], StoreError> {
    let since = |span: u64| i64::try_from(now.0.saturating_sub(span)).unwrap_or(i64::MAX);
    let ask = |pool| async move {
        let stats = sqlx::query_as(include_str!("../sql/stats.sql"));
        let stats = stats.bind(venue).bind(since(HOUR_MS)).bind(since(DAY_MS));
        stats.fetch_one(&pool).await
    };
    let counts: Vec<(i64, i64, i64)> =
        try_join_all(database.shards().iter().map(|shard| shard.read(ask))).await?;
    Ok(counts.into_iter().fold([0; 3], |[a, b, c], (x, y, z)| [a + x, b + y, c + z]))
}
