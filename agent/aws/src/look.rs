//! Looking at AWS: descriptions into [`Observed`]. Whatever fails is missing from it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::types::{
    Action, CapacityReservationStateEnum, TargetHealthStateEnum,
};
use futures_util::future::{join_all, join3, join4};
use spillway_model::UnixMillis;
use spillway_model::config::{Aws, AwsGateways, AwsProgram};

use crate::call::{CallError, Class};
use crate::clients::Clients;
use crate::observed::{
    Cache, Capacity, Group, Health, Instance, InstanceState, Leaving, Observed, Provisioned,
    Replica, Rule,
};

/// Most pages of one description: 20,000 instances are more than a site set has.
const PAGES_MAX: usize = 20;
/// Most resources that one DescribeTags takes.
const TAGS_BATCH: usize = 20;

/// The tag that says that the agent may touch a resource, with the value `true`.
pub(crate) const AGENT_TAG: &str = "spillway:agent";
/// The tag that names the site set.
pub(crate) const SITE_SET_TAG: &str = "spillway:site-set";
/// The tag that an Auto Scaling group puts on its instances.
const GROUP_TAG: &str = "aws:autoscaling:groupName";

/// What one look found, and the actions of the rules as they are, to be sent back with other weights.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// For the decision.
    pub observed: Observed,
    /// By the rule's ARN.
    pub(crate) actions: BTreeMap<String, Vec<Action>>,
    /// Whether everything that the configuration names could be read.
    pub complete: bool,
    /// Whether all about gateways and rules could be read, whatever else could not.
    pub fleet_complete: bool,
    /// Whether some of what could not be read may be readable soon.
    pub passing: bool,
    /// What the configuration names and AWS does not have, one sentence each.
    pub warnings: Vec<String>,
}

/// Looks at everything that the configuration names, and at what carries its tags.
pub(crate) async fn look(clients: &Clients, config: &Aws) -> Look {
    let (gateways, rules, functions, data) = join4(
        gateways(clients, config),
        rules(clients, config),
        functions(clients, config),
        join3(capacity(clients, config), cache(clients, config), database(clients, config)),
    )
    .await;
    let mut look = Look { complete: true, ..Look::default() };
    look.observed.at = (clients.now)();
    if let Some((group, instances, targets)) = gateways {
        look.observed.group = group.and_then(|group| look.take(group));
        look.observed.instances = look.take(instances);
        look.observed.targets = look.take(targets);
    }
    for (arn, (rule, actions)) in look.take(rules).unwrap_or_default() {
        look.observed.rules.insert(arn.clone(), rule);
        look.actions.insert(arn, actions);
    }
    look.fleet_complete = look.complete;
    for (name, seen) in functions {
        if let Some(seen) = look.take(seen) {
            look.observed.provisioned.insert(name, seen);
        }
    }
    let (capacity, cache, database) = data;
    look.observed.capacity = capacity.and_then(|capacity| look.take(capacity));
    look.observed.cache = cache.and_then(|cache| look.take(cache));
    look.observed.database = database.and_then(|database| look.take(database));
    look
}

impl Look {
    fn take<T>(&mut self, result: Result<T, CallError>) -> Option<T> {
        match result {
            Ok(seen) => Some(seen),
            Err(error) => {
                self.complete = false;
                self.passing |= !error.lasts();
                // What a call itself failed of stands among the faults of the calls.
                if error.class == Class::Missing && error.code.is_none() {
                    self.warnings.push(error.to_string());
                }
                None
            }
        }
    }
}

type Gateways = (
    Option<Result<Group, CallError>>,
    Result<Vec<Instance>, CallError>,
    Result<BTreeMap<String, Health>, CallError>,
);

async fn gateways(clients: &Clients, config: &Aws) -> Option<Gateways> {
    let gateways = config.gateways.as_ref()?;
    let group = async {
        match &gateways.autoscaling_group {
            Some(name) => Some(group(clients, config, name).await),
            None => None,
        }
    };
    Some(join3(group, instances(clients, config), targets(clients, gateways)).await)
}

/// Whether tags are those of the site set.
fn ours<'a>(tags: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>, name: &str) -> bool {
    let tags: BTreeMap<_, _> = tags.filter_map(|(key, value)| key.zip(value)).collect();
    tags.get(AGENT_TAG) == Some(&"true") && tags.get(SITE_SET_TAG) == Some(&name)
}

fn count(n: Option<i32>) -> u32 {
    n.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

async fn group(clients: &Clients, config: &Aws, name: &str) -> Result<Group, CallError> {
    let operation = "autoscaling:DescribeAutoScalingGroups";
    let call = clients.autoscaling.describe_auto_scaling_groups().auto_scaling_group_names(name);
    let answer = clients.calls.make(operation, call.send()).await?;
    let Some(group) = answer.auto_scaling_groups().first() else {
        return Err(CallError::missing(operation, format!("no Auto Scaling group {name}")));
    };
    let instances = group.instances().iter().filter_map(|instance| {
        let state = instance.lifecycle_state().map_or("", |state| state.as_str());
        let going = ["Terminat", "Detach", "EnteringStandby", "Standby"];
        let leaving = going.iter().any(|start| state.starts_with(start));
        let leaving = if leaving { Leaving::Yes } else { Leaving::No };
        Some((instance.instance_id()?.to_owned(), leaving))
    });
    Ok(Group {
        owned: ours(group.tags().iter().map(|tag| (tag.key(), tag.value())), &config.name),
        desired: count(group.desired_capacity()),
        min: count(group.min_size()),
        max: count(group.max_size()),
        instances: instances.collect(),
    })
}

async fn instances(clients: &Clients, config: &Aws) -> Result<Vec<Instance>, CallError> {
    use aws_sdk_ec2::types::Filter;
    let filter = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
    let mut found = Vec::new();
    let mut token = None;
    for _ in 0..PAGES_MAX {
        let states = Filter::builder().name("instance-state-name").set_values(Some(
            ["pending", "running", "stopping", "stopped"].map(str::to_owned).into(),
        ));
        let call = clients
            .ec2
            .describe_instances()
            .filters(filter(&format!("tag:{AGENT_TAG}"), "true"))
            .filters(filter(&format!("tag:{SITE_SET_TAG}"), &config.name))
            .filters(states.build())
            .max_results(1000)
            .set_next_token(token);
        let answer = clients.calls.make("ec2:DescribeInstances", call.send()).await?;
        for instance in answer.reservations().iter().flat_map(|r| r.instances()) {
            found.extend(read_instance(instance, &config.name));
        }
        token = answer.next_token().map(str::to_owned).filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(found);
        }
    }
    // Part of the list would look like fewer instances than there are.
    Err(CallError::missing("ec2:DescribeInstances", "the end of a very long list".to_owned()))
}

fn read_instance(instance: &aws_sdk_ec2::types::Instance, name: &str) -> Option<Instance> {
    use aws_sdk_ec2::types::InstanceStateName as State;
    let state = match instance.state().and_then(|state| state.name())? {
        State::Pending => InstanceState::Pending,
        State::Running => InstanceState::Running,
        State::Stopping | State::Stopped => InstanceState::Stopped,
        _ => InstanceState::Ended,
    };
    let group = instance.tags().iter().find(|tag| tag.key() == Some(GROUP_TAG));
    let millis = instance.launch_time().and_then(|time| time.to_millis().ok()).unwrap_or(0);
    Some(Instance {
        id: instance.instance_id()?.to_owned(),
        owned: ours(instance.tags().iter().map(|tag| (tag.key(), tag.value())), name),
        group: group.and_then(|tag| tag.value()).map(str::to_owned),
        state,
        launched_at: UnixMillis(u64::try_from(millis).unwrap_or(0)),
    })
}

async fn targets(
    clients: &Clients,
    gateways: &AwsGateways,
) -> Result<BTreeMap<String, Health>, CallError> {
    let call = clients.balancing.describe_target_health().target_group_arn(&gateways.target_group);
    let answer =
        clients.calls.make("elasticloadbalancing:DescribeTargetHealth", call.send()).await?;
    let targets = answer.target_health_descriptions().iter().filter_map(|described| {
        let id = described.target()?.id()?.to_owned();
        let health = match described.target_health()?.state()? {
            TargetHealthStateEnum::Healthy => Health::Healthy,
            TargetHealthStateEnum::Initial => Health::Initial,
            TargetHealthStateEnum::Draining | TargetHealthStateEnum::UnhealthyDraining => {
                Health::Draining
            }
            _ => Health::Unhealthy,
        };
        Some((id, health))
    });
    Ok(targets.collect())
}

async fn rules(
    clients: &Clients,
    config: &Aws,
) -> Result<BTreeMap<String, (Rule, Vec<Action>)>, CallError> {
    let arns: Vec<String> = config.rules.iter().map(|rule| rule.arn.clone()).collect();
    let mut found = BTreeMap::new();
    for arns in arns.chunks(TAGS_BATCH) {
        let call = clients.balancing.describe_rules().set_rule_arns(Some(arns.to_vec()));
        let rules = clients.calls.make("elasticloadbalancing:DescribeRules", call.send()).await?;
        let call = clients.balancing.describe_tags().set_resource_arns(Some(arns.to_vec()));
        let tags = clients.calls.make("elasticloadbalancing:DescribeTags", call.send()).await?;
        for rule in rules.rules() {
            let Some(arn) = rule.rule_arn() else { continue };
            let tags = tags.tag_descriptions().iter().filter(|d| d.resource_arn() == Some(arn));
            let tags = tags.flat_map(|d| d.tags()).map(|tag| (tag.key(), tag.value()));
            let weights = rule.actions().iter().flat_map(forwards).collect();
            let seen = Rule { owned: ours(tags, &config.name), weights };
            found.insert(arn.to_owned(), (seen, rule.actions().to_vec()));
        }
    }
    Ok(found)
}

/// Target groups of a forward action, with their weights.
fn forwards(action: &Action) -> Vec<(String, u32)> {
    let groups = action.forward_config().map(|forward| forward.target_groups());
    let groups = groups.unwrap_or_default().iter();
    groups
        .filter_map(|group| Some((group.target_group_arn()?.to_owned(), count(group.weight()))))
        .collect()
}

async fn functions(
    clients: &Clients,
    config: &Aws,
) -> Vec<(String, Result<Provisioned, CallError>)> {
    // Of those alone that serve requests environments are kept warm.
    let serving = config.functions.iter().filter(|(_, f)| f.program == AwsProgram::OneCode);
    join_all(serving.map(async |(name, function)| {
        let operation = "lambda:GetProvisionedConcurrencyConfig";
        let call = clients
            .lambda
            .get_provisioned_concurrency_config()
            .function_name(&function.name)
            .qualifier(&function.alias);
        let none = "ProvisionedConcurrencyConfigNotFoundException";
        let seen = clients.calls.find(operation, none, call.send()).await.map(|answer| {
            use aws_sdk_lambda::types::ProvisionedConcurrencyStatusEnum as Status;
            let Some(answer) = answer else { return Provisioned::default() };
            let why = || answer.status_reason().unwrap_or("no reason is given").to_owned();
            Provisioned {
                asked: count(answer.requested_provisioned_concurrent_executions()),
                ready: count(answer.available_provisioned_concurrent_executions()),
                working: answer.status() == Some(&Status::InProgress),
                failed: (answer.status() == Some(&Status::Failed)).then(why),
            }
        });
        (name.clone(), seen)
    }))
    .await
}

async fn capacity(clients: &Clients, config: &Aws) -> Option<Result<Capacity, CallError>> {
    let arn = &config.capacity.as_ref()?.load_balancer;
    Some(reservation(clients, config, arn).await)
}

async fn reservation(clients: &Clients, config: &Aws, arn: &str) -> Result<Capacity, CallError> {
    let call = clients.balancing.describe_tags().resource_arns(arn);
    let tags = clients.calls.make("elasticloadbalancing:DescribeTags", call.send()).await?;
    let tags = tags.tag_descriptions().iter().flat_map(|d| d.tags());
    let call = clients.balancing.describe_capacity_reservation().load_balancer_arn(arn);
    let operation = "elasticloadbalancing:DescribeCapacityReservation";
    let answer = clients.calls.make(operation, call.send()).await?;
    let states = || answer.capacity_reservation_state().iter().filter_map(|zone| zone.state());
    let failed = states().find(|s| s.code() == Some(&CapacityReservationStateEnum::Failed));
    let working =
        [CapacityReservationStateEnum::Pending, CapacityReservationStateEnum::Rebalancing];
    let why = |state: &str| if state.is_empty() { "no reason is given" } else { state }.to_owned();
    Ok(Capacity {
        owned: ours(tags.map(|tag| (tag.key(), tag.value())), &config.name),
        units: count(answer.minimum_load_balancer_capacity().and_then(|c| c.capacity_units())),
        working: states().any(|state| state.code().is_some_and(|code| working.contains(code))),
        failed: failed.map(|state| why(state.reason().unwrap_or_default())),
        decreases_left: count(answer.decrease_requests_remaining()),
    })
}

async fn cache(clients: &Clients, config: &Aws) -> Option<Result<Cache, CallError>> {
    let group = match replication_group(clients, config).await? {
        Ok(group) => group,
        Err(error) => return Some(Err(error)),
    };
    let nodes = group.node_groups().iter().map(|shard| shard.node_group_members().len()).min();
    let replicas = nodes.unwrap_or(0).saturating_sub(1);
    Some(Ok(Cache {
        replicas: u32::try_from(replicas).unwrap_or(u32::MAX),
        available: group.status() == Some("available"),
    }))
}

async fn replication_group(
    clients: &Clients,
    config: &Aws,
) -> Option<Result<aws_sdk_elasticache::types::ReplicationGroup, CallError>> {
    let id = config.cache.as_ref()?;
    let operation = "elasticache:DescribeReplicationGroups";
    let call = clients.elasticache.describe_replication_groups().replication_group_id(id);
    let answer = match clients.calls.make(operation, call.send()).await {
        Ok(answer) => answer,
        Err(error) => return Some(Err(error)),
    };
    let group = answer.replication_groups.unwrap_or_default().into_iter().next();
    Some(group.ok_or_else(|| CallError::missing(operation, format!("no replication group {id}"))))
}

/// Ids of the cache's nodes; none where there is no cache.
pub(crate) async fn cache_nodes(clients: &Clients, config: &Aws) -> Option<Vec<String>> {
    let group = replication_group(clients, config).await?.ok()?;
    Some(group.member_clusters().to_vec())
}

async fn instances_of_database(
    clients: &Clients,
    config: &Aws,
) -> Option<Result<Vec<aws_sdk_rds::types::DbInstance>, CallError>> {
    let id = config.database.as_ref()?;
    let filter = aws_sdk_rds::types::Filter::builder().name("db-cluster-id").values(id).build();
    let call = clients.rds.describe_db_instances().filters(filter).max_records(100);
    let answer = clients.calls.make("rds:DescribeDBInstances", call.send()).await;
    Some(answer.map(|answer| answer.db_instances.unwrap_or_default()))
}

/// Ids of the database's instances, the writer's among them; none where there is no database.
pub(crate) async fn database_instances(clients: &Clients, config: &Aws) -> Option<Vec<String>> {
    let instances = instances_of_database(clients, config).await?.ok()?;
    let ids = instances.iter().filter_map(|instance| instance.db_instance_identifier());
    Some(ids.map(str::to_owned).collect())
}

async fn database(clients: &Clients, config: &Aws) -> Option<Result<Vec<Replica>, CallError>> {
    let instances = match instances_of_database(clients, config).await? {
        Ok(instances) => instances,
        Err(error) => return Some(Err(error)),
    };
    let prefix = format!("{}-replica-", config.name);
    let replicas = instances.iter().filter_map(|instance| {
        let id = instance.db_instance_identifier()?;
        id.starts_with(&prefix).then(|| Replica {
            id: id.to_owned(),
            owned: ours(instance.tag_list().iter().map(|t| (t.key(), t.value())), &config.name),
            status: instance.db_instance_status().unwrap_or("unknown").to_owned(),
            writer: false,
        })
    });
    let mut replicas: Vec<Replica> = replicas.collect();
    if !replicas.is_empty() {
        let writers = match writers(clients, config).await {
            Ok(writers) => writers,
            Err(error) => return Some(Err(error)),
        };
        for replica in &mut replicas {
            replica.writer = writers.contains(&replica.id);
        }
    }
    Some(Ok(replicas))
}

/// Ids of the instances that the database's cluster writes with: one, but for moments.
async fn writers(clients: &Clients, config: &Aws) -> Result<BTreeSet<String>, CallError> {
    let call = clients.rds.describe_db_clusters();
    let call = call.set_db_cluster_identifier(config.database.clone());
    let answer = clients.calls.make("rds:DescribeDBClusters", call.send()).await?;
    let members = answer.db_clusters().iter().flat_map(|cluster| cluster.db_cluster_members());
    let writers = members.filter(|member| member.is_cluster_writer() == Some(true));
    Ok(writers.filter_map(|member| Some(member.db_instance_identifier()?.to_owned())).collect())
}
