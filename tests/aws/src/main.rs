//! The stand-in of AWS as a program, for tests that are not written in Rust.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use spillway_part::start::shutdown_on_signals;
use spillway_test_aws::{Config, Server};

/// A stand-in of AWS for tests: EC2, Auto Scaling, ELB, Lambda, CloudWatch, SNS, SQS, STS, and the
/// replicas of RDS and ElastiCache. `AWS_ENDPOINT_URL` is the address that it prints.
#[derive(Debug, Parser)]
#[command(name = "spillway-test-aws")]
struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A JSON file: boot times, quotas and the like.
    #[arg(long)]
    config: Option<PathBuf>,
    /// How many times as fast time passes as it really does; 0 stops it.
    #[arg(long, default_value_t = 1.0)]
    factor: f64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let shutdown = shutdown_on_signals()?;
    let config = match &args.config {
        Some(path) => {
            let text =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("{} is wrong", path.display()))?
        }
        None => Config::default(),
    };
    let server = Server::start(config, args.listen, Arc::new(())).await?;
    server.set_factor(args.factor);
    // Whoever waits for this line has gone if it cannot be written.
    let _heard = writeln!(std::io::stdout(), "{}", server.endpoint());
    shutdown.cancelled().await;
    Ok(())
}
