//! `spillway demo`: a hybrid cloud on this machine, a flash crowd against it, and a verdict.
//!
//! Act one replays the flash crowd at several times what the site can carry, kills the agent at the
//! height of it, and lets it die down. Act two takes the cloud away, so that only degradation is left.

mod stage;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use spillway_part::start::shutdown_on_signals;

use crate::args::{Acts, Args, DemoOptions};
use crate::{output, up};
use stage::{Played, Stage};

/// The steepest flash crowd of the 1998 World Cup's web site, requests per minute.
const FLASH_CROWD: &str = include_str!("../../../../examples/flash-crowd.csv");

/// Exit code when the machine did not keep up: EX_TEMPFAIL of sysexits.h.
const STRAINED: u8 = 75;

pub(crate) fn demo(args: &Args, options: &DemoOptions) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(options.peak >= 1.5, "--peak {} is no flash crowd: at least 1.5", options.peak);
    anyhow::ensure!(
        options.compress >= 1.0,
        "--compress {}: at least 1 second a minute",
        options.compress
    );
    let out = match &options.out {
        Some(out) => out.clone(),
        None => std::env::temp_dir().join(format!("spillway-demo-{}", std::process::id())),
    };
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let out = std::path::absolute(out)?;
    let trace = match &options.trace {
        Some(trace) => trace.clone(),
        None => {
            let trace = out.join("flash-crowd.csv");
            std::fs::write(&trace, FLASH_CROWD)
                .with_context(|| format!("cannot write {}", trace.display()))?;
            trace
        }
    };
    let runtime = up::current_thread()?;
    let played = runtime.block_on(async {
        let shutdown = shutdown_on_signals().context("cannot handle signals")?;
        tokio::select! {
            played = acts(args, options, &out, &trace) => played,
            () = shutdown.cancelled() => anyhow::bail!("interrupted"),
        }
    })?;
    conclude(args, &out, &played)
}

async fn acts(
    args: &Args,
    options: &DemoOptions,
    out: &Path,
    trace: &Path,
) -> anyhow::Result<Played> {
    let mut all = Played { checks: Vec::new(), strain: None };
    let mut add = |played: Played| {
        all.checks.extend(played.checks);
        all.strain = all.strain.take().or(played.strain);
    };
    let source = args.config_path();
    if options.acts != Acts::Tiers {
        say("act one: a flash crowd, and a cloud to spill it into");
        let stage = Stage::open(&source, options, &out.join("spill"), None, args.json).await?;
        add(stage.spill(options, trace).await?);
    }
    if options.acts != Acts::Spill {
        say("act two: no environments left in the cloud; only degradation can help");
        let stage = Stage::open(&source, options, &out.join("tiers"), Some(0), args.json).await?;
        add(stage.tiers(options).await?);
    }
    Ok(all)
}

fn conclude(args: &Args, out: &Path, played: &Played) -> anyhow::Result<ExitCode> {
    let Played { checks, strain } = played;
    let met = checks.iter().all(|check| check.met);
    // Claims that are met on a machine that did not keep up are met all the more.
    let strain = strain.as_ref().filter(|_| !met);
    if args.json {
        output::json(&serde_json::json!({
            "met": met, "strain": strain, "checks": checks, "out": out,
        }))?;
    } else {
        let rows = checks.iter().map(|check| {
            let mark = if check.met { "yes" } else { "NO" };
            vec![mark.to_owned(), check.claim.clone(), check.measured.clone()]
        });
        output::line(&output::table(&["met", "claim", "measured"], rows));
        output::line(&format!("charts, tables and reports: {}", out.display()));
        let failed = checks.iter().filter(|check| !check.met).count();
        output::line(&match (failed, strain) {
            (0, _) => format!("verdict: all {} claims are met", checks.len()),
            (n, None) => format!("verdict: {n} of {} claims are NOT met", checks.len()),
            (n, Some(why)) => format!(
                "verdict: none, for this machine did not keep up: {why}. Without that {n} of {} claims would not be met; run it again with less beside it",
                checks.len()
            ),
        });
    }
    Ok(match (met, strain) {
        (true, _) => ExitCode::SUCCESS,
        (false, None) => ExitCode::FAILURE,
        (false, Some(_)) => ExitCode::from(STRAINED),
    })
}

/// Progress goes to standard error, so that standard output is the verdict alone.
fn say(text: &str) {
    output::note(&format!("demo: {text}"));
}

/// A path as TOML text has it.
fn toml_path(path: &Path) -> toml::Value {
    toml::Value::from(path.display().to_string())
}

/// A file of an act.
fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}
