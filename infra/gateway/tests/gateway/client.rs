//! A client of one connection that writes what it is told and reads answers.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// How long a test waits for anything before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// An answer, whole or as far as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// Whether the body ended as its framing says.
    pub(crate) whole: bool,
}

impl Answer {
    /// A header field's value; the name in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(crate) struct Client {
    stream: TcpStream,
    read: BytesMut,
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(to).await.unwrap(), read: BytesMut::new() }
    }

    /// Connects from an address of this machine.
    pub(crate) async fn connect_from(source: [u8; 4], to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        Self { stream: socket.connect(to).await.unwrap(), read: BytesMut::new() }
    }

    /// Writes bytes. A peer that closed already is met when reading.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _closed = self.stream.write_all(bytes.as_ref()).await;
    }

    /// A request without a body and its answer.
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: code.example.test:8080\r\n\r\n")).await;
        self.answer().await
    }

    /// The next answer; fails the test when none comes.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("the connection closed without an answer")
    }

    /// The next answer, or `None` when the connection closes first. Informational answers are passed
    /// over.
    pub(crate) async fn try_answer(&mut self) -> Option<Answer> {
        loop {
            let end = loop {
                match self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                    Some(end) => break end,
                    None if self.more().await == 0 => return None,
                    None => {}
                }
            };
            let head = String::from_utf8(self.read[..end].to_vec()).unwrap();
            self.read.advance(end + 4);
            let status = head[9..12].parse().unwrap();
            if status == 100 {
                continue;
            }
            let mut answer = Answer { status, head, body: String::new(), whole: true };
            let body = match (answer.field("content-length"), answer.field("transfer-encoding")) {
                (Some(length), _) => self.exactly(length.parse().unwrap()).await,
                (None, Some(_)) => self.chunked().await,
                _ => Ok(Vec::new()),
            };
            answer.whole = body.is_ok();
            let (Ok(body) | Err(body)) = body;
            answer.body = String::from_utf8(body).unwrap();
            return Some(answer);
        }
    }

    /// The next byte.
    pub(crate) async fn byte(&mut self) -> u8 {
        self.exactly(1).await.expect("the connection closed")[0]
    }

    /// The next line, without its end.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        while !line.ends_with("\r\n") {
            line.push(char::from(self.byte().await));
        }
        line.truncate(line.len() - 2);
        line
    }

    /// Whether the gateway closes the connection without writing anything more.
    pub(crate) async fn closes(&mut self) -> bool {
        self.read.is_empty() && self.more().await == 0
    }

    async fn more(&mut self) -> usize {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.read));
        read.await.expect("waited in vain for bytes").unwrap_or(0)
    }

    async fn exactly(&mut self, n: usize) -> Result<Vec<u8>, Vec<u8>> {
        while self.read.len() < n {
            if self.more().await == 0 {
                return Err(self.read.split().to_vec());
            }
        }
        Ok(self.read.split_to(n).to_vec())
    }

    async fn chunked(&mut self) -> Result<Vec<u8>, Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match self.read.windows(2).position(|two| two == b"\r\n") {
                    Some(end) => break end,
                    None if self.more().await == 0 => return Err(body),
                    None => {}
                }
            };
            let size = std::str::from_utf8(&self.read[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            self.read.advance(end + 2);
            match self.exactly(size + 2).await {
                Ok(_) if size == 0 => return Ok(body),
                Ok(chunk) => body.extend_from_slice(&chunk[..size]),
                Err(part) => {
                    body.extend(part);
                    return Err(body);
                }
            }
        }
    }
}
