//! Whatever goes wrong between `spillway-aws` and AWS: what the plan wants comes to be, nothing is
//! launched twice, and nothing is left when the plan wants nothing.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use spillway_model::Fleet;
use spillway_test_aws::{Config, Fault, FaultKind, Service, Shape};
use spillway_test_support::{Block, example_config, wait_until};

use super::cloud::{Cloud, once, rise_and_fall};
use super::decided::Decided;
use super::home::{Logs, SpillwayAws, on_aws};
use crate::beside;

/// AWS is quick, so that what takes time is what the process waits for.
const FACTOR: u32 = 30;
/// A refusal for want of quota is tried again after half a minute, and with descriptions that are ten
/// seconds old each of some steps takes as long again, on a busy machine longer.
const PATIENCE: Duration = Duration::from_secs(480);
/// What a burst wants.
const GATEWAYS: u32 = 3;
const PERCENT: u8 = 60;
const WARM: u32 = 10;
/// Everything that changes something.
const CHANGES: [&str; 12] = [
    "RunInstances",
    "RegisterTargets",
    "DeregisterTargets",
    "TerminateInstances",
    "SetDesiredCapacity",
    "ModifyRule",
    "PutProvisionedConcurrencyConfig",
    "DeleteProvisionedConcurrencyConfig",
    "IncreaseReplicaCount",
    "DecreaseReplicaCount",
    "CreateDBInstance",
    "DeleteDBInstance",
];

/// What goes wrong, each time that the plan changes.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    /// Nothing.
    None,
    /// So many calls meet this, whichever they are.
    Calls(u32, fn() -> FaultKind),
    /// The first so many of each kind of change do.
    Changes(u32, fn() -> FaultKind),
    /// All descriptions are ten seconds old.
    Stale,
    /// There is no quota for the last gateway, until that was found out.
    Quota,
    /// AWS cannot be reached at all for some time.
    Link,
    /// The process is killed now and then, in the middle of whatever it does.
    Kills,
    /// It is killed when AWS has done what it asked for, and it has not heard so.
    KillsBetween,
}

const TROUBLES: [(&str, Trouble); 11] = [
    ("nothing", Trouble::None),
    ("throttling", Trouble::Calls(40, || FaultKind::Throttle)),
    ("500s", Trouble::Calls(40, || FaultKind::Internal)),
    ("timeouts", Trouble::Changes(1, || FaultKind::Hang { millis: 7_000 })),
    ("a lost answer", Trouble::Changes(2, || FaultKind::LostAnswer)),
    ("lost answers", Trouble::Changes(4, || FaultKind::LostAnswer)),
    ("old descriptions", Trouble::Stale),
    ("no quota", Trouble::Quota),
    ("no link", Trouble::Link),
    ("kills", Trouble::Kills),
    ("kills between", Trouble::KillsBetween),
];

struct Stage {
    cloud: Cloud,
    decided: Decided,
    spillway_aws: SpillwayAws,
    trouble: Trouble,
    /// For where chance has a say.
    chance: u32,
    folder: tempfile::TempDir,
    _block: Block,
}

#[test]
fn whatever_goes_wrong_nothing_is_launched_twice_or_left() {
    let _beside = beside();
    // Each waits more than it works.
    std::thread::scope(|stories| {
        for (name, trouble) in TROUBLES {
            for by_template in [false, true] {
                let how = if by_template { "a launch template" } else { "a group" };
                let story = std::thread::Builder::new().name(format!("{name}, by {how}"));
                story.spawn_scoped(stories, move || play(trouble, by_template)).unwrap();
            }
        }
    });
}

fn play(trouble: Trouble, by_template: bool) {
    let mut stage = Stage::open(trouble, by_template);
    let _logs = Logs(vec![stage.folder.path().to_owned()]);
    let burst = Fleet {
        gateways: GATEWAYS,
        gateway_percent: PERCENT,
        provisioned: [("one-code".to_owned(), WARM)].into(),
        cache_replicas: 1,
        database_replicas: 1,
        ..Fleet::default()
    };
    stage.change(&burst, "what the plan wants is there", Stage::there);
    stage.change(&Fleet::default(), "nothing is left, and nothing else was touched", |stage| {
        stage.cloud.changed().is_empty()
    });
    // What was still to come of what went wrong has come by now.
    stage.looks_on();
    assert_eq!(stage.cloud.changed(), Vec::<String>::new());
    let launched = stage.cloud.instances().1;
    assert_eq!(launched, GATEWAYS as usize, "what was launched is what was wanted");
    let (sizes, weights) = (stage.cloud.sizes(), stage.cloud.weights());
    assert!(rise_and_fall(&sizes) && rise_and_fall(&weights), "{sizes:?} {weights:?}");
    assert!(once(&weights), "{weights:?}");
    if matches!(trouble, Trouble::Calls(..) | Trouble::Changes(..) | Trouble::KillsBetween) {
        assert!(stage.cloud.harmed() > 3, "something went wrong");
    }
}

impl Stage {
    fn open(trouble: Trouble, by_template: bool) -> Self {
        let block = Block::claim();
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let shape = Shape { max: GATEWAYS, ..Shape::default() };
        let cloud = Cloud::start(Config::default(), shape, FACTOR.into(), std::sync::Arc::new(()));
        let agent = SocketAddr::from((block.address(1), 9100));
        let decided = Decided::start(&cloud.runtime, agent, &state);
        decided.wants(&Fleet::default());
        let by = if by_template {
            let subnets: Vec<_> = Config::default().subnets.into_keys().collect();
            format!("launch_template = \"{}\"\nsubnets = {subnets:?}", cloud.stack.template)
        } else {
            format!("autoscaling_group = \"{}\"", cloud.stack.group)
        };
        let gateways = format!("{by}\nweighted_qps = 100\nmax = {GATEWAYS}");
        let text = on_aws(&example_config(&block, folder.path()), &cloud, &gateways, "");
        let config = folder.path().join("spillway.toml");
        std::fs::write(&config, text).unwrap();
        let spillway_aws = SpillwayAws::start(&config, &cloud);
        let stage =
            Self { cloud, decided, spillway_aws, trouble, chance: 1, folder, _block: block };
        stage.looks_on();
        assert_eq!(stage.cloud.changed(), Vec::<String>::new(), "all is as Terraform made it");
        stage
    }

    /// How often AWS was looked at.
    fn looks(&self) -> usize {
        self.cloud.taken("DescribeRules").len()
    }

    /// Waits until AWS was looked at some times more.
    fn looks_on(&self) {
        let looks = self.looks() + 3;
        wait_until("AWS is looked at", PATIENCE, || self.looks() >= looks);
    }

    fn there(&self) -> bool {
        let cloud = &self.cloud;
        let count = |service, action, input, path: &str| {
            cloud.count(service, action, input, path).unwrap_or(0)
        };
        let cache = json!({ "ReplicationGroupId": cloud.stack.cache });
        let warm = json!({ "FunctionName": cloud.stack.function, "Qualifier": "live" });
        let ready = "/AvailableProvisionedConcurrentExecutions";
        cloud.instances().0 == GATEWAYS as usize
            && cloud.healthy() == GATEWAYS as usize
            && cloud.gateway_weight() == u32::from(PERCENT)
            && count(Service::Lambda, "GetProvisionedConcurrencyConfig", warm, ready) == WARM
            && count(Service::ElastiCache, "DescribeReplicationGroups", cache, NODES) == 3
            && count(Service::Rds, "DescribeDBInstances", json!({}), DATABASES) == 2
    }

    /// The plan wants something else; something goes wrong; it comes to be all the same.
    fn change(&mut self, fleet: &Fleet, what: &str, holds: impl Fn(&Self) -> bool) {
        self.go_wrong();
        self.decided.wants(fleet);
        match self.trouble {
            Trouble::Quota if fleet.gateways > 0 => {
                let most = || self.cloud.instances().0 == GATEWAYS as usize - 1;
                wait_until("there are as many gateways as the quota lets be", PATIENCE, most);
                self.looks_on();
                self.cloud.server.with(|aws| aws.set_vcpus(64));
            }
            Trouble::Link => {
                let unheard = || self.cloud.unheard() >= 40;
                wait_until("AWS cannot be reached", PATIENCE, unheard);
                self.cloud.server.with(spillway_test_aws::Aws::clear_faults);
            }
            Trouble::Kills => self.kill_now_and_then(&holds),
            Trouble::KillsBetween => self.kill_between(&holds),
            _ => {}
        }
        wait_until(what, PATIENCE, || holds(self));
        self.cloud.server.with(spillway_test_aws::Aws::clear_faults);
    }

    fn go_wrong(&self) {
        let rule = |action: Option<&str>, times, kind| Fault {
            service: None,
            action: action.map(str::to_owned),
            after: 0,
            times,
            kind,
        };
        let every_change = |times: u32, kind: fn() -> FaultKind| {
            CHANGES.map(|action| rule(Some(action), Some(times), kind())).into()
        };
        let old = FaultKind::Stale { millis: 10_000 * u64::from(FACTOR) };
        let faults = match self.trouble {
            Trouble::Calls(times, kind) => vec![rule(None, Some(times), kind())],
            Trouble::Changes(times, kind) => every_change(times, kind),
            Trouble::Stale => vec![rule(None, None, old)],
            Trouble::Link => vec![rule(None, None, FaultKind::Unreachable)],
            Trouble::KillsBetween => every_change(1, || FaultKind::Hang { millis: 60_000 }),
            Trouble::None | Trouble::Quota | Trouble::Kills => vec![],
        };
        self.cloud.server.with(|aws| {
            aws.add_faults(faults);
            if matches!(self.trouble, Trouble::Quota) {
                // Of two each.
                aws.set_vcpus(2 * (GATEWAYS - 1));
            }
        });
    }

    /// Kills the process after some calls more each time, as chance has it.
    fn kill_now_and_then(&mut self, holds: &impl Fn(&Self) -> bool) {
        for _ in 0..12 {
            self.chance = self.chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let calls = self.cloud.calls() + 1 + (self.chance >> 16) as usize % 30;
            let over = || holds(self) || self.cloud.calls() >= calls;
            wait_until("AWS is called", PATIENCE, over);
            self.spillway_aws.kill_and_restart();
        }
    }

    /// Kills the process at each change that AWS made and that it did not hear of.
    fn kill_between(&mut self, holds: &impl Fn(&Self) -> bool) {
        let mut unheard = self.cloud.unheard();
        loop {
            let hangs = || self.cloud.unheard() > unheard;
            wait_until("a call hangs, or all is done", PATIENCE, || holds(self) || hangs());
            if !hangs() {
                return;
            }
            unheard = self.cloud.unheard();
            self.spillway_aws.kill_and_restart();
        }
    }
}

/// Where descriptions count the nodes of a cache's shard, and the instances of databases.
const NODES: &str = "/ReplicationGroups/$list/1/0/NodeGroups/$list/1/0/NodeGroupMembers/$list/1";
const DATABASES: &str = "/DBInstances/$list/1";
