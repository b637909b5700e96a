//! From the journal back to a state or a plan: a checkpoint, and the observations after it.
//!
//! `decide` is a function of policy, state and observation alone, so replaying gives what the agent
//! had, to the last bit, as long as the policy (the configuration) is that of the time.

use serde_json::Value;
use spillway_decide::{Observation, Outcome, Policy, State, decide};
use spillway_model::Plan;

use super::{Journal, JournalError, delta, integer};

/// Most observations that follow a checkpoint in one stretch; the agent writes a checkpoint long
/// before.
const STRETCH_MAX: i64 = 10_000;

impl Journal {
    /// The state after the last observation; `None` when there is none.
    ///
    /// # Errors
    /// When the database fails or what it holds cannot be replayed.
    pub async fn replay(&self, policy: &Policy) -> Result<Option<State>, JournalError> {
        Ok(self.replay_to(policy, i64::MAX).await?.map(|outcome| outcome.state))
    }

    /// The outcome of the decision on observation `id`, or the last before it.
    async fn replay_to(&self, policy: &Policy, id: i64) -> Result<Option<Outcome>, JournalError> {
        let rows: Vec<(i64, String, Option<String>)> =
            sqlx::query_as(include_str!("../../queries/replay.sql"))
                .bind(id)
                .bind(STRETCH_MAX)
                .fetch_all(&self.readers)
                .await
                .map_err(|e| self.failed(e))?;
        let mut observations = Observations::default();
        let mut outcome: Option<Outcome> = None;
        for (_, body, checkpoint) in rows {
            let Some(observation) = observations.next(&body, checkpoint.is_some())? else {
                return Ok(None);
            };
            let state = match (&outcome, checkpoint) {
                (_, Some(checkpoint)) => serde_json::from_str(&checkpoint)?,
                (Some(before), None) => before.state.clone(),
                (None, None) => return Ok(None),
            };
            outcome = Some(decide(policy, &state, &observation));
        }
        Ok(outcome)
    }
}

/// Observations as they are journalled: one whole, and what changed in those after it.
#[derive(Debug, Default)]
pub(super) struct Observations {
    last: Option<Value>,
}

impl Observations {
    /// The next one; `None` for a change of one that was not read.
    pub(super) fn next(
        &mut self,
        body: &str,
        whole: bool,
    ) -> Result<Option<Observation>, JournalError> {
        let body: Value = serde_json::from_str(body)?;
        let seen = match (&mut self.last, whole) {
            (Some(seen), false) => {
                delta::apply(seen, body)?;
                seen
            }
            (None, false) => return Ok(None),
            (last, true) => last.insert(body),
        };
        Ok(Some(serde::Deserialize::deserialize(&*seen)?))
    }
}

/// Computes the plan of a generation again from the journal. With the configuration of the time, it
/// is the published one, bit for bit.
///
/// # Errors
/// When the journal has it no longer, fails, or cannot be replayed.
pub async fn recompute(
    journal: &Journal,
    policy: &Policy,
    generation: u64,
) -> Result<Plan, JournalError> {
    let query = sqlx::query_scalar(include_str!("../../queries/plan_observation.sql"));
    let observation: Option<i64> = query
        .bind(integer(generation))
        .fetch_optional(&journal.readers)
        .await
        .map_err(|e| journal.failed(e))?;
    let missing = || JournalError::NoSuchPlan(generation);
    let id = observation.ok_or_else(missing)?;
    let outcome = journal.replay_to(policy, id).await?.ok_or_else(missing)?;
    // Where the stretch of that plan is gone, an older one would be replayed in its stead.
    if outcome.plan.generation == generation { Ok(outcome.plan) } else { Err(missing()) }
}
