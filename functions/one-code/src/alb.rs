//! What an ALB invokes a function with, as the HTTP request that the client sent, and the answer as
//! what an ALB takes
//! (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html>).
//!
//! A route must answer alike at home and here, so nothing is decoded or normalised on the way: an
//! ALB hands path and parameters on as they came, and so does this, names in the order in which the
//! event has them. (`lambda_http` decodes parameters twice, resolves `..` in paths, and panics on a `Host`
//! that is none.) With multi-value headers no value is lost, though those of one name stand together;
//! without, an ALB keeps the last value of each header and parameter.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::marker::PhantomData;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::response;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::LengthLimitError;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tower::ServiceExt as _;

use crate::api::error_body;

/// The most that an ALB takes from a function: of the whole JSON, with headers, and the body as it is
/// written there.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

type Single = BTreeMap<String, String>;
type Multi = BTreeMap<String, Vec<String>>;

/// A JSON object with its names in the order in which they stand there.
#[derive(Debug)]
struct Ordered<T>(Vec<(String, T)>);

/// A request, as the event of a target group.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    http_method: String,
    path: String,
    query_string_parameters: Option<Ordered<String>>,
    multi_value_query_string_parameters: Option<Ordered<Vec<String>>>,
    headers: Option<Ordered<String>>,
    multi_value_headers: Option<Ordered<Vec<String>>>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

/// An answer, with the one kind of headers that the target group wants: that of its events.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status_code: u16,
    status_description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Single>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_value_headers: Option<Multi>,
    body: String,
    is_base64_encoded: bool,
}

/// What an event says that no HTTP request can.
#[derive(Debug, thiserror::Error)]
enum BadEvent {
    #[error("`{0}` is no method")]
    Method(String),
    #[error("this path or query is none: escape what does not belong there")]
    Target,
    #[error("the header `{0}` is none")]
    Header(String),
    #[error("the body is not the Base64 that it is said to be")]
    Body(#[source] base64::DecodeError),
}

/// Why there is no answer to send.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Its body broke off.
    #[error("the answer's body broke off")]
    Body(#[source] axum::Error),
    /// More than an ALB takes.
    #[error(
        "the answer has more than the {ANSWER_BYTES_MAX} bytes of JSON that a load balancer takes"
    )]
    TooLarge,
    /// It cannot be written as JSON.
    #[error("the answer cannot be written")]
    Json(#[source] serde_json::Error),
}

/// Has the request of an event answered, by the JSON that the ALB is to be given. In place of an answer
/// that it would not take, of which it would say nothing but 502, stands one that says so.
///
/// # Errors
/// When the answer's body breaks off.
pub async fn serve(router: Router, event: Event) -> Result<Box<RawValue>, AnswerError> {
    let multi_value = event.multi_value_headers.is_some();
    let answer = match request(event) {
        // A router does not fail.
        Ok(request) => router.oneshot(request).await.unwrap_or_else(|never| match never {}),
        Err(e) => (StatusCode::BAD_REQUEST, error_body(&e.to_string())).into_response(),
    };
    match written(answer, multi_value).await {
        Err(e @ AnswerError::TooLarge) => {
            tracing::warn!("{e}");
            let body = error_body(
                "this answer is larger than the cloud's load balancer takes from a function; ask for less at once",
            );
            written((StatusCode::INTERNAL_SERVER_ERROR, body).into_response(), multi_value).await
        }
        done => done,
    }
}

async fn written(answer: Response, multi_value: bool) -> Result<Box<RawValue>, AnswerError> {
    let (head, body) = answer.into_parts();
    let bytes = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await.map_err(|e| {
        let too_large = e.source().is_some_and(<dyn std::error::Error>::is::<LengthLimitError>);
        if too_large { AnswerError::TooLarge } else { AnswerError::Body(e) }
    })?;
    let json = to_raw_value(&Answer::new(&head, bytes.into(), multi_value));
    let json = json.map_err(AnswerError::Json)?;
    if json.get().len() > ANSWER_BYTES_MAX { Err(AnswerError::TooLarge) } else { Ok(json) }
}

fn request(event: Event) -> Result<Request<Body>, BadEvent> {
    let method = Method::from_bytes(event.http_method.as_bytes())
        .map_err(|_| BadEvent::Method(event.http_method))?;
    let query: Vec<String> =
        pairs(event.multi_value_query_string_parameters, event.query_string_parameters)
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
    let mut target = event.path;
    if !query.is_empty() {
        target = format!("{target}?{}", query.join("&"));
    }
    let uri = Uri::try_from(target).map_err(|_| BadEvent::Target)?;
    let body = event.body.unwrap_or_default();
    let body = if event.is_base64_encoded == Some(true) {
        STANDARD.decode(body).map_err(BadEvent::Body)?
    } else {
        body.into_bytes()
    };
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    for (name, value) in pairs(event.multi_value_headers, event.headers) {
        match (HeaderName::try_from(&name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => request.headers_mut().append(name, value),
            _ => return Err(BadEvent::Header(name)),
        };
    }
    Ok(request)
}

/// Names and values, however they are given.
fn pairs(
    multi: Option<Ordered<Vec<String>>>,
    single: Option<Ordered<String>>,
) -> impl Iterator<Item = (String, String)> {
    let multi = multi.map_or_else(Vec::new, |Ordered(entries)| entries).into_iter();
    let several =
        multi.flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value)));
    several.chain(single.map_or_else(Vec::new, |Ordered(entries)| entries))
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl Answer {
    fn new(head: &response::Parts, body: Vec<u8>, multi_value: bool) -> Self {
        // What JSON can carry goes as it is, but for what is text by accident.
        let text = match String::from_utf8(body) {
            Ok(text) if !head.headers.contains_key(header::CONTENT_ENCODING) => Ok(text),
            Ok(text) => Err(text.into_bytes()),
            Err(e) => Err(e.into_bytes()),
        };
        let is_base64_encoded = text.is_err();
        let mut several = Multi::new();
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            several.entry(name.as_str().to_owned()).or_default().push(value);
        }
        let (headers, multi_value_headers) =
            if multi_value { (None, Some(several)) } else { (Some(one_each(several)), None) };
        Self {
            status_code: head.status.as_u16(),
            status_description: head.status.to_string(),
            headers,
            multi_value_headers,
            body: text.unwrap_or_else(|bytes| STANDARD.encode(bytes)),
            is_base64_encoded,
        }
    }
}

/// Headers of one value each. Several of a field are a list (RFC 9110 §5.3), but for `Set-Cookie`: an
/// ALB takes names that differ in case alone for different ones, and clients for the same.
fn one_each(several: Multi) -> Single {
    let mut headers = Single::new();
    for (name, values) in several {
        if name == "set-cookie" {
            // The fourth character has no case, so more would be the first again.
            for (i, value) in values.into_iter().take(8).enumerate() {
                let capital = |(at, c): (usize, char)| {
                    if i >> at & 1 == 1 { c.to_ascii_uppercase() } else { c }
                };
                headers.insert(name.chars().enumerate().map(capital).collect(), value);
            }
        } else {
            headers.insert(name, values.join(", "));
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use axum::routing::any;
    use http::HeaderMap;
    use serde_json::{Value, json};

    use super::*;

    /// Answers with what it was sent.
    async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: bytes::Bytes) -> Response {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        axum::Json(json!([method.as_str(), uri.to_string(), headers, &body[..]])).into_response()
    }

    async fn told(router: Router, event: &str) -> Value {
        let answer = serve(router, serde_json::from_str(event).unwrap()).await.unwrap();
        serde_json::from_str(answer.get()).unwrap()
    }

    async fn seen(event: Value) -> Value {
        let answer = told(Router::new().fallback(any(echo)), &event.to_string()).await;
        serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_request_arrives_as_it_was_sent() {
        let event = json!({
            "requestContext": {"elb": {"targetGroupArn": "arn"}},
            "httpMethod": "POST",
            "path": "/a/../%2e%2e/%2Fb",
            "multiValueQueryStringParameters": {"k": ["%2532", "a+b%26"], "z": [""]},
            "multiValueHeaders": {"cookie": ["a=1", "b=2"], "host": ["a b:c"]},
            "body": "/wA=",
            "isBase64Encoded": true,
        });
        let headers = json!([["cookie", "a=1"], ["cookie", "b=2"], ["host", "a b:c"]]);
        let target = "/a/../%2e%2e/%2Fb?k=%2532&k=a+b%26&z=";
        assert_eq!(seen(event).await, json!(["POST", target, headers, [255, 0]]));
    }

    #[tokio::test]
    async fn names_stay_in_their_order() {
        for (parameters, target) in [
            (r#""queryStringParameters": {"z": "1", "a": "2", "m": "%26"}"#, "/?z=1&a=2&m=%26"),
            (
                r#""multiValueQueryStringParameters": {"z": ["2", "1"], "a": ["3"]}"#,
                "/?z=2&z=1&a=3",
            ),
        ] {
            let event = format!(r#"{{"httpMethod": "GET", "path": "/", {parameters}}}"#);
            let answer = told(Router::new().fallback(any(echo)), &event).await;
            let seen: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
            assert_eq!(seen[1], target);
        }
    }

    #[tokio::test]
    async fn a_health_check_has_next_to_nothing() {
        let event = json!({
            "requestContext": {"elb": {"targetGroupArn": "arn"}},
            "httpMethod": "GET",
            "path": "/",
            "queryStringParameters": {},
            "headers": {"user-agent": "ELB-HealthChecker/2.0"},
            "body": "",
            "isBase64Encoded": false,
        });
        let headers = json!([["user-agent", "ELB-HealthChecker/2.0"]]);
        assert_eq!(seen(event).await, json!(["GET", "/", headers, []]));
        assert_eq!(seen(json!({"httpMethod": "GET", "path": "/"})).await[1], "/");
    }

    #[tokio::test]
    async fn what_no_request_can_be_is_said() {
        for (field, value, says) in [
            ("httpMethod", json!("G T"), "`G T` is no method"),
            ("path", json!("/a b"), "path or query"),
            ("queryStringParameters", json!({"a": "<\u{1}>"}), "path or query"),
            ("headers", json!({"a b": "c"}), "the header `a b`"),
            ("headers", json!({"a": "b\r\nc"}), "the header `a`"),
            ("body", json!("*"), "Base64"),
        ] {
            let mut event = json!({"httpMethod": "GET", "path": "/", "isBase64Encoded": true});
            event[field] = value;
            let answer = told(Router::new(), &event.to_string()).await;
            assert_eq!(answer["statusCode"], 400);
            assert!(answer["body"].as_str().unwrap().contains(says), "{answer}");
        }
        let unknown = json!({"version": "2.0", "rawPath": "/"});
        assert!(serde_json::from_value::<Event>(unknown).is_err());
    }

    async fn answered(response: Response, multi_value: bool) -> Value {
        serde_json::from_str(written(response, multi_value).await.unwrap().get()).unwrap()
    }

    #[tokio::test]
    async fn an_answer_is_what_the_target_group_takes() {
        let response = || {
            let mut build = Response::builder().status(404);
            for (name, value) in
                [("vary", "a"), ("vary", "b"), ("set-cookie", "c"), ("set-cookie", "d")]
            {
                build = build.header(name, value);
            }
            build.body(Body::from("none")).unwrap()
        };
        let common = |more: (&str, Value)| {
            let mut answer = json!({
                "statusCode": 404,
                "statusDescription": "404 Not Found",
                "body": "none",
                "isBase64Encoded": false,
            });
            answer[more.0] = more.1;
            answer
        };
        let single =
            common(("headers", json!({"vary": "a, b", "set-cookie": "c", "Set-cookie": "d"})));
        assert_eq!(answered(response(), false).await, single);
        let multi =
            common(("multiValueHeaders", json!({"vary": ["a", "b"], "set-cookie": ["c", "d"]})));
        assert_eq!(answered(response(), true).await, multi);

        let binary = answered(Response::new(Body::from(&b"\xff\0"[..])), true).await;
        assert_eq!((&binary["body"], &binary["isBase64Encoded"]), (&json!("/wA="), &json!(true)));
        let packed = Response::builder().header("content-encoding", "gzip");
        let packed = answered(packed.body(Body::from("text")).unwrap(), true).await;
        assert_eq!(
            (&packed["body"], &packed["isBase64Encoded"]),
            (&json!("dGV4dA=="), &json!(true))
        );
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_no_answer() {
        let broken = || {
            let parts = [Ok("begun"), Err(std::io::Error::other("gone"))];
            Response::new(Body::from_stream(futures_util::stream::iter(parts)))
        };
        assert!(matches!(written(broken(), true).await, Err(AnswerError::Body(_))));
        let router = Router::new().fallback(any(move || async move { broken() }));
        let event = serde_json::from_str(r#"{"httpMethod": "GET", "path": "/"}"#).unwrap();
        assert!(matches!(serve(router, event).await, Err(AnswerError::Body(_))));
    }
}
