//! The control loop: one tick reads, decides, journals and publishes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::body::Bytes;
use spillway_decide::{Observation, Outcome, Policy, State, decide};
use spillway_flags::Registry;
use spillway_model::api::{CloudStatus, Decision, PartStatus, SiteStatus};
use spillway_model::{Config, Plan, SignedPlan, SiteId, UnixMillis};
use spillway_part::follow::Publisher;
use spillway_part::serve::{Limits, http};
use spillway_part::{Plans, Shutdown, clock};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use crate::journal::{Entry, Journal, JournalError};
use crate::orders::OrderBook;
use crate::reader::{Reader, Reading, chain};
use crate::state_dir::StateDir;
use crate::{AgentError, api};

/// Ticks between two steps of pruning.
const PRUNE_EVERY: u64 = 60;
/// A generation beyond this cannot have been reached by counting: whoever reports it is broken.
const GENERATION_MAX: u64 = 1 << 53;

/// What the API shows: everything of one tick, replaced as a whole.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) at: UnixMillis,
    pub(crate) plan: Arc<Plan>,
    /// The plan as signed, in the exact bytes that are served.
    pub(crate) signed: Bytes,
    /// The decision that published the plan.
    pub(crate) made_by: Option<Decision>,
    pub(crate) headline: String,
    pub(crate) sites: BTreeMap<SiteId, SiteStatus>,
    pub(crate) cloud: CloudStatus,
    pub(crate) parts: Vec<PartStatus>,
}

/// What the loop and the API share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) policy: Policy,
    pub(crate) registry: Arc<Registry>,
    pub(crate) state_dir: StateDir,
    pub(crate) journal: Journal,
    pub(crate) orders: OrderBook,
    /// Serialises giving orders, so that journal and book agree on the last one.
    pub(crate) order_turn: tokio::sync::Mutex<()>,
    pub(crate) view: ArcSwap<View>,
    pub(crate) plans: Plans,
    /// Wakes the loop before its time.
    pub(crate) wake: Notify,
    /// Version of the order book that the view reflects.
    pub(crate) applied: watch::Sender<u64>,
}

/// The agent: all that one process of it holds.
#[derive(Debug)]
pub struct Agent {
    pub(crate) shared: Arc<Shared>,
    reader: Reader,
    publisher: Publisher,
    state: State,
    /// Whether `state` came from elsewhere than the decision before.
    fresh: bool,
    journal_ok: bool,
    last_at: UnixMillis,
    ticks: u64,
}

impl Agent {
    /// Takes the state folder and takes up what the journal and the kept plans hold.
    ///
    /// # Errors
    /// When the folder is in use or lacks its keys, or the journal needs care.
    pub async fn start(config: Arc<Config>) -> Result<Self, AgentError> {
        let state_dir = StateDir::open(&config)?;
        let (journal, failure) = Journal::open(&config.state_path("journal.db")).await?;
        if let Some(e) = &failure {
            warn_journal(&journal, e);
        }
        let policy = Policy::new(&config);
        let start = Start::from(&config, &policy, &state_dir, &journal).await?;
        let plan = start.plan;
        tracing::info!(
            generation = plan.generation,
            from = start.from,
            "the agent takes up its last plan"
        );
        let signed = serde_json::to_vec(&start.signed).map_err(AgentError::Plan)?;
        let (publisher, plans) = Publisher::new(plan.clone());
        let now = clock::now();
        let view = View {
            at: now,
            made_by: readable(&journal, journal.decision_of(plan.generation).await)?,
            headline: "the agent has just started; nothing has been observed yet".to_owned(),
            plan: Arc::new(plan),
            signed: signed.into(),
            sites: BTreeMap::new(),
            cloud: CloudStatus::default(),
            parts: Vec::new(),
        };
        let orders = readable(&journal, journal.orders(now).await.map(Some))?.unwrap_or_default();
        let shared = Shared {
            registry: Arc::new(Registry::new(&config.knobs)),
            orders: OrderBook::restore(orders),
            order_turn: tokio::sync::Mutex::default(),
            view: ArcSwap::from_pointee(view),
            wake: Notify::new(),
            applied: watch::Sender::new(0),
            policy,
            state_dir,
            journal,
            plans,
            config: config.clone(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            reader: Reader::new(&config),
            publisher,
            state: start.state,
            fresh: true,
            journal_ok: failure.is_none(),
            last_at: UnixMillis(0),
            ticks: 0,
        })
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// The plans it publishes.
    #[must_use]
    pub fn plans(&self) -> Plans {
        self.shared.plans.clone()
    }

    /// One round at `now`. Takes less than a tick, whatever the parts and the journal do.
    pub async fn tick(&mut self, now: UnixMillis) {
        let reading = self.reader.read().await;
        let (orders, version) = self.shared.orders.live(now);
        self.fence(&reading);
        let Reading { loads, missing, interface_bytes, parts } = reading;
        let observation = Observation { at: now, loads, missing, interface_bytes, orders };
        let outcome = decide(&self.shared.policy, &self.state, &observation);
        match self.sign(&outcome) {
            Ok(signed) => {
                self.keep(&observation, &outcome, signed.as_ref()).await;
                self.show(now, outcome, signed, parts);
                self.shared.applied.send_replace(version);
            }
            // The state stays what it was, so the next tick tries the same again.
            Err(e) => tracing::error!(error = %e, "the plan cannot be written as JSON; holding"),
        }
        self.last_at = now;
        self.ticks += 1;
        if self.journal_ok && self.ticks.is_multiple_of(PRUNE_EVERY) {
            self.prune(now).await;
        }
    }

    /// Parts that act on a newer generation than ours have heard an agent whose journal we do not
    /// have. They would refuse whatever we publish, so we count on from theirs.
    fn fence(&mut self, reading: &Reading) {
        let ours = self.state.plan().generation;
        let seen = reading.loads.iter().map(|load| load.generation);
        let newest = seen.filter(|generation| *generation < GENERATION_MAX).max().unwrap_or(0);
        if newest > ours {
            tracing::warn!(
                ours,
                newest,
                "parts act on a newer plan than this agent's journal knows; counting on from theirs"
            );
            let plan = Plan { generation: newest, ..self.state.plan().clone() };
            self.state = self.state.clone().resume(&plan);
            self.fresh = true;
        }
    }

    /// The plan signed and as the bytes to serve, if the outcome is one to publish.
    fn sign(&self, outcome: &Outcome) -> Result<Option<(SignedPlan, Bytes)>, serde_json::Error> {
        let current = self.shared.view.load().plan.generation;
        if !outcome.decision.published || outcome.plan.generation <= current {
            return Ok(None);
        }
        let signed = SignedPlan::sign(&outcome.plan, &self.shared.state_dir.key)?;
        let bytes = serde_json::to_vec(&signed)?.into();
        Ok(Some((signed, bytes)))
    }

    /// Journals the tick, within a bounded time. The loop does not depend on it.
    async fn keep(
        &mut self,
        observation: &Observation,
        outcome: &Outcome,
        signed: Option<&(SignedPlan, Bytes)>,
    ) {
        let entry = Entry {
            at: observation.at,
            observation,
            state: &self.state,
            fresh: self.fresh,
            decision: &outcome.decision,
            plan: signed.map(|(signed, _)| signed),
        };
        let deadline = self.tick_part(3, 10);
        let written = tokio::time::timeout(deadline, self.shared.journal.write(entry)).await;
        let reason = match written {
            Ok(Ok(())) => None,
            Ok(Err(e)) => Some(chain(&e)),
            Err(_) => Some(format!("it took more than {deadline:?}")),
        };
        self.fresh = false;
        let path = self.shared.journal.path().display();
        match reason {
            None if !self.journal_ok => {
                tracing::info!(journal = %path, "the journal can be written again");
                self.journal_ok = true;
            }
            Some(reason) if self.journal_ok => {
                tracing::warn!(
                    journal = %path, reason,
                    "the journal cannot be written; deciding and publishing go on without it"
                );
                self.journal_ok = false;
            }
            None | Some(_) => {}
        }
    }

    /// Puts the outcome in force. The view goes first: a long poll that the publisher wakes finds
    /// the new plan in it.
    fn show(
        &mut self,
        at: UnixMillis,
        outcome: Outcome,
        signed: Option<(SignedPlan, Bytes)>,
        parts: Vec<PartStatus>,
    ) {
        let before = self.shared.view.load_full();
        let published = signed.is_some();
        let (plan, signed, made_by) = match signed {
            Some((_, bytes)) => (Arc::new(outcome.plan), bytes, Some(outcome.decision)),
            None => (before.plan.clone(), before.signed.clone(), before.made_by.clone()),
        };
        let view = View {
            at,
            plan: plan.clone(),
            signed,
            made_by,
            headline: outcome.headline,
            sites: outcome.sites,
            cloud: outcome.cloud,
            parts,
        };
        self.shared.view.store(Arc::new(view));
        self.state = outcome.state;
        if published {
            let reason = plan.reasons.first().map_or("", String::as_str);
            tracing::info!(generation = plan.generation, tier = %plan.tier, reason, "plan published");
            self.publisher.publish((*plan).clone());
        }
    }

    async fn prune(&self, now: UnixMillis) {
        let hours = self.shared.config.agent.journal_hours;
        let before = UnixMillis(now.0.saturating_sub(hours.saturating_mul(3_600_000)));
        let pruning = self.shared.journal.prune(before, now);
        match tokio::time::timeout(self.tick_part(3, 10), pruning).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!(reason = chain(&e), "the journal cannot be pruned"),
            Err(_) => tracing::warn!("pruning the journal took too long; going on later"),
        }
    }

    fn tick_part(&self, numerator: u32, denominator: u32) -> Duration {
        tick(&self.shared.config) * numerator / denominator
    }
}

fn tick(config: &Config) -> Duration {
    Duration::from_millis(config.agent.tick_ms)
}

/// What the agent starts from.
struct Start {
    plan: Plan,
    signed: SignedPlan,
    state: State,
    from: &'static str,
}

impl Start {
    /// The newest of the last plan in the journal and the plans that the parts keep; the state as
    /// replayed from the journal, resumed with that plan.
    async fn from(
        config: &Config,
        policy: &Policy,
        state_dir: &StateDir,
        journal: &Journal,
    ) -> Result<Self, AgentError> {
        let key = &state_dir.key;
        let sign = |plan: &Plan| SignedPlan::sign(plan, key).map_err(AgentError::Plan);
        let journalled = match readable(journal, journal.last_plan().await)? {
            None => None,
            Some(signed) => Some(match signed.verify(&key.verifying_key()) {
                Ok(plan) => (plan, signed),
                // The key was changed since. The journal is our own, so its plan is signed anew.
                Err(_) => {
                    let text = signed.plan.get();
                    let plan: Plan = serde_json::from_str(text).map_err(JournalError::Json)?;
                    let signed = sign(&plan)?;
                    (plan, signed)
                }
            }),
        };
        let kept = state_dir.newest_kept_plan();
        let newest = [(journalled, "the journal"), (kept, "the plans that parts keep")]
            .into_iter()
            .filter_map(|(found, from)| found.map(|(plan, signed)| (plan, signed, from)))
            // The journal wins a tie, as `max_by_key` takes the last.
            .rev()
            .max_by_key(|(plan, ..)| plan.generation);
        let state = match journal.replay(policy).await {
            Ok(state) => state,
            Err(JournalError::Damaged(path, e)) => {
                return Err(JournalError::Damaged(path, e).into());
            }
            Err(e) => {
                tracing::warn!(
                    reason = chain(&e),
                    "the journal cannot be replayed; what was learned is learned anew"
                );
                None
            }
        };
        let state = state.unwrap_or_else(|| State::initial(policy));
        match newest {
            Some((plan, signed, from)) => {
                Ok(Self { state: resumed(state, &plan), plan, signed, from })
            }
            None => {
                let sites = config.sites.iter().map(|site| site.id.clone());
                let plan = Plan::initial(sites, config.dns.ttl_secs);
                let signed = sign(&plan)?;
                Ok(Self { plan, signed, state, from: "the configuration" })
            }
        }
    }
}

/// A replayed state goes on from the plan that the data plane has. Under a configuration that was
/// changed since, the replay may have come to another plan, or to more of them: these were never
/// published, so only their generations count.
fn resumed(state: State, plan: &Plan) -> State {
    let replayed = state.plan();
    if replayed == plan || replayed.generation < plan.generation {
        return state.resume(plan);
    }
    let generation = replayed.generation.saturating_add(1);
    state.resume(&Plan { generation, ..plan.clone() })
}

/// Reading at the start: a damaged journal needs care, one that cannot be read is done without.
fn readable<T>(
    journal: &Journal,
    read: Result<Option<T>, JournalError>,
) -> Result<Option<T>, JournalError> {
    match read {
        Ok(found) => Ok(found),
        Err(e) if e.needs_care() => Err(e),
        Err(e) => {
            tracing::debug!(journal = %journal.path().display(), reason = chain(&e), "nothing read");
            Ok(None)
        }
    }
}

fn warn_journal(journal: &Journal, error: &JournalError) {
    tracing::warn!(
        journal = %journal.path().display(), reason = chain(error),
        "the journal cannot be opened; deciding and publishing go on without it"
    );
}

/// Serves the API and runs the loop until `shutdown`.
pub async fn serve(mut agent: Agent, listener: TcpListener, shutdown: Shutdown) {
    let shared = agent.shared.clone();
    let app = api::router(&shared, &shutdown);
    let http = tokio::spawn(http(listener, app, Limits::default(), shutdown.clone()));
    let period = tick(&shared.config);
    // A late tick moves all later ones: two in a row would measure rates over next to nothing.
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut wall = WallClock::start();
    let mut earliest = tokio::time::Instant::now();
    loop {
        let woken = async {
            shared.wake.notified().await;
            tokio::time::sleep_until(earliest).await;
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            _ = interval.tick() => {}
            () = woken => interval.reset(),
        }
        // An order may bring the next tick forward, but rates need some time to be rates over.
        earliest = tokio::time::Instant::now() + period / 3;
        agent.tick(wall.now(agent.last_at)).await;
    }
    match http.await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::error!(error = %e, "the API's listener broke"),
        Err(_) => tracing::error!("serving the API ended with a panic"),
    }
    shared.journal.close().await;
}

/// The wall clock, except that it never goes back: while it has been set back, time goes on by the
/// monotonic clock, so that leases still end.
struct WallClock {
    instant: Instant,
}

impl WallClock {
    fn start() -> Self {
        Self { instant: clock::instant() }
    }

    fn now(&mut self, last: UnixMillis) -> UnixMillis {
        let instant = clock::instant();
        let elapsed = instant.saturating_duration_since(self.instant);
        self.instant = instant;
        let elapsed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        going_on(clock::now(), last, elapsed)
    }
}

fn going_on(wall: UnixMillis, last: UnixMillis, elapsed_ms: u64) -> UnixMillis {
    if wall > last { wall } else { last.plus_millis(elapsed_ms.max(1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_when_the_clock_is_set_back() {
        assert_eq!(going_on(UnixMillis(5000), UnixMillis(4000), 7), UnixMillis(5000));
        assert_eq!(going_on(UnixMillis(3000), UnixMillis(4000), 1000), UnixMillis(5000));
        assert_eq!(going_on(UnixMillis(4000), UnixMillis(4000), 0), UnixMillis(4001));
    }
}
