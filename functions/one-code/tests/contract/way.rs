//! The ways by which a request reaches the service, and its answer the client.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use spillway_local::event::{Incoming, answer, event, trace_id};
use spillway_one_code::alb;
use spillway_part::Shutdown;
use spillway_part::serve::{Limits, http};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::DropGuard;
use tower::ServiceExt as _;

/// By which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Straight to the router.
    Straight,
    /// By HTTP, as at home.
    Http,
    /// As events of an ALB, with all values of a header or parameter, or the last.
    Alb { multi_value: bool },
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [
        Self::Straight,
        Self::Http,
        Self::Alb { multi_value: true },
        Self::Alb { multi_value: false },
    ];
}

/// Where a router is reached.
pub(crate) enum Door {
    Straight(Router),
    Http(SocketAddr, #[expect(dead_code, reason = "ends the listener")] DropGuard),
    Alb(Router, bool),
}

impl Door {
    pub(crate) fn open(way: Way, router: Router) -> Self {
        match way {
            Way::Straight => Self::Straight(router),
            Way::Alb { multi_value } => Self::Alb(router, multi_value),
            Way::Http => {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                listener.set_nonblocking(true).unwrap();
                let address = listener.local_addr().unwrap();
                let listener = TcpListener::from_std(listener).unwrap();
                let shutdown = Shutdown::new();
                tokio::spawn(http(listener, router, Limits::default(), shutdown.clone()));
                Self::Http(address, shutdown.drop_guard())
            }
        }
    }

    pub(crate) async fn send(&self, mut request: Request<Bytes>) -> Response<Bytes> {
        match self {
            Self::Straight(router) => {
                let answer = router.clone().oneshot(request.map(Body::from)).await.unwrap();
                let (head, body) = answer.into_parts();
                Response::from_parts(head, body.collect().await.unwrap().to_bytes())
            }
            Self::Http(address, _) => {
                let host = address.to_string().parse().unwrap();
                request.headers_mut().entry("host").or_insert(host);
                by_http(*address, request).await
            }
            Self::Alb(router, multi_value) => {
                let host = "cloud.example.test".parse().unwrap();
                request.headers_mut().entry("host").or_insert(host);
                by_alb(router.clone(), *multi_value, &request).await
            }
        }
    }
}

pub(crate) async fn by_http(to: SocketAddr, request: Request<Bytes>) -> Response<Bytes> {
    let exchange = async {
        let stream = TcpStream::connect(to).await.unwrap();
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let (head, body) = sender.send_request(request.map(Full::new)).await.unwrap().into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    };
    tokio::time::timeout(Duration::from_secs(20), exchange).await.unwrap()
}

async fn by_alb(router: Router, multi_value: bool, request: &Request<Bytes>) -> Response<Bytes> {
    let answered = answered(router, multi_value, request).await;
    answer(answered.as_bytes(), multi_value).unwrap()
}

/// The JSON that a load balancer is given.
pub(crate) async fn answered(
    router: Router,
    multi_value: bool,
    request: &Request<Bytes>,
) -> String {
    let event = event(&Incoming {
        target_group_arn: "arn:aws:elasticloadbalancing:local:0:targetgroup/one-code/0",
        multi_value,
        method: request.method(),
        uri: request.uri(),
        headers: request.headers(),
        body: request.body(),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 443,
        trace_id: &trace_id(request.headers(), "1-5bdb40ca-556d8b0c50dc66f0511bf520"),
    })
    .unwrap();
    let answered = alb::serve(router, serde_json::from_slice(&event).unwrap()).await.unwrap();
    answered.get().to_owned()
}
