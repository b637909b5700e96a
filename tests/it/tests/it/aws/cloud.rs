//! AWS as the stories see it: the stand-in with what Terraform makes, and questions about it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use spillway_test_aws::{Balancer, Call, Config, Hooks, Server, Service, Shape, Stack};
use tokio::runtime::Runtime;

/// `name` of module public.
pub(super) const NAME: &str = "east";

/// The stand-in, and the runtime that it lives on.
pub(super) struct Cloud {
    pub(super) server: Server,
    pub(super) stack: Stack,
    /// What Terraform made, as AWS described it before anybody touched it.
    made: Value,
    /// Calls that made it.
    made_by: usize,
    pub(super) runtime: Runtime,
}

impl Cloud {
    /// Starts one, whose time passes `factor` times as fast as real time.
    pub(super) fn start(config: Config, shape: Shape, factor: f64, hooks: Arc<dyn Hooks>) -> Self {
        let runtime = Runtime::new().unwrap();
        let listen = (Ipv4Addr::LOCALHOST, 0).into();
        let server = runtime.block_on(Server::start(config, listen, hooks)).unwrap();
        let stack = server.with(|aws| Stack::make(aws, NAME, shape)).unwrap();
        if factor > 1.0 {
            // Its clock is its own then; the database is there by that time.
            server.advance(Duration::from_secs(600));
            server.set_factor(factor);
        }
        let mut cloud = Self { server, stack, made: Value::Null, made_by: 0, runtime };
        cloud.made = cloud.described();
        cloud.made_by = cloud.calls();
        cloud
    }

    /// Serves as its load balancer, with functions at an address.
    pub(super) fn balance(&self, listen: SocketAddr, functions: SocketAddr) -> Balancer {
        let balancer = Balancer::start(&self.server, listen, &self.stack.rule, functions);
        self.runtime.block_on(balancer).unwrap()
    }

    fn look(&self, service: Service, action: &str, input: Value) -> Value {
        self.server.with(|aws| aws.look(service, action, input)).unwrap()
    }

    /// Everything that Terraform made, as AWS describes it: what the agent may change and what not.
    fn described(&self) -> Value {
        let stack = &self.stack;
        let arns = [&stack.rule, &stack.gateways, &stack.functions, &stack.balancer];
        let names = json!({ "AutoScalingGroupNames": [stack.group] });
        let version = json!({ "LaunchTemplateId": stack.template });
        let attributes = json!({ "TargetGroupArn": stack.gateways });
        let alias = json!({ "FunctionName": stack.function, "Name": "live" });
        let questions = [
            (Service::AutoScaling, "DescribeAutoScalingGroups", names),
            (Service::Ec2, "DescribeLaunchTemplateVersions", version),
            (Service::Ec2, "DescribeLaunchTemplates", json!({})),
            (Service::Elb, "DescribeRules", json!({ "RuleArns": [stack.rule] })),
            (Service::Elb, "DescribeTags", json!({ "ResourceArns": arns })),
            (Service::Elb, "DescribeLoadBalancers", json!({})),
            (Service::Elb, "DescribeListeners", json!({ "LoadBalancerArn": stack.balancer })),
            (Service::Elb, "DescribeTargetGroups", json!({})),
            (Service::Elb, "DescribeTargetGroupAttributes", attributes.clone()),
            (Service::Elb, "DescribeTargetHealth", attributes),
            (Service::Lambda, "GetAlias", alias),
            (
                Service::Lambda,
                "ListProvisionedConcurrencyConfigs",
                json!({ "FunctionName": stack.function }),
            ),
            (Service::CloudWatch, "DescribeAlarms", json!({})),
            (Service::ElastiCache, "DescribeReplicationGroups", json!({})),
            (Service::Rds, "DescribeDBInstances", json!({})),
        ];
        let answers = questions
            .into_iter()
            .map(|(service, action, input)| json!({ action: self.look(service, action, input) }));
        answers.collect()
    }

    /// What is otherwise than Terraform made it; empty when nothing is left behind and nothing of
    /// Terraform's was touched.
    pub(super) fn changed(&self) -> Vec<String> {
        let mut changed = Vec::new();
        differences("", &self.made, &self.described(), &mut changed);
        let (instances, _) = self.server.with(|aws| self.stack.leftovers(aws));
        if instances > 0 {
            changed.push(format!("{instances} instances live"));
        }
        changed
    }

    /// Percent of requests for the gateways.
    pub(super) fn gateway_weight(&self) -> u32 {
        self.server.with(|aws| self.stack.leftovers(aws)).1
    }

    /// Instances that live, and that were ever launched.
    pub(super) fn instances(&self) -> (usize, usize) {
        self.server.with(|aws| (aws.live_instances().count(), aws.launched()))
    }

    /// Targets of the gateways' group that are healthy.
    pub(super) fn healthy(&self) -> usize {
        self.server.with(|aws| aws.healthy_targets(&self.stack.gateways).len())
    }

    /// A number at a path of what a description gives, or the length of a list there.
    pub(super) fn count(
        &self,
        service: Service,
        action: &str,
        input: Value,
        path: &str,
    ) -> Option<u32> {
        let answer = self.server.with(|aws| aws.look(service, action, input)).ok()?;
        let found = answer.pointer(path)?;
        match found.as_array() {
            Some(list) => u32::try_from(list.len()).ok(),
            None => text(found).parse().ok(),
        }
    }

    /// How many calls were made, and of how many the answer was not heard at once.
    pub(super) fn calls(&self) -> usize {
        self.server.with(|aws| aws.calls().count())
    }

    pub(super) fn unheard(&self) -> usize {
        self.server.with(|aws| aws.calls().filter(|call| !call.heard).count())
    }

    /// How many calls were refused, or their answers not heard at once.
    pub(super) fn harmed(&self) -> usize {
        let harmed = |call: &&Call| call.refused.is_some() || !call.heard;
        self.server.with(|aws| aws.calls().filter(harmed).count())
    }

    /// How often AWS took an action, beside what made the stack.
    pub(super) fn asked(&self, action: &str) -> usize {
        self.server.with(|aws| {
            let calls = aws.calls().skip(self.made_by).filter(|c| c.action == action);
            calls.filter(|call| call.refused.is_none()).count()
        })
    }

    /// What an action was asked for that AWS took, oldest first.
    pub(super) fn taken(&self, action: &str) -> Vec<Value> {
        self.server.with(|aws| {
            let calls = aws.calls().filter(|c| c.action == action && c.refused.is_none());
            calls.map(|call| call.input.clone()).collect()
        })
    }

    /// Sizes that the group was asked for.
    pub(super) fn sizes(&self) -> Vec<u64> {
        self.taken("SetDesiredCapacity")
            .iter()
            .map(|call| number(&call["DesiredCapacity"]))
            .collect()
    }

    /// Weights that the gateways were given.
    pub(super) fn weights(&self) -> Vec<u64> {
        let of_gateways = |call: &Value| {
            let groups = call["Actions"][0]["ForwardConfig"]["TargetGroups"].as_array().unwrap();
            let gateways =
                groups.iter().find(|g| g["TargetGroupArn"] == self.stack.gateways.as_str());
            number(&gateways.unwrap()["Weight"])
        };
        // What Terraform made was no change of the agent's.
        self.taken("ModifyRule").iter().map(of_gateways).collect()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- AWS: {:#?}", self.changed());
        }
    }
}

/// A value as the query protocol has it.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn number(value: &Value) -> u64 {
    text(value).parse().unwrap()
}

fn differences(at: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => {
            for (key, value) in a {
                differences(&format!("{at}.{key}"), value, &after[key], found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{at}.{i}"), a, b, found);
            }
        }
        _ if text(before) == text(after) => {}
        _ => found.push(format!("{at}: {before} is {after}")),
    }
}

/// Whether numbers leave zero once, and return to it once.
pub(super) fn once(numbers: &[u64]) -> bool {
    let mut between = numbers.iter().skip_while(|n| **n == 0).skip_while(|n| **n > 0);
    numbers.last() == Some(&0) && between.all(|n| *n == 0)
}

/// Whether numbers rise and then fall, each as far as it goes without a turn.
pub(super) fn rise_and_fall(numbers: &[u64]) -> bool {
    let falls = numbers.windows(2).position(|pair| pair[1] < pair[0]).unwrap_or(numbers.len());
    numbers.iter().skip(falls).collect::<Vec<_>>().windows(2).all(|pair| pair[1] <= pair[0])
}
