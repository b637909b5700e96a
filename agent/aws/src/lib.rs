//! Makes AWS what the plan says, and tells the agent what AWS is: the only crate that names the AWS SDK,
//! and with program `spillway-aws` the only process that has AWS credentials.
//!
//! ```text
//!  plan ─▶ keeper:  look ─▶ reconcile ─▶ journal, carry out ─▶ look …      ─▶ /v1/load of part `aws` ─▶ agent
//!  queue, DescribeAlarms ─▶ alarms ─▶ POST /v1/alarms of the agent
//!  SNS ─▶ endpoint: signed by SNS? ─▶ POST /v1/alarms of the agent
//!  /v1/status of the agent ─▶ figures ─▶ CloudWatch ─▶ figures, quotas ─▶ /metrics, warnings
//! ```
//!
//! [`reconcile()`] is pure and decides everything; what surrounds it asks and obeys. The daemon and the
//! decision never name AWS: they read one more part's load report.

mod act;
mod alarms;
mod call;
mod carry_out;
mod clients;
pub mod deploy;
mod endpoint;
mod figures;
mod https;
mod journal;
mod keeper;
mod lines;
mod look;
mod memory;
mod observed;
mod place;
mod quotas;
mod reconcile;
mod run;
mod sns;
#[cfg(test)]
mod tests;

pub use act::{Act, Launch};
pub use clients::Clients;
pub use endpoint::TlsError;
pub use journal::{Journal, JournalError};
pub use keeper::{Keeper, Round, rehearse};
pub use memory::{Kept, Memory, Outcome};
pub use observed::{
    Cache, Capacity, Group, Health, Instance, InstanceState, Leaving, Observed, Provisioned,
    Replica, Rule,
};
pub use reconcile::{Step, reconcile, report};
pub use run::{RunError, configured, run};
