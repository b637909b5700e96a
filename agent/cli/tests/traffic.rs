//! `spillway traffic`, and access logs as traces of `spillway simulate`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/spillway.toml");

struct Fixture {
    folder: TempDir,
}

impl Fixture {
    /// Four minutes of an Nginx: 60 requests a second, in twenty seconds of the second 240.
    fn new() -> Self {
        let mut log = String::new();
        for second in 0..240_u64 {
            let rps = if (80..100).contains(&second) { 240 } else { 60 };
            for n in 0..rps {
                let path = match n % 3 {
                    0 => format!("/v1/users/{n}/code"),
                    1 => "/v1/scans".to_owned(),
                    _ => format!("/shop/{n}"),
                };
                let method = if n % 3 == 1 { "POST" } else { "GET" };
                writeln!(
                    log,
                    "192.0.2.7 - - [23/Nov/2026:11:{:02}:{:02} +0000] \"{method} {path} HTTP/1.1\" 200 {} \"-\" \"-\" 0.01{}",
                    second / 60,
                    second % 60,
                    1000 + n % 3 * 100,
                    n % 3
                )
                .unwrap();
            }
        }
        log.push_str("this is no line\n");
        let fixture = Self { folder: TempDir::new().unwrap() };
        std::fs::write(fixture.path("access.log"), log).unwrap();
        std::fs::write(fixture.path("t.csv"), "minute,requests\n0,600\n1,900\n").unwrap();
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spillway"));
        command.env_remove("SPILLWAY_CONFIG").current_dir(self.folder.path()).args(words);
        command
    }

    fn spillway(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }
}

fn told(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

#[test]
fn a_log_is_told_by_route() {
    let fixture = Fixture::new();
    let output = fixture.spillway(&["traffic", "access.log"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.starts_with("18000 requests from 2026-11-23T11:00:00.000Z to "), "{text}");
    for part in ["75.0/s, 240/s in the busiest second", "GET /v1/users/{id}/code", "GET /shop/{id}"]
    {
        assert!(text.contains(part), "`{part}` is missing: {text}");
    }
    let noted = String::from_utf8_lossy(&output.stderr);
    assert!(noted.contains("access.log:18001 has no time in brackets"), "{noted}");
    assert!(noted.contains("1 of 18001 lines could not be read"), "{noted}");

    let told = told(&fixture.spillway(&["traffic", "access.log", "--json"]));
    assert_eq!(told["formats"], json!(["combined"]));
    assert_eq!((&told["requests"], &told["unreadable"]), (&json!(18_000), &json!(1)));
    let code = told["routes"].as_array().unwrap().iter();
    let code = code.clone().find(|row| row["route"] == "GET /v1/users/{id}/code").unwrap();
    assert_eq!((&code["requests"], &code["bytes_per_answer"]), (&json!(6000), &json!(1000.0)));
    assert!((code["service_ms_mean"].as_f64().unwrap() - 10.0).abs() < 1e-6);
    assert_eq!(code["peak_per_sec"], json!(80.0));
    // Of 10, 11 and 12 ms, with a mean request of 1.
    for (route, wanted) in
        [("GET /v1/users/{id}/code", 10.0), ("POST /v1/scans", 11.0), ("GET /shop/{id}", 12.0)]
    {
        let mut rows = told["routes"].as_array().unwrap().iter();
        let row = rows.find(|row| row["route"] == route).unwrap();
        let weight = row["weight"].as_f64().unwrap();
        assert!((weight / (wanted / 11.0) - 1.0).abs() < 0.01, "{row}");
    }
    assert_eq!((&told["weights"]["kept"], &told["weights"]["aside"]), (&json!(false), &json!(0)));
    assert!(text.contains("Weights follow service times"), "{text}");
}

#[test]
fn a_configuration_names_the_routes_that_it_has() {
    let fixture = Fixture::new();
    let words = ["--config", EXAMPLE, "traffic", "access.log", "--json"];
    let told = told(&fixture.spillway(&words));
    let routes: Vec<&str> = told["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["route"].as_str().unwrap())
        .collect();
    assert_eq!(routes, ["GET /shop/{id}", "code", "scan"]);
    let output = fixture.spillway(&["--config", "absent.toml", "traffic", "access.log"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}

#[test]
fn a_log_is_a_trace_without_a_word_on_columns() {
    let fixture = Fixture::new();
    let words = [
        "simulate",
        "--trace",
        "access.log",
        "--peak-factor",
        "4",
        "--policy",
        "spillway,clairvoyant",
    ];
    let output = fixture.spillway(&[&words[..], &["--json", "-"]].concat());
    let result = told(&output);
    assert_eq!(result["trace"]["seconds"], json!(240));
    assert_eq!(result["trace"]["step_secs"], json!(1));
    assert!(result["trace"].get("column").is_none());
    assert!(result["policies"]["spillway"]["requests"].as_u64().unwrap() > 100_000);
    // By steps of ten seconds, and with what the agent is set to swept.
    let sweep = ["--step", "10s", "--frontier=compute_target=0.6,0.8", "--svg", "f.svg"];
    let result = told(&fixture.spillway(&[&words[..], &sweep, &["--json", "-"]].concat()));
    assert_eq!(result["trace"]["steps"], json!(24));
    assert_eq!(result["frontier"]["points"].as_array().unwrap().len(), 2);
    let svg = std::fs::read_to_string(fixture.path("f.svg")).unwrap();
    assert!(svg.contains("seconds over the limit"), "{svg}");
}

#[test]
fn a_log_is_not_written_over() {
    let fixture = Fixture::new();
    let log = std::fs::read(fixture.path("access.log")).unwrap();
    let words = ["simulate", "--trace", "access.log", "--peak-factor", "4", "--policy", "spillway"];
    // Logs of gateways are JSON too, and charts of others SVG.
    let others =
        [("own.log", "{\"at\":\"2026-11-27T20:00:00Z\"}\n"), ("logo.svg", "<svg></svg>\n")];
    for (name, text) in others {
        std::fs::write(fixture.path(name), text).unwrap();
    }
    for out in [
        ["--json", "access.log"],
        ["--svg", "access.log"],
        ["--svg", "t.csv"],
        ["--json", "own.log"],
        ["--svg", "logo.svg"],
    ] {
        let output = fixture.spillway(&[&words[..], &out].concat());
        // With --json the error is JSON as well.
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("holds something else and is not replaced"), "{text}");
    }
    assert_eq!(std::fs::read(fixture.path("access.log")).unwrap(), log);
    for (name, text) in others {
        assert_eq!(std::fs::read_to_string(fixture.path(name)).unwrap(), text);
    }
    let one = fixture.spillway(&[&words[..], &["--json", "one", "--svg", "one"]].concat());
    assert_eq!(one.status.code(), Some(1));
    assert!(!fixture.path("one").exists());
    // What it has written itself it replaces, and of what fails nothing is left.
    for _ in 0..2 {
        let out = ["--json", "o.json", "--svg", "o.svg"];
        assert_eq!(fixture.spillway(&[&words[..], &out].concat()).status.code(), Some(0));
    }
    let absent = ["simulate", "--trace", "no.log", "--peak-factor", "4", "--svg", "new.svg"];
    assert_eq!(fixture.spillway(&absent).status.code(), Some(1));
    assert!(!fixture.path("new.svg").exists());
}

#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    let fixture = Fixture::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = fixture
        .command(&["traffic", "access.log"])
        .stdout(full)
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("cannot write standard output"), "{text}");
}

#[test]
fn what_cannot_be_read_names_what_could() {
    let fixture = Fixture::new();
    let refused = |words: &[&str], code: i32, parts: &[&str]| {
        let output = fixture.spillway(words);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        for part in parts {
            assert!(text.contains(part), "`{part}` is missing: {text}");
        }
    };
    let formats = [
        "the known formats are `spillway`",
        "`combined`",
        "`alb`",
        "t.csv:1 is of no known format",
    ];
    refused(&["traffic", "t.csv"], 1, &formats);
    let simulate = ["simulate", "--trace", "t.csv", "--peak-factor", "4"];
    refused(&simulate, 1, &[&formats[..], &["of a CSV file say --column and --step"]].concat());
    refused(&[&simulate[..], &["--column", "requests"]].concat(), 64, &["--step"]);
    refused(&["traffic", "absent.log"], 1, &["cannot read absent.log"]);
    refused(&["traffic", "access.log", "--format", "csv"], 64, &["there is no format `csv`"]);
    refused(&["traffic"], 64, &["<FILE>"]);
    let unknown = ["--column", "requests", "--step", "60s", "--frontier=no_such=1"];
    refused(&[&simulate[..], &unknown].concat(), 1, &["no_such"]);
}
