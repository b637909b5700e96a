use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const WAIT: &[u8] = b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n";
const HALF: &[u8] = b"GET / HTTP/1.1\r\nHo";
const SOON: Duration = Duration::from_secs(20);

/// A server whose `/wait` answers when it is released.
struct Server {
    at: std::net::SocketAddr,
    asked: Arc<Notify>,
    release: Arc<Notify>,
    shutdown: Shutdown,
    serving: tokio::task::JoinHandle<io::Result<()>>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, shutdown) = (listener.local_addr().unwrap(), Shutdown::new());
        let (asked, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (asking, released) = (asked.clone(), release.clone());
        let app = Router::new().route("/", get(async || "here")).route(
            "/wait",
            get(async move || {
                asking.notify_one();
                released.notified().await;
                "done"
            }),
        );
        let serving = tokio::spawn(http(listener, app, limits, shutdown.clone()));
        Self { at, asked, release, shutdown, serving }
    }

    async fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    async fn end(self) {
        self.shutdown.cancel();
        soon(self.serving).await.unwrap().unwrap();
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("it takes too long")
}

/// The next answer, all of it: they are small and written at once. Nothing once it is closed.
async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 1024];
    let n = match soon(stream.read(&mut answer)).await {
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => 0,
        read => read.unwrap(),
    };
    String::from_utf8_lossy(&answer[..n]).into_owned()
}

fn limits() -> Limits {
    Limits { first_head: SOON, step: SOON, ..Limits::default() }
}

#[tokio::test]
async fn a_slow_head_is_answered_408_and_closed() {
    let brief = Duration::from_millis(30);
    let server = Server::start(Limits { first_head: brief, step: brief, ..limits() }).await;
    let mut first = server.send(HALF).await;
    assert!(answer(&mut first).await.starts_with("HTTP/1.1 408"));
    assert_eq!(answer(&mut first).await, "", "it is closed");
    // Whoever says nothing is told nothing, before the first request as after an answer.
    let mut silent = server.send(b"").await;
    assert_eq!(answer(&mut silent).await, "");
    let mut idle = server.send(REQUEST).await;
    assert!(answer(&mut idle).await.ends_with("here"));
    assert_eq!(answer(&mut idle).await, "");
    server.end().await;
}

#[tokio::test]
async fn a_head_after_an_answer_has_a_deadline_too() {
    let brief = Duration::from_millis(30);
    let server = Server::start(Limits { step: brief, ..limits() }).await;
    let mut stream = server.send(&[REQUEST, HALF].concat()).await;
    assert!(answer(&mut stream).await.ends_with("here"));
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 408"));
    // A handler that never ends holds its connection no longer than that.
    let mut stuck = server.send(WAIT).await;
    assert_eq!(answer(&mut stuck).await, "");
    server.end().await;
}

#[tokio::test]
async fn slow_heads_give_way_and_requests_do_not() {
    let server = Server::start(Limits { connections_max: 2, ..limits() }).await;
    let mut working = server.send(WAIT).await;
    soon(server.asked.notified()).await;
    for _ in 0..3 {
        let mut slow = server.send(HALF).await;
        let mut check = server.send(REQUEST).await;
        assert!(answer(&mut check).await.ends_with("here"));
        // Nothing is said where the room was needed before anything had come.
        let told = answer(&mut slow).await;
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 408"), "{told}");
    }
    server.release.notify_one();
    assert!(answer(&mut working).await.ends_with("done"));
    server.end().await;
}

#[tokio::test]
async fn while_all_work_the_next_client_waits() {
    let server = Server::start(Limits { connections_max: 1, ..limits() }).await;
    let mut working = server.send(WAIT).await;
    soon(server.asked.notified()).await;
    let mut next = server.send(REQUEST).await;
    server.release.notify_one();
    assert!(answer(&mut working).await.ends_with("done"));
    assert!(answer(&mut next).await.ends_with("here"));
    assert_eq!(answer(&mut working).await, "", "its place was needed");
    // What is no HTTP is answered as such and costs nobody else anything.
    next.write_all(b"\x16\x03\x01 nonsense\r\n\r\n").await.unwrap();
    assert!(answer(&mut next).await.starts_with("HTTP/1.1 400"));
    server.end().await;
}

#[tokio::test]
async fn the_drain_finishes_requests_under_way() {
    let server = Server::start(limits()).await;
    let (mut working, mut idle) = (server.send(WAIT).await, server.send(REQUEST).await);
    assert!(answer(&mut idle).await.ends_with("here"));
    soon(server.asked.notified()).await;
    server.shutdown.cancel();
    assert_eq!(answer(&mut idle).await, "", "an idle connection is closed at once");
    assert!(!server.serving.is_finished());
    server.release.notify_one();
    let answered = answer(&mut working).await;
    assert!(answered.ends_with("done") && answered.contains("connection: close"), "{answered}");
    server.end().await;
}

#[tokio::test]
async fn the_drain_does_not_wait_for_half_a_head() {
    let long = Duration::from_secs(600);
    let server = Server::start(Limits { first_head: long, drain: long, ..limits() }).await;
    let mut half = server.send(HALF).await;
    // Once this one is served, the half before it has been accepted.
    assert!(answer(&mut server.send(REQUEST).await).await.ends_with("here"));
    server.shutdown.cancel();
    // Nothing is said where nothing had been read yet.
    let told = answer(&mut half).await;
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 408"), "{told}");
    server.end().await;
}

#[tokio::test]
async fn the_drain_ends() {
    let brief = Duration::from_millis(30);
    let server = Server::start(Limits { drain: brief, ..limits() }).await;
    let mut working = server.send(WAIT).await;
    soon(server.asked.notified()).await;
    let mut half = server.send(HALF).await;
    server.shutdown.cancel();
    assert_eq!(answer(&mut working).await, "");
    // Accepted or not, it is closed.
    let _gone = soon(half.read(&mut [0; 1])).await;
    server.end().await;
}

#[tokio::test]
async fn a_broken_listener_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
    let served = http(listener, Router::new(), limits(), Shutdown::new());
    assert_eq!(soon(served).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_handshake_has_a_deadline_gives_way_and_harms_nobody_else() {
    // One byte is the handshake: 1 is welcome.
    async fn shake(mut stream: TcpStream) -> io::Result<TcpStream> {
        match stream.read_u8().await? {
            1 => Ok(stream),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
    let brief = Duration::from_millis(30);
    for (connections_max, first_head) in [(1, SOON), (2, brief)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, shutdown) = (listener.local_addr().unwrap(), Shutdown::new());
        let limits = Limits { connections_max, first_head, ..limits() };
        let app = Router::new().route("/", get(async || "here"));
        let serving = tokio::spawn(over(listener, shake, app, limits, shutdown.clone()));
        let mut silent = TcpStream::connect(at).await.unwrap();
        if connections_max == 2 {
            assert_eq!(answer(&mut silent).await, "", "the deadline");
        }
        let mut wrong = TcpStream::connect(at).await.unwrap();
        wrong.write_all(&[2]).await.unwrap();
        let mut right = TcpStream::connect(at).await.unwrap();
        right.write_all(&[&[1], REQUEST].concat()).await.unwrap();
        assert!(answer(&mut right).await.ends_with("here"));
        assert_eq!(answer(&mut silent).await, "");
        assert_eq!(answer(&mut wrong).await, "");
        shutdown.cancel();
        soon(serving).await.unwrap().unwrap();
    }
}
