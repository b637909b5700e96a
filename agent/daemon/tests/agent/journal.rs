//! The journal: plans can be computed again from it, and the agent does not depend on it.

use spillway_daemon::recompute;
use spillway_decide::Policy;
use spillway_model::api::Status;
use spillway_model::{SignedPlan, Tier};

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
    let status: Status = running.json("/v1/status").await;
    let [warning] = status.warnings.as_slice() else { panic!("{:?}", status.warnings) };
    assert!(warning.contains("journal.db cannot be written"), "{warning}");
    let metrics = running.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body);
    assert!(metrics.contains("\nspillway_journal_writable 0\n"), "{metrics}");
    running.stop().await;

    // Once it can be made, it is, and the warning ends.
    std::fs::remove_dir(site.config.state_path("journal.db")).unwrap();
    let mut agent = site.agent().await;
    site.second(&mut agent, 10).await;
    let running = Running::serve(&site, agent).await;
    assert!(running.json::<Status>("/v1/status").await.warnings.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_damaged_journal_is_moved_aside_and_a_new_one_begun() {
    let site = Site::new(3000).await;
    let path = site.config.state_path("journal.db");
    for (times, garbage) in ["x".repeat(5000).into_bytes(), vec![0x5a; 100]].iter().enumerate() {
        std::fs::write(&path, garbage).unwrap();
        let mut agent = site.agent().await;
        for _ in 0..5 {
            site.second(&mut agent, 800).await;
        }
        assert!(!agent.journal().decisions(None, 5).await.unwrap().is_empty());
        let running = Running::serve(&site, agent).await;
        let status: Status = running.json("/v1/status").await;
        let [warning] = status.warnings.as_slice() else { panic!("{:?}", status.warnings) };
        assert!(
            warning.contains("journal.db is damaged: ") && warning.contains(".damaged-"),
            "{warning}"
        );
        running.stop().await;
        assert_eq!(damaged(&site).len(), times + 1);
        for file in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{file}", path.display()));
        }
    }
    assert!(damaged(&site).contains(&vec![0x5a; 100]), "what was damaged can be looked at");
}

/// What the damaged journals of a site hold.
fn damaged(site: &Site) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(site.config.state_path("")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let damaged = paths.filter(|path| path.to_string_lossy().contains("journal.db.damaged-"));
    damaged.map(|path| std::fs::read(path).unwrap()).collect()
}

/// Only the table of plans is damaged: the orders in force are still read, and kept.
#[tokio::test]
async fn orders_outlive_a_damaged_journal() {
    let site = Site::new(1000).await;
    let running = Running::start(&site).await;
    let order = r#"{"tier":2,"for_secs":600,"by":"ann: drill"}"#;
    running.send("PUT", "/v1/tier", order).await;
    running.stop().await;
    let mut journal = site.journal_rows().connect().await;
    sqlx::query("UPDATE plans SET signed = 'torn'").execute(&mut journal).await.unwrap();
    drop(journal);

    for restart in 0..2 {
        let running = Running::start(&site).await;
        let status: Status = running.json("/v1/status").await;
        assert_eq!(status.orders.len(), 1, "restart {restart}");
        assert_eq!(status.orders[0].by, "ann: drill");
        assert_eq!(status.warnings.len(), 1 - restart, "{:?}", status.warnings);
        let knobs = running.send("DELETE", "/v1/knobs/qr-text", "").await;
        assert_eq!(knobs.status, 200);
        assert_eq!(running.json::<Status>("/v1/status").await.tier, Tier::Visible);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_journal_of_a_later_version_is_left_alone() {
    let site = Site::new(3000).await;
    drop(site.agent().await);
    let mut journal = site.journal_rows().connect().await;
    sqlx::query("PRAGMA user_version = 9").execute(&mut journal).await.unwrap();
    drop(journal);
    let mut agent = site.agent().await;
    site.second(&mut agent, 800).await;
    site.second(&mut agent, 800).await;
    assert!(agent.plans().load().generation > 0);
    let running = Running::serve(&site, agent).await;
    let status: Status = running.json("/v1/status").await;
    assert!(status.warnings[0].contains("a later version"), "{:?}", status.warnings);
    running.stop().await;
    assert!(damaged(&site).is_empty());
}
