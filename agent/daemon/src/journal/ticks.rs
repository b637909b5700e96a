//! The journal read tick by tick: what was seen, and what was decided on it.
//!
//! An agent may write to it meanwhile. What is read at a time is little, so that nothing keeps the
//! write-ahead log from being folded.

use std::collections::VecDeque;

use spillway_decide::{Observation, State};
use spillway_model::{SignedPlan, UnixMillis};

use super::replay::Observations;
use super::{Journal, JournalError, integer, unsigned};

/// Rows that are read at a time.
const ROWS: i64 = 128;

/// One tick as the agent had it.
#[derive(Debug)]
pub struct Tick {
    /// What was seen.
    pub observation: Observation,
    /// The state that the decision began with, where the journal has it.
    pub checkpoint: Option<State>,
    /// The decision as it was written; `None` where it is pruned.
    pub decision: Option<String>,
    /// The plan that was published with it, in the bytes that were signed.
    pub plan: Option<String>,
}

type Row = (i64, String, Option<String>, Option<String>, Option<String>);

/// Ticks in the order of time. Each has a checkpoint, or follows the one before it.
#[derive(Debug)]
pub struct Ticks<'a> {
    journal: &'a Journal,
    from: UnixMillis,
    /// Id of the next row; `None` before the first.
    next: Option<i64>,
    rows: VecDeque<Row>,
    observations: Observations,
    skipped: u64,
}

impl Journal {
    /// Times of the first observation and of the last; `None` when there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn span(&self) -> Result<Option<(UnixMillis, UnixMillis)>, JournalError> {
        let query = sqlx::query_as(include_str!("../../queries/span.sql"));
        let (first, last): (Option<i64>, Option<i64>) =
            query.fetch_one(&self.readers).await.map_err(|e| self.failed(e))?;
        Ok(first.zip(last).map(|(first, last)| (unsigned(first), unsigned(last))))
    }

    /// The ticks from the last checkpoint at or before `from` on.
    #[must_use]
    pub fn ticks(&self, from: UnixMillis) -> Ticks<'_> {
        Ticks {
            journal: self,
            from,
            next: None,
            rows: VecDeque::new(),
            observations: Observations::default(),
            skipped: 0,
        }
    }
}

impl Ticks<'_> {
    /// The next tick; `None` after the last.
    ///
    /// # Errors
    /// When the database fails, or what it holds cannot be understood.
    pub async fn next(&mut self) -> Result<Option<Tick>, JournalError> {
        loop {
            let Some((id, body, checkpoint, decision, signed)) = self.row().await? else {
                return Ok(None);
            };
            let follows = self.next.replace(id + 1) == Some(id);
            if !follows {
                // What is between was pruned while it was read.
                self.observations = Observations::default();
            }
            let Some(observation) = self.observations.next(&body, checkpoint.is_some())? else {
                self.skipped += 1;
                continue;
            };
            let signed: Option<SignedPlan> =
                signed.as_deref().map(serde_json::from_str).transpose()?;
            return Ok(Some(Tick {
                observation,
                checkpoint: checkpoint.as_deref().map(serde_json::from_str).transpose()?,
                decision,
                plan: signed.map(|signed| signed.plan.get().to_owned()),
            }));
        }
    }

    /// Observations that could not be read, as nothing before them was left.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    async fn row(&mut self) -> Result<Option<Row>, JournalError> {
        if self.rows.is_empty() {
            let (journal, readers) = (self.journal, &self.journal.readers);
            let next = match self.next {
                Some(next) => Some(next),
                None => sqlx::query_scalar(include_str!("../../queries/ticks_from.sql"))
                    .bind(integer(self.from.0))
                    .fetch_one(readers)
                    .await
                    .map_err(|e| journal.failed(e))?,
            };
            let Some(next) = next else { return Ok(None) };
            let query = sqlx::query_as(include_str!("../../queries/ticks.sql"));
            let rows: Vec<Row> = query
                .bind(next)
                .bind(ROWS)
                .fetch_all(readers)
                .await
                .map_err(|e| journal.failed(e))?;
            self.next.get_or_insert(next);
            self.rows = rows.into();
        }
        Ok(self.rows.pop_front())
    }
}
