use std::net::SocketAddr;
use std::sync::Mutex;

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use ed25519_dalek::SigningKey;
use spillway_model::config::edited;
use tokio::net::TcpListener;

use super::*;

const EXAMPLE: &str = include_str!("../../../../examples/spillway.toml");

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// The body an agent answers with, which a test changes as it goes.
type Offer = Arc<Mutex<String>>;

fn signed(generation: u64, key: &SigningKey) -> String {
    let mut plan = Plan::initial([], 5);
    plan.generation = generation;
    serde_json::to_string(&SignedPlan::sign(&plan, key).unwrap()).unwrap()
}

async fn agent(offer: Offer) -> SocketAddr {
    async fn answer(State(offer): State<Offer>) -> impl IntoResponse {
        offer.lock().unwrap().clone()
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/v1/plan", get(answer)).with_state(offer);
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn config(folder: &Path, agent: SocketAddr) -> Config {
    let edits = [
        ("agent.listen", toml::Value::from(agent.to_string())),
        ("plan.state_dir", toml::Value::from(folder.display().to_string())),
    ];
    let text = edited(EXAMPLE, &edits).unwrap();
    std::fs::write(folder.join("plan.pub"), plan::encode_key(key().verifying_key().as_bytes()))
        .unwrap();
    Config::parse(&text, folder).unwrap()
}

async fn wait_for(plans: &mut Plans, generation: u64) {
    let reached = async {
        while plans.load().generation < generation {
            plans.changed().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reached).await.expect("the plan arrives");
}

#[tokio::test]
async fn newer_plans_are_taken_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let offer = Offer::new(Mutex::new(signed(5, &key())));
    let config = config(folder.path(), agent(offer.clone()).await);
    let shutdown = Shutdown::new();
    let mut plans = follow(&config, "dns", &shutdown).unwrap();
    wait_for(&mut plans, 5).await;

    *offer.lock().unwrap() = signed(6, &key());
    wait_for(&mut plans, 6).await;
    assert_eq!(plans.load().generation, 6);

    // The next start takes up the kept plan without an agent.
    shutdown.cancel();
    let file = folder.path().join("plans/dns.json");
    assert_eq!(read_kept(&file, &key().verifying_key()).unwrap().generation, 6);
}

#[test]
fn a_refused_offer_leaves_the_plan_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let (file, trusted) = (folder.path().join("plans/x.json"), key().verifying_key());
    let mut held = Plan::initial([], 5);
    held.generation = 5;
    let (publisher, plans) = Publisher::new(held);
    let forged = signed(9, &SigningKey::from_bytes(&[8; 32]));
    for refused in [signed(4, &key()), signed(5, &key()), forged, "{".to_owned()] {
        assert!(take(refused.as_bytes(), &trusted, &publisher, &file).is_err(), "{refused}");
        assert_eq!(plans.load().generation, 5);
    }
    assert!(!file.exists());
    take(signed(6, &key()).as_bytes(), &trusted, &publisher, &file).unwrap();
    assert_eq!(plans.load().generation, 6);
    assert!(file.exists());
}

#[test]
fn a_full_disk_does_not_keep_a_plan_from_taking_force() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plans/x.json");
    std::fs::create_dir(folder.path().join("plans")).unwrap();
    // Every write to /dev/full fails as on a full disk.
    std::os::unix::fs::symlink("/dev/full", file.with_extension("json.new")).unwrap();
    assert_eq!(keep(&file, b"x").unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    let (publisher, plans) = Publisher::new(Plan::initial([], 5));
    take(signed(1, &key()).as_bytes(), &key().verifying_key(), &publisher, &file).unwrap();
    assert_eq!(plans.load().generation, 1);
}

#[test]
fn a_spoilt_or_forged_file_starts_from_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.json");
    assert_eq!(read_kept(&file, &key().verifying_key()), None);
    for spoilt in ["", "{\"plan\":", &signed(3, &SigningKey::from_bytes(&[8; 32]))] {
        std::fs::write(&file, spoilt).unwrap();
        assert_eq!(read_kept(&file, &key().verifying_key()), None, "{spoilt}");
    }
}

#[tokio::test]
async fn a_missing_key_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "127.0.0.1:1".parse().unwrap());
    std::fs::remove_file(folder.path().join("plan.pub")).unwrap();
    let error = follow(&config, "dns", &Shutdown::new()).unwrap_err().to_string();
    assert!(error.contains("plan.pub") && error.contains("spillway keygen"), "{error}");
}
