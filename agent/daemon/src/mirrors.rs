//! Copies of the signed plan in Redis, for functions in the cloud.
//!
//! Each mirror has a task that puts the newest plan there whenever there is one, and once a second all
//! the same: a Redis that was started anew, failed over or forgot it has it back by then. Whoever offers
//! a plan waits for none of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use spillway_model::Config;
use spillway_store::{Mirror, StoreError};
use tokio::sync::watch;

/// How often the plan is put there again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long putting it there may take, opening a connection over the link included.
const DEADLINE: Duration = Duration::from_secs(3);

/// The mirrors. Their tasks end with this.
#[derive(Debug)]
pub(crate) struct Mirrors {
    newest: watch::Sender<Option<Bytes>>,
    kept: Vec<Arc<Kept>>,
}

/// One mirror, and why it has not got the newest plan.
#[derive(Debug)]
struct Kept {
    mirror: Mirror,
    fault: Mutex<Option<String>>,
}

impl Mirrors {
    /// The mirrors of a configuration. To be called within a Tokio runtime.
    pub(crate) fn start(config: &Config) -> Result<Self, StoreError> {
        let (newest, offered) = watch::channel(None);
        let open = |url: &String| {
            let mirror = Mirror::open(url, &config.service.host)?;
            let kept = Arc::new(Kept { mirror, fault: Mutex::default() });
            tokio::spawn(kept.clone().keep(offered.clone()));
            Ok(kept)
        };
        let kept = config.plan.mirrors.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { newest, kept })
    }

    /// Has every mirror keep this plan, in the bytes that the API serves, from now on.
    pub(crate) fn offer(&self, signed: Bytes) {
        self.newest.send_replace(Some(signed));
    }

    /// Has no mirror keep any plan from now on: what lies there is left as it is.
    pub(crate) fn withhold(&self) {
        if self.newest.borrow().is_some() {
            self.newest.send_replace(None);
        }
    }

    /// Whether they are told to keep a plan.
    pub(crate) fn offered(&self) -> bool {
        self.newest.borrow().is_some()
    }

    /// Which mirrors are away, one sentence each.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        self.kept.iter().filter_map(|kept| {
            let fault = kept.fault.lock().unwrap_or_else(PoisonError::into_inner);
            Some(format!(
                "the mirror {} has not got the plan ({}): functions that read it there serve on with the last one they read",
                kept.mirror.url(),
                fault.as_ref()?
            ))
        })
    }
}

impl Kept {
    async fn keep(self: Arc<Self>, mut offered: watch::Receiver<Option<Bytes>>) {
        loop {
            let newest = offered.borrow_and_update().clone();
            if let Some(signed) = newest {
                let put = self.mirror.put(&signed, DEADLINE).await;
                self.note(put.err().map(|fault| fault.reason));
            }
            let changed = tokio::time::timeout(AGAIN, offered.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                return;
            }
        }
    }

    /// The log has the beginning and the end of an outage.
    fn note(&self, fault: Option<String>) {
        let mirror = self.mirror.url();
        let mut before = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*before, &fault) {
            (None, Some(reason)) => {
                tracing::warn!(mirror, reason, "the mirror of plans is away; going on without it");
            }
            (Some(_), None) => tracing::info!(mirror, "the mirror of plans has the plan again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        *before = fault;
    }
}
