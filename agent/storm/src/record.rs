//! Counting what happens, second by second, without keeping anything per request.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};
use spillway_model::UnixMillis;

use crate::cohort::Move;
use crate::outcome::{Failure, Served};
use crate::profile::{Curve, second_index};
use crate::report::{Latency, Second, Totals};

/// Longest latency told apart, in microseconds; a request's deadline lies below it.
const LONGEST_US: u64 = 60_000_000;
/// Most moves that are kept.
const MOVES_MAX: usize = 1_000_000;
/// Most functions that are counted by name.
const FUNCTIONS_MAX: usize = 64;

/// How a request ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Second in which it was meant to start.
    pub(crate) second: usize,
    /// From then to the answer's last byte.
    pub(crate) latency: Duration,
    pub(crate) result: Result<Good, Failure>,
    /// Who served it, when there was an answer.
    pub(crate) served: Option<Served>,
    /// When the answer began.
    pub(crate) answered: UnixMillis,
    pub(crate) function: Option<http::HeaderValue>,
    pub(crate) redirects: u64,
    pub(crate) body_bytes: u64,
}

/// How a request ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Good {
    /// Answered in full.
    Whole,
    /// Answered with less, as a knob wants it.
    Degraded,
    /// Refused with 503 by a knob, on purpose.
    Refused,
}

/// What happened since the last look, for the progress line.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) second: Second,
    latency: Histogram<u32>,
}

/// All counts of a storm.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) seconds: Vec<Second>,
    pub(crate) totals: Totals,
    pub(crate) moves: Vec<Move>,
    pub(crate) moves_dropped: u64,
    site_names: Vec<String>,
    /// Histograms of the seconds from `open_from` on; older ones have been summed up.
    open: VecDeque<Histogram<u32>>,
    open_from: usize,
    all: Histogram<u64>,
    site: Histogram<u64>,
    cloud: Histogram<u64>,
    live: Live,
}

impl Recorder {
    /// A recorder for a curve. Requests end at most `deadline` after their second.
    pub(crate) fn new(
        curve: &Curve,
        cap_bits_per_sec: f64,
        site_names: Vec<String>,
        deadline: Duration,
    ) -> Result<Self, CreationError> {
        let count = second_index(curve.secs().ceil()).max(1);
        let second = |t: usize| Second {
            t: u32::try_from(t).unwrap_or(u32::MAX),
            wanted: curve.arrivals_before(t as f64 + 1.0) - curve.arrivals_before(t as f64),
            uplink_cap_bits_per_sec: cap_bits_per_sec,
            ..Second::default()
        };
        // Two seconds more than a deadline: the second itself, and one for a late tick.
        let window = second_index(deadline.as_secs_f64().ceil()) + 3;
        let open = (0..window).map(|_| short()).collect::<Result<_, _>>()?;
        let long = || Histogram::new_with_bounds(1, LONGEST_US, 3);
        Ok(Self {
            seconds: (0..count).map(second).collect(),
            totals: Totals::default(),
            moves: Vec::new(),
            moves_dropped: 0,
            site_names,
            open,
            open_from: 0,
            all: long()?,
            site: long()?,
            cloud: long()?,
            live: Live { second: Second::default(), latency: short()? },
        })
    }

    /// A request is due in a second.
    pub(crate) fn arrived(&mut self, second: usize, late: Duration) {
        self.totals.late_ms_max = self.totals.late_ms_max.max(late.as_secs_f64() * 1e3);
        self.each(second, |counts| counts.arrivals += 1);
        self.totals.arrivals += 1;
    }

    /// A request is sent in a second.
    pub(crate) fn sent(&mut self, second: usize) {
        self.each(second, |counts| counts.sent += 1);
        self.totals.sent += 1;
    }

    /// A request cannot be sent.
    pub(crate) fn overrun(&mut self, second: usize) {
        self.each(second, |counts| {
            counts.failed += 1;
            counts.failures.count(Failure::Overrun);
        });
        self.totals.failed += 1;
        self.totals.failures.count(Failure::Overrun);
    }

    /// A request that was sent came to its end.
    pub(crate) fn ended(&mut self, end: &Ended) {
        let Ended { result, served, .. } = *end;
        self.each(end.second, |counts| match (result, served) {
            (Ok(Good::Refused), _) => counts.refused += 1,
            (Ok(good), served) => {
                counts.ok += 1;
                counts.degraded += u64::from(good == Good::Degraded);
                counts.site += u64::from(matches!(served, Some(Served::Site(_))));
                counts.cloud += u64::from(served == Some(Served::Cloud));
            }
            (Err(kind), _) => {
                counts.failed += 1;
                counts.failures.count(kind);
            }
        });
        self.totals.redirects += end.redirects;
        self.totals.body_bytes += end.body_bytes;
        match result {
            Ok(Good::Refused) => self.totals.refused += 1,
            Ok(good) => {
                self.totals.degraded += u64::from(good == Good::Degraded);
                self.served(served, end.answered);
            }
            Err(kind) => {
                self.totals.failed += 1;
                self.totals.failures.count(kind);
            }
        }
        if let Some(function) = end.function.as_ref().and_then(|name| name.to_str().ok()) {
            count_name(&mut self.totals.functions, function);
        }
        // An answer has a latency, and a timeout has at least its deadline. To leave timeouts out
        // would make the tail look better the worse it is.
        if served.is_some() || result == Err(Failure::Timeout) {
            self.time(end.second, end.latency, served);
        }
    }

    fn served(&mut self, served: Option<Served>, answered: UnixMillis) {
        self.totals.ok += 1;
        let name = match served {
            Some(Served::Site(index)) => self.site_names.get(index).map_or("elsewhere", |n| n),
            Some(Served::Cloud) => "cloud",
            Some(Served::Elsewhere) | None => "elsewhere",
        };
        match self.totals.served.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(self.totals.served.insert(name.to_owned(), 1)),
        }
        if served == Some(Served::Cloud) {
            let first = self.totals.first_cloud_at.get_or_insert(answered);
            *first = answered.min(*first);
        }
    }

    fn time(&mut self, second: usize, latency: Duration, served: Option<Served>) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST_US);
        self.all.saturating_record(us);
        match served {
            Some(Served::Site(_)) => self.site.saturating_record(us),
            Some(Served::Cloud) => self.cloud.saturating_record(us),
            Some(Served::Elsewhere) | None => {}
        }
        self.live.latency.saturating_record(us);
        let open = second.checked_sub(self.open_from).and_then(|i| self.open.get_mut(i));
        if let Some(histogram) = open {
            histogram.saturating_record(us);
        }
    }

    fn each(&mut self, second: usize, mut count: impl FnMut(&mut Second)) {
        count(&mut self.live.second);
        let last = self.seconds.len().saturating_sub(1);
        if let Some(counts) = self.seconds.get_mut(second.min(last)) {
            count(counts);
        }
    }

    /// Keeps a move.
    pub(crate) fn moved(&mut self, moved: Move) {
        if self.moves.len() < MOVES_MAX {
            self.moves.push(moved);
        } else {
            self.moves_dropped += 1;
        }
    }

    /// Sums up the latency of seconds that no request can end in any more; `now` is the present
    /// second.
    pub(crate) fn close_before(&mut self, now: usize) {
        while self.open_from + self.open.len() <= now + 1 {
            self.close_one();
        }
    }

    fn close_one(&mut self) {
        if let Some(mut histogram) = self.open.pop_front() {
            if let Some(second) = self.seconds.get_mut(self.open_from) {
                (second.p50_ms, second.p99_ms) =
                    (quantile(&histogram, 0.5), quantile(&histogram, 0.99));
            }
            histogram.reset();
            self.open.push_back(histogram);
        }
        self.open_from += 1;
    }

    /// What happened since this was last called.
    pub(crate) fn take_live(&mut self) -> Second {
        let mut second = std::mem::take(&mut self.live.second);
        second.p50_ms = quantile(&self.live.latency, 0.5);
        second.p99_ms = quantile(&self.live.latency, 0.99);
        self.live.latency.reset();
        second
    }

    /// Sums everything up.
    pub(crate) fn finish(&mut self) {
        while self.open_from < self.seconds.len() {
            self.close_one();
        }
        self.totals.latency = latency(&self.all);
        self.totals.latency_site = latency(&self.site);
        self.totals.latency_cloud = latency(&self.cloud);
        let ended = self.totals.ok + self.totals.refused + self.totals.failed;
        self.totals.abandoned = self.totals.arrivals.saturating_sub(ended);
        self.moves.sort_by_key(|m| (m.sent_ms, m.client));
    }
}

fn short() -> Result<Histogram<u32>, CreationError> {
    Histogram::new_with_bounds(1, LONGEST_US, 2)
}

fn quantile(histogram: &Histogram<u32>, q: f64) -> Option<f64> {
    (!histogram.is_empty()).then(|| histogram.value_at_quantile(q) as f64 / 1e3)
}

fn latency(histogram: &Histogram<u64>) -> Latency {
    if histogram.is_empty() {
        return Latency::default();
    }
    let at = |q| histogram.value_at_quantile(q) as f64 / 1e3;
    Latency {
        count: histogram.len(),
        p50_ms: at(0.5),
        p95_ms: at(0.95),
        p99_ms: at(0.99),
        p999_ms: at(0.999),
        max_ms: histogram.max() as f64 / 1e3,
    }
}

fn count_name(counts: &mut BTreeMap<String, u64>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count += 1;
    } else {
        let name = if counts.len() < FUNCTIONS_MAX { name } else { "others" };
        *counts.entry(name.to_owned()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder(secs: f64) -> Recorder {
        let curve = Curve::new(vec![(0.0, 10.0), (secs, 10.0)]).unwrap();
        Recorder::new(&curve, 6e6, vec!["east".into()], Duration::from_secs(10)).unwrap()
    }

    fn end(second: usize, ms: u64, result: Result<Good, Failure>, served: Option<Served>) -> Ended {
        Ended {
            second,
            latency: Duration::from_millis(ms),
            result,
            served,
            answered: UnixMillis(1000 * second as u64 + ms),
            function: None,
            redirects: 0,
            body_bytes: 10,
        }
    }

    #[test]
    fn every_arrival_is_accounted_for() {
        let mut recorder = recorder(3.0);
        for second in [0, 0, 1, 1, 1, 2, 2, 2] {
            recorder.arrived(second, Duration::ZERO);
        }
        recorder.overrun(2);
        for second in [0, 0, 1, 1, 1, 2, 2] {
            recorder.sent(second);
        }
        recorder.ended(&end(0, 5, Ok(Good::Whole), Some(Served::Site(0))));
        recorder.ended(&end(0, 7, Ok(Good::Whole), Some(Served::Cloud)));
        recorder.ended(&end(1, 9, Ok(Good::Refused), Some(Served::Site(0))));
        recorder.ended(&end(1, 9, Ok(Good::Degraded), Some(Served::Site(0))));
        recorder.ended(&end(1, 10_000, Err(Failure::Timeout), None));
        recorder.ended(&end(2, 1, Err(Failure::Connect), None));
        recorder.finish();
        let totals = &recorder.totals;
        assert_eq!((totals.arrivals, totals.sent, totals.ok), (8, 7, 3));
        assert_eq!((totals.refused, totals.failed, totals.abandoned), (1, 3, 1));
        assert_eq!(totals.degraded, 1, "of those that are ok");
        assert_eq!(totals.served, [("cloud".into(), 1), ("east".into(), 2)].into());
        assert_eq!(totals.first_cloud_at, Some(UnixMillis(7)));
        assert_eq!(totals.latency.count, 5, "refused connections have no latency");
        assert!(totals.latency.max_ms >= 10_000.0);
        assert_eq!((totals.latency_site.count, totals.latency_cloud.count), (3, 1));
        let second = &recorder.seconds[2];
        assert_eq!((second.arrivals, second.sent, second.failed), (3, 2, 2));
        assert_eq!((second.failures.overrun, second.failures.connect), (1, 1));
        assert_eq!(recorder.seconds[0].wanted, 10.0);
    }

    #[test]
    fn seconds_keep_their_own_latency_whenever_their_requests_end() {
        let mut recorder = recorder(60.0);
        for now in 0..60 {
            recorder.close_before(now);
            // The slowest request of ten seconds ago ends only now.
            if now >= 10 {
                recorder.ended(&end(now - 10, 9_990, Err(Failure::Timeout), None));
            }
            let ms = 10 + now as u64;
            for _ in 0..9 {
                recorder.ended(&end(now, ms, Ok(Good::Whole), Some(Served::Cloud)));
            }
        }
        recorder.finish();
        for (now, second) in recorder.seconds.iter().enumerate() {
            let (p50, p99) = (second.p50_ms.unwrap(), second.p99_ms.unwrap());
            assert!((p50 / (10.0 + now as f64) - 1.0).abs() < 0.02, "{now}: {p50}");
            assert_eq!(p99 > 9_000.0, now < 50, "{now}: {p99}");
        }
    }

    #[test]
    fn live_counts_start_over() {
        let mut recorder = recorder(2.0);
        recorder.ended(&end(0, 50, Ok(Good::Whole), Some(Served::Cloud)));
        let live = recorder.take_live();
        assert_eq!((live.ok, live.cloud), (1, 1));
        assert!(live.p99_ms.is_some_and(|p99| (49.0..51.0).contains(&p99)));
        assert_eq!(recorder.take_live(), Second::default());
    }
}
