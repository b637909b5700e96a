//! Runs of all policies over one demand.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;
use spillway_model::config::Problems;

use crate::agent::Agent;
use crate::clairvoyant::Clairvoyant;
use crate::demand::{Demand, Second};
use crate::frontier::{Frontier, Sweep};
use crate::peers::{Dial, Policy};
use crate::policy::{Bounds, Scaler, Seen};
use crate::setting::Setting;
use crate::tally::{Course, Outcome, Tally};
use crate::world::{Control, Happened, Split, World};

/// What a second over the limit is priced at when a policy is tuned, in dollars.
pub const OVER_USD: f64 = 1.0;
/// Before the first second, all policies but the clairvoyant have an hour that is like it, which counts for
/// nothing: nobody is judged by how it starts from nothing.
const BEFORE_SECS: u64 = 3600;
/// Seconds between two words on how far a run is.
const TELL_SECS: u64 = 250_000;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Each once.
    pub policies: Vec<Policy>,
    /// Whether to run each peer with other settings than its default, and to tell the best: the one with
    /// the least of its cost and [`OVER_USD`] for each second over the limit.
    pub tune: bool,
    /// Settings of Spillway's agent to be run with one value after the other, beside the policies.
    pub sweep: Option<Sweep>,
    /// Of boot times and of who asks; the demand has its own.
    pub seed: u64,
    /// How many runs at a time. The result does not depend on it.
    pub workers: usize,
}

/// How far it is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Runs that have ended, of so many.
    pub ended: usize,
    /// All runs.
    pub runs: usize,
    /// What was just told of, and the part of it that is done.
    pub policy: Policy,
    /// See above.
    pub part: f64,
}

/// What came of all runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Results {
    /// By name; NAME-tuned is the best setting of NAME.
    pub policies: BTreeMap<String, Outcome>,
    /// What those are set to.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tuned: BTreeMap<String, String>,
    /// What the values of the sweep came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frontier: Option<Frontier>,
    /// For the eye.
    #[serde(skip)]
    pub courses: BTreeMap<String, Course>,
}

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The world makes no configuration for the agent.
    #[error("the simulated site has no valid configuration")]
    Setting(#[source] Problems),
    /// A value of the sweep makes none.
    #[error("`[agent]` cannot be set to {settings} = {value}")]
    Value {
        /// What was to be set.
        settings: String,
        /// To what.
        value: f64,
        /// In the configuration of the simulated site.
        #[source]
        source: Problems,
    },
    /// A run ended without a result.
    #[error("a run of {0} did not end")]
    Lost(Policy),
}

/// One run to be done.
#[derive(Debug, Clone, Copy)]
struct Job {
    policy: Policy,
    dial: Option<Dial>,
    /// A value of the sweep, of Spillway alone.
    value: Option<f64>,
}

type Ran = Result<(Outcome, Course), Problems>;

/// Runs all policies over `demand`, whose highest per-second mean is `peak`.
///
/// # Errors
/// When `base` is no world, or a value of the sweep none for the agent.
pub fn simulate(
    demand: &Demand,
    base: &Setting,
    peak: f64,
    options: &Options,
    told: &(dyn Fn(&Progress) + Sync),
) -> Result<Results, SimulateError> {
    let mut jobs: Vec<Job> =
        options.policies.iter().flat_map(|policy| jobs(*policy, options.tune)).collect();
    let values = options.sweep.iter().flat_map(|sweep| &sweep.values);
    jobs.extend(values.map(|value| Job {
        policy: Policy::Spillway,
        dial: None,
        value: Some(*value),
    }));
    let done: Mutex<Vec<Option<Ran>>> = Mutex::new(vec![None; jobs.len()]);
    let (next, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..options.workers.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let place = jobs.iter().position(|other| std::ptr::eq(other, job));
                    let tell = |part: f64| {
                        let ended = ended.load(Ordering::Relaxed);
                        told(&Progress { ended, runs: jobs.len(), policy: job.policy, part });
                    };
                    let swept = options.sweep.as_ref().zip(job.value);
                    let setting = swept.map(|(sweep, value)| sweep.apply(base, value));
                    let setting = setting.as_ref().unwrap_or(base);
                    let ran = run(demand, setting, peak, job, options.seed, &tell);
                    if let Ok(mut done) = done.lock()
                        && let Some(slot) = place.and_then(|place| done.get_mut(place))
                    {
                        *slot = Some(ran);
                    }
                    ended.fetch_add(1, Ordering::Relaxed);
                    tell(1.0);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    collect(&jobs, done, options.sweep.as_ref())
}

fn jobs(policy: Policy, tune: bool) -> Vec<Job> {
    let dials = policy.settings();
    if !tune || dials.is_empty() {
        return vec![Job { policy, dial: dials.first().copied(), value: None }];
    }
    dials.into_iter().map(|dial| Job { policy, dial: Some(dial), value: None }).collect()
}

/// The first run of each policy is its default; of all its runs, the best is the tuned one.
fn collect(
    jobs: &[Job],
    done: Vec<Option<Ran>>,
    sweep: Option<&Sweep>,
) -> Result<Results, SimulateError> {
    let mut results = Results {
        policies: BTreeMap::new(),
        tuned: BTreeMap::new(),
        frontier: None,
        courses: BTreeMap::new(),
    };
    let mut swept = Vec::new();
    let mut best: BTreeMap<Policy, (f64, Job, Outcome, Course)> = BTreeMap::new();
    for (job, ran) in jobs.iter().zip(done) {
        let ran = ran.ok_or(SimulateError::Lost(job.policy))?;
        if let (Some(value), Some(sweep)) = (job.value, sweep) {
            let settings = sweep.settings.join(", ");
            let ran = ran.map_err(|source| SimulateError::Value { settings, value, source })?;
            swept.push((value, ran.0));
            continue;
        }
        let (outcome, course) = ran.map_err(SimulateError::Setting)?;
        let name = job.policy.name().to_owned();
        results.policies.entry(name.clone()).or_insert_with(|| outcome.clone());
        results.courses.entry(name).or_insert_with(|| course.clone());
        let price = outcome.cost_usd + OVER_USD * outcome.seconds_over as f64;
        if best.get(&job.policy).is_none_or(|(least, ..)| price < *least) {
            best.insert(job.policy, (price, *job, outcome, course));
        }
    }
    for (policy, (_, job, outcome, course)) in best {
        let runs = jobs.iter().filter(|job| job.policy == policy).count();
        if let Some(dial) = job.dial.filter(|_| runs > 1) {
            let name = format!("{policy}-tuned");
            results.policies.insert(name.clone(), outcome);
            results.courses.insert(name.clone(), course);
            results.tuned.insert(name, dial.to_string());
        }
    }
    results.frontier = sweep.map(|sweep| Frontier::new(sweep, swept));
    Ok(results)
}

/// Who decides in a run.
enum Driver<'a> {
    Agent(Box<Agent>),
    Clairvoyant(Clairvoyant<'a>),
    Scaler { scaler: Box<dyn Scaler>, wanted: u32, bounds: Bounds },
}

fn run(
    demand: &Demand,
    setting: &Setting,
    peak: f64,
    job: &Job,
    seed: u64,
    tell: &dyn Fn(f64),
) -> Ran {
    let bounds = Bounds::of(setting);
    let mut driver = match job.policy.scaler(job.dial, bounds, peak) {
        Some(scaler) => Driver::Scaler { scaler, wanted: bounds.min, bounds },
        None if job.policy == Policy::Clairvoyant => {
            Driver::Clairvoyant(Clairvoyant::new(demand, setting))
        }
        None => Driver::Agent(Box::new(Agent::new(setting)?)),
    };
    let mut world = World::new(setting, seed);
    let secs = demand.secs();
    if job.policy != Policy::Clairvoyant {
        for (at, second) in (1..).zip(demand.before(BEFORE_SECS)) {
            driver.play(&mut world, at, second);
        }
    }
    let mut tally = Tally::new(setting, secs, &world);
    for (at, second) in (1..).zip(demand.seconds()) {
        let (control, happened) = driver.play(&mut world, BEFORE_SECS + at, second);
        tally.add(&happened, &control);
        if at % TELL_SECS == 0 {
            tell(at as f64 / secs as f64);
        }
    }
    Ok(tally.end(&world))
}

impl Driver<'_> {
    /// Second `at`: what is in force, what happened, and what is decided on that.
    fn play(&mut self, world: &mut World, at: u64, second: Second) -> (Control, Happened) {
        let control = match self {
            Self::Agent(agent) => agent.control(),
            Self::Clairvoyant(clairvoyant) => {
                Control { ec2: clairvoyant.advance(), split: Split::Fill }
            }
            Self::Scaler { wanted, bounds, .. } => {
                Control { ec2: *wanted - bounds.min, split: Split::Pool }
            }
        };
        let happened = world.step(second, &control);
        match self {
            Self::Agent(agent) => agent.step(at, &happened, world),
            Self::Clairvoyant(_) => {}
            Self::Scaler { scaler, wanted, bounds } => {
                let seen = Seen {
                    at,
                    arrivals: happened.arrivals as f64,
                    ready: bounds.min + happened.ready,
                    busy: happened.busy,
                    wanted: *wanted,
                };
                *wanted = scaler.step(&seen).clamp(bounds.min, bounds.max);
            }
        }
        (control, happened)
    }
}
