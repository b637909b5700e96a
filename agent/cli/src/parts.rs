//! Which processes a configuration describes, where each listens, and how each is started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;
use spillway_model::Config;

/// One process to run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PartSpec {
    /// Its name, unique among the parts.
    pub name: String,
    /// Its kind, for people.
    pub kind: &'static str,
    /// Where it takes work, with protocol and the field of the configuration that says so.
    pub listen: Vec<Listen>,
    /// Where it answers `/healthz`.
    pub health: SocketAddr,
    /// Program.
    #[serde(skip)]
    pub program: PathBuf,
    /// And arguments.
    #[serde(skip)]
    pub arguments: Vec<String>,
}

/// One address.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Listen {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// The field of the configuration.
    pub field: String,
}

/// All processes, in the order in which they are started: what serves before what it serves.
pub(crate) fn parts(
    config: &Config,
    config_path: &Path,
    spillway: &Path,
    one_code: &Path,
) -> Vec<PartSpec> {
    let file = config_path.display().to_string();
    let ours = |name: &str, kind, run: &[&str], listen: Vec<Listen>, health| PartSpec {
        name: name.to_owned(),
        kind,
        listen,
        health,
        program: spillway.to_owned(),
        arguments: ["--config", &file, "run"].iter().chain(run).map(ToString::to_string).collect(),
    };
    let mut parts = Vec::new();
    let agent = config.agent.listen;
    parts.push(ours(
        "agent",
        "agent",
        &["agent"],
        vec![tcp(agent, "agent.listen".to_owned())],
        agent,
    ));
    for (i, site) in config.sites.iter().enumerate() {
        for (j, service) in site.services.iter().enumerate() {
            let at = |key| format!("site.{i}.service.{j}.{key}");
            parts.push(PartSpec {
                name: service.name.clone(),
                kind: "service",
                listen: vec![tcp(service.listen, at("listen")), tcp(service.admin, at("admin"))],
                health: service.admin,
                program: one_code.to_owned(),
                arguments: ["--config", &file, "--name", &service.name].map(str::to_owned).to_vec(),
            });
        }
    }
    if let Some(local) = &config.cloud.local {
        let listen = vec![
            tcp(local.listen, "cloud.local.listen".to_owned()),
            tcp(local.admin, "cloud.local.admin".to_owned()),
        ];
        parts.push(ours("cloud", "cloud", &["cloud"], listen, local.admin));
    }
    for (i, site) in config.sites.iter().enumerate() {
        for (j, gateway) in site.gateways.iter().enumerate() {
            let at = |key| format!("site.{i}.gateway.{j}.{key}");
            let listen = vec![tcp(gateway.listen, at("listen")), tcp(gateway.admin, at("admin"))];
            parts.push(ours(
                &gateway.name,
                "gateway",
                &["gateway", &gateway.name],
                listen,
                gateway.admin,
            ));
        }
        let at = |key| format!("site.{i}.balancer.{key}");
        let balancer = &site.balancer;
        let listen = vec![tcp(balancer.listen, at("listen")), tcp(balancer.admin, at("admin"))];
        let name = format!("{}-balancer", site.id);
        parts.push(ours(
            &name,
            "balancer",
            &["balancer", site.id.as_str()],
            listen,
            balancer.admin,
        ));
    }
    let listen = vec![
        udp(config.dns.listen, "dns.listen".to_owned()),
        tcp(config.dns.listen, "dns.listen".to_owned()),
        tcp(config.dns.admin, "dns.admin".to_owned()),
    ];
    parts.push(ours("dns", "dns", &["dns"], listen, config.dns.admin));
    parts
}

fn tcp(address: SocketAddr, field: String) -> Listen {
    Listen { protocol: "tcp", address, field }
}

fn udp(address: SocketAddr, field: String) -> Listen {
    Listen { protocol: "udp", address, field }
}
