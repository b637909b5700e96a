//! Carrying an act out: one call each, on functions of the configuration.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::AliasRoutingConfiguration;
use serde_json::Value;
use spillway_model::config::{AwsFunction, AwsProgram};

use crate::call::CallError;
use crate::clients::Clients;

use super::act::{Act, Did};
use super::look::{before, read};
use super::package::Package;
use super::seen::{Alias, Function, Moving};
use super::smoke::{self, Answer};

/// One attempt of a call that carries code, or waits for a function, ends within.
const ATTEMPT: Duration = Duration::from_secs(25);
/// And all of its attempts.
const OPERATION: Duration = Duration::from_secs(29);

/// What calls of one function need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bench<'a> {
    pub clients: &'a Clients,
    /// The function.
    pub there: &'a AwsFunction,
    /// As it was seen.
    pub seen: &'a Function,
    /// What an upload uploads.
    pub package: Option<&'a Package>,
    /// What a smoke invocation sends.
    pub event: &'a Value,
}

impl Bench<'_> {
    /// Does it. With what came of it, the alias as it is now if the act changed it.
    ///
    /// # Errors
    /// When AWS does not take it, or its answer is lost.
    pub(crate) async fn carry_out(&self, act: &Act) -> Result<(Did, Option<Alias>), CallError> {
        let Self { clients, there, seen, .. } = self;
        let (calls, lambda) = (&clients.calls, &clients.lambda);
        match act {
            Act::Upload { .. } => self.upload(false).await?,
            Act::Publish { .. } => {
                let call = lambda
                    .publish_version()
                    .function_name(&there.name)
                    .set_code_sha256(self.package.map(|package| package.sha.clone()));
                let operation = "lambda:PublishVersion";
                let answer = calls.make(operation, call.send()).await?;
                let version = answer.version().and_then(|version| version.parse().ok());
                let version = version
                    .ok_or_else(|| CallError::missing(operation, "it has no number".to_owned()))?;
                return Ok((Did::Published(version), None));
            }
            Act::Smoke { version, .. } => {
                return Ok((Did::Smoked(self.smoke(*version).await?), None));
            }
            Act::Weigh { version, percent, .. } => {
                let weight = f64::from(*percent) / 100.0;
                let alias = self.route(seen.alias.version, Some((*version, weight))).await?;
                return Ok((Did::Done, alias));
            }
            Act::Move { version, .. } => {
                return Ok((Did::Done, self.route(*version, None).await?));
            }
            Act::Withdraw { .. } => {
                return Ok((Did::Done, self.route(seen.alias.version, None).await?));
            }
            Act::Remember { version, moving, .. } => self.remember(*version, *moving).await?,
            Act::Delete { version, .. } => {
                let call = lambda.delete_function().function_name(&there.name);
                let call = call.qualifier(version.to_string());
                let gone = "ResourceNotFoundException";
                calls.find("lambda:DeleteFunction", gone, call.send()).await?;
            }
        }
        Ok((Did::Done, None))
    }

    /// Uploads the code; with `dry_run` AWS only says whether it would take it.
    ///
    /// # Errors
    /// As for [`Bench::carry_out`].
    pub(crate) async fn upload(&self, dry_run: bool) -> Result<(), CallError> {
        let zip = self.package.map(|package| package.zip.clone()).unwrap_or_default();
        let call = self
            .long()
            .update_function_code()
            .function_name(&self.there.name)
            .zip_file(Blob::new(zip))
            .revision_id(&self.seen.revision)
            .set_dry_run(dry_run.then_some(true));
        self.clients.calls.make("lambda:UpdateFunctionCode", call.send()).await.map(|_| ())
    }

    /// Invokes a version by its number, which no alias's figures count.
    ///
    /// # Errors
    /// As for [`Bench::carry_out`]; what is wrong with the answer is no error of the call.
    pub(crate) async fn smoke(&self, version: u32) -> Result<Result<(), String>, CallError> {
        let call = self
            .long()
            .invoke()
            .function_name(&self.there.name)
            .qualifier(version.to_string())
            .payload(Blob::new(self.event.to_string()));
        let answer = self.clients.calls.make("lambda:InvokeFunction", call.send()).await?;
        let payload = answer.payload().map(AsRef::as_ref).unwrap_or_default();
        let program: AwsProgram = self.there.program;
        Ok(smoke::passes(program, Answer { error: answer.function_error(), payload }))
    }

    async fn route(
        &self,
        version: u32,
        weighed: Option<(u32, f64)>,
    ) -> Result<Option<Alias>, CallError> {
        // An empty map takes all weights away; none at all would leave them.
        let weights: HashMap<String, f64> =
            weighed.into_iter().map(|(version, weight)| (version.to_string(), weight)).collect();
        let routing =
            AliasRoutingConfiguration::builder().set_additional_version_weights(Some(weights));
        let call = self
            .clients
            .lambda
            .update_alias()
            .function_name(&self.there.name)
            .name(&self.there.alias)
            .function_version(version.to_string())
            .routing_config(routing.build())
            .revision_id(&self.seen.alias.revision);
        let answer = self.clients.calls.make("lambda:UpdateAlias", call.send()).await?;
        let weights = answer.routing_config().and_then(|r| r.additional_version_weights());
        Ok(read(answer.function_version(), weights.into_iter().flatten(), answer.revision_id()))
    }

    /// Points the alias that remembers to a version, and says in it what is moving; the first time it is made.
    async fn remember(&self, version: u32, moving: Option<Moving>) -> Result<(), CallError> {
        let (calls, lambda) = (&self.clients.calls, &self.clients.lambda);
        let (function, alias) = (&self.there.name, before(&self.there.alias));
        let says = moving.map_or_else(
            || "the version that `spillway rollback` goes back to".to_owned(),
            |moving| moving.to_string(),
        );
        if self.seen.before.is_some() {
            let call = lambda.update_alias().function_name(function).name(alias);
            let call = call.function_version(version.to_string()).description(says);
            return calls.make("lambda:UpdateAlias", call.send()).await.map(|_| ());
        }
        let call = lambda
            .create_alias()
            .function_name(function)
            .name(alias)
            .function_version(version.to_string())
            .description(says);
        calls.make("lambda:CreateAlias", call.send()).await.map(|_| ())
    }

    /// A client that is more patient than others.
    fn long(&self) -> aws_sdk_lambda::Client {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(OPERATION)
            .build();
        let config = self.clients.lambda.config().to_builder().timeout_config(timeouts);
        aws_sdk_lambda::Client::from_conf(config.build())
    }
}
