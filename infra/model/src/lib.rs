//! The vocabulary every part of Spillway shares: configuration, identifiers, the client prefix and
//! its rank, the plan, and the load report. No IO, no clock, no async runtime.
//!
//! Data runs one way: [`load`] → (agent) → [`plan`] → data plane. [`config`] is read by all parts.

pub mod api;
pub mod calendar;
pub mod config;
pub mod histogram;
pub mod ids;
pub mod load;
pub mod mode;
pub mod plan;
pub mod prefix;
pub mod rank;
pub mod time;

pub use calendar::{Date, UtcOffset};
pub use config::Config;
pub use ids::{EventId, KnobId, RouteId, SiteId};
pub use load::Load;
pub use mode::Mode;
pub use plan::{Fleet, Plan, SignedPlan, Tier};
pub use prefix::ClientPrefix;
pub use rank::{Salt, Share};
pub use time::{BadTime, UnixMillis};
