//! `spillway up`: ready, plain about a taken port, gone without a trace.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use spillway_test_support::{Block, Spillway, example_config, program, wait_until};

use crate::alone;

fn alive(pid: u64) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

fn pids(ready: &Value) -> Vec<u64> {
    ready["parts"].as_array().unwrap().iter().map(|part| part["pid"].as_u64().unwrap()).collect()
}

#[test]
fn it_starts_every_part_and_leaves_none_behind() {
    let _alone = alone();
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
    assert!(!pids.iter().any(|pid| alive(*pid)), "a part is left behind");
}

#[test]
fn parts_end_when_the_supervisor_is_killed() {
    let _alone = alone();
    let mut spillway = Spillway::up(|config| config);
    let pids = pids(&serde_json::from_str(spillway.ready()).unwrap());
    spillway.process().signal(rustix::process::Signal::KILL);
    spillway.process().wait(Duration::from_secs(10)).expect("it ends");
    wait_until("all parts have ended", Duration::from_secs(20), || {
        !pids.iter().any(|pid| alive(*pid))
    });
}

#[test]
fn a_part_that_is_killed_runs_again() {
    let _alone = alone();
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
fn every_taken_port_is_named() {
    let _alone = alone();
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
        assert!(line.contains("taken by another process") && line.contains(field), "{line}");
    }
}
