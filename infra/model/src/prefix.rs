//! The client prefix: the unit in which clients are steered.
//!
//! An EDNS Client Subnet option (RFC 7871), a PROXY protocol header and a socket all name the same
//! client with different precision. Truncated to one canonical length, /24 for IPv4 and /48 for
//! IPv6, the name server and the gateway see the same client and so compute the same rank.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// The canonical prefix of a client address: /24 of IPv4, /48 of IPv6. IPv4-mapped IPv6 addresses
/// count as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ClientPrefix {
    /// The first three octets.
    V4([u8; 3]),
    /// The first six octets.
    V6([u8; 6]),
}

impl ClientPrefix {
    /// Canonical prefix length for IPv4, in bits.
    pub const V4_BITS: u8 = 24;
    /// Canonical prefix length for IPv6, in bits.
    pub const V6_BITS: u8 = 48;

    /// Length of this prefix in bits: what an answer steered by it carries as its ECS scope.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::V4(_) => Self::V4_BITS,
            Self::V6(_) => Self::V6_BITS,
        }
    }

    /// The network address of the prefix.
    #[must_use]
    pub fn network(self) -> IpAddr {
        match self {
            Self::V4([a, b, c]) => Ipv4Addr::new(a, b, c, 0).into(),
            Self::V6(p) => {
                let mut octets = [0; 16];
                octets[..6].copy_from_slice(&p);
                Ipv6Addr::from(octets).into()
            }
        }
    }
}

impl From<IpAddr> for ClientPrefix {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }
}

impl fmt::Display for ClientPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::ClientPrefix;
    use std::net::IpAddr;

    fn prefix(address: &str) -> ClientPrefix {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn truncates_to_canonical_length() {
        assert_eq!(prefix("127.3.4.5"), prefix("127.3.4.250"));
        assert_ne!(prefix("127.3.4.5"), prefix("127.3.5.5"));
        assert_eq!(prefix("2001:db8:1::1"), prefix("2001:db8:1:ffff::9"));
        assert_eq!(prefix("::ffff:127.3.4.5"), prefix("127.3.4.5"));
        assert_eq!(prefix("127.3.4.5").to_string(), "127.3.4.0/24");
        assert_eq!(prefix("2001:db8:1::1").to_string(), "2001:db8:1::/48");
    }
}
