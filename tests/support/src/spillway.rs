//! Spillway itself as a test sees it: the built programs, a configuration of its own, `spillway up`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use tempfile::TempDir;

use crate::Block;
use crate::process::Process;

/// Path of a program of the workspace.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let Ok(test) = std::env::current_exe() else { panic!("a running test has a path") };
    // target/PROFILE/deps/test-HASH stands two folders below target/PROFILE/NAME.
    let found =
        test.ancestors().skip(1).map(|folder| folder.join(name)).find(|path| path.is_file());
    match found {
        Some(path) => path,
        None => panic!("`{name}` is not built: `cargo build --workspace` builds it"),
    }
}

/// The example configuration moved to a block of loopback addresses, its state in `folder`. Returns
/// the text; its zone file is written to `folder` too.
///
/// # Panics
/// When `folder` cannot be written.
#[must_use]
pub fn example_config(block: &Block, folder: &Path) -> String {
    let moved = |text: &str| {
        // The longest first, or the shorter would match inside the longer.
        let hosts = [
            ("127.0.1.11", 11),
            ("127.0.1.12", 12),
            ("127.0.1.21", 21),
            ("127.0.1.1", 2),
            ("127.0.2.1", 3),
            ("127.0.0.1", 1),
        ];
        hosts.iter().fold(text.to_owned(), |text, (from, host)| {
            text.replace(from, &block.address(*host).to_string())
        })
    };
    let zone = folder.join("example.test.zone");
    if let Err(e) =
        std::fs::write(&zone, moved(include_str!("../../../examples/example.test.zone")))
    {
        panic!("cannot write {}: {e}", zone.display());
    }
    moved(include_str!("../../../examples/spillway.toml")).replace("../var", "state")
}

/// A running `spillway up`.
#[derive(Debug)]
pub struct Spillway {
    process: Process,
    config: PathBuf,
    ready: String,
    said: Arc<Mutex<Vec<String>>>,
    folder: TempDir,
    _block: Block,
}

impl Spillway {
    /// Starts `spillway up` on addresses and in a folder of its own and waits until it is ready.
    /// `change` turns the example's text into that of the configuration to run.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn up(change: impl FnOnce(String) -> String) -> Self {
        Self::up_with(&[], change)
    }

    /// The same with options of `spillway up`.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn up_with(options: &[&str], change: impl FnOnce(String) -> String) -> Self {
        let block = Block::claim();
        let Ok(folder) = TempDir::with_prefix("spillway-") else { panic!("no temporary folder") };
        let config = folder.path().join("spillway.toml");
        let text = change(example_config(&block, folder.path()));
        if let Err(e) = std::fs::write(&config, text) {
            panic!("cannot write {}: {e}", config.display());
        }
        let mut command = Command::new(program("spillway"));
        command.args(["--json", "--config"]).arg(&config).arg("up").args(options);
        command.stdout(Stdio::piped());
        let mut process = Process::adopt(command);
        let Some(stdout) = process.child().stdout.take() else { panic!("stdout is piped") };
        let (lines, received) = mpsc::channel();
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        // The thread ends when `up` closes its output.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
                let _ = lines.send(line);
            }
        });
        let deadline = Duration::from_secs(30);
        let ready = loop {
            match received.recv_timeout(deadline) {
                Ok(line) if line.contains("\"ready\"") => break line,
                Ok(_) => {}
                Err(_) => {
                    let said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    panic!("`spillway up` did not become ready: {}", said.join("\n"))
                }
            }
        };
        Self { process, config, ready, said, folder, _block: block }
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The folder that is its own: configuration, zone file, and state in `state`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The line of JSON it printed when it was ready: its parts, their processes and addresses.
    #[must_use]
    pub fn ready(&self) -> &str {
        &self.ready
    }

    /// Every line that it has printed so far.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The process of `spillway up`.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Runs a `spillway` command against it and returns its standard output.
    ///
    /// # Panics
    /// When the command fails.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> String {
        let output = self.outcome(arguments);
        assert!(
            output.status.success(),
            "spillway {arguments:?} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What becomes of `spillway ARGUMENTS` against it.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn outcome(&self, arguments: &[&str]) -> Output {
        let output = Command::new(program("spillway"))
            .arg("--config")
            .arg(&self.config)
            .args(arguments)
            .output();
        output.unwrap_or_else(|e| panic!("cannot run spillway {arguments:?}: {e}"))
    }
}
