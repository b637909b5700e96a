//! Following the plan where a process is frozen between requests: it is asked for on use.
//!
//! A request that finds the last look more than a second old starts a new one. It waits for it only
//! if the plan at hand has not been confirmed for [`CONFIRMED_AGE`], as in the first request of a new
//! environment or of one that was frozen, and then for at most [`WAIT`]; else it is served by the
//! plan at hand while the look goes on beside it.
//!
//! So an answer follows a plan that was the agent's at most five seconds before, whenever the agent
//! answers within 50 ms. An agent that does not costs one request in five seconds that wait, and the
//! answers follow the last plan heard of.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ed25519_dalek::VerifyingKey;
use http::{Method, StatusCode};
use spillway_model::{Config, Plan, SignedPlan};
use spillway_part::client::Client;
use spillway_part::follow::{Publisher, trusted_key};
use spillway_part::{Plans, StartError};
use tokio::task::JoinHandle;

/// How old the last look may be.
const LOOK_AGE: Duration = Duration::from_secs(1);
/// How long a look may take. One that a freeze interrupted ends by it too.
const DEADLINE: Duration = Duration::from_millis(200);
/// How long ago the plan at hand may have been confirmed before a request waits for a look.
const CONFIRMED_AGE: Duration = Duration::from_secs(5);
/// How long it then waits.
const WAIT: Duration = Duration::from_millis(50);

/// The plan, looked at on use.
#[derive(Debug)]
pub struct PlanOnUse {
    source: Arc<Source>,
    looks: Mutex<Looks>,
    wait: Duration,
}

#[derive(Debug, Default)]
struct Looks {
    /// When the latest look began.
    began: Option<Instant>,
    /// The latest look, until a request waits for it.
    latest: Option<JoinHandle<()>>,
    /// When a request last waited.
    waited: Option<Instant>,
}

#[derive(Debug)]
struct Source {
    agent: SocketAddr,
    key: VerifyingKey,
    client: Client,
    publisher: Publisher,
    plans: Plans,
    /// When the last look began that the agent answered. Not when it ended: a freeze may lie between.
    confirmed: Mutex<Option<Instant>>,
    reachable: AtomicBool,
}

impl PlanOnUse {
    /// Starts with the initial plan and looks at nothing yet.
    ///
    /// # Errors
    /// When the key that plans are verified with is missing.
    pub fn new(config: &Config) -> Result<Self, StartError> {
        let key = trusted_key(config)?;
        let sites = config.sites.iter().map(|site| site.id.clone());
        let (publisher, plans) = Publisher::new(Plan::initial(sites, config.dns.ttl_secs));
        let source = Source {
            agent: config.agent.listen,
            key,
            client: Client::default(),
            publisher,
            plans,
            confirmed: Mutex::default(),
            reachable: AtomicBool::new(true),
        };
        Ok(Self { source: Arc::new(source), looks: Mutex::default(), wait: WAIT })
    }

    /// The same, waiting `wait` where a request waits.
    #[must_use]
    pub fn waiting(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// The plan in force.
    #[must_use]
    pub fn plans(&self) -> Plans {
        self.source.plans.clone()
    }

    /// Looks if it is time, without waiting: to be called before there is a request.
    pub fn look(&self, now: Instant) {
        self.start_look(&mut locked(&self.looks), now);
    }

    /// Looks if it is time, and waits for it if the plan at hand is too old: to be called at the
    /// start of each request.
    pub async fn before_request(&self, now: Instant) {
        if let Some(look) = self.look_to_wait_for(now) {
            // Whether it came back in time or not, the request is served; the look goes on.
            let _ = tokio::time::timeout(self.wait, look).await;
        }
    }

    fn look_to_wait_for(&self, now: Instant) -> Option<JoinHandle<()>> {
        let recent = |at: Option<Instant>| {
            at.is_some_and(|at| now.saturating_duration_since(at) <= CONFIRMED_AGE)
        };
        let mut looks = locked(&self.looks);
        self.start_look(&mut looks, now);
        // A wait in vain is not repeated at once.
        if recent(*locked(&self.source.confirmed)) || recent(looks.waited) {
            return None;
        }
        looks.waited = Some(now);
        looks.latest.take()
    }

    fn start_look(&self, looks: &mut Looks, now: Instant) {
        let last = looks.began.map(|began| now.saturating_duration_since(began));
        if last.is_none_or(|age| age >= LOOK_AGE) {
            looks.began = Some(now);
            let source = self.source.clone();
            looks.latest = Some(tokio::spawn(async move { source.look(now).await }));
        }
    }
}

impl Source {
    async fn look(&self, began: Instant) {
        match self.fetch().await {
            Ok(()) => {
                let mut confirmed = locked(&self.confirmed);
                *confirmed = (*confirmed).max(Some(began));
                self.reachable.store(true, Relaxed);
            }
            Err(reason) => {
                if self.reachable.swap(false, Relaxed) {
                    let generation = self.plans.load().generation;
                    tracing::warn!(
                        generation,
                        reason,
                        "no plan from the agent; serving on with the last one"
                    );
                }
            }
        }
    }

    async fn fetch(&self) -> Result<(), String> {
        let held = self.plans.load().generation;
        let path = format!("/v1/plan?after={held}&wait=0s");
        let call = self.client.call(Method::GET, self.agent, &path, Bytes::new(), DEADLINE);
        let answer = call.await.map_err(|e| e.to_string())?;
        if answer.status == StatusCode::NOT_MODIFIED {
            return Ok(());
        }
        if !answer.status.is_success() {
            return Err(format!("the agent answers {}", answer.status));
        }
        let signed: SignedPlan = serde_json::from_slice(&answer.body).map_err(|e| e.to_string())?;
        let plan = signed.verify(&self.key).map_err(|e| e.to_string())?;
        let offered = plan.generation;
        self.publisher.publish(plan);
        // Read again: a look that a freeze interrupted may have brought one meanwhile.
        let held = self.plans.load().generation;
        if offered < held {
            return Err(format!(
                "the agent offers generation {offered}, which is older than {held}"
            ));
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
