//! What knobs release: declared by their owners, measured each time one is turned on or off, and relied
//! on with a margin.
//!
//! Measured are the bytes of an answer of each route, before and after: neither how much is asked
//! meanwhile nor which routes are asked for matters. The more uncertain it is what a knob releases, the more
//! of a measurement is believed, as by a Kalman filter; what several knobs released that were turned
//! together is divided among them in the same way. The variance follows what surprises (West, 1979):
//! a knob that delivers now more, now less, is relied on less.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spillway_model::KnobId;

use crate::forecast::weight;
use crate::policy::{KnobPolicy, Policy};
use crate::tier::names;

/// Bytes of a shed answer.
pub(crate) const SHED_BYTES: f64 = 300.0;
/// No knob is believed to release more than this part of a route.
const RELEASE_MAX: f64 = 0.95;
/// What is declared but was never measured is relied on for this part.
const DECLARED_PART: f64 = 0.7;
/// Standard deviation of what is declared, beside itself: on one route a knob may release much more or
/// nothing. Who declares more is believed to have released more of what several released together.
const DECLARED_SIGMA: f64 = 0.05;
/// Variance of what a release changes by from one time to the next, and of a measurement, beside the
/// chance of the answers in it.
const DRIFT_VARIANCE: f64 = 0.0025;
const NOISE_VARIANCE: f64 = 0.0025;
/// Seconds and answers of a window that tells anything, and answers of a route.
const WINDOW_SECS_MIN: f64 = 2.0;
const WINDOW_ANSWERS_MIN: f64 = 200.0;
const ROUTE_ANSWERS_MIN: f64 = 30.0;
/// Time constant of a window that has more than it needs, in seconds.
const WINDOW_SECS: f64 = 30.0;
/// Users see a knob on the routes that it sheds or releases more than this part of.
const SEEN_PART: f64 = 0.05;

/// How far the releases of knobs are relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// As is most likely.
    Likely,
    /// As far as is certain enough to choose by.
    Least,
    /// As far as they may be what nobody would want to be without.
    Most,
}

/// What knobs were seen to release. Bounded by the knobs times the routes of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Releases(BTreeMap<KnobId, Release>);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Release {
    /// By place of the route, where it was measured: the part of its bytes.
    routes: BTreeMap<usize, Estimate>,
    last: Promise,
}

/// What a knob promised when it was turned last, by what was relied on then, and what it delivered, both
/// as parts of the bytes of all answers without it, as far as there were enough to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Promise {
    pub(crate) promised: f64,
    pub(crate) delivered: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Estimate {
    mean: f64,
    variance: f64,
}

impl Estimate {
    fn part(self, trust: Trust) -> f64 {
        let sigmas = match trust {
            Trust::Likely => 0.0,
            Trust::Least => -1.0,
            Trust::Most => 1.0,
        };
        (self.mean + sigmas * self.variance.sqrt()).clamp(0.0, RELEASE_MAX)
    }
}

impl Release {
    /// What was relied on of a route that `knob` does not shed.
    fn promised(&self, knob: &KnobPolicy, place: usize) -> f64 {
        let seen = self.routes.get(&place);
        seen.map_or(DECLARED_PART * knob.declared(), |seen| seen.part(Trust::Least))
    }

    fn estimate(&self, knob: &KnobPolicy, place: usize) -> Estimate {
        let sigma = knob.declared() + DECLARED_SIGMA;
        let declared = Estimate { mean: knob.declared(), variance: sigma * sigma };
        self.routes.get(&place).copied().unwrap_or(declared)
    }
}

impl Releases {
    /// The part of the bytes of each of `routes` routes that `knobs` leave together, unless they shed it.
    /// Of a route that was never measured the likely releases add up, for each is declared as a part of
    /// the same whole; what is relied on multiplies, for they may overlap.
    pub(crate) fn left<'a>(
        &self,
        knobs: impl Iterator<Item = &'a KnobPolicy>,
        routes: usize,
        trust: Trust,
    ) -> Vec<f64> {
        let none = Release::default();
        let (mut left, mut declared) = (vec![1.0; routes], vec![0.0; routes]);
        for knob in knobs {
            let mut seen = self.0.get(&knob.id).unwrap_or(&none).routes.iter().peekable();
            for (place, (left, declared)) in left.iter_mut().zip(&mut declared).enumerate() {
                match (seen.next_if(|(of, _)| **of == place), trust) {
                    (Some((_, seen)), _) => *left *= 1.0 - seen.part(trust),
                    (None, Trust::Likely) => *declared += knob.declared(),
                    (None, Trust::Least) => *left *= 1.0 - DECLARED_PART * knob.declared(),
                    (None, Trust::Most) => {
                        *left *= 1.0 - (knob.declared() / DECLARED_PART).min(RELEASE_MAX);
                    }
                }
            }
        }
        left.iter().zip(declared).map(|(left, all)| left * (1.0 - all.min(RELEASE_MAX))).collect()
    }

    /// The part of the requests on which users see `knob`, with `mix` of them by route. Before it was ever
    /// measured that is the part that it is declared to release.
    pub(crate) fn seen_part(&self, knob: &KnobPolicy, mix: &[f64]) -> f64 {
        let known = self.0.get(&knob.id);
        let all: f64 = mix.iter().sum();
        if all <= 0.0 || (known.is_none() && knob.sheds.is_empty()) {
            return knob.releases;
        }
        let seen = |place: &usize| {
            let released = known.and_then(|known| known.routes.get(place));
            knob.sheds.contains(place) || released.is_some_and(|of| of.mean > SEEN_PART)
        };
        let seen = mix.iter().enumerate().filter(|(place, _)| seen(place));
        seen.map(|(_, rate)| rate).sum::<f64>() / all
    }

    /// What a knob promised and delivered when it was turned last.
    pub(crate) fn promise(&self, knob: &KnobId) -> Option<Promise> {
        self.0.get(knob).map(|known| known.last)
    }

    /// Forgets the knobs that there are no more.
    pub(crate) fn fit(&mut self, policy: &Policy) {
        self.0.retain(|id, _| policy.knobs.iter().any(|knob| knob.id == *id));
    }

    /// Learns from two windows that differ in some knobs. Nothing can be told where some were turned on
    /// and others off in between.
    pub(crate) fn compare(&mut self, policy: &Policy, before: &Window, after: &Window) {
        let turned = |a: &Window, b: &Window| -> Vec<&KnobPolicy> {
            policy.knobs.iter().filter(|knob| a.has(knob) && !b.has(knob)).collect()
        };
        let (on, off) = (turned(after, before), turned(before, after));
        let (knobs, without, with) = match (on.is_empty(), off.is_empty()) {
            (false, true) => (on, before, after),
            (true, false) => (off, after, before),
            _ => return,
        };
        let shed: Vec<usize> =
            policy.knobs.iter().filter(|k| with.has(k)).flat_map(|k| k.sheds.clone()).collect();
        let mut known: Vec<Release> =
            knobs.iter().map(|knob| self.0.remove(&knob.id).unwrap_or_default()).collect();
        known.iter_mut().for_each(|known| known.last = Promise::default());
        let mut told = 0.0;
        for place in 0..without.routes.len() {
            let (without, with) = (without.route(place), with.route(place));
            if shed.contains(&place) && without.bytes > 0.0 {
                // What is left of it is known. Of several that shed it the first counts.
                let freed = without.bytes - without.bytes.min(without.answers * SHED_BYTES);
                let by = knobs.iter().position(|knob| knob.sheds.contains(&place));
                if let Some(known) = by.and_then(|by| known.get_mut(by)) {
                    known.last.add(freed, freed);
                }
                told += without.bytes;
            } else if without.tells() && with.tells() {
                let left = (with.bytes / with.answers) / (without.bytes / without.answers);
                let chance = left * left * (1.0 / without.answers + 1.0 / with.answers);
                let both = knobs.iter().zip(&known);
                let then: Vec<Estimate> = both.map(|(k, known)| known.estimate(k, place)).collect();
                let now = divide(&then, 1.0 - left, NOISE_VARIANCE + chance);
                for ((known, knob), (now, part)) in known.iter_mut().zip(&knobs).zip(now) {
                    let promised = known.promised(knob, place);
                    known.last.add(without.bytes * promised, without.bytes * part);
                    known.routes.insert(place, now);
                }
                told += without.bytes;
            }
        }
        for (knob, mut known) in knobs.iter().zip(known) {
            known.last = known.last.of(told);
            self.0.insert(knob.id.clone(), known);
        }
    }
}

impl Promise {
    fn add(&mut self, promised: f64, delivered: f64) {
        self.promised += promised;
        self.delivered += delivered;
    }

    fn of(self, all: f64) -> Self {
        if all <= 0.0 {
            return self;
        }
        Self { promised: self.promised / all, delivered: self.delivered / all }
    }
}

/// What is known of each of some knobs after they released `part` together, measured with a variance of
/// `noise`, and how much of it each is taken to have released.
fn divide(then: &[Estimate], part: f64, noise: f64) -> Vec<(Estimate, f64)> {
    let expected: f64 = then.iter().map(|known| known.mean).sum();
    let surprise = part - expected;
    let uncertain = |known: &Estimate| known.variance + DRIFT_VARIANCE;
    let all: f64 = then.iter().map(uncertain).sum();
    let divided = then.iter().map(|known| {
        let own = surprise * uncertain(known) / all;
        let gain = uncertain(known) / (all + noise);
        let now = Estimate {
            mean: (known.mean + gain * surprise).clamp(0.0, RELEASE_MAX),
            variance: (1.0 - gain) * (uncertain(known) + gain * own * own),
        };
        (now, known.mean + own)
    });
    divided.collect()
}

/// The answers of the last while under one set of knobs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// [`crate::tier::KnobSet::key`].
    pub(crate) key: String,
    secs: f64,
    /// By place of the route.
    routes: Vec<Answers>,
}

/// Answers of one route, and bytes of all of them; older ones count for less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Answers {
    answers: f64,
    bytes: f64,
}

impl Answers {
    fn tells(self) -> bool {
        self.answers >= ROUTE_ANSWERS_MIN && self.bytes > 0.0
    }
}

impl Window {
    pub(crate) fn of(key: &str) -> Self {
        Self { key: key.to_owned(), ..Self::default() }
    }

    pub(crate) fn add(&mut self, place: usize, answers: f64, bytes: f64) {
        if self.routes.len() <= place {
            self.routes.resize(place + 1, Answers::default());
        }
        if let Some(route) = self.routes.get_mut(place) {
            route.answers += answers;
            route.bytes += bytes;
        }
    }

    /// It is so much longer.
    pub(crate) fn pass(&mut self, secs: f64) {
        self.secs += secs;
        if self.answers() > 4.0 * WINDOW_ANSWERS_MIN {
            let fades = 1.0 - weight(secs, WINDOW_SECS);
            for route in &mut self.routes {
                route.answers *= fades;
                route.bytes *= fades;
            }
        }
    }

    /// Whether it is long enough to be compared with another.
    pub(crate) fn tells(&self) -> bool {
        self.secs >= WINDOW_SECS_MIN && self.answers() >= WINDOW_ANSWERS_MIN
    }

    fn answers(&self) -> f64 {
        self.routes.iter().map(|route| route.answers).sum()
    }

    fn route(&self, place: usize) -> Answers {
        self.routes.get(place).copied().unwrap_or_default()
    }

    fn has(&self, knob: &KnobPolicy) -> bool {
        names(&self.key).any(|name| name == knob.id.as_str())
    }
}

#[cfg(test)]
mod tests;
