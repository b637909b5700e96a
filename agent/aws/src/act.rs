//! What is done to AWS: each act is one call, and doing it twice is doing it once.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// One change of AWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Give a rule's target groups these weights.
    Weigh {
        /// ARN of the rule.
        rule: String,
        /// All of its weights, by target group's ARN.
        weights: BTreeMap<String, u32>,
    },
    /// Ask the Auto Scaling group for so many instances. It drains what it ends.
    SizeGroup {
        /// Name of the group.
        group: String,
        /// The size to ask for.
        desired: u32,
    },
    /// Launch instances from the launch template.
    Launch(Launch),
    /// Register instances with the gateways' target group.
    Register {
        /// Their ids.
        instances: Vec<String>,
    },
    /// Deregister instances: they finish what they have and are given nothing new.
    Drain {
        /// Their ids.
        instances: Vec<String>,
    },
    /// Terminate instances that have drained.
    End {
        /// Their ids.
        instances: Vec<String>,
    },
    /// Keep so many environments of a function's alias warm; 0 keeps none.
    Provision {
        /// The function, by the configuration's name.
        function: String,
        /// How many.
        environments: u32,
    },
    /// Reserve capacity at the load balancer; 0 units give it back.
    Reserve {
        /// ARN of the load balancer.
        load_balancer: String,
        /// How many units.
        units: u32,
    },
    /// Give each shard of the cache so many replicas.
    SizeCache {
        /// How many.
        replicas: u32,
        /// Whether that is more than there are.
        more: bool,
    },
    /// Add a replica to the database.
    AddReplica {
        /// Its id.
        id: String,
    },
    /// Remove a replica of ours from the database.
    RemoveReplica {
        /// Its id.
        id: String,
    },
}

/// A launch that was decided on. The same token never launches twice, however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Launch {
    /// The client token.
    pub token: String,
    /// How many instances, at most.
    pub count: u32,
    /// Which of the configuration's subnets, from 0.
    pub subnet: usize,
}

impl Act {
    /// What the act is about. At most one act of a kind is under way.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Weigh { rule, .. } => format!("weigh {rule}"),
            Self::SizeGroup { .. } => "size group".to_owned(),
            Self::Launch(_) => "launch".to_owned(),
            Self::Register { .. } => "register".to_owned(),
            Self::Drain { .. } => "drain".to_owned(),
            Self::End { .. } => "end".to_owned(),
            Self::Provision { function, .. } => format!("provision {function}"),
            Self::Reserve { .. } => "reserve capacity".to_owned(),
            Self::SizeCache { .. } => "size cache".to_owned(),
            Self::AddReplica { .. } | Self::RemoveReplica { .. } => "size database".to_owned(),
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weigh { rule, weights } => {
                write!(f, "weigh rule {}:", last(rule))?;
                for (target_group, weight) in weights {
                    write!(f, " {}={weight}", target_group_name(target_group))?;
                }
                Ok(())
            }
            Self::SizeGroup { group, desired } => {
                write!(f, "ask Auto Scaling group {group} for {}", some(*desired, "instance"))
            }
            Self::Launch(launch) => {
                let instances = some(launch.count, "instance");
                write!(f, "launch {instances}, client token {}", launch.token)
            }
            Self::Register { instances } => write!(f, "register {}", instances.join(", ")),
            Self::Drain { instances } => write!(f, "deregister {}", instances.join(", ")),
            Self::End { instances } => write!(f, "terminate {}", instances.join(", ")),
            Self::Provision { function, environments: 0 } => {
                write!(f, "keep no environments of {function} warm")
            }
            Self::Provision { function, environments } => {
                write!(f, "keep {} of {function} warm", some(*environments, "environment"))
            }
            Self::Reserve { units: 0, .. } => {
                f.write_str("give back the capacity reserved at the load balancer")
            }
            Self::Reserve { units, .. } => {
                write!(f, "reserve {} at the load balancer", some(*units, "capacity unit"))
            }
            Self::SizeCache { replicas, .. } => {
                write!(f, "give the cache {}", some(*replicas, "replica"))
            }
            Self::AddReplica { id } => write!(f, "add replica {id} to the database"),
            Self::RemoveReplica { id } => write!(f, "remove replica {id} from the database"),
        }
    }
}

/// A number of things.
fn some(n: u32, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// The last part of an ARN's path, which is its id.
pub(crate) fn last(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// The name in `…:targetgroup/NAME/ID`.
fn target_group_name(arn: &str) -> &str {
    arn.rsplit('/').nth(1).unwrap_or(arn)
}
