//! The season's forecast: what the day and the week are known to bring, from what is asked now on.
//!
//! ```text
//! second ─▶ step of 5 min ─┬─▶ slot of 15 min ─▶ profile: the day, how each day of the week differs, holidays
//!                          ├─▶ present against profile: level
//!                          └─▶ what was forecast for this step, by the season and by persistence: their
//!                              quantiles, coverage and losses, for each lead time
//! ```
//!
//! The forecast is what is asked now and the profile's change from now on, as many times that as the present is of
//! the profile. It has to earn its trust, lead time by lead time: it counts only while its quantile has cost less
//! than that of persistence, over a day, and covers what it ought to. A crowd that is no season breaks it, and what
//! remains is what there was before: levers go by what is asked, and [`crate::forecast`] leads surges.
//!
//! All that is kept is bounded: two days and a week of slots behind an [`Arc`], which changes once a step.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use spillway_model::UnixMillis;

use crate::calendar::Calendar;
use crate::conformal::{Conformal, gain};
use crate::profile::{Profile, SLOT_MILLIS};

/// What is seen is taken in as means of so long, in milliseconds; of a step at least half has to be seen.
const STEP_MILLIS: u64 = 300_000;
const STEP_SECS: f64 = 300.0;
/// Of the present, the last step counts so much and each before it by as much less.
const PRESENT: f64 = 0.6;
/// A level is a ratio of the present to the profile, both with this part of a day's mean added, so that a ratio
/// of next to nothing is one; and it is so many times that at most.
const LEVEL_LEAST: f64 = 0.1;
const LEVEL_MAX: f64 = 4.0;
/// Errors are counted in what was expected and this part of a day's mean.
const UNIT_LEAST: f64 = 0.1;
/// A day of steps.
const DAY_STEPS: f64 = 288.0;
/// Days that must have been learned before any of them is believed.
const DAYS_MIN: u64 = 2;

/// How far ahead to look and how sure to be, and which days are holidays.
#[derive(Debug, Clone, Default)]
pub struct SeasonPolicy {
    calendar: Calendar,
    /// Seconds, and the quantile.
    leads: Vec<(u64, f64)>,
}

impl SeasonPolicy {
    /// For so many seconds ahead, each with the quantile of what comes then.
    #[must_use]
    pub fn new(calendar: Calendar, leads: Vec<(u64, f64)>) -> Self {
        Self { calendar, leads }
    }

    /// The lead time of place `lead`, in seconds.
    pub(crate) fn secs(&self, lead: usize) -> u64 {
        self.leads.get(lead).map_or(0, |(secs, _)| *secs)
    }
}

/// Steps from the last whole one to the one that is `secs` ahead, wherever in the present step it is now.
fn steps_ahead(secs: u64) -> u64 {
    (secs * 1000 + STEP_MILLIS).div_ceil(STEP_MILLIS)
}

/// What is known of one site's season.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Season {
    /// The step that is not over.
    open: Open,
    learned: Arc<Learned>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Open {
    /// Since 1970.
    step: u64,
    sum: f64,
    secs: f64,
}

/// What changes once a step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Learned {
    profile: Profile,
    /// The last step that was seen, and its mean.
    last: Option<(u64, f64)>,
    /// The present and the profile at present, smoothed alike.
    present: f64,
    usual: f64,
    /// Mean of a day.
    mean: f64,
    steps: f64,
    leads: Vec<Lead>,
    /// What was forecast for steps to come.
    pending: Vec<Pending>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Lead {
    season: Conformal,
    persists: Conformal,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Pending {
    step: u64,
    lead: usize,
    season: f64,
    persists: f64,
}

/// What is forecast for some time ahead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ahead {
    /// What is likely.
    pub expected: f64,
    /// The quantile that is not exceeded so often.
    pub upper: f64,
    /// The same of what is asked now, were it to stay.
    pub persists: f64,
    /// What of the change that is expected has come already: what is asked now was seen some minutes ago.
    pub since: f64,
    /// The part of the last hours that was below the quantile.
    pub covered: f64,
    /// Whether the season's forecast is worth more than that of what stays.
    pub trusted: bool,
}

impl Season {
    /// Takes in the mean load over the last `secs` seconds.
    pub fn take_in(&mut self, policy: &SeasonPolicy, at: UnixMillis, load: f64, secs: f64) {
        let step = at.0 / STEP_MILLIS;
        if step != self.open.step {
            let over = std::mem::replace(&mut self.open, Open { step, ..Open::default() });
            if step > over.step && over.secs >= STEP_SECS / 2.0 {
                let learned = Arc::make_mut(&mut self.learned);
                learned.step(policy, over.step, over.sum / over.secs);
            }
        }
        self.open.sum += load * secs;
        self.open.secs += secs;
    }

    /// What to expect when lead time `lead` is over; nothing where the present or the season is not known.
    #[must_use]
    pub fn then(&self, policy: &SeasonPolicy, lead: usize, at: UnixMillis) -> Option<Ahead> {
        let expected = self.learned.expected(policy, at.plus_secs(policy.secs(lead)))?;
        self.told(policy, lead, at, expected)
    }

    /// The most of what to expect from now until then.
    pub(crate) fn within(
        &self,
        policy: &SeasonPolicy,
        lead: usize,
        at: UnixMillis,
    ) -> Option<Ahead> {
        let learned = &self.learned;
        let end = at.plus_secs(policy.secs(lead));
        let mut expected = learned.expected(policy, end)?;
        // Between the middles of slots the profile is straight.
        let middle = |slot: u64| UnixMillis(slot * SLOT_MILLIS + SLOT_MILLIS / 2);
        for slot in at.0 / SLOT_MILLIS..=end.0 / SLOT_MILLIS {
            if (at..end).contains(&middle(slot)) {
                expected = expected.max(learned.expected(policy, middle(slot))?);
            }
        }
        self.told(policy, lead, at, expected)
    }

    fn told(
        &self,
        policy: &SeasonPolicy,
        lead: usize,
        at: UnixMillis,
        expected: f64,
    ) -> Option<Ahead> {
        let learned = &self.learned;
        let (_, quantile) = *policy.leads.get(lead)?;
        let of = learned.leads.get(lead)?;
        let (last, value) = learned.last?;
        // A present that is over, or is still to come, is none.
        let age = (at.0 / STEP_MILLIS).checked_sub(last)?;
        if !(1..=2).contains(&age) {
            return None;
        }
        Some(Ahead {
            since: learned.expected(policy, at)? - value,
            expected,
            upper: of.season.upper(expected, learned.unit(expected)),
            persists: of.persists.upper(value, learned.unit(value)),
            covered: of.season.covered(),
            trusted: learned.profile.days() >= DAYS_MIN
                && learned.usual_now()
                && of.trusted(quantile),
        })
    }

    /// Goes on in another unit, of which one of the old is `by`.
    pub(crate) fn scale(&mut self, by: f64) {
        self.open.sum *= by;
        Arc::make_mut(&mut self.learned).scale(by);
    }
}

impl Lead {
    fn trusted(&self, quantile: f64) -> bool {
        let earned = match (self.season.loss(), self.persists.loss()) {
            (Some(season), Some(persists)) => season < persists,
            _ => false,
        };
        earned && !self.season.broken(quantile)
    }
}

impl Learned {
    /// A step is over in which `value` was asked.
    fn step(&mut self, policy: &SeasonPolicy, step: u64, value: f64) {
        let at = UnixMillis(step * STEP_MILLIS + STEP_MILLIS / 2);
        self.leads.resize(policy.leads.len(), Lead::default());
        if self.last.is_some_and(|(last, _)| last >= step) {
            // The clock was set back.
            self.last = None;
            self.pending.clear();
        }
        self.score(policy, step, value);
        self.steps = (self.steps + 1.0).min(DAY_STEPS);
        self.mean += gain(self.steps, DAY_STEPS) * (value - self.mean);
        let follows = self.last.is_some_and(|(last, _)| last + 1 == step);
        self.profile.take_in(&policy.calendar, at, value);
        if let Some(usual) = self.profile.at(&policy.calendar, at) {
            let part = if follows && self.usual > 0.0 { PRESENT } else { 1.0 };
            self.present += part * (value - self.present);
            self.usual += part * (usual - self.usual);
        }
        self.last = Some((step, value));
        for (lead, (secs, _)) in policy.leads.iter().enumerate() {
            let step = step + steps_ahead(*secs);
            let then = UnixMillis(step * STEP_MILLIS + STEP_MILLIS / 2);
            // Both are judged by the same steps.
            if let Some(season) = self.expected(policy, then) {
                self.pending.push(Pending { step, lead, season, persists: value });
            }
        }
    }

    /// Compares what was forecast for a step with what came.
    fn score(&mut self, policy: &SeasonPolicy, step: u64, value: f64) {
        let pending = std::mem::take(&mut self.pending);
        for told in pending.iter().filter(|told| told.step == step) {
            let units = (self.unit(told.season), self.unit(told.persists));
            let Some((_, quantile)) = policy.leads.get(told.lead) else { continue };
            let Some(lead) = self.leads.get_mut(told.lead) else { continue };
            lead.season.take_in(*quantile, value, told.season, units.0);
            lead.persists.take_in(*quantile, value, told.persists, units.1);
        }
        self.pending = pending.into_iter().filter(|told| told.step > step).collect();
    }

    /// What is likely at `then`, from the present on.
    fn expected(&self, policy: &SeasonPolicy, then: UnixMillis) -> Option<f64> {
        let usual = self.profile.at(&policy.calendar, then)?;
        let level = self.level()?.clamp(1.0 / LEVEL_MAX, LEVEL_MAX);
        Some((self.present + level * (usual - self.usual)).max(0.0))
    }

    /// How many times the profile the present is.
    fn level(&self) -> Option<f64> {
        let least = LEVEL_LEAST * self.mean;
        let usual = self.usual + least;
        (usual > 0.0).then(|| (self.present + least) / usual)
    }

    /// Whether the present is one that a season may have. A crowd that is many times what is usual is none, and
    /// the season says nothing of how it goes on.
    fn usual_now(&self) -> bool {
        self.level().is_some_and(|level| (1.0 / LEVEL_MAX..=LEVEL_MAX).contains(&level))
    }

    fn unit(&self, expected: f64) -> f64 {
        expected + UNIT_LEAST * self.mean
    }

    fn scale(&mut self, by: f64) {
        self.profile.scale(by);
        if let Some((_, value)) = &mut self.last {
            *value *= by;
        }
        let means = [&mut self.present, &mut self.usual, &mut self.mean];
        means.into_iter().for_each(|mean| *mean *= by);
        for lead in &mut self.leads {
            lead.season.scale(by);
            lead.persists.scale(by);
        }
        for told in &mut self.pending {
            told.season *= by;
            told.persists *= by;
        }
    }
}
