//! Counting requests by the routes of the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, Method};
use http_body::Body as _;
use spillway_model::RouteId;
use spillway_model::config::Route;
use spillway_model::load::RouteLoad;
use spillway_part::clock;
use spillway_part::counters::{RouteCounters, add};

use crate::knobs::KNOB_HEADER;

/// The counters of all routes.
#[derive(Debug)]
pub(crate) struct Meter(Vec<Metered>);

#[derive(Debug)]
struct Metered {
    id: RouteId,
    method: Option<String>,
    path: String,
    counters: RouteCounters,
}

impl Meter {
    pub(crate) fn new(routes: &[Route]) -> Self {
        let metered = |route: &Route| Metered {
            id: route.id.clone(),
            method: route.method.clone(),
            path: route.path.clone(),
            counters: RouteCounters::default(),
        };
        Self(routes.iter().map(metered).collect())
    }

    pub(crate) fn read(&self) -> BTreeMap<RouteId, RouteLoad> {
        self.0.iter().map(|route| (route.id.clone(), route.counters.read())).collect()
    }

    /// The counters of the route that a handler's pattern is; there may be none.
    fn of(&self, method: &Method, pattern: &str) -> Option<&RouteCounters> {
        let found = self.0.iter().find(|route| {
            route.method.as_deref().is_none_or(|m| m.eq_ignore_ascii_case(method.as_str()))
                && same_pattern(&route.path, pattern)
        });
        found.map(|route| &route.counters)
    }
}

/// Whether two patterns match the same paths: what parameters are called does not matter.
fn same_pattern(a: &str, b: &str) -> bool {
    let kind = |segment: &str| match (segment.starts_with("{*"), segment.starts_with('{')) {
        (true, _) => 2,
        (_, true) => 1,
        _ => 0,
    };
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if kind(a) == kind(b) && (kind(a) > 0 || a == b) => {}
            _ => return false,
        }
    }
}

/// Counts a request and its answer.
pub(crate) async fn count(
    State(meter): State<Arc<Meter>>,
    matched: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let pattern = matched.as_ref().map_or("", MatchedPath::as_str);
    let Some(counters) = meter.of(request.method(), pattern) else {
        return next.run(request).await;
    };
    add(&counters.arrivals, 1);
    let began = clock::instant();
    let answer = next.run(request).await;
    let bytes = head_bytes(answer.headers()) + answer.body().size_hint().lower();
    add(&counters.response_bytes, bytes);
    if !answer.status().is_server_error() {
        add(&counters.served, 1);
        add(&counters.served_bytes, bytes);
        counters.observe(clock::instant().saturating_duration_since(began));
    } else if answer.headers().contains_key(KNOB_HEADER) {
        add(&counters.shed, 1);
    } else {
        add(&counters.failed, 1);
    }
    answer
}

/// Bytes of an answer's head: fields with their separators, and what the server adds: the status
/// line, the date and the length.
fn head_bytes(headers: &HeaderMap) -> u64 {
    const ADDED: usize = 80;
    let fields: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    (ADDED + fields) as u64
}

#[cfg(test)]
mod tests {
    use super::same_pattern;

    #[test]
    fn names_of_parameters_do_not_matter() {
        assert!(same_pattern("/v1/users/{user}/qr", "/v1/users/{id}/qr"));
        assert!(same_pattern("/files/{*rest}", "/files/{*path}"));
        assert!(!same_pattern("/v1/users/{user}/qr", "/v1/users/{user}/code"));
        assert!(!same_pattern("/v1/users", "/v1/users/{user}"));
        assert!(!same_pattern("/v1/{user}", "/v1/{*user}"));
    }
}
