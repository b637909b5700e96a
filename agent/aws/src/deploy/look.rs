//! Looking at functions on Lambda: descriptions into [`Function`].

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_lambda::types::{Architecture as Machine, LastUpdateStatus, State};
use spillway_model::UnixMillis;
use spillway_model::config::AwsFunction;

use crate::call::CallError;
use crate::clients::Clients;

use super::package::Architecture;
use super::seen::{Alias, Function, Moving, Readiness};

/// Most pages of one list: 50 versions each.
const PAGES_MAX: usize = 100;

/// The alias that remembers the version before.
#[must_use]
pub(crate) fn before(alias: &str) -> String {
    format!("{alias}-before")
}

/// Looks at a function.
///
/// # Errors
/// When it cannot be read, or its alias points to no version.
pub(crate) async fn function(
    clients: &Clients,
    there: &AwsFunction,
) -> Result<Function, CallError> {
    let (calls, lambda) = (&clients.calls, &clients.lambda);
    let operation = "lambda:GetFunctionConfiguration";
    let call = lambda.get_function_configuration().function_name(&there.name);
    let latest = calls.make(operation, call.send()).await?;
    let (mut aliases, held) = aliases(clients, there).await?;
    let Some((alias, _)) = aliases.remove(&there.alias) else {
        let what = format!("{} has no alias {} that points to a version", there.name, there.alias);
        return Err(CallError::missing("lambda:ListAliases", what));
    };
    let before = aliases.remove(&before(&there.alias));
    let reason = |text: Option<&str>| text.unwrap_or("no reason is given").to_owned();
    let readiness = match (latest.state(), latest.last_update_status()) {
        (Some(State::Failed), _) => Readiness::Failed(reason(latest.state_reason())),
        (_, Some(LastUpdateStatus::Failed)) => {
            Readiness::Failed(reason(latest.last_update_status_reason()))
        }
        (Some(State::Pending), _) | (_, Some(LastUpdateStatus::InProgress)) => Readiness::Busy,
        _ => Readiness::Ready,
    };
    let arm = latest.architectures().contains(&Machine::Arm64);
    Ok(Function {
        architecture: if arm { Architecture::Arm64 } else { Architecture::X86 },
        sha: latest.code_sha256().unwrap_or_default().to_owned(),
        readiness,
        revision: latest.revision_id().unwrap_or_default().to_owned(),
        before: before.as_ref().map(|(alias, _)| alias.version),
        moving: before.and_then(|(_, says)| Moving::read(&says)),
        alias,
        versions: versions(clients, there).await?,
        held,
        warm: warm(clients, there).await?,
    })
}

/// All aliases with what their descriptions say, and the versions that they lead to.
async fn aliases(
    clients: &Clients,
    there: &AwsFunction,
) -> Result<(BTreeMap<String, (Alias, String)>, BTreeSet<u32>), CallError> {
    let (mut aliases, mut held) = (BTreeMap::new(), BTreeSet::new());
    let mut marker = None;
    for _ in 0..PAGES_MAX {
        let call = clients.lambda.list_aliases().function_name(&there.name).set_marker(marker);
        let answer = clients.calls.make("lambda:ListAliases", call.send()).await?;
        for alias in answer.aliases() {
            let weights = alias.routing_config().and_then(|r| r.additional_version_weights());
            let read =
                read(alias.function_version(), weights.into_iter().flatten(), alias.revision_id());
            let Some(read) = read else { continue };
            held.insert(read.version);
            held.extend(read.weighed.map(|(version, _)| version));
            let says = alias.description().unwrap_or_default().to_owned();
            aliases.extend(alias.name().map(|name| (name.to_owned(), (read, says))));
        }
        marker = answer.next_marker().map(str::to_owned).filter(|marker| !marker.is_empty());
        if marker.is_none() {
            break;
        }
    }
    Ok((aliases, held))
}

/// The alias as it is.
///
/// # Errors
/// As for [`function`].
pub(crate) async fn alias(clients: &Clients, there: &AwsFunction) -> Result<Alias, CallError> {
    let operation = "lambda:GetAlias";
    let call = clients.lambda.get_alias().function_name(&there.name).name(&there.alias);
    let answer = clients.calls.make(operation, call.send()).await?;
    let weights = answer.routing_config().and_then(|r| r.additional_version_weights());
    read(answer.function_version(), weights.into_iter().flatten(), answer.revision_id()).ok_or_else(
        || CallError::missing(operation, format!("alias {} points to no version", there.alias)),
    )
}

/// An alias that points to a version; `$LATEST` is none, and takes no weights.
pub(crate) fn read<'a>(
    version: Option<&str>,
    mut weights: impl Iterator<Item = (&'a String, &'a f64)>,
    revision: Option<&str>,
) -> Option<Alias> {
    let weighed = weights.next().and_then(|(version, weight)| {
        let percent = (0..=100_u8).find(|percent| f64::from(*percent) + 0.5 > weight * 100.0);
        Some((version.parse().ok()?, percent.unwrap_or(100)))
    });
    let revision = revision.unwrap_or_default().to_owned();
    Some(Alias { version: version?.parse().ok()?, weighed, revision })
}

async fn versions(
    clients: &Clients,
    there: &AwsFunction,
) -> Result<BTreeMap<u32, UnixMillis>, CallError> {
    let mut versions = BTreeMap::new();
    let mut marker = None;
    for _ in 0..PAGES_MAX {
        let call = clients
            .lambda
            .list_versions_by_function()
            .function_name(&there.name)
            .set_marker(marker);
        let answer = clients.calls.make("lambda:ListVersionsByFunction", call.send()).await?;
        for version in answer.versions() {
            // `$LATEST` is among them and is no number.
            let Some(number) = version.version().and_then(|version| version.parse().ok()) else {
                continue;
            };
            let at = version.last_modified().and_then(spillway_alarm::moment);
            versions.insert(number, at.unwrap_or_default());
        }
        marker = answer.next_marker().map(str::to_owned).filter(|marker| !marker.is_empty());
        if marker.is_none() {
            break;
        }
    }
    Ok(versions)
}

async fn warm(clients: &Clients, there: &AwsFunction) -> Result<u32, CallError> {
    let operation = "lambda:GetProvisionedConcurrencyConfig";
    let call = clients
        .lambda
        .get_provisioned_concurrency_config()
        .function_name(&there.name)
        .qualifier(&there.alias);
    let none = "ProvisionedConcurrencyConfigNotFoundException";
    let answer = clients.calls.find(operation, none, call.send()).await?;
    let asked = answer.and_then(|answer| answer.requested_provisioned_concurrent_executions());
    Ok(asked.and_then(|asked| u32::try_from(asked).ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_whole_percents() {
        for (weight, percent) in [(0.05, 5), (0.25, 25), (0.999, 100), (0.29, 29), (0.0, 0)] {
            let (version, weight) = ("7".to_owned(), weight);
            let read = read(Some("6"), [(&version, &weight)].into_iter(), None).unwrap();
            assert_eq!(read.weighed, Some((7, percent)), "{weight}");
        }
        assert_eq!(read(Some("$LATEST"), [].into_iter(), None), None);
    }
}
