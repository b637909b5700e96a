//! The addresses of the population.
//!
//! Clients live in 127.64.0.0/10, one to a /24 as long as there are any: client `i` is
//! `127.(64 + i/256).(i mod 256).1` up to the 16,384th, and the second round takes host octet 2.
//! Clients of different rounds share a prefix, hence a rank, as neighbours behind one resolver do.

use std::net::Ipv4Addr;

/// /24 prefixes in 127.64.0.0/10.
const PREFIXES: u32 = 1 << 14;
/// Most clients: six to a prefix.
pub const CLIENTS_MAX: u32 = 6 * PREFIXES;

/// The source address of a client; indices from [`CLIENTS_MAX`] on start over.
#[must_use]
pub fn address(client: u32) -> Ipv4Addr {
    let client = client % CLIENTS_MAX;
    let (prefix, round) = (client % PREFIXES, client / PREFIXES);
    let bits = u32::from(Ipv4Addr::new(127, 64, 0, 1)) + (prefix << 8) + round;
    Ipv4Addr::from(bits)
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
            (0..PREFIXES).map(|i| IpAddr::from(address(i)).into()).collect();
        assert_eq!(prefixes.len(), 16_384);
        let addresses: HashSet<_> = (0..CLIENTS_MAX).map(address).collect();
        assert_eq!(addresses.len(), CLIENTS_MAX as usize);
        assert!(addresses.iter().all(|a| a.octets()[0] == 127 && a.octets()[1] & 0xc0 == 64));
    }

    #[test]
    fn addresses_are_as_documented() {
        assert_eq!(address(0), Ipv4Addr::new(127, 64, 0, 1));
        assert_eq!(address(259), Ipv4Addr::new(127, 65, 3, 1));
        assert_eq!(address(16_383), Ipv4Addr::new(127, 127, 255, 1));
        assert_eq!(address(16_384), Ipv4Addr::new(127, 64, 0, 2));
    }
}
