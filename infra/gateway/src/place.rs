//! Where a request is served: places that are tried one after the other until one answers.
//!
//! ```text
//! by the plan           otherwise
//! home             ──▶  cloud over the link or 307, as the plan and the route say
//! cloud over link  ──▶  home  ──▶  307
//! ```
//!
//! A place without a healthy upstream is passed over at once. One that fails hands the request on, if
//! nothing of it was sent or it can be sent twice. A request that the cloud sent here stays here.

use std::fmt;

use http::header::{self, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode};
use spillway_model::plan::SpillMode;
use tokio::time::Instant;

use crate::forward::{self, Exchanged, Failed, Failure};
use crate::gateway::Gateway;
use crate::headers;
use crate::record::{Outcome, Record};
use crate::respond::{self, Answer, Own};
use crate::upload::{Upload, UploadFault, Watch};

/// One place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A service of this site.
    Home,
    /// The cloud, over the link.
    Cloud,
    /// The cloud's own host: the client is sent there.
    Redirect,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Home => "home",
            Self::Cloud => "the cloud",
            Self::Redirect => "a redirect",
        })
    }
}

/// The places for a request that stays at home unless home cannot serve it. `otherwise` is how it may
/// leave, and `spill` all that its route allows.
pub(crate) fn from_home(otherwise: Option<SpillMode>, spill: &[SpillMode]) -> &'static [Place] {
    match otherwise {
        None => &[Place::Home],
        Some(SpillMode::Redirect) => &[Place::Home, Place::Redirect],
        Some(SpillMode::Proxy) if spill.contains(&SpillMode::Redirect) => {
            &[Place::Home, Place::Cloud, Place::Redirect]
        }
        Some(SpillMode::Proxy) => &[Place::Home, Place::Cloud],
    }
}

/// The places for a request that goes to the cloud over the link.
pub(crate) fn from_cloud(spill: &[SpillMode]) -> &'static [Place] {
    if spill.contains(&SpillMode::Redirect) {
        &[Place::Cloud, Place::Home, Place::Redirect]
    } else {
        &[Place::Cloud, Place::Home]
    }
}

/// What serving one request needs to know of it.
#[derive(Debug)]
pub(crate) struct Serving<'a> {
    pub(crate) gateway: &'a Gateway,
    /// Its route.
    pub(crate) index: usize,
    pub(crate) deadline: Instant,
    pub(crate) draining: bool,
}

impl Serving<'_> {
    /// Serves a request at the first of the places that answers. `why` says why they are these.
    pub(crate) async fn serve(
        &self,
        places: &[Place],
        request: Request<Upload>,
        watch: Watch,
        mut record: Record,
        mut why: String,
    ) -> Response<Answer> {
        let host = request.headers().get(header::HOST).cloned();
        let mut failed =
            Failed { failure: Failure::Nobody, request: Some(request), upstream: None };
        for (i, place) in places.iter().enumerate() {
            let Some(mut request) = failed.request.take() else { break };
            let (upstreams, outcome, served_by) = match place {
                Place::Home => {
                    let site = self.gateway.site.as_str();
                    (self.gateway.home(self.index), Outcome::Served, site)
                }
                Place::Cloud => (self.gateway.cloud.as_slice(), Outcome::Proxied, "cloud"),
                Place::Redirect => {
                    let target = request.uri().path_and_query();
                    record.decide(Outcome::Redirected, why);
                    return redirect(self.gateway, target, None)
                        .into_response(record, self.draining);
                }
            };
            self.address(&mut request, *place, host.as_ref());
            let until = self.until(&request, i + 1 == places.len());
            let random = || self.gateway.random();
            match forward::exchange(upstreams, request, &watch, until, random).await {
                Ok(exchanged) => {
                    record.decide(outcome, why);
                    return self.answer(exchanged, record, served_by);
                }
                Err(next) => failed = *next,
            }
            why = format!("{why}; {place}: {}", failed.failure);
            if *place == Place::Home {
                record.displaced();
            }
        }
        self.failed(&failed, &watch, record, why)
    }

    /// What can still be served elsewhere leaves elsewhere half of the time that is left.
    fn until(&self, request: &Request<Upload>, last: bool) -> Instant {
        if last || !forward::replayable(request) {
            return self.deadline;
        }
        let now = Instant::now();
        now + self.deadline.saturating_duration_since(now) / 2
    }

    /// Addresses a request to a place. The cloud knows the service by its configured name, and from
    /// the mark of a hop that the request is not to come back.
    fn address(&self, request: &mut Request<Upload>, place: Place, host: Option<&HeaderValue>) {
        let fields = request.headers_mut();
        let (host, hop) = if place == Place::Cloud {
            let service = HeaderValue::from_str(&self.gateway.service.host).ok();
            (service, Some(self.gateway.hop.clone()))
        } else {
            (host.cloned(), None)
        };
        for (name, value) in [(header::HOST, host), (headers::HOP, hop)] {
            match value {
                Some(value) => fields.insert(name, value),
                None => fields.remove(name),
            };
        }
    }

    fn answer(
        &self,
        exchanged: Exchanged,
        mut record: Record,
        served_by: &str,
    ) -> Response<Answer> {
        let Exchanged { mut response, lease, in_flight } = exchanged;
        record.upstream(&in_flight.0.name);
        let by_knob = response.status() == StatusCode::SERVICE_UNAVAILABLE
            && response.headers().contains_key(headers::KNOB);
        if by_knob {
            record.decide(Outcome::Shed, "a knob of the service");
        } else if response.status().is_server_error() {
            in_flight.0.failed();
            record.decide(Outcome::Failed, "the upstream answered with an error");
        }
        let fields = response.headers_mut();
        headers::strip_hop_by_hop(fields);
        if let Ok(served_by) = HeaderValue::from_str(served_by) {
            fields.insert(headers::SERVED_BY, served_by);
        }
        respond::stream(response, lease, in_flight, self.deadline, record, self.draining)
    }

    fn failed(
        &self,
        failed: &Failed,
        watch: &Watch,
        mut record: Record,
        why: String,
    ) -> Response<Answer> {
        match watch.fault() {
            Some(UploadFault::TooLarge) => return too_large(record, self.draining),
            Some(UploadFault::Broken) => {
                let reason = "the request's body is malformed or broke off";
                return refuse(record, StatusCode::BAD_REQUEST, reason, self.draining);
            }
            None => {}
        }
        if let Some(upstream) = &failed.upstream {
            record.upstream(upstream);
        }
        let (status, error) = match &failed.failure {
            Failure::Nobody | Failure::Connect(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "the service is away; try again shortly")
            }
            Failure::Full => {
                let error = "the service has no room for this request now; try again shortly";
                (StatusCode::SERVICE_UNAVAILABLE, error)
            }
            Failure::Protocol(_) | Failure::Switched => {
                (StatusCode::BAD_GATEWAY, "the service cannot be reached")
            }
            Failure::Deadline => {
                (StatusCode::GATEWAY_TIMEOUT, "the service did not answer in time")
            }
        };
        let mut own = Own::error(status, error, &record.request_id);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            own = own.with(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        record.decide(Outcome::Failed, why);
        own.into_response(record, self.draining)
    }
}

/// Refuses a request and closes the connection: what follows on it may not be what it seems.
pub(crate) fn refuse(
    mut record: Record,
    status: StatusCode,
    reason: &'static str,
    draining: bool,
) -> Response<Answer> {
    record.decide(Outcome::Refused, reason);
    Own::error(status, reason, &record.request_id).closing().into_response(record, draining)
}

/// Refuses a request whose body is larger than its route takes.
pub(crate) fn too_large(record: Record, draining: bool) -> Response<Answer> {
    let reason = "the request's body is larger than this route takes";
    refuse(record, StatusCode::PAYLOAD_TOO_LARGE, reason, draining)
}

/// Sends the client to the same path and query at the cloud's own host. It may keep that for
/// `max_age_secs`; without, it asks here again the next time, since the cloud is not its place.
pub(crate) fn redirect(
    gateway: &Gateway,
    target: Option<&PathAndQuery>,
    max_age_secs: Option<u32>,
) -> Own {
    redirect_to(gateway, &gateway.service.slb_host, target, max_age_secs)
}

/// Sends the client to the same path and query at another host, as [`redirect`].
pub(crate) fn redirect_to(
    gateway: &Gateway,
    host: &str,
    target: Option<&PathAndQuery>,
    max_age_secs: Option<u32>,
) -> Own {
    let port = gateway.service.port;
    let target = target.map_or("/", PathAndQuery::as_str);
    let control =
        max_age_secs.map_or("no-store".to_owned(), |secs| format!("private, max-age={secs}"));
    let mut own = Own::bare(StatusCode::TEMPORARY_REDIRECT)
        .with(headers::SERVED_BY, HeaderValue::from_static("redirect"));
    // The configuration and the guard let only characters pass that a field may hold.
    let fields = [
        (header::LOCATION, format!("http://{host}:{port}{target}")),
        (header::CACHE_CONTROL, control),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_str(&value) {
            own = own.with(name, value);
        }
    }
    own
}

/// What the query of a request says that is for functions alone. The load balancer has a rule for it.
const FOR_FUNCTIONS: &str = "spillway=functions";

/// Whether a request is for functions alone.
pub(crate) fn for_functions(target: Option<&PathAndQuery>) -> bool {
    let query = target.and_then(PathAndQuery::query).unwrap_or_default();
    query.split('&').any(|pair| pair == FOR_FUNCTIONS)
}

/// Sends the client to the same path and query at the same host again, where functions alone answer.
pub(crate) fn to_functions(target: Option<&PathAndQuery>) -> Own {
    let target = target.map_or("/", PathAndQuery::as_str);
    let joint = if target.contains('?') { '&' } else { '?' };
    let mut own = Own::bare(StatusCode::TEMPORARY_REDIRECT)
        .with(headers::SERVED_BY, HeaderValue::from_static("redirect"))
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(location) = HeaderValue::from_str(&format!("{target}{joint}{FOR_FUNCTIONS}")) {
        own = own.with(header::LOCATION, location);
    }
    own
}
