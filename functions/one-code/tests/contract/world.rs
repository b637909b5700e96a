//! The service under test: its routers over real stores, with a clock and a plan that tests set.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use spillway_model::plan::KnobLease;
use spillway_model::{KnobId, Plan, UnixMillis};
use spillway_one_code::{AppState, GROUPS, Parts, Secret, router};
use spillway_part::Shutdown;
use spillway_part::follow::Publisher;
use spillway_store::{Cache, Database, Options};
use tower::ServiceExt as _;

/// 2026-11-23T12:00:30Z.
pub(crate) const NOON: u64 = 1_795_435_230_000;

pub(crate) struct World {
    pub(crate) app: AppState,
    pub(crate) shutdown: Shutdown,
    /// The groups each router serves, and the router.
    routers: Vec<(Vec<String>, Router)>,
    publisher: Publisher,
    now: Arc<AtomicU64>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl World {
    /// All groups in one router, or each in its own.
    pub(crate) fn new(shards: &[String], base: &Path, cache: &str, split: bool) -> Self {
        let now = Arc::new(AtomicU64::new(NOON));
        let (publisher, plans) = Publisher::new(Plan::initial([], 5));
        let shutdown = Shutdown::new();
        let clock = now.clone();
        let app = AppState::new(Parts {
            database: Database::open(shards, base, Options::default()).unwrap(),
            cache: Cache::open(cache).unwrap(),
            plans,
            secret: Secret::new(&[7; 32]),
            clock: Arc::new(move || UnixMillis(clock.load(SeqCst))),
            served_by: split.then_some("cloud"),
            shutdown: shutdown.clone(),
        });
        let all: Vec<String> = GROUPS.map(str::to_owned).to_vec();
        let sets = if split { all.into_iter().map(|g| vec![g]).collect() } else { vec![all] };
        let routers = sets
            .into_iter()
            .map(|groups| (groups.clone(), router(&groups, &app).unwrap()))
            .collect();
        Self { app, shutdown, routers, publisher, now }
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

    /// Sends a request to the router whose group has the route; the others must not have it.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut found = None;
        for (groups, router) in &self.routers {
            let answer = send(router, method, path, body).await;
            if groups.iter().any(|g| g == group(path)) {
                found = Some(answer);
            } else if path != "/healthz" {
                assert_eq!(answer.status, StatusCode::NOT_FOUND, "{groups:?} serves {path}");
            }
        }
        found.unwrap()
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

async fn send(router: &Router, method: &str, path: &str, body: &str) -> Answer {
    let request =
        Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
    let (head, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer {
        status: head.status,
        headers: head.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

impl Answer {
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
