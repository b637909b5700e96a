//! The authoritative name server: answers for the service's zones, and for the service's name it
//! answers site or cloud, as the plan says for each client.
//!
//! [`answer`] is the whole of it, a pure function from packet and [`Snapshot`] to packet; [`run`]
//! puts sockets around it. Data runs one way: master files → [`Zones`], plan → [`Steering`], both →
//! [`Snapshot`] → responses.

mod answer;
mod lookup;
mod master;
mod name;
mod query;
mod rdata;
mod reply;
mod serve;
mod steer;
mod tcp;
mod zone;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use spillway_model::Config;
use spillway_part::{Shutdown, StartError, follow, start};

pub use answer::{Outcome, Transport, answer};
pub use master::{Place, ZoneError};
pub use serve::{Sockets, serve};
pub use steer::{Explanation, Snapshot, Steering, explain};
pub use zone::Zones;

/// Why the name server ended.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its zones are wrong.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// Its admin listener failed.
    #[error("the admin listener of the name server failed")]
    Admin(#[source] std::io::Error),
}

/// Reads the zones of a configuration, with its steered names.
///
/// # Errors
/// When a zone file cannot be read or is wrong, or no zone has the name of the service.
pub fn zones(config: &Config) -> Result<Zones, ZoneError> {
    let files: Vec<_> = config.dns.zone_files.iter().map(|file| config.path(file)).collect();
    let mut zones = Zones::read(&files)?;
    zones.steer(&config.service.host)?;
    zones.cloud(&config.service.slb_host)?;
    Ok(zones)
}

/// Runs the name server of a configuration until `shutdown`.
///
/// # Errors
/// When it cannot start, or its admin listener fails.
pub async fn run(config: Arc<Config>, shutdown: Shutdown) -> Result<(), DnsError> {
    let zones = Arc::new(zones(&config)?);
    let sockets = Sockets {
        udp: start::listen_udp(config.dns.listen, "dns.listen").await?,
        tcp: start::listen_tcp(config.dns.listen, "dns.listen").await?,
        admin: start::listen_tcp(config.dns.admin, "dns.admin").await?,
    };
    let plans = follow::follow(&config, "dns", &shutdown)?;
    serve(&config, zones, sockets, plans, shutdown).await
}
