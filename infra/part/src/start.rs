//! Starting and ending a process: configuration from a file, sockets, signals, the drain deadline.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::SocketType;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use spillway_model::Config;
use spillway_model::config::{Problem, Problems};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio_util::sync::CancellationToken;

use crate::{inherited, manager};

/// Cancelled when the process should stop taking work. What is under way may finish within
/// [`DRAIN`].
pub type Shutdown = CancellationToken;

/// How long work under way may go on after [`Shutdown`].
pub const DRAIN: Duration = Duration::from_secs(5);

/// Why a part could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration file cannot be read.
    #[error("cannot read the configuration {path}")]
    ReadConfig {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The configuration is wrong. One line a problem, `FILE:LINE:COLUMN: message`.
    #[error("{}", .problems.0.iter().map(|p| format!("{}:{p}", path.display())).collect::<Vec<_>>().join("\n"))]
    BadConfig {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problems: Problems,
    },
    /// Another process listens there.
    #[error(
        "{protocol} {address} is taken by another process: stop that one (`ss -ltnup` names it), or change the address of {what} in the configuration"
    )]
    Taken {
        /// TCP or UDP.
        protocol: &'static str,
        /// Where.
        address: SocketAddr,
        /// For what, as a path in the configuration.
        what: String,
    },
    /// Listening failed otherwise.
    #[error("cannot listen on {protocol} {address} for {what}")]
    Listen {
        /// TCP or UDP.
        protocol: &'static str,
        /// Where.
        address: SocketAddr,
        /// For what, as a path in the configuration.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The configuration has no such process.
    #[error("the configuration names no {kind} `{name}`; it has {known}")]
    NoSuchPart {
        /// `gateway`, `site`, …
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A file that must be there is not, or is wrong.
    #[error("{path}: {message}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
}

/// Reads and checks a configuration file.
///
/// # Errors
/// When it cannot be read or is wrong.
pub fn load_config(path: &Path) -> Result<Arc<Config>, StartError> {
    let text = read_config(path)?;
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    Config::parse(&text, base)
        .map(Arc::new)
        .map_err(|problems| StartError::BadConfig { path: path.to_owned(), problems })
}

/// Reads the text of a configuration file.
///
/// # Errors
/// When it cannot be read, is too large, or is not UTF-8, which has its place.
pub fn read_config(path: &Path) -> Result<String, StartError> {
    let bytes = crate::files::read_config(path)
        .map_err(|source| StartError::ReadConfig { path: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|e| {
        let good = String::from_utf8_lossy(&e.as_bytes()[..e.utf8_error().valid_up_to()]);
        let message = "this is not UTF-8 text; save the file as UTF-8".to_owned();
        let problem = Problem::at(&good, good.len(), message);
        StartError::BadConfig { path: path.to_owned(), problems: Problems(vec![problem]) }
    })
}

/// Raises the soft limit on open files to the hard one, and says how many that allows. The usual soft
/// limit of 1,024 is less than the clients of one busy second.
pub fn open_files() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allowed = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files stays as it is");
            current
        }
    };
    allowed.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX)
}

/// Connections that may wait to be accepted: those of a burst, not of 128 clients. The kernel's
/// `net.core.somaxconn` bounds it too.
const BACKLOG: u32 = 4096;

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Listens on TCP with address reuse; `what` is the field of the configuration that says where. A
/// socket that was handed over under that name is taken instead of a new one.
///
/// # Errors
/// When the address is taken or cannot be listened on.
pub async fn listen_tcp(address: SocketAddr, what: &str) -> Result<TcpListener, StartError> {
    tcp(address, what, |_| {}).await
}

/// Listens as [`listen_tcp`] does, and has the service manager keep the socket open while the part is
/// started anew, for a part that nobody stands in for meanwhile.
///
/// # Errors
/// As [`listen_tcp`].
pub async fn listen_tcp_kept(address: SocketAddr, what: &str) -> Result<TcpListener, StartError> {
    tcp(address, what, |new| manager::keep(&inherited::kept_name(what, SocketType::STREAM), new))
        .await
}

/// `tell` is told of a new socket: one that was handed over is kept by whoever did that.
async fn tcp(
    address: SocketAddr,
    what: &str,
    tell: impl FnOnce(&TcpListener),
) -> Result<TcpListener, StartError> {
    let listener = match inherited::take(what, SocketType::STREAM, address) {
        Some(socket) => {
            let socket = std::net::TcpListener::from(socket);
            socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket))
        }
        None => listen(address).inspect(tell),
    };
    listener.map_err(|e| listen_error("TCP", address, what, e))
}

/// Binds a UDP socket as [`listen_tcp`] does a TCP listener.
///
/// # Errors
/// When the address is taken or cannot be bound.
pub async fn listen_udp(address: SocketAddr, what: &str) -> Result<UdpSocket, StartError> {
    udp(address, what, |_| {}).await
}

/// Binds a UDP socket that is kept as that of [`listen_tcp_kept`] is.
///
/// # Errors
/// As [`listen_udp`].
pub async fn listen_udp_kept(address: SocketAddr, what: &str) -> Result<UdpSocket, StartError> {
    udp(address, what, |new| manager::keep(&inherited::kept_name(what, SocketType::DGRAM), new))
        .await
}

async fn udp(
    address: SocketAddr,
    what: &str,
    tell: impl FnOnce(&UdpSocket),
) -> Result<UdpSocket, StartError> {
    let socket = match inherited::take(what, SocketType::DGRAM, address) {
        Some(socket) => {
            let socket = std::net::UdpSocket::from(socket);
            socket.set_nonblocking(true).and_then(|()| UdpSocket::from_std(socket))
        }
        None => UdpSocket::bind(address).await.inspect(tell),
    };
    socket.map_err(|e| listen_error("UDP", address, what, e))
}

fn listen_error(
    protocol: &'static str,
    address: SocketAddr,
    what: &str,
    source: std::io::Error,
) -> StartError {
    let what = what.to_owned();
    if source.kind() == std::io::ErrorKind::AddrInUse {
        StartError::Taken { protocol, address, what }
    } else {
        StartError::Listen { protocol, address, what, source }
    }
}

/// A [`Shutdown`] that the first SIGTERM or SIGINT triggers.
///
/// # Errors
/// When signal handlers cannot be installed.
pub fn shutdown_on_signals() -> std::io::Result<Shutdown> {
    use tokio::signal::unix::{SignalKind, signal};
    let shutdown = Shutdown::new();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let trigger = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        trigger.cancel();
    });
    Ok(shutdown)
}

/// Name of the variable in which a supervisor passes its process id to what it starts.
pub const PARENT_VARIABLE: &str = "SPILLWAY_PARENT";

/// Makes the kernel kill this process when the supervisor that started it dies, however it dies. Does
/// nothing when nobody set [`PARENT_VARIABLE`]. Call it first in `main`, on the main thread.
///
/// The signal is SIGKILL, because SIGTERM would wait for ever in a process that is stopped. A
/// supervisor that ends in order has asked its processes to drain before it goes.
///
/// # Errors
/// When the supervisor is gone already, or the kernel refuses.
pub fn end_with_parent() -> std::io::Result<()> {
    let Ok(parent) = std::env::var(PARENT_VARIABLE) else { return Ok(()) };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have died before the line above took effect.
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if now.as_deref() == Some(parent.as_str()) {
        Ok(())
    } else {
        Err(std::io::Error::other("the supervisor that started this process has ended"))
    }
}
