//! The replica of a shard: asked first for what may be a moment old, and never needed.
//!
//! It may be away, or be another server from one connection to the next, as behind the reader endpoint of a
//! cluster. When it does not answer, the shard itself is asked. How far it lags is not measured here: no
//! figure of a server's own tells it from a shard where nothing happens; let the database's alarms watch it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::AnyPool;
use tokio::time::Instant;

use crate::circuit::Circuit;

/// How long it may take, with a new connection and all. Who waits asks the shard after it.
pub(crate) const DEADLINE: Duration = Duration::from_millis(500);
/// How long it is left alone after a failure.
const PAUSE: Duration = Duration::from_secs(5);
/// How old a connection may get: replicas that are added behind one name get their part by new ones.
pub(crate) const LIFETIME: Duration = Duration::from_secs(300);

pub(crate) struct Replica {
    /// As it may be shown.
    shown: String,
    open: Box<dyn Fn() -> AnyPool + Send + Sync>,
    pool: Mutex<AnyPool>,
    circuit: Circuit,
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("shown", &self.shown).finish_non_exhaustive()
    }
}

impl Replica {
    /// One whose connections `open` makes ready to be opened.
    pub(crate) fn new(shown: String, open: impl Fn() -> AnyPool + Send + Sync + 'static) -> Self {
        let pool = Mutex::new(open());
        Self { shown, open: Box::new(open), pool, circuit: Circuit::new(PAUSE, Instant::now()) }
    }

    /// What it answers, if it does so in time.
    pub(crate) async fn ask<T, Asking>(&self, ask: impl Fn(AnyPool) -> Asking) -> Option<T>
    where
        Asking: Future<Output = Result<T, sqlx::Error>>,
    {
        let asked = Instant::now();
        if !self.circuit.asks(asked) {
            return None;
        }
        let pool = self.pool();
        let mut asking = std::pin::pin!(tokio::time::timeout(DEADLINE, ask(pool.clone())));
        let (reason, whole) = match asking.as_mut().await {
            Ok(Ok(answer)) => {
                if self.circuit.answered(asked) {
                    tracing::info!(replica = self.shown, "the replica answers again");
                }
                return Some(answer);
            }
            Ok(Err(e)) => (e.to_string(), matches!(e, sqlx::Error::Database(_))),
            Err(_) => (format!("no answer within {DEADLINE:?}"), false),
        };
        if self.circuit.failed(Instant::now()) {
            tracing::warn!(
                replica = self.shown,
                reason,
                "the replica is away; its shard is asked until it is back"
            );
        }
        // A pool waits without end for what is given back in the midst of a question; a closed one does
        // not. Closing begins at once, and this must not wait for its end. A server that says why it has no
        // answer has ended the question, as one that took too long.
        if !whole {
            drop(pool.close());
        }
        None
    }

    pub(crate) async fn close(&self) {
        let pool = self.pool();
        pool.close().await;
    }

    /// Its connections; new ones after those that failed.
    fn pool(&self) -> AnyPool {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.is_closed() {
            *pool = (self.open)();
        }
        pool.clone()
    }
}
