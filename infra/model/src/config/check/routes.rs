//! Routes: that each can be matched and has somewhere to go. Paths are put into the gateway's own
//! matcher, so there is no second definition of what it accepts.

use std::collections::HashMap;

use matchit::{InsertError, Router};

use super::super::Config;
use super::{Faults, is_host};

pub(super) fn check(config: &Config, faults: &mut Faults<'_>) {
    if config.routes.is_empty() {
        faults.at("route", "name at least one [[route]]");
    }
    let ids = config.routes.iter().enumerate().map(|(i, r)| (format!("route.{i}.id"), &r.id));
    faults.unique(ids, |id, _| format!("route `{id}` stands twice"));
    for (i, route) in config.routes.iter().enumerate() {
        if let Some(method) = &route.method
            && (method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase()))
        {
            let message = format!("`{method}` is no method: write capitals, for example \"GET\"");
            faults.at(format!("route.{i}.method"), message);
        }
        if let Some(host) = &route.host
            && !is_host(host)
        {
            let message = format!(
                "`{host}` is not a host name: write lower-case labels joined by dots, without a port"
            );
            faults.at(format!("route.{i}.host"), message);
        }
    }
    paths(config, faults);
    groups(config, faults);
}

/// What is wrong with a path by itself.
fn path_mistake(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("a path starts with `/`");
    }
    if path.contains(|c: char| c.is_whitespace() || c.is_control() || c == '?' || c == '#') {
        return Some("a path has no spaces, and no query or fragment");
    }
    match Router::new().insert(path, ()) {
        Ok(()) => None,
        Err(InsertError::InvalidParamSegment) => Some("between two `/` stands one {parameter}"),
        Err(InsertError::InvalidCatchAll) => Some("{*rest} stands at the end only, after a `/`"),
        Err(_) => Some("write a parameter as {name}, in one pair of braces"),
    }
}

/// Every path is a pattern, and no route hides another of its host.
fn paths(config: &Config, faults: &mut Faults<'_>) {
    // By host; the first route of each path of a host, and of each method of that.
    let mut routers: HashMap<_, Router<()>> = HashMap::new();
    let (mut firsts, mut methods) = (HashMap::new(), HashMap::new());
    for (i, route) in config.routes.iter().enumerate() {
        let (path, at) = (route.path.as_str(), format!("route.{i}.path"));
        if let Some(mistake) = path_mistake(path) {
            faults.at(at, format!("`{path}` cannot be routed: {mistake}"));
            continue;
        }
        if faults.made_up(&at) || faults.made_up(&format!("route.{i}.host")) {
            continue;
        }
        let host = route.host.as_deref();
        if !firsts.contains_key(&(host, path)) {
            let inserted = routers.entry(host).or_default().insert(path, ());
            if let Err(InsertError::Conflict { with }) = inserted {
                let first =
                    firsts.get(&(host, with.as_str())).map(|j: &usize| &config.routes[*j].id);
                let of = first.map(|id| format!(" of route `{id}`")).unwrap_or_default();
                let message = format!(
                    "`{path}` is told from `{with}`{of} by the name of a parameter only: write both paths alike, or change one"
                );
                faults.at(at, message);
                continue;
            }
            firsts.insert((host, path), i);
        }
        if faults.made_up(&format!("route.{i}.method")) {
            continue;
        }
        if let Some(j) = methods.insert((host, path, route.method.as_deref()), i) {
            let first = &config.routes[j].id;
            let message = format!(
                "`{path}` of this method is route `{first}` already; a second is never reached"
            );
            faults.at(at, message);
        }
    }
}

/// Every route's group is served by every site and by a function, or its requests would have
/// nowhere to go.
fn groups(config: &Config, faults: &mut Faults<'_>) {
    for (i, route) in config.routes.iter().enumerate() {
        let at = format!("route.{i}.group");
        let has = |groups: &[String]| groups.contains(&route.group);
        for (j, site) in config.sites.iter().enumerate() {
            if !site.services.iter().any(|service| has(&service.groups)) {
                let message =
                    format!("no service of site `{}` serves group `{}`", site.id, route.group);
                faults.between(&at, &[&format!("site.{j}.service.*.groups")], message);
            }
        }
        if !route.spill.is_empty() && !config.cloud.functions.iter().any(|f| has(&f.groups)) {
            let message = format!(
                "no function serves group `{}`; add it to a [[cloud.function]] or set spill = []",
                route.group
            );
            let with = ["cloud.function.*.groups", &format!("route.{i}.spill")];
            faults.between(&at, &with, message);
        }
    }
}
