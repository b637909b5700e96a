//! Following the plan where a process is frozen between requests: it is asked for on use.
//!
//! A request that finds the last look more than a second old starts a new one. It waits for it only
//! if the plan at hand has not been confirmed for [`CONFIRMED_AGE`], as in the first request of a new
//! environment or of one that was frozen, and then for at most [`WAIT`]; else it is served by the
//! plan at hand while the look goes on beside it.
//!
//! So an answer follows a plan that was in force at most five seconds before, whenever who is asked
//! answers within 50 ms. One that does not costs one request in five seconds that wait, and the answers
//! follow the last plan heard of.
//!
//! Who is asked is the agent, or a mirror that it keeps the plan in ([`spillway_store::Mirror`]). Neither
//! is believed: a plan must be signed, and none is taken that is older than the one at hand.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ed25519_dalek::VerifyingKey;
use http::{Method, StatusCode};
use spillway_model::{Config, Plan, SignedPlan};
use spillway_part::client::Client;
use spillway_part::follow::{Publisher, shipped_key};
use spillway_part::{Plans, StartError};
use spillway_store::Mirror;
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

/// Who is asked for the plan.
#[derive(Debug)]
enum Origin {
    Agent(SocketAddr, Box<Client>),
    Mirror(Mirror),
}

#[derive(Debug)]
struct Source {
    origin: Origin,
    key: VerifyingKey,
    publisher: Publisher,
    plans: Plans,
    /// When the last look began that was answered. Not when it ended: a freeze may lie between.
    confirmed: Mutex<Option<Instant>>,
    reachable: AtomicBool,
}

impl PlanOnUse {
    /// Starts with the initial plan and looks at nothing yet; then at `mirror`, or else at the agent.
    ///
    /// # Errors
    /// When the key that plans are verified with is missing.
    pub fn new(config: &Config, mirror: Option<Mirror>) -> Result<Self, StartError> {
        let key = shipped_key(config)?;
        let sites = config.sites.iter().map(|site| site.id.clone());
        let (publisher, plans) = Publisher::new(Plan::initial(sites, config.dns.ttl_secs));
        let agent = || Origin::Agent(config.agent.listen, Box::default());
        let source = Source {
            origin: mirror.map_or_else(agent, Origin::Mirror),
            key,
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
                        "no plan from {}; serving on with the last one",
                        self.origin
                    );
                }
            }
        }
    }

    async fn fetch(&self) -> Result<(), String> {
        let Some(signed) = self.origin.plan(self.plans.load().generation).await? else {
            return Ok(());
        };
        let signed: SignedPlan = serde_json::from_slice(&signed).map_err(|e| e.to_string())?;
        let plan = signed.verify(&self.key).map_err(|e| e.to_string())?;
        let offered = plan.generation;
        self.publisher.publish(plan);
        // Read again: a look that a freeze interrupted may have brought one meanwhile.
        let held = self.plans.load().generation;
        if offered < held {
            return Err(format!("generation {offered} is offered, which is older than {held}"));
        }
        Ok(())
    }
}

impl Origin {
    /// The signed plan as it is there now; `None` when that is known not to be newer than `held`.
    async fn plan(&self, held: u64) -> Result<Option<Bytes>, String> {
        match self {
            Self::Agent(agent, client) => {
                let path = format!("/v1/plan?after={held}&wait=0s");
                let call = client.call(Method::GET, *agent, &path, Bytes::new(), DEADLINE);
                let answer = call.await.map_err(|e| e.to_string())?;
                match answer.status {
                    StatusCode::NOT_MODIFIED => Ok(None),
                    status if status.is_success() => Ok(Some(answer.body)),
                    status => Err(format!("it answers {status}")),
                }
            }
            Self::Mirror(mirror) => match mirror.get(DEADLINE).await {
                Ok(Some(signed)) => Ok(Some(signed.into())),
                Ok(None) => Err("it holds none".to_owned()),
                Err(fault) => Err(fault.reason),
            },
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent, _) => write!(f, "the agent {agent}"),
            Self::Mirror(mirror) => write!(f, "the mirror {}", mirror.url()),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
