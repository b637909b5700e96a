//! Sites that help one another.

use std::net::{IpAddr, SocketAddr};

use ppp::v2::{Builder, Command, Protocol, Version};
use spillway_model::load::VisitorLoad;
use spillway_model::plan::{Help, SitePlan};
use spillway_model::{ClientPrefix, RouteId, Share, SiteId, rank};

use crate::client::{Answer, Client};
use crate::upstream::Upstream;
use crate::world::{Setup, World, east, west};

/// Sends a request for a host as the balancer would for a client of this address.
async fn ask(world: &World, address: &str, host: &str) -> Answer {
    let source: SocketAddr = format!("{address}:40000").parse().unwrap();
    let addresses = (source, world.address);
    let header =
        Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses);
    let mut client = Client::connect(world.address).await;
    client.send(header.build().unwrap()).await;
    client.send(format!("GET /items/1?a=b HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    client.answer().await
}

fn helped(share: f64, by: SiteId, below: f64, until: f64) -> impl FnOnce(&mut SitePlan) {
    let [share, below, until] = [share, below, until].map(Share::clamped);
    move |plan| {
        plan.share = share;
        plan.helped = vec![Help { site: by, below, until }];
    }
}

#[tokio::test]
async fn the_first_of_those_that_leave_go_to_the_site_that_helps() {
    let service = Upstream::start("one").await;
    let mut setup = Setup::of(&[&service]);
    setup.neighbours = true;
    let mut world = setup.start().await;
    world.publish(|plan| helped(0.6, west(), 0.3, 0.0)(plan.sites.get_mut(&east()).unwrap()));
    let port = world.config.service.port;
    let mut seen = [0; 3];
    for i in 0..40 {
        let address = format!("198.51.{i}.77");
        let rank = world.rank(&address);
        let (place, to) = match rank {
            rank if rank < 0.3 => (0, Some(format!("http://west.example.test:{port}/items/1?a=b"))),
            rank if rank < 0.6 => {
                (1, Some(format!("http://cloud.example.test:{port}/items/1?a=b")))
            }
            _ => (2, None),
        };
        seen[place] += 1;
        let answer = ask(&world, &address, "code.example.test").await;
        assert_eq!(answer.field("location").map(str::to_owned), to, "{address}");
        if to.is_some() {
            assert_eq!(answer.field("cache-control"), Some("private, max-age=5"));
        }
        // Who was sent here by another site is not sent to a third.
        let sent = ask(&world, &address, "east.example.test").await;
        let cloud = sent.field("location").is_some_and(|to| to.contains("cloud.example.test"));
        assert_eq!((sent.status, cloud), if place == 2 { (200, false) } else { (307, true) });
    }
    assert!(seen.iter().all(|n| *n > 2), "{seen:?}");
    assert_eq!(ask(&world, "198.51.1.1", "west.example.test").await.status, 421, "another's name");
    let lines = world.end().await;
    let told =
        |line: &serde_json::Value| line["reason"].as_str().unwrap().ends_with("; west helps");
    assert_eq!(lines.iter().filter(|line| told(line)).count(), seen[0]);
}

#[tokio::test]
async fn visitors_are_served_counted_and_sent_on_when_their_plan_says_so() {
    let service = Upstream::start("one").await;
    let mut setup = Setup::of(&[&service]);
    setup.neighbours = true;
    let mut world = setup.start().await;
    world.publish(|plan| {
        let mut west_plan = plan.sites[&east()].clone();
        helped(0.8, east(), 0.3, 0.5)(&mut west_plan);
        plan.sites.insert(west(), west_plan);
    });
    let (mut visits, mut own) = (VisitorLoad::default(), 0);
    for i in 0..80 {
        let address = format!("198.51.{i}.77");
        let prefix = ClientPrefix::from(address.parse::<IpAddr>().unwrap());
        let salt = &world.config.plan.salt;
        let home = rank::home(salt, prefix, &world.config.sites, |site| &site.id).unwrap();
        let visitor = home.id == west() && world.rank(&address) < 0.5;
        let leaves = visitor && world.rank(&address) >= 0.3;
        visits.arrivals += u64::from(visitor);
        visits.left += u64::from(leaves);
        own += usize::from(!visitor);
        let status = ask(&world, &address, "code.example.test").await.status;
        assert_eq!(status, if leaves { 307 } else { 200 }, "{address}");
    }
    assert!(own > 20 && visits.left > 3 && visits.arrivals > visits.left + 5, "{visits:?}");
    let item = RouteId::new("item").unwrap();
    assert_eq!(world.ended("item", 80).await.redirected, visits.left);
    let counted = world
        .until("visitors to be counted", |load| {
            load.visitors.get(&west()).and_then(|routes| routes.get(&item)) == Some(&visits)
        })
        .await;
    assert_eq!(counted.visitors.len(), 1);
    let metrics = world.metrics().await;
    let line = format!("home=\"west\"}} {}", visits.arrivals);
    assert!(
        metrics.lines().any(|l| l.starts_with("spillway_visitors_total") && l.ends_with(&line))
    );
}
