use serde_json::{Value, json};

use super::*;

const ARN: &str = "arn:aws:elasticloadbalancing:local:000000000000:targetgroup/one-code/0";

fn translated(method: &Method, uri: &str, headers: &[(&str, &[u8])], body: &'static [u8]) -> Value {
    translated_as(false, method, uri, headers, body)
}

fn translated_as(
    multi_value: bool,
    method: &Method,
    uri: &str,
    headers: &[(&str, &[u8])],
    body: &'static [u8],
) -> Value {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value).unwrap());
    }
    let incoming = Incoming {
        target_group_arn: ARN,
        multi_value,
        method,
        uri: &uri.parse().unwrap(),
        headers: &map,
        body: &Bytes::from_static(body),
        client: "::ffff:127.3.4.5".parse().unwrap(),
        port: 8080,
        trace_id: &trace_id(&map, "1-5bdb40ca-556d8b0c50dc66f0511bf520"),
    };
    serde_json::from_slice(&event(&incoming).unwrap()).unwrap()
}

#[test]
fn a_get_as_the_documentation_shows_it() {
    let headers: &[(&str, &[u8])] =
        &[("Host", b"cloud.example.test"), ("Accept", b"*/*"), ("Connection", b"keep-alive")];
    assert_eq!(
        translated(&Method::GET, "/v1/a%20b/c?q=%3Fx%3D1&q=last&flag&=v", headers, b""),
        json!({
            "requestContext": {"elb": {"targetGroupArn": ARN}},
            "httpMethod": "GET",
            "path": "/v1/a%20b/c",
            "queryStringParameters": {"q": "last", "flag": "", "": "v"},
            "headers": {
                "accept": "*/*",
                "host": "cloud.example.test",
                "x-amzn-trace-id": "Root=1-5bdb40ca-556d8b0c50dc66f0511bf520",
                "x-forwarded-for": "127.3.4.5",
                "x-forwarded-port": "8080",
                "x-forwarded-proto": "http",
            },
            "body": "",
            "isBase64Encoded": false,
        })
    );
}

#[test]
fn parameters_stand_in_the_order_of_the_client() {
    let headers = HeaderMap::new();
    let text = |multi_value| {
        let incoming = Incoming {
            target_group_arn: ARN,
            multi_value,
            method: &Method::GET,
            uri: &"/?z=1&a=2&z=3&M=4&a".parse().unwrap(),
            headers: &headers,
            body: &Bytes::new(),
            client: "127.3.4.5".parse().unwrap(),
            port: 8080,
            trace_id: "Root=1",
        };
        String::from_utf8(event(&incoming).unwrap().to_vec()).unwrap()
    };
    let last = r#""queryStringParameters":{"z":"3","a":"","M":"4"}"#;
    assert!(text(false).contains(last), "{}", text(false));
    let all = r#""multiValueQueryStringParameters":{"z":["1","3"],"a":["2",""],"M":["4"]}"#;
    assert!(text(true).contains(all), "{}", text(true));
}

#[test]
fn nothing_encoded_is_decoded() {
    let event = translated(&Method::GET, "/a%2Fb?k=%E4%BD%A0%26", &[], b"");
    assert_eq!(event["path"], "/a%2Fb");
    assert_eq!(event["queryStringParameters"], json!({"k": "%E4%BD%A0%26"}));
}

#[test]
fn the_last_value_of_a_header_counts_and_the_client_is_appended() {
    let headers: &[(&str, &[u8])] = &[
        ("Cookie", b"name1=value1"),
        ("Cookie", b"name2=value2"),
        ("X-Forwarded-For", b"192.0.2.1"),
        ("X-Forwarded-Proto", b"https"),
        ("X-Amzn-Trace-Id", b"Root=1-67891233-abcdef012345678912345678"),
        ("X-Odd", b"caf\xe9"),
    ];
    let event = translated(&Method::GET, "/", headers, b"");
    let headers = &event["headers"];
    assert_eq!(headers["cookie"], "name2=value2");
    assert_eq!(headers["x-forwarded-for"], "192.0.2.1, 127.3.4.5");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-odd"], "caf\u{fffd}");
    assert_eq!(
        headers["x-amzn-trace-id"],
        "Self=1-5bdb40ca-556d8b0c50dc66f0511bf520;Root=1-67891233-abcdef012345678912345678"
    );
}

#[test]
fn with_multi_value_headers_every_value_counts_in_order() {
    let headers: &[(&str, &[u8])] = &[
        ("Host", b"cloud.example.test"),
        ("Cookie", b"name1=value1"),
        ("Cookie", b"name2=value2"),
        ("X-Forwarded-For", b"192.0.2.1"),
        ("X-Forwarded-For", b"192.0.2.2"),
    ];
    let target = "/v1/a%20b?myKey=val1&flag&myKey=val%202&myKey=a+b";
    assert_eq!(
        translated_as(true, &Method::GET, target, headers, b""),
        json!({
            "requestContext": {"elb": {"targetGroupArn": ARN}},
            "httpMethod": "GET",
            "path": "/v1/a%20b",
            "multiValueQueryStringParameters": {"flag": [""], "myKey": ["val1", "val%202", "a+b"]},
            "multiValueHeaders": {
                "cookie": ["name1=value1", "name2=value2"],
                "host": ["cloud.example.test"],
                "x-amzn-trace-id": ["Root=1-5bdb40ca-556d8b0c50dc66f0511bf520"],
                "x-forwarded-for": ["192.0.2.1", "192.0.2.2, 127.3.4.5"],
                "x-forwarded-port": ["8080"],
                "x-forwarded-proto": ["http"],
            },
            "body": "",
            "isBase64Encoded": false,
        })
    );
    // As the documentation shows a health check.
    let check: &[(&str, &[u8])] = &[("User-Agent", b"ELB-HealthChecker/2.0")];
    let event = translated_as(true, &Method::GET, "/", check, b"");
    assert_eq!(event["multiValueQueryStringParameters"], json!({}));
    assert_eq!(event["multiValueHeaders"]["user-agent"], json!(["ELB-HealthChecker/2.0"]));
}

#[test]
fn listed_text_goes_as_it_is_and_everything_else_in_base64() {
    let sent = |headers: &[(&str, &[u8])], body| {
        let event = translated(&Method::POST, "/", headers, body);
        (event["body"].as_str().unwrap().to_owned(), event["isBase64Encoded"].as_bool().unwrap())
    };
    let text: [&[u8]; 5] = [
        b"text/plain",
        b"application/json",
        b"Application/JSON; charset=utf-8",
        b"application/javascript",
        b"application/xml",
    ];
    for media_type in text {
        assert_eq!(sent(&[("content-type", media_type)], b"{}"), ("{}".into(), false));
    }
    let encoded = ("e30=".to_owned(), true);
    assert_eq!(sent(&[], b"{}"), encoded);
    assert_eq!(sent(&[("content-type", b"application/octet-stream")], b"{}"), encoded);
    assert_eq!(sent(&[("content-type", b"application/jsonl")], b"{}"), encoded);
    let zipped: &[(&str, &[u8])] =
        &[("content-type", b"text/plain"), ("content-encoding", b"gzip")];
    assert_eq!(sent(zipped, b"{}"), encoded);
    let (body, flagged) = sent(&[("content-type", b"text/plain")], b"\xff\x00");
    assert_eq!((body.as_str(), flagged), ("/wA=", true));
}

fn answered(json: &Value, multi_value: bool) -> Response<Bytes> {
    answer(json.to_string().as_bytes(), multi_value).unwrap()
}

#[test]
fn an_answer_as_the_documentation_shows_it() {
    let response = answered(
        &json!({
            "isBase64Encoded": false,
            "statusCode": 200,
            "statusDescription": "200 OK",
            "headers": {"Set-cookie": "cookies", "Content-Type": "application/json", "Connection": "close", "Content-Length": "7"},
            "body": "Hello",
        }),
        false,
    );
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["set-cookie"], "cookies");
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers().len(), 2, "no hop-by-hop header, no length");
    assert_eq!(response.body(), "Hello");
    assert!(response.extensions().get::<ReasonPhrase>().is_none());
}

#[test]
fn headers_are_those_of_the_target_group_and_bodies_may_be_binary() {
    let json = json!({
        "statusCode": 404,
        "statusDescription": "404 Gone Fishing",
        "headers": {"Set-Cookie": "c=3", "set-cookie": "d=4", "X-Other": "o"},
        "multiValueHeaders": {"set-cookie": ["a=1", "b=2"]},
        "body": "/wA=",
        "isBase64Encoded": true,
    });
    let cookies = |multi_value| {
        let response = answered(&json, multi_value);
        let cookies = response.headers().get_all("set-cookie").iter();
        cookies.map(|cookie| cookie.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (cookies(true), cookies(false)),
        (vec!["a=1".into(), "b=2".into()], vec!["c=3".into(), "d=4".into()])
    );
    let response = answered(&json, true);
    assert_eq!(response.headers().get("x-other"), None);
    assert_eq!(response.body().as_ref(), [0xff, 0]);
    assert_eq!(response.extensions().get::<ReasonPhrase>().unwrap().as_bytes(), b"Gone Fishing");
    let bare = answered(&json!({"statusCode": 204, "headers": null, "body": null}), false);
    assert_eq!((bare.status().as_u16(), bare.body().len()), (204, 0));
}

#[test]
fn malformed_answers_are_refused() {
    for (bad, expected) in [
        (json!("hello"), "it is not an ALB answer"),
        (json!({"body": "no status"}), "it is not an ALB answer"),
        (json!({"statusCode": "200"}), "it is not an ALB answer"),
        (json!({"statusCode": 200, "headers": {"x": 1}}), "it is not an ALB answer"),
        (json!({"statusCode": 101}), "101 is not a final HTTP status"),
        (json!({"statusCode": -1}), "-1 is not a final HTTP status"),
        (json!({"statusCode": 200, "headers": {"a b": "c"}}), "its header `a b` is not valid"),
        (json!({"statusCode": 200, "headers": {"a": "b\r\nc: d"}}), "its header `a` is not valid"),
        (
            json!({"statusCode": 200, "body": "*", "isBase64Encoded": true}),
            "its body is not Base64 though it says so",
        ),
        (
            json!({"statusCode": 200, "body": "x".repeat(ALB_BYTES_MAX)}),
            "bytes; an ALB takes 1048576",
        ),
    ] {
        let error = answer(bad.to_string().as_bytes(), false).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_whole_json_counts_and_not_the_body_alone() {
    for multi_value in [false, true] {
        let bare = json!({"statusCode": 200, "body": "", "isBase64Encoded": true}).to_string();
        let most = |bytes: usize| {
            let room = bytes - bare.len();
            // Base64 in groups of four, and blanks, which JSON allows behind a value.
            let body = "AAAA".repeat(room / 4);
            let json =
                json!({"statusCode": 200, "body": body, "isBase64Encoded": true}).to_string();
            format!("{json}{}", " ".repeat(room % 4))
        };
        let taken = answer(most(ALB_BYTES_MAX).as_bytes(), multi_value).unwrap();
        assert!(taken.body().len() > 786_000, "{}", taken.body().len());
        let refused = answer(most(ALB_BYTES_MAX + 1).as_bytes(), multi_value);
        assert!(matches!(refused, Err(BadAnswer::TooLarge(1_048_577))), "{refused:?}");
    }
}
