//! Notices to everybody.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use http::header;
use serde::Serialize;
use spillway_model::UnixMillis;
use spillway_store::{Age, StoreError};

use crate::api::ApiError;
use crate::app::AppState;
use crate::knobs::{Knob, not_essential};

/// How old notices may be usually, and while they are cached for longer.
const FRESH: Duration = Duration::from_secs(5);
const CACHED: Duration = Duration::from_secs(600);

/// Notices live on the shard of this key.
const SHARD_KEY: &str = "notices";

pub(crate) fn routes(app: &AppState) -> Router<AppState> {
    Router::new()
        .route("/v1/notices", get(notices))
        .route_layer(middleware::from_fn_with_state(app.clone(), not_essential))
}

#[derive(Serialize)]
struct Notices {
    notices: Vec<Notice>,
    as_of: String,
}

#[derive(Serialize)]
struct Notice {
    id: i64,
    title: String,
    body: String,
    published_at: String,
}

async fn notices(State(app): State<AppState>) -> Result<Response, ApiError> {
    let cached_longer = app.knobs().has(Knob::NoticesCached);
    let now = app.now();
    let age = Age { now, max: if cached_longer { CACHED } else { FRESH }, keep: CACHED };
    let cached = app.cache().get_or_load("one-code:notices", age, || load(&app, now)).await?;
    let answer = ([(header::CONTENT_TYPE, "application/json")], cached.bytes);
    Ok(if cached_longer { Knob::NoticesCached.mark(answer) } else { answer.into_response() })
}

async fn load(app: &AppState, now: UnixMillis) -> Result<bytes::Bytes, StoreError> {
    let shard = app.database().await?.shard(SHARD_KEY);
    let ask = |pool| async move {
        sqlx::query_as(include_str!("../sql/notices.sql")).fetch_all(&pool).await
    };
    let rows: Vec<(i64, String, String, i64)> = shard.read(ask).await?;
    let notices = rows
        .into_iter()
        .map(|(id, title, body, at)| Notice {
            id,
            title,
            body,
            published_at: UnixMillis(u64::try_from(at).unwrap_or(0)).to_string(),
        })
        .collect();
    let notices = Notices { notices, as_of: now.to_string() };
    Ok(serde_json::to_vec(&notices).unwrap_or_default().into())
}
