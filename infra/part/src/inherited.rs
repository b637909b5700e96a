//! Sockets that were open before this process (sd_listen_fds(3)): a service manager bound them, as it
//! may on ports that the part may not, or kept them while the part was started anew. What arrived in
//! between waits in them.
//!
//! A socket is taken only by its name, its kind and its address together: the configuration says where
//! a part listens, not whoever started it.

use std::net::SocketAddr;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::io::FdFlags;
use rustix::net::SocketType;

use crate::manager;

/// The first descriptor that is handed over (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;
/// Most that are looked at.
const SOCKETS_MAX: usize = 64;

/// What was handed over and is not taken yet, with its names.
static LEFT: OnceLock<Mutex<Vec<(String, OwnedFd)>>> = OnceLock::new();

/// The socket called `name` of this kind at `address`. Others of its name and kind are closed: they
/// are where the configuration no longer has them.
pub(crate) fn take(name: &str, kind: SocketType, address: SocketAddr) -> Option<OwnedFd> {
    let left = LEFT.get_or_init(|| {
        Mutex::new(open(&names(std::process::id(), |name| std::env::var(name).ok())))
    });
    let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
    choose(&mut left, name, kind, address)
}

/// What a socket is called that the manager keeps: it takes one of a name back together with all
/// others of that name, and so the two kinds must not share one.
pub(crate) fn kept_name(name: &str, kind: SocketType) -> String {
    let kind = if kind == SocketType::DGRAM { "udp" } else { "tcp" };
    format!("{name}/{kind}")
}

fn choose(
    left: &mut Vec<(String, OwnedFd)>,
    name: &str,
    kind: SocketType,
    address: SocketAddr,
) -> Option<OwnedFd> {
    let kept = kept_name(name, kind);
    let of_name = |(called, fd): &mut (String, OwnedFd)| {
        (*called == name || *called == kept)
            && rustix::net::sockopt::socket_type(fd).is_ok_and(|is| is == kind)
    };
    let (mut taken, mut stale) = (None, false);
    for (_, fd) in left.extract_if(.., of_name) {
        let at = rustix::net::getsockname(&fd).ok().and_then(|at| SocketAddr::try_from(at).ok());
        if at == Some(address) {
            taken = Some(fd);
        } else {
            tracing::warn!(
                name, %address, handed_over = at.map(|at| at.to_string()),
                "a socket was handed over that is not where the configuration says; it is not used",
            );
            stale = true;
        }
    }
    if stale {
        manager::forget(&kept);
    }
    taken
}

/// The names of the descriptors that are for this process, in their order.
fn names(pid: u32, variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let ours = variable("LISTEN_PID").is_some_and(|text| text.parse() == Ok(pid));
    let count = variable("LISTEN_FDS").and_then(|text| text.parse().ok()).unwrap_or(0);
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let count = if ours { usize::min(count, SOCKETS_MAX) } else { 0 };
    names
        .split(':')
        .map(str::to_owned)
        .chain(std::iter::repeat(String::new()))
        .take(count)
        .collect()
}

#[expect(unsafe_code, reason = "descriptors are handed over as numbers")]
fn open(names: &[String]) -> Vec<(String, OwnedFd)> {
    let own = |(fd, name): (RawFd, &String)| {
        // SAFETY: the variables say that this descriptor is open for this process, and nothing else
        // here opens descriptors by number; `take` comes here once.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Programs that a part starts have no business with it. It fails only if it is not open.
        rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC).ok()?;
        Some((name.clone(), fd))
    };
    (FIRST..).zip(names).filter_map(own).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn descriptors_are_named_and_for_one_process() {
        let of = |pid: &str, count: &str, names_set: Option<&str>| {
            names(7, |name| match name {
                "LISTEN_PID" => Some(pid.to_owned()),
                "LISTEN_FDS" => Some(count.to_owned()),
                _ => names_set.map(str::to_owned),
            })
        };
        assert_eq!(of("7", "2", Some("a:b")), ["a", "b"]);
        assert_eq!(of("7", "3", Some("a::c:d")), ["a", "", "c"]);
        assert_eq!(of("7", "2", None), ["", ""]);
        assert_eq!(of("7", "99999999", Some("a")).len(), SOCKETS_MAX);
        for (pid, count) in [("8", "2"), ("", "2"), ("7", ""), ("7", "-1"), ("7", "0")] {
            assert!(of(pid, count, Some("a:b")).is_empty(), "{pid} {count}");
        }
        assert!(names(7, |_| None).is_empty());
    }

    #[test]
    fn a_socket_is_taken_by_name_kind_and_address() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind(udp.local_addr().unwrap());
        // Whoever else has the port leaves another.
        let tcp = tcp.or_else(|_| TcpListener::bind("127.0.0.1:0")).unwrap();
        let (udp_at, tcp_at) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut left = vec![
            ("dns.listen".to_owned(), OwnedFd::from(elsewhere)),
            ("dns.listen".to_owned(), OwnedFd::from(udp)),
            ("dns.listen/tcp".to_owned(), OwnedFd::from(tcp)),
        ];
        assert!(choose(&mut left, "dns.admin", SocketType::STREAM, tcp_at).is_none());
        assert_eq!(left.len(), 3);
        let taken = choose(&mut left, "dns.listen", SocketType::DGRAM, udp_at).unwrap();
        assert_eq!(UdpSocket::from(taken).local_addr().unwrap(), udp_at);
        assert_eq!(left.len(), 1, "the one that is elsewhere is closed");
        let taken = choose(&mut left, "dns.listen", SocketType::STREAM, tcp_at).unwrap();
        assert_eq!(TcpListener::from(taken).local_addr().unwrap(), tcp_at);
        assert!(choose(&mut left, "dns.listen", SocketType::STREAM, tcp_at).is_none());
    }
}
