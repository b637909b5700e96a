//! A balancer on free ports, gateways that can be told how to fail, and clients.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ppp::v2::{Addresses, Header};
use spillway_balancer::{BalancerError, Listeners, Options};
use spillway_model::config::{self, Config, Instance, Site, Uplink};
use spillway_model::{Load, Plan, SiteId};
use spillway_part::client::Client as Http;
use spillway_part::{Shutdown, follow};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// An uplink that only counts.
pub const UNSHAPED: Uplink =
    Uplink { bits_per_sec: 8, queue_bytes: 0, shape: false, interface: None };

/// An uplink that is held to a cap.
pub fn uplink(bits_per_sec: u64, queue_bytes: u64) -> Uplink {
    Uplink { bits_per_sec, queue_bytes, shape: true, interface: None }
}

/// Options for tests: checks so often that nothing waits long for one.
pub fn quick() -> Options {
    Options {
        check_every: Duration::from_millis(10),
        check_deadline: PATIENCE,
        ..Options::default()
    }
}

pub fn example_config() -> Config {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples"));
    let text = std::fs::read_to_string(folder.join("spillway.toml")).unwrap();
    Config::parse(&text, folder).unwrap()
}

async fn listen() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

pub struct Balancer {
    pub address: SocketAddr,
    pub shutdown: Shutdown,
    admin: SocketAddr,
    http: Http,
    task: Option<JoinHandle<Result<(), BalancerError>>>,
}

impl Balancer {
    pub async fn start(gateways: &[&Gateway], uplink: Uplink, options: Options) -> Self {
        let listeners = Listeners { clients: listen().await, admin: listen().await };
        let (address, admin) =
            (listeners.clients.local_addr().unwrap(), listeners.admin.local_addr().unwrap());
        let site = Site {
            id: SiteId::new("east").unwrap(),
            vips: vec![address.ip()],
            uplink,
            capacity: config::Capacity { weighted_qps: 1.0, p95_ms: 1.0 },
            balancer: config::Balancer {
                listen: address,
                admin,
                sources: Vec::new(),
                forwards: false,
            },
            gateways: gateways.iter().map(|gateway| gateway.instance.clone()).collect(),
            services: Vec::new(),
            host: None,
            helped_by: Vec::new(),
        };
        let shutdown = Shutdown::new();
        let ending = shutdown.clone();
        let task = tokio::spawn(async move {
            let (_publisher, plans) = follow::Publisher::new(Plan::initial([site.id.clone()], 5));
            spillway_balancer::serve(&site, listeners, plans, options, ending).await
        });
        Self { address, shutdown, admin, http: Http::default(), task: Some(task) }
    }

    /// A connected client that was greeted, and the name of the gateway that greeted it.
    pub async fn client(&self) -> (Client, String) {
        let mut client = Client::connect(self.address).await;
        let greeting = client.line().await;
        let name = greeting.split(' ').next().unwrap().to_owned();
        (client, name)
    }

    pub async fn load(&self) -> Load {
        self.http.get(self.admin, "/v1/load", PATIENCE).await.unwrap()
    }

    /// The first load report of which `holds` is true.
    pub async fn load_where(&self, holds: impl Fn(&Load) -> bool) -> Load {
        in_time("a load report", async {
            loop {
                let load = self.load().await;
                if holds(&load) {
                    return load;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// Waits until nobody listens for clients any more.
    pub async fn refuses(&self) {
        in_time("the listener's end", async {
            while TcpStream::connect(self.address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    pub async fn ended(&mut self) {
        let task = self.task.take().unwrap();
        in_time("the balancer's end", task).await.unwrap().unwrap();
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// How a gateway answers its health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Passing,
    Draining,
    Failing,
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Echo,
    Mute,
    Curt,
}

/// A gateway that greets each connection with a line, `NAME CLIENT VIP`, then sends back what it
/// gets, and at the client's end says how much that was.
pub struct Gateway {
    instance: Instance,
    manner: Manner,
    health: watch::Sender<Health>,
    checks: watch::Receiver<u64>,
    data: Option<JoinHandle<()>>,
}

impl Gateway {
    pub async fn start(name: &str) -> Self {
        Self::with(name, Manner::Echo).await
    }

    /// One that takes everything and never says anything.
    pub async fn mute(name: &str) -> Self {
        Self::with(name, Manner::Mute).await
    }

    /// One that takes four bytes, says no and closes.
    pub async fn curt(name: &str) -> Self {
        Self::with(name, Manner::Curt).await
    }

    async fn with(name: &str, manner: Manner) -> Self {
        let (data, admin) = (listen().await, listen().await);
        let instance = Instance {
            name: name.to_owned(),
            listen: data.local_addr().unwrap(),
            admin: admin.local_addr().unwrap(),
        };
        let (health, answers) = watch::channel(Health::Passing);
        let (count, checks) = watch::channel(0);
        tokio::spawn(answer_checks(admin, answers, Arc::new(count)));
        let data = Some(tokio::spawn(greet_all(data, name.to_owned(), manner)));
        Self { instance, manner, health, checks, data }
    }

    pub fn answers(&self, health: Health) {
        self.health.send_replace(health);
    }

    /// Waits until a check was answered.
    pub async fn checked(&mut self) {
        in_time("a health check", self.checks.wait_for(|count| *count > 0)).await.unwrap();
    }

    /// Waits until so many more checks were answered.
    pub async fn checked_again(&mut self, times: u64) {
        let wanted = *self.checks.borrow() + times;
        in_time("health checks", self.checks.wait_for(|count| *count >= wanted)).await.unwrap();
    }

    /// Refuses connections from now on, though its check still passes.
    pub async fn stop_listening(&mut self) {
        let data = self.data.take().unwrap();
        data.abort();
        assert!(data.await.unwrap_err().is_cancelled());
    }

    pub async fn listen_again(&mut self) {
        let listener = TcpListener::bind(self.instance.listen).await.unwrap();
        self.data =
            Some(tokio::spawn(greet_all(listener, self.instance.name.clone(), self.manner)));
    }
}

async fn greet_all(listener: TcpListener, name: String, manner: Manner) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(greet(stream, name.clone(), manner));
    }
}

async fn greet(mut stream: TcpStream, name: String, manner: Manner) -> std::io::Result<()> {
    let mut header = [0; 28];
    stream.read_exact(&mut header).await?;
    let Addresses::IPv4(ends) = Header::try_from(header.as_slice()).unwrap().addresses else {
        panic!("the header is not about IPv4");
    };
    let client = SocketAddr::from((ends.source_address, ends.source_port));
    let vip = SocketAddr::from((ends.destination_address, ends.destination_port));
    match manner {
        Manner::Echo => {}
        Manner::Mute => {
            // Keeps its side open although the client has finished.
            stream.read_to_end(&mut Vec::new()).await?;
            return std::future::pending().await;
        }
        Manner::Curt => {
            stream.read_exact(&mut [0; 4]).await?;
            return stream.write_all(b"no\n").await;
        }
    }
    stream.write_all(format!("{name} {client} {vip}\n").as_bytes()).await?;
    let (mut total, mut buffer) = (0, vec![0; 65_536]);
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            stream.write_all(format!("{total} bytes\n").as_bytes()).await?;
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
        total += n;
    }
}

async fn answer_checks(
    listener: TcpListener,
    health: watch::Receiver<Health>,
    count: Arc<watch::Sender<u64>>,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (health, count) = (health.clone(), count.clone());
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await? == 0 {
                    return Ok::<_, std::io::Error>(());
                }
                if line != "\r\n" {
                    continue;
                }
                let health = *health.borrow();
                let status = match health {
                    Health::Passing => "200 OK",
                    Health::Draining => "503 Service Unavailable",
                    Health::Failing => "500 Internal Server Error",
                    Health::Silent => continue,
                };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await?;
                count.send_modify(|count| *count += 1);
            }
        });
    }
}

pub struct Client {
    pub stream: BufReader<TcpStream>,
}

impl Client {
    pub async fn connect(to: SocketAddr) -> Self {
        Self::connect_from(Ipv4Addr::LOCALHOST, to).await
    }

    pub async fn connect_from(source: Ipv4Addr, to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let stream = in_time("a connection", socket.connect(to)).await.unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub fn local(&self) -> SocketAddr {
        self.stream.get_ref().local_addr().unwrap()
    }

    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        in_time("a line", self.stream.read_line(&mut line)).await.unwrap();
        line.trim_end().to_owned()
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        in_time("room to send", self.stream.write_all(bytes)).await.unwrap();
    }

    /// Shuts the write side.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// All bytes until the other side finishes.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        in_time("the end", self.stream.read_to_end(&mut bytes)).await.unwrap();
        bytes
    }

    /// Sends while it receives as many bytes.
    pub async fn exchange(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut back = vec![0; bytes.len()];
        let (mut read, mut write) = tokio::io::split(&mut self.stream);
        let both = async { tokio::join!(write.write_all(bytes), read.read_exact(&mut back)) };
        let (sent, received) = in_time("an echo", both).await;
        sent.unwrap();
        received.unwrap();
        back
    }

    pub async fn echo(&mut self, bytes: &[u8]) {
        assert_eq!(self.exchange(bytes).await, bytes);
    }
}
