//! Faults: what goes wrong with which call.

use serde::Deserialize;

use crate::aws::{Refusal, Service};

/// A rule: the calls it means, and what becomes of them. The first rule that means a call counts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The service; left out: any.
    #[serde(default)]
    pub service: Option<Service>,
    /// The action; left out: any.
    #[serde(default)]
    pub action: Option<String>,
    /// How many calls that it means pass unharmed first.
    #[serde(default)]
    pub after: u32,
    /// How many it then harms; left out: all.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens to them.
    pub kind: FaultKind,
}

/// What happens to a call.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// Refused for coming too fast, in the service's own words.
    Throttle,
    /// Refused with a 500, in the service's own words.
    Internal,
    /// Refused for want of permission, in the service's own words.
    AccessDenied,
    /// Refused because a quota is used up, in the action's own words.
    Quota,
    /// Refused with these words.
    Refuse {
        /// HTTP status.
        status: u16,
        /// Error code.
        code: String,
        /// Message.
        message: String,
    },
    /// Done, but nobody hears: the connection is closed instead of an answer.
    LostAnswer,
    /// Not done: the connection is closed.
    Unreachable,
    /// Done after the wait; by then most callers have gone.
    Hang {
        /// How long, in milliseconds of the stand-in's real time.
        millis: u64,
    },
    /// A description that is so many milliseconds old. Of other services than EC2 it is an answer that
    /// was given then, and at the earliest since the rule was added.
    Stale {
        /// How old.
        millis: u64,
    },
}

impl Fault {
    /// What happens to this call, if the rule means it. Counts the call.
    pub(crate) fn meets(&mut self, service: Service, action: &str) -> Option<FaultKind> {
        if self.service.is_some_and(|s| s != service)
            || self.action.as_deref().is_some_and(|a| a != action)
        {
            return None;
        }
        if self.after > 0 {
            self.after -= 1;
            return None;
        }
        match &mut self.times {
            Some(0) => return None,
            Some(times) => *times -= 1,
            None => {}
        }
        Some(self.kind.clone())
    }

    /// Whether it will harm no call any more.
    pub(crate) fn is_spent(&self) -> bool {
        self.times == Some(0)
    }
}

impl FaultKind {
    /// The refusal, for a kind that refuses.
    pub(crate) fn refusal(
        &self,
        service: Service,
        action: &str,
        identity: &str,
    ) -> Option<Refusal> {
        let (status, code, message) = match self {
            Self::Throttle => match service {
                Service::Ec2 => (503, "RequestLimitExceeded", "Request limit exceeded.".to_owned()),
                Service::Lambda => (429, "TooManyRequestsException", "Rate Exceeded.".to_owned()),
                Service::Sqs => (400, "RequestThrottled", "Rate exceeded".to_owned()),
                Service::Sns => (429, "Throttled", "Rate exceeded".to_owned()),
                _ => (400, "Throttling", "Rate exceeded".to_owned()),
            },
            Self::Internal => match service {
                Service::Ec2 => (500, "InternalError", "An internal error has occurred".to_owned()),
                Service::Lambda => {
                    (500, "ServiceException", "The service encountered an error.".to_owned())
                }
                _ => (500, "InternalFailure", "An internal failure has occurred".to_owned()),
            },
            Self::AccessDenied => {
                let prefix = service.prefix();
                let message = format!(
                    "User: {identity} is not authorized to perform: {prefix}:{action} because no identity-based policy allows the {prefix}:{action} action"
                );
                match service {
                    Service::Ec2 => (
                        403,
                        "UnauthorizedOperation",
                        format!("You are not authorized to perform this operation. {message}"),
                    ),
                    Service::Lambda | Service::Sqs => (403, "AccessDeniedException", message),
                    Service::Sns => (403, "AuthorizationError", message),
                    _ => (403, "AccessDenied", message),
                }
            }
            Self::Quota => match action {
                "RunInstances" => (400, "VcpuLimitExceeded", VCPUS.to_owned()),
                "PutProvisionedConcurrencyConfig" => {
                    (400, "InvalidParameterValueException", CONCURRENCY.to_owned())
                }
                "ModifyCapacityReservation" => (
                    400,
                    "CapacityUnitsLimitExceeded",
                    "You've exceeded the capacity units limit.".to_owned(),
                ),
                "IncreaseReplicaCount" => (
                    400,
                    "NodeQuotaForCustomerExceeded",
                    "The request cannot be processed because it would exceed the allowed number of cache nodes per customer.".to_owned(),
                ),
                "CreateDBInstanceReadReplica" | "CreateDBInstance" => (
                    400,
                    "InstanceQuotaExceeded",
                    "The request would result in the user exceeding the allowed number of DB instances.".to_owned(),
                ),
                _ => (400, "LimitExceeded", "A quota of the account is used up.".to_owned()),
            },
            Self::Refuse { status, code, message } => (*status, code.as_str(), message.clone()),
            Self::LostAnswer | Self::Unreachable | Self::Hang { .. } | Self::Stale { .. } => {
                return None;
            }
        };
        Some(Refusal::new(status, code, message))
    }
}

/// What EC2 says when the quota of vCPUs is used up.
pub(crate) const VCPUS: &str = "You have requested more vCPU capacity than your current vCPU limit allows for the instance bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.";
/// What Lambda says when less than a hundred would be left to functions without a reservation.
pub(crate) const CONCURRENCY: &str = "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100].";
