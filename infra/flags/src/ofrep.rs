//! OFREP 0.3 over HTTP: single and bulk evaluation. Change events (SSE) are not served: clients poll
//! with `If-None-Match`.

use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use spillway_model::{Plan, UnixMillis};

use crate::registry::{Evaluation, Registry};

/// Largest request taken, in bytes. A context is a handful of attributes.
const BODY_BYTES_MAX: usize = 64 * 1024;

type Source = dyn Fn() -> (Arc<Plan>, UnixMillis) + Send + Sync;

#[derive(Clone)]
struct Flags {
    registry: Arc<Registry>,
    source: Arc<Source>,
}

/// The OFREP routes over a registry; `source` gives the plan in force and the time.
pub fn router(
    registry: Arc<Registry>,
    source: impl Fn() -> (Arc<Plan>, UnixMillis) + Send + Sync + 'static,
) -> Router {
    Router::new()
        .route("/ofrep/v1/evaluate/flags/{key}", post(single))
        .route("/ofrep/v1/evaluate/flags", post(bulk))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Flags { registry, source: Arc::new(source) })
}

async fn single(
    State(flags): State<Flags>,
    Path(key): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if let Err(refusal) = check(body) {
        return refusal.response(Some(key));
    }
    let (plan, now) = (flags.source)();
    match flags.registry.evaluate(&key, &plan, now) {
        Some(evaluation) => Json(evaluation).into_response(),
        None => Refusal {
            status: StatusCode::NOT_FOUND,
            code: "FLAG_NOT_FOUND",
            details: format!("there is no flag `{key}`"),
        }
        .response(Some(key)),
    }
}

#[derive(Serialize)]
struct Bulk {
    flags: Vec<Evaluation>,
}

async fn bulk(
    State(flags): State<Flags>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if let Err(refusal) = check(body) {
        return refusal.response(None);
    }
    let (plan, now) = (flags.source)();
    let bulk = Bulk { flags: flags.registry.evaluate_all(&plan, now) };
    let etag = etag(&bulk.flags);
    if not_modified(&headers, &etag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    ([(header::ETAG, etag)], Json(bulk)).into_response()
}

/// A weak validator of the values and of who set them. Lease ends and generations move with every
/// renewal of the plan and mean no change, hence weak (RFC 9110 §8.8.1).
fn etag(flags: &[Evaluation]) -> String {
    // The hash of another build may differ; that costs a client one whole answer.
    let mut hasher = std::hash::DefaultHasher::new();
    for flag in flags {
        (&flag.key, flag.value, &flag.metadata.tier, &flag.metadata.owner, &flag.metadata.by)
            .hash(&mut hasher);
    }
    format!("W/\"{:016x}\"", hasher.finish())
}

/// Whether `If-None-Match` holds the tag; compared weakly, as RFC 9110 §13.1.2 asks.
fn not_modified(headers: &HeaderMap, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").trim_matches('"').to_owned();
    let current = opaque(etag);
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || opaque(tag) == current)
}

/// No value depends on the context, so any object will do, and one that is left out is no error.
#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    context: Option<serde_json::Value>,
}

fn check(body: Result<Bytes, BytesRejection>) -> Result<(), Refusal> {
    let bad = |code, details| Err(Refusal { status: StatusCode::BAD_REQUEST, code, details });
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            let (status, details) = (rejection.status(), rejection.body_text());
            return Err(Refusal { status, code: "GENERAL", details });
        }
    };
    match serde_json::from_slice::<Request>(&body) {
        Ok(Request { context: None | Some(serde_json::Value::Object(_)) }) => Ok(()),
        Ok(_) => bad("INVALID_CONTEXT", "`context` must be an object".to_owned()),
        Err(e) => bad("PARSE_ERROR", format!("the request's body is not as OFREP says: {e}")),
    }
}

struct Refusal {
    status: StatusCode,
    code: &'static str,
    details: String,
}

/// The `evaluationFailure` of OFREP, or without a key its `bulkEvaluationFailure`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    error_code: &'static str,
    error_details: String,
}

impl Refusal {
    fn response(self, key: Option<String>) -> Response {
        let failure = Failure { key, error_code: self.code, error_details: self.details };
        (self.status, Json(failure)).into_response()
    }
}
