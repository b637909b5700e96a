//! Going back by hand: at once, one call a function.

use std::collections::BTreeMap;

use serde_json::Value;
use spillway_model::config::AwsFunction;

use crate::clients::Clients;

use super::act::Act;
use super::carry_out::Bench;
use super::run::{Outcome, passes, told};
use super::seen::Function;
use super::tell::Said;
use super::{DeployError, look};

/// A call that may pass by itself is made so often.
const TRIES_MAX: u32 = 5;

/// What is to be done with a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// This.
    Do(Act),
    /// Nothing, for this reason.
    Leave(String),
    /// There is nothing to go back to.
    Lost(String),
}

/// Decides. `to` is a version that was asked for; `canary` says whether a deployment of any of the functions
/// is under way: then that is what is ended, and functions that are not in it are left alone.
#[must_use]
pub(crate) fn turn(name: &str, function: &Function, to: Option<u32>, canary: bool) -> Turn {
    let alias = &function.alias;
    let current = alias.version;
    let given = |version: u32| Act::Move { function: name.to_owned(), version };
    let all = |versions: &BTreeMap<u32, _>| {
        let others = versions.keys().rev().filter(|version| **version != current);
        let others = others.take(10).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if others.is_empty() { "no other".to_owned() } else { others }
    };
    match (to, alias.weighed, function.before) {
        (Some(to), None, _) if to == current => {
            Turn::Leave(format!("version {to} has all requests"))
        }
        (Some(to), ..) if function.versions.contains_key(&to) => Turn::Do(given(to)),
        (Some(to), ..) => Turn::Lost(format!(
            "there is no version {to}; beside {current} there are: {}",
            all(&function.versions)
        )),
        // Not a canary: AWS itself shifts requests to a version whose environments it has yet to warm.
        (None, Some((version, _)), Some(before)) if function.warm > 0 && version == before => {
            Turn::Do(given(before))
        }
        (None, Some(_), _) => Turn::Do(Act::Withdraw { function: name.to_owned() }),
        (None, None, _) if canary && !function.is_unsettled() => Turn::Leave(format!(
            "no canary is under way here, and version {current} stays; name this function alone to \
             move it back too"
        )),
        (None, None, Some(before))
            if before != current && function.versions.contains_key(&before) =>
        {
            Turn::Do(given(before))
        }
        (None, None, _) => Turn::Lost(format!(
            "it is not known what served before version {current}: say with --to which; there are: {}",
            all(&function.versions)
        )),
    }
}

/// Goes back.
///
/// # Errors
/// When a function cannot be read: then nothing was changed.
pub(crate) async fn run(
    clients: &Clients,
    functions: &BTreeMap<&str, &AwsFunction>,
    to: Option<u32>,
    dry_run: bool,
    tell: &mut (dyn FnMut(&Said) + Send),
) -> Result<Outcome, DeployError> {
    let mut seen = BTreeMap::new();
    for (name, there) in functions {
        let function = look::function(clients, there).await;
        let function = function.map_err(|e| DeployError::Look((*name).to_owned(), told(&e)))?;
        seen.insert(*name, function);
    }
    // Weights that lead to the version before are AWS's own, until what it warms for the new one is there.
    let by_aws = |f: &Function| f.warm > 0 && f.alias.weighed.map(|(other, _)| other) == f.before;
    let weighed = |f: &Function| f.alias.weighed.is_some() && !by_aws(f);
    let canary = seen.values().any(|f| weighed(f) || f.is_unsettled());
    let mut lost = Vec::new();
    for (name, there) in functions {
        let Some(function) = seen.get_mut(name) else { continue };
        match turn(name, function, to, canary) {
            Turn::Do(act) if dry_run => {
                tell(&Said::Would { function: (*name).to_owned(), text: act.to_string() });
            }
            Turn::Do(act) => {
                let mut done = act_on(clients, there, function, &act, tell).await;
                for act in afterwards(&act, function) {
                    if done.is_ok() {
                        done = act_on(clients, there, function, &act, tell).await;
                    }
                }
                if let Err(why) = done {
                    lost.push(format!("{name}: {why}"));
                }
            }
            Turn::Leave(text) => tell(&Said::Warns { function: (*name).to_owned(), text }),
            Turn::Lost(why) => lost.push(format!("{name}: {why}")),
        }
    }
    for (name, function) in &seen {
        tell(&Said::Stands { function: (*name).to_owned(), routed: (&function.alias).into() });
    }
    let (outcome, kind, text) = if lost.is_empty() {
        let text = if dry_run { "nothing was changed" } else { "it has gone back" };
        (Outcome::Done, "done", text.to_owned())
    } else {
        let why = lost.join("; ");
        (Outcome::Stopped(why.clone()), "failed", why)
    };
    tell(&Said::Ends { outcome: kind, text });
    Ok(outcome)
}

/// What is done after the way back: weights that AWS itself gives the version that was left are taken away,
/// and of a deployment that had not ended nothing is left.
fn afterwards(act: &Act, function: &Function) -> Vec<Act> {
    let mut acts = Vec::new();
    let name = || act.function().to_owned();
    if matches!(act, Act::Move { .. }) && function.alias.weighed.is_some() {
        acts.push(Act::Withdraw { function: name() });
    }
    if let (Some(moving), Some(before)) = (function.moving, function.before) {
        // Whose canary alone was ended can still go back from the version that served beside it.
        let ended = matches!(act, Act::Withdraw { .. });
        let version = moving.after.filter(|after| ended && function.versions.contains_key(after));
        let version = version.unwrap_or(before);
        acts.push(Act::Remember { function: name(), version, moving: None });
    }
    acts
}

async fn act_on(
    clients: &Clients,
    there: &AwsFunction,
    function: &mut Function,
    act: &Act,
    tell: &mut (dyn FnMut(&Said) + Send),
) -> Result<(), String> {
    let begun = spillway_part::clock::instant();
    let mut tries = 0;
    loop {
        let event = Value::Null;
        let bench = Bench { clients, there, seen: function, package: None, event: &event };
        let failed = match bench.carry_out(act).await {
            Ok((_, alias)) => {
                function.alias = alias.unwrap_or_else(|| function.alias.clone());
                break;
            }
            Err(e) => e,
        };
        tries += 1;
        // Also after another's change: whoever goes back means it, whatever the version is.
        *function = look::function(clients, there).await.map_err(|e| told(&e))?;
        if act.is_done(function, None) {
            break;
        }
        let moved = failed.code.as_deref() == Some("PreconditionFailedException");
        if tries >= TRIES_MAX || !(moved || passes(&failed)) {
            return Err(told(&failed));
        }
    }
    let millis = begun.elapsed().as_millis();
    tell(&Said::Did { act: act.clone(), millis, published: None, wrong: None });
    Ok(())
}
