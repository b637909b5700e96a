//! The gateway over real sockets: a client that writes raw bytes, upstreams and a cloud that record
//! what reaches them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod client;
mod forwarding;
mod limits;
mod neighbours;
mod outage;
mod running;
mod spill;
mod strictness;
mod upstream;
mod world;
