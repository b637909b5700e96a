//! From what AWS is and what the plan wants to what is done next: a pure function.
//!
//! ```text
//! look ──▶ reconcile ──▶ at most one act of a kind ──▶ look again
//! ```
//!
//! - It starts from any state. Instances that carry the site set's tags and are not wanted, whoever
//!   launched them, are drained and then ended; what lacks the tags is never touched.
//! - Nothing is decided on what could not be read.
//! - Weights follow the targets that are healthy, and capacity is taken away only once a look has shown
//!   that the weights no longer need it.
//! - Sizes and weights are absolute and launches carry a client token, so an act whose answer was lost,
//!   or which follows from an old description, does no harm when it is done again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use spillway_model::config::{Aws, AwsGateways};
use spillway_model::load::FleetLoad;
use spillway_model::{Fleet, UnixMillis};

use crate::act::{Act, last};
use crate::memory::Memory;
use crate::observed::{Group, Health, Instance, InstanceState, Leaving, Observed};

/// An instance is ended only when it has been outside of the target group for so long: a description
/// may be older than its registration.
const BARE_SECS: u64 = 10;
/// A target that fails its checks for so long is replaced.
const SICK_SECS: u64 = 300;
/// Most instances that one call launches, registers, drains or ends.
const BATCH: usize = 50;
/// Aurora has at most 15 readers.
const DATABASE_REPLICAS_MAX: u32 = 15;

/// What is to be done, and what is to be remembered and told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// In this order.
    pub acts: Vec<Act>,
    /// What is under way or has to wait, in a few words each. When there is nothing to do and nothing
    /// to wait for, AWS is what the plan wants, as far as it could be read.
    pub waiting: Vec<String>,
    /// Whether some of that comes about by itself: AWS is at it, or time passes. The rest waits for acts
    /// that failed, or for what could not be read.
    pub passing: bool,
    /// What stands in the way of the plan, one sentence each.
    pub warnings: Vec<String>,
}

/// Decides what to do next. `memory` learns what was seen and what was decided.
#[must_use]
pub fn reconcile(config: &Aws, wanted: &Fleet, observed: &Observed, memory: &mut Memory) -> Step {
    memory.look(observed);
    let mut step = Step::default();
    if let Some(gateways) = &config.gateways {
        scale(config, gateways, wanted, observed, memory, &mut step);
    }
    functions(config, wanted, observed, &mut step);
    capacity(config, wanted, observed, &mut step);
    cache(wanted, observed, memory, &mut step);
    database(config, wanted, observed, &mut step);
    let held = |act: &Act| memory.holds(&act.kind(), observed.at);
    step.passing |= step.acts.iter().any(|act| held(act) && !memory.hindered(&act.kind()));
    step.waiting.extend(step.acts.iter().filter(|act| held(act)).map(|act| format!("soon: {act}")));
    step.acts.retain(|act| !held(act));
    step
}

/// The gateways: how many, which, and what they are given.
fn scale(
    config: &Aws,
    gateways: &AwsGateways,
    fleet: &Fleet,
    observed: &Observed,
    memory: &mut Memory,
    step: &mut Step,
) {
    let wanted = fleet.gateways.min(gateways.max);
    if fleet.gateways > wanted {
        step.warnings.push(format!(
            "the plan wants {} gateways, but `cloud.aws.gateways.max` allows {wanted}",
            fleet.gateways
        ));
    }
    let Some(targets) = &observed.targets else { return };
    let group = group(gateways, observed, step);
    let instances = loose(gateways, observed, step);
    let by_template = gateways.autoscaling_group.is_none();
    // With a group, instances of ours outside of it are orphans.
    let places = if by_template { usize::try_from(wanted).unwrap_or(usize::MAX) } else { 0 };
    let keep = keep(&instances, targets, memory, places, observed.at);

    let mut serving = keep.clone();
    serving.extend(group.into_iter().flat_map(staying));
    let healthy = serving.iter().filter(|id| targets.get(**id) == Some(&Health::Healthy)).count();
    let light = weigh(config, gateways, fleet, observed, healthy, memory, step);
    if let Some((name, group)) = gateways.autoscaling_group.as_ref().zip(group) {
        size_group(name, group, (wanted, gateways.max), light, memory, step);
    }
    // Without a full list there is no telling what is there already, and what is too much.
    if observed.instances.is_none() {
        return;
    }
    let surplus: Vec<&Instance> =
        instances.iter().copied().filter(|i| !keep.contains(i.id.as_str())).collect();
    leave(&surplus, targets, memory, light, observed.at, step);
    let join = instances.iter().filter(|i| {
        let registered = matches!(targets.get(&i.id), Some(h) if *h != Health::Draining);
        i.state == InstanceState::Running && keep.contains(i.id.as_str()) && !registered
    });
    let join: Vec<_> = join.map(|i| i.id.clone()).collect();
    let unhealthy = serving.len().saturating_sub(healthy);
    wait_for(unhealthy, "gateways to become healthy", unhealthy > join.len(), step);
    wait_for(memory.unseen(), "launched instances to be described", true, step);
    if by_template {
        launch(config, gateways, wanted, instances.len(), keep.len(), observed.at, memory, step);
        if !join.is_empty() {
            let instances = join.into_iter().take(BATCH).collect();
            step.acts.push(Act::Register { instances });
        }
    }
}

/// Takes note that `n` of something are waited for, and whether any of them come by themselves.
fn wait_for(n: usize, what: &str, passing: bool, step: &mut Step) {
    if n > 0 {
        step.waiting.push(format!("{n} {what}"));
        step.passing |= passing;
    }
}

/// The group of the configuration, if it is ours.
fn group<'a>(gateways: &AwsGateways, observed: &'a Observed, step: &mut Step) -> Option<&'a Group> {
    let name = gateways.autoscaling_group.as_ref()?;
    let group = observed.group.as_ref()?;
    if !group.owned {
        step.warnings.push(not_ours(&format!("Auto Scaling group {name}")));
    }
    group.owned.then_some(group)
}

fn not_ours(what: &str) -> String {
    format!(
        "{what} lacks the tags spillway:agent and spillway:site-set of this site set, so it is left alone"
    )
}

/// Instances of a group that are not on their way out.
fn staying(group: &Group) -> impl Iterator<Item = &str> {
    group.instances.iter().filter(|(_, l)| **l == Leaving::No).map(|(id, _)| id.as_str())
}

/// Live instances of ours that belong to no group.
fn loose<'a>(gateways: &AwsGateways, observed: &'a Observed, step: &mut Step) -> Vec<&'a Instance> {
    let ours = observed.instances.iter().flatten();
    let ours = ours.filter(|i| i.owned && i.state != InstanceState::Ended);
    let (grouped, loose): (Vec<_>, Vec<_>) = ours.partition(|i| i.group.is_some());
    let foreign = grouped.iter().find(|i| i.group != gateways.autoscaling_group);
    if let Some((instance, group)) = foreign.and_then(|i| Some((&i.id, i.group.as_ref()?))) {
        step.warnings.push(format!(
            "instance {instance} is of Auto Scaling group {group}, which the configuration does not name; \
             it is left alone"
        ));
    }
    loose
}

/// Which instances to keep: those that serve before those that may, old ones before new ones.
fn keep<'a>(
    instances: &[&'a Instance],
    targets: &BTreeMap<String, Health>,
    memory: &Memory,
    places: usize,
    now: UnixMillis,
) -> BTreeSet<&'a str> {
    let fit = |i: &&&Instance| {
        i.state != InstanceState::Stopped && !memory.sick_for(&i.id, SICK_SECS, now)
    };
    let mut fit: Vec<&Instance> = instances.iter().filter(fit).copied().collect();
    fit.sort_by_key(|i| {
        let rank = match (targets.get(&i.id), i.state) {
            (Some(Health::Healthy), _) => 0,
            (Some(Health::Initial | Health::Unhealthy), _) => 1,
            (None, InstanceState::Running) => 2,
            (None, _) => 3,
            (Some(Health::Draining), _) => 4,
        };
        (rank, i.launched_at, i.id.as_str())
    });
    fit.into_iter().take(places).map(|i| i.id.as_str()).collect()
}

/// Gives each rule the weights of the plan, which counts healthy gateways only; none where none is
/// healthy. Whether all rules are seen to give gateways no more than that, so that capacity may go.
fn weigh(
    config: &Aws,
    gateways: &AwsGateways,
    fleet: &Fleet,
    observed: &Observed,
    healthy: usize,
    memory: &Memory,
    step: &mut Step,
) -> bool {
    let some = healthy > 0 && fleet.gateways > 0;
    let percent = if some { u32::from(fleet.gateway_percent.min(100)) } else { 0 };
    let mut light = true;
    for rule in &config.rules {
        let Some(seen) = observed.rules.get(&rule.arn) else {
            light = false;
            continue;
        };
        let name = last(&rule.arn);
        let both = [&rule.target_group, &gateways.target_group];
        if !seen.owned {
            step.warnings.push(not_ours(&format!("rule {name}")));
        } else if both.iter().any(|group| !seen.weights.contains_key(*group)) {
            step.warnings.push(format!(
                "rule {name} does not forward to the target groups of both functions and gateways; \
                 its weights are left alone"
            ));
        } else {
            let mut weights = seen.weights.clone();
            weights.insert(rule.target_group.clone(), 100 - percent);
            weights.insert(gateways.target_group.clone(), percent);
            let agreed = memory.agrees(&rule.arn, &weights);
            light &= agreed;
            if weights != seen.weights || !agreed {
                step.acts.push(Act::Weigh { rule: rule.arn.clone(), weights });
            }
        }
        light &= u32::from(seen.percent(&gateways.target_group)) <= percent;
    }
    light
}

/// Asks the group for its size. It drains what it ends.
fn size_group(
    name: &str,
    group: &Group,
    (wanted, most_gateways): (u32, u32),
    light: bool,
    memory: &Memory,
    step: &mut Step,
) {
    let desired = wanted.max(group.min).min(group.max);
    if group.max < most_gateways {
        step.warnings.push(format!(
            "Auto Scaling group {name} allows {} gateways, but `cloud.aws.gateways.max` is {most_gateways}: \
             raise the one or lower the other",
            group.max
        ));
    }
    let staying = staying(group).count();
    wait_for(group.instances.len() - staying, "instances of the group to end", true, step);
    let asked = usize::try_from(group.desired).unwrap_or(usize::MAX);
    wait_for(asked.saturating_sub(staying), "instances of the group to start", true, step);
    // A description may be older than what was asked for: less than either is less.
    let most = memory.kept.sized.map_or(0, |(most, _)| most).max(group.desired);
    if desired >= most || light {
        if desired != group.desired {
            step.acts.push(Act::SizeGroup { group: name.to_owned(), desired });
        }
    } else {
        step.waiting.push("rules to give gateways less, before there are fewer".to_owned());
    }
}

/// Drains what is registered and not wanted, and ends what has drained.
fn leave(
    surplus: &[&Instance],
    targets: &BTreeMap<String, Health>,
    memory: &Memory,
    light: bool,
    now: UnixMillis,
    step: &mut Step,
) {
    let ids = |of: &dyn Fn(&Instance) -> bool| {
        let chosen = surplus.iter().filter(|i| of(i)).take(BATCH);
        chosen.map(|i| i.id.clone()).collect::<Vec<_>>()
    };
    // Whatever its health seemed to be: that may be old.
    let registered = |i: &Instance| targets.get(&i.id).is_some_and(|h| *h != Health::Draining);
    let drain = ids(&|i| light && registered(i));
    if !drain.is_empty() {
        step.acts.push(Act::Drain { instances: drain });
    }
    let end = ids(&|i| !targets.contains_key(&i.id) && memory.bare_for(&i.id, BARE_SECS, now));
    if !end.is_empty() {
        step.acts.push(Act::End { instances: end });
    }
    let passing = surplus.iter().any(|i| match targets.get(&i.id) {
        Some(health) => *health == Health::Draining,
        None => !memory.bare_for(&i.id, BARE_SECS, now),
    });
    wait_for(surplus.len(), "gateways to drain and end", passing, step);
}

/// Launches what is missing, as far as `max` allows.
#[expect(clippy::too_many_arguments, reason = "a leaf of one caller, which has it all at hand")]
fn launch(
    config: &Aws,
    gateways: &AwsGateways,
    wanted: u32,
    alive: usize,
    kept: usize,
    now: UnixMillis,
    memory: &mut Memory,
    step: &mut Step,
) {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let unseen = count(memory.unseen());
    let missing = wanted.saturating_sub(count(kept).saturating_add(unseen));
    if missing == 0 {
        memory.let_go_of_launch(now);
        let unknown = memory.kept.launch.iter().len();
        wait_for(unknown, "launch to be known to have failed", true, step);
        return;
    }
    if let Some((launch, _)) = &memory.kept.launch {
        // As it was, or AWS would not know it again.
        step.acts.push(Act::Launch(launch.clone()));
        return;
    }
    // Those that drain still run, and count.
    let room = gateways.max.saturating_sub(count(alive).saturating_add(unseen));
    let launched = missing.min(room).min(count(BATCH));
    if launched > 0 {
        step.acts.push(Act::Launch(memory.new_launch(&config.name, launched)));
    }
}

fn functions(config: &Aws, fleet: &Fleet, observed: &Observed, step: &mut Step) {
    for unknown in fleet.provisioned.keys().filter(|name| !config.functions.contains_key(*name)) {
        step.warnings.push(format!(
            "the plan keeps environments of `{unknown}` warm, but there is no `cloud.aws.functions.{unknown}`"
        ));
    }
    for function in config.functions.keys() {
        let Some(seen) = observed.provisioned.get(function) else { continue };
        let wanted = fleet.provisioned.get(function).copied().unwrap_or(0);
        if let Some(why) = seen.failed.as_ref().filter(|_| wanted > 0) {
            step.warnings.push(format!(
                "Lambda could not keep {} environments of {function} warm: {why}",
                seen.asked
            ));
        }
        if seen.working {
            step.waiting.push(format!("environments of {function} to become warm"));
            step.passing = true;
        }
        // What Lambda gave up on is asked for again, not sooner than the memory's pause after an act.
        if !seen.working && (seen.asked != wanted || (seen.failed.is_some() && wanted > 0)) {
            step.acts.push(Act::Provision { function: function.clone(), environments: wanted });
        }
    }
}

/// Capacity is asked for once what was asked for before has come, or has not; and for less only as
/// often as AWS takes that in a day, of which the last time is kept for giving all back.
fn capacity(config: &Aws, fleet: &Fleet, observed: &Observed, step: &mut Step) {
    let Some((limits, seen)) = config.capacity.as_ref().zip(observed.capacity.as_ref()) else {
        return;
    };
    let name = last(&limits.load_balancer);
    if !seen.owned {
        step.warnings.push(not_ours(&format!("load balancer {name}")));
        return;
    }
    let units = fleet.capacity_units.min(limits.max_units);
    if fleet.capacity_units > units {
        step.warnings.push(format!(
            "the plan wants {} capacity units, but `cloud.aws.capacity.max_units` allows {units}",
            fleet.capacity_units
        ));
    }
    if seen.working {
        step.waiting.push(format!("{} capacity units to be reserved", seen.units));
        step.passing = true;
        return;
    }
    let failed = seen.failed.as_ref().filter(|_| units > 0);
    if let Some(why) = failed {
        step.warnings.push(format!("AWS could not reserve {} capacity units: {why}", seen.units));
    }
    if units < seen.units && seen.decreases_left <= u32::from(units > 0) {
        let rest =
            "capacity units to be given back: AWS takes two decreases a day, the last for all";
        step.waiting.push(format!("{} {rest}", seen.units - units));
    } else if units != seen.units || failed.is_some() {
        let load_balancer = limits.load_balancer.clone();
        step.acts.push(Act::Reserve { load_balancer, units });
    }
}

/// Replicas are added to those that the cache has, and only what was added is taken away again.
fn cache(fleet: &Fleet, observed: &Observed, memory: &mut Memory, step: &mut Step) {
    let Some(cache) = &observed.cache else { return };
    if !cache.available {
        step.waiting.push("the cache to be available".to_owned());
        step.passing = true;
        return;
    }
    if fleet.cache_replicas == 0 && memory.kept.cache_base.is_none_or(|base| cache.replicas <= base)
    {
        memory.kept.cache_base = None;
        return;
    }
    let base = *memory.kept.cache_base.get_or_insert(cache.replicas);
    // ElastiCache has at most five replicas of a shard.
    let wanted = base.saturating_add(fleet.cache_replicas).min(5);
    if wanted != cache.replicas {
        step.acts.push(Act::SizeCache { replicas: wanted, more: wanted > cache.replicas });
    }
}

/// Replicas of ours have names of their own; one is added or removed at a time.
fn database(config: &Aws, fleet: &Fleet, observed: &Observed, step: &mut Step) {
    let Some(replicas) = &observed.database else { return };
    let ours = replicas.iter().filter(|replica| replica.owned);
    let (going, staying): (Vec<_>, Vec<_>) = ours.partition(|r| r.status == "deleting");
    let wanted = usize::try_from(fleet.database_replicas).unwrap_or(usize::MAX);
    wait_for(going.len(), "database replicas to end", true, step);
    let starting = staying.iter().filter(|r| r.status != "available").count();
    wait_for(starting, "database replicas to be available", true, step);
    let settled = going.is_empty() && starting == 0;
    if staying.len() > wanted {
        let readers = staying.iter().filter(|replica| !replica.writer);
        let last = readers.max_by_key(|r| (Reverse(r.status == "available"), &r.id));
        match last {
            Some(last) if going.is_empty() => {
                step.acts.push(Act::RemoveReplica { id: last.id.clone() });
            }
            Some(_) => {}
            None => step.warnings.extend(staying.iter().map(|writer| {
                format!(
                    "replica {} of the database has become its writer and is not removed: fail the \
                     cluster over to another instance (`aws rds failover-db-cluster`)",
                    writer.id
                )
            })),
        }
    } else if staying.len() < wanted && settled {
        let free = (1..=DATABASE_REPLICAS_MAX)
            .map(|n| format!("{}-replica-{n}", config.name))
            .find(|id| replicas.iter().all(|replica| replica.id != *id));
        step.acts.extend(free.map(|id| Act::AddReplica { id }));
    }
}

/// What the agent is told of what was seen.
#[must_use]
pub fn report(config: &Aws, observed: &Observed) -> FleetLoad {
    let none = BTreeMap::new();
    let targets = observed.targets.as_ref().unwrap_or(&none);
    let (mut here, mut leaving) = (BTreeSet::new(), BTreeSet::new());
    let ours = observed.instances.iter().flatten().filter(|i| i.owned && i.group.is_none());
    for instance in ours.filter(|i| i.state <= InstanceState::Running) {
        here.insert(instance.id.as_str());
    }
    for (id, going) in observed.group.iter().flat_map(|group| &group.instances) {
        if *going == Leaving::Yes {
            leaving.insert(id.as_str())
        } else {
            here.insert(id.as_str())
        };
    }
    let draining = targets.iter().filter(|(_, health)| **health == Health::Draining);
    leaving.extend(draining.map(|(id, _)| id.as_str()).filter(|id| here.contains(id)));
    here.retain(|id| !leaving.contains(id));
    let healthy = here.iter().filter(|id| targets.get(**id) == Some(&Health::Healthy)).count();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let percent = config.gateways.as_ref().and_then(|gateways| {
        observed.rules.values().map(|rule| rule.percent(&gateways.target_group)).max()
    });
    let ready = observed.provisioned.iter().filter(|(_, p)| p.ready > 0);
    let reserved = observed.capacity.as_ref().filter(|c| !c.working && c.failed.is_none());
    let replicas = observed.database.iter().flatten();
    let replicas = replicas.filter(|replica| replica.owned && replica.status == "available");
    FleetLoad {
        seen_at: observed.at,
        gateways_launched: count(here.len()),
        gateways_healthy: count(healthy),
        gateways_draining: count(leaving.len()),
        gateway_percent: percent.unwrap_or(0),
        provisioned_ready: ready.map(|(name, p)| (name.clone(), p.ready)).collect(),
        capacity_units: reserved.map_or(0, |capacity| capacity.units),
        cache_replicas: observed.cache.as_ref().map_or(0, |cache| cache.replicas),
        database_replicas: count(replicas.count()),
        spend: None,
        warnings: Vec::new(),
    }
}
