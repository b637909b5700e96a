//! What a group does by itself: launch, replace, end.

use std::collections::BTreeMap;

use super::{ACTIVITIES_MAX, Activity, Group, Member, Stage};
use crate::aws::{Aws, Timer};
use crate::ec2::{Launch, State};
use crate::input::Input;

/// Pause after a launch that failed.
const PATIENCE_MS: u64 = 15_000;

impl Aws {
    /// One comparison of what is with what is wanted.
    pub(crate) fn group_step(&mut self, name: &str) {
        // The group is out of the map while it steps, so that the rest can be called.
        let Some(mut group) = self.scaling.groups.remove(name) else { return };
        self.follow_members(&mut group);
        self.judge_members(&mut group);
        let counted = group.members.values().filter(|m| m.stage.counts()).count();
        let wanted = group.desired as usize;
        if counted < wanted && !group.deleting && self.now >= group.patience {
            self.launch_members(name, &mut group, wanted - counted);
        }
        for id in self.superfluous(&group, counted.saturating_sub(wanted)) {
            let cause = format!(
                "a user request changed the desired capacity: instance {id} was selected for termination."
            );
            self.end(&mut group, &id, &cause);
        }
        self.let_go(&mut group);
        if group.deleting && group.members.is_empty() {
            return;
        }
        self.scaling.groups.insert(name.to_owned(), group);
        self.after(self.config.group_step_ms, Timer::Step(name.to_owned()));
    }

    /// Takes members on as their instances do.
    fn follow_members(&mut self, group: &mut Group) {
        let launching = group.hooks.values().find(|hook| hook.launching).cloned();
        let mut entering = Vec::new();
        let mut abandoned = Vec::new();
        for (id, member) in &mut group.members {
            let state = self.ec2.instances.get(id).map(|instance| instance.state);
            match (member.stage, state) {
                (Stage::Pending, Some(State::Running)) if launching.is_some() => {
                    (member.stage, member.since, member.passed) =
                        (Stage::PendingWait, self.now, false);
                }
                (Stage::Pending, Some(State::Running)) => entering.push(id.clone()),
                (Stage::PendingWait, _) if member.passed => entering.push(id.clone()),
                (Stage::PendingWait, _) => {
                    let Some(hook) = &launching else { continue };
                    if member.since + hook.timeout_ms <= self.now {
                        if hook.abandon {
                            abandoned.push(id.clone());
                        } else {
                            entering.push(id.clone());
                        }
                    }
                }
                _ => {}
            }
        }
        for id in entering {
            for arn in &group.target_groups {
                self.register_instance(arn, &id);
            }
            let (now, protect) = (self.now, group.protect_new);
            if let Some(member) = group.members.get_mut(&id) {
                (member.stage, member.since, member.protected) = (Stage::InService, now, protect);
                finish(&mut group.activities, &member.activity, now);
            }
        }
        for id in abandoned {
            self.end(group, &id, "the lifecycle action timed out.");
        }
    }

    /// Ends members that are not well.
    fn judge_members(&mut self, group: &mut Group) {
        let mut failing = Vec::new();
        for (id, member) in &mut group.members {
            if !member.stage.counts() {
                continue;
            }
            let lives = self.ec2.instances.get(id).is_some_and(|i| i.state.lives());
            let settled =
                member.stage == Stage::InService && member.since + group.grace_ms <= self.now;
            let unhealthy = |arn: &String| self.is_unhealthy(arn, id);
            if group.elb_checks && settled && group.target_groups.iter().any(unhealthy) {
                member.healthy = false;
            }
            if !lives || !member.healthy {
                member.healthy = false;
                let what = if lives {
                    "an ELB system health check failure."
                } else {
                    "EC2 health check indicating it has been terminated or stopped."
                };
                failing.push((id.clone(), what));
            }
        }
        for (id, what) in failing {
            let cause = format!("instance {id} was taken out of service in response to {what}");
            self.end(group, &id, &cause);
        }
    }

    fn launch_members(&mut self, name: &str, group: &mut Group, missing: usize) {
        let version = group.template.1.clone();
        let said = serde_json::json!({ "LaunchTemplateId": group.template.0, "Version": version });
        let template = self.find_template(Input(&said)).ok();
        for _ in 0..missing {
            let mut tags: BTreeMap<String, String> = group
                .tags
                .iter()
                .filter(|(_, (_, propagate))| *propagate)
                .map(|(key, (value, _))| (key.clone(), value.clone()))
                .collect();
            tags.insert("aws:autoscaling:groupName".to_owned(), name.to_owned());
            let launch = Launch {
                template: template.clone(),
                instance_type: group.types.first().cloned(),
                subnet: self.emptiest(group),
                tags,
                least: 1,
                most: 1,
                ..Launch::default()
            };
            let cause = format!(
                "an instance was started in response to a difference between desired and actual capacity, increasing the capacity towards {}.",
                group.desired
            );
            match self.launch(launch) {
                Ok(made) => {
                    for id in made {
                        let description = format!("Launching a new EC2 instance: {id}");
                        let activity = self.note(group, description, &cause);
                        group.members.insert(
                            id,
                            Member {
                                stage: Stage::Pending,
                                since: self.now,
                                healthy: true,
                                protected: false,
                                activity,
                                passed: false,
                            },
                        );
                    }
                }
                Err(refusal) => {
                    let description = "Launching a new EC2 instance".to_owned();
                    let id = self.note(group, description, &cause);
                    if let Some(activity) = group.activities.iter_mut().find(|a| a.id == id) {
                        activity.code = "Failed";
                        activity.ended = Some(self.now);
                        activity.message =
                            Some(format!("{} Launching EC2 instance failed.", refusal.message));
                    }
                    group.patience = self.now + PATIENCE_MS;
                    return;
                }
            }
        }
    }

    /// The subnet with the fewest of the group's instances.
    fn emptiest(&self, group: &Group) -> Option<String> {
        let used = |subnet: &String| {
            let within = |id: &&String| {
                self.ec2.instances.get(*id).is_some_and(|i| i.machine.subnet == *subnet)
            };
            let counts = group.members.iter().filter(|(_, m)| m.stage.counts()).map(|(id, _)| id);
            counts.filter(within).count()
        };
        group.subnets.iter().min_by_key(|subnet| used(subnet)).cloned()
    }

    /// Whom the default policy ends: of the fullest zone, with the oldest template, the oldest.
    fn superfluous(&self, group: &Group, number: usize) -> Vec<String> {
        let mut left: Vec<&String> = group
            .members
            .iter()
            .filter(|(_, member)| member.stage.counts() && !member.protected)
            .map(|(id, _)| id)
            .collect();
        let mut chosen = Vec::new();
        while chosen.len() < number && !left.is_empty() {
            let zone = |id: &String| self.ec2.instances.get(id).map(|i| i.machine.zone.clone());
            let crowd = |id: &String| left.iter().filter(|other| zone(other) == zone(id)).count();
            let age =
                |id: &String| self.ec2.instances.get(id).map(|i| (i.template_version, i.launched));
            let worst = left.iter().min_by_key(|id| (std::cmp::Reverse(crowd(id)), age(id)));
            let Some(worst) = worst.map(|id| String::clone(id)) else { break };
            left.retain(|id| **id != worst);
            chosen.push(worst);
        }
        chosen
    }

    /// Begins the end of a member of a named group.
    pub(super) fn end_member(&mut self, name: &str, id: &str, cause: &str) {
        let Some(mut group) = self.scaling.groups.remove(name) else { return };
        self.end(&mut group, id, cause);
        self.scaling.groups.insert(name.to_owned(), group);
    }

    fn end(&mut self, group: &mut Group, id: &str, cause: &str) {
        if !group.members.get(id).is_some_and(|member| member.stage.counts()) {
            return;
        }
        let description = format!("Terminating EC2 instance: {id}");
        let activity = self.note(group, description, cause);
        for arn in &group.target_groups {
            self.deregister(arn, id, None);
        }
        if let Some(member) = group.members.get_mut(id) {
            finish(&mut group.activities, &member.activity, self.now);
            member.activity = activity;
            (member.stage, member.since, member.passed) = (Stage::Terminating, self.now, false);
        }
    }

    /// Ends the instances of members that have drained, and forgets those that have ended.
    fn let_go(&mut self, group: &mut Group) {
        let hook = group.hooks.values().find(|hook| !hook.launching).cloned();
        let ids: Vec<String> = group.members.keys().cloned().collect();
        for id in ids {
            let drained = group.target_groups.iter().all(|arn| !self.is_target(arn, &id));
            let state = self.ec2.instances.get(&id).map(|instance| instance.state);
            let Some(member) = group.members.get_mut(&id) else { continue };
            let lives = state.is_some_and(State::lives);
            if member.stage == Stage::Terminating && (drained || !lives) {
                let stage =
                    if hook.is_some() && lives { Stage::TerminatingWait } else { Stage::Ending };
                (member.stage, member.since, member.passed) = (stage, self.now, false);
            }
            if member.stage == Stage::TerminatingWait {
                let timeout = hook.as_ref().map_or(0, |hook| hook.timeout_ms);
                if member.passed || member.since + timeout <= self.now {
                    member.stage = Stage::Ending;
                }
            }
            if member.stage == Stage::Ending {
                let activity = member.activity.clone();
                self.terminate(&id, "Client.UserInitiatedShutdown");
                if !lives && state != Some(State::ShuttingDown) {
                    group.members.remove(&id);
                    finish(&mut group.activities, &activity, self.now);
                }
            }
        }
    }

    /// Writes an activity down; its id.
    fn note(&mut self, group: &mut Group, description: String, cause: &str) -> String {
        let id = self.uuid();
        if group.activities.len() == ACTIVITIES_MAX {
            group.activities.pop_front();
        }
        group.scaled = Some(self.now);
        group.activities.push_back(Activity {
            id: id.clone(),
            description,
            cause: format!("At {} {cause}", crate::time::iso(self.now, "Z")),
            started: self.now,
            ended: None,
            code: "InProgress",
            message: None,
        });
        id
    }
}

/// An activity has come to its end.
fn finish(activities: &mut std::collections::VecDeque<Activity>, id: &str, now: u64) {
    if let Some(activity) = activities.iter_mut().find(|a| a.id == id && a.ended.is_none()) {
        (activity.ended, activity.code) = (Some(now), "Successful");
    }
}
