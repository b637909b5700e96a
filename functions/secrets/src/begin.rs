//! Telling the Runtime API that a function cannot begin.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use spillway_part::client::Client;

/// How long telling may take: the process ends either way.
const DEADLINE: Duration = Duration::from_secs(1);

/// Tells the Runtime API, which the variable `AWS_LAMBDA_RUNTIME_API` of `lookup` names, why the function
/// cannot begin, with all causes. Lambda then says so to whoever called, and does not wait in vain. That
/// it could not be told is only logged, for the process is about to end and say why itself.
pub async fn report_init_error(
    lookup: impl Fn(&str) -> Option<String>,
    kind: &str,
    error: &(dyn Error + 'static),
) {
    let Some(api) = lookup("AWS_LAMBDA_RUNTIME_API") else { return };
    let causes = std::iter::successors(error.source(), |e| (*e).source());
    let message = causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        // A transparent error is its own source's text.
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    });
    let body = serde_json::json!({ "errorType": kind, "errorMessage": message, "stackTrace": [] });
    let tell = async {
        let to = tokio::net::lookup_host(&api).await.ok().and_then(|mut found| found.next());
        let to = to.ok_or_else(|| format!("{api} has no address"))?;
        let (path, body) = ("/2018-06-01/runtime/init/error", Bytes::from(body.to_string()));
        let told = Client::default().call(Method::POST, to, path, body, DEADLINE).await;
        told.map_err(|e| e.to_string())
    };
    match tokio::time::timeout(DEADLINE, tell).await {
        Ok(Ok(answer)) if answer.status.is_success() => {}
        Ok(Ok(answer)) => {
            tracing::debug!(status = %answer.status, "the Runtime API was told in vain")
        }
        Ok(Err(reason)) => tracing::debug!(reason, "the Runtime API cannot be told"),
        Err(_) => tracing::debug!("the Runtime API does not answer"),
    }
}
