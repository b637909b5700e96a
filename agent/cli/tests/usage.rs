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
    for wrong in [
        &["no-such-command"][..],
        &["tier", "set", "4", "--for", "1m"],
        &["tier", "set", "1"],
        &["explain", "decision", "first"],
        &["share", "east", "150", "--for", "30m"],
        &["gateways", "3"],
        &["mode", "recommend"],
        &["mode", "watch", "--for", "1m"],
        &["event", "add", "sale", "--at", "2h", "--for", "1h", "--factor", "0.5"],
        &["event", "add", "sale", "--at", "tomorrow", "--for", "1h", "--factor", "6"],
    ] {
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
fn keys_are_made_in_a_folder_without_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("new/keys");
    // Not even one that is named and not there.
    let keygen = || {
        let to = keys.to_str().unwrap();
        spillway(&["--config", "/no/such/file.toml", "--json", "keygen", "--to", to])
    };
    let names = ["plan.key", "plan.pub", "operator.token"].map(|name| keys.join(name));
    let made = serde_json::json!({ "made": names });
    let output = keygen();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &said), (Some(0), &made), "{output:?}");
    let text = |name: &str| std::fs::read_to_string(keys.join(name)).unwrap();
    let key = spillway_model::plan::signing_key(&text("plan.key")).unwrap();
    let public = spillway_model::plan::public_key(&text("plan.pub")).unwrap();
    assert_eq!(key.verifying_key(), public);
    let output = keygen();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said, serde_json::json!({ "made": [] }), "a second run changes nothing");
    // A folder cannot be made in a file.
    let output = spillway(&["keygen", "--to", keys.join("plan.key/x").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot make the folder"));
}

#[test]
fn a_lost_token_is_replaced_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("spillway.toml");
    let text = std::fs::read_to_string(EXAMPLE).unwrap().replace("../var", "state");
    std::fs::write(&config, text).unwrap();
    let keygen = || spillway(&["--config", config.to_str().unwrap(), "keygen"]);
    assert!(keygen().stderr.is_empty(), "the first time nothing is lost");
    std::fs::remove_file(folder.path().join("state/operator.token")).unwrap();
    let output = keygen();
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("operator.token was missing") && said.contains("old token"), "{said}");
}

/// The site of the example on addresses of its own where nobody listens, with keys, and with a plan
/// that its name server keeps.
fn site_without_agent() -> (tempfile::TempDir, String) {
    use spillway_model::plan::{Plan, signing_key};
    use spillway_model::{Share, SignedPlan, SiteId, UnixMillis};

    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("spillway.toml");
    // Port 1 of this address is nobody's, so that the call is refused at once.
    let text = std::fs::read_to_string(EXAMPLE).unwrap();
    let text = text.replace("../var", "state").replace("127.0.0.1:9100", "127.83.12.1:1");
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap().to_owned();
    assert!(spillway(&["--config", &config, "keygen"]).status.success());
    let state = folder.path().join("state");
    let key = signing_key(&std::fs::read_to_string(state.join("plan.key")).unwrap()).unwrap();
    let mut plan = Plan::initial([SiteId::new("east").unwrap()], 5);
    plan.generation = 412;
    plan.issued_at = UnixMillis(1_000_000);
    plan.expires_at = UnixMillis(1_030_000);
    plan.sites.values_mut().for_each(|site| site.share = Share::clamped(0.25));
    plan.reasons = vec!["share: raised from 0.0 % to 25.0 %".to_owned()];
    std::fs::create_dir(state.join("plans")).unwrap();
    let keep = |name: &str, plan: &Plan, key| {
        let signed = serde_json::to_vec(&SignedPlan::sign(plan, key).unwrap()).unwrap();
        std::fs::write(state.join("plans").join(name), signed).unwrap();
    };
    keep("dns.json", &plan, &key);
    // Signed by a stranger: newer, but not believed.
    plan.generation = 900;
    keep("forged.json", &plan, &ed25519_dalek::SigningKey::from_bytes(&[8; 32]));
    (folder, config)
}

#[test]
fn without_an_agent_the_last_plan_is_told() {
    let (_folder, config) = site_without_agent();
    let client = ["explain", "--client", "192.0.2.7"];
    for command in [&["status"][..], &["explain"], &["plan", "show"], &client] {
        let output = spillway(&[&["--config", config.as_str()], command].concat());
        assert_eq!(output.status.code(), Some(69), "{command:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("does not answer") && said.contains("127.83.12.1:1"), "{said}");
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.starts_with("THE AGENT DOES NOT ANSWER; the last plan"), "{told}");
        assert!(told.contains("generation 412, ") && told.contains("it has expired"), "{told}");
        let detail = if command == client { "192.0.2.0/24" } else { "25.0 % by redirect" };
        assert!(told.contains(detail), "{told}");

        let output = spillway(&[&["--json", "--config", config.as_str()], command].concat());
        assert_eq!(output.status.code(), Some(69), "{command:?}");
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(told["error"].as_str().unwrap().contains("does not answer"), "{told}");
        assert_eq!(told["last_plan"]["generation"], 412);
        assert_eq!(told["last_plan"]["issued_at"], "1970-01-01T00:16:40.000Z");
        assert_eq!(
            (told["expired"].as_bool(), told["verified"].as_bool()),
            (Some(true), Some(true))
        );
        assert_eq!(told["client"]["prefix"].is_string(), command == client);
    }
    // What needs the agent itself says so, and no more.
    for command in [&["knob", "list"][..], &["tier", "clear"], &["event", "list"]] {
        let output = spillway(&[&["--config", config.as_str()], command].concat());
        assert_eq!((output.status.code(), output.stdout.len()), (Some(69), 0), "{command:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("does not answer"));
    }
}
