//! One request, from its head to the head of its answer:
//!
//! ```text
//! refused? ─▶ our host? ─▶ route ─▶ body too large? ─▶ knob sheds? ─▶ spilled? ─▶ room? ─▶ places
//!   400          421       404 405     413                503          307        307     upstream, 307
//! ```

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use http::header::{self, HeaderValue};
use http::uri::Uri;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use spillway_model::plan::SpillMode;
use spillway_model::{ClientPrefix, KnobId, Tier};
use spillway_part::clock;
use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::guard;
use crate::head::Refusal;
use crate::headers;
use crate::place::{self, Serving, refuse};
use crate::record::{Outcome, Record};
use crate::respond::{Answer, Own};
use crate::route::Found;
use crate::upload::Upload;
use crate::verdict::{Facts, Verdict, verdict};

/// What the answer to a request for another host says. It does not tell strangers which one is served.
const NOT_SERVED: &str = "the host that this request names is not served here";

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
    let names = (head.method.as_str(), host.as_str());
    let forwarded = gateway.balancer.forwards.then(|| headers::forwarded(&head.headers)).flatten();
    let (address, prefix) = forwarded
        .map_or((client.address, client.prefix), |address| (address, ClientPrefix::from(address)));
    let mut record = Record::new(gateway.clone(), prefix, plan.generation, request_id, names);

    if let Some(Refusal { status, reason }) = guard::refusal(&head.uri, &client.refusal) {
        record.unrouted("");
        return refuse(record, status, reason, draining);
    }
    if !gateway.serves(&host) {
        record.unrouted(head.uri.path());
        return refuse(record, StatusCode::MISDIRECTED_REQUEST, NOT_SERVED, draining);
    }
    let index = match gateway.table.find(Some(&host), &head.method, head.uri.path()) {
        Found::Route(index) => index,
        Found::Methods(allow) => {
            record.unrouted(head.uri.path());
            record.decide(Outcome::Refused, "the route has other methods");
            let status = StatusCode::METHOD_NOT_ALLOWED;
            let mut own = Own::error(status, "this path has other methods", &record.request_id);
            if let Ok(allow) = HeaderValue::from_str(&allow) {
                own = own.with(header::ALLOW, allow);
            }
            return own.into_response(record, draining);
        }
        Found::Nothing => {
            record.unrouted(head.uri.path());
            record.decide(Outcome::Refused, "no route");
            let own =
                Own::error(StatusCode::NOT_FOUND, "there is nothing here", &record.request_id);
            return own.into_response(record, draining);
        }
    };
    record.routed(index);
    let route = &gateway.table.routes()[index];
    if body.size_hint().lower() > route.body_bytes_max {
        return place::too_large(record, draining);
    }

    let visitor = gateway.visitors.of(&plan, &gateway.salt, prefix);
    if let Some(visitor) = visitor {
        record.visits(visitor.site);
    }
    let facts = Facts {
        prefix,
        shed_by: &route.shed_by,
        spill: &route.spill,
        hopped: head.headers.get(headers::HOP) == Some(&gateway.hop),
        sent: gateway.is_here(&host),
        visits: visitor.map(|visitor| visitor.plan),
    };
    let verdict = verdict(&plan, &gateway.site, &gateway.salt, &facts, clock::now());
    let deadline = Instant::from_std(record.started() + route.deadline);
    let target = head.uri.path_and_query().cloned();
    let (places, why) = match verdict {
        Verdict::Shed { knob, tier, retry_after_secs } => {
            record.decide(Outcome::Shed, format!("knob {knob} is on"));
            let own = shed(knob, tier, retry_after_secs, &record.request_id);
            return own.into_response(record, draining);
        }
        Verdict::Redirect { why, helper, max_age_secs } => {
            let helper = helper.and_then(|id| Some((id, gateway.host_of(id)?)));
            let (host, why) = match helper {
                Some((id, host)) => (host, format!("{why}; {id} helps")),
                None => (gateway.service.slb_host.as_str(), why.to_string()),
            };
            record.decide(Outcome::Redirected, why);
            return place::redirect_to(&gateway, host, target.as_ref(), Some(max_age_secs))
                .into_response(record, draining);
        }
        Verdict::Proxy { why } => (place::from_cloud(&route.spill), why.to_string()),
        Verdict::Home { why, otherwise } => {
            if let Some(qps) = gateway.in_cloud_qps {
                let stays = route.spill.is_empty() || place::for_functions(target.as_ref());
                if !gateway.admission.takes(qps, route.weight, stays) {
                    record.displaced();
                    record.decide(Outcome::Redirected, "this gateway has no room");
                    return place::to_functions(target.as_ref()).into_response(record, draining);
                }
            }
            // Who asks for the cloud by its name has been sent there already.
            let otherwise = otherwise.filter(|_| !gateway.is_cloud(&host));
            let home_qps = plan.sites.get(&gateway.site).and_then(|site| site.home_qps);
            let takes = |qps| gateway.admission.takes(qps, route.weight, otherwise.is_none());
            let room = home_qps.is_none_or(takes);
            match otherwise {
                Some(mode) if !room => {
                    record.displaced();
                    let why = "home has no room";
                    if mode == SpillMode::Redirect {
                        record.decide(Outcome::Redirected, why);
                        return place::redirect(&gateway, target.as_ref(), None)
                            .into_response(record, draining);
                    }
                    (place::from_cloud(&route.spill), why.to_owned())
                }
                _ => (place::from_home(otherwise, &route.spill), why.to_owned()),
            }
        }
    };

    let (upload, watch) = Upload::new(body, route.body_bytes_max);
    let mut request = Request::from_parts(head, upload);
    *request.uri_mut() = target.map_or_else(|| Uri::from_static("/"), Uri::from);
    *request.version_mut() = http::Version::HTTP_11;
    request.extensions_mut().clear();
    headers::strip_hop_by_hop(request.headers_mut());
    headers::set_forwarded(request.headers_mut(), address, gateway.balancer.forwards);
    if let Ok(id) = HeaderValue::from_str(&record.request_id) {
        request.headers_mut().insert(headers::REQUEST_ID, id);
    }
    let serving = Serving { gateway: &gateway, index, deadline, draining };
    serving.serve(places, request, watch, record, why).await
}

fn shed(knob: &KnobId, tier: Tier, retry_after_secs: u64, request_id: &str) -> Own {
    let error = "this part of the service is paused for a moment so that the essential parts keep \
                 working; please come back shortly";
    let own = Own::error(StatusCode::SERVICE_UNAVAILABLE, error, request_id)
        .with(header::RETRY_AFTER, HeaderValue::from(retry_after_secs))
        .with(headers::TIER, HeaderValue::from(u16::from(u8::from(tier))));
    match HeaderValue::from_str(knob.as_str()) {
        Ok(knob) => own.with(headers::KNOB, knob),
        Err(_) => own,
    }
}

/// The host asked for, as [`headers::host_name`] has it; empty when HTTP/1.0 names none.
fn host(head: &http::request::Parts) -> &str {
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    headers::host_name(host.or_else(|| head.uri.host()).unwrap_or_default())
}
