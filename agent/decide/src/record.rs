//! Why, as a record: what one site's part of a decision was made from, what was done and what was nearly
//! done, what would have changed it, and what the share before the last rise would have come to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spillway_model::api::{Action, Alternative, Asked, Held, SiteRecord, Thresholds};
use spillway_model::{Share, SiteId, UnixMillis};

use crate::expected::Expected;
use crate::policy::{Policy, SitePolicy};
use crate::share::{Binding, Move, carries};
use crate::state::State;
use crate::view::View;

/// Most sites of which a decision has records, those with the largest shares: one is journalled each tick.
const RECORDS_MAX: usize = 8;

/// The share before the last rise, and for how long home would have been over its caps with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Unraised {
    share: f64,
    since: UnixMillis,
    over_secs: f64,
    /// Whether the share has fallen since: the next raise begins anew.
    fell: bool,
}

impl Unraised {
    /// Takes in `secs` seconds that ended with `load` asked, and then a move of the share `from` one `to`
    /// another. `None` once the share is back where it was.
    pub(crate) fn step(
        before: Option<Self>,
        site: &SitePolicy,
        load: &Expected,
        secs: f64,
        (from, to): (f64, f64),
        at: UnixMillis,
    ) -> Option<Self> {
        let mut held = before.filter(|held| held.share < from);
        if let Some(held) = &mut held {
            let over = load.home_bits(held.share) > site.cap
                || load.home_weight(held.share) > site.weighted_qps;
            held.over_secs += if over { secs } else { 0.0 };
            held.fell |= to < from;
        }
        if to > from && held.as_ref().is_none_or(|held| held.fell) {
            held = Some(Self { share: from, since: at, over_secs: 0.0, fell: false });
        }
        held
    }
}

/// The records of the sites with the largest shares.
pub(crate) fn all(
    policy: &Policy,
    state: &State,
    views: &[View<'_>],
) -> BTreeMap<SiteId, SiteRecord> {
    let mut views: Vec<&View<'_>> = views.iter().collect();
    views.sort_by(|a, b| b.moved.share().total_cmp(&a.moved.share()));
    let largest = views.into_iter().take(RECORDS_MAX);
    largest.map(|view| (view.site.id.clone(), of(policy, state, view))).collect()
}

fn of(policy: &Policy, state: &State, view: &View<'_>) -> SiteRecord {
    let site = state.sites.get(&view.site.id);
    let demand = site.map_or(0.0, |site| site.demand.requests());
    let unraised = site.and_then(|site| site.unraised.as_ref());
    let (binding, expected) = (view.need.binding(), &view.expected);
    let cloud = view.need.share() > view.most;
    SiteRecord {
        demand: Asked {
            bits_per_sec: view.now.bits.round(),
            requests_per_sec: tenths(view.now.requests),
            weighted_qps: tenths(view.now.home_weight),
        },
        forecast: Asked {
            bits_per_sec: expected.bits().round(),
            requests_per_sec: tenths(expected.movable_requests),
            weighted_qps: tenths(expected.weight()),
        },
        horizon_secs: policy.redirect_horizon_secs(),
        binding: if cloud { Binding::Cloud } else { binding }.as_str().to_owned(),
        chosen: chosen(view),
        runner_up: runner_up(policy, view),
        helped: view.helped.clone(),
        thresholds: if view.sense.sees() {
            thresholds(policy, view, demand)
        } else {
            Thresholds::default()
        },
        had_we_held: unraised.map(|held| Held {
            share: Share::clamped(held.share),
            since: held.since,
            over_secs: tenths(held.over_secs),
        }),
    }
}

fn chosen(view: &View<'_>) -> Action {
    match view.moved {
        _ if !view.sense.sees() => Action::Hold,
        Move::Raised(_) => Action::Raise,
        Move::Lowered(_) => Action::Lower,
        Move::Returned(_) => Action::Return,
        Move::Dwells(..) => Action::Dwell,
        Move::Ordered(..) => Action::Obey,
        Move::Advised(..) => Action::Advise,
        Move::Kept(_) => Action::Keep,
    }
}

/// What would have been done otherwise, and why it was not.
fn runner_up(policy: &Policy, view: &View<'_>) -> Option<Alternative> {
    let (need, kept) = (&view.need, view.share);
    let (share, why_not) = match view.moved {
        _ if !view.sense.sees() => return None,
        Move::Raised(_) => {
            (kept, format!("home would be asked for {} of what it carries", filled(policy, view)))
        }
        Move::Lowered(_) => (kept, format!("less has sufficed for {} s", policy.share_dwell_secs)),
        Move::Returned(_) => (kept, "the cloud does not answer".to_owned()),
        Move::Dwells(_, secs) => {
            (need.calm.min(kept), format!("it has not sufficed for {secs} s yet"))
        }
        Move::Ordered(_, decided) => (decided, "an order holds the share".to_owned()),
        Move::Advised(_, decided) => (decided, "the mode only recommends".to_owned()),
        Move::Kept(_) if need.share() > kept && view.most <= kept => {
            (need.share(), "the cloud takes no more".to_owned())
        }
        Move::Kept(_) if need.share() > kept => {
            (need.share(), "home is not over its line as it is".to_owned())
        }
        Move::Kept(_) if kept > 0.0 && !view.sense.whole() => {
            (need.calm.min(kept), "data is not whole".to_owned())
        }
        Move::Kept(_) if kept > 0.0 => {
            (need.share().min(kept), "that would leave no margin".to_owned())
        }
        Move::Kept(_) => return None,
    };
    Some(Alternative { share: Share::clamped(share), why_not })
}

/// How much of what home is to carry is asked of it at the present share.
fn filled(policy: &Policy, view: &View<'_>) -> String {
    let scale = scale(policy, view.site, &view.expected, view.share);
    if scale > 0.0 { format!("{:.0} %", 100.0 / scale) } else { "more than all".to_owned() }
}

/// How many times the expected load home carries at its targets with a share; infinite where nothing of
/// it stays at home.
fn scale(policy: &Policy, site: &SitePolicy, expected: &Expected, share: f64) -> f64 {
    let line = expected.line(site.cap, policy.uplink_target, share);
    let of = |most: f64, load: f64| if load > 0.0 { most / load } else { f64::INFINITY };
    of(line, expected.home_bits(share))
        .min(of(site.weighted_qps * policy.compute_target, expected.home_weight(share)))
}

/// At how many requests per second of the present mix the decision would be another.
fn thresholds(policy: &Policy, view: &View<'_>, requests: f64) -> Thresholds {
    let at = |share: f64| {
        let scaled = requests * scale(policy, view.site, &view.expected, share);
        (requests > 0.0 && scaled.is_finite()).then(|| tenths(scaled))
    };
    let share = view.moved.share();
    let spills = share > 0.0 || carries(policy, view.site, &view.expected) > 0.0;
    Thresholds { home_below: at(0.0).filter(|_| spills), raised_above: at(share) }
}

fn tenths(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_rise_is_counted_from_where_it_began() {
        let text = include_str!("../../../examples/spillway.toml");
        let policy = Policy::new(&spillway_model::Config::parse(text, Path::new(".")).unwrap());
        let site = &policy.sites[0];
        let load = |times: f64| Expected { movable_bits: times * site.cap, ..Expected::default() };
        let at = UnixMillis;
        let step = |held, times, moved, millis| {
            Unraised::step(held, site, &load(times), 1.0, moved, at(millis))
        };
        let held = step(None, 3.0, (0.0, 0.0), 0);
        assert_eq!(held, None, "nothing was raised");
        let held = step(held, 3.0, (0.0, 0.5), 1);
        let held = step(held, 3.0, (0.5, 0.7), 2);
        let held = step(held, 0.5, (0.7, 0.7), 3);
        let expected = Unraised { share: 0.0, since: at(1), over_secs: 1.0, fell: false };
        assert_eq!(held.as_ref(), Some(&expected), "going on rising is one rise");
        let held = step(held, 3.0, (0.7, 0.6), 4);
        let held = step(held, 1.1, (0.6, 0.8), 5);
        let expected = Unraised { share: 0.6, since: at(5), over_secs: 0.0, fell: false };
        assert_eq!(held.as_ref(), Some(&expected), "after a fall it is another");
        let held = step(held, 3.0, (0.8, 0.6), 6);
        assert_eq!(held.as_ref().map(|held| held.over_secs), Some(1.0), "at 0.6 home has 1.2");
        assert_eq!(step(held, 3.0, (0.6, 0.6), 7), None, "it is back");
    }
}
