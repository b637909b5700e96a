//! `spillway storm`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use spillway_part::start::{load_config, shutdown_on_signals};
use spillway_storm::{Options, Profile, Progress, render, svg};

use crate::args::{self, Args, StormOptions};
use crate::{output, up};

pub(crate) fn storm(args: &Args, options: &StormOptions) -> anyhow::Result<ExitCode> {
    let config = load_config(&args.config_path())?;
    let storm = Options {
        clients: options.clients,
        seed: options.seed,
        allow_remote: options.allow_remote,
        sources: options.sources,
        mix: options.mix.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
        ..Options::new(profile(&options.profile))
    };
    // Found out now, not when the storm is over.
    for path in [&options.svg, &options.report].into_iter().flatten() {
        std::fs::File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| unwritable(path))?;
    }
    let runtime = up::current_thread()?;
    let report = runtime.block_on(async {
        let shutdown = shutdown_on_signals().context("cannot handle signals")?;
        anyhow::Ok(spillway_storm::run(config, storm, Progress::auto(), shutdown).await?)
    })?;
    if let Some(path) = &options.svg {
        write(path, &svg(&report))?;
    }
    if let Some(path) = &options.report {
        write(path, &serde_json::to_string(&report)?)?;
    }
    if args.json {
        output::json(&report)?;
    } else {
        if !options.no_table {
            output::line(&render::table(&report));
        }
        output::line(&render::summary(&report));
    }
    // As a shell reports a program that SIGINT ended.
    Ok(if report.interrupted { ExitCode::from(130) } else { ExitCode::SUCCESS })
}

fn profile(profile: &args::Profile) -> Profile {
    match profile.clone() {
        args::Profile::Constant { rate, secs } => Profile::Constant { rate, secs },
        args::Profile::Step { base, peak, at, secs } => Profile::Step { base, peak, at, secs },
        args::Profile::Ramp { from, to, secs } => Profile::Ramp { from, to, secs },
        args::Profile::Trace { file, column, step, peak, play_step_in } => {
            Profile::Trace { file, column, step_secs: step, peak, play_step_in }
        }
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| unwritable(path))
}

fn unwritable(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
