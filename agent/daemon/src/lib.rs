//! The agent: observes every part once a tick, decides, journals, publishes, and serves its API.
//!
//! ```text
//! /v1/load of every part ─▶ reader ─▶ Observation ─▶ decide ─▶ journal ─▶ view ─▶ long polls
//!                 orders (API, kept in the journal) ─┘   └─ State, checkpointed  └─▶ mirrors
//! ```
//!
//! A plan is journalled before it is published, so a crash between the two loses nothing that a
//! reader has seen. Whatever fails (a part, the journal) is said in the log and in the status, and the
//! loop goes on; the start is strict about the keys and about being the only agent, and nothing else.

mod agent;
mod alarms;
mod api;
mod journal;
mod kept;
mod mirrors;
mod orders;
mod others;
mod reader;
mod start;
mod state_dir;

use std::sync::Arc;

use spillway_model::Config;
use spillway_part::start::listen_tcp;
use spillway_part::{Shutdown, StartError};

pub use agent::{Agent, serve};
pub use journal::{BadChange, Entry, Journal, JournalError, Tick, Ticks, recompute};
pub use kept::newest_plan as newest_kept_plan;
pub use spillway_decide::{Policy, explain_client};
pub use state_dir::StateDirError;

/// Why the agent could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A file is missing, or its address is taken.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The state folder cannot be used.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// A mirror of plans.
    #[error("cannot keep a copy of the plan")]
    Mirror(#[from] spillway_store::StoreError),
    /// A plan cannot be written as JSON.
    #[error("cannot write the plan as JSON")]
    Plan(#[source] serde_json::Error),
}

/// Runs the agent until `shutdown`.
///
/// # Errors
/// When the state folder is in use by another agent or lacks its keys, or the address of the API is
/// taken.
pub async fn run(config: Arc<Config>, shutdown: Shutdown) -> Result<(), AgentError> {
    let agent = Agent::start(config.clone()).await?;
    let listener = listen_tcp(config.agent.listen, "agent.listen").await?;
    serve(agent, listener, shutdown).await;
    Ok(())
}
