//! What each knob does to which route, and to no other.

use crate::world::World;

pub(crate) async fn battery(world: &World) {
    let user = world.register("Knobs", "KNOBS-1").await;
    notices_cached(world).await;
    stats_frozen(world, &user).await;
    history_hidden(world, &user).await;
    qr_text(world, &user).await;
    essential_only(world, &user).await;
    leases_end(world, &user).await;
    world.knobs(&[]);
    world.at(0);
}

async fn notices_cached(world: &World) {
    let as_of = async |after_noon_ms: i64| {
        world.at(after_noon_ms);
        world.get("/v1/notices").await.json()["as_of"].as_str().unwrap().to_owned()
    };
    let first = as_of(20_000).await;
    assert_eq!(as_of(25_000).await, first, "five seconds old is young enough");
    assert_ne!(as_of(25_001).await, first);

    let kept = as_of(25_001).await;
    world.at(600_000);
    world.knobs(&["notices-cached"]);
    let answer = world.get("/v1/notices").await;
    assert_eq!(answer.json()["as_of"], kept.as_str(), "nearly ten minutes old");
    assert_eq!(answer.header("x-spillway-knob"), Some("notices-cached"));
    assert_ne!(as_of(625_002).await, kept, "more than ten minutes old");
    world.knobs(&[]);
    assert_eq!(world.get("/v1/notices").await.header("x-spillway-knob"), None);
    world.at(0);
}

async fn stats_frozen(world: &World, user: &str) {
    let total = async || {
        world.settled().await;
        world.get("/v1/venues/v-frozen/stats").await.json()["total"].clone()
    };
    world.scan(user, "v-frozen").await;
    assert_eq!(total().await, 1);
    world.scan(user, "v-frozen").await;
    world.at(590_000);
    world.knobs(&["stats-frozen"]);
    assert_eq!(total().await, 1, "nothing is counted again");
    let answer = world.get("/v1/venues/v-frozen/stats").await;
    assert_eq!(answer.header("x-spillway-knob"), Some("stats-frozen"));
    let unseen = world.get("/v1/venues/v-unseen/stats").await;
    assert_eq!(unseen.json()["total"], 0, "what nobody has counted is");
    world.knobs(&[]);
    assert_eq!(total().await, 2);
    world.at(0);
}

async fn history_hidden(world: &World, user: &str) {
    let path = format!("/v1/users/{user}/scans");
    world.knobs(&["history-hidden"]);
    let hidden = world.get(&path).await;
    assert_eq!(
        (hidden.status.as_u16(), hidden.header("x-spillway-knob")),
        (200, Some("history-hidden"))
    );
    let json = hidden.json();
    assert_eq!(json["scans"], serde_json::json!([]));
    assert!(json["notice"].as_str().unwrap().contains("back soon"));
    // Scanning goes on, and nothing of it is lost.
    world.at(1);
    world.scan(user, "v-hidden").await;
    world.at(0);
    world.knobs(&[]);
    assert_eq!(world.get(&path).await.json()["scans"][0]["venue"], "v-hidden");
}

async fn qr_text(world: &World, user: &str) {
    world.knobs(&["qr-text"]);
    let text = world.get(&format!("/v1/users/{user}/qr")).await;
    assert_eq!(text.header("content-type"), Some("application/json"));
    assert_eq!(text.header("x-spillway-knob"), Some("qr-text"));
    let code = world.get(&format!("/v1/users/{user}/code")).await;
    assert_eq!(text.json(), code.json());
    assert_eq!(code.header("x-spillway-knob"), None);
    assert!(text.text.len() < 500, "{}", text.text.len());
    world.get("/v1/users/u999/qr").await.refused(404, "no user");
}

async fn essential_only(world: &World, user: &str) {
    world.knobs(&["notices-cached", "stats-frozen", "history-hidden", "qr-text", "essential-only"]);
    for (method, path) in [
        ("POST", "/v1/users"),
        ("GET", &format!("/v1/users/{user}/scans")),
        ("GET", "/v1/venues/v001/stats"),
        ("GET", "/v1/notices"),
    ] {
        let refusal = world.call(method, path, "").await;
        refusal.refused(503, "come back");
        assert_eq!(refusal.header("retry-after"), Some("30"));
        assert_eq!(refusal.header("x-spillway-tier"), Some("3"));
        assert_eq!(refusal.header("x-spillway-knob"), Some("essential-only"));
    }
    assert_eq!(world.get(&format!("/v1/users/{user}/code")).await.status, 200, "the code");
    world.scan(user, "v001").await;
    let qr = world.get(&format!("/v1/users/{user}/qr")).await;
    assert_eq!(qr.header("content-type"), Some("application/json"));
    assert_eq!(qr.header("x-spillway-knob"), Some("essential-only"));
    assert_eq!(world.get("/healthz").await.status, 200, "health");
}

/// A knob is off again at its lease's end, whether or not a newer plan has come.
async fn leases_end(world: &World, user: &str) {
    world.knobs(&["essential-only"]);
    world.at(60_000);
    let answer = world.get(&format!("/v1/users/{user}/qr")).await;
    assert_eq!(answer.header("content-type"), Some("image/svg+xml"));
    assert_eq!(world.get("/v1/notices").await.status, 200, "notices");
}
