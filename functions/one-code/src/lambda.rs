//! The service as a Lambda function behind an ALB.
//!
//! An environment serves one request at a time and starts when a request already waits, so its start
//! does no more than it must: the plan is asked for beside the secrets, the database is opened and its
//! schema looked at beside the wait for the first event. What the environment holds is small: one
//! thread, one connection a shard, one a replica, and one to Redis, all used again by later requests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lambda_runtime::{LambdaEvent, service_fn};
use spillway_model::config::Function;
use spillway_part::{Shutdown, StartError, clock, start};
use spillway_secrets::{SecretsError, report_init_error, resolve};
use spillway_store::{Cache, Options};

use crate::alb;
use crate::plan_on_use::PlanOnUse;
use crate::set_up::{Service, SetUpError, Setting};

/// How a function uses its data. A request that waits for a connection and for two statements has its
/// answer, be it that the data is away, before the ten seconds that a function is given are over.
const DATABASE: Options = Options {
    max_connections: 1,
    acquire_timeout: Duration::from_secs(2),
    statement_timeout: Duration::from_secs(3),
};

/// What the function is told by its environment.
#[derive(Debug, Clone)]
pub struct Environment {
    /// `SPILLWAY_CONFIG`: the configuration file.
    pub config: PathBuf,
    /// Which `[[cloud.function]]` this is: `SPILLWAY_FUNCTION`, for on AWS names carry the site set's
    /// in front, else `AWS_LAMBDA_FUNCTION_NAME`.
    pub function: String,
    /// `SPILLWAY_CACHE`: a Redis that is the cache in place of `store.cache`, and where the plan is read
    /// instead of at the agent.
    pub cache: Option<String>,
}

/// Why a function could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum LambdaError {
    /// A variable that the Lambda environment sets is missing.
    #[error("the variable {0} is not set: set it in the function's environment")]
    Variable(&'static str),
    /// The configuration or the key of plans.
    #[error(transparent)]
    Start(#[from] StartError),
    /// `ONE_CODE_SECRET`, `PGPASSWORD` or `SPILLWAY_REPLICAS`.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// What the service is made of.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
    /// The Runtime API.
    #[error("the Runtime API failed")]
    Runtime(#[source] lambda_runtime::Error),
}

impl Environment {
    /// Reads it from variables as `lookup` gives them.
    ///
    /// # Errors
    /// When one is missing that must be there.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, LambdaError> {
        let needed = |name: &'static str| lookup(name).ok_or(LambdaError::Variable(name));
        // The runtime library needs these too and would panic without them.
        needed("AWS_LAMBDA_FUNCTION_VERSION")?;
        needed("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")?;
        Ok(Self {
            config: needed("SPILLWAY_CONFIG")?.into(),
            function: match lookup("SPILLWAY_FUNCTION") {
                Some(function) => function,
                None => needed("AWS_LAMBDA_FUNCTION_NAME")?,
            },
            cache: lookup("SPILLWAY_CACHE").filter(|url| !url.is_empty()),
        })
    }
}

/// Serves events until the Runtime API goes away, with the variables that `lookup` gives. SIGTERM is
/// left to the system: it ends the process at once, which is right for a process that holds nothing.
///
/// # Errors
/// When the function cannot begin, which the Runtime API is told too, or the Runtime API fails.
pub async fn run(lookup: impl Fn(&str) -> Option<String>) -> Result<(), LambdaError> {
    let (plan_on_use, service) = match begin(&lookup).await {
        Ok(begun) => begun,
        Err(e) => {
            report_init_error(&lookup, "OneCodeNotBegun", &e).await;
            return Err(e);
        }
    };
    let (plan_on_use, router) = (Arc::new(plan_on_use), service.router.clone());
    tokio::spawn(async move { service.prepare(0).await });
    let service = service_fn(move |event: LambdaEvent<alb::Event>| {
        let (plan_on_use, router) = (plan_on_use.clone(), router.clone());
        async move {
            plan_on_use.before_request(clock::instant()).await;
            alb::serve(router, event.payload).await.map_err(lambda_runtime::Error::from)
        }
    });
    lambda_runtime::run(service).await.map_err(LambdaError::Runtime)
}

async fn begin(
    lookup: &impl Fn(&str) -> Option<String>,
) -> Result<(PlanOnUse, Service), LambdaError> {
    let environment = Environment::read(lookup)?;
    let config = start::load_config(&environment.config)?;
    let function = function(&config.cloud.functions, &environment.function)?;
    let cache = environment.cache.as_ref().unwrap_or(&config.store.cache);
    let cache = Cache::open(cache).map_err(SetUpError::Store)?;
    let mirror = environment.cache.and_then(|_| cache.mirror(&config.service.host));
    let plan_on_use = PlanOnUse::new(&config, mirror)?;
    plan_on_use.look(clock::instant());
    // The look goes on meanwhile. Without its key the service can answer nothing, so this is waited for.
    let names = ["ONE_CODE_SECRET", "PGPASSWORD", "SPILLWAY_REPLICAS"];
    let [secret, password, replicas] = resolve(names, lookup).await?;
    let setting = Setting {
        groups: &function.groups,
        secret: secret.as_deref(),
        database: DATABASE,
        password: password.as_deref(),
        replicas: replicas.as_deref(),
        cache,
        plans: plan_on_use.plans(),
        served_by: Some("cloud"),
        shutdown: Shutdown::new(),
    };
    let service = Service::new(&config, setting)?;
    Ok((plan_on_use, service))
}

fn function<'a>(functions: &'a [Function], name: &str) -> Result<&'a Function, StartError> {
    functions.iter().find(|function| function.name == name).ok_or_else(|| {
        let known: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
        StartError::NoSuchPart { kind: "function", name: name.to_owned(), known: known.join(", ") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_known_by_the_name_of_the_configuration() {
        let read = |more: &[(&str, &str)]| {
            let of_aws = [
                ("AWS_LAMBDA_FUNCTION_NAME", "east-codes"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
                ("SPILLWAY_CONFIG", "spillway.toml"),
            ];
            let all = [more, &of_aws].concat();
            let lookup =
                |name: &str| all.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            Environment::read(lookup).unwrap().function
        };
        assert_eq!(read(&[]), "east-codes");
        assert_eq!(read(&[("SPILLWAY_FUNCTION", "codes")]), "codes");
    }
}
