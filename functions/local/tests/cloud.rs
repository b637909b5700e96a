//! The local cloud with real function processes.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use spillway_local::{Listeners, LocalCloudError, serve};
use spillway_model::config::LocalCloud;
use spillway_model::load::{FunctionsLoad, Load};
use spillway_model::{Config, Plan, RouteId};
use spillway_part::Shutdown;
use spillway_part::client::Client;
use spillway_part::follow::Publisher;
use spillway_part::start::load_config;
use spillway_test_support::Block;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/spillway.toml");
const PATIENCE: Duration = Duration::from_secs(20);

/// An example of this package, which cargo builds beside its tests.
const HOST: &str = "cloud.example.test";

fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples").join(name)
}

/// The example's configuration with the routes these tests need and no cold-start delay.
fn config(change: impl FnOnce(&mut LocalCloud)) -> Config {
    let mut config = Config::clone(&load_config(Path::new(CONFIG)).unwrap());
    let local = config.cloud.local.as_mut().unwrap();
    local.cold_start_ms = 0;
    change(local);
    let mut any = config.routes[0].clone();
    (any.id, any.method, any.path) = (RouteId::new("any").unwrap(), None, "/any/{*rest}".into());
    any.deadline_ms = 20_000;
    let mut hasty = any.clone();
    (hasty.id, hasty.path) = (RouteId::new("hasty").unwrap(), "/hasty".into());
    hasty.deadline_ms = 700;
    let mut get = any.clone();
    (get.id, get.method, get.path) =
        (RouteId::new("get").unwrap(), Some("GET".into()), "/get".into());
    config.routes = vec![any, hasty, get];
    config
}

struct Cloud {
    front: SocketAddr,
    admin: SocketAddr,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), LocalCloudError>>,
}

impl Cloud {
    async fn start(change: impl FnOnce(&mut LocalCloud)) -> Self {
        Self::of(config(change), example("echo")).await
    }

    async fn of(config: Config, program: PathBuf) -> Self {
        let [front, admin] = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let addresses = (front.local_addr().unwrap(), admin.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        let running = tokio::spawn(async move {
            let (_publisher, plans) = Publisher::new(Plan::initial([], 5));
            let listeners = Listeners { front, admin };
            serve(&config, Path::new(CONFIG), &program, listeners, plans, stop).await
        });
        Self { front: addresses.0, admin: addresses.1, shutdown, running }
    }

    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.front).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        send(&mut self.connect().await, request).await
    }

    async fn get(&self, path: &str) -> Response<Bytes> {
        self.send(get(path)).await
    }

    /// Sends a request that the function holds, and waits until it does.
    async fn hold(&self, path: &str) -> Held {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut sender = self.connect().await;
        let request = get(&format!("{path}?hold={port}"));
        let answer = tokio::spawn(async move { send(&mut sender, request).await });
        let (stream, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        Held { stream, answer }
    }

    async fn load(&self) -> Load {
        Client::default().get(self.admin, "/v1/load", PATIENCE).await.unwrap()
    }

    async fn functions(&self) -> FunctionsLoad {
        self.load().await.functions.unwrap()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap().unwrap();
    }
}

/// A request in the middle of a function.
struct Held {
    stream: TcpStream,
    answer: JoinHandle<Response<Bytes>>,
}

impl Held {
    async fn release(self) -> Response<Bytes> {
        drop(self.stream);
        self.answer.await.unwrap()
    }
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", HOST).body(Full::default()).unwrap()
}

fn post(path: &str, media_type: &str, body: &[u8]) -> Request<Full<Bytes>> {
    let request = Request::post(path).header("host", "h").header("content-type", media_type);
    request.body(Full::from(body.to_vec())).unwrap()
}

async fn send(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Response<Bytes> {
    let exchange = async {
        sender.ready().await.unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("an answer")
}

fn seen(response: &Response<Bytes>) -> Value {
    assert_eq!(response.status(), 200, "{response:?}");
    serde_json::from_slice(response.body()).unwrap()
}

fn pid(response: &Response<Bytes>) -> u64 {
    seen(response)["pid"].as_u64().unwrap()
}

fn by(response: &Response<Bytes>) -> String {
    response.headers()["x-spillway-function"].to_str().unwrap().to_owned()
}

/// Whether a process is there, even as a zombie.
fn exists(pid: u64) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    spillway_test_support::until(what, PATIENCE, condition).await;
}

fn assert_refused(response: &Response<Bytes>, status: u16, reason: &str) {
    let body = String::from_utf8_lossy(response.body());
    assert_eq!(response.status().as_u16(), status, "{body}");
    assert!(body.contains(reason), "{body}");
    assert_eq!(response.headers()["x-spillway-served-by"], "cloud");
    assert!(!response.headers().contains_key("x-spillway-function"));
    // What a client can quote, and the log has.
    let id = response.headers()["x-request-id"].to_str().unwrap();
    assert!(id.starts_with("1-"), "{id}");
    if !response.body().is_empty() {
        assert_eq!(response.headers()["content-type"], "application/json");
        let told: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(told["request_id"], id);
    }
}

/// Sends bytes as they are; the whole answer as text. The server closes.
async fn raw(cloud: &Cloud, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(cloud.front).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, read).await.expect("the connection is closed").unwrap();
    answer
}

#[tokio::test]
async fn heads_that_an_alb_refuses_reach_no_function() {
    let cloud = Cloud::start(|_| {}).await;
    let head = |fields: &str| format!("GET /any/x HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let field = |bytes: usize| format!("x-long: {}\r\n", "a".repeat(bytes));
    for (request, status, reason) in [
        ("GET /any/x HTTP/1.1\nHost: h\n\n".to_owned(), 400, "line end"),
        (head("a: b\nc: d\r\n"), 400, "line end"),
        (head(&field(17 * 1024)), 400, "16 K"),
        (head(&field(100 * 1024)), 400, "too large"),
        (head(&field(15 * 1024).repeat(5)), 400, "too large"),
        (format!("GET /any/{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(17 * 1024)), 400, "too long"),
        ("GET /any/x HTTP/1.1\r\n\r\n".to_owned(), 400, "Host"),
        (head("Host: i\r\n"), 400, "twice"),
        ("GET /any/x HTTP/2.0\r\nHost: h\r\n\r\n".to_owned(), 505, "HTTP/1"),
        ("TRACE /any/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 405, "TRACE"),
        (
            "POST /any/x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
            400,
            "both",
        ),
    ] {
        // A head within the limits of reading is refused without closing.
        let request = request.replacen("Host: h\r\n", "Host: h\r\nConnection: close\r\n", 1);
        let answer = raw(&cloud, request.as_bytes()).await;
        let start: String = request.chars().take(60).collect();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{start:?}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("x-request-id: 1-") && head.contains("connection: close"), "{head}");
        let told: Value = serde_json::from_str(body).unwrap();
        assert!(told["error"].as_str().unwrap().contains(reason), "{start:?}: {answer}");
    }
    let most = head(&format!("Connection: close\r\n{}", field(15 * 1024).repeat(4)));
    assert!(raw(&cloud, most.as_bytes()).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(cloud.functions().await.invocations, 1);
    cloud.stop().await;
}

#[tokio::test]
async fn a_request_is_served_by_a_function_process() {
    let cloud = Cloud::start(|local| local.cold_start_ms = 50).await;
    let response = cloud.get("/any/a%20b?q=%26x&n=1").await;
    assert_eq!(by(&response), "one-code/1");
    assert_eq!(response.headers()["x-spillway-served-by"], "cloud");
    let seen = seen(&response);
    let function = seen["pid"].as_u64().unwrap();
    assert_ne!(function, u64::from(std::process::id()));
    assert!(exists(function));
    assert_eq!(seen["method"], "GET");
    assert_eq!(seen["path"], "/any/a%20b");
    assert_eq!(seen["headers"]["host"], "cloud.example.test");
    assert_eq!(seen["headers"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen["headers"]["x-forwarded-port"], cloud.front.port().to_string());
    let environment = &seen["environment"];
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_NAME"], "one-code");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_VERSION"], "$LATEST");
    assert_eq!(environment["AWS_LAMBDA_LOG_GROUP_NAME"], "/aws/lambda/one-code");
    assert_eq!(environment["AWS_REGION"], "local");
    assert_eq!(environment["SPILLWAY_CONFIG"], CONFIG);
    assert!(environment.get("CARGO_MANIFEST_DIR").is_none(), "the environment is clean");

    let load = cloud.load().await;
    let route = &load.routes[&RouteId::new("any").unwrap()];
    assert_eq!((route.arrivals, route.served, route.failed), (1, 1, 0));
    assert!(route.served_bytes > response.body().len() as u64);
    assert_eq!(load.latency.iter().sum::<u64>(), 1);
    let functions = load.functions.unwrap();
    assert_eq!((functions.started, functions.environments, functions.busy), (1, 1, 0));
    assert_eq!((functions.invocations, functions.throttled), (1, 0));
    assert!(functions.cold_start_ms >= 50.0);
    cloud.stop().await;
}

#[tokio::test]
async fn an_environment_has_one_request_at_a_time_and_the_last_used_is_next() {
    let cloud = Cloud::start(|_| {}).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(cloud.hold("/any/x").await);
    }
    assert_eq!(cloud.functions().await.busy, 3);
    let mut pids = BTreeSet::new();
    let mut last = String::new();
    for held in held {
        let response = held.release().await;
        assert_eq!(seen(&response)["at_work"], 1);
        pids.insert(pid(&response));
        last = by(&response);
    }
    assert_eq!(pids.len(), 3);
    for _ in 0..5 {
        assert_eq!(by(&cloud.get("/any/x").await), last);
    }
    let functions = cloud.functions().await;
    assert_eq!((functions.started, functions.environments, functions.busy), (3, 3, 0));
    cloud.stop().await;
}

#[tokio::test]
async fn a_request_is_throttled_at_the_concurrency() {
    let cloud = Cloud::start(|local| local.environments_max = 1).await;
    let held = cloud.hold("/any/x").await;
    assert_refused(&cloud.get("/any/x").await, 502, "LambdaThrottling");
    assert_eq!(held.release().await.status(), 200);
    assert_eq!(cloud.get("/any/x").await.status(), 200);
    let load = cloud.load().await;
    assert_eq!(load.functions.unwrap().throttled, 1);
    let route = &load.routes[&RouteId::new("any").unwrap()];
    assert_eq!((route.arrivals, route.served, route.failed), (3, 2, 1));
    cloud.stop().await;
}

#[tokio::test]
async fn a_request_is_throttled_at_the_burst() {
    // Only a burst of 0 does not depend on time; the tests of the pool have the others.
    let cloud = Cloud::start(|local| local.burst_per_10s = 0).await;
    assert_refused(&cloud.get("/any/x").await, 502, "LambdaThrottling");
    let functions = cloud.functions().await;
    assert_eq!((functions.throttled, functions.burst_left, functions.started), (1, 0, 0));
    cloud.stop().await;

    let cloud = Cloud::start(|local| local.environments_max = 0).await;
    assert_refused(&cloud.get("/any/x").await, 502, "LambdaThrottling");
    cloud.stop().await;
}

#[tokio::test]
async fn a_crash_fails_its_request_alone() {
    let cloud = Cloud::start(|local| local.environments_max = 2).await;
    let held = cloud.hold("/any/x").await;
    assert_refused(&cloud.get("/any/x?crash").await, 502, "LambdaUnhandled");
    assert_eq!(by(&cloud.get("/any/x").await), "one-code/3", "its place is free again");
    assert_eq!(by(&held.release().await), "one-code/1");
    assert_refused(&cloud.get("/any/x?error").await, 502, "LambdaUnhandled");
    assert_eq!(cloud.functions().await.environments, 2, "an error ends no environment");
    cloud.stop().await;
}

#[tokio::test]
async fn a_process_that_dies_idle_costs_no_request() {
    let cloud = Cloud::start(|_| {}).await;
    let first = pid(&cloud.get("/any/x").await);
    kill(first);
    until("it is reaped", async || !exists(first)).await;
    assert_ne!(pid(&cloud.get("/any/x").await), first);
    cloud.stop().await;
    assert!(!exists(first));
}

fn kill(pid: u64) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_late_answer_is_a_504_and_ends_the_environment() {
    let cloud = Cloud::start(|_| {}).await;
    let warm = pid(&cloud.get("/any/x").await);
    let held = cloud.hold("/hasty").await;
    assert_refused(&held.answer.await.unwrap(), 504, "deadline");
    assert_ne!(pid(&cloud.get("/any/x").await), warm);
    until("the stuck process is gone", async || !exists(warm)).await;
    cloud.stop().await;
}

#[tokio::test]
async fn a_program_that_cannot_serve_fails_its_requests() {
    let cloud = Cloud::of(config(|_| {}), "/bin/false".into()).await;
    for _ in 0..2 {
        assert_refused(&cloud.get("/any/x").await, 502, "LambdaUnhandled");
    }
    assert_eq!(cloud.functions().await.environments, 0);
    cloud.stop().await;

    let missing = Cloud::of(config(|_| {}), "/nowhere/one-code".into()).await;
    let error = missing.running.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "cannot run functions as /nowhere/one-code");
}

#[tokio::test]
async fn bodies_go_both_ways_unchanged() {
    let cloud = Cloud::start(|_| {}).await;
    let every_byte: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for (media_type, body) in [
        ("application/octet-stream", every_byte.as_slice()),
        ("image/svg+xml", "<svg>你好</svg>".as_bytes()),
        ("text/plain", "你好\r\n\0\"\\".as_bytes()),
        ("application/json; charset=utf-8", b"{\"a\":[1]}"),
        ("text/plain", b""),
    ] {
        let response = cloud.send(post("/any/x?raw=1", media_type, body)).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.body().as_ref(), body, "{media_type}");
        assert_eq!(response.headers()["content-type"], media_type);
        assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
    }
    let kind = async |media_type, body| {
        seen(&cloud.send(post("/any/x", media_type, body)).await)["kind"].clone()
    };
    assert_eq!(kind("application/json", b"{}").await, "text");
    assert_eq!(kind("application/octet-stream", b"{}").await, "binary");
    assert_eq!(kind("text/plain", b"\xff").await, "binary", "text that is no text");
    cloud.stop().await;
}

#[tokio::test]
async fn without_multi_value_headers_the_last_value_counts() {
    for (multi_value, seen_cookie, seen_key) in [(true, "a=1", "v1"), (false, "b=2", "v2")] {
        let cloud = Cloud::start(|local| local.multi_value_headers = multi_value).await;
        let request = Request::get("/any/x?k=v1&k=v2").header("host", HOST);
        let request = request.header("cookie", "a=1").header("cookie", "b=2");
        let echoed = cloud.send(request.body(Full::default()).unwrap()).await;
        let echoed = seen(&echoed);
        // The function shows the last of the headers it sees, and the first of the parameters.
        assert_eq!(echoed["headers"]["cookie"], "b=2");
        assert_eq!(echoed["first"], serde_json::json!({"cookie": seen_cookie, "k": seen_key}));
        let answer = cloud.send(post("/any/x?raw=1", "text/plain", b"")).await;
        let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().collect();
        assert_eq!(cookies.len(), if multi_value { 2 } else { 1 }, "{cookies:?}");
        cloud.stop().await;
    }
}

#[tokio::test]
async fn sizes_are_those_of_an_alb() {
    let cloud = Cloud::start(|_| {}).await;
    let most = vec![b'x'; 1024 * 1024];
    let response = cloud.send(post("/any/x?bytes=5", "text/plain", &most)).await;
    assert_eq!(response.body(), "xxxxx");
    let more = vec![b'x'; 1024 * 1024 + 1];
    let response = cloud.send(post("/any/x", "text/plain", &more)).await;
    assert_refused(&response, 413, "LambdaRequestTooLarge");
    assert_eq!(cloud.get("/any/x?bytes=1000000").await.body().len(), 1_000_000);
    assert_refused(&cloud.get("/any/x?bytes=2000000").await, 502, "LambdaResponseTooLarge");
    assert_refused(&cloud.get("/any/x?bytes=7000000").await, 502, "LambdaUnhandled");
    assert_eq!(cloud.get("/any/x").await.status(), 200);
    assert_eq!(cloud.functions().await.started, 1);
    cloud.stop().await;
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let cloud = Cloud::start(|_| {}).await;
    let mut sender = cloud.connect().await;
    let head = Request::head("/get").header("host", HOST).body(Full::default()).unwrap();
    assert_eq!(send(&mut sender, get("/any/x")).await.status(), 200);
    let nothing = send(&mut sender, head).await;
    assert_eq!((nothing.status(), nothing.body().len()), (StatusCode::OK, 0));
    assert_refused(&send(&mut sender, get("/nowhere")).await, 404, "no route");
    // Rules look at paths alone: which methods there are is for the function to say.
    let posted = send(&mut sender, post("/get", "text/plain", b"")).await;
    assert_eq!(seen(&posted)["method"], "POST");
    let addresses = vec!["127.0.0.1"; 31].join(", ");
    let relayed = Request::get("/any/x").header("host", HOST).header("x-forwarded-for", addresses);
    let relayed = relayed.body(Full::default()).unwrap();
    assert_refused(&send(&mut sender, relayed).await, 463, "30 addresses");
    let socket = Request::get("/any/x").header("host", HOST);
    let socket = socket.header("upgrade", "websocket").header("connection", "upgrade");
    let socket = socket.body(Full::default()).unwrap();
    assert_refused(&cloud.send(socket).await, StatusCode::BAD_REQUEST.as_u16(), "upgrade");
    assert_eq!(cloud.functions().await.started, 1);
    cloud.stop().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_the_environment_usable() {
    let cloud = Cloud::start(|_| {}).await;
    let held = cloud.hold("/any/x").await;
    held.answer.abort();
    until("the hang-up is counted", async || {
        cloud.load().await.routes[&RouteId::new("any").unwrap()].failed == 1
    })
    .await;
    assert_eq!(cloud.functions().await.busy, 1, "the invocation goes on");
    drop(held.stream);
    until("the invocation ends", async || cloud.functions().await.busy == 0).await;
    assert_eq!(by(&cloud.get("/any/x").await), "one-code/1");
    cloud.stop().await;
}

#[tokio::test]
async fn idle_environments_end() {
    let cloud = Cloud::start(|local| local.idle_secs = 1).await;
    let process = pid(&cloud.get("/any/x").await);
    until("the idle process is gone", async || !exists(process)).await;
    assert_eq!(cloud.functions().await.environments, 0);
    assert_eq!(by(&cloud.get("/any/x").await), "one-code/2");
    cloud.stop().await;
}

#[tokio::test]
async fn a_shutdown_lets_requests_finish_and_leaves_no_process() {
    let cloud = Cloud::start(|_| {}).await;
    let [first, second] = [cloud.hold("/any/x").await, cloud.hold("/any/x").await];
    let idle = pid(&first.release().await);
    cloud.shutdown.cancel();
    until("nothing is accepted", async || TcpStream::connect(cloud.front).await.is_err()).await;
    let finished = second.release().await;
    let busy = pid(&finished);
    cloud.stop().await;
    assert!(!exists(idle) && !exists(busy));
}

#[tokio::test]
async fn a_killed_cloud_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    // The point of RFC 8032 §7.1 test 1: any public key will do.
    let key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n";
    std::fs::write(state.join("plan.pub"), key).unwrap();
    let block = Block::claim();
    let [front, admin, agent] = [1, 2, 3].map(|host| SocketAddr::from((block.address(host), 8080)));
    let example = std::fs::read_to_string(CONFIG).unwrap();
    let text = example
        .replace("../var", state.to_str().unwrap())
        .replace("127.0.2.1", &front.ip().to_string())
        .replace("127.0.0.1:9401", &admin.to_string())
        .replace("127.0.0.1:9100", &agent.to_string());
    let file = folder.path().join("spillway.toml");
    std::fs::write(&file, text).unwrap();

    let mut cloud = tokio::process::Command::new(self::example("cloud"))
        .args([&file, &self::example("echo")])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("the cloud is ready", async || {
        let path = "/healthz";
        Client::default()
            .call(Method::GET, admin, path, Bytes::new(), PATIENCE)
            .await
            .is_ok_and(|answer| answer.status == 200)
    })
    .await;
    let stream = TcpStream::connect(front).await.unwrap();
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let process = pid(&send(&mut sender, get("/v1/notices")).await);
    assert!(exists(process));
    cloud.kill().await.unwrap();
    until("the function is gone", async || !exists(process)).await;
}
