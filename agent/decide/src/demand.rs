//! Demand: what would be asked of a site if nothing were spilled or degraded, and what that would
//! weigh on its uplink and its processors.
//!
//! An overfull uplink caps the bytes that leave but not the requests that arrive, so demand is
//! arrivals times the bytes that an answer of that route is known to have.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use spillway_model::UnixMillis;

use crate::blend::Blend;
use crate::bytes::LearnedBytes;
use crate::event::Usual;
use crate::expected::{Expected, Loads, home_part};
use crate::forecast::{Forecast, weight};
use crate::observe::{CloudSense, SiteSense};
use crate::policy::{Policy, RoutePolicy, SitePolicy};
use crate::reading::Visits;
use crate::release::Trust;
use crate::season::Season;
use crate::tier::KnobSet;

/// What a shed answer costs in weighted requests.
pub(crate) const SHED_WEIGHT: f64 = 0.05;
/// Bytes of a 307.
pub(crate) const REDIRECT_BYTES: f64 = 350.0;
/// So many requests in the seconds before are something that a rise can be measured against.
const REQUESTS_TO_LEAD: f64 = 200.0;
/// Time constant of the mix of routes, in seconds.
const MIX_SECS: f64 = 5.0;
/// Heads, acknowledgements and what was sent again, as a multiple of the answers' bytes.
const OVERHEAD_MAX: f64 = 1.3;
const OVERHEAD_SECS: f64 = 60.0;
/// Bounds and time constant of the correction for clients that are no continuum.
const SKEW: (f64, f64) = (-0.25, 0.5);
const SKEW_SECS: f64 = 20.0;
/// What the clients at home tell of all may be too small by chance; no more is asked than so many times
/// that.
const CHANCE: f64 = 1.25;

/// What is known of one site's demand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Demand {
    /// Bits per second of undegraded answers, [`Demand::overhead`] not counted.
    bits: Forecast,
    weighted: Forecast,
    requests: Forecast,
    /// Requests per second by route, smoothed.
    mix: Vec<f64>,
    /// The same while no event is near, over minutes.
    #[serde(default)]
    pub(crate) usual: Usual,
    /// What of the weighted requests per second is of the day and the week.
    #[serde(default)]
    pub(crate) season: Season,
    /// Those of them that were served by the cloud last.
    cloud: Vec<f64>,
    /// And by sites that help.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    helped: Vec<f64>,
    /// Learned weights by route; empty while those that are declared are used.
    #[serde(default)]
    weights: Arc<[f64]>,
    overhead: f64,
    /// How much more of the demand than `1 − share` stays at home, see [`home_part`].
    pub(crate) skew: f64,
}

impl Default for Demand {
    fn default() -> Self {
        Self {
            bits: Forecast::default(),
            weighted: Forecast::default(),
            requests: Forecast::default(),
            mix: Vec::new(),
            usual: Usual::default(),
            season: Season::default(),
            cloud: Vec::new(),
            helped: Vec::new(),
            weights: Arc::default(),
            overhead: 1.0,
            skew: 0.0,
        }
    }
}

/// What of one route stays at home.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Staying {
    /// Bits per second for each byte of an answer.
    pub(crate) bits_per_byte: f64,
    /// Requests per second, as far as they weigh.
    pub(crate) requests: f64,
    /// What each of these weighs.
    pub(crate) weight: f64,
}

/// The demand of one site over the last tick.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Now {
    pub(crate) requests: f64,
    /// Bits per second, were nothing spilled or degraded.
    pub(crate) bits: f64,
    /// Weighted requests per second that stayed at home, and that were served there.
    pub(crate) home_weight: f64,
    pub(crate) served_weight: f64,
    /// What one of them is by the declared weights, of the mix of now: gateways count by these.
    pub(crate) declared: f64,
    pub(crate) failed: f64,
    /// Bits per second of 307s now.
    pub(crate) redirect_bits: f64,
    /// Requests per second of clients of other sites that were served here.
    pub(crate) visitors: f64,
}

/// What of one route was asked of a site by its own clients, in requests per second.
#[derive(Debug, Clone, Copy)]
struct Own {
    /// Stayed there.
    stayed: f64,
    /// Was sent on from there or asked of a site that helps, at the least.
    sent_on: f64,
    /// Was asked of sites that help, and stayed there.
    helped: f64,
}

/// What the cloud's side says of one site's spilled requests.
pub(crate) enum Spilled<'a> {
    /// Its arrivals, and the part of them that is this site's.
    Counted(&'a CloudSense, f64),
    /// It should have said, but did not.
    Unknown,
    /// It never says: what is spilled follows from the share in force.
    Inferred,
    /// It is dead, and nobody serves what is spilled: see [`Demand::lost`].
    Lost(Following),
}

/// How far clients have followed the share in force.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Following {
    /// Whether all have.
    pub(crate) all: bool,
    /// The largest share that some may follow still.
    pub(crate) largest: f64,
}

impl Demand {
    /// Takes in one tick. `share` is the one in force, `steady` that it has been for a while,
    /// `congested` that the uplink held bytes back, so that bytes are no measure of answers.
    pub(crate) fn update(
        &mut self,
        context: &Context<'_>,
        learned: &mut LearnedBytes,
        sense: &SiteSense,
        spilled: &Spilled<'_>,
    ) -> Now {
        let policy = context.policy;
        let routes = policy.routes.len();
        self.mix.resize(routes, 0.0);
        self.cloud.resize(routes, 0.0);
        let fresh = self.requests == Forecast::default();
        let own = self.own(sense);
        let (lost, remembers) = match spilled {
            Spilled::Lost(following) => self.lost(context, sense, &own, *following),
            _ => (Vec::new(), false),
        };
        let mut now = Now::default();
        let (mut bits, mut weighted) = (Blend::default(), Blend::default());
        let mut home = 0.0;
        if context.learns {
            if !context.congested {
                learned.learn(policy, context.set, &sense.routes, sense.secs);
            }
            if let Spilled::Counted(cloud, _) = spilled {
                learned.learn(policy, context.set, &cloud.routes, cloud.secs);
            }
        }
        let undegraded = learned.undegraded(policy);
        let mut rates = Vec::with_capacity(routes);
        for (place, (counts, own)) in sense.routes.iter().zip(&own).enumerate() {
            let Own { stayed, helped, .. } = *own;
            let away = match spilled {
                Spilled::Counted(cloud, part) => cloud.routes[place].arrivals * part + helped,
                Spilled::Unknown => self.cloud[place] + helped,
                Spilled::Inferred => {
                    let share = context.share.min(0.95);
                    (stayed * share / (1.0 - share)).max(helped)
                }
                Spilled::Lost(_) => lost[place] + helped,
            };
            // What was sent on has arrived there or is about to.
            let away = away.max(own.sent_on);
            self.cloud[place] = away - helped;
            let rate = stayed + away;
            rates.push(rate);
            let gain = if fresh { 1.0 } else { weight(sense.secs, MIX_SECS) };
            self.mix[place] += gain * (rate - self.mix[place]);
            let weight = self.weight(policy, place);
            now.requests += rate;
            bits.add(rate, self.mix[place], 8.0 * undegraded(place));
            weighted.add(rate, self.mix[place], weight);
            now.home_weight += (counts.stayed() - counts.shed).max(0.0) * weight;
            now.visitors += (counts.stayed() - stayed).max(0.0);
            now.served_weight += counts.served * weight;
            now.failed += counts.failed;
            now.redirect_bits += counts.redirected * 8.0 * REDIRECT_BYTES;
            home += stayed;
        }
        let whole = sense.gaps.is_empty() && !remembers;
        if whole && context.usual {
            self.usual.take_in(&rates, sense.secs);
            let load = self.weigh(policy, &rates);
            self.season.take_in(&policy.season, context.at, load, sense.secs);
        }
        let take = if whole { Forecast::update } else { Forecast::update_at_least };
        // A rise is evidence of more to come as far as there was something that it is a rise over: the
        // first requests of all are one over nothing, and a step looks the same.
        let trust = (self.requests.recent() / REQUESTS_TO_LEAD).min(1.0);
        take(&mut self.bits, bits.rate(sense.secs), sense.secs, trust);
        take(&mut self.weighted, weighted.rate(sense.secs), sense.secs, trust);
        take(&mut self.requests, now.requests, sense.secs, trust);
        self.learn_overhead(context, sense);
        if matches!(spilled, Spilled::Counted(..)) {
            // Who left for want of room belongs at home by the share.
            self.learn_skew(context, sense, home + sense.displaced, now.requests);
        }
        now.bits = bits.seen * self.overhead;
        now.declared = self.declared(policy);
        now.redirect_bits *= self.overhead;
        now
    }

    /// Whose requests those of each route were. What a site that helps does not say of them is what it said
    /// last, or more.
    fn own(&mut self, sense: &SiteSense) -> Vec<Own> {
        let none = Visits::default();
        let routes = sense.routes.iter().enumerate();
        let own = routes.map(|(place, counts)| {
            let visits = sense.visitors.values().filter_map(|routes| routes.get(place));
            let visits = visits.fold(none, |sum, visits| sum.plus(visits));
            let asked = sense.helped.get(place).copied().unwrap_or_default();
            let known = asked.stayed();
            let before = self.helped.get(place).copied().unwrap_or(0.0);
            Own {
                stayed: (counts.stayed() - visits.stayed()).max(0.0),
                sent_on: (counts.sent_on() - visits.left).max(asked.arrivals),
                helped: if sense.helped_unknown { known.max(before) } else { known },
            }
        });
        let own: Vec<Own> = own.collect();
        self.helped.clear();
        if own.iter().any(|own| own.helped > 0.0) {
            self.helped.extend(own.iter().map(|own| own.helped));
        }
        own
    }

    /// Requests per second by route that a dead cloud leaves without an answer, and that nobody counts;
    /// and whether they are remembered rather than seen.
    ///
    /// Once every client follows the share, those at home tell of those that are not. Until then they
    /// are what was asked before less what has come home since, so that nobody is counted twice or not
    /// at all; but no more than those who were at home already tell of.
    fn lost(
        &self,
        context: &Context<'_>,
        sense: &SiteSense,
        own: &[Own],
        following: Following,
    ) -> (Vec<f64>, bool) {
        let stayed: f64 = own.iter().map(|own| own.stayed).sum();
        let helped: f64 = own.iter().map(|own| own.helped).sum();
        let home = home_part(context.share, self.skew);
        let before = home_part(following.largest, self.skew);
        // A home that has no service for them tells nothing.
        let tells = before > 0.0 && sense.unserved.is_empty();
        let most = if tells { CHANCE * stayed / before } else { f64::INFINITY };
        let asked = self.requests.level();
        let away = (asked.min(most) - stayed - helped).max(0.0);
        let mix: f64 = self.mix.iter().sum();
        let seen = following.all && tells || mix <= 0.0;
        let of_route = |own: &Own, spills: bool, usual: f64| {
            let all = if spills && home > 0.0 { own.stayed / home } else { 0.0 };
            let told = (all - own.stayed - own.helped).max(0.0);
            if seen { told } else { told.max(away * usual / mix) }
        };
        let places = own.iter().zip(&context.policy.routes).zip(&self.mix);
        let lost = places.map(|((own, route), usual)| of_route(own, route.spills, *usual));
        (lost.collect(), !seen && asked <= most)
    }

    fn learn_overhead(&mut self, context: &Context<'_>, sense: &SiteSense) {
        let Some(uplink) = sense.uplink else { return };
        // A tenth of the cap is enough bytes for a ratio to mean something.
        let enough = sense.response_bits_per_sec > context.site.cap / 10.0;
        if context.congested || !enough || !sense.whole() {
            return;
        }
        let back = context.policy.backhaul_bits * self.cloud.iter().sum::<f64>();
        let sent = (uplink.bits_per_sec - back).max(0.0);
        let seen = (sent / sense.response_bits_per_sec).clamp(1.0, OVERHEAD_MAX);
        self.overhead += weight(sense.secs, OVERHEAD_SECS) * (seen - self.overhead);
    }

    fn learn_skew(&mut self, context: &Context<'_>, sense: &SiteSense, home: f64, all: f64) {
        let share = context.share;
        // Where gateways find no service they send away clients that the share does not.
        let by_share = sense.unserved.is_empty();
        let telling = context.steady && by_share && sense.whole() && all * sense.secs >= 50.0;
        let seen = if telling && (0.1..=0.97).contains(&share) {
            ((home / all) / (1.0 - share) - 1.0) / share
        } else if share <= 0.0 {
            0.0
        } else {
            return;
        };
        self.skew += weight(sense.secs, SKEW_SECS) * (seen.clamp(SKEW.0, SKEW.1) - self.skew);
    }

    /// The loads of the present mix with the knobs of `set` on, with answers of so many `bytes` by route.
    pub(crate) fn loads(
        &self,
        policy: &Policy,
        learned: &LearnedBytes,
        set: &KnobSet,
        bytes: &[f64],
    ) -> Loads {
        let sums = self.sums(policy, set, bytes, &self.mix);
        let undegraded = learned.undegraded(policy);
        let (mut bits, mut weights, mut requests) = (0.0, 0.0, 0.0);
        for (place, rate) in self.mix.iter().enumerate().take(policy.routes.len()) {
            bits += rate * 8.0 * undegraded(place);
            weights += rate * self.weight(policy, place);
            requests += rate;
        }
        Loads { sums, bits, weights, requests }
    }

    /// Upper bounds for the next `horizon` seconds.
    pub(crate) fn upper(&self, loads: &Loads, horizon: f64) -> Expected {
        self.expected(loads, |forecast| forecast.upper(horizon))
    }

    /// The same without a margin for chance.
    pub(crate) fn likely(&self, loads: &Loads, horizon: f64) -> Expected {
        self.expected(loads, |forecast| forecast.likely(horizon))
    }

    /// The present, smoothed over two seconds.
    pub(crate) fn present(&self, loads: &Loads) -> Expected {
        self.expected(loads, Forecast::level)
    }

    /// The mean of some ten seconds.
    pub(crate) fn lasting(&self, loads: &Loads) -> Expected {
        self.expected(loads, Forecast::lasting)
    }

    /// The mix grown to what the forecasts of bits, weight and requests say.
    fn expected(&self, loads: &Loads, of: impl Fn(&Forecast) -> f64) -> Expected {
        let scale =
            |forecast: &Forecast, sum: f64| if sum > 0.0 { of(forecast) / sum } else { 0.0 };
        let mut expected = loads.sums;
        expected.scale(
            scale(&self.bits, loads.bits) * self.overhead,
            self.overhead,
            scale(&self.weighted, loads.weights),
            scale(&self.requests, loads.requests),
        );
        expected
    }

    /// So many times what is asked while no event is near, undegraded.
    pub(crate) fn usual(&self, policy: &Policy, learned: &LearnedBytes, times: f64) -> Expected {
        let set = KnobSet::default();
        let bytes = learned.bytes(policy, &set, Trust::Likely);
        let mut sums = self.sums(policy, &set, &bytes, self.usual.rates());
        sums.scale(times * self.overhead, self.overhead, times, times);
        sums
    }

    /// The loads of `rates` requests per second by route with answers of so many `bytes`, with the knobs
    /// of `set` on.
    fn sums(&self, policy: &Policy, set: &KnobSet, bytes: &[f64], rates: &[f64]) -> Expected {
        let mut sums = Expected { skew: self.skew, ..Expected::default() };
        let routes = policy.routes.iter().zip(rates).zip(bytes);
        for (place, ((route, rate), bytes)) in routes.enumerate() {
            let answer_bits = 8.0 * bytes;
            let route_bits = rate * answer_bits;
            let weight = self.weight(policy, place);
            let route_weight = rate * if set.sheds(place) { SHED_WEIGHT } else { weight };
            if route.redirects {
                sums.movable_bits += route_bits;
                // Spilling is never counted for worse than nothing: a larger share relieves no less.
                sums.backhaul_bits += rate * policy.backhaul_bits.min(answer_bits);
                sums.movable_spread += route_bits * answer_bits;
            } else {
                sums.pinned_bits += route_bits;
                sums.pinned_spread += route_bits * answer_bits;
            }
            if route.spills {
                sums.movable_weight += route_weight;
                sums.movable_requests += rate;
            } else {
                sums.pinned_weight += route_weight;
            }
        }
        sums
    }

    /// What stays at home of each route at a share, at present.
    pub(crate) fn staying(
        &self,
        policy: &Policy,
        learned: &LearnedBytes,
        share: f64,
    ) -> Vec<Staying> {
        let home = home_part(share, self.skew);
        let routes = || policy.routes.iter().zip(&self.mix).enumerate();
        let undegraded = learned.undegraded(policy);
        let bits = |(place, (_, rate)): (usize, (_, &f64))| 8.0 * rate * undegraded(place);
        let weight =
            |(place, (_, rate)): (usize, (&RoutePolicy, &f64))| rate * self.weight(policy, place);
        let (bits, weight): (f64, f64) = (routes().map(bits).sum(), routes().map(weight).sum());
        let scale = |level: f64, sum: f64| if sum > 0.0 { level / sum } else { 0.0 };
        let by_bits = scale(self.bits.level(), bits) * self.overhead;
        let by_weight = scale(self.weighted.level(), weight);
        let of_route = |(place, (route, rate)): (usize, (&RoutePolicy, &f64))| Staying {
            bits_per_byte: 8.0 * rate * by_bits * if route.redirects { home } else { 1.0 },
            requests: rate * by_weight * if route.spills { home } else { 1.0 },
            weight: self.weight(policy, place),
        };
        routes().map(of_route).collect()
    }

    /// Requests per second by route, smoothed.
    pub(crate) fn mix(&self) -> &[f64] {
        &self.mix
    }

    /// Whether any of the demand was served by the cloud when last heard of.
    pub(crate) fn in_cloud(&self) -> bool {
        self.cloud.iter().any(|rate| *rate > 0.0)
    }

    /// Requests per second that are in the cloud, and the weighted ones; as last known.
    pub(crate) fn spilled(&self, policy: &Policy) -> (f64, f64) {
        let routes = self.cloud.iter().enumerate();
        routes.fold((0.0, 0.0), |(requests, weighted), (place, rate)| {
            (requests + rate, weighted + rate * self.weight(policy, place))
        })
    }

    /// Adds the weighted requests per second that are in the cloud to those of each route.
    pub(crate) fn add_spilled(&self, policy: &Policy, loads: &mut [f64]) {
        for (place, (load, rate)) in loads.iter_mut().zip(&self.cloud).enumerate() {
            *load += rate * self.weight(policy, place);
        }
    }

    /// Whether less is asked now than the forecast, which follows, still says.
    pub(crate) fn falls(&self) -> bool {
        self.bits.falls() && self.weighted.falls()
    }

    /// How far the weighted requests of a second are usually off from what was expected, as a part of it.
    pub(crate) fn noise(&self) -> f64 {
        self.weighted.noise()
    }

    /// Requests per second, smoothed.
    pub(crate) fn requests(&self) -> f64 {
        self.requests.level()
    }

    /// What a request of route `place` weighs at this site.
    pub(crate) fn weight(&self, policy: &Policy, place: usize) -> f64 {
        let declared = || policy.routes.get(place).map_or(0.0, |route| route.weight);
        self.weights.get(place).copied().unwrap_or_else(declared)
    }

    /// What requests per second by route weigh.
    pub(crate) fn weigh(&self, policy: &Policy, rates: &[f64]) -> f64 {
        let rates = rates.iter().enumerate();
        rates.map(|(place, rate)| rate * self.weight(policy, place)).sum()
    }

    /// What a weighted request is by the declared weights, of the mix of now.
    fn declared(&self, policy: &Policy) -> f64 {
        let routes = policy.routes.iter().zip(&self.mix).enumerate();
        let (declared, learned) =
            routes.fold((0.0, 0.0), |(declared, learned), (place, (route, rate))| {
                (declared + rate * route.weight, learned + rate * self.weight(policy, place))
            });
        if self.weights.is_empty() || learned <= 0.0 { 1.0 } else { declared / learned }
    }

    /// Uses other weights from now on. The forecast goes on in their unit.
    pub(crate) fn reweigh(&mut self, policy: &Policy, weights: Vec<f64>) {
        let before = self.weigh(policy, &self.mix);
        self.weights = weights.into();
        let by = self.weigh(policy, &self.mix) / before;
        if by.is_finite() && by > 0.0 {
            self.weighted.scale(by);
            self.season.scale(by);
        }
    }

    /// What a restart forgets: the present. What was learned slowly is kept.
    pub(crate) fn forget_present(&mut self) {
        let (weights, usual) = (std::mem::take(&mut self.weights), std::mem::take(&mut self.usual));
        let (overhead, skew) = (self.overhead, self.skew);
        let season = std::mem::take(&mut self.season);
        *self = Self { overhead, skew, weights, usual, season, ..Self::default() };
    }

    /// What a change of the routes forgets: what is by route, too.
    pub(crate) fn forget_routes(&mut self) {
        self.weights = Arc::default();
        self.usual = Usual::default();
        self.forget_present();
    }
}

/// Under what the demand of a tick was measured.
pub(crate) struct Context<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) site: &'a SitePolicy,
    pub(crate) at: UnixMillis,
    /// The knobs in force.
    pub(crate) set: &'a KnobSet,
    /// Whether they have been long enough for answers to be theirs.
    pub(crate) learns: bool,
    /// Whether no event is near, so that what is asked is usual.
    pub(crate) usual: bool,
    /// The share in force.
    pub(crate) share: f64,
    /// Whether it has been for longer than a client needs to move.
    pub(crate) steady: bool,
    /// Whether the uplink held bytes back.
    pub(crate) congested: bool,
}
