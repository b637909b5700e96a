//! What the Terraform modules `public` and `alarms` make of one site set, made by the same calls.

use serde_json::{Value, json};

use crate::aws::{Aws, Refusal, Request, Service};
use crate::input::Input;

/// Names of what was made.
#[derive(Debug, Clone)]
pub struct Stack {
    /// The Auto Scaling group's name.
    pub group: String,
    /// The launch template's id.
    pub template: String,
    /// The load balancer's ARN.
    pub balancer: String,
    /// ARN of the rule that forwards to functions and gateways.
    pub rule: String,
    /// ARN of the gateways' target group.
    pub gateways: String,
    /// ARN of the function's target group.
    pub functions: String,
    /// The function's name; its alias is `live`.
    pub function: String,
    /// The topic of alarms' requests.
    pub topic: String,
    /// The queue that the agent reads.
    pub queue_url: String,
    /// Its ARN.
    pub queue: String,
    /// An alarm on `UplinkUse`, which asks for tier 2.
    pub alarm: String,
    /// The cache's replication group.
    pub cache: String,
    /// The database's cluster.
    pub database: String,
}

/// What a stack differs in.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Most gateways of the group.
    pub max: u32,
    /// Where gateways listen.
    pub port: u16,
    /// Where they tell their health.
    pub admin_port: u16,
    /// How long they drain, in seconds.
    pub drain_secs: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self { max: 6, port: 8080, admin_port: 9311, drain_secs: 30 }
    }
}

/// A text of an answer, by the path to it.
fn text(value: &Value, path: &str) -> String {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Stack {
    /// Makes it all in an account.
    ///
    /// # Errors
    /// When a call is refused, as it is for a name that is taken.
    pub fn make(aws: &mut Aws, name: &str, shape: Shape) -> Result<Self, Refusal> {
        let mut call = |service, action: &str, input: Value| {
            aws.call(&Request { service, action: action.to_owned(), input }).answer
        };
        let owned = json!([
            { "Key": "spillway:agent", "Value": "true" },
            { "Key": "spillway:site-set", "Value": name },
        ]);
        let template = call(
            Service::Ec2,
            "CreateLaunchTemplate",
            json!({
                "LaunchTemplateName": format!("{name}-gateway"),
                "LaunchTemplateData": {
                    "ImageId": "ami-0123456789abcdef0", "InstanceType": "c7g.large",
                    "TagSpecification": [{ "ResourceType": "instance", "Tag": owned }],
                },
            }),
        )?;
        let template = text(&template, "/launchTemplate/launchTemplateId");
        let balancer = call(
            Service::Elb,
            "CreateLoadBalancer",
            json!({
                "Name": format!("{name}-alb"), "Tags": owned,
                "Subnets": ["subnet-0a000000000000001", "subnet-0b000000000000002"],
            }),
        )?;
        let balancer = text(&balancer, "/LoadBalancers/0/LoadBalancerArn");
        let gateways = call(
            Service::Elb,
            "CreateTargetGroup",
            json!({
                "Name": format!("{name}-gw{}", shape.port), "Port": shape.port, "Tags": owned,
                "TargetType": "instance", "HealthCheckPath": "/healthz",
                "HealthCheckPort": shape.admin_port.to_string(),
                "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2,
                "HealthyThresholdCount": 2, "UnhealthyThresholdCount": 2,
            }),
        )?;
        let gateways = text(&gateways, "/TargetGroups/0/TargetGroupArn");
        call(
            Service::Elb,
            "ModifyTargetGroupAttributes",
            json!({
                "TargetGroupArn": gateways,
                "Attributes": [{
                    "Key": "deregistration_delay.timeout_seconds",
                    "Value": shape.drain_secs.to_string(),
                }],
            }),
        )?;
        let functions = call(
            Service::Elb,
            "CreateTargetGroup",
            json!({
                "Name": format!("{name}-one-code"), "TargetType": "lambda", "Tags": owned,
            }),
        )?;
        let functions = text(&functions, "/TargetGroups/0/TargetGroupArn");
        let function = format!("{name}-one-code");
        call(
            Service::Lambda,
            "CreateFunction",
            json!({
                "FunctionName": function, "Code": { "ZipFile": "UEsFBg==" }, "Publish": true,
                "Timeout": 10, "Role": "arn:aws:iam::123456789012:role/one-code",
                "Tags": { "spillway:agent": "true", "spillway:site-set": name },
            }),
        )?;
        let alias = call(
            Service::Lambda,
            "CreateAlias",
            json!({
                "FunctionName": function, "Name": "live", "FunctionVersion": "1",
            }),
        )?;
        call(
            Service::Elb,
            "RegisterTargets",
            json!({
                "TargetGroupArn": functions, "Targets": [{ "Id": alias["AliasArn"] }],
            }),
        )?;
        let listener = call(
            Service::Elb,
            "CreateListener",
            json!({
                "LoadBalancerArn": balancer, "Port": 443, "Protocol": "HTTPS", "Tags": owned,
                "DefaultActions": [{ "Type": "fixed-response", "FixedResponseConfig": { "StatusCode": "404" } }],
            }),
        )?;
        let rule = call(
            Service::Elb,
            "CreateRule",
            json!({
                "ListenerArn": text(&listener, "/Listeners/0/ListenerArn"), "Priority": 45000,
                "Tags": owned,
                "Conditions": [{ "Field": "path-pattern", "Values": ["/*"] }],
                "Actions": [{ "Type": "forward", "ForwardConfig": { "TargetGroups": [
                    { "TargetGroupArn": functions, "Weight": 100 },
                    { "TargetGroupArn": gateways, "Weight": 0 },
                ] } }],
            }),
        )?;
        let group = format!("{name}-gateway");
        let tags: Vec<Value> = [("spillway:agent", "true"), ("spillway:site-set", name)]
            .map(|(key, value)| json!({ "Key": key, "Value": value, "PropagateAtLaunch": true }))
            .into();
        call(
            Service::AutoScaling,
            "CreateAutoScalingGroup",
            json!({
                "AutoScalingGroupName": group, "MinSize": 0, "MaxSize": shape.max,
                "LaunchTemplate": { "LaunchTemplateId": template, "Version": "$Latest" },
                "TargetGroupARNs": [gateways], "HealthCheckType": "ELB",
                "HealthCheckGracePeriod": 60, "Tags": tags,
            }),
        )?;
        let queue = call(
            Service::Sqs,
            "CreateQueue",
            json!({
                "QueueName": format!("{name}-alarms"),
                "Attributes": { "VisibilityTimeout": "30", "ReceiveMessageWaitTimeSeconds": "20" },
            }),
        )?;
        let queue_url = text(&queue, "/QueueUrl");
        let attributes = call(
            Service::Sqs,
            "GetQueueAttributes",
            json!({
                "QueueUrl": queue_url, "AttributeNames": ["QueueArn"],
            }),
        )?;
        let queue = text(&attributes, "/Attributes/QueueArn");
        let topic = call(
            Service::Sns,
            "CreateTopic",
            json!({
                "Name": format!("{name}-requests"), "Attributes": { "SignatureVersion": "2" },
            }),
        )?;
        let topic = text(&topic, "/TopicArn");
        call(
            Service::Sns,
            "Subscribe",
            json!({
                "TopicArn": topic, "Protocol": "sqs", "Endpoint": queue,
            }),
        )?;
        let alarm = format!("{name}/uplink-full-{name}");
        call(
            Service::CloudWatch,
            "PutMetricAlarm",
            json!({
                "AlarmName": alarm, "AlarmDescription": "spillway: tier=2 for=10m\nThe uplink is full.",
                "AlarmActions": [topic], "OKActions": [topic], "Namespace": "Spillway",
                "MetricName": "UplinkUse", "Statistic": "Average", "Period": 60,
                "EvaluationPeriods": 2, "Threshold": 0.97, "TreatMissingData": "ignore",
                "ComparisonOperator": "GreaterThanThreshold",
            }),
        )?;
        let cache = format!("{name}-cache");
        call(
            Service::ElastiCache,
            "CreateReplicationGroup",
            json!({
                "ReplicationGroupId": cache, "NumCacheClusters": 2,
            }),
        )?;
        let database = format!("{name}-database");
        call(
            Service::Rds,
            "CreateDBCluster",
            json!({
                "DBClusterIdentifier": database, "Engine": "aurora-postgresql",
            }),
        )?;
        call(
            Service::Rds,
            "CreateDBInstance",
            json!({
                "DBInstanceIdentifier": format!("{database}-1"), "DBClusterIdentifier": database,
                "DBInstanceClass": "db.r7g.large", "Engine": "aurora-postgresql",
            }),
        )?;
        let rule = text(&rule, "/Rules/0/RuleArn");
        Ok(Self {
            group,
            template,
            balancer,
            rule,
            gateways,
            functions,
            function,
            topic,
            queue_url,
            queue,
            alarm,
            cache,
            database,
        })
    }

    /// What is left of a burst: instances that live, and weight of the gateways.
    #[must_use]
    pub fn leftovers(&self, aws: &Aws) -> (usize, u32) {
        let live = aws.live_instances().count();
        let weights = aws.rule_weights(&self.rule);
        let weight = weights.iter().find(|(arn, _)| *arn == self.gateways).map(|(_, w)| *w);
        (live, weight.unwrap_or(0))
    }
}

impl Aws {
    /// The texts at a path of what a call gives, for tests that ask for one thing.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn ask(
        &mut self,
        service: Service,
        action: &str,
        input: Value,
        path: &str,
    ) -> Result<Option<String>, Refusal> {
        let answer = self.call(&Request { service, action: action.to_owned(), input }).answer?;
        Ok(answer.pointer(path).and_then(|value| Input(value).as_text()))
    }
}
