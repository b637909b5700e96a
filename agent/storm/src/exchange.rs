//! One request of a client: look-up, connection, redirects, answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use spillway_part::clock;
use tokio::net::{TcpSocket, TcpStream};

use crate::client::{Client, Seen, Target};
use crate::cohort::Via;
use crate::mix::Call;
use crate::outcome::Failure;
use crate::record::{Ended, Good};
use crate::resolve;
use crate::schedule::Arrival;
use crate::world::World;

/// Most 307 followed for one request.
const HOPS_MAX: usize = 3;
/// Longest that a `max-age` is believed, in seconds.
const MAX_AGE_SECS: u64 = 86_400;
/// Largest answer that is read.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a connection may take to become ready for its next request.
const READY: Duration = Duration::from_secs(1);

/// Carries out one request and counts how it ended. `late` is how long after its intended start
/// this is called; the deadline and the latency count from that start.
pub(crate) async fn request(world: Arc<World>, number: u64, arrival: Arrival) {
    let Some(client) = world.clients.get(arrival.client as usize) else { return };
    let intended = world.start + arrival.at;
    let call = arrival.operation.call(client.index, arrival.token);
    let mut trail = Trail::default();
    let exchange = exchange(&world, client, number, call, &mut trail);
    let outcome = tokio::time::timeout_at((intended + world.deadline).into(), exchange).await;
    let latency = clock::instant().saturating_duration_since(intended);
    let outcome = outcome.unwrap_or(Err(Failure::Timeout));
    if matches!(outcome, Err(Failure::Timeout | Failure::Connect | Failure::Reset | Failure::Dns)) {
        client.unstay();
    }
    let mut end = Ended {
        second: crate::profile::second_index(arrival.at.as_secs_f64()),
        latency,
        result: Err(Failure::Timeout),
        served: None,
        answered: world.unix(clock::instant()),
        function: None,
        redirects: trail.redirects,
        body_bytes: trail.body_bytes,
    };
    let (seen, keep) = match outcome {
        Err(failure) => {
            end.result = Err(failure);
            (None, None)
        }
        Ok(answer) => {
            end.result = classify(answer.status, &answer.headers);
            end.served = Some(answer.seen.by);
            end.answered = world.unix(answer.seen.at);
            end.function = answer.headers.get("x-spillway-function").cloned();
            // A failure says nothing about which side serves the client.
            let tells = end.result.is_ok() && world.moves(arrival.operation);
            (tells.then_some(answer.seen), Some(answer.kept))
        }
    };
    world.recorder().ended(&end);
    client.ended(number, seen, |change| world.changed(client, change));
    if let Some(kept) = keep {
        kept.give_back(client).await;
    }
}

/// What was done for a request so far; survives its deadline.
#[derive(Debug, Default)]
struct Trail {
    redirects: u64,
    body_bytes: u64,
}

/// The final answer of a request, read to its end.
struct Answer<'a> {
    status: StatusCode,
    headers: HeaderMap,
    seen: Seen,
    kept: Kept<'a>,
}

fn classify(status: StatusCode, headers: &HeaderMap) -> Result<Good, Failure> {
    let by_knob =
        headers.contains_key("x-spillway-tier") || headers.contains_key("x-spillway-knob");
    if status == StatusCode::SERVICE_UNAVAILABLE && by_knob {
        Ok(Good::Refused)
    } else if status.is_server_error() {
        Err(Failure::Http5xx)
    } else if status.is_client_error() {
        Err(Failure::Http4xx)
    } else if by_knob {
        Ok(Good::Degraded)
    } else {
        Ok(Good::Whole)
    }
}

async fn exchange<'a>(
    world: &World,
    client: &'a Client,
    number: u64,
    mut call: Call,
    trail: &mut Trail,
) -> Result<Answer<'a>, Failure> {
    // The semaphore is never closed.
    let slot = client.slots.acquire().await.map_err(|_| Failure::Overrun)?;
    let (mut target, mut via) = client.target(&world.service, clock::instant());
    let mut been = Vec::new();
    loop {
        let ip = address(world, client, &target.host).await?;
        let sent = clock::instant();
        client.sent(number, sent);
        let (response, mut kept) = send(world, client, &target, ip, &call).await?;
        let at = clock::instant();
        let (head, body) = response.into_parts();
        trail.body_bytes += drain(body).await?;
        if head.status != StatusCode::TEMPORARY_REDIRECT {
            let by = world.served(&head.headers, ip);
            let generation = number_in(&head.headers, "x-spillway-generation");
            let seen = Seen { by, via, generation, at };
            kept.slot = Some(slot);
            return Ok(Answer { status: head.status, headers: head.headers, seen, kept });
        }
        trail.redirects += 1;
        let location = head.headers.get(header::LOCATION).ok_or(Failure::RedirectLoop)?;
        let (next, path) = follow(&target, location).ok_or(Failure::RedirectLoop)?;
        been.push((std::mem::replace(&mut target, next), std::mem::replace(&mut call.path, path)));
        if been.len() > HOPS_MAX
            || been.iter().any(|(to, path)| *to == target && *path == call.path)
        {
            return Err(Failure::RedirectLoop);
        }
        via = Via::Redirect;
        let age = max_age_secs(&head.headers);
        if age > 0 {
            client.stay(&target, at + Duration::from_secs(age));
        }
        // A client that stays elsewhere keeps no connection to where it came from.
        kept.give_back(client).await;
    }
}

/// Where a 307 leads from a target: an absolute `http` URL, or a path at the same host.
fn follow(from: &Target, location: &HeaderValue) -> Option<(Target, String)> {
    let uri: Uri = location.to_str().ok()?.parse().ok()?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let target = match (uri.scheme_str(), uri.host()) {
        (None, None) if path.starts_with('/') => from.clone(),
        (Some("http"), Some(host)) => {
            let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
            Target { host: host.into(), port: uri.port_u16().unwrap_or(80) }
        }
        _ => return None,
    };
    Some((target, path))
}

/// The `max-age` of `Cache-Control`, zero when there is none or it forbids keeping.
fn max_age_secs(headers: &HeaderMap) -> u64 {
    let mut age = 0;
    for value in headers.get_all(header::CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or("").split(',') {
            let directive = directive.trim().to_ascii_lowercase();
            if directive == "no-store" || directive == "no-cache" {
                return 0;
            }
            if let Some(secs) = directive.strip_prefix("max-age=") {
                age = secs.trim_matches('"').parse().unwrap_or(0);
            }
        }
    }
    age.min(MAX_AGE_SECS)
}

fn number_in(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// The address of a host: what the client remembers, or what DNS says now.
async fn address(world: &World, client: &Client, host: &Arc<str>) -> Result<IpAddr, Failure> {
    let known = |ip: Option<IpAddr>| ip.ok_or(Failure::Dns);
    let admitted = |ip| if world.admits(host, ip) { Ok(ip) } else { Err(Failure::Connect) };
    if let Ok(ip) = host.parse() {
        return admitted(ip);
    }
    if let Some(ip) = client.known(host, clock::instant()) {
        return known(ip);
    }
    let _asking = client.lookup.lock().await;
    if let Some(ip) = client.known(host, clock::instant()) {
        return known(ip);
    }
    world.lookups.fetch_add(1, Relaxed);
    let answer = resolve::lookup(world.config.dns.listen, client.address, host).await;
    let answer = answer.inspect_err(|error| tracing::debug!(%host, %error, "look-up failed")).ok();
    client.learn(host, answer, clock::instant());
    admitted(known(answer.map(|(ip, _)| ip))?)
}

/// A connection whose request is done, and the permit for it.
struct Kept<'a> {
    target: Target,
    ip: IpAddr,
    sender: SendRequest<Full<Bytes>>,
    slot: Option<tokio::sync::SemaphorePermit<'a>>,
}

impl Kept<'_> {
    /// Keeps the connection for the client's next request, if it can take one.
    async fn give_back(mut self, client: &Client) {
        if let Ok(Ok(())) = tokio::time::timeout(READY, self.sender.ready()).await {
            client.checkin(self.target, self.ip, self.sender, clock::instant());
        }
        drop(self.slot);
    }
}

/// Sends a request over a kept connection or a new one. When a kept connection turns out to have
/// been closed, the request is sent again over a new one if that is safe: if it never left, or if
/// its method is idempotent (RFC 9110 §9.2.2).
async fn send<'a>(
    world: &World,
    client: &'a Client,
    target: &Target,
    ip: IpAddr,
    call: &Call,
) -> Result<(Response<Incoming>, Kept<'a>), Failure> {
    let kept = |sender| Kept { target: target.clone(), ip, sender, slot: None };
    if let Some(mut idle) = client.checkout(target, ip, clock::instant()) {
        match idle.sender.try_send_request(http_request(target, call)?).await {
            Ok(response) => return Ok((response, kept(idle.sender))),
            Err(mut error) => {
                let unsent = error.take_message().is_some();
                let idempotent = call.method == Method::GET && !error.error().is_parse();
                if !unsent && !idempotent {
                    return Err(Failure::Reset);
                }
                world.retries.fetch_add(1, Relaxed);
            }
        }
    }
    let mut sender = connect(world, client, target, ip).await?;
    let response = sender.send_request(http_request(target, call)?).await;
    response.map(|response| (response, kept(sender))).map_err(|_| Failure::Reset)
}

fn http_request(target: &Target, call: &Call) -> Result<Request<Full<Bytes>>, Failure> {
    let host = match target.port {
        80 => target.host.to_string(),
        port => format!("{}:{port}", target.host),
    };
    let mut request = Request::builder()
        .method(call.method.clone())
        .uri(call.path.as_str())
        .header(header::HOST, host)
        .header(header::USER_AGENT, HeaderValue::from_static("spillway-storm"));
    if call.method == Method::POST {
        request =
            request.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    // Only a Location can make a request that cannot be written.
    request.body(Full::new(call.body.clone())).map_err(|_| Failure::RedirectLoop)
}

async fn connect(
    world: &World,
    client: &Client,
    target: &Target,
    ip: IpAddr,
) -> Result<SendRequest<Full<Bytes>>, Failure> {
    client.make_room();
    let stream = open(client, ip, target.port).await.map_err(|error| {
        // What this machine lacks is not the service's failure.
        const OUT_OF_FILES: [i32; 2] = [23, 24];
        let out = error.raw_os_error().is_some_and(|code| OUT_OF_FILES.contains(&code))
            || error.kind() == std::io::ErrorKind::AddrNotAvailable;
        tracing::debug!(host = %target.host, %error, "no connection");
        if out { Failure::Overrun } else { Failure::Connect }
    })?;
    world.connections.fetch_add(1, Relaxed);
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Reset)?;
    // Ends with its sender, or when the server closes. What breaks it, the request sees.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// Ports are not scarce although each socket is bound: the ephemeral range is free once per source
/// address, and every client has its own.
async fn open(client: &Client, ip: IpAddr, port: u16) -> std::io::Result<TcpStream> {
    let socket = if ip.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(resolve::source(client.address, ip))?;
    socket.set_nodelay(true)?;
    socket.connect((ip, port).into()).await
}

async fn drain(mut body: Incoming) -> Result<u64, Failure> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::Reset)?;
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > BODY_BYTES_MAX {
            return Err(Failure::Reset);
        }
    }
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        let from = Target { host: "a.test".into(), port: 8080 };
        let to = |location: &'static str| {
            follow(&from, &HeaderValue::from_static(location))
                .map(|(target, path)| format!("{} {} {path}", target.host, target.port))
        };
        assert_eq!(to("http://B.test:81/x?y=1").as_deref(), Some("b.test 81 /x?y=1"));
        assert_eq!(to("http://b.test").as_deref(), Some("b.test 80 /"));
        assert_eq!(to("/other").as_deref(), Some("a.test 8080 /other"));
        assert_eq!(to("https://b.test/"), None, "there is no TLS here");
        assert_eq!(to("ftp://b.test/"), None);
        assert_eq!(to("http://"), None);
        assert_eq!(to("*"), None);
    }

    #[test]
    fn ages() {
        let age = |value: &'static str| {
            max_age_secs(&HeaderMap::from_iter([(
                header::CACHE_CONTROL,
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!((age("private, max-age=5"), age("Max-Age=\"7\"")), (5, 7));
        assert_eq!((age("max-age=5, no-store"), age("max-age=-1"), age("public")), (0, 0, 0));
        assert_eq!(age("max-age=99999999"), MAX_AGE_SECS);
        assert_eq!(max_age_secs(&HeaderMap::new()), 0);
    }

    #[test]
    fn what_a_knob_does_is_told_and_no_failure() {
        let status = |code: u16, headers: &[&'static str]| {
            let headers = headers
                .iter()
                .map(|name| (header::HeaderName::from_static(name), HeaderValue::from_static("3")));
            classify(StatusCode::from_u16(code).unwrap(), &headers.collect())
        };
        assert_eq!(status(200, &[]), Ok(Good::Whole));
        assert_eq!(status(200, &["x-spillway-knob"]), Ok(Good::Degraded));
        assert_eq!(status(503, &["x-spillway-tier"]), Ok(Good::Refused));
        assert_eq!(status(503, &["x-spillway-knob"]), Ok(Good::Refused));
        assert_eq!(status(404, &["x-spillway-knob"]), Err(Failure::Http4xx));
        assert_eq!(status(503, &[]), Err(Failure::Http5xx));
        assert_eq!(status(500, &["x-spillway-tier"]), Err(Failure::Http5xx));
        assert_eq!(status(404, &[]), Err(Failure::Http4xx));
    }
}
