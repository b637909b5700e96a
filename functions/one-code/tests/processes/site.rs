//! A configuration in a folder and on addresses of its own, and an agent that offers a plan.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use ed25519_dalek::SigningKey;
use spillway_model::plan::{KnobLease, encode_key};
use spillway_model::{Config, KnobId, Plan, SignedPlan, UnixMillis};
use spillway_test_support::{Block, example_config};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub(crate) struct Site {
    pub(crate) config: Arc<Config>,
    pub(crate) config_file: PathBuf,
    pub(crate) agent: Agent,
    _folder: TempDir,
    _block: Block,
}

/// An agent that answers every call with the plan at hand.
#[derive(Clone, Default)]
pub(crate) struct Agent {
    pub(crate) offer: Arc<Mutex<String>>,
    pub(crate) asked: Arc<AtomicU32>,
}

impl Site {
    /// Without an agent yet.
    pub(crate) fn new() -> Self {
        let (block, folder) = (Block::claim(), tempfile::tempdir().unwrap());
        let text = example_config(&block, folder.path());
        let config_file = folder.path().join("spillway.toml");
        std::fs::write(&config_file, &text).unwrap();
        let state = folder.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let public = encode_key(key().verifying_key().as_bytes());
        std::fs::write(state.join("plan.pub"), public).unwrap();
        let config = Arc::new(Config::parse(&text, Path::new(folder.path())).unwrap());
        Self { config, config_file, agent: Agent::default(), _folder: folder, _block: block }
    }

    /// Starts the agent where the configuration says.
    pub(crate) async fn start_agent(&self) {
        let listener = TcpListener::bind(self.config.agent.listen).await.unwrap();
        let app = Router::new().route("/v1/plan", get(answer)).with_state(self.agent.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
    }
}

impl Agent {
    pub(crate) fn offer(&self, generation: u64, knobs: &[&str], key: &SigningKey) {
        *self.offer.lock().unwrap() = signed(generation, knobs, key);
    }
}

/// A signed plan as it travels.
pub(crate) fn signed(generation: u64, knobs: &[&str], key: &SigningKey) -> String {
    let mut plan = Plan::initial([], 5);
    plan.generation = generation;
    for id in knobs {
        let lease = KnobLease { until: UnixMillis(u64::MAX), by: "a test".to_owned() };
        plan.knobs.insert(KnobId::new(id).unwrap(), lease);
    }
    serde_json::to_string(&SignedPlan::sign(&plan, key).unwrap()).unwrap()
}

async fn answer(State(agent): State<Agent>) -> String {
    agent.asked.fetch_add(1, SeqCst);
    agent.offer.lock().unwrap().clone()
}

/// The key the agent signs with.
pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}
