//! Auto Scaling groups.
//!
//! ```text
//! Pending ─▶ (Pending:Wait) ─▶ InService ─▶ Terminating ─targets drained─▶ (Terminating:Wait) ─▶ gone
//! ```
//!
//! A group compares what is with what is wanted every few seconds. It replaces what has ended or,
//! when its checks are the load balancer's, what has been unhealthy past the grace period.

mod steps;

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::aws::{Answer, Aws, Refusal, Timer, page, unknown};
use crate::input::Input;
use crate::time;

/// Activities that a group remembers.
const ACTIVITIES_MAX: usize = 1_000;

/// State of EC2 Auto Scaling.
#[derive(Debug, Default)]
pub(crate) struct AutoScaling {
    groups: BTreeMap<String, Group>,
}

#[derive(Debug)]
struct Group {
    arn: String,
    min: u32,
    max: u32,
    desired: u32,
    template: (String, String),
    /// Types to try in their order; empty: the template's.
    types: Vec<String>,
    mixed: bool,
    subnets: Vec<String>,
    target_groups: Vec<String>,
    elb_checks: bool,
    grace_ms: u64,
    cooldown_ms: u64,
    protect_new: bool,
    tags: BTreeMap<String, (String, bool)>,
    hooks: BTreeMap<String, Hook>,
    members: BTreeMap<String, Member>,
    activities: VecDeque<Activity>,
    created: u64,
    scaled: Option<u64>,
    deleting: bool,
    /// After a failed launch, when the next is tried.
    patience: u64,
}

#[derive(Debug, Clone)]
struct Hook {
    launching: bool,
    timeout_ms: u64,
    abandon: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Pending,
    PendingWait,
    InService,
    Terminating,
    TerminatingWait,
    /// The instance has been told to end.
    Ending,
}

impl Stage {
    fn shown(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::PendingWait => "Pending:Wait",
            Self::InService => "InService",
            Self::Terminating | Self::Ending => "Terminating",
            Self::TerminatingWait => "Terminating:Wait",
        }
    }

    /// Whether it counts to what is wanted.
    fn counts(self) -> bool {
        matches!(self, Self::Pending | Self::PendingWait | Self::InService)
    }
}

#[derive(Debug)]
struct Member {
    stage: Stage,
    since: u64,
    healthy: bool,
    protected: bool,
    activity: String,
    /// The hooks that have been completed.
    passed: bool,
}

#[derive(Debug)]
struct Activity {
    id: String,
    description: String,
    cause: String,
    started: u64,
    ended: Option<u64>,
    code: &'static str,
    message: Option<String>,
}

/// Template and version, the types to try, and whether they are a mixed policy's.
type Said = ((String, String), Vec<String>, bool);

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "ValidationError", message)
}

fn no_group(name: &str) -> Refusal {
    invalid(format!("AutoScalingGroup name not found - AutoScalingGroup '{name}' not found"))
}

impl Group {
    fn activity_value(&self, name: &str, activity: &Activity) -> Value {
        json!({
            "ActivityId": activity.id,
            "AutoScalingGroupName": name,
            "AutoScalingGroupARN": self.arn,
            "Description": activity.description,
            "Cause": activity.cause,
            "StartTime": time::value(activity.started),
            "EndTime": activity.ended.map(time::value),
            "StatusCode": activity.code,
            "StatusMessage": activity.message,
            "Progress": if activity.ended.is_some() { 100 } else { 50 },
            "Details": "{}",
        })
    }
}

impl Aws {
    pub(crate) fn scaling_call(&mut self, action: &str, input: Input<'_>) -> Answer {
        match action {
            "CreateAutoScalingGroup" => self.create_group(input),
            "UpdateAutoScalingGroup" => self.update_group(input),
            "DeleteAutoScalingGroup" => self.delete_group(input),
            "DescribeAutoScalingGroups" => self.describe_groups(input),
            "DescribeAutoScalingInstances" => self.describe_members(input),
            "DescribeScalingActivities" => self.describe_activities(input),
            "SetDesiredCapacity" => self.set_desired(input),
            "TerminateInstanceInAutoScalingGroup" => self.terminate_member(input),
            "SetInstanceProtection" => self.protect_members(input),
            "SetInstanceHealth" => self.set_member_health(input),
            "PutLifecycleHook" => self.put_hook(input),
            "DescribeLifecycleHooks" => self.describe_hooks(input),
            "CompleteLifecycleAction" => self.complete_hook(input),
            "RecordLifecycleActionHeartbeat" => self.heartbeat(input),
            "CreateOrUpdateTags" => self.tag_groups(input),
            _ => Err(unknown(action)),
        }
    }

    fn scaling_group(&mut self, input: Input<'_>) -> Result<(String, &mut Group), Refusal> {
        let name = input.required("AutoScalingGroupName")?;
        match self.scaling.groups.get_mut(&name) {
            Some(group) => Ok((name, group)),
            None => Err(no_group(&name)),
        }
    }

    /// The launch template of a request, and the types to try.
    fn said_template(&self, input: Input<'_>) -> Result<Option<Said>, Refusal> {
        let plain = input.get("LaunchTemplate");
        let mixed = input.get("MixedInstancesPolicy").get("LaunchTemplate");
        let said = if mixed.is_there() { mixed.get("LaunchTemplateSpecification") } else { plain };
        if !said.is_there() {
            return Ok(None);
        }
        let (id, _) = self.find_template(said).map_err(|refusal| {
            invalid(format!(
                "You must use a valid fully-formed launch template. {}",
                refusal.message
            ))
        })?;
        let version = said.text("Version").unwrap_or_else(|| "$Default".to_owned());
        let types = mixed.list("Overrides").into_iter();
        let types = types.filter_map(|o| o.text("InstanceType")).collect();
        Ok(Some(((id, version), types, mixed.is_there())))
    }

    fn said_subnets(&self, input: Input<'_>) -> Result<Option<Vec<String>>, Refusal> {
        let Some(text) = input.text("VPCZoneIdentifier") else { return Ok(None) };
        let subnets: Vec<String> = text.split(',').map(|s| s.trim().to_owned()).collect();
        match subnets.iter().find(|subnet| !self.config.subnets.contains_key(*subnet)) {
            Some(subnet) => Err(invalid(format!("The subnet ID '{subnet}' does not exist"))),
            None => Ok(Some(subnets)),
        }
    }

    fn create_group(&mut self, input: Input<'_>) -> Answer {
        let name = input.required("AutoScalingGroupName")?;
        if self.scaling.groups.contains_key(&name) {
            let message = "AutoScalingGroup by this name already exists - A group with the name already exists";
            return Err(Refusal::new(400, "AlreadyExists", message));
        }
        let (min, max) =
            (input.count("MinSize")?.unwrap_or(0), input.count("MaxSize")?.unwrap_or(0));
        let desired = input.count("DesiredCapacity")?.unwrap_or(min);
        check_bounds(min, max, desired)?;
        let Some((template, types, mixed)) = self.said_template(input)? else {
            return Err(invalid(
                "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy parameter.",
            ));
        };
        let target_groups = input.texts("TargetGroupARNs");
        if let Some(arn) = target_groups.iter().find(|arn| !self.elb.groups.contains_key(*arn)) {
            return Err(invalid(format!("Provided Target Groups may not be valid: '{arn}'")));
        }
        let subnets = match self.said_subnets(input)? {
            Some(subnets) => subnets,
            None => self.config.subnets.keys().cloned().collect(),
        };
        let uuid = self.uuid();
        let arn = format!("autoScalingGroup:{uuid}:autoScalingGroupName/{name}");
        let tag = |t: Input<'_>| {
            let value = t.text("Value").unwrap_or_default();
            Some((t.text("Key")?, (value, t.flag("PropagateAtLaunch").ok()??)))
        };
        let mut group = Group {
            arn: self.arn("autoscaling", &arn),
            min,
            max,
            desired,
            template,
            types,
            mixed,
            subnets,
            target_groups,
            elb_checks: input.text("HealthCheckType").is_some_and(|kind| kind.contains("ELB")),
            grace_ms: u64::from(input.count("HealthCheckGracePeriod")?.unwrap_or(0)) * 1_000,
            cooldown_ms: u64::from(input.count("DefaultCooldown")?.unwrap_or(300)) * 1_000,
            protect_new: input.flag("NewInstancesProtectedFromScaleIn")?.unwrap_or(false),
            tags: input.list("Tags").into_iter().filter_map(tag).collect(),
            hooks: BTreeMap::new(),
            members: BTreeMap::new(),
            activities: VecDeque::new(),
            created: self.now,
            scaled: None,
            deleting: false,
            patience: 0,
        };
        for said in input.list("LifecycleHookSpecificationList") {
            group.hooks.insert(said.required("LifecycleHookName")?, hook(said)?);
        }
        self.scaling.groups.insert(name.clone(), group);
        self.after(self.config.group_step_ms, Timer::Step(name));
        Ok(json!({}))
    }

    fn update_group(&mut self, input: Input<'_>) -> Answer {
        let (template, subnets) = (self.said_template(input)?, self.said_subnets(input)?);
        let (_, group) = self.scaling_group(input)?;
        let min = input.count("MinSize")?.unwrap_or(group.min);
        let max = input.count("MaxSize")?.unwrap_or(group.max);
        // Bounds that move past the desired size take it with them.
        let desired = input.count("DesiredCapacity")?;
        let desired = desired.unwrap_or_else(|| group.desired.max(min).min(max));
        check_bounds(min, max, desired)?;
        (group.min, group.max, group.desired) = (min, max, desired);
        if let Some((template, types, mixed)) = template {
            (group.template, group.types, group.mixed) = (template, types, mixed);
        }
        if let Some(subnets) = subnets {
            group.subnets = subnets;
        }
        if let Some(protect) = input.flag("NewInstancesProtectedFromScaleIn")? {
            group.protect_new = protect;
        }
        if let Some(kind) = input.text("HealthCheckType") {
            group.elb_checks = kind.contains("ELB");
        }
        if let Some(seconds) = input.count("HealthCheckGracePeriod")? {
            group.grace_ms = u64::from(seconds) * 1_000;
        }
        Ok(json!({}))
    }

    fn delete_group(&mut self, input: Input<'_>) -> Answer {
        let force = input.flag("ForceDelete")?.unwrap_or(false);
        let (name, group) = self.scaling_group(input)?;
        if !group.members.is_empty() && !force {
            let message = "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group.";
            return Err(Refusal::new(400, "ResourceInUse", message));
        }
        if group.members.is_empty() {
            self.scaling.groups.remove(&name);
        } else {
            (group.deleting, group.min, group.desired) = (true, 0, 0);
        }
        Ok(json!({}))
    }

    fn describe_groups(&self, input: Input<'_>) -> Answer {
        let names = input.texts("AutoScalingGroupNames");
        let wanted = |name: &String| names.is_empty() || names.contains(name);
        let all = self.scaling.groups.iter().filter(|(name, _)| wanted(name));
        let all: Vec<Value> = all.map(|(name, group)| self.group_value(name, group)).collect();
        let most = Some(input.count("MaxRecords")?.unwrap_or(50).min(100));
        let (found, next) = page(all, most, input.text("NextToken").as_deref())?;
        Ok(json!({ "AutoScalingGroups": found, "NextToken": next }))
    }

    fn group_value(&self, name: &str, group: &Group) -> Value {
        let members: Vec<Value> =
            group.members.iter().map(|(id, member)| self.member_value(group, id, member)).collect();
        let tags = group.tags.iter().map(|(key, (value, propagate))| {
            json!({
                "ResourceId": name, "ResourceType": "auto-scaling-group",
                "Key": key, "Value": value, "PropagateAtLaunch": propagate,
            })
        });
        let zones: std::collections::BTreeSet<&String> =
            group.subnets.iter().filter_map(|s| self.config.subnets.get(s)).collect();
        let template = self.template_said(group);
        let overrides: Vec<Value> =
            group.types.iter().map(|kind| json!({ "InstanceType": kind })).collect();
        let mut value = json!({
            "AutoScalingGroupName": name,
            "AutoScalingGroupARN": group.arn,
            "MinSize": group.min,
            "MaxSize": group.max,
            "DesiredCapacity": group.desired,
            "DefaultCooldown": group.cooldown_ms / 1_000,
            "AvailabilityZones": zones,
            "LoadBalancerNames": [],
            "TargetGroupARNs": group.target_groups,
            "HealthCheckType": if group.elb_checks { "ELB" } else { "EC2" },
            "HealthCheckGracePeriod": group.grace_ms / 1_000,
            "Instances": members,
            "CreatedTime": time::value(group.created),
            "SuspendedProcesses": [],
            "VPCZoneIdentifier": group.subnets.join(","),
            "EnabledMetrics": [],
            "Tags": tags.collect::<Vec<_>>(),
            "TerminationPolicies": ["Default"],
            "NewInstancesProtectedFromScaleIn": group.protect_new,
            "Status": group.deleting.then_some("Delete in progress"),
        });
        if group.mixed {
            value["MixedInstancesPolicy"] = json!({ "LaunchTemplate": {
                "LaunchTemplateSpecification": template, "Overrides": overrides,
            } });
        } else {
            value["LaunchTemplate"] = template;
        }
        value
    }

    fn template_said(&self, group: &Group) -> Value {
        let (id, version) = &group.template;
        let name = self.ec2.templates.get(id).map(|template| &template.name);
        json!({ "LaunchTemplateId": id, "LaunchTemplateName": name, "Version": version })
    }

    fn member_value(&self, group: &Group, id: &str, member: &Member) -> Value {
        let instance = self.ec2.instances.get(id);
        let mut template = self.template_said(group);
        template["Version"] = json!(instance.map(|i| i.template_version.to_string()));
        json!({
            "InstanceId": id,
            "InstanceType": instance.map(|i| &i.machine.instance_type),
            "AvailabilityZone": instance.map(|i| &i.machine.zone),
            "LifecycleState": member.stage.shown(),
            "HealthStatus": if member.healthy { "Healthy" } else { "Unhealthy" },
            "LaunchTemplate": template,
            "ProtectedFromScaleIn": member.protected,
        })
    }

    fn describe_members(&self, input: Input<'_>) -> Answer {
        let ids = input.texts("InstanceIds");
        let mut all = Vec::new();
        for (name, group) in &self.scaling.groups {
            for (id, member) in &group.members {
                if ids.is_empty() || ids.contains(id) {
                    let mut value = self.member_value(group, id, member);
                    value["AutoScalingGroupName"] = json!(name);
                    // The one place of the API where health is written in capitals.
                    value["HealthStatus"] =
                        json!(if member.healthy { "HEALTHY" } else { "UNHEALTHY" });
                    all.push(value);
                }
            }
        }
        let most = Some(input.count("MaxRecords")?.unwrap_or(50).min(50));
        let (found, next) = page(all, most, input.text("NextToken").as_deref())?;
        Ok(json!({ "AutoScalingInstances": found, "NextToken": next }))
    }

    fn describe_activities(&mut self, input: Input<'_>) -> Answer {
        let (name, group) = self.scaling_group(input)?;
        let wanted = input.texts("ActivityIds");
        let meant = |activity: &&Activity| wanted.is_empty() || wanted.contains(&activity.id);
        let all = group.activities.iter().rev().filter(meant);
        let all: Vec<Value> = all.map(|activity| group.activity_value(&name, activity)).collect();
        let most = Some(input.count("MaxRecords")?.unwrap_or(100).min(100));
        let (found, next) = page(all, most, input.text("NextToken").as_deref())?;
        Ok(json!({ "Activities": found, "NextToken": next }))
    }

    fn set_desired(&mut self, input: Input<'_>) -> Answer {
        let wanted = input.number("DesiredCapacity")?;
        let wanted = wanted.ok_or_else(|| invalid("DesiredCapacity must be specified"))?;
        let honour = input.flag("HonorCooldown")?.unwrap_or(false);
        let now = self.now;
        let (_, group) = self.scaling_group(input)?;
        if wanted > i64::from(group.max) {
            return Err(invalid(format!(
                "New SetDesiredCapacity value {wanted} is above max value {} for the AutoScalingGroup.",
                group.max
            )));
        }
        let within = u32::try_from(wanted).ok().filter(|wanted| *wanted >= group.min);
        let within = within.ok_or_else(|| {
            invalid(format!(
                "New SetDesiredCapacity value {wanted} is below min value {} for the AutoScalingGroup.",
                group.min
            ))
        })?;
        if group.deleting {
            return Err(invalid("The AutoScalingGroup is being deleted"));
        }
        if honour && group.scaled.is_some_and(|at| at + group.cooldown_ms > now) {
            let message = "Scaling activity is in progress: the group is in its cooldown";
            return Err(Refusal::new(400, "ScalingActivityInProgress", message));
        }
        group.desired = within;
        group.patience = 0;
        Ok(json!({}))
    }

    /// The group that an instance is a member of.
    fn group_of(&self, id: &str) -> Result<String, Refusal> {
        let mut groups = self.scaling.groups.iter();
        let holds = |(_, group): &(&String, &Group)| group.members.contains_key(id);
        groups.find(holds).map(|(name, _)| name.clone()).ok_or_else(|| {
            invalid(format!(
                "Instance Id not found - No managed instance found for instance ID: {id}"
            ))
        })
    }

    fn terminate_member(&mut self, input: Input<'_>) -> Answer {
        let id = input.required("InstanceId")?;
        let decrement = input.flag("ShouldDecrementDesiredCapacity")?.unwrap_or(false);
        let name = self.group_of(&id)?;
        let Some(group) = self.scaling.groups.get_mut(&name) else { return Err(no_group(&name)) };
        let leaving = group.members.get(&id).is_some_and(|member| !member.stage.counts());
        if decrement && !leaving {
            if group.desired <= group.min {
                return Err(invalid(format!(
                    "Currently, desiredSize equals minSize ({}). Terminating instance without replacement will violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size.",
                    group.min
                )));
            }
            group.desired -= 1;
        }
        let cause =
            format!("instance {id} was taken out of service in response to a user request.");
        self.end_member(&name, &id, &cause);
        let Some(group) = self.scaling.groups.get(&name) else { return Err(no_group(&name)) };
        let activity = group.members.get(&id).map(|member| member.activity.clone());
        let mut all = group.activities.iter().rev();
        let found = all.find(|a| Some(&a.id) == activity.as_ref());
        Ok(json!({ "Activity": found.map(|a| group.activity_value(&name, a)) }))
    }

    fn protect_members(&mut self, input: Input<'_>) -> Answer {
        let protect = input.flag("ProtectedFromScaleIn")?.unwrap_or(false);
        let (name, group) = self.scaling_group(input)?;
        for id in input.texts("InstanceIds") {
            let member = group.members.get_mut(&id).filter(|m| m.stage == Stage::InService);
            let member = member.ok_or_else(|| {
                invalid(format!(
                    "The instance {id} is not in InService or EnteringStandby or Standby in {name}."
                ))
            })?;
            member.protected = protect;
        }
        Ok(json!({}))
    }

    fn set_member_health(&mut self, input: Input<'_>) -> Answer {
        let (id, status) = (input.required("InstanceId")?, input.required("HealthStatus")?);
        let name = self.group_of(&id)?;
        let group = self.scaling.groups.get_mut(&name);
        if let Some(member) = group.and_then(|group| group.members.get_mut(&id)) {
            member.healthy = status == "Healthy";
        }
        Ok(json!({}))
    }

    fn put_hook(&mut self, input: Input<'_>) -> Answer {
        let (_, group) = self.scaling_group(input)?;
        group.hooks.insert(input.required("LifecycleHookName")?, hook(input)?);
        Ok(json!({}))
    }

    fn describe_hooks(&mut self, input: Input<'_>) -> Answer {
        let (name, group) = self.scaling_group(input)?;
        let hooks = group.hooks.iter().map(|(hook, held)| {
            let transition = if held.launching { "LAUNCHING" } else { "TERMINATING" };
            json!({
                "AutoScalingGroupName": name,
                "LifecycleHookName": hook,
                "LifecycleTransition": format!("autoscaling:EC2_INSTANCE_{transition}"),
                "HeartbeatTimeout": held.timeout_ms / 1_000,
                "DefaultResult": if held.abandon { "ABANDON" } else { "CONTINUE" },
            })
        });
        Ok(json!({ "LifecycleHooks": hooks.collect::<Vec<_>>() }))
    }

    fn waiting(&mut self, input: Input<'_>) -> Result<(String, &mut Member), Refusal> {
        let id = input.required("InstanceId")?;
        let (_, group) = self.scaling_group(input)?;
        let waits =
            |m: &&mut Member| matches!(m.stage, Stage::PendingWait | Stage::TerminatingWait);
        match group.members.get_mut(&id).filter(waits) {
            Some(member) => Ok((id, member)),
            None => Err(invalid(format!("No active Lifecycle Action found with instance ID {id}"))),
        }
    }

    fn complete_hook(&mut self, input: Input<'_>) -> Answer {
        let go_on = input.required("LifecycleActionResult")? == "CONTINUE";
        let (id, member) = self.waiting(input)?;
        member.passed = true;
        if !go_on && member.stage == Stage::PendingWait {
            let name = self.group_of(&id)?;
            self.end_member(&name, &id, "the lifecycle action was abandoned.");
        }
        Ok(json!({}))
    }

    fn heartbeat(&mut self, input: Input<'_>) -> Answer {
        let now = self.now;
        self.waiting(input)?.1.since = now;
        Ok(json!({}))
    }

    fn tag_groups(&mut self, input: Input<'_>) -> Answer {
        for tag in input.list("Tags") {
            let name = tag.required("ResourceId")?;
            let group = self.scaling.groups.get_mut(&name).ok_or_else(|| no_group(&name))?;
            let held = (
                tag.text("Value").unwrap_or_default(),
                tag.flag("PropagateAtLaunch")?.unwrap_or(false),
            );
            group.tags.insert(tag.required("Key")?, held);
        }
        Ok(json!({}))
    }
}

fn check_bounds(min: u32, max: u32, desired: u32) -> Result<(), Refusal> {
    if min > max {
        let message =
            format!("Max bound, {max}, must be greater than or equal to min bound, {min}");
        return Err(invalid(message));
    }
    if !(min..=max).contains(&desired) {
        return Err(invalid(format!(
            "Desired capacity:{desired} must be between the specified min size:{min} and max size:{max}"
        )));
    }
    Ok(())
}

fn hook(input: Input<'_>) -> Result<Hook, Refusal> {
    Ok(Hook {
        launching: input.required("LifecycleTransition")?.ends_with("LAUNCHING"),
        timeout_ms: u64::from(input.count("HeartbeatTimeout")?.unwrap_or(3_600)) * 1_000,
        abandon: input.text("DefaultResult").as_deref() != Some("CONTINUE"),
    })
}
