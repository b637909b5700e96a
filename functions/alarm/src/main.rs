//! `alarm`: the Lambda function that tells the agents of alarms.
//!
//! SNS, EventBridge or an alarm itself calls it. What it cannot read or deliver fails the call, so that
//! Lambda tries again and in the end keeps the event in the dead-letter queue; what could be read was
//! delivered all the same.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `SPILLWAY_AGENTS` | `http://HOST:PORT` of the agents' APIs, separated by commas |
//! | `SPILLWAY_TOKEN` | the operator's token; or one of each agent, separated by commas |
//! | `SPILLWAY_TOKEN_ARN` | instead: the secret of Secrets Manager that holds it |
//! | `SPILLWAY_LOG`, `SPILLWAY_LOG_FORMAT` | what to log (`info`), and `json` for a JSON object a line |

use std::error::Error;
use std::process::ExitCode;

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::Value;
use spillway_alarm::deliver::{Agents, AgentsError};
use spillway_alarm::read_value;
use spillway_secrets::{report_init_error, resolve};

/// Variables without which the runtime library panics.
const RUNTIME: [&str; 4] = [
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
];

fn main() -> ExitCode {
    spillway_part::log::init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!(reason = chain(e.as_ref()), "the function `alarm` cannot run");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error + Send + Sync>> {
    let lookup = |name: &str| std::env::var(name).ok();
    if let Some(missing) = RUNTIME.into_iter().find(|name| lookup(name).is_none()) {
        return Err(Box::new(AgentsError::Variable(missing)));
    }
    // One event at a time needs one thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let agents = match agents(lookup).await {
            Ok(agents) => agents,
            Err(e) => {
                report_init_error(lookup, "AlarmNotBegun", e.as_ref()).await;
                return Err(e);
            }
        };
        let service = service_fn(|event: LambdaEvent<Value>| handle(&agents, event.payload));
        lambda_runtime::run(service).await
    })
}

/// Who is told, with the token from wherever it is.
async fn agents(
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Agents, Box<dyn Error + Send + Sync>> {
    let [token] = resolve(["SPILLWAY_TOKEN"], &lookup).await?;
    let agents = Agents::read(|name| match name {
        "SPILLWAY_TOKEN" => token.clone(),
        _ => lookup(name),
    });
    Ok(agents?)
}

/// Delivers what the event tells of. The answer is the number of changes.
async fn handle(agents: &Agents, event: Value) -> Result<usize, Diagnostic> {
    let (mut changes, mut faults) = (Vec::new(), Vec::new());
    for read in read_value(&event) {
        match read {
            Ok(change) => changes.push(change),
            Err(e) => faults.push(chain(&e)),
        }
    }
    let untold = agents.tell(&changes).await;
    faults.extend(untold.iter().map(|untold| chain(untold)));
    if faults.is_empty() {
        return Ok(changes.len());
    }
    // The runtime library logs it.
    Err(Diagnostic { error_type: "AlarmNotDelivered".to_owned(), error_message: faults.join("; ") })
}

/// An error with what caused it.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |e| (*e).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
