//! Numbers within reason: none so large that arithmetic with it overflows, none so small that a part
//! would do nothing or nothing else.

use super::super::Config;
use super::Faults;

const DAY_SECS: u64 = 86_400;
/// Of an hour, or of a million requests, in US dollars.
const PRICE_MAX: f64 = 1e6;
/// Of a month.
const MONTH_MAX: f64 = 1e9;
/// Half of all times is no margin; one of a thousand is seen within days of learning.
const QUANTILE: (f64, f64) = (0.5, 0.999);

pub(super) fn check(config: &Config, faults: &mut Faults<'_>) {
    let agent = &config.agent;
    let mut between = |path: String, value: u64, least: u64, most: u64| {
        if value < least {
            faults.at(path, format!("{value} is too small: at least {least}"));
        } else if value > most {
            faults.at(path, format!("{value} is too large: at most {most}"));
        }
    };
    between("plan.lease_secs".into(), config.plan.lease_secs, 3, DAY_SECS);
    between("dns.ttl_secs".into(), u64::from(config.dns.ttl_secs), 1, DAY_SECS);
    between("agent.tick_ms".into(), agent.tick_ms, 100, 60_000);
    between("agent.tier_rise_secs".into(), agent.tier_rise_secs, 1, DAY_SECS);
    between("agent.tier_dwell_secs".into(), agent.tier_dwell_secs, 1, DAY_SECS);
    between("agent.share_dwell_secs".into(), agent.share_dwell_secs, 1, DAY_SECS);
    between("agent.journal_hours".into(), agent.journal_hours, 1, 24 * 366);
    for (i, site) in config.sites.iter().enumerate() {
        let uplink = &site.uplink;
        let most = 10_000_000_000_000;
        between(format!("site.{i}.uplink.bits_per_sec"), uplink.bits_per_sec, 8_000, most);
        between(format!("site.{i}.uplink.queue_bytes"), uplink.queue_bytes, 16 * 1024, 1 << 32);
    }
    between("cloud.backhaul_bytes".into(), config.cloud.backhaul_bytes, 0, 1 << 40);
    for (i, route) in config.routes.iter().enumerate() {
        between(format!("route.{i}.deadline_ms"), route.deadline_ms, 1, DAY_SECS * 1000);
        between(format!("route.{i}.body_bytes_max"), route.body_bytes_max, 0, 1 << 40);
        between(format!("route.{i}.response_bytes"), route.response_bytes, 0, 1 << 40);
    }
    if let Some(local) = &config.cloud.local {
        between("cloud.local.cold_start_ms".into(), local.cold_start_ms, 0, 600_000);
        // None at all is a cloud that refuses everything, which a rehearsal may want.
        between("cloud.local.environments_max".into(), local.environments_max, 0, 100_000);
        between("cloud.local.burst_per_10s".into(), local.burst_per_10s, 0, 100_000);
        between("cloud.local.idle_secs".into(), local.idle_secs, 1, DAY_SECS);
    }

    let aws = config.cloud.aws.as_ref();
    let capacity = aws.and_then(|aws| aws.capacity.as_ref());
    if let Some(capacity) = capacity {
        let path = |key: &str| format!("cloud.aws.capacity.{key}");
        between(path("max_units"), u64::from(capacity.max_units), 0, 1_000_000);
        between(path("after_secs"), capacity.after_secs, 1, DAY_SECS);
        between(path("keep_secs"), capacity.keep_secs, 1, DAY_SECS);
    }
    let replicas = aws.and_then(|aws| aws.replicas.as_ref());
    if let Some(replicas) = replicas {
        let path = |key: &str| format!("cloud.aws.replicas.{key}");
        // As many as a shard of the cache and a cluster of the database have at most.
        between(path("cache_max"), u64::from(replicas.cache_max), 0, 5);
        between(path("database_max"), u64::from(replicas.database_max), 0, 15);
        between(path("after_secs"), replicas.after_secs, 1, DAY_SECS);
        between(path("keep_secs"), replicas.keep_secs, 1, DAY_SECS);
    }
    let functions = || aws.iter().flat_map(|aws| &aws.functions);
    for (name, function) in functions() {
        let path = format!("cloud.aws.functions.{name}.warm_max");
        between(path, u64::from(function.warm_max), 0, 100_000);
    }
    let gateways = aws.and_then(|aws| aws.gateways.as_ref());
    if let Some(gateways) = gateways {
        between("cloud.aws.gateways.max".into(), u64::from(gateways.max), 1, 1000);
        between("cloud.aws.gateways.boot_secs".into(), gateways.boot_secs, 1, 3600);
    }

    let prices = aws.map(|aws| &aws.prices);
    for (key, price) in prices.into_iter().flat_map(|prices| {
        [
            ("gateway_usd_per_hour", prices.gateway_usd_per_hour),
            ("functions_usd_per_million", prices.functions_usd_per_million),
        ]
    }) {
        if !(price > 0.0 && price <= PRICE_MAX) {
            let message = format!("{price} must be above 0 and at most {PRICE_MAX}");
            faults.at(format!("cloud.aws.prices.{key}"), message);
        }
    }
    if let Some(budget) = &config.cloud.budget {
        let path = |key: &str| format!("cloud.budget.{key}");
        for (key, usd, most) in [
            ("usd_per_hour", budget.usd_per_hour, PRICE_MAX),
            ("usd_per_month", budget.usd_per_month, MONTH_MAX),
            ("usd_per_second_over", budget.usd_per_second_over, PRICE_MAX),
        ] {
            if let Some(usd) = usd.filter(|usd| !(*usd > 0.0 && *usd <= most)) {
                let message =
                    format!("{usd} must be above 0 and at most {most}: leave it out for no limit");
                faults.at(path(key), message);
            }
        }
        if budget.usd_per_hour.or(budget.usd_per_month).is_none() {
            let message =
                "there is no cap: write usd_per_hour or usd_per_month, or leave the section out";
            faults.between(
                "cloud.budget",
                &[&path("usd_per_hour"), &path("usd_per_month")],
                message,
            );
        }
    }
    if agent.beside == Some(agent.listen) {
        let message = "the agent cannot run beside itself: write where the other one listens";
        faults.between("agent.beside", &["agent.listen"], message);
    }
    for (key, target) in [
        ("uplink_target", agent.uplink_target),
        ("compute_target", agent.compute_target),
        ("share_step_down", agent.share_step_down),
    ] {
        if target.get() <= 0.0 {
            let message = format!("{} must be above 0 and at most 1", target.get());
            faults.at(format!("agent.{key}"), message);
        }
    }
    let quantile = agent.forecast_quantile;
    if !(QUANTILE.0..=QUANTILE.1).contains(&quantile) {
        let (least, most) = QUANTILE;
        let message = format!("{quantile} must be from {least} to {most}");
        faults.at("agent.forecast_quantile", message);
    }
    // Far above what there is, and far below what sums and products of rates overflow at.
    const MOST: f64 = 1e12;
    let mut positive = |path: String, value: f64| {
        if !(value > 0.0 && value <= MOST) {
            faults.at(path, format!("{value} must be a number above 0 and at most {MOST:e}"));
        }
    };
    for (i, site) in config.sites.iter().enumerate() {
        positive(format!("site.{i}.capacity.weighted_qps"), site.capacity.weighted_qps);
        positive(format!("site.{i}.capacity.p95_ms"), site.capacity.p95_ms);
    }
    for (i, route) in config.routes.iter().enumerate() {
        positive(format!("route.{i}.weight"), route.weight);
    }
    if let Some(gateways) = gateways {
        positive("cloud.aws.gateways.weighted_qps".to_owned(), gateways.weighted_qps);
    }
    if let Some(capacity) = capacity {
        let path = "cloud.aws.capacity.requests_per_connection";
        positive(path.to_owned(), capacity.requests_per_connection);
    }
    if let Some(replicas) = replicas {
        positive("cloud.aws.replicas.weighted_qps".to_owned(), replicas.weighted_qps);
    }
    for (name, function) in functions().filter(|(_, function)| function.warm_max > 0) {
        positive(format!("cloud.aws.functions.{name}.warm_qps"), function.warm_qps);
    }
}
