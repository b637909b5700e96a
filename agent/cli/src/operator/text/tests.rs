use std::collections::BTreeMap;

use spillway_model::api::{
    Alternative, Asked, ClientSite, CloudStatus, Held, Missed, PartStatus, Thresholds,
};
use spillway_model::load::{Part, Spend};
use spillway_model::plan::KnobLease;
use spillway_model::{KnobId, SiteId, Tier};

use super::*;

const NOW: UnixMillis = UnixMillis(1_795_444_262_500);

fn secs_ago(secs: u64) -> UnixMillis {
    UnixMillis(NOW.0 - secs * 1000)
}

fn plan_of_storm() -> Plan {
    let mut plan = Plan::initial([SiteId::new("east").unwrap()], 5);
    plan.generation = 412;
    plan.issued_at = secs_ago(12);
    plan.expires_at = NOW.plus_secs(18);
    plan.tier = Tier::Visible;
    plan.sites.values_mut().for_each(|site| site.share = Share::clamped(0.432));
    let lease = |by: &str| KnobLease { until: NOW.plus_secs(18), by: by.to_owned() };
    plan.knobs.insert(KnobId::new("qr-text").unwrap(), lease("tier 2"));
    plan.reasons = vec!["share: raised from 40.0 % to 43.2 %".to_owned()];
    plan
}

fn order(what: &str, subject: &str, by: &str) -> OrderStatus {
    let until = NOW.plus_secs(600);
    OrderStatus { subject: subject.to_owned(), what: what.to_owned(), by: by.to_owned(), until }
}

fn orders() -> Vec<OrderStatus> {
    vec![
        order("at least tier 2 (visible)", "tier", "ann: storm"),
        order("knob qr-text held off", "knob qr-text", "bob: \u{1b}[31mred\nroot: fine"),
    ]
}

#[test]
fn a_mode_tells_what_would_be_done_and_a_budget_what_was_spent() {
    let mut told = status_of_storm();
    assert!(!status(&told, NOW, None).contains("MODE"), "acting is nothing to tell");
    told.mode = Mode::Recommend;
    told.advice = vec![
        Advice {
            what: "raise the share of east from 10.0 % to 12.5 %".to_owned(),
            order: Some("spillway share east 12.5% --for 10m".to_owned()),
        },
        Advice { what: "have 1 replicas of the cache in place of 0".to_owned(), order: None },
    ];
    told.cloud.budget = Some(BudgetStatus {
        hour: Spending { usd: 0.424, of: Some(2.0) },
        month: Spending { usd: 31.0, of: None },
        usd_per_hour: 3.1,
        binds: Some(Missed { cap: "hour".to_owned(), requests_per_sec: 312.4, usd_per_sec: 0.019 }),
    });
    let text = status(&told, NOW, None);
    for part in [
        "MODE RECOMMEND: what is in force stays, but for orders\n  would raise the share of east from 10.0 % to 12.5 %: spillway share east 12.5% --for 10m\n  would have 1 replicas of the cache in place of 0: no order does it",
        "cloud cost: spent this hour $0.42 of $2.00, this month $31.00; now $3.10 an hour",
        "the cap of the hour BINDS: 312 requests/s more would cost $0.019000 a second",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

fn status_of_storm() -> Status {
    let site = SiteStatus {
        share: Share::clamped(0.432),
        uplink_bits_per_sec: 3_100_000.0,
        uplink_cap_bits_per_sec: 4_000_000.0,
        demand_bits_per_sec: 5_500_000.0,
        forecast_bits_per_sec: 6_200_000.0,
        weighted_qps: 120.0,
        weighted_qps_max: 1500.0,
        requests_per_sec: 160.0,
        p95_ms: Some(21.5),
        p95_limit_ms: 400.0,
        failed_per_sec: 0.0,
        ..SiteStatus::default()
    };
    let part = |part, name: &str, error: Option<&str>| PartStatus {
        part,
        name: name.to_owned(),
        generation: error.is_none().then_some(412),
        error: error.map(str::to_owned),
    };
    Status {
        mode: Mode::Act,
        advice: Vec::new(),
        at: secs_ago(1),
        generation: 412,
        tier: Tier::Visible,
        headline: "Tier 2 (visible). 43.2 % of east spilled".to_owned(),
        warnings: vec!["the journal /state/journal.db cannot be written (full)".to_owned()],
        orders: orders(),
        knobs: vec!["qr-text".parse().unwrap(), "stats-frozen".parse().unwrap()],
        replaced: None,
        sites: [(SiteId::new("east").unwrap(), site)].into(),
        cloud: CloudStatus {
            requests_per_sec: 70.0,
            environments: 12,
            environments_max: 1000,
            throttled_per_sec: 0.0,
            fleet: None,
            budget: None,
        },
        parts: vec![
            part(Part::Dns, "dns", None),
            part(Part::Gateway, "east-gw-1", Some("cannot reach 127.0.0.1:9311")),
        ],
    }
}

#[test]
fn gateways_in_the_cloud_are_one_line() {
    let wanted = Fleet { gateways: 3, gateway_percent: 40, ..Fleet::default() };
    let mut told = status_of_storm();
    let mut line = |there: Option<FleetLoad>| {
        told.cloud.fleet = Some(FleetStatus { wanted: wanted.clone(), there });
        let shown = status(&told, NOW, None);
        shown.lines().find(|line| line.starts_with("cloud gateways")).unwrap().to_owned()
    };
    let mut there = FleetLoad {
        gateways_launched: 3,
        gateways_healthy: 2,
        gateway_percent: 40,
        ..FleetLoad::default()
    };
    assert_eq!(
        line(Some(there.clone())),
        "cloud gateways: 3 wanted, 2 healthy of 3 launched; they get 40 % of its requests, functions the rest"
    );
    (there.gateways_draining, there.gateway_percent) = (1, 60);
    assert_eq!(
        line(Some(there)),
        "cloud gateways: 3 wanted, 2 healthy of 3 launched, 1 draining; they get 60 % of its requests (40 % wanted), functions the rest"
    );
    assert!(line(None).ends_with("what there is has not been heard of"));
    let mut all = told.clone();
    let wanted = Fleet {
        capacity_units: 200,
        provisioned: [("one-code".to_owned(), 20)].into(),
        cache_replicas: 1,
        database_replicas: 2,
        ..wanted.clone()
    };
    let spend = Spend { usd: 1234.5, at: UnixMillis(NOW.0 - 3 * 3_600_000) };
    let there = FleetLoad {
        capacity_units: 200,
        provisioned_ready: [("one-code".to_owned(), 10)].into(),
        database_replicas: 1,
        spend: Some(spend),
        ..FleetLoad::default()
    };
    all.cloud.fleet = Some(FleetStatus { wanted: wanted.clone(), there: Some(there) });
    let shown = status(&all, NOW, None);
    let at_hand = "cloud at hand: 200 capacity units reserved, 10 of 20 environments of one-code warm, \
                   1 more of the cache's replicas, 1 of 2 more of the database's replicas\n";
    assert!(shown.contains(at_hand), "{shown}");
    assert!(shown.contains("cloud spend: 1234.50 USD this month, as estimated "), "{shown}");
    let plan = Plan { fleet: wanted.clone(), ..plan_of_storm() };
    let shown = super::plan(&plan, NOW);
    assert!(
        shown.contains("\n  cloud at hand: 200 capacity units reserved, 20 environ"),
        "{shown}"
    );
    let wanted = Fleet { gateways: 3, gateway_percent: 40, ..Fleet::default() };
    let plan = Plan { fleet: wanted, ..plan_of_storm() };
    let shown = super::plan(&plan, NOW);
    assert!(shown.contains("\n  cloud gateways: 3 for 40 % of its requests\n"), "{shown}");
}

#[test]
fn who_helps_whom_is_told() {
    let help = |name: &str, below| Help {
        site: SiteId::new(name).unwrap(),
        below: Share::clamped(below),
        until: Share::ONE,
    };
    let mut told = status_of_storm();
    let mut plan = plan_of_storm();
    // Beyond the share nobody is away, and north has nobody any more.
    let helped = vec![help("west", 0.2), help("north", 0.0), help("south", 0.6)];
    plan.sites.values_mut().for_each(|site| site.helped = helped.clone());
    for site in told.sites.values_mut() {
        site.helped = helped.clone();
        site.visitors_per_sec = 12.4;
    }
    let (shown, plan) = (status(&told, NOW, None), super::plan(&plan, NOW));
    let spilled = "43.2 % by redirect, 20.0 % of all to west, 23.2 % of all to south";
    assert!(shown.contains(&format!("east  {spilled}")), "{shown}");
    assert!(shown.contains("160/s, 0.0/s fail, 12/s for others"), "{shown}");
    assert!(plan.contains(&format!("east: spills {spilled}, DNS TTL 5 s")), "{plan}");
}

fn decision(at: UnixMillis, binding: &str, published: bool) -> Decision {
    Decision {
        mode: Mode::Act,
        advice: Vec::new(),
        at,
        generation: 412,
        tier: Tier::Visible,
        shares: BTreeMap::new(),
        binding: binding.to_owned(),
        published,
        reasons: vec!["uplink: 6.2 Mbit/s forecast".to_owned(), "share: 43.2 %".to_owned()],
        sites: BTreeMap::new(),
    }
}

#[test]
fn a_decision_is_told_with_what_would_have_changed_it() {
    let mut told = decision(secs_ago(12), "uplink", true);
    let asked = |bits_per_sec, requests_per_sec| Asked {
        bits_per_sec,
        requests_per_sec,
        weighted_qps: 210.0,
    };
    let record = SiteRecord {
        demand: asked(5_500_000.0, 160.0),
        forecast: asked(6_200_000.0, 190.0),
        horizon_secs: 3.0,
        binding: "uplink".to_owned(),
        chosen: Action::Raise,
        runner_up: Some(Alternative {
            share: Share::clamped(0.4),
            why_not: "home would be asked for 108 % of what it carries".to_owned(),
        }),
        helped: Vec::new(),
        thresholds: Thresholds { home_below: Some(98.4), raised_above: Some(163.0) },
        had_we_held: Some(Held { share: Share::ZERO, since: secs_ago(60), over_secs: 41.0 }),
    };
    let east = SiteId::new("east").unwrap();
    told.shares.insert(east.clone(), Share::clamped(0.432));
    told.sites.insert(east.clone(), record);
    let shown = super::decision(&told, NOW);
    assert_eq!(format!("{shown}\n"), include_str!("../../../tests/golden/decision.txt"));

    let record = told.sites.get_mut(&east).unwrap();
    (record.chosen, record.runner_up, record.had_we_held) = (Action::Keep, None, None);
    record.thresholds.home_below = None;
    told.shares.clear();
    let shown = super::decision(&told, NOW);
    let expected = "kept at 0.0 %\n    above 163 requests/s clients would have to be spilled";
    assert!(shown.ends_with(expected), "{shown}");
}

#[test]
fn status_is_one_screen() {
    let shown = status(&status_of_storm(), NOW, None);
    assert_eq!(format!("{shown}\n"), include_str!("../../../tests/golden/status.txt"));
    let mut calm = status_of_storm();
    (calm.warnings, calm.orders) = (Vec::new(), Vec::new());
    let shown = status(&calm, NOW, None);
    assert!(shown.contains("no order is in force") && !shown.contains("WARNING"), "{shown}");
}

#[test]
fn the_present_decision_comes_before_the_one_that_published() {
    let (now, then) =
        (decision(secs_ago(0), "none", false), decision(secs_ago(12), "uplink", true));
    let mut told = Explain {
        plan: plan_of_storm(),
        decision: Some(now),
        published: Some(then.clone()),
        orders: orders(),
        client: None,
    };
    let shown = explain(&told, NOW, None);
    assert_eq!(format!("{shown}\n"), include_str!("../../../tests/golden/explain.txt"));
    // One that has just published is not told twice.
    told.decision = Some(then);
    let shown = explain(&told, NOW, None);
    assert_eq!(shown.matches("because").count(), 1, "{shown}");
    // Right after a start, without a journal.
    (told.decision, told.published) = (None, None);
    let shown = explain(&told, NOW, None);
    assert!(shown.contains("nothing has been decided yet"), "{shown}");
    assert!(shown.contains("raised from 40.0 %"), "the plan's own reasons: {shown}");
}

#[test]
fn a_plan_is_told_with_its_age_and_its_knobs() {
    let mut last = plan_of_storm();
    let shown = plan(&last, NOW);
    assert_eq!(format!("{shown}\n"), include_str!("../../../tests/golden/plan.txt"));
    last.expires_at = secs_ago(7200);
    let shown = last_plan(&last, None, NOW);
    assert!(
        shown.starts_with("THE AGENT DOES NOT ANSWER; the last plan kept here is generation 412")
    );
    assert!(shown.contains("it has expired: its shares hold"), "{shown}");
    assert!(shown.contains("expired 2026-11-23T12:31:02Z (2 h 0 min ago)"), "{shown}");
    // The plan of a data plane that never heard from an agent has no times that mean anything.
    let initial = Plan::initial([SiteId::new("east").unwrap()], 5);
    let shown = plan(&initial, NOW);
    assert!(shown.starts_with("generation 0: no plan has been published yet\n"), "{shown}");
    assert!(!shown.contains("1970"), "{shown}");
}

#[test]
fn an_order_is_answered_with_what_it_replaced() {
    let mut status = status_of_storm();
    status.replaced = Some(order("at least tier 1 (invisible)", "tier", "bob: drill"));
    assert_eq!(
        tier_order(&status, NOW),
        "at least tier 2 (visible), until 2026-11-23T14:41:02Z (in 10 min), by ann: storm\n\
         replaced: at least tier 1 (invisible), until 2026-11-23T14:41:02Z (in 10 min), by bob: drill\n\
         now tier 2 (visible)"
    );
    status.orders.clear();
    assert_eq!(
        tier_order(&status, NOW),
        "cleared: at least tier 1 (invisible), until 2026-11-23T14:41:02Z (in 10 min), by bob: drill\n\
         now tier 2 (visible); the agent decides alone"
    );
    let alarm = order("at least tier 2 (visible)", "alarm failing", "alarm failing: 5 % fail");
    status.orders.push(alarm);
    let shown = tier_order(&status, NOW);
    assert!(
        shown.ends_with(
            "\nnow tier 2 (visible)\nalso in force: at least tier 2 (visible), until 2026-11-23T14:41:02Z (in 10 min), by alarm failing: 5 % fail"
        ),
        "{shown}"
    );
    status.replaced = None;
    assert!(tier_order(&status, NOW).starts_with("there was no order to clear\n"));
}

#[test]
fn knobs_are_told_with_their_orders() {
    let knob =
        |id: &str, tier, on: bool, by: Option<&str>, order: Option<OrderStatus>| KnobStatus {
            id: KnobId::new(id).unwrap(),
            tier,
            owner: "codes team".to_owned(),
            users_see: "less".to_owned(),
            releases: Share::clamped(0.1),
            on,
            until: by.map(|_| NOW.plus_secs(600)),
            by: by.map(str::to_owned),
            order,
            replaced: None,
        };
    let held = order("knob qr-text held off", "knob qr-text", "bob: shop week");
    let knobs_now = [
        knob("notices-cached", Tier::Invisible, true, Some("tier 1"), None),
        knob("stats-frozen", Tier::Invisible, true, Some("ann: drill"), None),
        knob("qr-text", Tier::Visible, false, Some("bob: shop week"), Some(held)),
        knob("essential-only", Tier::Severe, false, None, None),
    ];
    let shown = knobs(&knobs_now, NOW, None);
    assert_eq!(format!("{shown}\n"), include_str!("../../../tests/golden/knobs.txt"));
    assert_eq!(
        knob_order(&knobs_now[2], NOW),
        "knob qr-text held off, until 2026-11-23T14:41:02Z (in 10 min), by bob: shop week\nnow off"
    );
    assert!(knob_order(&knobs_now[3], NOW).contains("now off; its tier decides alone"));
}

#[test]
fn events_are_told_with_their_times() {
    assert_eq!(events(&[], NOW, None), "no event is announced");
    let event = |name: &str, at, site: Option<&str>| EventStatus {
        name: spillway_model::EventId::new(name).unwrap(),
        at,
        until: NOW.plus_secs(7200),
        factor: 6.0,
        site: site.map(|site| SiteId::new(site).unwrap()),
        by: "ann: \u{1b}[31mred".to_owned(),
    };
    let shown = events(
        &[event("drop", secs_ago(60), Some("east")), event("sale", NOW.plus_secs(600), None)],
        NOW,
        None,
    );
    assert_eq!(format!("{shown}\n"), include_str!("../../../tests/golden/events.txt"));

    let mut status = status_of_storm();
    let what = "event sale: 6 times the usual demand from 2026-11-23T14:41:02.500Z";
    status.orders.push(order(what, "event sale", "ann: autumn"));
    assert_eq!(
        order_on(&status, "event sale", NOW),
        format!("{what}, until 2026-11-23T14:41:02Z (in 10 min), by ann: autumn")
    );
    assert_eq!(order_on(&status, "event drop", NOW), "there was no order to clear");
}

#[test]
fn a_client_is_told_where_it_goes() {
    let site = ClientSite {
        spilled: false,
        helped_by: None,
        why: "served at home: nobody is spilled".to_owned(),
    };
    let prefix = "192.0.2.7".parse::<std::net::IpAddr>().unwrap().into();
    let told =
        ClientExplain { prefix, rank: 0.5, sites: [(SiteId::new("east").unwrap(), site)].into() };
    let expected = "client 192.0.2.0/24 has rank 0.5000\n  east: served at home: nobody is spilled";
    assert_eq!(client(&told), expected);
}

#[test]
fn spans_are_short() {
    assert_eq!(end(UnixMillis(NOW.0 + 599_300), NOW), "2026-11-23T14:41:01Z (in 10 min)");
    let cases = [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min")];
    for (secs, text) in cases.into_iter().chain([(7200, "2 h 0 min"), (172_800, "2 days")]) {
        assert_eq!(span(secs * 1000), text);
    }
}
