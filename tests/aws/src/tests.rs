//! Tests of the state machine and of its wire.

mod alarms;
mod balancing;
mod functions;
mod instances;
mod properties;
mod wire;

use serde_json::{Value, json};

use crate::{Answer, Aws, Config, Request, Service, Shape, Stack};

/// Some moment, on a full minute.
const NOW: u64 = 1_763_900_040_000;

fn exact() -> Config {
    Config {
        pending_ms: [5_000, 5_000],
        boot_ms: [25_000, 25_000],
        shutdown_ms: [10_000, 10_000],
        stale_ms: [0, 0],
        provisioned_ms: [90_000, 90_000],
        capacity_ms: [120_000, 120_000],
        replica_ms: [120_000, 120_000],
        ..Config::default()
    }
}

fn account(config: Config) -> Aws {
    Aws::new(config, NOW, "http://aws.test")
}

/// An account with a stack whose times are exact.
fn stack() -> (Aws, Stack) {
    let mut aws = account(exact());
    let stack = Stack::make(&mut aws, "east", Shape::default()).unwrap();
    (aws, stack)
}

fn call(aws: &mut Aws, service: Service, action: &str, input: Value) -> Answer {
    aws.call(&Request { service, action: action.to_owned(), input }).answer
}

/// The code with which a call is refused.
fn refused(aws: &mut Aws, service: Service, action: &str, input: Value) -> String {
    call(aws, service, action, input).unwrap_err().code
}

fn pass(aws: &mut Aws, seconds: u64) {
    aws.advance(aws.now() + seconds * 1_000);
}

fn health(aws: &mut Aws, group: &str) -> Vec<String> {
    let answer =
        call(aws, Service::Elb, "DescribeTargetHealth", json!({ "TargetGroupArn": group }))
            .unwrap();
    let all = answer["TargetHealthDescriptions"].as_array().unwrap();
    all.iter().map(|t| t["TargetHealth"]["State"].as_str().unwrap().to_owned()).collect()
}
