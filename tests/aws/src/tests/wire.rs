//! The server: bytes in and out, faults on the wire, hooks, probes, signatures.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::{exact, health};
use crate::{Aws, Balancer, Config, Fault, Hooks, Machine, Server, Service, Shape, Stack};

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

async fn server(config: Config, hooks: impl Hooks) -> (Server, Stack) {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Server::start(config, listen, Arc::new(hooks)).await.unwrap();
    let stack = server.with(|aws| Stack::make(aws, "east", Shape::default())).unwrap();
    (server, stack)
}

/// Sends a request; its status, an error's type, and its body.
async fn send(
    server: &Server,
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
    body: &str,
) -> Option<(StatusCode, String, String)> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut request = Request::builder().method(method).uri(format!("{}{path}", server.endpoint()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let response = client.request(request).await.ok()?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let error = head.headers.get("x-amzn-errortype").map_or("", |v| v.to_str().unwrap());
    Some((head.status, error.to_owned(), String::from_utf8(body.to_vec()).unwrap()))
}

async fn form(server: &Server, body: &str) -> Option<(StatusCode, String)> {
    let sent = send(server, Method::POST, "/", &[("content-type", FORM)], body).await;
    sent.map(|(status, _, body)| (status, body))
}

async fn sqs(server: &Server, action: &str, input: Value) -> Value {
    let target = format!("AmazonSQS.{action}");
    let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", &*target)];
    let sent = send(server, Method::POST, "/", &headers, &input.to_string()).await;
    serde_json::from_str(&sent.unwrap().2).unwrap()
}

/// The text of the first element of that name.
fn element(xml: &str, name: &str) -> String {
    let after = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{name} in {xml}")).1;
    after.split_once(&format!("</{name}>")).unwrap().0.to_owned()
}

/// Waits until something is so.
async fn until(what: &str, mut is: impl FnMut() -> bool) {
    spillway_test_support::until(what, Duration::from_secs(20), async || is()).await;
}

#[tokio::test]
async fn ec2_as_it_is_written() {
    let (server, stack) = server(exact(), ()).await;
    let launch = format!(
        "Action=RunInstances&Version=2016-11-15&ClientToken=t-1&LaunchTemplate.LaunchTemplateId={}&MaxCount=1&MinCount=1&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=spillway%3Aorder&TagSpecification.1.Tag.1.Value=a%26b",
        stack.template
    );
    let (status, made) = form(&server, &launch).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{made}");
    let id = element(&made, "instanceId");
    assert!(
        made.contains("<item><key>spillway:order</key><value>a&amp;b</value></item>"),
        "{made}"
    );
    let describe = "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag%3Aspillway%3Aagent&Filter.1.Value.1=true&MaxResults=1000";
    let (_, found) = form(&server, describe).await.unwrap();
    assert_eq!(element(&found, "instanceId"), id);
    let end = format!("Action=TerminateInstances&Version=2016-11-15&InstanceId.1={id}");
    let (_, ended) = form(&server, &end).await.unwrap();
    let request = element(&ended, "requestId");
    assert_eq!(
        ended,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<TerminateInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>{request}</requestId><instancesSet><item><currentState><code>32</code><name>shutting-down</name></currentState><instanceId>{id}</instanceId><previousState><code>0</code><name>pending</name></previousState></item></instancesSet></TerminateInstancesResponse>"
        )
    );
    let gone = "Action=DescribeInstances&Version=2016-11-15&InstanceId.1=i-0000000000000gone";
    let (status, error) = form(&server, gone).await.unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        error.contains("<Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code>"),
        "{error}"
    );
    let (_, unknown) = form(&server, "Action=MakeCoffee&Version=2016-11-15").await.unwrap();
    assert_eq!(element(&unknown, "Code"), "InvalidAction");
}

#[tokio::test]
async fn queries_as_they_are_written() {
    let (server, stack) = server(exact(), ()).await;
    let (_, who) = form(&server, "Action=GetCallerIdentity&Version=2011-06-15").await.unwrap();
    let request = element(&who, "RequestId");
    assert_eq!(
        who,
        format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult><Account>123456789012</Account><Arn>arn:aws:sts::123456789012:assumed-role/agent/test</Arn><UserId>AROATEST:test</UserId></GetCallerIdentityResult><ResponseMetadata><RequestId>{request}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
        )
    );
    let weigh = |weight: &str| {
        format!(
            "Action=ModifyRule&Version=2015-12-01&RuleArn={}&Actions.member.1.Type=forward&Actions.member.1.ForwardConfig.TargetGroups.member.1.TargetGroupArn={}&Actions.member.1.ForwardConfig.TargetGroups.member.1.Weight={weight}&Actions.member.1.ForwardConfig.TargetGroups.member.2.TargetGroupArn={}&Actions.member.1.ForwardConfig.TargetGroups.member.2.Weight=60",
            stack.rule, stack.functions, stack.gateways
        )
    };
    form(&server, &weigh("40")).await.unwrap();
    let weights = server.with(|aws| aws.rule_weights(&stack.rule));
    assert_eq!(weights, [(stack.functions.clone(), 40), (stack.gateways.clone(), 60)]);
    let (status, error) = form(&server, &weigh("1000")).await.unwrap();
    assert_eq!(
        (status, element(&error, "Code").as_str()),
        (StatusCode::BAD_REQUEST, "ValidationError")
    );
    assert_eq!(element(&error, "Type"), "Sender");
    let grow = "Action=SetDesiredCapacity&Version=2011-01-01&AutoScalingGroupName=east-gateway&DesiredCapacity=2&HonorCooldown=false";
    assert_eq!(form(&server, grow).await.unwrap().0, StatusCode::OK);
    let describe = "Action=DescribeAutoScalingGroups&Version=2011-01-01&AutoScalingGroupNames.member.1=east-gateway";
    let (_, group) = form(&server, describe).await.unwrap();
    assert_eq!(element(&group, "DesiredCapacity"), "2");
    assert!(group.contains("<TargetGroupARNs><member>arn:aws:elasticloadbalancing:"), "{group}");
    let readers = "Action=DescribeDBInstances&Version=2014-10-31&Filters.Filter.1.Name=db-cluster-id&Filters.Filter.1.Values.Value.1=east-database";
    let (_, readers) = form(&server, readers).await.unwrap();
    assert!(readers.contains("<DBInstances><DBInstance>"), "{readers}");
}

#[tokio::test]
async fn lambda_as_it_is_written() {
    let (server, stack) = server(exact(), ()).await;
    let function = &stack.function;
    let path = format!("/2019-09-30/functions/{function}/provisioned-concurrency?Qualifier=live");
    let asked = "{\"ProvisionedConcurrentExecutions\":5}";
    let (status, _, made) = send(&server, Method::PUT, &path, &[], asked).await.unwrap();
    assert_eq!(status, StatusCode::ACCEPTED, "{made}");
    assert!(made.contains("\"Status\":\"IN_PROGRESS\""), "{made}");
    let path = format!("/2019-09-30/functions/{function}/provisioned-concurrency?Qualifier=other");
    let (status, error, _) = send(&server, Method::GET, &path, &[], "").await.unwrap();
    assert_eq!(
        (status, error.as_str()),
        (StatusCode::NOT_FOUND, "ProvisionedConcurrencyConfigNotFoundException")
    );
    // An ARN as a path segment, escaped as an SDK escapes it.
    let arn = format!("arn%3Aaws%3Alambda%3Aeu-central-1%3A123456789012%3Afunction%3A{function}");
    let path = format!("/2015-03-31/functions/{arn}/aliases/live");
    let (status, _, alias) = send(&server, Method::GET, &path, &[], "").await.unwrap();
    assert_eq!(status, StatusCode::OK, "{alias}");
    assert!(alias.contains("\"FunctionVersion\":\"1\""), "{alias}");
    let path = format!("/2015-03-31/functions/{function}/invocations?Qualifier=live");
    let (status, _, echoed) = send(&server, Method::POST, &path, &[], "{\"a\":1}").await.unwrap();
    assert_eq!((status, echoed.as_str()), (StatusCode::OK, "{\"a\":1}"));
    let count = server.with(|aws| {
        let query = json!([{ "Id": "n", "MetricStat": { "Period": 60, "Stat": "Sum", "Metric": {
            "Namespace": "AWS/Lambda", "MetricName": "Invocations",
            "Dimensions": [{ "Name": "FunctionName", "Value": function }],
        } } }]);
        let now = aws.now() / 1_000;
        let input =
            json!({ "StartTime": now - 60, "EndTime": now + 60, "MetricDataQueries": query });
        let path = "/MetricDataResults/0/Values/0";
        aws.ask(Service::CloudWatch, "GetMetricData", input, path)
    });
    assert_eq!(count.unwrap().as_deref(), Some("1.0"));
}

#[tokio::test]
async fn a_lost_answer_is_found_again_by_its_token() {
    let (server, stack) = server(exact(), ()).await;
    let faults: Vec<Fault> = serde_json::from_value(
        json!([{ "action": "RunInstances", "times": 1, "kind": "lost_answer" }]),
    )
    .unwrap();
    server.with(|aws| aws.add_faults(faults));
    let launch = format!(
        "Action=RunInstances&Version=2016-11-15&ClientToken=t-1&LaunchTemplate.LaunchTemplateId={}&MaxCount=2&MinCount=2",
        stack.template
    );
    assert!(form(&server, &launch).await.is_none(), "nobody answers");
    assert_eq!(server.with(|aws| aws.live_instances().count()), 2);
    form(&server, &launch).await.unwrap();
    assert_eq!(server.with(|aws| aws.live_instances().count()), 2);
    let heard: Vec<bool> = server
        .with(|aws| aws.calls().filter(|c| c.action == "RunInstances").map(|c| c.heard).collect());
    assert_eq!(heard, [false, true]);
}

/// Checks a signature as a reader of messages does, with the certificate that the message names.
async fn verified(server: &Server, envelope: &Value) -> bool {
    let field = |name: &str| envelope[name].as_str().map(str::to_owned);
    let url = field("SigningCertURL").unwrap();
    let path = url.strip_prefix(server.endpoint()).unwrap();
    let (_, _, pem) = send(server, Method::GET, path, &[], "").await.unwrap();
    let mut text = String::new();
    let order = [
        "Message",
        "MessageId",
        "Subject",
        "SubscribeURL",
        "Timestamp",
        "Token",
        "TopicArn",
        "Type",
    ];
    for name in order {
        if let Some(value) = field(name) {
            text.push_str(&format!("{name}\n{value}\n"));
        }
    }
    let digest =
        if field("SignatureVersion").as_deref() == Some("2") { "-sha256" } else { "-sha1" };
    let folder = tempfile::tempdir().unwrap();
    let signature = BASE64_STANDARD.decode(field("Signature").unwrap()).unwrap();
    for (name, bytes) in [("c.pem", pem.as_bytes()), ("s", &signature[..]), ("t", text.as_bytes())]
    {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let script = format!(
        "openssl x509 -in c.pem -pubkey -noout > k.pem && openssl dgst {digest} -verify k.pem -signature s t"
    );
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(script).current_dir(folder.path()).output().unwrap().status.success()
}

#[tokio::test]
async fn an_alarm_reaches_a_waiting_reader_of_the_queue_signed() {
    let (server, stack) = server(exact(), ()).await;
    let receive = json!({ "QueueUrl": stack.queue_url, "WaitTimeSeconds": 20 });
    let waiting = sqs(&server, "ReceiveMessage", receive);
    let change = async {
        tokio::task::yield_now().await;
        server.with(|aws| {
            let set =
                json!({ "AlarmName": stack.alarm, "StateValue": "ALARM", "StateReason": "x" });
            super::call(aws, Service::CloudWatch, "SetAlarmState", set).unwrap();
        });
    };
    let (received, ()) = tokio::join!(waiting, change);
    let envelope: Value =
        serde_json::from_str(received["Messages"][0]["Body"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&envelope["Type"], &envelope["TopicArn"]),
        (&json!("Notification"), &json!(stack.topic))
    );
    let message: Value = serde_json::from_str(envelope["Message"].as_str().unwrap()).unwrap();
    assert_eq!(message["NewStateValue"], "ALARM");
    assert!(verified(&server, &envelope).await);
    let mut forged = envelope.clone();
    forged["Message"] = json!(envelope["Message"].as_str().unwrap().replace("ALARM", "OK"));
    assert!(!verified(&server, &forged).await);
}

/// Takes one POST and answers it; its head and its body.
fn take_one(listener: &TcpListener) -> (String, Value) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut read = Vec::new();
    loop {
        let mut some = [0; 4_096];
        let n = stream.read(&mut some).unwrap();
        read.extend_from_slice(&some[..n]);
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
            return (head.to_lowercase(), body);
        }
    }
}

#[tokio::test]
async fn an_endpoint_confirms_and_hears() {
    let (server, stack) = server(exact(), ()).await;
    let listener = Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let endpoint = format!("http://{}/alarms", listener.local_addr().unwrap());
    server.with(|aws| {
        let version = json!({ "TopicArn": stack.topic, "AttributeName": "SignatureVersion", "AttributeValue": "1" });
        super::call(aws, Service::Sns, "SetTopicAttributes", version).unwrap();
        let input = json!({ "TopicArn": stack.topic, "Protocol": "http", "Endpoint": endpoint });
        super::call(aws, Service::Sns, "Subscribe", input).unwrap();
    });
    let first = listener.clone();
    let (head, asked) = tokio::task::spawn_blocking(move || take_one(&first)).await.unwrap();
    assert!(head.contains("x-amz-sns-message-type: subscriptionconfirmation"), "{head}");
    assert!(verified(&server, &asked).await, "signed with SHA-1");
    let url = asked["SubscribeURL"].as_str().unwrap();
    let path = url.strip_prefix(server.endpoint()).unwrap();
    let (status, ..) = send(&server, Method::GET, path, &[], "").await.unwrap();
    assert_eq!(status, StatusCode::OK);
    server.with(|aws| {
        let publish = json!({ "TopicArn": stack.topic, "Message": "hello", "Subject": "s" });
        super::call(aws, Service::Sns, "Publish", publish).unwrap();
    });
    let (_, heard) = tokio::task::spawn_blocking(move || take_one(&listener)).await.unwrap();
    assert_eq!((&heard["Message"], &heard["SignatureVersion"]), (&json!("hello"), &json!("1")));
    assert!(verified(&server, &heard).await);
}

/// Runs a web server for each instance, on the instance's own address, for as long as it lives.
#[derive(Default)]
struct Gateways {
    running: Mutex<Vec<(String, tokio::task::JoinHandle<()>)>>,
    runtime: Option<tokio::runtime::Handle>,
}

impl Hooks for Arc<Gateways> {
    fn booted(&self, machine: &Machine) {
        let address = (machine.address, 9311);
        let task = self.runtime.as_ref().unwrap().spawn(async move {
            let listener = tokio::net::TcpListener::bind(address).await.unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = hyper::service::service_fn(|_| async {
                    Ok::<_, std::convert::Infallible>(http::Response::new(Full::<Bytes>::default()))
                });
                let io = hyper_util::rt::TokioIo::new(stream);
                let _closed =
                    hyper::server::conn::http1::Builder::new().serve_connection(io, answer).await;
            }
        });
        self.running.lock().unwrap().push((machine.id.clone(), task));
    }

    fn ended(&self, machine: &Machine) {
        self.running.lock().unwrap().retain(|(id, task)| {
            if *id == machine.id {
                task.abort();
            }
            *id != machine.id
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_are_what_hooks_make_of_them() {
    let runtime = Some(tokio::runtime::Handle::current());
    let gateways = Arc::new(Gateways { runtime, ..Gateways::default() });
    // A network of this process alone.
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let network = Ipv4Addr::new(127, 64 + (high & 0x3f), low, 0);
    let config = Config { probes: true, network, ..exact() };
    let (server, stack) = server(config, gateways.clone()).await;
    server.set_factor(100.0);
    let desire = |aws: &mut Aws, desired: u32| {
        let input = json!({ "AutoScalingGroupName": stack.group, "DesiredCapacity": desired });
        super::call(aws, Service::AutoScaling, "SetDesiredCapacity", input).unwrap();
    };
    server.with(|aws| desire(aws, 2));
    until("two healthy gateways", || {
        server.with(|aws| health(aws, &stack.gateways)) == ["healthy", "healthy"]
    })
    .await;
    assert_eq!(gateways.running.lock().unwrap().len(), 2);
    server.with(|aws| desire(aws, 0));
    until("no gateway is left", || gateways.running.lock().unwrap().is_empty()).await;
    until("no target is left", || server.with(|aws| health(aws, &stack.gateways)).is_empty()).await;
    assert_eq!(server.with(|aws| stack.leftovers(aws)), (0, 0));
}

/// Answers every request with a word, for as long as the runtime lives.
fn say(listener: TcpListener, word: &'static str) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = hyper::service::service_fn(move |request: Request<_>| async move {
                let from = request.headers().get("x-forwarded-for").cloned();
                let mut answer =
                    http::Response::new(Full::new(Bytes::from_static(word.as_bytes())));
                answer.headers_mut().extend(from.map(|from| (http::header::FROM, from)));
                Ok::<_, std::convert::Infallible>(answer)
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, answer));
        }
    });
}

#[tokio::test]
async fn requests_go_by_the_weights_of_the_rule() {
    let (server, stack) = server(exact(), ()).await;
    let functions = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let place = functions.local_addr().unwrap();
    say(functions, "function");
    let balancer = Balancer::start(&server, listen, &stack.rule, place).await.unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let ask = async || {
        let uri = format!("http://{}/scan", balancer.address());
        let request = Request::get(uri).header("x-forwarded-for", "192.0.2.7");
        let answer = client.request(request.body(Full::default()).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let from = head.headers.get("from").map(|from| from.to_str().unwrap().to_owned());
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), from, String::from_utf8(body.to_vec()).unwrap())
    };
    let (status, from, word) = ask().await;
    assert_eq!((status, word.as_str()), (200, "function"));
    assert_eq!(from.as_deref(), Some("192.0.2.7, 127.0.0.1"));
    // One gateway is a real listener on its instance's address, if that is free.
    let launch = format!(
        "Action=RunInstances&Version=2016-11-15&LaunchTemplate.LaunchTemplateId={}&MaxCount=1&MinCount=1",
        stack.template
    );
    form(&server, &launch).await.unwrap();
    server.advance(Duration::from_secs(30));
    let machine = server.with(|aws| aws.live_instances().next().cloned()).unwrap();
    let gateway = TcpListener::bind((machine.address, 0)).unwrap();
    let port = gateway.local_addr().unwrap().port();
    say(gateway, "gateway");
    let weigh = |functions: u32, gateways: u32| {
        server.with(|aws| {
            let input = json!({ "RuleArn": stack.rule, "Actions": [{ "Type": "forward", "ForwardConfig": {
                "TargetGroups": [
                    { "TargetGroupArn": stack.functions, "Weight": functions },
                    { "TargetGroupArn": stack.gateways, "Weight": gateways },
                ],
            } }] });
            super::call(aws, Service::Elb, "ModifyRule", input).unwrap();
        });
    };
    weigh(0, 1);
    assert_eq!(ask().await.0, 503, "no target at all, and functions do not stand in");
    server.with(|aws| {
        let targets = json!([{ "Id": machine.id, "Port": port }]);
        let input = json!({ "TargetGroupArn": stack.gateways, "Targets": targets });
        super::call(aws, Service::Elb, "RegisterTargets", input).unwrap();
    });
    server.advance(Duration::from_secs(10));
    assert_eq!(ask().await.2, "gateway");
    weigh(1, 1);
    let mut by_gateway = 0;
    for _ in 0..200 {
        by_gateway += u32::from(ask().await.2 == "gateway");
    }
    assert!((60..140).contains(&by_gateway), "{by_gateway} of 200");
}

#[tokio::test]
async fn tests_in_other_languages_have_controls() {
    let (server, stack) = server(exact(), ()).await;
    let post = async |path: &str, body: Value| {
        let sent = send(&server, Method::POST, path, &[], &body.to_string()).await.unwrap();
        (sent.0, serde_json::from_str::<Value>(&sent.2).unwrap())
    };
    post("/_/clock", json!({ "factor": 0 })).await;
    let (_, before) = post("/_/advance", json!({ "seconds": 0 })).await;
    let (_, after) = post("/_/advance", json!({ "seconds": 90.5 })).await;
    assert_eq!(after["now_ms"].as_u64().unwrap() - before["now_ms"].as_u64().unwrap(), 90_500);
    let asked = json!({
        "service": "autoscaling", "action": "SetDesiredCapacity",
        "input": { "AutoScalingGroupName": stack.group, "DesiredCapacity": 99 },
    });
    assert_eq!(post("/_/call", asked).await.1["refused"], "ValidationError");
    let (status, wrong) = post("/_/faults", json!([{ "kind": "meteor" }])).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(wrong["error"].as_str().unwrap().contains("meteor"), "{wrong}");
    let (_, _, calls) = send(&server, Method::GET, "/_/calls", &[], "").await.unwrap();
    assert!(calls.contains("\"refused\":\"ValidationError\""), "{calls}");
}
