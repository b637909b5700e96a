//! Functions: code, versions, aliases, invocations.
//!
//! An update is in progress for a moment, and refuses another until then. A version is code and
//! configuration of one moment; publishing twice without a change gives the same version. An alias
//! has a revision id, which an update may name so as not to overwrite another's; it may give a part of
//! its invocations to a second version, but not beside provisioned concurrency.

mod concurrency;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::aws::{Answer, Aws, Refusal, page, unknown};
use crate::input::Input;
use crate::time;

use concurrency::Provisioned;

/// Largest package that a request may bring.
const PACKAGE_BYTES_MAX: usize = 50 * 1024 * 1024;

/// State of Lambda.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    functions: BTreeMap<String, Function>,
}

#[derive(Debug)]
struct Function {
    arn: String,
    latest: Version,
    versions: BTreeMap<u32, Version>,
    last: u32,
    aliases: BTreeMap<String, Alias>,
    provisioned: BTreeMap<String, Provisioned>,
    reserved: Option<u32>,
    tags: BTreeMap<String, String>,
    /// Until when an update is in progress.
    updating: u64,
    running: u32,
}

/// Code and configuration.
#[derive(Debug, Clone)]
struct Version {
    settings: Value,
    sha: String,
    size: usize,
    revision: String,
    modified: u64,
    description: String,
}

#[derive(Debug)]
struct Alias {
    version: String,
    description: String,
    weights: BTreeMap<String, f64>,
    revision: String,
}

/// An invocation that is to be made.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The function's name.
    pub function: String,
    /// The version that is to answer, `$LATEST` or a number.
    pub version: String,
    /// The ARN as it was called, with its qualifier.
    pub arn: String,
    /// The alias it was called by.
    pub alias: Option<String>,
    /// The event.
    pub payload: Vec<u8>,
    /// How long the function may take, in milliseconds.
    pub timeout_ms: u64,
    /// When it began, in milliseconds since the epoch.
    pub began: u64,
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "InvalidParameterValueException", message)
}

fn conflict(message: impl Into<String>) -> Refusal {
    Refusal::new(409, "ResourceConflictException", message)
}

fn not_found(what: &str) -> Refusal {
    Refusal::new(404, "ResourceNotFoundException", what)
}

fn stale(input: Input<'_>, revision: &str) -> Result<(), Refusal> {
    if input.text("RevisionId").is_some_and(|said| said != revision) {
        let message = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id";
        return Err(Refusal::new(412, "PreconditionFailedException", message));
    }
    Ok(())
}

impl Function {
    /// A version by its number or `$LATEST`.
    fn version(&self, version: &str) -> Option<&Version> {
        match version {
            "$LATEST" => Some(&self.latest),
            number => self.versions.get(&number.parse().ok()?),
        }
    }

    fn value(&self, name: &str, qualifier: Option<&str>, now: u64) -> Result<Value, Refusal> {
        let arn = match qualifier {
            None | Some("$LATEST") => self.arn.clone(),
            Some(qualifier) => format!("{}:{qualifier}", self.arn),
        };
        let by_alias = qualifier.and_then(|q| self.aliases.get(q)).map(|a| a.version.as_str());
        let number = by_alias.or(qualifier).unwrap_or("$LATEST");
        let missing = || not_found(&format!("Function not found: {arn}"));
        let version = self.version(number).ok_or_else(missing)?;
        let mut value = version.settings.clone();
        let updating = number == "$LATEST" && self.updating > now;
        let more = json!({
            "FunctionName": name,
            "FunctionArn": arn,
            "Version": number,
            "CodeSha256": version.sha,
            "CodeSize": version.size,
            "Description": version.description,
            "RevisionId": version.revision,
            "LastModified": time::iso(version.modified, "+0000"),
            "State": "Active",
            "LastUpdateStatus": if updating { "InProgress" } else { "Successful" },
            "PackageType": "Zip",
        });
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        Ok(value)
    }

    fn alias_value(&self, name: &str, alias: &Alias) -> Value {
        let routing = (!alias.weights.is_empty())
            .then(|| json!({ "AdditionalVersionWeights": alias.weights }));
        let mut value = json!({
            "AliasArn": format!("{}:{name}", self.arn),
            "Name": name,
            "FunctionVersion": alias.version,
            "Description": alias.description,
            "RevisionId": alias.revision,
        });
        if let Some(routing) = routing {
            value["RoutingConfig"] = routing;
        }
        value
    }

    /// Checks the weights of an alias that points to `version`.
    fn weights(&self, input: Input<'_>, version: &str) -> Result<BTreeMap<String, f64>, Refusal> {
        let said = input.get("RoutingConfig").get("AdditionalVersionWeights");
        let Value::Object(said) = said.0 else { return Ok(BTreeMap::new()) };
        let mut weights = BTreeMap::new();
        for (other, weight) in said {
            let weight = weight.as_f64().filter(|weight| (0.0..=1.0).contains(weight));
            let weight = weight.ok_or_else(|| {
                invalid("Invalid weight: the weight of a version must be between 0 and 1")
            })?;
            if other == version {
                return Err(invalid(format!(
                    "Invalid function version {other}. Function version {other} is already included in routing configuration."
                )));
            }
            if other == "$LATEST" || version == "$LATEST" {
                return Err(invalid(
                    "$LATEST is not supported for an alias pointing to more than 1 version",
                ));
            }
            if self.version(other).is_none() {
                return Err(not_found(&format!("Function not found: {}:{other}", self.arn)));
            }
            weights.insert(other.clone(), weight);
        }
        if weights.len() > 1 {
            return Err(invalid(
                "Number of items in AdditionalVersionWeights cannot be greater than 1",
            ));
        }
        Ok(weights)
    }
}

/// Name and qualifier of a function that is named by its name, `name:qualifier`, or an ARN.
fn named(input: Input<'_>) -> Result<(String, Option<String>), Refusal> {
    let said = input.required("FunctionName")?;
    let resource = said.split_once(":function:").map_or(said.as_str(), |(_, resource)| resource);
    let (name, qualifier) = match resource.split_once(':') {
        Some((name, qualifier)) => (name.to_owned(), Some(qualifier.to_owned())),
        None => (resource.to_owned(), None),
    };
    Ok((name, input.text("Qualifier").or(qualifier)))
}

impl Aws {
    pub(crate) fn functions_call(&mut self, action: &str, input: Input<'_>) -> Answer {
        match action {
            "CreateFunction" => self.create_function(input),
            "GetFunction" => self.get_function(input),
            "GetFunctionConfiguration" => self.get_function_configuration(input),
            "UpdateFunctionCode" => self.update_code(input),
            "UpdateFunctionConfiguration" => self.update_configuration(input),
            "DeleteFunction" => self.delete_function(input),
            "PublishVersion" => self.publish_version(input),
            "ListVersionsByFunction" => self.list_versions(input),
            "CreateAlias" => self.create_alias(input),
            "GetAlias" => self.get_alias(input),
            "UpdateAlias" => self.update_alias(input),
            "ListAliases" => self.list_aliases(input),
            "DeleteAlias" => self.delete_alias(input),
            "PutProvisionedConcurrencyConfig" => self.put_provisioned(input),
            "GetProvisionedConcurrencyConfig" => self.get_provisioned(input),
            "DeleteProvisionedConcurrencyConfig" => self.delete_provisioned(input),
            "ListProvisionedConcurrencyConfigs" => self.list_provisioned(input),
            "PutFunctionConcurrency" => self.put_reserved(input),
            "GetFunctionConcurrency" => self.get_reserved(input),
            "DeleteFunctionConcurrency" => self.delete_reserved(input),
            "GetAccountSettings" => Ok(self.account_settings()),
            "ListTags" => self.function_tags(input),
            _ => Err(unknown(action)),
        }
    }

    fn function(
        &mut self,
        input: Input<'_>,
    ) -> Result<(String, Option<String>, &mut Function), Refusal> {
        let (name, qualifier) = named(input)?;
        let arn = self.arn("lambda", &format!("function:{name}"));
        match self.functions.functions.get_mut(&name) {
            Some(function) => Ok((name, qualifier, function)),
            None => Err(not_found(&format!("Function not found: {arn}"))),
        }
    }

    fn create_function(&mut self, input: Input<'_>) -> Answer {
        let name = input.required("FunctionName")?;
        if self.functions.functions.contains_key(&name) {
            return Err(conflict(format!("Function already exist: {name}")));
        }
        let (sha, size) = package(input.get("Code"))?;
        let revision = self.uuid();
        let mut settings = json!({});
        for (key, other) in [
            ("Runtime", json!("provided.al2023")),
            ("Role", json!("")),
            ("Handler", json!("bootstrap")),
            ("Timeout", json!(3)),
            ("MemorySize", json!(128)),
            ("Environment", Value::Null),
            ("Architectures", json!(["x86_64"])),
        ] {
            let said = input.get(key);
            settings[key] = if said.is_there() { said.0.clone() } else { other };
        }
        let arn = self.arn("lambda", &format!("function:{name}"));
        let function = Function {
            arn,
            latest: Version {
                settings,
                sha,
                size,
                revision,
                modified: self.now,
                description: input.text("Description").unwrap_or_default(),
            },
            versions: BTreeMap::new(),
            last: 0,
            aliases: BTreeMap::new(),
            provisioned: BTreeMap::new(),
            reserved: None,
            tags: input.map("Tags"),
            updating: 0,
            running: 0,
        };
        self.functions.functions.insert(name.clone(), function);
        if input.flag("Publish")? == Some(true) {
            return self.publish_version(input);
        }
        self.get_function_configuration(input)
    }

    fn get_function_configuration(&mut self, input: Input<'_>) -> Answer {
        let now = self.now;
        let (name, qualifier, function) = self.function(input)?;
        function.value(&name, qualifier.as_deref(), now)
    }

    fn get_function(&mut self, input: Input<'_>) -> Answer {
        let configuration = self.get_function_configuration(input)?;
        let (_, _, function) = self.function(input)?;
        let mut value = json!({
            "Configuration": configuration,
            "Code": { "RepositoryType": "S3", "Location": "https://example.com/code.zip" },
            "Tags": function.tags,
        });
        if let Some(reserved) = function.reserved {
            value["Concurrency"] = json!({ "ReservedConcurrentExecutions": reserved });
        }
        Ok(value)
    }

    /// The function, unless an update of it is in progress.
    fn settled(&mut self, input: Input<'_>) -> Result<(String, &mut Function), Refusal> {
        let now = self.now;
        let (name, _, function) = self.function(input)?;
        if function.updating > now {
            let message = format!(
                "The operation cannot be performed at this time. An update is in progress for resource: {}",
                function.arn
            );
            return Err(conflict(message));
        }
        Ok((name, function))
    }

    fn update_code(&mut self, input: Input<'_>) -> Answer {
        let (sha, size) = package(input)?;
        let (revision, now) = (self.uuid(), self.now);
        let until = now + self.config.update_ms;
        let (name, function) = self.settled(input)?;
        stale(input, &function.latest.revision)?;
        let mut made = function.latest.clone();
        (made.sha, made.size, made.revision, made.modified) = (sha, size, revision, now);
        let architectures = input.get("Architectures");
        if architectures.is_there() {
            made.settings["Architectures"] = architectures.0.clone();
        }
        if input.flag("DryRun")? == Some(true) {
            let latest = std::mem::replace(&mut function.latest, made);
            let value = function.value(&name, None, now);
            function.latest = latest;
            return value;
        }
        function.latest = made;
        if input.flag("Publish")? == Some(true) {
            return self.publish_version(input);
        }
        function.updating = until;
        function.value(&name, None, now)
    }

    fn update_configuration(&mut self, input: Input<'_>) -> Answer {
        let (revision, now) = (self.uuid(), self.now);
        let until = now + self.config.update_ms;
        let (name, function) = self.settled(input)?;
        stale(input, &function.latest.revision)?;
        for key in ["Role", "Handler", "Timeout", "MemorySize", "Environment", "Runtime"] {
            let said = input.get(key);
            if said.is_there() {
                function.latest.settings[key] = said.0.clone();
            }
        }
        if let Some(description) = input.text("Description") {
            function.latest.description = description;
        }
        (function.latest.revision, function.latest.modified) = (revision, now);
        function.updating = until;
        function.value(&name, None, now)
    }

    fn delete_function(&mut self, input: Input<'_>) -> Answer {
        let (name, qualifier, function) = self.function(input)?;
        let Some(number) = qualifier else {
            self.functions.functions.remove(&name);
            return Ok(Value::Null);
        };
        let points = |alias: &Alias| alias.version == number || alias.weights.contains_key(&number);
        let pointing: Vec<&String> =
            function.aliases.iter().filter(|(_, a)| points(a)).map(|(name, _)| name).collect();
        if !pointing.is_empty() {
            return Err(conflict(format!(
                "Version {number} cannot be deleted, it is used by aliases {pointing:?}"
            )));
        }
        if number == "$LATEST" {
            return Err(invalid(
                "$LATEST version cannot be deleted without deleting the function.",
            ));
        }
        if let Ok(number) = number.parse() {
            function.versions.remove(&number);
        }
        Ok(Value::Null)
    }

    fn publish_version(&mut self, input: Input<'_>) -> Answer {
        let (revision, now) = (self.uuid(), self.now);
        let (name, function) = self.settled(input)?;
        if input.flag("Publish")?.is_none() {
            stale(input, &function.latest.revision)?;
        }
        if let Some(sha) = input.text("CodeSha256").filter(|sha| *sha != function.latest.sha) {
            return Err(invalid(format!(
                "CodeSHA256 ({sha}) is different from current CodeSHA256 in $LATEST ({}). Please try again with the CodeSHA256 in $LATEST.",
                function.latest.sha
            )));
        }
        let same = |published: &Version| {
            published.sha == function.latest.sha && published.settings == function.latest.settings
        };
        if !function.versions.get(&function.last).is_some_and(same) {
            function.last += 1;
            let mut made = function.latest.clone();
            (made.revision, made.modified) = (revision, now);
            if let Some(description) = input.text("Description") {
                made.description = description;
            }
            function.versions.insert(function.last, made);
        }
        let number = function.last.to_string();
        function.value(&name, Some(&number), now)
    }

    fn list_versions(&mut self, input: Input<'_>) -> Answer {
        let now = self.now;
        let (name, _, function) = self.function(input)?;
        let mut all = vec![function.value(&name, Some("$LATEST"), now)?];
        for number in function.versions.keys() {
            all.push(function.value(&name, Some(&number.to_string()), now)?);
        }
        let most = Some(input.count("MaxItems")?.unwrap_or(50).min(50));
        let (found, next) = page(all, most, input.text("Marker").as_deref())?;
        Ok(json!({ "Versions": found, "NextMarker": next }))
    }

    fn create_alias(&mut self, input: Input<'_>) -> Answer {
        let (name, version) = (input.required("Name")?, input.required("FunctionVersion")?);
        let revision = self.uuid();
        let (_, _, function) = self.function(input)?;
        if function.aliases.contains_key(&name) {
            return Err(conflict(format!("Alias already exists: {}:{name}", function.arn)));
        }
        if function.version(&version).is_none() {
            return Err(not_found(&format!("Function not found: {}:{version}", function.arn)));
        }
        let alias = Alias {
            weights: function.weights(input, &version)?,
            version,
            description: input.text("Description").unwrap_or_default(),
            revision,
        };
        let value = function.alias_value(&name, &alias);
        function.aliases.insert(name, alias);
        Ok(value)
    }

    fn get_alias(&mut self, input: Input<'_>) -> Answer {
        let name = input.required("Name")?;
        let (_, _, function) = self.function(input)?;
        match function.aliases.get(&name) {
            Some(alias) => Ok(function.alias_value(&name, alias)),
            None => Err(not_found(&format!("Cannot find alias arn: {}:{name}", function.arn))),
        }
    }

    fn update_alias(&mut self, input: Input<'_>) -> Answer {
        let name = input.required("Name")?;
        let revision = self.uuid();
        let (function_name, _, function) = self.function(input)?;
        let Some(alias) = function.aliases.get(&name) else {
            return Err(not_found(&format!("Cannot find alias arn: {}:{name}", function.arn)));
        };
        stale(input, &alias.revision)?;
        let version = input.text("FunctionVersion").unwrap_or_else(|| alias.version.clone());
        if function.version(&version).is_none() {
            return Err(not_found(&format!("Function not found: {}:{version}", function.arn)));
        }
        let moved = Some(alias.version.clone()).filter(|old| *old != version);
        let weights = if input.get("RoutingConfig").is_there() {
            function.weights(input, &version)?
        } else {
            // What is not said stays, and must still make sense.
            let held = json!({ "RoutingConfig": { "AdditionalVersionWeights": alias.weights } });
            function.weights(Input(&held), &version)?
        };
        if !weights.is_empty() && function.provisioned.contains_key(&name) {
            return Err(invalid("Invalid alias configuration for Provisioned Concurrency"));
        }
        if let Some(alias) = function.aliases.get_mut(&name) {
            (alias.version, alias.weights, alias.revision) = (version, weights, revision);
            if let Some(description) = input.get("Description").as_text() {
                alias.description = description;
            }
        }
        if let Some(old) = moved {
            self.provision_again(&function_name, &name, old);
        }
        self.get_alias(input)
    }

    fn list_aliases(&mut self, input: Input<'_>) -> Answer {
        let (_, _, function) = self.function(input)?;
        let all = function.aliases.iter().map(|(name, alias)| function.alias_value(name, alias));
        Ok(json!({ "Aliases": all.collect::<Vec<_>>() }))
    }

    fn delete_alias(&mut self, input: Input<'_>) -> Answer {
        let name = input.required("Name")?;
        let (_, _, function) = self.function(input)?;
        function.aliases.remove(&name);
        function.provisioned.remove(&name);
        Ok(Value::Null)
    }

    fn function_tags(&self, input: Input<'_>) -> Answer {
        let arn = input.required("Resource")?;
        let found = self.functions.functions.values().find(|function| function.arn == arn);
        match found {
            Some(function) => Ok(json!({ "Tags": function.tags })),
            None => Err(not_found(&format!("Function not found: {arn}"))),
        }
    }

    /// Begins an invocation: which version answers, if there is room for one more. What is begun
    /// must be ended with [`Aws::invoked`].
    ///
    /// # Errors
    /// When there is no such function, or it is throttled.
    pub fn invoke(
        &mut self,
        function: &str,
        qualifier: Option<&str>,
        payload: Vec<u8>,
    ) -> Result<Invocation, Refusal> {
        let chance = self.chance();
        let (now, concurrency) = (self.now, self.config.concurrency);
        let said = json!({ "FunctionName": function, "Qualifier": qualifier });
        let unreserved: u32 = self
            .functions
            .functions
            .values()
            .filter(|function| function.reserved.is_none())
            .map(|function| function.running)
            .sum();
        let reserved: u32 = self.functions.functions.values().filter_map(|f| f.reserved).sum();
        let (name, qualifier, function) = self.function(Input(&said))?;
        let alias = qualifier.clone().filter(|q| function.aliases.contains_key(q));
        let version = match alias.as_ref().and_then(|alias| function.aliases.get(alias)) {
            Some(alias) => match alias.weights.first_key_value() {
                Some((other, weight)) if chance < *weight => other.clone(),
                _ => alias.version.clone(),
            },
            None => qualifier.clone().unwrap_or_else(|| "$LATEST".to_owned()),
        };
        let arn = match &qualifier {
            Some(qualifier) => format!("{}:{qualifier}", function.arn),
            None => function.arn.clone(),
        };
        let Some(found) = function.version(&version) else {
            return Err(not_found(&format!("Function not found: {arn}")));
        };
        let timeout_ms = Input(&found.settings).count("Timeout")?.unwrap_or(3);
        let full = match function.reserved {
            Some(reserved) => function.running >= reserved,
            None => unreserved >= concurrency.saturating_sub(reserved),
        };
        if full {
            self.count_invocation(&name, alias.as_deref(), "Throttles", 1.0);
            return Err(Refusal::new(429, "TooManyRequestsException", "Rate Exceeded."));
        }
        function.running += 1;
        let timeout_ms = u64::from(timeout_ms) * 1_000;
        Ok(Invocation { function: name, version, arn, alias, payload, timeout_ms, began: now })
    }

    /// An invocation has ended, well or with an error.
    pub fn invoked(&mut self, invocation: &Invocation, failed: bool) {
        if let Some(function) = self.functions.functions.get_mut(&invocation.function) {
            function.running = function.running.saturating_sub(1);
        }
        let (name, alias) = (&invocation.function, invocation.alias.as_deref());
        let took = u32::try_from(self.now.saturating_sub(invocation.began)).unwrap_or(u32::MAX);
        for (metric, value) in [
            ("Invocations", 1.0),
            ("Errors", f64::from(u8::from(failed))),
            ("Duration", f64::from(took)),
        ] {
            self.count_invocation(name, alias, metric, value);
            if let Some(alias) = alias {
                let resource = format!("{name}:{alias}");
                self.put_metric(
                    "AWS/Lambda",
                    metric,
                    &[
                        ("FunctionName", name),
                        ("Resource", &resource),
                        ("ExecutedVersion", &invocation.version),
                    ],
                    value,
                );
            }
        }
    }

    fn count_invocation(&mut self, name: &str, alias: Option<&str>, metric: &str, value: f64) {
        self.put_metric("AWS/Lambda", metric, &[("FunctionName", name)], value);
        if let Some(alias) = alias {
            let resource = format!("{name}:{alias}");
            let dimensions = [("FunctionName", name), ("Resource", resource.as_str())];
            self.put_metric("AWS/Lambda", metric, &dimensions, value);
        }
    }
}

/// Digest and size of the package that a request brings or names.
fn package(input: Input<'_>) -> Result<(String, usize), Refusal> {
    let bytes = match (input.text("ZipFile"), input.text("S3Bucket"), input.text("S3Key")) {
        (Some(zip), ..) => BASE64_STANDARD.decode(zip).map_err(|_| {
            invalid(
                "Could not unzip uploaded file. Please check your file, then try to upload again.",
            )
        })?,
        // What is in the bucket is not known here; its name stands for it.
        (None, Some(bucket), Some(key)) => format!("{bucket}/{key}").into_bytes(),
        _ => return Err(invalid("Please provide a source for function code.")),
    };
    if bytes.len() > PACKAGE_BYTES_MAX {
        let message =
            "Request must be smaller than 70167211 bytes for the UpdateFunctionCode operation";
        return Err(Refusal::new(413, "RequestEntityTooLargeException", message));
    }
    Ok((BASE64_STANDARD.encode(Sha256::digest(&bytes)), bytes.len()))
}
