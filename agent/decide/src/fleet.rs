//! Gateways in the cloud: functions take the shock of a burst, gateways take over what pays for them, and
//! functions keep the rest.
//!
//! Each gateway is a question of renting or buying (Karlin, Manasse, Rudolph and Sleator, Competitive snoopy
//! caching, 1988): what it would serve costs functions a price a request, and it costs a price an hour
//! and its boot, in which it serves nothing. So each has an account, kept in seconds of its own price:
//! what it would have saved while it is not there, what it has cost for nothing while it is. It is
//! launched when the first is worth a part of its boot. It is ended when the second is worth half of that,
//! but the one at the edge of what is needed is the first to be wanted again: it stays until it has cost
//! what functions would for its boot.
//!
//! ```text
//!            saved a part of its boot              gateways = as many as that holds for
//!   none ────────────────────────────▶ some ◀───────────────────────────┐
//!        ◀── the cloud gives them no more ── some to go ── cost too much for nothing
//! ```
//!
//! Requests are given to those that are healthy now, and little more than these carry: what is too much
//! for them in a second they send on to functions.

use serde::{Deserialize, Serialize};
use spillway_model::api::Bound;
use spillway_model::config::{AwsGateways, AwsPrices};
use spillway_model::load::{FleetLoad, Part};
use spillway_model::{Fleet, UnixMillis};

use crate::Observation;
use crate::event::{Coming, Source};
use crate::flaps::Flaps;
use crate::lasting::{MEAN_SECS, Seen};
use crate::policy::Policy;
use crate::view::View;

/// A gateway is launched when it would have saved this part of its boot. Waiting costs functions' price
/// on top, so it is well below the whole that competes with an adversary.
const LAUNCH: f64 = 0.2;
/// However much dearer functions are, so many seconds have to say so.
const LAUNCH_SECS: f64 = 4.0;
/// A gateway that has cost this part of its boot for nothing ends, but for the one at the edge.
const IDLE: f64 = 0.5;
/// Gateways are given this much more than they carry, for a second that brings less would leave them
/// idle, and this much more before that is changed.
const FILLED: f64 = 1.05;
const FILLED_MOST: f64 = 1.15;
/// No forecast is of a quantile below this: gateways that pay so seldom are not made ready.
const QUANTILE_LEAST: f64 = 0.05;
/// What was heard of the cloud longer ago says nothing about now.
const HEARD_MS: u64 = 30_000;

/// The gateways that there may be.
#[derive(Debug, Clone)]
pub(crate) struct FleetPolicy {
    /// Weighted requests per second that one takes.
    pub(crate) carries: f64,
    max: u32,
    /// What functions cost for as much as one takes, in the price of one.
    functions_price: f64,
    /// How long one boots, as declared.
    pub(crate) boot_secs: f64,
}

impl FleetPolicy {
    pub(crate) fn new(gateways: &AwsGateways, prices: &AwsPrices, target: f64) -> Self {
        let carries = gateways.weighted_qps * target;
        let functions_usd_per_hour = carries * 3600.0 * prices.functions_usd_per_million / 1e6;
        Self {
            carries,
            max: gateways.max,
            functions_price: functions_usd_per_hour / prices.gateway_usd_per_hour,
            boot_secs: gateways.boot_secs as f64,
        }
    }

    /// Weighted requests per second that one takes.
    pub(crate) fn carries(&self) -> f64 {
        self.carries
    }

    /// Seconds until one that is launched now serves, and how likely it must be that the load is no more than
    /// some for a gateway beyond it not to pay: one too few costs what functions cost more, and one too many
    /// its price (the critical ratio of the newsvendor). What serves less often than that never pays.
    pub(crate) fn looks_ahead(&self, most: f64) -> (u64, f64) {
        let ratio = 1.0 - 1.0 / self.functions_price;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an hour at most"
        )]
        let secs = self.boot_secs as u64;
        (secs, ratio.clamp(QUANTILE_LEAST, most.max(QUANTILE_LEAST)))
    }

    /// What gateway `place` would save in a second with `load` in the cloud, or waste if it is less than
    /// nothing, in seconds of its price.
    fn saves(&self, place: usize, load: f64) -> f64 {
        let part = (load / self.carries - place as f64).clamp(0.0, 1.0);
        self.functions_price * part - 1.0
    }

    /// What the gateway at the edge may cost for nothing: what functions would for its boot.
    fn edge_secs(&self, boot_secs: f64) -> f64 {
        self.functions_price.max(IDLE) * boot_secs
    }

    /// Percent of `load` that are `filled` times what `healthy` gateways take.
    fn percent(&self, healthy: u32, load: f64, filled: f64) -> f64 {
        let part = f64::from(healthy) * self.carries * filled / load.max(f64::MIN_POSITIVE);
        (100.0 * part).min(100.0)
    }
}

/// What one tick hands to the next. Bounded by the number of gateways there may be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FleetState {
    /// Weighted requests per second in the cloud, the mean of some seconds, and of how many.
    load: f64,
    load_secs: f64,
    /// The account of each gateway: above nothing of those that are not there, below of those that are.
    accounts: Vec<f64>,
    /// How many of the plan's gateways are to go once they are given nothing more.
    to_go: u32,
    flaps: Flaps,
}

/// What is known of the cloud's gateways and of what is asked of the cloud, this tick.
pub(crate) struct FleetSense<'a> {
    /// What there is, or why that is not known.
    pub(crate) there: Result<&'a FleetLoad, String>,
    /// Weighted requests per second in the cloud, and that ought to be there.
    pub(crate) load: f64,
    pub(crate) asked: f64,
    /// Requests per second that ought to be there, and the bytes per second of their answers.
    pub(crate) requests: f64,
    pub(crate) bytes: f64,
    pub(crate) secs: f64,
    /// Whether every site was seen, and whether wholly: else these are too small at best.
    pub(crate) sees: bool,
    pub(crate) whole: bool,
    /// What is to come.
    pub(crate) coming: Coming,
    /// How many gateways are ordered.
    pub(crate) order: Option<(Bound, u32)>,
    /// How long a gateway takes until it serves, as known by now.
    pub(crate) boot_secs: f64,
    /// Whether what is in force stays, but for an order.
    pub(crate) holds: bool,
    /// How many the budget allows.
    pub(crate) afford: u32,
}

/// Why the fleet is as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Why {
    /// More would save more than they cost.
    Raised(u32),
    /// The same, for what is to come.
    Announced(u32, Source),
    /// An order holds more.
    Ordered(u32),
    /// So many are to go as soon as the cloud gives them nothing more.
    Leaving(u32),
    /// They were ended.
    Lowered(u32),
    /// What there is is what is needed, or it is too soon to tell.
    Kept,
}

/// What the cloud's gateways are found to be: the last report, if it is of now.
pub(crate) fn heard<'a>(
    policy: &Policy,
    observation: &'a Observation,
) -> Result<&'a FleetLoad, String> {
    let Some(load) = observation.loads.iter().find(|load| load.part == Part::Aws) else {
        let why = observation.missing.get("aws").map_or("it did not answer", String::as_str);
        return Err(format!("aws: {why}"));
    };
    let fleet = load.fleet.as_ref().ok_or("aws: it has not heard of the cloud yet")?;
    let at = observation.at;
    let age = at.millis_since(fleet.seen_at);
    if at.millis_since(load.at) > policy.stale_ms() || age > HEARD_MS {
        return Err(format!("aws: it heard of the cloud {} s ago", age / 1000));
    }
    Ok(fleet)
}

impl<'a> FleetSense<'a> {
    /// What the sites send to the cloud, and would if it took all that they need to send.
    pub(crate) fn of(
        there: Result<&'a FleetLoad, String>,
        (requests, in_cloud): (f64, f64),
        views: &[View<'_>],
        tick_secs: f64,
    ) -> Self {
        let short = || views.iter().filter(|view| view.need.share() > view.most);
        let needed: f64 = short().map(|view| view.beyond() * view.expected.movable_weight).sum();
        let missed: f64 = short().map(|view| view.beyond() * view.expected.movable_requests).sum();
        let bits: f64 = views.iter().map(|view| view.expected.movable_bits).sum();
        let movable: f64 = views.iter().map(|view| view.expected.movable_requests).sum();
        let requests = requests.max(missed);
        let secs = views.iter().map(|view| view.sense.secs).fold(0.0, f64::max);
        Self {
            there,
            load: in_cloud,
            asked: in_cloud.max(needed),
            requests,
            bytes: if movable > 0.0 { requests * bits / movable / 8.0 } else { 0.0 },
            secs: if secs > 0.0 { secs } else { tick_secs },
            sees: views.iter().all(|view| view.sense.sees()),
            whole: views.iter().all(|view| view.sense.whole()),
            coming: Coming::default(),
            order: None,
            boot_secs: 0.0,
            holds: false,
            afford: u32::MAX,
        }
    }

    /// What an order makes of so many gateways. The configuration's most is a cap of costs.
    fn held(&self, policy: &FleetPolicy, gateways: u32) -> u32 {
        match self.order {
            Some((bound, ordered)) => bound.hold(gateways, ordered).min(policy.max),
            None => gateways,
        }
    }
}

impl FleetState {
    /// The fleet of the next plan.
    pub(crate) fn step(
        &mut self,
        policy: &FleetPolicy,
        sense: &FleetSense<'_>,
        before: &Fleet,
        at: UnixMillis,
    ) -> (Fleet, Why) {
        self.take_in(policy, sense, before.gateways);
        let mut fleet = before.clone();
        let mut why = Why::Kept;
        let launched = match sense.holds {
            true => before.gateways,
            false => self.launched(policy, sense, before.gateways),
        };
        // What is there is ended below, where the load balancer is told first.
        fleet.gateways = sense.held(policy, launched).max(before.gateways);
        if fleet.gateways > before.gateways {
            why = match () {
                () if fleet.gateways > launched => Why::Ordered(before.gateways),
                () if sense.coming.gateways.load() > sense.asked => {
                    Why::Announced(before.gateways, sense.coming.gateways.source)
                }
                () => Why::Raised(before.gateways),
            };
            if !matches!(why, Why::Ordered(_)) {
                self.flaps.rose(at);
            }
            self.to_go = 0;
        }
        // No data is not zero: what cannot be seen is neither ended nor given other requests.
        let Ok(there) = &sense.there else { return (fleet, why) };
        let idle = if sense.whole && !sense.holds {
            self.idle(policy, sense, fleet.gateways, at)
        } else {
            0
        };
        let goes = fleet.gateways - sense.held(policy, fleet.gateways - idle).min(fleet.gateways);
        if sense.whole || goes > 0 {
            // One batch after the other: the last ones are gone before the next are told to go.
            let settled = there.gateways_draining == 0 && there.gateways_launched <= fleet.gateways;
            self.to_go = if settled { goes } else { self.to_go.min(goes) };
        }
        let stay = fleet.gateways.saturating_sub(self.to_go);
        let healthy = there.gateways_healthy.min(stay);
        // An order on gateways is also one to give them what they carry.
        if !sense.holds || sense.order.is_some() {
            let before = before.gateway_percent;
            fleet.gateway_percent = self.percent(policy, healthy, before, sense.whole);
        }
        // What was found may be of a plan that gave them nothing, before one that did.
        let given = there.gateway_percent.max(before.gateway_percent);
        if stay < fleet.gateways && given <= fleet.gateway_percent {
            why = Why::Lowered(fleet.gateways);
            if sense.order.is_none() {
                self.flaps.fell(at);
            }
            fleet.gateways = stay;
            self.to_go = 0;
        } else if stay < fleet.gateways {
            why = Why::Leaving(self.to_go);
        }
        (fleet, why)
    }

    /// Keeps the accounts of `there` gateways that are and of the others. Data that are not whole may
    /// add, never take away. What is announced counts as if it were asked already.
    fn take_in(&mut self, policy: &FleetPolicy, sense: &FleetSense<'_>, there: u32) {
        let announced = sense.coming.gateways.load();
        let asked = match sense.sees {
            true => sense.asked.max(announced),
            false if announced > 0.0 => announced,
            false => return,
        };
        if sense.sees {
            let seen = Seen { secs: sense.secs, whole: sense.whole };
            self.load =
                if self.load_secs > 0.0 { seen.mean(self.load, sense.load) } else { sense.load };
            self.load_secs = (self.load_secs + sense.secs).min(MEAN_SECS);
        }
        self.accounts.resize(policy.max as usize, 0.0);
        let most = LAUNCH * sense.boot_secs / LAUNCH_SECS;
        // Who is held for hours owes no more for that than who may go, and who is not launched though it
        // would be saves no more than that takes.
        let held = sense.order.is_some() || sense.holds;
        let least = if held { -policy.edge_secs(sense.boot_secs) } else { f64::NEG_INFINITY };
        let enough = if sense.holds { LAUNCH * sense.boot_secs } else { f64::INFINITY };
        for (place, account) in self.accounts.iter_mut().enumerate() {
            let saved = policy.saves(place, asked).min(most) * sense.secs;
            let saved = if sense.whole { saved } else { saved.max(0.0) };
            let sum = (*account + saved).max(least).min(enough);
            *account = if place < there as usize { sum.min(0.0) } else { sum.max(0.0) };
        }
    }

    /// How many there would be, of `there` that are, were it done.
    pub(crate) fn advised(
        &self,
        policy: &FleetPolicy,
        sense: &FleetSense<'_>,
        there: u32,
        at: UnixMillis,
    ) -> u32 {
        let launched = self.clone().launched(policy, sense, there);
        if launched > there || !sense.whole || sense.there.is_err() {
            return launched.max(there);
        }
        there - self.idle(policy, sense, there, at).min(there)
    }

    /// What was about to go stays: others have said what is in force.
    pub(crate) fn follow(&mut self) {
        self.to_go = 0;
    }

    /// As many as `there` are, and those above that have saved enough.
    fn launched(&mut self, policy: &FleetPolicy, sense: &FleetSense<'_>, there: u32) -> u32 {
        let most = policy.max.min(sense.afford.max(there));
        let more = self.accounts.iter_mut().take(most as usize).skip(there as usize);
        let paid = more.take_while(|account| **account >= LAUNCH * sense.boot_secs);
        let launched = paid.map(|account| *account = 0.0).count();
        there.saturating_add(u32::try_from(launched).unwrap_or(u32::MAX)).min(policy.max)
    }

    /// How many of `there`, from the last one on, have cost enough for nothing. After some that had to be
    /// launched again soon the others wait for longer than a boot.
    fn idle(
        &self,
        policy: &FleetPolicy,
        sense: &FleetSense<'_>,
        there: u32,
        at: UnixMillis,
    ) -> u32 {
        let boot_secs = sense.boot_secs;
        // What there may not be any more goes in any case, and what cannot be paid for.
        let over = there.saturating_sub(policy.max.min(sense.afford));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some seconds")]
        let boot = (1000.0 * boot_secs) as u64;
        if self.flaps.hold(boot, at) {
            return over;
        }
        let wasted = |secs: f64| {
            let last = self.accounts.iter().take(there as usize).rev();
            u32::try_from(last.take_while(|account| **account <= -secs).count()).unwrap_or(0)
        };
        let edge = wasted(policy.edge_secs(boot_secs));
        wasted(IDLE * boot_secs).saturating_sub(1).max(edge).max(over)
    }

    /// Percent of the cloud's requests for `healthy` gateways: what it was while they are given between
    /// what they take and clearly too much. Without whole data they are given nothing more.
    fn percent(&self, policy: &FleetPolicy, healthy: u32, before: u8, whole: bool) -> u8 {
        if healthy == 0 {
            return 0;
        }
        let of = |filled| policy.percent(healthy, self.load, filled);
        if (of(1.0)..=of(FILLED_MOST)).contains(&f64::from(before)) {
            return before;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
        let percent = of(FILLED).ceil() as u8;
        // After a restart a first glimpse may be of a lull.
        let known = whole && self.load_secs >= MEAN_SECS;
        if known { percent } else { percent.min(before) }
    }

    /// Requests per second that the cloud takes, where functions alone take `functions` and requests
    /// weigh `each`: gateways carry their part beside them.
    pub(crate) fn with_gateways(
        policy: &FleetPolicy,
        there: &FleetLoad,
        functions: f64,
        each: f64,
    ) -> f64 {
        let part = f64::from(there.gateway_percent).min(100.0) / 100.0;
        let carried = f64::from(there.gateways_healthy) * policy.carries / each;
        (functions / (1.0 - part)).min(functions + carried)
    }

    /// After a restart: loads and timers are of another time.
    pub(crate) fn forget_present(&mut self) {
        *self = Self::default();
    }

    /// What a person reads of it.
    pub(crate) fn reasons(
        &self,
        policy: &FleetPolicy,
        sense: &FleetSense<'_>,
        fleet: &Fleet,
        why: Why,
        by: &str,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        let (wanted, percent) = (fleet.gateways, fleet.gateway_percent);
        let dearer = policy.functions_price;
        if let Some((bound, ordered)) = sense.order {
            lines.push(format!("fleet: {bound} {} by order of {by}", gateways(ordered)));
        }
        // Whether so many stay because no more are ordered. Where fewer stay, the others do not pay.
        let for_order = |stay: u32| {
            let order = sense.order.filter(|(bound, _)| *bound != Bound::AtLeast);
            order.is_some_and(|(_, ordered)| stay >= ordered)
        };
        let for_money = |stay: u32| stay == sense.afford;
        match why {
            Why::Ordered(before) => lines.push(format!(
                "fleet: raised from {before} to {} for the order",
                gateways(wanted)
            )),
            Why::Announced(before, source) => lines.push(format!(
                "fleet: raised from {before} to {}: {source} is to bring {:.0} weighted requests/s to the cloud, and functions cost {dearer:.1} times as much as gateways that serve {:.0} each",
                gateways(wanted),
                sense.coming.gateways.load(),
                policy.carries
            )),
            Why::Raised(before) => lines.push(format!(
                "fleet: raised from {before} to {}: functions cost {dearer:.1} times as much as gateways that serve {:.0} weighted requests/s each, and have for a part of their boot of {:.0} s",
                gateways(wanted),
                policy.carries,
                sense.boot_secs
            )),
            Why::Leaving(n) if for_order(wanted.saturating_sub(n)) => lines.push(format!(
                "fleet: {} to go for the order; first the load balancer gives them nothing more",
                if n == 1 { "one gateway is".to_owned() } else { format!("{n} gateways are") }
            )),
            Why::Lowered(before) if for_order(wanted) => lines.push(format!(
                "fleet: lowered from {before} to {} for the order",
                gateways(wanted)
            )),
            Why::Leaving(_) | Why::Lowered(_) if wanted > sense.afford || for_money(wanted) => {
                lines.push(format!(
                    "fleet: the budget pays for {}; the others get no requests and end",
                    gateways(sense.afford)
                ));
            }
            Why::Leaving(n) => lines.push(format!(
                "fleet: {} to go, whose cost for nothing is that of waiting for a boot of {:.0} s; first the load balancer gives them nothing more",
                if n == 1 { "one gateway is".to_owned() } else { format!("{n} gateways are") },
                sense.boot_secs
            )),
            Why::Lowered(before) => lines.push(format!(
                "fleet: lowered from {before} to {}: the others have cost as much for nothing as waiting for a boot of {:.0} s",
                gateways(wanted),
                sense.boot_secs
            )),
            Why::Kept if wanted == 0 && self.load >= 1.0 => lines.push(format!(
                "fleet: functions serve all {:.0} weighted requests/s, at {dearer:.1} times the price of full gateways; these are started once they have saved a part of their boot",
                self.load
            )),
            Why::Kept => {}
        }
        match &sense.there {
            Ok(there) => {
                let some = there.gateways_launched.max(there.gateways_draining) > 0;
                if wanted > 0 || some {
                    let draining = match there.gateways_draining {
                        0 => String::new(),
                        n => format!(", {n} draining"),
                    };
                    lines.push(format!(
                        "fleet: {} wanted, {} healthy of {} launched{draining}; they are to carry {percent} % of {:.0} weighted requests/s, functions the rest",
                        gateways(wanted),
                        there.gateways_healthy, there.gateways_launched, self.load
                    ));
                }
            }
            Err(gap) if wanted > 0 || self.load >= 1.0 => lines.push(format!(
                "fleet: holding {} and {percent} % for them; what there is is not known ({gap})",
                gateways(wanted)
            )),
            Err(_) => {}
        }
        lines
    }
}

fn gateways(count: u32) -> String {
    format!("{count} gateway{}", if count == 1 { "" } else { "s" })
}
