//! End to end: the built programs as a person would run them.
//!
//! Each test has addresses and a folder of its own, but they share two cores: [`alone`] lets one run
//! at a time.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod bad_input;
mod cloud;
mod demo;
mod netns;
mod operator;
mod up;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by a test while it runs.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
