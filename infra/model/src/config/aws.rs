//! `[cloud.aws]`: what Terraform made on AWS that the agent scales.
//!
//! Names and ARNs are outputs of `terraform/modules/public` and `terraform/modules/alarms`. Whatever
//! is left out is left alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// What they cost.
    #[serde(default)]
    pub prices: AwsPrices,
    /// The listener's rules whose weights divide requests between functions and EC2 gateways.
    #[serde(rename = "rule", default)]
    pub rules: Vec<AwsRule>,
    /// The functions on Lambda. A name of `[[cloud.function]]` is that function there; others stand for
    /// themselves.
    #[serde(default)]
    pub functions: BTreeMap<String, AwsFunction>,
    /// URL of the queue that alarms come by.
    #[serde(default)]
    pub alarm_queue: Option<String>,
    /// Where alarms come to from SNS itself, sooner than by the queue.
    #[serde(default)]
    pub alarm_endpoint: Option<AwsAlarmEndpoint>,
    /// What the load balancer may be asked to hold ready. Without it its reservation is left alone.
    #[serde(default)]
    pub capacity: Option<AwsCapacity>,
    /// Replicas that are added while a burst lasts, if any may be.
    #[serde(default)]
    pub replicas: Option<AwsReplicas>,
    /// Whether to read what the account costs, which its identity must be allowed in `us-east-1`.
    #[serde(default)]
    pub billing: bool,
    /// Id of the cache's replication group.
    #[serde(default)]
    pub cache: Option<String>,
    /// Id of the database's cluster.
    #[serde(default)]
    pub database: Option<String>,
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
    /// How long one takes from its launch to its first request, in seconds: what a launch costs that
    /// serves nothing.
    #[serde(default = "boot_secs")]
    pub boot_secs: u64,
}

/// What the cloud's levers cost, which decides what takes over from what.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AwsPrices {
    /// US dollars for an EC2 gateway, an hour.
    pub gateway_usd_per_hour: f64,
    /// US dollars for a million requests of weight 1 that functions serve.
    pub functions_usd_per_million: f64,
}

impl Default for AwsPrices {
    /// A c7g.large on demand, and 100 ms at 256 MB on arm64 with the request itself, in us-east-1
    /// (<https://aws.amazon.com/ec2/pricing/on-demand/>, <https://aws.amazon.com/lambda/pricing/>).
    fn default() -> Self {
        Self { gateway_usd_per_hour: 0.0725, functions_usd_per_million: 0.53 }
    }
}

/// An HTTPS endpoint that topics of SNS deliver alarms to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsAlarmEndpoint {
    /// Where it listens; SNS must reach it. Alarms are posted to `/v1/alarms`.
    pub listen: SocketAddr,
    /// The chain of certificates, in PEM, that SNS trusts for the endpoint's name.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// ARNs of the topics that may deliver here, and whose subscriptions are confirmed.
    pub topics: Vec<String>,
    /// URL of what stands for SNS, where it is not that of AWS. Its word is taken without TLS.
    #[serde(default)]
    pub stand_in: Option<String>,
}

/// Capacity units that are reserved at the load balancer while a burst lasts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsCapacity {
    /// ARN of the load balancer.
    pub load_balancer: String,
    /// Most of them; 0 reserves none. AWS takes no fewer than 100, and bills each by the hour.
    pub max_units: u32,
    /// Requests that a client sends on one connection, on average.
    #[serde(default = "one")]
    pub requests_per_connection: f64,
    /// A burst must have lasted for this long before they are reserved, in seconds.
    #[serde(default = "capacity_after_secs")]
    pub after_secs: u64,
    /// Next to none, or half, must have sufficed for this long before they are given back, in seconds.
    #[serde(default = "capacity_keep_secs")]
    pub keep_secs: u64,
}

/// Replicas of the cache and of the database that are added while a burst lasts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsReplicas {
    /// Weighted requests per second in the cloud that one more of each is for.
    pub weighted_qps: f64,
    /// Most that are added to the cache.
    #[serde(default)]
    pub cache_max: u32,
    /// Most that are added to the database.
    #[serde(default)]
    pub database_max: u32,
    /// A burst must have lasted for this long before they are added, in seconds.
    #[serde(default = "replicas_after_secs")]
    pub after_secs: u64,
    /// Fewer of them must have sufficed for this long before some are removed, in seconds.
    #[serde(default = "replicas_keep_secs")]
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
    /// What runs there, and so what is deployed.
    #[serde(default)]
    pub program: AwsProgram,
    /// Most of its environments that are kept warm while a burst lasts; 0 keeps none.
    #[serde(default)]
    pub warm_max: u32,
    /// Weighted requests per second that one environment serves; needed where `warm_max` is not 0.
    #[serde(default)]
    pub warm_qps: f64,
}

/// A program that runs as a function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AwsProgram {
    /// The service; what it serves stands in `[[cloud.function]]`.
    #[default]
    OneCode,
    /// The function that tells the agents of alarms. It serves no requests, so none of its environments
    /// is kept warm.
    Alarm,
}

impl AwsProgram {
    /// Its name, as the configuration and the folder of built programs have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OneCode => "one-code",
            Self::Alarm => "alarm",
        }
    }
}

fn boot_secs() -> u64 {
    60
}

fn one() -> f64 {
    1.0
}

fn capacity_after_secs() -> u64 {
    30
}

fn capacity_keep_secs() -> u64 {
    3600
}

fn replicas_after_secs() -> u64 {
    120
}

fn replicas_keep_secs() -> u64 {
    1800
}

fn alias() -> String {
    "live".to_owned()
}
