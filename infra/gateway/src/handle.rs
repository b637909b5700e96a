//! One request, from its head to the head of its answer:
//!
//! ```text
//! refused? ─▶ request id ─▶ route ─▶ body too large? ─▶ knob sheds? ─▶ spilled? ─▶ home
//!   400        x-request-id  404 405     413                503        307, cloud    upstream
//! ```

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use http::header::{self, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use spillway_model::{ClientPrefix, Tier};
use spillway_part::clock;
use tokio::time::Instant;

use crate::forward::{self, Exchanged, Failed, Failure};
use crate::gateway::Gateway;
use crate::guard;
use crate::head::Refusal;
use crate::headers;
use crate::record::{Outcome, Record};
use crate::respond::{self, Answer, Own};
use crate::route::{Found, Route};
use crate::upload::{Upload, UploadFault, Watch};
use crate::verdict::{Facts, Verdict, verdict};

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    pub(crate) prefix: ClientPrefix,
    /// Why the connection's last request was refused, once it was.
    pub(crate) refusal: Arc<OnceLock<Refusal>>,
}

/// Answers a request.
pub(crate) async fn handle(
    gateway: Arc<Gateway>,
    client: Arc<Client>,
    request: Request<Incoming>,
) -> Response<Answer> {
    let plan = gateway.plans.load();
    let draining = gateway.shutdown.is_cancelled();
    let (head, body) = request.into_parts();
    let host = host(&head).to_owned();
    let request_id =
        headers::sane_request_id(&head.headers).map_or_else(|| gateway.request_id(), str::to_owned);
    let names = (head.method.as_str(), host.as_str(), head.uri.path());
    let mut record =
        Record::new(gateway.clone(), client.prefix, plan.generation, request_id, names);

    if let Some(Refusal { status, reason }) = guard::refusal(&head.uri, &client.refusal) {
        record.routed(None);
        return refuse(record, status, reason, draining);
    }
    let found = gateway.table.find(Some(&host), &head.method, head.uri.path());
    record.routed(if let Found::Route(i) = found { Some(i) } else { None });
    let index = match found {
        Found::Route(index) => index,
        Found::Methods(allow) => {
            record.decide(Outcome::Refused, "the route has other methods");
            let status = StatusCode::METHOD_NOT_ALLOWED;
            let mut own = Own::error(status, "this path has other methods", &record.request_id);
            if let Ok(allow) = HeaderValue::from_str(&allow) {
                own = own.with(header::ALLOW, allow);
            }
            return own.into_response(record, draining);
        }
        Found::Nothing => {
            record.decide(Outcome::Refused, "no route");
            let own =
                Own::error(StatusCode::NOT_FOUND, "there is nothing here", &record.request_id);
            return own.into_response(record, draining);
        }
    };
    let route = &gateway.table.routes()[index];
    if body.size_hint().lower() > route.body_bytes_max {
        return refuse(record, StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE, draining);
    }

    let facts = Facts {
        prefix: client.prefix,
        shed_by: &route.shed_by,
        spill: &route.spill,
        hopped: head.headers.get(headers::HOP) == Some(&gateway.hop)
            || host.eq_ignore_ascii_case(&gateway.service.slb_host),
    };
    let verdict = verdict(&plan, &gateway.site, &gateway.salt, &facts, clock::now());
    let deadline = Instant::from_std(record.started() + route.deadline);
    let target = head.uri.path_and_query().cloned();
    let redirect = match &verdict {
        Verdict::Shed { knob, tier, retry_after_secs } => {
            record.decide(Outcome::Shed, format!("knob {knob} is on"));
            let own = shed(*tier, *retry_after_secs, &record.request_id);
            let knob = HeaderValue::from_str(knob.as_str());
            return match knob {
                Ok(knob) => own.with(headers::KNOB, knob),
                Err(_) => own,
            }
            .into_response(record, draining);
        }
        Verdict::Redirect { why, max_age_secs } => location(&gateway, target.as_ref())
            .map(|location| (redirect(location, *max_age_secs), why.to_string())),
        _ => None,
    };
    if let Some((own, why)) = redirect {
        record.decide(Outcome::Redirected, why);
        return own.into_response(record, draining);
    }

    let (upload, watch) = Upload::new(body, route.body_bytes_max);
    let mut request = Request::from_parts(head, upload);
    *request.uri_mut() = origin_form(target);
    *request.version_mut() = http::Version::HTTP_11;
    request.extensions_mut().clear();
    headers::strip_hop_by_hop(request.headers_mut());
    headers::set_forwarded(request.headers_mut(), client.address);
    if let Ok(id) = HeaderValue::from_str(&record.request_id) {
        request.headers_mut().insert(headers::REQUEST_ID, id);
    }
    let exchange = Exchange { gateway: &gateway, route, index, deadline, draining };
    match verdict {
        Verdict::Proxy { why } => exchange.at_cloud(request, watch, record, why.to_string()).await,
        Verdict::Home { why } => exchange.at_home(request, watch, record, why.to_owned()).await,
        _ => exchange.at_home(request, watch, record, "cannot be redirected".to_owned()).await,
    }
}

const TOO_LARGE: &str = "the request's body is larger than this route takes";

/// One exchange with an upstream.
struct Exchange<'a> {
    gateway: &'a Gateway,
    route: &'a Route,
    index: usize,
    deadline: Instant,
    draining: bool,
}

impl Exchange<'_> {
    /// Serves at home.
    async fn at_home(
        &self,
        request: Request<Upload>,
        watch: Watch,
        mut record: Record,
        why: String,
    ) -> Response<Answer> {
        let random = || self.gateway.random();
        let exchange = forward::exchange(self.gateway.home(self.index), request, random);
        match tokio::time::timeout_at(self.deadline, exchange).await {
            Ok(Ok(exchanged)) => {
                self.answer(exchanged, record, Outcome::Served, why, self.gateway.site.as_str())
            }
            Ok(Err(failed)) => self.failed(&failed, &watch, record),
            Err(_elapsed) => {
                record.decide(Outcome::Failed, "no answer within the route's deadline");
                let error = "the service did not answer in time";
                Own::error(StatusCode::GATEWAY_TIMEOUT, error, &record.request_id)
                    .into_response(record, self.draining)
            }
        }
    }

    /// Forwards to the cloud; serves at home what the cloud did not begin to answer and what can be
    /// sent again.
    async fn at_cloud(
        &self,
        mut request: Request<Upload>,
        watch: Watch,
        mut record: Record,
        why: String,
    ) -> Response<Answer> {
        let now = clock::instant();
        if !self.gateway.cloud.iter().any(|cloud| cloud.available(now)) {
            let why = format!("{why}; the cloud cannot be reached");
            return self.at_home(request, watch, record, why).await;
        }
        let host = request.headers().get(header::HOST).cloned();
        let again = forward::replayable(&request).then(|| forward::copy(&request));
        if let Ok(host) = HeaderValue::from_str(&self.gateway.service.host) {
            request.headers_mut().insert(header::HOST, host);
        }
        request.headers_mut().insert(headers::HOP, self.gateway.hop.clone());
        // What can still be served at home leaves home half of the time.
        let deadline = if again.is_some() {
            Instant::from_std(record.started() + self.route.deadline / 2)
        } else {
            self.deadline
        };
        let random = || self.gateway.random();
        let exchange = forward::exchange(&self.gateway.cloud, request, random);
        let mut failed = match tokio::time::timeout_at(deadline, exchange).await {
            Ok(Ok(exchanged)) => {
                return self.answer(exchanged, record, Outcome::Proxied, why, "cloud");
            }
            Ok(Err(failed)) => Some(failed),
            Err(_elapsed) => None,
        };
        let cause =
            failed.as_ref().map_or("no answer in time".to_owned(), |f| f.failure.to_string());
        let unsent = failed.as_mut().and_then(|failed| failed.unsent.take()).map(|mut unsent| {
            unsent.headers_mut().remove(headers::HOP);
            match host {
                Some(host) => unsent.headers_mut().insert(header::HOST, host),
                None => unsent.headers_mut().remove(header::HOST),
            };
            unsent
        });
        match (unsent.or(again), failed) {
            (Some(request), _) => {
                let why = format!("{why}; the cloud failed: {cause}");
                self.at_home(request, watch, record, why).await
            }
            (None, Some(failed)) => self.failed(&failed, &watch, record),
            (None, None) => {
                record.decide(Outcome::Failed, "no answer of the cloud within the deadline");
                let error = "the cloud did not answer in time";
                Own::error(StatusCode::GATEWAY_TIMEOUT, error, &record.request_id)
                    .into_response(record, self.draining)
            }
        }
    }

    fn answer(
        &self,
        exchanged: Exchanged,
        mut record: Record,
        outcome: Outcome,
        why: String,
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
        } else {
            record.decide(outcome, why);
        }
        let fields = response.headers_mut();
        headers::strip_hop_by_hop(fields);
        if let Ok(served_by) = HeaderValue::from_str(served_by) {
            fields.insert(headers::SERVED_BY, served_by);
        }
        respond::stream(response, lease, in_flight, self.deadline, record, self.draining)
    }

    fn failed(&self, failed: &Failed, watch: &Watch, mut record: Record) -> Response<Answer> {
        match watch.fault() {
            Some(UploadFault::TooLarge) => {
                return refuse(record, StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE, self.draining);
            }
            Some(UploadFault::Broken) => {
                let reason = "the request's body is malformed or broke off";
                return refuse(record, StatusCode::BAD_REQUEST, reason, self.draining);
            }
            None => {}
        }
        if let Some(upstream) = &failed.upstream {
            record.upstream(upstream);
        }
        let id = &record.request_id;
        let own = match &failed.failure {
            Failure::Full => {
                let error = "the service has no room for this request now; try again shortly";
                Own::error(StatusCode::SERVICE_UNAVAILABLE, error, id)
                    .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
            }
            Failure::Connect(_) | Failure::Protocol(_) | Failure::Switched => {
                Own::error(StatusCode::BAD_GATEWAY, "the service cannot be reached", id)
            }
        };
        record.decide(Outcome::Failed, failed.failure.to_string());
        own.into_response(record, self.draining)
    }
}

/// Refuses a request and closes the connection: what follows on it may not be what it seems.
fn refuse(
    mut record: Record,
    status: StatusCode,
    reason: &'static str,
    draining: bool,
) -> Response<Answer> {
    record.decide(Outcome::Refused, reason);
    Own::error(status, reason, &record.request_id).closing().into_response(record, draining)
}

fn shed(tier: Tier, retry_after_secs: u64, request_id: &str) -> Own {
    let error = "this part of the service is paused for a moment so that the essential parts keep \
                 working; please come back shortly";
    Own::error(StatusCode::SERVICE_UNAVAILABLE, error, request_id)
        .with(header::RETRY_AFTER, HeaderValue::from(retry_after_secs))
        .with(headers::TIER, HeaderValue::from(u16::from(u8::from(tier))))
}

fn redirect(location: HeaderValue, max_age_secs: u32) -> Own {
    let own = Own::bare(StatusCode::TEMPORARY_REDIRECT)
        .with(header::LOCATION, location)
        .with(headers::SERVED_BY, HeaderValue::from_static("redirect"));
    match HeaderValue::from_str(&format!("private, max-age={max_age_secs}")) {
        Ok(control) => own.with(header::CACHE_CONTROL, control),
        Err(_) => own,
    }
}

/// The same path and query at the cloud's own host.
fn location(gateway: &Gateway, target: Option<&PathAndQuery>) -> Option<HeaderValue> {
    let (host, port) = (&gateway.service.slb_host, gateway.service.port);
    let target = target.map_or("/", PathAndQuery::as_str);
    HeaderValue::from_bytes(format!("http://{host}:{port}{target}").as_bytes()).ok()
}

fn origin_form(target: Option<PathAndQuery>) -> Uri {
    target.map_or_else(|| Uri::from_static("/"), Uri::from)
}

/// The host asked for, without port; empty when HTTP/1.0 names none.
fn host(head: &http::request::Parts) -> &str {
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    headers::without_port(host.or_else(|| head.uri.host()).unwrap_or_default())
}
