//! With a replica that streams from the shard: the same battery, a replica that lags, and one that is away.

use std::time::Duration;

use spillway_test_support::{Postgres, Redis, until};
use tokio::time::Instant;

use crate::battery_of;
use crate::way::Way;
use crate::world::{NOON, World};

async fn venues(world: &World, user: &str) -> Vec<String> {
    let answer = world.get(&format!("/v1/users/{user}/scans")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let json = answer.json();
    let scans = json["scans"].as_array().unwrap().iter();
    scans.map(|scan| scan["venue"].as_str().unwrap().to_owned()).collect()
}

/// A scan of which this service knows nothing.
async fn scanned_elsewhere(world: &World, user: &str, venue: &str, after: u64) {
    let values = format!("({after}, '{user}', '{venue}', {})", NOON + after);
    let insert = format!("INSERT INTO scans (id, user_id, venue, at) VALUES {values}");
    world.run(false, insert).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_battery_with_a_replica() {
    let primary = Postgres::start().await;
    let replica = primary.replica().await;
    let world = World::replicated(&primary.url(), &replica.url(), "process", Way::Http).await;
    battery_of(&world, false).await;
}

/// A lagging replica is asked for what is nobody's own, and shows nobody an older state than the one he made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_written_reads_it_however_far_the_replica_lags() {
    let (primary, redis) = tokio::join!(Postgres::start(), Redis::start());
    let replica = primary.replica().await;
    let open = async || {
        World::replicated(&primary.url(), &replica.url(), &redis.url(), Way::Straight).await
    };
    // Two processes that share a cache.
    let (world, other) = tokio::join!(open(), open());
    let old = world.register("Old", "OLD-1").await;
    scanned_elsewhere(&world, &old, "v001", 1).await;
    world.settled().await;
    world.run(true, "SELECT pg_wal_replay_pause()".to_owned()).await;
    scanned_elsewhere(&world, &old, "v002", 2).await;
    assert_eq!(venues(&world, &old).await, ["v001"], "this is the replica's");

    let new = world.register("New", "NEW-1").await;
    for world in [&world, &other] {
        assert_eq!(world.get(&format!("/v1/users/{new}/code")).await.status, 200, "the code");
        assert_eq!(venues(world, &new).await, [""; 0], "who has just come is known");
        world.get("/v1/users/u999/scans").await.refused(404, "no user u999");
    }
    world.at(3);
    for user in [&old, &new] {
        world.scan(user, "v003").await;
    }
    for world in [&world, &other] {
        assert_eq!(venues(world, &old).await, ["v003", "v002", "v001"]);
        assert_eq!(venues(world, &new).await, ["v003"]);
        assert_eq!(world.get("/v1/venues/v002/stats").await.json()["total"], 0, "the replica's");
    }
}

/// Who has scanned is remembered in the cache: while it cannot be asked, a replica is asked for nobody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_cache_histories_are_the_shards() {
    let (primary, mut redis) = tokio::join!(Postgres::start(), Redis::start());
    let replica = primary.replica().await;
    let world =
        World::replicated(&primary.url(), &replica.url(), &redis.url(), Way::Straight).await;
    let user = world.register("Old", "OLD-1").await;
    scanned_elsewhere(&world, &user, "v001", 1).await;
    world.settled().await;
    world.run(true, "SELECT pg_wal_replay_pause()".to_owned()).await;
    scanned_elsewhere(&world, &user, "v002", 2).await;
    assert_eq!(venues(&world, &user).await, ["v001"], "this is the replica's");
    redis.stop();
    assert_eq!(venues(&world, &user).await, ["v002", "v001"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_fails_no_request_and_is_used_again() {
    let primary = Postgres::start().await;
    let mut replica = primary.replica().await;
    let world = World::replicated(&primary.url(), &replica.url(), "process", Way::Straight).await;
    let user = world.register("Ada", "X1234567").await;
    scanned_elsewhere(&world, &user, "v001", 1).await;
    world.settled().await;
    // What the shard alone knows tells who answered.
    world.run(true, "SELECT pg_wal_replay_pause()".to_owned()).await;
    scanned_elsewhere(&world, &user, "v002", 2).await;
    assert_eq!(venues(&world, &user).await, ["v001"]);

    replica.stop();
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    for i in 0..100 {
        let asked = Instant::now();
        assert_eq!(venues(&world, &user).await, ["v002", "v001"]);
        let path = format!("/v1/venues/v{i:03}/stats");
        assert_eq!(world.get(&path).await.status, 200);
        assert_eq!(world.get("/v1/notices").await.status, 200);
        longest = longest.max(asked.elapsed());
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    println!("without the replica the longest of 100 times three requests took {longest:?}");

    // Started again it replays what has come; another pause tells it from the shard.
    replica.start_again();
    world.settled().await;
    world.run(true, "SELECT pg_wal_replay_pause()".to_owned()).await;
    scanned_elsewhere(&world, &user, "v003", 3).await;
    let used = async || venues(&world, &user).await == ["v002", "v001"];
    until("it is used again", Duration::from_secs(60), used).await;
}
