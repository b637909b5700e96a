//! A child process that ends with its owner, whatever happens to the owner.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// A child that is stopped when dropped: SIGTERM, then SIGKILL after ten seconds.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` so that it also dies if this process is killed.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &Command) -> Self {
        let mut guarded = guarded(command);
        guarded.stdout(Stdio::null());
        Self::adopt(guarded)
    }

    /// The same, with all that it says at the end of a file.
    ///
    /// # Panics
    /// When it cannot be started, or the file cannot be written.
    #[must_use]
    pub fn logged(command: &Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log);
        let both = file.and_then(|file| Ok((file.try_clone()?, file)));
        let Ok((out, err)) = both else { panic!("cannot write {}", log.display()) };
        let mut guarded = guarded(command);
        guarded.stdout(out).stderr(err);
        Self::adopt(guarded)
    }

    /// Starts `command` as it is.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn adopt(command: Command) -> Self {
        let described = format!("{command:?}");
        match spawn_on_lasting_thread(command) {
            Ok(child) => Self { child },
            Err(e) => panic!("cannot start {described}: {e}"),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        if let Some(pid) =
            i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            // It may have ended already.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Asks it to end and waits until it has.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        self.signal(rustix::process::Signal::TERM);
        let status = self.wait(Duration::from_secs(10));
        if status.is_none() {
            let _ = self.child.kill();
            return self.child.wait().ok();
        }
        status
    }

    /// Waits until it has ended, at most so long.
    #[expect(clippy::disallowed_methods, reason = "a deadline of the test itself")]
    pub fn wait(&mut self, at_most: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + at_most;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
                _ => return None,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.stop();
        }
    }
}

/// Waits until `ready` is true.
///
/// # Panics
/// When it does not become true within `at_most`; `what` says what was waited for.
#[expect(clippy::disallowed_methods, reason = "a deadline of the test itself")]
pub fn wait_until(what: &str, at_most: Duration, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + at_most;
    while !ready() {
        assert!(Instant::now() < end, "waited {at_most:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until `holds`, leaving the runtime to others meanwhile.
///
/// # Panics
/// When it does not hold within `at_most`; `what` says what was waited for.
pub async fn until(what: &str, at_most: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(at_most, waiting).await;
    assert!(waited.is_ok(), "waited {at_most:?} in vain: {what}");
}

/// Whether a program stands in a folder of `PATH`.
pub(crate) fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|dir| Path::new(&dir).join(program).exists())
    })
}

/// `command` as it is started by one that has the kernel end it when its parent dies.
pub(crate) fn guarded(command: &Command) -> Command {
    let mut guarded = Command::new("setpriv");
    guarded.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program());
    guarded.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => guarded.env(name, value),
            None => guarded.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        guarded.current_dir(folder);
    }
    guarded
}

/// Spawns on a thread that lives as long as the process: a parent-death signal is sent when the
/// *thread* that spawned ends, and the threads of tests and of blocking pools end early.
fn spawn_on_lasting_thread(command: Command) -> std::io::Result<Child> {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, received) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in received {
                // Whoever ordered waits for the answer.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, answered) = mpsc::channel();
    let gone = |_: String| std::io::Error::other("the spawning thread has ended");
    let orders = spawner.lock().unwrap_or_else(PoisonError::into_inner);
    orders.send((command, answer)).map_err(|e| gone(e.to_string()))?;
    answered.recv().map_err(|e| gone(e.to_string()))?
}
