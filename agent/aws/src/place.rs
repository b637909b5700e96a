//! Where calls go: which service, in which region, at which endpoint. An error of the SDK tells none of
//! them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_ec2::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, Region, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;

/// Where a call went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// As AWS calls it: `EC2`.
    service: String,
    region: String,
    /// Scheme and host, as the SDK resolved them.
    endpoint: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} at {}", self.service, self.region, self.endpoint)
    }
}

/// Where calls went last, by the API's name of each. All clients note it here just before they send.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Arc<Mutex<BTreeMap<String, Place>>>);

impl Places {
    /// Where the last call went that needs this permission; none before the first.
    pub(crate) fn of(&self, operation: &str) -> Option<Place> {
        let name = operation.split_once(':').map_or(operation, |(_, name)| name);
        // The one whose permission has another name than the call.
        let name = if name == "InvokeFunction" { "Invoke" } else { name };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl Intercept for Places {
    fn name(&self) -> &'static str {
        "Places"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(about) = config.load::<Metadata>() else { return Ok(()) };
        let place = Place {
            service: about.service().to_owned(),
            region: config.load::<Region>().map_or("no region", Region::as_ref).to_owned(),
            endpoint: endpoint(context.request().uri()).to_owned(),
        };
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.insert(about.name().to_owned(), place);
        Ok(())
    }
}

/// A URL up to its path.
fn endpoint(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?']).map_or(url.len(), |at| host + at);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_scheme_and_host() {
        for (url, expected) in [
            ("https://ec2.eu-central-1.amazonaws.com/", "https://ec2.eu-central-1.amazonaws.com"),
            ("http://127.0.0.1:5000/2015-03-31/functions?x", "http://127.0.0.1:5000"),
            ("http://127.0.0.1:5000?x=/", "http://127.0.0.1:5000"),
            ("/", ""),
        ] {
            assert_eq!(endpoint(url), expected, "{url}");
        }
    }
}
