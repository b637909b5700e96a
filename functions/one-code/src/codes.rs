//! Registering, and showing a code as data or as a picture.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use spillway_model::UnixMillis;

use crate::api::{ApiError, Body, Example, Segment, user_id};
use crate::app::AppState;
use crate::knobs::{Knob, not_essential};
use crate::qr;
use crate::secret::Color;

/// A token is renewed every minute, so that the codes of a minute are the same,
const RENEWED_SECS: u64 = 60;
/// and good for at least four more.
const GOOD_SECS: u64 = 5 * RENEWED_SECS;

pub(crate) fn routes(app: &AppState) -> Router<AppState> {
    let shed = middleware::from_fn_with_state(app.clone(), not_essential);
    Router::new()
        .route("/v1/users", post(register))
        .route_layer(shed)
        .route("/v1/users/{user}/code", get(code))
        .route("/v1/users/{user}/qr", get(picture))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    name: String,
    id_number: String,
}

impl Example for Registration {
    const EXAMPLE: &'static str = r#"{"name": "Ada Lovelace", "id_number": "X1234567"}"#;
}

#[derive(Serialize)]
struct Code {
    user: String,
    color: &'static str,
    token: String,
    issued_at: String,
    expires_at: String,
}

#[derive(Serialize)]
struct Registered {
    user: String,
    code: Code,
}

/// Registering the same document again finds the same user, so that a request may be repeated.
async fn register(
    State(app): State<AppState>,
    Body(wish): Body<Registration>,
) -> Result<Response, ApiError> {
    let name = checked_name(&wish.name)?;
    let user = app.secret().user(&checked_number(&wish.id_number)?);
    let now = app.now();
    let shard = app.database().await?.shard(&user);
    let written = sqlx::query(include_str!("../sql/register.sql"))
        .bind(&user)
        .bind(name)
        .bind(Color::Green.name())
        .bind(i64::try_from(now.0).unwrap_or(i64::MAX))
        .execute(shard.pool())
        .await
        .map_err(|e| shard.error(e))?;
    let (status, color) = if written.rows_affected() == 1 {
        (StatusCode::CREATED, Color::Green)
    } else {
        let (known_as, color) = look_up(&app, &user).await?;
        if known_as != name {
            let message =
                "this document is registered under another name; write the name as it was then";
            return Err(ApiError::Conflict(message.to_owned()));
        }
        (StatusCode::OK, color)
    };
    let code = make_code(&app, &user, color, now);
    Ok((status, Json(Registered { user, code })).into_response())
}

fn checked_name(name: &str) -> Result<&str, ApiError> {
    let name = name.trim();
    if (1..=100).contains(&name.chars().count()) && !name.chars().any(char::is_control) {
        Ok(name)
    } else {
        Err(ApiError::Bad("`name` must have 1 to 100 characters and stand on one line".to_owned()))
    }
}

/// A document's number as it is compared: without blanks, in capitals.
fn checked_number(number: &str) -> Result<String, ApiError> {
    let number: String =
        number.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_uppercase()).collect();
    if (4..=32).contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    {
        Ok(number)
    } else {
        Err(ApiError::Bad(
            "`id_number` must be 4 to 32 letters, digits and hyphens, as on the document"
                .to_owned(),
        ))
    }
}

async fn code(State(app): State<AppState>, Segment(user): Segment) -> Result<Response, ApiError> {
    let code = current_code(&app, &user).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(code)).into_response())
}

async fn picture(
    State(app): State<AppState>,
    Segment(user): Segment,
) -> Result<Response, ApiError> {
    let code = current_code(&app, &user).await?;
    let no_store = (header::CACHE_CONTROL, "no-store");
    if let Some(knob) = app.knobs().harshest([Knob::QrText, Knob::EssentialOnly]) {
        return Ok(knob.mark(([no_store], Json(code))));
    }
    let svg = qr::svg(&code.token).ok_or(ApiError::Internal("a token does not fit a QR code"))?;
    Ok(([no_store, (header::CONTENT_TYPE, "image/svg+xml")], svg).into_response())
}

async fn current_code(app: &AppState, user: &str) -> Result<Code, ApiError> {
    let user = user_id(user)?;
    let (_, color) = look_up(app, user).await?;
    Ok(make_code(app, user, color, app.now()))
}

async fn look_up(app: &AppState, user: &str) -> Result<(String, Color), ApiError> {
    let shard = app.database().await?.shard(user);
    let found: Option<(String, String)> = sqlx::query_as(include_str!("../sql/user.sql"))
        .bind(user)
        .fetch_optional(shard.pool())
        .await
        .map_err(|e| shard.error(e))?;
    let (name, color) = found.ok_or_else(|| ApiError::unknown_user(user))?;
    let color = Color::of(&color).ok_or(ApiError::Internal("a user has a colour that is none"))?;
    Ok((name, color))
}

fn make_code(app: &AppState, user: &str, color: Color, now: UnixMillis) -> Code {
    let issued = now.0 / 1000 / RENEWED_SECS * RENEWED_SECS;
    let expires = issued + GOOD_SECS;
    Code {
        user: user.to_owned(),
        color: color.name(),
        token: app.secret().token(user, color, expires),
        issued_at: UnixMillis(issued * 1000).to_string(),
        expires_at: UnixMillis(expires * 1000).to_string(),
    }
}
