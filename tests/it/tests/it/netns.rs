//! The storm between network namespaces, with a `tbf` qdisc as the site's uplink.
//!
//! ```text
//!   clients ──┬── site0 (tbf: the uplink) ──┐
//!             └── cloud0 (unlimited) ───────┴── site and cloud
//! ```
//! The agent reads what left the site from the counters of `site0`. Needs root; says so where it is
//! not to be had.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use spillway_model::config::edited;
use spillway_test_support::{Process, program, wait_until};
use toml::Value as Toml;

use crate::alone;

const UPLINK_BITS_PER_SEC: i64 = 2_000_000;

fn ip(arguments: &str) {
    let output =
        Command::new("ip").args(arguments.split_whitespace()).output().expect("ip (iproute2) runs");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Two namespaces and the two lines between them, gone again when dropped.
struct Lab {
    site: String,
    clients: String,
}

impl Lab {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let lab = Self { site: format!("spillway-s-{id}"), clients: format!("spillway-c-{id}") };
        let (site, clients) = (&lab.site, &lab.clients);
        for namespace in [site, clients] {
            ip(&format!("netns add {namespace}"));
            ip(&format!("-n {namespace} link set lo up"));
        }
        for (line, peer, network) in [("site0", "csite0", 1), ("cloud0", "ccloud0", 2)] {
            ip(&format!("-n {site} link add {line} type veth peer name {peer} netns {clients}"));
            ip(&format!("-n {site} addr add 10.99.{network}.1/24 dev {line}"));
            ip(&format!("-n {clients} addr add 10.99.{network}.2/24 dev {peer}"));
            ip(&format!("-n {site} link set {line} up"));
            ip(&format!("-n {clients} link set {peer} up"));
        }
        // Clients have any address of 10.64/10; answers go back on the line that they were asked on.
        ip(&format!("-n {clients} route add local 10.64.0.0/10 dev lo"));
        ip(&format!("-n {site} route add 10.64.0.0/10 via 10.99.1.2 dev site0"));
        ip(&format!("-n {site} route add 10.64.0.0/10 via 10.99.2.2 dev cloud0 table 200"));
        ip(&format!("-n {site} rule add from 10.99.2.1 table 200"));
        for filter in ["all", "cloud0", "site0"] {
            lab.at_site("sysctl", &["-qw", &format!("net.ipv4.conf.{filter}.rp_filter=0")]);
        }
        let rate = format!("{UPLINK_BITS_PER_SEC}bit");
        lab.at_site(
            "tc",
            &[
                "qdisc", "add", "dev", "site0", "root", "tbf", "rate", &rate, "burst", "16kb",
                "latency", "300ms",
            ],
        );
        lab
    }

    fn at_site(&self, command: &str, arguments: &[&str]) -> String {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.site, command])
            .args(arguments)
            .output()
            .expect("ip (iproute2) runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command} {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn in_namespace(namespace: &str, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(program);
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.site, &self.clients] {
            // What is left of it goes with the machine.
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

fn config(folder: &Path) -> String {
    let zone =
        include_str!("../../../../examples/example.test.zone").replace("127.0.2.1", "10.99.2.1");
    std::fs::write(folder.join("example.test.zone"), zone).unwrap();
    let text = |address: &str| Toml::from(address);
    let edits = [
        ("plan.state_dir", text("state")),
        // Not behind the uplink that it relieves: a full line would drop its answers too.
        ("dns.listen", text("10.99.2.1:5300")),
        ("dns.zone_files.0", text("example.test.zone")),
        ("site.0.vips.0", text("10.99.1.1")),
        ("site.0.balancer.listen", text("10.99.1.1:8080")),
        ("site.0.uplink.bits_per_sec", Toml::from(UPLINK_BITS_PER_SEC)),
        ("site.0.uplink.shape", Toml::from(false)),
        ("site.0.uplink.interface", text("site0")),
        // The way back is tested, not how long a site likes to wait for it.
        ("agent.share_dwell_secs", Toml::from(5)),
        ("agent.share_step_down", Toml::from(0.2)),
        ("cloud.slb_addresses.0", text("10.99.2.1")),
        ("cloud.local.listen", text("10.99.2.1:8080")),
    ];
    edited(include_str!("../../../../examples/spillway.toml"), &edits).unwrap()
}

#[test]
fn a_storm_over_a_real_line_is_spilled() {
    if !rustix::process::geteuid().is_root() {
        // Past the capture of test output, so that nobody takes silence for a pass.
        let _ = writeln!(
            std::io::stderr(),
            "NOT TESTED: the storm between network namespaces needs root"
        );
        return;
    }
    let _alone = alone();
    let lab = Lab::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spillway.toml");
    std::fs::write(&path, config(folder.path())).unwrap();

    let mut up = Lab::in_namespace(&lab.site, &program("spillway"));
    up.args(["--json", "--config"]).arg(&path).arg("up").stdout(std::process::Stdio::null());
    let _up = Process::adopt(up);
    let spillway = program("spillway").display().to_string();
    let config_path = path.display().to_string();
    let status = || -> Option<Value> {
        let output = Lab::in_namespace(&lab.site, Path::new(&spillway))
            .args(["--config", &config_path, "--json", "status"])
            .output()
            .ok()?;
        serde_json::from_slice(&output.stdout).ok()
    };
    let all_answer = |status: &Value| {
        let parts = status["parts"].as_array();
        parts.is_some_and(|parts| {
            !parts.is_empty() && parts.iter().all(|part| part["error"].is_null())
        })
    };
    wait_until("all parts answer", Duration::from_secs(30), || {
        status().as_ref().is_some_and(all_answer)
    });

    let report_path = folder.path().join("storm.json");
    let storm = Lab::in_namespace(&lab.clients, &program("spillway"))
        .args(["--config", &config_path, "storm", "--clients", "400", "--seed", "7", "--no-table"])
        .args(["--sources", "10.64.0.0", "--allow-remote", "--report"])
        .arg(&report_path)
        .args(["step", "20", "350", "5", "30"])
        .output()
        .unwrap();
    assert!(storm.status.success(), "{}", String::from_utf8_lossy(&storm.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(&report_path).unwrap()).unwrap();
    let totals = &report["totals"];
    let (arrivals, failed) =
        (totals["arrivals"].as_u64().unwrap(), totals["failed"].as_u64().unwrap());
    let cloud = totals["served"]["cloud"].as_u64().unwrap_or(0);
    assert!(arrivals > 8_000, "{totals:#}");
    assert!(cloud > arrivals / 2, "most of the storm is spilled: {totals:#}");
    assert!(failed * 1000 <= arrivals, "at most 0.1 % fail: {totals:#}");

    // The share stands while the line is under its cap, and comes back to nothing afterwards.
    let share = || status().and_then(|s| s["sites"]["east"]["share"].as_f64());
    wait_until("the share is back at 0", Duration::from_secs(90), || share() == Some(0.0));
    let dropped = lab.at_site("tc", &["-s", "qdisc", "show", "dev", "site0"]);
    assert!(dropped.contains("tbf"), "{dropped}");
}
