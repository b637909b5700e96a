//! The knobs as feature flags: which are on under a plan, for the operator and over OFREP.
//!
//! A knob is on while the plan holds an unexpired lease on it; nothing else is looked at, so every
//! client sees the same value. [`Registry`] is pure; [`router`] serves it by the OpenFeature Remote
//! Evaluation Protocol 0.3 (<https://github.com/open-feature/protocol>), so that any OpenFeature SDK
//! is a client.

mod ofrep;
mod registry;

pub use ofrep::router;
pub use registry::{Evaluation, Registry, TIER_FLAG, Value};
