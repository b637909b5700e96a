//! A name server and HTTP servers of the test's own, on loopback addresses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::{RData, Record, rdata::A};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use spillway_model::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

use crate::exchange;
use crate::mix::Operation;
use crate::profile::{Curve, Profile};
use crate::record::Recorder;
use crate::report::Totals;
use crate::run::Options;
use crate::schedule::Arrival;
use crate::world::World;

pub(crate) const SITE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
pub(crate) const CLOUD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A request as a server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) at: Ipv4Addr,
    pub(crate) peer: IpAddr,
    pub(crate) connection: u64,
    pub(crate) host: String,
    pub(crate) line: String,
    pub(crate) body: Bytes,
}

pub(crate) type Answer = Response<Full<Bytes>>;
type Handler = dyn Fn(Hit) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

/// What the name server does.
#[derive(Debug, Default)]
pub(crate) struct Dns {
    /// Address and TTL by name.
    pub(crate) names: HashMap<String, (Ipv4Addr, u32)>,
    /// Packets still to be ignored.
    pub(crate) deaf: u32,
    /// Answers over UDP are truncated.
    pub(crate) truncate: bool,
    /// Who asked, over what.
    pub(crate) asked: Vec<(IpAddr, &'static str)>,
}

/// The servers, and a configuration that names them. Ends with its drop.
pub(crate) struct Lab {
    pub(crate) config: Config,
    pub(crate) dns: Arc<Mutex<Dns>>,
    pub(crate) hits: Arc<Mutex<Vec<Hit>>>,
    end: CancellationToken,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Lab {
    /// Site and cloud both answer by `handler`.
    pub(crate) async fn new<F>(handler: impl Fn(Hit) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let example =
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/spillway.toml"));
        let mut config = (*spillway_part::start::load_config(example).unwrap()).clone();
        let end = CancellationToken::new();
        let handler: Arc<Handler> = Arc::new(move |hit| Box::pin(handler(hit)));
        let hits = Arc::new(Mutex::new(Vec::new()));
        // The port must be free at both addresses.
        let (site, cloud) = loop {
            let site = TcpListener::bind((SITE, 0)).await.unwrap();
            let port = site.local_addr().unwrap().port();
            if let Ok(cloud) = TcpListener::bind((CLOUD, port)).await {
                break (site, cloud);
            }
        };
        config.service.port = site.local_addr().unwrap().port();
        config.sites[0].vips = vec![SITE.into()];
        config.cloud.slb_addresses = vec![CLOUD.into()];
        // Nobody listens on port 1: neither agent nor balancer answers unless a test has one.
        config.agent.listen = (Ipv4Addr::new(127, 0, 0, 3), 1).into();
        config.sites[0].balancer.admin = (Ipv4Addr::new(127, 0, 0, 3), 1).into();
        for listener in [site, cloud] {
            tokio::spawn(serve(listener, handler.clone(), hits.clone(), end.clone()));
        }
        let dns = Arc::new(Mutex::new(Dns::default()));
        {
            let mut dns = dns.lock().unwrap();
            dns.names.insert(config.service.host.clone(), (SITE, 60));
            dns.names.insert(config.service.slb_host.clone(), (CLOUD, 60));
        }
        config.dns.listen = name_server(dns.clone(), end.clone()).await;
        Self { config, dns, hits, end }
    }

    /// Hits at an address.
    pub(crate) fn hits_at(&self, address: Ipv4Addr) -> Vec<Hit> {
        self.hits.lock().unwrap().iter().filter(|hit| hit.at == address).cloned().collect()
    }

    /// The cloud's host and port, as in a Location.
    pub(crate) fn cloud_authority(&self) -> String {
        format!("{}:{}", self.config.service.slb_host, self.config.service.port)
    }

    /// A population to send single requests from.
    pub(crate) fn world(&self, clients: u32) -> Arc<World> {
        let curve = Curve::new(vec![(0.0, 1.0), (3600.0, 1.0)]).unwrap();
        let profile = Profile::Constant { rate: 1.0, secs: 3600.0 };
        let options = Options { clients, ..Options::new(profile) };
        let recorder = Recorder::new(&curve, 1.0, vec!["east".into()], options.deadline).unwrap();
        let end = self.end.child_token();
        Arc::new(World::new(self.config.clone().into(), &options, recorder, end))
    }
}

/// Sends one request of a client, due `late` ago, and waits for its end.
pub(crate) async fn send(world: &Arc<World>, client: u32, operation: Operation, late: Duration) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Relaxed);
    let at = (spillway_part::clock::instant() - world.start).saturating_sub(late);
    world.recorder().arrived(0, Duration::ZERO);
    exchange::request(world.clone(), number, Arrival { at, client, operation, token: 7 }).await;
}

/// The counts so far.
pub(crate) fn totals(world: &World) -> Totals {
    let mut recorder = world.recorder();
    recorder.finish();
    recorder.totals.clone()
}

/// Waits until something holds; the test fails when it does not within ten seconds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    spillway_test_support::until(what, Duration::from_secs(10), async || holds()).await;
}

/// An answer of a status with header fields.
pub(crate) fn answer(status: u16, headers: &[(&'static str, &str)]) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(b"{\"ok\":true}")));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        answer.headers_mut().append(*name, value.parse().unwrap());
    }
    answer
}

async fn serve(
    listener: TcpListener,
    handler: Arc<Handler>,
    hits: Arc<Mutex<Vec<Hit>>>,
    end: CancellationToken,
) {
    static CONNECTION: AtomicU64 = AtomicU64::new(0);
    let SocketAddr::V4(local) = listener.local_addr().unwrap() else { panic!("IPv4 only") };
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            () = end.cancelled() => return,
        };
        let (handler, hits, end) = (handler.clone(), hits.clone(), end.clone());
        let connection = CONNECTION.fetch_add(1, Relaxed);
        let service = service_fn(move |request: Request<Incoming>| {
            let (handler, hits) = (handler.clone(), hits.clone());
            async move {
                let (head, body) = request.into_parts();
                let hit = Hit {
                    at: *local.ip(),
                    peer: peer.ip(),
                    connection,
                    host: head.headers["host"].to_str().unwrap().to_owned(),
                    line: format!("{} {}", head.method, head.uri),
                    body: body.collect().await?.to_bytes(),
                };
                hits.lock().unwrap().push(hit.clone());
                Ok::<_, hyper::Error>(handler(hit).await)
            }
        });
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // Clients may break off; what that does to them is what is tested.
                _ = connection => {}
                () = end.cancelled() => {}
            }
        });
    }
}

async fn name_server(dns: Arc<Mutex<Dns>>, end: CancellationToken) -> SocketAddr {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                packet = udp.recv_from(&mut buffer) => {
                    let (n, peer) = packet.unwrap();
                    if let Some(reply) = resolve(&dns, &buffer[..n], peer.ip(), "udp") {
                        udp.send_to(&reply, peer).await.unwrap();
                    }
                }
                accepted = tcp.accept() => {
                    let (mut stream, peer) = accepted.unwrap();
                    let mut packet = vec![0; stream.read_u16().await.unwrap().into()];
                    stream.read_exact(&mut packet).await.unwrap();
                    let reply = resolve(&dns, &packet, peer.ip(), "tcp").unwrap();
                    stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
                    stream.write_all(&reply).await.unwrap();
                }
            }
        }
    });
    address
}

fn resolve(dns: &Mutex<Dns>, packet: &[u8], peer: IpAddr, over: &'static str) -> Option<Vec<u8>> {
    let mut dns = dns.lock().unwrap();
    dns.asked.push((peer, over));
    if dns.deaf > 0 {
        dns.deaf -= 1;
        return None;
    }
    let question = Message::from_vec(packet).unwrap();
    let query = question.queries[0].clone();
    let mut reply = Message::response(question.metadata.id, OpCode::Query);
    let name = query.name().to_ascii();
    reply.metadata.truncation = dns.truncate && over == "udp";
    match dns.names.get(name.trim_end_matches('.')) {
        None => reply.metadata.response_code = ResponseCode::NXDomain,
        Some(_) if reply.metadata.truncation => {}
        Some((ip, ttl)) => {
            reply.add_answer(Record::from_rdata(query.name().clone(), *ttl, RData::A(A(*ip))));
        }
    }
    reply.add_query(query);
    Some(reply.to_vec().unwrap())
}
