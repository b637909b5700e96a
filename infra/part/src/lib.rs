//! What every process of Spillway has besides its work: a log, the configuration it was started
//! with, the plan it follows, an admin listener, counters, and an orderly end.
//!
//! Data-plane parts need nothing here to succeed once they run: without the agent they keep their
//! last plan, with a full disk they keep it in memory.

pub mod admin;
pub mod client;
pub mod clock;
pub mod counters;
pub mod files;
pub mod follow;
mod inherited;
pub mod log;
pub mod manager;
pub mod metrics;
pub mod serve;
pub mod start;

pub use admin::Admin;
pub use follow::Plans;
pub use start::{Shutdown, StartError};
