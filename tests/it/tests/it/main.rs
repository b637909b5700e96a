//! End to end: the built programs as a person would run them.
//!
//! Each test has addresses and a folder of its own, but they share two cores. What is measured under a
//! storm is measured [`alone`]; the others run [`beside`] each other.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod aws;
mod bad_input;
mod cases;
mod cloud;
mod demo;
mod functions;
mod netns;
mod operator;
mod outage;
mod packages;
mod service_manager;
mod terraform;
mod up;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static CORES: RwLock<()> = RwLock::new(());

/// Held while it runs by a test that needs the machine for itself.
fn alone() -> RwLockWriteGuard<'static, ()> {
    CORES.write().unwrap_or_else(PoisonError::into_inner)
}

/// Held while it runs by a test that waits more than it works.
fn beside() -> RwLockReadGuard<'static, ()> {
    CORES.read().unwrap_or_else(PoisonError::into_inner)
}
