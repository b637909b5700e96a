//! The processes of functions: started in a clean environment, logged, ended and reaped.
//!
//! No process outlives us. An orderly end stops and reaps each. If we are killed, the kernel kills
//! them: they are started through `setpriv --pdeathsig KILL` (util-linux; measured to add 0.8 ms),
//! which spares us the `unsafe` that the same call between fork and exec would need. And a runtime
//! whose API connection breaks ends by itself.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// What Lambda gives a runtime between SIGTERM and SIGKILL.
const END_GRACE: Duration = Duration::from_millis(500);
/// How long the end of an ended process's output is waited for.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// Longest line of a function's output that is logged.
const LINE_BYTES_MAX: usize = 1024;

/// The program that every function runs, and what its processes are given.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    config: PathBuf,
    guard: Option<PathBuf>,
}

/// Who a process is to be.
#[derive(Debug)]
pub(crate) struct Identity<'a> {
    pub(crate) function: &'a str,
    pub(crate) environment: &'a str,
    pub(crate) runtime_api: SocketAddr,
}

impl Program {
    /// A program and the configuration file its processes read.
    ///
    /// # Errors
    /// When there is no such program, or the working directory is gone.
    pub(crate) fn new(path: &Path, config: &Path) -> io::Result<Self> {
        let path = std::fs::canonicalize(path)?;
        if !path.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        let guard = ["/usr/bin/setpriv", "/bin/setpriv"].map(PathBuf::from);
        let guard = guard.into_iter().find(|path| path.is_file());
        if guard.is_none() {
            tracing::warn!(
                "setpriv (util-linux) is missing: functions are told to watch their parent themselves"
            );
        }
        Ok(Self { path, config: std::path::absolute(config)?, guard })
    }

    fn command(&self, identity: &Identity<'_>) -> Command {
        let mut command = if let Some(guard) = &self.guard {
            let mut command = Command::new(guard);
            command.args(["--pdeathsig", "KILL", "--"]).arg(&self.path);
            command
        } else {
            Command::new(&self.path)
        };
        command.env_clear();
        if self.guard.is_none() {
            let variable = spillway_part::start::PARENT_VARIABLE;
            command.env(variable, std::process::id().to_string());
        }
        // The key of tokens is what a deployed function has among its own variables: site and cloud
        // must agree on it.
        for inherited in ["PATH", "SPILLWAY_LOG", "SPILLWAY_LOG_FORMAT", "ONE_CODE_SECRET"] {
            if let Some(value) = std::env::var_os(inherited) {
                command.env(inherited, value);
            }
        }
        let root = self.path.parent().unwrap_or(Path::new("/"));
        let variables: [(&str, OsString); 10] = [
            ("AWS_LAMBDA_RUNTIME_API", identity.runtime_api.to_string().into()),
            ("AWS_LAMBDA_FUNCTION_NAME", identity.function.into()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".into()),
            // Enough of it that a function sees a whole vCPU (1,769 MB on Lambda).
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769".into()),
            ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", identity.function).into()),
            ("AWS_LAMBDA_LOG_STREAM_NAME", format!("[$LATEST]{}", identity.environment).into()),
            ("AWS_REGION", "local".into()),
            ("_HANDLER", "bootstrap".into()),
            ("LAMBDA_TASK_ROOT", root.into()),
            ("SPILLWAY_CONFIG", self.config.clone().into()),
        ];
        command.envs(variables);
        // A group of its own: a Ctrl-C at the terminal must not cut off requests in flight.
        command.process_group(0).kill_on_drop(true).stdin(Stdio::null());
        command
    }
}

type Order = (Command, oneshot::Sender<io::Result<Child>>);

/// Starts processes on a thread of its own. The kernel sends the parent-death signal when the thread
/// that started a process ends, which a thread of the async runtime may do at any time; and a start
/// takes about a millisecond, which would hold up requests.
#[derive(Debug, Clone)]
pub(crate) struct Spawner {
    orders: mpsc::Sender<Order>,
}

impl Spawner {
    /// Starts the thread, which ends with the last clone.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start() -> io::Result<Self> {
        let (orders, mut ordered) = mpsc::channel::<Order>(64);
        let runtime = Handle::current();
        std::thread::Builder::new().name("function-starter".to_owned()).spawn(move || {
            while let Some((mut command, started)) = ordered.blocking_recv() {
                let _context = runtime.enter();
                // Whoever gave the order may be gone; the child then dies as it is dropped.
                let _ = started.send(command.spawn());
            }
        })?;
        Ok(Self { orders })
    }

    /// Starts a process of `program`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn spawn(
        &self,
        program: &Program,
        identity: &Identity<'_>,
    ) -> io::Result<Process> {
        let (reader, writer) = io::pipe()?;
        let mut command = program.command(identity);
        command.stdout(writer.try_clone()?).stderr(writer);
        let (started, starting) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts functions has ended");
        self.orders.send((command, started)).await.map_err(|_| gone())?;
        let child = starting.await.map_err(|_| gone())??;
        let last_line = Arc::new(Mutex::new(String::new()));
        let output = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
        let who = format!("{}/{}", identity.function, identity.environment);
        let log = tokio::spawn(log_output(output, who, last_line.clone()));
        Ok(Process { child, last_line, log })
    }
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    last_line: Arc<Mutex<String>>,
    log: JoinHandle<()>,
}

impl Process {
    /// Its process id, while it has one.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The last line that it wrote before it ended, which is where the reason of a crash stands.
    pub(crate) async fn last_words(&mut self) -> String {
        // What it started may hold the pipe open; then what was read so far has to do.
        let _ = tokio::time::timeout(LAST_WORDS, &mut self.log).await;
        self.last_line.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has ended by itself. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends it and waits until it has: politely first, unless it had its chance.
    pub(crate) async fn end(mut self, at_once: bool) {
        if !at_once {
            self.signal(Signal::TERM);
            if tokio::time::timeout(END_GRACE, self.child.wait()).await.is_ok() {
                return;
            }
        }
        self.signal(Signal::KILL);
        if let Err(error) = self.child.wait().await {
            tracing::warn!(%error, "cannot wait for a function's process");
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended already; until it is waited for, its number is not given anew.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.log.abort();
    }
}

/// Reads a function's output for as long as there is some, so that the function never blocks on it.
async fn log_output(mut output: pipe::Receiver, who: String, last_line: Arc<Mutex<String>>) {
    let mut buffer = [0; 4096];
    let mut line = Vec::with_capacity(LINE_BYTES_MAX);
    loop {
        let read = match output.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        for byte in &buffer[..read] {
            if *byte == b'\n' {
                log_line(&who, &line, &last_line);
                line.clear();
            } else if line.len() < LINE_BYTES_MAX {
                line.push(*byte);
            }
        }
    }
    log_line(&who, &line, &last_line);
}

fn log_line(who: &str, line: &[u8], last_line: &Mutex<String>) {
    if line.is_empty() {
        return;
    }
    let text = String::from_utf8_lossy(line);
    tracing::debug!(function = who, "{text}");
    *last_line.lock().unwrap_or_else(PoisonError::into_inner) = text.into_owned();
}
