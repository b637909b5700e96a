//! Credentials by `credential_process`, which is how IAM Roles Anywhere gives them: what it prints signs
//! every call.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

/// A configuration with a cloud on AWS, of which nothing but a cache is named.
fn config(folder: &Path) -> String {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    fs::copy(example.join("example.test.zone"), folder.join("example.test.zone")).unwrap();
    let text = fs::read_to_string(example.join("spillway.toml")).unwrap();
    let aws = "[cloud.aws]\nregion = \"eu-central-1\"\nname = \"east\"\nadmin = \"127.0.0.1:9411\"\n\
               cache = \"east-cache\"\n";
    let routes = "# What the gateways route.";
    assert!(text.contains(routes));
    let text = text.replace(routes, &format!("{aws}{routes}")).replace("../var", "state");
    let file = folder.join("spillway.toml");
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// What would be drained, with a profile whose `credential_process` is a script that says this.
fn drain(script: &str, endpoint: &str) -> Output {
    spillway_aws(script, endpoint, &["drain", "--dry-run"])
}

fn spillway_aws(script: &str, endpoint: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let process = folder.path().join("helper");
    fs::write(&process, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&process, fs::Permissions::from_mode(0o700)).unwrap();
    let profile = folder.path().join("profile");
    let process = process.display();
    fs::write(&profile, format!("[profile agent]\ncredential_process = {process}\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_spillway-aws"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", "/nowhere")
        .env("AWS_CONFIG_FILE", &profile)
        .env("AWS_PROFILE", "agent")
        .env("AWS_ENDPOINT_URL", endpoint)
        .args(["--config", &config(folder.path())])
        .args(arguments)
        .output()
        .unwrap()
}

/// A server that refuses everything, and keeps the heads of what it was asked.
fn server() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = heads.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = vec![0; 64 * 1024];
            let n = stream.read(&mut bytes).unwrap();
            kept.lock().unwrap().push(String::from_utf8_lossy(&bytes[..n]).to_lowercase());
            let body = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                        <Message>not you</Message></Error></ErrorResponse>";
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 403 Forbidden\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (endpoint, heads)
}

/// Prints credentials.
const SAID: &str = r#"echo '{"Version": 1, "AccessKeyId": "AKIDOFTHEHELPER", "SecretAccessKey": "secret",
 "SessionToken": "token-of-the-helper", "Expiration": "2099-01-01T00:00:00Z"}'"#;

#[test]
fn what_the_process_prints_signs_the_calls() {
    let (endpoint, heads) = server();
    let output = drain(SAID, &endpoint);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let heads = heads.lock().unwrap();
    assert!(!heads.is_empty(), "{text}");
    for head in heads.iter() {
        assert!(head.contains("credential=akidofthehelper/"), "{head}");
        assert!(head.contains("x-amz-security-token: token-of-the-helper"), "{head}");
    }
    // Who is denied is told which permission is missing, once.
    let denied = "AWS denies elasticache:DescribeReplicationGroups: give the agent's identity this";
    assert_eq!(text.matches(denied).count(), 1, "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn what_is_denied_is_not_waited_out() {
    let (endpoint, heads) = server();
    // Were it waited for, the test would not end.
    let output = spillway_aws(SAID, &endpoint, &["drain", "--within", "86400"]);
    let (told, failed) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8_lossy(&told);
    assert_eq!(output.status.code(), Some(1), "{told}{failed}");
    assert!(told.contains("warning  AWS denies elasticache:DescribeReplicationGroups"), "{told}");
    assert!(
        failed.contains("what is left does not pass by itself: see to what failed"),
        "{failed}"
    );
    assert_eq!(heads.lock().unwrap().len(), 1, "{told}");
}

#[test]
fn what_is_not_reached_is_named_with_its_place() {
    // Port 1 of this address is nobody's.
    let output = drain(SAID, "http://127.83.15.1:1");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let place = "no clear answer: ElastiCache in eu-central-1 at http://127.83.15.1:1: ";
    assert!(text.contains(place), "{text}");
}

#[test]
fn a_process_that_fails_is_named() {
    let (endpoint, heads) = server();
    let output = drain("echo 'the certificate is over' >&2; exit 3", &endpoint);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(heads.lock().unwrap().len(), 0, "nothing is sent unsigned");
    assert_eq!(text.matches("there are no AWS credentials").count(), 1, "{text}");
}
