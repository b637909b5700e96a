//! What is malformed, dead or full disturbs nothing else.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use spillway_test_support::{Block, Process, Spillway, example_config, program, wait_until};

use crate::beside;

/// The address of a part, from what `up` says when it is ready.
fn address(spillway: &Spillway, field: &str, protocol: &str) -> SocketAddr {
    let ready: Value = serde_json::from_str(spillway.ready()).unwrap();
    let listens = ready["parts"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|part| part["listen"].as_array().unwrap());
    let found = listens.clone().find(|l| l["field"] == field && l["protocol"] == protocol);
    found.unwrap_or_else(|| panic!("no {field}"))["address"].as_str().unwrap().parse().unwrap()
}

/// One request on a connection of its own; the whole answer as text.
fn exchange(to: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good an end as any.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(to: SocketAddr, path: &str) -> String {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: code.example.test:8080\r\nConnection: close\r\n\r\n");
    exchange(to, request.as_bytes())
}

#[test]
fn a_malformed_configuration_is_refused_with_every_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.toml");
    let text = include_str!("../../../../examples/spillway.toml")
        .replace("port = 8080 ", "port = 80808 ")
        .replace("weighted_qps = 1500", "weighted_qps = \"many\"")
        .replace("tier = 3", "tier = 4");
    std::fs::write(&path, text).unwrap();
    let zone = include_str!("../../../../examples/example.test.zone");
    std::fs::write(folder.path().join("example.test.zone"), zone).unwrap();
    for command in ["check", "up"] {
        let output = Command::new(program("spillway")).arg(command).arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{command}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 3, "{said}");
        assert!(said.contains("bad.toml:7:8: "), "{said}");
    }
    let output =
        Command::new(program("spillway")).args(["check", "--no-such-option"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn malformed_dns_and_http_disturb_nothing() {
    let _beside = beside();
    let spillway = Spillway::up(|config| config);
    let dns = address(&spillway, "dns.listen", "udp");
    let vip = address(&spillway, "site.0.balancer.listen", "tcp");
    let slb = address(&spillway, "cloud.local.listen", "tcp");

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for packet in
        [&b""[..], b"x", &[0xff; 12], &[0; 600], &[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 0x0c]]
    {
        socket.send_to(packet, dns).unwrap();
    }
    let mut stream = TcpStream::connect(dns).unwrap();
    stream.write_all(&[0xff, 0xff, 1, 2, 3]).unwrap();
    for to in [vip, slb] {
        for request in [
            &b"\x00\x01\x02\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"POST /v1/scans HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST /v1/scans HTTP/1.1\r\nHost: code.example.test\r\nContent-Length: x\r\n\r\n",
        ] {
            let answer = exchange(to, request);
            assert!(answer.starts_with("HTTP/1.1 400") || answer.is_empty(), "{request:?} got {answer}");
        }
    }

    let output = Command::new("dig")
        .args([
            &format!("@{}", dns.ip()),
            "-p",
            &dns.port().to_string(),
            "code.example.test",
            "+short",
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), vip.ip().to_string());
    assert!(get(vip, "/v1/notices").starts_with("HTTP/1.1 200"));
    assert!(get(slb, "/v1/notices").starts_with("HTTP/1.1 200"));
}

#[test]
fn what_a_dead_upstream_cannot_serve_goes_to_the_cloud() {
    let _beside = beside();
    let spillway = Spillway::up(|config| config);
    let vip = address(&spillway, "site.0.balancer.listen", "tcp");
    let ready: Value = serde_json::from_str(spillway.ready()).unwrap();
    let service = ready["parts"][1]["pid"].as_u64().unwrap();
    // Stopped, not killed: it takes connections and never answers.
    let signal = |name: &str| {
        assert!(
            Command::new("kill").args([name, &service.to_string()]).status().unwrap().success()
        );
    };
    signal("-STOP");
    for _ in 0..3 {
        let answer = get(vip, "/v1/notices");
        assert!(answer.starts_with("HTTP/1.1 307"), "{answer}");
        assert!(answer.contains("location: http://cloud.example.test:8080/v1/notices"), "{answer}");
    }
    signal("-CONT");
    wait_until("it serves again", Duration::from_secs(20), || {
        get(vip, "/v1/notices").starts_with("HTTP/1.1 200")
    });
}

#[test]
fn a_full_disk_for_the_plan_file_disturbs_nothing() {
    let _beside = beside();
    let state = tempfile::tempdir().unwrap();
    let plans = state.path().join("plans");
    std::fs::create_dir(&plans).unwrap();
    // Every write to /dev/full fails as on a full disk. It is there before the parts are, so that
    // none is just writing to what it stands for.
    std::os::unix::fs::symlink("/dev/full", plans.join("dns.json.new")).unwrap();
    let spillway = Spillway::up(|config| {
        let relative = "state_dir = \"state\"";
        assert!(config.contains(relative), "{config}");
        config.replace(relative, &format!("state_dir = \"{}\"", state.path().display()))
    });
    let generation = |part: &str| -> Option<u64> {
        let status: Value = serde_json::from_str(&spillway.command(&["status", "--json"])).ok()?;
        let parts = status["parts"].as_array()?.clone();
        parts.iter().find(|p| p["name"] == part)?["generation"].as_u64()
    };
    let mut before = None;
    wait_until("the agent has heard of the name server", Duration::from_secs(20), || {
        before = generation("dns");
        before.is_some()
    });
    let _ = spillway.command(&["knob", "set", "qr-text", "on", "--for", "10m"]);
    wait_until("the plan is in force all the same", Duration::from_secs(20), || {
        generation("dns") > before
    });
    // It is in force before it is kept, so the line may come after.
    wait_until("the name server says that its plan is not kept", Duration::from_secs(20), || {
        std::fs::read_to_string(state.path().join("log/dns.log"))
            .is_ok_and(|log| log.contains("cannot be kept on disk"))
    });
    assert!(!plans.join("dns.json").exists(), "nothing was kept");
}

#[test]
fn a_log_that_cannot_be_written_disturbs_nothing() {
    let _beside = beside();
    let block = Block::claim();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("spillway.toml");
    std::fs::write(&config, example_config(&block, folder.path())).unwrap();
    let spillway = |arguments: &[&str]| {
        let mut command = Command::new(program("spillway"));
        command.arg("--config").arg(&config).args(arguments);
        command
    };
    assert!(spillway(&["keygen"]).status().unwrap().success());
    // Every write to /dev/full fails as on a full disk.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut agent = spillway(&["run", "agent"]);
    agent.stderr(full);
    let mut agent = Process::adopt(agent);
    wait_until("the agent answers", Duration::from_secs(20), || {
        spillway(&["status", "--json"]).output().unwrap().status.success()
    });
    assert_eq!(agent.wait(Duration::ZERO), None, "it runs on");
}
