//! A simulated site, its cloud and its clients, in steps of a second: the same trace for Spillway's decision
//! and for the rules of other systems.
//!
//! Pure: no IO, no clock, and all chance comes from a seed. The same inputs give the same bytes.
//!
//! # What is compared
//!
//! There is a site of ten servers, which serve 1500 requests a second within their limit of latency, and a
//! cloud in which one may have servers on EC2 of the same kind, by the second and for a price, 25 to 90 s
//! after one asks for them ([`Setting`] has all numbers and where they are from).
//!
//! - **Peers** ([`Policy::Hpa`] and so on) scale servers. One load balancer fills those at home and those on EC2
//!   evenly, at once and without a cost, which is more than any real one between two places does. The site's
//!   servers are their least number.
//! - **Spillway** has the same servers at the same prices and lead times. It has functions beside them, which
//!   are there in the same second and cost four times as much, and moves clients by DNS, which takes its time to
//!   live, and by 307s over the site's uplink. Where all of that does not suffice it may shed by tiers.
//! - **The clairvoyant** has servers, functions and a load balancer that wastes nothing, and knows what comes.
//!
//! All but the clairvoyant begin with an hour like the first second, which counts for nothing.
//!
//! A second is over the limit when the 95th percentile of latency is, anywhere, or when a request fails. Cost is
//! that of EC2 from launch to end, and of functions by request; the site is paid for, and transfer and load
//! balancers cost all alike. What a tier sheds is told on its own.
//!
//! ```text
//! trace ─▶ demand ─▶ world ─▶ tally ─▶ outcome
//!                    ▲   │
//!            control │   ▼ what was seen
//!               agent, peer or clairvoyant
//! ```

mod agent;
mod chance;
mod clairvoyant;
mod demand;
mod environments;
mod frontier;
pub mod log;
mod peers;
mod policy;
mod queue;
mod resolvers;
mod run;
mod servers;
mod setting;
mod tally;
mod trace;
mod world;

pub use demand::{Demand, Unit};
pub use frontier::{BadSweep, Frontier, Point, Sweep};
pub use peers::{NoPolicy, Policy};
pub use run::{OVER_USD, Options, Progress, Results, SimulateError, simulate};
pub use setting::{Functions, Setting};
pub use tally::{Course, Outcome};
pub use trace::{Trace, TraceError};
