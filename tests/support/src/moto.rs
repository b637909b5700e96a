//! moto, an AWS API server: what Terraform is applied against.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::{Block, python_tool, run, wait_until};

/// The one region that its callers here speak of.
const REGION: &str = "eu-central-1";

/// A moto server with nothing in it.
#[derive(Debug)]
pub struct Moto {
    // Fields drop in order: the process before its folder and address.
    _process: Process,
    address: SocketAddr,
    folder: TempDir,
    _block: Block,
}

impl Moto {
    /// Starts one and waits until it answers; none where moto is not installed.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let python = python_tool("python").or_else(|| python_tool("python3"))?;
        let has = run(Command::new(&python).args(["-c", "import moto.server"]), READY);
        if has.code != Some(0) {
            return None;
        }
        let block = Block::claim();
        let Ok(folder) = TempDir::with_prefix("spillway-") else { panic!("no temporary folder") };
        let address = SocketAddr::from((block.address(1), 5000));
        let mut command = Command::new(python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("moto/server.py"));
        command.args(["-H", &address.ip().to_string(), "-p", "5000"]).current_dir(folder.path());
        command.env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true").env("MOTO_ACM_VALIDATION_WAIT", "1");
        let process = Process::logged(&command, &folder.path().join("log"));
        wait_until("moto takes connections", READY, || TcpStream::connect(address).is_ok());
        Some(Self { _process: process, address, folder, _block: block })
    }

    /// What leads a program to it: its address, and keys as good as any.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }

    /// Calls an operation of a service by the query protocol: `Action=…&…`. Returns the answer's body.
    ///
    /// # Panics
    /// When the answer is no success.
    pub fn query(&self, service: &str, form: &str) -> String {
        let head = "Content-Type: application/x-www-form-urlencoded\r\n";
        self.call(service, "POST", "/", head, form)
    }

    /// Calls an operation of a service by its path.
    ///
    /// # Panics
    /// When the answer is no success.
    pub fn rest(&self, service: &str, method: &str, path: &str, body: &str) -> String {
        self.call(service, method, path, "Content-Type: application/json\r\n", body)
    }

    fn call(&self, service: &str, method: &str, path: &str, head: &str, body: &str) -> String {
        // Buckets of another region need a word on where they are; anywhere else is any region.
        let region = if service == "s3" { "us-east-1" } else { REGION };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{head}Authorization: \
             AWS4-HMAC-SHA256 Credential=test/20260101/{region}/{service}/aws4_request, \
             SignedHeaders=host, Signature=none\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut answer = Vec::new();
        let asked = TcpStream::connect(self.address).and_then(|mut stream| {
            stream.set_read_timeout(Some(READY))?;
            stream.write_all(request.as_bytes())?;
            stream.read_to_end(&mut answer)
        });
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let good = answer.starts_with("HTTP/1.1 2");
        assert!(good, "{method} {path} {body}: {asked:?} {answer}\n{}", self.log());
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    /// The end of what it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

const READY: Duration = Duration::from_secs(60);
