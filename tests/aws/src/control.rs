//! What tests in other languages ask of the stand-in, beside AWS's own APIs.
//!
//! | request | what it does |
//! | --- | --- |
//! | `POST /_/advance {"seconds": 60}` | lets time pass at once |
//! | `POST /_/clock {"factor": 10}` | lets it pass faster; 0 stops it |
//! | `POST /_/faults [{"action": "RunInstances", "times": 1, "kind": "throttle"}]` | adds rules of what goes wrong |
//! | `DELETE /_/faults` | lets all go well again |
//! | `POST /_/quota {"vcpus": 8}` | sets the quota of running instances |
//! | `POST /_/metric {"namespace": …, "name": …, "dimensions": {…}, "value": 1}` | puts a metric of AWS's own |
//! | `POST /_/call {"service": "ec2", "action": …, "input": {…}}` | makes a call, in JSON |
//! | `GET /_/calls` | what was called |

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::aws::Request;
use crate::fault::Fault;
use crate::server::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    seconds: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Speed {
    factor: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quota {
    vcpus: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metric {
    namespace: String,
    name: String,
    #[serde(default)]
    dimensions: BTreeMap<String, String>,
    value: f64,
}

/// Answers such a request; what is wrong with one is said with 400.
pub(crate) fn answer(
    shared: &Shared,
    method: &Method,
    path: &str,
    body: &Bytes,
) -> Response<Bytes> {
    let (status, value) = match act(shared, method, path, body) {
        Ok(Some(value)) => (StatusCode::OK, value),
        Ok(None) => (StatusCode::NOT_FOUND, json!({ "error": "no such control" })),
        Err(e) => (StatusCode::BAD_REQUEST, json!({ "error": e.to_string() })),
    };
    let mut response = Response::new(Bytes::from(value.to_string()));
    *response.status_mut() = status;
    response
}

fn act(
    shared: &Shared,
    method: &Method,
    path: &str,
    body: &Bytes,
) -> Result<Option<Value>, serde_json::Error> {
    match (method.as_str(), path) {
        ("POST", "/_/advance") => {
            let Advance { seconds } = serde_json::from_slice(body)?;
            let by = Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)?;
            shared.advance(by);
        }
        ("POST", "/_/clock") => {
            let Speed { factor } = serde_json::from_slice(body)?;
            shared.set_factor(factor);
        }
        ("POST", "/_/faults") => {
            let faults: Vec<Fault> = serde_json::from_slice(body)?;
            shared.with(|aws| aws.add_faults(faults));
        }
        ("DELETE", "/_/faults") => shared.with(crate::Aws::clear_faults),
        ("POST", "/_/quota") => {
            let Quota { vcpus } = serde_json::from_slice(body)?;
            shared.with(|aws| aws.set_vcpus(vcpus));
        }
        ("POST", "/_/metric") => {
            let Metric { namespace, name, dimensions, value } = serde_json::from_slice(body)?;
            let pairs: Vec<(&str, &str)> =
                dimensions.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            shared.with(|aws| aws.put_metric(&namespace, &name, &pairs, value));
        }
        ("POST", "/_/call") => {
            let request: Request = serde_json::from_slice(body)?;
            let outcome = shared.with(|aws| aws.call(&request));
            return Ok(Some(match outcome.answer {
                Ok(value) => json!({ "answer": value }),
                Err(refusal) => json!({ "refused": refusal.code, "message": refusal.message }),
            }));
        }
        ("GET", "/_/calls") => {
            let calls = shared.with(|aws| aws.calls().cloned().collect::<Vec<_>>());
            return serde_json::to_value(calls).map(Some);
        }
        _ => return Ok(None),
    }
    Ok(Some(json!({ "now_ms": shared.with(|aws| aws.now()) })))
}
