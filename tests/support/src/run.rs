//! A program run to its end, which must come in time, and what it said.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::process::{Process, guarded, on_path};

/// How a program ended, and all it said.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; none when a signal ended it, as when it was out of time.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
    described: String,
}

impl Ran {
    /// Its standard output, once it has succeeded.
    ///
    /// # Panics
    /// With all that it said, when it did not succeed.
    pub fn good(self) -> String {
        assert!(self.code == Some(0), "{self}");
        self.out
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, out, err, described } = self;
        match code {
            Some(code) => writeln!(f, "{described} ended with {code}:")?,
            None => writeln!(f, "{described} was out of time:")?,
        }
        write!(f, "{out}{err}")
    }
}

/// Runs a program to its end. When it takes longer than `at_most` it is ended, with all that it
/// started; so it is when this process dies.
///
/// # Panics
/// When it cannot be started, or what it says cannot be read.
#[must_use]
pub fn run(command: &Command, at_most: Duration) -> Ran {
    let (Ok(mut out), Ok(mut err)) = (tempfile::tempfile(), tempfile::tempfile()) else {
        panic!("no temporary file")
    };
    let same = |file: &File| file.try_clone().map_or_else(|_| Stdio::null(), Stdio::from);
    let mut whole = guarded(command);
    std::os::unix::process::CommandExt::process_group(&mut whole, 0);
    whole.stdin(Stdio::null()).stdout(same(&out)).stderr(same(&err));
    let mut process = Process::adopt(whole);
    let mut ended = process.wait(at_most);
    if ended.is_none() {
        let group = i32::try_from(process.pid()).ok().and_then(Pid::from_raw);
        // First so that it can tidy up.
        for signal in [Signal::TERM, Signal::KILL] {
            // It may have ended already.
            let _ = group.map(|group| kill_process_group(group, signal));
            process.wait(Duration::from_secs(10));
        }
        ended = None;
    }
    let told = |file: &mut File| {
        let mut bytes = Vec::new();
        if let Err(e) = file.rewind().and_then(|()| file.read_to_end(&mut bytes)) {
            panic!("what {command:?} said cannot be read: {e}");
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let described = format!("{:?} {:?}", command.get_program(), command.get_args());
    let code = ended.and_then(|status| status.code());
    Ran { code, out: told(&mut out), err: told(&mut err), described }
}

/// Where `./just setup` puts what no package of the system brings.
pub(crate) fn tools() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join("spillway/tools"))
}

/// A program of a Python package: `./just setup`'s, else the one on `PATH`.
#[must_use]
pub fn python_tool(name: &str) -> Option<PathBuf> {
    let ours = tools()?.join("python/bin").join(name);
    if ours.exists() { Some(ours) } else { on_path(name).then(|| name.into()) }
}
