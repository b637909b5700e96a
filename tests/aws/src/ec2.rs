//! Instances and launch templates.
//!
//! ```text
//!            pending_ms            TerminateInstances          shutdown_ms
//! pending ──────────────▶ running ───────────────────▶ shutting-down ───────▶ terminated ──1 h──▶ forgotten
//! ```
//!
//! A description is some time old: an instance that has just been launched may not be found yet, and
//! one that has just been ended may still seem to run.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::Serialize;
use serde_json::{Value, json};

use crate::aws::{Answer, Aws, Effect, Refusal, Timer, page, unknown};
use crate::fault::VCPUS;
use crate::input::Input;
use crate::time;

/// "Terminated instances remain visible […] for a while": an hour here.
const FORGOTTEN_MS: u64 = 3_600_000;
/// How far back descriptions may reach.
const STALE_MAX_MS: u64 = 600_000;
/// Most instances of one request.
const LAUNCH_MAX: u32 = 1_000;

/// State of EC2.
#[derive(Debug, Default)]
pub(crate) struct Ec2 {
    pub(crate) templates: BTreeMap<String, Template>,
    pub(crate) instances: BTreeMap<String, Instance>,
    /// Client token to what was asked with it and what came of it.
    tokens: BTreeMap<String, (Value, Vec<String>)>,
    launched: u32,
}

/// A launch template: the data of each version, the first being version 1.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) name: String,
    pub(crate) versions: Vec<Value>,
    default: usize,
    created: u64,
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
}

impl State {
    fn shown(self) -> (u16, &'static str) {
        match self {
            Self::Pending => (0, "pending"),
            Self::Running => (16, "running"),
            Self::ShuttingDown => (32, "shutting-down"),
            Self::Terminated => (48, "terminated"),
        }
    }

    fn value(self) -> Value {
        let (code, name) = self.shown();
        json!({ "code": code, "name": name })
    }

    /// Whether it is, or will be, of use.
    pub(crate) fn lives(self) -> bool {
        matches!(self, Self::Pending | Self::Running)
    }
}

/// What changes of an instance, and so may be seen late.
#[derive(Debug, Clone)]
struct Shown {
    since: u64,
    state: State,
    tags: BTreeMap<String, String>,
}

/// An instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) machine: Machine,
    pub(crate) state: State,
    pub(crate) booted: bool,
    pub(crate) launched: u64,
    pub(crate) template_version: usize,
    reservation: String,
    place: usize,
    image: String,
    token: Option<String>,
    reason: Option<&'static str>,
    history: Vec<Shown>,
}

/// What an instance is to what runs on it.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// `i-…`.
    pub id: String,
    /// Its private address.
    pub address: Ipv4Addr,
    /// Its type.
    pub instance_type: String,
    /// Its subnet.
    pub subnet: String,
    /// Its zone.
    pub zone: String,
    /// Its user data, in base 64.
    pub user_data: String,
    /// Its launch template's id; empty without one.
    pub template: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// What a launch asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Launch {
    pub(crate) template: Option<(String, usize)>,
    pub(crate) instance_type: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) subnet: Option<String>,
    pub(crate) user_data: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) token: Option<String>,
    pub(crate) least: u32,
    pub(crate) most: u32,
}

/// vCPUs of a type, by its size.
fn vcpus(instance_type: &str) -> u32 {
    let size = instance_type.split_once('.').map_or("", |(_, size)| size);
    match size {
        "medium" => 1,
        "xlarge" => 4,
        _ => match size.strip_suffix("xlarge").and_then(|times| times.parse::<u32>().ok()) {
            Some(times) => 4 * times,
            None => 2,
        },
    }
}

/// The tags of one kind of resource in a `TagSpecification`.
fn specified_tags(input: Input<'_>, kind: &str) -> BTreeMap<String, String> {
    let meant = |spec: &Input<'_>| spec.text("ResourceType").as_deref() == Some(kind);
    input.list("TagSpecification").into_iter().filter(meant).flat_map(|s| s.tags("Tag")).collect()
}

fn tag_set(tags: &BTreeMap<String, String>) -> Value {
    tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

impl Instance {
    fn changed(&mut self, now: u64) {
        let tags = self.machine.tags.clone();
        self.history.push(Shown { since: now, state: self.state, tags });
        let old = self.history.iter().take_while(|s| s.since + STALE_MAX_MS < now).count();
        self.history.drain(..old.saturating_sub(1));
    }

    /// What somebody sees who sees things as they were at `then`.
    fn shown_at(&self, then: u64) -> Option<&Shown> {
        self.history.iter().rev().find(|shown| shown.since <= then)
    }

    fn value(&self, shown: &Shown) -> Value {
        let machine = &self.machine;
        let mut value = json!({
            "instanceId": machine.id,
            "imageId": self.image,
            "instanceState": shown.state.value(),
            "privateDnsName": format!("ip-{}.internal", machine.address.to_string().replace('.', "-")),
            "amiLaunchIndex": self.place,
            "instanceType": machine.instance_type,
            "launchTime": time::value(self.launched),
            "placement": { "availabilityZone": machine.zone, "tenancy": "default" },
            "architecture": "arm64",
            "clientToken": self.token.clone().unwrap_or_default(),
            "tagSet": tag_set(&shown.tags),
        });
        if shown.state.lives() {
            value["privateIpAddress"] = json!(machine.address);
            value["subnetId"] = json!(machine.subnet);
            value["vpcId"] = json!("vpc-0c0ffee0000000001");
        }
        if let (false, Some(reason)) = (shown.state.lives(), self.reason) {
            value["stateReason"] = json!({ "code": reason, "message": reason });
        }
        value
    }

    /// Whether one of EC2's filters means it.
    fn passes(&self, shown: &Shown, filter: Input<'_>) -> Result<bool, Refusal> {
        let name = filter.text("Name").unwrap_or_default();
        let wanted = filter.texts("Value");
        let is = |what: &str| wanted.iter().any(|w| w == what);
        if let Some(key) = name.strip_prefix("tag:") {
            return Ok(shown.tags.get(key).is_some_and(|value| is(value)));
        }
        let machine = &self.machine;
        Ok(match name.as_str() {
            "tag-key" => shown.tags.keys().any(|key| is(key)),
            "instance-state-name" => is(shown.state.shown().1),
            "instance-state-code" => is(&shown.state.shown().0.to_string()),
            "instance-id" => is(&machine.id),
            "instance-type" => is(&machine.instance_type),
            "image-id" => is(&self.image),
            "subnet-id" => is(&machine.subnet),
            "availability-zone" => is(&machine.zone),
            "client-token" => is(self.token.as_deref().unwrap_or_default()),
            "private-ip-address" => is(&machine.address.to_string()),
            "reservation-id" => is(&self.reservation),
            _ => {
                let message = format!("The filter '{name}' is invalid");
                return Err(Refusal::new(400, "InvalidParameterValue", message));
            }
        })
    }
}

fn no_such_instance(id: &str) -> Refusal {
    let (code, says) = if id.starts_with("i-") {
        ("InvalidInstanceID.NotFound", format!("The instance ID '{id}' does not exist"))
    } else {
        ("InvalidInstanceID.Malformed", format!("Invalid id: \"{id}\" (expecting \"i-...\")"))
    };
    Refusal::new(400, code, says)
}

impl Aws {
    pub(crate) fn ec2_call(&mut self, action: &str, input: Input<'_>) -> Answer {
        match action {
            "RunInstances" => self.run_instances(input),
            "DescribeInstances" => self.describe_instances(input),
            "TerminateInstances" => self.terminate_instances(input),
            "CreateTags" => self.tag(input, true),
            "DeleteTags" => self.tag(input, false),
            "CreateLaunchTemplate" => self.create_template(input),
            "CreateLaunchTemplateVersion" => self.create_template_version(input),
            "DescribeLaunchTemplates" => self.describe_templates(input),
            "DescribeLaunchTemplateVersions" => self.describe_template_versions(input),
            "DescribeInstanceTypes" => {
                let value = |kind: &String| json!({ "instanceType": kind, "vCpuInfo": { "defaultVCpus": vcpus(kind) } });
                let types = input.texts("InstanceType");
                Ok(json!({ "instanceTypeSet": types.iter().map(value).collect::<Vec<_>>() }))
            }
            _ => Err(unknown(action)),
        }
    }

    /// Finds a template and one of its versions by what a request says of it.
    pub(crate) fn find_template(&self, said: Input<'_>) -> Result<(String, usize), Refusal> {
        let (id, name) = (said.text("LaunchTemplateId"), said.text("LaunchTemplateName"));
        let mut all = self.ec2.templates.iter();
        let found = all.find(|(key, template)| match (&id, &name) {
            (Some(id), _) => id == *key,
            (None, Some(name)) => *name == template.name,
            (None, None) => false,
        });
        let (id, template) = found.ok_or_else(|| match id {
            Some(id) => {
                let message = format!(
                    "The specified launch template, with template ID {id}, does not exist."
                );
                Refusal::new(400, "InvalidLaunchTemplateId.NotFound", message)
            }
            None => {
                let name = name.unwrap_or_default();
                let message = format!(
                    "The specified launch template, with template name {name}, does not exist."
                );
                Refusal::new(400, "InvalidLaunchTemplateName.NotFoundException", message)
            }
        })?;
        let last = template.versions.len();
        let version = match said.text("Version").as_deref() {
            None | Some("$Default") => template.default,
            Some("$Latest") => last,
            Some(number) => match number.parse() {
                Ok(number) if (1..=last).contains(&number) => number,
                _ => {
                    let message = format!("Could not find launch template version {number}");
                    return Err(Refusal::new(
                        400,
                        "InvalidLaunchTemplateId.VersionNotFound",
                        message,
                    ));
                }
            },
        };
        Ok((id.clone(), version))
    }

    fn run_instances(&mut self, input: Input<'_>) -> Answer {
        let token = input.text("ClientToken");
        if let Some((asked, made)) = token.as_ref().and_then(|token| self.ec2.tokens.get(token)) {
            if asked != input.0 {
                let message = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).";
                return Err(Refusal::new(400, "IdempotentParameterMismatch", message));
            }
            return Ok(self.reservation(&made.clone()));
        }
        let said = input.get("LaunchTemplate");
        let interface = input.list("NetworkInterface").first().and_then(|i| i.text("SubnetId"));
        let launch = Launch {
            template: said.is_there().then(|| self.find_template(said)).transpose()?,
            instance_type: input.text("InstanceType"),
            image: input.text("ImageId"),
            subnet: input.text("SubnetId").or(interface),
            user_data: input.text("UserData"),
            tags: specified_tags(input, "instance"),
            token: token.clone(),
            least: input.count("MinCount")?.unwrap_or(1),
            most: input.count("MaxCount")?.unwrap_or(1),
        };
        let made = self.launch(launch)?;
        if let Some(token) = token {
            self.ec2.tokens.insert(token, (input.0.clone(), made.clone()));
        }
        Ok(self.reservation(&made))
    }

    /// Launches instances: as many as the quota has room for, but not fewer than the least.
    pub(crate) fn launch(&mut self, launch: Launch) -> Result<Vec<String>, Refusal> {
        if launch.least < 1 || launch.most < launch.least || launch.most > LAUNCH_MAX {
            let message = "The values for MinCount and MaxCount are not valid.";
            return Err(Refusal::new(400, "InvalidParameterValue", message));
        }
        let template = launch.template.as_ref();
        let data = template
            .and_then(|(id, version)| self.ec2.templates.get(id)?.versions.get(version - 1))
            .cloned()
            .unwrap_or_default();
        let data = Input(&data);
        let image = launch.image.or_else(|| data.text("ImageId")).ok_or_else(|| {
            let message = "The request must contain the parameter ImageId";
            Refusal::new(400, "MissingParameter", message)
        })?;
        let instance_type = launch.instance_type.or_else(|| data.text("InstanceType"));
        let instance_type = instance_type.unwrap_or_else(|| "m1.small".to_owned());
        let first = || self.config.subnets.keys().next().cloned();
        let inner = data.list("NetworkInterface").first().and_then(|i| i.text("SubnetId"));
        let subnet = launch.subnet.or(inner).or_else(first).unwrap_or_default();
        let Some(zone) = self.config.subnets.get(&subnet).cloned() else {
            let message = format!("The subnet ID '{subnet}' does not exist");
            return Err(Refusal::new(400, "InvalidSubnetID.NotFound", message));
        };
        let live = self.ec2.instances.values().filter(|i| i.state.lives());
        let used: u32 = live.map(|i| vcpus(&i.machine.instance_type)).sum();
        let room = self.config.vcpus.saturating_sub(used) / vcpus(&instance_type);
        if room < launch.least {
            return Err(Refusal::new(400, "VcpuLimitExceeded", VCPUS));
        }
        let mut tags = specified_tags(data, "instance");
        if let Some((id, version)) = template {
            tags.insert("aws:ec2launchtemplate:id".to_owned(), id.clone());
            tags.insert("aws:ec2launchtemplate:version".to_owned(), version.to_string());
        }
        tags.extend(launch.tags);
        let reservation = format!("r-{}", self.hex(17));
        let user_data = launch.user_data.or_else(|| data.text("UserData")).unwrap_or_default();
        let mut made = Vec::new();
        for place in 0..launch.most.min(room) as usize {
            let id = format!("i-{}", self.hex(17));
            self.ec2.launched += 1;
            // The VPC's first addresses are AWS's own.
            let address =
                Ipv4Addr::from(u32::from(self.config.network).wrapping_add(3 + self.ec2.launched));
            let machine = Machine {
                id: id.clone(),
                address,
                instance_type: instance_type.clone(),
                subnet: subnet.clone(),
                zone: zone.clone(),
                user_data: user_data.clone(),
                template: template.map(|(id, _)| id.clone()).unwrap_or_default(),
                tags: tags.clone(),
            };
            let mut instance = Instance {
                machine,
                state: State::Pending,
                booted: false,
                launched: self.now,
                template_version: template.map_or(0, |(_, version)| *version),
                reservation: reservation.clone(),
                place,
                image: image.clone(),
                token: launch.token.clone(),
                reason: None,
                history: Vec::new(),
            };
            instance.changed(self.now);
            self.ec2.instances.insert(id.clone(), instance);
            let (running, booted) =
                (self.draw(self.config.pending_ms), self.draw(self.config.boot_ms));
            self.after(running, Timer::Running(id.clone()));
            self.after(booted.max(running), Timer::Booted(id.clone()));
            made.push(id);
        }
        Ok(made)
    }

    /// The instances that are, or will be, of use: what there is, not what a description shows.
    pub fn live_instances(&self) -> impl Iterator<Item = &Machine> {
        self.ec2.instances.values().filter(|i| i.state.lives()).map(|i| &i.machine)
    }

    /// How many instances were ever launched.
    #[must_use]
    pub fn launched(&self) -> usize {
        self.ec2.launched as usize
    }

    /// Instances of one launch, as they are now.
    fn reservation(&self, ids: &[String]) -> Value {
        let instances: Vec<&Instance> =
            ids.iter().filter_map(|id| self.ec2.instances.get(id)).collect();
        let shown = |i: &&Instance| i.shown_at(self.now).map(|shown| i.value(shown));
        json!({
            "reservationId": instances.first().map(|i| i.reservation.clone()),
            "ownerId": self.config.account,
            "groupSet": [],
            "instancesSet": instances.iter().filter_map(shown).collect::<Vec<_>>(),
        })
    }

    fn describe_instances(&self, input: Input<'_>) -> Answer {
        let (ids, most) = (input.texts("InstanceId"), input.count("MaxResults")?);
        if !ids.is_empty() && most.is_some() {
            let message = "The parameter instancesSet cannot be used with the parameter maxResults";
            return Err(Refusal::new(400, "InvalidParameterCombination", message));
        }
        let then = self.now.saturating_sub(self.stale);
        let seen = |i: &Instance| i.shown_at(then).is_some();
        for id in &ids {
            if !self.ec2.instances.get(id).is_some_and(seen) {
                return Err(no_such_instance(id));
            }
        }
        let filters = input.list("Filter");
        let mut found = Vec::new();
        for (id, instance) in &self.ec2.instances {
            let Some(shown) = instance.shown_at(then) else { continue };
            let mut wanted = ids.is_empty() || ids.contains(id);
            for filter in &filters {
                wanted &= instance.passes(shown, *filter)?;
            }
            if wanted {
                found.push((instance.reservation.clone(), instance.value(shown)));
            }
        }
        let (found, next) = page(found, most, input.text("NextToken").as_deref())?;
        let mut reservations: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (reservation, value) in found {
            reservations.entry(reservation).or_default().push(value);
        }
        let set: Vec<Value> = reservations
            .into_iter()
            .map(|(id, instances)| {
                json!({
                    "reservationId": id, "ownerId": self.config.account, "groupSet": [],
                    "instancesSet": instances,
                })
            })
            .collect();
        Ok(json!({ "reservationSet": set, "nextToken": next }))
    }

    fn terminate_instances(&mut self, input: Input<'_>) -> Answer {
        let ids = input.texts("InstanceId");
        if let Some(id) = ids.iter().find(|id| !self.ec2.instances.contains_key(*id)) {
            return Err(no_such_instance(id));
        }
        let mut changes = Vec::new();
        for id in ids {
            let before = self.ec2.instances.get(&id).map(|i| i.state.value());
            self.terminate(&id, "Client.UserInitiatedShutdown");
            let after = self.ec2.instances.get(&id).map(|i| i.state.value());
            changes
                .push(json!({ "instanceId": id, "previousState": before, "currentState": after }));
        }
        Ok(json!({ "instancesSet": changes }))
    }

    /// Ends an instance, if it lives.
    pub(crate) fn terminate(&mut self, id: &str, reason: &'static str) {
        let Some(instance) = self.ec2.instances.get_mut(id).filter(|i| i.state.lives()) else {
            return;
        };
        instance.state = State::ShuttingDown;
        instance.reason = Some(reason);
        instance.changed(self.now);
        let machine = instance.machine.clone();
        if instance.booted {
            self.effect(Effect::Ended(machine));
        }
        let shutdown = self.draw(self.config.shutdown_ms);
        self.after(shutdown, Timer::Terminated(id.to_owned()));
    }

    pub(crate) fn instance_running(&mut self, id: &str) {
        let Some(instance) = self.ec2.instances.get_mut(id) else { return };
        if instance.state == State::Pending {
            instance.state = State::Running;
            instance.changed(self.now);
        }
    }

    pub(crate) fn instance_booted(&mut self, id: &str) {
        let Some(instance) = self.ec2.instances.get_mut(id) else { return };
        if instance.state == State::Running {
            instance.booted = true;
            let machine = instance.machine.clone();
            self.effect(Effect::Booted(machine));
        }
    }

    pub(crate) fn instance_terminated(&mut self, id: &str) {
        let Some(instance) = self.ec2.instances.get_mut(id) else { return };
        instance.state = State::Terminated;
        instance.changed(self.now);
        self.after(FORGOTTEN_MS, Timer::Forgotten(id.to_owned()));
    }

    /// An instance leaves descriptions, and with it its targets and its client token.
    pub(crate) fn instance_forgotten(&mut self, id: &str) {
        self.ec2.instances.remove(id);
        let instances = &self.ec2.instances;
        self.ec2.tokens.retain(|_, (_, made)| made.iter().any(|id| instances.contains_key(id)));
        self.forget_target(id);
    }

    fn tag(&mut self, input: Input<'_>, add: bool) -> Answer {
        let ids = input.texts("ResourceId");
        if let Some(id) =
            ids.iter().find(|id| id.starts_with("i-") && !self.ec2.instances.contains_key(*id))
        {
            return Err(no_such_instance(id));
        }
        let tags = input.tags("Tag");
        for id in ids {
            let now = self.now;
            let instance = self.ec2.instances.get_mut(&id);
            let template = self.ec2.templates.get_mut(&id);
            let held = match (instance, template) {
                (Some(instance), _) => {
                    change_tags(&mut instance.machine.tags, &tags, add);
                    instance.changed(now);
                    continue;
                }
                (None, Some(template)) => &mut template.tags,
                (None, None) => {
                    let message = format!("The ID '{id}' is not valid");
                    return Err(Refusal::new(400, "InvalidID", message));
                }
            };
            change_tags(held, &tags, add);
        }
        Ok(json!({ "return": true }))
    }

    fn create_template(&mut self, input: Input<'_>) -> Answer {
        let name = input.required("LaunchTemplateName")?;
        if self.ec2.templates.values().any(|template| template.name == name) {
            let code = "InvalidLaunchTemplateName.AlreadyExistsException";
            return Err(Refusal::new(400, code, "Launch template name already in use."));
        }
        let id = format!("lt-{}", self.hex(17));
        let template = Template {
            name,
            versions: vec![input.get("LaunchTemplateData").0.clone()],
            default: 1,
            created: self.now,
            tags: specified_tags(input, "launch-template"),
        };
        self.ec2.templates.insert(id.clone(), template);
        Ok(json!({ "launchTemplate": self.template_value(&id) }))
    }

    fn create_template_version(&mut self, input: Input<'_>) -> Answer {
        let (id, _) = self.find_template(input)?;
        if let Some(template) = self.ec2.templates.get_mut(&id) {
            template.versions.push(input.get("LaunchTemplateData").0.clone());
        }
        let last = self.ec2.templates.get(&id).map_or(0, |t| t.versions.len());
        Ok(json!({ "launchTemplateVersion": self.version_value(&id, last) }))
    }

    fn template_value(&self, id: &str) -> Value {
        let Some(template) = self.ec2.templates.get(id) else { return Value::Null };
        json!({
            "launchTemplateId": id,
            "launchTemplateName": template.name,
            "createTime": time::value(template.created),
            "createdBy": self.config.identity,
            "defaultVersionNumber": template.default,
            "latestVersionNumber": template.versions.len(),
            "tagSet": tag_set(&template.tags),
        })
    }

    fn version_value(&self, id: &str, version: usize) -> Value {
        let Some(template) = self.ec2.templates.get(id) else { return Value::Null };
        let data = template.versions.get(version.saturating_sub(1)).cloned().unwrap_or_default();
        let data = Input(&data);
        let specs = data.list("TagSpecification").into_iter().map(|spec| {
            json!({ "resourceType": spec.text("ResourceType"), "tagSet": tag_set(&spec.tags("Tag")) })
        });
        json!({
            "launchTemplateId": id,
            "launchTemplateName": template.name,
            "versionNumber": version,
            "defaultVersion": version == template.default,
            "createTime": time::value(template.created),
            "createdBy": self.config.identity,
            "launchTemplateData": {
                "imageId": data.text("ImageId"),
                "instanceType": data.text("InstanceType"),
                "userData": data.text("UserData"),
                "tagSpecificationSet": specs.collect::<Vec<_>>(),
            },
        })
    }

    fn describe_templates(&self, input: Input<'_>) -> Answer {
        let ids = input.texts("LaunchTemplateId");
        let names = input.texts("LaunchTemplateName");
        for id in &ids {
            self.find_template(Input(&json!({ "LaunchTemplateId": id })))?;
        }
        for name in &names {
            self.find_template(Input(&json!({ "LaunchTemplateName": name })))?;
        }
        let wanted = |(id, template): &(&String, &Template)| {
            (ids.is_empty() && names.is_empty())
                || ids.contains(id)
                || names.contains(&template.name)
        };
        let all = self.ec2.templates.iter().filter(wanted);
        let set: Vec<Value> = all.map(|(id, _)| self.template_value(id)).collect();
        Ok(json!({ "launchTemplates": set }))
    }

    fn describe_template_versions(&self, input: Input<'_>) -> Answer {
        let (id, _) = self.find_template(input)?;
        let wanted = input.texts("LaunchTemplateVersion");
        let last = self.ec2.templates.get(&id).map_or(0, |t| t.versions.len());
        let mut versions = Vec::new();
        for version in &wanted {
            let mut said = input.0.clone();
            said["Version"] = json!(version);
            versions.push(self.find_template(Input(&said))?.1);
        }
        if wanted.is_empty() {
            versions = (1..=last).collect();
        }
        let set: Vec<Value> = versions.into_iter().map(|v| self.version_value(&id, v)).collect();
        Ok(json!({ "launchTemplateVersionSet": set }))
    }
}

fn change_tags(held: &mut BTreeMap<String, String>, tags: &BTreeMap<String, String>, add: bool) {
    for (key, value) in tags {
        if add {
            held.insert(key.clone(), value.clone());
        } else {
            held.remove(key);
        }
    }
}
