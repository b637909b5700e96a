//! What is learned slowly of one site: what a request of each route costs there, and what load it carries.
//!
//! Both are learned from windows of ten seconds, and used only as far as they differ clearly from what is
//! used already, so that nothing moves by chance. Learned weights are scaled so that a request of the usual
//! mix weighs what it is declared to: a weighted request stays what it was, and so does the capacity.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use spillway_model::load::Part;
use spillway_model::{Load, UnixMillis};

use crate::Observation;
use crate::capacity::Capacity;
use crate::observe::SiteSense;
use crate::policy::{Policy, SitePolicy};
use crate::reading::Counts;
use crate::service::Service;
use crate::weights::Weights;

/// Length of a window. Requests are short beside it, so that what is counted and what is busy agree.
const WINDOW_SECS: u64 = 10;
/// Weights are found again after so many windows, and a window counts half after some eight hours.
const WINDOWS_TO_FIT: u64 = 6;
const KEEP: f64 = 1.0 - 1.0 / 720.0;
/// Services of a site that are read: what a request costs in one, it does in the others.
const SERVICES_MAX: usize = 32;
/// A window counts for at most so many times what was to be expected, and at least one over that.
const ODD: f64 = 1.5;
/// New weights are used when one changes by this part of itself, and makes up that part of the load.
const NEWS: f64 = 1.0 / 16.0;
const MATTERS: f64 = 1.0 / 32.0;
/// A weight is moved as far as what was found is further from it than so many standard errors.
const CHANCE: f64 = 2.0;
/// No request weighs less than this part of the mean: what seems free has hardly been asked for.
const WEIGHT_MIN: f64 = 1.0 / 64.0;
/// Fewer answers in a window have no 95th percentile.
const ANSWERS_MIN: u64 = 200;
/// A load whose largest second is more than so many times its mean is not steady.
const STEADY: f64 = 1.5;
/// More failed answers than this part are another matter than load.
const FAILED_PART: f64 = 0.02;
/// What waits for the uplink for more than this part of the limit of latency is slow for that.
const UPLINK_PART: f64 = 0.1;
/// What was seen of the capacity fades by half in a day.
const FADE_MS: u64 = 86_400_000;

/// What one tick hands to the next. Bounded by the routes and services of the site.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Learning {
    /// Changes at the end of a window only, so that the states of a window's ticks can share it.
    known: Arc<Known>,
    window: Window,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Known {
    weights: Weights,
    /// Whether learned weights are used.
    reweighed: bool,
    capacity: Capacity,
    /// What is declared; when it changes, everything begins anew.
    declared: Vec<f64>,
    p95_ms: f64,
    /// Readings of services when the window began.
    services: BTreeMap<String, Reading>,
    faded_at: UnixMillis,
}

/// Counters of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Reading {
    boot: u64,
    at: UnixMillis,
    cpu_secs: f64,
    /// In the order of the policy's routes.
    served: Vec<u64>,
}

/// What the ticks of a window have come to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Window {
    /// Windows begin at multiples of their length, each site's a little after another's.
    slot: u64,
    /// Whether answers cost something else than usual, or failed.
    odd: bool,
    /// Whether something else than load made answers slow, or not all load was seen.
    unclear: bool,
    secs: f64,
    load_secs: f64,
    load_max: f64,
    /// Answers in ticks with a 95th percentile below its limit, and above.
    quick: u64,
    slow: u64,
}

/// What a tick says.
pub(crate) struct Seen<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) site: &'a SitePolicy,
    pub(crate) observation: &'a Observation,
    pub(crate) sense: &'a SiteSense,
    pub(crate) service: &'a Service,
    /// Weighted requests per second that came to home to stay, and that were served there.
    pub(crate) load: (f64, f64),
    /// Whether no knob is on, nor was a moment ago.
    pub(crate) plain: bool,
}

/// New weights by route, and why.
#[derive(Debug)]
pub(crate) struct Reweighed {
    pub(crate) weights: Vec<f64>,
    pub(crate) why: String,
}

impl Learning {
    /// What the site serves, in weighted requests per second, where that is not what it is declared to.
    pub(crate) fn capacity(&self, site: &SitePolicy) -> Option<f64> {
        let Known { capacity, p95_ms, .. } = self.known.as_ref();
        let of_site = capacity.declared() == site.declared_qps && *p95_ms == site.p95_ms;
        Some(capacity.used()).filter(|used| of_site && *used != site.declared_qps)
    }

    /// Takes in a tick. At the end of a window there may be new weights in place of those that `used` gives
    /// by route.
    pub(crate) fn update(
        &mut self,
        seen: &Seen<'_>,
        used: impl Fn(usize) -> f64,
    ) -> Option<Reweighed> {
        let Seen { policy, site, observation, .. } = *seen;
        let apart: u64 = site.id.as_str().bytes().map(u64::from).sum();
        let slot = (observation.at.0 / 1000 + apart) / WINDOW_SECS;
        let mut new = None;
        if slot != self.window.slot {
            let window = std::mem::replace(&mut self.window, Window { slot, ..Window::default() });
            let known = Arc::make_mut(&mut self.known);
            new = known.declare(policy, site);
            window.judge(&mut known.capacity);
            known.read_services(policy, site, observation, window.odd, &used);
            known.fade(observation.at);
            if new.is_none() && slot.is_multiple_of(WINDOWS_TO_FIT) {
                new = known.weigh(policy, used);
            }
        }
        self.window.take_in(seen);
        new
    }

    /// After a change of the routes: what is by route begins anew.
    pub(crate) fn forget_routes(&mut self) {
        let Known { capacity, p95_ms, faded_at, .. } = self.known.as_ref().clone();
        let known = Known { capacity, p95_ms, faded_at, ..Known::default() };
        *self = Self { known: Arc::new(known), ..Self::default() };
    }

    /// After a restart: what was counted is of another time. What was learned is kept.
    pub(crate) fn forget_present(&mut self) {
        Arc::make_mut(&mut self.known).services.clear();
        self.window = Window::default();
    }
}

impl Known {
    /// Begins anew where what is declared has changed. If learned weights were used, those that are
    /// declared are now.
    fn declare(&mut self, policy: &Policy, site: &SitePolicy) -> Option<Reweighed> {
        if self.capacity.declared() != site.declared_qps || self.p95_ms != site.p95_ms {
            self.capacity = Capacity::new(site.declared_qps);
            self.p95_ms = site.p95_ms;
        }
        let declared = policy.routes.iter().map(|route| route.weight);
        if declared.clone().eq(self.declared.iter().copied()) {
            return None;
        }
        self.declared = declared.collect();
        self.weights = Weights::new(self.declared.clone());
        self.services.clear();
        std::mem::take(&mut self.reweighed).then(|| Reweighed {
            weights: self.declared.clone(),
            why: "weights: as they are declared anew".to_owned(),
        })
    }

    /// Makes a window of what each service has done since the last reading, unless it was an `odd` one.
    fn read_services(
        &mut self,
        policy: &Policy,
        site: &SitePolicy,
        observation: &Observation,
        odd: bool,
        used: impl Fn(usize) -> f64,
    ) {
        let of_site = |load: &&Load| {
            let fresh = observation.at.millis_since(load.at) <= policy.stale_ms();
            load.part == Part::Service && load.site.as_ref() == Some(&site.id) && fresh
        };
        let mut before = std::mem::take(&mut self.services);
        // One that does not count requests by route tells nothing of what they cost.
        let loads = observation.loads.iter().filter(of_site).filter(|load| !load.routes.is_empty());
        for load in loads.take(SERVICES_MAX) {
            let now = Reading::of(policy, load);
            let window = before.remove(&load.name).and_then(|earlier| now.since(&earlier));
            if let Some((requests, busy)) = window.filter(|_| !odd) {
                let busy = self.bounded(&requests, busy, &used);
                self.weights.add_window(&requests, busy);
            }
            self.services.insert(load.name.clone(), now);
        }
    }

    /// Busy seconds as far as they count, once there are learned weights to tell what is odd by.
    fn bounded(&self, requests: &[f64], busy: f64, used: impl Fn(usize) -> f64) -> f64 {
        let cost = |requests: &[f64]| weighted(requests, &used);
        let (all, all_busy) = self.weights.sums();
        let usual = all_busy * cost(requests) / cost(all);
        if self.reweighed && usual > 0.0 { busy.clamp(usual / ODD, usual * ODD) } else { busy }
    }

    /// New weights, if they are clearly other than those that are used.
    fn weigh(&mut self, policy: &Policy, used: impl Fn(usize) -> f64) -> Option<Reweighed> {
        if self.weights.windows() < 1.0 {
            return None;
        }
        let requests = self.weights.sums().0.to_vec();
        let fit = self.weights.fade(KEEP);
        // In declared units: a request of the usual mix weighs what it was declared to.
        let declared = weighted(&requests, |place| self.declared[place]);
        let unit = declared / weighted(&requests, |place| fit.weights[place]);
        if !(unit.is_finite() && unit > 0.0) || (fit.kept && !self.reweighed) {
            return None;
        }
        let least = WEIGHT_MIN * declared / requests.iter().sum::<f64>();
        let believed = |place: usize| {
            let (found, chance) = (unit * fit.weights[place], CHANCE * unit * fit.errors[place]);
            let step = found - used(place);
            let beyond = (1.0 - (chance / step) * (chance / step)).max(0.0);
            (used(place) + beyond * step).max(least)
        };
        let mut weights: Vec<f64> = (0..requests.len()).map(believed).collect();
        let by = declared / weighted(&requests, |place| weights[place]);
        weights.iter_mut().for_each(|weight| *weight *= by);
        let moved = |place: usize| (weights[place] - used(place)).abs();
        let news = |place: usize| {
            let matters = requests[place] * weights[place] > MATTERS * declared;
            matters && moved(place) > NEWS * weights[place]
        };
        if !(0..weights.len()).any(news) {
            return None;
        }
        self.reweighed = true;
        let most = (0..weights.len())
            .max_by(|a, b| (requests[*a] * moved(*a)).total_cmp(&(requests[*b] * moved(*b))))?;
        let why = format!(
            "weights: learned anew from busy processors, most of all {} from {:.2} to {:.2} (R² {:.2}, condition number {:.0}, {:.0} windows)",
            policy.routes[most].id,
            used(most),
            weights[most],
            fit.r2,
            fit.condition,
            fit.windows
        );
        Some(Reweighed { weights, why })
    }

    fn fade(&mut self, at: UnixMillis) {
        if at < self.faded_at || self.faded_at == UnixMillis::default() {
            self.faded_at = at;
        } else if at.millis_since(self.faded_at) >= FADE_MS {
            self.faded_at = at;
            self.capacity.fade();
        }
    }
}

impl Window {
    fn take_in(&mut self, seen: &Seen<'_>) {
        let Seen { site, sense, service, load: (stayed, served), plain, .. } = *seen;
        if !sense.sees() {
            self.unclear = true;
            return;
        }
        let sum = |of: fn(&Counts) -> f64| sense.routes.iter().map(of).sum::<f64>();
        let fails = sum(|counts| counts.failed) > FAILED_PART * sum(|counts| counts.served);
        let waits_ms = sense.uplink.map_or(0.0, |uplink| 8e3 * uplink.queued_bytes / site.cap);
        let waits = waits_ms > UPLINK_PART * site.p95_ms;
        self.odd |= fails || !plain;
        self.unclear |= self.odd || waits || !sense.whole() || !service.unserved.is_empty();
        self.secs += sense.secs;
        // What waited from before is served beside what comes.
        let load = stayed.max(served);
        self.load_secs += load * sense.secs;
        self.load_max = self.load_max.max(load);
        match sense.p95_ms {
            Some(p95) if p95 > site.p95_ms => self.slow += sense.answers,
            Some(_) => self.quick += sense.answers,
            None => {}
        }
    }

    fn judge(&self, capacity: &mut Capacity) {
        let load = self.load_secs / self.secs;
        let whole = self.secs >= 0.8 * WINDOW_SECS as f64;
        let steady = self.load_max <= STEADY * load;
        if whole && steady && !self.unclear && self.quick + self.slow >= ANSWERS_MIN {
            capacity.add_window(load, self.slow > self.quick);
        }
    }
}

impl Reading {
    fn of(policy: &Policy, load: &Load) -> Self {
        Self {
            boot: load.boot,
            at: load.at,
            cpu_secs: load.cpu_secs,
            served: policy.by_place(&load.routes, |route| route.served),
        }
    }

    /// Requests by route and busy seconds since an `earlier` reading; `None` when the process was started
    /// in between, or the time is not that of a window.
    fn since(&self, earlier: &Self) -> Option<(Vec<f64>, f64)> {
        let millis = self.at.millis_since(earlier.at);
        let of_window = (800 * WINDOW_SECS..=1200 * WINDOW_SECS).contains(&millis);
        if self.boot != earlier.boot || self.served.len() != earlier.served.len() || !of_window {
            return None;
        }
        let minus = |(now, then): (&u64, &u64)| Some(now.checked_sub(*then)? as f64);
        let requests = self.served.iter().zip(&earlier.served).map(minus).collect::<Option<_>>()?;
        let busy = self.cpu_secs - earlier.cpu_secs;
        (busy > 0.0).then_some((requests, busy))
    }
}

/// What requests weigh together.
fn weighted(requests: &[f64], weight: impl Fn(usize) -> f64) -> f64 {
    requests.iter().enumerate().map(|(place, n)| n * weight(place)).sum()
}
