//! `[cloud.aws]`: what Terraform made on AWS that the agent scales.
//!
//! Names and ARNs are outputs of `terraform/modules/public` and `terraform/modules/alarms`. Whatever
//! is left out is left alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Deserialize;

/// A cloud on AWS, and the process `spillway-aws` that makes it what the plan says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aws {
    /// For example `eu-central-1`.
    pub region: String,
    /// Value of the tag `spillway:site-set` of everything that may be touched.
    pub name: String,
    /// `/v1/load`, `/metrics`, `/healthz` of `spillway-aws`.
    pub admin: SocketAddr,
    /// The EC2 gateways, if there are to be any.
    #[serde(default)]
    pub gateways: Option<AwsGateways>,
    /// The listener's rules whose weights divide requests between functions and EC2 gateways.
    #[serde(rename = "rule", default)]
    pub rules: Vec<AwsRule>,
    /// What each function of `[[cloud.function]]` is on Lambda, by its name there.
    #[serde(default)]
    pub functions: BTreeMap<String, AwsFunction>,
    /// URL of the queue that alarms come by.
    #[serde(default)]
    pub alarm_queue: Option<String>,
    /// Id of the cache's replication group.
    #[serde(default)]
    pub cache: Option<String>,
    /// Id of the database's cluster.
    #[serde(default)]
    pub database: Option<String>,
    /// Name of the bucket that deployments put functions' code into.
    #[serde(default)]
    pub artifacts_bucket: Option<String>,
}

/// Gateways on EC2 that take over from the functions when a burst lasts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsGateways {
    /// Name of the Auto Scaling group that starts them. Either this or `launch_template`.
    #[serde(default)]
    pub autoscaling_group: Option<String>,
    /// Id of the launch template to start them from where there is no group.
    #[serde(default)]
    pub launch_template: Option<String>,
    /// Ids of the subnets to start them in, taken in turn; with `launch_template` only.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// ARN of the target group they are registered in.
    pub target_group: String,
    /// Weighted requests per second that one of them can serve.
    pub weighted_qps: f64,
    /// Most of them.
    pub max: u32,
    /// A burst must have lasted for this long before they are started, in seconds.
    #[serde(default = "after_secs")]
    pub after_secs: u64,
    /// Fewer of them must have sufficed for this long before one is ended, in seconds.
    #[serde(default = "keep_secs")]
    pub keep_secs: u64,
}

/// One rule of the load balancer's listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsRule {
    /// Its ARN.
    pub arn: String,
    /// ARN of the functions' target group that it forwards to beside that of the gateways.
    pub target_group: String,
}

/// One function on Lambda.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsFunction {
    /// Its name there.
    pub name: String,
    /// The alias that is invoked.
    #[serde(default = "alias")]
    pub alias: String,
}

fn after_secs() -> u64 {
    60
}

fn keep_secs() -> u64 {
    300
}

fn alias() -> String {
    "live".to_owned()
}
