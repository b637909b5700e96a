//! The wire: HTTP requests into [`Request`]s, answers into the protocol that the request came by.
//!
//! | protocol | services | told by |
//! | --- | --- | --- |
//! | query, EC2's query | EC2, Auto Scaling, ELB, CloudWatch, SNS, STS, RDS, ElastiCache | `Version` in the form |
//! | JSON 1.0 | SQS, CloudWatch | `x-amz-target` |
//! | RPC and CBOR | CloudWatch | `smithy-protocol` |
//! | REST and JSON | Lambda | path |

mod cbor;
mod rest;
mod xml;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use serde_json::{Map, Value, json};

use crate::aws::{Answer, Refusal, Request, Service};
use crate::{input, time};

/// How a request was put, and so how it is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// EC2's query, whose action this is.
    Ec2(String),
    /// A query, whose action and namespace these are.
    Query(String, &'static str),
    /// JSON 1.0.
    Json,
    /// Smithy's RPC in CBOR.
    Cbor,
    /// REST, and the status of success.
    Rest(u16),
}

/// The services that speak query, by the version of their API.
const VERSIONS: [(&str, Service, &str); 8] = [
    ("2016-11-15", Service::Ec2, "http://ec2.amazonaws.com/doc/2016-11-15/"),
    ("2011-01-01", Service::AutoScaling, "http://autoscaling.amazonaws.com/doc/2011-01-01/"),
    ("2015-12-01", Service::Elb, "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"),
    ("2010-08-01", Service::CloudWatch, "http://monitoring.amazonaws.com/doc/2010-08-01/"),
    ("2010-03-31", Service::Sns, "http://sns.amazonaws.com/doc/2010-03-31/"),
    ("2011-06-15", Service::Sts, "https://sts.amazonaws.com/doc/2011-06-15/"),
    ("2014-10-31", Service::Rds, "http://rds.amazonaws.com/doc/2014-10-31/"),
    ("2015-02-02", Service::ElastiCache, "http://elasticache.amazonaws.com/doc/2015-02-02/"),
];

/// Reads a request; none when it is of no service that is known here.
pub(crate) fn read(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Option<(Request, Protocol)> {
    if let Some(target) = headers.get("x-amz-target").and_then(|target| target.to_str().ok()) {
        let (prefix, action) = target.split_once('.')?;
        let service = match prefix {
            "AmazonSQS" => Service::Sqs,
            "GraniteServiceVersion20100801" => Service::CloudWatch,
            _ => return None,
        };
        let input = serde_json::from_slice(body).unwrap_or_else(|_| json!({}));
        return Some((Request { service, action: action.to_owned(), input }, Protocol::Json));
    }
    if headers.get("smithy-protocol").is_some_and(|protocol| protocol == "rpc-v2-cbor") {
        let path = uri.path().strip_prefix("/service/GraniteServiceVersion20100801/operation/");
        let input = if body.is_empty() { json!({}) } else { cbor::read(body)? };
        let request = Request { service: Service::CloudWatch, action: path?.to_owned(), input };
        return Some((request, Protocol::Cbor));
    }
    if let Some((request, status)) = rest::read(method, uri, body) {
        return Some((request, Protocol::Rest(status)));
    }
    let in_path = uri.query().unwrap_or_default().as_bytes();
    let pairs = form_urlencoded::parse(in_path).chain(form_urlencoded::parse(body));
    let mut input = input::from_pairs(pairs.map(|(k, v)| (k.into_owned(), v.into_owned())));
    let Value::Object(members) = &mut input else { return None };
    let text = |value: Value| value.as_str().map(str::to_owned);
    let action = members.remove("Action").and_then(text)?;
    let version =
        members.remove("Version").and_then(text).unwrap_or_else(|| "2010-03-31".to_owned());
    let (_, service, namespace) = VERSIONS.into_iter().find(|(known, ..)| *known == version)?;
    let protocol = match service {
        Service::Ec2 => Protocol::Ec2(action.clone()),
        _ => Protocol::Query(action.clone(), namespace),
    };
    Some((Request { service, action, input }, protocol))
}

/// Status, media type and body of an answer.
fn written(answer: &Answer, protocol: &Protocol, id: &str) -> (u16, &'static str, Bytes) {
    const XML: &str = "text/xml";
    const JSON: &str = "application/json";
    const JSON_1_0: &str = "application/x-amz-json-1.0";
    const CBOR: &str = "application/cbor";
    let (status, kind, body) = match (protocol, answer) {
        (Protocol::Ec2(action), Ok(value)) => (200, XML, xml::ec2(action, value, id)),
        (Protocol::Ec2(_), Err(refusal)) => (refusal.status, XML, xml::ec2_error(refusal, id)),
        (Protocol::Query(action, namespace), Ok(value)) => {
            (200, XML, xml::query(action, namespace, value, id))
        }
        (Protocol::Query(_, namespace), Err(refusal)) => {
            (refusal.status, XML, xml::query_error(refusal, namespace, id))
        }
        (Protocol::Json, Ok(value)) => (200, JSON_1_0, plain(value).to_string()),
        (Protocol::Json, Err(refusal)) => {
            (refusal.status, JSON_1_0, typed("com.amazonaws.sqs", refusal).to_string())
        }
        (Protocol::Cbor, Ok(value)) => return (200, CBOR, cbor::write(value).into()),
        (Protocol::Cbor, Err(refusal)) => {
            let body = cbor::write(&typed("com.amazonaws.cloudwatch", refusal));
            return (refusal.status, CBOR, body.into());
        }
        (Protocol::Rest(_), Ok(Value::Null)) => (204, JSON, String::new()),
        (Protocol::Rest(status), Ok(value)) => (*status, JSON, plain(value).to_string()),
        (Protocol::Rest(_), Err(refusal)) => {
            let whose = if refusal.status < 500 { "User" } else { "Service" };
            let body = json!({ "Type": whose, "Message": refusal.message });
            (refusal.status, JSON, body.to_string())
        }
    };
    (status, kind, body.into())
}

/// An error whose body names its type.
fn typed(namespace: &str, refusal: &Refusal) -> Value {
    json!({ "__type": format!("{namespace}#{}", refusal.code), "message": refusal.message })
}

/// Writes an answer.
pub(crate) fn write(answer: &Answer, protocol: &Protocol, id: &str) -> Response<Bytes> {
    let (status, kind, body) = written(answer, protocol, id);
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert("x-amzn-requestid", id);
    }
    if *protocol == Protocol::Cbor {
        set(headers, "smithy-protocol", "rpc-v2-cbor");
    }
    if let Err(refusal) = answer {
        match protocol {
            Protocol::Rest(_) => set(headers, "x-amzn-errortype", &refusal.code),
            Protocol::Json | Protocol::Cbor => {
                let old = old_code(&refusal.code);
                set(headers, "x-amzn-query-error", &format!("{old};Sender"));
            }
            Protocol::Ec2(_) | Protocol::Query(..) => {}
        }
    }
    response
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The code that SQS had for an error when it spoke query.
fn old_code(code: &str) -> &str {
    match code {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue",
        "QueueNameExists" => "QueueAlreadyExists",
        other => other,
    }
}

/// An answer as JSON has it: times in seconds, lists plain, what is not there left out.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            if let Some(ms) = members.get(time::MARK) {
                return json!(ms.as_f64().unwrap_or_default() / 1_000.0);
            }
            if let Some(elements) = members.get("$list").and_then(|list| list.get(1)) {
                return plain(elements);
            }
            let known = members.iter().filter(|(_, value)| !value.is_null());
            known.map(|(name, value)| (name.clone(), plain(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(elements) => elements.iter().map(plain).collect(),
        other => other.clone(),
    }
}
