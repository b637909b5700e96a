//! Whatever is asked in whatever order, some things hold.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::{account, call, pass};
use crate::{Config, Effect, Service, Shape, Stack};

#[derive(Debug, Clone)]
enum Step {
    Desire(i64),
    Run(u8, u32),
    EndAny(usize, bool),
    Terminate(usize),
    Deregister(usize),
    Quota(u32),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (-1..9_i64).prop_map(Step::Desire),
        (0..4_u8, 1..3_u32).prop_map(|(token, number)| Step::Run(token, number)),
        (0..8_usize, any::<bool>()).prop_map(|(n, down)| Step::EndAny(n, down)),
        (0..8_usize).prop_map(Step::Terminate),
        (0..8_usize).prop_map(Step::Deregister),
        (0..24_u32).prop_map(Step::Quota),
        // Less than an hour in all, so that no token is forgotten.
        (0..90_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_launched_twice_or_left_behind(seed: u64, steps in prop::collection::vec(step(), 1..40)) {
        let mut aws = account(Config { seed, ..Config::default() });
        let stack = Stack::make(&mut aws, "east", Shape::default()).unwrap();
        let mut by_token = std::collections::BTreeMap::new();
        let (mut booted, mut ended) = (BTreeSet::new(), BTreeSet::new());
        for step in steps {
            let live: Vec<String> = aws.live_instances().map(|m| m.id.clone()).collect();
            let one = |n: usize| live.get(n % live.len().max(1)).cloned();
            match step {
                Step::Desire(desired) => {
                    let input = json!({ "AutoScalingGroupName": stack.group, "DesiredCapacity": desired });
                    let result = call(&mut aws, Service::AutoScaling, "SetDesiredCapacity", input);
                    prop_assert_eq!(result.is_ok(), (0..=6).contains(&desired));
                }
                Step::Run(token, number) => {
                    let input = json!({
                        "LaunchTemplate": { "LaunchTemplateId": stack.template },
                        "ClientToken": token.to_string(), "MinCount": number, "MaxCount": number,
                    });
                    if let Ok(answer) = call(&mut aws, Service::Ec2, "RunInstances", input) {
                        let ids = answer["instancesSet"].as_array().unwrap().iter()
                            .map(|i| i["instanceId"].clone()).collect::<Vec<_>>();
                        let first = by_token.entry(token).or_insert_with(|| ids.clone());
                        prop_assert_eq!(&*first, &ids, "one launch a token");
                    }
                }
                Step::EndAny(n, down) => {
                    if let Some(id) = one(n) {
                        let input = json!({ "InstanceId": id, "ShouldDecrementDesiredCapacity": down });
                        let action = "TerminateInstanceInAutoScalingGroup";
                        let _may_be_no_member = call(&mut aws, Service::AutoScaling, action, input);
                    }
                }
                Step::Terminate(n) => {
                    if let Some(id) = one(n) {
                        call(&mut aws, Service::Ec2, "TerminateInstances", json!({ "InstanceId": [id] })).unwrap();
                    }
                }
                Step::Deregister(n) => {
                    if let Some(id) = one(n) {
                        let input = json!({ "TargetGroupArn": stack.gateways, "Targets": [{ "Id": id }] });
                        call(&mut aws, Service::Elb, "DeregisterTargets", input).unwrap();
                    }
                }
                Step::Quota(vcpus) => aws.set_vcpus(vcpus),
                Step::Pass(seconds) => pass(&mut aws, seconds),
            }
            for effect in aws.take_effects() {
                match effect {
                    Effect::Booted(machine) => prop_assert!(booted.insert(machine.id), "booted once"),
                    Effect::Ended(machine) => {
                        prop_assert!(booted.contains(&machine.id), "it had booted");
                        prop_assert!(ended.insert(machine.id), "ended once");
                    }
                    _ => {}
                }
            }
            for (id, _) in aws.healthy_targets(&stack.gateways) {
                prop_assert!(booted.contains(&id), "a healthy target has booted");
            }
        }
        aws.set_vcpus(64);
        let input = json!({ "AutoScalingGroupName": stack.group, "DesiredCapacity": 0 });
        call(&mut aws, Service::AutoScaling, "SetDesiredCapacity", input).unwrap();
        let all: Vec<String> = aws.live_instances().map(|m| m.id.clone()).collect();
        call(&mut aws, Service::Ec2, "TerminateInstances", json!({ "InstanceId": all })).unwrap();
        pass(&mut aws, 600);
        prop_assert_eq!(stack.leftovers(&aws), (0, 0));
        let left: BTreeSet<_> = aws.take_effects().into_iter()
            .filter_map(|effect| if let Effect::Ended(machine) = effect { Some(machine.id) } else { None })
            .collect();
        ended.extend(left);
        prop_assert_eq!(booted, ended, "what has booted has ended");
    }

    /// Time that passes at once is time that passes.
    #[test]
    fn time_passes_the_same_in_one_step_or_many(seed: u64, steps in prop::collection::vec(1..30_u64, 1..20)) {
        let total: u64 = steps.iter().sum();
        let run = |steps: &[u64]| {
            let mut aws = account(Config { seed, ..Config::default() });
            let stack = Stack::make(&mut aws, "east", Shape::default()).unwrap();
            let input = json!({ "AutoScalingGroupName": stack.group, "DesiredCapacity": 4 });
            call(&mut aws, Service::AutoScaling, "SetDesiredCapacity", input).unwrap();
            steps.iter().for_each(|seconds| pass(&mut aws, *seconds));
            let health = super::health(&mut aws, &stack.gateways);
            let group = json!({ "AutoScalingGroupNames": [stack.group] });
            (health, call(&mut aws, Service::AutoScaling, "DescribeAutoScalingGroups", group))
        };
        prop_assert_eq!(run(&steps), run(&[total]));
    }
}
