//! The decision against a small AWS that loses answers, describes what was, and forgets nobody else's
//! instances.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use spillway_model::config::{
    Aws, AwsCapacity, AwsFunction, AwsGateways, AwsPrices, AwsProgram, AwsRule,
};
use spillway_model::{Fleet, UnixMillis};

use crate::{
    Act, Capacity, Group, Health, Instance, InstanceState, Leaving, Memory, Observed, Outcome,
    Provisioned, Rule, reconcile, report,
};

const MAX: u32 = 6;
const UNITS_MAX: u32 = 500;
/// So many seconds are a day of the world, in which reserved capacity may be lowered twice.
const DAY: u64 = 400;
const RULE: &str = "arn:rule/1";
const GATEWAYS: &str = "arn:targetgroup/gateways/1";
const FUNCTIONS: &str = "arn:targetgroup/functions/1";
const BYSTANDER: &str = "i-bystander";
const FOREIGN: &str = "i-of-another-group";
/// Seconds between looks.
const TICK: u64 = 2;

fn config(by_template: bool) -> Aws {
    let gateways = AwsGateways {
        autoscaling_group: (!by_template).then(|| "group".to_owned()),
        launch_template: by_template.then(|| "lt-1".to_owned()),
        subnets: Vec::new(),
        target_group: GATEWAYS.to_owned(),
        weighted_qps: 100.0,
        max: MAX,
        boot_secs: 60,
    };
    let function = AwsFunction {
        name: "f".to_owned(),
        alias: "live".to_owned(),
        program: AwsProgram::OneCode,
        warm_max: 0,
        warm_qps: 0.0,
    };
    let capacity = AwsCapacity {
        load_balancer: "arn:loadbalancer/app/east/1".to_owned(),
        max_units: UNITS_MAX,
        requests_per_connection: 1.0,
        after_secs: 30,
        keep_secs: 3600,
    };
    Aws {
        region: "eu-central-1".to_owned(),
        name: "east".to_owned(),
        admin: "127.0.0.1:1".parse().unwrap(),
        gateways: Some(gateways),
        prices: AwsPrices::default(),
        rules: vec![AwsRule { arn: RULE.to_owned(), target_group: FUNCTIONS.to_owned() }],
        functions: [("one-code".to_owned(), function)].into(),
        alarm_queue: None,
        alarm_endpoint: None,
        capacity: Some(capacity),
        replicas: None,
        billing: false,
        cache: None,
        database: None,
    }
}

/// What AWS does, in the order in which its documentation says it happens.
struct World {
    config: Aws,
    now: UnixMillis,
    instances: BTreeMap<String, Instance>,
    /// Since when registered; until when draining.
    targets: BTreeMap<String, (UnixMillis, Option<UnixMillis>)>,
    weights: BTreeMap<String, u32>,
    desired: u32,
    leaving: BTreeSet<String>,
    tokens: BTreeMap<String, Vec<String>>,
    wanted_at_launch: BTreeMap<String, u32>,
    provisioned: (u32, UnixMillis),
    /// Units, from when they are there, and when there were fewer.
    capacity: (u32, UnixMillis),
    decreases: Vec<UnixMillis>,
    looks: Vec<Observed>,
    memory: Memory,
    made: u32,
    acts: Vec<Act>,
}

impl World {
    fn new(by_template: bool, orphans: u32, desired: u32) -> Self {
        let weights = [(FUNCTIONS.to_owned(), 100), (GATEWAYS.to_owned(), 0)].into();
        let mut world = Self {
            config: config(by_template),
            now: UnixMillis(1_000_000),
            instances: BTreeMap::new(),
            targets: BTreeMap::new(),
            weights,
            desired: if by_template { 0 } else { desired },
            leaving: BTreeSet::new(),
            tokens: BTreeMap::new(),
            wanted_at_launch: BTreeMap::new(),
            provisioned: (0, UnixMillis(0)),
            capacity: (0, UnixMillis(0)),
            decreases: Vec::new(),
            looks: Vec::new(),
            memory: Memory::default(),
            made: 0,
            acts: Vec::new(),
        };
        for i in 0..orphans {
            let id = world.make(None);
            if i % 2 == 0 {
                world.targets.insert(id.clone(), (UnixMillis(0), None));
            }
            if i == 2 {
                world.instances.get_mut(&id).unwrap().state = InstanceState::Stopped;
            }
        }
        for (id, owned, group) in [(BYSTANDER, false, None), (FOREIGN, true, Some("other"))] {
            let instance = Instance {
                id: id.to_owned(),
                owned,
                group: group.map(str::to_owned),
                state: InstanceState::Running,
                launched_at: UnixMillis(0),
            };
            world.instances.insert(id.to_owned(), instance);
            world.targets.insert(id.to_owned(), (UnixMillis(0), None));
        }
        world
    }

    fn by_template(&self) -> bool {
        self.config.gateways.as_ref().unwrap().launch_template.is_some()
    }

    fn make(&mut self, group: Option<&str>) -> String {
        self.made += 1;
        let id = format!("i-{:03}", self.made);
        let instance = Instance {
            id: id.clone(),
            owned: true,
            group: group.map(str::to_owned),
            state: InstanceState::Pending,
            launched_at: self.now,
        };
        self.instances.insert(id.clone(), instance);
        id
    }

    fn health(&self, id: &str) -> Option<Health> {
        let (since, draining) = self.targets.get(id)?;
        let running = self.instances.get(id).is_some_and(|i| i.state == InstanceState::Running);
        Some(match draining {
            Some(_) => Health::Draining,
            None if running && self.now >= since.plus_secs(10) => Health::Healthy,
            None => Health::Initial,
        })
    }

    fn advance(&mut self) {
        self.now = self.now.plus_secs(TICK);
        let now = self.now;
        for instance in self.instances.values_mut() {
            let booted = now >= instance.launched_at.plus_secs(20);
            if instance.state == InstanceState::Pending && booted {
                instance.state = InstanceState::Running;
            }
        }
        self.targets.retain(|_, (_, draining)| draining.is_none_or(|until| now < until));
        if !self.by_template() {
            self.group();
        }
    }

    /// An Auto Scaling group starts, registers, drains and ends by itself.
    fn group(&mut self) {
        let ours: Vec<Instance> = self
            .instances
            .values()
            .filter(|i| i.group.as_deref() == Some("group"))
            .cloned()
            .collect();
        let mut staying = 0;
        for instance in &ours {
            let id = &instance.id;
            if self.leaving.contains(id) {
                if !self.targets.contains_key(id) {
                    self.instances.remove(id);
                    self.leaving.remove(id);
                }
                continue;
            }
            if staying == self.desired {
                self.leaving.insert(id.clone());
                let until = self.now.plus_secs(20);
                self.targets.entry(id.clone()).and_modify(|(_, draining)| *draining = Some(until));
                continue;
            }
            staying += 1;
            if instance.state == InstanceState::Running {
                self.targets.entry(id.clone()).or_insert((self.now, None));
            }
        }
        for _ in staying..self.desired {
            self.make(Some("group"));
        }
    }

    fn look(&self) -> Observed {
        let ours = self.instances.values().filter(|i| i.group.as_deref() == Some("group"));
        let instances = ours.map(|i| {
            let leaving = self.leaving.contains(&i.id);
            (i.id.clone(), if leaving { Leaving::Yes } else { Leaving::No })
        });
        let group = Group {
            owned: true,
            desired: self.desired,
            min: 0,
            max: MAX,
            instances: instances.collect(),
        };
        let (asked, ready_at) = self.provisioned;
        let ready = self.now >= ready_at;
        Observed {
            at: self.now,
            group: (!self.by_template()).then_some(group),
            instances: Some(self.instances.values().cloned().collect()),
            targets: Some(
                self.targets.keys().map(|id| (id.clone(), self.health(id).unwrap())).collect(),
            ),
            rules: [(RULE.to_owned(), Rule { owned: true, weights: self.weights.clone() })].into(),
            provisioned: [(
                "one-code".to_owned(),
                Provisioned {
                    asked,
                    ready: if ready { asked } else { 0 },
                    working: !ready,
                    failed: None,
                },
            )]
            .into(),
            capacity: Some(Capacity {
                owned: true,
                units: self.capacity.0,
                working: self.now < self.capacity.1,
                failed: None,
                decreases_left: self.decreases_left(),
            }),
            cache: None,
            database: None,
        }
    }

    fn decreases_left(&self) -> u32 {
        let today = self.decreases.iter().filter(|at| self.now < at.plus_secs(DAY)).count();
        2_u32.saturating_sub(u32::try_from(today).unwrap())
    }

    /// Looks, possibly at the past, decides, and does it, possibly not.
    fn tick(&mut self, wanted: &Fleet, stale: usize, fault: u8) {
        self.advance();
        self.looks.push(self.look());
        let shown = self.looks.len().saturating_sub(1 + stale);
        let observed = Observed { at: self.now, ..self.looks[shown].clone() };
        let step = reconcile(&self.config, wanted, &observed, &mut self.memory);
        let kinds: BTreeSet<String> = step.acts.iter().map(Act::kind).collect();
        assert_eq!(kinds.len(), step.acts.len(), "one act of a kind: {:?}", step.acts);
        for act in &step.acts {
            self.check(act, wanted, &observed);
            self.memory.begun(act, self.now);
            match fault {
                // Done, and its answer lost.
                1 => {
                    let _ = self.done(act);
                    self.memory.ended(act, &Outcome::Unknown, self.now, 0.5);
                }
                // Not done, and nobody knows.
                2 => self.memory.ended(act, &Outcome::Unknown, self.now, 0.5),
                3 => self.memory.ended(act, &Outcome::Failed, self.now, 0.5),
                4 => self.memory.ended(act, &Outcome::Refused, self.now, 0.5),
                // Killed after the call, before the journal's second line.
                5 => {
                    let _ = self.done(act);
                    self.memory = Memory::new(self.memory.kept.clone());
                    break;
                }
                // Killed before the call.
                6 => {
                    self.memory = Memory::new(self.memory.kept.clone());
                    break;
                }
                _ => {
                    let outcome = self.done(act);
                    self.memory.ended(act, &outcome, self.now, 0.5);
                }
            }
        }
        // Where nothing failed, what is waited for comes by itself.
        let failed = |wait: &String| wait.starts_with("soon: ") || wait.contains("a day");
        let comes = step.passing || !step.acts.is_empty() || step.waiting.iter().any(failed);
        assert!(stale + usize::from(fault) > 0 || comes || step.waiting.is_empty(), "{step:#?}");
        self.acts.extend(step.acts);
        let live = self.loose().filter(|i| i.state != InstanceState::Ended).count();
        assert!(live <= usize::try_from(MAX).unwrap(), "{live} instances\n{:#?}", self.acts);
        assert!(self.desired <= MAX);
        for untouched in [BYSTANDER, FOREIGN] {
            assert!(self.instances.contains_key(untouched));
            assert_eq!(self.health(untouched), Some(Health::Healthy), "{untouched}");
        }
    }

    fn loose(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values().filter(|i| i.owned && i.group.is_none())
    }

    /// What no act may do.
    fn check(&mut self, act: &Act, wanted: &Fleet, observed: &Observed) {
        let gateways = self.weights[GATEWAYS];
        match act {
            Act::Weigh { weights, .. } => {
                let healthy = observed.targets.iter().flatten();
                let healthy = healthy.filter(|(id, h)| {
                    **h == Health::Healthy && ![BYSTANDER, FOREIGN].contains(&id.as_str())
                });
                assert!(weights[GATEWAYS] <= u32::from(wanted.gateway_percent));
                assert!(weights[GATEWAYS] == 0 || healthy.count() > 0, "{act}");
                assert_eq!(weights.values().sum::<u32>(), 100);
            }
            Act::Drain { instances } => {
                for id in instances {
                    let needed = self.health(id) == Some(Health::Healthy)
                        && gateways > u32::from(wanted.gateway_percent);
                    assert!(!needed, "{id} is drained while it is given {gateways} %");
                }
            }
            Act::End { instances } => {
                for id in instances {
                    let health = self.health(id);
                    let idle = matches!(health, None | Some(Health::Initial));
                    assert!(idle, "{id} is ended while {health:?}");
                    assert!(self.instances.get(id).is_none_or(|i| i.owned && i.group.is_none()));
                }
            }
            Act::SizeGroup { desired, .. } => {
                let fewer = *desired < self.desired;
                assert!(!fewer || gateways <= u32::from(wanted.gateway_percent), "{act}");
            }
            Act::Reserve { units, .. } => {
                let seen = observed.capacity.as_ref().unwrap();
                assert!(!seen.working, "{act} while AWS is at the last one");
                let spare = seen.decreases_left > u32::from(*units > 0);
                assert!(*units >= seen.units || spare, "{act}: {seen:?}");
            }
            Act::Launch(launch) => {
                self.wanted_at_launch.entry(launch.token.clone()).or_insert(wanted.gateways);
            }
            _ => {}
        }
    }

    /// Does it as AWS does.
    fn done(&mut self, act: &Act) -> Outcome {
        let mut ids = Vec::new();
        match act {
            Act::Weigh { weights, .. } => self.weights.clone_from(weights),
            Act::SizeGroup { desired, .. } => self.desired = *desired,
            Act::Launch(launch) => {
                if let Some(known) = self.tokens.get(&launch.token) {
                    return Outcome::Done(known.clone());
                }
                ids = (0..launch.count).map(|_| self.make(None)).collect();
                self.tokens.insert(launch.token.clone(), ids.clone());
                let live = self.loose().filter(|i| i.state != InstanceState::Stopped);
                let live = live.filter(|i| self.health(&i.id) != Some(Health::Draining)).count();
                let wanted = self.wanted_at_launch[&launch.token];
                assert!(
                    live <= usize::try_from(wanted).unwrap(),
                    "{live} of {wanted}: a double launch"
                );
            }
            Act::Register { instances } => {
                let running = |id: &String| {
                    self.instances.get(id).is_some_and(|i| i.state == InstanceState::Running)
                };
                if !instances.iter().all(running) {
                    return Outcome::Failed;
                }
                for id in instances {
                    self.targets.insert(id.clone(), (self.now, None));
                }
            }
            Act::Drain { instances } => {
                let until = self.now.plus_secs(20);
                for id in instances {
                    if let Some((_, draining)) = self.targets.get_mut(id) {
                        draining.get_or_insert(until);
                    }
                }
            }
            Act::End { instances } => {
                for id in instances {
                    self.instances.remove(id);
                    self.targets.remove(id);
                }
            }
            Act::Provision { environments, .. } => {
                let takes = if *environments == 0 { 0 } else { 60 };
                self.provisioned = (*environments, self.now.plus_secs(takes));
            }
            Act::Reserve { units, .. } => {
                if self.now < self.capacity.1 {
                    return Outcome::Failed;
                }
                if *units < self.capacity.0 {
                    if self.decreases_left() == 0 {
                        return Outcome::Refused;
                    }
                    self.decreases.push(self.now);
                }
                let takes = if *units == self.capacity.0 { 0 } else { 60 };
                self.capacity = (*units, self.now.plus_secs(takes));
            }
            other => panic!("{other}"),
        }
        Outcome::Done(ids)
    }

    /// Without faults AWS becomes what is wanted, and then stays so.
    fn settles(&mut self, wanted: &Fleet) {
        for _ in 0..500 {
            self.tick(wanted, 0, 0);
        }
        let acts = self.acts.len();
        for _ in 0..60 {
            self.tick(wanted, 0, 0);
        }
        assert_eq!(self.acts.len(), acts, "it goes on: {:?}", &self.acts[acts..]);
        let seen = report(&self.config, &self.look());
        assert_eq!(seen.gateways_launched, wanted.gateways, "{:#?}", self.acts);
        assert_eq!(seen.gateways_healthy, wanted.gateways);
        assert_eq!(seen.gateways_draining, 0);
        let percent = if wanted.gateways > 0 { wanted.gateway_percent } else { 0 };
        assert_eq!(seen.gateway_percent, percent);
        assert_eq!(seen.provisioned_ready.get("one-code"), wanted.provisioned.get("one-code"));
        assert_eq!(seen.capacity_units, wanted.capacity_units.min(UNITS_MAX));
        let mut memory = self.memory.clone();
        let step = reconcile(&self.config, wanted, &self.look(), &mut memory);
        assert_eq!(step.waiting, Vec::<String>::new());
        let expected = if self.by_template() { wanted.gateways } else { 0 };
        assert_eq!(
            self.loose().count(),
            usize::try_from(expected).unwrap(),
            "nothing is left over"
        );
    }
}

fn fleet(gateways: u32, gateway_percent: u8, warm: u32) -> Fleet {
    let provisioned = (warm > 0).then(|| ("one-code".to_owned(), warm)).into_iter().collect();
    let capacity_units = gateways * 100;
    Fleet { gateways, gateway_percent, provisioned, capacity_units, ..Fleet::default() }
}

#[test]
fn a_burst_comes_and_goes_without_a_trace() {
    for by_template in [true, false] {
        let mut world = World::new(by_template, 0, 0);
        world.settles(&fleet(3, 60, 10));
        world.settles(&fleet(1, 20, 0));
        world.settles(&fleet(0, 0, 0));
        assert!(world.acts.len() < 25, "{:#?}", world.acts);
    }
}

#[test]
fn what_could_not_be_read_is_not_decided_on() {
    let mut world = World::new(true, 0, 0);
    world.settles(&fleet(3, 60, 5));
    let whole = world.look();
    let none = fleet(0, 0, 0);
    for blind in [
        Observed {
            targets: None,
            rules: BTreeMap::new(),
            provisioned: BTreeMap::new(),
            capacity: None,
            ..whole.clone()
        },
        Observed { at: whole.at, ..Observed::default() },
    ] {
        let step = reconcile(&world.config, &none, &blind, &mut world.memory.clone());
        assert_eq!(step.acts, []);
    }
    let no_list = Observed { instances: None, ..whole.clone() };
    let step = reconcile(&world.config, &fleet(6, 60, 5), &no_list, &mut world.memory.clone());
    let others = |act: &Act| matches!(act, Act::Weigh { .. } | Act::Reserve { .. });
    assert!(step.acts.iter().all(others), "{:?}", step.acts);
    // Rules that cannot be read may still send everything there.
    let no_rules = Observed { rules: BTreeMap::new(), ..whole };
    let step = reconcile(&world.config, &none, &no_rules, &mut world.memory.clone());
    let others = |act: &Act| matches!(act, Act::Provision { .. } | Act::Reserve { .. });
    assert!(step.acts.iter().all(others), "{:?}", step.acts);
}

#[test]
fn gateways_that_fail_their_checks_lose_their_weight_and_are_replaced() {
    let mut world = World::new(true, 0, 0);
    world.settles(&fleet(2, 50, 0));
    let mut seen = world.look();
    let sick: Vec<String> = world.loose().map(|i| i.id.clone()).collect();
    seen.targets.as_mut().unwrap().extend(sick.iter().map(|id| (id.clone(), Health::Unhealthy)));
    let mut memory = world.memory.clone();
    let wanted = fleet(2, 50, 0);
    let step = reconcile(&world.config, &wanted, &seen, &mut memory);
    let [Act::Weigh { weights, .. }] = step.acts.as_slice() else { panic!("{:?}", step.acts) };
    assert_eq!(weights[GATEWAYS], 0);
    seen.at = seen.at.plus_secs(300);
    seen.rules.get_mut(RULE).unwrap().weights.clone_from(weights);
    let step = reconcile(&world.config, &wanted, &seen, &mut memory);
    let told = step.acts.iter().map(Act::kind).collect::<Vec<_>>();
    assert_eq!(told, ["drain", "launch"]);
}

#[test]
fn what_lacks_the_tags_is_left_alone_and_told_of() {
    let mut world = World::new(false, 0, 2);
    let mut seen = world.look();
    seen.group.as_mut().unwrap().owned = false;
    seen.rules.get_mut(RULE).unwrap().owned = false;
    seen.capacity.as_mut().unwrap().owned = false;
    let step = reconcile(&world.config, &fleet(4, 50, 0), &seen, &mut world.memory);
    assert_eq!(step.acts, []);
    assert_eq!(step.warnings.iter().filter(|w| w.contains("lacks the tags")).count(), 3);
}

#[test]
fn capacity_is_asked_for_again_where_aws_had_none_and_kept_where_it_takes_no_less() {
    let mut world = World::new(false, 0, 0);
    let wanted = fleet(2, 0, 0);
    world.settles(&wanted);
    let mut seen = world.look();
    seen.capacity.as_mut().unwrap().failed = Some("no capacity in zone a".to_owned());
    let step = reconcile(&world.config, &wanted, &seen, &mut world.memory.clone());
    assert_eq!(step.acts.iter().map(Act::kind).collect::<Vec<_>>(), ["reserve capacity"]);
    let told = |says: &str| step.warnings.iter().any(|warning| warning.contains(says));
    assert!(told("no capacity in zone a"), "{:?}", step.warnings);
    assert_eq!(report(&world.config, &seen).capacity_units, 0);
    let capacity = seen.capacity.as_mut().unwrap();
    (capacity.failed, capacity.decreases_left) = (None, 0);
    let none = Fleet { capacity_units: 0, ..wanted.clone() };
    let step = reconcile(&world.config, &none, &seen, &mut world.memory.clone());
    assert_eq!(step.acts, []);
    let waits = step.waiting.iter().any(|waits| waits.contains("two decreases a day"));
    assert!(waits, "{:?}", step.waiting);
    // The last decrease of a day is for all of it.
    for (units, left, acts) in [(100, 2, 1), (100, 1, 0), (0, 1, 1)] {
        (seen.capacity.as_mut().unwrap().units, seen.capacity.as_mut().unwrap().decreases_left) =
            (200, left);
        let fewer = Fleet { capacity_units: units, ..wanted.clone() };
        let step = reconcile(&world.config, &fewer, &seen, &mut world.memory.clone());
        assert_eq!(step.acts.len(), acts, "{units} {left}: {:?}", step.waiting);
    }
    // What the configuration does not name is left alone.
    world.config.capacity = None;
    let step = reconcile(&world.config, &none, &seen, &mut world.memory);
    assert_eq!((step.acts.len(), step.waiting.len()), (0, 0));
}

#[test]
fn what_waits_for_an_act_that_was_refused_does_not_pass_by_itself() {
    for by_template in [true, false] {
        let mut world = World::new(by_template, 0, 0);
        world.settles(&fleet(3, 60, 0));
        let none = fleet(0, 0, 0);
        let mut refused = Vec::new();
        let step = loop {
            let observed = world.look();
            let step = reconcile(&world.config, &none, &observed, &mut world.memory);
            if step.acts.is_empty() && !step.passing {
                break step;
            }
            for act in &step.acts {
                // Gateways would lose their requests before they go.
                let outcome = match act {
                    Act::Weigh { .. } => Outcome::Refused,
                    _ => world.done(act),
                };
                if outcome == Outcome::Refused {
                    refused.push(act.kind());
                }
                world.memory.ended(act, &outcome, world.now, 0.0);
            }
            world.advance();
        };
        assert!(step.waiting.iter().any(|wait| wait.starts_with("soon: weigh")), "{step:#?}");
        assert!(refused.iter().all(|kind| *kind == format!("weigh {RULE}")), "{refused:?}");
        // Time alone gives it another try.
        world.now = world.now.plus_secs(300);
        let step = reconcile(&world.config, &none, &world.look(), &mut world.memory);
        assert!(step.acts.iter().any(|act| matches!(act, Act::Weigh { .. })), "{step:#?}");
        world.settles(&none);
    }
}

#[test]
fn a_refused_launch_is_waited_for_and_one_of_what_is_not_there_yet_passes() {
    let mut world = World::new(true, 0, 0);
    let wanted = fleet(1, 0, 0);
    for (outcome, passing) in [
        (Outcome::Refused, [false, false, false]),
        (Outcome::Failed, [true, true, true]),
        (Outcome::Absent, [true, true, false]),
    ] {
        world.memory = Memory::default();
        for passing in passing {
            world.now = world.now.plus_secs(300);
            let look = world.look();
            let step = reconcile(&world.config, &wanted, &look, &mut world.memory);
            let launch = step.acts.iter().find(|act| matches!(act, Act::Launch(_))).unwrap();
            world.memory.begun(launch, world.now);
            world.memory.ended(launch, &outcome, world.now, 0.0);
            let reserved = Act::Reserve { load_balancer: String::new(), units: 100 };
            world.memory.ended(&reserved, &Outcome::Refused, world.now, 0.0);
            let step = reconcile(&world.config, &wanted, &look, &mut world.memory);
            let waits = step.waiting.iter().any(|wait| wait.starts_with("soon: launch 1 instance"));
            assert!(waits && step.acts.is_empty(), "{step:#?}");
            assert_eq!(step.passing, passing, "{outcome:?}: {step:#?}");
        }
    }
}

#[test]
fn a_group_that_allows_fewer_is_told_of_before_more_are_wanted() {
    let mut world = World::new(false, 0, 0);
    world.config.gateways.as_mut().unwrap().max = MAX + 1;
    let step = reconcile(&world.config, &fleet(0, 0, 0), &world.look(), &mut world.memory);
    let told = step.warnings.iter().any(|warning| warning.contains("allows 6 gateways"));
    assert!(told, "{:?}", step.warnings);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn it_converges_from_any_state_through_any_faults(
        by_template in any::<bool>(),
        orphans in 0..4_u32,
        desired in 0..=MAX,
        wishes in prop::collection::vec((0..=MAX, 0..=100_u8, 0..3_u32, 1..20_usize), 1..8),
        faults in prop::collection::vec(0..14_u8, 40),
        stale in prop::collection::vec(0..4_usize, 37),
        last in (0..=MAX, 1..=100_u8, 0..3_u32),
    ) {
        let mut world = World::new(by_template, orphans, desired);
        let mut n = 0;
        for (gateways, percent, warm, ticks) in wishes {
            let percent = if gateways == 0 { 0 } else { percent };
            for _ in 0..ticks {
                let (fault, stale) = (faults[n % faults.len()], stale[n % stale.len()]);
                world.tick(&fleet(gateways, percent, warm), stale, fault);
                n += 1;
            }
        }
        let (gateways, percent, warm) = last;
        world.settles(&fleet(gateways, if gateways == 0 { 0 } else { percent }, warm));
        world.settles(&fleet(0, 0, 0));
    }
}
