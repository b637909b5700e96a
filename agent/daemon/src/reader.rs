//! Reading the load of every part in the configuration, all at once and each within a deadline.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use spillway_model::api::PartStatus;
use spillway_model::load::{Load, Part};
use spillway_model::{Config, SiteId};
use spillway_part::client::Client;

/// Warnings of a part that are passed on.
const WARNINGS_MAX: usize = 20;

/// What one round of reading found.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The loads, in the order of the configuration.
    pub(crate) loads: Vec<Load>,
    /// What could not be read, and why.
    pub(crate) missing: BTreeMap<String, String>,
    /// Bytes sent, by the counter of the interface that a site's configuration names.
    pub(crate) interface_bytes: BTreeMap<SiteId, u64>,
    /// Every part, answering or not.
    pub(crate) parts: Vec<PartStatus>,
    /// What a part says is not as it should be.
    pub(crate) warnings: Vec<String>,
}

/// Reads the parts.
#[derive(Debug)]
pub(crate) struct Reader {
    client: Client,
    deadline: Duration,
    targets: Vec<Target>,
    interfaces: Vec<Interface>,
}

#[derive(Debug)]
struct Target {
    part: Part,
    name: String,
    /// Its name in [`Reading::missing`]: a balancer goes by its site there.
    missing: String,
    admin: SocketAddr,
}

#[derive(Debug)]
struct Interface {
    site: SiteId,
    name: String,
    counter: PathBuf,
}

impl Reader {
    pub(crate) fn new(config: &Config) -> Self {
        let interfaces = config.sites.iter().filter_map(|site| {
            let name = site.uplink.interface.clone()?;
            let counter = Path::new("/sys/class/net").join(&name).join("statistics/tx_bytes");
            Some(Interface { site: site.id.clone(), name, counter })
        });
        Self {
            client: Client::default(),
            // What is left of the tick is for the decision, the journal and the unexpected.
            deadline: Duration::from_millis(config.agent.tick_ms) * 2 / 5,
            targets: targets(config),
            interfaces: interfaces.collect(),
        }
    }

    /// Reads everything. Takes no longer than the deadline, whatever the parts do.
    pub(crate) async fn read(&self) -> Reading {
        let answers = join_all(self.targets.iter().map(|target| self.read_one(target))).await;
        let mut reading = Reading {
            loads: Vec::with_capacity(answers.len()),
            missing: BTreeMap::new(),
            interface_bytes: BTreeMap::new(),
            parts: Vec::with_capacity(answers.len()),
            warnings: Vec::new(),
        };
        for (target, answer) in self.targets.iter().zip(answers) {
            let (generation, error) = match answer {
                Ok(load) => {
                    let generation = load.generation;
                    let told = load.fleet.iter().flat_map(|fleet| &fleet.warnings);
                    let told =
                        told.take(WARNINGS_MAX).map(|text| format!("{}: {text}", target.name));
                    reading.warnings.extend(told);
                    reading.loads.push(load);
                    (Some(generation), None)
                }
                Err(reason) => {
                    reading.missing.insert(target.missing.clone(), reason.clone());
                    (None, Some(reason))
                }
            };
            let (part, name) = (target.part, target.name.clone());
            reading.parts.push(PartStatus { part, name, generation, error });
        }
        for interface in &self.interfaces {
            match sent_bytes(&interface.counter) {
                Ok(bytes) => {
                    reading.interface_bytes.insert(interface.site.clone(), bytes);
                }
                Err(reason) => {
                    let what = format!("interface {} of {}", interface.name, interface.site);
                    reading.missing.insert(what, reason);
                }
            }
        }
        reading
    }

    async fn read_one(&self, target: &Target) -> Result<Load, String> {
        let load: Load = self
            .client
            .get(target.admin, "/v1/load", self.deadline)
            .await
            .map_err(|e| chain(&e))?;
        if load.part == target.part {
            Ok(load)
        } else {
            let name = |part: Part| format!("{part:?}").to_lowercase();
            Err(format!(
                "{} answers as {}, but the configuration has the {} there",
                target.admin,
                name(load.part),
                name(target.part)
            ))
        }
    }
}

/// Every process of the configuration, by the name it reports itself under.
fn targets(config: &Config) -> Vec<Target> {
    let target = |part, name: &str, admin| {
        let name = name.to_owned();
        Target { part, missing: name.clone(), name, admin }
    };
    let mut targets = vec![target(Part::Dns, "dns", config.dns.admin)];
    for site in &config.sites {
        targets.push(Target {
            part: Part::Balancer,
            name: format!("{}-balancer", site.id),
            missing: format!("balancer {}", site.id),
            admin: site.balancer.admin,
        });
        let gateways = site.gateways.iter();
        targets.extend(gateways.map(|g| target(Part::Gateway, &g.name, g.admin)));
        let services = site.services.iter();
        targets.extend(services.map(|s| target(Part::Service, &s.name, s.admin)));
    }
    if let Some(local) = &config.cloud.local {
        targets.push(target(Part::Cloud, "cloud", local.admin));
    }
    if let Some(aws) = &config.cloud.aws {
        targets.push(target(Part::Aws, "aws", aws.admin));
    }
    targets
}

fn sent_bytes(counter: &Path) -> Result<u64, String> {
    let text = std::fs::read_to_string(counter)
        .map_err(|e| format!("cannot read {}: {e}", counter.display()))?;
    text.trim().parse().map_err(|_| format!("{} holds no number", counter.display()))
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // A transparent error is its own source's text.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_there_has_a_counter() {
        let lo = Path::new("/sys/class/net/lo/statistics/tx_bytes");
        assert!(sent_bytes(lo).is_ok());
        let none = sent_bytes(Path::new("/sys/class/net/none0/statistics/tx_bytes"));
        assert!(none.unwrap_err().contains("none0"));
    }
}
