//! Bytes of an answer of each route, undegraded and with knobs on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::forecast::weight;
use crate::policy::{KnobPolicy, Policy};
use crate::reading::Counts;
use crate::release::{Releases, SHED_BYTES, Trust, Window};
use crate::tier::{KnobSet, names};

/// So many answers weigh as much as all that was learned before.
const ANSWERS_TO_TRUST: f64 = 200.0;

/// Bytes per answer of each route: undegraded, with the knobs in force, and what each knob takes off.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LearnedBytes {
    /// By [`KnobSet::key`], of no knobs and of those in force; then in the order of the policy's routes.
    sets: BTreeMap<String, Vec<Mean>>,
    #[serde(default)]
    pub(crate) releases: Releases,
    /// The time before knobs were turned last, and since.
    #[serde(default)]
    before: Window,
    #[serde(default)]
    since: Window,
    /// Whether the two were compared.
    #[serde(default)]
    compared: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Mean {
    bytes: f64,
    answers: u64,
}

impl Mean {
    /// Takes in `answers` of `seen` bytes each; before the first of all they had `prior`.
    fn learn(&mut self, answers: f64, seen: f64, prior: impl Fn() -> f64) {
        let before = self.known().unwrap_or_else(prior);
        // Quick while little is known; then no tick alone counts for more than a fifth.
        let most = if (self.answers as f64) < ANSWERS_TO_TRUST { 0.5 } else { 0.2 };
        self.bytes = before + weight(answers, ANSWERS_TO_TRUST).min(most) * (seen - before);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of requests in one tick, at least 1"
        )]
        let answers = answers as u64;
        self.answers = self.answers.saturating_add(answers);
    }

    fn known(&self) -> Option<f64> {
        (self.answers > 0 || self.bytes > 0.0).then_some(self.bytes)
    }
}

fn known(means: Option<&Vec<Mean>>, place: usize) -> Option<f64> {
    means?.get(place)?.known()
}

fn undegraded<'a>(
    policy: &'a Policy,
    means: Option<&'a Vec<Mean>>,
) -> impl Fn(usize) -> f64 + use<'a> {
    move |place| {
        let prior = || policy.routes.get(place).map_or(0.0, |route| route.response_bytes);
        known(means, place).unwrap_or_else(prior)
    }
}

impl LearnedBytes {
    /// Bytes of an answer of each route while the knobs of `set` are on: as measured while they are in
    /// force, or what the rest of them leave of what was measured with some of them or none.
    pub(crate) fn bytes(&self, policy: &Policy, set: &KnobSet, trust: Trust) -> Vec<f64> {
        let within = self.sets.keys().filter(|key| set.has_all(key));
        let key = within.max_by_key(|key| names(key).count()).map_or("", String::as_str);
        let rest =
            set.knobs(policy).filter(|knob| !names(key).any(|name| name == knob.id.as_str()));
        let left = self.releases.left(rest, policy.routes.len(), trust);
        let (measured, undegraded) = (self.sets.get(key), self.undegraded(policy));
        let bytes = left.iter().enumerate().map(|(place, left)| match set.sheds(place) {
            true => SHED_BYTES,
            false => left * known(measured, place).unwrap_or_else(|| undegraded(place)),
        });
        bytes.collect()
    }

    /// The most that they can be once `knob` is turned off and only `rest` of the knobs in force, `now`,
    /// stay on: what those surely take off the undegraded answers, or what it may have taken off the
    /// present ones at most.
    pub(crate) fn bytes_without(
        &self,
        policy: &Policy,
        now: &KnobSet,
        knob: &KnobPolicy,
        rest: &KnobSet,
    ) -> Vec<f64> {
        let left = self.releases.left([knob].into_iter(), policy.routes.len(), Trust::Most);
        let present = self.bytes(policy, now, Trust::Likely);
        let mut most = self.bytes(policy, rest, Trust::Least);
        for (place, ((most, left), present)) in most.iter_mut().zip(left).zip(present).enumerate() {
            if !now.sheds(place) {
                *most = most.min(present / left);
            }
        }
        most
    }

    /// Bytes of an answer of a route, by its place, while no knob is on.
    pub(crate) fn undegraded<'a>(&'a self, policy: &'a Policy) -> impl Fn(usize) -> f64 + 'a {
        undegraded(policy, self.sets.get(""))
    }

    /// Takes in the answers of all `routes` over `secs` seconds while the knobs of `set` were on.
    pub(crate) fn learn(&mut self, policy: &Policy, set: &KnobSet, routes: &[Counts], secs: f64) {
        // Rounded, that is at least one.
        let answers = |counts: &Counts| counts.served * secs;
        let some = |(place, counts): (usize, &Counts)| answers(counts) >= 0.5 && !set.sheds(place);
        if !routes.iter().enumerate().any(some) {
            return;
        }
        self.turn(policy, set);
        let mut means = self.sets.remove(&set.key).unwrap_or_default();
        means.resize(policy.routes.len(), Mean::default());
        let undegraded = undegraded(policy, self.sets.get(""));
        for (place, (counts, mean)) in routes.iter().zip(&mut means).enumerate() {
            if !some((place, counts)) {
                continue;
            }
            let (answers, seen) = (answers(counts).round(), counts.served_bytes / counts.served);
            self.since.add(place, answers, answers * seen);
            mean.learn(answers, seen, || undegraded(place));
        }
        drop(undegraded);
        self.sets.insert(set.key.clone(), means);
    }

    /// Answers are those of `set` from now on. What ends is what the next time is compared with, unless it
    /// was too short to tell anything.
    fn turn(&mut self, policy: &Policy, set: &KnobSet) {
        if self.since.key == set.key {
            return;
        }
        let ended = std::mem::replace(&mut self.since, Window::of(&set.key));
        if ended.tells() {
            self.before = ended;
        }
        self.compared = false;
        let expected = self.bytes(policy, set, Trust::Likely);
        self.sets.retain(|key, _| key.is_empty());
        if !set.key.is_empty() {
            let means = expected.into_iter().map(|bytes| Mean { bytes, answers: 0 });
            self.sets.insert(set.key.clone(), means.collect());
        }
    }

    /// A tick with the knobs of `set` has passed. As soon as there was enough of it, it is compared with
    /// the time before.
    pub(crate) fn pass(&mut self, policy: &Policy, set: &KnobSet, secs: f64) {
        if self.since.key != set.key {
            return;
        }
        self.since.pass(secs);
        if !self.compared && self.since.tells() {
            self.compared = true;
            // Of a first time ever nothing is known but what is declared.
            if self.before.tells() {
                self.releases.compare(policy, &self.before, &self.since);
            }
        }
    }

    /// After a restart: the windows are of another time.
    pub(crate) fn forget_present(&mut self) {
        (self.before, self.since, self.compared) = Default::default();
    }
}

#[cfg(test)]
mod tests;
