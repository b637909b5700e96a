//! The same observations under another configuration: what would have been instructed, beside what was.
//!
//! The observations stay those of the time: what other instructions would have brought about is not
//! simulated. Parts that acted on the plan of the time are taken to act on the other one.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use spillway_daemon::Policy;
use spillway_decide::{Observation, State, decide};
use spillway_model::api::SiteStatus;
use spillway_model::plan::SpillMode;
use spillway_model::{Plan, UnixMillis};

use super::again::Step;

/// A tick stands for at most so many times its usual time: for more, there was no agent.
const TICKS_MAX: u64 = 5;
/// Differences so close to one another are one.
const APART_MS: u64 = 10_000;
/// Spans of differences that are kept.
const SPANS_MAX: usize = 10_000;
/// A line that is filled to this part is full: a second is never filled exactly.
const FULL: f64 = 0.98;

/// The comparison.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    /// The other configuration.
    pub(super) config: String,
    /// Seconds compared.
    pub(super) seconds: f64,
    /// Those in which instructions differ.
    pub(super) seconds_different: f64,
    /// Those in which a site was over a limit, as it was observed: uplink, latency, or requests that failed.
    pub(super) seconds_over: f64,
    /// Those of both.
    pub(super) seconds_over_different: f64,
    /// Seconds at each tier, as decided and under the other configuration.
    pub(super) tier_seconds: BTreeMap<u8, Pair<f64>>,
    /// Each thing that a plan instructs, by name.
    pub(super) instructions: BTreeMap<String, Instruction>,
    /// When instructions differ, and how.
    pub(super) spans: Vec<Span>,
    /// Spans of differences beyond those.
    pub(super) spans_left_out: u64,
}

/// As it was, and as it would have been.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Pair<T> {
    pub(super) decided: T,
    pub(super) under: T,
}

/// One thing that plans instruct.
#[derive(Debug, Default, Serialize)]
pub(super) struct Instruction {
    #[serde(flatten)]
    pub(super) tracks: Pair<Track>,
    pub(super) seconds_different: f64,
}

/// A number over time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Track {
    pub(super) mean: f64,
    pub(super) most: f64,
    /// Times that it turned from rising to falling or back.
    pub(super) turns: u64,
    #[serde(skip)]
    last: Option<f64>,
    #[serde(skip)]
    direction: f64,
}

/// A time in which instructions differ.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Span {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) seconds: f64,
    /// The least and the most of each thing that differs.
    pub(super) different: BTreeMap<String, Pair<[f64; 2]>>,
    #[serde(skip)]
    ends: UnixMillis,
}

/// The other agent.
pub(super) struct Under {
    policy: Policy,
    state: Option<State>,
    tick_ms: u64,
    before: Option<UnixMillis>,
    compared: Compared,
}

impl Under {
    pub(super) fn new(config: String, policy: Policy, tick_ms: u64) -> Self {
        let compared = Compared {
            config,
            seconds: 0.0,
            seconds_different: 0.0,
            seconds_over: 0.0,
            seconds_over_different: 0.0,
            tier_seconds: BTreeMap::new(),
            instructions: BTreeMap::new(),
            spans: Vec::new(),
            spans_left_out: 0,
        };
        Self { policy, state: None, tick_ms, before: None, compared }
    }

    /// The tick that was computed again as `then`. It begins with the state of the time, and goes on with its
    /// own.
    pub(super) fn step(&mut self, observation: &Observation, then: &Step, counts: bool) {
        let state = match self.state.take() {
            None => then.state.clone(),
            Some(state) if then.restarted => {
                let plan = state.plan().clone();
                state.resume(&plan)
            }
            Some(state) => state,
        };
        let mut observation = observation.clone();
        let (of_the_time, own) = (then.state.plan().generation, state.plan().generation);
        for load in &mut observation.loads {
            let behind = of_the_time.saturating_sub(load.generation);
            load.generation = own.saturating_sub(behind);
        }
        let outcome = decide(&self.policy, &state, &observation);
        let at = observation.at;
        let usual = self.tick_ms.max(1);
        let before = self.before.replace(at);
        if counts {
            let millis = before.map_or(usual, |before| at.millis_since(before));
            let secs = millis.clamp(1, TICKS_MAX * usual) as f64 / 1000.0;
            let over = then.outcome.sites.values().any(over);
            let plans = Pair { decided: &then.outcome.plan, under: &outcome.plan };
            self.compared.add(at, secs, over, &plans);
        }
        self.state = Some(outcome.state);
    }

    pub(super) fn end(self) -> Compared {
        let mut compared = self.compared;
        let secs = compared.seconds.max(f64::MIN_POSITIVE);
        for instruction in compared.instructions.values_mut() {
            for track in [&mut instruction.tracks.decided, &mut instruction.tracks.under] {
                track.mean /= secs;
            }
        }
        compared
    }
}

impl Compared {
    fn add(&mut self, at: UnixMillis, secs: f64, over: bool, plans: &Pair<&Plan>) {
        self.seconds += secs;
        for (tier, side) in [(plans.decided.tier, true), (plans.under.tier, false)] {
            let seconds = self.tier_seconds.entry(tier.into()).or_default();
            *(if side { &mut seconds.decided } else { &mut seconds.under }) += secs;
        }
        let decided = instructions(plans.decided, at);
        let under = instructions(plans.under, at);
        let names: BTreeSet<&String> =
            decided.keys().chain(under.keys()).chain(self.instructions.keys()).collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let mut different = BTreeMap::new();
        for name in names {
            let value = |of: &BTreeMap<String, f64>| of.get(&name).copied().unwrap_or(0.0);
            let (decided, under) = (value(&decided), value(&under));
            let instruction = self.instructions.entry(name.clone()).or_default();
            instruction.tracks.decided.push(decided, secs);
            instruction.tracks.under.push(under, secs);
            if decided != under {
                instruction.seconds_different += secs;
                different.insert(name, Pair { decided: [decided; 2], under: [under; 2] });
            }
        }
        let differs = !different.is_empty();
        self.seconds_different += if differs { secs } else { 0.0 };
        self.seconds_over += if over { secs } else { 0.0 };
        self.seconds_over_different += if over && differs { secs } else { 0.0 };
        if differs {
            self.span(at, secs, different);
        }
    }

    fn span(&mut self, at: UnixMillis, secs: f64, different: BTreeMap<String, Pair<[f64; 2]>>) {
        let near = |span: &&mut Span| at.millis_since(span.ends) <= APART_MS;
        if let Some(span) = self.spans.last_mut().filter(near) {
            span.ends = at;
            span.to = at.to_string();
            span.seconds += secs;
            for (name, values) in different {
                span.different
                    .entry(name)
                    .and_modify(|kept| {
                        widen(&mut kept.decided, values.decided);
                        widen(&mut kept.under, values.under);
                    })
                    .or_insert(values);
            }
        } else if self.spans.len() < SPANS_MAX {
            let (from, to) = (at.to_string(), at.to_string());
            self.spans.push(Span { from, to, seconds: secs, different, ends: at });
        } else {
            self.spans_left_out += 1;
        }
    }
}

impl Track {
    fn push(&mut self, value: f64, secs: f64) {
        // A sum until the end.
        self.mean += value * secs;
        self.most = self.most.max(value);
        let change = self.last.map_or(0.0, |last| value - last);
        if change != 0.0 {
            self.turns += u64::from(self.direction * change < 0.0);
            self.direction = change;
        }
        self.last = Some(value);
    }
}

fn widen(kept: &mut [f64; 2], [least, most]: [f64; 2]) {
    *kept = [kept[0].min(least), kept[1].max(most)];
}

/// Whether a site was over a limit.
fn over(site: &SiteStatus) -> bool {
    let full = site.uplink_cap_bits_per_sec * FULL;
    site.failed_per_sec > 0.0
        || site.p95_ms.is_some_and(|p95| p95 > site.p95_limit_ms)
        || (full > 0.0 && site.uplink_bits_per_sec >= full)
}

/// All that a plan instructs, as numbers by name. What is not there is 0.
fn instructions(plan: &Plan, at: UnixMillis) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::from([("tier".to_owned(), f64::from(u8::from(plan.tier)))]);
    for (id, site) in &plan.sites {
        all.insert(format!("share of {id}"), site.share.get());
        all.insert(format!("proxying at {id}"), f64::from(u8::from(site.mode == SpillMode::Proxy)));
    }
    let knobs = plan.knobs.keys().filter(|knob| plan.knob_on(knob, at));
    all.extend(knobs.map(|knob| (format!("knob {knob}"), 1.0)));
    let fleet = &plan.fleet;
    let warm = fleet.provisioned.iter();
    all.extend(
        warm.map(|(name, count)| (format!("warm environments of {name}"), f64::from(*count))),
    );
    let counts = [
        ("cloud gateways", fleet.gateways),
        ("percent to cloud gateways", u32::from(fleet.gateway_percent)),
        ("cache replicas", fleet.cache_replicas),
        ("database replicas", fleet.database_replicas),
        ("capacity units", fleet.capacity_units),
    ];
    all.extend(counts.map(|(name, count)| (name.to_owned(), f64::from(count))));
    // What is never anything else than 0 is not worth a line.
    all.retain(|name, value| *value != 0.0 || name.starts_with("share") || name == "tier");
    all
}
