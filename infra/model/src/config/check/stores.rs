//! Where the reference service keeps its data, and where copies of the plan are kept: URLs that their
//! drivers will take.

use super::super::Config;
use super::Faults;

const SHARD: &str = "write sqlite:FILE or postgres://USER@HOST/DATABASE";
const REPLICA: &str = "write postgres://USER@HOST/DATABASE, or \"\" for a shard without";
const CACHE: &str = "write \"process\" or redis://HOST:PORT, with TLS rediss://HOST:PORT";
const MIRROR: &str = "write redis://HOST:PORT, with TLS rediss://HOST:PORT";

/// Most copies of the plan that the agent keeps.
const MIRRORS_MAX: usize = 8;

pub(super) fn check(config: &Config, faults: &mut Faults<'_>) {
    let store = &config.store;
    if store.shards.is_empty() {
        let message = "name at least one database, for example \"sqlite:one-code.db\"";
        faults.at("store.shards", message);
    }
    for (i, url) in store.shards.iter().enumerate() {
        if let Some(mistake) = shard_mistake(url) {
            let message = format!("`{}` {mistake}: {SHARD}", without_password(url));
            faults.at(format!("store.shards.{i}"), message);
        }
    }
    let shards = store.shards.iter().enumerate();
    let shards = shards.map(|(i, url)| (format!("store.shards.{i}"), url));
    let replicas = store.replicas.iter().enumerate().filter(|(_, url)| !url.is_empty());
    let replicas = replicas.map(|(i, url)| (format!("store.replicas.{i}"), url));
    faults.unique(shards.chain(replicas), |url, _| {
        format!(
            "`{}` stands twice; each shard and each replica is a database of its own",
            without_password(url)
        )
    });
    check_replicas(&store.replicas, &store.shards, faults);
    if store.cache != "process"
        && let Some(mistake) = redis_mistake(&store.cache)
    {
        faults
            .at("store.cache", format!("`{}` {mistake}: {CACHE}", without_password(&store.cache)));
    }
    check_mirrors(&config.plan.mirrors, faults);
}

fn check_replicas(replicas: &[String], shards: &[String], faults: &mut Faults<'_>) {
    if !replicas.is_empty() && replicas.len() != shards.len() {
        let (have, want) = (replicas.len(), shards.len());
        let message = format!("there are {have} replicas for {want} shards; {REPLICA}");
        faults.at("store.replicas", message);
    }
    for (i, url) in replicas.iter().enumerate().filter(|(_, url)| !url.is_empty()) {
        let is_file = |url: &String| url.starts_with("sqlite:");
        let mistake = if is_file(url) || shards.get(i).is_some_and(is_file) {
            Some("is of a shard that is a file, or is one")
        } else {
            shard_mistake(url)
        };
        if let Some(mistake) = mistake {
            let message = format!("`{}` {mistake}: {REPLICA}", without_password(url));
            faults.at(format!("store.replicas.{i}"), message);
        }
    }
}

fn check_mirrors(mirrors: &[String], faults: &mut Faults<'_>) {
    for (i, url) in mirrors.iter().enumerate() {
        if let Some(mistake) = redis_mistake(url) {
            let message = format!("`{}` {mistake}: {MIRROR}", without_password(url));
            faults.at(format!("plan.mirrors.{i}"), message);
        }
    }
    let each = mirrors.iter().enumerate();
    faults.unique(each.map(|(i, url)| (format!("plan.mirrors.{i}"), url)), |url, _| {
        format!("`{}` stands twice; one copy of the plan is enough there", without_password(url))
    });
    if mirrors.len() > MIRRORS_MAX {
        let message = format!("there are {} mirrors; write {MIRRORS_MAX} at most", mirrors.len());
        faults.at("plan.mirrors", message);
    }
}

fn shard_mistake(url: &str) -> Option<&'static str> {
    let postgres = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    if let Some(rest) = postgres {
        let (host, tail) = match authority(rest) {
            Ok(parts) => parts,
            Err(mistake) => return Some(mistake),
        };
        let (database, query) = tail.split_once('?').unwrap_or((tail, ""));
        // A socket's folder stands in the query, and the host is empty then.
        if host.is_empty() && !query.split('&').any(|pair| pair.starts_with("host=")) {
            return Some("names no host");
        }
        return matches!(database, "" | "/").then_some("names no database");
    }
    let file = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"));
    match file {
        // A database in memory would be another one for every connection.
        Some(file) if file.is_empty() || file.contains(['?', ':']) => {
            Some("is not the path of a file without parameters")
        }
        Some(_) => None,
        None => Some("is of no known kind"),
    }
}

fn redis_mistake(url: &str) -> Option<&'static str> {
    let Some(rest) = url.strip_prefix("redis://").or_else(|| url.strip_prefix("rediss://")) else {
        return Some("is of no known kind");
    };
    match authority(rest) {
        Err(mistake) => Some(mistake),
        Ok(("", _)) => Some("names no host"),
        Ok((_, tail)) => {
            let path = tail.split('?').next().unwrap_or_default().trim_start_matches('/');
            let number = path.is_empty() || path.parse::<u16>().is_ok();
            (!number).then_some("has no number for its database")
        }
    }
}

/// Host and what comes after the authority of a URL without its scheme.
fn authority(rest: &str) -> Result<(&str, &str), &'static str> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // The colons of an IPv6 address stand in brackets.
    let (host, port) = match host_and_port.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (host_and_port, None),
    };
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|n| n > 0)) {
        return Err("has no port from 1 to 65535 after its last colon");
    }
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.contains([' ', '[', ']', ':']) && !bracketed {
        return Err("has a malformed host");
    }
    Ok((host, tail))
}

/// A URL as it may be shown: what stands between a user's name and the host is left out.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host)))
    {
        Some((name, host)) => format!("{scheme}://{name}:…@{host}{tail}"),
        None => url.to_owned(),
    }
}
