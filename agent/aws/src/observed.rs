//! What AWS was seen to be, in the words that [`crate::reconcile`] decides with.
//!
//! Whatever could not be asked is missing, never empty: no data is not zero.

use std::collections::BTreeMap;

use serde::Serialize;
use spillway_model::UnixMillis;

/// One look at AWS.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Observed {
    /// When.
    pub at: UnixMillis,
    /// The Auto Scaling group of the configuration.
    pub group: Option<Group>,
    /// Every instance that carries the site set's tags.
    pub instances: Option<Vec<Instance>>,
    /// What the gateways' target group has, by instance.
    pub targets: Option<BTreeMap<String, Health>>,
    /// The rules of the configuration that could be read, by ARN.
    pub rules: BTreeMap<String, Rule>,
    /// Warm environments of the functions that could be read, by the configuration's name.
    pub provisioned: BTreeMap<String, Provisioned>,
    /// What is reserved at the load balancer.
    pub capacity: Option<Capacity>,
    /// The cache's replicas.
    pub cache: Option<Cache>,
    /// The database's instances that are named as replicas of ours.
    pub database: Option<Vec<Replica>>,
}

/// An Auto Scaling group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Whether it carries the site set's tags.
    pub owned: bool,
    /// Its desired size.
    pub desired: u32,
    /// Its least desired size.
    pub min: u32,
    /// Its largest.
    pub max: u32,
    /// Its instances: whether each is on its way out.
    pub instances: BTreeMap<String, Leaving>,
}

/// Whether an instance of a group is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Leaving {
    /// It serves or is starting.
    No,
    /// The group drains or ends it.
    Yes,
}

/// One EC2 instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// Whether it carries both tags of the site set. Nothing else is ever touched.
    pub owned: bool,
    /// The Auto Scaling group that it belongs to.
    pub group: Option<String>,
    /// How far it is.
    pub state: InstanceState,
    /// When it was launched.
    pub launched_at: UnixMillis,
}

/// How far an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// Starting.
    Pending,
    /// Running.
    Running,
    /// Stopping or stopped: it costs and serves nothing.
    Stopped,
    /// Shutting down or terminated.
    Ended,
}

/// What the load balancer thinks of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Its first checks are under way.
    Initial,
    /// It is given requests.
    Healthy,
    /// It fails its checks, or cannot be checked.
    Unhealthy,
    /// It was deregistered and finishes what it has.
    Draining,
}

/// A rule of the listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Whether it carries the site set's tags.
    pub owned: bool,
    /// Weights of its forward action, by target group's ARN.
    pub weights: BTreeMap<String, u32>,
}

impl Rule {
    /// Percent of the rule's requests that a target group is given.
    #[must_use]
    pub fn percent(&self, target_group: &str) -> u8 {
        let sum: u32 = self.weights.values().sum();
        let weight = self.weights.get(target_group).copied().unwrap_or(0);
        let percent = (weight * 100).checked_div(sum).unwrap_or(0);
        u8::try_from(percent).unwrap_or(100)
    }
}

/// Warm environments of an alias.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Provisioned {
    /// How many were asked for; 0 when there is no such configuration.
    pub asked: u32,
    /// How many are warm.
    pub ready: u32,
    /// Whether Lambda is still at it.
    pub working: bool,
    /// Why Lambda gave up, if it did.
    pub failed: Option<String>,
}

/// Capacity that is reserved at the load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Capacity {
    /// Whether the load balancer carries the site set's tags.
    pub owned: bool,
    /// Units that were asked for; 0 when nothing is reserved.
    pub units: u32,
    /// Whether AWS is still at it; it takes no other request meanwhile.
    pub working: bool,
    /// Why AWS gave up, if it did.
    pub failed: Option<String>,
    /// How often it may still be asked for less today.
    pub decreases_left: u32,
}

/// Replicas of the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cache {
    /// How many there are of each shard's first.
    pub replicas: u32,
    /// Whether it can be changed now.
    pub available: bool,
}

/// A replica of the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replica {
    /// Its id.
    pub id: String,
    /// Whether it carries the site set's tags.
    pub owned: bool,
    /// What RDS says of it, such as `available` or `deleting`.
    pub status: String,
    /// Whether it has become the cluster's writer, as one can when the writer fails.
    pub writer: bool,
}
