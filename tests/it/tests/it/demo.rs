//! The demonstration's own verdict, with a smaller storm.

use std::process::Command;

use serde_json::Value;
use spillway_test_support::{Block, example_config, program};

use crate::alone;

#[test]
fn the_verdict_of_a_smaller_storm_is_met() {
    let _alone = alone();
    let block = Block::claim();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("spillway.toml");
    std::fs::write(&config, example_config(&block, folder.path())).unwrap();
    let output = Command::new(program("spillway"))
        .args(["--json", "--config"])
        .arg(&config)
        .args(["demo", "--uplink", "2000000", "--clients", "600", "--compress", "4", "--out"])
        .arg(folder.path().join("out"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let verdict: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    let checks = verdict["checks"].as_array().unwrap();
    assert!(checks.len() >= 12, "{verdict:#}");
    let unmet: Vec<&Value> = checks.iter().filter(|check| check["met"] != true).collect();
    assert!(unmet.is_empty(), "{unmet:#?}\n{said}");
    assert_eq!(output.status.code(), Some(0));
    for chart in ["spill/storm.svg", "tiers/moderate.svg", "tiers/severe.svg"] {
        assert!(folder.path().join("out").join(chart).exists(), "{chart}");
    }
}
