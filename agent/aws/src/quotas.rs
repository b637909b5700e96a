//! Quotas of the account: what may be wanted is compared with them before it is, so that a person can ask
//! AWS for more in time.

use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat};
use aws_sdk_ec2::types::InstanceType;
use spillway_model::config::{Aws, AwsGateways};
use spillway_model::load::FleetLoad;

use crate::call::CallError;
use crate::clients::Clients;
use crate::figures::{self, FUNCTION_CONCURRENCY, Values};

/// CloudWatch tells the use of a quota every five minutes.
const WINDOW_SECS: u64 = 900;
/// Functions at more of their quota than this are told of.
const FULL: f64 = 0.8;

/// What the account may have, as far as that could be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Quotas {
    /// Environments of functions at once, and those of them that no function has reserved.
    pub(crate) environments: Option<(i32, i32)>,
    /// vCPUs of running standard instances on demand, and those in use.
    pub(crate) vcpus: Option<(f64, f64)>,
    /// What gateways are launched as, and the vCPUs of that.
    pub(crate) gateway: Option<(String, i32)>,
    /// Targets of one load balancer.
    pub(crate) targets: Option<u32>,
    /// Instances of databases, and those there are.
    pub(crate) databases: Option<(i64, i64)>,
}

impl Quotas {
    /// As figures, of the region.
    pub(crate) fn figures(&self, region: &str) -> Values {
        let mut values = Values::new();
        let mut put = |name, value: Option<f64>| {
            values.extend(value.map(|value| ((name, region.to_owned()), value)));
        };
        put("account_concurrency_limit", self.environments.map(|(all, _)| f64::from(all)));
        put("account_concurrency_unreserved", self.environments.map(|(_, free)| f64::from(free)));
        put("account_vcpus_limit", self.vcpus.map(|(quota, _)| quota));
        put("account_vcpus_used", self.vcpus.map(|(_, used)| used));
        values
    }
}

/// What stands in the way of what may be wanted, one sentence each. `there` is what runs now.
pub(crate) fn warnings(
    config: &Aws,
    quotas: &Quotas,
    there: Option<&FleetLoad>,
    minute: &Values,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(gateways) = &config.gateways {
        warnings.extend(vcpus(gateways, quotas, there));
        if let Some(targets) = quotas.targets.filter(|targets| *targets < gateways.max) {
            warnings.push(format!(
                "a load balancer may have {targets} targets, but `cloud.aws.gateways.max` is {}",
                gateways.max
            ));
        }
    }
    if let Some((all, free)) = quotas.environments {
        let warm: u64 = config.functions.values().map(|f| u64::from(f.warm_max)).sum();
        if warm > u64::try_from(all).unwrap_or(0) {
            warnings.push(format!(
                "the account may have {all} environments at once, but {warm} may be kept warm: ask AWS for \
                 more concurrent executions, or lower `warm_max`"
            ));
        }
        let busy = minute.iter().filter(|((name, _), _)| *name == FUNCTION_CONCURRENCY);
        let busy: f64 = busy.map(|(_, n)| n).sum();
        if busy > FULL * f64::from(all) {
            warnings.push(format!(
                "functions are at {busy:.0} of the {all} environments that the account may have at once ({free} \
                 of them reserved by none): ask AWS for more concurrent executions"
            ));
        }
    }
    let replicas = config.replicas.as_ref().map_or(0, |replicas| replicas.database_max);
    if let Some((quota, used)) = quotas.databases.filter(|_| replicas > 0) {
        let ours = i64::from(there.map_or(0, |there| there.database_replicas));
        let room = quota - (used - ours).max(0);
        if room < i64::from(replicas) {
            warnings.push(format!(
                "the account may have {quota} instances of databases, which leaves room for {} replicas, but \
                 `cloud.aws.replicas.database_max` is {replicas}",
                room.max(0)
            ));
        }
    }
    warnings
}

/// Whether all gateways that there may be fit into the quota beside what else runs.
fn vcpus(gateways: &AwsGateways, quotas: &Quotas, there: Option<&FleetLoad>) -> Option<String> {
    let ((quota, used), (kind, each)) = quotas.vcpus.zip(quotas.gateway.as_ref())?;
    if !standard(kind) || *each <= 0 {
        return None;
    }
    let each = f64::from(*each);
    let ours = there.map_or(0, |there| there.gateways_launched + there.gateways_draining);
    let others = (used - each * f64::from(ours)).max(0.0);
    let room = ((quota - others) / each).floor().max(0.0);
    (room < f64::from(gateways.max)).then(|| {
        format!(
            "the account may run {quota:.0} vCPUs of standard instances and uses {others:.0} for other things, \
             which leaves room for {room:.0} gateways of {kind}, but `cloud.aws.gateways.max` is {}: ask AWS for \
             more \"Running On-Demand Standard instances\"",
            gateways.max
        )
    })
}

/// Whether a type counts for the quota of standard instances: A, C, D, H, I, M, R, T and Z.
fn standard(kind: &str) -> bool {
    let family = kind.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default();
    ["a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"].contains(&family)
}

/// Reads what the configuration could need. What cannot be read is among the faults of the calls.
pub(crate) async fn read(clients: &Clients, config: &Aws) -> Quotas {
    let mut quotas = Quotas::default();
    if !config.functions.is_empty() {
        let call = clients.lambda.get_account_settings();
        let answer = clients.calls.make("lambda:GetAccountSettings", call.send()).await;
        let limit = answer.ok().and_then(|answer| answer.account_limit);
        quotas.environments = limit.map(|limit| {
            let all = limit.concurrent_executions();
            (all, limit.unreserved_concurrent_executions().unwrap_or(all))
        });
    }
    if let Some(gateways) = &config.gateways {
        quotas.vcpus = vcpu_quota(clients).await.ok().flatten();
        quotas.gateway = gateway_type(clients, gateways).await.ok().flatten();
        quotas.targets = targets(clients).await.ok().flatten();
    }
    if config.replicas.as_ref().is_some_and(|replicas| replicas.database_max > 0) {
        let call = clients.rds.describe_account_attributes();
        let answer = clients.calls.make("rds:DescribeAccountAttributes", call.send()).await.ok();
        let all = answer.iter().flat_map(|answer| answer.account_quotas());
        let mut all = all.filter(|quota| quota.account_quota_name() == Some("DBInstances"));
        quotas.databases = all.next().and_then(|quota| quota.max().zip(quota.used()));
    }
    quotas
}

/// The quota of vCPUs, and how many are in use: CloudWatch knows both, and EC2 itself neither.
async fn vcpu_quota(clients: &Clients) -> Result<Option<(f64, f64)>, CallError> {
    let mut metric = Metric::builder().namespace("AWS/Usage").metric_name("ResourceCount");
    for (name, value) in [
        ("Service", "EC2"),
        ("Type", "Resource"),
        ("Resource", "vCPU"),
        ("Class", "Standard/OnDemand"),
    ] {
        metric = metric.dimensions(Dimension::builder().name(name).value(value).build());
    }
    let stat = MetricStat::builder().metric(metric.build()).period(300).stat("Maximum").build();
    let used = MetricDataQuery::builder().id("used").metric_stat(stat).build();
    let quota = MetricDataQuery::builder().id("quota").expression("SERVICE_QUOTA(used)").build();
    let (cloudwatch, now) = (&clients.cloudwatch, (clients.now)());
    let answer = figures::ask(clients, cloudwatch, vec![used, quota], now, WINDOW_SECS).await?;
    let value = |id: &str| answer.get(id).map(|(_, value)| *value);
    Ok(value("quota").zip(value("used")))
}

/// What the launch template launches, of the group or of the configuration.
async fn gateway_type(
    clients: &Clients,
    gateways: &AwsGateways,
) -> Result<Option<(String, i32)>, CallError> {
    let template = match &gateways.autoscaling_group {
        None => gateways.launch_template.clone().map(|id| (id, "$Default".to_owned())),
        Some(name) => {
            let call = clients.autoscaling.describe_auto_scaling_groups();
            let call = call.auto_scaling_group_names(name);
            let operation = "autoscaling:DescribeAutoScalingGroups";
            let answer = clients.calls.make(operation, call.send()).await?;
            let group = answer.auto_scaling_groups().first();
            let mixed = group.and_then(|group| group.mixed_instances_policy()?.launch_template());
            let mixed = mixed.and_then(|template| template.launch_template_specification());
            let template = group.and_then(|group| group.launch_template()).or(mixed);
            template.and_then(|template| {
                let version = template.version().unwrap_or("$Default");
                Some((template.launch_template_id()?.to_owned(), version.to_owned()))
            })
        }
    };
    let Some((id, version)) = template else { return Ok(None) };
    let call = clients.ec2.describe_launch_template_versions();
    let call = call.launch_template_id(id).versions(version);
    let answer = clients.calls.make("ec2:DescribeLaunchTemplateVersions", call.send()).await?;
    let data = answer.launch_template_versions().first().and_then(|v| v.launch_template_data());
    let Some(kind) = data.and_then(|data| data.instance_type()).cloned() else { return Ok(None) };
    let name = InstanceType::as_str(&kind).to_owned();
    let call = clients.ec2.describe_instance_types().instance_types(kind);
    let answer = clients.calls.make("ec2:DescribeInstanceTypes", call.send()).await?;
    let info = answer.instance_types().first().and_then(|info| info.v_cpu_info());
    Ok(info.and_then(|info| info.default_v_cpus()).map(|vcpus| (name, vcpus)))
}

/// Targets that one application load balancer may have.
async fn targets(clients: &Clients) -> Result<Option<u32>, CallError> {
    let call = clients.balancing.describe_account_limits();
    let operation = "elasticloadbalancing:DescribeAccountLimits";
    let answer = clients.calls.make(operation, call.send()).await?;
    let name = Some("targets-per-application-load-balancer");
    let limit = answer.limits().iter().find(|limit| limit.name() == name);
    Ok(limit.and_then(|limit| limit.max()?.parse().ok()))
}

#[cfg(test)]
mod tests {
    use spillway_model::config::{AwsFunction, AwsReplicas};

    use super::*;

    fn config() -> Aws {
        let function = "name = \"east-one-code\"\nwarm_max = 20\nwarm_qps = 50";
        let function: AwsFunction = toml::from_str(function).unwrap();
        let replicas: AwsReplicas = toml::from_str("weighted_qps = 1\ndatabase_max = 3").unwrap();
        let gateways = "autoscaling_group = \"g\"\ntarget_group = \"t\"\nweighted_qps = 1\nmax = 8";
        let mut aws: Aws =
            toml::from_str("region = \"r\"\nname = \"east\"\nadmin = \"127.0.0.1:1\"").unwrap();
        aws.functions.insert("one-code".to_owned(), function);
        aws.gateways = Some(toml::from_str(gateways).unwrap());
        aws.replicas = Some(replicas);
        aws
    }

    fn plenty() -> Quotas {
        Quotas {
            environments: Some((1000, 900)),
            vcpus: Some((32.0, 16.0)),
            gateway: Some(("c7g.large".to_owned(), 2)),
            targets: Some(1000),
            databases: Some((40, 2)),
        }
    }

    fn told(quotas: &Quotas, there: Option<&FleetLoad>) -> Vec<String> {
        warnings(&config(), quotas, there, &Values::new())
    }

    #[test]
    fn what_fits_is_not_told_of_nor_what_could_not_be_read() {
        assert_eq!(told(&plenty(), None), Vec::<String>::new());
        assert_eq!(told(&Quotas::default(), None), Vec::<String>::new());
    }

    #[test]
    fn what_would_not_fit_is_told_of_before_it_is_wanted() {
        let few = Quotas { vcpus: Some((32.0, 17.0)), ..plenty() };
        let [said] = told(&few, None).try_into().unwrap();
        assert!(said.contains("room for 7 gateways of c7g.large"), "{said}");
        // Of what is in use, some is ours.
        let there =
            FleetLoad { gateways_launched: 3, gateways_draining: 1, ..FleetLoad::default() };
        assert_eq!(told(&few, Some(&there)), Vec::<String>::new());
        let other = Quotas { gateway: Some(("g5.xlarge".to_owned(), 4)), ..few };
        assert_eq!(told(&other, None), Vec::<String>::new(), "another quota counts");
        for (quotas, says) in [
            (Quotas { targets: Some(7), ..plenty() }, "may have 7 targets"),
            (Quotas { environments: Some((10, 10)), ..plenty() }, "but 20 may be kept warm"),
            (Quotas { databases: Some((40, 38)), ..plenty() }, "room for 2 replicas"),
        ] {
            let [said] = told(&quotas, None).try_into().unwrap();
            assert!(said.contains(says), "{said}");
        }
        let busy = |n| Values::from([((FUNCTION_CONCURRENCY, "one-code".to_owned()), n)]);
        assert_eq!(warnings(&config(), &plenty(), None, &busy(800.0)), Vec::<String>::new());
        let [said] = warnings(&config(), &plenty(), None, &busy(801.0)).try_into().unwrap();
        assert!(said.contains("at 801 of the 1000 environments"), "{said}");
    }

    #[test]
    fn families_have_their_quotas() {
        for kind in ["c7g.large", "m5.xlarge", "im4gn.large", "t4g.nano", "z1d.large"] {
            assert!(standard(kind), "{kind}");
        }
        for kind in ["g5.xlarge", "p5.48xlarge", "inf2.xlarge", "trn1.2xlarge", "dl1.24xlarge", ""]
        {
            assert!(!standard(kind), "{kind}");
        }
    }
}
