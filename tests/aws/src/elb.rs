//! Load balancers, their listeners and rules, reserved capacity.

mod targets;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::aws::{Answer, Aws, Refusal, Timer, page, unknown};
use crate::input::Input;
use crate::time;

pub use targets::Probe;
pub(crate) use targets::TargetGroup;

/// Most target groups of one forward action.
const FORWARD_MAX: usize = 5;
/// Most targets of one application load balancer.
const TARGETS_MAX: u32 = 1_000;
/// Least units of a reservation for an application load balancer.
const UNITS_MIN: u32 = 100;
/// Decreases of a reservation that a day has.
const DECREASES: u32 = 2;
const DAY_MS: u64 = 86_400_000;

/// State of Elastic Load Balancing.
#[derive(Debug, Default)]
pub(crate) struct Elb {
    balancers: BTreeMap<String, Balancer>,
    listeners: BTreeMap<String, Listener>,
    rules: BTreeMap<String, Rule>,
    pub(crate) groups: BTreeMap<String, TargetGroup>,
}

#[derive(Debug)]
struct Balancer {
    name: String,
    kind: String,
    scheme: String,
    subnets: Vec<String>,
    created: u64,
    tags: BTreeMap<String, String>,
    reservation: Reservation,
}

/// Capacity that was asked for, and whether it is there.
#[derive(Debug, Default)]
struct Reservation {
    units: Option<u32>,
    ready: bool,
    changed: u64,
    epoch: u64,
    decreases: Vec<u64>,
}

#[derive(Debug)]
struct Listener {
    balancer: String,
    port: u16,
    protocol: String,
    actions: Value,
    tags: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Rule {
    listener: String,
    /// None for a listener's default rule.
    priority: Option<u32>,
    conditions: Value,
    actions: Value,
    tags: BTreeMap<String, String>,
}

fn not_found(kind: &str, arn: &str) -> Refusal {
    let (code, what) = match kind {
        "target group" => ("TargetGroupNotFound", "target groups"),
        "listener" => ("ListenerNotFound", "listeners"),
        "rule" => ("RuleNotFound", "rules"),
        _ => ("LoadBalancerNotFound", "load balancers"),
    };
    Refusal::new(400, code, format!("One or more {what} not found: '{arn}'"))
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "ValidationError", message)
}

/// The target groups that an action forwards to, with their weights.
fn forwards(actions: &Value) -> Vec<(String, u32)> {
    let groups = |action: Input<'_>| {
        action
            .get("ForwardConfig")
            .list("TargetGroups")
            .into_iter()
            .filter_map(|group| {
                let weight = group.count("Weight").ok().flatten().unwrap_or(1);
                Some((group.text("TargetGroupArn")?, weight))
            })
            .collect::<Vec<_>>()
    };
    let Value::Array(actions) = actions else { return Vec::new() };
    actions.iter().flat_map(|action| groups(Input(action))).collect()
}

impl Elb {
    /// The load balancers that forward to a target group, whatever the weight.
    fn used_by(&self, group: &str) -> Vec<String> {
        let mut arns: Vec<String> = self
            .rules
            .values()
            .filter(|rule| forwards(&rule.actions).iter().any(|(arn, _)| arn == group))
            .filter_map(|rule| Some(self.listeners.get(&rule.listener)?.balancer.clone()))
            .collect();
        arns.sort();
        arns.dedup();
        arns
    }

    fn tags_of(&mut self, arn: &str) -> Option<&mut BTreeMap<String, String>> {
        if let Some(balancer) = self.balancers.get_mut(arn) {
            return Some(&mut balancer.tags);
        }
        if let Some(group) = self.groups.get_mut(arn) {
            return Some(&mut group.tags);
        }
        if let Some(listener) = self.listeners.get_mut(arn) {
            return Some(&mut listener.tags);
        }
        self.rules.get_mut(arn).map(|rule| &mut rule.tags)
    }
}

impl Aws {
    pub(crate) fn elb_call(&mut self, action: &str, input: Input<'_>) -> Answer {
        match action {
            "CreateLoadBalancer" => self.create_balancer(input),
            "DescribeLoadBalancers" => self.describe_balancers(input),
            "DeleteLoadBalancer" => self.delete_balancer(input),
            "ModifyCapacityReservation" => self.modify_capacity(input),
            "DescribeCapacityReservation" => self.describe_capacity(input),
            "CreateListener" => self.create_listener(input),
            "DescribeListeners" => self.describe_listeners(input),
            "DeleteListener" => self.delete_listener(input),
            "CreateRule" => self.create_rule(input),
            "ModifyRule" => self.modify_rule(input),
            "DescribeRules" => self.describe_rules(input),
            "DeleteRule" => self.delete_rule(input),
            "CreateTargetGroup" => self.create_target_group(input),
            "DescribeTargetGroups" => self.describe_target_groups(input),
            "DeleteTargetGroup" => self.delete_target_group(input),
            "ModifyTargetGroupAttributes" => self.modify_target_group_attributes(input),
            "DescribeTargetGroupAttributes" => self.describe_target_group_attributes(input),
            "RegisterTargets" => self.register_targets(input),
            "DeregisterTargets" => self.deregister_targets(input),
            "DescribeTargetHealth" => self.describe_target_health(input),
            "AddTags" => self.elb_tag(input, true),
            "RemoveTags" => self.elb_tag(input, false),
            "DescribeTags" => self.elb_tags(input),
            "DescribeAccountLimits" => {
                let targets = json!({
                    "Name": "targets-per-application-load-balancer", "Max": TARGETS_MAX.to_string(),
                });
                Ok(json!({ "Limits": [targets] }))
            }
            _ => Err(unknown(action)),
        }
    }

    /// Checks actions and completes forwards to what descriptions show.
    fn checked_actions(&self, actions: &[Input<'_>], balancer: &str) -> Result<Value, Refusal> {
        if actions.is_empty() {
            return Err(invalid("At least one action must be specified"));
        }
        let mut checked = Vec::new();
        for action in actions {
            let kind = action.required("Type")?;
            if kind != "forward" {
                checked.push(action.0.clone());
                continue;
            }
            let mut groups: Vec<(String, u32)> = Vec::new();
            for group in action.get("ForwardConfig").list("TargetGroups") {
                let weight = group.number("Weight")?.unwrap_or(1);
                let weight = u32::try_from(weight).ok().filter(|weight| *weight <= 999);
                let weight = weight.ok_or_else(|| {
                    invalid("Target group weight must be between 0 and 999 inclusive")
                })?;
                groups.push((group.required("TargetGroupArn")?, weight));
            }
            if groups.is_empty() {
                groups.push((action.required("TargetGroupArn")?, 1));
            }
            if groups.len() > FORWARD_MAX {
                let message = "A forward action may have up to 5 target groups";
                return Err(Refusal::new(400, "TooManyTargetGroups", message));
            }
            for (place, (arn, _)) in groups.iter().enumerate() {
                if groups[..place].iter().any(|(other, _)| other == arn) {
                    return Err(invalid("A target group ARN may be specified only once"));
                }
                if !self.elb.groups.contains_key(arn) {
                    return Err(not_found("target group", arn));
                }
                if self.elb.used_by(arn).iter().any(|used| used != balancer) {
                    let message = format!(
                        "The following target groups cannot be associated with more than one load balancer: {arn}"
                    );
                    return Err(Refusal::new(400, "TargetGroupAssociationLimit", message));
                }
            }
            let only = (groups.len() == 1).then(|| groups[0].0.clone());
            let shown: Vec<Value> = groups
                .iter()
                .map(|(arn, weight)| json!({ "TargetGroupArn": arn, "Weight": weight }))
                .collect();
            let sticky = action.get("ForwardConfig").get("TargetGroupStickinessConfig");
            let sticky =
                if sticky.is_there() { sticky.0.clone() } else { json!({ "Enabled": false }) };
            checked.push(json!({
                "Type": "forward",
                "Order": action.text("Order"),
                "TargetGroupArn": only,
                "ForwardConfig": { "TargetGroups": shown, "TargetGroupStickinessConfig": sticky },
            }));
        }
        Ok(Value::Array(checked))
    }

    fn create_balancer(&mut self, input: Input<'_>) -> Answer {
        let name = input.required("Name")?;
        if self.elb.balancers.values().any(|balancer| balancer.name == name) {
            let message = format!(
                "A load balancer with the same name '{name}' exists, but with different settings"
            );
            return Err(Refusal::new(400, "DuplicateLoadBalancerName", message));
        }
        let kind = input.text("Type").unwrap_or_else(|| "application".to_owned());
        let path = if kind == "network" { "net" } else { "app" };
        let id = self.hex(16);
        let arn = self.arn("elasticloadbalancing", &format!("loadbalancer/{path}/{name}/{id}"));
        let balancer = Balancer {
            name,
            kind,
            scheme: input.text("Scheme").unwrap_or_else(|| "internet-facing".to_owned()),
            subnets: input.texts("Subnets"),
            created: self.now,
            tags: input.tags("Tags"),
            reservation: Reservation::default(),
        };
        let value = self.balancer_value(&arn, &balancer);
        self.elb.balancers.insert(arn, balancer);
        Ok(json!({ "LoadBalancers": [value] }))
    }

    fn balancer_value(&self, arn: &str, balancer: &Balancer) -> Value {
        let zones = balancer.subnets.iter().map(
            |subnet| json!({ "SubnetId": subnet, "ZoneName": self.config.subnets.get(subnet) }),
        );
        json!({
            "LoadBalancerArn": arn,
            "LoadBalancerName": balancer.name,
            "DNSName": format!("{}.{}.elb.amazonaws.com", balancer.name, self.config.region),
            "CanonicalHostedZoneId": "Z215JYRZR1TBD5",
            "CreatedTime": time::value(balancer.created),
            "Scheme": balancer.scheme,
            "Type": balancer.kind,
            "State": { "Code": "active" },
            "IpAddressType": "ipv4",
            "VpcId": "vpc-0c0ffee0000000001",
            "AvailabilityZones": zones.collect::<Vec<_>>(),
        })
    }

    fn describe_balancers(&self, input: Input<'_>) -> Answer {
        let (arns, names) = (input.texts("LoadBalancerArns"), input.texts("Names"));
        if let Some(arn) = arns.iter().find(|arn| !self.elb.balancers.contains_key(*arn)) {
            return Err(not_found("load balancer", arn));
        }
        let named = |name: &String| self.elb.balancers.values().any(|b| b.name == *name);
        if let Some(name) = names.iter().find(|name| !named(name)) {
            return Err(not_found("load balancer", name));
        }
        let wanted = |(arn, balancer): &(&String, &Balancer)| {
            (arns.is_empty() && names.is_empty())
                || arns.contains(arn)
                || names.contains(&balancer.name)
        };
        let all = self.elb.balancers.iter().filter(wanted);
        let all: Vec<Value> = all.map(|(arn, b)| self.balancer_value(arn, b)).collect();
        let (found, next) = page(all, input.count("PageSize")?, input.text("Marker").as_deref())?;
        Ok(json!({ "LoadBalancers": found, "NextMarker": next }))
    }

    fn delete_balancer(&mut self, input: Input<'_>) -> Answer {
        let arn = input.required("LoadBalancerArn")?;
        // "If the load balancer does not exist […], the call succeeds."
        self.elb.balancers.remove(&arn);
        self.elb.listeners.retain(|_, listener| listener.balancer != arn);
        let listeners = &self.elb.listeners;
        self.elb.rules.retain(|_, rule| listeners.contains_key(&rule.listener));
        Ok(json!({}))
    }

    fn modify_capacity(&mut self, input: Input<'_>) -> Answer {
        let arn = input.required("LoadBalancerArn")?;
        let (now, most) = (self.now, self.config.capacity_units);
        let (epoch, delay) = (self.number(), self.draw(self.config.capacity_ms));
        let wanted = if input.flag("ResetCapacityReservation")? == Some(true) {
            None
        } else {
            let units = input.get("MinimumLoadBalancerCapacity").count("CapacityUnits")?;
            Some(units.ok_or_else(|| invalid("CapacityUnits must be specified"))?)
        };
        let Some(balancer) = self.elb.balancers.get_mut(&arn) else {
            return Err(not_found("load balancer", &arn));
        };
        if wanted.is_some_and(|units| units < UNITS_MIN) {
            let message = format!("The minimum capacity is {UNITS_MIN} capacity units");
            return Err(Refusal::new(400, "InvalidConfigurationRequest", message));
        }
        if wanted.is_some_and(|units| units > most) {
            let message = "You've exceeded the capacity units limit.";
            return Err(Refusal::new(400, "CapacityUnitsLimitExceeded", message));
        }
        let reservation = &mut balancer.reservation;
        if reservation.units.is_some() && !reservation.ready {
            let message = "There is a pending capacity reservation.";
            return Err(Refusal::new(400, "CapacityReservationPending", message));
        }
        if wanted != reservation.units {
            if wanted.unwrap_or(0) < reservation.units.unwrap_or(0) {
                reservation.decreases.retain(|at| at + DAY_MS > now);
                if reservation.decreases.len() >= DECREASES as usize {
                    let message =
                        "You've exceeded the daily capacity decrease limit for this reservation.";
                    let code = "CapacityDecreaseRequestLimitExceeded";
                    return Err(Refusal::new(400, code, message));
                }
                reservation.decreases.push(now);
            }
            reservation.units = wanted;
            reservation.ready = false;
            reservation.changed = now;
            reservation.epoch = epoch;
            self.after(delay, Timer::Capacity { balancer: arn, epoch });
        }
        self.describe_capacity(input)
    }

    pub(crate) fn capacity_ready(&mut self, balancer: &str, epoch: u64) {
        let Some(balancer) = self.elb.balancers.get_mut(balancer) else { return };
        if balancer.reservation.epoch == epoch {
            balancer.reservation.ready = true;
        }
    }

    fn describe_capacity(&self, input: Input<'_>) -> Answer {
        let arn = input.required("LoadBalancerArn")?;
        let balancer = self.elb.balancers.get(&arn);
        let balancer = balancer.ok_or_else(|| not_found("load balancer", &arn))?;
        let reservation = &balancer.reservation;
        let made = reservation.decreases.iter().filter(|at| *at + DAY_MS > self.now).count();
        let remaining = DECREASES.saturating_sub(u32::try_from(made).unwrap_or(DECREASES));
        let zones: Vec<&String> =
            balancer.subnets.iter().filter_map(|s| self.config.subnets.get(s)).collect();
        let code = if reservation.ready { "provisioned" } else { "pending" };
        let share = u32::try_from(zones.len()).unwrap_or(1).max(1);
        let states = |units: u32| -> Vec<Value> {
            let state = |zone| {
                let effective =
                    if reservation.ready { f64::from(units) / f64::from(share) } else { 0.0 };
                json!({
                    "State": { "Code": code },
                    "AvailabilityZone": zone,
                    "EffectiveCapacityUnits": effective,
                })
            };
            zones.iter().map(state).collect()
        };
        Ok(json!({
            "LastModifiedTime": time::value(reservation.changed),
            "DecreaseRequestsRemaining": remaining,
            "MinimumLoadBalancerCapacity": reservation.units.map(|units| json!({ "CapacityUnits": units })),
            "CapacityReservationState": reservation.units.map(states),
        }))
    }

    fn create_listener(&mut self, input: Input<'_>) -> Answer {
        let balancer = input.required("LoadBalancerArn")?;
        let Some(found) = self.elb.balancers.get(&balancer) else {
            return Err(not_found("load balancer", &balancer));
        };
        let path = balancer.split_once("loadbalancer/").map_or(found.name.as_str(), |(_, p)| p);
        let path = path.to_owned();
        let port: u16 = input.count("Port")?.and_then(|port| port.try_into().ok()).unwrap_or(80);
        let taken = |listener: &Listener| listener.balancer == balancer && listener.port == port;
        if self.elb.listeners.values().any(taken) {
            let message = "A listener already exists on this port for this load balancer";
            return Err(Refusal::new(400, "DuplicateListener", message));
        }
        let actions = self.checked_actions(&input.list("DefaultActions"), &balancer)?;
        let (id, rule) = (self.hex(16), self.hex(16));
        let arn = self.arn("elasticloadbalancing", &format!("listener/{path}/{id}"));
        let default =
            self.arn("elasticloadbalancing", &format!("listener-rule/{path}/{id}/{rule}"));
        let listener = Listener {
            balancer,
            port,
            protocol: input.text("Protocol").unwrap_or_else(|| "HTTP".to_owned()),
            actions: actions.clone(),
            tags: input.tags("Tags"),
        };
        let value = listener.value(&arn);
        self.elb.rules.insert(
            default,
            Rule {
                listener: arn.clone(),
                priority: None,
                conditions: json!([]),
                actions,
                tags: BTreeMap::new(),
            },
        );
        self.elb.listeners.insert(arn, listener);
        Ok(json!({ "Listeners": [value] }))
    }

    fn describe_listeners(&self, input: Input<'_>) -> Answer {
        let arns = input.texts("ListenerArns");
        if let Some(arn) = arns.iter().find(|arn| !self.elb.listeners.contains_key(*arn)) {
            return Err(not_found("listener", arn));
        }
        let balancer = input.text("LoadBalancerArn");
        if let Some(arn) = balancer.as_ref().filter(|arn| !self.elb.balancers.contains_key(*arn)) {
            return Err(not_found("load balancer", arn));
        }
        let wanted = |(arn, listener): &(&String, &Listener)| {
            (arns.is_empty() || arns.contains(arn))
                && balancer.as_ref().is_none_or(|balancer| *balancer == listener.balancer)
        };
        let all = self.elb.listeners.iter().filter(wanted);
        let all: Vec<Value> = all.map(|(arn, listener)| listener.value(arn)).collect();
        Ok(json!({ "Listeners": all }))
    }

    fn delete_listener(&mut self, input: Input<'_>) -> Answer {
        let arn = input.required("ListenerArn")?;
        self.elb.listeners.remove(&arn).ok_or_else(|| not_found("listener", &arn))?;
        self.elb.rules.retain(|_, rule| rule.listener != arn);
        Ok(json!({}))
    }

    fn create_rule(&mut self, input: Input<'_>) -> Answer {
        let listener = input.required("ListenerArn")?;
        let Some(found) = self.elb.listeners.get(&listener) else {
            return Err(not_found("listener", &listener));
        };
        let balancer = found.balancer.clone();
        let priority = input.count("Priority")?.filter(|p| (1..=50_000).contains(p));
        let priority = priority.ok_or_else(|| invalid("Priority must be between 1 and 50000"))?;
        let taken = |rule: &Rule| rule.listener == listener && rule.priority == Some(priority);
        if self.elb.rules.values().any(taken) {
            let message = format!("Priority '{priority}' is currently in use");
            return Err(Refusal::new(400, "PriorityInUse", message));
        }
        let actions = self.checked_actions(&input.list("Actions"), &balancer)?;
        let path = listener.split_once("listener/").map_or("", |(_, path)| path).to_owned();
        let id = self.hex(16);
        let arn = self.arn("elasticloadbalancing", &format!("listener-rule/{path}/{id}"));
        let rule = Rule {
            listener,
            priority: Some(priority),
            conditions: input.get("Conditions").0.clone(),
            actions,
            tags: input.tags("Tags"),
        };
        let value = rule.value(&arn);
        self.elb.rules.insert(arn, rule);
        Ok(json!({ "Rules": [value] }))
    }

    fn modify_rule(&mut self, input: Input<'_>) -> Answer {
        let arn = input.required("RuleArn")?;
        let rule = self.elb.rules.get(&arn).ok_or_else(|| not_found("rule", &arn))?;
        if rule.priority.is_none() {
            let message = format!("Default rule '{arn}' cannot be modified");
            return Err(Refusal::new(400, "OperationNotPermitted", message));
        }
        let balancer = self.elb.listeners.get(&rule.listener).map(|l| l.balancer.clone());
        let actions = input.list("Actions");
        let actions = if actions.is_empty() {
            None
        } else {
            Some(self.checked_actions(&actions, &balancer.unwrap_or_default())?)
        };
        let conditions = input.get("Conditions");
        let Some(rule) = self.elb.rules.get_mut(&arn) else { return Err(not_found("rule", &arn)) };
        if let Some(actions) = actions {
            rule.actions = actions;
        }
        if conditions.is_there() {
            rule.conditions = conditions.0.clone();
        }
        Ok(json!({ "Rules": [rule.value(&arn)] }))
    }

    fn describe_rules(&self, input: Input<'_>) -> Answer {
        let (arns, listener) = (input.texts("RuleArns"), input.text("ListenerArn"));
        if let Some(arn) = arns.iter().find(|arn| !self.elb.rules.contains_key(*arn)) {
            return Err(not_found("rule", arn));
        }
        if let Some(arn) = listener.as_ref().filter(|arn| !self.elb.listeners.contains_key(*arn)) {
            return Err(not_found("listener", arn));
        }
        let wanted = |(arn, rule): &(&String, &Rule)| {
            arns.contains(arn) || listener.as_ref() == Some(&rule.listener)
        };
        let mut found: Vec<(&String, &Rule)> = self.elb.rules.iter().filter(wanted).collect();
        found.sort_by_key(|(_, rule)| rule.priority.unwrap_or(u32::MAX));
        let all: Vec<Value> = found.into_iter().map(|(arn, rule)| rule.value(arn)).collect();
        let (found, next) = page(all, input.count("PageSize")?, input.text("Marker").as_deref())?;
        Ok(json!({ "Rules": found, "NextMarker": next }))
    }

    fn delete_rule(&mut self, input: Input<'_>) -> Answer {
        let arn = input.required("RuleArn")?;
        self.elb.rules.remove(&arn).ok_or_else(|| not_found("rule", &arn))?;
        Ok(json!({}))
    }

    /// The target groups of a rule and their weights, for a data plane that stands for the load
    /// balancer's.
    #[must_use]
    pub fn rule_weights(&self, rule: &str) -> Vec<(String, u32)> {
        self.elb.rules.get(rule).map(|rule| forwards(&rule.actions)).unwrap_or_default()
    }

    fn elb_tag(&mut self, input: Input<'_>, add: bool) -> Answer {
        let tags = input.tags("Tags");
        for arn in input.texts("ResourceArns") {
            let Some(held) = self.elb.tags_of(&arn) else {
                return Err(not_found(kind_of(&arn), &arn));
            };
            if add {
                held.extend(tags.clone());
            } else {
                input.texts("TagKeys").iter().for_each(|key| drop(held.remove(key)));
            }
        }
        Ok(json!({}))
    }

    fn elb_tags(&mut self, input: Input<'_>) -> Answer {
        let mut described = Vec::new();
        for arn in input.texts("ResourceArns") {
            let Some(tags) = self.elb.tags_of(&arn) else {
                return Err(not_found(kind_of(&arn), &arn));
            };
            let tags: Vec<Value> =
                tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
            described.push(json!({ "ResourceArn": arn, "Tags": tags }));
        }
        Ok(json!({ "TagDescriptions": described }))
    }
}

fn kind_of(arn: &str) -> &'static str {
    let resource = arn.splitn(6, ':').last().unwrap_or_default();
    match resource.split('/').next() {
        Some("targetgroup") => "target group",
        Some("listener") => "listener",
        Some("listener-rule") => "rule",
        _ => "load balancer",
    }
}

impl Listener {
    fn value(&self, arn: &str) -> Value {
        json!({
            "ListenerArn": arn,
            "LoadBalancerArn": self.balancer,
            "Port": self.port,
            "Protocol": self.protocol,
            "DefaultActions": self.actions,
        })
    }
}

impl Rule {
    fn value(&self, arn: &str) -> Value {
        json!({
            "RuleArn": arn,
            "Priority": self.priority.map_or_else(|| "default".to_owned(), |p| p.to_string()),
            "Conditions": self.conditions,
            "Actions": self.actions,
            "IsDefault": self.priority.is_none(),
        })
    }
}
