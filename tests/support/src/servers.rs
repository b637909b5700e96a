//! PostgreSQL and Redis, the real ones, each in a fresh folder on a loopback address of its own.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::Block;
use crate::certificate::Certificate;
use crate::process::{Process, on_path, wait_until};

const READY: Duration = Duration::from_secs(30);

/// A Redis server with nothing in it.
#[derive(Debug)]
pub struct Redis {
    // Fields drop in order: the process before its folder and address.
    process: Process,
    command: Command,
    address: SocketAddr,
    certificate: Option<Certificate>,
    _folder: TempDir,
    _block: Block,
}

impl Redis {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// When `redis-server` is not installed (Debian: `redis-server`) or does not start.
    pub async fn start() -> Self {
        Self::start_as(false).await
    }

    /// The same, speaking TLS alone.
    ///
    /// # Panics
    /// As [`Redis::start`], and without `openssl`.
    pub async fn start_tls() -> Self {
        Self::start_as(true).await
    }

    async fn start_as(tls: bool) -> Self {
        blocking(move || {
            assert!(
                on_path("redis-server"),
                "redis-server is not installed: `./just setup` installs it, or `apt-get install redis-server`"
            );
            let block = Block::claim();
            let folder = folder();
            let address = SocketAddr::from((block.address(1), 6379));
            let mut command = Command::new("redis-server");
            command
                .args(["--bind", &address.ip().to_string()])
                .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
                .arg("--dir")
                .arg(folder.path());
            let certificate = tls.then(|| Certificate::make(folder.path(), address.ip()));
            match &certificate {
                None => command.args(["--port", "6379"]),
                Some(tls) => command
                    .args(["--port", "0", "--tls-port", "6379", "--tls-auth-clients", "no"])
                    .arg("--tls-cert-file")
                    .arg(tls.certificate())
                    .arg("--tls-key-file")
                    .arg(tls.key())
                    .arg("--tls-ca-cert-file")
                    .arg(tls.certificate()),
            };
            let process = started(&command, address);
            Self { process, command, address, certificate, _folder: folder, _block: block }
        })
        .await
    }

    /// `redis://ADDRESS:PORT`, or `rediss://ADDRESS:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://{}", self.address)
    }

    /// What its clients must trust, where it speaks TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_ref().map(Certificate::certificate)
    }

    /// Ends it, as an outage would.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts it again at the same address, with nothing in it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        self.process = started(&self.command, self.address);
    }
}

fn started(command: &Command, address: SocketAddr) -> Process {
    let process = Process::start(command);
    wait_until("redis-server takes connections", READY, || TcpStream::connect(address).is_ok());
    process
}

/// A PostgreSQL cluster with one empty database, or a streaming replica of one.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    /// What the server is started with.
    arguments: Vec<String>,
    address: SocketAddr,
    certificate: Option<Certificate>,
    _folder: TempDir,
    _block: Block,
}

impl Postgres {
    /// Makes a cluster, starts it and waits until it answers.
    ///
    /// # Panics
    /// When PostgreSQL is not installed (Debian: `postgresql`) or does not start.
    pub async fn start() -> Self {
        Self::start_as(false).await
    }

    /// The same, taking TLS connections alone, by the password `password`.
    ///
    /// # Panics
    /// As [`Postgres::start`], and without `openssl`.
    pub async fn start_tls() -> Self {
        Self::start_as(true).await
    }

    async fn start_as(tls: bool) -> Self {
        blocking(move || {
            let (block, folder) = (Block::claim(), server_folder());
            let word = folder.path().join("password");
            assert!(std::fs::write(&word, "password\n").is_ok(), "cannot write {}", word.display());
            let mut initdb = as_server("initdb", "KILL");
            initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"]);
            initdb.arg("--pwfile").arg(&word);
            made(initdb.arg("-D").arg(folder.path().join("data")));
            let address = SocketAddr::from((block.address(1), 5432));
            let certificate = tls.then(|| Certificate::make(folder.path(), address.ip()));
            let mut arguments = arguments(&folder, address);
            if let Some(tls) = &certificate {
                if rustix::process::geteuid().is_root() {
                    chown_to_postgres(tls.key());
                }
                let hba = folder.path().join("hba.conf");
                let rule = "hostssl all all all scram-sha-256\n";
                assert!(std::fs::write(&hba, rule).is_ok(), "cannot write {}", hba.display());
                for (name, file) in [
                    ("ssl_cert_file", tls.certificate()),
                    ("ssl_key_file", tls.key()),
                    ("hba_file", &hba),
                ] {
                    arguments.extend(["-c".to_owned(), format!("{name}={}", file.display())]);
                }
                arguments.extend(["-c", "ssl=on"].map(str::to_owned));
            }
            let process = serving(&arguments, address);
            Self { process, arguments, address, certificate, _folder: folder, _block: block }
        })
        .await
    }

    /// Starts a streaming replica of it and waits until that answers.
    ///
    /// # Panics
    /// When it does not start, or this one takes TLS alone.
    pub async fn replica(&self) -> Self {
        let primary = self.address;
        blocking(move || {
            let (block, folder) = (Block::claim(), server_folder());
            let address = SocketAddr::from((block.address(1), 5432));
            let slot = format!("slot_{}", address.ip().to_string().replace('.', "_"));
            let mut copy = as_server("pg_basebackup", "KILL");
            copy.args(["--no-sync", "--checkpoint=fast", "--username=postgres"]);
            copy.args(["-h", &primary.ip().to_string(), "-p", &primary.port().to_string()]);
            copy.args(["--write-recovery-conf", "--create-slot", "--slot", &slot]);
            made(copy.arg("-D").arg(folder.path().join("data")));
            let arguments = arguments(&folder, address);
            let process = serving(&arguments, address);
            Self { process, arguments, address, certificate: None, _folder: folder, _block: block }
        })
        .await
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `postgres://postgres@ADDRESS:PORT/postgres`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address)
    }

    /// What its clients must trust, where it speaks TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_ref().map(Certificate::certificate)
    }

    /// Ends it at once, as an outage would.
    pub fn stop(&mut self) {
        self.process.signal(rustix::process::Signal::INT);
        self.process.stop();
    }

    /// Starts it again at the same address, with what was in it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        self.process = serving(&self.arguments, self.address);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGTERM would wait for every client to leave; SIGINT does not.
        self.process.signal(rustix::process::Signal::INT);
    }
}

/// A program of PostgreSQL as who its server runs as, which is not root: that it refuses.
fn as_server(program: &str, death: &str) -> Command {
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.arg(format!("--pdeathsig={death}")).arg("--").arg(postgres_bin().join(program));
    command.current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A folder of who the server runs as.
fn server_folder() -> TempDir {
    let folder = folder();
    if rustix::process::geteuid().is_root() {
        chown_to_postgres(folder.path());
    }
    folder
}

fn made(command: &mut Command) {
    assert!(command.status().is_ok_and(|status| status.success()), "{command:?} failed");
}

fn arguments(folder: &TempDir, address: SocketAddr) -> Vec<String> {
    let mut arguments = vec!["-D".to_owned(), folder.path().join("data").display().to_string()];
    arguments.extend(["-p".to_owned(), address.port().to_string()]);
    arguments.extend(["-h".to_owned(), address.ip().to_string()]);
    for setting in
        ["fsync=off", "synchronous_commit=off", "shared_buffers=16MB", "unix_socket_directories="]
    {
        arguments.extend(["-c".to_owned(), setting.to_owned()]);
    }
    arguments
}

fn serving(arguments: &[String], address: SocketAddr) -> Process {
    let mut command = as_server("postgres", "INT");
    command.args(arguments);
    let process = Process::adopt(command);
    let ready = || {
        let mut asking = Command::new(postgres_bin().join("pg_isready"));
        asking.args(["-q", "-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
        asking.status().is_ok_and(|status| status.success())
    };
    wait_until("PostgreSQL takes connections", READY, ready);
    process
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
