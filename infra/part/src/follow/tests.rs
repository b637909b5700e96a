use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use ed25519_dalek::SigningKey;
use spillway_model::config::edited;
use spillway_test_support::until;
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
    let file = folder.path().join("plans/dns.json");
    let kept = || read_kept(&file, &key().verifying_key()).is_some_and(|plan| plan.generation >= 6);
    until("the plan is kept", Duration::from_secs(10), async || kept()).await;
    shutdown.cancel();
}

fn follower(file: &Path, held: u64) -> (Follower, Plans) {
    let mut plan = Plan::initial([], 5);
    plan.generation = held;
    let (publisher, plans) = Publisher::new(plan);
    let (agent, key) = ("127.0.0.1:1".parse().unwrap(), key().verifying_key());
    (Follower { agent, key, file: file.to_owned(), publisher }, plans)
}

#[tokio::test]
async fn a_refused_offer_leaves_the_plan_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plans/x.json");
    let (follower, plans) = follower(&file, 5);
    let forged = signed(9, &SigningKey::from_bytes(&[8; 32]));
    for refused in [signed(4, &key()), signed(5, &key()), forged, "{".to_owned()] {
        assert!(follower.take(refused.clone().into()).await.is_err(), "{refused}");
        assert_eq!(plans.load().generation, 5);
    }
    assert!(!file.exists());
    follower.take(signed(6, &key()).into()).await.unwrap();
    assert_eq!(plans.load().generation, 6);
    assert!(file.exists());
}

#[tokio::test]
async fn a_plan_that_cannot_be_kept_takes_force() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plans/x.json");
    std::fs::create_dir(folder.path().join("plans")).unwrap();
    let beside = file.with_extension("json.new");
    let (follower, plans) = follower(&file, 0);
    // Every write to /dev/full fails as on a full disk.
    std::os::unix::fs::symlink("/dev/full", &beside).unwrap();
    assert_eq!(keep(&file, b"x").unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    follower.take(signed(1, &key()).into()).await.unwrap();
    assert_eq!(plans.load().generation, 1);
    // A pipe that nobody reads holds nothing up.
    std::fs::remove_file(&beside).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &beside, rustix::fs::Mode::RWXU).unwrap();
    assert!(keep(&file, b"x").is_err());
    follower.take(signed(2, &key()).into()).await.unwrap();
    assert_eq!(plans.load().generation, 2);
}

#[tokio::test]
async fn a_follower_that_panics_or_ends_is_started_again() {
    let (publisher, mut plans) = Publisher::new(Plan::initial([], 5));
    let (publisher, starts) = (Arc::new(publisher), Arc::new(AtomicU32::new(0)));
    let (counted, shutdown) = (starts.clone(), Shutdown::new());
    let supervised = supervise(shutdown.clone(), Duration::from_millis(1), move || {
        let (publisher, start) = (publisher.clone(), counted.fetch_add(1, SeqCst));
        async move {
            assert!(start != 0, "a fault in following, as a test wants it");
            let mut plan = Plan::initial([], 5);
            plan.generation = u64::from(start);
            publisher.publish(plan);
            if start == 3 {
                std::future::pending::<()>().await;
            }
        }
    });
    let supervised = tokio::spawn(supervised);
    wait_for(&mut plans, 3).await;
    assert_eq!(starts.load(SeqCst), 4);
    supervised.abort();
}

#[tokio::test]
async fn what_is_no_small_file_starts_from_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    for file in files::tests::strange_files(folder.path()) {
        assert_eq!(read_kept(&file, &key().verifying_key()), None, "{}", file.display());
    }
    // Nor is it a key.
    let config = config(folder.path(), "127.0.0.1:1".parse().unwrap());
    let public = folder.path().join("plan.pub");
    std::fs::remove_file(&public).unwrap();
    std::fs::rename(folder.path().join("pipe"), &public).unwrap();
    let error = follow(&config, "dns", &Shutdown::new()).unwrap_err().to_string();
    assert!(error.contains("plan.pub") && error.contains("regular file"), "{error}");
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
    assert!(error.contains("copy the agent's plan.pub there; on the agent's host"), "{error}");
    // What is shipped without a state folder may have it in either place.
    let error = shipped_key(&config).unwrap_err().to_string();
    assert!(error.contains("plan.pub there or beside the configuration"), "{error}");
}
