//! Bounds on size and time.

use std::time::Duration;

use crate::upstream::Upstream;
use crate::world::Setup;

#[tokio::test]
async fn a_body_over_the_limit_is_a_413() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    let mut client = world.client().await;
    client
        .send("POST /items HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 1001\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.field("connection")), (413, Some("close")));
    assert!(client.closes().await);

    let mut client = world.client().await;
    client
        .send(
            "POST /items HTTP/1.1\r\nHost: code.example.test\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .await;
    let chunk = format!("190\r\n{}\r\n", "x".repeat(400));
    for _ in 0..3 {
        client.send(&chunk).await;
    }
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.field("connection")), (413, Some("close")));
    assert!(answer.json()["error"].as_str().unwrap().contains("larger"));
    assert!(service.seen().is_empty(), "no whole request reached the upstream");

    let mut client = world.client().await;
    let body = "x".repeat(1000);
    client
        .send(format!(
            "POST /items HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 1000\r\n\r\n{body}"
        ))
        .await;
    assert_eq!(client.answer().await.status, 200);
    let load = world.load().await;
    let create = &load.routes[&spillway_model::RouteId::new("create").unwrap()];
    assert_eq!((create.arrivals, create.failed), (3, 0));
}

#[tokio::test]
async fn a_slow_head_is_a_408_and_a_silent_connection_closes() {
    let service = Upstream::start("one").await;
    let mut setup = Setup::of(&[&service]);
    setup.options.head_deadline = Duration::from_millis(100);
    setup.options.idle_deadline = Duration::from_millis(150);
    let world = setup.start().await;
    let mut slow = world.client().await;
    slow.send("GET /items/1 HTTP/1.1\r\nHost: code.example.test\r\nX-Slow: ").await;
    let answer = slow.answer().await;
    assert_eq!((answer.status, answer.field("connection")), (408, Some("close")));
    assert!(slow.closes().await);

    let mut idle = world.client().await;
    assert_eq!(idle.get("/items/1").await.status, 200);
    assert!(idle.closes().await, "between requests it may idle for a moment only");
    let mut silent = world.client().await;
    assert!(silent.closes().await);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_cut_at_the_deadline() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    let mut client = world.client().await;
    client
        .send("POST /slow/1 HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    assert_eq!(client.answer().await.status, 504);
    assert!(client.closes().await);
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn connections_over_the_cap_wait() {
    let service = Upstream::start("one").await;
    let mut setup = Setup::of(&[&service]);
    setup.options.connections_max = 1;
    let world = setup.start().await;
    let mut first = world.client().await;
    assert_eq!(first.get("/items/1").await.status, 200);
    let mut second = world.client().await;
    second.send("GET /items/2 HTTP/1.1\r\nHost: code.example.test\r\n\r\n").await;
    assert_eq!(first.get("/items/1").await.status, 200);
    assert_eq!(service.seen().len(), 2, "the second connection is not served yet");
    drop(first);
    assert_eq!(second.answer().await.status, 200);
}
