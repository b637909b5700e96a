//! A deployment as a whole: looks, packs, goes its course, and says how everything stands at the end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use spillway_model::Config;
use spillway_model::config::{Aws, AwsFunction};
use spillway_part::Shutdown;

use crate::call::{CallError, Class};
use crate::clients::Clients;

use super::carry_out::Bench;
use super::course::Course;
use super::next::Wanted;
use super::package::{Package, package};
use super::seen::{Function, Seen};
use super::tell::Said;
use super::{DeployError, look, smoke};

/// What a deployment is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Functions by the configuration's names; all when empty.
    pub functions: Vec<String>,
    /// The folder with `ARCHITECTURE/PROGRAM/bootstrap`.
    pub from: PathBuf,
    /// Percentages of requests, ascending; the last is 100.
    pub steps: Vec<u8>,
    /// How long each is held, in seconds; with 0 nothing is watched.
    pub hold_secs: u64,
    /// How many of the newest versions are kept.
    pub keep: usize,
    /// The event of the smoke invocation of program one-code, where it is another than `GET /healthz`.
    pub smoke: Option<Value>,
    /// Whether only to say what would be done.
    pub dry_run: bool,
}

/// How a deployment ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is as wanted.
    Done,
    /// It failed, and what was shifted went back.
    Failed(String),
    /// It ended for this reason, and left everything as it was just then.
    Stopped(String),
    /// It was interrupted, and what was shifted went back.
    Interrupted,
}

/// How long to wait between looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// While Lambda takes code, and before a call is tried again.
    pub soon: Duration,
    /// While a canary is watched.
    pub watch: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { soon: Duration::from_secs(1), watch: Duration::from_secs(10) }
    }
}

/// A deployment that is going on.
pub(crate) struct Deployment<'a> {
    pub clients: &'a Clients,
    pub config: &'a Config,
    pub aws: &'a Aws,
    /// The functions that are deployed.
    pub functions: BTreeMap<&'a str, &'a AwsFunction>,
    pub wish: &'a Wish,
    pub pace: Pace,
    pub tell: &'a mut (dyn FnMut(&Said) + Send),
}

/// What is packed.
pub(crate) struct Packed {
    /// What is to be reached with it.
    pub wanted: Wanted,
    packages: BTreeMap<String, Package>,
    /// What smoke invocations send.
    events: BTreeMap<String, Value>,
}

impl Deployment<'_> {
    /// Deploys.
    ///
    /// # Errors
    /// When it cannot begin: then nothing was changed.
    pub(crate) async fn run(
        mut self,
        config: &[u8],
        key: &[u8],
        shutdown: &Shutdown,
    ) -> Result<Outcome, DeployError> {
        let mut seen = Seen { at: (self.clients.now)(), ..Seen::default() };
        let found = join_all(
            self.functions
                .iter()
                .map(async |(name, there)| (*name, look::function(self.clients, there).await)),
        );
        for (name, function) in found.await {
            let function = function.map_err(|e| DeployError::Look(name.to_owned(), told(&e)))?;
            seen.functions.insert(name.to_owned(), function);
        }
        let packed = self.packed(&seen, config, key)?;
        for (name, there) in &self.functions {
            let (Some(function), Some(package)) =
                (seen.functions.get(*name), packed.packages.get(*name))
            else {
                continue;
            };
            (self.tell)(&Said::Begins {
                function: (*name).to_owned(),
                name: there.name.clone(),
                architecture: function.architecture,
                bytes: package.zip.len(),
                sha: package.sha.clone(),
                uploaded: package.sha == function.sha,
                routed: (&function.alias).into(),
            });
        }
        let outcome = if self.wish.dry_run {
            self.rehearse(&seen, &packed).await
        } else {
            Course::new(&mut self, &mut seen, &packed, shutdown).run().await
        };
        self.conclude(&seen, &outcome);
        Ok(outcome)
    }

    fn packed(&self, seen: &Seen, config: &[u8], key: &[u8]) -> Result<Packed, DeployError> {
        let (mut packages, mut events) = (BTreeMap::new(), BTreeMap::new());
        for (name, there) in &self.functions {
            let Some(function) = seen.functions.get(*name) else { continue };
            let packed =
                package(&self.wish.from, function.architecture, there.program, config, key)?;
            packages.insert((*name).to_owned(), packed);
            let usual = smoke::event(there.program, &self.config.service.host);
            let event = match (&self.wish.smoke, there.program) {
                (Some(event), spillway_model::config::AwsProgram::OneCode) => event.clone(),
                _ => usual,
            };
            events.insert((*name).to_owned(), event);
        }
        let wanted = Wanted {
            functions: packages.iter().map(|(name, p)| (name.clone(), p.sha.clone())).collect(),
            steps: self.wish.steps.clone(),
            hold_secs: self.wish.hold_secs,
            keep: self.wish.keep,
        };
        Ok(Packed { wanted, packages, events })
    }

    /// What calls of a function need.
    pub(crate) fn bench<'b>(
        &'b self,
        name: &str,
        seen: &'b Seen,
        packed: &'b Packed,
    ) -> Option<Bench<'b>> {
        Some(Bench {
            clients: self.clients,
            there: self.functions.get(name)?,
            seen: seen.functions.get(name)?,
            package: packed.packages.get(name),
            event: packed.events.get(name)?,
        })
    }

    /// Says what would be done, and asks Lambda whether it would take the code.
    async fn rehearse(&mut self, seen: &Seen, packed: &Packed) -> Outcome {
        let mut refused = Vec::new();
        for (name, sha) in &packed.wanted.functions {
            let Some(function) = seen.functions.get(name) else { continue };
            let upload = function.sha != *sha;
            if upload
                && let Some(bench) = self.bench(name, seen, packed)
                && let Err(e) = bench.upload(true).await
            {
                refused.push(format!("{name}: {}", told(&e)));
            }
            for text in would(&packed.wanted, function, upload) {
                (self.tell)(&Said::Would { function: name.clone(), text });
            }
        }
        if refused.is_empty() { Outcome::Done } else { Outcome::Stopped(refused.join("; ")) }
    }

    /// Says how everything stands, and how to go on.
    fn conclude(&mut self, seen: &Seen, outcome: &Outcome) {
        for (name, function) in &seen.functions {
            let routed = (&function.alias).into();
            (self.tell)(&Said::Stands { function: name.clone(), routed });
        }
        let shifting =
            seen.functions.values().any(|f| f.alias.weighed.is_some() || f.is_unsettled());
        let how = if shifting {
            "; the same command goes on from here, `spillway rollback` goes back"
        } else {
            "; the same command tries it again"
        };
        let (outcome, text) = match outcome {
            Outcome::Done if self.wish.dry_run => ("done", "nothing was changed".to_owned()),
            Outcome::Done => ("done", "all is as wanted".to_owned()),
            Outcome::Failed(reason) => ("failed", format!("{reason}{how}")),
            Outcome::Stopped(reason) => ("stopped", format!("{reason}{how}")),
            Outcome::Interrupted if shifting => {
                ("interrupted", format!("a canary that had begun before is still out{how}"))
            }
            Outcome::Interrupted => ("interrupted", format!("what was shifted has gone back{how}")),
        };
        (self.tell)(&Said::Ends { outcome, text });
    }
}

/// Whether a failure may pass by itself.
pub(crate) fn passes(error: &CallError) -> bool {
    matches!(error.class, Class::Throttled | Class::Busy | Class::Unclear)
}

/// A failed call, for whoever deploys.
pub(crate) fn told(error: &CallError) -> String {
    match error.class {
        Class::Denied => format!(
            "AWS denies {}: give the identity that deploys this permission: {}",
            error.operation, error.message
        ),
        _ => error.to_string(),
    }
}

/// What a deployment would do, in sentences.
fn would(wanted: &Wanted, function: &Function, upload: bool) -> Vec<String> {
    let mut texts = Vec::new();
    if upload {
        texts.push("upload the code, and publish it as a version".to_owned());
    } else {
        texts.push("publish a version if memory or variables were changed since".to_owned());
    }
    texts.push("invoke that version by its number".to_owned());
    let steps: Vec<String> = wanted.steps.iter().map(|step| format!("{step} %")).collect();
    texts.push(format!(
        "give it {} of requests, {} s each, if version {} works",
        steps.join(", "),
        wanted.hold_secs,
        function.alias.version
    ));
    if let Some((version, percent)) = function.alias.weighed {
        texts.push(format!("go on from version {version} at {percent} %, if that is the same"));
    }
    if let (true, Some(moving)) = (function.is_unsettled(), function.moving) {
        texts.push(format!("go on watching it, if it has had all requests since {}", moving.since));
    }
    let many = function.versions.len() + usize::from(upload);
    if many > wanted.keep {
        texts.push(format!("keep the last {} of {many} versions", wanted.keep));
    }
    texts
}
