//! The gateways' own access log. `infra/gateway/src/access_log.rs` has the fields of a line.

use std::borrow::Cow;

use serde::Deserialize;
use spillway_model::UnixMillis;

use super::{BadLine, Entry, Request, request, whole};

/// What the gateway calls the route of a request that matches none.
const UNROUTED: &str = "unrouted";
/// What becomes of a request that a service answers, at home or over the link.
const ANSWERED: [&str; 2] = ["served", "proxied"];

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    host: Cow<'a, str>,
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(borrow)]
    route: Cow<'a, str>,
    status: u16,
    bytes: u64,
    duration_ms: f64,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
}

pub(super) fn parse(line: &str) -> Result<Entry<'_>, BadLine> {
    let line: Line<'_> = serde_json::from_str(line).map_err(BadLine::Json)?;
    let at: UnixMillis = line.time.parse().map_err(|_| BadLine::Field("has no time"))?;
    let host = request::host(&line.host).map(|host| Cow::Owned(host.to_owned()));
    let named = !line.route.is_empty() && line.route != UNROUTED;
    let took = (0.0..=86_400_000.0).contains(&line.duration_ms);
    let asked = !line.path.is_empty() && !line.method.is_empty();
    Ok(Entry {
        at,
        request: asked.then_some(Request { method: line.method, host, path: line.path }),
        route: named.then_some(line.route),
        status: line.status,
        bytes: line.bytes,
        service_secs: took.then_some(line.duration_ms / 1000.0),
        answered: whole(line.status) && ANSWERED.contains(&line.outcome.as_ref()),
    })
}
