//! Which addresses are taken, and by what: one block instead of a line of complaint an address.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use spillway_part::StartError;
use spillway_part::start::{listen_tcp, listen_udp};

use crate::parts::{Listen, PartSpec};

/// Longest command line that is shown.
const COMMAND_CHARS_MAX: usize = 120;

/// Fails with all addresses that cannot be listened on, not just the first.
pub(super) async fn all_free(specs: &[PartSpec]) -> anyhow::Result<()> {
    let (mut taken, mut wrong) = (Vec::new(), Vec::new());
    for listen in specs.iter().flat_map(|spec| &spec.listen) {
        let tried = if listen.protocol == "udp" {
            listen_udp(listen.address, &listen.field).await.map(drop)
        } else {
            listen_tcp(listen.address, &listen.field).await.map(drop)
        };
        match tried {
            Ok(()) => {}
            Err(StartError::Taken { .. }) => taken.push(listen),
            Err(e) => wrong.push(format!("{:#}", anyhow::Error::from(e))),
        }
    }
    if !taken.is_empty() {
        wrong.push(block(&taken, &Holders::read()));
    }
    anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn block(taken: &[&Listen], holders: &Holders) -> String {
    let mut text = match taken.len() {
        1 => "an address is taken:\n".to_owned(),
        n => format!("{n} addresses are taken:\n"),
    };
    let mut above = BTreeSet::new();
    let mut unseen = false;
    for listen in taken {
        let address = listen.address.to_string();
        let by = match holders.of(listen.protocol, listen.address) {
            Some(holder) => {
                above.extend(supervisor(holder));
                format!("by {} (process {holder})", name(holder))
            }
            None => {
                unseen = true;
                "by a process that cannot be seen from here".to_owned()
            }
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {} {address:<21}  {:<26}  {by}", listen.protocol, listen.field);
    }
    for process in &above {
        let command = command(*process);
        let _ = writeln!(text, "Spillway runs already, as process {process} ({command}).");
    }
    text.push_str(match (above.is_empty(), unseen) {
        (false, _) => "Stop that one first, or change the addresses in the configuration.",
        (true, false) => "Stop what holds them, or change the addresses in the configuration.",
        (true, true) => {
            "Stop what holds them (`ss -ltnup` as root names it), or change the addresses in the configuration."
        }
    });
    text
}

/// Who listens where, as far as this user may see.
#[derive(Debug, Default)]
struct Holders(Vec<(&'static str, SocketAddr, u32)>);

impl Holders {
    fn read() -> Self {
        let mut sockets = BTreeMap::new();
        for (file, protocol) in [("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp")] {
            let text = std::fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
            for (address, inode) in listening(&text, protocol) {
                sockets.insert(inode, (protocol, address));
            }
        }
        let mut found = Vec::new();
        for process in numbers("/proc") {
            let folder = format!("/proc/{process}/fd");
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let link = std::fs::read_link(entry.path()).unwrap_or_default();
                let inode = link.to_str().and_then(|link| link.strip_prefix("socket:["));
                let inode = inode.and_then(|rest| rest.strip_suffix(']')?.parse::<u64>().ok());
                if let Some((protocol, address)) = inode.and_then(|inode| sockets.get(&inode)) {
                    found.push((*protocol, *address, process));
                }
            }
        }
        Self(found)
    }

    /// The process that keeps an address from being listened on.
    fn of(&self, protocol: &str, wanted: SocketAddr) -> Option<u32> {
        let holds = |held: &SocketAddr| {
            held.port() == wanted.port() && (held.ip() == wanted.ip() || held.ip().is_unspecified())
        };
        self.0.iter().find(|(p, held, _)| *p == protocol && holds(held)).map(|found| found.2)
    }
}

/// The sockets that take work in a table of `/proc/net` (proc_pid_net(5)), with their inodes.
fn listening(table: &str, protocol: &str) -> Vec<(SocketAddr, u64)> {
    const LISTEN: &str = "0A";
    let read = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
        let takes_work = protocol == "udp" || *state == LISTEN;
        let (address, port) = local.split_once(':')?;
        let address = SocketAddr::from((ip(address)?, u16::from_str_radix(port, 16).ok()?));
        takes_work.then_some((address, inode.parse().ok()?))
    };
    table.lines().skip(1).filter_map(read).collect()
}

/// An address as `/proc/net` has it: words of 32 bits in the order of this machine.
fn ip(hex: &str) -> Option<IpAddr> {
    let word = |i: usize| {
        let digits = hex.get(8 * i..8 * i + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (i, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(i)?);
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

fn numbers(folder: &str) -> impl Iterator<Item = u32> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn name(process: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

/// The `spillway` that started a process, if one did.
fn supervisor(process: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
    (name(parent) == "spillway").then_some(parent)
}

fn command(process: u32) -> String {
    let words = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&words).replace('\0', " ");
    text.trim().chars().take(COMMAND_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn tables_of_sockets_are_read() {
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:238C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
            \x20  1: 0100007F:238C 0100007F:D2F0 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 0 10 -1\n\
            nonsense\n";
        assert_eq!(listening(tcp, "tcp"), [(SocketAddr::from(([127, 0, 0, 1], 9100)), 4711)]);
        assert_eq!(ip("00000000000000000000000001000000"), Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(ip("0000000000000000FFFF00000100007F"), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(ip("zz"), None);
    }

    #[test]
    fn whoever_listens_is_found_and_told_in_one_block() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let here = Listen { protocol: "tcp", address, field: "agent.listen".to_owned() };
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        let holders = Holders::read();
        assert_eq!(holders.of("tcp", address), Some(std::process::id()));
        assert_eq!(holders.of("udp", address), None);
        assert_eq!(Holders(vec![("tcp", everywhere, 7)]).of("tcp", address), Some(7));
        let text = block(&[&here, &here], &holders);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
        let text = block(&[&here], &Holders::default());
        assert!(text.contains("cannot be seen") && text.contains("ss -ltnup"), "{text}");
    }
}
