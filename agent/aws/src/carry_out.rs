//! Carrying an act out: one call each, or a description before it where the call needs to know more.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{Action, TargetDescription};
use spillway_model::config::Aws;

use crate::act::{Act, Launch};
use crate::call::CallError;
use crate::clients::Clients;
use crate::look::{AGENT_TAG, Look, SITE_SET_TAG};

/// Does it. Gives the ids of what a launch launched.
///
/// # Errors
/// When AWS does not take it, or its answer is lost.
pub(crate) async fn carry_out(
    clients: &Clients,
    config: &Aws,
    act: &Act,
    look: &Look,
) -> Result<Vec<String>, CallError> {
    let calls = &clients.calls;
    let balancing = &clients.balancing;
    let target_group =
        config.gateways.as_ref().map(|g| g.target_group.as_str()).unwrap_or_default();
    match act {
        Act::Weigh { rule, weights } => {
            let actions = look.actions.get(rule).map(|actions| weighed(actions, weights));
            let call = balancing.modify_rule().rule_arn(rule).set_actions(actions);
            calls.make("elasticloadbalancing:ModifyRule", call.send()).await?;
        }
        Act::SizeGroup { group, desired } => {
            let call = clients
                .autoscaling
                .set_desired_capacity()
                .auto_scaling_group_name(group)
                .desired_capacity(number(*desired))
                .honor_cooldown(false);
            calls.make("autoscaling:SetDesiredCapacity", call.send()).await?;
        }
        Act::Launch(launch) => return run_instances(clients, config, launch).await,
        Act::Register { instances } => {
            let targets = Some(targets(instances));
            let call = balancing.register_targets().target_group_arn(target_group);
            let call = call.set_targets(targets);
            calls.make("elasticloadbalancing:RegisterTargets", call.send()).await?;
        }
        Act::Drain { instances } => {
            let targets = Some(targets(instances));
            let call = balancing.deregister_targets().target_group_arn(target_group);
            let call = call.set_targets(targets);
            calls.make("elasticloadbalancing:DeregisterTargets", call.send()).await?;
        }
        Act::End { instances } => {
            let call = clients.ec2.terminate_instances().set_instance_ids(Some(instances.clone()));
            calls.make("ec2:TerminateInstances", call.send()).await?;
        }
        Act::Provision { function, environments } => {
            provision(clients, config, function, *environments).await?;
        }
        Act::Reserve { load_balancer, units } => {
            use aws_sdk_elasticloadbalancingv2::types::MinimumLoadBalancerCapacity as Capacity;
            let call = balancing.modify_capacity_reservation().load_balancer_arn(load_balancer);
            let capacity = Capacity::builder().capacity_units(number(*units)).build();
            let call = match units {
                0 => call.reset_capacity_reservation(true),
                _ => call.minimum_load_balancer_capacity(capacity),
            };
            calls.make("elasticloadbalancing:ModifyCapacityReservation", call.send()).await?;
        }
        Act::SizeCache { replicas, more: true } => {
            let call = clients
                .elasticache
                .increase_replica_count()
                .set_replication_group_id(config.cache.clone())
                .new_replica_count(number(*replicas))
                .apply_immediately(true);
            calls.make("elasticache:IncreaseReplicaCount", call.send()).await?;
        }
        Act::SizeCache { replicas, more: false } => {
            let call = clients
                .elasticache
                .decrease_replica_count()
                .set_replication_group_id(config.cache.clone())
                .new_replica_count(number(*replicas))
                .apply_immediately(true);
            calls.make("elasticache:DecreaseReplicaCount", call.send()).await?;
        }
        Act::AddReplica { id } => add_replica(clients, config, id).await?,
        Act::RemoveReplica { id } => {
            let call = clients.rds.delete_db_instance().db_instance_identifier(id);
            let none = "DBInstanceNotFound";
            calls.find("rds:DeleteDBInstance", none, call.send()).await?;
        }
    }
    Ok(Vec::new())
}

fn number(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn targets(instances: &[String]) -> Vec<TargetDescription> {
    instances.iter().map(|id| TargetDescription::builder().id(id).build()).collect()
}

/// A rule's actions as they are, but for the weights: who may pass and for how long one target group
/// keeps a client is not ours to change.
fn weighed(actions: &[Action], weights: &BTreeMap<String, u32>) -> Vec<Action> {
    let mut actions = actions.to_vec();
    for action in &mut actions {
        let Some(forward) = &mut action.forward_config else { continue };
        for group in forward.target_groups.iter_mut().flatten() {
            let weight = group.target_group_arn.as_ref().and_then(|arn| weights.get(arn));
            if let Some(weight) = weight {
                group.weight = Some(number(*weight));
            }
        }
        // Beside a forward configuration AWS takes a lone target group only if it is the same one.
        action.target_group_arn = None;
    }
    actions
}

async fn run_instances(
    clients: &Clients,
    config: &Aws,
    launch: &Launch,
) -> Result<Vec<String>, CallError> {
    use aws_sdk_ec2::types::{
        InstanceNetworkInterfaceSpecification as Interface, LaunchTemplateSpecification,
        ResourceType, Tag, TagSpecification,
    };
    let operation = "ec2:RunInstances";
    let gateways = config.gateways.as_ref();
    let template = gateways.and_then(|gateways| gateways.launch_template.clone());
    let Some(template) = template else {
        return Err(CallError::missing(operation, "no launch template is configured".to_owned()));
    };
    let subnets = gateways.map(|gateways| gateways.subnets.as_slice()).unwrap_or_default();
    let subnet = launch.subnet.checked_rem(subnets.len()).and_then(|i| subnets.get(i));
    let specification =
        LaunchTemplateSpecification::builder().launch_template_id(&template).version("$Default");
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let tags = TagSpecification::builder()
        .resource_type(ResourceType::Instance)
        .tags(tag(AGENT_TAG, "true"))
        .tags(tag(SITE_SET_TAG, &config.name))
        .tags(tag("Name", &format!("{}-gateway", config.name)));
    let mut call = clients
        .ec2
        .run_instances()
        .client_token(&launch.token)
        .min_count(1)
        .max_count(number(launch.count))
        .launch_template(specification.build())
        .tag_specifications(tags.build());
    if let Some(subnet) = subnet {
        let about = clients
            .ec2
            .describe_launch_template_versions()
            .launch_template_id(&template)
            .versions("$Default");
        let about = clients.calls.make("ec2:DescribeLaunchTemplateVersions", about.send()).await?;
        let data = about.launch_template_versions().first().and_then(|v| v.launch_template_data());
        // Beside network interfaces of the template no subnet of the instance may be named.
        call = match data.and_then(|data| data.network_interfaces().first()) {
            None => call.subnet_id(subnet),
            Some(interface) => call.network_interfaces(
                Interface::builder()
                    .device_index(interface.device_index().unwrap_or(0))
                    .subnet_id(subnet)
                    .set_groups(Some(interface.groups().to_vec()))
                    .set_associate_public_ip_address(interface.associate_public_ip_address())
                    .delete_on_termination(interface.delete_on_termination().unwrap_or(true))
                    .build(),
            ),
        };
    }
    let answer = clients.calls.make(operation, call.send()).await?;
    let ids = answer.instances().iter().filter_map(|i| i.instance_id().map(str::to_owned));
    Ok(ids.collect())
}

async fn provision(
    clients: &Clients,
    config: &Aws,
    function: &str,
    environments: u32,
) -> Result<(), CallError> {
    let Some(function) = config.functions.get(function) else { return Ok(()) };
    if environments == 0 {
        let call = clients
            .lambda
            .delete_provisioned_concurrency_config()
            .function_name(&function.name)
            .qualifier(&function.alias);
        let none = "ProvisionedConcurrencyConfigNotFoundException";
        let operation = "lambda:DeleteProvisionedConcurrencyConfig";
        clients.calls.find(operation, none, call.send()).await?;
    } else {
        let call = clients
            .lambda
            .put_provisioned_concurrency_config()
            .function_name(&function.name)
            .qualifier(&function.alias)
            .provisioned_concurrent_executions(number(environments));
        clients.calls.make("lambda:PutProvisionedConcurrencyConfig", call.send()).await?;
    }
    Ok(())
}

/// A further reader of the cluster, like those it has.
async fn add_replica(clients: &Clients, config: &Aws, id: &str) -> Result<(), CallError> {
    use aws_sdk_rds::types::{Filter, Tag};
    let cluster = config.database.clone().unwrap_or_default();
    let operation = "rds:DescribeDBInstances";
    let filter = Filter::builder().name("db-cluster-id").values(&cluster).build();
    let call = clients.rds.describe_db_instances();
    let call = call.filters(filter);
    let answer = clients.calls.make(operation, call.send()).await?;
    let Some(like) = answer.db_instances().first() else {
        let what = format!("cluster {cluster} has no instance that a replica could be like");
        return Err(CallError::missing(operation, what));
    };
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let call = clients
        .rds
        .create_db_instance()
        .db_instance_identifier(id)
        .db_cluster_identifier(cluster)
        .set_db_instance_class(like.db_instance_class().map(str::to_owned))
        .set_engine(like.engine().map(str::to_owned))
        .set_publicly_accessible(like.publicly_accessible())
        .set_enable_performance_insights(like.performance_insights_enabled())
        .set_performance_insights_kms_key_id(
            like.performance_insights_kms_key_id().map(str::to_owned),
        )
        // The last to become the writer when that fails: it is not here to stay.
        .promotion_tier(15)
        .tags(tag(AGENT_TAG, "true"))
        .tags(tag(SITE_SET_TAG, &config.name));
    // A replica of that name is this one: its answer was lost.
    clients.calls.find("rds:CreateDBInstance", "DBInstanceAlreadyExists", call.send()).await?;
    Ok(())
}
