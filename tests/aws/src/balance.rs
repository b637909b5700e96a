//! A load balancer's data plane: requests go to the targets of one rule, by its weights.
//!
//! As an ALB does, it draws a target group by weight whatever the health of its targets: groups do
//! not stand in for one another. Within a group healthy targets take turns; where none is healthy,
//! all that do not drain do, and where there is none at all the answer is 503. It counts in
//! `AWS/ApplicationELB` what an ALB counts.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use spillway_part::clock as real;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::server::{Server, ServerError, Shared};

/// Connections at once.
const CONNECTIONS_MAX: usize = 4_096;
/// Bodies are held whole: a request's and an answer's.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// An ALB's idle timeout, within which a target must answer.
const IDLE: Duration = Duration::from_secs(60);
/// Pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(20);
/// Fields that belong to a connection, not to a message.
const OF_CONNECTION: [HeaderName; 4] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::TE];

/// A load balancer that serves until it is dropped.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    _stop: DropGuard,
}

/// What it balances.
struct Rule {
    shared: Arc<Shared>,
    arn: String,
    functions: SocketAddr,
    /// The load balancer as metrics name it: `app/NAME/ID`.
    name: String,
    turn: AtomicUsize,
}

impl Balancer {
    /// Serves the rule on an address. What is drawn for functions goes to `functions`, which speaks
    /// HTTP and turns requests into events, as the local cloud's load balancer does.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(
        server: &Server,
        listen: SocketAddr,
        rule: &str,
        functions: SocketAddr,
    ) -> Result<Self, ServerError> {
        let failed = |e| ServerError::Listen(listen, e);
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let path = rule.split_once("listener-rule/").map_or("", |(_, path)| path);
        let rule = Arc::new(Rule {
            shared: server.shared.clone(),
            arn: rule.to_owned(),
            functions,
            name: path.split('/').take(3).collect::<Vec<_>>().join("/"),
            turn: AtomicUsize::new(0),
        });
        let stop = CancellationToken::new();
        let until = stop.clone();
        tokio::spawn(async move { until.run_until_cancelled(rule.serve(listener)).await });
        Ok(Self { address, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Rule {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((stream, client)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let rule = self.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let rule = rule.clone();
                    async move { Ok::<_, Infallible>(rule.answer(request, client).await) }
                });
                let _ended = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                drop(place);
            });
        }
    }

    /// The target group that is drawn, and the target whose turn it is.
    fn choose(&self) -> Option<(String, SocketAddr)> {
        let (group, targets) = self.shared.with(|aws| {
            let weights = aws.rule_weights(&self.arn);
            let total: u32 = weights.iter().map(|(_, weight)| weight).sum();
            let mut left = aws.chance() * f64::from(total);
            let drawn = weights.into_iter().find(|(_, weight)| {
                left -= f64::from(*weight);
                left < 0.0
            });
            drawn.map(|(group, _)| {
                let targets = aws.targets_in_use(&group);
                (group, targets)
            })
        })?;
        let turn = self.turn.fetch_add(1, Relaxed);
        let (_, address) = targets.get(turn % targets.len().max(1))?;
        Some((group, address.unwrap_or(self.functions)))
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        client: SocketAddr,
    ) -> Response<Full<Bytes>> {
        let Some((group, target)) = self.choose() else {
            self.count(None, "HTTPCode_ELB_5XX_Count", 1.0);
            return own(StatusCode::SERVICE_UNAVAILABLE);
        };
        self.count(Some(&group), "RequestCount", 1.0);
        let began = real::instant();
        let sent = tokio::time::timeout(IDLE, self.forward(request, client, target)).await;
        self.count(Some(&group), "TargetResponseTime", began.elapsed().as_secs_f64());
        match sent {
            Ok(Some(answer)) => {
                let class = answer.status().as_u16() / 100;
                self.count(Some(&group), &format!("HTTPCode_Target_{class}XX_Count"), 1.0);
                answer
            }
            Ok(None) => {
                self.count(None, "HTTPCode_ELB_5XX_Count", 1.0);
                own(StatusCode::BAD_GATEWAY)
            }
            Err(_) => {
                self.count(None, "HTTPCode_ELB_5XX_Count", 1.0);
                own(StatusCode::GATEWAY_TIMEOUT)
            }
        }
    }

    /// What the target answers; none when it does not.
    async fn forward(
        &self,
        request: Request<Incoming>,
        client: SocketAddr,
        target: SocketAddr,
    ) -> Option<Response<Full<Bytes>>> {
        let (mut head, body) = request.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await.ok()?.to_bytes();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = format!("http://{target}{path}").parse::<Uri>().ok()?;
        strip(&mut head.headers);
        let before = head.headers.get("x-forwarded-for").and_then(|v| v.to_str().ok());
        let chain = match before {
            Some(before) => format!("{before}, {}", client.ip()),
            None => client.ip().to_string(),
        };
        head.headers.insert("x-forwarded-for", HeaderValue::from_str(&chain).ok()?);
        head.headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        head.headers.insert("x-forwarded-port", HeaderValue::from_static("443"));
        let request = Request::from_parts(head, Full::new(body));
        let (mut head, body) = self.shared.client.request(request).await.ok()?.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await.ok()?.to_bytes();
        strip(&mut head.headers);
        Some(Response::from_parts(head, Full::new(body)))
    }

    fn count(&self, group: Option<&str>, metric: &str, value: f64) {
        let balancer = ("LoadBalancer", self.name.as_str());
        let group = group.and_then(|arn| arn.rsplit_once(':')).map(|(_, group)| group);
        self.shared.with(|aws| {
            aws.put_metric("AWS/ApplicationELB", metric, &[balancer], value);
            if let Some(group) = group {
                let dimensions = [balancer, ("TargetGroup", group)];
                aws.put_metric("AWS/ApplicationELB", metric, &dimensions, value);
            }
        });
    }
}

fn strip(headers: &mut HeaderMap) {
    for name in OF_CONNECTION {
        headers.remove(name);
    }
}

/// An answer of the load balancer's own.
fn own(status: StatusCode) -> Response<Full<Bytes>> {
    let mut answer =
        Response::new(Full::new(Bytes::from_static(b"the load balancer's own answer\n")));
    *answer.status_mut() = status;
    answer
}
