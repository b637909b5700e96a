//! What runs on the cloud's machines: a gateway and a service on each instance, and the functions.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use spillway_model::config::edited;
use spillway_test_aws::{Hooks, Machine};
use spillway_test_support::{Process, program, wait_until};
use toml::Table;

use super::home::{FUNCTION, GROUPS, PORT, load_balancer};

const SOON: Duration = Duration::from_secs(20);

/// What every machine is given before it starts: by Terraform's user data, the bucket, and secrets.
pub(super) struct Given {
    /// The configuration at home.
    pub(super) config: String,
    /// Where home keeps its state. The database there stands for a replica of it.
    pub(super) state: PathBuf,
    /// Where the machines' files go.
    pub(super) folder: PathBuf,
    /// Addresses at which nobody listens: the cloud has no balancer of its own, and functions have no
    /// gateways.
    pub(super) nobody: [Ipv4Addr; 2],
}

impl Given {
    /// The configuration of the cloud's side, written to a file of a name; its state is beside it.
    fn write(&self, name: &str, at: Ipv4Addr, cloud: &str) -> PathBuf {
        let [nobody, _] = self.nobody;
        let site = format!(
            r#"
                id = "east-cloud"
                vips = ["{nobody}"]
                uplink = {{ bits_per_sec = 10_000_000_000, queue_bytes = 10_000_000 }}
                capacity = {{ weighted_qps = 1000, p95_ms = 400 }}
                balancer = {{ listen = "{nobody}:{PORT}", admin = "{nobody}:9301" }}
                [[gateway]]
                name = "cloud-gateway"
                listen = "{at}:{PORT}"
                admin = "{at}:9311"
                [[service]]
                name = "cloud-service"
                listen = "{at}:8081"
                admin = "{at}:9321"
                groups = {GROUPS}
            "#
        );
        let table = |text: &str| toml::Value::from(text.parse::<Table>().unwrap());
        let state = self.folder.join(name);
        std::fs::create_dir_all(&state).unwrap();
        std::fs::copy(self.state.join("plan.pub"), state.join("plan.pub")).unwrap();
        let shard = format!("sqlite:{}", self.state.join("one-code.db").display());
        let text = edited(
            &self.config,
            &[
                ("site", vec![table(&site)].into()),
                ("cloud", table(cloud)),
                ("plan.state_dir", state.display().to_string().into()),
                ("store.shards", vec![shard].into()),
            ],
        );
        let path = self.folder.join(format!("{name}.toml"));
        std::fs::write(&path, text.unwrap()).unwrap();
        path
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        let secret = std::fs::read_to_string(self.state.join("one-code.key")).unwrap();
        command.env("ONE_CODE_SECRET", secret.trim()).env("SPILLWAY_LOG", "info");
        command
    }

    /// The functions of the cloud, behind an address that turns requests into events.
    pub(super) fn functions(&self, at: SocketAddr) -> Process {
        let cloud = format!(
            r#"
                slb_addresses = ["{ip}"]
                {FUNCTION}
                [local]
                listen = "{at}"
                admin = "{ip}:9401"
                cold_start_ms = 150
                environments_max = 1000
                burst_per_10s = 1000
            "#,
            ip = at.ip(),
        );
        let config = self.write("functions", self.nobody[1], &cloud);
        let mut command = self.program("spillway");
        command.arg("--config").arg(config).args(["run", "cloud"]);
        let process = Process::logged(&command, &self.folder.join("functions.log"));
        wait_until("functions are there", SOON, || TcpStream::connect(at).is_ok());
        process
    }

    /// What the user data of an instance starts: the service, and the gateway before it.
    fn instance(&self, machine: &Machine) -> [Process; 2] {
        let slb = load_balancer(&self.config).ip();
        let cloud = format!("slb_addresses = [\"{slb}\"]\n{FUNCTION}");
        let config = self.write(&machine.id, machine.address, &cloud);
        let log = |name: &str| self.folder.join(format!("{}-{name}.log", machine.id));
        let mut service = self.program("one-code");
        service.arg("--config").arg(&config).args(["--name", "cloud-service"]);
        let service = Process::logged(&service, &log("service"));
        let at = SocketAddr::from((machine.address, 8081));
        wait_until("the service of an instance is there", SOON, || TcpStream::connect(at).is_ok());
        let mut gateway = self.program("spillway");
        gateway.arg("--config").arg(&config).args(["run", "gateway", "cloud-gateway"]);
        [Process::logged(&gateway, &log("gateway")), service]
    }

    /// Requests that the gateway of an instance served.
    pub(super) fn served_by(&self, instance: &str) -> usize {
        let log = self.folder.join(instance).join("log/cloud-gateway.access.log");
        let text = std::fs::read_to_string(log).unwrap_or_default();
        text.lines().filter(|line| line.contains("\"outcome\":\"served\"")).count()
    }
}

/// Instances as processes.
#[derive(Default)]
pub(super) struct Machines {
    pub(super) given: OnceLock<Given>,
    running: Mutex<BTreeMap<String, [Process; 2]>>,
    ever: Mutex<Vec<String>>,
}

impl Machines {
    /// Instances that run now.
    pub(super) fn running(&self) -> usize {
        self.running.lock().unwrap().len()
    }

    /// Every instance that ever ran, in the order of their start.
    pub(super) fn ever(&self) -> Vec<String> {
        self.ever.lock().unwrap().clone()
    }
}

impl Hooks for Machines {
    fn booted(&self, machine: &Machine) {
        let processes = self.given.get().unwrap().instance(machine);
        self.ever.lock().unwrap().push(machine.id.clone());
        self.running.lock().unwrap().insert(machine.id.clone(), processes);
    }

    fn ended(&self, machine: &Machine) {
        let processes = self.running.lock().unwrap().remove(&machine.id);
        // The gateway before its service, each once it has drained.
        for mut process in processes.into_iter().flatten() {
            process.stop();
        }
    }
}
