//! What the tests of several crates need: real servers started on addresses of their own and stopped
//! again. Never part of the product.

mod loopback;
mod process;
mod runtime_api;
mod servers;
mod spillway;

pub use loopback::Block;
pub use process::{Process, wait_until};
pub use runtime_api::RuntimeApi;
pub use servers::{Postgres, Redis};
pub use spillway::{Spillway, example_config, program};
