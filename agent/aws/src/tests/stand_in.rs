//! Against the stand-in of AWS: the SDK's own requests, and behaviour as AWS documents it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aws_sdk_ec2::config::Credentials;
use spillway_model::config::{Aws, AwsFunction, AwsGateways, AwsRule};
use spillway_model::{Fleet, UnixMillis};
use spillway_part::clock;
use spillway_test_aws::{Config, Server, Shape, Stack};

use crate::call::Calls;
use crate::clients::{Clients, loader};
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
        after_secs: 60,
        keep_secs: 300,
    };
    let function = AwsFunction { name: stack.function, alias: "live".to_owned() };
    let aws = Aws {
        region: "eu-central-1".to_owned(),
        name: "east".to_owned(),
        admin: "127.0.0.1:1".parse().unwrap(),
        gateways: Some(gateways),
        rules: vec![AwsRule { arn: stack.rule, target_group: stack.functions }],
        functions: [("one-code".to_owned(), function)].into(),
        alarm_queue: Some(stack.queue_url),
        cache: Some(stack.cache),
        database: Some(stack.database),
        artifacts_bucket: None,
    };
    let told = loader("eu-central-1")
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

#[tokio::test]
async fn everything_is_scaled_up_and_down_again() {
    for by_template in [false, true] {
        let stage = stage(by_template).await;
        let wanted = Fleet {
            gateways: 3,
            gateway_percent: 60,
            provisioned: [("one-code".to_owned(), 10)].into(),
            cache_replicas: 1,
            database_replicas: 2,
        };
        assert_eq!(
            stage.settle(&Fleet::default()).await.1,
            [],
            "what Terraform made is as it should be"
        );
        let (round, acts) = stage.settle(&wanted).await;
        assert_eq!((round.seen.gateways_launched, round.seen.gateways_healthy), (3, 3));
        assert_eq!(round.seen.gateway_percent, 60);
        assert_eq!(round.seen.provisioned_ready.get("one-code"), Some(&10));
        let added = acts.iter().filter(|act| matches!(act, Act::AddReplica { .. })).count();
        assert_eq!(added, 2, "{acts:#?}");
        let launched = acts.iter().filter(|act| matches!(act, Act::Launch(_))).count();
        assert_eq!(launched, usize::from(by_template), "{acts:#?}");
        let (round, acts) = stage.settle(&Fleet::default()).await;
        assert_eq!(round.seen.gateways_launched + round.seen.gateways_draining, 0);
        assert_eq!((round.seen.gateway_percent, round.seen.provisioned_ready.len()), (0, 0));
        let removed = acts.iter().filter(|act| matches!(act, Act::RemoveReplica { .. })).count();
        assert_eq!(removed, 2, "{acts:#?}");
        let weighed = acts.iter().position(|act| matches!(act, Act::Weigh { .. })).unwrap();
        let less = |act: &Act| matches!(act, Act::SizeGroup { .. } | Act::Drain { .. });
        assert!(acts.iter().position(less).unwrap() > weighed, "{acts:#?}");
    }
}
