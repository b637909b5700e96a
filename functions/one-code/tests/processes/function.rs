//! The real program as a Lambda function, on a Runtime API that this test is.

use std::process::Command;

use serde_json::{Value, json};
use spillway_test_support::{Process, RuntimeApi};

use crate::site::{Site, key};
use crate::{SOON, until};

/// Sends an ALB event with single-value headers and returns the function's answer.
pub(crate) async fn invoke(api: &mut RuntimeApi, method: &str, path: &str, body: &str) -> Value {
    let event = json!({
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:local:0:targetgroup/one-code/0"}},
        "httpMethod": method,
        "path": path,
        "queryStringParameters": {},
        "headers": {"host": "cloud.example.test:8080", "x-forwarded-proto": "http", "x-forwarded-port": "8080"},
        "body": body,
        "isBase64Encoded": false,
    });
    api.invoke(event).await.unwrap()
}

pub(crate) fn command(site: &Site, api: &RuntimeApi) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_one-code"));
    api.environment("one-code", &mut command);
    command.env("SPILLWAY_CONFIG", &site.config_file);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_is_a_lambda_function() {
    let site = Site::new();
    site.agent.offer(3, &[], &key());
    site.start_agent().await;
    let mut api = RuntimeApi::start().await;
    let mut process = Process::start(&command(&site, &api));

    let ada = r#"{"name": "Ada", "id_number": "X1234567"}"#;
    let answer = invoke(&mut api, "POST", "/v1/users", ada).await;
    assert_eq!((&answer["statusCode"], &answer["isBase64Encoded"]), (&json!(201), &json!(false)));
    assert_eq!(answer["statusDescription"], "201 Created");
    assert_eq!(answer["headers"]["x-spillway-served-by"], "cloud");
    assert_eq!(answer["headers"]["content-type"], "application/json");
    assert!(answer.get("multiValueHeaders").is_none(), "{answer}");
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    let qr = format!("/v1/users/{}/qr", body["user"].as_str().unwrap());

    let answer = invoke(&mut api, "GET", &qr, "").await;
    assert_eq!(answer["headers"]["content-type"], "image/svg+xml");
    assert_eq!(answer["isBase64Encoded"], false);
    assert!(answer["body"].as_str().unwrap().starts_with("<svg"), "{answer}");

    // A newer plan is heard of on use, within a second or so.
    site.agent.offer(4, &["qr-text"], &key());
    until("the knob acts", async || {
        let answer = invoke(&mut api, "GET", &qr, "").await;
        answer["headers"]["x-spillway-knob"] == "qr-text"
    })
    .await;
    let answer = invoke(&mut api, "GET", "/v1/users/nobody/code", "").await;
    assert_eq!(answer["statusCode"], 400);

    // What is no event of a load balancer fails alone.
    for strange in [json!({"version": "2.0", "rawPath": "/healthz"}), json!("?"), json!(null)] {
        let error = api.invoke(strange).await.unwrap_err();
        assert!(error["errorMessage"].is_string(), "{error}");
    }
    // A check of health has one header, and no `Host`.
    let check = |named: &str, headers: Value| {
        let mut event = json!({
            "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:local:0:targetgroup/one-code/0"}},
            "httpMethod": "GET",
            "path": "/healthz",
            "body": "",
            "isBase64Encoded": false,
        });
        event[named] = headers;
        event
    };
    let single = api.invoke(check("headers", json!({"user-agent": "ELB-HealthChecker/2.0"}))).await;
    let several = json!({"user-agent": ["ELB-HealthChecker/2.0"]});
    let multi = api.invoke(check("multiValueHeaders", several)).await;
    for (answer, named) in [(single, "headers"), (multi, "multiValueHeaders")] {
        let answer = answer.unwrap();
        assert_eq!((&answer["statusCode"], &answer["body"]), (&json!(200), &json!("ok\n")));
        assert!(answer[named]["content-type"].to_string().contains("text/plain"), "{answer}");
    }

    // When the Runtime API is gone there is nothing left to do.
    drop(api);
    let ended = tokio::task::spawn_blocking(move || process.wait(SOON)).await.unwrap();
    assert!(ended.is_some_and(|status| !status.success()), "{ended:?}");
}

#[tokio::test]
async fn a_function_that_cannot_start_says_why() {
    let (site, api) = (Site::new(), RuntimeApi::start().await);
    let output = |change: &dyn Fn(&mut Command)| {
        let mut command = command(&site, &api);
        // Where nobody listens: it must not come so far as to ask.
        command.env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9");
        change(&mut command);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = output(&|command| {
        command.env("AWS_LAMBDA_FUNCTION_NAME", "two-code");
    });
    assert!(said.contains("names no function `two-code`; it has one-code"), "{said}");
    let said = output(&|command| {
        command.env_remove("SPILLWAY_CONFIG");
    });
    assert!(said.contains("the variable SPILLWAY_CONFIG is not set"), "{said}");
    let said = output(&|command| {
        command.env("ONE_CODE_SECRET", "short");
    });
    assert!(said.contains("ONE_CODE_SECRET holds no key"), "{said}");
    assert!(!said.contains("short"), "{said}");
}
