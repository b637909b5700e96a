//! PostgreSQL and Redis over TLS: who is not vouched for is not believed.
//!
//! The roots of a machine are read from files that variables of the process name, so what trusts a
//! test's certificate is a process of its own: this test again.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use spillway_store::{Cache, Database, Mirror, Options, with_password};
use spillway_test_support::{Postgres, Redis};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn redis() {
    if let Ok(url) = std::env::var("TEST_REDIS") {
        return redis_that_is_trusted(&url).await;
    }
    let redis = Redis::start_tls().await;
    let stranger = Mirror::open(&redis.url(), "h").unwrap().get(SOON).await.unwrap_err();
    assert!(stranger.reason.contains("certificate"), "{}", stranger.reason);
    let plain = Mirror::open(&redis.url().replace("rediss", "redis"), "h").unwrap();
    assert!(plain.get(SOON).await.is_err());

    let mut trusting = tokio::process::Command::new(std::env::current_exe().unwrap());
    trusting.args(["redis", "--exact"]).env("TEST_REDIS", redis.url());
    let done = trusting.env("SSL_CERT_FILE", redis.certificate().unwrap()).output().await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}

async fn redis_that_is_trusted(url: &str) {
    let cache = Cache::open(url).unwrap();
    let mirror = cache.mirror("h").unwrap();
    // The first handshake may take longer than a look-up in a cache.
    mirror.put(b"plan", SOON).await.unwrap();
    assert_eq!(mirror.get(SOON).await.unwrap().unwrap(), b"plan");
    cache.set("k", Bytes::from_static(b"v"), SOON).await;
    assert_eq!(cache.get("k").await.unwrap().as_ref(), b"v");
}

#[tokio::test]
async fn postgres() {
    let postgres = Postgres::start_tls().await;
    let open = |query: &str, password: &str| {
        let url = with_password(&format!("{}?{query}", postgres.url()), password);
        let options = Options { max_connections: 1, ..Options::default() };
        Database::open(&[url], Path::new("/"), options).unwrap()
    };
    let encrypted = async |database: &Database| {
        let question = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        sqlx::query_scalar::<_, bool>(question).fetch_one(database.shards()[0].pool()).await
    };
    let roots =
        format!("sslmode=verify-full&sslrootcert={}", postgres.certificate().unwrap().display());
    for query in ["sslmode=require", "", &roots] {
        assert!(encrypted(&open(query, "password")).await.unwrap(), "{query}");
    }
    for (query, password) in [
        ("sslmode=disable", "password"),
        ("sslmode=verify-full", "password"),
        ("sslmode=require", "another"),
    ] {
        assert!(encrypted(&open(query, password)).await.is_err(), "{query} {password}");
    }
}
