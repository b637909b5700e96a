//! What the cloud costs, and what it may cost: a limit of the cloud like any other, that is reached by
//! spending.
//!
//! ```text
//!  spent in this hour
//!  cap ┤                                   ······ allowed by then: half at once, half by the clock
//!      │                      ······╱‾‾‾‾‾
//!      │         ······      ╱‾‾ the spending comes near it within a minute or so
//!  1/2 ┤ ······             ╱
//!      └───────────────────────────────────────
//! ```
//!
//! A burst early in the hour may take half of it, and nothing in it is ever without the pace of the other
//! half. A month is spent in few bursts, so its cap is not spread over it, which would forbid each of them:
//! it binds where what is left would be gone within an hour. Estimated are gateways by the second and
//! functions by the request; what else the cloud costs (reserved units, warm environments, replicas,
//! bytes) is not.

use serde::{Deserialize, Serialize};
use spillway_model::UnixMillis;
use spillway_model::api::{BudgetStatus, Missed, Spending};
use spillway_model::config::{AwsPrices, Config};
use spillway_model::load::FleetLoad;

use crate::cloud::Limit;
use crate::observe::CloudSense;
use crate::policy::Policy;
use crate::state::State;
use crate::view::View;

/// This part of an hour's cap is at hand from its beginning on, for bursts.
const AT_ONCE: f64 = 0.5;
/// What is allowed by now and not spent may be spent within so many seconds: bursts end in a glide.
const GLIDE_SECS: f64 = 30.0;
/// A gateway is launched only where it can be paid for so many seconds: one that is ended sooner was
/// booted for little.
const LAUNCH_SECS: f64 = 600.0;
/// What is left of a month is not spent within less.
const HOUR_SECS: f64 = 3600.0;
/// A cap that binds gives way where what is beyond it costs this much less than it is worth: chance must
/// not turn it on and off.
const GIVES_WAY: f64 = 0.9;
/// Gateways are known to run on while nobody looks, for so many seconds; functions for a few ticks.
const GATEWAYS_RUN_SECS: f64 = 3600.0;
const FUNCTIONS_RUN_SECS: f64 = 10.0;
/// The rate of spending is a mean of so many seconds.
const RATE_SECS: f64 = 10.0;
/// From this part of a cap on it is told.
const NEAR: f64 = 0.8;

/// Prices and caps, in US dollars.
#[derive(Debug, Clone)]
pub(crate) struct BudgetPolicy {
    hour: Option<f64>,
    month: Option<f64>,
    worth: Option<f64>,
    /// Of a weighted request that functions serve, and of a second of a gateway.
    request: f64,
    gateway: f64,
}

impl BudgetPolicy {
    pub(crate) fn new(config: &Config) -> Option<Self> {
        let budget = config.cloud.budget.as_ref()?;
        let usual = AwsPrices::default();
        let prices = config.cloud.aws.as_ref().map_or(&usual, |aws| &aws.prices);
        Some(Self {
            hour: budget.usd_per_hour,
            month: budget.usd_per_month,
            worth: budget.usd_per_second_over,
            request: prices.functions_usd_per_million / 1e6,
            gateway: prices.gateway_usd_per_hour / 3600.0,
        })
    }
}

/// What the cloud does in one tick that costs, and what it is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cost {
    /// Weighted requests that functions served: counted, or as a rate where nothing counts them.
    counted: Option<f64>,
    rate: f64,
    /// Gateways that run, whatever they do.
    gateways: u32,
    /// The most requests per second that are asked of the cloud, and how much one weighs.
    asked: f64,
    each: f64,
    /// Weighted requests per second that gateways carry.
    carried: f64,
    /// Of the cloud's requests, the part that functions serve.
    functions: f64,
    /// Seconds that it takes to bring everybody home, step by step.
    way_home_secs: f64,
}

impl Cost {
    pub(crate) fn of(
        policy: &Policy,
        state: &State,
        cloud: &Result<CloudSense, String>,
        there: Option<&FleetLoad>,
        views: &[View<'_>],
    ) -> Self {
        if policy.budget.is_none() {
            return Self::default();
        }
        let (requests, weighted) = crate::allot::spilled(policy, state);
        let fleet = &state.plan.fleet;
        let percent = there.map_or(fleet.gateway_percent, |there| there.gateway_percent);
        let functions = 1.0 - f64::from(percent.min(100)) / 100.0;
        let running =
            there.map(|there| there.gateways_launched.saturating_add(there.gateways_draining));
        let healthy = there.map_or(fleet.gateways, |there| there.gateways_healthy);
        let carries = policy.fleet.as_ref().map_or(0.0, |fleet| fleet.carries);
        let sees = |view: &&View<'_>| view.sense.sees();
        let sum = |of: fn(&View<'_>) -> f64| views.iter().filter(sees).map(of).sum::<f64>();
        let (movable, heavy) =
            (sum(|v| v.expected.movable_requests), sum(|v| v.expected.movable_weight));
        let each = match () {
            () if movable > 0.0 && heavy > 0.0 => heavy / movable,
            () if requests > 0.0 && weighted > 0.0 => weighted / requests,
            () => 1.0,
        };
        let share = views.iter().map(|view| view.share).fold(0.0, f64::max);
        Self {
            counted: cloud.as_ref().ok().map(|cloud| cloud.invocations as f64 * each),
            rate: weighted * functions,
            gateways: running.unwrap_or(fleet.gateways),
            asked: views.iter().map(|view| crate::allot::asked(state, view)).sum(),
            each,
            carried: f64::from(healthy) * carries,
            functions,
            way_home_secs: share / policy.share_step_down / 2.0 + policy.dns_horizon_secs(),
        }
    }

    /// Requests per second that a rate of spending pays for, gateways first: they are there.
    fn affords(&self, policy: &BudgetPolicy, usd_per_sec: f64) -> f64 {
        let rest = (usd_per_sec - f64::from(self.gateways) * policy.gateway).max(0.0);
        let by_functions = rest / policy.request;
        (by_functions / self.functions).min(by_functions + self.carried) / self.each
    }
}

/// What one tick hands to the next, and the next start to the last one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BudgetState {
    at: UnixMillis,
    /// The hour since 1970 and the month that what was spent is of.
    hour: u64,
    hour_usd: f64,
    month: u64,
    month_usd: f64,
    /// US dollars a second, a mean of some seconds.
    rate: f64,
    /// What the cap that binds keeps from being served.
    binds: Option<Missed>,
}

/// What money allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Money {
    /// Where a cap binds: whether what is left only pays for the way home.
    pub(crate) spent: Option<bool>,
    /// Gateways that can be paid for.
    pub(crate) gateways: u32,
}

/// What a cap leaves.
struct Left {
    cap: &'static str,
    /// US dollars a second that may be spent now, and for as long as a gateway has to run.
    now: f64,
    lasting: f64,
    /// US dollars in all.
    usd: f64,
}

impl BudgetState {
    /// Takes in what the tick has cost, and makes of what the cloud takes what it may take.
    pub(crate) fn limit(
        &mut self,
        policy: &Policy,
        limit: Limit,
        cost: &Cost,
        at: UnixMillis,
    ) -> (Limit, Money) {
        let unlimited = Money { spent: None, gateways: u32::MAX };
        let Some(budget) = &policy.budget else { return (limit, unlimited) };
        self.take_in(budget, cost, policy.tick_secs, at);
        let bound = self.binds.take().is_some();
        let Some(left) = self.left(budget, at) else { return (limit, unlimited) };
        let (worth, spare) = (budget.worth.unwrap_or(0.0), budget.worth.is_some());
        let affords = cost.affords(budget, left.now);
        let missing = (cost.asked.min(limit.requests) - affords).max(0.0);
        // Gateways carry what they can already: what is beyond goes to functions.
        let beyond = missing * cost.each * budget.request;
        let gives_way = spare && beyond <= worth * if bound { GIVES_WAY } else { 1.0 };
        let gateways = gateways(cost, budget, &left, if gives_way { worth } else { 0.0 });
        if missing <= 0.0 || gives_way || limit.dead() {
            return (limit, Money { spent: None, gateways });
        }
        let spent = left.usd <= self.rate * cost.way_home_secs;
        let cap = match left.cap {
            "hour" => format!("the cap of ${:.2} an hour binds", budget.hour.unwrap_or(0.0)),
            _ => format!("the cap of ${:.2} a month binds", budget.month.unwrap_or(0.0)),
        };
        self.binds = Some(Missed {
            cap: left.cap.to_owned(),
            requests_per_sec: missing,
            usd_per_sec: beyond,
        });
        let why = format!("{affords:.0} requests/s, for {cap}");
        let limit = Limit { requests: affords, keeps: false, why, ..limit };
        (limit, Money { spent: Some(spent), gateways })
    }

    /// Counts what was spent since the last tick. A clock that was set back spends nothing twice.
    fn take_in(&mut self, policy: &BudgetPolicy, cost: &Cost, tick_secs: f64, at: UnixMillis) {
        let secs = match self.at {
            UnixMillis(0) => tick_secs,
            before => at.millis_since(before) as f64 / 1000.0,
        };
        let functions = cost.counted.unwrap_or(cost.rate * secs.min(FUNCTIONS_RUN_SECS));
        let gateways = f64::from(cost.gateways) * secs.min(GATEWAYS_RUN_SECS);
        let usd = functions * policy.request + gateways * policy.gateway;
        if secs > 0.0 {
            self.rate += (secs / RATE_SECS).min(1.0) * (usd / secs - self.rate);
        }
        let (hour, month) = (at.0 / 3_600_000, at.month());
        let mut of_hour = 1.0;
        if hour > self.hour {
            // Of a time that nobody looked, what was before the hour is not of it.
            let begun = (at.0 % 3_600_000) as f64 / 1000.0;
            of_hour = if secs > begun { begun / secs } else { 1.0 };
            (self.hour, self.hour_usd) = (hour, 0.0);
        }
        if month > self.month {
            (self.month, self.month_usd) = (month, 0.0);
        }
        self.hour_usd += usd * of_hour;
        self.month_usd += usd;
        self.at = self.at.max(at);
    }

    /// What the cap leaves that leaves less; `None` without one.
    fn left(&self, policy: &BudgetPolicy, at: UnixMillis) -> Option<Left> {
        let hour = policy.hour.map(|cap| {
            let begun = (at.0 % 3_600_000) as f64 / 1000.0;
            let pace = cap * (1.0 - AT_ONCE) / HOUR_SECS;
            let credit = cap * AT_ONCE + pace * begun - self.hour_usd;
            Left {
                cap: "hour",
                now: (credit / GLIDE_SECS + pace).max(0.0),
                lasting: (credit / LAUNCH_SECS + pace).max(0.0),
                usd: cap - self.hour_usd,
            }
        });
        let month = policy.month.map(|cap| {
            let usd = cap - self.month_usd;
            let now = usd.max(0.0) / HOUR_SECS;
            Left { cap: "month", now, lasting: now, usd }
        });
        let all = hour.into_iter().chain(month);
        all.reduce(|least, other| if other.now < least.now { other } else { least })
    }

    /// What a person reads of it.
    pub(crate) fn reasons(&self, policy: &Policy) -> Vec<String> {
        let Some(budget) = &policy.budget else { return Vec::new() };
        let mut lines = Vec::new();
        if let Some(missed) = &self.binds {
            let cap = if missed.cap == "hour" { budget.hour } else { budget.month };
            lines.push(format!(
                "cost: the cap of ${:.2} {} {} binds: {:.0} requests/s more would have cost {} a second; raise the cap or set `usd_per_second_over` above that to serve them",
                cap.unwrap_or(0.0),
                if missed.cap == "hour" { "an" } else { "a" },
                missed.cap,
                missed.requests_per_sec,
                small(missed.usd_per_sec)
            ));
        }
        for (usd, cap, of) in
            [(self.hour_usd, budget.hour, "hour"), (self.month_usd, budget.month, "month")]
        {
            if let Some(cap) = cap.filter(|cap| usd >= NEAR * cap) {
                lines.push(format!("cost: ${usd:.2} of ${cap:.2} are spent in this {of}"));
            }
        }
        lines
    }

    pub(crate) fn status(&self, policy: &Policy) -> Option<BudgetStatus> {
        let budget = policy.budget.as_ref()?;
        Some(BudgetStatus {
            hour: Spending { usd: self.hour_usd, of: budget.hour },
            month: Spending { usd: self.month_usd, of: budget.month },
            usd_per_hour: self.rate * HOUR_SECS,
            binds: self.binds.clone(),
        })
    }
}

/// Dollars of which there may be next to none.
fn small(usd: f64) -> String {
    if usd >= 0.001 { format!("${usd:.3}") } else { format!("${usd:.6}") }
}

/// Gateways that can be paid for: those there are while the money of now pays them, and more only where
/// they can be kept.
fn gateways(cost: &Cost, policy: &BudgetPolicy, left: &Left, beyond: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "by the clamp")]
    let paid = |usd_per_sec: f64| {
        ((usd_per_sec + beyond) / policy.gateway).floor().clamp(0.0, f64::from(u32::MAX)) as u32
    };
    paid(left.now).min(cost.gateways.max(paid(left.lasting)))
}

#[cfg(test)]
mod tests;
