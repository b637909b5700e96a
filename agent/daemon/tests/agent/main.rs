//! The agent over real sockets and a real journal: its parts are small HTTP servers whose counters
//! and ills the tests control.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod journal;
mod mirrors;
mod mode;
mod orders;
mod parts;
mod restart;
mod site;
