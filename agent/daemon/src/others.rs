//! Plans of another agent, beside which this one does not act: what is in force is theirs then, and the
//! decision reasons from it.
//!
//! They are believed when they are signed by the key that this agent's own are verified with: copy the
//! other's `plan.key` and `plan.pub`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use ed25519_dalek::VerifyingKey;
use http::{Method, StatusCode};
use spillway_model::{Config, Plan, SignedPlan};
use spillway_part::client::Client;

use crate::kept::newest_plan;
use crate::reader::chain;

/// Where they are read.
#[derive(Debug)]
pub(crate) struct Others {
    config: Arc<Config>,
    key: VerifyingKey,
    client: Client,
    deadline: Duration,
    /// Why they cannot be read.
    fault: Option<String>,
}

impl Others {
    pub(crate) fn new(config: &Arc<Config>, key: VerifyingKey) -> Self {
        let deadline = Duration::from_millis(config.agent.tick_ms) * 2 / 5;
        Self { config: config.clone(), key, client: Client::default(), deadline, fault: None }
    }

    /// The plan that another agent has published after generation `ours`, where the parts act on `seen`:
    /// from the agent that the configuration names, or else from what the parts keep.
    pub(crate) async fn newer(&mut self, ours: u64, seen: u64) -> Option<Plan> {
        self.fault = None;
        let mut newest = None;
        if let Some(beside) = self.config.agent.beside {
            match self.ask(beside, ours).await {
                Ok(plan) => newest = plan,
                Err(why) => {
                    self.fault = Some(format!(
                        "the agent at {beside}, beside which this one runs, is not heard ({why}): what would be done is decided from the last plan known"
                    ));
                }
            }
        }
        if newest.is_none() && seen > ours {
            let (config, key) = (self.config.clone(), self.key);
            let kept = tokio::task::spawn_blocking(move || newest_plan(&config, &key));
            let kept = tokio::time::timeout(self.deadline, kept).await;
            newest = kept.ok().and_then(Result::ok).flatten().map(|(plan, _)| plan);
        }
        newest.filter(|plan| plan.generation > ours)
    }

    async fn ask(&self, beside: SocketAddr, ours: u64) -> Result<Option<Plan>, String> {
        let path = format!("/v1/plan?after={ours}");
        let call = self.client.call(Method::GET, beside, &path, Bytes::new(), self.deadline);
        let answer = call.await.map_err(|e| chain(&e))?;
        if answer.status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        if !answer.status.is_success() {
            return Err(format!("it answers {}", answer.status));
        }
        let signed: SignedPlan = serde_json::from_slice(&answer.body).map_err(|e| chain(&e))?;
        signed.verify(&self.key).map(Some).map_err(|e| chain(&e))
    }

    /// What a person should know of it.
    pub(crate) fn warning(&self) -> Option<String> {
        self.fault.clone()
    }
}
