//! The rules of the load balancer: from method and path to a route and its function.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use spillway_model::load::RouteLoad;
use spillway_model::{Config, RouteId};
use spillway_part::counters::RouteCounters;

/// One route and where it leads.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) route: RouteId,
    method: Option<String>,
    /// Index among the configuration's functions.
    pub(crate) function: usize,
    /// From the request's head to the answer, without a cold start.
    pub(crate) deadline: Duration,
    pub(crate) counters: RouteCounters,
}

/// All routes that a function serves.
#[derive(Debug)]
pub(crate) struct Routes {
    /// Indices into `targets`, in the order of the configuration.
    paths: matchit::Router<Vec<usize>>,
    targets: Vec<Target>,
}

/// A route that cannot stand beside the others.
#[derive(Debug, thiserror::Error)]
#[error("the path of route `{route}` cannot be routed")]
pub struct BadRoute {
    route: RouteId,
    #[source]
    source: matchit::InsertError,
}

impl Routes {
    pub(crate) fn new(config: &Config) -> Result<Self, BadRoute> {
        let functions = &config.cloud.functions;
        let mut targets = Vec::new();
        let mut by_path: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for route in &config.routes {
            let Some(function) = functions.iter().position(|f| f.groups.contains(&route.group))
            else {
                continue;
            };
            by_path.entry(&route.path).or_default().push(targets.len());
            targets.push(Target {
                route: route.id.clone(),
                method: route.method.clone(),
                function,
                deadline: Duration::from_millis(route.deadline_ms),
                counters: RouteCounters::default(),
            });
        }
        let mut paths = matchit::Router::new();
        for (path, indices) in by_path {
            let route = targets[indices[0]].route.clone();
            paths.insert(path, indices).map_err(|source| BadRoute { route, source })?;
        }
        Ok(Self { paths, targets })
    }

    /// The route of a request. The rules of the load balancer look at paths alone, as those of
    /// `terraform/modules/public` do: what a method means is for the function to say. A request by
    /// HEAD counts as one by GET, and one by a method that no route has counts for the first.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Option<&Target> {
        let indices = self.paths.at(path).ok()?.value;
        let by = |method: &Method| {
            let fits = |target: &&Target| {
                target.method.as_deref().is_none_or(|wanted| wanted == method.as_str())
            };
            indices.iter().map(|index| &self.targets[*index]).find(fits)
        };
        let as_get = || (method == Method::HEAD).then(|| by(&Method::GET)).flatten();
        by(method).or_else(as_get).or_else(|| indices.first().map(|index| &self.targets[*index]))
    }

    /// The counters of all routes.
    pub(crate) fn load(&self) -> BTreeMap<RouteId, RouteLoad> {
        let read = |target: &Target| (target.route.clone(), target.counters.read());
        self.targets.iter().map(read).collect()
    }
}
