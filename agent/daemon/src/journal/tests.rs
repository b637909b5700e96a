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
        in_force: None,
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

/// The times of all ticks that are read, and of those with a checkpoint.
async fn times(journal: &Journal, from: u64) -> (Vec<u64>, Vec<u64>, u64) {
    let (mut times, mut checkpoints) = (Vec::new(), Vec::new());
    let mut ticks = journal.ticks(UnixMillis(from));
    while let Some(tick) = ticks.next().await.unwrap() {
        assert_eq!(tick.observation, observation(tick.observation.at.0));
        times.push(tick.observation.at.0 / 1000);
        checkpoints.extend(tick.checkpoint.map(|_| tick.observation.at.0 / 1000));
    }
    (times, checkpoints, ticks.skipped())
}

async fn written(fixture: &Fixture, ticks: u64) -> Journal {
    let journal = fixture.open().await;
    let mut state = State::initial(&fixture.policy);
    for n in 0..ticks {
        state = tick(&journal, &fixture.policy, state, n * 1000).await;
    }
    journal
}

#[tokio::test]
async fn ticks_are_read_from_the_last_checkpoint_on() {
    let fixture = Fixture::new();
    let journal = written(&fixture, 300).await;
    assert_eq!(journal.span().await.unwrap(), Some((UnixMillis(0), UnixMillis(299_000))));
    let (all, checkpoints, skipped) = times(&journal, 0).await;
    assert_eq!((all, skipped), ((0..300).collect(), 0));
    assert_eq!(checkpoints, [0, 60, 120, 180, 240]);
    assert_eq!(times(&journal, 150_000).await.0, (120..300).collect::<Vec<_>>());
    assert_eq!(times(&journal, u64::MAX).await.0, (240..300).collect::<Vec<_>>());
    let mut ticks = journal.ticks(UnixMillis(70_000));
    let first = ticks.next().await.unwrap().unwrap();
    let outcome = decide(&fixture.policy, &first.checkpoint.unwrap(), &first.observation);
    assert_eq!(first.decision, serde_json::to_string(&outcome.decision).ok());
    assert_eq!(first.plan, None, "none was signed");
}

#[tokio::test]
async fn what_follows_nothing_is_skipped_and_counted() {
    let fixture = Fixture::new();
    let journal = written(&fixture, 130).await;
    let mut writer = journal.writer.lock().await;
    let gap = "DELETE FROM observations WHERE at BETWEEN 30000 AND 39000";
    sqlx::query(gap).execute(writer.connection.as_mut().unwrap()).await.unwrap();
    drop(writer);
    let (all, _, skipped) = times(&journal, 0).await;
    assert_eq!((all, skipped), ((0..30).chain(60..130).collect(), 20));
}

#[tokio::test]
async fn a_journal_is_read_while_it_is_written_and_as_a_copy() {
    let fixture = Fixture::new();
    let writing = written(&fixture, 100).await;
    let reading = Journal::open_to_read(&fixture.path()).await.unwrap();
    assert_eq!(times(&reading, 0).await.0.len(), 100);
    tick(&writing, &fixture.policy, State::initial(&fixture.policy), 100_000).await;
    assert_eq!(reading.span().await.unwrap().unwrap().1, UnixMillis(100_000));
    let audit = Audit { at: UnixMillis(1), who: "ann", what: "tier 2" };
    let refused = reading.order("tier", Some((UnixMillis(50), "a")), audit).await;
    assert!(refused.is_err(), "it can only be read");
    reading.close().await;

    // A copy with its write-ahead log, which holds all of it as yet.
    let copy = TempDir::new().unwrap();
    let to = copy.path().join("copy.db");
    std::fs::copy(fixture.path(), &to).unwrap();
    let log = aside::write_ahead_log(&fixture.path());
    std::fs::copy(log, aside::write_ahead_log(&to)).unwrap();
    let reading = Journal::open_to_read(&to).await.unwrap();
    assert_eq!(times(&reading, 0).await.0.len(), 101);
    reading.close().await;

    writing.close().await;
    let before = std::fs::read(fixture.path()).unwrap();
    let reading = Journal::open_to_read(&fixture.path()).await.unwrap();
    assert_eq!(times(&reading, 0).await.0.len(), 101);
    reading.close().await;
    assert_eq!(std::fs::read(fixture.path()).unwrap(), before);

    // A copy where nothing can be made beside it, as in a folder that is only read.
    let copy = TempDir::new().unwrap();
    let to = copy.path().join("copy.db");
    std::fs::copy(fixture.path(), &to).unwrap();
    std::fs::create_dir(copy.path().join("copy.db-shm")).unwrap();
    let reading = Journal::open_to_read(&to).await.unwrap();
    assert_eq!(times(&reading, 0).await.0.len(), 101);
    reading.close().await;
}

#[tokio::test]
async fn what_is_no_journal_is_refused() {
    let fixture = Fixture::new();
    let refused = async |what: &str| {
        let error = Journal::open_to_read(&fixture.path()).await.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    refused("there is no journal ").await;
    std::fs::write(fixture.path(), "not a database ".repeat(1000)).unwrap();
    refused("journal.db is damaged").await;
    std::fs::write(fixture.path(), "").unwrap();
    refused("journal.db is damaged").await;
    std::fs::remove_file(fixture.path()).unwrap();
    let journal = fixture.open().await;
    assert_eq!(journal.span().await.unwrap(), None);
    assert_eq!(times(&journal, 0).await.0, [0_u64; 0]);
    let mut writer = journal.writer.lock().await;
    let later = sqlx::query("PRAGMA user_version = 9");
    later.execute(writer.connection.as_mut().unwrap()).await.unwrap();
    drop(writer);
    refused("was written by a later version").await;
}
