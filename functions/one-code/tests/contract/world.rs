//! The service under test: its routers over real stores, with a clock and a plan that tests set.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use spillway_model::plan::KnobLease;
use spillway_model::{KnobId, Plan, UnixMillis};
use spillway_one_code::{AppState, GROUPS, Parts, Secret, router};
use spillway_part::Shutdown;
use spillway_part::follow::Publisher;
use spillway_store::{Cache, Database, Options};
use spillway_test_support::until;
use sqlx::AssertSqlSafe;

use crate::way::{Door, Way};

/// 2026-11-23T12:00:30Z.
pub(crate) const NOON: u64 = 1_795_435_230_000;

pub(crate) struct World {
    pub(crate) app: AppState,
    pub(crate) shutdown: Shutdown,
    pub(crate) way: Way,
    /// The groups that are served behind each door.
    doors: Vec<(Vec<String>, Door)>,
    publisher: Publisher,
    now: Arc<AtomicU64>,
    told: Mutex<Vec<String>>,
    /// A shard and its replica, each by itself.
    streaming: Option<[Database; 2]>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// What differs by who serves, or is written anew on each hop.
const OF_THE_HOP: [&str; 3] = ["content-length", "date", "x-spillway-served-by"];

impl World {
    /// All groups in one router, or each in its own.
    pub(crate) fn new(shards: &[String], base: &Path, cache: &str, split: bool, way: Way) -> Self {
        let database = Database::open(shards, base, Options::default()).unwrap();
        Self::of(database, cache, split, way)
    }

    /// One shard with a streaming replica, whose schema is there already.
    pub(crate) async fn replicated(primary: &str, replica: &str, cache: &str, way: Way) -> Self {
        let open = |url: &str| Database::open(&[url.to_owned()], "/".as_ref(), Options::default());
        let database = open(primary).unwrap();
        let database = database.with_replicas(&[replica.to_owned()], Options::default()).unwrap();
        let streaming = Some([primary, replica].map(|url| open(url).unwrap()));
        let world = Self { streaming, ..Self::of(database, cache, false, way) };
        world.app.database().await.unwrap();
        world.settled().await;
        world
    }

    fn of(database: Database, cache: &str, split: bool, way: Way) -> Self {
        let now = Arc::new(AtomicU64::new(NOON));
        let (publisher, plans) = Publisher::new(Plan::initial([], 5));
        let shutdown = Shutdown::new();
        let clock = now.clone();
        let app = AppState::new(Parts {
            database,
            cache: Cache::open(cache).unwrap(),
            plans,
            secret: Secret::new(&[7; 32]),
            clock: Arc::new(move || UnixMillis(clock.load(SeqCst))),
            served_by: split.then_some("cloud"),
            shutdown: shutdown.clone(),
        });
        let all: Vec<String> = GROUPS.map(str::to_owned).to_vec();
        let sets = if split { all.into_iter().map(|g| vec![g]).collect() } else { vec![all] };
        let door = |router: Router| Door::open(way, router);
        let doors = sets
            .into_iter()
            .map(|groups| (groups.clone(), door(router(&groups, &app).unwrap())))
            .collect();
        Self { app, shutdown, way, doors, publisher, now, told: Mutex::default(), streaming: None }
    }

    /// Waits until a replica, if there is one, knows all that its shard does.
    pub(crate) async fn settled(&self) {
        let Some([shard, replica]) = &self.streaming else { return };
        let rows = async |database: &Database| {
            let count = "SELECT (SELECT COUNT(*) FROM users) + (SELECT COUNT(*) FROM scans) \
                + (SELECT COUNT(*) FROM notices)";
            let counted =
                sqlx::query_scalar::<_, i64>(count).fetch_one(database.shards()[0].pool());
            counted.await.ok()
        };
        let all = rows(shard).await;
        assert!(all.is_some());
        let settled = async || rows(replica).await == all;
        until("the replica has caught up", Duration::from_secs(60), settled).await;
    }

    /// Runs SQL at the shard, or at the replica.
    pub(crate) async fn run(&self, at_replica: bool, sql: String) {
        let database = &self.streaming.as_ref().unwrap()[usize::from(at_replica)];
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(database.shards()[0].pool()).await.unwrap();
    }

    pub(crate) fn at(&self, after_noon_ms: i64) {
        self.now.store(NOON.checked_add_signed(after_noon_ms).unwrap(), SeqCst);
    }

    /// Puts exactly these knobs on, for a minute of the test's time.
    pub(crate) fn knobs(&self, ids: &[&str]) {
        let mut plan = Plan::initial([], 5);
        static GENERATION: AtomicU64 = AtomicU64::new(1);
        plan.generation = GENERATION.fetch_add(1, SeqCst);
        let until = UnixMillis(self.now.load(SeqCst)).plus_secs(60);
        for id in ids {
            let lease = KnobLease { until, by: "a test".to_owned() };
            plan.knobs.insert(KnobId::new(id).unwrap(), lease);
        }
        assert!(self.publisher.publish(plan));
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.call("POST", path, body).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        let request = Request::builder().method(method).uri(path);
        self.send(request.body(Bytes::from(body.to_owned())).unwrap()).await
    }

    /// Sends a request to the router whose group has the route; the others must not have it.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Answer {
        let path = request.uri().path().to_owned();
        let mut found = None;
        for (groups, door) in &self.doors {
            let answer = door.send(request.clone()).await;
            if groups.iter().any(|g| g == group(&path)) {
                found = Some(answer);
            } else if path != "/healthz" {
                assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{groups:?} serves {path}");
            }
        }
        let (head, body) = found.unwrap().into_parts();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let answer = Answer { status: head.status, headers: head.headers, text };
        self.told.lock().unwrap().push(answer.told(&request));
        answer
    }

    /// Every request and its answer so far, but for what hops may change.
    pub(crate) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    pub(crate) async fn register(&self, name: &str, number: &str) -> String {
        let body = serde_json::json!({"name": name, "id_number": number}).to_string();
        let answer = self.post("/v1/users", &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()["user"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn scan(&self, user: &str, venue: &str) {
        let body = serde_json::json!({"user": user, "venue": venue}).to_string();
        let answer = self.post("/v1/scans", &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    }
}

fn group(path: &str) -> &'static str {
    match path {
        _ if path.contains("/scans") => "scans",
        _ if path.starts_with("/v1/venues") => "venues",
        _ if path.starts_with("/v1/notices") => "notices",
        _ => "codes",
    }
}

impl Answer {
    fn told(&self, request: &Request<Bytes>) -> String {
        let mut headers: Vec<_> = self.headers.iter().collect();
        headers.retain(|(name, _)| !OF_THE_HOP.contains(&name.as_str()));
        headers.sort_by_key(|(name, _)| name.as_str());
        let (method, uri, body) = (request.method(), request.uri(), request.body());
        format!("{method} {uri} {body:?}: {} {headers:?} {}", self.status, self.text)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Checks a refusal: its status, and that it says what to do.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, says: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        let json = self.json();
        let error = json["error"].as_str().unwrap();
        assert!(error.contains(says), "`{error}` does not say `{says}`");
    }
}
