//! `spillway check` as a shell sees it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

const EXAMPLE: &str = include_str!("../../../examples/spillway.toml");
const ZONE: &str = include_str!("../../../examples/example.test.zone");

/// The exit code and what is said on standard error of a configuration in a folder.
fn check(folder: &Path, text: &str) -> (Option<i32>, Vec<String>) {
    let config = folder.join("spillway.toml");
    std::fs::write(&config, text).unwrap();
    let output = run(&config, &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    let folder = format!("{}/", folder.display());
    (output.status.code(), said.lines().map(|line| line.replace(&folder, "")).collect())
}

fn run(config: &Path, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spillway"));
    command.arg("check").arg(config).args(arguments).output().unwrap()
}

/// A folder with the zone of the example.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("example.test.zone"), ZONE).unwrap();
    folder
}

/// Where the example names its zone file.
fn zones() -> String {
    let before = &EXAMPLE[..EXAMPLE.find("\"example.test.zone\"").unwrap()];
    let column = before.lines().last().unwrap().len() + 1;
    format!("spillway.toml:{}:{column}", before.lines().count())
}

fn starts(said: &[String], expected: &[&str]) {
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (line, start) in said.iter().zip(expected) {
        assert!(line.starts_with(start), "{start}\n{said:#?}");
    }
}

#[test]
fn every_kind_of_mistake_is_told_in_one_run() {
    let folder = folder();
    assert_eq!(check(folder.path(), EXAMPLE), (Some(0), Vec::new()));
    let other = "@ 5 IN SOA a. b. 1 2 3 4 5\n@ 5 IN A 1.2.3.400\n@ 5 IN AA x\n";
    std::fs::write(folder.path().join("other.zone"), format!("$ORIGIN other.test.\n{other}"))
        .unwrap();
    std::fs::write(folder.path().join("third.zone"), "; nothing\n").unwrap();
    let text = EXAMPLE
        .replace("port = 8080 ", "port = \"http\" ")
        .replace("state_dir =", "state_dri =")
        .replace(
            "\"example.test.zone\"]",
            "\"example.test.zone\", \"other.zone\", \"no.zone\", \"third.zone\"]",
        )
        .replace("bits_per_sec = 6_000_000", "bits_per_sec = 6")
        .replace("path = \"/v1/scans\"", "path = \"v1/scans\"");
    let (code, said) = check(folder.path(), &text);
    assert_eq!(code, Some(78));
    let at = |what: &str, said: &str| {
        let before = &text[..text.find(what).unwrap()];
        let line = before.lines().count();
        format!("spillway.toml:{line}:{}: {said}", before.lines().last().unwrap().len() + 1)
    };
    starts(
        &said,
        &[
            "spillway.toml:7:8: invalid type: string \"http\"",
            "spillway.toml:9:1: missing field `state_dir`",
            "spillway.toml:11:1: unknown field `state_dri`",
            &at("\"no.zone\"", "cannot read the zone file no.zone: No such file"),
            &at("6   #", "6 is too small"),
            &at("\"v1/scans\"", "`v1/scans` cannot be routed"),
            "other.zone:3: `1.2.3.400` is not an IPv4 address",
            "other.zone:4: `AA` is not a record type",
            "third.zone: the zone has no SOA record",
        ],
    );
}

#[test]
fn mistakes_come_as_json_with_their_files() {
    let folder = folder();
    let (config, zone) = (folder.path().join("c.toml"), folder.path().join("example.test.zone"));
    std::fs::write(&config, EXAMPLE).unwrap();
    let told = || -> Value { serde_json::from_slice(&run(&config, &["--json"]).stdout).unwrap() };
    assert_eq!(told(), json!({ "problems": [] }));
    std::fs::write(&config, EXAMPLE.replace("port = 8080 ", "port = 0 ")).unwrap();
    std::fs::write(&zone, format!("{ZONE}x A 4\n")).unwrap();
    assert_eq!(run(&config, &["--json"]).status.code(), Some(78));
    let line = ZONE.lines().count() + 1;
    let expected = json!({ "problems": [
        {
            "file": config, "line": 7, "column": 8,
            "message": "clients cannot ask for port 0; name a port",
        },
        { "file": zone, "line": line, "column": null, "message": "`4` is not an IPv4 address" },
    ]});
    assert_eq!(told(), expected);
}

#[test]
fn names_outside_the_zones_are_mistakes_of_the_settings() {
    let folder = folder();
    let text = EXAMPLE
        .replace("\"code.example.test\"", "\"code.else.test\"")
        .replace("\"cloud.example.test\"", "\"cloud.else.test\"");
    let (code, said) = check(folder.path(), &text);
    assert_eq!(code, Some(78));
    starts(
        &said,
        &[
            "spillway.toml:5:8: cannot steer code.else.test.: no zone file has the zone it is in",
            "spillway.toml:6:12: nobody answers for cloud.else.test.",
        ],
    );
    // Whether a zone has the names cannot be known while a zone's file is not known.
    let (_, said) = check(folder.path(), &text.replace("[\"example.test.zone\"]", "[5]"));
    starts(&said, &[&format!("{}: invalid type: integer `5`", zones())]);
}

#[test]
fn what_is_no_file_or_no_text_ends_with_78_and_never_hangs() {
    let folder = folder();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (file, expected) in
        [("pipe", "it is not a regular file"), ("/dev/zero", "it is not a regular file")]
    {
        let (code, said) = check(folder.path(), &EXAMPLE.replace("example.test.zone", file));
        assert_eq!(code, Some(78));
        assert!(
            said[0].starts_with(&format!("{}: ", zones())) && said[0].contains(expected),
            "{said:?}"
        );
    }
    assert_eq!(run(Path::new("/dev/zero"), &[]).status.code(), Some(78));
    let config = folder.path().join("spillway.toml");
    std::fs::write(&config, b"[service]\nhost = \"\xff\"\n").unwrap();
    let output = run(&config, &[]);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("spillway.toml:2:9: this is not UTF-8"), "{said}");
    let told: Value = serde_json::from_slice(&run(&config, &["--json"]).stdout).unwrap();
    assert_eq!(
        (&told["problems"][0]["line"], &told["problems"][0]["column"]),
        (&json!(2), &json!(9))
    );
}
