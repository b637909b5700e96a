//! Target groups and the health of targets.
//!
//! ```text
//!          RegisterTargets        first check good               checks fail
//! (none) ────────────────▶ initial ───────────────▶ healthy ◀──────────────────▶ unhealthy
//!                             │                        │        checks good         │
//!                             └────────────────────────┴── DeregisterTargets ───────┘
//!                                                      ▼
//!                                                  draining ──deregistration delay──▶ (none)
//! ```
//!
//! A target of a group that no load balancer forwards to is `unused`, and so is one whose instance is
//! stopped or ended.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{invalid, not_found};
use crate::aws::{Answer, Aws, Effect, Refusal, Timer, page};
use crate::ec2;
use crate::input::Input;

/// A group and its targets.
#[derive(Debug)]
pub(crate) struct TargetGroup {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) tags: BTreeMap<String, String>,
    port: u16,
    protocol: String,
    check: Check,
    attributes: BTreeMap<String, String>,
    pub(crate) targets: BTreeMap<String, Target>,
}

/// How health is asked for. Times in milliseconds.
#[derive(Debug, Clone)]
struct Check {
    enabled: bool,
    protocol: String,
    port: String,
    path: String,
    matcher: String,
    interval_ms: u64,
    timeout_ms: u64,
    healthy: u32,
    unhealthy: u32,
}

#[derive(Debug)]
pub(crate) struct Target {
    id: String,
    port: u16,
    health: Health,
    reason: Option<&'static str>,
    good: u32,
    bad: u32,
    epoch: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Initial,
    Healthy,
    Unhealthy,
    Draining,
    /// Of a group whose checks are switched off.
    Unavailable,
}

/// A check of a target's health that is to be made: one GET.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The target group's ARN.
    pub group: String,
    /// The target, as the stand-in names it.
    pub target: String,
    /// The registration that is meant.
    pub epoch: u64,
    /// Where to ask.
    pub address: SocketAddr,
    /// What to ask for.
    pub path: String,
    /// How long to wait, in milliseconds.
    pub timeout_ms: u64,
    /// Statuses that mean health, such as `200` or `200-299,301`.
    pub matcher: String,
}

impl Probe {
    /// Whether a status means health.
    #[must_use]
    pub fn matches(&self, status: u16) -> bool {
        self.matcher.split(',').any(|part| {
            let (least, most) = part.split_once('-').unwrap_or((part, part));
            least.trim().parse().is_ok_and(|least| status >= least)
                && most.trim().parse().is_ok_and(|most| status <= most)
        })
    }
}

impl Check {
    fn parse(input: Input<'_>, kind: &str) -> Result<Self, Refusal> {
        let lambda = kind == "lambda";
        let seconds = |key: &str, other: u32| -> Result<u64, Refusal> {
            Ok(u64::from(input.count(key)?.unwrap_or(other)) * 1_000)
        };
        let text = |key: &str, other: &str| input.text(key).unwrap_or_else(|| other.to_owned());
        let check = Self {
            enabled: input.flag("HealthCheckEnabled")?.unwrap_or(!lambda),
            protocol: text("HealthCheckProtocol", "HTTP"),
            port: text("HealthCheckPort", "traffic-port"),
            path: text("HealthCheckPath", "/"),
            matcher: input.get("Matcher").text("HttpCode").unwrap_or_else(|| "200".to_owned()),
            interval_ms: seconds("HealthCheckIntervalSeconds", if lambda { 35 } else { 30 })?,
            timeout_ms: seconds("HealthCheckTimeoutSeconds", if lambda { 30 } else { 5 })?,
            healthy: input.count("HealthyThresholdCount")?.unwrap_or(5),
            unhealthy: input.count("UnhealthyThresholdCount")?.unwrap_or(2),
        };
        if !(5_000..=300_000).contains(&check.interval_ms) {
            return Err(invalid("Health check interval must be between 5 and 300 seconds"));
        }
        if check.timeout_ms >= check.interval_ms {
            return Err(invalid("Health check interval must be greater than the timeout."));
        }
        if !(2..=10).contains(&check.healthy) || !(2..=10).contains(&check.unhealthy) {
            return Err(invalid("Health check thresholds must be between 2 and 10"));
        }
        Ok(check)
    }
}

impl Health {
    fn shown(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
            Self::Unavailable => "unavailable",
        }
    }
}

impl TargetGroup {
    fn value(&self, arn: &str, balancers: &[String]) -> Value {
        let check = &self.check;
        let lambda = self.kind == "lambda";
        let unless_lambda = |value: Value| if lambda { Value::Null } else { value };
        json!({
            "TargetGroupArn": arn,
            "TargetGroupName": self.name,
            "TargetType": self.kind,
            "Protocol": unless_lambda(json!(self.protocol)),
            "Port": unless_lambda(json!(self.port)),
            "VpcId": unless_lambda(json!("vpc-0c0ffee0000000001")),
            "HealthCheckProtocol": unless_lambda(json!(check.protocol)),
            "HealthCheckPort": unless_lambda(json!(check.port)),
            "HealthCheckEnabled": check.enabled,
            "HealthCheckPath": check.path,
            "HealthCheckIntervalSeconds": check.interval_ms / 1_000,
            "HealthCheckTimeoutSeconds": check.timeout_ms / 1_000,
            "HealthyThresholdCount": check.healthy,
            "UnhealthyThresholdCount": check.unhealthy,
            "Matcher": { "HttpCode": check.matcher },
            "LoadBalancerArns": balancers,
            "IpAddressType": "ipv4",
        })
    }

    /// How long a target drains, in milliseconds.
    fn delay_ms(&self) -> u64 {
        let seconds = self.attributes.get("deregistration_delay.timeout_seconds");
        seconds.and_then(|s| s.parse::<u64>().ok()).unwrap_or(300) * 1_000
    }
}

impl Aws {
    fn group(&self, arn: &str) -> Result<&TargetGroup, Refusal> {
        self.elb.groups.get(arn).ok_or_else(|| not_found("target group", arn))
    }

    pub(super) fn create_target_group(&mut self, input: Input<'_>) -> Answer {
        let name = input.required("Name")?;
        if self.elb.groups.values().any(|group| group.name == name) {
            let message = format!(
                "A target group with the same name '{name}' exists, but with different settings"
            );
            return Err(Refusal::new(400, "DuplicateTargetGroupName", message));
        }
        let kind = input.text("TargetType").unwrap_or_else(|| "instance".to_owned());
        let id = self.hex(16);
        let arn = self.arn("elasticloadbalancing", &format!("targetgroup/{name}/{id}"));
        let delay = ("deregistration_delay.timeout_seconds".to_owned(), "300".to_owned());
        let group = TargetGroup {
            name,
            check: Check::parse(input, &kind)?,
            kind,
            tags: input.tags("Tags"),
            port: input.count("Port")?.and_then(|port| port.try_into().ok()).unwrap_or(80),
            protocol: input.text("Protocol").unwrap_or_else(|| "HTTP".to_owned()),
            attributes: BTreeMap::from([delay]),
            targets: BTreeMap::new(),
        };
        let value = group.value(&arn, &[]);
        self.elb.groups.insert(arn, group);
        Ok(json!({ "TargetGroups": [value] }))
    }

    pub(super) fn describe_target_groups(&self, input: Input<'_>) -> Answer {
        let (arns, names) = (input.texts("TargetGroupArns"), input.texts("Names"));
        for arn in &arns {
            self.group(arn)?;
        }
        let named = |name: &String| self.elb.groups.values().any(|group| group.name == *name);
        if let Some(name) = names.iter().find(|name| !named(name)) {
            return Err(not_found("target group", name));
        }
        let balancer = input.text("LoadBalancerArn");
        let mut all = Vec::new();
        for (arn, group) in &self.elb.groups {
            let used_by = self.elb.used_by(arn);
            let wanted = (arns.is_empty() || arns.contains(arn))
                && (names.is_empty() || names.contains(&group.name))
                && balancer.as_ref().is_none_or(|balancer| used_by.contains(balancer));
            if wanted {
                all.push(group.value(arn, &used_by));
            }
        }
        let (found, next) = page(all, input.count("PageSize")?, input.text("Marker").as_deref())?;
        Ok(json!({ "TargetGroups": found, "NextMarker": next }))
    }

    pub(super) fn delete_target_group(&mut self, input: Input<'_>) -> Answer {
        let arn = input.required("TargetGroupArn")?;
        if !self.elb.used_by(&arn).is_empty() {
            let message =
                format!("Target group '{arn}' is currently in use by a listener or a rule");
            return Err(Refusal::new(400, "ResourceInUse", message));
        }
        self.elb.groups.remove(&arn);
        Ok(json!({}))
    }

    pub(super) fn modify_target_group_attributes(&mut self, input: Input<'_>) -> Answer {
        let arn = input.required("TargetGroupArn")?;
        let attributes = input.tags("Attributes");
        if let Some(delay) = attributes.get("deregistration_delay.timeout_seconds")
            && !delay.parse::<u32>().is_ok_and(|seconds| seconds <= 3_600)
        {
            return Err(invalid("The deregistration delay must be between 0 and 3600 seconds"));
        }
        self.group(&arn)?;
        if let Some(group) = self.elb.groups.get_mut(&arn) {
            group.attributes.extend(attributes);
        }
        self.describe_target_group_attributes(input)
    }

    pub(super) fn describe_target_group_attributes(&self, input: Input<'_>) -> Answer {
        let attributes = &self.group(&input.required("TargetGroupArn")?)?.attributes;
        let pair = |(key, value)| json!({ "Key": key, "Value": value });
        Ok(json!({ "Attributes": attributes.iter().map(pair).collect::<Vec<_>>() }))
    }

    /// Registers targets; one that is registered stays as it is, one that drains comes back.
    pub(super) fn register_targets(&mut self, input: Input<'_>) -> Answer {
        let arn = input.required("TargetGroupArn")?;
        let (kind, port) = self.group(&arn).map(|group| (group.kind.clone(), group.port))?;
        let targets = input.list("Targets");
        for target in &targets {
            let id = target.required("Id")?;
            let known = match kind.as_str() {
                "instance" => self.ec2.instances.get(&id).map(|i| i.state),
                "ip" => id.parse::<std::net::IpAddr>().ok().map(|_| ec2::State::Running),
                _ => id.starts_with("arn:").then_some(ec2::State::Running),
            };
            match known {
                Some(ec2::State::Running) => {}
                None => {
                    let message = format!("The following targets are not valid: '{id}'");
                    return Err(Refusal::new(400, "InvalidTarget", message));
                }
                Some(_) => {
                    let message = format!(
                        "The following targets are not in a running state and cannot be registered: '{id}'"
                    );
                    return Err(Refusal::new(400, "InvalidTarget", message));
                }
            }
        }
        for target in targets {
            let id = target.required("Id")?;
            let port = target.count("Port")?.and_then(|p| p.try_into().ok()).unwrap_or(port);
            self.register(&arn, &id, port);
        }
        Ok(json!({}))
    }

    fn register(&mut self, arn: &str, id: &str, port: u16) {
        let epoch = self.number();
        let wait = self.config.registration_ms;
        let Some(group) = self.elb.groups.get_mut(arn) else { return };
        let key = key(&group.kind, id, port);
        if group.targets.get(&key).is_some_and(|target| target.health != Health::Draining) {
            return;
        }
        let (health, reason) = if group.check.enabled {
            (Health::Initial, Some("Elb.RegistrationInProgress"))
        } else {
            (Health::Unavailable, Some("Target.HealthCheckDisabled"))
        };
        let checks = group.check.enabled;
        let target = Target { id: id.to_owned(), port, health, reason, good: 0, bad: 0, epoch };
        group.targets.insert(key.clone(), target);
        if checks {
            self.after(wait, Timer::Check { group: arn.to_owned(), target: key, epoch });
        }
    }

    /// Registers an instance at the group's own port, as an Auto Scaling group does.
    pub(crate) fn register_instance(&mut self, arn: &str, id: &str) {
        if let Some(port) = self.elb.groups.get(arn).map(|group| group.port) {
            self.register(arn, id, port);
        }
    }

    pub(super) fn deregister_targets(&mut self, input: Input<'_>) -> Answer {
        let arn = input.required("TargetGroupArn")?;
        self.group(&arn)?;
        for target in input.list("Targets") {
            let (id, port) = (target.required("Id")?, target.count("Port")?);
            self.deregister(&arn, &id, port);
        }
        Ok(json!({}))
    }

    /// Lets a target drain, at one port or at all of its ports.
    pub(crate) fn deregister(&mut self, arn: &str, id: &str, port: Option<u32>) {
        let used = !self.elb.used_by(arn).is_empty();
        let Some(group) = self.elb.groups.get_mut(arn) else { return };
        let delay = group.delay_ms();
        let mut draining = Vec::new();
        group.targets.retain(|key, target| {
            let meant = target.id == id && port.is_none_or(|port| port == u32::from(target.port));
            if !meant || target.health == Health::Draining {
                return true;
            }
            // What no load balancer sends anything to has nothing to drain.
            if !used || group.kind == "lambda" {
                return false;
            }
            target.health = Health::Draining;
            target.reason = Some("Target.DeregistrationInProgress");
            draining.push((key.clone(), target.epoch));
            true
        });
        for (target, epoch) in draining {
            self.after(delay, Timer::Drained { group: arn.to_owned(), target, epoch });
        }
    }

    pub(crate) fn target_drained(&mut self, group: &str, target: &str, epoch: u64) {
        let Some(group) = self.elb.groups.get_mut(group) else { return };
        let over = |t: &Target| t.health == Health::Draining && t.epoch == epoch;
        if group.targets.get(target).is_some_and(over) {
            group.targets.remove(target);
        }
    }

    /// An instance is no more: it is no target any more.
    pub(crate) fn forget_target(&mut self, id: &str) {
        for group in self.elb.groups.values_mut() {
            group.targets.retain(|_, target| target.id != id);
        }
    }

    /// Whether an instance is a target of the group, draining or not.
    pub(crate) fn is_target(&self, arn: &str, id: &str) -> bool {
        let group = self.elb.groups.get(arn);
        group.is_some_and(|group| group.targets.values().any(|target| target.id == id))
    }

    /// Whether the group's checks have failed for an instance.
    pub(crate) fn is_unhealthy(&self, arn: &str, id: &str) -> bool {
        let fails = |target: &Target| target.id == id && target.health == Health::Unhealthy;
        self.elb.groups.get(arn).is_some_and(|group| group.targets.values().any(fails))
    }

    pub(crate) fn check_target(&mut self, arn: &str, key: &str, epoch: u64) {
        let used = !self.elb.used_by(arn).is_empty();
        let probes = self.config.probes;
        let Some(group) = self.elb.groups.get_mut(arn) else { return };
        let (kind, check) = (group.kind.clone(), group.check.clone());
        let Some(target) = group.targets.get_mut(key) else { return };
        if target.epoch != epoch || target.health == Health::Draining {
            return;
        }
        let again = Timer::Check { group: arn.to_owned(), target: key.to_owned(), epoch };
        let port = check.port.parse().unwrap_or(target.port);
        let id = target.id.clone();
        self.after(check.interval_ms, again);
        // Only a load balancer asks.
        if !used {
            return;
        }
        let instance = self.ec2.instances.get(&id);
        let running = instance.is_some_and(|i| i.state == ec2::State::Running);
        let address = match kind.as_str() {
            "instance" => instance.filter(|_| running).map(|i| i.machine.address.into()),
            _ => id.parse().ok(),
        };
        let booted = instance.is_some_and(|i| running && i.booted);
        match address {
            Some(address) if probes && check.protocol != "HTTPS" => {
                self.effect(Effect::Probe(Probe {
                    group: arn.to_owned(),
                    target: key.to_owned(),
                    epoch,
                    address: SocketAddr::new(address, port),
                    path: check.path,
                    timeout_ms: check.timeout_ms,
                    matcher: check.matcher,
                }));
            }
            Some(_) => {
                let result = if kind != "instance" || booted { Some(true) } else { None };
                self.probed(arn, key, epoch, result);
            }
            None => self.probed(arn, key, epoch, None),
        }
    }

    /// What a probe found: health or another status, or nothing within its time.
    pub fn probed(&mut self, group: &str, target: &str, epoch: u64, found: Option<bool>) {
        let Some(group) = self.elb.groups.get_mut(group) else { return };
        let check = group.check.clone();
        let Some(target) = group.targets.get_mut(target) else { return };
        if target.epoch != epoch || target.health == Health::Draining {
            return;
        }
        if target.health == Health::Initial {
            target.reason = Some("Elb.InitialHealthChecking");
        }
        if found == Some(true) {
            (target.good, target.bad) = (target.good.saturating_add(1), 0);
            // "After a target is registered, it must pass one health check to be considered healthy."
            if target.health == Health::Initial || target.good >= check.healthy {
                (target.health, target.reason) = (Health::Healthy, None);
            }
        } else {
            (target.good, target.bad) = (0, target.bad.saturating_add(1));
            if target.bad >= check.unhealthy {
                let why =
                    if found.is_some() { "Target.ResponseCodeMismatch" } else { "Target.Timeout" };
                (target.health, target.reason) = (Health::Unhealthy, Some(why));
            }
        }
    }

    pub(super) fn describe_target_health(&self, input: Input<'_>) -> Answer {
        let arn = input.required("TargetGroupArn")?;
        let group = self.group(&arn)?;
        let used = !self.elb.used_by(&arn).is_empty();
        let asked = input.list("Targets");
        let mut described = Vec::new();
        for target in group.targets.values() {
            let meant = |said: &Input<'_>| {
                said.text("Id").as_ref() == Some(&target.id)
                    && said.count("Port").ok().flatten().is_none_or(|p| p == u32::from(target.port))
            };
            if !asked.is_empty() && !asked.iter().any(meant) {
                continue;
            }
            let (state, reason) = self.shown_health(target, used);
            let lambda = group.kind == "lambda";
            let port = (!lambda).then_some(target.port);
            described.push(json!({
                "Target": { "Id": target.id, "Port": port },
                "HealthCheckPort": (!lambda).then(|| match group.check.port.as_str() {
                    "traffic-port" => target.port.to_string(),
                    port => port.to_owned(),
                }),
                "TargetHealth": { "State": state, "Reason": reason, "Description": reason },
            }));
        }
        for said in asked {
            let id = said.required("Id")?;
            if !group.targets.values().any(|target| target.id == id) {
                let reason = "Target.NotRegistered";
                described.push(json!({
                    "Target": { "Id": id, "Port": said.text("Port") },
                    "TargetHealth": {
                        "State": "unused", "Reason": reason,
                        "Description": "Target is not registered to the target group",
                    },
                }));
            }
        }
        Ok(json!({ "TargetHealthDescriptions": described }))
    }

    fn shown_health(&self, target: &Target, used: bool) -> (&'static str, Option<&'static str>) {
        let instance = self.ec2.instances.get(&target.id);
        if !used {
            ("unused", Some("Target.NotInUse"))
        } else if instance.is_some_and(|i| !i.state.lives()) && target.health != Health::Draining {
            ("unused", Some("Target.InvalidState"))
        } else {
            (target.health.shown(), target.reason)
        }
    }

    /// Where a group's healthy targets listen. Functions are named by their ARN and have no address.
    #[must_use]
    pub fn healthy_targets(&self, group: &str) -> Vec<(String, Option<SocketAddr>)> {
        self.places(group, |health| matches!(health, Health::Healthy | Health::Unavailable))
    }

    /// Where a load balancer sends requests: to healthy targets or, where there is none, to all that
    /// do not drain.
    pub(crate) fn targets_in_use(&self, group: &str) -> Vec<(String, Option<SocketAddr>)> {
        let healthy = self.healthy_targets(group);
        if healthy.is_empty() {
            return self.places(group, |health| health != Health::Draining);
        }
        healthy
    }

    fn places(
        &self,
        group: &str,
        meant: impl Fn(Health) -> bool,
    ) -> Vec<(String, Option<SocketAddr>)> {
        let Some(group) = self.elb.groups.get(group) else { return Vec::new() };
        let place = |target: &Target| {
            let instance = self.ec2.instances.get(&target.id);
            let address = instance.map(|i| i.machine.address.into()).or(target.id.parse().ok());
            (target.id.clone(), address.map(|ip| SocketAddr::new(ip, target.port)))
        };
        group.targets.values().filter(|target| meant(target.health)).map(place).collect()
    }
}

/// How the stand-in names a target.
fn key(kind: &str, id: &str, port: u16) -> String {
    if kind == "lambda" { id.to_owned() } else { format!("{id}:{port}") }
}
