//! PostgreSQL and Redis, the real ones, each in a fresh folder on a loopback address of its own.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::Block;
use crate::process::{Process, on_path, wait_until};

const READY: Duration = Duration::from_secs(30);

/// A Redis server with nothing in it.
#[derive(Debug)]
pub struct Redis {
    // Fields drop in order: the process before its folder and address.
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
    _block: Block,
}

impl Redis {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// When `redis-server` is not installed (Debian: `redis-server`) or does not start.
    pub async fn start() -> Self {
        blocking(|| {
            assert!(
                on_path("redis-server"),
                "redis-server is not installed: `./just setup` installs it, or `apt-get install redis-server`"
            );
            let block = Block::claim();
            let folder = folder();
            let address = SocketAddr::from((block.address(1), 6379));
            let mut command = Command::new("redis-server");
            command
                .args(["--port", "6379", "--bind", &address.ip().to_string()])
                .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
                .arg("--dir")
                .arg(folder.path());
            let process = Process::start(&command);
            wait_until("redis-server takes connections", READY, || TcpStream::connect(address).is_ok());
            Self { process, address, _folder: folder, _block: block }
        })
        .await
    }

    /// `redis://ADDRESS:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Ends it, as an outage would.
    pub fn stop(&mut self) {
        self.process.stop();
    }
}

/// A PostgreSQL cluster with one empty database.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
    _block: Block,
}

impl Postgres {
    /// Makes a cluster, starts it and waits until it answers.
    ///
    /// # Panics
    /// When PostgreSQL is not installed (Debian: `postgresql`) or does not start.
    pub async fn start() -> Self {
        blocking(|| {
            let bin = postgres_bin();
            let block = Block::claim();
            let folder = folder();
            let data = folder.path().join("data");
            let root = rustix::process::geteuid().is_root();
            if root {
                // The server refuses to run as root; its folder must belong to who it runs as.
                chown_to_postgres(folder.path());
            }
            let as_server = |program: &Path, death: &str| {
                let mut command = Command::new("setpriv");
                if root {
                    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
                }
                command.arg(format!("--pdeathsig={death}")).arg("--").arg(program);
                command.current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
                command
            };
            let made = as_server(&bin.join("initdb"), "KILL")
                .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "-D"])
                .arg(&data)
                .status();
            assert!(
                made.is_ok_and(|status| status.success()),
                "initdb failed in {}",
                data.display()
            );
            let address = SocketAddr::from((block.address(1), 5432));
            let mut command = as_server(&bin.join("postgres"), "INT");
            command.arg("-D").arg(&data).args(["-p", "5432", "-h", &address.ip().to_string()]);
            for setting in [
                "fsync=off",
                "synchronous_commit=off",
                "shared_buffers=16MB",
                "unix_socket_directories=",
            ] {
                command.args(["-c", setting]);
            }
            let process = Process::adopt(command);
            let ready = || {
                Command::new(bin.join("pg_isready"))
                    .args(["-q", "-h", &address.ip().to_string(), "-p", "5432"])
                    .status()
                    .is_ok_and(|status| status.success())
            };
            wait_until("PostgreSQL takes connections", READY, ready);
            Self { process, address, _folder: folder, _block: block }
        })
        .await
    }

    /// `postgres://postgres@ADDRESS:PORT/postgres`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address)
    }

    /// Ends it at once, as an outage would.
    pub fn stop(&mut self) {
        self.process.signal(rustix::process::Signal::INT);
        self.process.stop();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGTERM would wait for every client to leave; SIGINT does not.
        self.process.signal(rustix::process::Signal::INT);
    }
}

fn postgres_bin() -> PathBuf {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    versions.sort();
    match versions.pop() {
        Some(bin) => bin,
        None => panic!(
            "PostgreSQL is not installed: `./just setup` installs it, or `apt-get install postgresql`"
        ),
    }
}

fn chown_to_postgres(folder: &Path) {
    let done = Command::new("chown").arg("postgres:postgres").arg(folder).status();
    assert!(
        done.is_ok_and(|status| status.success()),
        "cannot give {} to postgres",
        folder.display()
    );
}

fn folder() -> TempDir {
    match TempDir::with_prefix("spillway-") {
        Ok(folder) => folder,
        Err(e) => panic!("cannot make a temporary folder: {e}"),
    }
}

async fn blocking<T: Send + 'static>(start: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(start).await {
        Ok(started) => started,
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}
