//! `spillway run`: one part in the foreground.

use std::process::ExitCode;
use std::str::FromStr as _;

use anyhow::Context as _;
use spillway_model::SiteId;
use spillway_part::start::{end_with_parent, load_config, open_files, shutdown_on_signals};
use spillway_part::{StartError, log};

use crate::args::{Args, RunPart};
use crate::up;

pub(crate) fn run(args: &Args, part: RunPart, name: Option<&str>) -> anyhow::Result<ExitCode> {
    log::init();
    end_with_parent().context("cannot start")?;
    open_files();
    let path = args.config_path();
    let config = load_config(&path)?;
    let name =
        |what: &str| name.with_context(|| format!("say which {what}: `spillway run {what} NAME`"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers(part))
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let shutdown = shutdown_on_signals().context("cannot handle signals")?;
        match part {
            RunPart::Dns => spillway_dns::run(config, shutdown).await?,
            RunPart::Balancer => {
                let site = name("balancer")?;
                let known =
                    || config.sites.iter().map(|s| s.id.to_string()).collect::<Vec<_>>().join(", ");
                let id = SiteId::from_str(site).ok().filter(|id| config.site(id).is_some());
                let id = id.ok_or_else(|| StartError::NoSuchPart {
                    kind: "site",
                    name: site.to_owned(),
                    known: known(),
                })?;
                spillway_balancer::run(config, &id, shutdown).await?;
            }
            RunPart::Gateway => spillway_gateway::run(config, name("gateway")?, shutdown).await?,
            RunPart::Cloud => {
                let program = up::sibling("one-code")?;
                spillway_local::run(config, &path, &program, shutdown).await?;
            }
            RunPart::Agent => spillway_daemon::run(config, shutdown).await?,
        }
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Threads a part's runtime works with. The agent decides once a second; the rest follow the cores.
fn workers(part: RunPart) -> usize {
    match part {
        RunPart::Agent | RunPart::Dns => 1,
        _ => std::thread::available_parallelism().map_or(1, usize::from),
    }
}
