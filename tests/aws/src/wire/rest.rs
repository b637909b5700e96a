//! Lambda's paths.

use bytes::Bytes;
use http::{Method, Uri};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::aws::{Request, Service};

/// A request of Lambda's, and the status of its success; none when the path is not Lambda's. A path
/// begins with the date of the API's version, which differs from action to action and tells nothing.
pub(super) fn read(method: &Method, uri: &Uri, body: &Bytes) -> Option<(Request, u16)> {
    let path: Vec<String> = uri
        .path()
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
        .collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let (date, path) = path.split_first()?;
    if date.len() != 10 || date.bytes().any(|b| !b.is_ascii_digit() && b != b'-') {
        return None;
    }
    let query: Vec<(String, String)> =
        form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
            .map(|(k, v)| (k.into_owned(), v.into_owned()))
            .collect();
    found(method, path, query, body)
}

fn found(
    method: &Method,
    path: &[&str],
    query: Vec<(String, String)>,
    body: &Bytes,
) -> Option<(Request, u16)> {
    let listed = query.iter().any(|(key, value)| key == "List" && value == "ALL");
    let (action, status) = match (method.as_str(), path) {
        ("POST", ["functions"]) => ("CreateFunction", 201),
        ("GET", ["functions", _]) => ("GetFunction", 200),
        ("DELETE", ["functions", _]) => ("DeleteFunction", 204),
        ("GET", ["functions", _, "configuration"]) => ("GetFunctionConfiguration", 200),
        ("PUT", ["functions", _, "configuration"]) => ("UpdateFunctionConfiguration", 200),
        ("PUT", ["functions", _, "code"]) => ("UpdateFunctionCode", 200),
        ("POST", ["functions", _, "versions"]) => ("PublishVersion", 201),
        ("GET", ["functions", _, "versions"]) => ("ListVersionsByFunction", 200),
        ("POST", ["functions", _, "aliases"]) => ("CreateAlias", 201),
        ("GET", ["functions", _, "aliases"]) => ("ListAliases", 200),
        ("GET", ["functions", _, "aliases", _]) => ("GetAlias", 200),
        ("PUT", ["functions", _, "aliases", _]) => ("UpdateAlias", 200),
        ("DELETE", ["functions", _, "aliases", _]) => ("DeleteAlias", 204),
        ("PUT", ["functions", _, "provisioned-concurrency"]) => {
            ("PutProvisionedConcurrencyConfig", 202)
        }
        ("GET", ["functions", _, "provisioned-concurrency"]) if listed => {
            ("ListProvisionedConcurrencyConfigs", 200)
        }
        ("GET", ["functions", _, "provisioned-concurrency"]) => {
            ("GetProvisionedConcurrencyConfig", 200)
        }
        ("DELETE", ["functions", _, "provisioned-concurrency"]) => {
            ("DeleteProvisionedConcurrencyConfig", 204)
        }
        ("PUT", ["functions", _, "concurrency"]) => ("PutFunctionConcurrency", 200),
        ("GET", ["functions", _, "concurrency"]) => ("GetFunctionConcurrency", 200),
        ("DELETE", ["functions", _, "concurrency"]) => ("DeleteFunctionConcurrency", 204),
        ("POST", ["functions", _, "invocations"]) => ("Invoke", 200),
        ("GET", ["account-settings"]) => ("GetAccountSettings", 200),
        ("GET", ["tags", _]) => ("ListTags", 200),
        (_, ["functions" | "tags" | "account-settings", ..]) => ("", 200),
        _ => return None,
    };
    // What is invoked with is no parameter.
    let mut input = match action {
        "Invoke" => json!({}),
        _ => {
            serde_json::from_slice(body).ok().filter(Value::is_object).unwrap_or_else(|| json!({}))
        }
    };
    for (key, value) in query {
        input[key.as_str()] = json!(value);
    }
    match path {
        ["functions", name, rest @ ..] => {
            input["FunctionName"] = json!(name);
            if let ["aliases", alias] = rest {
                input["Name"] = json!(alias);
            }
        }
        ["tags", arn] => input["Resource"] = json!(arn),
        _ => {}
    }
    Some((Request { service: Service::Lambda, action: action.to_owned(), input }, status))
}
