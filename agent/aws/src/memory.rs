//! What must be remembered from one look at AWS to the next, because AWS does not tell it at once:
//! launches whose answer was lost, instances that descriptions do not show yet, and failures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use spillway_model::UnixMillis;

use crate::act::{Act, Launch};
use crate::observed::{Health, InstanceState, Observed};

/// An instance that was launched is counted for so long though no description shows it,
const UNSEEN_SECS_MAX: u64 = 300;
/// and for so long after its launch no description is believed that one showed it for good: a later one
/// may be older.
const SHOWN_SECS: u64 = 60;
/// A rule's weights, and the group's size, are believed to be those that were sent for so long,
/// whatever a description says.
const SENT_SECS: u64 = 30;
/// A launch that is not wanted any more and whose outcome is unknown is forgotten after so long: what
/// it launched, if anything, is seen by then.
const UNKNOWN_SECS_MAX: u64 = 120;
/// First pause after a failure that may pass by itself; it doubles with each further one.
const PAUSE_SECS: u64 = 2;
/// First pause after a failure that needs a person.
const PAUSE_SECS_DENIED: u64 = 30;
/// Pause after warm environments or capacity were asked for: AWS may give up soon after it said yes.
const PROMISE_PAUSE_SECS: u64 = 30;
/// Longest pause.
const PAUSE_SECS_MAX: u64 = 300;
/// So often in a row what an act names may be missing before it is believed: descriptions lag.
const ABSENT_MAX: u32 = 3;

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// What a restart needs; the journal keeps it.
    pub kept: Kept,
    /// Since when instances have been seen outside of the target group.
    bare: BTreeMap<String, UnixMillis>,
    /// Since when targets have failed their checks.
    sick: BTreeMap<String, UnixMillis>,
    /// Kinds of acts that failed.
    held: BTreeMap<String, Held>,
    /// Instances launched lately that the last description did not show.
    unseen: usize,
}

/// What outlives the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Of this journal alone, so that two never make the same client token.
    pub seed: u64,
    /// Launches so far.
    pub launches: u64,
    /// The launch whose outcome is not known, and when it was last sent.
    pub launch: Option<(Launch, UnixMillis)>,
    /// Instances launched lately, and when.
    pub launched: BTreeMap<String, UnixMillis>,
    /// Weights that were sent lately, by rule, and when; `None` where it is not known whether they came
    /// to be.
    #[serde(default)]
    pub weighed: BTreeMap<String, (Option<BTreeMap<String, u32>>, UnixMillis)>,
    /// The largest size that the group was asked for lately, and when last.
    #[serde(default)]
    pub sized: Option<(u32, UnixMillis)>,
    /// Replicas that the cache had before any were added.
    pub cache_base: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Held {
    until: UnixMillis,
    failures: u32,
    /// Whether it does not pass by itself.
    lasting: bool,
}

/// How an act ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done; a launch gives the ids.
    Done(Vec<String>),
    /// It was not done, and may be soon.
    Failed,
    /// It was not done, for what it names is not there: not yet, not any more, or never.
    Absent,
    /// It was not done, and will not be until a person does something.
    Refused,
    /// Nobody knows whether it was done.
    Unknown,
}

impl Memory {
    /// Goes on from what the journal kept.
    #[must_use]
    pub fn new(kept: Kept) -> Self {
        Self { kept, ..Self::default() }
    }

    /// Takes note of what a look at AWS shows.
    pub(crate) fn look(&mut self, observed: &Observed) {
        let now = observed.at;
        if let Some(instances) = &observed.instances {
            let shown = |id: &str| instances.iter().any(|instance| instance.id == id);
            self.kept.launched.retain(|id, at| {
                now < at.plus_secs(if shown(id) { SHOWN_SECS } else { UNSEEN_SECS_MAX })
            });
            self.unseen = self.kept.launched.keys().filter(|id| !shown(id)).count();
            if let Some(targets) = &observed.targets {
                let ids = instances.iter().filter(|i| i.state != InstanceState::Ended);
                let bare = ids.map(|i| &i.id).filter(|id| !targets.contains_key(*id));
                since(&mut self.bare, bare, now);
                let sick = targets.iter().filter(|(_, health)| **health == Health::Unhealthy);
                since(&mut self.sick, sick.map(|(id, _)| id), now);
            }
        }
        self.kept.weighed.retain(|_, (_, at)| now < at.plus_secs(SENT_SECS));
        self.kept.sized = self.kept.sized.filter(|(_, at)| now < at.plus_secs(SENT_SECS));
        let long_over = |held: &Held| now >= held.until.plus_secs(2 * PAUSE_SECS_MAX);
        self.held.retain(|_, held| !long_over(held));
    }

    /// How many instances were launched that the last description did not show.
    pub(crate) fn unseen(&self) -> usize {
        self.unseen
    }

    /// Whether a description of a rule that shows these weights may be believed: it could be older than
    /// what was sent.
    pub(crate) fn agrees(&self, rule: &str, weights: &BTreeMap<String, u32>) -> bool {
        self.kept.weighed.get(rule).is_none_or(|(sent, _)| sent.as_ref() == Some(weights))
    }

    /// Takes note that an act is about to be carried out, before the journal does.
    pub fn begun(&mut self, act: &Act, now: UnixMillis) {
        match act {
            Act::Launch(launch) => {
                let known = self.kept.launch.as_ref().map(|(known, _)| known);
                self.kept.launches += u64::from(known != Some(launch));
                self.kept.launch = Some((launch.clone(), now));
            }
            Act::Weigh { rule, .. } => {
                self.kept.weighed.insert(rule.clone(), (None, now));
            }
            Act::SizeGroup { desired, .. } => {
                let most = self.kept.sized.map_or(0, |(most, _)| most).max(*desired);
                self.kept.sized = Some((most, now));
            }
            _ => {}
        }
    }

    /// Forgets an unwanted launch of unknown outcome once what it launched must have been seen.
    pub(crate) fn let_go_of_launch(&mut self, now: UnixMillis) {
        if self.kept.launch.as_ref().is_some_and(|(_, at)| now >= at.plus_secs(UNKNOWN_SECS_MAX)) {
            self.kept.launch = None;
        }
    }

    /// A launch with a client token that no other launch has.
    pub(crate) fn new_launch(&self, name: &str, count: u32) -> Launch {
        let Kept { seed, launches, .. } = self.kept;
        let digest = Sha256::digest(format!("{name}\n{seed}\n{launches}").as_bytes());
        let token: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let subnet = usize::try_from(launches).unwrap_or(0);
        Launch { token: format!("spillway-{token}"), count, subnet }
    }

    /// Whether an act of this kind may not be tried again yet.
    pub(crate) fn holds(&self, kind: &str, now: UnixMillis) -> bool {
        self.held.get(kind).is_some_and(|held| now < held.until)
    }

    /// Whether an act of this kind failed in a way that does not pass by itself.
    pub(crate) fn hindered(&self, kind: &str) -> bool {
        self.held.get(kind).is_some_and(|held| held.lasting)
    }

    /// Whether an instance has been outside of the target group for so long.
    pub(crate) fn bare_for(&self, id: &str, secs: u64, now: UnixMillis) -> bool {
        self.bare.get(id).is_some_and(|at| now >= at.plus_secs(secs))
    }

    /// Whether a target has failed its checks for so long.
    pub(crate) fn sick_for(&self, id: &str, secs: u64, now: UnixMillis) -> bool {
        self.sick.get(id).is_some_and(|at| now >= at.plus_secs(secs))
    }

    /// Takes note of how an act ended. `jitter` in `[0, 1)` spreads the pause after a failure.
    pub fn ended(&mut self, act: &Act, outcome: &Outcome, now: UnixMillis, jitter: f64) {
        let kind = act.kind();
        match (act, outcome) {
            (Act::Launch(_), Outcome::Done(ids)) => {
                self.kept.launch = None;
                self.kept.launched.extend(ids.iter().map(|id| (id.clone(), now)));
            }
            (Act::Launch(_), Outcome::Refused) => self.kept.launch = None,
            // An attempt of the same call may have succeeded with its answer lost.
            (Act::Launch(_), Outcome::Failed | Outcome::Absent | Outcome::Unknown) => {}
            (Act::End { instances }, Outcome::Done(_) | Outcome::Unknown) => {
                self.kept.launched.retain(|id, _| !instances.contains(id));
            }
            (Act::Weigh { rule, weights }, Outcome::Done(_)) => {
                self.kept.weighed.insert(rule.clone(), (Some(weights.clone()), now));
            }
            _ => {}
        }
        let first = match outcome {
            Outcome::Done(_) if matches!(act, Act::Provision { .. } | Act::Reserve { .. }) => {
                let until = now.plus_secs(PROMISE_PAUSE_SECS);
                self.held.insert(kind, Held { until, failures: 0, lasting: false });
                return;
            }
            Outcome::Done(_) => {
                self.held.remove(&kind);
                return;
            }
            Outcome::Failed | Outcome::Absent | Outcome::Unknown => PAUSE_SECS,
            Outcome::Refused => PAUSE_SECS_DENIED,
        };
        let failures = self.held.get(&kind).map_or(0, |held| held.failures);
        let secs = first.saturating_mul(1 << failures.min(16)).min(PAUSE_SECS_MAX);
        #[expect(clippy::cast_precision_loss, reason = "at most five minutes in milliseconds")]
        let millis = (secs * 1000) as f64 * (1.0 - 0.5 * jitter.clamp(0.0, 1.0));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and at most five minutes in milliseconds"
        )]
        let until = now.plus_millis(millis as u64);
        let failures = failures.saturating_add(1);
        let lasting = match outcome {
            Outcome::Refused => true,
            Outcome::Absent => failures >= ABSENT_MAX,
            Outcome::Done(_) | Outcome::Failed | Outcome::Unknown => false,
        };
        self.held.insert(kind, Held { until, failures, lasting });
    }
}

/// Keeps the time since when each of `ids` has been in a state, and forgets all others.
fn since<'a>(
    times: &mut BTreeMap<String, UnixMillis>,
    ids: impl Iterator<Item = &'a String>,
    now: UnixMillis,
) {
    let at = |id: &String| times.get(id).copied().unwrap_or(now);
    *times = ids.map(|id| (id.clone(), at(id))).collect();
}
