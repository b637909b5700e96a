//! Starts processes, starts them again when they end by themselves, and stops them in the order in
//! which requests flow, so that nothing is asked of what has gone.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use spillway_model::Config;
use spillway_part::client::Client;
use spillway_part::start::{DRAIN, PARENT_VARIABLE};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::parts::PartSpec;

/// How long all parts together may take to become ready.
const READY: Duration = Duration::from_secs(15);
/// Longest pause before a part that keeps ending is started again.
const RESTART_DELAY_MAX: Duration = Duration::from_secs(30);

/// What a person running `up` is told while it runs.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// A part ended by itself.
    Ended { name: String, how: String, again_in_ms: u64 },
    /// And was started again.
    Restarted { name: String, pid: u32 },
    /// It could not be.
    Failed { name: String, error: String },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { name, how, again_in_ms } => {
                write!(f, "{name} ended ({how}); starting it again in {again_in_ms} ms")
            }
            Self::Restarted { name, pid } => write!(f, "{name} runs again, process {pid}"),
            Self::Failed { name, error } => write!(f, "{name} cannot be started: {error}"),
        }
    }
}

#[derive(Debug, Default)]
struct Running {
    pid: Option<u32>,
    /// Keep it down for this long after its next end.
    hold: Option<Duration>,
}

type Table = Arc<Mutex<BTreeMap<String, Running>>>;
type Say = Arc<dyn Fn(Event) + Send + Sync>;

/// The processes of one configuration. To be used on a current-thread runtime of the main thread:
/// children end with the thread that started them.
pub(crate) struct Supervisor {
    config: Arc<Config>,
    specs: Vec<PartSpec>,
    table: Table,
    tasks: Vec<(CancellationToken, JoinHandle<()>)>,
}

impl Supervisor {
    /// Starts every part.
    pub(crate) fn start(
        config: Arc<Config>,
        specs: Vec<PartSpec>,
        restart_delay: Duration,
        say: impl Fn(Event) + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let logs = config.state_path("log");
        std::fs::create_dir_all(&logs)
            .with_context(|| format!("cannot make {}", logs.display()))?;
        let table = Table::default();
        let say: Say = Arc::new(say);
        let mut tasks = Vec::new();
        for spec in &specs {
            let log = log_path(&config, &spec.name);
            // Each run begins a log of its own.
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
            let child = spawn(spec, &log)?;
            lock(&table).insert(spec.name.clone(), Running { pid: child.id(), hold: None });
            let stop = CancellationToken::new();
            let task = keep(
                spec.clone(),
                log,
                child,
                restart_delay,
                table.clone(),
                say.clone(),
                stop.clone(),
            );
            tasks.push((stop, tokio::spawn(task)));
        }
        Ok(Self { config, specs, table, tasks })
    }

    /// The configuration it runs.
    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Every part with its process, if it runs.
    pub(crate) fn parts(&self) -> Vec<(PartSpec, Option<u32>)> {
        let table = lock(&self.table);
        let pid = |spec: &PartSpec| table.get(&spec.name).and_then(|running| running.pid);
        self.specs.iter().map(|spec| (spec.clone(), pid(spec))).collect()
    }

    /// Waits until every part answers that it is ready.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        let client = Client::default();
        let all = async {
            for spec in &self.specs {
                loop {
                    anyhow::ensure!(
                        lock(&self.table)
                            .get(&spec.name)
                            .is_some_and(|running| running.pid.is_some()),
                        "{} ended before it was ready; the end of its log {}:\n{}",
                        spec.name,
                        log_path(&self.config, &spec.name).display(),
                        tail(&log_path(&self.config, &spec.name)),
                    );
                    let asked = client.call(
                        Method::GET,
                        spec.health,
                        "/healthz",
                        Bytes::new(),
                        Duration::from_secs(1),
                    );
                    if asked.await.is_ok_and(|answer| answer.status.is_success()) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            Ok(())
        };
        tokio::time::timeout(READY, all).await.map_err(|_| {
            anyhow::anyhow!(
                "not ready within {READY:?}; see the logs in {}",
                self.config.state_path("log").display()
            )
        })?
    }

    /// Kills a part (SIGKILL) and keeps it down for `hold` before it is started again.
    pub(crate) fn kill(&self, name: &str, hold: Duration) -> anyhow::Result<()> {
        let mut table = lock(&self.table);
        let running = table.get_mut(name).with_context(|| format!("no part is called {name}"))?;
        running.hold = Some(hold);
        let pid = running.pid.with_context(|| format!("{name} does not run"))?;
        signal(pid, Signal::KILL);
        Ok(())
    }

    /// Stops every part, in the order in which requests flow, and waits until all have ended.
    pub(crate) async fn stop(mut self) {
        // Parts were started with what serves before what it serves, so the reverse is the order.
        let mut stage: Option<&'static str> = None;
        let mut ending: Vec<JoinHandle<()>> = Vec::new();
        for (spec, (stop, task)) in self.specs.iter().zip(self.tasks.drain(..)).rev() {
            if stage != Some(spec.kind) {
                for task in ending.drain(..) {
                    // A task that panicked has dropped its child, which kills it.
                    let _ = task.await;
                }
                stage = Some(spec.kind);
            }
            stop.cancel();
            ending.push(task);
        }
        for task in ending {
            let _ = task.await;
        }
    }
}

/// Keeps one part running until `stop`.
async fn keep(
    spec: PartSpec,
    log: PathBuf,
    mut child: Child,
    restart_delay: Duration,
    table: Table,
    say: Say,
    stop: CancellationToken,
) {
    let mut delay = restart_delay;
    loop {
        let began = spillway_part::clock::instant();
        let how = tokio::select! {
            status = child.wait() => status.map_or_else(|e| e.to_string(), |status| status.to_string()),
            () = stop.cancelled() => return end(&mut child).await,
        };
        let hold = {
            let mut table = lock(&table);
            let running = table.entry(spec.name.clone()).or_default();
            running.pid = None;
            running.hold.take()
        };
        // A part that ran for a while is no part that cannot run.
        if began.elapsed() > RESTART_DELAY_MAX {
            delay = restart_delay;
        }
        let pause = hold.unwrap_or(delay);
        say(Event::Ended {
            name: spec.name.clone(),
            how,
            again_in_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
        });
        delay = (delay * 2).min(RESTART_DELAY_MAX);
        child = loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            match spawn(&spec, &log) {
                Ok(child) => break child,
                Err(e) => say(Event::Failed { name: spec.name.clone(), error: format!("{e:#}") }),
            }
        };
        lock(&table).insert(spec.name.clone(), Running { pid: child.id(), hold: None });
        say(Event::Restarted { name: spec.name.clone(), pid: child.id().unwrap_or(0) });
    }
}

/// Asks a process to end, and makes it after the drain deadline.
async fn end(child: &mut Child) {
    if let Some(pid) = child.id() {
        signal(pid, Signal::TERM);
    }
    if tokio::time::timeout(DRAIN + Duration::from_secs(2), child.wait()).await.is_err() {
        // It has ended already, or ends now.
        let _ = child.kill().await;
    }
}

fn spawn(spec: &PartSpec, log: &Path) -> anyhow::Result<Child> {
    let log = File::options()
        .append(true)
        .create(true)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))?;
    Command::new(&spec.program)
        .args(&spec.arguments)
        .env(PARENT_VARIABLE, std::process::id().to_string())
        .env("ONE_CODE_SEED", "2000")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // A group of its own: Ctrl-C reaches the supervisor alone, which stops parts in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", spec.program.display()))
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended already.
        let _ = kill_process(pid, signal);
    }
}

fn lock(table: &Table) -> std::sync::MutexGuard<'_, BTreeMap<String, Running>> {
    table.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn log_path(config: &Config, name: &str) -> PathBuf {
    config.state_path("log").join(format!("{name}.log"))
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
