//! The decisions of a journal computed again, and compared with what was decided, byte by byte.

use serde::Serialize;
use serde_json::Value;
use spillway_daemon::{Policy, Tick};
use spillway_decide::{Outcome, State, decide};
use spillway_model::UnixMillis;

/// Differences that are told one by one; more, when they are the first in a field.
const TOLD_MAX: usize = 20;

/// What it came to.
#[derive(Debug, Default, Serialize)]
pub(super) struct Checked {
    /// Decisions computed.
    pub(super) ticks: u64,
    /// Of them, those that are what was decided.
    pub(super) equal: u64,
    /// Those that are not.
    pub(super) different: u64,
    /// Those of which the journal has only what was seen.
    pub(super) undecided: u64,
    /// Observations that could not be replayed, as nothing before them is left.
    pub(super) skipped: u64,
    /// Times that the agent began anew, as it does after a start.
    pub(super) restarts: u64,
    /// The first of those that differ, and the first that differ in each field.
    pub(super) first_different: Vec<Difference>,
}

/// A decision that is not what was decided.
#[derive(Debug, Serialize)]
pub(super) struct Difference {
    /// When.
    pub(super) at: String,
    /// The fields of the decision that differ, as they were and as they were computed; `plan` is the plan.
    pub(super) fields: Vec<Field>,
}

#[derive(Debug, Serialize)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) decided: Value,
    pub(super) computed: Value,
}

/// One tick computed again.
pub(super) struct Step {
    /// What it began with.
    pub(super) state: State,
    pub(super) outcome: Outcome,
    /// Whether the agent began anew before it.
    pub(super) restarted: bool,
}

/// The agent of the time, again.
pub(super) struct Again {
    policy: Policy,
    state: Option<State>,
    /// Whether all since the last checkpoint is what was decided, so that a checkpoint that does not follow
    /// from it is the agent's own doing.
    faithful: bool,
    checked: Checked,
}

impl Again {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, state: None, faithful: false, checked: Checked::default() }
    }

    /// Computes a tick; `None` where nothing says what it began with. One that does not count is for the
    /// state alone.
    pub(super) fn step(&mut self, tick: &Tick, counts: bool) -> Option<Step> {
        let mut restarted = false;
        let before = self.state.take();
        let state = match (&tick.checkpoint, before) {
            (Some(checkpoint), before) => {
                restarted = self.faithful && before.is_some_and(|before| before != *checkpoint);
                self.faithful = true;
                checkpoint.clone()
            }
            (None, Some(before)) => before,
            (None, None) => {
                self.checked.skipped += 1;
                return None;
            }
        };
        let outcome = decide(&self.policy, &state, &tick.observation);
        let fields = different(tick, &outcome);
        self.faithful &= fields.is_empty();
        if counts {
            self.count(tick, fields, restarted);
        }
        Some(Step { state, outcome, restarted })
    }

    /// Goes on from a step.
    pub(super) fn keep(&mut self, step: Step) {
        self.state = Some(step.outcome.state);
    }

    fn count(&mut self, tick: &Tick, fields: Vec<Field>, restarted: bool) {
        let checked = &mut self.checked;
        checked.ticks += 1;
        checked.restarts += u64::from(restarted);
        if tick.decision.is_none() {
            checked.undecided += 1;
        } else if fields.is_empty() {
            checked.equal += 1;
        } else {
            checked.different += 1;
            let told = || checked.first_different.iter().flat_map(|one| &one.fields);
            let new = |field: &Field| told().all(|one| one.name != field.name);
            if checked.first_different.len() < TOLD_MAX || fields.iter().any(new) {
                let at: UnixMillis = tick.observation.at;
                checked.first_different.push(Difference { at: at.to_string(), fields });
            }
        }
    }

    pub(super) fn end(self) -> Checked {
        self.checked
    }
}

/// What differs between what was decided and what was computed; nothing where they are the same bytes.
fn different(tick: &Tick, outcome: &Outcome) -> Vec<Field> {
    let Some(decided) = &tick.decision else { return Vec::new() };
    let mut fields = Vec::new();
    let mut computed = outcome.decision.clone();
    // A quote within a sentence is escaped, so this is the field, which older decisions do not have.
    if !decided.contains(r#""sites":{"#) {
        computed.sites.clear();
    }
    // What cannot be written is no decision, and differs from any.
    let computed = serde_json::to_string(&computed).unwrap_or_default();
    if *decided != computed {
        fields = by_field(decided, &computed);
    }
    if let Some(decided) = &tick.plan {
        let computed = serde_json::to_string(&outcome.plan).unwrap_or_default();
        if *decided != computed {
            let (decided, computed) = (value(decided), value(&computed));
            fields.push(Field { name: "plan".to_owned(), decided, computed });
        }
    }
    fields
}

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|_| Value::String(json.to_owned()))
}

fn by_field(decided: &str, computed: &str) -> Vec<Field> {
    let (decided, computed) = (value(decided), value(computed));
    let names = [&decided, &computed].map(|value| value.as_object().map(|fields| fields.keys()));
    let mut names: Vec<String> = names.into_iter().flatten().flatten().cloned().collect();
    names.sort_unstable();
    names.dedup();
    let of = |value: &Value, name: &str| value.get(name).cloned().unwrap_or_default();
    let fields = names.into_iter().filter_map(|name| {
        let (decided, computed) = (of(&decided, &name), of(&computed, &name));
        (decided != computed).then_some(Field { name, decided, computed })
    });
    let fields: Vec<Field> = fields.collect();
    if fields.is_empty() {
        // The same values, written in another way.
        return vec![Field { name: "bytes".to_owned(), decided, computed }];
    }
    fields
}
