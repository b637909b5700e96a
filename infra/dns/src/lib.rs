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
pub use master::{Place, ZoneError, ZoneErrors};
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
    Zone(#[from] ZoneErrors),
    /// Its admin listener failed.
    #[error("the admin listener of the name server failed")]
    Admin(#[source] std::io::Error),
}

/// Reads the zones of a configuration, with its steered names.
///
/// # Errors
/// All that is wrong: with the files, or with the names once every file is good.
pub fn zones(config: &Config) -> Result<Zones, ZoneErrors> {
    let files: Vec<_> = config.dns.zone_files.iter().map(|file| config.path(file)).collect();
    let mut zones = Zones::read(&files)?;
    let steered = zones.steer(&config.service.host);
    let cloud = &config.cloud;
    let cloud = zones.cloud(&config.service.slb_host, cloud.local.is_some(), &cloud.slb_addresses);
    let named = config.sites.iter().enumerate().filter_map(|(place, site)| {
        let host = site.host.as_deref()?;
        Some(zones.site(place, host, &site.vips))
    });
    let named: Vec<_> = named.collect();
    let errors: Vec<_> =
        [steered, cloud].into_iter().chain(named).filter_map(Result::err).collect();
    if errors.is_empty() { Ok(zones) } else { Err(ZoneErrors(errors)) }
}

/// Runs the name server of a configuration until `shutdown`.
///
/// # Errors
/// When it cannot start, or its admin listener fails.
pub async fn run(config: Arc<Config>, shutdown: Shutdown) -> Result<(), DnsError> {
    let zones = Arc::new(zones(&config)?);
    // What is asked while the name server is started anew waits in its sockets.
    let sockets = Sockets {
        udp: start::listen_udp_kept(config.dns.listen, "dns.listen").await?,
        tcp: start::listen_tcp_kept(config.dns.listen, "dns.listen").await?,
        admin: start::listen_tcp(config.dns.admin, "dns.admin").await?,
    };
    let plans = follow::follow(&config, "dns", &shutdown)?;
    serve(&config, zones, sockets, plans, shutdown).await
}
