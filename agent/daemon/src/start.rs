//! Starting: what the journal and the kept plans hold is taken up. Nothing that is wrong with them
//! keeps the agent from starting; what a person should know of it is a warning.

use spillway_decide::{Policy, State};
use spillway_model::api::Decision;
use spillway_model::{Config, Mode, Plan, SignedPlan, UnixMillis};

use crate::AgentError;
use crate::journal::{Audit, Journal, JournalError, set_aside};
use crate::orders::OrderBook;
use crate::reader::chain;
use crate::state_dir::StateDir;

/// What the agent starts from.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) journal: Journal,
    /// Why the journal cannot be written now.
    pub(crate) fault: Option<JournalError>,
    /// What went wrong and is over, for people.
    pub(crate) warnings: Vec<String>,
    pub(crate) plan: Plan,
    pub(crate) signed: SignedPlan,
    /// The decision that published the plan.
    pub(crate) published: Option<Decision>,
    pub(crate) state: State,
    pub(crate) orders: OrderBook,
}

impl Start {
    /// The newest of the last plan in the journal and the plans that the parts keep; the state as
    /// replayed from the journal, resumed with that plan. A damaged journal is read as far as it goes
    /// and moved aside.
    pub(crate) async fn take_up(
        config: &Config,
        policy: &Policy,
        state_dir: &StateDir,
        now: UnixMillis,
    ) -> Result<Self, AgentError> {
        let path = config.state_path("journal.db");
        let (mut journal, mut fault) = Journal::open(&path).await;
        let mut found = Found::default();
        match fault.take_if(|fault| fault.is_damage()) {
            Some(damage) => found.damage = Some(damage),
            None => found.read(&journal, policy, now).await,
        }
        let mut warnings = Vec::new();
        if let Some(damage) = found.damage.take() {
            journal.close().await;
            let warning = match set_aside(&path, now) {
                Ok(to) => format!(
                    "{}; it was moved to {} and a new journal begun: see that the orders in force are those you want",
                    chain(&damage),
                    to.display()
                ),
                Err(e) => format!("{}, and cannot be moved aside: {e}", chain(&damage)),
            };
            tracing::warn!("{warning}");
            warnings.push(warning);
            (journal, fault) = Journal::open(&path).await;
            found.keep_orders(&journal, now).await;
        }
        if let Some(fault) = &fault {
            tracing::warn!(
                journal = %path.display(), reason = chain(fault),
                "the journal cannot be opened; deciding and publishing go on without it"
            );
        }
        let state = found.state.unwrap_or_else(|| State::initial(policy));
        let (plan, signed, from) = newest(config, state_dir, found.plan, state.plan())?;
        tracing::info!(generation = plan.generation, from, "the agent takes up its last plan");
        let orders = OrderBook::restore(found.orders, now);
        let shadow = policy.mode(&orders.live(now).0, now) == Mode::Shadow;
        let state = match state.plan().clone() {
            // In shadow what is newer than our own is another agent's, and in force.
            replayed if shadow && replayed.generation > plan.generation => state.resume(&replayed),
            _ if plan.generation > 0 => resumed(state, &plan),
            _ => state,
        };
        Ok(Self {
            published: found.decision.filter(|decision| decision.generation == plan.generation),
            orders,
            journal,
            fault,
            warnings,
            plan,
            signed,
            state,
        })
    }
}

/// What a journal holds, as far as it can be read.
#[derive(Debug, Default)]
struct Found {
    plan: Option<SignedPlan>,
    decision: Option<Decision>,
    state: Option<State>,
    orders: Vec<(String, UnixMillis, String)>,
    damage: Option<JournalError>,
}

impl Found {
    async fn read(&mut self, journal: &Journal, policy: &Policy, now: UnixMillis) {
        self.plan = self.noted(journal.last_plan().await);
        let plan = self.plan.as_ref().and_then(|plan| serde_json::from_str(plan.plan.get()).ok());
        if let Some(Plan { generation, .. }) = plan {
            self.decision = self.noted(journal.decision_of(generation).await);
        }
        self.orders = self.noted(journal.orders(now).await);
        self.state = match journal.replay(policy).await {
            // Another version may have written it: the next entry begins a stretch that can be read.
            Err(e @ (JournalError::Json(_) | JournalError::Change(_))) => {
                tracing::warn!(
                    reason = chain(&e),
                    "the journal cannot be replayed; what was learned is learned anew"
                );
                None
            }
            read => self.noted(read),
        };
    }

    /// What was read. What cannot be read is done without, and damage is noted.
    fn noted<T: Default>(&mut self, read: Result<T, JournalError>) -> T {
        read.unwrap_or_else(|e| {
            tracing::debug!(reason = chain(&e), "the journal cannot be read");
            if e.is_damage() {
                self.damage.get_or_insert(e);
            }
            T::default()
        })
    }

    /// Writes the orders that a damaged journal still held to the one that took its place.
    async fn keep_orders(&self, journal: &Journal, now: UnixMillis) {
        for (subject, until, body) in &self.orders {
            let what = format!("{subject}: kept from a damaged journal");
            let audit = Audit { at: now, who: "the agent", what: &what };
            if let Err(e) = journal.order(subject, Some((*until, body)), audit).await {
                tracing::warn!(subject, reason = chain(&e), "an order cannot be kept");
            }
        }
    }
}

/// The newest of the journal's plan and those that the parts keep, and where it is from. Where both
/// are lost it is `replayed`, to which the journal's observations led, or else the initial plan.
fn newest(
    config: &Config,
    state_dir: &StateDir,
    journalled: Option<SignedPlan>,
    replayed: &Plan,
) -> Result<(Plan, SignedPlan, &'static str), AgentError> {
    let key = &state_dir.key;
    let sign = |plan: &Plan| SignedPlan::sign(plan, key).map_err(AgentError::Plan);
    let journalled = match journalled {
        None => None,
        Some(signed) => match signed.verify(&key.verifying_key()) {
            Ok(plan) => Some((plan, signed)),
            // The key was changed since. The journal is our own, so its plan is signed anew.
            Err(_) => match serde_json::from_str::<Plan>(signed.plan.get()) {
                Ok(plan) => {
                    let signed = sign(&plan)?;
                    Some((plan, signed))
                }
                Err(e) => {
                    tracing::warn!(error = %e, "the journal's last plan cannot be read");
                    None
                }
            },
        },
    };
    let kept = crate::kept::newest_plan(config, &key.verifying_key());
    let newest = [(kept, "the plans that parts keep"), (journalled, "the journal")]
        .into_iter()
        .filter_map(|(found, from)| found.map(|(plan, signed)| (plan, signed, from)))
        // The journal wins a tie, as `max_by_key` takes the last.
        .max_by_key(|(plan, ..)| plan.generation);
    if let Some(newest) = newest {
        return Ok(newest);
    }
    let (plan, from) = if replayed.generation > 0 {
        (replayed.clone(), "the journal's observations")
    } else {
        let sites = config.sites.iter().map(|site| site.id.clone());
        (Plan::initial(sites, config.dns.ttl_secs), "the configuration")
    };
    let signed = sign(&plan)?;
    Ok((plan, signed, from))
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
