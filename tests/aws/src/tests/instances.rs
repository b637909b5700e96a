//! Instances and groups.

use serde_json::{Value, json};

use super::{NOW, account, call, exact, health, pass, refused, stack};
use crate::{Aws, Config, Effect, Fault, Service, Stack};

fn run(stack: &Stack, token: &str, number: u32) -> Value {
    json!({
        "LaunchTemplate": { "LaunchTemplateId": stack.template }, "ClientToken": token,
        "MinCount": number, "MaxCount": number,
    })
}

fn ids(answer: &Value) -> Vec<String> {
    let all = answer["instancesSet"].as_array().unwrap();
    all.iter().map(|i| i["instanceId"].as_str().unwrap().to_owned()).collect()
}

fn states(aws: &mut Aws) -> Vec<String> {
    let answer = call(aws, Service::Ec2, "DescribeInstances", json!({})).unwrap();
    let reservations = answer["reservationSet"].as_array().unwrap();
    let all = reservations.iter().flat_map(|r| r["instancesSet"].as_array().unwrap());
    all.map(|i| i["instanceState"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_client_token_launches_once() {
    let (mut aws, stack) = stack();
    let first = call(&mut aws, Service::Ec2, "RunInstances", run(&stack, "a", 2)).unwrap();
    pass(&mut aws, 7);
    let again = call(&mut aws, Service::Ec2, "RunInstances", run(&stack, "a", 2)).unwrap();
    assert_eq!(ids(&first), ids(&again));
    assert_eq!(again["instancesSet"][0]["instanceState"]["name"], "running");
    let code = refused(&mut aws, Service::Ec2, "RunInstances", run(&stack, "a", 3));
    assert_eq!(code, "IdempotentParameterMismatch");
    assert_eq!(aws.live_instances().count(), 2);
}

#[test]
fn an_instance_goes_its_way() {
    let (mut aws, stack) = stack();
    let answer = call(&mut aws, Service::Ec2, "RunInstances", run(&stack, "a", 1)).unwrap();
    let id = ids(&answer).remove(0);
    aws.take_effects();
    assert_eq!(states(&mut aws), ["pending"]);
    pass(&mut aws, 6);
    assert_eq!(states(&mut aws), ["running"]);
    assert!(aws.take_effects().is_empty(), "it runs, but has not booted");
    pass(&mut aws, 20);
    let effects = aws.take_effects();
    assert!(matches!(&effects[0], Effect::Booted(machine) if machine.id == id));
    let end = json!({ "InstanceId": [id] });
    let ended = call(&mut aws, Service::Ec2, "TerminateInstances", end.clone()).unwrap();
    assert_eq!(ended["instancesSet"][0]["previousState"]["name"], "running");
    assert_eq!(states(&mut aws), ["shutting-down"]);
    assert!(matches!(&aws.take_effects()[0], Effect::Ended(machine) if machine.id == id));
    pass(&mut aws, 11);
    assert_eq!(states(&mut aws), ["terminated"]);
    call(&mut aws, Service::Ec2, "TerminateInstances", end).unwrap();
    pass(&mut aws, 3_700);
    assert!(states(&mut aws).is_empty());
    let again = refused(&mut aws, Service::Ec2, "DescribeInstances", json!({ "InstanceId": [id] }));
    assert_eq!(again, "InvalidInstanceID.NotFound");
}

#[test]
fn a_description_is_as_old_as_it_says() {
    let mut aws = account(Config { stale_ms: [2_000, 2_000], ..exact() });
    let stack = Stack::make(&mut aws, "east", crate::Shape::default()).unwrap();
    call(&mut aws, Service::Ec2, "RunInstances", run(&stack, "a", 1)).unwrap();
    assert!(states(&mut aws).is_empty());
    pass(&mut aws, 3);
    assert_eq!(states(&mut aws), ["pending"]);
    pass(&mut aws, 3);
    assert_eq!(states(&mut aws), ["pending"], "running for a second only");
    pass(&mut aws, 2);
    assert_eq!(states(&mut aws), ["running"]);
    let fault: Fault = serde_json::from_value(json!({
        "action": "DescribeInstances", "times": 1, "kind": { "stale": { "millis": 60_000 } },
    }))
    .unwrap();
    aws.add_faults([fault]);
    assert!(states(&mut aws).is_empty());
    assert_eq!(states(&mut aws), ["running"]);
}

#[test]
fn the_quota_bounds_launches() {
    let (mut aws, stack) = stack();
    aws.set_vcpus(4);
    assert_eq!(
        refused(&mut aws, Service::Ec2, "RunInstances", run(&stack, "a", 3)),
        "VcpuLimitExceeded"
    );
    let mut most = run(&stack, "b", 3);
    most["MinCount"] = json!(1);
    let answer = call(&mut aws, Service::Ec2, "RunInstances", most).unwrap();
    assert_eq!(ids(&answer).len(), 2, "two of two vCPUs each");
}

fn desire(aws: &mut Aws, stack: &Stack, desired: i64) -> Result<Value, crate::Refusal> {
    let input = json!({ "AutoScalingGroupName": stack.group, "DesiredCapacity": desired });
    call(aws, Service::AutoScaling, "SetDesiredCapacity", input)
}

fn group(aws: &mut Aws, stack: &Stack) -> Value {
    let input = json!({ "AutoScalingGroupNames": [stack.group] });
    let answer = call(aws, Service::AutoScaling, "DescribeAutoScalingGroups", input).unwrap();
    answer["AutoScalingGroups"][0].clone()
}

fn stages(aws: &mut Aws, stack: &Stack) -> Vec<String> {
    let group = group(aws, stack);
    let all = group["Instances"].as_array().unwrap();
    all.iter().map(|m| m["LifecycleState"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_group_grows_registers_drains_and_ends() {
    let (mut aws, stack) = stack();
    let refusal = desire(&mut aws, &stack, 7).unwrap_err();
    assert_eq!(refusal.code, "ValidationError");
    assert!(refusal.message.contains("above max value 6"), "{}", refusal.message);
    desire(&mut aws, &stack, 2).unwrap();
    pass(&mut aws, 3);
    assert_eq!(stages(&mut aws, &stack), ["Pending", "Pending"]);
    let zones: std::collections::BTreeSet<_> =
        aws.live_instances().map(|machine| machine.zone.clone()).collect();
    assert_eq!(zones.len(), 2, "one in each zone");
    pass(&mut aws, 8);
    assert_eq!(stages(&mut aws, &stack), ["InService", "InService"]);
    assert_eq!(health(&mut aws, &stack.gateways), ["initial", "initial"]);
    pass(&mut aws, 25);
    assert_eq!(health(&mut aws, &stack.gateways), ["healthy", "healthy"]);
    desire(&mut aws, &stack, 1).unwrap();
    pass(&mut aws, 3);
    let mut now = health(&mut aws, &stack.gateways);
    now.sort();
    assert_eq!(now, ["draining", "healthy"]);
    assert_eq!(aws.live_instances().count(), 2, "it serves while it drains");
    pass(&mut aws, 33);
    assert_eq!(health(&mut aws, &stack.gateways), ["healthy"]);
    assert_eq!(aws.live_instances().count(), 1);
    pass(&mut aws, 20);
    assert_eq!(stages(&mut aws, &stack), ["InService"]);
    desire(&mut aws, &stack, 0).unwrap();
    pass(&mut aws, 120);
    assert_eq!(stack.leftovers(&aws), (0, 0));
}

#[test]
fn a_group_replaces_what_ended_and_lets_go_whom_it_is_told() {
    let (mut aws, stack) = stack();
    desire(&mut aws, &stack, 2).unwrap();
    pass(&mut aws, 60);
    let first = aws.live_instances().next().unwrap().id.clone();
    call(&mut aws, Service::Ec2, "TerminateInstances", json!({ "InstanceId": [first] })).unwrap();
    pass(&mut aws, 90);
    assert_eq!(aws.live_instances().count(), 2);
    let second = aws.live_instances().next().unwrap().id.clone();
    let end = |decrement: bool| json!({ "InstanceId": second, "ShouldDecrementDesiredCapacity": decrement });
    let action = "TerminateInstanceInAutoScalingGroup";
    let answer = call(&mut aws, Service::AutoScaling, action, end(true)).unwrap();
    assert_eq!(answer["Activity"]["StatusCode"], "InProgress");
    // A second request for the same instance takes nothing more.
    call(&mut aws, Service::AutoScaling, action, end(true)).unwrap();
    assert_eq!(group(&mut aws, &stack)["DesiredCapacity"], 1);
    pass(&mut aws, 120);
    assert_eq!(aws.live_instances().count(), 1);
    assert!(aws.live_instances().all(|machine| machine.id != second));
    let code = refused(&mut aws, Service::AutoScaling, action, end(true));
    assert_eq!(code, "ValidationError", "it is no member any more");
}

#[test]
fn a_group_that_cannot_launch_says_why_and_tries_again() {
    let (mut aws, stack) = stack();
    aws.set_vcpus(2);
    desire(&mut aws, &stack, 2).unwrap();
    pass(&mut aws, 10);
    let input = json!({ "AutoScalingGroupName": stack.group });
    let answer = call(&mut aws, Service::AutoScaling, "DescribeScalingActivities", input).unwrap();
    let failed = answer["Activities"].as_array().unwrap();
    let failed = failed.iter().find(|a| a["StatusCode"] == "Failed").unwrap();
    assert!(failed["StatusMessage"].as_str().unwrap().contains("vCPU limit"));
    aws.set_vcpus(64);
    pass(&mut aws, 60);
    assert_eq!(aws.live_instances().count(), 2);
}

#[test]
fn a_lifecycle_hook_holds_an_instance() {
    let (mut aws, stack) = stack();
    let hook = json!({
        "AutoScalingGroupName": stack.group, "LifecycleHookName": "drain",
        "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING", "HeartbeatTimeout": 600,
    });
    call(&mut aws, Service::AutoScaling, "PutLifecycleHook", hook).unwrap();
    desire(&mut aws, &stack, 1).unwrap();
    pass(&mut aws, 60);
    desire(&mut aws, &stack, 0).unwrap();
    pass(&mut aws, 60);
    assert_eq!(stages(&mut aws, &stack), ["Terminating:Wait"]);
    let id = aws.live_instances().next().unwrap().id.clone();
    let go_on = json!({
        "AutoScalingGroupName": stack.group, "LifecycleHookName": "drain", "InstanceId": id,
        "LifecycleActionResult": "CONTINUE",
    });
    call(&mut aws, Service::AutoScaling, "CompleteLifecycleAction", go_on).unwrap();
    pass(&mut aws, 30);
    assert!(stages(&mut aws, &stack).is_empty());
}

#[test]
fn faults_harm_the_calls_that_they_mean() {
    let (mut aws, stack) = stack();
    let faults: Vec<Fault> = serde_json::from_value(json!([
        { "action": "RunInstances", "after": 1, "times": 1, "kind": "throttle" },
        { "service": "elb", "kind": "access_denied" },
    ]))
    .unwrap();
    aws.add_faults(faults);
    call(&mut aws, Service::Ec2, "RunInstances", run(&stack, "a", 1)).unwrap();
    assert_eq!(
        refused(&mut aws, Service::Ec2, "RunInstances", run(&stack, "b", 1)),
        "RequestLimitExceeded"
    );
    call(&mut aws, Service::Ec2, "RunInstances", run(&stack, "b", 1)).unwrap();
    let denied = call(&mut aws, Service::Elb, "DescribeRules", json!({})).unwrap_err();
    assert_eq!((denied.status, denied.code.as_str()), (403, "AccessDenied"));
    assert!(denied.message.contains("elasticloadbalancing:DescribeRules"), "{}", denied.message);
    aws.clear_faults();
    assert_eq!(aws.calls().filter(|call| call.action == "RunInstances").count(), 3);
    assert!(aws.now() >= NOW);
}
