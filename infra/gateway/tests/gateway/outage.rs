//! Services that are away, hang or break off while the cloud is healthy.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use spillway_model::plan::SpillMode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::upstream::{Upstream, nowhere, raw};
use crate::world::{Setup, World};

const POST: &str = "POST /items HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 2\r\n\r\nhi";

/// A request as the cloud would send it here.
fn hopped(world: &World, path: &str) -> String {
    let mark = format!("{:016x}", world.rank("255.255.255.0").to_bits());
    format!("GET {path} HTTP/1.1\r\nHost: code.example.test\r\nX-Spillway-Hop: {mark}\r\n\r\n")
}

/// The path of the next request of a connection.
async fn path(stream: &mut TcpStream) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(stream.read_u8().await.ok()?));
    }
    head.split(' ').nth(1).map(str::to_owned)
}

async fn ok(stream: &mut TcpStream) -> bool {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_ok()
}

#[tokio::test]
async fn whether_the_cloud_is_reached_is_in_the_load_report() {
    let healthy = |load: &spillway_model::Load, wanted: bool| {
        let mut of_cloud = load.upstreams.iter().filter(|(name, _)| name.starts_with("cloud-"));
        of_cloud.next().is_some_and(|(_, upstream)| upstream.healthy == wanted)
    };
    // A load balancer that answers for itself, if only that it has no such route, is there.
    let there = raw(|_, mut stream| async move {
        while path(&mut stream).await.is_some() {
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    let there = there.await;
    let service = Upstream::start("a").await;
    let mut setup = Setup::of(&[&service]);
    setup.cloud = Some(there);
    let world = setup.start().await;
    assert!(healthy(&world.until("checked", |load| healthy(load, true)).await, true));
    let away = Setup::of(&[&service]).start().await;
    away.until("nothing listens where the cloud should be", |load| healthy(load, false)).await;
}

#[tokio::test]
async fn with_no_service_to_connect_to_clients_are_sent_to_the_cloud() {
    let world = Setup::raw("dead", nowhere().await).start().await;
    let mut client = world.client().await;
    // The first finds out; those after it know.
    for _ in 0..3 {
        let answer = client.get("/items/1?a=b").await;
        assert_eq!((answer.status, answer.field("cache-control")), (307, Some("no-store")));
        let location =
            format!("http://cloud.example.test:{}/items/1?a=b", world.config.service.port);
        assert_eq!(answer.field("location"), Some(location.as_str()));
        client.send(POST).await;
        assert_eq!(client.answer().await.status, 307);
    }
    let item = world.ended("item", 3).await;
    assert_eq!((item.redirected, item.displaced, item.failed), (3, 3, 0));
    assert!(!world.load().await.upstreams["dead"].healthy);
    let metrics = world.metrics().await;
    let line = "spillway_displaced_total{instance=\"east-gw-1\",route=\"item\"} 3";
    assert!(metrics.contains(line), "{metrics}");

    // What the cloud sent here, must stay, or asks for the cloud, is not sent round in circles.
    client.send(hopped(&world, "/items/1")).await;
    let mut answers = vec![client.answer().await, client.get("/home/1").await];
    let slb = &world.config.service.slb_host;
    client.send(format!("GET /items/1 HTTP/1.1\r\nHost: {slb}\r\n\r\n")).await;
    answers.push(client.answer().await);
    for answer in answers {
        assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")));
    }
    let lines = world.end().await;
    let reason = lines[5]["reason"].as_str().unwrap();
    assert_eq!(reason, "not spilled; home: no upstream is healthy");
    assert_eq!(lines[0]["outcome"], "redirected");
    assert_eq!(lines[6]["outcome"], "failed");
}

#[tokio::test]
async fn a_service_that_hangs_altogether_is_not_even_asked() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    let hung = raw(move |_, mut stream| {
        let counter = counter.clone();
        async move {
            if path(&mut stream).await.is_some_and(|path| path != "/healthz") {
                counter.fetch_add(1, SeqCst);
            }
            pending::<()>().await;
        }
    })
    .await;
    let mut setup = Setup::raw("hung", hung);
    setup.options.health.deadline = Duration::from_millis(20);
    let world = setup.start().await;
    world.until("the checks to find it", |load| !load.upstreams["hung"].healthy).await;
    let mut client = world.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/items/1").await.status, 307);
        assert_eq!(client.get("/home/1").await.status, 503);
    }
    assert_eq!(requests.load(SeqCst), 0);
}

#[tokio::test]
async fn a_service_whose_checks_pass_while_it_hangs_is_asked_once_at_a_time() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut client = world.client().await;
        client.send("GET /slow/wait HTTP/1.1\r\nHost: code.example.test\r\n\r\n").await;
        service.arrived().await;
        waiting.push(client);
    }
    for client in &mut waiting {
        assert_eq!(client.answer().await.status, 307, "half of the time is left for the cloud");
    }
    assert_eq!(world.ended("slow", 3).await.displaced, 3);
    world.until("it to be given up", |load| !load.upstreams["one"].healthy).await;

    let mut probe = world.client().await;
    probe.send("GET /any/wait HTTP/1.1\r\nHost: code.example.test\r\n\r\n").await;
    service.arrived().await;
    let asked = service.seen().len();
    let mut client = world.client().await;
    assert_eq!(client.get("/items/1").await.status, 307);
    assert_eq!(service.seen().len(), asked);
    service.release();
    assert_eq!(probe.answer().await.status, 200);
    world.until("it to be taken back", |load| load.upstreams["one"].healthy).await;
    assert_eq!(client.get("/items/1").await.body, "one ");
}

#[tokio::test]
async fn a_late_check_takes_no_service_out_that_answers() {
    let checks = Arc::new(AtomicUsize::new(0));
    let counter = checks.clone();
    let slow = raw(move |_, mut stream| {
        let counter = counter.clone();
        async move {
            while let Some(path) = path(&mut stream).await {
                if path == "/healthz" {
                    counter.fetch_add(1, SeqCst);
                    return pending().await;
                }
                if !ok(&mut stream).await {
                    return;
                }
            }
        }
    })
    .await;
    let mut setup = Setup::raw("slow", slow);
    setup.options.health.deadline = Duration::from_millis(200);
    let world = setup.start().await;
    let mut client = world.client().await;
    while checks.load(SeqCst) < 5 {
        assert_eq!(client.get("/items/1").await.status, 200);
    }
    world.until("the checks to count alone", |load| !load.upstreams["slow"].healthy).await;
    assert_eq!(client.get("/items/1").await.status, 307);
}

#[tokio::test]
async fn what_one_service_breaks_off_is_tried_at_another_and_then_in_the_cloud() {
    let requests = Arc::new(AtomicUsize::new(0));
    let mut setup = Setup::of(&[]);
    for name in ["one", "two"] {
        let counter = requests.clone();
        let breaks = raw(move |_, mut stream| {
            let counter = counter.clone();
            async move {
                if path(&mut stream).await.is_some() {
                    counter.fetch_add(1, SeqCst);
                }
            }
        });
        setup.services.push((name.to_owned(), breaks.await));
    }
    setup.options.health.period = Duration::from_secs(3600);
    setup.options.health.fall = 100;
    let world = setup.start().await;
    let mut client = world.client().await;
    // The only two checks come first.
    while requests.load(SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.get("/items/1").await.status, 307);
    assert_eq!(requests.load(SeqCst), 4, "each had it once");
    client.send(POST).await;
    assert_eq!(client.answer().await.status, 502, "a POST may have been done");
    assert_eq!(requests.load(SeqCst), 5);

    let good = Upstream::start("good").await;
    let mut setup = Setup::of(&[&good]);
    setup.services.push(("one".to_owned(), raw(|_, stream| async move { drop(stream) }).await));
    setup.options.health.fall = u32::MAX;
    let world = setup.start().await;
    let mut client = world.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("/items/1").await.body, "good ");
    }
    world.until("the other to have been tried", |load| load.upstreams["one"].failures > 0).await;
    assert_eq!(world.ended("item", 20).await.displaced, 0);
}

#[tokio::test]
async fn where_the_plan_proxies_what_home_cannot_serve_is_proxied() {
    let cloud = Upstream::start("cloud").await;
    let mut setup = Setup::raw("dead", nowhere().await);
    (setup.cloud, setup.mode) = (Some(cloud.address), SpillMode::Proxy);
    let world = setup.start().await;
    let mut client = world.client().await;
    assert_eq!(client.get("/items/1").await.body, "cloud ");
    client.send(POST).await;
    let answer = client.answer().await;
    assert_eq!(answer.body, "cloud hi");
    assert_eq!(answer.field("x-spillway-served-by"), Some("cloud"));
    assert!(cloud.seen().iter().all(|seen| seen.headers.contains_key("x-spillway-hop")));
    let item = world.ended("item", 1).await;
    assert_eq!((item.proxied, item.displaced), (1, 1));

    // Over a dead link only the client can reach the cloud.
    let mut setup = Setup::raw("dead", nowhere().await);
    (setup.cloud, setup.mode) = (Some(nowhere().await), SpillMode::Proxy);
    let world = setup.start().await;
    let mut client = world.client().await;
    assert_eq!(client.get("/items/1").await.status, 307);
    let answer = client.get("/proxied/1").await;
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")));
}
