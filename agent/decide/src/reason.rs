//! Why: the sentences that go with a decision, most important first, each with its numbers.

use std::net::IpAddr;

use spillway_model::api::{ClientExplain, ClientSite};
use spillway_model::plan::{SpillMode, Tier};
use spillway_model::rank::{Place, place, rank};
use spillway_model::{ClientPrefix, KnobId, Plan, SiteId};

use crate::Observation;
use crate::cloud::{Limit, Reach};
use crate::expected::home_part;
use crate::policy::{KnobPolicy, Policy};
use crate::release::Trust;
use crate::share::{ASKING, Binding, Move};
use crate::shortage::Verdict;
use crate::state::State;
use crate::tier::{KnobSet, Turned};
use crate::view::View;

/// Most sentences of one decision, so that a plan stays small whatever the number of sites.
const REASONS_MAX: usize = 40;

/// What became of the knobs in one tick.
pub(crate) struct Degraded<'a> {
    pub(crate) verdict: &'a Verdict,
    pub(crate) turned: &'a Turned,
    /// Those that are on from now on.
    pub(crate) set: &'a KnobSet,
}

/// All sentences of one tick.
pub(crate) fn reasons(
    policy: &Policy,
    next: &State,
    views: &[View<'_>],
    limit: &Limit,
    observation: &Observation,
    degraded: &Degraded<'_>,
) -> Vec<String> {
    let mut lines = Vec::new();
    tier(policy, next, observation, degraded, &mut lines);
    knobs(policy, next, observation, degraded, &mut lines);
    match limit.reach {
        Reach::Answers => {}
        Reach::NotGateways => lines.push(
            "cloud: its own side answers, but no gateway's check of it does: the link to it may be cut; clients have a way of their own".to_owned(),
        ),
        Reach::Dead => lines.push(format!(
            "cloud: has not answered for {:.0} s: clients come home as far as home carries them",
            next.cloud.dead_secs(observation.at).unwrap_or(0.0)
        )),
    }
    for view in views {
        if lines.len() >= REASONS_MAX {
            break;
        }
        let mut of_site = Vec::new();
        blind(view, &mut of_site);
        if view.sense.sees() {
            service(view, &mut of_site);
            limits(policy, view, &mut of_site);
            learned(view, &mut of_site);
            cloud(view, limit, &mut of_site);
            latency(view, &mut of_site);
        }
        movement(policy, view, &mut of_site);
        help(view, views, &mut of_site);
        if view.sense.sees() {
            next_minute(policy, next, view, &mut of_site);
        }
        if views.len() > 1 {
            for line in &mut of_site {
                *line = format!("{}: {line}", view.site.id);
            }
        }
        lines.append(&mut of_site);
    }
    lines.truncate(REASONS_MAX);
    lines
}

fn tier(
    policy: &Policy,
    next: &State,
    observation: &Observation,
    degraded: &Degraded<'_>,
    lines: &mut Vec<String>,
) {
    let at = observation.at;
    let Degraded { verdict, turned, .. } = degraded;
    let (before, now) = (turned.before, next.tier.tier);
    let floor = observation.orders.floor(at);
    let order_ended = next.tier.by_order && floor.is_none_or(|order| order.tier < before);
    let above = now > Tier::Normal && floor.is_none_or(|order| order.tier < now);
    let dwell = next.tier.dwell_millis(policy, now) as f64 / 1000.0;
    let sufficed = turned.off.as_ref().map(|(_, secs)| secs);
    if now > before && above {
        lines.push(format!("tier: raised to {now}, for at {before} spilling falls short"));
    } else if let (true, Some(secs), true) = (now < before, sufficed, order_ended) {
        lines.push(format!(
            "tier: lowered to {now}: the order ended, and nothing else has needed {before} for {secs:.0} s"
        ));
    } else if let (true, Some(secs)) = (now < before, sufficed) {
        lines.push(format!("tier: lowered to {now}, which would have sufficed for {secs:.0} s"));
    } else if let (Verdict::Short(more), Some(secs)) = (verdict, next.tier.short_secs(at)) {
        let rise = next.tier.rise_secs(policy);
        lines.push(match more.tier {
            Tier::Normal => format!("tier: {now}; even so spilling falls short, and no knob is left"),
            _ if turned.held => format!("tier: {now}; spilling has fallen short for {secs:.0} s"),
            _ if !turned.on.is_empty() => {
                format!("tier: {now}; spilling falls short with the knobs that were on")
            }
            tier if tier > now => format!(
                "tier: {now}; spilling has fallen short for {secs:.0} s, after {rise} s it rises to {tier}"
            ),
            _ => format!(
                "tier: {now}; spilling has fallen short for {secs:.0} s, after {rise} s more of its knobs are turned on"
            ),
        });
    } else if now > Tier::Normal && order_ended {
        lines.push(format!(
            "tier: still {now}; the order ended, and a knob that nothing else has needed for {dwell:.0} s is turned off"
        ));
    } else if above && !turned.held {
        lines.push(format!("tier: {now} until one knob less would have sufficed for {dwell:.0} s"));
    }
    if let Some(order) = floor {
        lines.push(format!("tier: at least {} by order of {}", order.tier, order.by));
    }
}

/// Which knobs are turned and which are on, and what those promised and delivered.
fn knobs(
    policy: &Policy,
    next: &State,
    observation: &Observation,
    degraded: &Degraded<'_>,
    lines: &mut Vec<String>,
) {
    let Degraded { verdict, turned, set } = degraded;
    if let (Verdict::Short(more), false) = (verdict, turned.on.is_empty()) {
        let names: Vec<&str> = turned.on.iter().map(KnobId::as_str).collect();
        let missing = match more.missing.is_empty() {
            true => "what is missing".to_owned(),
            false => format!("the {} that are missing", more.missing.join(" and ")),
        };
        let tier = u8::from(more.tier);
        let why = match more.left_out {
            _ if more.clearly => {
                format!("all of tier {tier}, which clearly free less than {missing}")
            }
            0 => format!("all of tier {tier}, for fewer may not free {missing}"),
            1 => format!("the least harmful of tier {tier} that free {missing}; one can stay off"),
            n => format!("the least harmful of tier {tier} that free {missing}; {n} can stay off"),
        };
        let what = if turned.held { "knobs that would be turned on" } else { "knobs turned on" };
        lines.push(format!("{what}: {}: {why}", names.join(", ")));
    }
    if let Some((id, secs)) = &turned.off {
        let what = if turned.held { "knob that would be turned off" } else { "knob turned off" };
        lines.push(format!("{what}: {id}, without which home would have done for {secs:.0} s"));
    }
    let mut on: Vec<&KnobPolicy> = set.knobs(policy).collect();
    on.sort_by_key(|knob| std::cmp::Reverse(knob.tier));
    let told = on.iter().map(|knob| match next.learned.releases.promise(&knob.id) {
        Some(last) => format!(
            "{} (promised {} and delivered {})",
            knob.id,
            percent(last.promised),
            percent(last.delivered.max(0.0))
        ),
        None => format!("{} (declared {})", knob.id, percent(knob.releases)),
    });
    if !on.is_empty() {
        let told: Vec<String> = told.collect();
        lines.push(format!("knobs on, with what they release of all bytes: {}", told.join(", ")));
    }
    for (id, (order, until)) in &observation.orders.knobs {
        if observation.at < *until {
            let what = if order.on { "on" } else { "held off" };
            lines.push(format!("knob {id}: {what} by order of {}", order.by));
        }
    }
}

fn blind(view: &View<'_>, lines: &mut Vec<String>) {
    let gaps = view.sense.gaps.join("; ");
    if !view.sense.sees() {
        let share = percent(view.share);
        lines.push(format!(
            "holding: nothing is known of this tick, so {share} stay spilled ({gaps})"
        ));
    } else if !gaps.is_empty() {
        lines.push(format!("holding: data is not whole, so nothing is lowered ({gaps})"));
    }
    if !view.sense.behind.is_empty() {
        lines.push(format!("on an older plan still: {}", view.sense.behind.join(", ")));
    }
}

fn service(view: &View<'_>, lines: &mut Vec<String>) {
    let service = &view.service;
    if service.down {
        lines.push(format!(
            "compute: no healthy service at home: spill everything that the cloud takes, but for {} that go on asking whether it is back",
            percent(ASKING)
        ));
    } else if !service.unserved.is_empty() {
        lines.push(format!(
            "compute: no healthy service at home for {}: gateways send these requests to the cloud",
            service.unserved.join(", ")
        ));
    }
    if let Some(failing) = service.failing {
        lines.push(format!(
            "failed: {:.1} answers/s at home, {} of all, for {:.0} s",
            failing.per_sec,
            percent(failing.part),
            failing.secs
        ));
    }
}

fn limits(policy: &Policy, view: &View<'_>, lines: &mut Vec<String>) {
    let horizon = policy.redirect_horizon_secs();
    let (need, site, expected) = (&view.need, view.site, &view.expected);
    if need.uplink > 0.0 {
        let line = expected.line(site.cap, policy.uplink_target, need.uplink);
        let chance = match line < site.cap * policy.uplink_target {
            true => ", the rest is for chance",
            false => "",
        };
        lines.push(format!(
            "uplink: {} forecast for {horizon:.0} s ahead against {} ({} of {}{chance}): spill {}",
            bits(expected.bits()),
            bits(line),
            percent(line / site.cap),
            bits(site.cap),
            percent(need.uplink)
        ));
    }
    if expected.backhaul_bits > 0.0 && view.share > 0.0 {
        lines.push(format!(
            "uplink: what is in the cloud brings back {} of it, asking cache and database at home",
            bits((1.0 - home_part(view.share, expected.skew)) * expected.backhaul_bits)
        ));
    }
    if need.compute > 0.0 && !view.service.down {
        lines.push(format!(
            "compute: {:.0} weighted requests/s forecast for {horizon:.0} s ahead against {:.0} ({} of {:.0}): spill {}",
            expected.weight(),
            site.weighted_qps * policy.compute_target,
            percent(policy.compute_target),
            site.weighted_qps,
            percent(need.compute)
        ));
    }
    if view.sense.displaced >= 1.0 && view.service.unserved.is_empty() {
        lines.push(format!(
            "compute: gateways send on {:.0} requests/s that home has no room for at the moment",
            view.sense.displaced
        ));
    }
    if need.panic > need.uplink {
        let drops = view.sense.uplink.map_or(0, |uplink| uplink.drops);
        lines.push(format!(
            "uplink: full and dropping ({drops} drops) although {} should fit: spill {}",
            bits(expected.home_bits(view.share)),
            percent(need.panic)
        ));
    }
}

fn learned(view: &View<'_>, lines: &mut Vec<String>) {
    let (used, declared) = (view.site.weighted_qps, view.site.declared_qps);
    if used < declared {
        lines.push(format!(
            "compute: home is taken to serve {used:.0} weighted requests/s in place of {declared:.0}, for with more answers have been slow"
        ));
    } else if used > declared {
        lines.push(format!(
            "compute: home is taken to serve {used:.0} weighted requests/s in place of {declared:.0}, for it has in time"
        ));
    }
    lines.extend(view.reweighed.clone());
}

fn latency(view: &View<'_>, lines: &mut Vec<String>) {
    let (Some(p95), limit) = (view.sense.p95_ms, view.site.p95_ms) else { return };
    if view.need.latency > 0.0 {
        lines.push(format!(
            "latency: 95 % of answers within {p95:.0} ms against a limit of {limit:.0}: spill {}",
            percent(view.need.latency)
        ));
    } else if view.pressure.slow && !view.pressure.busy {
        lines.push(format!(
            "latency: 95 % of answers within {p95:.0} ms against a limit of {limit:.0}, but neither uplink nor compute is half used: something they wait for is slow, and spilling would not help"
        ));
    }
}

fn cloud(view: &View<'_>, limit: &Limit, lines: &mut Vec<String>) {
    if view.need.share() > view.most {
        lines.push(format!(
            "cloud: takes {}: at most {} can be spilled of the {} needed",
            limit.why,
            percent(view.most),
            percent(view.need.share())
        ));
    }
}

fn movement(policy: &Policy, view: &View<'_>, lines: &mut Vec<String>) {
    let before = percent(view.share);
    if let Some(order) = view.order {
        let what =
            format!("{} {} by order of {}", order.bound, percent(order.share.get()), order.by);
        lines.push(match view.moved {
            Move::Ordered(_, decided) => {
                format!("share: held, {what}; without it {}", percent(decided))
            }
            Move::Returned(_) => format!("share: {what}, which waits until the cloud answers"),
            _ => format!("share: {what}"),
        });
    }
    match view.moved {
        Move::Raised(share) => {
            lines.push(format!("share: raised from {before} to {}", percent(share)))
        }
        Move::Lowered(share) => lines.push(format!(
            "share: lowered from {before} to {}, by at most {} a second",
            percent(share),
            percent(policy.share_step_down)
        )),
        Move::Returned(share) => lines.push(format!(
            "share: lowered from {before} to {} at once, for the cloud does not answer",
            percent(share)
        )),
        Move::Ordered(share, _) if share > view.share => {
            lines.push(format!("share: raised from {before} to {}", percent(share)));
        }
        Move::Ordered(share, _) if share < view.share => {
            lines.push(format!("share: lowered from {before} to {}", percent(share)));
        }
        Move::Ordered(..) => {}
        Move::Advised(share, decided) => lines.push(format!(
            "share: kept at {}; by what is asked it would be moved to {}",
            percent(share),
            percent(decided)
        )),
        Move::Dwells(share, secs) => {
            let why = match secs > policy.share_dwell_secs {
                true => ", longer than usual since it was lowered too soon before",
                false => "",
            };
            let share = percent(share);
            lines.push(format!("share: {share} until less has sufficed for {secs} s{why}"));
        }
        Move::Kept(share) if share > view.need.share() && view.sense.whole() => {
            lines.push(format!(
                "share: {}, of which {} are needed now and {} with a margin",
                percent(share),
                percent(view.need.share()),
                percent(view.need.calm)
            ));
        }
        Move::Kept(share) => {
            if share <= 0.0 && view.need.share() <= 0.0 && view.sense.sees() {
                lines.push(format!(
                    "share: 0; {} and {:.0} weighted requests/s forecast are within {} and {:.0}",
                    bits(view.expected.bits()),
                    view.expected.weight(),
                    bits(view.expected.line(view.site.cap, policy.uplink_target, 0.0)),
                    view.site.weighted_qps * policy.compute_target
                ));
            }
        }
    }
    if view.mode == SpillMode::Proxy {
        lines.push("mode: proxy, for compute binds and the uplink carries it all".to_owned());
    }
}

/// Who helps the site and what they have left, and whom it helps.
fn help(view: &View<'_>, views: &[View<'_>], lines: &mut Vec<String>) {
    let mut from = 0.0;
    for offer in view.offers.iter().filter(|_| view.moved.share() > 0.0) {
        let name = &offer.site;
        let to = (from + offer.part).min(view.moved.share()).max(from);
        let host = views.iter().find(|other| other.site.id == *name);
        let mut line = match to > from {
            true => format!("help: {name} serves {} of the clients", percent(to - from)),
            false => format!("help: none of {name}"),
        };
        if let Some(room) = host.and_then(|host| host.room).filter(|_| to > from) {
            let (weight, left) = (room.weight, bits(room.bits));
            line.push_str(&format!(", room for {weight:.0} weighted requests/s and {left} more"));
        }
        let needs = view.need.share() > to || to <= from;
        if let Some(why) = offer.why.filter(|_| needs) {
            let only = if to > from { "no more" } else { "none" };
            line.push_str(&format!("; {only}, for {why}"));
        }
        lines.push(line);
        from = to;
    }
    let guests: Vec<&str> = helped(view, views).map(SiteId::as_str).collect();
    if !guests.is_empty() {
        lines.push(format!(
            "help: serves {:.0} requests/s for {}",
            view.now.visitors,
            guests.join(", ")
        ));
    }
}

/// The sites that a site helps.
fn helped<'v>(view: &'v View<'_>, views: &'v [View<'_>]) -> impl Iterator<Item = &'v SiteId> {
    let helps = |other: &&View<'_>| {
        let mut helped = other.helped.iter().filter(|help| !help.below.is_zero());
        helped.any(|help| help.site == view.site.id)
    };
    views.iter().filter(helps).map(|other| &other.site.id)
}

fn next_minute(policy: &Policy, next: &State, view: &View<'_>, lines: &mut Vec<String>) {
    let Some(site) = next.sites.get(&view.site.id) else { return };
    let none = KnobSet::default();
    let bytes = next.learned.bytes(policy, &none, Trust::Likely);
    let loads = site.demand.loads(policy, &next.learned, &none, &bytes);
    let upper = |secs: f64| site.demand.upper(&loads, secs).bits();
    let dns = policy.dns_horizon_secs();
    lines.push(format!(
        "forecast: undegraded demand is {} now, at most {} within {dns:.0} s (DNS), {} within 60 s",
        bits(view.now.bits),
        bits(upper(dns)),
        bits(upper(60.0))
    ));
}

/// What bound the decision, and the sentence that a person reads first.
pub(crate) fn headline(next: &State, views: &[View<'_>], limit: &Limit) -> (Binding, String) {
    let Some(worst) = views.iter().max_by(|a, b| {
        let key = |view: &View<'_>| view.need.share().max(view.moved.share());
        key(a).total_cmp(&key(b))
    }) else {
        return (Binding::None, "no site is configured".to_owned());
    };
    let binding = match views.iter().any(|view| view.need.share() > view.most) {
        true => Binding::Cloud,
        false => worst.need.binding(),
    };
    let site = &worst.site.id;
    let asked = format!("{} asked of an uplink of {}", bits(worst.now.bits), bits(worst.site.cap));
    let share = percent((worst.moved.share() - worst.helped()).max(0.0));
    let tier = next.tier.tier;
    let failing = views.iter().find_map(|view| Some((view, view.service.failing?)));
    let mut text = if limit.dead() && worst.sense.sees() {
        let dead = format!("Tier {tier}. The cloud does not answer");
        match worst.moved.share() > 0.0 {
            _ if worst.service.down => format!("{dead}, and there is no healthy service at home"),
            true if worst.moved.share() <= worst.helped() => {
                format!("{dead}: the sites serve all themselves; {asked}")
            }
            true => format!(
                "{dead}: {site} serves as many as it carries, {share} are not served; {asked}"
            ),
            false => format!("{dead}: {site} serves all itself; {asked}"),
        }
    } else if !worst.sense.sees() {
        format!(
            "Tier {tier}. Holding: nothing is known of site {site} at this moment, {share} stay spilled"
        )
    } else if worst.service.down {
        format!("Tier {tier}. No healthy service at home: {share} of {site} goes to the cloud")
    } else if tier > Tier::Normal && binding == Binding::Cloud {
        format!("Tier {tier}. {share} of {site} spilled, the cloud takes no more; {asked}")
    } else if tier > Tier::Normal {
        format!("Tier {tier}. {share} of {site} spilled; {asked}")
    } else if worst.moved.share() <= 0.0 {
        let used = worst.sense.uplink.map_or(0.0, |uplink| uplink.bits_per_sec) / worst.site.cap;
        let all = if failing.is_some() { "Nothing is spilled" } else { "All is served at home" };
        format!("Tier {tier}. {all}; {site} uses {} of its uplink", percent(used))
    } else {
        let verb = match worst.moved {
            _ if worst.moved.share() <= worst.helped() => "Helping one another",
            Move::Lowered(_) => "Coming back",
            _ => "Spilling",
        };
        format!("Tier {tier}. {verb}: {share} of {site} goes to the cloud; {asked}")
    };
    for help in worst.helped.iter().filter(|help| !help.below.is_zero()) {
        text.push_str(&format!("; {} helps {site}", help.site));
    }
    if limit.dead() && !worst.sense.sees() {
        text.push_str("; the cloud does not answer");
    } else if binding == Binding::Cloud && tier == Tier::Normal && !limit.dead() {
        text.push_str(&format!("; the cloud takes {}", limit.why));
    }
    if views.iter().any(|view| matches!(view.moved, Move::Ordered(..))) {
        text.push_str("; held there by order");
    }
    if let Some((view, failing)) = failing {
        text.push_str(&format!("; {} of answers at {} fail", percent(failing.part), view.site.id));
    }
    let blind = views.iter().filter(|view| !view.sense.whole()).count();
    if worst.sense.sees() && blind > 0 {
        text.push_str("; data is not whole, so nothing is lowered");
    }
    (binding, text)
}

/// Why the client at `address` goes where it goes under `plan`.
#[must_use]
pub fn explain_client(policy: &Policy, plan: &Plan, address: IpAddr) -> ClientExplain {
    let prefix = ClientPrefix::from(address);
    let rank = rank(&policy.salt, prefix);
    let sites = plan.sites.iter().map(|(id, site)| {
        let goes = place(&policy.salt, prefix, site);
        let share = site.share.get();
        let (helped_by, why) = match goes {
            Place::Home if share <= 0.0 => (None, "served at home: nobody is spilled".to_owned()),
            Place::Home => (
                None,
                format!("served at home: its rank {rank:.4} is not below the share {share:.4}"),
            ),
            Place::Site(helper) => {
                let below = site.helped.iter().find(|help| help.site == *helper);
                let below = below.map_or(0.0, |help| help.below.get().min(share));
                let why = format!(
                    "served by {helper}, which helps: its rank {rank:.4} is below {below:.4}"
                );
                (Some(helper.clone()), why)
            }
            Place::Cloud => (
                None,
                format!("spilled to the cloud: its rank {rank:.4} is below the share {share:.4}"),
            ),
        };
        (id.clone(), ClientSite { spilled: goes != Place::Home, helped_by, why })
    });
    ClientExplain { prefix, rank, sites: sites.collect() }
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

pub(crate) fn bits(per_sec: f64) -> String {
    let (unit, name) = match per_sec {
        x if x >= 1e9 => (1e9, "Gbit/s"),
        x if x >= 1e6 => (1e6, "Mbit/s"),
        _ => (1e3, "kbit/s"),
    };
    format!("{:.1} {name}", per_sec / unit)
}
