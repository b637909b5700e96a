//! Cost weights: the busy seconds that a request of each route costs, from windows of requests by route
//! and busy seconds.
//!
//! A window says `busy = idle + Σ requests · weight`, plus chance. Weights are found by least squares with
//! none below zero, each window weighted by one over its requests, since chance grows with them. A ridge
//! holds them to the last ones: what the windows tell apart is learned, and what they do not, such as two
//! routes that are always asked for together, keeps the proportion it had (Hoerl and Kennard, Ridge
//! regression, Technometrics 12, 1970). As old windows fade, the last weights move to the present ones by
//! the same part, which leaves the solution where it is (Kulhavý and Zarrop, On a general concept of
//! forgetting, Int. J. Control 58, 1993).
//!
//! Windows may come in any order. Short ones tell more than long ones: in an hour at a steady load it is
//! only chance that makes the mix of routes vary, and longer windows even it out.

use serde::{Deserialize, Serialize};

use crate::solve::{Symmetric, non_negative};

/// Routes with a weight of their own: those that cost most. What the others cost keeps its proportions.
const OWN_MAX: usize = 62;
/// Own routes are chosen anew when another costs so many times what the least of them does, and more than
/// they all do in the mean.
const OUTGROWN: f64 = 2.0;
/// A weight is as likely as not to differ from the last one by so many times itself, or by so many times
/// a quarter of the mean weight where it is small.
const SPREAD: f64 = 2.0;
const SMALL: f64 = 0.25;
/// What is busy without requests is hardly more than this part of all.
const IDLE: f64 = 0.25;
/// Chance in a window of one request is at least this part of a request's mean cost, so that windows
/// without any leave the ridge something to do.
const CHANCE_MIN: f64 = 0.01;
/// No last weight is less than this part of the mean, for from nothing there is no way back.
const LEAST: f64 = 1.0 / 1024.0;
/// No window has more requests of a route, or seconds: squares of these stay finite.
const MOST: f64 = 1e15;
/// Fewer windows than this, and than two for each weight, teach nothing.
const WINDOWS_MIN: f64 = 60.0;
/// The last weights are kept unless new ones explain more than so many times what chance would.
const WORTH: f64 = 4.0;

/// What one window saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Requests of each route that were served.
    pub requests: Vec<f64>,
    /// Seconds that processors were busy, or the sum of the requests' service times.
    pub busy_secs: f64,
}

/// What windows come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Busy seconds per request of each route, none below zero.
    pub weights: Vec<f64>,
    /// The standard error of each, in busy seconds.
    pub errors: Vec<f64>,
    /// Busy seconds of a window in which nothing is asked.
    pub idle_secs: f64,
    /// Condition number of the normal equations in the 1-norm, the ridge included. Less than a million is
    /// usual; more says that some routes cannot be told apart.
    pub condition: f64,
    /// The part of the variance of the busy seconds that is explained, windows weighted as above.
    pub r2: f64,
    /// Whether these are the last weights, for the windows teach no better ones.
    pub kept: bool,
    /// How many windows it is over; those that have faded count for less than one.
    pub windows: f64,
    /// Windows set aside, see [`weigh`].
    pub aside: usize,
}

/// The weights of one service, and what windows have said of them. Bounded by the number of routes:
/// windows are kept as sums.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// The last weights by route. They mean something by their proportions only.
    last: Vec<f64>,
    /// Places of the routes with a column of their own; then comes one for the rest, and one for idle.
    own: Vec<usize>,
    gram: Symmetric,
    moment: Vec<f64>,
    square: f64,
    /// Sums over the windows.
    requests: Vec<f64>,
    busy: f64,
    windows: f64,
}

/// The normal equations in units of what the ridge holds: there it is the identity.
struct Scaled {
    /// Busy seconds of a unit, by column.
    units: Vec<f64>,
    /// The last weights.
    centre: Vec<f64>,
}

impl Weights {
    /// Of a service of which no window was seen. `last` are the weights that are believed until then, in
    /// any unit; they must be above zero.
    #[must_use]
    pub fn new(last: Vec<f64>) -> Self {
        let requests = vec![0.0; last.len()];
        Self { last, requests, ..Self::default() }
    }

    /// Takes in a window: requests that were served, by route, and seconds that processors were busy.
    /// What is negative, absurdly much or no number is ignored.
    pub fn add_window(&mut self, requests: &[f64], busy_secs: f64) {
        let sane = |x: &f64| (0.0..=MOST).contains(x);
        if requests.len() != self.last.len() || !requests.iter().chain([&busy_secs]).all(sane) {
            return;
        }
        if self.moment.is_empty() {
            self.begin(requests);
        }
        let row = self.row(requests);
        let weight = 1.0 / (1.0 + requests.iter().sum::<f64>());
        self.gram.add_square(&row, weight);
        for (sum, x) in self.moment.iter_mut().zip(&row) {
            *sum += weight * x * busy_secs;
        }
        self.square += weight * busy_secs * busy_secs;
        self.requests.iter_mut().zip(requests).for_each(|(sum, n)| *sum += n);
        self.busy += busy_secs;
        self.windows += 1.0;
    }

    /// How many windows have been seen; those that have faded count for less than one.
    #[must_use]
    pub fn windows(&self) -> f64 {
        self.windows
    }

    /// Requests by route, and busy seconds, of all windows, faded as they are.
    pub(crate) fn sums(&self) -> (&[f64], f64) {
        (&self.requests, self.busy)
    }

    /// Lets all windows fade to the part `keep` in [0, 1], and moves the last weights to those found now.
    /// Returns these.
    pub fn fade(&mut self, keep: f64) -> Fit {
        let fit = self.fit();
        let Some((scale, _)) = self.proportion() else { return fit };
        if !fit.kept {
            self.move_last(&fit, 1.0 - keep, scale);
        }
        self.gram.scale(keep);
        let sums = self.moment.iter_mut().chain(&mut self.requests);
        sums.chain([&mut self.square, &mut self.busy, &mut self.windows]).for_each(|x| *x *= keep);
        if self.outgrown() {
            // The windows say nothing of those that have grown, but what they came to is kept.
            self.move_last(&fit, 1.0, scale);
            let requests = self.requests.clone();
            self.begin(&requests);
        }
        fit
    }

    /// The weights, as of now.
    #[must_use]
    pub fn fit(&self) -> Fit {
        let Some(scaled) = self.scaled() else {
            return Fit {
                weights: self.last.clone(),
                errors: vec![f64::INFINITY; self.last.len()],
                idle_secs: 0.0,
                condition: 1.0,
                r2: 0.0,
                kept: true,
                windows: self.windows,
                aside: 0,
            };
        };
        let misfit_before = self.misfit(&scaled, &scaled.centre);
        let mut found = scaled.centre.clone();
        let mut chance = self.chance(misfit_before);
        // Chance is what is left unexplained, first by the last weights, then by better ones.
        for _ in 0..3 {
            let (equations, right) = self.equations(&scaled, chance);
            found = non_negative(&equations, &right, found);
            chance = self.chance(self.misfit(&scaled, &found));
        }
        let columns = found.len() as f64;
        let gain = (misfit_before - self.misfit(&scaled, &found)) / chance;
        let few = self.windows < WINDOWS_MIN.max(2.0 * columns);
        let kept = few || gain < WORTH * columns;
        if kept {
            found.clone_from(&scaled.centre);
        }
        let (equations, _) = self.equations(&scaled, chance);
        let inverse = equations.inverse();
        let spread = |column: usize| scaled.units[column] * inverse.at(column, column).sqrt();
        let secs: Vec<f64> = found.iter().zip(&scaled.units).map(|(x, unit)| x * unit).collect();
        let idle = secs.len() - 1;
        Fit {
            weights: self.by_route(&secs),
            errors: self.by_route(&(0..secs.len()).map(spread).collect::<Vec<_>>()),
            idle_secs: secs[idle],
            condition: equations.norm() * inverse.norm(),
            r2: self.explained(self.misfit(&scaled, &found)),
            kept,
            windows: self.windows,
            aside: 0,
        }
    }

    /// Begins with no windows, and with columns for those routes that cost most of `requests`.
    fn begin(&mut self, requests: &[f64]) {
        self.own = self.costly(requests);
        let columns = self.own.len() + usize::from(self.has_rest()) + 1;
        self.gram = Symmetric::zero(columns);
        self.moment = vec![0.0; columns];
        self.requests.fill(0.0);
        (self.square, self.busy, self.windows) = (0.0, 0.0, 0.0);
    }

    /// Moves the last weights by `part` of the way to those of `fit`.
    fn move_last(&mut self, fit: &Fit, part: f64, scale: f64) {
        let way = |last: f64, now: f64| last + part * (now - last);
        if let Some(place) =
            (0..self.last.len()).find(|place| self.own.binary_search(place).is_err())
        {
            // They keep their proportions: only the unit of their column changes.
            let by = way(1.0, fit.weights[place] / scale / self.last[place]).max(LEAST);
            let places =
                (0..self.last.len()).filter(|place| self.own.binary_search(place).is_err());
            places.for_each(|place| self.last[place] *= by);
            let column = self.own.len();
            self.gram.scale_column(column, by);
            self.moment[column] *= by;
        }
        let cost: f64 = (0..self.last.len()).map(|place| self.cost(place)).sum();
        let least = LEAST * cost / self.requests.iter().sum::<f64>();
        for place in &self.own {
            let last = way(self.last[*place], fit.weights[*place] / scale);
            self.last[*place] = last.max(least);
        }
    }

    /// Whether there are routes without a column of their own.
    fn has_rest(&self) -> bool {
        self.own.len() < self.last.len()
    }

    /// Places of the routes that cost most, in order.
    fn costly(&self, requests: &[f64]) -> Vec<usize> {
        let cost = |place: usize| self.last[place] * requests[place];
        let mut places: Vec<usize> = (0..self.last.len()).collect();
        places.sort_by(|a, b| cost(*b).total_cmp(&cost(*a)).then(a.cmp(b)));
        places.truncate(OWN_MAX);
        places.sort_unstable();
        places
    }

    fn cost(&self, place: usize) -> f64 {
        self.last[place] * self.requests[place]
    }

    /// Whether another route costs clearly more than one of those with a column.
    fn outgrown(&self) -> bool {
        let own = || self.own.iter().map(|place| self.cost(*place));
        let mean = own().sum::<f64>() / OWN_MAX as f64;
        let least = own().fold(f64::INFINITY, f64::min);
        let others = (0..self.last.len()).filter(|place| self.own.binary_search(place).is_err());
        let most = others.map(|place| self.cost(place)).fold(0.0, f64::max);
        most > mean.max(OUTGROWN * least)
    }

    /// A window by column.
    fn row(&self, requests: &[f64]) -> Vec<f64> {
        let mut row: Vec<f64> = self.own.iter().map(|place| requests[*place]).collect();
        if self.has_rest() {
            let all: f64 = self.last.iter().zip(requests).map(|(weight, n)| weight * n).sum();
            let own: f64 = self.own.iter().map(|place| self.last[*place] * requests[*place]).sum();
            row.push((all - own).max(0.0));
        }
        row.push(1.0);
        row
    }

    /// By route what `columns` has by column.
    fn by_route(&self, columns: &[f64]) -> Vec<f64> {
        let rest = columns.get(self.own.len()).copied().unwrap_or(0.0);
        let mut routes: Vec<f64> = self.last.iter().map(|last| rest * last).collect();
        for (place, weight) in self.own.iter().zip(columns) {
            routes[*place] = *weight;
        }
        routes
    }

    /// Busy seconds of a unit of the last weights, and of a window in which nothing is asked, with which
    /// the last weights explain the windows best. The latter is taken for as small as may be.
    fn proportion(&self) -> Option<(f64, f64)> {
        let idle = self.moment.len().checked_sub(1)?;
        let mut last: Vec<f64> = self.own.iter().map(|place| self.last[*place]).collect();
        last.resize(idle, 1.0);
        last.push(0.0);
        let (both, ones) = (self.gram.times(idle, &last), self.gram.at(idle, idle));
        let ones = ones + self.small_idle();
        let square = self.gram.quadratic(&last);
        let cost: f64 = last.iter().zip(&self.moment).map(|(last, moment)| last * moment).sum();
        let busy = self.moment[idle];
        let by = square * ones - both * both;
        let (scale, idle) = ((cost * ones - busy * both) / by, (busy * square - cost * both) / by);
        let (scale, idle) =
            if scale > 0.0 && idle > 0.0 { (scale, idle) } else { (cost / square, 0.0) };
        (scale.is_finite() && scale > 0.0).then_some((scale, idle))
    }

    /// The weight of an idle window's being none, if requests' costs varied as much as they are large.
    fn small_idle(&self) -> f64 {
        let part = IDLE * self.requests.iter().sum::<f64>() / self.windows;
        1.0 / (part * part)
    }

    fn scaled(&self) -> Option<Scaled> {
        let (scale, idle) = self.proportion()?;
        let mean = self.busy / self.requests.iter().sum::<f64>();
        let mut units = Vec::with_capacity(self.moment.len());
        let mut centre = Vec::with_capacity(self.moment.len());
        for place in &self.own {
            let last = scale * self.last[*place];
            let unit = SPREAD * last.max(SMALL * mean);
            units.push(unit);
            centre.push(last / unit);
        }
        if self.has_rest() {
            units.push(SPREAD * scale);
            centre.push(1.0 / SPREAD);
        }
        let unit = idle.max(IDLE * self.busy / self.windows);
        units.push(unit);
        centre.push(idle / unit);
        Some(Scaled { units, centre })
    }

    /// The normal equations where a request's cost varies by `chance`.
    fn equations(&self, scaled: &Scaled, chance: f64) -> (Symmetric, Vec<f64>) {
        let equations = self.gram.scaled(&scaled.units, 1.0 / chance).plus_identity();
        let columns = self.moment.iter().zip(&scaled.units).zip(&scaled.centre);
        let right = columns.map(|((moment, unit), centre)| moment * unit / chance + centre);
        (equations, right.collect())
    }

    /// What `found` leaves unexplained: a weighted sum of squares.
    fn misfit(&self, scaled: &Scaled, found: &[f64]) -> f64 {
        let secs: Vec<f64> = found.iter().zip(&scaled.units).map(|(x, unit)| x * unit).collect();
        let linear: f64 = secs.iter().zip(&self.moment).map(|(x, moment)| x * moment).sum();
        (self.square - 2.0 * linear + self.gram.quadratic(&secs)).max(0.0)
    }

    /// Variance of a request's cost.
    fn chance(&self, misfit: f64) -> f64 {
        let least = CHANCE_MIN * self.busy / self.requests.iter().sum::<f64>();
        let freedom = (self.windows - self.moment.len() as f64).max(self.windows / 4.0);
        (misfit / freedom).max(least * least)
    }

    fn explained(&self, misfit: f64) -> f64 {
        let idle = self.moment.len() - 1;
        let (sum, busy) = (self.gram.at(idle, idle), self.moment[idle]);
        let all = self.square - busy * busy / sum;
        if all > 0.0 { 1.0 - misfit / all } else { 0.0 }
    }
}

/// Windows that differ from what the others say by more than this part and by so many times what is usual
/// are set aside.
const ASIDE: f64 = 0.25;
const ASIDE_USUAL: f64 = 5.0;
/// Standard deviation of a normal variable whose median distance from its median is one.
const SIGMA_PER_MEDIAN: f64 = 1.4826;

/// The weights of `windows` at once, from a log say, in any order, with `last` as in [`Weights::new`].
///
/// In a log a request's service time holds what it waited for. Windows in which much more or less was busy
/// than the others explain, such as an hour with a slow database, are set aside, as long as they are fewer
/// than half. Of a log that has each request's own time, the windows had best be of one route each.
#[must_use]
pub fn weigh(last: &[f64], windows: &[Window]) -> Fit {
    let mut aside = vec![false; windows.len()];
    for _ in 0..10 {
        let fit = fit_of(last, windows, &aside);
        let now = odd(&fit, windows);
        if now == aside {
            return fit;
        }
        aside = now;
    }
    fit_of(last, windows, &aside)
}

fn fit_of(last: &[f64], windows: &[Window], aside: &[bool]) -> Fit {
    let mut weights = Weights::new(last.to_vec());
    let all = |place| windows.iter().filter_map(|window| window.requests.get(place)).sum();
    weights.begin(&(0..last.len()).map(all).collect::<Vec<f64>>());
    for (window, _) in windows.iter().zip(aside).filter(|(_, aside)| !**aside) {
        weights.add_window(&window.requests, window.busy_secs);
    }
    Fit { aside: aside.iter().filter(|aside| **aside).count(), ..weights.fit() }
}

/// Which windows differ from `fit` by more than chance.
fn odd(fit: &Fit, windows: &[Window]) -> Vec<bool> {
    let sum = |window: &Window, cost: fn(f64) -> f64| -> f64 {
        window.requests.iter().zip(&fit.weights).map(|(n, weight)| n * cost(*weight)).sum()
    };
    let ratio = |window: &Window| window.busy_secs / (fit.idle_secs + sum(window, |cost| cost));
    let ratios: Vec<f64> = windows.iter().map(ratio).collect();
    // The fit may be drawn by what is odd, and is then off for all the others by the same part.
    let usual = median(ratios.iter().copied().filter(|ratio| ratio.is_finite()).collect());
    let apart: Vec<f64> = ratios.iter().map(|ratio| (ratio / usual - 1.0).abs()).collect();
    // In units of what chance makes of it, which is less where there are many requests.
    let chance = windows.iter().map(|window| {
        let square = sum(window, |cost| cost * cost);
        square.sqrt() / sum(window, |cost| cost)
    });
    let by_chance: Vec<f64> = apart.iter().zip(chance).map(|(apart, by)| apart / by).collect();
    let known = by_chance.iter().copied().filter(|by| by.is_finite());
    let most = ASIDE_USUAL * SIGMA_PER_MEDIAN * median(known.collect());
    apart.iter().zip(&by_chance).map(|(apart, by)| *apart > ASIDE && *by > most).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
