//! Copies of the plan in real Redis servers, which come and go.

use std::time::Duration;

use spillway_model::{Plan, SignedPlan};
use spillway_part::follow::trusted_key;
use spillway_store::Mirror;
use spillway_test_support::{Redis, until};

use crate::site::{Running, Site};

const SOON: Duration = Duration::from_secs(20);

fn mirrored(site: &mut Site, urls: &[&str]) {
    let urls: Vec<_> = urls.iter().map(|url| toml::Value::from(*url)).collect();
    site.config = site.changed(&[("plan.mirrors", urls.into())]);
}

async fn plan_at(site: &Site, url: &str) -> Option<(Vec<u8>, Plan)> {
    let mirror = Mirror::open(url, &site.config.service.host).unwrap();
    let bytes = mirror.get(SOON).await.unwrap()?;
    let signed: SignedPlan = serde_json::from_slice(&bytes).unwrap();
    let plan = signed.verify(&trusted_key(&site.config).unwrap()).unwrap();
    Some((bytes, plan))
}

#[tokio::test]
async fn mirrors_have_every_plan_in_the_bytes_of_the_api() {
    let (one, two) = tokio::join!(Redis::start(), Redis::start());
    let mut site = Site::new(3000).await;
    mirrored(&mut site, &[&one.url(), &two.url()]);
    let mut agent = site.agent().await;
    for _ in 0..3 {
        site.second(&mut agent, 800).await;
        let generation = agent.plans().load().generation;
        for redis in [&one, &two] {
            until("the mirror has the plan", SOON, async || {
                plan_at(&site, &redis.url()).await.is_some_and(|(_, p)| p.generation == generation)
            })
            .await;
        }
    }
    // An agent that is started anew has its plan there again, though nothing changes.
    let before = agent.plans().load();
    drop(agent);
    let mirror = Mirror::open(&one.url(), &site.config.service.host).unwrap();
    mirror.put(b"junk", SOON).await.unwrap();
    let running = Running::start(&site).await;
    until("the plan is back", SOON, async || {
        mirror.get(SOON).await.unwrap().is_some_and(|bytes| bytes != b"junk")
    })
    .await;
    let (bytes, plan) = plan_at(&site, &one.url()).await.unwrap();
    assert!(plan.generation >= before.generation);
    until("both are the same", SOON, async || {
        let served = running.get("/v1/plan").await.body;
        let (bytes, _) = plan_at(&site, &one.url()).await.unwrap();
        served == bytes
    })
    .await;
    assert!(!bytes.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_mirror_that_is_away_is_told_and_filled_when_it_is_back() {
    let (mut redis, other) = tokio::join!(Redis::start(), Redis::start());
    // It takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("rediss://user:secret@{}", silent.local_addr().unwrap());
    let mut site = Site::new(3000).await;
    mirrored(&mut site, &[&redis.url(), &silent, &other.url()]);
    redis.stop();
    let mut agent = site.agent().await;
    // No tick waits for a mirror.
    let ticks = async {
        for _ in 0..3 {
            site.second(&mut agent, 800).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3), ticks).await.unwrap();
    let generation = agent.plans().load().generation;
    until("the mirror that answers has the plan", SOON, async || {
        plan_at(&site, &other.url()).await.is_some_and(|(_, plan)| plan.generation == generation)
    })
    .await;
    let running = Running::serve(&site, agent).await;
    let away = async |url: &str| {
        let status: spillway_model::api::Status = running.json("/v1/status").await;
        let says = format!("the mirror {url} has not got the plan");
        status.warnings.iter().any(|warning| warning.starts_with(&says))
    };
    let shown = silent.replace("secret", "…");
    for url in [&redis.url(), &shown] {
        until("the status tells", SOON, async || away(url).await).await;
    }
    assert!(!away(&other.url()).await);

    for round in ["it is back", "it was emptied by being started anew"] {
        redis.start_again();
        until(round, SOON, async || plan_at(&site, &redis.url()).await.is_some()).await;
        until("the status tells no more", SOON, async || !away(&redis.url()).await).await;
        redis.stop();
    }
    running.stop().await;
}
