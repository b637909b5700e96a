//! `spillway up`: ready, plain about a taken port, gone without a trace.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use spillway_test_support::{Block, Process, Spillway, example_config, program, wait_until};

use crate::beside;

fn alive(pid: u64) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

fn pids(ready: &Value) -> Vec<u64> {
    ready["parts"].as_array().unwrap().iter().map(|part| part["pid"].as_u64().unwrap()).collect()
}

#[test]
fn it_starts_every_part_and_leaves_none_behind() {
    let _beside = beside();
    let mut spillway = Spillway::up(|config| config);
    let ready: Value = serde_json::from_str(spillway.ready()).unwrap();
    let kinds: Vec<&str> = ready["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["agent", "service", "cloud", "gateway", "gateway", "balancer", "dns"]);
    let pids = pids(&ready);
    assert!(pids.iter().all(|pid| alive(*pid)));
    let status = spillway.process().stop();
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    wait_until("it says that it has stopped", Duration::from_secs(10), || {
        spillway.said().iter().any(|line| line == r#"{"event":"stopped"}"#)
    });
    assert!(!pids.iter().any(|pid| alive(*pid)), "a part is left behind");
}

#[test]
fn parts_end_when_the_supervisor_is_killed() {
    let _beside = beside();
    let mut spillway = Spillway::up(|config| config);
    let pids = pids(&serde_json::from_str(spillway.ready()).unwrap());
    // A process that is stopped would never get round to a signal that can be handled.
    let stop = Command::new("kill").args(["-STOP", &pids[3].to_string()]).status().unwrap();
    assert!(stop.success());
    spillway.process().signal(rustix::process::Signal::KILL);
    spillway.process().wait(Duration::from_secs(10)).expect("it ends");
    wait_until("all parts have ended", Duration::from_secs(20), || {
        !pids.iter().any(|pid| alive(*pid))
    });
}

#[test]
fn a_part_that_is_killed_runs_again() {
    let _beside = beside();
    let spillway = Spillway::up(|config| config);
    let ready: Value = serde_json::from_str(spillway.ready()).unwrap();
    let gateway = pids(&ready)[3];
    let kill = Command::new("kill").args(["-KILL", &gateway.to_string()]).status().unwrap();
    assert!(kill.success());
    wait_until("the agent reads the new gateway", Duration::from_secs(20), || {
        let status: Value = serde_json::from_str(&spillway.command(&["status", "--json"])).unwrap();
        !alive(gateway)
            && status["parts"].as_array().unwrap().iter().all(|part| part["error"].is_null())
    });
}

#[test]
fn every_taken_port_is_named_with_its_holder() {
    let _beside = beside();
    let block = Block::claim();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("spillway.toml");
    std::fs::write(&config, example_config(&block, folder.path())).unwrap();
    let _first = TcpListener::bind((block.address(1), 9100)).unwrap();
    let _second = TcpListener::bind((block.address(2), 8080)).unwrap();
    let output = Command::new(program("spillway")).arg("up").arg(&config).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    for (address, field) in [
        (format!("{}:9100", block.address(1)), "agent.listen"),
        (format!("{}:8080", block.address(2)), "site.0.balancer.listen"),
    ] {
        let line =
            said.lines().find(|line| line.contains(&address)).unwrap_or_else(|| panic!("{said}"));
        let holder = format!("(process {})", std::process::id());
        assert!(line.contains(field) && line.contains(&holder), "{line}");
    }
    assert_eq!(said.lines().count(), 4, "one block: {said}");
}

#[test]
fn a_second_up_is_told_of_the_first() {
    let _beside = beside();
    let mut first = Spillway::up(|config| config);
    let output = Command::new(program("spillway")).arg("up").arg(first.config()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let up = first.process().pid();
    assert!(said.contains(&format!("Spillway runs already, as process {up} (")), "{said}");
    assert!(said.contains("tcp") && said.contains("udp") && said.contains("by one-code"), "{said}");
    assert!(!said.contains("cannot be seen"), "{said}");
    assert!(first.process().wait(Duration::ZERO).is_none(), "the first runs on");
}

#[test]
fn a_part_that_cannot_start_is_not_said_to_start_again() {
    let _beside = beside();
    let block = Block::claim();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("spillway.toml");
    // The name server refuses a zone that is not there.
    std::fs::write(&config, example_config(&block, folder.path())).unwrap();
    std::fs::remove_file(folder.path().join("example.test.zone")).unwrap();
    let mut command = Command::new(program("spillway"));
    command.args(["--json", "up"]).arg(&config).stdout(Stdio::piped());
    let mut up = Process::adopt(command);
    let said: Vec<Value> = BufReader::new(up.child().stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    assert_eq!(up.wait(Duration::from_secs(20)).unwrap().code(), Some(1));
    let ended = said.iter().find(|line| line["event"] == "ended").unwrap();
    assert_eq!((ended["name"].as_str(), &ended["again_in_ms"]), (Some("dns"), &Value::Null));
    let error = said.last().unwrap()["error"].as_str().unwrap();
    assert!(error.contains("dns ended before") && error.contains("example.test.zone"), "{error}");
}
