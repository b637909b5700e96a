//! Requests that are served at home.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::upstream::{Upstream, nowhere, raw};
use crate::world::Setup;

#[tokio::test]
async fn requests_are_routed_and_their_heads_rewritten() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    let mut client = world.client().await;

    client
        .send(
            "POST http://code.example.test/items?q=1 HTTP/1.1\r\nHost: code.example.test\r\n\
             X-Request-Id: abc-1\r\nX-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n\
             Connection: x-hidden\r\nX-Hidden: 1\r\nTE: trailers\r\nUpgrade: h2c\r\n\
             Content-Length: 5\r\n\r\nhello",
        )
        .await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "one hello"));
    assert_eq!(answer.field("x-request-id"), Some("abc-1"));
    assert_eq!(answer.field("x-spillway-served-by"), Some("east"));
    assert_eq!(answer.field("x-spillway-generation"), Some("1"));
    assert_eq!(answer.field("x-public"), Some("1"));
    assert_eq!(answer.field("x-private"), None, "named by Connection");

    let seen = service.seen().pop().unwrap();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/items?q=1"));
    let field = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(field("x-request-id"), Some("abc-1"));
    assert_eq!(field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(field("x-forwarded-host"), Some("code.example.test"));
    assert_eq!(field("host"), Some("code.example.test"));
    for gone in ["x-hidden", "te", "upgrade", "connection", "forwarded", "x-spillway-hop"] {
        assert_eq!(field(gone), None, "{gone}");
    }

    let missing = client.get("/nothing").await;
    assert_eq!(missing.status, 404);
    let id = missing.json()["request_id"].as_str().unwrap().to_owned();
    assert_eq!((id.len(), missing.field("x-request-id")), (32, Some(id.as_str())));
    let method = client.get("/items").await;
    assert_eq!((method.status, method.field("allow")), (405, Some("POST")));

    let load = world.load().await;
    let unrouted = &load.routes[&spillway_model::RouteId::new("unrouted").unwrap()];
    assert_eq!(unrouted.arrivals, 2);
    let lines = world.end().await;
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["outcome"], "served");
    assert_eq!(lines[0]["client"], "127.0.0.0/24");
    assert_eq!((&lines[0]["path"], &lines[1]["path"]), (&"/items".into(), &"/*".into()));
    assert_eq!(lines[0]["upstream"], "one");
    assert_eq!((&lines[0]["status"], &lines[0]["generation"]), (&200.into(), &1.into()));
    assert_eq!((&lines[1]["outcome"], &lines[1]["route"]), (&"refused".into(), &"unrouted".into()));
}

#[tokio::test]
async fn the_access_log_tells_the_route_and_not_who_asked() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    let mut client = world.client().await;
    for path in
        ["/items/7f3a9c?token=7f3a9c", "/any/7f3a9c/x", "/items/7f3a9c/more", "/7f3a9c", "/items"]
    {
        client.get(path).await;
    }
    let lines = world.end().await;
    let paths: Vec<_> = lines.iter().map(|line| line["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/items/{id}", "/any/{*rest}", "/items/*/*", "/*", "/items"]);
    assert!(lines.iter().all(|line| !line.to_string().contains("7f3a9c")), "{lines:?}");
}

#[tokio::test]
async fn head_is_answered_without_a_body_and_the_connection_goes_on() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    let mut client = world.client().await;
    client
        .send("HEAD /items/1 HTTP/1.1\r\nHost: code.example.test\r\n\r\nGET /items/2 HTTP/1.1\r\nHost: code.example.test\r\n\r\n")
        .await;
    // The length is that of the body GET would have; none follows.
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(client.byte().await));
    }
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: 4"), "{head}");
    assert_eq!(client.answer().await.body, "one ");
    assert_eq!(service.seen().len(), 2);
}

#[tokio::test]
async fn connections_to_an_upstream_are_reused_and_counted() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    for _ in 0..3 {
        let mut client = world.client().await;
        for i in 0..10 {
            assert_eq!(client.get(&format!("/items/{i}")).await.status, 200);
        }
    }
    assert_eq!(service.connections(), 1);
    let item = world.ended("item", 30).await;
    assert_eq!((item.arrivals, item.served), (30, 30));
    assert_eq!(world.load().await.latency.iter().sum::<u64>(), 30);
    assert_eq!(item.served_bytes, item.response_bytes);
    assert!((30 * 200..30 * 500).contains(&item.served_bytes), "{}", item.served_bytes);
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    let mut client = world.client().await;
    // The body follows only when it is asked for.
    client
        .send(
            "POST /any/x HTTP/1.1\r\nHost: code.example.test\r\nTransfer-Encoding: chunked\r\n\
             Expect: 100-continue\r\n\r\n",
        )
        .await;
    assert!(client.line().await.starts_with("HTTP/1.1 100"));
    assert_eq!(client.line().await, "");
    let part = "x".repeat(1000);
    for _ in 0..60 {
        client.send(format!("3e8;ignored=1\r\n{part}\r\n")).await;
    }
    client.send("0\r\nTrailer: dropped\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.len()), (200, 60_004));
    let seen = service.seen().pop().unwrap();
    assert!(!seen.headers.contains_key("expect"));
    assert_eq!(seen.body.len(), 60_000);
    assert_eq!(client.get("/items/1").await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn a_deadline_is_a_504() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    let mut client = world.client().await;
    let answer = client.get("/home/wait").await;
    assert_eq!(answer.status, 504);
    assert!(answer.json()["error"].as_str().unwrap().contains("in time"));
    assert_eq!(world.ended("home", 1).await.failed, 1);
}

#[tokio::test]
async fn a_dead_upstream_costs_no_request() {
    let service = Upstream::start("one").await;
    let mut setup = Setup::of(&[&service]);
    setup.services.push(("dead".to_owned(), nowhere().await));
    setup.options.health.period = Duration::from_secs(3600);
    setup.options.pool.eject = Duration::from_secs(3600);
    let world = setup.start().await;
    let mut client = world.client().await;
    for i in 0..40 {
        assert_eq!(client.get(&format!("/items/{i}")).await.status, 200);
        let body = "hello";
        client
            .send(format!(
                "POST /items HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 5\r\n\r\n{body}"
            ))
            .await;
        assert_eq!(client.answer().await.body, "one hello");
    }
    assert_eq!(world.ended("item", 40).await.served, 40);
    let dead = &world.load().await.upstreams["dead"];
    assert!(dead.failures > 0, "it was tried, or the test shows nothing");
    assert!(!dead.healthy, "it is passed over");
}

#[tokio::test]
async fn active_checks_take_an_upstream_out_and_bring_it_back() {
    let (one, two) = (Upstream::start("one").await, Upstream::start("two").await);
    let world = Setup::of(&[&one, &two]).start().await;
    one.set_healthy(false);
    world.until("one to fall", |load| !load.upstreams["one"].healthy).await;
    let mut client = world.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("/items/1").await.body, "two ");
    }
    two.set_healthy(false);
    world.until("two to fall", |load| !load.upstreams["two"].healthy).await;
    let answer = client.get("/items/1").await;
    assert_eq!(answer.status, 307, "with none healthy, the cloud is left");
    one.set_healthy(true);
    world.until("one to rise", |load| load.upstreams["one"].healthy).await;
    assert_eq!(client.get("/items/1").await.body, "one ");
}

/// Reads a request's head.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(stream.read_u8().await.ok()?));
    }
    Some(head)
}

#[tokio::test]
async fn a_stale_connection_is_retried_when_that_is_safe() {
    // Each connection answers one request and closes when it sees a second.
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    let address = raw(move |_, mut stream| {
        let counter = counter.clone();
        async move {
            while let Some(request) = head(&mut stream).await {
                if request.contains("/healthz") {
                    continue;
                }
                counter.fetch_add(1, SeqCst);
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                if stream.write_all(answer.as_bytes()).await.is_err()
                    || head(&mut stream).await.is_none()
                {
                    return;
                }
                counter.fetch_add(1, SeqCst);
                return;
            }
        }
    })
    .await;
    let mut setup = Setup::raw("moody", address);
    setup.options.health.period = Duration::from_secs(3600);
    let world = setup.start().await;
    let mut client = world.client().await;
    for _ in 0..5 {
        assert_eq!(client.get("/items/1").await.body, "ok");
    }
    // The first is sent once; each later one meets a stale connection and is sent twice.
    assert_eq!(requests.load(SeqCst), 9);

    client
        .send("POST /items HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 502, "a POST that was sent is not sent again");
    assert_eq!(requests.load(SeqCst), 10);
}

#[tokio::test]
async fn what_an_upstream_breaks_is_a_502_or_a_broken_answer() {
    let address = raw(|_, mut stream| async move {
        if let Some(request) = head(&mut stream).await {
            let answer = match request.split(' ').nth(1).unwrap() {
                "/home/garbage" => "garbage\r\n\r\n",
                "/home/upgrade" => "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
                "/home/short" => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
                "/home/both" => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Length: 8\r\n\r\n",
                _ => return,
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    let mut setup = Setup::raw("broken", address);
    setup.options.health.period = Duration::from_secs(3600);
    let world = setup.start().await;
    for path in ["/home/garbage", "/home/upgrade", "/home/both", "/home/nothing"] {
        let answer = world.client().await.get(path).await;
        assert_eq!(answer.status, 502, "{path}");
        assert!(answer.json()["error"].is_string());
    }
    let short = world.client().await.get("/home/short").await;
    assert_eq!((short.status, short.body.as_str(), short.whole), (200, "half", false));
    assert_eq!(world.ended("home", 5).await.failed, 5);
}

#[tokio::test]
async fn an_upstream_error_is_passed_on_and_counted_as_failed() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    let mut client = world.client().await;
    assert_eq!(client.get("/any/status/500").await.status, 500);
    assert_eq!(client.get("/any/status/404").await.status, 404);
    let any = world.ended("any", 2).await;
    assert_eq!((any.failed, any.served), (1, 1));
}

#[tokio::test]
async fn without_a_free_connection_it_is_a_503() {
    let service = Upstream::start("one").await;
    let mut setup = Setup::of(&[&service]);
    setup.options.pool.connections_max = 1;
    setup.options.pool.wait = Duration::from_millis(20);
    let world = setup.start().await;
    let mut first = world.client().await;
    first.send("GET /any/wait HTTP/1.1\r\nHost: code.example.test\r\n\r\n").await;
    service.arrived().await;
    let full = world.client().await.get("/home/1").await;
    assert_eq!((full.status, full.field("retry-after")), (503, Some("1")));
    assert_eq!(world.client().await.get("/items/1").await.status, 307, "the cloud has room");
    service.release();
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(first.get("/items/1").await.status, 200);
    assert_eq!(service.connections(), 1);
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    let address = world.address;
    let (mut busy, mut idle) = (world.client().await, world.client().await);
    assert_eq!(idle.get("/items/1").await.field("connection"), None);
    busy.send("GET /any/wait HTTP/1.1\r\nHost: code.example.test\r\n\r\n").await;
    service.arrived().await;
    world.shutdown.cancel();
    assert!(idle.closes().await, "an idle connection is closed");
    assert_eq!(world.health().await, 503, "balancers see that it drains");
    service.release();
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    assert!(busy.closes().await);
    let lines = world.end().await;
    assert_eq!(lines.len(), 2);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    let mut client = world.client().await;
    client.send("GET /any/wait HTTP/1.1\r\nHost: code.example.test\r\n\r\n").await;
    service.arrived().await;
    drop::<Client>(client);
    assert_eq!(world.ended("any", 1).await.failed, 1);
    world.until("nothing in flight", |load| load.upstreams["one"].active == 0).await;
    let lines = world.end().await;
    assert_eq!(lines[0]["status"], 499);
}
