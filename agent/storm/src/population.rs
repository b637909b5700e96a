//! The addresses of the population.
//!
//! Clients live in a /10, by default [`SOURCES`], one to a /24 as long as there are any: client `i`
//! is `127.(64 + i/256).(i mod 256).1` up to the 16,384th, and the second round takes host octet 2.
//! Clients of different rounds share a prefix, hence a rank, as neighbours behind one resolver do.

use std::net::Ipv4Addr;

/// Where clients live unless told otherwise: loopback, so that nothing leaves this machine.
pub const SOURCES: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 0);
/// /24 prefixes in a /10.
const PREFIXES: u32 = 1 << 14;
/// Most clients: six to a prefix.
pub const CLIENTS_MAX: u32 = 6 * PREFIXES;

/// Whether an address is the first of a /10, as the clients' addresses need it.
pub(crate) fn is_network(sources: Ipv4Addr) -> bool {
    u32::from(sources) & 0x003f_ffff == 0
}

/// The source address of a client in the /10 of `sources`; indices from [`CLIENTS_MAX`] on start over.
#[must_use]
pub fn address(sources: Ipv4Addr, client: u32) -> Ipv4Addr {
    let client = client % CLIENTS_MAX;
    let (prefix, round) = (client % PREFIXES, client / PREFIXES);
    // Keep the upper ten bits, so that no client leaves the /10.
    let network = u32::from(sources) & !0x003f_ffff;
    Ipv4Addr::from(network + (prefix << 8) + 1 + round)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::IpAddr;

    use spillway_model::ClientPrefix;

    use super::*;

    #[test]
    fn prefixes_differ_as_long_as_there_are_any() {
        let prefixes: HashSet<ClientPrefix> =
            (0..PREFIXES).map(|i| IpAddr::from(address(SOURCES, i)).into()).collect();
        assert_eq!(prefixes.len(), 16_384);
        let addresses: HashSet<_> = (0..CLIENTS_MAX).map(|i| address(SOURCES, i)).collect();
        assert_eq!(addresses.len(), CLIENTS_MAX as usize);
        assert!(addresses.iter().all(|a| a.octets()[0] == 127 && a.octets()[1] & 0xc0 == 64));
    }

    #[test]
    fn addresses_are_as_documented() {
        assert_eq!(address(SOURCES, 0), Ipv4Addr::new(127, 64, 0, 1));
        assert_eq!(address(SOURCES, 259), Ipv4Addr::new(127, 65, 3, 1));
        assert_eq!(address(SOURCES, 16_383), Ipv4Addr::new(127, 127, 255, 1));
        assert_eq!(address(SOURCES, 16_384), Ipv4Addr::new(127, 64, 0, 2));
        let lab = Ipv4Addr::new(10, 64, 3, 4);
        assert_eq!(address(lab, 259), Ipv4Addr::new(10, 65, 3, 1));
    }
}
