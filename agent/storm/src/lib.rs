//! An open-loop load generator with a population of clients.
//!
//! Arrivals follow a [`Profile`] and wait for no answer; latency counts from the moment a request
//! was meant to start, so a slow server cannot hide behind the requests it keeps from being sent
//! (no coordinated omission). Every client has a loopback address of its own ([`address`]), looks
//! the service up through the configured name server, honours TTLs, keeps connections alive and
//! follows 307 as a browser would. What came of it is a [`Report`]: per second and in all, plus
//! every change of side of every client, which [`check_cohorts`] holds against the shares.
//!
//! ```text
//! profile ─▶ schedule ─▶ run ─▶ request task ─▶ resolve ─▶ exchange ─▶ record ─▶ Report
//!                         └─ once a second: watch (agent, balancers) ─▶ record, progress
//! ```

mod chart;
mod client;
mod cohort;
mod exchange;
mod mix;
mod outcome;
pub mod plot;
mod population;
mod profile;
mod progress;
mod record;
pub mod render;
mod report;
mod resolve;
mod run;
mod schedule;
mod trace;
mod watch;
mod world;

#[cfg(test)]
mod tests;

pub use chart::svg;
pub use cohort::{Move, Side, Via, Violation, check_cohorts};
pub use mix::{Mix, MixError, Operation};
pub use outcome::{Failure, Failures};
pub use population::{CLIENTS_MAX, SOURCES, address};
pub use profile::{ARRIVALS_MAX, Curve, DURATION_SECS_MAX, Profile, ProfileError, RATE_MAX};
pub use progress::Progress;
pub use report::{Latency, Report, Second, Totals};
pub use run::{Options, StormError, run};
pub use schedule::{Arrival, Schedule};
pub use trace::TraceError;
