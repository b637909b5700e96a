//! What many requests come to: by second, by window, and by route.

use std::collections::HashMap;

use serde::Serialize;
use spillway_model::{UnixMillis, histogram};

use super::names::OTHERS;
use super::series::Series;
use super::{Entry, LogError, Names};
use crate::Trace;
use crate::trace::ROWS_MAX;

/// Names that are told apart; see [`Names`] for what becomes of more.
const ROUTES_MAX: usize = 400;
/// A part of a path that has so many values is taken as any.
const FOLD_MIN: usize = 8;
/// Most times that names are folded, which takes a moment.
const FOLDS_MAX: usize = 200;
/// Shortest windows, in seconds, and most of them.
const WINDOW_SECS: u64 = 10;
const WINDOWS_MAX: usize = 2048;
/// Times further from the first one's are taken as wrong: nobody reads a log of two years at once.
const YEAR_SECS: u64 = 366 * 86_400;
/// With fewer requests in a step, chance alone changes it by more than a tenth.
const STEADY: f64 = 100.0;
/// A time without a line that is told.
const GAP_SECS: u64 = 60;

/// Sums over all requests.
#[derive(Debug)]
pub struct Survey<'a> {
    names: Names<'a>,
    rows: Vec<Row>,
    places: HashMap<String, usize>,
    folds: usize,
    /// Whether new names are [`OTHERS`].
    full: bool,
    name: String,
    requests: u64,
    /// The first second and the last.
    span: Option<(u64, u64)>,
    by_second: Series,
}

/// Sums of one route.
#[derive(Debug)]
struct Row {
    name: String,
    requests: u64,
    answers: u64,
    bytes: u64,
    timed: u64,
    secs: f64,
    latency: Vec<u64>,
    by_window: Series,
    /// Of them, those whose service time is known, and that time.
    timed_by_window: Series,
    secs_by_window: Series,
}

/// What requests of one route are like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteRow {
    /// Its name.
    pub route: String,
    /// Requests.
    pub requests: u64,
    /// Of them in a second, in the mean over all of the log.
    pub per_sec: f64,
    /// The same in the window with most of them,
    pub peak_per_sec: f64,
    /// which is so many seconds: the longer the log, the longer.
    pub peak_window_secs: u64,
    /// Answers that a service gave as it should.
    pub answers: u64,
    /// Bytes of such an answer, in the mean; `None` without any.
    pub bytes_per_answer: Option<f64>,
    /// Milliseconds that a service took for it, in the mean; `None` where the log does not tell.
    pub service_ms_mean: Option<f64>,
    /// The 95th percentile of that, up to 4.5 % too high.
    pub service_ms_p95: Option<f64>,
}

/// What a service took for the requests of one route in one window of time: what costs of routes can be
/// learned from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Place of the route among those asked about.
    pub route: usize,
    /// Answered requests whose service time is known.
    pub requests: f64,
    /// Seconds that they took.
    pub service_secs: f64,
}

impl<'a> Survey<'a> {
    pub(super) fn new(names: Names<'a>) -> Self {
        Self {
            names,
            rows: Vec::new(),
            places: HashMap::new(),
            folds: 0,
            full: false,
            name: String::new(),
            requests: 0,
            span: None,
            by_second: Series::new(1, ROWS_MAX),
        }
    }

    /// Counts a request; `false` when its time is too far from that of the first.
    pub(super) fn add(&mut self, entry: &Entry<'_>) -> bool {
        let at = entry.at.0 / 1000;
        let (first, last) = self.span.unwrap_or((at, at));
        if at > first + YEAR_SECS || at + YEAR_SECS < last {
            return false;
        }
        self.span = Some((first.min(at), last.max(at)));
        self.requests += 1;
        self.by_second.add(at, 1.0);
        let place = self.place(entry);
        let Some(row) = self.rows.get_mut(place) else { return true };
        row.requests += 1;
        row.by_window.add(at, 1.0);
        if !entry.answered {
            return true;
        }
        row.answers += 1;
        row.bytes = row.bytes.saturating_add(entry.bytes);
        if let Some(secs) = entry.service_secs {
            row.timed += 1;
            row.secs += secs;
            let bucket = histogram::bucket(crate::chance::whole(secs * 1e6));
            if let Some(count) = row.latency.get_mut(bucket) {
                *count += 1;
            }
            row.timed_by_window.add(at, 1.0);
            row.secs_by_window.add(at, secs);
        }
        true
    }

    /// The row of an entry, made when there is none yet.
    fn place(&mut self, entry: &Entry<'_>) -> usize {
        self.names.write(entry, &mut self.name);
        if let Some(place) = self.places.get(&self.name) {
            return *place;
        }
        loop {
            let folded = self.names.folded(&self.name);
            let name = folded.as_ref().unwrap_or(&self.name);
            if let Some(place) = self.places.get(name) {
                return *place;
            }
            if self.rows.len() < ROUTES_MAX || folded.is_some() {
                let name = name.clone();
                return self.row(name);
            }
            if self.full || !self.fold() {
                self.full = true;
                let others = OTHERS.to_owned();
                return self.places.get(&others).copied().unwrap_or_else(|| self.row(others));
            }
        }
    }

    fn row(&mut self, name: String) -> usize {
        let place = self.rows.len();
        self.places.insert(name.clone(), place);
        self.rows.push(Row {
            name,
            requests: 0,
            answers: 0,
            bytes: 0,
            timed: 0,
            secs: 0.0,
            latency: vec![0; histogram::BUCKETS],
            by_window: Series::new(WINDOW_SECS, WINDOWS_MAX),
            timed_by_window: Series::new(WINDOW_SECS, WINDOWS_MAX),
            secs_by_window: Series::new(WINDOW_SECS, WINDOWS_MAX),
        });
        place
    }

    /// Makes several rows one; `false` when there are none that are alike.
    fn fold(&mut self) -> bool {
        self.folds += 1;
        let names = self.rows.iter().map(|row| row.name.as_str());
        let fold = (self.folds <= FOLDS_MAX).then(|| self.names.fold(names, FOLD_MIN)).flatten();
        if fold.is_none() {
            return false;
        }
        let rows = std::mem::take(&mut self.rows);
        self.places.clear();
        for row in rows {
            let name = self.names.folded(&row.name).unwrap_or_else(|| row.name.clone());
            let place = self.places.get(&name).copied();
            let place = place.unwrap_or_else(|| self.row(name));
            if let Some(into) = self.rows.get_mut(place) {
                into.merge(row);
            }
        }
        true
    }

    /// Requests in all.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// When the first request came and when the last, to the second; both at 0 without any.
    #[must_use]
    pub fn span(&self) -> (UnixMillis, UnixMillis) {
        let (first, last) = self.span.unwrap_or_default();
        (UnixMillis(first * 1000), UnixMillis(last * 1000))
    }

    /// Seconds from the first request to the last, both included.
    #[must_use]
    pub fn secs(&self) -> u64 {
        self.span.map_or(0, |(first, last)| last - first + 1)
    }

    /// Requests per second, in the mean and in the second with most of them.
    #[must_use]
    pub fn rates(&self) -> (f64, f64) {
        let mean = self.requests as f64 / self.secs().max(1) as f64;
        (mean, (self.by_second.most() / self.by_second.secs() as f64).max(mean))
    }

    /// What requests of each route are like, the most frequent first.
    #[must_use]
    pub fn rows(&self) -> Vec<RouteRow> {
        let secs = self.secs().max(1) as f64;
        self.sorted().into_iter().map(|row| row.told(secs)).collect()
    }

    fn sorted(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.name.cmp(&b.name)));
        rows
    }

    /// What the routes at `places` of [`Self::rows`] took, each in at most `windows` windows of equal length,
    /// and the seconds of a window. One that the log covers but in part, at either end, is left out, and so is
    /// one without a request.
    #[must_use]
    pub fn windows(&self, places: &[usize], windows: usize) -> (u64, Vec<Window>) {
        let sorted = self.sorted();
        let rows: Vec<&Row> =
            places.iter().filter_map(|place| sorted.get(*place).copied()).collect();
        let own = rows.iter().flat_map(|row| [&row.timed_by_window, &row.secs_by_window]);
        let own = own.map(Series::secs).max().unwrap_or(WINDOW_SECS);
        // All are of ten seconds, doubled some times.
        let secs = self.secs().div_ceil(windows.max(1) as u64).div_ceil(own).max(1) * own;
        let (from, count) = self.whole(secs);
        let all = rows.iter().enumerate().flat_map(|(route, row)| {
            let requests = row.timed_by_window.spans(secs, from, count);
            let service_secs = row.secs_by_window.spans(secs, from, count);
            let windows = requests.into_iter().zip(service_secs);
            windows
                .filter(|(requests, _)| *requests > 0.0)
                .map(move |(requests, service_secs)| Window { route, requests, service_secs })
        });
        (secs, all.collect())
    }

    /// The first second of the spans of `secs` seconds that the log covers whole, and how many there are.
    fn whole(&self, secs: u64) -> (u64, usize) {
        let (first, last) = self.span.unwrap_or_default();
        let (from, to) = (first.div_ceil(secs), (last + 1) / secs);
        (from * secs, usize::try_from(to.saturating_sub(from)).unwrap_or(0))
    }

    /// Requests by steps of `step_secs` seconds, and the seconds that steps have: more when a trace would
    /// have too many of them. A step that the log covers but in part, at either end, is left out.
    ///
    /// # Errors
    /// When there are less than two whole steps.
    pub fn trace(&self, step_secs: u64) -> Result<(Trace, u64), LogError> {
        let own = self.by_second.secs();
        let step = step_secs.max(1).div_ceil(own) * own;
        let (from, count) = self.whole(step);
        let values = self.by_second.spans(step, from, count);
        if values.len() < 2 || values.iter().all(|value| *value == 0.0) {
            return Err(LogError::Short { secs: self.secs(), step });
        }
        let mut notes = Vec::new();
        if step > step_secs {
            notes.push(format!("so long a time is counted in steps of {step} s"));
        }
        let zeros = values.iter().filter(|value| **value == 0.0).count();
        if let Some((after, secs)) = longest_gap(&values, step) {
            let from = UnixMillis((from + after) * 1000);
            notes.push(format!(
                "{zeros} of {} steps have no request, and are taken as such; the longest time without is {secs} s from {from} on",
                values.len()
            ));
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        if mean < STEADY {
            notes.push(format!(
                "a step of {step} s has {mean:.1} requests in the mean, so that chance alone changes it by {:.0} %: longer steps (--step) have less of it",
                100.0 / mean.sqrt()
            ));
        }
        Ok((Trace { values, notes }, step))
    }
}

impl Row {
    fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.answers += other.answers;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.timed += other.timed;
        self.secs += other.secs;
        for (sum, count) in self.latency.iter_mut().zip(other.latency) {
            *sum += count;
        }
        self.by_window.merge(other.by_window);
        self.timed_by_window.merge(other.timed_by_window);
        self.secs_by_window.merge(other.secs_by_window);
    }

    fn told(&self, secs: f64) -> RouteRow {
        let per_sec = self.requests as f64 / secs;
        let peak = self.by_window.most() / self.by_window.secs() as f64;
        RouteRow {
            route: self.name.clone(),
            requests: self.requests,
            per_sec,
            // A log may be shorter than a window.
            peak_per_sec: peak.max(per_sec),
            peak_window_secs: self.by_window.secs(),
            answers: self.answers,
            bytes_per_answer: mean(self.bytes as f64, self.answers),
            service_ms_mean: mean(self.secs * 1000.0, self.timed),
            service_ms_p95: histogram::quantile_ms(&self.latency, 0.95),
        }
    }
}

fn mean(sum: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}

/// The longest time without a request, if it is long: its second from the first step on, and its length.
fn longest_gap(values: &[f64], step: u64) -> Option<(u64, u64)> {
    let mut at = 0;
    let mut longest: Option<(u64, u64)> = None;
    for run in values.chunk_by(|a, b| (*a == 0.0) == (*b == 0.0)) {
        let secs = run.len() as u64 * step;
        let gap = run.first() == Some(&0.0) && secs >= GAP_SECS;
        if gap && longest.is_none_or(|(_, most)| secs > most) {
            longest = Some((at, secs));
        }
        at += secs;
    }
    longest
}

/// Milliseconds of seconds that are not negative.
pub(super) fn millis(secs: f64) -> u64 {
    crate::chance::whole(secs * 1000.0)
}
