//! What must hold between the fields of a configuration that each read well.
//!
//! Every rule pushes the path of the field at fault and a sentence that says what to write.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::Config;
use crate::plan::Tier;

/// Names that parts have which the configuration does not name.
const RESERVED: [&str; 3] = ["agent", "cloud", "dns"];

type Faults = Vec<(String, String)>;

pub(super) fn check(config: &Config) -> Faults {
    let mut faults = Faults::new();
    service(config, &mut faults);
    numbers(config, &mut faults);
    sites(config, &mut faults);
    groups(config, &mut faults);
    knobs(config, &mut faults);
    addresses(config, &mut faults);
    faults
}

fn fault(faults: &mut Faults, path: impl Into<String>, message: impl Into<String>) {
    faults.push((path.into(), message.into()));
}

/// A host name in the preferred syntax of RFC 1123 §2.1, lower case, no trailing dot.
fn is_host(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').count() >= 2
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

fn service(config: &Config, faults: &mut Faults) {
    for (key, name) in [("host", &config.service.host), ("slb_host", &config.service.slb_host)] {
        if !is_host(name) {
            let message = format!(
                "`{name}` is not a host name: write lower-case labels joined by dots, with no dot at the end"
            );
            fault(faults, format!("service.{key}"), message);
        }
    }
    if config.service.host == config.service.slb_host {
        fault(faults, "service.slb_host", "must differ from service.host, or a 307 would loop");
    }
    if config.service.port == 0 {
        fault(faults, "service.port", "clients cannot ask for port 0; name a port");
    }
}

fn numbers(config: &Config, faults: &mut Faults) {
    let agent = &config.agent;
    let mut at_most = |path: String, value: u64, most: u64| {
        if value > most {
            fault(faults, path, format!("{value} is too large: at most {most}"));
        }
    };
    const DAY_SECS: u64 = 86_400;
    at_most("plan.lease_secs".into(), config.plan.lease_secs, DAY_SECS);
    at_most("dns.ttl_secs".into(), u64::from(config.dns.ttl_secs), DAY_SECS);
    at_most("agent.tick_ms".into(), agent.tick_ms, 60_000);
    at_most("agent.tier_rise_secs".into(), agent.tier_rise_secs, DAY_SECS);
    at_most("agent.tier_dwell_secs".into(), agent.tier_dwell_secs, DAY_SECS);
    at_most("agent.share_dwell_secs".into(), agent.share_dwell_secs, DAY_SECS);
    at_most("agent.journal_hours".into(), agent.journal_hours, 24 * 366);
    for (i, site) in config.sites.iter().enumerate() {
        let (rate, queue) = (10_000_000_000_000, 1 << 32);
        at_most(format!("site.{i}.uplink.bits_per_sec"), site.uplink.bits_per_sec, rate);
        at_most(format!("site.{i}.uplink.queue_bytes"), site.uplink.queue_bytes, queue);
    }
    for (i, route) in config.routes.iter().enumerate() {
        at_most(format!("route.{i}.deadline_ms"), route.deadline_ms, DAY_SECS * 1000);
        at_most(format!("route.{i}.body_bytes_max"), route.body_bytes_max, 1 << 40);
        at_most(format!("route.{i}.response_bytes"), route.response_bytes, 1 << 40);
    }
    if let Some(local) = &config.cloud.local {
        at_most("cloud.local.cold_start_ms".into(), local.cold_start_ms, 600_000);
        at_most("cloud.local.environments_max".into(), local.environments_max, 100_000);
        at_most("cloud.local.burst_per_10s".into(), local.burst_per_10s, 100_000);
        at_most("cloud.local.idle_secs".into(), local.idle_secs, DAY_SECS);
    }
    let mut at_least = |path: &str, value: u64, least: u64| {
        if value < least {
            fault(faults, path, format!("{value} is too small: at least {least}"));
        }
    };
    at_least("plan.lease_secs", config.plan.lease_secs, 3);
    at_least("dns.ttl_secs", u64::from(config.dns.ttl_secs), 1);
    at_least("agent.tick_ms", agent.tick_ms, 100);
    at_least("agent.tier_rise_secs", agent.tier_rise_secs, 1);
    at_least("agent.tier_dwell_secs", agent.tier_dwell_secs, 1);
    at_least("agent.share_dwell_secs", agent.share_dwell_secs, 1);
    at_least("agent.journal_hours", agent.journal_hours, 1);
    for (i, site) in config.sites.iter().enumerate() {
        at_least(&format!("site.{i}.uplink.bits_per_sec"), site.uplink.bits_per_sec, 8_000);
        at_least(&format!("site.{i}.uplink.queue_bytes"), site.uplink.queue_bytes, 16 * 1024);
    }
    for (i, route) in config.routes.iter().enumerate() {
        at_least(&format!("route.{i}.deadline_ms"), route.deadline_ms, 1);
    }
    if let Some(local) = &config.cloud.local {
        at_least("cloud.local.idle_secs", local.idle_secs, 1);
    }

    for (key, target) in [
        ("uplink_target", agent.uplink_target),
        ("compute_target", agent.compute_target),
        ("share_step_down", agent.share_step_down),
    ] {
        if target.get() <= 0.0 {
            fault(faults, format!("agent.{key}"), "must be above 0 and at most 1");
        }
    }
    let mut positive = |path: String, value: f64| {
        if !(value.is_finite() && value > 0.0) {
            fault(faults, path, format!("{value} must be a number above 0"));
        }
    };
    for (i, site) in config.sites.iter().enumerate() {
        positive(format!("site.{i}.capacity.weighted_qps"), site.capacity.weighted_qps);
        positive(format!("site.{i}.capacity.p95_ms"), site.capacity.p95_ms);
    }
    for (i, route) in config.routes.iter().enumerate() {
        positive(format!("route.{i}.weight"), route.weight);
    }
}

fn sites(config: &Config, faults: &mut Faults) {
    if config.sites.is_empty() {
        fault(faults, "site", "name at least one [[site]]");
    }
    let mut ids = BTreeSet::new();
    let mut names = BTreeSet::new();
    for (i, site) in config.sites.iter().enumerate() {
        if RESERVED.contains(&site.id.as_str()) {
            fault(
                faults,
                format!("site.{i}.id"),
                format!("`{}` is the name of a part; choose another", site.id),
            );
        }
        if !ids.insert(&site.id) {
            fault(faults, format!("site.{i}.id"), format!("site `{}` stands twice", site.id));
        }
        let lists = [
            ("vips", site.vips.len()),
            ("gateway", site.gateways.len()),
            ("service", site.services.len()),
        ];
        for (key, len) in lists {
            if len == 0 {
                fault(
                    faults,
                    format!("site.{i}.{key}"),
                    format!("site `{}` needs at least one {key}", site.id),
                );
            }
        }
        let admin = site.balancer.admin.ip();
        let afar =
            admin.is_loopback() && !site.gateways.iter().all(|g| g.listen.ip().is_loopback());
        if site.balancer.sources.is_empty() && (admin.is_unspecified() || afar) {
            let message = "gateways believe the balancer only who a client is: write the addresses from \
                           which it connects to them, as sources = [\"IP\"]";
            fault(faults, format!("site.{i}.balancer.admin"), message);
        }
        for (j, source) in site.balancer.sources.iter().enumerate() {
            if source.is_unspecified() {
                let message =
                    "write the addresses from which the balancer connects to the gateways";
                fault(faults, format!("site.{i}.balancer.sources.{j}"), message);
            }
        }
        let gateways =
            site.gateways.iter().map(|g| &g.name).enumerate().map(|(j, n)| ("gateway", j, n));
        let services =
            site.services.iter().map(|s| &s.name).enumerate().map(|(j, n)| ("service", j, n));
        for (kind, j, name) in gateways.chain(services) {
            // Names become file names in the state folder.
            if let Err(e) = crate::ids::checked(name) {
                fault(faults, format!("site.{i}.{kind}.{j}.name"), e.to_string());
            } else if RESERVED.contains(&name.as_str()) || name.ends_with("-balancer") {
                let message = format!("`{name}` is the name of another part; choose another");
                fault(faults, format!("site.{i}.{kind}.{j}.name"), message);
            }
            if !names.insert(name) {
                let message =
                    format!("the name `{name}` stands twice; names are unique in the file");
                fault(faults, format!("site.{i}.{kind}.{j}.name"), message);
            }
        }
    }
    if config.cloud.slb_addresses.is_empty() {
        fault(faults, "cloud.slb_addresses", "name at least one address of the SLB");
    }
    if config.dns.zone_files.is_empty() {
        fault(faults, "dns.zone_files", "name at least one zone file");
    }
    if config.store.shards.is_empty() {
        fault(
            faults,
            "store.shards",
            "name at least one database, for example \"sqlite:one-code.db\"",
        );
    }
    for (i, url) in config.store.shards.iter().enumerate() {
        if !["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme))
        {
            fault(
                faults,
                format!("store.shards.{i}"),
                "write sqlite:FILE or postgres://USER@HOST/DATABASE",
            );
        }
    }
    let cache = &config.store.cache;
    if cache != "process" && !cache.starts_with("redis://") {
        fault(faults, "store.cache", "write \"process\" or redis://HOST:PORT");
    }
}

/// Every route's group is served by every site and by a function, or its requests would have
/// nowhere to go.
fn groups(config: &Config, faults: &mut Faults) {
    if config.routes.is_empty() {
        fault(faults, "route", "name at least one [[route]]");
    }
    let mut ids = BTreeSet::new();
    for (i, route) in config.routes.iter().enumerate() {
        if !ids.insert(&route.id) {
            fault(faults, format!("route.{i}.id"), format!("route `{}` stands twice", route.id));
        }
        if !route.path.starts_with('/') {
            fault(faults, format!("route.{i}.path"), "a path starts with `/`");
        }
        if let Some(method) = &route.method
            && !method.bytes().all(|b| b.is_ascii_uppercase())
        {
            fault(
                faults,
                format!("route.{i}.method"),
                "write the method in capitals, for example \"GET\"",
            );
        }
        let has = |groups: &[String]| groups.contains(&route.group);
        for site in &config.sites {
            if !site.services.iter().any(|service| has(&service.groups)) {
                let message =
                    format!("no service of site `{}` serves group `{}`", site.id, route.group);
                fault(faults, format!("route.{i}.group"), message);
            }
        }
        if !route.spill.is_empty() && !config.cloud.functions.iter().any(|f| has(&f.groups)) {
            let message = format!(
                "no function serves group `{}`; add it to a [[cloud.function]] or set spill = []",
                route.group
            );
            fault(faults, format!("route.{i}.group"), message);
        }
    }
    let mut names = BTreeSet::new();
    for (i, function) in config.cloud.functions.iter().enumerate() {
        if !names.insert(&function.name) {
            let message = format!("function `{}` stands twice", function.name);
            fault(faults, format!("cloud.function.{i}.name"), message);
        }
    }
}

fn knobs(config: &Config, faults: &mut Faults) {
    let routes: BTreeSet<_> = config.routes.iter().map(|route| &route.id).collect();
    let mut ids = BTreeSet::new();
    for (i, knob) in config.knobs.iter().enumerate() {
        if !ids.insert(&knob.id) {
            fault(faults, format!("knob.{i}.id"), format!("knob `{}` stands twice", knob.id));
        }
        if knob.tier == Tier::Normal {
            fault(
                faults,
                format!("knob.{i}.tier"),
                "a knob's tier is 1, 2 or 3; tier 0 is normal service",
            );
        }
        for (j, route) in knob.sheds.iter().enumerate() {
            if !routes.contains(route) {
                fault(
                    faults,
                    format!("knob.{i}.sheds.{j}"),
                    format!("there is no route `{route}`"),
                );
            }
        }
    }
}

/// No two processes can listen on one address. Port 0 (any free port) never clashes.
fn addresses(config: &Config, faults: &mut Faults) {
    let mut taken: BTreeMap<SocketAddr, String> = BTreeMap::new();
    let mut listen = |path: String, address: SocketAddr| {
        if address.port() == 0 {
            return;
        }
        if let Some(first) = taken.get(&address) {
            let message =
                format!("{address} is taken by {first}; give each its own address or port");
            fault(faults, path, message);
        } else {
            taken.insert(address, path);
        }
    };
    listen("dns.listen".into(), config.dns.listen);
    listen("dns.admin".into(), config.dns.admin);
    listen("agent.listen".into(), config.agent.listen);
    for (i, site) in config.sites.iter().enumerate() {
        listen(format!("site.{i}.balancer.listen"), site.balancer.listen);
        listen(format!("site.{i}.balancer.admin"), site.balancer.admin);
        for (j, gateway) in site.gateways.iter().enumerate() {
            listen(format!("site.{i}.gateway.{j}.listen"), gateway.listen);
            listen(format!("site.{i}.gateway.{j}.admin"), gateway.admin);
        }
        for (j, service) in site.services.iter().enumerate() {
            listen(format!("site.{i}.service.{j}.listen"), service.listen);
            listen(format!("site.{i}.service.{j}.admin"), service.admin);
        }
    }
    if let Some(local) = &config.cloud.local {
        listen("cloud.local.listen".into(), local.listen);
        listen("cloud.local.admin".into(), local.admin);
    }
}
