//! The service at home and as processes behind the local load balancer, on the same data: every answer
//! is the same, byte by byte.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use spillway_local::Listeners;
use spillway_model::{Config, Plan};
use spillway_one_code::onprem::{self, Environment};
use spillway_part::Shutdown;
use spillway_part::follow::Publisher;
use tokio::net::{TcpListener, TcpStream};

use crate::site::{Site, key};
use crate::{SOON, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_one-code");
const MEGABYTE: usize = 1024 * 1024;

/// What a client is told, but for what differs by the time of an answer or by who gives it.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: String,
}

async fn send(to: SocketAddr, mut request: Request<Bytes>) -> Told {
    request.headers_mut().insert("host", "code.example.test".parse().unwrap());
    let is_head = request.method() == http::Method::HEAD;
    let exchange = async {
        let stream = TcpStream::connect(to).await.unwrap();
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let (head, body) = sender.send_request(request.map(Full::new)).await.unwrap().into_parts();
        (head.status, head.headers, body.collect().await.unwrap().to_bytes())
    };
    let (status, mut headers, body) = tokio::time::timeout(SOON, exchange).await.unwrap();
    if is_head {
        // The load balancer does not know the length of what is not sent (RFC 9110 §8.6 allows that).
        headers.remove("content-length");
    }
    Told { status, headers: lasting(&headers), body: timeless(&String::from_utf8_lossy(&body)) }
}

fn lasting(headers: &HeaderMap) -> Vec<(String, String)> {
    let differing = ["date", "x-spillway-served-by", "x-spillway-function"];
    let mut lasting: Vec<_> = headers
        .iter()
        .filter(|(name, _)| !differing.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    lasting.sort();
    lasting
}

/// An answer that comes from a cache says of when it is.
fn timeless(body: &str) -> String {
    match body.split_once("\"as_of\":\"") {
        Some((before, rest)) => {
            let (_, after) = rest.split_once('"').unwrap();
            format!("{before}\"as_of\":\"{after}")
        }
        None => body.to_owned(),
    }
}

/// A local cloud of the real program; ends with `shutdown`.
async fn cloud(site: &Site, multi_value: bool, shutdown: &Shutdown) -> SocketAddr {
    let mut config = Config::clone(&site.config);
    let local = config.cloud.local.as_mut().unwrap();
    (local.cold_start_ms, local.multi_value_headers) = (0, multi_value);
    // All paths lead to the function: what there is behind them is for it to say.
    let mut every = config.routes[0].clone();
    (every.method, every.path, every.deadline_ms) = (None, "/{*rest}".into(), 20_000);
    config.routes = vec![every];
    let [front, admin] = [
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    ];
    let address = front.local_addr().unwrap();
    let (file, stop) = (site.config_file.clone(), shutdown.clone());
    tokio::spawn(async move {
        let (_publisher, plans) = Publisher::new(Plan::initial([], 5));
        let (config, listeners) = (Arc::new(config), Listeners { front, admin });
        spillway_local::serve(&config, &file, Path::new(PROGRAM), listeners, plans, stop).await
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn home_and_cloud_answer_alike() {
    let site = Site::new();
    site.agent.offer(3, &[], &key());
    site.start_agent().await;
    let shutdown = Shutdown::new();
    let _ended = shutdown.clone().drop_guard();
    let environment = Environment { seed: 50, ..Environment::default() };
    let home = site.config.sites[0].services[0].listen;
    let (config, stop) = (site.config.clone(), shutdown.clone());
    let running =
        tokio::spawn(async move { onprem::run(config, "east-one-code", environment, stop).await });
    until("it listens", async || TcpStream::connect(home).await.is_ok()).await;

    for multi_value in [true, false] {
        let cloud = cloud(&site, multi_value, &shutdown).await;
        for request in requests(multi_value) {
            let told = async |to| send(to, request.clone()).await;
            let (mut at_home, mut in_cloud) = (told(home).await, told(cloud).await);
            if at_home != in_cloud {
                // The minute has turned in between, and with it the codes.
                (at_home, in_cloud) = (told(home).await, told(cloud).await);
            }
            assert_eq!(at_home, in_cloud, "{} {}", request.method(), request.uri());
        }
        writes(home, cloud, multi_value).await;
        // The load balancer has limits of its own, with the same status.
        for bytes in [20_000, MEGABYTE, MEGABYTE + 1] {
            let request = Request::post("/v1/scans").body(Bytes::from(vec![b' '; bytes])).unwrap();
            assert_eq!(send(cloud, request).await.status, StatusCode::PAYLOAD_TOO_LARGE, "{bytes}");
        }
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

/// Requests that change nothing.
fn requests(multi_value: bool) -> Vec<Request<Bytes>> {
    let mut requests = Vec::new();
    let mut of = |method: &str, path: &str, body: &[u8]| {
        let request = Request::builder().method(method).uri(path);
        requests.push(request.body(Bytes::copy_from_slice(body)).unwrap());
    };
    for path in [
        "/healthz",
        "/v1/users/u000001/code",
        "/v1/users/u000001/qr",
        "/v1/users/u000001/scans",
        "/v1/users/u000001/scans?limit=%32&x=%26limit%3D9",
        "/v1/users/u000001/scans?limit=%2532",
        "/v1/users/u000001/scans?limit=+2",
        "/v1/users/u000001/scans?limit",
        "/v1/venues/v100/stats",
        "/v1/notices",
        "/v1/users/u999999/code",
        "/v1/users/nobody/qr",
        "/v1/users/%2e%2e/code",
        "/v1/../healthz",
        "/v1//notices",
        "/no/such/path",
    ] {
        for method in ["GET", "HEAD", "DELETE"] {
            of(method, path, b"");
        }
    }
    if multi_value {
        of("GET", "/v1/users/u000001/scans?limit=1&limit=2", b"");
    }
    for body in [&b""[..], b"{", b"\xff\x00", br#"{"user": "u999", "venue": "v1"}"#] {
        of("POST", "/v1/scans", body);
        of("POST", "/v1/users", body);
        of("POST", "/v1/notices", body);
    }
    requests
}

/// The same two writes on either side, each with a document of its own.
async fn writes(home: SocketAddr, cloud: SocketAddr, multi_value: bool) {
    let mut told = Vec::new();
    for (to, number) in [(home, "HOME"), (cloud, "CLOUD")] {
        let document = format!(r#"{{"name": "Ada", "id_number": "{number}-{multi_value}"}}"#);
        for media_type in ["application/json", "application/octet-stream"] {
            let request = Request::post("/v1/users").header("content-type", media_type);
            let answer = send(to, request.body(document.clone().into()).unwrap()).await;
            let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            let user = json["user"].as_str().unwrap();
            let scan = Bytes::from(format!(r#"{{"user": "{user}", "venue": "v077"}}"#));
            let scanned = send(to, Request::post("/v1/scans").body(scan).unwrap()).await;
            told.push((answer.status, answer.headers, scanned.status, scanned.headers));
        }
    }
    assert_eq!((told[0].0.as_u16(), told[1].0.as_u16()), (201, 200));
    assert_eq!(told[..2], told[2..]);
}
