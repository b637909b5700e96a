//! What is lost is made up for: a home service by the cloud, the agent by the last plan.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use spillway_test_support::{Spillway, program, wait_until};

use crate::beside;

/// A part that is killed stays down for longer than a test lasts.
const STAY_DOWN: [&str; 2] = ["--restart-delay-ms", "600000"];

fn part(spillway: &Spillway, name: &str) -> Value {
    let ready: Value = serde_json::from_str(spillway.ready()).unwrap();
    ready["parts"].as_array().unwrap().iter().find(|part| part["name"] == name).unwrap().clone()
}

fn signal(spillway: &Spillway, name: &str, signal: &str) {
    let pid = part(spillway, name)["pid"].to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

/// The head of the answer to a client that follows a 307; empty when there is none.
fn get(to: SocketAddr) -> String {
    let read = |host: &str, to: SocketAddr| -> std::io::Result<String> {
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let request =
            format!("GET /v1/notices HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.split("\r\n\r\n").next().unwrap_or_default().to_lowercase())
    };
    let head = read("code.example.test:8080", to).unwrap_or_default();
    if !head.starts_with("http/1.1 307") {
        return head;
    }
    let location = head.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
    assert!(location.starts_with("http://cloud.example.test:8080/"), "{location}");
    // The cloud is where the block of the test has its third address.
    let SocketAddr::V4(vip) = to else { panic!("{to}") };
    let [a, b, c, _] = vip.ip().octets();
    read("cloud.example.test:8080", SocketAddr::from(([a, b, c, 3], 8080))).unwrap_or_default()
}

/// The home service is gone for good: the cloud serves on within a few seconds.
fn the_cloud_serves_on_after(how: &str) {
    let _beside = beside();
    let spillway = Spillway::up_with(&STAY_DOWN, |config| config);
    let balancer = part(&spillway, "east-balancer");
    let vip: SocketAddr = balancer["listen"][0]["address"].as_str().unwrap().parse().unwrap();
    let by = |who: &str| {
        let head = get(vip);
        head.starts_with("http/1.1 200") && head.contains(&format!("x-spillway-served-by: {who}"))
    };
    assert!(by("east"), "{}", get(vip));
    signal(&spillway, "east-one-code", how);
    wait_until("the cloud serves", Duration::from_secs(10), || by("cloud"));
    // Not by chance: it goes on, with nobody turned away.
    for n in 0..20 {
        assert!(by("cloud"), "request {n}: {}", get(vip));
    }
    if how == "-STOP" {
        signal(&spillway, "east-one-code", "-CONT");
        wait_until("home serves again", Duration::from_secs(60), || by("east"));
    }
}

#[test]
fn a_home_service_that_hangs_is_made_up_for() {
    the_cloud_serves_on_after("-STOP");
}

#[test]
fn a_home_service_that_is_gone_is_made_up_for() {
    the_cloud_serves_on_after("-KILL");
}

#[test]
fn without_an_agent_the_last_plan_is_shown() {
    let _beside = beside();
    let spillway = Spillway::up_with(&STAY_DOWN, |config| config);
    let status = |arguments: &[&str]| {
        Command::new(program("spillway"))
            .arg("--config")
            .arg(spillway.config())
            .args(arguments)
            .arg("status")
            .output()
            .unwrap()
    };
    let read = |arguments: &[&str]| -> Value {
        serde_json::from_slice(&status(arguments).stdout).unwrap_or_default()
    };
    wait_until("every part has the plan", Duration::from_secs(20), || {
        let status = read(&["--json"]);
        let generation = &status["generation"];
        let parts = status["parts"].as_array().cloned().unwrap_or_default();
        !parts.is_empty() && parts.iter().all(|part| part["generation"] == *generation)
    });
    signal(&spillway, "agent", "-KILL");
    wait_until("the agent does not answer", Duration::from_secs(20), || {
        status(&["--json"]).status.code() == Some(69)
    });
    let told = read(&["--json"]);
    assert!(told["error"].as_str().unwrap().contains("agent"), "{told:#}");
    assert_eq!(told["verified"], true, "{told:#}");
    assert!(told["last_plan"]["generation"].as_u64().unwrap() > 0, "{told:#}");
    let output = status(&[]);
    assert_eq!(output.status.code(), Some(69));
    let generation = told["last_plan"]["generation"].to_string();
    assert!(String::from_utf8_lossy(&output.stdout).contains(&generation), "{output:?}");
    assert!(!output.stderr.is_empty());
}

#[test]
fn a_dead_cloud_is_left() {
    let _beside = beside();
    let spillway = Spillway::up_with(&STAY_DOWN, |config| config);
    let balancer = part(&spillway, "east-balancer");
    let vip: SocketAddr = balancer["listen"][0]["address"].as_str().unwrap().parse().unwrap();
    let share = || {
        let status: Value =
            serde_json::from_str(&spillway.command(&["status", "--json"])).unwrap_or_default();
        status["sites"]["east"]["share"].as_f64().unwrap_or(f64::NAN)
    };
    // A home that hangs has nearly everybody in the cloud.
    signal(&spillway, "east-one-code", "-STOP");
    wait_until("the share is raised", Duration::from_secs(20), || {
        get(vip);
        share() > 0.9
    });
    signal(&spillway, "cloud", "-KILL");
    signal(&spillway, "east-one-code", "-CONT");
    // Whoever asks DNS now is sent home. Nobody asks meanwhile, as those do who were sent to the cloud.
    wait_until("everybody is called home", Duration::from_secs(30), || share() == 0.0);
    let head = get(vip);
    assert!(head.starts_with("http/1.1 200") && head.contains("served-by: east"), "{head}");
}
