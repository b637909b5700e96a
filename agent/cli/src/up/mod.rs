//! `spillway up`: a whole hybrid cloud on this machine, from one configuration.

mod logs;
pub(crate) mod supervisor;
mod taken;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use spillway_part::start::{load_config, shutdown_on_signals};

use crate::args::{Args, UpOptions};
use crate::parts::{PartSpec, parts};
use crate::{keys, output};
use supervisor::{Event, Supervisor};

pub(crate) fn up(args: &Args, options: &UpOptions) -> anyhow::Result<ExitCode> {
    let runtime = current_thread()?;
    runtime.block_on(async {
        let shutdown = shutdown_on_signals().context("cannot handle signals")?;
        let json = args.json;
        let began = spillway_part::clock::instant();
        let delay = Duration::from_millis(options.restart_delay_ms);
        let supervisor = start(&args.config_path(), delay, move |event| say(json, &event)).await?;
        let ready = tokio::select! {
            ready = supervisor.ready() => ready,
            () = shutdown.cancelled() => Ok(()),
        };
        if ready.is_ok() && !shutdown.is_cancelled() {
            announce(args.json, &supervisor, began.elapsed())?;
            shutdown.cancelled().await;
        }
        supervisor.stop().await;
        ready?;
        if args.json {
            output::json(&serde_json::json!({"event": "stopped"}))?;
        } else {
            output::line("stopped; no process is left");
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The runtime of a supervisor. Children are told to end when the thread that started them does, so
/// all of them are started by the main thread.
pub(crate) fn current_thread() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// Checks that every address is free, makes missing keys, and starts every part.
pub(crate) async fn start(
    config_path: &Path,
    restart_delay: Duration,
    say: impl Fn(Event) + Send + Sync + 'static,
) -> anyhow::Result<Supervisor> {
    let config = load_config(config_path)?;
    anyhow::ensure!(
        config.cloud.local.is_some() || config.cloud.aws.is_some(),
        "{} has no [cloud.local]: `up` runs the cloud on this machine too where there is none on AWS; \
         add it (see the example), or run the parts one by one with `spillway run`",
        config_path.display()
    );
    let spillway = std::env::current_exe().context("cannot tell where this program is")?;
    let config_path = std::path::absolute(config_path)?;
    let specs = parts(&config, &config_path, &spillway, &sibling("one-code")?);
    taken::all_free(&specs).await?;
    keys::ensure(&config.state_path(""))?;
    Supervisor::start(config, specs, restart_delay, say)
}

/// A program that stands beside this one.
pub(crate) fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let path =
        std::env::current_exe().context("cannot tell where this program is")?.with_file_name(name);
    anyhow::ensure!(
        path.is_file(),
        "`{name}` is not beside this program ({}): build it with `cargo build --release -p spillway-one-code`",
        path.display()
    );
    Ok(path)
}

fn announce(json: bool, supervisor: &Supervisor, took: Duration) -> anyhow::Result<()> {
    let parts = supervisor.parts();
    if json {
        let parts: Vec<_> = parts
            .iter()
            .map(|(spec, pid)| serde_json::json!({"name": spec.name, "kind": spec.kind, "pid": pid, "listen": spec.listen}))
            .collect();
        let seconds = took.as_secs_f64();
        return output::json(
            &serde_json::json!({"event": "ready", "seconds": seconds, "parts": parts}),
        );
    }
    let rows = parts.iter().map(|(spec, pid)| {
        let listen = |spec: &PartSpec| {
            let all: Vec<String> =
                spec.listen.iter().map(|l| format!("{}/{}", l.address, l.protocol)).collect();
            all.join("  ")
        };
        vec![
            spec.name.clone(),
            spec.kind.to_owned(),
            pid.map_or_else(String::new, |p| p.to_string()),
            listen(spec),
        ]
    });
    output::line(&output::table(&["part", "kind", "pid", "listens"], rows));
    let config = supervisor.config();
    let resolver = config.dns.listen;
    output::line(&format!(
        "ready in {:.2} s; logs in {}\n\
         try:  dig @{} -p {} {} +subnet=192.0.2.0/24\n\
         stop: Ctrl-C",
        took.as_secs_f64(),
        config.state_path("log").display(),
        resolver.ip(),
        resolver.port(),
        config.service.host,
    ));
    Ok(())
}

fn say(json: bool, event: &Event) {
    if json {
        // The value is made of strings and numbers and can always be written.
        let _ = output::json(event);
    } else {
        output::note(&event.to_string());
    }
}
