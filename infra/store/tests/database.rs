//! One battery over every database a shard may run on.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::path::Path;
use std::time::Duration;

use spillway_store::{Database, Kind, Migration, Options, StoreError};
use spillway_test_support::{Line, Postgres, until};

const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "1 things",
        sql: "CREATE TABLE things (id BIGINT PRIMARY KEY, name TEXT NOT NULL, size BIGINT);
              CREATE INDEX things_name ON things (name);",
    },
    Migration { name: "2 one thing", sql: "INSERT INTO things (id, name) VALUES (0, 'first')" },
];

fn open(urls: &[String], base: &Path) -> Database {
    Database::open(urls, base, Options::default()).unwrap()
}

async fn battery(urls: &[String], base: &Path) {
    concurrent_migration(urls, base).await;
    let database = open(urls, base);
    types_and_placeholders(&database).await;
    a_failed_migration_leaves_nothing(&database).await;
    exclusive_transactions(urls, base).await;
    keys_live_on_their_shard(&database).await;
}

/// As when many processes start at once on an empty database.
async fn concurrent_migration(urls: &[String], base: &Path) {
    let migrating: Vec<_> = (0..6)
        .map(|_| {
            let database = open(urls, base);
            tokio::spawn(async move {
                database.migrate(MIGRATIONS).await?;
                database.migrate(MIGRATIONS).await
            })
        })
        .collect();
    for one in migrating {
        one.await.unwrap().unwrap();
    }
    for shard in open(urls, base).shards() {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM things")
            .fetch_one(shard.pool())
            .await
            .unwrap();
        assert_eq!(count, 1, "shard {}", shard.index());
    }
}

/// The same SQL text, the same types back.
async fn types_and_placeholders(database: &Database) {
    let shard = &database.shards()[0];
    let written =
        sqlx::query("INSERT INTO things (id, name, size) SELECT $1, $2, $3 WHERE $2 <> ''")
            .bind(7_i64)
            .bind("seven")
            .bind(i64::MAX)
            .execute(shard.pool())
            .await
            .unwrap();
    assert_eq!(written.rows_affected(), 1);
    let again = sqlx::query("INSERT INTO things (id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(7_i64)
        .bind("another")
        .execute(shard.pool())
        .await
        .unwrap();
    assert_eq!(again.rows_affected(), 0);
    let row: (String, i64) = sqlx::query_as("SELECT name, size FROM things WHERE id = $1")
        .bind(7_i64)
        .fetch_one(shard.pool())
        .await
        .unwrap();
    assert_eq!(row, ("seven".to_owned(), i64::MAX));
    let empty: Option<i64> = sqlx::query_scalar("SELECT size FROM things WHERE id = $1")
        .bind(0_i64)
        .fetch_one(shard.pool())
        .await
        .unwrap();
    assert_eq!(empty, None);
}

async fn a_failed_migration_leaves_nothing(database: &Database) {
    let bad =
        Migration { name: "bad", sql: "CREATE TABLE half (id BIGINT); SELECT nonsense FROM half;" };
    let error = database.migrate(&[bad]).await.unwrap_err();
    assert!(matches!(error, StoreError::Migration { name: "bad", .. }), "{error:?}");
    for shard in database.shards() {
        let half = sqlx::query("SELECT id FROM half").fetch_optional(shard.pool()).await;
        assert!(half.is_err(), "the table of the failed migration is there");
    }
}

/// Read, then write what follows from it, from many processes at once: nothing is lost.
async fn exclusive_transactions(urls: &[String], base: &Path) {
    const WRITERS: i64 = 8;
    const EACH: i64 = 10;
    let writing: Vec<_> = (0..WRITERS)
        .map(|_| {
            let database = open(urls, base);
            tokio::spawn(async move {
                let shard = &database.shards()[0];
                for _ in 0..EACH {
                    let mut tx = shard.begin_exclusive().await.unwrap();
                    let size: i64 =
                        sqlx::query_scalar("SELECT COALESCE(size, 0) FROM things WHERE id = 0")
                            .fetch_one(&mut *tx)
                            .await
                            .unwrap();
                    sqlx::query("UPDATE things SET size = $1 WHERE id = 0")
                        .bind(size + 1)
                        .execute(&mut *tx)
                        .await
                        .unwrap();
                    tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    for one in writing {
        one.await.unwrap();
    }
    let total: i64 = sqlx::query_scalar("SELECT size FROM things WHERE id = 0")
        .fetch_one(open(urls, base).shards()[0].pool())
        .await
        .unwrap();
    assert_eq!(total, WRITERS * EACH);
}

async fn keys_live_on_their_shard(database: &Database) {
    for i in 100..140_i64 {
        let key = format!("key-{i}");
        sqlx::query("INSERT INTO things (id, name) VALUES ($1, $2)")
            .bind(i)
            .bind(&key)
            .execute(database.shard(&key).pool())
            .await
            .unwrap();
    }
    let mut found = 0;
    for shard in database.shards() {
        let names: Vec<String> = sqlx::query_scalar("SELECT name FROM things WHERE id >= 100")
            .fetch_all(shard.pool())
            .await
            .unwrap();
        assert!(names.iter().all(|name| database.shard(name).index() == shard.index()));
        assert!(!names.is_empty(), "shard {} got no key", shard.index());
        found += names.len();
    }
    assert_eq!(found, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let urls = ["sqlite:new/folder/a.db".to_owned(), "sqlite:new/folder/b%?.db".replace('?', "+")];
    battery(&urls, folder.path()).await;
    let database = open(&urls, folder.path());
    assert_eq!(database.shards()[0].kind(), Kind::Sqlite);
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(database.shards()[0].pool())
        .await
        .unwrap();
    assert_eq!(mode, "wal");
    let log = folder.path().join("new/folder/a.db-wal");
    assert!(log.exists());
    database.close().await;
    // Connections of the battery's other handles may still be closing.
    let gone = async {
        while log.exists() {
            tokio::task::yield_now().await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(20), gone).await;
    assert!(gone.is_ok(), "the write-ahead log is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    let (one, two) = tokio::join!(Postgres::start(), Postgres::start());
    battery(&[one.url(), two.url()], Path::new("/")).await;
}

#[tokio::test]
async fn a_database_that_is_away_is_an_error_in_time() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("folder.db")).unwrap();
    let options = Options { acquire_timeout: Duration::from_millis(300), ..Options::default() };
    // A listener that never answers, and a file that is a folder.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://nobody@{}/none", silent.local_addr().unwrap());
    for url in [url, "sqlite:folder.db".to_owned()] {
        let database = Database::open(&[url], folder.path(), options).unwrap();
        assert!(matches!(
            database.migrate(MIGRATIONS).await,
            Err(StoreError::Database { shard: 0, .. })
        ));
    }
    assert!(matches!(Database::open(&[], folder.path(), options), Err(StoreError::NoShards)));
}

async fn backend(database: &Database) -> Result<i32, sqlx::Error> {
    let shard = &database.shards()[0];
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(shard.pool()).await
}

/// As a function's: one connection, held while it is frozen, that is none when it wakes up.
#[tokio::test]
async fn a_connection_lost_in_a_freeze_fails_no_request() {
    let postgres = Postgres::start().await;
    let line = Line::to(&postgres.url()).await;
    let options = Options { max_connections: 1, ..Options::default() };
    let base = Path::new("/");
    let database = Database::open(&[line.url(&postgres.url())], base, options).unwrap();
    let first = backend(&database).await.unwrap();
    assert_eq!(backend(&database).await.unwrap(), first, "the connection is kept");

    let server = Database::open(&[postgres.url()], base, options).unwrap();
    let ended: bool = sqlx::query_scalar("SELECT pg_terminate_backend($1, 20000)")
        .bind(first)
        .fetch_one(server.shards()[0].pool())
        .await
        .unwrap();
    assert!(ended);
    let second = backend(&database).await.unwrap();
    assert_ne!(second, first);
    let given_back = async || database.shards()[0].pool().num_idle() == 1;
    until("the connection is given back", Duration::from_secs(20), given_back).await;
    // Gone without a word.
    line.cut();
    assert_ne!(backend(&database).await.unwrap(), second);
}

/// Who is frozen within a transaction holds nobody up for longer than a statement may take.
#[tokio::test]
async fn a_transaction_that_is_left_open_is_ended() {
    let postgres = Postgres::start().await;
    let options = Options { statement_timeout: Duration::from_millis(200), ..Options::default() };
    let database = Database::open(&[postgres.url()], Path::new("/"), options).unwrap();
    let shard = &database.shards()[0];
    let mut frozen = shard.begin_exclusive().await.unwrap();
    let next = async {
        loop {
            if let Ok(tx) = shard.begin_exclusive().await {
                break tx;
            }
        }
    };
    let tx = tokio::time::timeout(Duration::from_secs(20), next).await.unwrap();
    tx.commit().await.unwrap();
    assert!(sqlx::query("SELECT 1").execute(&mut *frozen).await.is_err());
    let slow = sqlx::query("SELECT pg_sleep(20)").execute(shard.pool()).await.unwrap_err();
    assert!(slow.to_string().contains("statement timeout"), "{slow}");
    let idle: String =
        sqlx::query_scalar("SHOW idle_session_timeout").fetch_one(shard.pool()).await.unwrap();
    assert_eq!(idle, "10min");
}

/// A file that is none of ours, and one of ours with a hole in it: told at once, by name, and with
/// what to do.
#[tokio::test]
async fn a_damaged_file_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    let urls = ["sqlite:a.db".to_owned()];
    // Waiting for the pool would take longer than this test may.
    let options = Options { acquire_timeout: Duration::from_secs(600), ..Options::default() };
    let told = async || {
        let database = Database::open(&urls, folder.path(), options).unwrap();
        let migrated = tokio::time::timeout(Duration::from_secs(20), database.migrate(MIGRATIONS));
        let error = match migrated.await.expect("it takes too long") {
            Err(e) => e,
            Ok(()) => {
                let shard = &database.shards()[0];
                let read =
                    sqlx::query("SELECT * FROM things WHERE name > ''").fetch_all(shard.pool());
                shard.error(read.await.map(|rows| rows.len()).unwrap_err())
            }
        };
        database.close().await;
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        error.to_string()
    };
    std::fs::write(&file, b"this is no database. ".repeat(1000)).unwrap();
    let said = told().await;
    assert!(said.contains(file.to_str().unwrap()) && said.contains("backup"), "{said}");

    std::fs::remove_file(&file).unwrap();
    let database = open(&urls, folder.path());
    database.migrate(MIGRATIONS).await.unwrap();
    database.close().await;
    let length = usize::try_from(std::fs::metadata(&file).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    // All but the first page, which says that it is a database.
    bytes[4096..length].fill(0xaa);
    std::fs::write(&file, bytes).unwrap();
    told().await;
}
