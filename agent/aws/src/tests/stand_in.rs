//! Against the stand-in of AWS: the SDK's own requests, and behaviour as AWS documents it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aws_config::ConfigLoader;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_ec2::config::Credentials;
use serde_json::json;
use spillway_model::api::AlarmState;
use spillway_model::config::{
    Aws, AwsCapacity, AwsFunction, AwsGateways, AwsPrices, AwsProgram, AwsReplicas, AwsRule,
};
use spillway_model::load::FleetLoad;
use spillway_model::{Fleet, UnixMillis};
use spillway_part::clock;
use spillway_test_aws::{Config, Fault, FaultKind, Request, Server, Service, Shape, Stack};

use crate::alarms::describe;
use crate::call::Calls;
use crate::clients::{Clients, loader};
use crate::figures::Figures;
use crate::{Act, Journal, Keeper, Round};

/// How far the tests' clock is ahead. It only ever moves on, so tests may share it.
static AHEAD_MS: AtomicU64 = AtomicU64::new(0);

fn now() -> UnixMillis {
    clock::now().plus_millis(AHEAD_MS.load(Relaxed))
}

struct Stage {
    server: Server,
    aws: Aws,
    clients: Clients,
    folder: tempfile::TempDir,
}

async fn stage(by_template: bool) -> Stage {
    stage_with(by_template, loader("eu-central-1")).await
}

async fn stage_with(by_template: bool, loader: ConfigLoader) -> Stage {
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let brief = [20_000, 40_000];
    let config = Config { replica_ms: brief, provisioned_ms: brief, ..Config::default() };
    let server = Server::start(config, listen, Arc::new(())).await.unwrap();
    let stack = server.with(|aws| Stack::make(aws, "east", Shape::default())).unwrap();
    let gateways = AwsGateways {
        autoscaling_group: (!by_template).then_some(stack.group),
        launch_template: by_template.then_some(stack.template),
        subnets: if by_template { Config::default().subnets.into_keys().collect() } else { vec![] },
        target_group: stack.gateways,
        weighted_qps: 100.0,
        max: 4,
        boot_secs: 60,
    };
    let function = AwsFunction {
        name: stack.function,
        alias: "live".to_owned(),
        program: AwsProgram::OneCode,
        warm_max: 20,
        warm_qps: 50.0,
    };
    let capacity = AwsCapacity {
        load_balancer: stack.balancer,
        max_units: 500,
        requests_per_connection: 1.0,
        after_secs: 30,
        keep_secs: 3600,
    };
    let replicas = AwsReplicas {
        weighted_qps: 100.0,
        cache_max: 1,
        database_max: 2,
        after_secs: 120,
        keep_secs: 1800,
    };
    let aws = Aws {
        region: "eu-central-1".to_owned(),
        name: "east".to_owned(),
        admin: "127.0.0.1:1".parse().unwrap(),
        gateways: Some(gateways),
        prices: AwsPrices::default(),
        rules: vec![AwsRule { arn: stack.rule, target_group: stack.functions }],
        functions: [("one-code".to_owned(), function)].into(),
        alarm_queue: Some(stack.queue_url),
        alarm_endpoint: None,
        capacity: Some(capacity),
        replicas: Some(replicas),
        billing: true,
        cache: Some(stack.cache),
        database: Some(stack.database),
    };
    let told = loader
        .endpoint_url(server.endpoint())
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"));
    let mut clients = Clients::of(&told.load().await);
    clients.calls = Calls::every(Duration::ZERO);
    clients.now = now;
    Stage { server, aws, clients, folder: tempfile::tempdir().unwrap() }
}

impl Stage {
    /// Rounds, with time between them, until AWS is what is wanted; a new process for each.
    async fn settle(&self, wanted: &Fleet) -> (Round, Vec<Act>) {
        let mut acts = Vec::new();
        for _ in 0..80 {
            let (journal, kept) = Journal::open(self.folder.path()).unwrap();
            let mut keeper = Keeper::new(&self.clients, &self.aws, journal, kept);
            for _ in 0..6 {
                let round = keeper.round(Some(wanted)).await;
                assert_eq!(round.failed, Vec::<String>::new());
                assert_eq!(round.warnings, Vec::<String>::new());
                acts.extend(round.acts.clone());
                if round.settled() {
                    return (round, acts);
                }
                self.server.advance(Duration::from_secs(5));
                AHEAD_MS.fetch_add(5000, Relaxed);
            }
        }
        panic!("it does not settle: {acts:#?}");
    }
}

impl Stage {
    /// As [`Stage::settle`], after failures that are told until their calls succeed.
    async fn settled_in_the_end(&self, wanted: &Fleet) {
        let (journal, kept) = Journal::open(self.folder.path()).unwrap();
        let mut keeper = Keeper::new(&self.clients, &self.aws, journal, kept);
        for _ in 0..400 {
            if keeper.round(Some(wanted)).await.settled() {
                return;
            }
            self.server.advance(Duration::from_secs(5));
            AHEAD_MS.fetch_add(5000, Relaxed);
        }
        panic!("it does not settle");
    }
}

/// Some of every lever.
fn everything() -> Fleet {
    Fleet {
        gateways: 3,
        gateway_percent: 60,
        provisioned: [("one-code".to_owned(), 10)].into(),
        cache_replicas: 1,
        database_replicas: 2,
        capacity_units: 200,
    }
}

#[tokio::test]
async fn everything_is_scaled_up_and_down_again() {
    for by_template in [false, true] {
        let stage = stage(by_template).await;
        let wanted = everything();
        assert_eq!(
            stage.settle(&Fleet::default()).await.1,
            [],
            "what Terraform made is as it should be"
        );
        let (round, acts) = stage.settle(&wanted).await;
        assert_eq!((round.seen.gateways_launched, round.seen.gateways_healthy), (3, 3));
        assert_eq!(round.seen.gateway_percent, 60);
        assert_eq!((round.seen.cache_replicas, round.seen.database_replicas), (2, 2));
        assert_eq!(round.seen.capacity_units, 200);
        assert_eq!(round.seen.provisioned_ready.get("one-code"), Some(&10));
        let added = acts.iter().filter(|act| matches!(act, Act::AddReplica { .. })).count();
        assert_eq!(added, 2, "{acts:#?}");
        let launched = acts.iter().filter(|act| matches!(act, Act::Launch(_))).count();
        assert_eq!(launched, usize::from(by_template), "{acts:#?}");
        let (round, acts) = stage.settle(&Fleet::default()).await;
        assert_eq!(round.seen.gateways_launched + round.seen.gateways_draining, 0);
        assert_eq!((round.seen.gateway_percent, round.seen.provisioned_ready.len()), (0, 0));
        assert_eq!((round.seen.capacity_units, round.seen.database_replicas), (0, 0));
        let reserved = acts.iter().filter(|act| matches!(act, Act::Reserve { .. })).count();
        assert_eq!(reserved, 1, "given back at once: {acts:#?}");
        let removed = acts.iter().filter(|act| matches!(act, Act::RemoveReplica { .. })).count();
        assert_eq!(removed, 2, "{acts:#?}");
        let weighed = acts.iter().position(|act| matches!(act, Act::Weigh { .. })).unwrap();
        let less = |act: &Act| matches!(act, Act::SizeGroup { .. } | Act::Drain { .. });
        assert!(acts.iter().position(less).unwrap() > weighed, "{acts:#?}");
    }
}

#[tokio::test]
async fn a_replica_that_has_become_the_writer_is_kept() {
    let stage = stage(false).await;
    let wanted = Fleet { database_replicas: 2, ..Fleet::default() };
    stage.settle(&wanted).await;
    stage.server.with(|aws| aws.fail_over("east-database", "east-replica-2"));
    let (journal, kept) = Journal::open(stage.folder.path()).unwrap();
    let mut keeper = Keeper::new(&stage.clients, &stage.aws, journal, kept);
    let (mut acts, mut warnings) = (Vec::new(), Vec::new());
    for _ in 0..40 {
        let round = keeper.round(Some(&Fleet::default())).await;
        acts.extend(round.acts);
        warnings.extend(round.warnings);
        stage.server.advance(Duration::from_secs(5));
        AHEAD_MS.fetch_add(5000, Relaxed);
    }
    assert_eq!(acts, [Act::RemoveReplica { id: "east-replica-1".to_owned() }]);
    let told =
        warnings.iter().all(|text| text.contains("east-replica-2 of the database has become"));
    assert!(told && !warnings.is_empty(), "{warnings:?}");
    drop(keeper);
    stage.server.with(|aws| aws.fail_over("east-database", "east-database-1"));
    let (_, acts) = stage.settle(&Fleet::default()).await;
    assert_eq!(acts, [Act::RemoveReplica { id: "east-replica-2".to_owned() }]);
}

/// The ways in which calls end badly, each so many times that the SDK's own attempts do not hide it.
fn faults() -> Vec<Fault> {
    let stale = FaultKind::Stale { millis: 8_000 };
    let hang = FaultKind::Hang { millis: 1_000 };
    [
        (Service::Ec2, "RunInstances", FaultKind::LostAnswer),
        (Service::Ec2, "RunInstances", FaultKind::Quota),
        (Service::Ec2, "DescribeInstances", FaultKind::AccessDenied),
        (Service::Ec2, "DescribeInstances", stale.clone()),
        (Service::Ec2, "DescribeInstances", stale),
        (Service::Ec2, "TerminateInstances", FaultKind::LostAnswer),
        (Service::AutoScaling, "SetDesiredCapacity", FaultKind::LostAnswer),
        (Service::AutoScaling, "DescribeAutoScalingGroups", FaultKind::Internal),
        (Service::Elb, "ModifyRule", FaultKind::LostAnswer),
        (Service::Elb, "RegisterTargets", FaultKind::Throttle),
        (Service::Elb, "DeregisterTargets", FaultKind::LostAnswer),
        (Service::Elb, "DescribeTargetHealth", hang),
        (Service::Elb, "ModifyCapacityReservation", FaultKind::LostAnswer),
        (Service::Lambda, "PutProvisionedConcurrencyConfig", FaultKind::Quota),
        (Service::Lambda, "DeleteProvisionedConcurrencyConfig", FaultKind::LostAnswer),
        (Service::ElastiCache, "IncreaseReplicaCount", FaultKind::LostAnswer),
        (Service::ElastiCache, "DecreaseReplicaCount", FaultKind::Unreachable),
        (Service::Rds, "CreateDBInstance", FaultKind::LostAnswer),
        (Service::Rds, "DeleteDBInstance", FaultKind::LostAnswer),
    ]
    .map(|(service, action, kind)| Fault {
        service: Some(service),
        action: Some(action.to_owned()),
        after: 0,
        times: Some(crate::clients::ATTEMPTS),
        kind,
    })
    .into()
}

#[tokio::test]
async fn whatever_fails_is_done_once_in_the_end_by_process_after_process() {
    for by_template in [false, true] {
        let brief = RetryConfig::standard()
            .with_max_attempts(crate::clients::ATTEMPTS)
            .with_initial_backoff(Duration::from_millis(1));
        let timeouts =
            TimeoutConfig::builder().operation_attempt_timeout(Duration::from_millis(500)).build();
        let loader = loader("eu-central-1").retry_config(brief).timeout_config(timeouts);
        let stage = stage_with(by_template, loader).await;
        stage.server.with(|aws| aws.add_faults(faults()));
        let wanted = everything();
        let mut ever = BTreeSet::new();
        for wanted in [&wanted, &Fleet::default()] {
            let mut told = BTreeSet::new();
            let mut settled = false;
            for _ in 0..200 {
                // Each is killed after a few rounds, and knows what the journal knows.
                let (journal, kept) = Journal::open(stage.folder.path()).unwrap();
                let mut keeper = Keeper::new(&stage.clients, &stage.aws, journal, kept);
                for _ in 0..4 {
                    let round = keeper.round(Some(wanted)).await;
                    told.extend(round.failed.clone());
                    settled = round.settled();
                    let ids = |aws: &mut spillway_test_aws::Aws| {
                        aws.live_instances().map(|i| i.id.clone()).collect::<Vec<_>>()
                    };
                    ever.extend(stage.server.with(ids));
                    assert!(round.seen.gateways_launched <= 3, "{round:#?}");
                    stage.server.advance(Duration::from_secs(5));
                    AHEAD_MS.fetch_add(5000, Relaxed);
                }
                if settled {
                    break;
                }
            }
            assert!(settled, "{told:#?}");
            assert!(told.len() >= 3, "{told:#?}");
        }
        assert_eq!(stage.server.with(|aws| aws.live_instances().count()), 0, "none is left over");
        assert_eq!(ever.len(), 3, "none was launched twice: {ever:?}");
    }
}

/// A fault of every call of an action, until it is taken away.
fn always(service: Service, action: &str, kind: FaultKind) -> Fault {
    let action = Some(action.to_owned());
    Fault { service: Some(service), action, after: 0, times: None, kind }
}

#[tokio::test]
async fn what_does_not_heal_is_all_that_is_left_before_it_ends() {
    let denied = || FaultKind::AccessDenied;
    let missing = FaultKind::Refuse {
        status: 400,
        code: "InvalidLaunchTemplateId.NotFound".to_owned(),
        message: "The specified launch template does not exist".to_owned(),
    };
    let (up, down) = (everything(), Fleet::default());
    for (by_template, wanted, fault, says) in [
        // What was tried, and what cannot even be read.
        (true, &up, always(Service::Ec2, "RunInstances", FaultKind::Quota), Some("higher quota")),
        (true, &up, always(Service::Ec2, "RunInstances", missing), Some("Terraform's outputs")),
        (false, &down, always(Service::Elb, "ModifyRule", denied()), Some("this permission")),
        (true, &down, always(Service::Ec2, "TerminateInstances", denied()), Some("permission")),
        (true, &up, always(Service::Elb, "RegisterTargets", denied()), Some("permission")),
        (false, &up, always(Service::Rds, "DescribeDBInstances", denied()), Some("permission")),
        // What passes by itself is waited for.
        (false, &up, faults().remove(7), None),
    ] {
        let stage = stage(by_template).await;
        if *wanted == down {
            stage.settle(&up).await;
        }
        stage.server.with(|aws| aws.add_faults(vec![fault.clone()]));
        let (journal, kept) = Journal::open(stage.folder.path()).unwrap();
        let mut keeper = Keeper::new(&stage.clients, &stage.aws, journal, kept);
        let mut rounds = 0;
        let round = loop {
            let round = keeper.round(Some(wanted)).await;
            if round.stuck || round.settled() {
                break round;
            }
            rounds += 1;
            assert!(rounds < 400, "{fault:?}: {round:#?}");
            stage.server.advance(Duration::from_secs(5));
            AHEAD_MS.fetch_add(5000, Relaxed);
        };
        assert_eq!(round.stuck, says.is_some(), "{fault:?}: {round:#?}");
        // All else has been done by then, or waits for just that.
        let others = |wait: &&String| ["cache", "warm", "units"].iter().any(|o| wait.contains(o));
        assert_eq!(round.waiting.iter().find(others), None, "{round:#?}");
        if let Some(says) = says {
            assert!(round.warnings.iter().any(|w| w.contains(says)), "{fault:?}: {round:#?}");
        }
        drop(keeper);
        // The same goes on once a person has seen to it.
        stage.server.with(spillway_test_aws::Aws::clear_faults);
        stage.settled_in_the_end(wanted).await;
    }
}

/// Two minutes after now, when CloudWatch has what is put now.
fn later() -> UnixMillis {
    clock::now().plus_secs(120)
}

#[tokio::test]
async fn figures_spend_and_quotas_that_bind_are_told() {
    let mut stage = stage(false).await;
    stage.clients.now = later;
    stage.server.with(|aws| {
        let cache = [("CacheClusterId", "east-cache-001")];
        let database = [("DBInstanceIdentifier", "east-database-1")];
        for (namespace, name, dimensions, value) in [
            ("AWS/Billing", "EstimatedCharges", &[("Currency", "USD")][..], 1234.5),
            ("AWS/ElastiCache", "EngineCPUUtilization", &cache, 40.0),
            ("AWS/ElastiCache", "ReplicationLag", &cache, 0.5),
            ("AWS/RDS", "CPUUtilization", &database, 70.0),
            ("AWS/RDS", "DatabaseConnections", &database, 30.0),
            ("AWS/RDS", "AuroraReplicaLag", &database, 12.0),
        ] {
            aws.put_metric(namespace, name, dimensions, value);
        }
        // Four gateways of two vCPUs each do not fit into seven.
        aws.set_vcpus(7);
        aws.put_vcpus(0.0);
    });
    let figures = Figures::default();
    figures.update(&stage.clients, &stage.aws, None, 0).await;
    assert_eq!(stage.clients.calls.faults(), Vec::<String>::new());
    let page = figures.metrics();
    for line in [
        "spillway_aws_cache_cpu_percent{of=\"east-cache-001\"} 40",
        "spillway_aws_cache_replication_lag_seconds{of=\"east-cache-001\"} 0.5",
        "spillway_aws_database_cpu_percent{of=\"east-database-1\"} 70",
        "spillway_aws_database_connections{of=\"east-database-1\"} 30",
        "spillway_aws_database_replica_lag_milliseconds{of=\"east-database-1\"} 12",
        "spillway_aws_account_vcpus_limit{of=\"eu-central-1\"} 7",
        "spillway_aws_account_concurrency_limit{of=\"eu-central-1\"} 1000",
        "spillway_aws_spend_usd 1234.5",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    let mut load = FleetLoad::default();
    figures.add_to(&mut load);
    let spend = load.spend.unwrap();
    assert_eq!(spend.usd, 1234.5);
    assert!(later().millis_since(spend.at) < 2 * 3_600_000, "{spend:?}");
    let [said] = load.warnings.try_into().unwrap();
    assert!(said.contains("room for 3 gateways of c7g.large"), "{said}");
    // Nobody who did not ask for it needs the right to read the bill.
    stage.aws.billing = false;
    let (figures, mut load) = (Figures::default(), FleetLoad::default());
    figures.update(&stage.clients, &stage.aws, None, 0).await;
    figures.add_to(&mut load);
    assert_eq!(load.spend, None);
}

#[tokio::test]
async fn a_suppressed_alarm_asks_for_nothing() {
    let stage = stage(false).await;
    let call = |action: &str, input| {
        let request = Request { service: Service::CloudWatch, action: action.to_owned(), input };
        stage.server.with(|aws| aws.call(&request)).answer.unwrap()
    };
    let set = |alarm: &str, state: &str| {
        let input = json!({ "AlarmName": alarm, "StateValue": state, "StateReason": "a test" });
        call("SetAlarmState", input);
    };
    let maintenance = json!({
        "AlarmName": "maintenance", "Namespace": "N", "MetricName": "m", "Statistic": "Sum",
        "Period": 60, "EvaluationPeriods": 1, "Threshold": 1, "TreatMissingData": "ignore",
        "ComparisonOperator": "GreaterThanThreshold",
    });
    call("PutMetricAlarm", maintenance);
    let overwhelmed = json!({
        "AlarmName": "east/overwhelmed", "AlarmRule": "ALARM(\"east/uplink-full-east\")",
        "AlarmDescription": "spillway: tier=3 for=10m", "ActionsSuppressor": "maintenance",
    });
    call("PutCompositeAlarm", overwhelmed);
    set("east/uplink-full-east", "ALARM");
    for (maintained, asking) in [("ALARM", 1), ("OK", 2)] {
        set("maintenance", maintained);
        let changes = describe(&stage.clients, "east").await.unwrap();
        let on = changes.iter().filter(|change| change.state == AlarmState::Alarm).count();
        assert_eq!(on, asking, "{changes:#?}");
    }
}

#[tokio::test]
async fn an_alarm_is_of_the_site_set_that_its_name_says() {
    let stage = stage(false).await;
    // A site set whose name begins with all of the other's, and an alarm of nobody's.
    let other = stage.server.with(|aws| Stack::make(aws, "east-2", Shape::default())).unwrap();
    let by_hand = json!({
        "AlarmName": "east-by-hand", "AlarmDescription": "spillway: tier=3 for=10m",
        "Namespace": "N", "MetricName": "m", "Statistic": "Sum", "Period": 60,
        "EvaluationPeriods": 1, "Threshold": 1, "TreatMissingData": "ignore",
        "ComparisonOperator": "GreaterThanThreshold",
    });
    let call = |action: &str, input| {
        let request = Request { service: Service::CloudWatch, action: action.to_owned(), input };
        stage.server.with(|aws| aws.call(&request)).answer.unwrap()
    };
    call("PutMetricAlarm", by_hand);
    for alarm in [other.alarm.as_str(), "east-by-hand"] {
        call(
            "SetAlarmState",
            json!({ "AlarmName": alarm, "StateValue": "ALARM", "StateReason": "a test" }),
        );
    }
    let on = async |name: &str| {
        let changes = describe(&stage.clients, name).await.unwrap();
        let on = changes.into_iter().filter(|change| change.state == AlarmState::Alarm);
        on.map(|change| change.alarm).collect::<Vec<_>>()
    };
    assert_eq!(on("east").await, Vec::<String>::new());
    assert_eq!(on("east-2").await, [other.alarm]);
}

#[tokio::test]
async fn orphans_are_drained_and_what_is_not_ours_is_not_touched() {
    for by_template in [false, true] {
        let stage = stage(by_template).await;
        let group = stage.aws.gateways.as_ref().unwrap().target_group.clone();
        let call = |service, action: &str, input| {
            let request = Request { service, action: action.to_owned(), input };
            stage.server.with(|aws| aws.call(&request)).answer.unwrap()
        };
        let run = |tags: &[(&str, &str)]| {
            let tag = |(key, value): &(&str, &str)| json!({ "Key": key, "Value": value });
            let tags: Vec<_> = tags.iter().map(tag).collect();
            let input = json!({
                "ImageId": "ami-0123456789abcdef0", "InstanceType": "c7g.large",
                "SubnetId": "subnet-0a000000000000001", "MinCount": 1, "MaxCount": 1,
                "TagSpecification": [{ "ResourceType": "instance", "Tag": tags }],
            });
            let made = call(Service::Ec2, "RunInstances", input);
            made["instancesSet"][0]["instanceId"].as_str().unwrap().to_owned()
        };
        let (agent, east) = (("spillway:agent", "true"), ("spillway:site-set", "east"));
        let orphan = run(&[agent, east]);
        let others = [&[][..], &[agent], &[east], &[agent, ("spillway:site-set", "west")]];
        let others: BTreeSet<String> = others.into_iter().map(run).collect();
        stage.server.advance(Duration::from_secs(60));
        let targets: Vec<_> =
            others.iter().chain([&orphan]).map(|id| json!({ "Id": id })).collect();
        let input = json!({ "TargetGroupArn": group, "Targets": targets });
        call(Service::Elb, "RegisterTargets", input);
        stage.server.advance(Duration::from_secs(60));
        let (_, acts) = stage.settle(&Fleet::default()).await;
        let drained = Act::Drain { instances: vec![orphan.clone()] };
        let ended = Act::End { instances: vec![orphan.clone()] };
        assert!(acts.contains(&drained) && acts.contains(&ended), "{acts:#?}");
        let touched = |act: &Act| others.iter().any(|id| act.to_string().contains(id));
        assert!(!acts.iter().any(touched), "{acts:#?}");
        let live = |aws: &mut spillway_test_aws::Aws| {
            aws.live_instances().map(|i| i.id.clone()).collect::<BTreeSet<_>>()
        };
        assert_eq!(stage.server.with(live), others);
        let input = json!({ "TargetGroupArn": group });
        let health = call(Service::Elb, "DescribeTargetHealth", input).to_string();
        assert_eq!(health.matches("\"healthy\"").count(), others.len(), "{health}");
    }
}
