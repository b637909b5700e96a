//! The service as processes: on-prem, and as a Lambda function on a Runtime API.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod function;
mod site;

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use http::Method;
use spillway_model::load::Load;
use spillway_one_code::onprem::{self, Environment};
use spillway_one_code::plan_on_use::PlanOnUse;
use spillway_part::client::Client;
use spillway_part::{Shutdown, clock};

use site::{Site, key};

const SOON: Duration = Duration::from_secs(20);

/// Waits until `holds`, which must not take long.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, waiting).await.is_ok(), "never: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_serves_counts_follows_the_plan_and_drains() {
    let site = Site::new();
    site.agent.offer(3, &["qr-text"], &key());
    site.start_agent().await;
    let shutdown = Shutdown::new();
    let environment = Environment { secret: None, seed: 50 };
    let (config, ending) = (site.config.clone(), shutdown.clone());
    let running =
        tokio::spawn(
            async move { onprem::run(config, "east-one-code", environment, ending).await },
        );
    let service = &site.config.sites[0].services[0];
    let client = Client::default();
    let get = async |to, path: &str| client.call(Method::GET, to, path, Bytes::new(), SOON).await;
    until("it is ready", async || get(service.admin, "/healthz").await.is_ok()).await;

    let code = get(service.listen, "/v1/users/u000050/code").await.unwrap();
    assert_eq!(code.status, 200);
    assert!(!code.headers.contains_key("x-spillway-served-by"));
    let path = "/v1/users/u000050/qr";
    until("the knob acts", async || {
        get(service.listen, path).await.unwrap().headers.contains_key("x-spillway-knob")
    })
    .await;
    assert_eq!(get(service.listen, "/v1/users/u999999/code").await.unwrap().status, 404);

    site.agent.offer(4, &["essential-only"], &key());
    until("the harsher knob acts", async || {
        get(service.listen, "/v1/notices").await.unwrap().status == 503
    })
    .await;
    let load: Load = client.get(service.admin, "/v1/load", SOON).await.unwrap();
    assert_eq!(load.generation, 4);
    let route = |id: &str| load.routes.iter().find(|(r, _)| r.as_str() == id).unwrap().1.clone();
    assert_eq!((route("code").arrivals, route("code").served, route("code").failed), (2, 2, 0));
    assert_eq!(route("code").latency.iter().sum::<u64>(), 2);
    assert!(route("code").response_bytes > 300, "{}", route("code").response_bytes);
    assert_eq!((route("notices").shed, route("notices").failed), (1, 0));
    assert!(route("register").latency.iter().all(|n| *n == 0));

    shutdown.cancel();
    let ended = tokio::time::timeout(SOON, running).await.unwrap().unwrap();
    assert!(ended.is_ok(), "{ended:?}");
    assert!(get(service.listen, "/healthz").await.is_err(), "it still listens");
}

#[tokio::test]
async fn an_instance_that_cannot_start_says_why() {
    let site = Site::new();
    let run = |name: &'static str| {
        onprem::run(site.config.clone(), name, Environment::default(), Shutdown::new())
    };
    let error = run("west-one-code").await.unwrap_err().to_string();
    assert_eq!(error, "the configuration names no service `west-one-code`; it has east-one-code");
    let listen = site.config.sites[0].services[0].listen;
    let _taken = tokio::net::TcpListener::bind(listen).await.unwrap();
    let error = run("east-one-code").await.unwrap_err().to_string();
    assert!(error.contains("is taken by another process"), "{error}");
}

/// One look a second, beside the requests, and what it brings is fenced and verified.
#[tokio::test]
async fn a_plan_is_looked_at_on_use() {
    let site = Site::new();
    site.agent.offer(3, &[], &key());
    site.start_agent().await;
    let (plan, began) = (PlanOnUse::new(&site.config).unwrap(), clock::instant());
    let (plans, asked) = (plan.plans(), || site.agent.asked.load(SeqCst));
    let at = |millis| began + Duration::from_millis(millis);
    assert_eq!(plans.load().generation, 0);

    plan.before_request(at(0)).await;
    until("the first plan", async || plans.load().generation == 3).await;
    for millis in [1, 500, 999] {
        plan.before_request(at(millis)).await;
    }
    site.agent.offer(4, &["qr-text"], &key());
    plan.before_request(at(1000)).await;
    until("the second plan", async || plans.load().generation == 4).await;
    assert_eq!(asked(), 2);

    // Older, by a stranger, the same again: none takes force, and the next good one still does.
    let stranger = SigningKey::from_bytes(&[8; 32]);
    let mut second = 1;
    for (generation, key) in [(3, key()), (9, stranger), (4, key()), (5, key())] {
        site.agent.offer(generation, &[], &key);
        let before = asked();
        until("the next look", async || {
            second += 1;
            plan.before_request(at(second * 1000)).await;
            asked() > before
        })
        .await;
    }
    until("the last plan", async || plans.load().generation == 5).await;
}

/// An agent that is away, or takes connections and never answers, holds no request up.
#[tokio::test]
async fn no_request_waits_for_an_agent_that_does_not_answer() {
    let site = Site::new();
    let _silent = tokio::net::TcpListener::bind(site.config.agent.listen).await.unwrap();
    let (plan, began) = (PlanOnUse::new(&site.config).unwrap(), clock::instant());
    for second in 0..100 {
        plan.before_request(began + Duration::from_secs(second)).await;
    }
    let took = clock::instant() - began;
    assert!(took < Duration::from_secs(1), "a hundred requests were held up for {took:?}");
    assert_eq!(plan.plans().load().generation, 0);
}
