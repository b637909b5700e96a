//! Who the client is: the source of a PROXY protocol version 2 header when there is one, the peer of
//! the socket when there is none.
//!
//! The header is believed only from the addresses that the site's balancers connect from. Whoever
//! else sends one is cut off: it claims to be a balancer and is none.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf as _, BytesMut};
use ppp::v2::{Addresses, Command, Header, PROTOCOL_PREFIX, ParseError};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Largest header taken: 16 bytes, addresses, and room for the usual extensions.
const HEADER_BYTES_MAX: usize = 2048;

/// Why a connection's first bytes were refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyProtocolError {
    #[error("the connection broke before its first request")]
    Io(#[from] io::Error),
    #[error("a PROXY header came from a peer that is no balancer of the site")]
    Disbelieved,
    #[error("the PROXY header is malformed")]
    Malformed,
}

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
enum First {
    /// Too few to tell.
    More,
    /// No PROXY header.
    Request,
    /// A header of so many bytes, and the client it names, if any.
    Header(usize, Option<SocketAddr>),
    Malformed,
}

fn look(bytes: &[u8]) -> First {
    let signature = PROTOCOL_PREFIX.len().min(bytes.len());
    if bytes[..signature] != PROTOCOL_PREFIX[..signature] {
        return First::Request;
    }
    match Header::try_from(bytes) {
        Ok(header) => {
            let source = match (header.command, header.addresses) {
                // LOCAL is the sender's own health check: no client stands behind it.
                (Command::Local, _) => None,
                (Command::Proxy, Addresses::IPv4(ip)) => {
                    Some(SocketAddr::new(ip.source_address.into(), ip.source_port))
                }
                (Command::Proxy, Addresses::IPv6(ip)) => {
                    Some(SocketAddr::new(ip.source_address.into(), ip.source_port))
                }
                (Command::Proxy, Addresses::Unspecified | Addresses::Unix(_)) => None,
            };
            First::Header(header.len(), source)
        }
        Err(ParseError::Incomplete(_) | ParseError::Partial(..))
            if bytes.len() < HEADER_BYTES_MAX =>
        {
            First::More
        }
        Err(_) => First::Malformed,
    }
}

/// Reads a connection's first bytes: the client's address, and what was read of its first request.
/// `None` when the peer closed without sending any. `believed` says whether the peer is a balancer.
pub(crate) async fn client(
    stream: &mut (impl AsyncRead + Unpin),
    peer: SocketAddr,
    believed: bool,
) -> Result<Option<(SocketAddr, BytesMut)>, ProxyProtocolError> {
    let mut bytes = BytesMut::with_capacity(1024);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
        match look(&bytes) {
            First::More => {}
            First::Request => return Ok(Some((peer, bytes))),
            First::Header(..) if !believed => return Err(ProxyProtocolError::Disbelieved),
            First::Header(len, source) => {
                bytes.advance(len);
                return Ok(Some((source.unwrap_or(peer), bytes)));
            }
            First::Malformed => return Err(ProxyProtocolError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use ppp::v2::{Builder, Protocol, Version};

    use super::*;

    fn header(command: Command, source: &str) -> Vec<u8> {
        let addresses: (SocketAddr, SocketAddr) =
            (source.parse().unwrap(), "127.0.1.1:8080".parse().unwrap());
        Builder::with_addresses(Version::Two | command, Protocol::Stream, addresses)
            .build()
            .unwrap()
    }

    async fn read(
        mut bytes: &[u8],
        peer: &str,
    ) -> Result<Option<(SocketAddr, BytesMut)>, ProxyProtocolError> {
        client(&mut bytes, peer.parse().unwrap(), peer.starts_with("127.")).await
    }

    #[tokio::test]
    async fn the_header_names_the_client_and_the_rest_is_kept() {
        let sent = [header(Command::Proxy, "192.0.2.7:999"), b"GET".to_vec()].concat();
        let (client, rest) = read(&sent, "127.0.0.1:1").await.unwrap().unwrap();
        assert_eq!((client, &rest[..]), ("192.0.2.7:999".parse().unwrap(), b"GET".as_slice()));
        let local = header(Command::Local, "192.0.2.7:999");
        let (client, _) = read(&local, "127.0.0.1:1").await.unwrap().unwrap();
        assert_eq!(client, "127.0.0.1:1".parse().unwrap());
    }

    #[tokio::test]
    async fn without_a_header_it_is_the_peer() {
        let (client, rest) = read(b"\r\nGET", "198.51.100.1:1").await.unwrap().unwrap();
        assert_eq!(
            (client.to_string().as_str(), &rest[..]),
            ("198.51.100.1:1", b"\r\nGET".as_slice())
        );
        assert!(read(b"", "127.0.0.1:1").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn strangers_and_garbage_are_refused() {
        let sent = header(Command::Proxy, "192.0.2.7:999");
        assert!(matches!(
            read(&sent, "198.51.100.1:1").await,
            Err(ProxyProtocolError::Disbelieved)
        ));
        let mut broken = sent.clone();
        broken[12] = 0x11;
        assert!(matches!(read(&broken, "127.0.0.1:1").await, Err(ProxyProtocolError::Malformed)));
    }

    #[test]
    fn every_prefix_of_a_header_asks_for_more() {
        let sent = header(Command::Proxy, "192.0.2.7:999");
        for n in 0..sent.len() {
            assert_eq!(look(&sent[..n]), First::More, "{n}");
        }
        let mut huge = sent.clone();
        huge[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        huge.resize(HEADER_BYTES_MAX, 0);
        assert_eq!(look(&huge), First::Malformed);
    }
}
