//! Looking a name up, as a stub resolver does: UDP from the client's own address, TCP when the
//! answer is truncated.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use spillway_part::clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::{Instant, timeout_at};

/// Questions put to a server that stays silent.
const ATTEMPTS: u32 = 3;
/// How long it may stay silent before each next one.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long an exchange over TCP may take.
const TCP_PATIENCE: Duration = Duration::from_secs(2);

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("`{0}` is no domain name")]
    Name(String),
    #[error("no answer from the name server")]
    Silence,
    #[error("the name server answers {0}")]
    Refused(ResponseCode),
    #[error("the name server knows no address of that name")]
    NoAddress,
    #[error("cannot reach the name server")]
    Io(#[from] std::io::Error),
}

/// The address to bind to for a target: the client's own, unless it is a loopback address and the
/// target is not on this machine.
pub(crate) fn source(client: Ipv4Addr, target: IpAddr) -> SocketAddr {
    match target {
        IpAddr::V4(v4) if v4.is_loopback() || !client.is_loopback() => (client, 0).into(),
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// The first address of `host` and its time to live in seconds.
pub(crate) async fn lookup(
    server: SocketAddr,
    client: Ipv4Addr,
    host: &str,
) -> Result<(IpAddr, u32), LookupError> {
    let mut name = Name::from_ascii(host).map_err(|_| LookupError::Name(host.to_owned()))?;
    name.set_fqdn(true);
    let id = rand::random();
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, RecordType::A));
    let question = message.to_vec().map_err(|_| LookupError::Name(host.to_owned()))?;
    let query = &message.queries[0];

    let socket = UdpSocket::bind(source(client, server.ip())).await?;
    socket.connect(server).await?;
    let mut buffer = [0; 4096];
    for _ in 0..ATTEMPTS {
        let until = Instant::from_std(clock::instant()) + PATIENCE;
        // A refusal of an earlier packet (ICMP) is reported here; the rest of the time is waited
        // out, because the server may be about to start.
        let mut refused = socket.send(&question).await.is_err();
        loop {
            if refused {
                tokio::time::sleep_until(until).await;
                break;
            }
            match timeout_at(until, socket.recv(&mut buffer)).await {
                Err(_) => break,
                Ok(Err(_)) => refused = true,
                Ok(Ok(n)) => match parse(&buffer[..n], id, query) {
                    None => {}
                    Some(Parsed::Truncated) => {
                        return over_tcp(server, client, &question, id, query).await;
                    }
                    Some(Parsed::Answer(answer)) => return answer,
                },
            }
        }
    }
    Err(LookupError::Silence)
}

async fn over_tcp(
    server: SocketAddr,
    client: Ipv4Addr,
    question: &[u8],
    id: u16,
    query: &Query,
) -> Result<(IpAddr, u32), LookupError> {
    let exchange = async {
        let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(source(client, server.ip()))?;
        let mut stream = socket.connect(server).await?;
        let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
        let mut packet = length.to_be_bytes().to_vec();
        packet.extend_from_slice(question);
        stream.write_all(&packet).await?;
        let mut answer = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer =
        tokio::time::timeout(TCP_PATIENCE, exchange).await.map_err(|_| LookupError::Silence)??;
    match parse(&answer, id, query) {
        Some(Parsed::Answer(answer)) => answer,
        Some(Parsed::Truncated) | None => Err(LookupError::Silence),
    }
}

enum Parsed {
    Truncated,
    Answer(Result<(IpAddr, u32), LookupError>),
}

/// What a packet says; `None` when it does not answer this question.
fn parse(packet: &[u8], id: u16, query: &Query) -> Option<Parsed> {
    let message = Message::from_vec(packet).ok()?;
    let head = message.metadata;
    if head.id != id || head.message_type != MessageType::Response {
        return None;
    }
    // A server that cannot read a question may leave it out.
    if message.queries.first().is_some_and(|echo| echo != query) {
        return None;
    }
    if head.truncation {
        return Some(Parsed::Truncated);
    }
    if head.response_code != ResponseCode::NoError {
        return Some(Parsed::Answer(Err(LookupError::Refused(head.response_code))));
    }
    // Aliases on the way bound the time to live, too.
    let ttl = message.answers.iter().map(|record| record.ttl).min();
    let address = message.answers.iter().find_map(|record| match &record.data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        _ => None,
    });
    Some(Parsed::Answer(address.zip(ttl).ok_or(LookupError::NoAddress)))
}
