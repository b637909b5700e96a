//! The service as a Lambda function behind an ALB.
//!
//! An environment serves one request at a time and starts when a request already waits, so its start
//! does no more than it must: the database is opened and its schema looked at beside the wait for
//! the first event. What the environment holds is small: one thread, one connection a shard.

use std::path::PathBuf;

use spillway_model::config::Function;
use spillway_part::{Shutdown, StartError, clock, start};
use std::sync::Arc;
use tower::ServiceExt as _;

use crate::plan_on_use::PlanOnUse;
use crate::set_up::{Service, SetUpError, Setting};

/// What the function is told by its environment.
#[derive(Debug, Clone)]
pub struct Environment {
    /// `SPILLWAY_CONFIG`: the configuration file.
    pub config: PathBuf,
    /// Which `[[cloud.function]]` this is: `SPILLWAY_FUNCTION`, for on AWS names carry the site set's
    /// in front, else `AWS_LAMBDA_FUNCTION_NAME`.
    pub function: String,
    /// `ONE_CODE_SECRET`: the key as a line of base64; the key file in the state folder when absent.
    pub secret: Option<String>,
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
    /// What the service is made of.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
    /// The Runtime API.
    #[error("the Runtime API failed")]
    Runtime(#[source] lambda_http::Error),
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
            secret: lookup("ONE_CODE_SECRET"),
        })
    }
}

/// Serves events until the Runtime API goes away. SIGTERM is left to the system: it ends the process
/// at once, which is right for a process that holds nothing.
///
/// # Errors
/// When the function cannot start, or the Runtime API fails.
pub async fn run(environment: Environment) -> Result<(), LambdaError> {
    let config = start::load_config(&environment.config)?;
    let function = function(&config.cloud.functions, &environment.function)?;
    let plan_on_use = Arc::new(PlanOnUse::new(&config)?);
    plan_on_use.look(clock::instant());
    let setting = Setting {
        groups: &function.groups,
        secret: environment.secret.as_deref(),
        max_connections: 1,
        plans: plan_on_use.plans(),
        served_by: Some("cloud"),
        shutdown: Shutdown::new(),
    };
    let service = Service::new(&config, setting)?;
    let router = service.router.clone();
    tokio::spawn(async move { service.prepare(0).await });
    let service = tower::service_fn(move |request: lambda_http::Request| {
        let (plan_on_use, router) = (plan_on_use.clone(), router.clone());
        async move {
            plan_on_use.before_request(clock::instant()).await;
            router.oneshot(request).await
        }
    });
    lambda_http::run(service).await.map_err(LambdaError::Runtime)
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
