//! The OFREP contract, over the router a server would mount.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use http::{Request, Response, StatusCode, header};
use serde_json::{Value, json};
use spillway_flags::{Registry, router};
use spillway_model::plan::KnobLease;
use spillway_model::{Config, KnobId, Plan, Tier, UnixMillis};
use tower::ServiceExt as _;

const EXAMPLE: &str = include_str!("../../../examples/spillway.toml");
const UNTIL: u64 = 1_795_432_788_001;

fn plan(generation: u64, until: u64) -> Plan {
    let mut plan = Plan::initial([], 5);
    plan.generation = generation;
    plan.tier = Tier::Visible;
    plan.expires_at = UnixMillis(until);
    let lease = KnobLease { until: UnixMillis(until), by: "tier 2".to_owned() };
    plan.knobs.insert(KnobId::new("qr-text").unwrap(), lease);
    plan
}

struct Server {
    app: axum::Router,
    now: Arc<AtomicU64>,
}

fn server(plan: Plan) -> Server {
    let config = Config::parse(EXAMPLE, std::path::Path::new("examples")).unwrap();
    let registry = Arc::new(Registry::new(&config.knobs));
    let now = Arc::new(AtomicU64::new(1));
    let (plan, clock) = (Arc::new(plan), now.clone());
    let app = router(registry, move || (plan.clone(), UnixMillis(clock.load(Ordering::Relaxed))));
    Server { app, now }
}

impl Server {
    async fn post(&self, path: &str, body: &str, if_none_match: Option<&str>) -> Response<Body> {
        let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        if let Some(tag) = if_none_match {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.app.clone().oneshot(request).await.unwrap()
    }
}

async fn json_of(response: Response<Body>) -> Value {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

const CONTEXT: &str = r#"{"context":{"targetingKey":"user-1","country":"CA"}}"#;

#[tokio::test]
async fn a_knob_is_a_boolean_flag() {
    let server = server(plan(7, UNTIL));
    let answer = server.post("/ofrep/v1/evaluate/flags/qr-text", CONTEXT, None).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
    let expected = json!({
        "key": "qr-text", "value": true, "variant": "on", "reason": "TARGETING_MATCH",
        "metadata": {
            "tier": 2, "owner": "codes team", "until": "2026-11-23T11:19:48.001Z",
            "by": "tier 2", "generation": 7,
        },
    });
    assert_eq!(json_of(answer).await, expected);

    let answer = server.post("/ofrep/v1/evaluate/flags/history-hidden", CONTEXT, None).await;
    let flag = json_of(answer).await;
    assert_eq!((&flag["value"], &flag["variant"]), (&json!(false), &json!("off")));
    assert!(flag["metadata"].get("until").is_none());
}

#[tokio::test]
async fn a_lease_ends_without_a_new_plan() {
    let server = server(plan(7, UNTIL));
    server.now.store(UNTIL, Ordering::Relaxed);
    for (key, value) in [("qr-text", json!(false)), ("spillway-tier", json!(0))] {
        let path = format!("/ofrep/v1/evaluate/flags/{key}");
        assert_eq!(json_of(server.post(&path, CONTEXT, None).await).await["value"], value);
    }
}

#[tokio::test]
async fn the_tier_is_an_integer_flag() {
    let server = server(plan(7, UNTIL));
    let answer = server.post("/ofrep/v1/evaluate/flags/spillway-tier", CONTEXT, None).await;
    let flag = json_of(answer).await;
    assert_eq!((&flag["value"], &flag["variant"]), (&json!(2), &json!("visible")));
}

#[tokio::test]
async fn errors_have_the_shapes_of_the_protocol() {
    let server = server(plan(7, UNTIL));
    let single = "/ofrep/v1/evaluate/flags/qr-text";
    let unknown = "/ofrep/v1/evaluate/flags/nothing";
    let bulk = "/ofrep/v1/evaluate/flags";
    let cases = [
        (unknown, CONTEXT, 404, "FLAG_NOT_FOUND", Some("nothing")),
        (single, "{", 400, "PARSE_ERROR", Some("qr-text")),
        (single, "", 400, "PARSE_ERROR", Some("qr-text")),
        (single, "[]x", 400, "PARSE_ERROR", Some("qr-text")),
        (single, r#"{"context":"user-1"}"#, 400, "INVALID_CONTEXT", Some("qr-text")),
        (bulk, "nonsense", 400, "PARSE_ERROR", None),
        (bulk, r#"{"context":[1]}"#, 400, "INVALID_CONTEXT", None),
    ];
    for (path, body, status, code, key) in cases {
        let answer = server.post(path, body, None).await;
        assert_eq!(answer.status(), status, "{path} {body}");
        let failure = json_of(answer).await;
        assert_eq!(failure["errorCode"], code, "{path} {body}");
        assert_eq!(failure.get("key").and_then(Value::as_str), key, "{path} {body}");
        assert!(failure["errorDetails"].as_str().is_some_and(|details| !details.is_empty()));
    }
    let large = format!(r#"{{"context":{{"a":"{}"}}}}"#, "x".repeat(1 << 17));
    assert_eq!(server.post(single, &large, None).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn bulk_names_every_flag_once() {
    let server = server(plan(7, UNTIL));
    let answer = server.post("/ofrep/v1/evaluate/flags", r#"{"context":{}}"#, None).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let body = json_of(answer).await;
    let keys: Vec<_> =
        body["flags"].as_array().unwrap().iter().map(|f| f["key"].as_str().unwrap()).collect();
    let expected = [
        "spillway-tier",
        "notices-cached",
        "stats-frozen",
        "history-hidden",
        "qr-text",
        "essential-only",
    ];
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn bulk_is_polled_with_its_etag() {
    let path = "/ofrep/v1/evaluate/flags";
    let first = server(plan(7, UNTIL));
    let answer = first.post(path, CONTEXT, None).await;
    let etag = answer.headers()[header::ETAG].to_str().unwrap().to_owned();
    for tag in [etag.clone(), format!("\"other\", {etag}"), "*".to_owned(), etag[2..].to_owned()] {
        let answer = first.post(path, CONTEXT, Some(&tag)).await;
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{tag}");
        assert_eq!(answer.headers()[header::ETAG], etag.as_str());
        assert!(axum::body::to_bytes(answer.into_body(), 10).await.unwrap().is_empty());
    }
    assert_eq!(first.post(path, CONTEXT, Some("\"other\"")).await.status(), StatusCode::OK);

    // A renewed lease changes nothing; its end does.
    let renewed = server(plan(8, UNTIL + 1000));
    let status = renewed.post(path, CONTEXT, Some(&etag)).await.status();
    assert_eq!(status, StatusCode::NOT_MODIFIED);
    renewed.now.store(UNTIL + 1000, Ordering::Relaxed);
    assert_eq!(renewed.post(path, CONTEXT, Some(&etag)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn only_post_evaluates() {
    let server = server(plan(7, UNTIL));
    let request = Request::get("/ofrep/v1/evaluate/flags").body(Body::empty()).unwrap();
    let answer = server.app.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
}
