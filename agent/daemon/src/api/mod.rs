//! The HTTP API, as `spillway_model::api` documents it, with OFREP and the admin routes of any part.

mod metrics;
mod orders;
mod plan;
mod read;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use http::{StatusCode, header};
use spillway_model::api::ErrorBody;
use spillway_model::load::Part;
use spillway_part::admin::Identity;
use spillway_part::{Admin, Shutdown, clock};

use crate::agent::Shared;
use crate::journal::JournalError;
use crate::orders::NotTaken;
use crate::reader::chain;

/// Largest body taken.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Time for a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What every handler works on.
#[derive(Clone)]
struct Api {
    shared: Arc<Shared>,
    shutdown: Shutdown,
}

/// All routes.
pub(crate) fn router(shared: &Arc<Shared>, shutdown: &Shutdown) -> Router {
    let api = Api { shared: shared.clone(), shutdown: shutdown.clone() };
    let own = Router::new()
        .route("/v1/plan", get(plan::plan))
        .route("/v1/status", get(read::status))
        .route("/v1/explain", get(read::explain))
        .route("/v1/decisions", get(read::decisions))
        .route("/v1/decisions/{which}", get(read::decision))
        .route("/v1/knobs", get(read::knobs))
        .route("/v1/tier", put(orders::put_tier).delete(orders::delete_tier))
        .route("/v1/knobs/{id}", put(orders::put_knob).delete(orders::delete_knob))
        .route("/v1/shares/{site}", put(orders::put_share).delete(orders::delete_share))
        .route("/v1/gateways", put(orders::put_gateways).delete(orders::delete_gateways))
        .route("/v1/mode", put(orders::put_mode).delete(orders::delete_mode))
        .route("/v1/events", get(read::events))
        .route("/v1/events/{name}", put(orders::put_event).delete(orders::delete_event))
        .route("/v1/alarms", post(orders::post_alarm))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api);
    let source = shared.clone();
    let flags = spillway_flags::router(shared.registry.clone(), move || {
        (source.view.load().in_force.clone(), clock::now())
    });
    let identity = Identity::new(Part::Agent, "agent", None);
    let measured = shared.clone();
    Admin::new(identity, shared.plans.clone(), |_| {})
        .with_metrics(move || {
            let now = clock::now();
            metrics::render(&measured.view.load(), &read::knobs_now(&measured, now), now)
        })
        .with(own)
        .with(flags)
        .router(shutdown)
        .fallback(async || ApiError::NoSuchPath)
        .method_not_allowed_fallback(async || ApiError::Method)
}

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error("{0}")]
    BadRequest(String),
    #[error(
        "changing something needs the operator's token: send `Authorization: Bearer TOKEN` with the content of operator.token in the state folder"
    )]
    Unauthorized,
    #[error("there is no knob `{id}`; there are {known}")]
    NoSuchKnob { id: String, known: String },
    #[error("there is no site `{site}`; there are {known}")]
    NoSuchSite { site: String, known: String },
    #[error("no decision `{0}` is in the journal: it is too old, or there was none")]
    NoSuchDecision(String),
    #[error("there is no such path; `GET /v1/status` is a good start")]
    NoSuchPath,
    #[error("this path does not take this method")]
    Method,
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error("the body is larger than {BODY_BYTES_MAX} bytes, or came too slowly")]
    Body,
    #[error("the agent is ending")]
    Ending,
    #[error("the journal cannot be read now")]
    Journal(#[from] JournalError),
    #[error("the answer cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotTaken(NotTaken::TooManyAlarms) => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadRequest(_) | Self::NotTaken(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NoSuchKnob { .. }
            | Self::NoSuchSite { .. }
            | Self::NoSuchDecision(_)
            | Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Body => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Ending | Self::Journal(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Json(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status().is_server_error() {
            tracing::warn!(reason = chain(&self), "a call to the API failed");
        }
        let mut response =
            (self.status(), Json(ErrorBody { error: self.to_string() })).into_response();
        if matches!(self, Self::Unauthorized) {
            let scheme = http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// The query, or what is wrong with it.
fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query.map(|Query(query)| query).map_err(|rejection| ApiError::BadRequest(rejection.body_text()))
}

/// The body, whole.
async fn body(body: Body) -> Result<Bytes, ApiError> {
    let whole = axum::body::to_bytes(body, BODY_BYTES_MAX);
    match tokio::time::timeout(BODY_TIMEOUT, whole).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) | Err(_) => Err(ApiError::Body),
    }
}
