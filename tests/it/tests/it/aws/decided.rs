//! An agent that has decided already: it serves what a test wants of the fleet as a signed plan.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use ed25519_dalek::SigningKey;
use serde::Deserialize;
use spillway_model::plan::encode_key;
use spillway_model::{Fleet, Plan, SignedPlan};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Longest that a long poll waits for the next plan.
const WAIT: Duration = Duration::from_secs(10);

/// A generation and its signed plan.
type Offer = (u64, String);

/// The agent's API, as far as `spillway-aws` follows the plan.
pub(super) struct Decided {
    offer: watch::Sender<Offer>,
    key: SigningKey,
}

#[derive(Deserialize)]
struct Poll {
    after: u64,
}

impl Decided {
    /// Serves on an address; its public key goes into a state folder.
    pub(super) fn start(runtime: &Runtime, listen: SocketAddr, state: &Path) -> Self {
        let key = SigningKey::from_bytes(&[7; 32]);
        std::fs::write(state.join("plan.pub"), encode_key(key.verifying_key().as_bytes())).unwrap();
        let (offer, offers) = watch::channel((0, String::new()));
        let app = Router::new().route("/v1/plan", get(plan)).with_state(offers);
        let listener = runtime.block_on(TcpListener::bind(listen)).unwrap();
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { offer, key }
    }

    /// The next plan wants this.
    pub(super) fn wants(&self, fleet: &Fleet) {
        let generation = self.offer.borrow().0 + 1;
        let plan = Plan { generation, fleet: fleet.clone(), ..Plan::initial([], 5) };
        let signed = SignedPlan::sign(&plan, &self.key).unwrap();
        self.offer.send_replace((generation, serde_json::to_string(&signed).unwrap()));
    }
}

async fn plan(
    State(mut offers): State<watch::Receiver<Offer>>,
    Query(poll): Query<Poll>,
) -> (StatusCode, String) {
    let newer = offers.wait_for(|(generation, _)| *generation > poll.after);
    match tokio::time::timeout(WAIT, newer).await {
        Ok(Ok(offer)) => (StatusCode::OK, offer.1.clone()),
        _ => (StatusCode::NOT_MODIFIED, String::new()),
    }
}
