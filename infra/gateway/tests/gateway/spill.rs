//! Requests that the plan moves or sheds.

use std::net::SocketAddr;
use std::time::Duration;

use ppp::v2::{Builder, Command, Protocol, Version};
use spillway_model::plan::SpillMode;
use tokio::io::AsyncReadExt as _;

use crate::client::{Answer, Client};
use crate::upstream::{Upstream, nowhere, raw};
use crate::world::{NEVER, Setup, World};

/// Sends a request as the balancer would for a client of this address.
async fn as_client(world: &World, address: &str, path: &str) -> Answer {
    let source: SocketAddr = format!("{address}:40000").parse().unwrap();
    let header = Builder::with_addresses(
        Version::Two | Command::Proxy,
        Protocol::Stream,
        (source, world.address),
    );
    let mut client = Client::connect(world.address).await;
    client.send(header.build().unwrap()).await;
    client.get(path).await
}

#[tokio::test]
async fn only_a_balancer_is_believed_who_the_client_is() {
    let service = Upstream::start("one").await;
    let mut setup = Setup::of(&[&service]);
    setup.sources = vec!["127.0.0.9".parse().unwrap()];
    let world = setup.start().await;
    let addresses = (SocketAddr::from(([192, 0, 2, 7], 40_000)), world.address);
    let header =
        Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses);
    let header = header.build().unwrap();
    let request = b"GET /items/1 HTTP/1.1\r\nHost: code.example.test\r\n\r\n".as_slice();

    let mut stranger = Client::connect_from([127, 0, 0, 1], world.address).await;
    stranger.send([&header, request].concat()).await;
    assert!(stranger.closes().await);
    let mut stranger = Client::connect_from([127, 0, 0, 1], world.address).await;
    assert_eq!(stranger.get("/items/1").await.status, 200, "for itself it may ask");
    let mut balancer = Client::connect_from([127, 0, 0, 9], world.address).await;
    balancer.send([&header, request].concat()).await;
    assert_eq!(balancer.answer().await.status, 200);
    let clients: Vec<_> = service
        .seen()
        .iter()
        .map(|seen| seen.headers["x-forwarded-for"].to_str().unwrap().to_owned())
        .collect();
    assert_eq!(clients, ["127.0.0.1", "192.0.2.7"]);
}

#[tokio::test]
async fn the_clouds_load_balancer_is_believed_where_it_stands_before() {
    let service = Upstream::start("one").await;
    let mut setup = Setup::of(&[&service]);
    setup.forwards = true;
    let world = setup.start().await;
    let mut client = world.client().await;
    let said = "X-Forwarded-For: 1.1.1.1, 198.51.100.77\r\nX-Forwarded-Proto: https\r\n";
    let request =
        format!("GET /items/1 HTTP/1.1\r\nHost: code.example.test\r\n{said}\r\n").into_bytes();
    client.send(request).await;
    assert_eq!(client.answer().await.status, 200);
    let seen = service.seen().pop().unwrap().headers;
    assert_eq!(seen["x-forwarded-for"], "198.51.100.77");
    assert_eq!(seen["x-forwarded-proto"], "https");
    let line = world.end().await.pop().unwrap();
    assert_eq!(line["client"], "198.51.100.0/24");
}

#[tokio::test]
async fn a_redirect_says_where_and_for_how_long() {
    let service = Upstream::start("one").await;
    let mut world = Setup::of(&[&service]).start().await;
    let mut client = world.client().await;
    assert_eq!(client.get("/items/1").await.status, 200);
    world.spill(1.0, SpillMode::Redirect);
    let answer = client.get("/items/1?a=b%20c").await;
    assert_eq!((answer.status, answer.body.as_str()), (307, ""));
    let port = world.config.service.port;
    let location = format!("http://cloud.example.test:{port}/items/1?a=b%20c");
    assert_eq!(answer.field("location"), Some(location.as_str()));
    assert_eq!(answer.field("cache-control"), Some("private, max-age=5"));
    assert_eq!(answer.field("x-spillway-served-by"), Some("redirect"));
    assert_eq!(answer.field("x-spillway-generation"), Some("2"));

    // A small body that came along is read away, and the connection goes on.
    client
        .send("POST /items HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    assert_eq!(client.answer().await.status, 307);
    assert_eq!(client.get("/home/1").await.status, 200, "this route stays at home");
    assert_eq!(service.seen().len(), 2);
    assert_eq!(world.ended("item", 2).await.redirected, 1);

    // One that is still to come ends the connection, in order: the answer arrives first.
    client
        .send("POST /items HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 900\r\n\r\nhello")
        .await;
    assert_eq!(client.answer().await.status, 307);
    assert!(client.closes().await);
    let lines = world.end().await;
    assert_eq!(lines[1]["outcome"], "redirected");
    assert!(lines[1]["reason"].as_str().unwrap().ends_with("< share 1.000"), "{}", lines[1]);
}

#[tokio::test]
async fn nothing_is_spilled_twice() {
    let service = Upstream::start("one").await;
    let mut setup = Setup::of(&[&service]);
    setup.share = 1.0;
    let mut world = setup.start().await;
    for mode in [SpillMode::Redirect, SpillMode::Proxy] {
        world.spill(1.0, mode);
        let mut client = world.client().await;
        let mark = format!("{:016x}", world.rank("255.255.255.0").to_bits());
        let marked = format!(
            "GET /items/1 HTTP/1.1\r\nHost: code.example.test\r\nX-Spillway-Hop: {mark}\r\n\r\n"
        );
        client.send(marked).await;
        assert_eq!(client.answer().await.field("x-spillway-served-by"), Some("east"));
    }
    // A client that makes a mark up is spilled like any other.
    world.spill(1.0, SpillMode::Redirect);
    let mut client = world.client().await;
    client
        .send("GET /items/1 HTTP/1.1\r\nHost: code.example.test\r\nX-Spillway-Hop: 1\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 307);
}

#[tokio::test]
async fn the_proxy_header_names_the_client_that_is_ranked() {
    let service = Upstream::start("one").await;
    let mut setup = Setup::of(&[&service]);
    setup.share = 0.5;
    let mut world = setup.start().await;
    let addresses: Vec<String> = (0..40).map(|i| format!("198.51.{i}.77")).collect();
    let mut moved = Vec::new();
    for share in [0.3, 0.6] {
        world.spill(share, SpillMode::Redirect);
        for address in &addresses {
            let expected = if world.rank(address) < share { 307 } else { 200 };
            assert_eq!(as_client(&world, address, "/items/1").await.status, expected, "{address}");
            if expected == 307 {
                moved.push(address.clone());
            }
        }
    }
    assert!(moved.len() > 10, "the test spilled hardly anybody: {moved:?}");
    let forwarded = service.seen().pop().unwrap().headers["x-forwarded-for"].clone();
    assert!(forwarded.to_str().unwrap().ends_with(".77"), "{forwarded:?}");
    let lines = world.end().await;
    assert!(lines.iter().all(|line| line["client"].as_str().unwrap().ends_with(".0/24")));
}

#[tokio::test]
async fn proxying_forwards_to_the_cloud_and_marks_the_hop() {
    let (service, cloud) = (Upstream::start("one").await, Upstream::start("cloud").await);
    let mut setup = Setup::of(&[&service]);
    setup.cloud = Some(cloud.address);
    (setup.share, setup.mode) = (1.0, SpillMode::Proxy);
    let mut world = setup.start().await;
    let mut client = world.client().await;
    let head = "POST /any/x HTTP/1.1\r\nHost: code.example.test:8080\r\nContent-Length: 5\r\n";
    client.send(format!("{head}\r\nhello")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "cloud hello"));
    assert_eq!(answer.field("x-spillway-served-by"), Some("cloud"));
    let seen = cloud.seen().pop().unwrap();
    assert_eq!(seen.headers["x-spillway-hop"].len(), 16, "a mark that no client can make up");
    assert_eq!(seen.headers["host"], "code.example.test");
    assert_eq!(seen.headers["x-forwarded-host"], "code.example.test:8080");
    assert_eq!(world.ended("any", 1).await.proxied, 1);

    // The plan's mode gives way to what the route allows.
    world.spill(1.0, SpillMode::Redirect);
    assert_eq!(client.get("/proxied/1").await.body, "cloud ");
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn without_the_cloud_what_can_be_is_served_at_home() {
    let service = Upstream::start("one").await;
    let mut setup = Setup::of(&[&service]);
    setup.cloud = Some(nowhere().await);
    (setup.share, setup.mode) = (1.0, SpillMode::Proxy);
    let world = setup.start().await;
    let mut client = world.client().await;
    for _ in 0..3 {
        let answer = client.get("/items/1").await;
        assert_eq!((answer.status, answer.field("x-spillway-served-by")), (200, Some("east")));
        // Nothing of this was sent, so it can be sent elsewhere.
        client
            .send("POST /items HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        assert_eq!(client.answer().await.body, "one hi");
    }
    let seen = service.seen().pop().unwrap();
    assert!(!seen.headers.contains_key("x-spillway-hop"));
    assert_eq!(seen.headers["host"], "code.example.test");
    assert_eq!(world.ended("item", 3).await.served, 3);
    let lines = world.end().await;
    assert!(lines[0]["reason"].as_str().unwrap().contains("the cloud"), "{}", lines[0]);
}

#[tokio::test]
async fn a_cloud_that_breaks_off_or_hangs_falls_back_for_gets_only() {
    let service = Upstream::start("one").await;
    let breaks = raw(|_, mut stream| async move {
        let mut some = [0; 1024];
        let _ = stream.read(&mut some).await;
    })
    .await;
    let hangs = raw(|_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    for (cloud, status) in [(breaks, 502), (hangs, 504)] {
        let mut setup = Setup::of(&[&service]);
        setup.cloud = Some(cloud);
        (setup.share, setup.mode) = (1.0, SpillMode::Proxy);
        let world = setup.start().await;
        let mut client = world.client().await;
        assert_eq!(client.get("/slow/1").await.body, "one ");
        client
            .send("POST /slow/1 HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        assert_eq!(client.answer().await.status, status);
        let slow = world.ended("slow", 2).await;
        assert_eq!((slow.served, slow.failed), (1, 1));
    }
}

#[tokio::test]
async fn a_knob_sheds_before_anything_is_spilled() {
    let service = Upstream::start("one").await;
    let mut world = Setup::of(&[&service]).start().await;
    world.spill(1.0, SpillMode::Redirect);
    world.turn_on("essential-only");
    let mut client = world.client().await;
    let answer = client.get("/items/1").await;
    assert_eq!((answer.status, answer.field("x-spillway-tier")), (503, Some("3")));
    assert_eq!(answer.field("x-spillway-knob"), Some("essential-only"));
    let after: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((20..=40).contains(&after));
    assert!(answer.json()["error"].as_str().unwrap().contains("come back"));
    assert_eq!(client.get("/any/1").await.status, 307, "other routes are not shed");

    let knob = spillway_model::KnobId::new("essential-only").unwrap();
    world.publish(|plan| assert!(!plan.knob_on(&knob, NEVER)));
    assert_eq!(client.get("/items/1").await.status, 307, "the knob is off again");
    let item = world.ended("item", 2).await;
    assert_eq!((item.shed, item.failed), (1, 0));
}

#[tokio::test]
async fn a_header_of_a_broken_or_silent_balancer_ends_the_connection() {
    let service = Upstream::start("one").await;
    let mut setup = Setup::of(&[&service]);
    setup.options.head_deadline = Duration::from_millis(50);
    let world = setup.start().await;
    let signature = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    for rest in [&b"\x11\x11\0\x0c"[..], &b"\x21\x11\0\x01\0"[..], &b""[..]] {
        let mut client = world.client().await;
        client.send([signature.as_slice(), rest].concat()).await;
        assert!(client.closes().await, "{rest:?}");
    }
}

#[tokio::test]
async fn what_home_has_no_room_for_leaves_at_once_and_only_then() {
    let service = Upstream::start("one").await;
    let mut world = Setup::of(&[&service]).start().await;
    let few = |mode| {
        move |plan: &mut spillway_model::Plan| {
            let site = plan.sites.get_mut(&crate::world::east()).unwrap();
            // A few at once, and the next after a while that no test takes.
            (site.home_qps, site.mode) = (Some(0.001), mode);
        }
    };
    world.publish(few(SpillMode::Redirect));
    let mut client = world.client().await;
    let mut statuses = Vec::new();
    for _ in 0..12 {
        let answer = client.get("/items/1").await;
        // It is not the client's place: it is to ask here again the next time.
        assert_eq!(answer.field("cache-control") == Some("no-store"), answer.status == 307);
        statuses.push(answer.status);
    }
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert!((1..=10).contains(&served), "{statuses:?}");
    assert!(statuses.is_sorted(), "{statuses:?}");
    // What has to stay does, whatever the room.
    assert_eq!(client.get("/home/1").await.status, 200);
    let item = world.ended("item", 12).await;
    let sent = 12 - served as u64;
    assert_eq!((item.redirected, item.displaced, item.failed), (sent, sent, 0));

    // Over the link where the plan says so; and where that leads nowhere, home serves after all.
    world.publish(few(SpillMode::Proxy));
    assert_eq!(client.get("/proxied/1").await.status, 200);
    let line = world.end().await.pop().unwrap();
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.starts_with("home has no room; the cloud: "), "{reason}");
    assert_eq!(line["outcome"], "served");
}

#[tokio::test]
async fn a_gateway_of_the_clouds_sends_what_it_has_no_room_for_to_functions() {
    let service = Upstream::start("one").await;
    let mut setup = Setup::of(&[&service]);
    setup.forwards = true;
    setup.weighted_qps = Some(0.001);
    let world = setup.start().await;
    let slb = world.config.service.slb_host.clone();
    let mut client = world.client().await;
    let mut ask = async |path: &str| {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {slb}\r\n\r\n")).await;
        client.answer().await
    };
    let mut answers = Vec::new();
    for _ in 0..12 {
        answers.push(ask("/items/1?a=b").await);
    }
    let sent = answers.iter().filter(|answer| answer.status == 307).count();
    assert!((2..12).contains(&sent), "{sent}");
    assert!(answers.iter().map(|answer| answer.status).is_sorted());
    let last = answers.last().unwrap();
    assert_eq!(last.field("location"), Some("/items/1?a=b&spillway=functions"));
    assert_eq!(last.field("cache-control"), Some("no-store"));
    // Nobody is sent in circles, and what functions do not serve stays.
    assert_eq!(ask("/items/1?spillway=functions").await.status, 200);
    assert_eq!(ask("/home/1").await.status, 200);
    assert_eq!(ask("/items/2").await.field("location"), Some("/items/2?spillway=functions"));
}
