//! Sites that help one another.

use super::super::Config;
use super::{Faults, is_host};

pub(super) fn check(config: &Config, faults: &mut Faults<'_>) {
    for (i, site) in config.sites.iter().enumerate() {
        if let Some(host) = &site.host {
            name(config, faults, &format!("site.{i}.host"), host);
        }
        let names = site.helped_by.iter().enumerate();
        let names = names.map(|(j, id)| (format!("site.{i}.helped_by.{j}"), id));
        for (path, id) in names.clone() {
            if *id == site.id {
                faults.between(&path, &["site.*.id"], format!("`{id}` cannot help itself"));
                continue;
            }
            let Some(place) = config.sites.iter().position(|other| other.id == *id) else {
                faults.between(&path, &["site.*.id"], format!("there is no site `{id}`"));
                continue;
            };
            if config.sites[place].host.is_none() {
                let message = format!(
                    "`{id}` has no name of its own that clients could be sent to: give that site a host"
                );
                faults.between(&path, &[&format!("site.{place}.host")], message);
            }
        }
        faults.unique(names, |id, _| format!("site `{id}` stands twice"));
    }
    let hosts = config.sites.iter().enumerate();
    let hosts = hosts.filter_map(|(i, site)| Some((format!("site.{i}.host"), site.host.as_ref()?)));
    faults.unique(hosts, |host, earlier| format!("`{host}` is the name at {earlier} too"));
}

/// A site's own name, which says where a request was sent: it is nobody else's.
fn name(config: &Config, faults: &mut Faults<'_>, path: &str, host: &str) {
    if !(is_host(host) && host.contains('.')) {
        let message = format!(
            "`{host}` is not a host name: write lower-case labels joined by dots, with no dot at the end"
        );
        faults.at(path, message);
    }
    let service = [("host", &config.service.host), ("slb_host", &config.service.slb_host)];
    for (key, name) in service {
        if host == name {
            let key = format!("service.{key}");
            let message =
                format!("`{host}` must differ from {key}: it is a name of this site alone");
            faults.between(path, &[&key], message);
        }
    }
}
