//! Parts under a service manager, which here is the test: what they tell it, and the sockets that go to
//! and fro (sd_notify(3), sd_listen_fds(3)).

use std::collections::BTreeMap;
use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use spillway_test_support::{Block, Process, example_config, program, wait_until};
use tempfile::TempDir;

use crate::beside;
use crate::packages::cannot;

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(20);

/// A manager of the parts of one configuration.
struct Manager {
    folder: TempDir,
    config: PathBuf,
    block: Block,
    notified: UnixDatagram,
    /// What it was given to keep.
    kept: BTreeMap<String, OwnedFd>,
}

impl Manager {
    fn new() -> Self {
        let block = Block::claim();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("spillway.toml");
        std::fs::write(&config, example_config(&block, folder.path())).unwrap();
        let made = Command::new(program("spillway")).arg("keygen").arg("-c").arg(&config).output();
        assert!(made.unwrap().status.success());
        let notified = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        notified.set_read_timeout(Some(SOON)).unwrap();
        Self { folder, config, block, notified, kept: BTreeMap::new() }
    }

    /// The command that runs a part, told where the manager listens.
    fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program(name));
        command.arg("--config").arg(&self.config).args(arguments);
        self.asks(&mut command);
        command
    }

    fn asks(&self, command: &mut Command) {
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        command.env("WATCHDOG_USEC", "300000");
    }

    /// The next message; what comes with it is kept.
    fn hear(&mut self) -> String {
        let mut buffer = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut buffer)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.notified, &mut into, &mut ancillary, flags).unwrap();
        let fds = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fds: Vec<OwnedFd> = fds.flatten().collect();
        let message = String::from_utf8(buffer[..received.bytes].to_vec()).unwrap();
        if let Some(name) = message.lines().find_map(|line| line.strip_prefix("FDNAME=")) {
            assert!(message.contains("FDSTORE=1"), "{message}");
            self.kept.extend(fds.into_iter().map(|fd| (name.to_owned(), fd)));
        }
        message
    }

    fn hear_until(&mut self, what: &str) -> String {
        loop {
            let message = self.hear();
            if message.lines().any(|line| line == what) {
                return message;
            }
        }
    }

    fn dns_at(&self) -> SocketAddr {
        (self.block.address(1), 5300).into()
    }
}

/// A query for the steered name's IPv4 address.
fn query(id: u16) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in ["code", "example", "test", ""] {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 1, 0, 1]);
    packet
}

/// Whether this is an answer with an address to the query of this id.
fn answers(packet: &[u8], id: u16) -> bool {
    packet.starts_with(&id.to_be_bytes()) && packet[7] >= 1
}

fn asked(at: SocketAddr, id: u16) -> UdpSocket {
    let socket = UdpSocket::bind((at.ip(), 0)).unwrap();
    socket.connect(at).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.send(&query(id)).unwrap();
    socket
}

fn answered(socket: &UdpSocket, id: u16) {
    let mut packet = [0; 512];
    let length = socket.recv(&mut packet).unwrap();
    assert!(answers(&packet[..length], id), "{id}: {:?}", &packet[..length]);
}

#[test]
fn a_part_says_that_it_is_ready_how_it_is_and_that_it_ends() {
    let _beside = beside();
    let mut manager = Manager::new();
    for (name, arguments) in [
        ("spillway", &["run", "agent"][..]),
        ("spillway", &["run", "dns"]),
        ("spillway", &["run", "balancer", "east"]),
        ("spillway", &["run", "gateway", "east-gw-1"]),
        ("one-code", &["--name", "east-one-code"]),
    ] {
        let mut part = Process::start(&manager.command(name, arguments));
        manager.hear_until("READY=1");
        for _ in 0..3 {
            let message = manager.hear_until("WATCHDOG=1");
            let status = message.lines().find_map(|line| line.strip_prefix("STATUS="));
            assert!(status.is_some_and(|status| !status.is_empty()), "{message}");
        }
        part.signal(rustix::process::Signal::TERM);
        manager.hear_until("STOPPING=1");
        assert!(part.wait(SOON).unwrap().success(), "{arguments:?}");
    }
    let kept: Vec<&String> = manager.kept.keys().collect();
    assert_eq!(kept, ["dns.listen/tcp", "dns.listen/udp", "site.balancer.listen/tcp"]);
}

#[test]
fn a_part_that_hangs_is_not_heard_of() {
    let _beside = beside();
    let mut manager = Manager::new();
    let part = Process::start(&manager.command("spillway", &["run", "gateway", "east-gw-1"]));
    manager.hear_until("WATCHDOG=1");
    part.signal(rustix::process::Signal::STOP);
    let stat = format!("/proc/{}/stat", part.pid());
    wait_until("it is stopped", SOON, || {
        std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "))
    });
    manager.notified.set_nonblocking(true).unwrap();
    while manager.notified.recv(&mut [0; 4096]).is_ok() {}
    // As long as the manager would wait.
    manager.notified.set_nonblocking(false).unwrap();
    manager.notified.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(manager.notified.recv(&mut [0; 4096]).is_err());
    part.signal(rustix::process::Signal::CONT);
    manager.notified.set_read_timeout(Some(SOON)).unwrap();
    manager.hear_until("WATCHDOG=1");
}

#[test]
fn what_is_asked_while_the_name_server_is_away_is_answered_by_the_next() {
    let _beside = beside();
    let mut manager = Manager::new();
    let at = manager.dns_at();
    let mut first = Process::start(&manager.command("spillway", &["run", "dns"]));
    manager.hear_until("READY=1");
    answered(&asked(at, 1), 1);
    assert!(first.stop().unwrap().success());

    // Nobody serves, but the manager holds the sockets.
    let asking: Vec<_> = (2..52).map(|id| (id, asked(at, id))).collect();
    let mut over_tcp = TcpStream::connect(at).unwrap();
    over_tcp.set_read_timeout(Some(SOON)).unwrap();
    let packet = query(60);
    over_tcp.write_all(&u16::try_from(packet.len()).unwrap().to_be_bytes()).unwrap();
    over_tcp.write_all(&packet).unwrap();

    // They are the next one's descriptors 3 and 4, behind those of standard input and output.
    let script = "exec 3<&0 4>&1 </dev/null >/dev/null; \
                  LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=dns.listen/udp:dns.listen/tcp exec \"$@\"";
    let mut next = Command::new("sh");
    next.args(["-c", script, "sh"]).arg(program("spillway")).arg("--config").arg(&manager.config);
    next.args(["run", "dns"]);
    manager.asks(&mut next);
    let mut take = |name| Stdio::from(manager.kept.remove(name).unwrap());
    next.stdin(take("dns.listen/udp")).stdout(take("dns.listen/tcp"));
    let mut next = Process::adopt(next);
    manager.hear_until("READY=1");
    for (id, socket) in &asking {
        answered(socket, *id);
    }
    let mut answer = [0; 100];
    let length = over_tcp.read(&mut answer).unwrap();
    assert!(length > 2 && answers(&answer[2..length], 60), "{:?}", &answer[..length]);
    assert!(manager.kept.is_empty(), "what was handed over is kept already");
    assert!(next.stop().unwrap().success());
}

#[test]
fn the_first_query_starts_the_name_server() {
    let _beside = beside();
    if cannot("socket activation", &["systemd-socket-activate"], &[]) {
        return;
    }
    let manager = Manager::new();
    let at = manager.dns_at();
    let mut activate = Command::new("systemd-socket-activate");
    activate.args(["--datagram", "--fdname=dns.listen", "--listen", &at.to_string()]);
    activate.arg(program("spillway")).arg("--config").arg(&manager.config).args(["run", "dns"]);
    let _activated = Process::start(&activate);
    // Nobody else can have the address once it listens.
    wait_until("it listens", SOON, || UdpSocket::bind(at).is_err());
    answered(&asked(at, 7), 7);
    // It cannot have bound that itself: it has TCP there, and UDP was taken.
    assert!(TcpStream::connect(at).is_ok());
}
