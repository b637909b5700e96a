//! How requests come in and answers go out: the router of a set of groups, extractors, errors.

use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;
use spillway_model::api::ErrorBody;
use spillway_store::{LoadError, StoreError};

use crate::app::AppState;
use crate::{codes, notices, scans, venues};

/// The route groups there are.
pub const GROUPS: [&str; 4] = ["codes", "scans", "venues", "notices"];

/// Says who served an answer.
const SERVED_BY: HeaderName = HeaderName::from_static("x-spillway-served-by");

/// Largest request body taken, in bytes; what is sent here is a few names and numbers.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// A group that this service does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no route group `{0}`; there are codes, scans, venues and notices")]
pub struct UnknownGroup(String);

/// The service with the routes of some groups: all of them for a monolith, one for a microservice.
///
/// # Errors
/// When a group is unknown.
pub fn router(groups: &[String], app: &AppState) -> Result<Router, UnknownGroup> {
    let mut router = Router::new();
    for (i, group) in groups.iter().enumerate() {
        if groups[..i].contains(group) {
            continue;
        }
        router = router.merge(match group.as_str() {
            "codes" => codes::routes(app),
            "scans" => scans::routes(app),
            "venues" => venues::routes(app),
            "notices" => notices::routes(app),
            _ => return Err(UnknownGroup(group.clone())),
        });
    }
    let router = router
        .route("/healthz", get(healthz))
        .fallback(|| async {
            ApiError::NotFound("there is nothing here; see the table of routes".to_owned())
        })
        .method_not_allowed_fallback(|| async {
            let body = error_body("this route takes another method; the `allow` header names it");
            (StatusCode::METHOD_NOT_ALLOWED, body)
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app.clone());
    Ok(match app.served_by() {
        None => router,
        Some(who) => {
            router.layer(middleware::map_response(move |mut answer: Response| async move {
                answer.headers_mut().insert(SERVED_BY, HeaderValue::from_static(who));
                answer
            }))
        }
    })
}

/// Only whether this process takes requests. A database that is away is away for all instances; to
/// take them all out of service for it would turn explained errors into refused connections.
async fn healthz(State(app): State<AppState>) -> (StatusCode, &'static str) {
    if app.draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    Bad(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("the body is larger than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the data cannot be reached")]
    Store(#[from] StoreError),
    #[error("the data cannot be loaded")]
    Load(#[from] LoadError<StoreError>),
    #[error("{0}")]
    Internal(&'static str),
}

impl ApiError {
    pub(crate) fn unknown_user(user: &str) -> Self {
        Self::NotFound(format!("there is no user {user}; register with POST /v1/users"))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Store(_) | Self::Load(_) | Self::Internal(_) => {
                // What is wrong inside is for the log; the client is told what to do.
                tracing::warn!(error = &self as &dyn std::error::Error, "a request failed");
                let body = error_body("the service cannot reach its data; try again in a moment");
                let retry = [(header::RETRY_AFTER, HeaderValue::from_static("2"))];
                return (StatusCode::SERVICE_UNAVAILABLE, retry, body).into_response();
            }
        };
        (status, error_body(&self.to_string())).into_response()
    }
}

pub(crate) fn error_body(message: &str) -> Json<ErrorBody> {
    Json(ErrorBody { error: message.to_owned() })
}

/// What a body must look like, for the error that says so.
pub(crate) trait Example {
    const EXAMPLE: &'static str;
}

/// A JSON body, whatever the content type says.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Example> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|e| {
            if e.status() == StatusCode::PAYLOAD_TOO_LARGE {
                ApiError::TooLarge
            } else {
                ApiError::Bad("the body broke off; send it again".to_owned())
            }
        })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|e| {
            ApiError::Bad(format!("the body cannot be used: {e}; send for example {}", T::EXAMPLE))
        })
    }
}

/// The one parameter of a path.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(_) => Err(ApiError::Bad("the path is not UTF-8".to_owned())),
        }
    }
}

/// Checks a user number: `u` and 1 to 31 of `0-9 a-z`.
pub(crate) fn user_id(text: &str) -> Result<&str, ApiError> {
    let rest = text.strip_prefix('u').unwrap_or_default();
    if (1..=31).contains(&rest.len())
        && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    {
        Ok(text)
    } else {
        let shown: String = text.chars().take(40).collect();
        Err(ApiError::Bad(format!(
            "`{shown}` is not a user number; one looks like u000001 and comes from POST /v1/users"
        )))
    }
}

/// Checks a venue: `v` and 1 to 31 of `0-9 a-z -`.
pub(crate) fn venue_id(text: &str) -> Result<&str, ApiError> {
    let rest = text.strip_prefix('v').unwrap_or_default();
    if (1..=31).contains(&rest.len())
        && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        Ok(text)
    } else {
        let shown: String = text.chars().take(40).collect();
        Err(ApiError::Bad(format!(
            "`{shown}` is not a venue; one looks like v001 and stands on its poster"
        )))
    }
}
