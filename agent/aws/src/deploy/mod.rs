//! `spillway deploy` and `spillway rollback`: new code for functions, at first for a few requests.
//!
//! ```text
//!   program, configuration, key ─▶ package ─┐
//!                  Lambda, CloudWatch ─▶ look, watch ─▶ next ─▶ act ─▶ carry out ─▶ Lambda
//!                                                       (pure)
//! ```
//!
//! The state of a deployment is in AWS and nowhere else: digest of the uploaded code, published versions,
//! the alias and its weights. So the same command goes on with one that was killed. The alias's revision
//! guards each change against another deployment.
//!
//! Who interrupts a deployment ends it: what was shifted goes back, because a canary without anybody who
//! watches it is what nobody wants. One that was killed leaves its weights, and AWS keeps to them.

mod act;
mod carry_out;
mod course;
mod judge;
mod look;
mod next;
mod package;
mod record;
mod rollback;
mod run;
mod seen;
mod smoke;
mod tell;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use spillway_model::Config;
use spillway_model::config::{Aws, AwsFunction};
use spillway_part::{Shutdown, StartError, files, start};

use crate::clients::Clients;
use crate::run::{RunError, configured};

pub use act::Act;
pub use package::{Architecture, PackageError};
pub use run::{Outcome, Wish};
pub use seen::{Figures, Sums};
pub use tell::{Routed, Said};

/// Why a deployment cannot begin. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The configuration has no `[cloud.aws]`.
    #[error(transparent)]
    Configured(#[from] RunError),
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] StartError),
    /// The configuration has no functions on AWS.
    #[error("the configuration has no [cloud.aws.functions.NAME]: there is nothing to deploy to")]
    NoFunctions,
    /// The configuration has no such function.
    #[error("there is no [cloud.aws.functions.{0}]: there are {1}")]
    Unknown(String, String),
    /// The key that functions verify plans with is not there.
    #[error(
        "cannot read the key that plans are verified with, {0}: copy the agent's plan.pub there or beside the configuration; on the agent's host `spillway keygen` makes it"
    )]
    Key(PathBuf, #[source] io::Error),
    /// That key is none.
    #[error("{0} is no key that plans are verified with: copy the agent's plan.pub there")]
    BadKey(PathBuf),
    /// There is nothing to upload.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A function cannot be read.
    #[error("cannot read function {0}: {1}")]
    Look(String, String),
}

/// Deploys to the functions of a configuration, which `path` holds. Tells what happens while it does.
///
/// # Errors
/// When it cannot begin.
pub async fn deploy(
    clients: &Clients,
    config: &Config,
    path: &Path,
    wish: &Wish,
    shutdown: &Shutdown,
    tell: &mut (dyn FnMut(&Said) + Send),
) -> Result<Outcome, DeployError> {
    let aws = configured(config)?;
    let functions = chosen(aws, &wish.functions)?;
    let text = start::read_config(path)?;
    let key = key(config)?;
    let pace = run::Pace::default();
    let mut record = record(clients, config, !wish.dry_run, tell);
    let tell = &mut record;
    let deployment = run::Deployment { clients, config, aws, functions, wish, pace, tell };
    deployment.run(text.as_bytes(), &key, shutdown).await
}

/// Ends a canary of functions, or moves them back to the version before the last deployment, or to the
/// version `to`.
///
/// # Errors
/// When it cannot begin.
pub async fn rollback(
    clients: &Clients,
    config: &Config,
    names: &[String],
    to: Option<u32>,
    dry_run: bool,
    tell: &mut (dyn FnMut(&Said) + Send),
) -> Result<Outcome, DeployError> {
    let functions = chosen(configured(config)?, names)?;
    let mut record = record(clients, config, !dry_run, tell);
    rollback::run(clients, &functions, to, dry_run, &mut record).await
}

/// Tells what happens, and records it first.
fn record<'a>(
    clients: &Clients,
    config: &Config,
    changes: bool,
    tell: &'a mut (dyn FnMut(&Said) + Send),
) -> impl FnMut(&Said) + Send + use<'a> {
    let mut record = changes.then(|| record::Record::open(&config.state_path("")));
    let now = clients.now;
    move |said| {
        if let Some(record) = &mut record {
            record.keep(now(), said);
        }
        tell(said);
    }
}

/// The functions of these names; all when there are none.
fn chosen<'a>(
    aws: &'a Aws,
    names: &[String],
) -> Result<BTreeMap<&'a str, &'a AwsFunction>, DeployError> {
    if aws.functions.is_empty() {
        return Err(DeployError::NoFunctions);
    }
    let all = aws.functions.iter().map(|(name, function)| (name.as_str(), function));
    if let Some(unknown) = names.iter().find(|name| !aws.functions.contains_key(*name)) {
        let known: Vec<&str> = aws.functions.keys().map(String::as_str).collect();
        return Err(DeployError::Unknown(unknown.clone(), known.join(", ")));
    }
    Ok(all.filter(|(name, _)| names.is_empty() || names.iter().any(|n| n == name)).collect())
}

/// The public key, beside the configuration or else in the state folder.
fn key(config: &Config) -> Result<Vec<u8>, DeployError> {
    let beside = config.base.join("plan.pub");
    let path = if beside.exists() { beside } else { config.state_path("plan.pub") };
    let bytes = files::read(&path).map_err(|e| DeployError::Key(path.clone(), e))?;
    match spillway_model::plan::public_key(&String::from_utf8_lossy(&bytes)) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(DeployError::BadKey(path)),
    }
}
