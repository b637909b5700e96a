//! `GET /v1/plan`: the signed plan, at once or by long poll.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use super::{Api, ApiError, query};

/// Longest wait; a longer one that is asked for is cut to it.
const WAIT_MAX: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
pub(super) struct PlanQuery {
    after: Option<u64>,
    wait: Option<String>,
}

/// Answers when a plan newer than `after` (or than `If-None-Match`) is in force, and 304 when none
/// came within `wait` or the agent ends.
pub(super) async fn plan(
    State(api): State<Api>,
    headers: HeaderMap,
    asked: Result<Query<PlanQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let asked = query(asked)?;
    let wait = asked.wait.as_deref().map_or(Ok(Duration::ZERO), parse_wait)?;
    let after = asked.after.or_else(|| if_none_match(&headers));
    let newer = async {
        // The receiver is made before the view is looked at, so no plan slips in between unseen.
        let mut plans = api.shared.plans.clone();
        while after.is_some_and(|after| api.shared.view.load().plan.generation <= after) {
            plans.changed().await;
        }
    };
    tokio::select! {
        biased;
        () = newer => Ok(current(&api)),
        () = tokio::time::sleep(wait.min(WAIT_MAX)) => Ok(unchanged(&api)),
        () = api.shutdown.cancelled() => Ok(unchanged(&api)),
    }
}

fn etag(api: &Api) -> String {
    format!("\"{}\"", api.shared.view.load().plan.generation)
}

fn current(api: &Api) -> Response {
    let view = api.shared.view.load_full();
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::ETAG, format!("\"{}\"", view.plan.generation)),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    (headers, view.signed.clone()).into_response()
}

fn unchanged(api: &Api) -> Response {
    (StatusCode::NOT_MODIFIED, [(header::ETAG, etag(api))]).into_response()
}

/// The generation of an `If-None-Match` that is one of our tags.
fn if_none_match(headers: &HeaderMap) -> Option<u64> {
    let tag = headers.get(header::IF_NONE_MATCH)?.to_str().ok()?.trim();
    tag.trim_start_matches("W/").trim_matches('"').parse().ok()
}

/// A duration: `30s` or `500ms`.
fn parse_wait(text: &str) -> Result<Duration, ApiError> {
    let number = |digits: &str| digits.parse::<u64>().ok();
    let wait = match text.strip_suffix("ms") {
        Some(millis) => number(millis).map(Duration::from_millis),
        None => text.strip_suffix('s').and_then(number).map(Duration::from_secs),
    };
    wait.ok_or_else(|| {
        ApiError::BadRequest(format!("`wait` is `{text}`: write seconds, for example `30s`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_have_a_unit() {
        assert_eq!(parse_wait("30s").unwrap(), Duration::from_secs(30));
        assert_eq!(parse_wait("0s").unwrap(), Duration::ZERO);
        assert_eq!(parse_wait("250ms").unwrap(), Duration::from_millis(250));
        for bad in ["", "30", "s", "-1s", "1.5s", "30 s", "30m"] {
            assert!(parse_wait(bad).is_err(), "{bad}");
        }
    }
}
