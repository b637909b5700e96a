//! What the tests of several crates need: real servers started on addresses of their own and stopped
//! again. Never part of the product.

mod certificate;
mod line;
mod loopback;
mod moto;
mod process;
mod run;
mod runtime_api;
mod secrets_manager;
mod servers;
mod spillway;
mod terraform;

pub use certificate::Certificate;
pub use line::Line;
pub use loopback::Block;
pub use moto::Moto;
pub use process::{Process, until, wait_until};
pub use run::{Ran, python_tool, run};
pub use runtime_api::RuntimeApi;
pub use secrets_manager::SecretsManager;
pub use servers::{Postgres, Redis};
pub use spillway::{Spillway, example_config, program};
pub use terraform::Terraform;
