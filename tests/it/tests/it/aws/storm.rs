//! A storm: functions take the shock, gateways on EC2 take over what lasts, and afterwards nothing is
//! left.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use spillway_model::config::edited;
use spillway_test_aws::{Config, Shape};
use spillway_test_support::{Block, Process, Spillway, program, wait_until};

use super::cloud::{Cloud, once, rise_and_fall};
use super::home::{Logs, PORT, SpillwayAws, agent, get, load_balancer, on_aws};
use super::machines::{Given, Machines};
use crate::alone;

/// AWS takes half a minute to start an instance; here three seconds.
const FACTOR: f64 = 10.0;
/// Requests per second in the calm, and at the height of the storm.
const CALM: u32 = 10;
const PEAK: u32 = 150;
/// Seconds of calm, of storm, and of calm again.
const SECS: [usize; 3] = [5, 35, 45];
/// From the storm's beginning to the first answer of a function.
const FIRST_MS_MAX: u64 = 3_000;

/// A site that carries about a fifth of the storm, and a cloud of whose gateways two are to carry most
/// of the rest. What lasts a few seconds has lasted.
fn config(example: &str, cloud: &Cloud) -> String {
    let gateways = format!(
        "autoscaling_group = \"{}\"\nweighted_qps = 100\nmax = 3\nboot_secs = 5",
        cloud.stack.group
    );
    // Copies are added to the stores, too.
    let more = "replicas = { weighted_qps = 100, cache_max = 1, database_max = 1, after_secs = 6, keep_secs = 5 }";
    let text = on_aws(example, cloud, &gateways, more);
    edited(
        &text,
        &[
            ("site.0.uplink.bits_per_sec", 1_200_000.into()),
            ("agent.share_dwell_secs", 5.into()),
            ("agent.share_step_down", 0.1.into()),
        ],
    )
    .unwrap()
}

/// A file with the storm's rate in each second.
fn trace() -> String {
    let [before, height, after] = SECS;
    let rates = [vec![CALM; before], vec![PEAK; height], vec![CALM; after]].concat();
    rates.iter().fold("requests\n".to_owned(), |text, rate| format!("{text}{rate}\n"))
}

fn storm(spillway: &Spillway) -> Process {
    let (trace_file, report) = (spillway.folder().join("trace.csv"), report_file(spillway));
    std::fs::write(&trace_file, trace()).unwrap();
    let mut command = Command::new(program("spillway"));
    command.arg("--config").arg(spillway.config());
    command.args(["storm", "--clients", "400", "--no-table", "--report"]).arg(report);
    command.arg("trace").arg(trace_file).args(["--column", "requests", "--step", "1", "--peak"]);
    Process::logged(command.arg(PEAK.to_string()), &spillway.folder().join("storm.log"))
}

fn report_file(spillway: &Spillway) -> std::path::PathBuf {
    spillway.folder().join("report.json")
}

fn share(agent: SocketAddr) -> Option<f64> {
    get(agent, "/v1/status")?["sites"]["east"]["share"].as_f64()
}

#[test]
fn functions_take_the_shock_and_gateways_what_lasts() {
    let _alone = alone();
    let block = Block::claim();
    let machines = Arc::new(Machines::default());
    let aws = Config { network: block.address(100), probes: true, ..Config::default() };
    let shape = Shape { max: 3, port: PORT, ..Shape::default() };
    let cloud = Cloud::start(aws, shape, FACTOR, machines.clone());
    let functions_at = SocketAddr::from((block.address(1), PORT));
    let mut balancer = None;
    let spillway = Spillway::up(|example| {
        let text = config(&example, &cloud);
        balancer = Some(cloud.balance(load_balancer(&text), functions_at));
        text
    });
    let text = std::fs::read_to_string(spillway.config()).unwrap();
    let folder = spillway.folder().join("cloud");
    std::fs::create_dir(&folder).unwrap();
    let _logs = Logs(vec![spillway.folder().to_owned(), folder.clone()]);
    let state = spillway.folder().join("state");
    let nobody = [block.address(2), block.address(3)];
    let given = Given { config: text.clone(), state, folder, nobody };
    let functions = given.functions(functions_at);
    let given = machines.given.get_or_init(|| given);
    let mut spillway_aws = SpillwayAws::start(spillway.config(), &cloud);
    let agent = agent(&text);
    wait_until("AWS is heard of", Duration::from_secs(20), || {
        get(agent, "/v1/status").is_some_and(|s| !s["cloud"]["fleet"].is_null())
    });
    assert_eq!(cloud.changed(), Vec::<String>::new(), "what Terraform made is as it should be");

    let mut storm = storm(&spillway);
    wait_until("clients are spilled", Duration::from_secs(30), || share(agent) > Some(0.0));
    assert_eq!(cloud.instances().1, 0, "functions take the shock");
    wait_until("gateways are launched", Duration::from_secs(30), || cloud.instances().0 > 0);
    wait_until("gateways are given requests", Duration::from_secs(40), || {
        cloud.gateway_weight() > 0
    });
    // Whoever decides and whoever acts die now; nobody notices.
    kill_agent(&spillway);
    spillway_aws.kill_and_restart();

    let ended = storm.wait(Duration::from_secs(150)).expect("the storm ends");
    assert!(ended.success(), "{ended}");
    let all_over = || share(agent) == Some(0.0) && cloud.changed().is_empty();
    wait_until("all is as it was before the storm", Duration::from_secs(60), all_over);
    wait_until("no process of an instance is left", Duration::from_secs(20), || {
        machines.running() == 0
    });
    drop(functions);

    let (sizes, weights) = (cloud.sizes(), cloud.weights());
    assert!(rise_and_fall(&sizes) && once(&weights), "{sizes:?} {weights:?}");
    let most = sizes.iter().copied().max().unwrap();
    let ever = machines.ever();
    assert_eq!((cloud.instances().1, ever.len()), (usize::try_from(most).unwrap(), ever.len()));
    for action in ["IncreaseReplicaCount", "CreateDBInstance"] {
        assert!(cloud.asked(action) > 0, "{action}");
    }
    let served: Vec<usize> = ever.iter().map(|id| given.served_by(id)).collect();
    assert!(served.iter().sum::<usize>() > 500, "{served:?}");
    judge(&serde_json::from_slice(&std::fs::read(report_file(&spillway)).unwrap()).unwrap());
}

fn kill_agent(spillway: &Spillway) {
    let ready: Value = serde_json::from_str(spillway.ready()).unwrap();
    let agent = ready["parts"].as_array().unwrap().iter().find(|part| part["name"] == "agent");
    let pid = agent.unwrap()["pid"].to_string();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
}

/// The storm as its clients saw it.
fn judge(report: &Value) {
    let totals = &report["totals"];
    let count = |key: &str| totals[key].as_u64().unwrap();
    assert!(count("failed") * 1000 <= count("arrivals"), "{totals:#}");
    assert!(totals["served"]["cloud"].as_u64().unwrap() > count("arrivals") / 2, "{totals:#}");
    assert!(!totals["functions"].as_object().unwrap().is_empty(), "{totals:#}");
    let began = report["started_at"].as_u64().unwrap() + 1000 * u64::try_from(SECS[0]).unwrap();
    let first = totals["first_cloud_at"].as_u64().unwrap();
    assert!(first <= began + FIRST_MS_MAX, "the first function answered {} ms late", first - began);
    for second in report["seconds"].as_array().unwrap() {
        assert_eq!(second["tier"].as_u64().unwrap_or(0), 0, "the cloud suffices: {second:#}");
    }
}
