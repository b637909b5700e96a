//! The control loop: one tick reads, decides, journals and publishes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::body::Bytes;
use spillway_decide::{Observation, Outcome, Policy, State, decide};
use spillway_flags::Registry;
use spillway_model::api::{CloudStatus, Decision, PartStatus, SiteStatus};
use spillway_model::{Config, Mode, Plan, SignedPlan, SiteId, UnixMillis};
use spillway_part::follow::Publisher;
use spillway_part::serve::{Limits, http};
use spillway_part::{Plans, Shutdown, clock, manager};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use crate::journal::{Entry, Journal};
use crate::mirrors::Mirrors;
use crate::orders::OrderBook;
use crate::others::Others;
use crate::reader::{Reader, Reading, chain};
use crate::start::Start;
use crate::state_dir::StateDir;
use crate::{AgentError, api};

/// Ticks between two steps of pruning.
const PRUNE_EVERY: u64 = 60;
/// So many rounds late, the loop is taken for dead.
const LATE_ROUNDS_MAX: u32 = 10;
/// A generation beyond this cannot have been reached by counting: whoever reports it is broken.
const GENERATION_MAX: u64 = 1 << 53;

/// What the API shows: everything of one tick, replaced as a whole.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) at: UnixMillis,
    /// The last plan published.
    pub(crate) plan: Arc<Plan>,
    /// The plan in force: another agent's, where this one does not act and has read it.
    pub(crate) in_force: Arc<Plan>,
    /// The plan as signed, in the exact bytes that are served.
    pub(crate) signed: Bytes,
    /// The decision that published the plan.
    pub(crate) published: Option<Decision>,
    /// The decision of the last tick; `None` before the first.
    pub(crate) decision: Option<Decision>,
    /// What is not as it should be with the agent itself, or as a part told.
    pub(crate) warnings: Vec<String>,
    /// Whether the journal could be written.
    pub(crate) journalled: bool,
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

impl Shared {
    /// How it is, in a line for the service manager; nothing when rounds do not come any more.
    fn how(&self, period: Duration) -> Option<String> {
        let view = self.view.load();
        let age = Duration::from_millis(clock::now().0.saturating_sub(view.at.0));
        (age <= period * LATE_ROUNDS_MAX).then(|| view.headline.clone())
    }
}

/// The agent: all that one process of it holds.
#[derive(Debug)]
pub struct Agent {
    pub(crate) shared: Arc<Shared>,
    reader: Reader,
    publisher: Publisher,
    mirrors: Mirrors,
    others: Others,
    state: State,
    /// Whether `state` came from elsewhere than the decision before.
    fresh: bool,
    /// What went wrong at the start, for people.
    warnings: Vec<String>,
    /// Why the journal cannot be written.
    write_fault: Option<String>,
    /// Why it cannot be pruned.
    prune_fault: Option<String>,
    last_at: UnixMillis,
    ticks: u64,
}

impl Agent {
    /// Takes the state folder and takes up what the journal and the kept plans hold.
    ///
    /// # Errors
    /// When the folder is in use, or lacks its keys; when a mirror's URL is none.
    pub async fn start(config: Arc<Config>) -> Result<Self, AgentError> {
        let state_dir = StateDir::open(&config)?;
        let policy = Policy::new(&config);
        let now = clock::now();
        let start = Start::take_up(&config, &policy, &state_dir, now).await?;
        let signed = serde_json::to_vec(&start.signed).map_err(AgentError::Plan)?;
        let signed = Bytes::from(signed);
        let mirrors = Mirrors::start(&config)?;
        let mode = policy.mode(&start.orders.live(now).0, now);
        // Nobody decided the plan that says that there is none yet.
        if start.plan.generation > 0 && mode != Mode::Shadow {
            mirrors.offer(signed.clone());
        }
        let others = Others::new(&config, state_dir.key.verifying_key());
        let (publisher, plans) = Publisher::new(start.plan.clone());
        let write_fault = start.fault.map(|fault| chain(&fault));
        let warnings =
            warnings(&start.warnings, start.journal.path(), write_fault.as_deref(), None);
        let plan = Arc::new(start.plan);
        let view = View {
            at: now,
            published: start.published,
            decision: None,
            warnings,
            journalled: write_fault.is_none(),
            headline: "The agent has just started; nothing has been observed yet".to_owned(),
            in_force: plan.clone(),
            plan,
            signed,
            sites: BTreeMap::new(),
            cloud: CloudStatus::default(),
            parts: Vec::new(),
        };
        let shared = Shared {
            registry: Arc::new(Registry::new(&config.knobs)),
            orders: start.orders,
            order_turn: tokio::sync::Mutex::default(),
            view: ArcSwap::from_pointee(view),
            wake: Notify::new(),
            applied: watch::Sender::new(0),
            policy,
            state_dir,
            journal: start.journal,
            plans,
            config: config.clone(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            reader: Reader::new(&config),
            publisher,
            mirrors,
            others,
            state: start.state,
            fresh: true,
            warnings: start.warnings,
            write_fault,
            prune_fault: None,
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
        let in_force = match self.shared.policy.mode(&orders, now).acts() {
            true => {
                self.fence(&reading);
                None
            }
            false => {
                let ours = self.state.plan().generation;
                self.others.newer(ours, newest_generation(&reading)).await
            }
        };
        let Reading { loads, missing, interface_bytes, parts, warnings } = reading;
        let observation =
            Observation { at: now, loads, missing, interface_bytes, orders, in_force };
        let outcome = decide(&self.shared.policy, &self.state, &observation);
        match self.sign(&outcome) {
            Ok(signed) => {
                self.keep(&observation, &outcome, signed.as_ref()).await;
                self.show(now, outcome, signed, parts, warnings);
                self.shared.applied.send_replace(version);
            }
            // The state stays what it was, so the next tick tries the same again.
            Err(e) => tracing::error!(error = %e, "the plan cannot be written as JSON; holding"),
        }
        self.last_at = now;
        self.ticks += 1;
        if self.write_fault.is_none() && self.ticks.is_multiple_of(PRUNE_EVERY) {
            self.prune(now).await;
        }
    }

    /// Parts that act on a newer generation than ours have heard an agent whose journal we do not
    /// have. They would refuse whatever we publish, so we count on from theirs.
    fn fence(&mut self, reading: &Reading) {
        let ours = self.state.plan().generation;
        let newest = newest_generation(reading);
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
        let fault = match written {
            Ok(Ok(())) => None,
            Ok(Err(e)) => Some(chain(&e)),
            Err(_) => Some(format!("it took more than {deadline:?}")),
        };
        self.fresh = false;
        let path = self.shared.journal.path().display();
        match (&self.write_fault, &fault) {
            (Some(_), None) => tracing::info!(journal = %path, "the journal can be written again"),
            (None, Some(reason)) => tracing::warn!(
                journal = %path, reason,
                "the journal cannot be written; deciding and publishing go on without it"
            ),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.write_fault = fault;
    }

    /// Puts the outcome in force. The view goes first: a long poll that the publisher wakes finds
    /// the new plan in it.
    fn show(
        &mut self,
        at: UnixMillis,
        outcome: Outcome,
        signed: Option<(SignedPlan, Bytes)>,
        parts: Vec<PartStatus>,
        of_parts: Vec<String>,
    ) {
        let before = self.shared.view.load_full();
        let published = signed.is_some();
        let decision = outcome.decision;
        let shadow = decision.mode == Mode::Shadow;
        let others = outcome.plan.generation > before.plan.generation && !published;
        let others = others.then(|| Arc::new(outcome.plan.clone()));
        let (plan, signed, published_by) = match signed {
            Some((_, bytes)) => (Arc::new(outcome.plan), bytes, Some(decision.clone())),
            None => (before.plan.clone(), before.signed.clone(), before.published.clone()),
        };
        if published {
            tell_published(&plan, &decision);
        }
        if shadow {
            self.mirrors.withhold();
        } else if published || !self.mirrors.offered() && plan.generation > 0 {
            self.mirrors.offer(signed.clone());
        }
        let view = View {
            at,
            in_force: others.unwrap_or_else(|| plan.clone()),
            plan: plan.clone(),
            signed,
            published: published_by,
            decision: Some(decision),
            warnings: self.warnings().into_iter().chain(of_parts).collect(),
            journalled: self.write_fault.is_none(),
            headline: outcome.headline,
            sites: outcome.sites,
            cloud: outcome.cloud,
            parts,
        };
        self.shared.view.store(Arc::new(view));
        self.state = outcome.state;
        if published {
            self.publisher.publish((*plan).clone());
        }
    }

    async fn prune(&mut self, now: UnixMillis) {
        let hours = self.shared.config.agent.journal_hours;
        let before = UnixMillis(now.0.saturating_sub(hours.saturating_mul(3_600_000)));
        let deadline = self.tick_part(3, 10);
        let pruning = self.shared.journal.prune(before, now);
        self.prune_fault = match tokio::time::timeout(deadline, pruning).await {
            Ok(Ok(())) => None,
            Ok(Err(e)) => Some(chain(&e)),
            Err(_) => Some(format!("it took more than {deadline:?}")),
        };
        if let Some(reason) = &self.prune_fault {
            tracing::warn!(reason, "the journal cannot be pruned; going on later");
        }
    }

    /// What is not as it should be with the agent itself, one sentence each.
    fn warnings(&self) -> Vec<String> {
        let path = self.shared.journal.path();
        let (write, prune) = (self.write_fault.as_deref(), self.prune_fault.as_deref());
        let mut warnings = warnings(&self.warnings, path, write, prune);
        warnings.extend(self.mirrors.warnings());
        warnings.extend(self.others.warning());
        warnings
    }

    fn tick_part(&self, numerator: u32, denominator: u32) -> Duration {
        tick(&self.shared.config) * numerator / denominator
    }
}

/// The newest generation that some part acts on.
fn newest_generation(reading: &Reading) -> u64 {
    let seen = reading.loads.iter().map(|load| load.generation);
    seen.filter(|generation| *generation < GENERATION_MAX).max().unwrap_or(0)
}

fn tick(config: &Config) -> Duration {
    Duration::from_millis(config.agent.tick_ms)
}

fn warnings(
    from_start: &[String],
    journal: &Path,
    write_fault: Option<&str>,
    prune_fault: Option<&str>,
) -> Vec<String> {
    let path = journal.display();
    let write = write_fault.map(|why| {
        format!(
            "the journal {path} cannot be written ({why}): decisions go on but are not recorded, and orders would not survive a restart of the agent"
        )
    });
    let prune = prune_fault.map(|why| {
        format!("the journal {path} cannot be pruned ({why}): it grows until that is mended")
    });
    from_start.iter().cloned().chain(write).chain(prune).collect()
}

fn tell_published(plan: &Plan, decision: &Decision) {
    let shares: Vec<_> =
        decision.shares.iter().map(|(site, share)| format!("{site} {share}")).collect();
    let reason = plan.reasons.first().map_or("", String::as_str);
    tracing::info!(
        generation = plan.generation,
        tier = %plan.tier,
        shares = shares.join(", "),
        binding = decision.binding,
        reason,
        "plan published"
    );
}

/// Serves the API and runs the loop until `shutdown`.
pub async fn serve(mut agent: Agent, listener: TcpListener, shutdown: Shutdown) {
    let shared = agent.shared.clone();
    let app = api::router(&shared, &shutdown);
    let http = tokio::spawn(http(listener, app, Limits::default(), shutdown.clone()));
    let period = tick(&shared.config);
    let told = shared.clone();
    let tending = tokio::spawn(manager::tend(move || told.how(period), shutdown.clone()));
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
    if tending.await.is_err() {
        tracing::error!("telling the service manager ended with a panic");
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
