//! Load balancers and targets.

use serde_json::{Value, json};

use super::{account, call, exact, health, pass, refused, stack};
use crate::{Aws, Config, Effect, Fault, FaultKind, Service, Shape, Stack};

fn weigh(
    aws: &mut Aws,
    stack: &Stack,
    functions: i64,
    gateways: i64,
) -> Result<Value, crate::Refusal> {
    let input = json!({ "RuleArn": stack.rule, "Actions": [{ "Type": "forward", "ForwardConfig": {
        "TargetGroups": [
            { "TargetGroupArn": stack.functions, "Weight": functions },
            { "TargetGroupArn": stack.gateways, "Weight": gateways },
        ],
    } }] });
    call(aws, Service::Elb, "ModifyRule", input)
}

#[test]
fn weights_are_checked() {
    let (mut aws, stack) = stack();
    weigh(&mut aws, &stack, 30, 70).unwrap();
    let expected = vec![(stack.functions.clone(), 30), (stack.gateways.clone(), 70)];
    assert_eq!(aws.rule_weights(&stack.rule), expected);
    for wrong in [-1, 1_000] {
        assert_eq!(weigh(&mut aws, &stack, wrong, 0).unwrap_err().code, "ValidationError");
    }
    let mut other = stack.clone();
    other.gateways = stack.gateways.replace("targetgroup", "targetgroup/gone");
    assert_eq!(weigh(&mut aws, &other, 1, 1).unwrap_err().code, "TargetGroupNotFound");
    other.gateways.clone_from(&stack.functions);
    assert_eq!(weigh(&mut aws, &other, 1, 1).unwrap_err().code, "ValidationError");
    other.rule.push('x');
    assert_eq!(weigh(&mut aws, &other, 1, 1).unwrap_err().code, "RuleNotFound");
    assert_eq!(aws.rule_weights(&stack.rule), expected, "what was refused changed nothing");
}

#[test]
fn a_target_group_belongs_to_one_load_balancer() {
    let (mut aws, stack) = stack();
    let other =
        call(&mut aws, Service::Elb, "CreateLoadBalancer", json!({ "Name": "other" })).unwrap();
    let listener = json!({
        "LoadBalancerArn": other["LoadBalancers"][0]["LoadBalancerArn"], "Port": 80,
        "DefaultActions": [{ "Type": "forward", "TargetGroupArn": stack.gateways }],
    });
    let code = refused(&mut aws, Service::Elb, "CreateListener", listener);
    assert_eq!(code, "TargetGroupAssociationLimit");
    let delete = json!({ "TargetGroupArn": stack.gateways });
    assert_eq!(refused(&mut aws, Service::Elb, "DeleteTargetGroup", delete), "ResourceInUse");
}

#[test]
fn probes_decide_health_and_a_group_replaces_what_fails() {
    let mut aws = account(Config { probes: true, ..exact() });
    let stack = Stack::make(&mut aws, "east", Shape::default()).unwrap();
    let desired = json!({ "AutoScalingGroupName": stack.group, "DesiredCapacity": 1 });
    call(&mut aws, Service::AutoScaling, "SetDesiredCapacity", desired).unwrap();
    let answer_probes = |aws: &mut Aws, seconds: u64, found: Option<bool>| {
        for _ in 0..seconds {
            pass(aws, 1);
            for effect in aws.take_effects() {
                if let Effect::Probe(probe) = effect {
                    assert_eq!((probe.path.as_str(), probe.address.port()), ("/healthz", 9311));
                    aws.probed(&probe.group, &probe.target, probe.epoch, found);
                }
            }
        }
    };
    answer_probes(&mut aws, 9, Some(false));
    assert_eq!(health(&mut aws, &stack.gateways), ["initial"]);
    answer_probes(&mut aws, 6, Some(false));
    assert_eq!(health(&mut aws, &stack.gateways), ["unhealthy"]);
    answer_probes(&mut aws, 12, Some(true));
    assert_eq!(health(&mut aws, &stack.gateways), ["healthy"]);
    let before = aws.live_instances().next().unwrap().id.clone();
    answer_probes(&mut aws, 240, None);
    assert!(aws.live_instances().all(|machine| machine.id != before), "it was replaced");
}

#[test]
fn a_function_needs_no_check_and_an_unused_group_has_no_health() {
    let (mut aws, stack) = stack();
    assert_eq!(health(&mut aws, &stack.functions), ["unavailable"]);
    let (targets, _) = aws.healthy_targets(&stack.functions).remove(0);
    assert!(targets.ends_with(":function:east-one-code:live"), "{targets}");
    let unused = call(
        &mut aws,
        Service::Elb,
        "CreateTargetGroup",
        json!({
            "Name": "unused", "TargetType": "ip", "Port": 80,
        }),
    )
    .unwrap();
    let unused = unused["TargetGroups"][0]["TargetGroupArn"].as_str().unwrap().to_owned();
    let register = json!({ "TargetGroupArn": unused, "Targets": [{ "Id": "10.0.0.9" }] });
    call(&mut aws, Service::Elb, "RegisterTargets", register).unwrap();
    pass(&mut aws, 60);
    assert_eq!(health(&mut aws, &unused), ["unused"]);
}

#[test]
fn capacity_is_reserved_in_time_and_given_back_twice_a_day() {
    let (mut aws, stack) = stack();
    let reserve = |aws: &mut Aws, units: Option<u32>| {
        let input = match units {
            Some(units) => json!({
                "LoadBalancerArn": stack.balancer,
                "MinimumLoadBalancerCapacity": { "CapacityUnits": units },
            }),
            None => json!({ "LoadBalancerArn": stack.balancer, "ResetCapacityReservation": true }),
        };
        call(aws, Service::Elb, "ModifyCapacityReservation", input).map_err(|r| r.code)
    };
    let made = reserve(&mut aws, Some(200)).unwrap();
    assert_eq!(made["CapacityReservationState"][0]["State"]["Code"], "pending");
    assert_eq!(reserve(&mut aws, Some(300)).unwrap_err(), "CapacityReservationPending");
    pass(&mut aws, 121);
    for units in [150, 100] {
        reserve(&mut aws, Some(units)).unwrap();
        pass(&mut aws, 121);
    }
    assert_eq!(reserve(&mut aws, None).unwrap_err(), "CapacityDecreaseRequestLimitExceeded");
    assert_eq!(reserve(&mut aws, Some(5_000)).unwrap_err(), "CapacityUnitsLimitExceeded");
    pass(&mut aws, 86_400);
    let given_back = reserve(&mut aws, None).unwrap();
    assert!(given_back["MinimumLoadBalancerCapacity"].is_null());
}

#[test]
fn a_rule_makes_descriptions_old() {
    let (mut aws, stack) = stack();
    let weight = |aws: &mut Aws| {
        let answer = call(aws, Service::Elb, "DescribeRules", json!({ "RuleArns": [stack.rule] }));
        let text = answer.unwrap().to_string();
        text.contains("\"Weight\":70") || text.contains("\"Weight\":\"70\"")
    };
    let kind = FaultKind::Stale { millis: 10_000 };
    aws.add_faults([Fault { service: None, action: None, after: 1, times: None, kind }]);
    assert!(!weight(&mut aws));
    weigh(&mut aws, &stack, 30, 70).unwrap();
    for seconds in [0, 1, 8] {
        pass(&mut aws, seconds);
        assert!(!weight(&mut aws), "after {seconds} s more");
    }
    pass(&mut aws, 2);
    assert!(weight(&mut aws));
    aws.clear_faults();
    weigh(&mut aws, &stack, 60, 40).unwrap();
    assert!(!weight(&mut aws), "what there is");
}
