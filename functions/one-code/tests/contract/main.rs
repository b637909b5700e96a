//! One battery over the service: every route and knob, on every store, whole and split into
//! microservices, by HTTP as at home and as events of a load balancer.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod knobs;
mod replicas;
mod sizes;
mod strange;
mod way;
mod world;

use std::path::Path;

use spillway_model::UnixMillis;
use spillway_one_code::{router, seed};
use spillway_test_support::{Postgres, Redis};

use way::Way;
use world::{NOON, World};

/// Returns what was asked and answered.
async fn battery(
    shards: &[String],
    base: &Path,
    cache: &str,
    split: bool,
    way: Way,
) -> Vec<String> {
    battery_of(&World::new(shards, base, cache, split, way), split).await
}

async fn battery_of(world: &World, split: bool) -> Vec<String> {
    registering(world).await;
    showing_a_code(world).await;
    scanning(world).await;
    history(world).await;
    statistics(world).await;
    notices(world).await;
    strange::battery(world).await;
    knobs::battery(world).await;
    assert_eq!(
        world.get("/v1/notices").await.header("x-spillway-served-by"),
        split.then_some("cloud")
    );
    world.shutdown.cancel();
    assert_eq!(router(&["codes".to_owned(), "codes".to_owned()], &world.app).err(), None);
    let error = router(&["cods".to_owned()], &world.app).unwrap_err();
    assert!(error.to_string().contains("no route group `cods`"), "{error}");
    world.told()
}

async fn registering(world: &World) {
    let body = r#"{"name": " Ada Lovelace ", "id_number": "x 123-4567"}"#;
    let first = world.post("/v1/users", body).await;
    assert_eq!(first.status, 201, "{}", first.text);
    let first = first.json();
    assert_eq!(first["code"]["color"], "green");
    assert_eq!(first["code"]["user"], first["user"]);
    assert!(!first.to_string().contains("123-4567"));

    let body = r#"{"name": "Ada Lovelace", "id_number": "X123-4567"}"#;
    let again = world.post("/v1/users", body).await;
    assert_eq!((again.status.as_u16(), &again.json()["user"]), (200, &first["user"]));
    world
        .post("/v1/users", r#"{"name": "Bob", "id_number": "X123-4567"}"#)
        .await
        .refused(409, "another name");

    for (body, says) in [
        ("", "send for example {\"name\""),
        ("{\"name\": \"Ada\"}", "missing field `id_number`"),
        (r#"{"name": "Ada", "id_number": "X1234567", "age": 1}"#, "unknown field `age`"),
        (r#"{"name": " ", "id_number": "X1234567"}"#, "`name` must have"),
        (r#"{"name": "A\nB", "id_number": "X1234567"}"#, "`name` must have"),
        (r#"{"name": "Ada", "id_number": "X1"}"#, "`id_number` must be"),
        (r#"{"name": "Ada", "id_number": "X12345ü"}"#, "`id_number` must be"),
    ] {
        world.post("/v1/users", body).await.refused(400, says);
    }
    let large = format!(r#"{{"name": "{}", "id_number": "X1234567"}}"#, "x".repeat(20_000));
    world.post("/v1/users", &large).await.refused(413, "larger than 16384 bytes");
}

async fn showing_a_code(world: &World) {
    let user = world.register("Grace", "G0000001").await;
    let code = world.get(&format!("/v1/users/{user}/code")).await;
    assert_eq!(code.status, 200);
    assert_eq!(code.header("cache-control"), Some("no-store"));
    let json = code.json();
    assert_eq!(json["user"], user.as_str());
    assert_eq!(json["issued_at"], "2026-11-23T12:00:00.000Z");
    assert_eq!(json["expires_at"], "2026-11-23T12:05:00.000Z");
    let token = json["token"].as_str().unwrap();
    assert!(token.starts_with(&format!("{user}.green.")), "{token}");

    let picture = world.get(&format!("/v1/users/{user}/qr")).await;
    assert_eq!(picture.header("content-type"), Some("image/svg+xml"));
    assert!((6_000..=12_000).contains(&picture.text.len()), "{}", picture.text.len());
    assert_eq!(picture.header("x-spillway-knob"), None);

    for route in ["code", "qr"] {
        world.get(&format!("/v1/users/u999/{route}")).await.refused(404, "POST /v1/users");
        for bad in ["U1", "x1", "u", "u%00", "u'--", &format!("u{}", "1".repeat(32))] {
            world.get(&format!("/v1/users/{bad}/{route}")).await.refused(400, "not a user number");
        }
        world.get(&format!("/v1/users/u%ff/{route}")).await.refused(400, "UTF-8");
    }
}

async fn scanning(world: &World) {
    let user = world.register("Scanner", "S0000001").await;
    let scanned =
        world.post("/v1/scans", &format!(r#"{{"user": "{user}", "venue": "v001"}}"#)).await;
    assert_eq!(scanned.status, 201, "{}", scanned.text);
    let expected =
        serde_json::json!({"user": user, "venue": "v001", "at": "2026-11-23T12:00:30.000Z"});
    assert_eq!(scanned.json(), expected);

    let code = world.get(&format!("/v1/users/{user}/code")).await.json();
    let by_token = serde_json::json!({"token": code["token"], "venue": "v002"}).to_string();
    let scanned = world.post("/v1/scans", &by_token).await;
    assert_eq!((scanned.status.as_u16(), &scanned.json()["user"]), (201, &user.clone().into()));
    world.at(5 * 60_000);
    world.post("/v1/scans", &by_token).await.refused(400, "expired; scan the code again");
    world.at(0);

    for (body, status, says) in [
        (r#"{"venue": "v001"}"#, 400, "either `user` or `token`"),
        (r#"{"user": "u1", "token": "x", "venue": "v001"}"#, 400, "either `user` or `token`"),
        (r#"{"token": "u1.green.99999999999.AAAA", "venue": "v001"}"#, 400, "not ours"),
        (r#"{"user": "u1", "venue": "club"}"#, 400, "`club` is not a venue"),
        (r#"{"user": "bob", "venue": "v001"}"#, 400, "`bob` is not a user number"),
        (r#"{"user": "u1", "venue": "v001"}"#, 404, "no user u1"),
        (r#"{"user": 1, "venue": "v001"}"#, 400, "invalid type"),
    ] {
        world.post("/v1/scans", body).await.refused(status, says);
    }
}

async fn history(world: &World) {
    let user = world.register("Historian", "H0000001").await;
    let path = format!("/v1/users/{user}/scans");
    let empty = world.get(&path).await;
    assert_eq!(empty.json(), serde_json::json!({"user": user, "scans": []}));
    for i in 0..25 {
        world.at(i * 1000);
        world.scan(&user, &format!("v{i:03}")).await;
    }
    world.at(0);
    let venues = |answer: world::Answer| -> Vec<String> {
        let json = answer.json();
        let scans = json["scans"].as_array().unwrap().iter();
        scans.map(|scan| scan["venue"].as_str().unwrap().to_owned()).collect()
    };
    let newest = venues(world.get(&path).await);
    assert_eq!((newest.len(), newest[0].as_str(), newest[19].as_str()), (20, "v024", "v005"));
    assert_eq!(venues(world.get(&format!("{path}?limit=2")).await), ["v024", "v023"]);
    assert_eq!(venues(world.get(&format!("{path}?limit=100")).await).len(), 25);
    for bad in ["0", "101", "-1", "x", ""] {
        world.get(&format!("{path}?limit={bad}")).await.refused(400, "from 1 to 100");
    }
    world.get("/v1/users/u999/scans").await.refused(404, "no user u999");
}

async fn statistics(world: &World) {
    const VENUE: &str = "/v1/venues/v-stats/stats";
    let numbers = async |after_noon_ms: i64| {
        // They are nobody's own: a replica may know of a scan a moment later.
        world.settled().await;
        world.at(after_noon_ms);
        let answer = world.get(VENUE).await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let json = answer.json();
        assert_eq!(json["venue"], "v-stats");
        ["last_hour", "last_day", "total"].map(|key| json[key].as_i64().unwrap())
    };
    const MINUTE: i64 = 60_000;
    assert_eq!(numbers(-48 * 60 * MINUTE).await, [0, 0, 0]);
    // Users enough to live on every shard.
    for i in 0..8_i64 {
        let user = world.register("Guest", &format!("GUEST-{i}")).await;
        for (ago, most) in [(0, 8), (30, 4), (120, 2), (2000, 1)] {
            if i < most {
                world.at(-ago * MINUTE);
                world.scan(&user, "v-stats").await;
            }
        }
    }
    assert_eq!(numbers(0).await, [12, 14, 15]);
    world.scan(&world.register("Late", "LATE-1").await, "v-stats").await;
    assert_eq!(numbers(2_000).await, [12, 14, 15], "two seconds old is young enough");
    assert_eq!(numbers(2_001).await, [13, 15, 16]);
    assert_eq!(numbers(61 * MINUTE).await, [0, 15, 16]);
    world.at(0);
    world.get("/v1/venues/club/stats").await.refused(400, "not a venue");
}

async fn notices(world: &World) {
    let answer = world.get("/v1/notices").await;
    assert!((3_000..=5_000).contains(&answer.text.len()), "{}", answer.text.len());
    let json = answer.json();
    let notices = json["notices"].as_array().unwrap();
    assert_eq!((notices.len(), &notices[0]["title"]), (8, &"Questions".into()));
    assert_eq!(json["as_of"], "2026-11-23T12:00:30.000Z");
}

/// Demo users are made once, whoever else makes them at the same time, and not into a database that
/// has users.
async fn seeding(shards: &[String], base: &Path) {
    let worlds: Vec<World> =
        (0..3).map(|_| World::new(shards, base, "process", false, Way::Straight)).collect();
    let seeding: Vec<_> = worlds
        .iter()
        .map(|world| {
            let app = world.app.clone();
            tokio::spawn(async move {
                seed(app.database().await.unwrap(), 1200, UnixMillis(NOON)).await.unwrap()
            })
        })
        .collect();
    let mut made = 0;
    for one in seeding {
        made += one.await.unwrap();
    }
    assert_eq!(made, 1200);
    let world = &worlds[0];
    let code = world.get("/v1/users/u001200/code").await.json();
    assert_eq!(code["color"], "green");
    assert_eq!(world.get("/v1/users/u000067/code").await.json()["color"], "red");
    world.get("/v1/users/u001201/code").await.refused(404, "no user u001201");
    let past = world.get("/v1/users/u000001/scans?limit=100").await.json();
    let past = past["scans"].as_array().unwrap();
    assert_eq!((past.len(), &past[0]["venue"]), (20, &"v021".into()));
    let stats = world.get("/v1/venues/v100/stats").await.json();
    assert_eq!(stats["total"], 1200 * 20 / 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_and_process() {
    let shards = ["sqlite:a.db".to_owned(), "sqlite:b.db".to_owned()];
    for split in [false, true] {
        let mut first = Vec::new();
        for way in Way::ALL {
            let folder = tempfile::tempdir().unwrap();
            let mut told = battery(&shards, folder.path(), "process", split, way).await;
            // Some load balancers cannot carry it.
            told.retain(|exchange| !exchange.contains("limit=1&limit=2"));
            if first.is_empty() {
                first = told;
                continue;
            }
            for (straight, otherwise) in first.iter().zip(&told) {
                assert_eq!(straight, otherwise, "by {way:?}");
            }
            assert_eq!(first.len(), told.len());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    seeding(&shards, folder.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_and_redis() {
    for split in [false, true] {
        let (folder, redis) = (tempfile::tempdir().unwrap(), Redis::start().await);
        battery(&["sqlite:a.db".to_owned()], folder.path(), &redis.url(), split, Way::Straight)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_and_process() {
    let (one, two) = tokio::join!(Postgres::start(), Postgres::start());
    battery(&[one.url(), two.url()], Path::new("/"), "process", false, Way::Http).await;
    let fresh = Postgres::start().await;
    seeding(&[fresh.url()], Path::new("/")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_and_redis() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    battery(&[postgres.url()], Path::new("/"), &redis.url(), true, Way::Alb { multi_value: true })
        .await;
}

/// Without its database the service explains itself, and serves again once it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_comes_late() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    std::fs::create_dir(&file).unwrap();
    let world =
        World::new(&["sqlite:a.db".to_owned()], folder.path(), "process", false, Way::Straight);
    for path in ["/v1/users/u1/code", "/v1/notices", "/v1/venues/v1/stats"] {
        let answer = world.get(path).await;
        answer.refused(503, "try again in a moment");
        assert_eq!(answer.header("retry-after"), Some("2"));
        assert_eq!(answer.header("x-spillway-knob"), None);
    }
    assert_eq!(world.get("/healthz").await.status, 200, "alive without its database");
    std::fs::remove_dir(&file).unwrap();
    world.register("Ada", "X1234567").await;
    world.shutdown.cancel();
    assert_eq!(world.get("/healthz").await.status, 503, "draining");
}
