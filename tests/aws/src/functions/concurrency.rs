//! Concurrency: the account's, reserved, provisioned.
//!
//! Provisioned concurrency is all or nothing: in progress with none available for a minute or two,
//! then ready with all of it.

use serde_json::{Value, json};

use super::{invalid, not_found};
use crate::aws::{Answer, Aws, Refusal, Timer};
use crate::fault::CONCURRENCY;
use crate::input::Input;
use crate::time;

/// What must be left to functions without a reservation.
const UNRESERVED_MIN: u32 = 100;

/// Provisioned concurrency of one alias or version.
#[derive(Debug)]
pub(super) struct Provisioned {
    requested: u32,
    ready: bool,
    modified: u64,
    epoch: u64,
}

impl Provisioned {
    fn value(&self) -> Value {
        let there = if self.ready { self.requested } else { 0 };
        json!({
            "RequestedProvisionedConcurrentExecutions": self.requested,
            "AvailableProvisionedConcurrentExecutions": there,
            "AllocatedProvisionedConcurrentExecutions": there,
            "Status": if self.ready { "READY" } else { "IN_PROGRESS" },
            "LastModified": time::iso(self.modified, "+0000"),
        })
    }
}

impl Aws {
    /// Concurrency that neither a reservation nor, outside of one, a provision has taken, but for
    /// what `function` has at `qualifier`.
    fn unreserved(&self, function: &str, qualifier: Option<&str>) -> u32 {
        let mut taken = 0;
        for (name, held) in &self.functions.functions {
            let provisioned: u32 = held
                .provisioned
                .iter()
                .filter(|(held, _)| name != function || qualifier != Some(held.as_str()))
                .map(|(_, provisioned)| provisioned.requested)
                .sum();
            taken += match held.reserved {
                Some(reserved) if name != function || qualifier.is_some() => reserved,
                _ => provisioned,
            };
        }
        self.config.concurrency.saturating_sub(taken)
    }

    pub(super) fn put_provisioned(&mut self, input: Input<'_>) -> Answer {
        let requested = input.count("ProvisionedConcurrentExecutions")?.filter(|n| *n > 0);
        let requested = requested.ok_or_else(|| {
            invalid("ProvisionedConcurrentExecutions must have a value greater than or equal to 1")
        })?;
        let (now, epoch) = (self.now, self.number());
        let delay = self.draw(self.config.provisioned_ms);
        let (name, qualifier, function) = self.function(input)?;
        let qualifier = qualifier.filter(|q| q != "$LATEST").ok_or_else(|| {
            invalid("Provisioned Concurrency Configs cannot be applied to unpublished function versions.")
        })?;
        let alias = function.aliases.contains_key(&qualifier);
        if !alias && function.version(&qualifier).is_none() {
            return Err(not_found(&format!("Cannot find alias arn: {}:{qualifier}", function.arn)));
        }
        if function.aliases.get(&qualifier).is_some_and(|alias| !alias.weights.is_empty()) {
            return Err(invalid("Alias with weights can not be used with Provisioned Concurrency"));
        }
        let reserved = function.reserved;
        let others: u32 = function
            .provisioned
            .iter()
            .filter(|(other, _)| **other != qualifier)
            .map(|(_, other)| other.requested)
            .sum();
        match reserved {
            Some(reserved) if others.saturating_add(requested) > reserved => {
                return Err(invalid(
                    "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function",
                ));
            }
            None => {
                let left = self.unreserved(&name, Some(&qualifier));
                if left < requested.saturating_add(UNRESERVED_MIN) {
                    return Err(invalid(CONCURRENCY));
                }
            }
            Some(_) => {}
        }
        let (_, _, function) = self.function(input)?;
        let held = function.provisioned.get(&qualifier);
        if held.is_none_or(|held| held.requested != requested) {
            let provisioned = Provisioned { requested, ready: false, modified: now, epoch };
            function.provisioned.insert(qualifier.clone(), provisioned);
            let timer = Timer::Provisioned { function: name, qualifier, epoch };
            self.after(delay, timer);
        }
        self.get_provisioned(input)
    }

    pub(crate) fn provisioned_ready(&mut self, function: &str, qualifier: &str, epoch: u64) {
        let revision = self.uuid();
        let Some(function) = self.functions.functions.get_mut(function) else { return };
        let Some(held) = function.provisioned.get_mut(qualifier) else { return };
        if held.epoch != epoch {
            return;
        }
        held.ready = true;
        if let Some(alias) = function.aliases.get_mut(qualifier)
            && !alias.weights.is_empty()
        {
            alias.weights.clear();
            alias.revision = revision;
        }
    }

    /// An alias points to another version, whose environments are yet to be made. Until they are, Lambda gives
    /// all requests to the one it pointed to, by a weight of its own.
    pub(super) fn provision_again(&mut self, function: &str, alias: &str, old: String) {
        let (epoch, now) = (self.number(), self.now);
        let delay = self.draw(self.config.provisioned_ms);
        let Some(there) = self.functions.functions.get_mut(function) else { return };
        let Some(held) = there.provisioned.get_mut(alias) else { return };
        (held.ready, held.epoch, held.modified) = (false, epoch, now);
        if let Some(alias) = there.aliases.get_mut(alias) {
            alias.weights = [(old, 1.0)].into();
        }
        let (function, qualifier) = (function.to_owned(), alias.to_owned());
        self.after(delay, Timer::Provisioned { function, qualifier, epoch });
    }

    pub(super) fn get_provisioned(&mut self, input: Input<'_>) -> Answer {
        let (_, qualifier, function) = self.function(input)?;
        match function.provisioned.get(&qualifier.unwrap_or_default()) {
            Some(held) => Ok(held.value()),
            None => Err(Refusal::new(
                404,
                "ProvisionedConcurrencyConfigNotFoundException",
                "No Provisioned Concurrency Config found for this function",
            )),
        }
    }

    pub(super) fn delete_provisioned(&mut self, input: Input<'_>) -> Answer {
        let (_, qualifier, function) = self.function(input)?;
        function.provisioned.remove(&qualifier.unwrap_or_default());
        Ok(Value::Null)
    }

    pub(super) fn list_provisioned(&mut self, input: Input<'_>) -> Answer {
        let (_, _, function) = self.function(input)?;
        let all = function.provisioned.iter().map(|(qualifier, held)| {
            let mut value = held.value();
            value["FunctionArn"] = json!(format!("{}:{qualifier}", function.arn));
            value
        });
        Ok(json!({ "ProvisionedConcurrencyConfigs": all.collect::<Vec<_>>() }))
    }

    pub(super) fn put_reserved(&mut self, input: Input<'_>) -> Answer {
        let wanted = input.count("ReservedConcurrentExecutions")?;
        let wanted = wanted.ok_or_else(|| invalid("ReservedConcurrentExecutions is missing"))?;
        let (name, _, function) = self.function(input)?;
        let provisioned: u32 = function.provisioned.values().map(|p| p.requested).sum();
        if wanted < provisioned {
            return Err(invalid(
                "ReservedConcurrentExecutions must not be less than the provisioned concurrency of the function",
            ));
        }
        // What the function has now, reserved or provisioned, is given back first.
        let left = self.unreserved(&name, None).saturating_add(provisioned);
        if left < wanted.saturating_add(UNRESERVED_MIN) {
            return Err(invalid(CONCURRENCY));
        }
        self.function(input)?.2.reserved = Some(wanted);
        self.get_reserved(input)
    }

    pub(super) fn get_reserved(&mut self, input: Input<'_>) -> Answer {
        let (_, _, function) = self.function(input)?;
        Ok(match function.reserved {
            Some(reserved) => json!({ "ReservedConcurrentExecutions": reserved }),
            None => json!({}),
        })
    }

    pub(super) fn delete_reserved(&mut self, input: Input<'_>) -> Answer {
        self.function(input)?.2.reserved = None;
        Ok(Value::Null)
    }

    pub(super) fn account_settings(&self) -> Value {
        let all = self.config.concurrency;
        json!({
            "AccountLimit": {
                "ConcurrentExecutions": all,
                "UnreservedConcurrentExecutions": self.unreserved("", None),
                "TotalCodeSize": 80_530_636_800_u64,
                "CodeSizeUnzipped": 262_144_000,
                "CodeSizeZipped": 52_428_800,
            },
            "AccountUsage": { "FunctionCount": self.functions.functions.len() },
        })
    }
}
