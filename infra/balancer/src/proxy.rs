//! The PROXY protocol v2 header: who the client is, told to the gateway before the first byte.

use std::io;
use std::net::SocketAddr;

use ppp::v2::{Builder, Command, Protocol, Version};

/// The header for a connection from `client` to `vip`. IPv4 clients of a dual-stack listener are
/// written as IPv4.
pub(crate) fn header(client: SocketAddr, vip: SocketAddr) -> io::Result<Vec<u8>> {
    let addresses = (canonical(client), canonical(vip));
    Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses).build()
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use ppp::v2::{Addresses, Header, IPv4, IPv6};

    use super::header;

    fn addresses(client: &str, vip: &str) -> (usize, Addresses) {
        let bytes = header(client.parse().unwrap(), vip.parse().unwrap()).unwrap();
        (bytes.len(), Header::try_from(bytes.as_slice()).unwrap().addresses)
    }

    #[test]
    fn headers_carry_both_ends() {
        let (len, v4) = addresses("127.3.4.5:1234", "127.0.1.1:8080");
        assert_eq!(len, 28);
        assert_eq!(v4, IPv4::new([127, 3, 4, 5], [127, 0, 1, 1], 1234, 8080).into());
        let (len, v6) = addresses("[2001:db8::1]:1", "[2001:db8::2]:2");
        assert_eq!(len, 52);
        let (one, two) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        assert_eq!(v6, IPv6::new::<std::net::Ipv6Addr>(one, two, 1, 2).into());
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let mapped = addresses("[::ffff:127.3.4.5]:1234", "[::ffff:127.0.1.1]:8080");
        assert_eq!(mapped, addresses("127.3.4.5:1234", "127.0.1.1:8080"));
    }
}
