//! The route table: from host, method and path to a route. Pure; built once from the configuration.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use http::Method;
use matchit::Router;
use spillway_model::config::Config;
use spillway_model::plan::SpillMode;
use spillway_model::{KnobId, RouteId, Tier};

/// Why a route cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// Its path is no pattern, or clashes with that of an earlier route.
    #[error("the path `{path}` of route `{id}` cannot be routed")]
    Path {
        /// Which route.
        id: RouteId,
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: matchit::InsertError,
    },
    /// Another route has the same host, path and method.
    #[error("route `{id}` can never be reached: route `{first}` has its host, path and method")]
    Hidden {
        /// Which route.
        id: RouteId,
        /// The other.
        first: RouteId,
    },
}

/// One route with what a request of it needs.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) id: RouteId,
    /// Its pattern.
    pub(crate) path: String,
    pub(crate) group: String,
    pub(crate) deadline: Duration,
    pub(crate) body_bytes_max: u64,
    pub(crate) spill: Vec<SpillMode>,
    /// What a request of it weighs.
    pub(crate) weight: f64,
    /// The knobs that shed it, mildest tier first.
    pub(crate) shed_by: Vec<(KnobId, Tier)>,
}

/// What a request matches.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The route of this index.
    Route(usize),
    /// The path exists, for these methods only: the value of an `Allow` header.
    Methods(String),
    Nothing,
}

/// Routes that share a host and a path: method (any when `None`) and index.
type Methods = Vec<(Option<Method>, usize)>;

/// The routes of a configuration, to be found by host, method and path.
#[derive(Debug)]
pub struct Table {
    routes: Vec<Route>,
    /// By host; the routes that apply to any host stand apart.
    hosts: HashMap<String, Router<Methods>>,
    any: Router<Methods>,
    /// What stands between the slashes of the routes' paths, parameters aside.
    words: HashSet<String>,
}

impl Table {
    /// The routes of `config`.
    ///
    /// # Errors
    /// When a path is no pattern, clashes with another, or hides a route.
    pub fn new(config: &Config) -> Result<Self, RouteError> {
        let mut paths: Vec<(Option<&str>, &str, Methods)> = Vec::new();
        let mut routes = Vec::new();
        for (i, route) in config.routes.iter().enumerate() {
            let method = route.method.as_ref().and_then(|m| Method::from_bytes(m.as_bytes()).ok());
            let (host, path) = (route.host.as_deref(), route.path.as_str());
            match paths.iter_mut().find(|(h, p, _)| (*h, *p) == (host, path)) {
                Some((_, _, methods)) => {
                    if let Some((_, first)) = methods.iter().find(|(m, _)| *m == method) {
                        let first = config.routes[*first].id.clone();
                        return Err(RouteError::Hidden { id: route.id.clone(), first });
                    }
                    methods.push((method, i));
                }
                None => paths.push((host, path, vec![(method, i)])),
            }
            let mut shed_by: Vec<_> = config
                .knobs
                .iter()
                .filter(|knob| knob.sheds.contains(&route.id))
                .map(|knob| (knob.id.clone(), knob.tier))
                .collect();
            shed_by.sort_by_key(|(_, tier)| *tier);
            routes.push(Route {
                id: route.id.clone(),
                path: route.path.clone(),
                group: route.group.clone(),
                deadline: Duration::from_millis(route.deadline_ms),
                body_bytes_max: route.body_bytes_max,
                spill: route.spill.clone(),
                weight: route.weight,
                shed_by,
            });
        }
        let words = routes.iter().flat_map(|route: &Route| route.path.split('/'));
        let words = words.filter(|word| !word.contains('{')).map(str::to_owned).collect();
        let mut table = Self { routes, hosts: HashMap::new(), any: Router::new(), words };
        for (host, path, methods) in paths {
            let id = methods.first().map(|(_, i)| *i).unwrap_or_default();
            let router = match host {
                Some(host) => table.hosts.entry(host.to_ascii_lowercase()).or_default(),
                None => &mut table.any,
            };
            router.insert(path, methods).map_err(|source| RouteError::Path {
                id: config.routes[id].id.clone(),
                path: path.to_owned(),
                source,
            })?;
        }
        Ok(table)
    }

    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The route of a request. `host` is without port; a method of no name has no route.
    #[must_use]
    pub fn id_of(&self, host: Option<&str>, method: &str, path: &str) -> Option<&RouteId> {
        match self.find(host, &Method::from_bytes(method.as_bytes()).ok()?, path) {
            Found::Route(place) => self.routes.get(place).map(|route| &route.id),
            Found::Methods(_) | Found::Nothing => None,
        }
    }

    /// Whether a route is for this host alone.
    pub(crate) fn has_host(&self, host: &str) -> bool {
        self.of_host(host).is_some()
    }

    fn of_host(&self, host: &str) -> Option<&Router<Methods>> {
        self.hosts.get(host).or_else(|| self.hosts.get(host.to_ascii_lowercase().as_str()))
    }

    /// A path with `*` for every part that is not a word of some route's path.
    pub(crate) fn mask(&self, path: &str) -> String {
        let parts = path.split('/');
        let parts: Vec<_> =
            parts.map(|part| if self.words.contains(part) { part } else { "*" }).collect();
        parts.join("/")
    }

    /// What a request matches. `host` is without port. Routes of that host go before those of any;
    /// a route for GET takes HEAD too.
    pub(crate) fn find(&self, host: Option<&str>, method: &Method, path: &str) -> Found {
        let of_host = host.and_then(|host| self.of_host(host));
        let mut allowed = Vec::new();
        for router in [of_host, Some(&self.any)].into_iter().flatten() {
            let Ok(found) = router.at(path) else { continue };
            let of = |wanted: Option<&Method>| {
                found.value.iter().find(|(m, _)| m.as_ref() == wanted).map(|(_, i)| *i)
            };
            let as_get = || if method == Method::HEAD { of(Some(&Method::GET)) } else { None };
            if let Some(i) = of(Some(method)).or_else(as_get).or_else(|| of(None)) {
                return Found::Route(i);
            }
            allowed.extend(found.value.iter().filter_map(|(m, _)| m.as_ref()));
        }
        if allowed.is_empty() {
            return Found::Nothing;
        }
        let mut names: Vec<&str> = allowed.iter().map(|method| method.as_str()).collect();
        if names.contains(&"GET") {
            names.push("HEAD");
        }
        names.sort_unstable();
        names.dedup();
        Found::Methods(names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn table(more: &str) -> Result<Table, RouteError> {
        let text = include_str!("../../../examples/spillway.toml");
        let text = format!("{text}\n{more}");
        Table::new(&Config::parse(&text, Path::new("")).unwrap())
    }

    #[test]
    fn routes_by_host_method_and_path() {
        let table = table(
            "[[route]]\nid = \"own-host\"\nhost = \"other.example.test\"\npath = \"/v1/notices\"\ngroup = \"notices\"\n\
             [[route]]\nid = \"files\"\npath = \"/files/{*rest}\"\ngroup = \"notices\"",
        )
        .unwrap();
        let id = |host, method: &str, path| match table.find(
            host,
            &Method::from_bytes(method.as_bytes()).unwrap(),
            path,
        ) {
            Found::Route(i) => table.routes()[i].id.to_string(),
            Found::Methods(allow) => format!("405 {allow}"),
            Found::Nothing => "404".to_owned(),
        };
        assert_eq!(id(None, "GET", "/v1/users/7/code"), "code");
        assert_eq!(id(None, "HEAD", "/v1/users/7/code"), "code");
        assert_eq!(id(None, "DELETE", "/v1/users/7/code"), "405 GET, HEAD");
        assert_eq!(id(None, "GET", "/v1/users"), "405 POST");
        assert_eq!(id(Some("Other.Example.test"), "DELETE", "/v1/notices"), "own-host");
        assert_eq!(id(Some("other.example.test"), "POST", "/v1/scans"), "scan");
        assert_eq!(id(Some("code.example.test"), "GET", "/v1/notices"), "notices");
        assert_eq!(id(None, "PUT", "/files/a/b"), "files");
        assert_eq!(id(None, "GET", "/"), "404");
    }

    #[test]
    fn a_masked_path_tells_nobody() {
        let table = table("").unwrap();
        for (path, masked) in [
            ("/v1/users/7f3a/code", "/v1/users/*/code"),
            ("/v1/users/7f3a/codes", "/v1/users/*/*"),
            ("/wp-admin/login?x", "/*/*"),
            ("/{user}", "/*"),
            ("/", "/"),
            ("*", "*"),
        ] {
            assert_eq!(table.mask(path), masked, "{path}");
        }
    }

    #[test]
    fn knobs_come_mildest_first() {
        let knob = "[[knob]]\nid = \"early\"\ntier = 2\nowner = \"o\"\nusers_see = \"u\"\nreleases = 0.1\nsheds = [\"stats\"]";
        let table = table(knob).unwrap();
        let stats = table.routes().iter().find(|route| route.id.as_str() == "stats").unwrap();
        let knobs: Vec<_> = stats.shed_by.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(knobs, ["early", "essential-only"]);
    }

    #[test]
    fn routes_that_cannot_work_are_errors() {
        let text = include_str!("../../../examples/spillway.toml");
        let with = |method: &str, path: &str| {
            let mut config = Config::parse(text, Path::new("")).unwrap();
            let mut route = config.routes[1].clone();
            route.id = RouteId::new("more").unwrap();
            (route.method, route.path) = (Some(method.to_owned()), path.to_owned());
            config.routes.push(route);
            Table::new(&config)
        };
        assert!(matches!(with("GET", "/v1/users/{id}/code"), Err(RouteError::Path { .. })));
        assert!(matches!(with("GET", "/v1/notices"), Err(RouteError::Hidden { .. })));
        assert!(with("PUT", "/v1/notices").is_ok());
    }
}
