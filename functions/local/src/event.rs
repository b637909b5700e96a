//! HTTP to ALB target-group events, and a function's answer back to HTTP. Pure.
//!
//! The rules are those of "Use Lambda functions as targets of an Application Load Balancer"
//! (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html>), with
//! the target group's attribute `lambda.multi_value_headers.enabled` on or off. It names the fields, of
//! events and of answers. Without it, of a header or parameter that comes more than once the last value
//! counts. AWS does not say in which order parameters stand in the event; here names stand in the order in
//! which the client first wrote them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, Uri};
use hyper::ext::ReasonPhrase;
use serde::{Deserialize, Serialize, Serializer};

/// Largest request body and largest answer (as JSON) that an ALB takes to or from a function.
pub const ALB_BYTES_MAX: usize = 1024 * 1024;

/// Headers of one hop (RFC 9110 §7.6.1); "the load balancer does not honor hop-by-hop headers".
/// The length is computed anew.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A request and what the load balancer knows of it.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// ARN of the target group of the function.
    pub target_group_arn: &'a str,
    /// Whether the target group has multi-value headers.
    pub multi_value: bool,
    /// Its method.
    pub method: &'a Method,
    /// Its target.
    pub uri: &'a Uri,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// Its whole body.
    pub body: &'a Bytes,
    /// The client's address, by the socket.
    pub client: IpAddr,
    /// The port it came to.
    pub port: u16,
    /// The `x-amzn-trace-id` to hand on, see [`trace_id`].
    pub trace_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    request_context: RequestContext<'a>,
    http_method: &'a str,
    path: &'a str,
    #[serde(flatten)]
    values: Values<'a>,
    body: Cow<'a, str>,
    is_base64_encoded: bool,
}

type Named<'a, T> = BTreeMap<&'a str, T>;

/// A JSON object whose names stand in this order.
struct Ordered<'a, T>(Vec<(&'a str, T)>);

impl<T: Serialize> Serialize for Ordered<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Values<'a> {
    Last {
        query_string_parameters: Ordered<'a, &'a str>,
        headers: Named<'a, Cow<'a, str>>,
    },
    All {
        multi_value_query_string_parameters: Ordered<'a, Vec<&'a str>>,
        multi_value_headers: Named<'a, Vec<Cow<'a, str>>>,
    },
}

#[derive(Serialize)]
struct RequestContext<'a> {
    elb: Elb<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Elb<'a> {
    target_group_arn: &'a str,
}

/// The JSON of the event that an ALB invokes a function with.
///
/// # Errors
/// Never in practice: the event is maps of strings.
pub fn event(incoming: &Incoming<'_>) -> Result<Bytes, serde_json::Error> {
    let (body, is_base64_encoded) = event_body(incoming.headers, incoming.body);
    let parameters = parameters(incoming.uri.query().unwrap_or_default());
    let headers = event_headers(incoming);
    let values = if incoming.multi_value {
        Values::All {
            multi_value_query_string_parameters: Ordered(parameters),
            multi_value_headers: headers,
        }
    } else {
        Values::Last {
            query_string_parameters: Ordered(last(parameters).collect()),
            headers: last(headers).collect(),
        }
    };
    let event = Event {
        request_context: RequestContext {
            elb: Elb { target_group_arn: incoming.target_group_arn },
        },
        http_method: incoming.method.as_str(),
        path: incoming.uri.path(),
        values,
        body,
        is_base64_encoded,
    };
    serde_json::to_vec(&event).map(Bytes::from)
}

fn last<'a, T>(
    all: impl IntoIterator<Item = (&'a str, Vec<T>)>,
) -> impl Iterator<Item = (&'a str, T)> {
    all.into_iter().filter_map(|(name, mut values)| Some((name, values.pop()?)))
}

/// "If the query parameters are URL-encoded, the load balancer does not decode them."
fn parameters(query: &str) -> Vec<(&str, Vec<&str>)> {
    let (mut parameters, mut places) = (Vec::<(&str, Vec<&str>)>::new(), HashMap::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = *places.entry(name).or_insert_with(|| {
            parameters.push((name, Vec::new()));
            parameters.len() - 1
        });
        parameters[place].1.push(value);
    }
    parameters
}

fn event_headers<'a>(incoming: &Incoming<'a>) -> Named<'a, Vec<Cow<'a, str>>> {
    let mut headers = Named::<Vec<Cow<'a, str>>>::new();
    for (name, value) in incoming.headers {
        if !HOP_BY_HOP.contains(name) {
            let value = String::from_utf8_lossy(value.as_bytes());
            headers.entry(name.as_str()).or_default().push(value);
        }
    }
    let client = incoming.client.to_canonical().to_string();
    let forwarded_for = headers.entry("x-forwarded-for").or_default();
    match forwarded_for.last_mut() {
        Some(before) => *before = format!("{before}, {client}").into(),
        None => forwarded_for.push(client.into()),
    }
    headers.insert("x-forwarded-proto", vec!["http".into()]);
    headers.insert("x-forwarded-port", vec![incoming.port.to_string().into()]);
    headers.insert("x-amzn-trace-id", vec![incoming.trace_id.into()]);
    headers
}

/// Text of the types that AWS lists goes as it is, everything else in Base64.
fn event_body<'a>(headers: &HeaderMap, body: &'a Bytes) -> (Cow<'a, str>, bool) {
    if body.is_empty() {
        return ("".into(), false);
    }
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|media_type| media_type.trim().to_ascii_lowercase())
        .unwrap_or_default();
    let listed = media_type.starts_with("text/")
        || ["application/json", "application/javascript", "application/xml"]
            .contains(&media_type.as_str());
    // AWS does not say what becomes of a listed type that is not UTF-8, which JSON cannot carry;
    // Base64 loses nothing, and the flag tells the function.
    match std::str::from_utf8(body) {
        Ok(text) if listed && !headers.contains_key(header::CONTENT_ENCODING) => {
            (text.into(), false)
        }
        _ => (BASE64.encode(body).into(), true),
    }
}

/// The `x-amzn-trace-id` of a request: `fresh` as its root, or as `Self` in front of what the client
/// sent (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-request-tracing.html>).
#[must_use]
pub fn trace_id(headers: &HeaderMap, fresh: &str) -> String {
    match headers.get("x-amzn-trace-id").and_then(|value| value.to_str().ok()) {
        Some(sent) if sent.len() <= 512 && sent.contains("Root=") => format!("Self={fresh};{sent}"),
        _ => format!("Root={fresh}"),
    }
}

/// Why a function's answer cannot be sent on. An ALB answers 502 then.
#[derive(Debug, thiserror::Error)]
pub enum BadAnswer {
    /// More than an ALB takes.
    #[error("it has {0} bytes; an ALB takes {ALB_BYTES_MAX}")]
    TooLarge(usize),
    /// Not the JSON that is asked for.
    #[error("it is not an ALB answer")]
    Json(#[source] serde_json::Error),
    /// No final status.
    #[error("{0} is not a final HTTP status")]
    Status(i64),
    /// A header name or value that HTTP does not know.
    #[error("its header `{0}` is not valid")]
    Header(String),
    /// The body is not what `isBase64Encoded` says.
    #[error("its body is not Base64 though it says so")]
    Base64(#[source] base64::DecodeError),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status_code: i64,
    #[serde(default)]
    status_description: Option<String>,
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    multi_value_headers: Option<BTreeMap<String, Vec<String>>>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: Option<bool>,
}

/// The HTTP answer that a function's JSON stands for. "You must use `multiValueHeaders` if you have
/// enabled multi-value headers and `headers` otherwise"; the other is not looked at.
///
/// # Errors
/// When the JSON is no such answer, or too large.
pub fn answer(payload: &[u8], multi_value: bool) -> Result<Response<Bytes>, BadAnswer> {
    if payload.len() > ALB_BYTES_MAX {
        return Err(BadAnswer::TooLarge(payload.len()));
    }
    let answer: Answer = serde_json::from_slice(payload).map_err(BadAnswer::Json)?;
    let status = u16::try_from(answer.status_code)
        .ok()
        .filter(|code| (200..=599).contains(code))
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(BadAnswer::Status(answer.status_code))?;
    let body = match answer.body {
        Some(text) if answer.is_base64_encoded == Some(true) => {
            BASE64.decode(text).map_err(BadAnswer::Base64)?.into()
        }
        Some(text) => Bytes::from(text),
        None => Bytes::new(),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Some(phrase) = answer.status_description.and_then(|text| custom_phrase(&text, status)) {
        response.extensions_mut().insert(phrase);
    }
    let headers = response.headers_mut();
    if multi_value {
        for (name, values) in answer.multi_value_headers.unwrap_or_default() {
            for value in values {
                append(headers, &name, &value)?;
            }
        }
    } else {
        // Names that differ in case alone are how a function sends several without.
        for (name, value) in answer.headers.unwrap_or_default() {
            append(headers, &name, &value)?;
        }
    }
    Ok(response)
}

fn append(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), BadAnswer> {
    let bad = || BadAnswer::Header(name.to_owned());
    let name = HeaderName::try_from(name).map_err(|_| bad())?;
    let value = HeaderValue::try_from(value).map_err(|_| bad())?;
    if name != header::CONTENT_LENGTH && !HOP_BY_HOP.contains(&name) {
        headers.append(name, value);
    }
    Ok(())
}

/// `statusDescription` is "the status code and reason phrase, separated by a single space"; only a
/// phrase other than the usual one needs saying.
fn custom_phrase(description: &str, status: StatusCode) -> Option<ReasonPhrase> {
    let phrase = description.strip_prefix(status.as_str())?.strip_prefix(' ')?;
    if phrase.is_empty() || status.canonical_reason() == Some(phrase) {
        return None;
    }
    ReasonPhrase::try_from(phrase.as_bytes()).ok()
}

#[cfg(test)]
mod tests;
