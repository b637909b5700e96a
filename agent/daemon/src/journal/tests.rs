use std::path::PathBuf;

use spillway_decide::{Observation, Orders, Policy, State, decide};
use spillway_model::load::{Load, Part};
use spillway_model::{Config, Tier};
use tempfile::TempDir;

use super::*;

const EXAMPLE: &str = include_str!("../../../../examples/spillway.toml");

struct Fixture {
    folder: TempDir,
    policy: Policy,
}

impl Fixture {
    fn new() -> Self {
        let config = Config::parse(EXAMPLE, Path::new(".")).unwrap();
        Self { folder: TempDir::new().unwrap(), policy: Policy::new(&config) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("journal.db")
    }

    async fn open(&self) -> Journal {
        let (journal, failure) = Journal::open(&self.path()).await;
        assert!(failure.is_none(), "{failure:?}");
        journal
    }
}

fn observation(at: u64) -> Observation {
    let mut load = Load::new(Part::Dns, "dns", None, 1, UnixMillis(at));
    load.cpu_secs = at as f64 / 7.0;
    Observation {
        at: UnixMillis(at),
        loads: vec![load],
        missing: std::collections::BTreeMap::new(),
        interface_bytes: std::collections::BTreeMap::new(),
        orders: Orders::default(),
    }
}

/// One tick as the agent does it, without signing.
async fn tick(journal: &Journal, policy: &Policy, state: State, at: u64) -> State {
    let observation = observation(at);
    let outcome = decide(policy, &state, &observation);
    let entry = Entry {
        at: UnixMillis(at),
        observation: &observation,
        state: &state,
        fresh: false,
        decision: &outcome.decision,
        plan: None,
    };
    journal.write(entry).await.unwrap();
    outcome.state
}

async fn count(journal: &Journal, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(&journal.readers).await.unwrap()
}

const ROWS: &str = "SELECT COUNT(*) FROM observations";
const CHECKPOINTS: &str = "SELECT COUNT(*) FROM observations WHERE checkpoint IS NOT NULL";

#[tokio::test]
async fn replaying_gives_the_same_state() {
    let fixture = Fixture::new();
    let journal = fixture.open().await;
    assert_eq!(journal.replay(&fixture.policy).await.unwrap(), None);
    let mut state = State::initial(&fixture.policy);
    for n in 0..130 {
        state = tick(&journal, &fixture.policy, state, 1_000_000 + n * 1000).await;
    }
    assert_eq!(count(&journal, ROWS).await, 130);
    assert_eq!(count(&journal, CHECKPOINTS).await, 3);
    assert_eq!(journal.replay(&fixture.policy).await.unwrap(), Some(state));
}

#[tokio::test]
async fn a_write_cut_short_begins_a_new_stretch() {
    let fixture = Fixture::new();
    let journal = fixture.open().await;
    let mut state = State::initial(&fixture.policy);
    state = tick(&journal, &fixture.policy, state, 1_000_000).await;
    {
        let observation = observation(1_001_000);
        let outcome = decide(&fixture.policy, &state, &observation);
        let entry = Entry {
            at: observation.at,
            observation: &observation,
            state: &state,
            fresh: false,
            decision: &outcome.decision,
            plan: None,
        };
        // Polled once and dropped, as by a deadline; the lock sees to it that it is not done by then.
        let mut blocker = journal.options.connect().await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut blocker).await.unwrap();
        let mut write = Box::pin(journal.write(entry));
        let polled = futures_util::poll!(write.as_mut());
        assert!(!matches!(polled, std::task::Poll::Ready(Ok(()))));
        drop(write);
        blocker.close().await.unwrap();
        state = outcome.state;
    }
    state = tick(&journal, &fixture.policy, state, 1_002_000).await;
    state = tick(&journal, &fixture.policy, state, 1_003_000).await;
    assert_eq!(count(&journal, CHECKPOINTS).await, 2);
    assert_eq!(journal.replay(&fixture.policy).await.unwrap(), Some(state));
}

#[tokio::test]
async fn pruning_takes_whole_stretches_in_bounded_steps() {
    let fixture = Fixture::new();
    let journal = fixture.open().await;
    let mut state = State::initial(&fixture.policy);
    for n in 0..150 {
        state = tick(&journal, &fixture.policy, state, n * 1000).await;
    }
    // Rows 0, 60 and 120 hold checkpoints; row 60 is needed for 61 to 119.
    let late = UnixMillis(u64::MAX);
    journal.prune(UnixMillis(100_000), late).await.unwrap();
    assert_eq!(count(&journal, ROWS).await, 90);
    assert_eq!(count(&journal, "SELECT COUNT(*) FROM decisions").await, 50);
    assert_eq!(journal.replay(&fixture.policy).await.unwrap(), Some(state));

    let more = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
                INSERT INTO decisions (generation, at, published, body) SELECT 1, 5, 0, '{}' FROM n";
    let mut writer = journal.writer.lock().await;
    sqlx::query(more).execute(writer.connection.as_mut().unwrap()).await.unwrap();
    drop(writer);
    let old = "SELECT COUNT(*) FROM decisions WHERE at = 5";
    journal.prune(UnixMillis(6), late).await.unwrap();
    assert_eq!(count(&journal, old).await, 500);
    journal.prune(UnixMillis(6), late).await.unwrap();
    assert_eq!(count(&journal, old).await, 0);
}

#[tokio::test]
async fn the_last_plan_outlives_its_time() {
    let fixture = Fixture::new();
    let journal = fixture.open().await;
    assert!(journal.last_plan().await.unwrap().is_none());
    let insert = "INSERT INTO plans VALUES (1, 10, 1, '{\"plan\":1,\"signature\":\"\"}'),
                                           (2, 20, 2, '{\"plan\":2,\"signature\":\"\"}')";
    let mut writer = journal.writer.lock().await;
    sqlx::query(insert).execute(writer.connection.as_mut().unwrap()).await.unwrap();
    drop(writer);
    journal.prune(UnixMillis(1000), UnixMillis(1000)).await.unwrap();
    assert_eq!(count(&journal, "SELECT COUNT(*) FROM plans").await, 1);
    assert_eq!(journal.last_plan().await.unwrap().unwrap().plan.get(), "2");
}

#[tokio::test]
async fn orders_are_kept_until_they_end() {
    let fixture = Fixture::new();
    let journal = fixture.open().await;
    let audit = Audit { at: UnixMillis(1), who: "ann", what: "tier 2" };
    journal.order("tier", Some((UnixMillis(50), "a")), audit).await.unwrap();
    journal.order("tier", Some((UnixMillis(60), "b")), audit).await.unwrap();
    journal.order("knob x", Some((UnixMillis(70), "c")), audit).await.unwrap();
    journal.order("knob x", None, audit).await.unwrap();
    journal.close().await;
    let journal = fixture.open().await;
    let expected = vec![("tier".to_owned(), UnixMillis(60), "b".to_owned())];
    assert_eq!(journal.orders(UnixMillis(59)).await.unwrap(), expected);
    assert!(journal.orders(UnixMillis(60)).await.unwrap().is_empty());
    assert_eq!(count(&journal, "SELECT COUNT(*) FROM audit").await, 4);
}

#[tokio::test]
async fn damage_is_told_from_what_passes() {
    let damaged = async |fixture: &Fixture| {
        let (_, failure) = Journal::open(&fixture.path()).await;
        failure.is_some_and(|e| e.is_damage() && e.to_string().ends_with("journal.db is damaged"))
    };
    let fixture = Fixture::new();
    std::fs::write(fixture.path(), "not a database ".repeat(1000)).unwrap();
    assert!(damaged(&fixture).await, "garbage");

    for (what, sql) in [
        ("other tables of the same names", "CREATE TABLE plans (x TEXT)"),
        ("tables missing", "PRAGMA user_version = 1"),
        ("a column missing", "CREATE TABLE audit (id INTEGER, at INTEGER, who TEXT)"),
    ] {
        let fixture = Fixture::new();
        let options = SqliteConnectOptions::new().filename(fixture.path()).create_if_missing(true);
        let mut other = options.connect().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut other).await.unwrap();
        other.close().await.unwrap();
        assert!(damaged(&fixture).await, "{what}");
    }

    let fixture = Fixture::new();
    fixture.open().await.close().await;
    let file = std::fs::File::options().write(true).open(fixture.path()).unwrap();
    file.set_len(5000).unwrap();
    assert!(damaged(&fixture).await, "truncated");

    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path()).unwrap();
    assert!(!damaged(&fixture).await, "a folder in its place");
}

#[tokio::test]
async fn a_later_version_is_left_alone() {
    let fixture = Fixture::new();
    let journal = fixture.open().await;
    let mut writer = journal.writer.lock().await;
    let later = sqlx::query("PRAGMA user_version = 9");
    later.execute(writer.connection.as_mut().unwrap()).await.unwrap();
    drop(writer);
    journal.close().await;
    let (_, failure) = Journal::open(&fixture.path()).await;
    let error = failure.unwrap();
    assert!(!error.is_damage());
    assert!(error.to_string().contains("its version is 9, this program knows 1"), "{error}");
}

#[tokio::test]
async fn a_journal_that_cannot_be_made_is_tried_again() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path()).unwrap();
    let (journal, failure) = Journal::open(&fixture.path()).await;
    assert!(failure.is_some_and(|e| !e.is_damage()));
    assert!(journal.decisions(None, 1).await.is_err());
    std::fs::remove_dir(fixture.path()).unwrap();
    let state = State::initial(&fixture.policy);
    tick(&journal, &fixture.policy, state, 1000).await;
    assert_eq!(journal.decisions(None, 10).await.unwrap().len(), 1);
    let decisions = journal.decisions(None, 10).await.unwrap();
    let decision: Decision = serde_json::from_str(decisions[0].get()).unwrap();
    assert_eq!((decision.at, decision.tier), (UnixMillis(1000), Tier::Normal));
}
