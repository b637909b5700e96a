//! The profile of a week: what is usual in each quarter of an hour.
//!
//! It is a day's, and by how much each day of the week differs from it, slot by slot. What was never seen of a day
//! of the week is then what days have, and every day teaches all. A holiday is a Sunday, and by how much holidays
//! differ from that; it teaches Sundays nothing.

use serde::{Deserialize, Serialize};
use spillway_model::UnixMillis;

use crate::calendar::Calendar;
use crate::conformal::gain;

pub(crate) const SLOT_MILLIS: u64 = 900_000;
pub(crate) const SLOTS_PER_DAY: usize = 96;
const SLOTS_PER_WEEK: usize = 7 * SLOTS_PER_DAY;
/// Of what a slot is off, the day takes a tenth, the day of the week three, both more in the first days and weeks;
/// and the few holidays there are half. A new week is one of two, the other being what days are like.
const DAYS: f64 = 10.0;
const WEEKS: f64 = 3.3;
const OF_HOLIDAY: f64 = 0.5;
/// A crowd teaches at most another of what is usual, or of a day's mean where that is more.
const TEACHES_MAX: f64 = 1.0;

/// Kept as `f32`: more is not known of it, and a checkpoint holds it for each site once a minute.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Profile {
    /// A day's slots by UTC; `None` for never seen.
    day: Vec<Option<f32>>,
    /// The differences of a week's, and of a holiday's from a Sunday's.
    week: Vec<f32>,
    holiday: Vec<f32>,
    /// Mean of all slots.
    mean: f64,
    slots: u64,
    /// The slot that is not over, and the sum of its steps and their number.
    open: (u64, f64, u32),
}

#[expect(clippy::cast_possible_truncation, reason = "to the nearest that there is")]
fn rounded(value: f64) -> f32 {
    value as f32
}

/// Where a slot's numbers are.
struct Places {
    of_day: usize,
    of_week: usize,
    holiday: bool,
}

impl Places {
    fn of(calendar: &Calendar, slot: u64) -> Self {
        let holiday = calendar.holiday(UnixMillis(slot * SLOT_MILLIS));
        let day = SLOTS_PER_DAY as u64;
        // The Sunday before, at the same time.
        let like = slot.saturating_sub(holiday.unwrap_or(0) * day);
        Self {
            of_day: place(slot, SLOTS_PER_DAY),
            of_week: place(like, SLOTS_PER_WEEK),
            holiday: holiday.is_some(),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "less than `of`")]
fn place(slot: u64, of: usize) -> usize {
    (slot % of as u64) as usize
}

impl Profile {
    /// Takes in the mean of a step that `at` is in.
    pub(crate) fn take_in(&mut self, calendar: &Calendar, at: UnixMillis, value: f64) {
        let slot = at.0 / SLOT_MILLIS;
        let (open, sum, steps) = self.open;
        if slot != open {
            // One step is too little of a slot.
            if steps >= 2 {
                self.learn(calendar, open, sum / f64::from(steps));
            }
            self.open = (slot, 0.0, 0);
        }
        self.open.1 += value;
        self.open.2 += 1;
    }

    fn learn(&mut self, calendar: &Calendar, slot: u64, value: f64) {
        self.day.resize(SLOTS_PER_DAY, None);
        self.week.resize(SLOTS_PER_WEEK, 0.0);
        self.holiday.resize(SLOTS_PER_DAY, 0.0);
        self.slots = self.slots.saturating_add(1);
        self.mean += gain(self.slots as f64, SLOTS_PER_WEEK as f64) * (value - self.mean);
        let usual = self.usual(calendar, slot);
        let places = Places::of(calendar, slot);
        let Some(usual) = usual else {
            self.day[places.of_day] = Some(rounded(value));
            return;
        };
        let off = (value - usual).min(TEACHES_MAX * usual.max(self.mean));
        let teach = |kept: &mut f32, part: f64| *kept = rounded(f64::from(*kept) + part * off);
        if places.holiday {
            teach(&mut self.holiday[places.of_day], OF_HOLIDAY);
            return;
        }
        let of_day = gain(self.days() as f64 + 1.0, DAYS);
        if let Some(day) = &mut self.day[places.of_day] {
            teach(day, of_day);
        }
        let weeks = (self.days() / 7) as f64;
        teach(&mut self.week[places.of_week], (1.0 - of_day) * gain(weeks + 2.0, WEEKS));
    }

    /// What is usual in a slot, if its time of day was ever seen.
    fn usual(&self, calendar: &Calendar, slot: u64) -> Option<f64> {
        let places = Places::of(calendar, slot);
        let day = f64::from((*self.day.get(places.of_day)?)?);
        let mut usual = day + f64::from(*self.week.get(places.of_week)?);
        if places.holiday {
            usual += f64::from(*self.holiday.get(places.of_day)?);
        }
        Some(usual.max(0.0))
    }

    /// What is usual at a moment: a straight line between the middles of slots.
    pub(crate) fn at(&self, calendar: &Calendar, at: UnixMillis) -> Option<f64> {
        let from_middle = at.0.checked_sub(SLOT_MILLIS / 2)?;
        let slot = from_middle / SLOT_MILLIS;
        let part = (from_middle % SLOT_MILLIS) as f64 / SLOT_MILLIS as f64;
        let (before, after) = (self.usual(calendar, slot)?, self.usual(calendar, slot + 1)?);
        Some(before + part * (after - before))
    }

    /// Whole days that were learned.
    pub(crate) fn days(&self) -> u64 {
        self.slots / SLOTS_PER_DAY as u64
    }

    /// Goes on in another unit, of which one of the old is `by`.
    pub(crate) fn scale(&mut self, by: f64) {
        let days = self.day.iter_mut().flatten();
        let all = days.chain(&mut self.week).chain(&mut self.holiday);
        all.for_each(|kept| *kept = rounded(f64::from(*kept) * by));
        self.mean *= by;
        self.open.1 *= by;
    }
}
