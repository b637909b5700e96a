//! A stand-in of AWS for tests: instances that boot, targets that become healthy and drain, groups
//! that scale, functions with versions, aliases and provisioned concurrency, alarms that fire, topics
//! that sign, queues that redeliver. Written from AWS's documented behaviour. Never part of the
//! product.
//!
//! ```text
//! request ─▶ wire (query, JSON, REST) ─▶ Aws::call ─▶ answer
//!                                           │  ▲
//!              timers fall due: Aws::advance ┘  └─ what came of it: probed, invoked, queued
//!                                           ▼
//!                          effects ─▶ server: processes, probes, notifications
//! ```
//!
//! [`Aws`] is a state machine without IO or clock: requests and points in time in, answers and
//! [`Effect`]s out; the same seed and the same requests give the same answers. [`Server`] gives it a
//! socket, a clock and hands.
//!
//! An action that is not modelled answers `InvalidAction`, as AWS does to one that it does not know.

mod autoscaling;
mod aws;
mod balance;
mod clock;
mod cloudwatch;
mod config;
mod control;
mod ec2;
mod elb;
mod fault;
mod functions;
mod input;
mod replicas;
mod server;
mod sign;
mod sns;
mod sqs;
mod stack;
mod time;
mod wire;

pub use aws::{Answer, Aws, Call, Delivery, Effect, Outcome, Refusal, Request, Service};
pub use balance::Balancer;
pub use config::Config;
pub use ec2::Machine;
pub use elb::Probe;
pub use fault::{Fault, FaultKind};
pub use functions::Invocation;
pub use server::{Hooks, Invoked, Server, ServerError, TrustError};
pub use sns::{Notice, Protocol};
pub use stack::{Shape, Stack};

#[cfg(test)]
mod tests;
