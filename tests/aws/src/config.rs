//! What a test may set before the stand-in starts.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::Deserialize;

/// How this AWS behaves. Spans are `[least, most]` in milliseconds, drawn evenly.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seed of every draw.
    pub seed: u64,
    /// The account's number.
    pub account: String,
    /// The region's code.
    pub region: String,
    /// Identity that `GetCallerIdentity` tells, and that refusals name.
    pub identity: String,
    /// Subnet to zone.
    pub subnets: BTreeMap<String, String>,
    /// The first address of the VPC. In 127/8, so that what stands for an instance can listen on
    /// the instance's own private address.
    pub network: Ipv4Addr,
    /// Quota of vCPUs of running instances.
    pub vcpus: u32,
    /// From `RunInstances` to `running`.
    pub pending_ms: [u64; 2],
    /// From `RunInstances` until what the instance runs has been started.
    pub boot_ms: [u64; 2],
    /// From `TerminateInstances` to `terminated`.
    pub shutdown_ms: [u64; 2],
    /// How old descriptions of instances are.
    pub stale_ms: [u64; 2],
    /// From `RegisterTargets` to the first check of health.
    pub registration_ms: u64,
    /// How often an Auto Scaling group compares what is with what is wanted.
    pub group_step_ms: u64,
    /// From `PutProvisionedConcurrencyConfig` to READY.
    pub provisioned_ms: [u64; 2],
    /// How long a function's update is in progress.
    pub update_ms: u64,
    /// The account's concurrent executions; a hundred of them cannot be reserved.
    pub concurrency: u32,
    /// From `ModifyCapacityReservation` to provisioned.
    pub capacity_ms: [u64; 2],
    /// Quota of a load balancer's reserved capacity units.
    pub capacity_units: u32,
    /// From a replica's request to its being available, of caches and databases.
    pub replica_ms: [u64; 2],
    /// Whether targets are asked for their health. If not, a target is healthy when its instance
    /// has booted, and an address always is.
    pub probes: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            account: "123456789012".to_owned(),
            region: "eu-central-1".to_owned(),
            identity: "arn:aws:sts::123456789012:assumed-role/agent/test".to_owned(),
            subnets: BTreeMap::from([
                ("subnet-0a000000000000001".to_owned(), "eu-central-1a".to_owned()),
                ("subnet-0b000000000000002".to_owned(), "eu-central-1b".to_owned()),
            ]),
            network: Ipv4Addr::new(127, 64, 0, 0),
            vcpus: 64,
            pending_ms: [3_000, 8_000],
            boot_ms: [25_000, 29_000],
            shutdown_ms: [5_000, 20_000],
            stale_ms: [0, 2_000],
            registration_ms: 1_000,
            group_step_ms: 2_000,
            provisioned_ms: [60_000, 120_000],
            update_ms: 1_000,
            concurrency: 1_000,
            capacity_ms: [120_000, 600_000],
            capacity_units: 1_500,
            replica_ms: [120_000, 300_000],
            probes: false,
        }
    }
}
