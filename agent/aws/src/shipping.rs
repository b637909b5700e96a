//! `deploy` and `rollback` on the command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use spillway_aws::deploy::{DeployError, Outcome, Said, Wish, deploy, rollback};
use spillway_aws::{Clients, configured};
use spillway_model::Config;
use spillway_model::time::secs_of;
use spillway_part::files;
use spillway_part::start::shutdown_on_signals;

/// Longest event of a smoke invocation: what Lambda takes.
const EVENT_BYTES_MAX: u64 = 6 * 1024 * 1024;

/// What `deploy` teaches.
pub(crate) const DEPLOY: &str = "\
What happens, to all functions in step:
  1. The built program, the configuration and plan.pub are packed, the same bytes for the same inputs, and
     uploaded where they differ from what was uploaded last.
  2. A version is published, and invoked by its number: GET /healthz must answer 200. So far no request of
     a client has come to it.
  3. The alias gives it the first step's percentage of requests. While a step is held, its errors, throttles
     and p95 are compared with the old version's, the site set's alarms are watched, and it is invoked
     every ten seconds. When it does worse, all functions go back at once.
  4. After the last step the version before is remembered for `rollback`, and old versions are deleted.

A function whose old version fails the same invocation is moved at once: there is nothing to lose.
All state is in AWS: after a kill the same command goes on. Ctrl-C goes back, a second one leaves it.
While environments are kept warm for a burst AWS takes no weights: deploy then with --no-canary, or later.

Permissions, on the functions: lambda:GetFunctionConfiguration, ListVersionsByFunction, ListAliases, GetAlias,
GetProvisionedConcurrencyConfig, UpdateFunctionCode, PublishVersion, InvokeFunction, CreateAlias, UpdateAlias,
DeleteFunction; on all: cloudwatch:GetMetricData, DescribeAlarms.

Exit codes: 0 done; 1 failed and went back, or stopped as it says; 64 wrong usage; 78 wrong configuration;
130 interrupted.

Examples:
  spillway deploy --from ~/.cache/spillway/target/lambda --dry-run
  spillway deploy codes scans --from lambda --steps 1,10,50,100 --hold 5m";

/// What `rollback` teaches.
pub(crate) const ROLLBACK: &str = "\
Ends a canary by taking its weights away, where one is under way; else moves each function's alias to the
version that served before the last deployment. A second time there is nothing to go back to, unless --to
says which version.

Exit codes: 0 done; 1 failed, or nothing to go back to; 64 wrong usage; 78 wrong configuration.";

/// Options of `deploy`.
#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// Names of [cloud.aws.functions.NAME]; all when none is given.
    functions: Vec<String>,
    /// The folder of built programs, with ARCHITECTURE/PROGRAM/bootstrap in it, as `just functions` makes it.
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    /// Percentages of requests that the new versions are given one after the other.
    #[arg(long, default_value = "5,25,100", value_parser = steps)]
    steps: Steps,
    /// How long each step is held and watched: 90s, 5m; at least a minute's figures are waited for where
    /// there are requests.
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = hold)]
    hold: u64,
    /// Give the new versions all requests as soon as they have answered, without watching them.
    #[arg(long, conflicts_with_all = ["steps", "hold"])]
    no_canary: bool,
    /// How many of the newest versions are kept. What an alias leads to is kept anyway.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    keep: u16,
    /// A file with the event, as JSON, to invoke new versions of the service with instead of GET /healthz;
    /// they must answer it with status 200 too.
    #[arg(long, value_name = "FILE")]
    smoke: Option<PathBuf>,
    /// Only say what would be done, and ask AWS whether it would take the code.
    #[arg(long)]
    dry_run: bool,
}

/// Options of `rollback`.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// Names of [cloud.aws.functions.NAME]; all when none is given.
    functions: Vec<String>,
    /// The version to go back to.
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u32).range(1..))]
    to: Option<u32>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Steps(Vec<u8>);

fn steps(text: &str) -> Result<Steps, String> {
    let read: Option<Vec<u8>> = text.split(',').map(|step| step.trim().parse().ok()).collect();
    let good = |steps: &Vec<u8>| {
        let ascending = steps.is_sorted_by(|a, b| a < b);
        ascending && steps.first().is_some_and(|first| *first > 0) && steps.last() == Some(&100)
    };
    read.filter(good)
        .map(Steps)
        .ok_or_else(|| "write ascending percentages that end with 100, such as 5,25,100".to_owned())
}

fn hold(text: &str) -> Result<u64, String> {
    secs_of(text).ok_or_else(|| "write a time from 1s to 24h, such as 60s or 5m".to_owned())
}

/// Runs `deploy`.
pub(crate) async fn ship(
    config: &Config,
    path: &Path,
    options: &Deploy,
    tell: &mut (dyn FnMut(&Said) + Send),
) -> anyhow::Result<ExitCode> {
    let smoke = match &options.smoke {
        None => None,
        Some(path) => {
            let bytes = files::read_at_most(path, EVENT_BYTES_MAX)
                .with_context(|| format!("cannot read the event {}", path.display()))?;
            let event = serde_json::from_slice(&bytes);
            Some(event.with_context(|| format!("{} holds no JSON", path.display()))?)
        }
    };
    let wish = Wish {
        functions: options.functions.clone(),
        from: options.from.clone(),
        steps: if options.no_canary { vec![100] } else { options.steps.0.clone() },
        hold_secs: if options.no_canary { 0 } else { options.hold },
        keep: usize::from(options.keep),
        smoke,
        dry_run: options.dry_run,
    };
    let clients = clients(config).await?;
    let shutdown = shutdown_on_signals().context("cannot handle signals")?;
    Ok(code(&deploy(&clients, config, path, &wish, &shutdown, tell).await?))
}

/// Runs `rollback`.
pub(crate) async fn back(
    config: &Config,
    options: &Rollback,
    tell: &mut (dyn FnMut(&Said) + Send),
) -> anyhow::Result<ExitCode> {
    let clients = clients(config).await?;
    let gone = rollback(&clients, config, &options.functions, options.to, options.dry_run, tell);
    Ok(code(&gone.await?))
}

async fn clients(config: &Config) -> Result<Clients, DeployError> {
    Ok(Clients::new(&configured(config)?.region).await)
}

fn code(outcome: &Outcome) -> ExitCode {
    ExitCode::from(match outcome {
        Outcome::Done => 0,
        Outcome::Failed(_) | Outcome::Stopped(_) => 1,
        // As a shell says that SIGINT ended something.
        Outcome::Interrupted => 130,
    })
}

/// The exit code of a deployment that cannot begin.
pub(crate) fn exit_code(error: &DeployError) -> u8 {
    match error {
        DeployError::Unknown(..) => 64,
        DeployError::Configured(_) | DeployError::Config(_) | DeployError::NoFunctions => 78,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_ascend_to_all_requests() {
        assert_eq!(steps("5, 25,100"), Ok(Steps(vec![5, 25, 100])));
        assert_eq!(steps("100"), Ok(Steps(vec![100])));
        for bad in ["", "5,25", "25,5,100", "0,100", "5,5,100", "5,101", "x"] {
            assert!(steps(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!((hold("90s"), hold("5m")), (Ok(90), Ok(300)));
        for bad in ["", "60", "0s", "25h", "m"] {
            assert!(hold(bad).is_err(), "{bad}");
        }
    }
}
