//! Following the plan where a process is frozen between requests: it is asked for on use.
//!
//! A request that finds the last look more than a second old starts a new one beside it and does not
//! wait: it is served by the plan at hand. Only the first request waits a moment, so that a new
//! environment does not begin a degraded time with a picture.

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
use tokio::sync::watch;

/// How old the last look may be.
const LOOK_AGE: Duration = Duration::from_secs(1);
/// How long a look may take.
const DEADLINE: Duration = Duration::from_millis(200);
/// How long the first request waits for the first look.
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// The plan, looked at on use.
#[derive(Debug)]
pub struct PlanOnUse {
    source: Arc<Source>,
    last_look: Mutex<Option<Instant>>,
    asked_before: AtomicBool,
    looked: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Source {
    agent: SocketAddr,
    key: VerifyingKey,
    client: Client,
    publisher: Publisher,
    plans: Plans,
    under_way: AtomicBool,
    looked: watch::Sender<bool>,
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
        let (looked, watching) = watch::channel(false);
        let source = Source {
            agent: config.agent.listen,
            key,
            client: Client::default(),
            publisher,
            plans,
            under_way: AtomicBool::new(false),
            looked,
            reachable: AtomicBool::new(true),
        };
        Ok(Self {
            source: Arc::new(source),
            last_look: Mutex::default(),
            asked_before: AtomicBool::new(false),
            looked: watching,
        })
    }

    /// The plan in force.
    #[must_use]
    pub fn plans(&self) -> Plans {
        self.source.plans.clone()
    }

    /// To be called at the start of each request, and once before the first.
    pub fn look(&self, now: Instant) {
        {
            let mut last = self.last_look.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|last| now.saturating_duration_since(last) < LOOK_AGE) {
                return;
            }
            *last = Some(now);
        }
        // One look at a time; a look that a freeze interrupted ends by its deadline.
        if !self.source.under_way.swap(true, Relaxed) {
            let source = self.source.clone();
            tokio::spawn(async move { source.look().await });
        }
    }

    /// Looks if it is time, and gives the very first look a moment to come back.
    pub async fn before_request(&self, now: Instant) {
        self.look(now);
        if !self.asked_before.swap(true, Relaxed) {
            let mut looked = self.looked.clone();
            // Whether it came back in time or not, the request is served.
            let _ = tokio::time::timeout(FIRST_WAIT, looked.wait_for(|looked| *looked)).await;
        }
    }
}

impl Source {
    async fn look(&self) {
        let outcome = self.fetch().await;
        self.under_way.store(false, Relaxed);
        self.looked.send_replace(true);
        match outcome {
            Ok(()) => self.reachable.store(true, Relaxed),
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
        if self.publisher.publish(plan) || offered == held {
            Ok(())
        } else {
            Err(format!("the agent offers generation {offered}, which is older than {held}"))
        }
    }
}
