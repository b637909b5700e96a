//! The command line as a shell sees it: help, exit codes, keys.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/spillway.toml");

fn spillway(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spillway")).args(arguments).output().unwrap()
}

#[test]
fn help_is_no_error_and_wrong_usage_is_64() {
    assert_eq!(spillway(&["--help"]).status.code(), Some(0));
    for wrong in
        [&["no-such-command"][..], &["tier", "set", "4", "--for", "1m"], &["tier", "set", "1"]]
    {
        let output = spillway(wrong);
        assert_eq!(output.status.code(), Some(64), "{wrong:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn the_example_is_good_and_an_absent_file_is_named() {
    let output = spillway(&["check", EXAMPLE]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = spillway(&["check", "/no/such/file.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such/file.toml"));
}

#[test]
fn problems_come_as_json_too() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.toml");
    std::fs::write(
        &bad,
        std::fs::read_to_string(EXAMPLE).unwrap().replace("port = 8080 ", "port = 0 "),
    )
    .unwrap();
    let output = spillway(&["check", "--json", bad.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (said["problems"][0]["line"].as_u64(), said["problems"][0]["column"].as_u64()),
        (Some(7), Some(8))
    );
}

#[test]
fn keys_are_made_once_and_kept_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("spillway.toml");
    let text = std::fs::read_to_string(EXAMPLE).unwrap().replace("../var", "state");
    std::fs::write(&config, text).unwrap();
    let keygen = || spillway(&["--config", config.to_str().unwrap(), "keygen"]);
    assert!(keygen().status.success());
    let key = folder.path().join("state/plan.key");
    let made = std::fs::read(&key).unwrap();
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(keygen().status.success());
    assert_eq!(std::fs::read(&key).unwrap(), made, "a second run changes nothing");
    std::fs::remove_file(&key).unwrap();
    let output = keygen();
    assert_eq!(output.status.code(), Some(1), "a lost private key is not replaced silently");
    assert!(String::from_utf8_lossy(&output.stderr).contains("plan.key"));
}

#[test]
fn a_zone_that_cannot_be_served_is_no_good_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("spillway.toml");
    std::fs::copy(EXAMPLE, &config).unwrap();
    let check = |arguments: &[&str]| {
        let output = spillway(&[&["check", config.to_str().unwrap()], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said, String::from_utf8(output.stdout).unwrap())
    };
    let (code, said, _) = check(&[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("example.test.zone"), "the zone is missing: {said}");
    std::fs::write(folder.path().join("example.test.zone"), "@ IN A 1.2.3.400\n").unwrap();
    let (code, said, _) = check(&[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("example.test.zone:1"), "{said}");
    let (_, _, json) = check(&["--json"]);
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(told["error"].as_str().unwrap().contains("example.test.zone:1"), "{told}");
}
