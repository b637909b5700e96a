//! The site at home: its configuration, and the process that acts on AWS for it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use spillway_model::config::edited;
use spillway_test_support::{Process, program};
use toml::Table;

use super::cloud::{Cloud, NAME};

/// Port of the service, at home and in the cloud.
pub(super) const PORT: u16 = 8080;
/// Every group of routes there is.
pub(super) const GROUPS: &str = r#"["codes", "scans", "venues", "notices"]"#;
/// The one function, which serves them all, in `[cloud]`.
pub(super) const FUNCTION: &str = r#"
    [[function]]
    name = "one-code"
    groups = ["codes", "scans", "venues", "notices"]
"#;

/// An address that stands in a configuration, by its path.
fn address(config: &Table, path: [&str; 2]) -> SocketAddr {
    config[path[0]][path[1]].as_str().unwrap().parse().unwrap()
}

/// Where the agent of a configuration is.
pub(super) fn agent(config: &str) -> SocketAddr {
    address(&config.parse().unwrap(), ["agent", "listen"])
}

/// Where the cloud's load balancer of a configuration is.
pub(super) fn load_balancer(config: &str) -> SocketAddr {
    let config: Table = config.parse().unwrap();
    let ip: Ipv4Addr = config["cloud"]["slb_addresses"][0].as_str().unwrap().parse().unwrap();
    (ip, PORT).into()
}

/// The example with a cloud on AWS instead of the local one. `gateways` is the rest of
/// `[cloud.aws.gateways]`, `more` what else stands in `[cloud.aws]`.
pub(super) fn on_aws(config: &str, cloud: &Cloud, gateways: &str, more: &str) -> String {
    let stack = &cloud.stack;
    let admin = SocketAddr::from((agent(config).ip(), 9411));
    let part = format!(
        r#"
            slb_addresses = ["{slb}"]
            {FUNCTION}
            [aws]
            region = "eu-central-1"
            name = "{NAME}"
            admin = "{admin}"
            cache = "{cache}"
            database = "{database}"
            {more}
            [aws.gateways]
            target_group = "{gateway_group}"
            {gateways}
            [[aws.rule]]
            arn = "{rule}"
            target_group = "{function_group}"
            [aws.functions.one-code]
            name = "{function}"
        "#,
        slb = load_balancer(config).ip(),
        cache = stack.cache,
        database = stack.database,
        gateway_group = stack.gateways,
        rule = stack.rule,
        function_group = stack.functions,
        function = stack.function,
    );
    edited(config, &[("cloud", part.parse::<Table>().unwrap().into())]).unwrap()
}

/// Process `spillway-aws run` of a configuration.
pub(super) struct SpillwayAws {
    config: PathBuf,
    endpoint: String,
    log: PathBuf,
    process: Process,
}

impl SpillwayAws {
    pub(super) fn start(config: &Path, cloud: &Cloud) -> Self {
        let (config, endpoint) = (config.to_owned(), cloud.server.endpoint().to_owned());
        let log = config.with_file_name("spillway-aws.log");
        let process = Self::run(&config, &endpoint, &log);
        Self { config, endpoint, log, process }
    }

    fn run(config: &Path, endpoint: &str, log: &Path) -> Process {
        let mut command = Command::new(program("spillway-aws"));
        command.arg("--config").arg(config).arg("run").envs([
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("SPILLWAY_LOG", "info"),
        ]);
        Process::logged(&command, log)
    }

    /// Kills it at once.
    pub(super) fn kill(&mut self) {
        self.process.signal(rustix::process::Signal::KILL);
        self.process.wait(Duration::from_secs(10)).unwrap();
    }

    /// Kills it at once and starts it again, as a service manager does.
    pub(super) fn kill_and_restart(&mut self) {
        self.kill();
        self.process = Self::run(&self.config, &self.endpoint, &self.log);
    }
}

/// The JSON at a path of a part's API, if it answers.
pub(super) fn get(from: SocketAddr, path: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(from).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {from}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| serde_json::from_str(body).ok())?
}

/// Tells the ends of the logs in some folders when the test fails.
pub(super) struct Logs(pub(super) Vec<PathBuf>);

impl Drop for Logs {
    fn drop(&mut self) {
        const LINES: usize = 25;
        if !std::thread::panicking() {
            return;
        }
        for folder in &self.0 {
            for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = file.path();
                let Some("log") = path.extension().and_then(|e| e.to_str()) else { continue };
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
                println!("--- {}\n{last}", path.display());
            }
        }
    }
}
