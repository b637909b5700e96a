//! Cases of others, met over the wire: what four name servers answer, and requests that two HTTP
//! implementations read differently. See `data/README.md` for their origin.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use spillway_test_support::{Block, Process, example_config, program, wait_until};

use crate::beside;

/// A name server's answer, its sections sorted.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
struct Answer {
    rcode: String,
    aa: bool,
    answer: Vec<String>,
    authority: Vec<String>,
    additional: Vec<String>,
}

impl Answer {
    fn sorted(mut self) -> Self {
        for section in [&mut self.answer, &mut self.authority, &mut self.additional] {
            section.sort();
        }
        self
    }
}

#[derive(Debug, Deserialize)]
struct DnsCase {
    id: u32,
    server: usize,
    origin: String,
    zone: String,
    name: String,
    r#type: String,
    expected: Vec<Answer>,
}

fn cases<'a, T: Deserialize<'a>>(lines: &'a str) -> Vec<T> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// One part in the foreground, ready once `address` takes connections.
fn run(config: &Path, part: &[&str], address: SocketAddr) -> Process {
    let spillway = |arguments: &[&str]| {
        let mut command = Command::new(program("spillway"));
        command.arg("--config").arg(config).args(arguments).env("SPILLWAY_LOG", "error");
        command
    };
    assert!(spillway(&["keygen"]).output().unwrap().status.success());
    let process = Process::adopt(spillway(&[&["run"], part].concat()));
    wait_until("the part listens", Duration::from_secs(20), || TcpStream::connect(address).is_ok());
    process
}

/// Asks all questions with one `dig`, and reads the answers that it prints in their order.
fn dig(server: SocketAddr, over: &str, cases: &[&DnsCase]) -> Vec<Answer> {
    let mut command = Command::new("dig");
    command.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string(), over]);
    command.args(["+noedns", "+norecurse", "+noall", "+nocookie"]);
    command.args(["+comments", "+answer", "+authority", "+additional"]);
    for case in cases {
        command.args(["-q", &case.name, "-t", &case.r#type]);
    }
    let output = command.output().unwrap();
    let mut answers: Vec<Answer> = Vec::new();
    let mut section = String::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        if let Some(head) = line.strip_prefix(";; ->>HEADER<<- ") {
            let rcode = head.split(", ").find_map(|word| word.strip_prefix("status: ")).unwrap();
            answers.push(Answer { rcode: rcode.to_owned(), ..Answer::default() });
        } else if let Some(flags) = line.strip_prefix(";; flags: ") {
            let flags = flags.split(';').next().unwrap();
            answers.last_mut().unwrap().aa = flags.split(' ').any(|flag| flag == "aa");
        } else if let Some(name) = line.strip_prefix(";; ") {
            section = name.trim_end_matches(" SECTION:").to_lowercase();
        } else if !line.is_empty() && !line.starts_with(';') {
            let record = line.split_whitespace().collect::<Vec<_>>().join(" ");
            let answer = answers.last_mut().unwrap();
            match section.as_str() {
                "answer" => answer.answer.push(record),
                "authority" => answer.authority.push(record),
                "additional" => answer.additional.push(record),
                other => panic!("{record} in {other}"),
            }
        }
    }
    answers.into_iter().map(Answer::sorted).collect()
}

#[test]
fn the_name_server_answers_as_others_do() {
    let _beside = beside();
    let mut servers: BTreeMap<usize, Vec<DnsCase>> = BTreeMap::new();
    for case in cases::<DnsCase>(include_str!("../../data/dns-cases.jsonl")) {
        servers.entry(case.server).or_default().push(case);
    }
    let mut met = 0;
    for cases in servers.values() {
        let block = Block::claim();
        let folder = tempfile::tempdir().unwrap();
        let mut files = vec!["example.test.zone".to_owned()];
        for case in cases {
            let file = format!("{}.zone", case.id);
            let zone = format!("$ORIGIN {}\n{}", case.origin, case.zone);
            std::fs::write(folder.path().join(&file), zone).unwrap();
            files.push(file);
        }
        let config = folder.path().join("spillway.toml");
        let text = example_config(&block, folder.path());
        let ours = r#"["example.test.zone"]"#;
        assert!(text.contains(ours));
        std::fs::write(&config, text.replacen(ours, &format!("{files:?}"), 1)).unwrap();
        let server = SocketAddr::from((block.address(1), 5300));
        let _dns = run(&config, &["dns"], server);
        let all: Vec<&DnsCase> = cases.iter().collect();
        for over in ["+notcp", "+tcp"] {
            let answers = dig(server, over, &all);
            assert_eq!(answers.len(), all.len(), "every query is answered");
            for (case, answer) in all.iter().zip(answers) {
                let fits = |expected: &Answer| expected.clone().sorted() == answer;
                assert!(
                    case.expected.iter().any(fits),
                    "{over} {case:#?}\nwas answered\n{answer:#?}"
                );
                met += 1;
            }
        }
    }
    assert_eq!(met, 2 * 301);
}

#[derive(Debug, Deserialize)]
struct HttpCase {
    name: String,
    tier: String,
    method: String,
    uri: String,
    version: String,
    headers: Vec<(String, String)>,
}

impl HttpCase {
    /// The request as bytes: with a host where it names none, and the body that it announces.
    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {}", self.method, self.uri);
        if !self.version.is_empty() {
            head += &format!(" {}", self.version);
        }
        head += "\r\n";
        let named = |name: &str| self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        if named("host").is_none() {
            head += "Host: code.example.test\r\n";
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        if let Some((_, length)) = named("content-length") {
            head += &"x".repeat(length.parse().unwrap_or(0).min(10_000));
        } else if named("transfer-encoding").is_some() {
            head += "0\r\n\r\n";
        }
        head.into_bytes()
    }
}

/// A server that answers every request with 200 and keeps their request lines.
#[derive(Debug, Clone, Default)]
struct Upstream(Arc<Mutex<Vec<String>>>);

impl Upstream {
    fn start(listener: TcpListener) -> Self {
        let upstream = Self::default();
        let seen = upstream.clone();
        // The thread ends with the test's process; a connection's ends with the connection.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = seen.clone();
                std::thread::spawn(move || seen.serve(&stream));
            }
        });
        upstream
    }

    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).ok()? == 0 {
                    return None;
                }
                match line.trim_end() {
                    "" => break,
                    line => lines.push(line.to_lowercase()),
                }
            }
            let length = lines.iter().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            reader.read_exact(&mut body).ok()?;
            if lines.iter().any(|line| line.starts_with("transfer-encoding:")) {
                let mut end = [0; 5];
                reader.read_exact(&mut end).ok()?;
                assert_eq!(&end, b"0\r\n\r\n", "these cases have empty chunked bodies");
            }
            if !lines[0].contains(" /healthz ") {
                self.0.lock().unwrap().push(lines[0].clone());
            }
            (&*stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
        }
    }
}

/// Sends bytes and answers the status and whether the connection was closed behind the answer.
fn exchange(to: SocketAddr, request: &[u8]) -> (String, bool) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request).unwrap();
    let mut reader = BufReader::new(&stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "the answer breaks off: {head:?}");
    }
    let status = head.split(' ').nth(1).unwrap().to_owned();
    if !head.to_lowercase().contains("connection: close") {
        return (status, false);
    }
    let mut rest = Vec::new();
    match reader.read_to_end(&mut rest) {
        Err(e) if e.kind() != ErrorKind::ConnectionReset => panic!("it stays open: {e}"),
        _ => (status, true),
    }
}

/// The example with a route for the cases' path.
fn with_route(text: &str) -> String {
    let route = "[[route]]\nid = \"any\"\npath = \"/foo/bar\"\ngroup = \"codes\"\n\n[[route]]\n";
    text.replacen("[[route]]\n", route, 1)
}

#[test]
fn requests_that_can_be_read_in_two_ways_reach_nobody() {
    let _beside = beside();
    let cases: Vec<HttpCase> = cases(include_str!("../../data/http-cases.jsonl"));
    assert_eq!(cases.len(), 73);
    let block = Block::claim();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("spillway.toml");
    std::fs::write(&config, with_route(&example_config(&block, folder.path()))).unwrap();
    let upstream = Upstream::start(TcpListener::bind((block.address(21), 8080)).unwrap());
    let gateway = SocketAddr::from((block.address(11), 8080));
    let front = SocketAddr::from((block.address(3), 8080));
    let _gateway = run(&config, &["gateway", "east-gw-1"], gateway);
    let _cloud = run(&config, &["cloud"], front);
    wait_until("the gateway serves", Duration::from_secs(20), || {
        exchange(gateway, b"GET /foo/bar HTTP/1.1\r\nHost: code.example.test\r\n\r\n").0 == "200"
    });
    upstream.0.lock().unwrap().clear();
    for case in &cases {
        let (status, closed) = exchange(gateway, &case.bytes());
        let reached = std::mem::take(&mut *upstream.0.lock().unwrap());
        if case.tier == "Acceptable" {
            assert_eq!((status.as_str(), reached.len()), ("200", 1), "{case:?} {reached:?}");
            continue;
        }
        assert_eq!((status.as_str(), closed), ("400", true), "{case:?}");
        assert!(reached.is_empty(), "{} got through: {reached:?}", case.name);
        // The cloud's front refuses what the site refuses.
        let (status, closed) = exchange(front, &case.bytes());
        assert_eq!((status.as_str(), closed), ("400", true), "{case:?}");
    }
}
