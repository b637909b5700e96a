//! What the agent answers, as text for people: pure functions of an answer, the time and the width of
//! the terminal.

#[cfg(test)]
mod tests;

use spillway_model::api::{
    Action, Advice, BudgetStatus, ClientExplain, Decision, EventStatus, Explain, FleetStatus,
    KnobStatus, OrderStatus, SiteRecord, SiteStatus, Spending, Status,
};
use spillway_model::load::FleetLoad;
use spillway_model::plan::{Help, SitePlan, SpillMode};
use spillway_model::{Fleet, KnobId, Mode, Plan, Share, UnixMillis};

use crate::output::{bits, clean, table_within};

/// One screen: how it is, and what the agent does about it.
pub(super) fn status(status: &Status, now: UnixMillis, width: Option<u16>) -> String {
    let head = ["site", "spilled", "uplink", "demand", "weighted requests/s", "p95", "requests"];
    let sites = status.sites.iter().map(|(id, site)| {
        let mut row = vec![id.to_string()];
        row.extend(site_row(site));
        row
    });
    let parts = status.parts.iter().map(|part| {
        vec![
            part.name.clone(),
            format!("{:?}", part.part).to_lowercase(),
            part.generation.map_or_else(|| "-".to_owned(), |generation| generation.to_string()),
            part.error.clone().unwrap_or_else(|| "ok".to_owned()),
        ]
    });
    let on: Vec<&str> = status.knobs.iter().map(KnobId::as_str).collect();
    let on = if on.is_empty() { String::new() } else { format!("\nknobs on: {}", on.join(", ")) };
    let mut blocks = vec![format!(
        "{}{on}\ngeneration {}, {}",
        clean(&status.headline),
        status.generation,
        when(status.at, now)
    )];
    if !status.warnings.is_empty() {
        let lines = status.warnings.iter().map(|text| format!("WARNING: {}", clean(text)));
        blocks.push(lines.collect::<Vec<_>>().join("\n"));
    }
    blocks.extend(advice(status));
    blocks.push(table_within(&head, sites, width));
    let cloud = &status.cloud;
    let functions = format!(
        "cloud: {:.0} requests/s, {} of {} environments, {:.1} requests/s refused",
        cloud.requests_per_sec, cloud.environments, cloud.environments_max, cloud.throttled_per_sec
    );
    let fleet = cloud.fleet.iter().flat_map(|fleet| {
        let there = fleet.there.as_ref();
        [Some(gateways(fleet)), at_hand(&fleet.wanted, there), spend(there, now)]
    });
    let budget = cloud.budget.iter().flat_map(budget);
    let lines = [functions].into_iter().chain(fleet.flatten()).chain(budget);
    blocks.push(lines.collect::<Vec<_>>().join("\n"));
    blocks.push(orders(&status.orders, now, width));
    blocks.push(table_within(&["part", "kind", "generation", "state"], parts, width));
    blocks.join("\n\n")
}

/// What the agent would do, where it does not act.
fn advice(status: &Status) -> Option<String> {
    let does = match status.mode {
        Mode::Act => return None,
        Mode::Recommend => "what is in force stays, but for orders",
        Mode::Shadow => "nothing is published, and orders wait",
    };
    let mut text = format!("MODE {}: {does}", status.mode.as_str().to_uppercase());
    if status.advice.is_empty() {
        text.push_str("; nothing would be changed");
    }
    for Advice { what, order } in &status.advice {
        text.push_str(&match order {
            Some(order) => format!("\n  would {}: {}", clean(what), clean(order)),
            None => format!("\n  would {}: no order does it", clean(what)),
        });
    }
    Some(text)
}

/// What the cloud has cost, and what a cap keeps from being served.
fn budget(spent: &BudgetStatus) -> Vec<String> {
    let of = |Spending { usd, of }: &Spending| match of {
        Some(of) => format!("${usd:.2} of ${of:.2}"),
        None => format!("${usd:.2}"),
    };
    let mut lines = vec![format!(
        "cloud cost: spent this hour {}, this month {}; now ${:.2} an hour, as estimated",
        of(&spent.hour),
        of(&spent.month),
        spent.usd_per_hour
    )];
    lines.extend(spent.binds.as_ref().map(|missed| {
        format!(
            "the cap of the {} BINDS: {:.0} requests/s more would cost ${:.6} a second",
            clean(&missed.cap),
            missed.requests_per_sec,
            missed.usd_per_sec
        )
    }));
    lines
}

/// Gateways in the cloud: what is wanted, and what there is.
fn gateways(fleet: &FleetStatus) -> String {
    let (wanted, percent) = (fleet.wanted.gateways, fleet.wanted.gateway_percent);
    let Some(there) = &fleet.there else {
        return format!(
            "cloud gateways: {wanted} wanted, for {percent} % of its requests; what there is has not been heard of"
        );
    };
    let meant = match there.gateway_percent == percent {
        true => String::new(),
        false => format!(" ({percent} % wanted)"),
    };
    let draining = match there.gateways_draining {
        0 => String::new(),
        n => format!(", {n} draining"),
    };
    format!(
        "cloud gateways: {wanted} wanted, {} healthy of {} launched{draining}; they get {} % of its requests{meant}, functions the rest",
        there.gateways_healthy, there.gateways_launched, there.gateway_percent
    )
}

/// What the cloud has at hand beside gateways, where it is to have anything; a plan tells what is wanted
/// alone.
fn at_hand(wanted: &Fleet, there: Option<&FleetLoad>) -> Option<String> {
    let of = |wanted: u32, there: Option<u32>| match there {
        Some(there) if there != wanted => format!("{there} of {wanted}"),
        _ => wanted.to_string(),
    };
    let mut all = Vec::new();
    let units = there.map(|there| there.capacity_units);
    if wanted.capacity_units > 0 || units > Some(0) {
        all.push(format!("{} capacity units reserved", of(wanted.capacity_units, units)));
    }
    let ready = |name: &str| there.map(|there| there.provisioned_ready.get(name).copied());
    for (name, n) in &wanted.provisioned {
        let ready = ready(name).map(Option::unwrap_or_default);
        all.push(format!("{} environments of {} warm", of(*n, ready), clean(name)));
    }
    if wanted.cache_replicas > 0 {
        all.push(format!("{} more of the cache's replicas", wanted.cache_replicas));
    }
    let replicas = there.map(|there| there.database_replicas);
    if wanted.database_replicas > 0 || replicas > Some(0) {
        let replicas = of(wanted.database_replicas, replicas);
        all.push(format!("{replicas} more of the database's replicas"));
    }
    (!all.is_empty()).then(|| format!("cloud at hand: {}", all.join(", ")))
}

/// What the account has cost this month, where that is read.
fn spend(there: Option<&FleetLoad>, now: UnixMillis) -> Option<String> {
    let spend = there?.spend?;
    Some(format!(
        "cloud spend: {:.2} USD this month, as estimated {}",
        spend.usd,
        when(spend.at, now)
    ))
}

fn site_row(site: &SiteStatus) -> Vec<String> {
    let percent = |part: f64, whole: f64| if whole > 0.0 { part / whole * 100.0 } else { 0.0 };
    let (uplink, cap) = (site.uplink_bits_per_sec, site.uplink_cap_bits_per_sec);
    let (weight, most) = (site.weighted_qps, site.weighted_qps_max);
    let visitors = match site.visitors_per_sec {
        n if n > 0.0 => format!(", {n:.0}/s for others"),
        _ => String::new(),
    };
    vec![
        spilled(site.share, site.mode, &site.helped).unwrap_or_else(|| "nothing".to_owned()),
        format!("{} of {} ({:.0} %)", bits(uplink), bits(cap), percent(uplink, cap)),
        format!("{}, soon {}", bits(site.demand_bits_per_sec), bits(site.forecast_bits_per_sec)),
        format!("{weight:.0} of {most:.0} ({:.0} %)", percent(weight, most)),
        site.p95_ms.map_or_else(
            || "-".to_owned(),
            |p95| format!("{p95:.1} ms (limit {:.0})", site.p95_limit_ms),
        ),
        format!("{:.0}/s, {:.1}/s fail{visitors}", site.requests_per_sec, site.failed_per_sec),
    ]
}

/// Why the plan is what it is: what was decided now, and when the plan was published what for.
pub(super) fn explain(explain: &Explain, now: UnixMillis, width: Option<u16>) -> String {
    let plan = &explain.plan;
    let mut text = heading(plan, now);
    text.push_str(&sites(plan));
    match &explain.decision {
        None => text.push_str("\n\nnothing has been decided yet since the agent started"),
        Some(decision) => text.push_str(&because("decided", decision, now)),
    }
    if let Some(published) = &explain.published
        && explain.decision.as_ref().is_none_or(|decision| decision.at != published.at)
    {
        text.push_str(&because("published", published, now));
    } else if explain.published.is_none() && plan.generation > 0 {
        let when = when(plan.issued_at, now);
        text.push_str(&format!("\n\npublished {when} because{}", list(&plan.reasons)));
    }
    text.push_str("\n\n");
    text.push_str(&orders(&explain.orders, now, width));
    text
}

fn because(what: &str, decision: &Decision, now: UnixMillis) -> String {
    let limit = match decision.binding.as_str() {
        "none" => "within all limits".to_owned(),
        "uplink" => "limited by the uplink".to_owned(),
        "compute" => "limited by the site's compute".to_owned(),
        "cloud" => "limited by what the cloud takes".to_owned(),
        other => format!("limited by {}", clean(other)),
    };
    let when = when(decision.at, now);
    let (reasons, records) = (list(&decision.reasons), records(decision));
    format!("\n\n{what} {when}, {limit}, because{reasons}{records}")
}

/// One decision: what it came to, why, and the record of each site.
pub(super) fn decision(decision: &Decision, now: UnixMillis) -> String {
    let did = if decision.published { "published" } else { "confirmed" };
    let because = because("decided", decision, now);
    let because = because.trim_start();
    format!("generation {} {did}, tier {}\n{because}", decision.generation, decision.tier)
}

/// The records of a decision, a paragraph a site.
fn records(decision: &Decision) -> String {
    let told = decision.sites.iter().map(|(id, record)| {
        let share = decision.shares.get(id).copied().unwrap_or_default();
        format!("\n  {id}: {}", record_lines(record, share).join("\n    "))
    });
    told.collect()
}

fn record_lines(record: &SiteRecord, share: Share) -> Vec<String> {
    let (now, soon) = (&record.demand, &record.forecast);
    let mut lines = vec![format!(
        "{} and {:.0} requests/s asked; at most {} and {:.0} weighted requests/s within {:.0} s",
        bits(now.bits_per_sec),
        now.requests_per_sec,
        bits(soon.bits_per_sec),
        soon.weighted_qps,
        record.horizon_secs
    )];
    let did = match record.chosen {
        Action::Raise => format!("raised to {share}"),
        Action::Lower => format!("lowered to {share}"),
        Action::Return => format!("lowered to {share} at once"),
        Action::Keep | Action::Dwell => format!("kept at {share}"),
        Action::Hold => format!("held at {share}, for nothing is known"),
        Action::Obey => format!("held at {share} by order"),
        Action::Advise => format!("kept at {share}, for the mode only recommends"),
    };
    lines.push(match &record.runner_up {
        Some(other) => format!("{did}, and not {}: {}", other.share, clean(&other.why_not)),
        None => did,
    });
    let thresholds = &record.thresholds;
    let below = thresholds
        .home_below
        .map(|n| format!("below {n:.0} requests/s nothing would have to be spilled"));
    let above = thresholds.raised_above.map(|n| match share > Share::ZERO {
        true => format!("above {n:.0} requests/s more would"),
        false => format!("above {n:.0} requests/s clients would have to be spilled"),
    });
    let flips: Vec<_> = below.into_iter().chain(above).collect();
    if !flips.is_empty() {
        lines.push(flips.join(", "));
    }
    lines.extend(record.had_we_held.iter().map(|held| {
        format!(
            "had we held {} since {}: {:.0} s over the limit",
            held.share,
            seconds(held.since),
            held.over_secs
        )
    }));
    lines
}

fn list(reasons: &[String]) -> String {
    reasons.iter().map(|reason| format!("\n  - {}", clean(reason))).collect()
}

/// Why a client goes where it goes.
pub(super) fn client(client: &ClientExplain) -> String {
    let mut text = format!("client {} has rank {:.4}", client.prefix, client.rank);
    for (site, told) in &client.sites {
        text.push_str(&format!("\n  {site}: {}", clean(&told.why)));
    }
    text
}

/// A plan, whole.
pub(super) fn plan(plan: &Plan, now: UnixMillis) -> String {
    let mut text = heading(plan, now);
    text.push_str(&sites(plan));
    if plan.knobs.is_empty() {
        text.push_str("\nno knob is on");
    } else {
        text.push_str("\nknobs on");
    }
    for (id, lease) in &plan.knobs {
        // The lease of this generation; the next one renews it while the tier or the order holds.
        let until = until(lease.until, now);
        text.push_str(&format!("\n  {id}: by {}, leased {until}", clean(&lease.by)));
    }
    text.push_str("\nbecause");
    text.push_str(&list(&plan.reasons));
    text
}

/// The newest kept plan while the agent does not answer, or what it means for a client.
pub(super) fn last_plan(last: &Plan, of: Option<&ClientExplain>, now: UnixMillis) -> String {
    let mut text = format!(
        "THE AGENT DOES NOT ANSWER; the last plan kept here is generation {}, {} old, its signature good",
        last.generation,
        span(now.millis_since(last.issued_at))
    );
    if last.expires_at <= now {
        text.push_str("\nit has expired: its shares hold, its knobs are off");
    }
    text.push_str("\n\n");
    text.push_str(&of.map_or_else(|| plan(last, now), client));
    text
}

fn heading(plan: &Plan, now: UnixMillis) -> String {
    if plan.generation == 0 {
        return "generation 0: no plan has been published yet".to_owned();
    }
    let (generation, tier) = (plan.generation, plan.tier);
    let (issued, ends) = (when(plan.issued_at, now), until(plan.expires_at, now));
    let good = if plan.expires_at > now { "good " } else { "" };
    format!("generation {generation}, tier {tier}\npublished {issued}, {good}{ends}")
}

/// What each site does, and the cloud's gateways if there are any.
fn sites(plan: &Plan) -> String {
    let line = |site: &SitePlan| {
        let spilled = spilled(site.share, site.mode, &site.helped);
        let spilled =
            spilled.map_or_else(|| "all at home".to_owned(), |text| format!("spills {text}"));
        format!("{spilled}, DNS TTL {} s", site.dns_ttl_secs)
    };
    let sites = plan.sites.iter().map(|(id, site)| format!("\n  {id}: {}", line(site)));
    let fleet = &plan.fleet;
    let gateways = (!fleet.is_none()).then(|| {
        format!(
            "\n  cloud gateways: {} for {} % of its requests",
            fleet.gateways, fleet.gateway_percent
        )
    });
    let at_hand = at_hand(fleet, None).map(|line| format!("\n  {line}"));
    sites.chain(gateways).chain(at_hand).collect()
}

/// `43.2 % by redirect, 12.0 % of all to west`; `None` when nothing is spilled.
fn spilled(share: Share, mode: SpillMode, helped: &[Help]) -> Option<String> {
    let by = match mode {
        SpillMode::Redirect => "redirect",
        SpillMode::Proxy => "proxy",
    };
    let (mut from, mut parts) = (0.0, String::new());
    for help in helped {
        let to = help.below.get().min(share.get()).max(from);
        if to > from {
            parts.push_str(&format!(", {} of all to {}", Share::clamped(to - from), help.site));
        }
        from = to;
    }
    (share > Share::ZERO).then(|| format!("{share} by {by}{parts}"))
}

fn orders(orders: &[OrderStatus], now: UnixMillis, width: Option<u16>) -> String {
    if orders.is_empty() {
        return "no order is in force".to_owned();
    }
    let rows = orders
        .iter()
        .map(|order| vec![order.what.clone(), order.by.clone(), end(order.until, now)]);
    table_within(&["order in force", "by", "until"], rows, width)
}

fn order(order: &OrderStatus, now: UnixMillis) -> String {
    format!("{}, {}, by {}", clean(&order.what), until(order.until, now), clean(&order.by))
}

/// The answer to an order on the tier. What alarms order is no operator's to clear, and is told.
pub(super) fn tier_order(status: &Status, now: UnixMillis) -> String {
    let tier = status.orders.iter().find(|order| order.subject == "tier");
    let given = answer(tier, status.replaced.as_ref(), now);
    let alarms = status.orders.iter().filter(|order| order.subject.starts_with("alarm "));
    let alarms: String =
        alarms.map(|alarm| format!("\nalso in force: {}", order(alarm, now))).collect();
    let alone = tier.is_none() && alarms.is_empty();
    let alone = if alone { "; the agent decides alone" } else { "" };
    format!("{given}\nnow tier {}{alone}{alarms}", status.tier)
}

/// The answer to an order about `subject`.
pub(super) fn order_on(status: &Status, subject: &str, now: UnixMillis) -> String {
    let given = status.orders.iter().find(|order| order.subject == subject);
    answer(given, status.replaced.as_ref(), now)
}

/// The events that are announced and not over.
pub(super) fn events(events: &[EventStatus], now: UnixMillis, width: Option<u16>) -> String {
    if events.is_empty() {
        return "no event is announced".to_owned();
    }
    let rows = events.iter().map(|event| {
        vec![
            event.name.to_string(),
            end(event.at, now),
            end(event.until, now),
            format!("{} times", event.factor),
            event.site.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string),
            event.by.clone(),
        ]
    });
    table_within(&["event", "begins", "until", "demand", "site", "by"], rows, width)
}

/// The answer to an order on a knob.
pub(super) fn knob_order(knob: &KnobStatus, now: UnixMillis) -> String {
    let given = answer(knob.order.as_ref(), knob.replaced.as_ref(), now);
    let alone = if knob.order.is_none() { "; its tier decides alone" } else { "" };
    format!("{given}\nnow {}{alone}", if knob.on { "on" } else { "off" })
}

fn answer(given: Option<&OrderStatus>, replaced: Option<&OrderStatus>, now: UnixMillis) -> String {
    match (given, replaced) {
        (None, None) => "there was no order to clear".to_owned(),
        (None, Some(cleared)) => format!("cleared: {}", order(cleared, now)),
        (Some(given), None) => order(given, now),
        (Some(given), Some(replaced)) => {
            format!("{}\nreplaced: {}", order(given, now), order(replaced, now))
        }
    }
}

/// All knobs, what they release, and which are on or held off.
pub(super) fn knobs(knobs: &[KnobStatus], now: UnixMillis, width: Option<u16>) -> String {
    let rows = knobs.iter().map(|knob| {
        let state = match (knob.on, &knob.order) {
            (true, _) => "on",
            (false, Some(_)) => "held off",
            (false, None) => "off",
        };
        // The plan's lease is renewed for as long as the tier holds: its end says nothing.
        let of_tier = knob.by.as_deref() == Some(&format!("tier {}", u8::from(knob.tier)));
        let ends = match knob.until {
            Some(_) if of_tier => "while the tier holds".to_owned(),
            Some(until) => end(until, now),
            None => String::new(),
        };
        vec![
            knob.id.to_string(),
            knob.tier.to_string(),
            knob.releases.to_string(),
            state.to_owned(),
            ends,
            knob.by.clone().unwrap_or_default(),
            knob.users_see.clone(),
            knob.owner.clone(),
        ]
    });
    let head = ["knob", "tier", "releases", "now", "until", "by", "users see", "owner"];
    table_within(&head, rows, width)
}

/// `2026-11-23T14:31:02Z (12 s ago)`.
fn when(at: UnixMillis, now: UnixMillis) -> String {
    format!("{} ({} ago)", seconds(at), span(now.millis_since(at)))
}

/// `until 2026-11-23T14:41:02Z (in 10 min)`, or that it is over.
fn until(at: UnixMillis, now: UnixMillis) -> String {
    if at <= now { format!("expired {}", when(at, now)) } else { format!("until {}", end(at, now)) }
}

/// The same as a column named so has it. What is left is rounded up: ten minutes ordered are ten
/// minutes told.
fn end(at: UnixMillis, now: UnixMillis) -> String {
    if at <= now {
        return when(at, now);
    }
    format!("{} (in {})", seconds(at), span(at.millis_since(now).saturating_add(999)))
}

/// A time to the second.
fn seconds(at: UnixMillis) -> String {
    let text = at.to_string();
    text.split_once('.').map_or(text.clone(), |(whole, _)| format!("{whole}Z"))
}

/// A duration in its largest unit, and the next where that one is coarse.
fn span(millis: u64) -> String {
    match millis / 1000 {
        s @ ..120 => format!("{s} s"),
        s @ ..7200 => format!("{} min", s / 60),
        s @ ..172_800 => format!("{} h {} min", s / 3600, s / 60 % 60),
        s => format!("{} days", s / 86_400),
    }
}
