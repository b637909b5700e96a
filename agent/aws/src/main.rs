//! The `spillway-aws` program: the process that keeps AWS to the plan, and what an operator does by hand.

mod shipping;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use http::Method;
use serde::Serialize;
use spillway_aws::deploy::{self, DeployError};
use spillway_aws::{Clients, Journal, Keeper, Round, RunError, configured, rehearse};
use spillway_model::api::unprintable;
use spillway_model::{Config, Fleet, Plan, SignedPlan};
use spillway_part::client::Client;
use spillway_part::start::{end_with_parent, load_config, shutdown_on_signals};
use spillway_part::{StartError, clock, files, follow, log};

/// Make AWS what the plan says.
#[derive(Debug, Parser)]
#[command(name = "spillway-aws", version, about, max_term_width = 100, after_help = AFTER)]
struct Args {
    /// The configuration; `spillway.toml` here, else `/etc/spillway/spillway.toml`.
    #[arg(long, short, global = true, env = "SPILLWAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON for machines instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Credentials are AWS's usual ones: variables, profiles (credential_process among them), instance metadata.
Exit codes: 0 done; 1 failed, or not done in time; 64 wrong usage; 78 wrong configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep AWS to the agent's plan, as service managers do.
    Run,
    /// Say what would be done to make AWS what the plan in force says.
    Plan,
    /// Make AWS what the plan in force says, and wait until it is. For when `run` does not run.
    Apply(Options),
    /// Drain and end everything that was scaled up, and wait until it is gone. For when `run` does not run.
    Drain(Options),
    /// Ship the functions' code, at first for a few requests, and go back if it does worse.
    #[command(after_help = shipping::DEPLOY)]
    Deploy(shipping::Deploy),
    /// Bring back what functions were before the last deployment, at once.
    #[command(after_help = shipping::ROLLBACK)]
    Rollback(shipping::Rollback),
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Give up after so many seconds, or sooner when what is left does not pass by itself.
    #[arg(long, default_value_t = 900, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    within: u64,
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => {
            // Printing fails only if the terminal is gone.
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    match run(&args) {
        Ok(code) => code,
        Err(e) => {
            if args.json {
                line(&serde_json::json!({ "error": format!("{e:#}") }).to_string());
            } else {
                let _ = writeln!(
                    std::io::stderr().lock(),
                    "spillway-aws: {}",
                    clean(&format!("{e:#}"))
                );
            }
            let config = matches!(
                e.downcast_ref::<StartError>(),
                Some(StartError::BadConfig { .. } | StartError::ReadConfig { .. })
            ) || matches!(e.downcast_ref::<RunError>(), Some(RunError::NotConfigured));
            let other = e.downcast_ref::<DeployError>().map_or(1, shipping::exit_code);
            ExitCode::from(if config { 78 } else { other })
        }
    }
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // The other commands print what a log would say.
    if matches!(args.command, Command::Run) || std::env::var_os("SPILLWAY_LOG").is_some() {
        log::init();
    }
    end_with_parent().context("cannot start")?;
    let here = Path::new("spillway.toml");
    let path = args.config.clone().unwrap_or_else(|| {
        let path = if here.exists() { here } else { Path::new("/etc/spillway/spillway.toml") };
        path.to_owned()
    });
    let config = load_config(&path)?;
    configured(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        match &args.command {
            Command::Run => {
                let shutdown = shutdown_on_signals().context("cannot handle signals")?;
                spillway_aws::run(config, shutdown).await?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Plan => {
                let (wanted, from) = in_force(&config).await?;
                say(args, &config, &wanted, &from).await
            }
            Command::Apply(options) => {
                let (wanted, from) = in_force(&config).await?;
                change(args, &config, options, &wanted, &from).await
            }
            Command::Drain(options) => {
                change(args, &config, options, &Fleet::default(), "nothing is wanted").await
            }
            Command::Deploy(options) => {
                shipping::ship(&config, &path, options, &mut |said| tell(args, said)).await
            }
            Command::Rollback(options) => {
                shipping::back(&config, options, &mut |said| tell(args, said)).await
            }
        }
    })
}

/// What the plan in force wants, and where it was found: the agent, or else the plan that the part kept.
async fn in_force(config: &Config) -> anyhow::Result<(Fleet, String)> {
    let key = follow::trusted_key(config)?;
    let deadline = Duration::from_secs(3);
    let asked = Client::default()
        .exchange::<(), SignedPlan>(Method::GET, config.agent.listen, "/v1/plan", None, deadline)
        .await;
    let (signed, from) = match asked {
        Ok(signed) => (signed, "the agent's plan"),
        Err(e) => {
            let kept = config.state_path("plans").join("aws.json");
            let bytes = files::read(&kept).with_context(|| {
                format!("the agent has no plan ({e}), and none was kept in {}", kept.display())
            })?;
            let signed = serde_json::from_slice(&bytes)
                .with_context(|| format!("{} holds no plan", kept.display()))?;
            (signed, "the agent does not answer; the plan that was kept")
        }
    };
    let plan: Plan = signed.verify(&key)?;
    Ok((plan.fleet, format!("{from}, generation {}", plan.generation)))
}

#[derive(Serialize)]
struct Said<'a> {
    wanted: &'a Fleet,
    from: &'a str,
    #[serde(flatten)]
    round: &'a Round,
    settled: bool,
}

async fn say(args: &Args, config: &Config, wanted: &Fleet, from: &str) -> anyhow::Result<ExitCode> {
    let aws = configured(config)?;
    let clients = Clients::new(&aws.region).await;
    let round = rehearse(&clients, aws, wanted).await;
    print(args, wanted, from, &round, "would")?;
    Ok(ExitCode::from(u8::from(!round.complete)))
}

/// Round after round until AWS is what is wanted.
async fn change(
    args: &Args,
    config: &Arc<Config>,
    options: &Options,
    wanted: &Fleet,
    from: &str,
) -> anyhow::Result<ExitCode> {
    if options.dry_run {
        return say(args, config, wanted, from).await;
    }
    let aws = configured(config)?;
    let (journal, kept) = Journal::open(&config.state_path(""))?;
    let clients = Clients::new(&aws.region).await;
    let mut keeper = Keeper::new(&clients, aws, journal, kept);
    let shutdown = shutdown_on_signals().context("cannot handle signals")?;
    let begun = clock::instant();
    loop {
        let round = keeper.round(Some(wanted)).await;
        let settled = round.settled();
        let late = begun.elapsed() >= Duration::from_secs(options.within);
        let over = settled || round.stuck || late || shutdown.is_cancelled();
        if over || !round.acts.is_empty() || !round.failed.is_empty() {
            print(args, wanted, from, &round, "did")?;
        }
        if over {
            anyhow::ensure!(
                !round.stuck,
                "AWS is not what is wanted, and what is left does not pass by itself: see to what failed and to \
                 the warnings; the same command then goes on with it"
            );
            anyhow::ensure!(
                settled,
                "AWS is not yet what is wanted; the same command goes on with it"
            );
            return Ok(ExitCode::SUCCESS);
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

fn print(args: &Args, wanted: &Fleet, from: &str, round: &Round, verb: &str) -> anyhow::Result<()> {
    if args.json {
        let said = Said { wanted, from, round, settled: round.settled() };
        line(&serde_json::to_string(&said)?);
        return Ok(());
    }
    let seen = &round.seen;
    line(&format!(
        "wanted   {} gateways with {} % of requests{}{} ({from})",
        wanted.gateways,
        wanted.gateway_percent,
        environments(&wanted.provisioned),
        reserved(wanted.capacity_units),
    ));
    let there = format!(
        "{} gateways with {} % of requests, {} healthy, {} draining{}{}",
        seen.gateways_launched,
        seen.gateway_percent,
        seen.gateways_healthy,
        seen.gateways_draining,
        environments(&seen.provisioned_ready),
        reserved(seen.capacity_units),
    );
    let unknown = "not known: not everything could be read";
    line(&format!("there    {}", if round.fleet_complete { &there } else { unknown }));
    for act in &round.acts {
        line(&format!("{verb:<9}{act}"));
    }
    for (word, texts) in
        [("failed", &round.failed), ("waiting", &round.waiting), ("warning", &round.warnings)]
    {
        for text in texts {
            line(&format!("{word:<9}{text}"));
        }
    }
    if round.settled() {
        line("settled  nothing is left to do");
    }
    Ok(())
}

/// Something that happened, as a line.
fn tell(args: &Args, said: &deploy::Said) {
    let json = || serde_json::to_string(said).unwrap_or_default();
    line(&if args.json { json() } else { said.to_string() });
}

fn environments(warm: &std::collections::BTreeMap<String, u32>) -> String {
    warm.iter().map(|(name, n)| format!(", {n} environments of {name} warm")).collect()
}

fn reserved(units: u32) -> String {
    if units > 0 { format!(", {units} capacity units reserved") } else { String::new() }
}

/// Prints a line. A reader that has gone away (`| head`) is no error.
fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{}", clean(text));
}

/// Text that others wrote, with nothing in it that a terminal would obey.
fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if unprintable(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}
