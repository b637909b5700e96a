//! Requests that could be read in two ways never reach an upstream.

use crate::upstream::Upstream;
use crate::world::Setup;

/// Each with its status; all of them close the connection.
const REFUSED: [(&str, u16); 22] = [
    (
        "POST /any/x HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
        400,
    ),
    (
        "POST /any/x HTTP/1.1\r\nHost: code.example.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG",
        400,
    ),
    (
        "POST /any/x HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        400,
    ),
    (
        "POST /any/x HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        400,
    ),
    ("POST /any/x HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 1, 1\r\n\r\na", 400),
    ("POST /any/x HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: +1\r\n\r\na", 400),
    ("POST /any/x HTTP/1.1\r\nHost: code.example.test\r\nContent-Length : 1\r\n\r\na", 400),
    (
        "POST /any/x HTTP/1.1\r\nHost: code.example.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST /any/x HTTP/1.1\r\nHost: code.example.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST /any/x HTTP/1.1\r\nHost: code.example.test\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST /any/x HTTP/1.1\r\nHost: code.example.test\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("POST /any/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("GET /any/x HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 5\r\n\r\nGET /", 400),
    ("GET /any/x HTTP/1.1\r\nHost: code.example.test\r\n X: folded\r\n\r\n", 400),
    ("GET /any/x HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400),
    ("GET /any/x HTTP/1.1\r\nHost: code.example.test\r\nX: a\rb\r\n\r\n", 400),
    ("GET /any/x HTTP/1.1\r\nHost: code.example.test\r\nX: a\0b\r\n\r\n", 400),
    ("GET /any/x HTTP/1.1\r\n\r\n", 400),
    ("GET /any/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("GET http://a/any/x HTTP/1.1\r\nHost: b\r\n\r\n", 400),
    ("CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", 501),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
];

#[tokio::test]
async fn ambiguous_requests_are_refused_and_reach_nobody() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    for (request, status) in REFUSED {
        let mut client = world.client().await;
        client.send(request).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{request:?}");
        assert_eq!(answer.field("connection"), Some("close"), "{request:?}");
        assert!(answer.json()["error"].is_string());
        assert!(client.closes().await, "{request:?}");
    }
    assert!(service.seen().is_empty(), "{:?}", service.seen());
    let lines = world.end().await;
    assert_eq!(lines.len(), REFUSED.len());
    assert!(lines.iter().all(|line| line["outcome"] == "refused" && line["reason"] != ""));
}

#[tokio::test]
async fn a_refusal_comes_behind_the_answers_before_it() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    let mut client = world.client().await;
    client
        .send(
            "GET /any/wait HTTP/1.1\r\nHost: code.example.test\r\n\r\n\
             GET /any/x HTTP/1.1\r\nHost: code.example.test\r\nHost: i\r\n\r\n\
             GET /any/never HTTP/1.1\r\nHost: code.example.test\r\n\r\n",
        )
        .await;
    service.arrived().await;
    service.release();
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.answer().await.status, 400);
    assert!(client.closes().await);
    assert_eq!(service.seen().len(), 1);
}

#[tokio::test]
async fn a_malformed_chunk_ends_the_request() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    for body in
        ["5\r\nhelloX", "5 \r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "5\nhello\n0\n\n"]
    {
        let mut client = world.client().await;
        let head =
            "POST /any/x HTTP/1.1\r\nHost: code.example.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{head}{body}")).await;
        if let Some(answer) = client.try_answer().await {
            assert_eq!(answer.status, 400, "{body:?}");
        }
        assert!(client.closes().await, "{body:?}");
    }
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn harmless_oddities_are_served_without_them() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    for request in [
        "GET /any/x HTTP/1.1\r\nHost: code.example.test\r\nx-odd : 1\r\n\r\n",
        "GET /any/x HTTP/1.2\r\nHost: code.example.test\r\n\r\n",
        "GET /any/x HTTP/1.0\r\n\r\n",
        "GET /any/x HTTP/0.9\r\nX: y\r\n\r\n",
        "GET /any/x HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 0\r\n\r\n",
        "\r\nGET /any/x HTTP/1.1\r\nHost: code.example.test\r\n\r\n",
    ] {
        let mut client = world.client().await;
        client.send(request).await;
        assert_eq!(client.answer().await.status, 200, "{request:?}");
    }
    assert!(service.seen().iter().all(|seen| !seen.headers.contains_key("x-odd")));
}

#[tokio::test]
async fn only_the_service_is_served_here() {
    let service = Upstream::start("one").await;
    let world = Setup::of(&[&service]).start().await;
    let others = [
        "other.test".to_owned(),
        "example.test".to_owned(),
        "code.example.test.other.test".to_owned(),
        world.address.to_string(),
        world.address.ip().to_string(),
        "[::1]:8080".to_owned(),
        ".".to_owned(),
    ];
    for host in &others {
        let mut client = world.client().await;
        client.send(format!("GET /items/1 HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.field("connection")), (421, Some("close")), "{host}");
        assert!(answer.json()["error"].as_str().unwrap().contains("not served here"));
    }
    assert!(service.seen().is_empty());
    let mut client = world.client().await;
    // A gateway in the cloud is asked by the load balancer's name.
    let ours = [
        "code.example.test",
        "Code.Example.Test:1",
        "code.example.test.:8080",
        &world.config.service.slb_host,
    ];
    for host in ours {
        client.send(format!("GET /items/1 HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(client.answer().await.status, 200, "{host}");
    }
    let unrouted = &world.load().await.routes[&spillway_model::RouteId::new("unrouted").unwrap()];
    assert_eq!(unrouted.arrivals, others.len() as u64);
}
