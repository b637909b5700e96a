//! `spillway replay` on a journal that was written as the agent writes it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use spillway_daemon::{Entry, Journal, Policy};
use spillway_decide::{Observation, State, decide};
use spillway_model::{Config, Plan, SignedPlan, SiteId, histogram};
use tempfile::TempDir;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/spillway.toml");
/// When the journal begins: 2026-11-23T11:00:00Z.
const BEGIN_MS: u64 = 1_795_431_600_000;
const SECS: u64 = 200;

struct Fixture {
    folder: TempDir,
}

impl Fixture {
    /// A journal of a quiet minute, a crowd of another that fills the line, and its end.
    fn new() -> Self {
        Self::with(true)
    }

    /// The same, with the records of its decisions or as it was before there were any.
    fn with(records: bool) -> Self {
        let fixture = Self { folder: TempDir::new().unwrap() };
        let text = std::fs::read_to_string(EXAMPLE).unwrap().replace("../var", "state");
        std::fs::write(fixture.path("spillway.toml"), &text).unwrap();
        let frugal = text.replace("# uplink_target = 0.8 ", "uplink_target = 0.5 #");
        assert_ne!(frugal, text);
        std::fs::write(fixture.path("frugal.toml"), frugal).unwrap();
        std::fs::create_dir(fixture.path("state")).unwrap();
        let config = Config::parse(&text, fixture.folder.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(fixture.write(&Policy::new(&config), records));
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn write(&self, policy: &Policy, records: bool) {
        let (journal, failure) = Journal::open(&self.path("state/journal.db")).await;
        assert!(failure.is_none(), "{failure:?}");
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let east: SiteId = "east".parse().unwrap();
        let mut state = State::initial(policy);
        let mut counts = Counts::default();
        for second in 0..SECS {
            // The agent was started again in the quiet that came before.
            let fresh = second == 30;
            if fresh {
                let plan: Plan = state.plan().clone();
                state = state.resume(&plan);
            }
            let requests = if (60..120).contains(&second) { 900 } else { 90 };
            counts.add(requests, state.plan().share(&east).get());
            let observation = counts.observation(BEGIN_MS + second * 1000, state.plan());
            let mut outcome = decide(policy, &state, &observation);
            if !records {
                outcome.decision.sites.clear();
            }
            let signed =
                outcome.decision.published.then(|| SignedPlan::sign(&outcome.plan, &key).unwrap());
            let entry = Entry {
                at: observation.at,
                observation: &observation,
                state: &state,
                fresh,
                decision: &outcome.decision,
                plan: signed.as_ref(),
            };
            journal.write(entry).await.unwrap();
            state = outcome.state;
        }
        journal.close().await;
    }

    fn replay(&self, config: &str, words: &[&str]) -> Output {
        let config = self.path(config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_spillway"));
        command.arg("--config").arg(config).arg("replay").args(words);
        command.current_dir(self.folder.path()).output().unwrap()
    }

    fn json(&self, config: &str, words: &[&str]) -> (Option<i32>, Value) {
        let output = self.replay(config, &[&["--json"], words].concat());
        let told = serde_json::from_slice(&output.stdout);
        (output.status.code(), told.unwrap_or_else(|e| panic!("{e}: {output:?}")))
    }
}

/// What the parts have counted, of a site whose gateways redirect the share that the plan says.
#[derive(Default)]
struct Counts {
    arrivals: u64,
    redirected: u64,
}

impl Counts {
    fn add(&mut self, requests: u64, share: f64) {
        self.arrivals += requests;
        let per_mille = (0..1000).filter(|n| f64::from(*n) < share * 1000.0).count() as u64;
        self.redirected += requests * per_mille / 1000;
    }

    fn observation(&self, at: u64, plan: &Plan) -> Observation {
        let Self { arrivals, redirected } = self;
        let served = arrivals - redirected;
        let mut latency = vec![0; histogram::BUCKETS];
        latency[histogram::bucket(20_000)] = served;
        let routes = |arrivals, served, redirected| {
            json!({ "code": {
                "arrivals": arrivals, "served": served, "redirected": redirected,
                "served_bytes": served * 2000, "response_bytes": served * 2000 + redirected * 300,
            }})
        };
        let load = |part: &str, name: &str, site: Option<&str>, more: Value| {
            let mut load = json!({
                "part": part, "name": name, "site": site, "boot": 1, "at": at,
                "generation": plan.generation, "cpu_secs": 0.0,
            });
            load.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            load
        };
        let uplink = json!({ "uplink": { "bytes": served * 2000 + redirected * 300 } });
        let busy = json!({ "routes": routes(*arrivals, served, *redirected), "latency": latency,
            "upstreams": { "east-one-code": { "healthy": true }, "cloud-127.0.2.1": { "healthy": true } } });
        let idle = json!({ "routes": routes(0, 0, 0), "upstreams": busy["upstreams"].clone() });
        let cloud = json!({ "routes": routes(*redirected, *redirected, 0), "functions": {
            "invocations": redirected, "duration_us": redirected * 10_000, "environments": 100,
            "environments_max": 1000, "burst_left": 900, "burst_per_sec": 100.0,
        }});
        serde_json::from_value(json!({
            "at": at,
            "loads": [
                load("balancer", "east", Some("east"), uplink),
                load("gateway", "east-gw-1", Some("east"), busy),
                load("gateway", "east-gw-2", Some("east"), idle),
                load("cloud", "cloud", None, cloud),
            ],
            "missing": {}, "interface_bytes": {}, "orders": { "tier": null, "knobs": {} },
        }))
        .unwrap()
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn decisions_are_computed_again_byte_by_byte() {
    let fixture = Fixture::new();
    let before = std::fs::read(fixture.path("state/journal.db")).unwrap();
    let output = fixture.replay("spillway.toml", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let told = text(&output);
    let wanted = "from 2026-11-23T11:00:00.000Z to 2026-11-23T11:03:19.000Z: 200 decisions computed \
                  again, all what was decided, byte by byte; 1 times the agent began anew";
    assert!(told.contains(wanted), "{told}");
    let (code, told) = fixture.json("spillway.toml", &[]);
    assert_eq!((code, &told["ticks"], &told["equal"]), (Some(0), &json!(200), &json!(200)));
    assert_eq!(std::fs::read(fixture.path("state/journal.db")).unwrap(), before);
}

#[test]
fn what_was_decided_before_there_were_records_is_not_missed_in_them() {
    let (code, told) = Fixture::with(false).json("spillway.toml", &[]);
    assert_eq!((code, &told["equal"]), (Some(0), &json!(200)), "{told}");
}

#[test]
fn decisions_of_another_configuration_are_told_and_fail() {
    let fixture = Fixture::new();
    let output = fixture.replay("frugal.toml", &[]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for part in ["of them NOT what was decided", "shares", "was either changed since?"] {
        assert!(told.contains(part), "`{part}` is missing: {told}");
    }
    let (code, told) = fixture.json("frugal.toml", &[]);
    assert_eq!(code, Some(1));
    let different = told["different"].as_u64().unwrap();
    assert!((30..200).contains(&different), "{told}");
    assert_eq!(told["equal"].as_u64().unwrap() + different, 200);
    let told = told["first_different"].as_array().unwrap();
    assert!(told.len() <= 30, "{told:?}");
    let differs = |one: &&Value, name: &str| {
        one["fields"].as_array().unwrap().iter().any(|field| field["name"] == name)
    };
    let first = |name: &str| told.iter().find(|one| differs(one, name)).unwrap();
    // The sentences name the limit in the quiet already, and the shares differ once there are any.
    assert!(first("reasons")["at"].as_str().unwrap() < "2026-11-23T11:00:59");
    assert!(first("shares")["at"].as_str().unwrap() > "2026-11-23T11:00:59");
}

#[test]
fn another_configuration_is_compared_on_the_same_observations() {
    let fixture = Fixture::new();
    let (code, same) = fixture.json("spillway.toml", &["--under", "spillway.toml"]);
    assert_eq!(code, Some(0));
    let under = &same["under"];
    assert_eq!((&under["seconds_different"], &under["spans"]), (&json!(0.0), &json!([])));
    assert_eq!(under["seconds"], json!(200.0));

    let (code, told) = fixture.json("spillway.toml", &["--under", "frugal.toml"]);
    assert_eq!((code, &told["different"]), (Some(0), &json!(0)));
    let under = &told["under"];
    let share = &under["instructions"]["share of east"];
    let mean = |side: &str| share[side]["mean"].as_f64().unwrap();
    assert!(mean("under") > mean("decided") + 0.01, "half a line holds less: {share}");
    assert!(mean("decided") > 0.0);
    let spans = under["spans"].as_array().unwrap();
    let seconds: f64 = spans.iter().map(|span| span["seconds"].as_f64().unwrap()).sum();
    assert_eq!(under["seconds_different"].as_f64().unwrap(), seconds);
    assert!(share["seconds_different"].as_f64().unwrap() <= seconds);
    let span = &spans[0]["different"]["share of east"];
    assert!(span["under"][1].as_f64() > span["decided"][0].as_f64(), "{span}");
    let over = under["seconds_over"].as_f64().unwrap();
    assert!((1.0..60.0).contains(&over), "the line was full until the share took hold: {over}");

    let output = fixture.replay("spillway.toml", &["--under", "frugal.toml"]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    for part in ["Under frugal.toml other instructions in ", "share of east ", "mean there"] {
        assert!(told.contains(part), "`{part}` is missing: {told}");
    }
}

#[test]
fn a_part_of_the_journal_begins_where_it_is_asked_to() {
    let fixture = Fixture::new();
    let ticks = |words: &[&str]| {
        let (code, told) = fixture.json("spillway.toml", words);
        assert_eq!(code, Some(0), "{told}");
        (told["ticks"].as_u64().unwrap(), told["from"].as_str().unwrap().to_owned())
    };
    let from = "2026-11-23T11:01:10Z";
    assert_eq!(ticks(&["--from", from]), (130, "2026-11-23T11:01:10.000Z".to_owned()));
    assert_eq!(ticks(&["--from", from, "--to", "2026-11-23T11:01:19Z"]).0, 10);
    assert_eq!(ticks(&["--from", "10s"]).0, 11);
    assert_eq!(ticks(&["--to", "100s"]).0, 100);
    let output = fixture.replay("spillway.toml", &["--from", "2027-01-01T00:00:00Z"]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("has no decision from 2027-01-01T00:00:00.000Z to "), "{told}");
    assert!(
        told.contains("it holds 2026-11-23T11:00:00.000Z to 2026-11-23T11:03:19.000Z"),
        "{told}"
    );
}

#[test]
fn a_copy_is_replayed_and_what_is_none_is_refused() {
    let fixture = Fixture::new();
    let copy = fixture.path("copy.db");
    std::fs::copy(fixture.path("state/journal.db"), &copy).unwrap();
    std::fs::remove_dir_all(fixture.path("state")).unwrap();
    let (code, told) = fixture.json("spillway.toml", &["copy.db"]);
    assert_eq!((code, &told["equal"]), (Some(0), &json!(200)));
    let refused = |path: &Path, why: &str| {
        let output = fixture.replay("spillway.toml", &[path.to_str().unwrap()]);
        let told = text(&output);
        assert_eq!(output.status.code(), Some(1));
        assert!(told.contains(why), "{told}");
    };
    refused(&fixture.path("absent.db"), "there is no journal ");
    refused(&fixture.path("spillway.toml"), "spillway.toml is no journal");
    let output = fixture.replay("spillway.toml", &["copy.db", "--under", "absent.toml"]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    let output = fixture.replay("spillway.toml", &["copy.db", "--from", "noon"]);
    assert_eq!(output.status.code(), Some(64), "{}", text(&output));
}
