//! The shell, over real sockets.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use spillway_model::load::{DnsLoad, Load};
use spillway_part::Shutdown;
use spillway_part::client::Client;
use spillway_part::follow::Publisher;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::support::{Ask, addresses, config, plan, snapshot, zones};
use crate::serve::Server;
use crate::tcp::{Limits, accept};
use crate::{DnsError, Sockets, serve};

const SOON: Duration = Duration::from_secs(10);

struct Running {
    at: SocketAddr,
    tcp: SocketAddr,
    admin: SocketAddr,
    publisher: Publisher,
    shutdown: Shutdown,
    ended: JoinHandle<Result<(), DnsError>>,
}

async fn running() -> Running {
    let here = "127.0.0.1:0";
    let sockets = Sockets {
        udp: UdpSocket::bind(here).await.unwrap(),
        tcp: TcpListener::bind(here).await.unwrap(),
        admin: TcpListener::bind(here).await.unwrap(),
    };
    let at = sockets.udp.local_addr().unwrap();
    let tcp = sockets.tcp.local_addr().unwrap();
    let admin = sockets.admin.local_addr().unwrap();
    let (publisher, plans) = Publisher::new(plan(1, 0.0));
    let shutdown = Shutdown::new();
    let ending = shutdown.clone();
    let ended =
        tokio::spawn(
            async move { serve(&config(), Arc::new(zones()), sockets, plans, ending).await },
        );
    Running { at, tcp, admin, publisher, shutdown, ended }
}

async fn over_udp(at: SocketAddr, packet: &[u8]) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(packet, at).await.unwrap();
    let mut buffer = [0; 2048];
    let (length, from) = timeout(SOON, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(from, at);
    Message::from_vec(&buffer[..length]).unwrap()
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&u16::try_from(packet.len()).unwrap().to_be_bytes()[..], packet].concat()
}

async fn received(stream: &mut TcpStream) -> Message {
    let length = timeout(SOON, stream.read_u16()).await.unwrap().unwrap();
    let mut packet = vec![0; usize::from(length)];
    timeout(SOON, stream.read_exact(&mut packet)).await.unwrap().unwrap();
    Message::from_vec(&packet).unwrap()
}

async fn ends(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _reset_is_an_end_too = timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_new_plan_steers_new_answers_and_all_is_counted() {
    let server = running().await;
    let ask = Ask::new("code.example.test.", RecordType::A).packet();
    let to_site = over_udp(server.at, &ask).await;
    assert!(addresses(&to_site)[0].to_string().starts_with("192.0.2."));

    assert!(server.publisher.publish(plan(2, 1.0)));
    // The snapshot follows the plan within a turn of the runtime; ask until it has.
    let cloud: IpAddr = "198.51.100.1".parse().unwrap();
    let mut asked = 1;
    let moved = async {
        loop {
            asked += 1;
            if addresses(&over_udp(server.at, &ask).await) == [cloud] {
                return;
            }
        }
    };
    timeout(SOON, moved).await.unwrap();
    assert_eq!(over_udp(server.at, &[&ask[..], &[0]].concat()).await.answers, []);

    let load: Load = Client::default().get(server.admin, "/v1/load", SOON).await.unwrap();
    let expected = DnsLoad { queries: asked + 1, to_site: asked - 1, to_cloud: 1, malformed: 1 };
    assert_eq!((load.generation, load.dns), (2, Some(expected)));

    server.shutdown.cancel();
    timeout(SOON, server.ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn what_is_too_long_for_udp_comes_over_tcp() {
    let server = running().await;
    let ask = Ask::new("big.example.test.", RecordType::TXT).packet();
    let short = over_udp(server.at, &ask).await;
    assert!(short.metadata.truncation && short.answers.is_empty());

    let mut stream = TcpStream::connect(server.tcp).await.unwrap();
    stream.write_all(&framed(&ask)).await.unwrap();
    let whole = received(&mut stream).await;
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 4);
    server.shutdown.cancel();
    ends(&mut stream).await;
    timeout(SOON, server.ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn queries_over_tcp_are_pipelined_and_answered_in_order() {
    let server = running().await;
    let mut stream = TcpStream::connect(server.tcp).await.unwrap();
    let mut sent = Vec::new();
    for id in 0..200_u8 {
        let mut packet = Ask::new("mail.example.test.", RecordType::A).packet();
        packet[..2].copy_from_slice(&[0, id]);
        sent.extend(framed(&packet));
    }
    // The last query comes in two pieces: the answers before it do not wait for its end.
    let (most, last) = sent.split_at(sent.len() - 5);
    stream.write_all(most).await.unwrap();
    for id in 0..199 {
        assert_eq!(received(&mut stream).await.metadata.id, id);
    }
    stream.write_all(last).await.unwrap();
    assert_eq!(received(&mut stream).await.metadata.id, 199);
    server.shutdown.cancel();
    timeout(SOON, server.ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn no_query_ends_a_connection_but_disturbs_no_other() {
    let server = running().await;
    let mut good = TcpStream::connect(server.tcp).await.unwrap();
    let mut bad = TcpStream::connect(server.tcp).await.unwrap();
    bad.write_all(&framed(b"GET /")).await.unwrap();
    ends(&mut bad).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(b"", server.at).await.unwrap();
    socket.send_to(b"GET / HTTP/1.1\r\n\r\n", server.at).await.unwrap();
    let ask = Ask::new("mail.example.test.", RecordType::A).packet();
    good.write_all(&framed(&ask)).await.unwrap();
    assert_eq!(received(&mut good).await.answers.len(), 1);
    assert_eq!(over_udp(server.at, &ask).await.answers.len(), 1);
    server.shutdown.cancel();
    timeout(SOON, server.ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn idle_connections_end_and_make_room_for_others() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let limits = Limits { connections: 1, idle: Duration::from_millis(50) };
    let server = Arc::new(Server::new(Arc::new(snapshot(0.0))));
    let ended = tokio::spawn(accept(listener, server, limits, shutdown.clone()));
    let mut idle = TcpStream::connect(at).await.unwrap();
    // Half a query is as idle as none.
    idle.write_all(&[0]).await.unwrap();
    let mut next = TcpStream::connect(at).await.unwrap();
    let ask = Ask::new("mail.example.test.", RecordType::A).packet();
    next.write_all(&framed(&ask)).await.unwrap();
    assert_eq!(received(&mut next).await.answers.len(), 1);
    ends(&mut idle).await;
    shutdown.cancel();
    timeout(SOON, ended).await.unwrap().unwrap();
}
