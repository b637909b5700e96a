//! The journal: plans can be computed again from it, and the agent does not depend on it.

use spillway_daemon::recompute;
use spillway_decide::Policy;
use spillway_model::SignedPlan;

use crate::site::{Running, Site};

const SIZES: &str = "SELECT AVG(LENGTH(body)) FROM observations WHERE (checkpoint IS NULL) = ?1";

async fn journalled(site: &Site) -> Vec<(u64, SignedPlan)> {
    let mut journal = site.journal_rows().connect().await;
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT generation, signed FROM plans ORDER BY generation")
            .fetch_all(&mut journal)
            .await
            .unwrap();
    rows.into_iter()
        .map(|(generation, signed)| {
            (generation.try_into().unwrap(), serde_json::from_str(&signed).unwrap())
        })
        .collect()
}

/// Holds the journal's write lock, as a stuck backup would.
async fn block(site: &Site) -> sqlx::SqliteConnection {
    let mut blocker = site.journal_rows().connect().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut blocker).await.unwrap();
    blocker
}

#[tokio::test]
async fn every_plan_can_be_computed_again_bit_for_bit() {
    let site = Site::new(3000).await;
    let mut agent = site.agent().await;
    // A calm start, a flash crowd, and its end, over several checkpoints.
    for second in 0u64..150 {
        let rps = if (20..90).contains(&second) { 100 + second * 7 } else { 13 + second % 5 };
        site.second(&mut agent, rps).await;
    }
    let plans = journalled(&site).await;
    assert!(plans.len() > 5, "{} plans", plans.len());
    let policy = Policy::new(&site.config);
    for (generation, signed) in &plans {
        let again = recompute(agent.journal(), &policy, *generation).await.unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), signed.plan.get());
    }
    // Changes are what makes a journal of three days small enough to keep.
    let mut journal = site.journal_rows().connect().await;
    let mut sizes = Vec::new();
    for changes in [false, true] {
        let query = sqlx::query_scalar::<_, f64>(SIZES).bind(changes);
        sizes.push(query.fetch_one(&mut journal).await.unwrap());
    }
    assert!(sizes[1] * 3.0 < sizes[0], "{sizes:?}");
    let last = plans.last().unwrap().0;
    assert_eq!(agent.plans().load().generation, last);
    let error = recompute(agent.journal(), &policy, last + 1).await.unwrap_err();
    assert!(error.to_string().contains(&format!("generation {}", last + 1)), "{error}");
}

#[tokio::test]
async fn a_journal_that_fails_stops_nothing() {
    let site = Site::new(3000).await;
    let mut agent = site.agent().await;
    for _ in 0..5 {
        site.second(&mut agent, 20).await;
    }
    let before = agent.plans().load().generation;
    let blocker = block(&site).await;
    for _ in 0..5 {
        site.second(&mut agent, 800).await;
    }
    let without = agent.plans().load();
    assert!(without.generation > before, "it published without its journal");
    assert_eq!(journalled(&site).await.last().unwrap().0, before);

    // The journal comes back, and what it holds from then on can be computed again.
    drop(blocker);
    for _ in 0..100 {
        site.second(&mut agent, 5).await;
    }
    let (last, signed) = journalled(&site).await.pop().unwrap();
    assert!(last > without.generation);
    let policy = Policy::new(&site.config);
    let again = recompute(agent.journal(), &policy, last).await.unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), signed.plan.get());
}

#[tokio::test]
async fn it_starts_without_a_journal_that_cannot_be_made() {
    let site = Site::new(3000).await;
    std::fs::create_dir(site.config.state_path("journal.db")).unwrap();
    let mut agent = site.agent().await;
    for _ in 0..5 {
        site.second(&mut agent, 800).await;
    }
    assert!(agent.plans().load().generation > 0);
    let running = Running::serve(&site, agent).await;
    let answer = running.get("/v1/decisions").await;
    assert_eq!(answer.status, 503);
    assert_eq!(running.get("/v1/status").await.status, 200);
    running.stop().await;
}
