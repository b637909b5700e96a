//! The record of one request: what happened to it, counted and logged exactly once, when its answer
//! has been written or given up.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use spillway_model::{ClientPrefix, UnixMillis};
use spillway_part::clock;
use spillway_part::counters::{RouteCounters, add};

use crate::access_log::Line;
use crate::gateway::{Gateway, UNROUTED};

/// Longest path and host kept for the log, in bytes.
const LOGGED_BYTES_MAX: usize = 512;
/// What the log says of a request whose client left before its answer began. No such status is sent.
const CLIENT_LEFT: u16 = 499;

/// What became of a request. Each but `Refused` has its counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered by an upstream at home.
    Served,
    /// Answered 307 towards the cloud or a site that helps.
    Redirected,
    /// Answered by the cloud, over the link.
    Proxied,
    /// Answered 503 by a knob, here or in the service.
    Shed,
    /// Answered 5xx that no knob asked for, or broken off.
    Failed,
    /// The client's fault: malformed, too large, or matching no route.
    Refused,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Redirected => "redirected",
            Self::Proxied => "proxied",
            Self::Shed => "shed",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// The record. Dropping it counts and logs.
#[derive(Debug)]
pub(crate) struct Record {
    gateway: Arc<Gateway>,
    at: UnixMillis,
    started: Instant,
    prefix: ClientPrefix,
    pub(crate) generation: u64,
    pub(crate) request_id: String,
    method: String,
    host: String,
    /// Of a request that matches no route: its path, masked.
    path: String,
    route: Option<usize>,
    displaced: bool,
    /// Of a visitor: the place of its site.
    visitor_of: Option<usize>,
    outcome: Outcome,
    reason: Cow<'static, str>,
    upstream: Option<Arc<str>>,
    status: u16,
    /// From the request's head to the answer's.
    latency: Duration,
    head_bytes: u64,
    body_bytes: u64,
}

impl Record {
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        prefix: ClientPrefix,
        generation: u64,
        request_id: String,
        (method, host): (&str, &str),
    ) -> Self {
        Self {
            gateway,
            at: clock::now(),
            started: clock::instant(),
            prefix,
            generation,
            request_id,
            method: method.to_owned(),
            host: cut(host).to_owned(),
            path: String::new(),
            route: None,
            displaced: false,
            visitor_of: None,
            outcome: Outcome::Failed,
            reason: Cow::Borrowed("the client left before the answer"),
            upstream: None,
            status: CLIENT_LEFT,
            latency: Duration::ZERO,
            head_bytes: 0,
            body_bytes: 0,
        }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Says which route it is and counts the arrival.
    pub(crate) fn routed(&mut self, route: usize) {
        self.route = Some(route);
        add(&self.counters().arrivals, 1);
    }

    /// Says that its client is of another site, and counts that.
    pub(crate) fn visits(&mut self, site: usize) {
        self.visitor_of = Some(site);
        if let Some(route) = self.route {
            self.gateway.visitors.arrived(site, route);
        }
    }

    /// Says that it matches no route and counts the arrival.
    pub(crate) fn unrouted(&mut self, path: &str) {
        self.path = self.gateway.table.mask(cut(path));
        add(&self.counters().arrivals, 1);
    }

    /// Says what became of it. What is said last holds.
    pub(crate) fn decide(&mut self, outcome: Outcome, reason: impl Into<Cow<'static, str>>) {
        self.outcome = outcome;
        self.reason = reason.into();
    }

    /// Says that home could not serve it.
    pub(crate) fn displaced(&mut self) {
        self.displaced = true;
    }

    pub(crate) fn upstream(&mut self, name: &Arc<str>) {
        self.upstream = Some(name.clone());
    }

    /// Says that the answer's head, of about so many bytes, is about to be written.
    pub(crate) fn answered(&mut self, status: StatusCode, head_bytes: u64) {
        self.status = status.as_u16();
        self.head_bytes = head_bytes;
        self.latency = clock::instant().saturating_duration_since(self.started);
    }

    pub(crate) fn sent(&mut self, body_bytes: usize) {
        self.body_bytes += body_bytes as u64;
    }

    fn counters(&self) -> &RouteCounters {
        self.gateway.counters(self.route)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let bytes = self.head_bytes + self.body_bytes;
        let counters = self.counters();
        add(&counters.response_bytes, bytes);
        match self.outcome {
            Outcome::Served => {
                add(&counters.served, 1);
                add(&counters.served_bytes, bytes);
                counters.observe(self.latency);
            }
            Outcome::Redirected => add(&counters.redirected, 1),
            Outcome::Proxied => add(&counters.proxied, 1),
            Outcome::Shed => add(&counters.shed, 1),
            Outcome::Failed => add(&counters.failed, 1),
            Outcome::Refused => {}
        }
        let left = matches!(self.outcome, Outcome::Redirected | Outcome::Proxied);
        if self.displaced && left {
            add(&counters.displaced, 1);
        }
        if let (Some(site), Some(route), true) = (self.visitor_of, self.route, left) {
            self.gateway.visitors.left(site, route);
        }
        let Some(log) = &self.gateway.log else { return };
        let table = &self.gateway.table;
        let route = self.route.and_then(|i| table.routes().get(i));
        let duration = clock::instant().saturating_duration_since(self.started);
        log.write(&Line {
            time: self.at.to_string(),
            request_id: &self.request_id,
            client: self.prefix.to_string(),
            method: &self.method,
            host: &self.host,
            path: route.map_or(self.path.as_str(), |route| route.path.as_str()),
            route: route.map_or(UNROUTED, |route| route.id.as_str()),
            status: self.status,
            bytes,
            duration_ms: (duration.as_secs_f64() * 1e6).round() / 1e3,
            upstream: self.upstream.as_deref().unwrap_or_default(),
            outcome: self.outcome.name(),
            reason: &self.reason,
            generation: self.generation,
        });
    }
}

/// At most so much of a text as is kept for the log, cut between characters.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(LOGGED_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
