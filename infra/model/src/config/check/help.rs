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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::Config;

    const EXAMPLE: &str = include_str!("../../../../../examples/spillway.toml");

    /// The example with a second site like the first, and more lines for each.
    fn two(east: &str, west: &str) -> Result<Config, Vec<String>> {
        let (start, end) = (EXAMPLE.find("[[site]]").unwrap(), EXAMPLE.find("[cloud]").unwrap());
        let with = |lines: &str| {
            let vips = "vips = [\"127.0.1.1\"]";
            EXAMPLE[start..end].replace(vips, &format!("{vips}\n{lines}"))
        };
        let second = with(west)
            .replace("east", "west")
            .replace("127.0.1.", "127.0.3.")
            .replace("127.0.0.1:93", "127.0.0.1:95");
        let text = [&EXAMPLE[..start], &with(east), &second, &EXAMPLE[end..]].concat();
        Config::parse(&text, Path::new("."))
            .map_err(|problems| problems.0.iter().map(|problem| problem.message.clone()).collect())
    }

    #[test]
    fn sites_that_help_are_other_sites_with_names() {
        let config = two("helped_by = [\"west\"]", "host = \"w.example.test\"").unwrap();
        assert_eq!(config.sites[0].helped_by, [config.sites[1].id.clone()]);
        assert!(two("", "").unwrap().sites[0].helped_by.is_empty());
        for (east, west, expected) in [
            ("helped_by = [\"east\"]", "", "`east` cannot help itself"),
            ("helped_by = [\"north\"]", "", "there is no site `north`"),
            ("helped_by = [\"west\"]", "", "`west` has no name of its own"),
            ("helped_by = [\"west\", \"west\"]", "host = \"w.test\"", "site `west` stands twice"),
            ("", "host = \"code.example.test\"", "must differ from service.host"),
            ("", "host = \"cloud.example.test\"", "must differ from service.slb_host"),
            ("", "host = \"West.test\"", "is not a host name"),
            ("host = \"a.test\"", "host = \"a.test\"", "is the name at site.0.host too"),
        ] {
            let found = two(east, west).unwrap_err();
            assert_eq!(found.len(), 1, "{east} {west}: {found:?}");
            assert!(found[0].contains(expected), "{expected}: {found:?}");
        }
    }
}
