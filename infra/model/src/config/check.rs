//! What must hold between the fields of a configuration that each read well.
//!
//! Every rule says the path of the field at fault, the paths of the others that it looked at, and a
//! sentence that says what to write.

mod addresses;
mod aws;
mod help;
mod numbers;
mod routes;
mod stores;

use std::collections::BTreeMap;

use super::Config;
use crate::ids;
use crate::plan::Tier;

/// Names that parts have which the configuration does not name.
const RESERVED: [&str; 4] = ["agent", "aws", "cloud", "dns"];

/// What the rules found, less what they found because of values that are made up.
#[derive(Debug)]
pub(super) struct Faults<'r> {
    /// Paths whose values are made up.
    replaced: &'r [String],
    /// Path and sentence of each fault.
    pub(super) found: Vec<(String, String)>,
}

impl<'r> Faults<'r> {
    pub(super) fn new(replaced: &'r [String]) -> Self {
        Self { replaced, found: Vec::new() }
    }

    /// A fault of the value at `path` alone.
    fn at(&mut self, path: impl AsRef<str>, message: impl Into<String>) {
        self.between(path.as_ref(), &[], message);
    }

    /// A fault of the value at `path` that does not go with those at other paths. In these `*` stands
    /// for any step.
    pub(super) fn between(&mut self, path: &str, with: &[&str], message: impl Into<String>) {
        if !self.made_up(path) && !with.iter().any(|other| self.made_up(other)) {
            self.found.push((path.to_owned(), message.into()));
        }
    }

    /// Whether the value at a path, one in it or one that it is in is made up.
    fn made_up(&self, path: &str) -> bool {
        self.replaced.iter().any(|replaced| {
            path.split('.').zip(replaced.split('.')).all(|(a, b)| a == b || a == "*")
        })
    }

    /// Says `message` at each value that stands at an earlier path too; it is given the value and
    /// that path.
    fn unique<T: Ord>(
        &mut self,
        values: impl IntoIterator<Item = (String, T)>,
        message: impl Fn(&T, &str) -> String,
    ) {
        let mut first: BTreeMap<T, String> = BTreeMap::new();
        for (path, value) in values {
            if self.made_up(&path) {
                continue;
            }
            match first.get(&value) {
                Some(earlier) => self.at(path, message(&value, earlier)),
                None => {
                    first.insert(value, path);
                }
            }
        }
    }
}

pub(super) fn check(config: &Config, faults: &mut Faults<'_>) {
    service(config, faults);
    numbers::check(config, faults);
    sites(config, faults);
    help::check(config, faults);
    cloud(config, faults);
    aws::check(config, faults);
    stores::check(config, faults);
    routes::check(config, faults);
    knobs(config, faults);
    addresses::check(config, faults);
}

/// A host name in the preferred syntax of RFC 1123 §2.1, lower case, no trailing dot.
fn is_host(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

fn service(config: &Config, faults: &mut Faults<'_>) {
    for (key, name) in [("host", &config.service.host), ("slb_host", &config.service.slb_host)] {
        if !(is_host(name) && name.contains('.')) {
            let message = format!(
                "`{name}` is not a host name: write lower-case labels joined by dots, with no dot at the end"
            );
            faults.at(format!("service.{key}"), message);
        }
    }
    if config.service.host == config.service.slb_host {
        let message = format!(
            "`{}` must differ from service.host, or a 307 would loop",
            config.service.slb_host
        );
        faults.between("service.slb_host", &["service.host"], message);
    }
    if config.service.port == 0 {
        faults.at("service.port", "clients cannot ask for port 0; name a port");
    }
    if config.dns.zone_files.is_empty() {
        faults.at("dns.zone_files", "name at least one zone file");
    }
}

fn sites(config: &Config, faults: &mut Faults<'_>) {
    if config.sites.is_empty() {
        faults.at("site", "name at least one [[site]]");
    }
    let ids = config.sites.iter().enumerate().map(|(i, s)| (format!("site.{i}.id"), &s.id));
    faults.unique(ids, |id, _| format!("site `{id}` stands twice"));
    let mut names = Vec::new();
    for (i, site) in config.sites.iter().enumerate() {
        if RESERVED.contains(&site.id.as_str()) {
            let message = format!("`{}` is the name of a part; choose another", site.id);
            faults.at(format!("site.{i}.id"), message);
        }
        let lists = [
            ("vips", site.vips.len()),
            ("gateway", site.gateways.len()),
            ("service", site.services.len()),
        ];
        for (key, len) in lists {
            if len == 0 {
                let message = format!("site `{}` needs at least one {key}", site.id);
                faults.at(format!("site.{i}.{key}"), message);
            }
        }
        let gateways = site.gateways.iter().map(|g| &g.name).enumerate();
        let services = site.services.iter().map(|s| &s.name).enumerate();
        names.extend(gateways.map(|(j, name)| (format!("site.{i}.gateway.{j}.name"), name)));
        names.extend(services.map(|(j, name)| (format!("site.{i}.service.{j}.name"), name)));
    }
    for (path, name) in &names {
        // Names become file names in the state folder.
        if let Err(e) = ids::checked(name) {
            faults.at(path, e.to_string());
        } else if RESERVED.contains(&name.as_str()) || name.ends_with("-balancer") {
            faults.at(path, format!("`{name}` is the name of another part; choose another"));
        }
    }
    faults.unique(names, |name, _| {
        format!("the name `{name}` stands twice; names are unique in the file")
    });
}

fn cloud(config: &Config, faults: &mut Faults<'_>) {
    if config.cloud.slb_addresses.is_empty() {
        faults.at("cloud.slb_addresses", "name at least one address of the SLB");
    }
    let functions = config.cloud.functions.iter().enumerate();
    let names = functions.map(|(i, f)| (format!("cloud.function.{i}.name"), &f.name));
    for (path, name) in names.clone() {
        if let Err(e) = ids::checked(name) {
            faults.at(path, e.to_string());
        }
    }
    faults.unique(names, |name, _| format!("function `{name}` stands twice"));
}

fn knobs(config: &Config, faults: &mut Faults<'_>) {
    let ids = config.knobs.iter().enumerate().map(|(i, k)| (format!("knob.{i}.id"), &k.id));
    faults.unique(ids, |id, _| format!("knob `{id}` stands twice"));
    for (i, knob) in config.knobs.iter().enumerate() {
        if knob.tier == Tier::Normal {
            let message = "a knob's tier is 1, 2 or 3; tier 0 is normal service";
            faults.at(format!("knob.{i}.tier"), message);
        }
        for (j, route) in knob.sheds.iter().enumerate() {
            if !config.routes.iter().any(|r| r.id == *route) {
                let path = format!("knob.{i}.sheds.{j}");
                faults.between(&path, &["route.*.id"], format!("there is no route `{route}`"));
            }
        }
    }
}
