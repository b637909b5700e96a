//! Addresses: that clients get through to those they are told, and that no two processes listen on
//! one.

use std::net::{IpAddr, SocketAddr};

use super::super::Config;
use super::Faults;

pub(super) fn check(config: &Config, faults: &mut Faults<'_>) {
    site_doors(config, faults);
    sources(config, faults);
    cloud_door(config, faults);
    listeners(config, faults);
}

/// Whether a listener on one address takes connections to another. The unspecified address of IPv6
/// takes those of IPv4 too.
fn takes(listen: IpAddr, address: IpAddr) -> bool {
    listen == address || listen.is_unspecified() && (listen.is_ipv6() || address.is_ipv4())
}

/// Clients ask site and cloud for the port of the service.
fn port(config: &Config, faults: &mut Faults<'_>, path: &str, listen: SocketAddr) {
    let port = config.service.port;
    if port != 0 && listen.port() != port {
        let message = format!(
            "`{listen}` is not on port {port}, which clients ask for: write {}, or change service.port",
            SocketAddr::new(listen.ip(), port)
        );
        faults.between(path, &["service.port"], message);
    }
}

/// What DNS answers must be an address that a client can connect to.
fn told(faults: &mut Faults<'_>, path: &str, address: IpAddr) {
    if address.is_unspecified() || address.is_multicast() {
        faults.at(path, format!("clients cannot connect to `{address}`; write the address of one"));
    }
}

fn site_doors(config: &Config, faults: &mut Faults<'_>) {
    for (i, site) in config.sites.iter().enumerate() {
        let (listen, path) = (site.balancer.listen, format!("site.{i}.balancer.listen"));
        port(config, faults, &path, listen);
        for (j, vip) in site.vips.iter().enumerate() {
            let at = format!("site.{i}.vips.{j}");
            told(faults, &at, *vip);
            if !takes(listen.ip(), *vip) {
                let message = format!(
                    "the balancer listens on {} and takes nothing for `{vip}`: write that address here, or let it listen on {}",
                    listen.ip(),
                    if vip.is_ipv6() { "[::]" } else { "0.0.0.0" },
                );
                faults.between(&at, &[&path], message);
            }
        }
    }
}

/// Gateways believe only the balancer who a client is, so they must know where it connects from.
fn sources(config: &Config, faults: &mut Faults<'_>) {
    for (i, site) in config.sites.iter().enumerate() {
        let (balancer, path) = (&site.balancer, format!("site.{i}.balancer"));
        let admin = balancer.admin.ip();
        let afar =
            admin.is_loopback() && !site.gateways.iter().all(|g| g.listen.ip().is_loopback());
        if balancer.forwards && !balancer.sources.is_empty() {
            let message =
                "with `forwards` nobody is believed by a PROXY header: write one or the other";
            faults.at(format!("{path}.sources"), message.to_owned());
        }
        let announces = !balancer.forwards && balancer.sources.is_empty();
        if announces && (admin.is_unspecified() || afar) {
            let message = "gateways believe the balancer only who a client is: write the addresses from \
                           which it connects to them, as sources = [\"IP\"]";
            let with = [&*format!("{path}.sources"), &format!("site.{i}.gateway.*.listen")];
            faults.between(&format!("{path}.admin"), &with, message);
        }
        for (j, source) in balancer.sources.iter().enumerate() {
            if source.is_unspecified() {
                let message = format!(
                    "`{source}` is no address to connect from: write those from which the balancer \
                     connects to the gateways"
                );
                faults.at(format!("{path}.sources.{j}"), message);
            }
        }
    }
}

fn cloud_door(config: &Config, faults: &mut Faults<'_>) {
    let slb = &config.cloud.slb_addresses;
    for (j, address) in slb.iter().enumerate() {
        let at = format!("cloud.slb_addresses.{j}");
        told(faults, &at, *address);
        for (i, site) in config.sites.iter().enumerate() {
            for (k, _) in site.vips.iter().enumerate().filter(|(_, vip)| *vip == address) {
                let message = format!(
                    "`{address}` is a VIP of site `{}`: spilled clients would come back to it",
                    site.id
                );
                faults.between(&at, &[&format!("site.{i}.vips.{k}")], message);
            }
        }
    }
    let Some(local) = &config.cloud.local else { return };
    port(config, faults, "cloud.local.listen", local.listen);
    if !slb.is_empty() && !slb.iter().any(|address| takes(local.listen.ip(), *address)) {
        let message = format!(
            "`{}` is none of cloud.slb_addresses, to which clients are sent: listen on one of them",
            local.listen.ip()
        );
        faults.between("cloud.local.listen", &["cloud.slb_addresses"], message);
    }
}

/// No two processes can listen on one address. Port 0 (any free port) never clashes, and each
/// machine has an unspecified address of its own.
fn listeners(config: &Config, faults: &mut Faults<'_>) {
    let mut all = vec![
        ("dns.listen".to_owned(), config.dns.listen),
        ("dns.admin".to_owned(), config.dns.admin),
        ("agent.listen".to_owned(), config.agent.listen),
    ];
    for (i, site) in config.sites.iter().enumerate() {
        let mut add = |part: String, listen, admin| {
            all.push((format!("site.{i}.{part}.listen"), listen));
            all.push((format!("site.{i}.{part}.admin"), admin));
        };
        add("balancer".to_owned(), site.balancer.listen, site.balancer.admin);
        for (j, gateway) in site.gateways.iter().enumerate() {
            add(format!("gateway.{j}"), gateway.listen, gateway.admin);
        }
        for (j, service) in site.services.iter().enumerate() {
            add(format!("service.{j}"), service.listen, service.admin);
        }
    }
    if let Some(local) = &config.cloud.local {
        all.push(("cloud.local.listen".to_owned(), local.listen));
        all.push(("cloud.local.admin".to_owned(), local.admin));
    }
    if let Some(aws) = &config.cloud.aws {
        all.push(("cloud.aws.admin".to_owned(), aws.admin));
        let endpoint = aws.alarm_endpoint.iter();
        all.extend(endpoint.map(|e| ("cloud.aws.alarm_endpoint.listen".to_owned(), e.listen)));
    }
    all.retain(|(_, address)| address.port() != 0 && !address.ip().is_unspecified());
    faults.unique(all, |address, first| {
        format!("{address} is taken by {first}; give each its own address or port")
    });
}
