//! A local cloud by itself: `cloud CONFIG PROGRAM`, until SIGTERM or SIGINT.

use std::path::PathBuf;

use spillway_part::start::{load_config, shutdown_on_signals};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    spillway_part::log::init();
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(config), Some(program)) = (arguments.next(), arguments.next()) else {
        return Err("usage: cloud CONFIG PROGRAM".into());
    };
    let shutdown = shutdown_on_signals()?;
    spillway_local::run(load_config(&config)?, &config, &program, shutdown).await?;
    Ok(())
}
