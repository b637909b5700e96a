//! The command line as a shell sees it: help, exit codes, what it says when it cannot begin.
//!
//! That there is a test of the program also has `cargo test` build it, for the tests of other packages.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use spillway_model::plan::{encode_key, signing_key};

fn spillway_aws(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spillway-aws"));
    // What this machine may know of AWS is no part of the test.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", "/nowhere");
    command.args(arguments).output().unwrap()
}

/// The example with its part for AWS taken into use, in a folder of its own.
fn config(folder: &Path) -> String {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let zone = "example.test.zone";
    fs::copy(example.join(zone), folder.join(zone)).unwrap();
    let text = fs::read_to_string(example.join("spillway.toml")).unwrap();
    let used = text.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest,
        _ => line,
    });
    // Port 1 of this address is nobody's, so that the agent is known to be away at once.
    let text = used.collect::<Vec<_>>().join("\n");
    let text = text.replace("../var", "state").replace("127.0.0.1:9100", "127.83.14.1:1");
    let file = folder.join("spillway.toml");
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn help_is_no_error_and_wrong_usage_is_64() {
    let help = spillway_aws(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(said(&help).contains("78 wrong configuration"), "{}", said(&help));
    for wrong in [&["no-such-command"][..], &[], &["apply", "--within", "0"]] {
        let output = spillway_aws(wrong);
        assert_eq!(output.status.code(), Some(64), "{wrong:?}: {}", said(&output));
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}

#[test]
fn a_wrong_configuration_is_78_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path());
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("weighted_qps = 1500", "weighted_qps = \"many\"")).unwrap();
    for wrong in ["/no/such/file.toml", &file] {
        let output = spillway_aws(&["--config", wrong, "plan"]);
        assert_eq!(output.status.code(), Some(78), "{}", said(&output));
        assert!(said(&output).contains(wrong), "{}", said(&output));
    }
}

#[test]
fn without_a_plan_nothing_is_wanted_and_nothing_asked() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path());
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    let key = signing_key(&encode_key(&[7; 32])).unwrap();
    fs::write(state.join("plan.pub"), encode_key(key.verifying_key().as_bytes())).unwrap();
    let output = spillway_aws(&["--config", &file, "apply", "--dry-run"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("the agent has no plan"), "{}", said(&output));
}

#[test]
fn without_credentials_it_says_what_to_set() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path());
    let output = spillway_aws(&["--config", &file, "drain", "--dry-run"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for part in ["there are no AWS credentials", "set AWS_PROFILE"] {
        assert!(said(&output).contains(part), "{}", said(&output));
    }
    let output = spillway_aws(&["--config", &file, "--json", "drain", "--dry-run"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["settled"], false, "{told}");
}

#[test]
fn what_cannot_be_deployed_is_said_before_aws_is_asked() {
    let help = spillway_aws(&["deploy", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    for part in ["--no-canary", "CreateAlias, UpdateAlias", "130 interrupted", "GET /healthz"] {
        assert!(said(&help).contains(part), "{}", said(&help));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path());
    let deploy = ["--config", &file, "deploy", "--from", "/nowhere"];
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/spillway.toml");
    let example = example.to_str().unwrap();
    for (arguments, code, says) in [
        (&["--config", file.as_str(), "deploy"][..], 64, "--from <FOLDER>"),
        (&[&deploy[..], &["--steps", "25,5"]].concat(), 64, "ascending percentages"),
        (&[&deploy[..], &["--no-canary", "--hold", "5m"]].concat(), 64, "cannot be used with"),
        (
            &[&deploy[..], &["scans"]].concat(),
            64,
            "no [cloud.aws.functions.scans]: there are alarm",
        ),
        (&["--config", example, "deploy", "--from", "x"], 78, "no [cloud.aws]"),
        (&deploy, 1, "spillway keygen"),
        (&["--config", &file, "rollback", "--to", "0"], 64, "--to <VERSION>"),
        (&["--config", &file, "rollback", "alarm"], 1, "there are no AWS credentials"),
    ] {
        let output = spillway_aws(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(says), "{arguments:?}: {}", said(&output));
    }
}
