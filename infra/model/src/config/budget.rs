//! `[cloud.budget]`: what the cloud may cost.

use serde::Deserialize;

/// What the cloud may cost, estimated from what is reported of it and `[cloud.aws.prices]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// US dollars in each clock hour; no limit when absent.
    pub usd_per_hour: Option<f64>,
    /// US dollars in each calendar month of UTC; no limit when absent.
    pub usd_per_month: Option<f64>,
    /// US dollars that a second over the limits is worth to be spared: a cap gives way where the spending
    /// beyond it is no more. When absent caps give way to nothing.
    pub usd_per_second_over: Option<f64>,
}
