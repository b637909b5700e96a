//! The contract of the HTTP API.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use http::header;
use spillway_model::api::{Decision, Explain, KnobStatus, Status};
use spillway_model::load::{Load, Part};
use spillway_model::{Plan, SignedPlan, Tier};
use spillway_part::follow::trusted_key;

use crate::site::{Running, Site, error_of};

const TIER_2: &str = r#"{"tier":2,"for_secs":600,"by":"ann: drill"}"#;

async fn generation(running: &Running) -> u64 {
    running.json::<Status>("/v1/status").await.generation
}

#[tokio::test]
async fn the_plan_is_served_as_signed() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    running.send("PUT", "/v1/tier", TIER_2).await;
    let answer = running.get("/v1/plan").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    let signed: SignedPlan = serde_json::from_slice(&answer.body).unwrap();
    let plan = signed.verify(&trusted_key(&site.config).unwrap()).unwrap();
    assert_eq!(plan.tier, Tier::Visible);
    assert_eq!(answer.headers[header::ETAG], format!("\"{}\"", plan.generation));
    // The journal has the same bytes.
    let mut journal = site.journal_rows().connect().await;
    let kept: String = sqlx::query_scalar("SELECT signed FROM plans ORDER BY generation DESC")
        .fetch_one(&mut journal)
        .await
        .unwrap();
    assert_eq!(kept.as_bytes(), answer.body);
    running.stop().await;
}

#[tokio::test]
async fn a_long_poll_is_answered_by_the_next_plan() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    running.send("DELETE", "/v1/tier", "").await;
    let held = generation(&running).await;
    let (client, at) = (running.client.clone(), running.at);
    let poll = format!("/v1/plan?after={held}&wait=60s");
    let polls = (0..100).map(|_| {
        let (client, poll) = (client.clone(), poll.clone());
        tokio::spawn(async move {
            client.get::<SignedPlan>(at, &poll, Duration::from_secs(50)).await.unwrap()
        })
    });
    let polls: Vec<_> = polls.collect();
    running.send("PUT", "/v1/tier", TIER_2).await;
    for poll in polls {
        let signed = poll.await.unwrap();
        let plan: Plan = serde_json::from_str(signed.plan.get()).unwrap();
        assert!(plan.generation > held);
    }
    running.stop().await;
}

#[tokio::test]
async fn nothing_newer_is_304() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    for path in
        ["/v1/plan?after=99999", "/v1/plan?after=99999&wait=0s", "/v1/plan?after=99999&wait=50ms"]
    {
        let answer = running.get(path).await;
        assert_eq!(answer.status, 304, "{path}");
        assert!(answer.headers.contains_key(header::ETAG) && answer.body.is_empty());
    }
    for path in ["/v1/plan?after=x", "/v1/plan?after=1&wait=30", "/v1/plan?wait=-1s"] {
        let answer = running.get(path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(!error_of(&answer).is_empty());
    }
    // Conditional requests without `after` do the same.
    let mut raw = std::net::TcpStream::connect(running.at).unwrap();
    let request =
        "GET /v1/plan HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"99999\"\r\nConnection: close\r\n\r\n";
    raw.write_all(request.as_bytes()).unwrap();
    let answer = tokio::task::spawn_blocking(move || {
        let mut answer = String::new();
        raw.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(answer.await.unwrap().starts_with("HTTP/1.1 304"));
    running.stop().await;
}

#[tokio::test]
async fn ending_answers_long_polls_at_once() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    let (client, at) = (running.client.clone(), running.at);
    let poll = tokio::spawn(async move {
        let path = "/v1/plan?after=99999&wait=60s";
        let body = bytes::Bytes::new();
        client.call(http::Method::GET, at, path, body, Duration::from_secs(30)).await
    });
    // The poll is under way once its connection is accepted, which a later answer proves.
    assert_eq!(running.get("/healthz").await.status, 200);
    running.stop().await;
    if let Ok(answer) = poll.await.unwrap() {
        assert_eq!(answer.status, 304);
    }
}

#[tokio::test]
async fn status_explain_and_decisions_agree() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    let answer = running.send("PUT", "/v1/tier", TIER_2).await;
    let status: Status = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status.as_u16(), status.tier), (200, Tier::Visible));
    assert!(!status.headline.is_empty());

    let explain: Explain = running.json("/v1/explain").await;
    assert!(explain.plan.generation >= status.generation && explain.client.is_none());
    let decision = explain.published.unwrap();
    assert_eq!(decision.generation, explain.plan.generation);
    assert!(decision.published);
    assert_eq!((explain.orders.len(), explain.orders[0].by.as_str()), (1, "ann: drill"));
    let explain: Explain = running.json("/v1/explain?client=127.3.4.5").await;
    let client = explain.client.unwrap();
    assert_eq!(client.prefix.to_string(), "127.3.4.0/24");
    assert_eq!(client.sites.len(), 1);
    let answer = running.get("/v1/explain?client=nobody").await;
    assert_eq!(answer.status, 400);
    assert!(error_of(&answer).contains("not an IP address"));

    // Every order is a decision, or more.
    running.send("PUT", "/v1/tier", TIER_2).await;
    let newest: Vec<Decision> = running.json("/v1/decisions?limit=2").await;
    assert_eq!(newest.len(), 2);
    assert!(newest[0].at > newest[1].at);
    let after = decision.generation - 1;
    let oldest: Vec<Decision> = running.json(&format!("/v1/decisions?after={after}")).await;
    assert_eq!(oldest[0].generation, decision.generation);
    assert!(oldest.windows(2).all(|pair| pair[0].at < pair[1].at));
    let one = running.json::<Decision>(&format!("/v1/decisions/{}", decision.generation)).await;
    assert_eq!(one, decision);
    let east = &site.config.sites[0].id;
    let last: Decision = running.json("/v1/decisions/last").await;
    assert!(last.at >= newest[0].at && last.sites.contains_key(east));
    let then = running.json::<Decision>(&format!("/v1/decisions/{}", newest[0].at)).await;
    assert_eq!(then, newest[0]);
    for (path, status) in [
        ("/v1/decisions/1970-01-01T00:00:00Z", 404),
        ("/v1/decisions/999999", 404),
        ("/v1/decisions/first", 400),
    ] {
        assert_eq!(running.get(path).await.status, status, "{path}");
    }
    for path in ["/v1/decisions?limit=0", "/v1/decisions?limit=10001", "/v1/decisions?after=-1"] {
        assert_eq!(running.get(path).await.status, 400, "{path}");
    }
    running.stop().await;
}

#[tokio::test]
async fn it_has_what_every_part_has_and_the_flags() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    assert_eq!(running.get("/healthz").await.status, 200);
    let load: Load = running.json("/v1/load").await;
    assert_eq!((load.part, load.name.as_str()), (Part::Agent, "agent"));
    running.send("PUT", "/v1/tier", TIER_2).await;
    let metrics = running.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body);
    for family in ["plan_generation{", "site_share_ratio{", "knob_on{", "decision_age_seconds "] {
        assert!(metrics.contains(&format!("\nspillway_{family}")), "{family}: {metrics}");
    }
    let mut names: Vec<_> = metrics.lines().filter(|line| line.starts_with("# TYPE")).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "no family is there twice");

    let knobs: Vec<KnobStatus> = running.json("/v1/knobs").await;
    let on: Vec<_> = knobs.iter().filter(|k| k.on).map(|k| k.id.as_str()).collect();
    assert_eq!(on, ["notices-cached", "stats-frozen", "history-hidden", "qr-text"]);
    let flag = running.send("POST", "/ofrep/v1/evaluate/flags/qr-text", r#"{"context":{}}"#).await;
    let flag: serde_json::Value = serde_json::from_slice(&flag.body).unwrap();
    assert_eq!(flag["value"], true);
    running.stop().await;
}

#[tokio::test]
async fn unknown_paths_and_methods_are_errors_with_a_body() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    let answer = running.get("/v2/plan").await;
    assert_eq!(answer.status, 404);
    assert!(error_of(&answer).contains("/v1/status"));
    let answer = running.send("POST", "/v1/plan", "{}").await;
    assert_eq!(answer.status, 405);
    assert!(!error_of(&answer).is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    let other = Site::new(1000).await;
    let listen = running.at.to_string();
    let config = other.changed(&[("agent.listen", listen.clone().into())]);
    let error = spillway_daemon::run(config, spillway_part::Shutdown::new()).await.unwrap_err();
    assert!(error.to_string().contains(&listen), "{error}");
    running.stop().await;
}

/// Most ticks decide the same again and publish nothing, but what they saw and why changes.
#[tokio::test]
async fn the_present_decision_is_explained_beside_the_one_that_published() {
    let site = Site::new(3000).await;
    let mut agent = site.agent().await;
    for _ in 0..20 {
        site.second(&mut agent, 10).await;
    }
    let running = Running::serve(&site, agent).await;
    let explain: Explain = running.json("/v1/explain").await;
    let (now, then) = (explain.decision.unwrap(), explain.published.unwrap());
    assert!(then.published && !now.published);
    assert!(now.at > then.at, "{now:?}");
    assert_eq!((then.generation, then.at), (explain.plan.generation, explain.plan.issued_at));
    assert_eq!(explain.plan.reasons, then.reasons);
    running.stop().await;
}
