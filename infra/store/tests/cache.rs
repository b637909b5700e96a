//! One battery over every cache.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use spillway_model::UnixMillis;
use spillway_store::{Age, Cache, LoadError, Mirror, StoreError};
use spillway_test_support::{Block, Line, Process, Redis, until};
use tokio::sync::Semaphore;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

fn age(now: u64, max_secs: u64) -> Age {
    Age { now: UnixMillis(now), max: Duration::from_secs(max_secs), keep: MINUTE }
}

async fn battery(cache: &Cache) {
    set_and_get(cache).await;
    entries_expire(cache).await;
    age_decides(cache).await;
    one_of_many_loads(cache).await;
    a_failed_load_is_not_kept(cache).await;
    a_given_up_load_is_taken_over(cache).await;
}

async fn set_and_get(cache: &Cache) {
    assert_eq!((cache.get("a").await, cache.has("a").await), (None, Some(false)));
    cache.set("a", Bytes::from_static(b"\0\xff"), MINUTE).await;
    assert_eq!(cache.has("a").await, Some(true));
    assert_eq!(cache.get("a").await.unwrap().as_ref(), b"\0\xff");
    cache.set("a", Bytes::from_static(b"new"), MINUTE).await;
    assert_eq!(cache.get("a").await.unwrap().as_ref(), b"new");
}

/// Each entry has its own time, the one it was last set with.
async fn entries_expire(cache: &Cache) {
    cache.set("long", Bytes::from_static(b"1"), Duration::from_millis(30)).await;
    cache.set("long", Bytes::from_static(b"1"), MINUTE).await;
    cache.set("short", Bytes::from_static(b"1"), Duration::from_millis(30)).await;
    let gone = async {
        while cache.get("short").await.is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(MINUTE, gone).await.unwrap();
    assert!(cache.get("long").await.is_some());
}

async fn load(cache: &Cache, age: Age, value: &'static str) -> (String, u64) {
    let loaded = cache
        .get_or_load("aged", age, || async { Ok::<_, io::Error>(value.into()) })
        .await
        .unwrap();
    (String::from_utf8(loaded.bytes.to_vec()).unwrap(), loaded.at.0)
}

/// Time is the caller's: a value too old for one is young enough for another.
async fn age_decides(cache: &Cache) {
    assert_eq!(load(cache, age(1_000, 2), "one").await, ("one".to_owned(), 1_000));
    assert_eq!(load(cache, age(3_000, 2), "two").await, ("one".to_owned(), 1_000));
    assert_eq!(load(cache, age(3_001, 600), "two").await, ("one".to_owned(), 1_000));
    assert_eq!(load(cache, age(3_001, 2), "two").await, ("two".to_owned(), 3_001));
}

async fn one_of_many_loads(cache: &Cache) {
    let loads = Arc::new(AtomicU32::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let (cache, loads, gate) = (cache.clone(), loads.clone(), gate.clone());
            tokio::spawn(async move {
                let load = || async move {
                    loads.fetch_add(1, SeqCst);
                    let _open = gate.acquire().await;
                    Ok::<_, io::Error>(Bytes::from_static(b"once"))
                };
                cache.get_or_load("flight", age(0, 1), load).await.unwrap().bytes
            })
        })
        .collect();
    // Nobody gets anything before the gate opens, so all who have come by then wait for one load.
    while loads.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(1);
    for one in asking {
        assert_eq!(one.await.unwrap().as_ref(), b"once");
    }
    assert_eq!(loads.load(SeqCst), 1);
}

async fn a_failed_load_is_not_kept(cache: &Cache) {
    let failing = || async { Err(io::Error::other("the table is on fire")) };
    let first = cache.get_or_load("failing", age(0, 1), failing).await;
    assert!(matches!(first, Err(LoadError::Own(_))), "{first:?}");
    let next = || async { Ok::<_, io::Error>(Bytes::from_static(b"next")) };
    assert!(cache.get_or_load("failing", age(0, 1), next).await.is_ok());
}

async fn a_given_up_load_is_taken_over(cache: &Cache) {
    let (began, begun) = tokio::sync::oneshot::channel();
    let (giving, waiting) = (cache.clone(), cache.clone());
    let never = tokio::spawn(async move {
        let load = || async {
            began.send(()).unwrap();
            std::future::pending::<Result<Bytes, io::Error>>().await
        };
        giving.get_or_load("given-up", age(0, 1), load).await
    });
    begun.await.unwrap();
    let takes_over = tokio::spawn(async move {
        let load = || async { Ok::<_, io::Error>(Bytes::from_static(b"mine")) };
        waiting.get_or_load("given-up", age(0, 1), load).await
    });
    tokio::task::yield_now().await;
    never.abort();
    assert_eq!(takes_over.await.unwrap().unwrap().bytes.as_ref(), b"mine");
}

#[tokio::test]
async fn process() {
    battery(&Cache::open("process").unwrap()).await;
}

#[tokio::test]
async fn redis() {
    let mut redis = Redis::start().await;
    let cache = Cache::open(&redis.url()).unwrap();
    battery(&cache).await;

    redis.stop();
    let began = Instant::now();
    assert_eq!(cache.get("a").await, None);
    cache.set("a", Bytes::from_static(b"x"), MINUTE).await;
    for _ in 0..100 {
        assert_eq!(cache.get("a").await, None);
    }
    assert!(began.elapsed() < Duration::from_secs(1), "an outage is slow: {:?}", began.elapsed());
    let loaded = cache
        .get_or_load("b", age(0, 1), || async {
            Ok::<_, io::Error>(Bytes::from_static(b"from below"))
        })
        .await;
    assert_eq!(loaded.unwrap().bytes.as_ref(), b"from below");

    redis.start_again();
    until("it is used again", MINUTE, async || {
        cache.set("a", Bytes::from_static(b"x"), MINUTE).await;
        cache.get("a").await.is_some()
    })
    .await;
}

/// As a server does that has idle connections no longer, while their owner was frozen.
fn close_all(redis: &Redis) {
    let mut other = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let mut kill = redis::cmd("CLIENT");
    kill.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").exec(&mut other).unwrap();
}

#[tokio::test]
async fn a_connection_that_was_closed_costs_no_miss() {
    let redis = Redis::start().await;
    let cache = Cache::open(&redis.url()).unwrap();
    let mirror = cache.mirror("code.example.test").unwrap();
    cache.set("k", Bytes::from_static(b"v"), MINUTE).await;
    for _ in 0..20 {
        close_all(&redis);
        assert_eq!(cache.get("k").await.unwrap().as_ref(), b"v");
        close_all(&redis);
        mirror.put(b"plan", MINUTE).await.unwrap();
    }
}

/// On a connection that is dead without a word nothing is waited for twice.
#[tokio::test]
async fn a_connection_that_went_dead_is_given_up() {
    let redis = Redis::start().await;
    let line = Line::to(&redis.url()).await;
    let cache = Cache::open(&line.url(&redis.url())).unwrap();
    let mirror = cache.mirror("code.example.test").unwrap();
    cache.set("k", Bytes::from_static(b"v"), MINUTE).await;
    assert!(cache.get("k").await.is_some());
    line.cut();
    let fault = mirror.get(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(fault.reason, "no answer within 50ms");
    assert_eq!(mirror.get(MINUTE).await.unwrap(), None);
    assert!(cache.get("k").await.is_some());
}

#[tokio::test]
async fn each_site_set_has_its_plan() {
    let mut redis = Redis::start().await;
    let one = Mirror::open(&redis.url(), "one.example.test").unwrap();
    let cache = Cache::open(&redis.url()).unwrap();
    let (two, again) =
        (cache.mirror("two.example.test").unwrap(), cache.mirror("one.example.test").unwrap());
    one.put(b"\0\xff", MINUTE).await.unwrap();
    assert_eq!(again.get(MINUTE).await.unwrap().unwrap(), b"\0\xff");
    assert_eq!(two.get(MINUTE).await.unwrap(), None);
    assert!(Cache::open("process").unwrap().mirror("one.example.test").is_none());

    redis.stop();
    let fault = one.put(b"x", MINUTE).await.unwrap_err().to_string();
    assert!(fault.starts_with(&format!("{} does not serve: ", redis.url())), "{fault}");
    redis.start_again();
    assert_eq!(one.get(MINUTE).await.unwrap(), None);
}

/// Opening takes longer than a call may: the calls after it find it open.
#[tokio::test]
async fn opening_outlives_the_call_that_began_it() {
    let redis = Redis::start().await;
    let mirror = Mirror::open(&redis.url(), "h").unwrap();
    let mut call = Box::pin(mirror.get(MINUTE));
    let begun = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending()));
    assert!(begun.await);
    drop(call);
    // A second connection would be seen.
    let mut other = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let mut clients = || {
        let listed: String = redis::cmd("CLIENT").arg("LIST").query(&mut other).unwrap();
        listed.lines().count()
    };
    until("it is open", MINUTE, async || clients() == 2).await;
    assert_eq!(mirror.get(MINUTE).await.unwrap(), None);
    assert_eq!(clients(), 2);
}

/// One process sees what another wrote.
#[tokio::test]
async fn redis_is_shared() {
    let redis = Redis::start().await;
    let (one, two) = (Cache::open(&redis.url()).unwrap(), Cache::open(&redis.url()).unwrap());
    one.set("k", Bytes::from_static(b"v"), MINUTE).await;
    assert_eq!(two.get("k").await.unwrap().as_ref(), b"v");
}

#[tokio::test]
async fn redis_may_come_late() {
    let block = Block::claim();
    let address = block.address(1).to_string();
    let cache = Cache::open(&format!("redis://{address}:6379")).unwrap();
    cache.set("k", Bytes::from_static(b"v"), MINUTE).await;
    assert_eq!(cache.get("k").await, None);

    let mut command = std::process::Command::new("redis-server");
    command.args(["--port", "6379", "--bind", &address, "--save", ""]);
    let _redis = Process::start(command.stdout(std::process::Stdio::null()));
    let heard_again = async {
        while cache.get("k").await.is_none() {
            cache.set("k", Bytes::from_static(b"v"), MINUTE).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(MINUTE, heard_again).await.unwrap();
}

#[tokio::test]
async fn nothing_is_listening() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://user:secret@{}", free.local_addr().unwrap());
    // It takes connections and never answers.
    let cache = Cache::open(&url).unwrap();
    let began = Instant::now();
    assert_eq!((cache.get("a").await, cache.has("a").await), (None, None), "nobody can say");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn bad_urls() {
    for url in ["", "memcached://h", "redis://h:port", "rediss://"] {
        let error = Cache::open(url).unwrap_err();
        assert!(matches!(error, StoreError::BadRedisUrl { .. }), "{error}");
    }
}
