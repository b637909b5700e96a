//! What a deployment does next: a pure function of what AWS has, what is wanted, and what this process
//! has learned. One call at a time, so that it can be killed between any two.
//!
//! ```text
//!   upload all ─▶ publish all ─▶ smoke all ─▶ shift all by a step ─▶ hold, watch ─▶ … ─▶ settle, delete old ones
//!                                    │                 ▲    │             │
//!                                    ▼                 └────┼─────────────┘
//!                                  failed ◀─────────────────┘  all weights are taken away
//! ```
//!
//! What was moved whole is marked so in AWS until it is settled, that is until all steps were held: who goes
//! on where another process was killed watches it, and takes it back, as that one would have.
//!
//! Functions of one program belong together: all of them are shifted in step, and if one does worse, all
//! of them go back.

use std::collections::{BTreeMap, BTreeSet};

use spillway_model::UnixMillis;

use super::act::{Act, Did};
use super::judge;
use super::seen::{Function, Moving, Readiness, Seen};

/// Lambda takes new code within.
const UPDATE_SECS_MAX: u64 = 300;
/// CloudWatch shows a minute this much later at most; for so long a step is held until it does.
const FIGURES_SECS_MAX: u64 = 180;
/// A step counts as shown when a minute is shown of which so much was after its beginning.
const SHOWN_SECS: u64 = 30;
/// So many invocations of the new version must be expected before figures are waited for.
const EXPECTED_MIN: f64 = 5.0;
/// Minutes before a canary that it is compared with.
pub(crate) const BEFORE_MINS: u64 = 10;
/// A canary goes back when it could not be watched for this long.
const BLIND_SECS_MAX: u64 = 120;
/// A canary that is gone on with is judged by at most so much of what it did before.
const RESUMED_SECS_MAX: u64 = 900;
/// What was moved for this long, and twice a step's hold, is no deployment that is gone on with.
const UNSETTLED_SECS_MAX: u64 = 3600;
/// AWS has the environments of a new version warm within.
const WARM_SECS_MAX: u64 = 900;
/// So often the same call is made one time after the other that AWS says to have done.
const SAME_MAX: u32 = 5;

/// What a deployment is to reach.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Digest of each function's code, by the configuration's name.
    pub functions: BTreeMap<String, String>,
    /// Percentages of requests that new versions are given one after the other; the last is 100.
    pub steps: Vec<u8>,
    /// How long each step is held, in seconds; with 0 nothing is watched.
    pub hold_secs: u64,
    /// How many of the newest versions are kept.
    pub keep: usize,
}

/// What a process has learned and done. It can be lost at any time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// The version that has the wanted code and configuration.
    pub published: BTreeMap<String, u32>,
    /// What the smoke invocation of a version gave.
    smoked: Smoked,
    /// Functions whose code was once seen to be the wanted one.
    uploaded: BTreeSet<String>,
    /// Revision of each alias after the last change that is known to be ours.
    revisions: BTreeMap<String, String>,
    /// The percentage that each new version was given last.
    given: BTreeMap<String, u8>,
    /// The shift of requests, once it has begun.
    pub shift: Option<Shift>,
    /// Why everything goes back.
    pub failed: Option<String>,
    /// Whether all steps were held: from then on nothing is a reason to go back.
    pub over: bool,
    /// Functions that could not be settled: the next deployment does it.
    unsettleable: BTreeSet<String>,
    /// Versions that could not be deleted.
    undeletable: BTreeSet<(String, u32)>,
    /// Since when Lambda has been taking code.
    busy_since: Option<UnixMillis>,
    /// Since when CloudWatch could not be read.
    blind_since: Option<UnixMillis>,
    /// The last call, and how often it was made one time after the other.
    last: Option<(Act, u32)>,
}

/// What smoke invocations gave, by function and version: what was wrong with the answer, if anything.
type Smoked = BTreeMap<(String, u32), Result<(), String>>;

/// A shift of requests to new versions.
#[derive(Debug, Clone)]
pub(crate) struct Shift {
    /// The functions of it, and the version that each had.
    pub old: BTreeMap<String, u32>,
    /// Which of the steps.
    pub stage: usize,
    /// Since when all functions have been at it.
    pub since: Option<UnixMillis>,
    /// Since when requests have been shifted.
    pub begun: UnixMillis,
    /// When a function was moved whole.
    pub moved: BTreeMap<String, UnixMillis>,
    /// Since when the alias that remembers says that a function is moving.
    marked: BTreeMap<String, UnixMillis>,
    /// Alarms that were on before.
    alarms: BTreeMap<String, UnixMillis>,
}

/// What is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// This, and then look again.
    Do(Act),
    /// Nothing yet: look again in a while.
    Wait(Waiting),
    /// It is as wanted.
    Done,
    /// It failed for this reason, and nothing of it is given requests any more.
    Back(String),
    /// It cannot go on, for this reason, and leaves everything as it is.
    Stopped(String),
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Lambda takes the code of these functions.
    Update(Vec<String>),
    /// A step is held.
    Hold {
        /// The step.
        percent: u8,
        /// For so many seconds more.
        left_secs: u64,
    },
    /// CloudWatch does not show yet what came of a step.
    Figures {
        /// The step.
        percent: u8,
    },
    /// CloudWatch cannot be read.
    CloudWatch,
}

impl Progress {
    /// Takes note of what came of an act.
    pub(crate) fn did(&mut self, act: &Act, did: Did, seen: &Seen) {
        self.last = Some((act.clone(), self.times(act) + 1));
        let revision =
            |function: &str| seen.functions.get(function).map(|f| f.alias.revision.clone());
        match (act, did) {
            (Act::Publish { function }, Did::Published(version)) => {
                self.published.insert(function.clone(), version);
            }
            (Act::Smoke { function, version }, Did::Smoked(result)) => {
                self.smoked.insert((function.clone(), *version), result);
            }
            (
                Act::Weigh { function, .. }
                | Act::Move { function, .. }
                | Act::Withdraw { function },
                _,
            ) => {
                self.revisions.extend(revision(function).map(|it| (function.clone(), it)));
                let given = match act {
                    Act::Weigh { percent, .. } => *percent,
                    Act::Move { .. } => 100,
                    _ => 0,
                };
                self.given.insert(function.clone(), given);
                if let (Act::Move { .. }, Some(shift)) = (act, &mut self.shift) {
                    shift.moved.insert(function.clone(), seen.at);
                }
            }
            _ => {}
        }
    }

    /// What is moving could not be said to be settled; that is no reason to fail either.
    pub(crate) fn cannot_settle(&mut self, function: &str) {
        self.unsettleable.insert(function.to_owned());
    }

    /// How often an act was just done.
    fn times(&self, act: &Act) -> u32 {
        self.last.as_ref().filter(|(last, _)| last == act).map_or(0, |(_, times)| *times)
    }

    /// An old version could not be deleted; that is no reason to fail.
    pub(crate) fn cannot_delete(&mut self, function: &str, version: u32) {
        self.undeletable.insert((function.to_owned(), version));
    }

    /// The functions that are being shifted and have been given requests.
    #[must_use]
    pub(crate) fn watched(&self) -> Vec<(String, u32)> {
        let functions = self.shift.iter().flat_map(|shift| shift.old.keys());
        functions.filter_map(|f| Some((f.clone(), *self.published.get(f)?))).collect()
    }
}

/// Decides.
pub(crate) fn next(wanted: &Wanted, seen: &Seen, progress: &mut Progress) -> Step {
    let step = decided(wanted, seen, progress);
    let Step::Do(act) = &step else { return step };
    if progress.times(act) < SAME_MAX {
        return step;
    }
    let what = format!("AWS says to have done this for {}, and has not: {act}", act.function());
    if progress.failed.is_some() {
        return Step::Stopped(what);
    }
    progress.failed = Some(what);
    next(wanted, seen, progress)
}

fn decided(wanted: &Wanted, seen: &Seen, progress: &mut Progress) -> Step {
    if let Some(stopped) = others(wanted, seen, progress) {
        return stopped;
    }
    if progress.over {
        let step = settle(wanted, seen, progress).or_else(|| clean(wanted, seen, progress));
        return step.unwrap_or(Step::Done);
    }
    if progress.failed.is_none() {
        progress.failed = against(wanted, seen, progress);
    }
    if let Some(reason) = progress.failed.clone() {
        return back(wanted, seen, progress).map_or(Step::Back(reason), Step::Do);
    }
    let step = upload(wanted, seen, progress)
        .or_else(|| publish(wanted, progress))
        .or_else(|| smoke(wanted, seen, progress))
        .or_else(|| shift(wanted, seen, progress));
    let Some(step) = step else {
        progress.over = true;
        return decided(wanted, seen, progress);
    };
    // A verdict that fell just now is acted on at once.
    if progress.failed.is_some() { decided(wanted, seen, progress) } else { step }
}

fn functions<'a>(
    wanted: &'a Wanted,
    seen: &'a Seen,
) -> impl Iterator<Item = (&'a String, &'a String, &'a Function)> {
    wanted.functions.iter().filter_map(|(name, sha)| Some((name, sha, seen.functions.get(name)?)))
}

/// Whether the new version has all requests. Beside warm environments AWS shifts them itself, by weights
/// of its own.
fn there(function: &Function, version: u32) -> bool {
    let alias = &function.alias;
    alias.version == version && (alias.weighed.is_none() || function.warm > 0)
}

/// The version that all requests were moved away from, and since when, where a deployment that has not ended
/// gave them to the new one.
fn moved(wanted: &Wanted, seen: &Seen, function: &Function, new: u32) -> Option<(u32, UnixMillis)> {
    let since = function.moving.filter(|_| function.is_unsettled())?.since;
    let ends = since.plus_secs(UNSETTLED_SECS_MAX + 2 * wanted.hold_secs);
    let going_on = function.alias.version == new && seen.at < ends;
    going_on.then_some((function.before?, since))
}

/// Whether a version is known to fail its smoke invocation.
fn fails(smoked: &Smoked, name: &str, version: u32) -> bool {
    matches!(smoked.get(&(name.to_owned(), version)), Some(Err(_)))
}

/// Another deployment at work.
fn others(wanted: &Wanted, seen: &Seen, progress: &mut Progress) -> Option<Step> {
    for (name, sha, function) in functions(wanted, seen) {
        let revision = &function.alias.revision;
        let known = progress.revisions.entry(name.clone()).or_insert_with(|| revision.clone());
        if known != revision && function.warm == 0 {
            let what = format!("the alias of {name} was changed by another deployment");
            return Some(Step::Stopped(what));
        }
        known.clone_from(revision);
        // What was given and is gone again was taken away by somebody who wants it so.
        if let (Some(given), Some(new), None) =
            (progress.given.get(name), progress.published.get(name), &progress.failed)
            && function.warm == 0
            && function.alias.percent(*new) < *given
        {
            let what = format!("requests were taken from version {new} of {name} by somebody else");
            return Some(Step::Stopped(what));
        }
        if *sha == function.sha {
            progress.uploaded.insert(name.clone());
        } else if progress.uploaded.contains(name) && !progress.published.contains_key(name) {
            let what = format!("the code of {name} was replaced by another deployment");
            return Some(Step::Stopped(what));
        }
    }
    None
}

/// What speaks against going on.
fn against(wanted: &Wanted, seen: &Seen, progress: &mut Progress) -> Option<String> {
    for ((name, version), result) in &progress.smoked {
        let new = progress.published.get(name) == Some(version);
        if let (true, Err(why)) = (new, result) {
            return Some(format!("version {version} of {name} fails its smoke invocation: {why}"));
        }
    }
    let shift = progress.shift.as_ref().filter(|_| wanted.hold_secs > 0)?;
    if let Some(alarm) = judge::new_alarms(seen, &shift.alarms).first() {
        return Some(format!("alarm {alarm} went on"));
    }
    for (name, old) in &shift.old {
        if fails(&progress.smoked, name, *old) {
            continue;
        }
        let figures = seen.figures.as_ref().and_then(|figures| figures.get(name));
        if let Some(why) = figures.and_then(judge::worse) {
            return Some(format!("the new version of {name} does worse: {why}"));
        }
    }
    if seen.alarms.is_some() && seen.figures.is_some() {
        progress.blind_since = None;
        return None;
    }
    let since = *progress.blind_since.get_or_insert(seen.at);
    (seen.at >= since.plus_secs(BLIND_SECS_MAX))
        .then(|| "CloudWatch cannot be read, so nobody would notice".to_owned())
}

/// What is still to be taken back.
fn back(wanted: &Wanted, seen: &Seen, progress: &Progress) -> Option<Act> {
    functions(wanted, seen).find_map(|(name, _, function)| {
        let new = *progress.published.get(name)?;
        let function_name = || name.clone();
        if function.alias.weighed.is_some_and(|(version, _)| version == new) {
            return Some(Act::Withdraw { function: function_name() });
        }
        let watched = progress.shift.as_ref().and_then(|shift| shift.old.get(name).copied());
        let watched = watched.filter(|old| *old != new && function.alias.version == new);
        let another = || moved(wanted, seen, function, new).map(|(old, _)| old);
        if let Some(old) = watched.or_else(another) {
            return Some(Act::Move { function: function_name(), version: old });
        }
        // What a rollback would go back to is again what it was.
        let back = function.moving.is_some() && function.before == Some(function.alias.version);
        let version = function.earlier().filter(|version| function.versions.contains_key(version));
        let version = version.filter(|_| back)?;
        Some(Act::Remember { function: function_name(), version, moving: None })
    })
}

fn upload(wanted: &Wanted, seen: &Seen, progress: &mut Progress) -> Option<Step> {
    let mut busy = Vec::new();
    for (name, sha, function) in functions(wanted, seen) {
        if progress.published.contains_key(name) {
            continue;
        }
        match &function.readiness {
            Readiness::Busy => busy.push(name.clone()),
            _ if function.sha != *sha => {
                return Some(Step::Do(Act::Upload { function: name.clone() }));
            }
            Readiness::Failed(why) => {
                progress.failed = Some(format!("Lambda could not take the code of {name}: {why}"));
                return Some(Step::Wait(Waiting::Update(vec![name.clone()])));
            }
            Readiness::Ready => {}
        }
    }
    if busy.is_empty() {
        progress.busy_since = None;
        return None;
    }
    let since = *progress.busy_since.get_or_insert(seen.at);
    if seen.at >= since.plus_secs(UPDATE_SECS_MAX) {
        progress.failed = Some(format!(
            "Lambda is not done with {} after {UPDATE_SECS_MAX} seconds",
            busy.join(", ")
        ));
    }
    Some(Step::Wait(Waiting::Update(busy)))
}

/// Each time, for it is the same version as long as nothing was changed, memory and variables included.
fn publish(wanted: &Wanted, progress: &Progress) -> Option<Step> {
    let name = wanted.functions.keys().find(|name| !progress.published.contains_key(*name))?;
    Some(Step::Do(Act::Publish { function: name.clone() }))
}

/// The new version before it is given anything. And the old one, once: where that does not pass either,
/// there is nothing to compare with and nothing to lose.
fn smoke(wanted: &Wanted, seen: &Seen, progress: &Progress) -> Option<Step> {
    if progress.shift.is_some() {
        return None;
    }
    let canary = wanted.steps.first() != Some(&100);
    let changing = |version: &dyn Fn(&String, &Function) -> Option<u32>| {
        functions(wanted, seen).find_map(|(name, _, function)| {
            let new = *progress.published.get(name)?;
            let version = version(name, function).filter(|_| !there(function, new))?;
            let unknown = !progress.smoked.contains_key(&(name.clone(), version));
            unknown.then(|| Step::Do(Act::Smoke { function: name.clone(), version }))
        })
    };
    changing(&|name, _| progress.published.get(name).copied())
        .or_else(|| changing(&|_, function| canary.then_some(function.alias.version)))
}

fn shift(wanted: &Wanted, seen: &Seen, progress: &mut Progress) -> Option<Step> {
    let watched = wanted.hold_secs > 0;
    if progress.shift.is_none() {
        match begin(wanted, seen, progress) {
            Ok(Some(shift)) => progress.shift = Some(shift),
            Ok(None) => return None,
            Err(step) => return Some(step),
        }
    }
    let shift = progress.shift.as_mut()?;
    let percent = *wanted.steps.get(shift.stage)?;
    for (name, old) in &shift.old {
        let (Some(function), Some(new)) = (seen.functions.get(name), progress.published.get(name))
        else {
            continue;
        };
        let percent = if fails(&progress.smoked, name, *old) { 100 } else { percent };
        let since = shift.marked.get(name).copied().unwrap_or(seen.at);
        let act = towards(name, function, *new, percent, since);
        if let Some(act) = act {
            shift.since = None;
            if matches!(act, Act::Remember { .. }) {
                shift.marked.insert(name.clone(), since);
            }
            return Some(Step::Do(act));
        }
    }
    if let Some((name, since)) = shift.moved.iter().find(|(name, _)| {
        watched
            && seen
                .functions
                .get(*name)
                .is_some_and(|function| function.warm > 0 && function.alias.weighed.is_some())
    }) {
        // Beside warm environments AWS gives the new version nothing before its own are warm.
        if seen.at >= since.plus_secs(WARM_SECS_MAX) {
            let what =
                format!("AWS has not warmed the new version of {name} in {WARM_SECS_MAX} seconds");
            progress.failed = Some(what);
        }
        return Some(Step::Wait(Waiting::Hold { percent, left_secs: wanted.hold_secs }));
    }
    let since = *shift.since.get_or_insert(seen.at);
    if watched {
        let ends = since.plus_secs(wanted.hold_secs);
        if seen.at < ends {
            let left_secs = (ends.0 - seen.at.0).div_ceil(1000);
            return Some(Step::Wait(Waiting::Hold { percent, left_secs }));
        }
        if seen.alarms.is_none() || seen.figures.is_none() {
            return Some(Step::Wait(Waiting::CloudWatch));
        }
        if seen.at < ends.plus_secs(FIGURES_SECS_MAX) && !shown(wanted, seen, shift, percent, since)
        {
            return Some(Step::Wait(Waiting::Figures { percent }));
        }
    }
    shift.stage += 1;
    shift.since = None;
    self::shift(wanted, seen, progress)
}

/// The next call on the way to a percentage; `since` is when the function is said to have been moved.
fn towards(
    name: &str,
    function: &Function,
    new: u32,
    percent: u8,
    since: UnixMillis,
) -> Option<Act> {
    let (alias, name) = (&function.alias, name.to_owned());
    let moving = Some(Moving { since, after: function.earlier() });
    if there(function, new) {
        None
    } else if percent < 100 {
        let less = alias.percent(new) < percent;
        less.then_some(Act::Weigh { function: name, version: new, percent })
    } else if alias.version != new
        && (function.before, function.moving) != (Some(alias.version), moving)
    {
        Some(Act::Remember { function: name, version: alias.version, moving })
    } else {
        Some(Act::Move { function: name, version: new })
    }
}

/// The shift at its beginning, or where one that was killed has come to; `None` when there is nothing to
/// shift.
fn begin(wanted: &Wanted, seen: &Seen, progress: &mut Progress) -> Result<Option<Shift>, Step> {
    let mut shift = Shift {
        old: BTreeMap::new(),
        stage: 0,
        since: None,
        begun: seen.at,
        moved: BTreeMap::new(),
        marked: BTreeMap::new(),
        alarms: BTreeMap::new(),
    };
    let (mut furthest, mut least) = (0, 100);
    for (name, _, function) in functions(wanted, seen) {
        let Some(new) = progress.published.get(name) else { continue };
        let published = function.versions.get(new).copied().unwrap_or(seen.at);
        let earliest = |until: UnixMillis| {
            published.max(UnixMillis(until.0.saturating_sub(RESUMED_SECS_MAX * 1000)))
        };
        if let Some((old, since)) = moved(wanted, seen, function, *new) {
            furthest = 100;
            shift.begun = shift.begun.min(earliest(since));
            shift.old.insert(name.clone(), old);
            shift.moved.insert(name.clone(), since);
            continue;
        }
        if there(function, *new) {
            continue;
        }
        let alias = &function.alias;
        let percent = alias.percent(*new);
        if !fails(&progress.smoked, name, alias.version) {
            least = least.min(percent);
        }
        if percent > 0 {
            furthest = furthest.max(percent);
            shift.begun = shift.begun.min(earliest(seen.at));
        }
        let canary = wanted.steps.first() != Some(&100);
        if function.warm > 0 && canary && !fails(&progress.smoked, name, alias.version) {
            return Err(Step::Stopped(format!(
                "{} environments of {name} are kept warm for a burst, beside which AWS takes no weights: \
                 deploy after the burst, or with --no-canary",
                function.warm
            )));
        }
        shift.old.insert(name.clone(), alias.version);
    }
    if shift.old.is_empty() {
        return Ok(None);
    }
    if wanted.hold_secs > 0 {
        let Some(alarms) = &seen.alarms else {
            let since = *progress.blind_since.get_or_insert(seen.at);
            if seen.at >= since.plus_secs(BLIND_SECS_MAX) {
                progress.failed =
                    Some("CloudWatch cannot be read, so nobody could watch".to_owned());
            }
            return Err(Step::Wait(Waiting::CloudWatch));
        };
        // An alarm that went on after a canary began which is gone on with may be of its making.
        let before = alarms.iter().filter(|(_, since)| furthest == 0 || **since < shift.begun);
        shift.alarms = before.map(|(name, since)| (name.clone(), *since)).collect();
    }
    // None is given more than all have shown to do well with; what has more already keeps it.
    shift.stage = wanted.steps.iter().rposition(|step| *step <= least).unwrap_or(0);
    Ok(Some(shift))
}

/// Whether CloudWatch shows something of a step, as far as there is something to show.
fn shown(wanted: &Wanted, seen: &Seen, shift: &Shift, percent: u8, since: UnixMillis) -> bool {
    let per_sec = |n: f64, secs: u64| n / f64::from(u32::try_from(secs).unwrap_or(u32::MAX));
    shift.old.keys().all(|name| {
        let Some(figures) = seen.figures.as_ref().and_then(|all| all.get(name)) else {
            return false;
        };
        let rate = per_sec(figures.before.0, BEFORE_MINS * 60) * f64::from(percent) / 100.0;
        let expected = rate * f64::from(u32::try_from(wanted.hold_secs).unwrap_or(u32::MAX));
        let from = since.plus_secs(SHOWN_SECS);
        expected < EXPECTED_MIN || figures.shown_until.is_some_and(|until| until >= from)
    })
}

/// What all steps have shown to do well is no longer said to be moving.
fn settle(wanted: &Wanted, seen: &Seen, progress: &Progress) -> Option<Step> {
    functions(wanted, seen).find_map(|(name, _, function)| {
        let new = progress.published.get(name)?;
        let can = !progress.unsettleable.contains(name);
        let settles = can && function.is_unsettled() && function.alias.version == *new;
        let version = function.before.filter(|_| settles)?;
        Some(Step::Do(Act::Remember { function: name.clone(), version, moving: None }))
    })
}

/// Versions that are not kept, oldest first.
fn clean(wanted: &Wanted, seen: &Seen, progress: &Progress) -> Option<Step> {
    functions(wanted, seen).find_map(|(name, _, function)| {
        let Function { alias, held, before, .. } = function;
        let led = [Some(alias.version), alias.weighed.map(|(version, _)| version), *before];
        let older = function.versions.keys().rev().skip(wanted.keep).rev();
        let version = *older
            .filter(|version| !held.contains(version) && !led.contains(&Some(**version)))
            .find(|version| !progress.undeletable.contains(&(name.clone(), **version)))?;
        Some(Step::Do(Act::Delete { function: name.clone(), version }))
    })
}
