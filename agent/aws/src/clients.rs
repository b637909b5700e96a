//! The SDK's clients. Credentials come by the standard chain: variables, profiles (`credential_process`
//! among them, which is how IAM Roles Anywhere works), instance metadata. `AWS_ENDPOINT_URL` leads them
//! elsewhere.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};

use spillway_model::UnixMillis;
use spillway_part::clock;

use crate::call::Calls;
use crate::figures::BILLING_REGION;
use crate::place::Places;

/// Attempts of one call; the SDK waits between them, longer each time and by chance.
pub(crate) const ATTEMPTS: u32 = 3;
/// A connection is made within.
const CONNECT: Duration = Duration::from_secs(2);
/// One attempt ends within.
const ATTEMPT: Duration = Duration::from_secs(6);
/// All attempts end within.
const OPERATION: Duration = Duration::from_secs(20);

/// A client of each service that is used, and the way out to all of them.
#[derive(Debug)]
pub struct Clients {
    pub(crate) ec2: aws_sdk_ec2::Client,
    pub(crate) balancing: aws_sdk_elasticloadbalancingv2::Client,
    pub(crate) autoscaling: aws_sdk_autoscaling::Client,
    pub(crate) lambda: aws_sdk_lambda::Client,
    pub(crate) cloudwatch: aws_sdk_cloudwatch::Client,
    /// CloudWatch in the one region that knows what the account costs.
    pub(crate) billing: aws_sdk_cloudwatch::Client,
    pub(crate) elasticache: aws_sdk_elasticache::Client,
    pub(crate) rds: aws_sdk_rds::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) calls: Calls,
    /// The wall clock; a test has one that does not make it wait.
    pub(crate) now: fn() -> UnixMillis,
}

impl Clients {
    /// Makes clients for a region. Credentials are looked for at the first call.
    pub async fn new(region: &str) -> Self {
        let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS);
        Self::of(&loader(region).retry_config(retries).load().await)
    }

    /// Makes clients of what the SDK was told.
    pub(crate) fn of(config: &SdkConfig) -> Self {
        let places = Places::default();
        // Each service has a builder of its own kind.
        macro_rules! client {
            ($sdk:ident, $builder:ident => $told:expr) => {{
                let $builder = $sdk::config::Builder::from(config).interceptor(places.clone());
                $sdk::Client::from_conf($told.build())
            }};
        }
        Self {
            ec2: client!(aws_sdk_ec2, it => it),
            balancing: client!(aws_sdk_elasticloadbalancingv2, it => it),
            autoscaling: client!(aws_sdk_autoscaling, it => it),
            lambda: client!(aws_sdk_lambda, it => it),
            cloudwatch: client!(aws_sdk_cloudwatch, it => it),
            billing: client!(aws_sdk_cloudwatch, it => it.region(Region::new(BILLING_REGION))),
            elasticache: client!(aws_sdk_elasticache, it => it),
            rds: client!(aws_sdk_rds, it => it),
            sqs: {
                // A long poll is no attempt that hangs.
                let timeouts = TimeoutConfig::builder()
                    .connect_timeout(CONNECT)
                    .operation_attempt_timeout(DEADLINE_OF_A_POLL)
                    .operation_timeout(DEADLINE_OF_A_POLL)
                    .build();
                client!(aws_sdk_sqs, it => it.timeout_config(timeouts))
            },
            calls: Calls::noting(places),
            now: clock::now,
        }
    }
}

/// What every client is told: where, and for how long it may try.
pub(crate) fn loader(region: &str) -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION)
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .timeout_config(timeouts)
}

/// A poll of the queue waits 20 seconds for a message.
const DEADLINE_OF_A_POLL: Duration = Duration::from_secs(28);
