//! The balancer between real clients and real upstreams, over loopback.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use spillway_balancer::uplink::{Retransmission, wire_bytes};
use spillway_balancer::{BalancerError, Options};
use spillway_model::SiteId;
use spillway_part::{Shutdown, StartError};
use support::{Balancer, Client, Gateway, Health, UNSHAPED, quick, uplink};
use tokio::io::AsyncReadExt as _;

#[tokio::test]
async fn the_gateway_learns_the_clients_address_and_the_vip() {
    let gateway = Gateway::start("gw-1").await;
    let balancer = Balancer::start(&[&gateway], UNSHAPED, quick()).await;
    for source in [Ipv4Addr::new(127, 3, 4, 5), Ipv4Addr::new(127, 200, 0, 9)] {
        let mut client = Client::connect_from(source, balancer.address).await;
        let greeting = client.line().await;
        let local = client.local();
        assert_eq!(local.ip(), source);
        assert_eq!(greeting, format!("gw-1 {local} {}", balancer.address));
    }
}

#[tokio::test]
async fn connections_go_where_there_are_fewest() {
    let (one, two) = (Gateway::start("gw-1").await, Gateway::start("gw-2").await);
    let balancer = Balancer::start(&[&one, &two], UNSHAPED, quick()).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(balancer.client().await);
    }
    let load = balancer.load().await;
    assert_eq!((load.upstreams["gw-1"].active, load.upstreams["gw-2"].active), (3, 3));
    assert_eq!(load.uplink.unwrap().connections, 6);
    clients.retain(|(_, gateway)| gateway == "gw-2");
    balancer.load_where(|load| load.upstreams["gw-1"].active == 0).await;
    for _ in 0..3 {
        let (client, gateway) = balancer.client().await;
        assert_eq!(gateway, "gw-1");
        clients.push((client, gateway));
    }
}

#[tokio::test]
async fn a_dead_upstream_is_passed_over_and_returns_when_its_check_passes() {
    let (mut one, two) = (Gateway::start("gw-1").await, Gateway::start("gw-2").await);
    // One check at the start and then none: what follows is the connects' own doing.
    let options = Options { check_every: Duration::from_secs(3600), ..quick() };
    let balancer = Balancer::start(&[&one, &two], UNSHAPED, options).await;
    one.checked().await;
    one.stop_listening().await;
    for _ in 0..4 {
        assert_eq!(balancer.client().await.1, "gw-2");
    }
    let load = balancer.load().await;
    assert_eq!((load.upstreams["gw-1"].healthy, load.upstreams["gw-1"].failures), (false, 1));
    assert!(load.upstreams["gw-2"].healthy);

    let balancer = Balancer::start(&[&one, &two], UNSHAPED, quick()).await;
    one.listen_again().await;
    loop {
        // Its check passes all along, so it is tried again and again until it listens.
        if balancer.client().await.1 == "gw-1" {
            break;
        }
    }
}

#[tokio::test]
async fn an_upstream_that_answers_503_keeps_its_connections_and_gets_no_more() {
    let (one, two) = (Gateway::start("gw-1").await, Gateway::start("gw-2").await);
    let balancer = Balancer::start(&[&one, &two], UNSHAPED, quick()).await;
    let (mut first, gateway) = balancer.client().await;
    let (draining, other) = if gateway == "gw-1" { (&one, "gw-2") } else { (&two, "gw-1") };
    draining.answers(Health::Draining);
    balancer.load_where(|load| !load.upstreams[&gateway].healthy).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let (client, name) = balancer.client().await;
        assert_eq!(name, other);
        kept.push(client);
    }
    first.echo(b"still here").await;
    draining.answers(Health::Passing);
    balancer.load_where(|load| load.upstreams[&gateway].healthy).await;
    assert_eq!(balancer.client().await.1, gateway);
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_its_check_goes_down_and_with_all_down_all_are_tried() {
    let (one, two) = (Gateway::start("gw-1").await, Gateway::start("gw-2").await);
    let options = Options { check_deadline: Duration::from_millis(20), ..quick() };
    let balancer = Balancer::start(&[&one, &two], UNSHAPED, options).await;
    one.answers(Health::Silent);
    two.answers(Health::Failing);
    balancer.load_where(|load| load.upstreams.values().all(|upstream| !upstream.healthy)).await;
    let (mut client, _) = balancer.client().await;
    client.echo(b"open after all").await;
}

#[tokio::test]
async fn connections_of_a_gateway_that_is_down_are_ended_where_another_is_up() {
    let (mut one, mut two) = (Gateway::start("gw-1").await, Gateway::start("gw-2").await);
    let balancer = Balancer::start(&[&one, &two], UNSHAPED, quick()).await;
    let (mut first, gateway) = balancer.client().await;
    let (mut second, _) = balancer.client().await;
    let (down, other) = if gateway == "gw-1" { (&mut one, "gw-2") } else { (&mut two, "gw-1") };
    down.answers(Health::Draining);
    down.checked_again(8).await;
    first.echo(b"it drains, and may take its time").await;
    down.answers(Health::Failing);
    let error = first.stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(balancer.client().await.1, other);
    balancer.load_where(|load| load.upstreams[&gateway].active == 0).await;
    second.echo(b"unharmed").await;
}

#[tokio::test]
async fn connections_of_a_gateway_that_is_down_stay_where_none_is_up() {
    let mut gateway = Gateway::start("gw-1").await;
    let balancer = Balancer::start(&[&gateway], UNSHAPED, quick()).await;
    let (mut client, _) = balancer.client().await;
    gateway.answers(Health::Failing);
    gateway.checked_again(8).await;
    assert!(!balancer.load().await.upstreams["gw-1"].healthy);
    client.echo(b"better than nothing").await;
    let (mut late, _) = balancer.client().await;
    late.echo(b"so is this").await;
}

#[tokio::test]
async fn with_no_upstream_to_reach_the_client_is_reset() {
    let mut gateway = Gateway::start("gw-1").await;
    let balancer = Balancer::start(&[&gateway], UNSHAPED, quick()).await;
    gateway.stop_listening().await;
    let mut client = Client::connect(balancer.address).await;
    let error = client.stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    balancer.load_where(|load| load.uplink.as_ref().unwrap().connections == 0).await;
}

#[tokio::test]
async fn a_client_that_shuts_its_write_side_still_gets_its_answer() {
    let gateway = Gateway::start("gw-1").await;
    let balancer = Balancer::start(&[&gateway], UNSHAPED, quick()).await;
    let (mut client, _) = balancer.client().await;
    client.send(&[7; 100_000]).await;
    client.finish().await;
    let answer = client.rest().await;
    assert_eq!(answer.len(), 100_000 + "100000 bytes\n".len());
    assert!(answer.ends_with(b"100000 bytes\n"));
    balancer.load_where(|load| load.upstreams["gw-1"].active == 0).await;
}

#[tokio::test]
async fn an_answer_before_the_whole_request_reaches_the_client() {
    let gateway = Gateway::curt("gw-1").await;
    let balancer = Balancer::start(&[&gateway], UNSHAPED, quick()).await;
    let mut client = Client::connect(balancer.address).await;
    client.send(b"head").await;
    assert_eq!(client.rest().await, b"no\n");
    // The gateway is gone; what the client still sends is taken and dropped.
    client.send(&[7; 1_000_000]).await;
    client.finish().await;
    let load = balancer.load_where(|load| load.upstreams["gw-1"].active == 0).await;
    assert_eq!(load.upstreams["gw-1"].failures, 0);
}

#[tokio::test]
async fn a_half_closed_connection_on_which_nothing_moves_is_closed() {
    let gateway = Gateway::mute("gw-1").await;
    let options = Options { half_closed_idle: Duration::from_millis(30), ..quick() };
    let balancer = Balancer::start(&[&gateway], UNSHAPED, options).await;
    let mut client = Client::connect(balancer.address).await;
    client.finish().await;
    assert_eq!(client.rest().await, b"");
    balancer.load_where(|load| load.uplink.as_ref().unwrap().connections == 0).await;
}

#[tokio::test]
async fn bytes_are_counted_as_they_weigh_on_the_wire() {
    let gateway = Gateway::start("gw-1").await;
    let balancer = Balancer::start(&[&gateway], UNSHAPED, quick()).await;
    let (mut client, _) = balancer.client().await;
    let greeted = balancer.load().await.uplink.unwrap().bytes;
    client.echo(&[1; 1000]).await;
    let counted =
        |load: &spillway_model::Load| load.uplink.as_ref().unwrap().bytes == greeted + 1040;
    balancer.load_where(counted).await;
}

#[tokio::test]
async fn a_shaped_uplink_delivers_everything_whole() {
    const EACH: usize = 300_000;
    const PATTERN: &[u8] = b"a pattern whose length shares no factor with that of a segment.";
    let gateway = Gateway::start("gw-1").await;
    // Room for one waiting segment while four connections send: most are dropped and sent again.
    let retransmission = Retransmission {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(4),
        drops_max: u32::MAX,
    };
    let options = Options { retransmission, ..quick() };
    let balancer = Balancer::start(&[&gateway], uplink(100_000_000, 20_000), options).await;
    let mut downloads = tokio::task::JoinSet::new();
    for number in 0..4 {
        let (mut client, _) = balancer.client().await;
        downloads.spawn(async move {
            let sent: Vec<u8> =
                (0..EACH).map(|i| PATTERN[(i * 7 + number) % PATTERN.len()]).collect();
            let received = client.exchange(&sent).await;
            assert!(received == sent, "the bytes of connection {number} changed on their way");
        });
    }
    while let Some(done) = downloads.join_next().await {
        done.unwrap();
    }
    let least = 4 * wire_bytes(EACH);
    let load = balancer.load_where(|load| load.uplink.as_ref().unwrap().bytes >= least).await;
    let uplink = load.uplink.unwrap();
    assert!(uplink.drops > 0 && uplink.resets == 0, "{uplink:?}");
}

#[tokio::test]
async fn a_connection_whose_segment_is_dropped_again_and_again_is_reset() {
    let gateway = Gateway::start("gw-1").await;
    let retransmission = Retransmission {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(1),
        drops_max: 8,
    };
    let options = Options { retransmission, ..quick() };
    // The bucket holds one segment of 16 KiB and gains a byte a second, and nothing may wait.
    let balancer = Balancer::start(&[&gateway], uplink(8, 0), options).await;
    let (mut client, _) = balancer.client().await;
    client.send(&[5; 20_000]).await;
    let mut received = Vec::new();
    let error = client.stream.read_to_end(&mut received).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(received.len() < 17_000 && received.iter().all(|byte| *byte == 5));
    let load = balancer.load_where(|load| load.upstreams["gw-1"].active == 0).await;
    let uplink = load.uplink.unwrap();
    assert!(uplink.drops >= 8 && uplink.resets == 1, "{uplink:?}");
    assert_eq!(uplink.queued_bytes, 0);
}

#[tokio::test]
async fn at_the_cap_of_connections_clients_wait_for_one_to_end() {
    let gateway = Gateway::start("gw-1").await;
    let options = Options { connections_max: 2, ..quick() };
    let balancer = Balancer::start(&[&gateway], UNSHAPED, options).await;
    let (first, _) = balancer.client().await;
    let (mut second, _) = balancer.client().await;
    let mut third = Client::connect(balancer.address).await;
    // Whatever moved since, the third connection was not among it.
    second.echo(b"ping").await;
    assert_eq!(balancer.load().await.upstreams["gw-1"].active, 2);
    drop(first);
    assert!(third.line().await.starts_with("gw-1 "));
}

#[tokio::test]
async fn at_shutdown_connections_finish_and_new_ones_are_refused() {
    let gateway = Gateway::start("gw-1").await;
    let mut balancer = Balancer::start(&[&gateway], UNSHAPED, quick()).await;
    let (mut client, _) = balancer.client().await;
    balancer.shutdown.cancel();
    balancer.refuses().await;
    client.echo(b"to the end").await;
    drop(client);
    balancer.ended().await;
}

#[tokio::test]
async fn what_has_not_finished_when_the_drain_is_over_is_closed() {
    let gateway = Gateway::start("gw-1").await;
    let options = Options { drain: Duration::from_millis(50), ..quick() };
    let mut balancer = Balancer::start(&[&gateway], UNSHAPED, options).await;
    let (mut client, _) = balancer.client().await;
    balancer.shutdown.cancel();
    assert_eq!(client.rest().await, b"");
    balancer.ended().await;
}

#[tokio::test]
async fn a_site_that_is_not_configured_is_named() {
    let config = std::sync::Arc::new(support::example_config());
    let west = SiteId::new("west").unwrap();
    let error = spillway_balancer::run(config, &west, Shutdown::new()).await.unwrap_err();
    assert!(matches!(error, BalancerError::Start(StartError::NoSuchPart { .. })));
    assert_eq!(error.to_string(), "the configuration names no site `west`; it has east");
}
