//! What an operator sees and orders.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use spillway_test_support::{Spillway, program, wait_until};

use crate::beside;

fn json(spillway: &Spillway, arguments: &[&str]) -> Value {
    serde_json::from_str(&spillway.command(&[arguments, &["--json"]].concat())).unwrap()
}

#[test]
fn status_explain_plan_tier_and_knob() {
    let _beside = beside();
    let spillway = Spillway::up(|config| config);

    // It is ready before its first decision, which is when it knows of its sites.
    let mut status = Value::Null;
    wait_until("a decision", Duration::from_secs(10), || {
        status = json(&spillway, &["status"]);
        status["sites"]["east"].is_object()
    });
    assert_eq!(status["tier"], 0);
    assert_eq!(status["sites"]["east"]["share"], 0.0);
    assert!(spillway.command(&["status"]).contains("east-gw-2"));

    let explain = json(&spillway, &["explain", "--client", "192.0.2.7"]);
    assert_eq!(explain["client"]["sites"]["east"]["spilled"], false, "nobody is spilled");
    let rank = explain["client"]["rank"].as_f64().unwrap();
    let neighbour = json(&spillway, &["explain", "--client", "192.0.2.200"]);
    assert_eq!(neighbour["client"]["rank"].as_f64(), Some(rank), "one prefix, one rank");
    assert!(spillway.command(&["explain"]).contains("because"));
    assert!(spillway.command(&["plan", "show"]).contains("signature: good"));

    let knobs = json(&spillway, &["knob", "list"]);
    assert!(knobs.as_array().unwrap().iter().all(|knob| knob["on"] == false));
    json(&spillway, &["knob", "set", "qr-text", "on", "--for", "10m", "--reason", "rehearsal"]);
    let on = |spillway: &Spillway, id: &str| -> bool {
        let knobs = json(spillway, &["knob", "list"]);
        let knob = knobs.as_array().unwrap().iter().find(|knob| knob["id"] == id).unwrap().clone();
        knob["on"] == true && knob["by"].as_str().is_some_and(|by| by.contains("rehearsal"))
    };
    wait_until("the knob is on", Duration::from_secs(10), || on(&spillway, "qr-text"));
    assert!(spillway.command(&["status"]).contains("knobs on: qr-text"));
    json(&spillway, &["knob", "clear", "qr-text"]);
    wait_until("the knob is off", Duration::from_secs(10), || !on(&spillway, "qr-text"));

    json(&spillway, &["tier", "set", "1", "--for", "10m"]);
    wait_until("tier 1 holds", Duration::from_secs(10), || {
        json(&spillway, &["status"])["tier"] == 1
    });
    json(&spillway, &["tier", "clear"]);
    wait_until("tier 0 again", Duration::from_secs(30), || {
        json(&spillway, &["status"])["tier"] == 0
    });

    json(&spillway, &["share", "east", "25", "--for", "10m"]);
    wait_until("the share is held", Duration::from_secs(10), || {
        json(&spillway, &["status"])["sites"]["east"]["share"] == 0.25
    });
    let decision = json(&spillway, &["explain", "decision"]);
    assert_eq!(decision["shares"]["east"], 0.25, "{decision}");
    json(&spillway, &["share", "east", "--clear"]);

    let sale = ["event", "add", "sale", "--at", "2h", "--for", "1h", "--factor", "6"];
    json(&spillway, &sale);
    assert_eq!(json(&spillway, &["event", "list"])[0]["name"], "sale");
    json(&spillway, &["event", "remove", "sale"]);
    let unknown = spillway.outcome(&["event", "remove", "sale"]);
    let told = String::from_utf8_lossy(&unknown.stderr);
    assert!(!unknown.status.success() && told.contains("no event `sale`"), "{told}");
}

#[test]
fn an_absent_agent_is_named() {
    let _beside = beside();
    let block = spillway_test_support::Block::claim();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("spillway.toml");
    std::fs::write(&config, spillway_test_support::example_config(&block, folder.path())).unwrap();
    let output = Command::new(program("spillway"))
        .arg("--config")
        .arg(&config)
        .arg("status")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(69));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("{}:9100", block.address(1))), "{said}");
}
