//! Starts processes, starts them again when they end by themselves, and stops them in the order in
//! which requests flow, so that nothing is asked of what has gone.

use std::collections::BTreeMap;
use std::fmt;
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

use super::logs;
use crate::parts::PartSpec;

/// How long all parts together may take to become ready.
const READY: Duration = Duration::from_secs(15);
/// Longest pause before a part that keeps ending is started again.
const RESTART_DELAY_MAX: Duration = Duration::from_secs(30);
/// How often the size of a log is looked at.
const LOG_LOOK: Duration = Duration::from_secs(2);

/// What a person running `up` is told while it runs.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// A part ended by itself. Before all were ready it is not started again.
    Ended { name: String, how: String, again_in_ms: Option<u64> },
    /// And was started again.
    Restarted { name: String, pid: u32 },
    /// It could not be.
    Failed { name: String, error: String },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { name, how, again_in_ms: Some(ms) } => {
                write!(f, "{name} ended ({how}); starting it again in {ms} ms")
            }
            Self::Ended { name, how, again_in_ms: None } => write!(f, "{name} ended ({how})"),
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
    /// Cancelled once every part has been ready; from then on a part that ends is started again.
    lasting: CancellationToken,
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
        let lasting = CancellationToken::new();
        let mut tasks = Vec::new();
        for spec in &specs {
            let log = log_path(&config, &spec.name);
            logs::begin(&log).with_context(|| format!("cannot write {}", log.display()))?;
            let child = spawn(spec, &log)?;
            lock(&table).insert(spec.name.clone(), Running { pid: child.id(), hold: None });
            let stop = CancellationToken::new();
            let kept = Kept {
                spec: spec.clone(),
                log,
                restart_delay,
                table: table.clone(),
                say: say.clone(),
                lasting: lasting.clone(),
                stop: stop.clone(),
            };
            tasks.push((stop, tokio::spawn(kept.keep(child))));
        }
        Ok(Self { config, specs, table, lasting, tasks })
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

    /// Waits until every part answers that it is ready. From then on parts that end are started again.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        let client = Client::default();
        let all = async {
            for spec in &self.specs {
                loop {
                    self.none_ended()?;
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
            anyhow::Ok(())
        };
        tokio::time::timeout(READY, all).await.map_err(|_| {
            anyhow::anyhow!(
                "not ready within {READY:?}; see the logs in {}",
                self.config.state_path("log").display()
            )
        })??;
        self.lasting.cancel();
        // What ended in this very moment is not started again by anybody.
        self.none_ended()
    }

    fn none_ended(&self) -> anyhow::Result<()> {
        let ended =
            lock(&self.table).iter().find(|(_, part)| part.pid.is_none()).map(|e| e.0.clone());
        let Some(name) = ended else { return Ok(()) };
        let log = log_path(&self.config, &name);
        let (path, tail) = (log.display(), logs::tail(&log));
        anyhow::bail!(
            "{name} ended before all parts were ready; the end of its log {path}:\n{tail}"
        )
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

/// One part, and what is needed to keep it running.
struct Kept {
    spec: PartSpec,
    log: PathBuf,
    restart_delay: Duration,
    table: Table,
    say: Say,
    lasting: CancellationToken,
    stop: CancellationToken,
}

impl Kept {
    /// Keeps the part running until `stop`.
    async fn keep(self, mut child: Child) {
        let mut delay = self.restart_delay;
        loop {
            let began = spillway_part::clock::instant();
            let how = loop {
                tokio::select! {
                    status = child.wait() => break status.map_or_else(|e| e.to_string(), |status| status.to_string()),
                    () = self.stop.cancelled() => return end(&mut child).await,
                    () = tokio::time::sleep(LOG_LOOK) => logs::trim(&self.log, logs::BYTES_MAX),
                }
            };
            let name = || self.spec.name.clone();
            let hold = {
                let mut table = lock(&self.table);
                let running = table.entry(name()).or_default();
                running.pid = None;
                running.hold.take()
            };
            if !self.lasting.is_cancelled() {
                return (self.say)(Event::Ended { name: name(), how, again_in_ms: None });
            }
            // A part that ran for a while is no part that cannot run.
            if began.elapsed() > RESTART_DELAY_MAX {
                delay = self.restart_delay;
            }
            let pause = hold.unwrap_or(delay);
            let again_in_ms = Some(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
            (self.say)(Event::Ended { name: name(), how, again_in_ms });
            delay = (delay * 2).min(RESTART_DELAY_MAX);
            child = loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.stop.cancelled() => return,
                }
                match spawn(&self.spec, &self.log) {
                    Ok(child) => break child,
                    Err(e) => (self.say)(Event::Failed { name: name(), error: format!("{e:#}") }),
                }
            };
            lock(&self.table).insert(name(), Running { pid: child.id(), hold: None });
            (self.say)(Event::Restarted { name: name(), pid: child.id().unwrap_or(0) });
        }
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
    let log = logs::open(log).with_context(|| format!("cannot write {}", log.display()))?;
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
