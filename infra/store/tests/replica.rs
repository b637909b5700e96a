//! A shard with a streaming replica: it is read while it answers, and missed by nobody when it does not.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::path::Path;
use std::time::Duration;

use spillway_store::{Database, Migration, Options, StoreError};
use spillway_test_support::{Line, Postgres, until};
use sqlx::AnyPool;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// As a function's: one connection a server.
const ONE: Options = Options {
    max_connections: 1,
    acquire_timeout: Duration::from_secs(3),
    statement_timeout: Duration::from_secs(5),
};

fn open(primary: &str, replica: &str) -> Database {
    let database = Database::open(&[primary.to_owned()], Path::new("/"), ONE).unwrap();
    database.with_replicas(&[replica.to_owned()], ONE).unwrap()
}

/// Whether the replica answers.
async fn by_replica(database: &Database) -> bool {
    let ask = |pool| async move {
        sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&pool).await
    };
    database.shards()[0].read(ask).await.unwrap()
}

/// Reads until the replica is left alone, and well into that: none fails, and together they wait for it
/// once. Returns the longest.
async fn reads_without_it(database: &Database) -> Duration {
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    for _ in 0..200 {
        let asked = Instant::now();
        assert!(!by_replica(database).await);
        longest = longest.max(asked.elapsed());
    }
    // Half a second and a bit for a busy machine; were each to wait, it would be a hundred seconds.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    longest
}

/// Connections that a server has besides the one that asks.
async fn connections(server: &Postgres) -> i64 {
    let database = Database::open(&[server.url()], Path::new("/"), ONE).unwrap();
    let question = "SELECT COUNT(*) FROM pg_stat_activity \
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let asked = sqlx::query_scalar(question).fetch_one(database.shards()[0].pool());
    let answer = asked.await.unwrap();
    database.close().await;
    answer
}

/// Whether a server is at the slow question.
async fn sleeps(server: &Postgres) -> bool {
    let database = Database::open(&[server.url()], Path::new("/"), ONE).unwrap();
    let question = "SELECT COUNT(*) > 0 FROM pg_stat_activity \
        WHERE state = 'active' AND query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()";
    let asked = sqlx::query_scalar(question).fetch_one(database.shards()[0].pool());
    let answer = asked.await.unwrap();
    database.close().await;
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_read_while_it_answers() {
    let primary = Postgres::start().await;
    let mut replica = primary.replica().await;
    let database = open(&primary.url(), &replica.url());
    let reading = (0..50).map(|_| {
        let database = database.clone();
        tokio::spawn(async move { by_replica(&database).await })
    });
    for one in reading.collect::<Vec<_>>() {
        assert!(one.await.unwrap());
    }
    let shard = &database.shards()[0];
    let direct: bool =
        sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(shard.pool()).await.unwrap();
    assert!(shard.has_replica() && !direct, "a shard itself is none");
    assert_eq!((connections(&replica).await, connections(&primary).await), (1, 1));

    replica.stop();
    let longest = reads_without_it(&database).await;
    println!("without its replica the longest of 200 reads took {longest:?}");
    replica.start_again();
    until("it is read again", MINUTE, async || by_replica(&database).await).await;
    assert_eq!(connections(&replica).await, 1);
    database.close().await;
    // A server's process outlives its connection by a moment.
    until("no connection is left", MINUTE, async || {
        (connections(&replica).await, connections(&primary).await) == (0, 0)
    })
    .await;
}

#[tokio::test]
async fn one_that_takes_connections_and_never_answers_is_waited_for_once() {
    let primary = Postgres::start().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://postgres@{}/postgres", silent.local_addr().unwrap());
    let longest = reads_without_it(&open(&primary.url(), &url)).await;
    println!("with a silent replica the longest of 200 reads took {longest:?}");
}

/// A connection that is dead without a word is replaced, be it held or in the midst of a question.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_connection_fails_no_read() {
    let primary = Postgres::start().await;
    let replica = primary.replica().await;
    let line = Line::to(&replica.url()).await;
    let database = open(&primary.url(), &line.url(&replica.url()));
    assert!(by_replica(&database).await);
    line.cut();
    until("it is read by another connection", MINUTE, async || by_replica(&database).await).await;

    let ask = || {
        let database = database.clone();
        tokio::spawn(async move {
            let ask = |pool: AnyPool| async move {
                let question = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_sleep(60) IS NULL END";
                sqlx::query_scalar::<_, Option<bool>>(question).fetch_one(&pool).await
            };
            database.shards()[0].read(ask).await
        })
    };
    let mut slow = ask();
    // Whether it is cut in the midst or has just been given up makes no difference. On a busy machine the
    // replica may have been slow a moment ago and is left alone for now: then the shard has answered.
    until("it is asked", MINUTE, async || {
        if slow.is_finished() {
            slow = ask();
        }
        sleeps(&replica).await
    })
    .await;
    line.cut();
    assert_eq!(slow.await.unwrap().unwrap(), None, "the shard itself answers");
    until("it is read again", MINUTE, async || by_replica(&database).await).await;
}

#[tokio::test]
async fn what_it_does_not_know_yet_the_shard_does() {
    let primary = Postgres::start().await;
    let replica = primary.replica().await;
    let at = Database::open(&[replica.url()], Path::new("/"), ONE).unwrap();
    let pause = sqlx::query("SELECT pg_wal_replay_pause() IS NULL");
    pause.execute(at.shards()[0].pool()).await.unwrap();
    let database = open(&primary.url(), &replica.url());
    let things = Migration { name: "1 things", sql: "CREATE TABLE things (id BIGINT PRIMARY KEY)" };
    database.migrate(&[things]).await.unwrap();
    let ask = |pool| async move {
        sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM things").fetch_one(&pool).await
    };
    assert_eq!(database.shards()[0].read(ask).await.unwrap(), 0);
}

#[tokio::test]
async fn replicas_go_with_the_shards() {
    let opened = |shards: &[&str], replicas: &[&str]| {
        let list = |urls: &[&str]| urls.iter().map(ToString::to_string).collect::<Vec<_>>();
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&list(shards), folder.path(), ONE).unwrap();
        let database = database.with_replicas(&list(replicas), ONE)?;
        Ok(database.shards().iter().map(|shard| shard.has_replica()).collect::<Vec<_>>())
    };
    let two = ["postgres://a/d", "sqlite:b.db"];
    assert_eq!(opened(&two, &[]).unwrap(), [false, false]);
    assert_eq!(opened(&two, &["postgres://c/d", ""]).unwrap(), [true, false]);
    let error: StoreError = opened(&two, &["postgres://c/d"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there are 1 replicas for 2 shards: write one a shard, \"\" for none"
    );
    for bad in [["sqlite:c.db", ""], ["", "postgres://u:secret@c/d"], ["mysql://u:secret@c/d", ""]]
    {
        let error = opened(&two, &bad).unwrap_err();
        assert!(matches!(error, StoreError::BadDatabaseUrl { .. }), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
