//! Gateways in the cloud: functions take the shock of a burst, gateways take over when it lasts, and
//! functions keep the rest.
//!
//! ```text
//!            what has lasted for after_secs needs more          gateways = what it needs
//!   none ─────────────────────────────────────────────▶ some ◀───────────────────────────┐
//!        ◀── the cloud gives it no more requests ── one to go ── fewer sufficed for keep_secs
//! ```
//!
//! More are wanted by the least that was asked of the cloud in some time, fewer by the most in some
//! time, so that nothing between the two moves anything. Requests are given to those that are healthy
//! now, and no more than these carry.

use serde::{Deserialize, Serialize};
use spillway_model::config::AwsGateways;
use spillway_model::load::{FleetLoad, Part};
use spillway_model::{Fleet, UnixMillis};

use crate::forecast::weight;
use crate::policy::Policy;
use crate::window::{Span, Window};
use crate::{Observation, View};

/// Time constant of the means, in seconds.
const MEAN_SECS: f64 = 10.0;
/// Less than this part of a gateway's load is left to functions.
const LEFT: f64 = 0.25;
/// Functions keep a tenth: environments that serve nothing end, and the next shock would find none.
const PERCENT_MAX: u8 = 90;
/// Percentages are multiples of this where they are not small.
const PERCENT_STEP: u8 = 5;
/// Gateways may be given this much more than what they are meant to carry before they are given less.
const BAND: f64 = 1.1;
/// What was heard of the cloud longer ago says nothing about now.
const HEARD_MS: u64 = 30_000;

/// The gateways that there may be.
#[derive(Debug, Clone)]
pub(crate) struct FleetPolicy {
    /// Weighted requests per second that one can serve, and that it is to carry.
    full: f64,
    carries: f64,
    max: u32,
    after: Span,
    keep: Span,
}

impl FleetPolicy {
    pub(crate) fn new(gateways: &AwsGateways, target: f64, tick_ms: u64) -> Self {
        Self {
            full: gateways.weighted_qps,
            carries: gateways.weighted_qps * target,
            max: gateways.max,
            after: Span::secs(gateways.after_secs, tick_ms),
            keep: Span::secs(gateways.keep_secs, tick_ms),
        }
    }

    /// Gateways for some weighted requests per second.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to a u32 by the clamp"
    )]
    fn count(&self, load: f64) -> u32 {
        (load / self.carries - LEFT).ceil().clamp(0.0, f64::from(self.max)) as u32
    }

    /// Percent of `load` that `healthy` gateways carry, rounded down.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to PERCENT_MAX by the clamp"
    )]
    fn percent(&self, healthy: u32, load: f64) -> u8 {
        if healthy == 0 {
            return 0;
        }
        let part = 100.0 * f64::from(healthy) * self.carries / load.max(f64::MIN_POSITIVE);
        let percent = part.clamp(0.0, f64::from(PERCENT_MAX)) as u8;
        if percent < 2 * PERCENT_STEP { percent } else { percent - percent % PERCENT_STEP }
    }
}

/// What one tick hands to the next. Bounded by the windows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FleetState {
    /// Weighted requests per second in the cloud: the mean, and what it has come to lately.
    load: f64,
    peak: f64,
    /// The mean of what is asked of the cloud, which may be more than it takes.
    asked: f64,
    /// The least asked in the time after which gateways are started, with its sign changed.
    lasted: Window,
    /// The most asked in the time after which one is ended.
    sufficed: Window,
    /// Whether one of the plan's gateways takes nothing more, so that it can go.
    leaving: bool,
}

/// What is known of the cloud's gateways and of what is asked of the cloud, this tick.
pub(crate) struct FleetSense<'a> {
    /// What there is, or why that is not known.
    pub(crate) there: Result<&'a FleetLoad, String>,
    /// Weighted requests per second in the cloud, and that ought to be there.
    pub(crate) load: f64,
    pub(crate) asked: f64,
    pub(crate) secs: f64,
    /// Whether every site was seen, and whether wholly: else these are too small at best.
    pub(crate) sees: bool,
    pub(crate) whole: bool,
}

/// Why the fleet is as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Why {
    /// More is asked, in weighted requests per second, than those before carry, and that has lasted.
    Raised(u32, f64),
    /// One is to go as soon as the cloud gives it nothing more.
    Leaving,
    /// One was ended.
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
        in_cloud: f64,
        views: &[View<'_>],
        tick_secs: f64,
    ) -> Self {
        let short = views.iter().filter(|view| view.need.share() > view.most);
        let needed: f64 = short.map(|view| view.need.share() * view.expected.movable_weight).sum();
        let secs = views.iter().map(|view| view.sense.secs).fold(0.0, f64::max);
        Self {
            there,
            load: in_cloud,
            asked: in_cloud.max(needed),
            secs: if secs > 0.0 { secs } else { tick_secs },
            sees: views.iter().all(|view| view.sense.sees()),
            whole: views.iter().all(|view| view.sense.whole()),
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
        self.take_in(policy, sense, at);
        let mut fleet = before.clone();
        let mut why = Why::Kept;
        // The mean follows: what is over already has not lasted.
        let lasted = self.lasted.max_over(policy.after, at).map_or(0.0, |least| -least);
        let lasted = lasted.min(sense.asked);
        if policy.count(lasted) > before.gateways {
            why = Why::Raised(before.gateways, lasted);
            fleet.gateways = policy.count(lasted);
            self.leaving = false;
        }
        // No data is not zero: what cannot be seen is neither ended nor given other requests.
        let Ok(there) = &sense.there else { return (fleet, why) };
        if sense.whole {
            let fewer = self
                .sufficed
                .max_over(policy.keep, at)
                .is_some_and(|most| policy.count(most) < fleet.gateways);
            // One after the other: the last one is gone before the next is told to go.
            let settled = there.gateways_draining == 0 && there.gateways_launched <= fleet.gateways;
            self.leaving = fewer && (self.leaving || settled);
        }
        let stay = fleet.gateways - u32::from(self.leaving && fleet.gateways > 0);
        fleet.gateway_percent =
            self.percent(policy, there.gateways_healthy.min(stay), before.gateway_percent, sense);
        if stay < fleet.gateways && there.gateway_percent <= fleet.gateway_percent {
            why = Why::Lowered(fleet.gateways);
            fleet.gateways = stay;
            self.leaving = false;
        } else if stay < fleet.gateways {
            why = Why::Leaving;
        }
        (fleet, why)
    }

    fn take_in(&mut self, policy: &FleetPolicy, sense: &FleetSense<'_>, at: UnixMillis) {
        if !sense.sees {
            return;
        }
        let gain = weight(sense.secs, MEAN_SECS);
        // Data that is not whole may add, never take away.
        let mean = |mean: f64, value: f64| match sense.whole || value > mean {
            true => mean + gain * (value - mean),
            false => mean,
        };
        self.load = mean(self.load, sense.load);
        self.asked = mean(self.asked, sense.asked);
        if sense.whole {
            self.peak += gain * (self.load - self.peak);
        }
        self.peak = self.peak.max(self.load).max(sense.load);
        self.lasted.push(policy.after, at, -self.asked);
        if sense.whole {
            self.sufficed.push(policy.keep, at, self.asked);
        }
    }

    /// Percent of the cloud's requests for `healthy` gateways. Less than before only where these
    /// would otherwise be given clearly too much, more only where everything is seen.
    fn percent(
        &self,
        policy: &FleetPolicy,
        healthy: u32,
        before: u8,
        sense: &FleetSense<'_>,
    ) -> u8 {
        let room = policy.percent(healthy, self.peak);
        let given = |load: f64| f64::from(before) / 100.0 * load;
        let healthy = f64::from(healthy);
        let too_much = given(self.load) > BAND * healthy * policy.carries
            || given(sense.load) > healthy * policy.full;
        match () {
            () if room > before && sense.whole => room,
            () if room < before && (too_much || healthy == 0.0) => room,
            () => before,
        }
    }

    /// Requests per second that the cloud takes, where functions alone take `functions` and requests
    /// weigh `each`: gateways carry their part beside them.
    pub(crate) fn with_gateways(
        policy: &FleetPolicy,
        there: &FleetLoad,
        functions: f64,
        each: f64,
    ) -> f64 {
        let part = f64::from(there.gateway_percent.min(PERCENT_MAX)) / 100.0;
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
    ) -> Vec<String> {
        let mut lines = Vec::new();
        let (wanted, percent) = (fleet.gateways, fleet.gateway_percent);
        let (after, keep) = (policy.after.millis / 1000, policy.keep.millis / 1000);
        match why {
            Why::Raised(before, load) => lines.push(format!(
                "fleet: raised from {before} to {}, for {load:.0} weighted requests/s have lasted {after} s in the cloud and each carries {:.0}",
                gateways(wanted),
                policy.carries
            )),
            Why::Leaving => lines.push(format!(
                "fleet: one gateway is to go, for fewer have sufficed for {keep} s; first the load balancer gives it nothing more"
            )),
            Why::Lowered(before) => lines.push(format!(
                "fleet: lowered from {before} to {}, which would have sufficed for {keep} s",
                gateways(wanted)
            )),
            Why::Kept if wanted == 0 && self.load >= 1.0 => lines.push(format!(
                "fleet: functions serve all {:.0} weighted requests/s; gateways are started for what lasts {after} s",
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
