//! The functions as they are uploaded: what `just functions arm64` built, which `just test` does first.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use spillway_test_support::{Block, Process, RuntimeApi, example_config, program};

use crate::beside;
use crate::packages::cannot;

/// `provided.al2023`, the runtime of the functions, has version 2.34 of the C library.
const GLIBC_MINOR_MAX: u32 = 34;
/// Most bytes of a program in its zip.
const PACKED_BYTES_MAX: usize = 5_000_000;
/// Where Debian keeps the C library of arm64 on other machines.
const ARM64: &str = "/usr/aarch64-linux-gnu";

/// What has to be run before.
const BUILT: &str = "what `just functions arm64` builds";

fn bootstrap(arch: &str, function: &str) -> PathBuf {
    let lambda = program("spillway").parent().unwrap().with_file_name("lambda");
    lambda.join(arch).join(function).join("bootstrap")
}

#[test]
fn functions_are_small_and_start_where_lambda_runs_them() {
    let _beside = beside();
    let more: &[&str] = if bootstrap("arm64", "one-code").exists() { &[] } else { &[BUILT] };
    if cannot("the functions of arm64", &["gzip"], more) {
        return;
    }
    for (arch, machine) in [("arm64", 183), ("x86_64", 62)] {
        for function in ["one-code", "alarm"] {
            let path = bootstrap(arch, function);
            // CI builds one architecture.
            let Ok(bytes) = std::fs::read(&path) else { continue };
            // e_machine of elf(5).
            assert_eq!(u16::from_le_bytes([bytes[18], bytes[19]]), machine, "{}", path.display());
            let newest = glibc_minors(&bytes).max().unwrap();
            assert!(newest <= GLIBC_MINOR_MAX, "{} wants glibc 2.{newest}", path.display());
            // A zip deflates as gzip does.
            let packed = Command::new("gzip").args(["-9", "-c"]).arg(&path).output().unwrap();
            let packed = packed.stdout.len();
            assert!((1..PACKED_BYTES_MAX).contains(&packed), "{}: {packed}", path.display());
            // What would differ by where it was built.
            let of_here = b".cargo/registry";
            let named = bytes.windows(of_here.len()).any(|window| window == of_here);
            assert!(!named, "{} has paths", path.display());
        }
    }
}

/// Minor versions of the C library whose symbols a program wants.
fn glibc_minors(bytes: &[u8]) -> impl Iterator<Item = u32> {
    const NAME: &[u8] = b"GLIBC_2.";
    let starts = bytes.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME);
    starts.filter_map(|(at, _)| {
        let digits = bytes[at + NAME.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        let digits: Vec<u8> = digits.copied().collect();
        std::str::from_utf8(&digits).ok()?.parse().ok()
    })
}

/// What an ALB with multi-value headers invokes the function with.
fn event(method: &str, path: &str, body: &str) -> Value {
    json!({
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:local:0:targetgroup/one-code/0"}},
        "httpMethod": method,
        "path": path,
        "multiValueQueryStringParameters": {},
        "multiValueHeaders": {"host": ["cloud.example.test"], "x-forwarded-proto": ["https"]},
        "body": body,
        "isBase64Encoded": false,
    })
}

#[test]
fn an_arm64_function_serves() {
    let _beside = beside();
    let bootstrap = bootstrap("arm64", "one-code");
    let emulated = !cfg!(target_arch = "aarch64");
    let emulator: &[&str] = if emulated { &["qemu-aarch64"] } else { &[] };
    let more = [
        (!bootstrap.exists()).then_some(BUILT),
        (emulated && !Path::new(ARM64).exists()).then_some("libc6-arm64-cross"),
    ];
    let more: Vec<&str> = more.into_iter().flatten().collect();
    if cannot("an arm64 function", emulator, &more) {
        return;
    }
    let mut command = if emulated {
        let mut command = Command::new("qemu-aarch64");
        command.args(["-L", ARM64]).arg(&bootstrap);
        command
    } else {
        Command::new(&bootstrap)
    };
    tokio::runtime::Runtime::new().unwrap().block_on(serves(&mut command));
}

async fn serves(command: &mut Command) {
    let (block, folder) = (Block::claim(), tempfile::tempdir().unwrap());
    let config = folder.path().join("spillway.toml");
    std::fs::write(&config, example_config(&block, folder.path())).unwrap();
    std::fs::create_dir(folder.path().join("state")).unwrap();
    // The point of RFC 8032 §7.1 test 1: any public key will do.
    let key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n";
    std::fs::write(folder.path().join("state/plan.pub"), key).unwrap();

    let mut api = RuntimeApi::start().await;
    api.environment("one-code", command);
    command.env("SPILLWAY_CONFIG", &config).stdin(Stdio::null());
    let _function = Process::start(command);

    let healthy = api.invoke(event("GET", "/healthz", "")).await.unwrap();
    assert_eq!((&healthy["statusCode"], &healthy["body"]), (&json!(200), &json!("ok\n")));
    let ada = r#"{"name": "Ada", "id_number": "X1234567"}"#;
    let registered = api.invoke(event("POST", "/v1/users", ada)).await.unwrap();
    assert_eq!(registered["statusCode"], 201, "{registered}");
    let user: Value = serde_json::from_str(registered["body"].as_str().unwrap()).unwrap();
    let qr = format!("/v1/users/{}/qr", user["user"].as_str().unwrap());
    let picture = api.invoke(event("GET", &qr, "")).await.unwrap();
    assert_eq!(picture["multiValueHeaders"]["content-type"], json!(["image/svg+xml"]));
    assert!(picture["body"].as_str().unwrap().starts_with("<svg"), "{picture}");
}
