//! An agent that recommends, and one that runs in the shadow of another.

use std::time::Duration;

use spillway_model::api::{Decision, Explain, Status};
use spillway_model::{Mode, Plan, SignedPlan, SiteId};
use spillway_part::follow::trusted_key;
use spillway_test_support::until;

use crate::site::{Running, Site, error_of};

const SOON: Duration = Duration::from_secs(20);

fn share(plan: &Plan) -> f64 {
    plan.share(&SiteId::new("east").unwrap()).get()
}

#[tokio::test]
async fn what_would_be_done_is_told_and_not_done() {
    let mut site = Site::new(3000).await;
    site.config = site.changed(&[("agent.mode", "recommend".into())]);
    let mut agent = site.agent().await;
    for _ in 0..30 {
        site.second(&mut agent, 400).await;
    }
    let plan = agent.plans().load();
    assert_eq!((plan.generation, share(&plan)), (1, 0.0), "published once, for its lease");
    let running = Running::serve(&site, agent).await;
    let decisions: Vec<Decision> = running.json("/v1/decisions?after=0&limit=100").await;
    let last = decisions.iter().rev().find(|decision| !decision.advice.is_empty()).unwrap();
    let orders: Vec<_> = last.advice.iter().filter_map(|advice| advice.order.clone()).collect();
    assert!(orders.iter().any(|order| order.starts_with("spillway share east ")), "{orders:?}");
    assert_eq!(running.json::<Status>("/v1/status").await.mode, Mode::Recommend);
    let metrics = running.get("/metrics").await.body;
    let metrics = String::from_utf8_lossy(&metrics);
    assert!(metrics.contains("spillway_mode{mode=\"recommend\"} 1"), "{metrics}");
    running.stop().await;
}

#[tokio::test]
async fn what_is_recommended_is_done_by_order() {
    let mut site = Site::new(1000).await;
    site.config = site.changed(&[("agent.mode", "recommend".into())]);
    let running = Running::start(&site).await;
    let order = r#"{"share":0.5,"for_secs":600,"by":"ann: approved"}"#;
    assert_eq!(running.send("PUT", "/v1/shares/east", order).await.status, 200);
    let explain: Explain = running.json("/v1/explain").await;
    assert!((share(&explain.plan) - 0.5).abs() < 1e-9, "{:?}", explain.plan);
    running.stop().await;
}

#[tokio::test]
async fn a_mode_is_ordered_for_a_while_and_outlives_the_agent() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    let order = r#"{"mode":"recommend","for_secs":600,"by":"ann: trial"}"#;
    let answer = running.send("PUT", "/v1/mode", order).await;
    let status: Status = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(status.mode, Mode::Recommend);
    assert_eq!(
        (status.orders[0].subject.as_str(), status.orders[0].what.as_str()),
        ("mode", "mode recommend")
    );
    for (bad, told) in [
        (r#"{"mode":"watch","for_secs":600,"by":"ann"}"#, "unknown variant `watch`"),
        (r#"{"mode":"act","for_secs":0,"by":"ann"}"#, "every order ends"),
    ] {
        let answer = running.send("PUT", "/v1/mode", bad).await;
        assert_eq!(answer.status, 400);
        assert!(error_of(&answer).contains(told), "{}", error_of(&answer));
    }
    running.stop().await;

    let running = Running::start(&site).await;
    until("the order is in force again", SOON, async || {
        running.json::<Status>("/v1/status").await.mode == Mode::Recommend
    })
    .await;
    let answer = running.send("DELETE", "/v1/mode", "").await;
    let status: Status = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((status.mode, status.replaced.unwrap().by), (Mode::Act, "ann: trial".to_owned()));
    running.stop().await;
}

#[tokio::test]
async fn a_shadow_follows_the_agent_beside_it_and_publishes_nothing() {
    let other = Site::new(1000).await;
    let acts = Running::start(&other).await;
    let mut site = Site::new(1000).await;
    let beside = other.config.agent.listen.to_string();
    site.config = site.changed(&[("agent.mode", "shadow".into()), ("agent.beside", beside.into())]);
    let shadow = Running::start(&site).await;
    let order = r#"{"share":0.5,"for_secs":600,"by":"ann: drill"}"#;
    assert_eq!(acts.send("PUT", "/v1/shares/east", order).await.status, 200);
    let in_force = acts.json::<Status>("/v1/status").await.generation;
    until("it has read what is in force", SOON, async || {
        shadow.json::<Status>("/v1/status").await.generation >= in_force
    })
    .await;
    let explain: Explain = shadow.json("/v1/explain").await;
    assert!((share(&explain.plan) - 0.5).abs() < 1e-9, "{:?}", explain.plan);
    let own: SignedPlan = shadow.json("/v1/plan").await;
    let own = own.verify(&trusted_key(&site.config).unwrap()).unwrap();
    assert_eq!((own.generation, share(&own)), (0, 0.0), "it offers none of its own, nor another's");
    // Without the other one it says so, and holds what it read.
    acts.stop().await;
    until("it is told", SOON, async || {
        let status: Status = shadow.json("/v1/status").await;
        status.generation >= in_force
            && status.warnings.iter().any(|warning| warning.contains("beside which this one runs"))
    })
    .await;
    shadow.stop().await;
}
