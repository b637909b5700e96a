//! Help: sites that have room serve clients of one that spills, before the cloud is paid for them.
//!
//! What a site has room for is what its targets leave beside its own demand, in bytes and in weighted
//! requests, at most of what is to come. Its own clients come first: when they need the room, the bound of
//! the ranks it helps with falls at once, and its gateways send those beyond it on to the cloud. It is given
//! more again when that has fitted for a dwell.
//!
//! ```text
//!   ranks   0 ──── first that helps ──── second ──── cloud ──── share ──── home ──── 1
//!                  taken at once: no room ▲      given at once, or a dwell after room was taken
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spillway_model::plan::Help;
use spillway_model::{Share, SiteId, UnixMillis};

use crate::expected::Expected;
use crate::flaps::Flaps;
use crate::forecast::weight;
use crate::policy::{Policy, SitePolicy};
use crate::release::Trust;
use crate::share::{CALM, SETTLE_MS, STEP, WORTH, dwell};
use crate::state::State;
use crate::tier::KnobSet;
use crate::view::View;
use crate::window::Window;

/// What a site that is not seen any more served it may be serving still, for so long. After that it may as
/// well be dead, and the cloud serves its visitors in any case.
const HELD_MS: u64 = 10_000;
/// Answers that are slow are evidence after so many ticks in a row.
const SLOW_TICKS: u32 = 2;

/// A bound of ranks that has fallen, and that some clients follow until they ask DNS again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Followed {
    now: f64,
    /// The largest that some may have followed still when it fell last.
    before: f64,
    fell_at: UnixMillis,
}

impl Followed {
    fn set(&mut self, policy: &Policy, to: f64, at: UnixMillis) {
        if to < self.now {
            self.before = self.largest(policy, at);
            self.fell_at = at;
        }
        self.now = to;
    }

    /// The largest that some clients may follow.
    fn largest(&self, policy: &Policy, at: UnixMillis) -> f64 {
        let millis = at.millis_since(self.fell_at) as f64;
        let some = self.fell_at <= at && millis < 1000.0 * policy.dns_horizon_secs();
        if some { self.now.max(self.before) } else { self.now }
    }
}

/// What is kept of the help that one site has of another. Bounded by the dwell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HelpState {
    /// When room was taken back last.
    taken_at: Option<UnixMillis>,
    flaps: Flaps,
    /// The least room of a dwell, with its sign changed.
    room: Window,
    unseen_since: Option<UnixMillis>,
    bound: Followed,
}

/// What is kept of a site as one that helps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HostState {
    /// When it helped last.
    at: UnixMillis,
    /// Ticks in a row in which answers were slow for want of room.
    slow: u32,
}

impl HostState {
    /// Whether visitors are here, or are about to be gone. What is too much is theirs, and they leave first.
    pub(crate) fn hosts(&self, at: UnixMillis) -> bool {
        self.at <= at && at.millis_since(self.at) < SETTLE_MS
    }
}

/// Whether a site helps at all.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Standing {
    /// It is seen, and serves.
    Open { whole: bool, strained: bool },
    /// Nothing is known of it.
    Unseen,
    /// It needs what it has, or has nothing.
    Closed(&'static str),
}

/// One site as one that helps: what is asked of it so far, and what it can take.
struct Host<'a> {
    site: &'a SitePolicy,
    is: Standing,
    /// Its own demand and that of those that it helps.
    load: Demands,
    redirect_bits: f64,
}

/// What one site is offered by another, this tick.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Offer {
    pub(crate) site: SiteId,
    /// The part of the clients.
    pub(crate) part: f64,
    /// Why it is none, or no more than before.
    pub(crate) why: Option<&'static str>,
}

/// What a site could take beside what it has been given, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Room {
    pub(crate) bits: f64,
    pub(crate) weight: f64,
}

impl Host<'_> {
    fn room(&self, policy: &Policy) -> Room {
        let (site, later) = (self.site, &self.load.later);
        let line = CALM * later.line(site.cap, policy.uplink_target, 0.0);
        let weight = CALM * site.weighted_qps * policy.compute_target;
        Room {
            bits: (line - later.home_bits(0.0) - self.redirect_bits).max(0.0),
            weight: (weight - later.home_weight(0.0)).max(0.0),
        }
    }

    /// The largest rank up to which it carries clients of `guest` from `from` on, in whole steps; with a
    /// margin for what is `later`.
    fn most(&self, policy: &Policy, guest: &Demands, from: f64, later: bool) -> f64 {
        let (own, guest, margin) = match later {
            true => (&self.load.later, &guest.later, CALM),
            false => (&self.load.soon, &guest.soon, 1.0),
        };
        let fits = |to: f64| {
            let load = own.with(guest, from, to);
            let line = load.line(self.site.cap, policy.uplink_target, 0.0);
            load.home_bits(0.0) + self.redirect_bits <= margin * line
                && load.home_weight(0.0) <= margin * self.site.weighted_qps * policy.compute_target
        };
        let (mut low, mut high) = (0.0, ((1.0 - from) / STEP).floor());
        if fits(from + high * STEP) {
            return high * STEP;
        }
        while high - low > 1.0 {
            let middle = ((low + high) / 2.0).floor();
            if fits(from + middle * STEP) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low * STEP
    }

    /// Whether those clients of `guest` are too many for it, as a site's own are: over its targets for some
    /// ten seconds, half way from there to its caps as is likely, or over its caps at the worst.
    fn presses(&self, policy: &Policy, guest: &Demands, from: f64, to: f64) -> bool {
        let over = |own: &Expected, guest: &Expected, way: f64| {
            let load = own.with(guest, from, to);
            let (line, cap) = (load.line(self.site.cap, policy.uplink_target, 0.0), self.site.cap);
            let target = policy.compute_target;
            load.home_bits(0.0) + self.redirect_bits > line + way * (cap - line)
                || load.home_weight(0.0) > self.site.weighted_qps * (target + way * (1.0 - target))
        };
        over(&self.load.lasting, &guest.lasting, 0.0)
            || over(&self.load.likely, &guest.likely, 0.5)
            || over(&self.load.soon, &guest.soon, 1.0)
    }

    fn take(&mut self, guest: &Demands, from: f64, to: f64) {
        let own = &mut self.load;
        own.lasting = own.lasting.with(&guest.lasting, from, to);
        own.likely = own.likely.with(&guest.likely, from, to);
        own.soon = own.soon.with(&guest.soon, from, to);
        own.later = own.later.with(&guest.later, from, to);
    }
}

/// What is asked of a site, undegraded: what knobs release is no room for others.
#[derive(Debug, Default)]
struct Demands {
    /// The mean of some ten seconds.
    lasting: Expected,
    /// At the redirect horizon, without and with a margin for chance.
    likely: Expected,
    soon: Expected,
    /// At the horizon of DNS, with a margin.
    later: Expected,
}

/// What there is for a part of another's clients, this tick.
#[derive(Debug, Clone, Copy, Default)]
struct Fit {
    /// The part that there is room for, with a margin, and without.
    room: f64,
    least: f64,
    /// Whether what was given is too much.
    presses: bool,
}

impl HelpState {
    /// The part of the clients that is offered now, when it was `given`.
    fn step(
        &mut self,
        policy: &Policy,
        is: Standing,
        fit: Fit,
        given: f64,
        cloud_dead: bool,
        at: UnixMillis,
    ) -> (f64, Option<&'static str>) {
        let span = dwell(policy);
        let unseen_since = self.unseen_since.take();
        let (whole, strained) = match is {
            Standing::Closed(why) => {
                self.take_back(given, 0.0, at);
                return (0.0, Some(why));
            }
            Standing::Unseen => {
                let since = unseen_since.filter(|since| *since <= at).unwrap_or(at);
                self.unseen_since = Some(since);
                if at.millis_since(since) < HELD_MS || cloud_dead {
                    return (given, Some("nothing is known of it"));
                }
                self.take_back(given, 0.0, at);
                return (0.0, Some("nothing has been known of it for long"));
            }
            Standing::Open { whole, strained } => (whole, strained),
        };
        let room = fit.room.min(fit.least);
        if whole {
            self.room.push(span, at, -room);
        }
        if fit.presses && given > fit.least {
            self.take_back(given, fit.least, at);
            return (fit.least, Some("its own clients need the room"));
        }
        if strained && given > 0.0 && !self.taken_within(SETTLE_MS, at) {
            self.take_back(given, 0.0, at);
            return (0.0, Some("it has less room than it should"));
        }
        if !whole {
            return (given, Some("what is known of it is not whole"));
        }
        let waits = self.taken_within(span.millis, at) || self.flaps.hold(span.millis, at);
        let most = match waits {
            true => self.room.max_over(span, at).map_or(given, |most| (-most).min(room)),
            false => room,
        };
        let part = if most > given + WORTH { most } else { given };
        (part, waits.then_some("its own clients needed the room a moment ago"))
    }

    fn take_back(&mut self, given: f64, to: f64, at: UnixMillis) {
        if to < given {
            self.taken_at = Some(at);
            self.flaps.rose(at);
        }
    }

    fn taken_within(&self, millis: u64, at: UnixMillis) -> bool {
        self.taken_at.is_some_and(|taken| taken <= at && at.millis_since(taken) < millis)
    }
}

/// Finds what each site is offered by those that may help it.
pub(crate) fn offer(
    policy: &Policy,
    next: &mut State,
    views: &mut [View<'_>],
    cloud_dead: bool,
    at: UnixMillis,
) {
    if policy.sites.iter().all(|site| site.helped_by.is_empty()) {
        return;
    }
    let mut hosts: Vec<Host<'_>> = Vec::with_capacity(views.len());
    for view in views.iter() {
        let kept = next.sites.entry(view.site.id.clone()).or_default();
        let slow = view.pressure.slow && view.pressure.busy;
        kept.host.slow = if slow { kept.host.slow.saturating_add(1) } else { 0 };
        let strained = view.pressure.congested || kept.host.slow >= SLOW_TICKS;
        let (load, redirect_bits) = (demands(policy, next, view), view.now.redirect_bits);
        hosts.push(Host { site: view.site, is: is(view, strained), load, redirect_bits });
    }
    for (view, site) in views.iter_mut().zip(&policy.sites) {
        if site.helped_by.is_empty() {
            continue;
        }
        let guest = demands(policy, next, view);
        let before = next.plan.sites.get(&site.id).map_or(&[][..], |plan| &plan.helped);
        let given = parts(before, view.share);
        let Some(kept) = next.sites.get_mut(&site.id) else { continue };
        // What is offered and not needed is room for others.
        let needed = view.need.share().max(view.share);
        let mut from = 0.0;
        for place in &site.helped_by {
            let Some(host) = hosts.get_mut(*place) else { continue };
            let id = &host.site.id;
            let given = given.get(id).copied().unwrap_or(0.0);
            let state = kept.help.entry(id.clone()).or_default();
            // Of a site that was never seen nothing is known that would have to fit.
            let known = guest.soon.movable_requests > 0.0;
            let fit = match known {
                true => Fit {
                    room: host.most(policy, &guest, from, true),
                    least: host.most(policy, &guest, from, false),
                    presses: host.presses(policy, &guest, from, (from + given).min(1.0)),
                },
                false => Fit { room: given, least: given, presses: false },
            };
            let (part, why) = state.step(policy, host.is, fit, given, cloud_dead, at);
            let part = part.min(1.0 - from);
            view.offers.push(Offer { site: id.clone(), part, why });
            host.take(&guest, from, (from + part).min(needed).max(from));
            from += part;
        }
    }
    for (view, host) in views.iter_mut().zip(&hosts) {
        let open = matches!(host.is, Standing::Open { .. });
        view.room = open.then(|| host.room(policy));
    }
}

/// What part of its clients each site serves by a list of bounds.
fn parts(helped: &[Help], share: f64) -> BTreeMap<SiteId, f64> {
    let mut from = 0.0;
    let part = |help: &Help| {
        let to = help.below.get().min(share).max(from);
        let part = to - from;
        from = to;
        (help.site.clone(), part)
    };
    helped.iter().map(part).collect()
}

/// What is asked of a site, as last known.
fn demands(policy: &Policy, state: &State, view: &View<'_>) -> Demands {
    let Some(site) = state.sites.get(&view.site.id) else { return Demands::default() };
    let set = KnobSet::default();
    let bytes = state.learned.bytes(policy, &set, Trust::Likely);
    let loads = site.demand.loads(policy, &state.learned, &set, &bytes);
    let soon = policy.redirect_horizon_secs();
    Demands {
        lasting: site.demand.lasting(&loads),
        likely: site.demand.likely(&loads, soon),
        soon: site.demand.upper(&loads, soon),
        later: site.demand.upper(&loads, policy.dns_horizon_secs()),
    }
}

/// Whether a site helps others now.
fn is(view: &View<'_>, strained: bool) -> Standing {
    if !view.sense.sees() {
        return Standing::Unseen;
    }
    if view.service.down || !view.service.unserved.is_empty() {
        return Standing::Closed("it has no healthy service for some");
    }
    if view.service.failing.is_some() {
        return Standing::Closed("answers fail there");
    }
    if view.share > 0.0 {
        return Standing::Closed("it spills itself");
    }
    Standing::Open { whole: view.sense.whole(), strained }
}

/// Of those who follow a bound that fell, so many do on average while they ask DNS again: what falls is
/// smoothed, over half of the time that an answer lives.
fn followed(policy: &Policy, before: f64, now: f64) -> f64 {
    let gain = weight(policy.tick_secs, f64::from(policy.dns_ttl_secs) / 2.0);
    let next = before + gain * (now - before);
    if next - now < STEP { now } else { next }
}

/// Gives out of what is offered as much as is needed: the plan's list, in the order of ranks. Where what is
/// in force stays, `holds`, it is the list that there was.
pub(crate) fn give(
    policy: &Policy,
    next: &mut State,
    views: &mut [View<'_>],
    holds: bool,
    at: UnixMillis,
) {
    for view in views.iter_mut() {
        let share = view.moved.share();
        let before = next.plan.sites.get(&view.site.id).map_or(&[][..], |plan| &plan.helped);
        let given = parts(before, view.share);
        let Some(kept) = next.sites.get_mut(&view.site.id) else { continue };
        let mut from = 0.0;
        if holds {
            view.helped = before.to_vec();
            kept.in_cloud = followed(policy, kept.in_cloud, (share - view.helped()).max(0.0));
            continue;
        }
        kept.help.retain(|id, _| view.offers.iter().any(|offer| offer.site == *id));
        for offer in &view.offers {
            let Some(state) = kept.help.get_mut(&offer.site) else { continue };
            let to = (from + offer.part).min(share).max(from);
            let below = if to > from { to } else { 0.0 };
            if to - from > given.get(&offer.site).copied().unwrap_or(0.0)
                && state.taken_at.is_some()
            {
                state.flaps.fell(at);
            }
            state.bound.set(policy, below, at);
            let followed = state.bound.largest(policy, at);
            from = to;
            if followed > 0.0 {
                let until = if followed > below { followed } else { 0.0 };
                let (below, until) = (Share::clamped(below), Share::clamped(until));
                view.helped.push(Help { site: offer.site.clone(), below, until });
            }
        }
        kept.in_cloud = followed(policy, kept.in_cloud, (share - from).max(0.0));
    }
    for view in views.iter().flat_map(|view| &view.helped) {
        if let Some(kept) = next.sites.get_mut(&view.site).filter(|_| !view.below.is_zero()) {
            kept.host.at = at;
        }
    }
}

#[cfg(test)]
mod tests;
