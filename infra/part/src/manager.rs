//! What the service manager is told (sd_notify(3)), without which all works the same: that the part is
//! ready, every now and then that it still works, that it ends, and which sockets it should keep open
//! while the part is started anew.
//!
//! ```text
//! READY=1 ──▶ WATCHDOG=1, three times in each period, as long as the part says how it is ──▶ STOPPING=1
//! ```
//!
//! A part that hangs says nothing more; the manager then ends it and starts it again.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::time::MissedTickBehavior;

use crate::Shutdown;

/// How often the status is renewed where there is no watchdog.
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// Heartbeats in a period of the watchdog: two may be late.
const BEATS: u32 = 3;
/// How a heartbeat begins.
const BEAT: &str = "WATCHDOG=1";
/// How long a manager is waited for that has much to read: it would wait in vain for what it is not told.
const PATIENCE: Duration = Duration::from_secs(5);

/// The service manager that started this process.
#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The manager that the environment names, if there is one that listens.
    fn of_environment() -> Option<Self> {
        Self::new(std::process::id(), |name| std::env::var(name).ok())
    }

    fn new(pid: u32, variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let path = variable("NOTIFY_SOCKET")?;
        let connected = connect(&path).inspect_err(|e| {
            tracing::warn!(error = %e, "the service manager cannot be told how this part is");
        });
        Some(Self { socket: connected.ok()?, watchdog: watchdog(pid, variable) })
    }

    /// Tells it something, as soon as it has read enough of what it was told before; a beat that it has no
    /// room for is left out, for there will be another. A manager that does not listen does not hold the part up.
    fn tell(&self, message: &str, kept: Option<BorrowedFd<'_>>) {
        let beat = message.starts_with(BEAT);
        let flags =
            if beat { SendFlags::NOSIGNAL | SendFlags::DONTWAIT } else { SendFlags::NOSIGNAL };
        let fds = kept.map(|fd| [fd]);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if let Some(fds) = &fds {
            ancillary.push(SendAncillaryMessage::ScmRights(fds));
        }
        let message = [IoSlice::new(message.as_bytes())];
        match sendmsg(&self.socket, &message, &mut ancillary, flags) {
            Err(e) if beat => tracing::debug!(error = %e, "the service manager was not told"),
            Err(e) => tracing::warn!(error = %e, "the service manager was not told"),
            Ok(_) => {}
        }
    }
}

/// Connects to a socket of the file system, or of the abstract namespace when its name begins with `@`.
fn connect(path: &str) -> io::Result<UnixDatagram> {
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Within what time the manager wants to hear from this process, if at all.
fn watchdog(pid: u32, variable: impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let ours = variable("WATCHDOG_PID").is_none_or(|text| text.parse() == Ok(pid));
    let micros = variable("WATCHDOG_USEC")?.parse().ok()?;
    (ours && micros > 0).then(|| Duration::from_micros(micros))
}

/// Says that this part is ready, from then on how it is, and at last that it ends. `how` makes the line
/// that the manager shows, or nothing when the part does not do its work. Returns at `shutdown`, and
/// at once where no manager asks. Whose process ends before that has said so all the same.
pub async fn tend(how: impl Fn() -> Option<String>, shutdown: Shutdown) {
    let Some(manager) = Manager::of_environment() else { return };
    tend_to(&manager, how, shutdown).await;
}

async fn tend_to(manager: &Manager, how: impl Fn() -> Option<String>, shutdown: Shutdown) {
    manager.tell("READY=1", None);
    let _ends = SaysThatItEnds(manager);
    let mut beats = tokio::time::interval(manager.watchdog.map_or(STATUS_EVERY, |w| w / BEATS));
    // A late beat is none the better for another right after it.
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            _ = beats.tick() => if let Some(how) = how() {
                manager.tell(&format!("{BEAT}\nSTATUS={}", one_line(&how)), None);
            },
        }
    }
}

/// Says when it is dropped that the part ends: at the end of its task, or with all tasks of the process.
struct SaysThatItEnds<'a>(&'a Manager);

impl Drop for SaysThatItEnds<'_> {
    fn drop(&mut self) {
        // A part whose report panics goes on serving; of that one is simply not heard.
        if !std::thread::panicking() {
            self.0.tell("STOPPING=1\nSTATUS=ending", None);
        }
    }
}

/// Asks the manager to keep `socket` open while this part is started anew, and to hand it over then
/// under `name`. Whether it does is its own choice (`FileDescriptorStoreMax=` of the unit).
pub(crate) fn keep(name: &str, socket: &impl AsFd) {
    if let Some(manager) = Manager::of_environment() {
        // The manager watches what it keeps for hang-ups; a listening socket has none.
        manager.tell(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), Some(socket.as_fd()));
    }
}

/// Takes back [`keep`] for all sockets of a name.
pub(crate) fn forget(name: &str) {
    if let Some(manager) = Manager::of_environment() {
        manager.tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None);
    }
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn variables<'a>(set: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| set.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned())
    }

    #[test]
    fn the_watchdog_is_that_of_this_process() {
        let of = |set: &[(&str, &str)]| watchdog(7, variables(set));
        let half = Some(Duration::from_millis(500));
        assert_eq!(of(&[("WATCHDOG_USEC", "500000"), ("WATCHDOG_PID", "7")]), half);
        assert_eq!(of(&[("WATCHDOG_USEC", "500000")]), half);
        assert_eq!(of(&[("WATCHDOG_USEC", "500000"), ("WATCHDOG_PID", "8")]), None);
        assert_eq!(of(&[("WATCHDOG_USEC", "500000"), ("WATCHDOG_PID", "x")]), None);
        for nonsense in ["", "0", "-1", "1s"] {
            assert_eq!(of(&[("WATCHDOG_USEC", nonsense)]), None, "{nonsense}");
        }
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn without_a_manager_that_listens_there_is_none() {
        assert!(Manager::new(7, variables(&[])).is_none());
        for path in ["/nonexistent/notify", "@spillway-nobody-listens", ""] {
            assert!(Manager::new(7, variables(&[("NOTIFY_SOCKET", path)])).is_none(), "{path}");
        }
    }

    /// More than a socket's queue holds, `net.unix.max_dgram_qlen` as systemd sets it included.
    const BEATS_TOLD: u32 = 600;

    #[test]
    fn it_hears_of_the_end_of_a_process_that_does_not_wait_and_misses_beats_alone() {
        let name = format!("@spillway-hurried-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name[1..]).unwrap();
        let listening = UnixDatagram::bind_addr(&address).unwrap();
        listening.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let set = [("NOTIFY_SOCKET", name.as_str()), ("WATCHDOG_USEC", "300")];
        let manager = Manager::new(7, variables(&set)).unwrap();
        let told = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let (counted, counts) = (told.clone(), told.clone());
        let ended = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.spawn(async move {
                let how = || Some(counted.fetch_add(1, Ordering::Relaxed).to_string());
                tend_to(&manager, how, Shutdown::new()).await;
            });
            runtime.block_on(async {
                while counts.load(Ordering::Relaxed) < BEATS_TOLD {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        });
        // It reads nothing until there were more beats than it has room for.
        while told.load(Ordering::Relaxed) < BEATS_TOLD {
            std::thread::yield_now();
        }
        let mut buffer = [0; 200];
        let mut hear = || {
            let length = listening.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        assert_eq!(hear(), "READY=1");
        while hear() != "STOPPING=1\nSTATUS=ending" {}
        ended.join().unwrap();
    }

    /// Where a manager of this name listens.
    fn listening(name: &str) -> UnixDatagram {
        let address = SocketAddr::from_abstract_name(&name[1..]).unwrap();
        let listening = UnixDatagram::bind_addr(&address).unwrap();
        listening.set_nonblocking(true).unwrap();
        listening
    }

    #[tokio::test]
    async fn it_does_not_hear_of_an_end_when_the_report_alone_panics() {
        let name = format!("@spillway-panicking-{}", std::process::id());
        let listening = listening(&name);
        let set = [("NOTIFY_SOCKET", name.as_str()), ("WATCHDOG_USEC", "3000")];
        let manager = Manager::new(7, variables(&set)).unwrap();
        let told = std::sync::atomic::AtomicU32::new(0);
        let tending = tokio::spawn(async move {
            let how = || match told.fetch_add(1, Ordering::Relaxed) {
                0 => Some("well".to_owned()),
                _ => panic!("the report of a test"),
            };
            tend_to(&manager, how, Shutdown::new()).await;
        });
        assert!(tending.await.unwrap_err().is_panic());
        // All that is said is said by now.
        let mut buffer = [0; 200];
        let mut heard = Vec::new();
        while let Ok(length) = listening.recv(&mut buffer) {
            heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        assert_eq!(heard, ["READY=1", "WATCHDOG=1\nSTATUS=well"]);
    }

    #[tokio::test]
    async fn it_hears_of_the_beginning_of_health_and_of_the_end() {
        let name = format!("@spillway-manager-{}", std::process::id());
        let listening = tokio::net::UnixDatagram::from_std(listening(&name)).unwrap();
        let set = [("NOTIFY_SOCKET", name.as_str()), ("WATCHDOG_USEC", "30000")];
        let manager = Manager::new(7, variables(&set)).unwrap();
        let hear = async || {
            let mut buffer = [0; 200];
            let length = listening.recv(&mut buffer).await.unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        let (shutdown, well) = (Shutdown::new(), AtomicBool::new(true));
        let how = || well.load(Ordering::Relaxed).then(|| "two\nlines".to_owned());
        let story = async {
            assert_eq!(hear().await, "READY=1");
            for _ in 0..3 {
                assert_eq!(hear().await, "WATCHDOG=1\nSTATUS=two lines");
            }
            // A part that is not well is not heard of, but may end in order.
            well.store(false, Ordering::Relaxed);
            let silence = tokio::time::timeout(Duration::from_millis(100), hear()).await;
            assert!(silence.is_err(), "{silence:?}");
            shutdown.cancel();
            assert_eq!(hear().await, "STOPPING=1\nSTATUS=ending");
        };
        tokio::join!(tend_to(&manager, how, shutdown.clone()), story);
    }
}
