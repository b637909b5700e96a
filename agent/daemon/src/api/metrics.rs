//! What the agent adds to `/metrics`: what it sees, what it decided, and how it is itself. In base
//! units, as Prometheus has it: bytes, seconds, ratios.

use std::fmt::{Display, Write as _};

use spillway_model::api::{BudgetStatus, FleetStatus, KnobStatus, SiteStatus, Spending};
use spillway_model::{Mode, UnixMillis};

use crate::agent::View;

/// A gauge of one site: its name, its help, its value if there is one.
type OfSite = (&'static str, &'static str, fn(&SiteStatus) -> Option<f64>);

const OF_SITE: [OfSite; 13] = [
    ("spillway_site_share_ratio", "Fraction of the site's clients that the plan spills.", |s| {
        Some(s.share.get())
    }),
    (
        "spillway_site_uplink_bytes_per_second",
        "Bytes leaving the site over its uplink, last tick.",
        |s| Some(s.uplink_bits_per_sec / 8.0),
    ),
    ("spillway_site_uplink_limit_bytes_per_second", "Cap of the site's uplink.", |s| {
        Some(s.uplink_cap_bits_per_sec / 8.0)
    }),
    (
        "spillway_site_demand_bytes_per_second",
        "Bytes that would leave if nothing were spilled or degraded, last tick.",
        |s| Some(s.demand_bits_per_sec / 8.0),
    ),
    (
        "spillway_site_forecast_bytes_per_second",
        "Upper bound of the demand that the last decision was made for.",
        |s| Some(s.forecast_bits_per_sec / 8.0),
    ),
    (
        "spillway_site_weighted_requests_per_second",
        "Weighted requests served at home, last tick.",
        |s| Some(s.weighted_qps),
    ),
    (
        "spillway_site_weighted_requests_limit_per_second",
        "Weighted requests that the site can serve.",
        |s| Some(s.weighted_qps_max),
    ),
    (
        "spillway_site_requests_per_second",
        "Requests for the site, wherever served, last tick.",
        |s| Some(s.requests_per_sec),
    ),
    (
        "spillway_site_visitor_requests_per_second",
        "Requests of other sites' clients that were served at this one, last tick.",
        |s| Some(s.visitors_per_sec),
    ),
    ("spillway_site_failed_requests_per_second", "Requests that failed at home, last tick.", |s| {
        Some(s.failed_per_sec)
    }),
    (
        "spillway_site_latency_p95_seconds",
        "95th percentile of latency at home; absent when nothing was served.",
        |s| s.p95_ms.map(|ms| ms / 1000.0),
    ),
    ("spillway_site_latency_limit_seconds", "Its limit.", |s| Some(s.p95_limit_ms / 1000.0)),
    (
        "spillway_site_uplink_used_ratio",
        "Use of the uplink as a fraction of its cap, last tick.",
        |s| {
            (s.uplink_cap_bits_per_sec > 0.0)
                .then(|| s.uplink_bits_per_sec / s.uplink_cap_bits_per_sec)
        },
    ),
];

/// Renders the text exposition format 0.0.4 at `now`.
pub(super) fn render(view: &View, knobs: &[KnobStatus], now: UnixMillis) -> String {
    let mut out = Families(String::with_capacity(4096));
    for (name, help, value) in OF_SITE {
        let sites = view.sites.iter().filter_map(|(id, site)| Some((id, value(site)?)));
        out.gauge(name, help, sites.map(|(id, value)| (format!("site=\"{id}\""), value)));
    }
    let helped = view.sites.iter().flat_map(|(id, site)| {
        let mut from = 0.0;
        site.helped.iter().map(move |help| {
            let to = help.below.get().min(site.share.get()).max(from);
            let part = to - from;
            from = to;
            (format!("site=\"{id}\",by=\"{}\"", help.site), part)
        })
    });
    out.gauge(
        "spillway_site_helped_ratio",
        "Fraction of the site's clients that another site serves.",
        helped,
    );
    out.one(
        "spillway_tier",
        "Tier of degradation in the plan, 0 to 3.",
        f64::from(u8::from(view.in_force.tier)),
    );
    let mode = view.decision.as_ref().map(|decision| decision.mode).unwrap_or_default();
    out.gauge(
        "spillway_mode",
        "How far the agent acts on what it decides: 1 for the mode it is in.",
        Mode::ALL.iter().map(|of| (format!("mode=\"{of}\""), f64::from(u8::from(*of == mode)))),
    );
    out.one(
        "spillway_advice",
        "Changes that the agent would make if it acted.",
        count(view.decision.as_ref().map_or(0, |decision| decision.advice.len())),
    );
    let on = knobs.iter().map(|knob| {
        let labels = format!("knob=\"{}\",tier=\"{}\"", knob.id, u8::from(knob.tier));
        (labels, f64::from(u8::from(knob.on)))
    });
    out.gauge("spillway_knob_on", "Whether a knob is on.", on);
    let ordered = knobs.iter().filter(|knob| knob.order.is_some()).count();
    out.one(
        "spillway_knobs_ordered",
        "Knobs that an operator turned on or holds off.",
        count(ordered),
    );
    let cloud = &view.cloud;
    out.one(
        "spillway_cloud_requests_per_second",
        "Requests served by the cloud, last tick.",
        cloud.requests_per_sec,
    );
    out.one(
        "spillway_cloud_throttled_requests_per_second",
        "Requests the cloud refused for want of an environment, last tick.",
        cloud.throttled_per_sec,
    );
    if let Some(fleet) = &cloud.fleet {
        gateways(&mut out, fleet);
    }
    if let Some(spent) = &cloud.budget {
        budget(&mut out, spent);
    }
    let up = view.parts.iter().map(|part| {
        let kind = format!("{:?}", part.part).to_lowercase();
        let labels = format!("part=\"{}\",kind=\"{kind}\"", escape(&part.name));
        (labels, f64::from(u8::from(part.error.is_none())))
    });
    out.gauge("spillway_part_up", "Whether a part answered the agent, last tick.", up);
    let missing = view.parts.iter().filter(|part| part.error.is_some()).count();
    out.one("spillway_parts_missing", "Parts that did not answer, last tick.", count(missing));
    out.one(
        "spillway_decision_age_seconds",
        "Time since the last decision; grows when the agent hangs.",
        seconds(now.millis_since(view.at)),
    );
    out.one(
        "spillway_plan_issued_timestamp_seconds",
        "When the plan in force was published.",
        seconds(view.plan.issued_at.0),
    );
    out.one(
        "spillway_plan_expiry_timestamp_seconds",
        "When it expires, unless it is renewed.",
        seconds(view.plan.expires_at.0),
    );
    out.one(
        "spillway_agent_warnings",
        "What is not as it should be with the agent; `spillway status` says what.",
        count(view.warnings.len()),
    );
    out.one(
        "spillway_journal_writable",
        "Whether the last tick was journalled.",
        f64::from(u8::from(view.journalled)),
    );
    out.0
}

/// Gateways in the cloud, where there may be any; of those that are not heard of, what is wanted only.
fn gateways(out: &mut Families, fleet: &FleetStatus) {
    let there = fleet.there.as_ref();
    let states = [
        ("wanted", Some(fleet.wanted.gateways)),
        ("launched", there.map(|there| there.gateways_launched)),
        ("healthy", there.map(|there| there.gateways_healthy)),
        ("draining", there.map(|there| there.gateways_draining)),
    ];
    let known = states.iter().filter_map(|(state, n)| Some((state, (*n)?)));
    out.gauge(
        "spillway_cloud_gateways",
        "Gateways in the cloud.",
        known.map(|(state, n)| (format!("state=\"{state}\""), f64::from(n))),
    );
    let parts = [
        ("wanted", Some(fleet.wanted.gateway_percent)),
        ("given", there.map(|there| there.gateway_percent)),
    ];
    let known = parts.iter().filter_map(|(state, percent)| Some((state, (*percent)?)));
    out.gauge(
        "spillway_cloud_gateways_share_ratio",
        "Part of the cloud's requests that its load balancer gives to gateways.",
        known.map(|(state, percent)| (format!("state=\"{state}\""), f64::from(percent) / 100.0)),
    );
}

/// What the cloud has cost, where it has a budget.
fn budget(out: &mut Families, spent: &BudgetStatus) {
    let periods = [("hour", &spent.hour), ("month", &spent.month)];
    let samples = |of: fn(&Spending) -> Option<f64>| {
        let known = periods.iter().filter_map(move |(period, spent)| Some((period, of(spent)?)));
        known.map(|(period, value)| (format!("period=\"{period}\""), value))
    };
    out.gauge(
        "spillway_cloud_spent_dollars",
        "What the cloud has cost in this clock hour and month, as estimated.",
        samples(|spent| Some(spent.usd)),
    );
    out.gauge(
        "spillway_cloud_budget_dollars",
        "What it may cost; absent without a cap.",
        samples(|spent| spent.of),
    );
    out.gauge(
        "spillway_cloud_budget_used_ratio",
        "Part of the cap that is spent; from 0.8 on it is told.",
        samples(Spending::part),
    );
    let binds = spent.binds.as_ref();
    out.one(
        "spillway_cloud_budget_marginal_dollars_per_second",
        "What a second would cost that a cap keeps over the limit; 0 where none binds.",
        binds.map_or(0.0, |missed| missed.usd_per_sec),
    );
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus samples are doubles")]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus samples are doubles")]
fn count(n: usize) -> f64 {
    n as f64
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

struct Families(String);

impl Families {
    fn gauge(&mut self, name: &str, help: &str, samples: impl Iterator<Item = (String, f64)>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            self.sample(&format_args!("{name}{{{labels}}}"), value);
        }
    }

    fn one(&mut self, name: &str, help: &str, value: f64) {
        self.gauge(name, help, std::iter::empty());
        self.sample(&name, value);
    }

    fn sample(&mut self, series: &dyn Display, value: f64) {
        let _ = writeln!(self.0, "{series} {value}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use spillway_model::api::{CloudStatus, PartStatus};
    use spillway_model::load::{FleetLoad, Part};
    use spillway_model::plan::Help;
    use spillway_model::{Fleet, KnobId, Plan, Share, SiteId, Tier};

    use super::*;

    #[test]
    fn the_page_is_as_dashboards_know_it() {
        let east = SiteId::new("east").unwrap();
        let mut plan = Plan::initial([east.clone()], 5);
        plan.issued_at = UnixMillis(1_000_000);
        plan.expires_at = UnixMillis(1_030_000);
        plan.tier = Tier::Invisible;
        let site = SiteStatus {
            share: Share::clamped(0.25),
            helped: vec![Help {
                site: SiteId::new("west").unwrap(),
                below: Share::clamped(0.125),
                until: Share::ZERO,
            }],
            visitors_per_sec: 7.5,
            uplink_bits_per_sec: 3_000_000.0,
            uplink_cap_bits_per_sec: 4_000_000.0,
            demand_bits_per_sec: 5_000_000.0,
            forecast_bits_per_sec: 6_000_000.0,
            weighted_qps: 100.0,
            weighted_qps_max: 1500.0,
            requests_per_sec: 120.0,
            p95_ms: Some(20.0),
            p95_limit_ms: 400.0,
            failed_per_sec: 0.5,
            ..SiteStatus::default()
        };
        let part = |part, name: &str, error: Option<&str>| PartStatus {
            part,
            name: name.to_owned(),
            generation: None,
            error: error.map(str::to_owned),
        };
        let plan = Arc::new(plan);
        let view = View {
            at: UnixMillis(1_009_500),
            in_force: plan.clone(),
            plan,
            signed: axum::body::Bytes::new(),
            published: None,
            decision: None,
            warnings: vec!["the journal cannot be written".to_owned()],
            journalled: false,
            headline: String::new(),
            sites: [(east, site)].into(),
            cloud: CloudStatus {
                requests_per_sec: 30.0,
                throttled_per_sec: 1.5,
                ..CloudStatus::default()
            },
            parts: vec![
                part(Part::Dns, "dns", None),
                part(Part::Gateway, "gw \"1\"", Some("gone")),
            ],
        };
        let knob = KnobStatus {
            id: KnobId::new("qr-text").unwrap(),
            tier: Tier::Visible,
            owner: String::new(),
            users_see: String::new(),
            releases: Share::ZERO,
            on: true,
            until: None,
            by: None,
            order: None,
            replaced: None,
        };
        let page = render(&view, &[knob], UnixMillis(1_010_000));
        assert_eq!(page, include_str!("../../tests/golden/metrics.txt"));
    }

    #[test]
    fn what_is_spent_is_told_beside_what_may_be() {
        let hour = Spending { usd: 0.5, of: Some(2.0) };
        let spent = BudgetStatus { hour, ..BudgetStatus::default() };
        let mut out = Families(String::new());
        budget(&mut out, &spent);
        for sample in [
            "spillway_cloud_spent_dollars{period=\"hour\"} 0.5",
            "spillway_cloud_spent_dollars{period=\"month\"} 0",
            "spillway_cloud_budget_dollars{period=\"hour\"} 2",
            "spillway_cloud_budget_used_ratio{period=\"hour\"} 0.25",
            "spillway_cloud_budget_marginal_dollars_per_second 0",
        ] {
            assert!(out.0.lines().any(|line| line == sample), "{sample}: {}", out.0);
        }
        assert!(!out.0.contains("spillway_cloud_budget_dollars{period=\"month\"}"), "{}", out.0);
    }

    #[test]
    fn gateways_are_told_as_far_as_they_are_known() {
        let wanted = Fleet { gateways: 3, gateway_percent: 40, ..Fleet::default() };
        let mut fleet = FleetStatus { wanted, there: None };
        let page = |fleet: &FleetStatus| {
            let mut out = Families(String::new());
            gateways(&mut out, fleet);
            out.0.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
        };
        let wanted = "spillway_cloud_gateways{state=\"wanted\"} 3";
        let share = "spillway_cloud_gateways_share_ratio{state=\"wanted\"} 0.4";
        assert_eq!(page(&fleet), format!("{wanted}\n{share}"));
        let there = FleetLoad { gateways_launched: 3, gateways_healthy: 2, ..FleetLoad::default() };
        fleet.there = Some(there);
        let page = page(&fleet);
        assert!(page.contains("spillway_cloud_gateways{state=\"healthy\"} 2"), "{page}");
        assert!(page.contains("spillway_cloud_gateways_share_ratio{state=\"given\"} 0"), "{page}");
    }
}
