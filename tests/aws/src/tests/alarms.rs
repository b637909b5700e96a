//! Metrics, alarms, topics and queues.

use serde_json::{Value, json};

use super::{call, pass, refused, stack};
use crate::{Aws, Effect, Notice, Protocol, Service, Stack};

fn put(aws: &mut Aws, value: f64) {
    let datum = json!({ "MetricName": "UplinkUse", "Value": value });
    let input = json!({ "Namespace": "Spillway", "MetricData": [datum] });
    call(aws, Service::CloudWatch, "PutMetricData", input).unwrap();
}

fn state(aws: &mut Aws, alarm: &str) -> String {
    let input = json!({ "AlarmNames": [alarm], "AlarmTypes": ["MetricAlarm", "CompositeAlarm"] });
    let answer = call(aws, Service::CloudWatch, "DescribeAlarms", input).unwrap();
    let found = answer["MetricAlarms"].get(0).or(answer["CompositeAlarms"].get(0)).unwrap();
    found["StateValue"].as_str().unwrap().to_owned()
}

fn notices(aws: &mut Aws) -> Vec<Notice> {
    let notice = |effect| if let Effect::Notify(notice) = effect { Some(notice) } else { None };
    aws.take_effects().into_iter().filter_map(notice).collect()
}

#[test]
fn an_alarm_needs_its_periods_and_tells_its_topic_of_each_change() {
    let (mut aws, stack) = stack();
    assert_eq!(state(&mut aws, &stack.alarm), "INSUFFICIENT_DATA");
    for (value, expected) in [(0.5, "OK"), (0.99, "OK"), (0.99, "ALARM"), (0.5, "OK"), (0.99, "OK")]
    {
        put(&mut aws, value);
        pass(&mut aws, 60);
        assert_eq!(state(&mut aws, &stack.alarm), expected, "after {value}");
    }
    let told = notices(&mut aws);
    let messages: Vec<Value> =
        told.iter().map(|notice| serde_json::from_str(&notice.message).unwrap()).collect();
    let states: Vec<&str> = messages.iter().map(|m| m["NewStateValue"].as_str().unwrap()).collect();
    assert_eq!(states, ["OK", "ALARM", "OK"]);
    assert_eq!(messages[1]["OldStateValue"], "OK");
    assert!(messages[1]["AlarmDescription"].as_str().unwrap().starts_with("spillway: tier=2"));
    assert_eq!(messages[1]["Trigger"]["Statistic"], "AVERAGE");
    assert!(messages[1]["StateChangeTime"].as_str().unwrap().ends_with("+0000"));
    assert_eq!((told[0].protocol, told[0].signature_version), (Protocol::Sqs, 2));
    assert_eq!(
        told[1].subject.as_deref(),
        Some("ALARM: \"east/uplink-full-east\" in EU (Frankfurt)")
    );
    assert_eq!(told[1].endpoint, stack.queue);
}

#[test]
fn what_is_missing_counts_as_the_alarm_says() {
    let (mut aws, _) = stack();
    for (treat, expected) in [
        ("missing", "INSUFFICIENT_DATA"),
        ("notBreaching", "OK"),
        ("breaching", "ALARM"),
        ("ignore", "INSUFFICIENT_DATA"),
    ] {
        let alarm = json!({
            "AlarmName": treat, "Namespace": "N", "MetricName": "nothing", "Statistic": "Sum",
            "Period": 60, "EvaluationPeriods": 3, "Threshold": 1, "TreatMissingData": treat,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        });
        call(&mut aws, Service::CloudWatch, "PutMetricAlarm", alarm).unwrap();
        pass(&mut aws, 61);
        assert_eq!(state(&mut aws, treat), expected, "{treat}");
    }
}

#[test]
fn math_and_composite_alarms() {
    let (mut aws, stack) = stack();
    let query = |id: &str, name: &str| {
        let metric = json!({ "Namespace": "AWS/ApplicationELB", "MetricName": name });
        json!({ "Id": id, "ReturnData": false, "MetricStat": { "Metric": metric, "Period": 60, "Stat": "Sum" } })
    };
    let expression = "IF(FILL(all, 0) + FILL(failed, 0) >= 100, 100 * FILL(failed, 0) / (FILL(all, 0) + FILL(failed, 0)), 0)";
    let failing = json!({
        "AlarmName": "failing", "EvaluationPeriods": 1, "Threshold": 2, "AlarmActions": [stack.topic],
        "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching",
        "Metrics": [
            query("all", "RequestCount"), query("failed", "HTTPCode_ELB_5XX_Count"),
            { "Id": "value", "Expression": expression },
        ],
    });
    call(&mut aws, Service::CloudWatch, "PutMetricAlarm", failing).unwrap();
    let both = json!({
        "AlarmName": "overwhelmed", "AlarmActions": [stack.topic],
        "AlarmRule": "(ALARM(\"failing\")) AND NOT OK(\"east/uplink-full-east\")",
    });
    call(&mut aws, Service::CloudWatch, "PutCompositeAlarm", both).unwrap();
    let unknown = json!({ "AlarmName": "x", "AlarmRule": "ALARM(\"nobody\")" });
    assert_eq!(
        refused(&mut aws, Service::CloudWatch, "PutCompositeAlarm", unknown),
        "ValidationError"
    );
    for (all, failed, expected) in [(90.0, 5.0, "OK"), (200.0, 1.0, "OK"), (95.0, 5.0, "ALARM")] {
        aws.put_metric("AWS/ApplicationELB", "RequestCount", &[], all);
        aws.put_metric("AWS/ApplicationELB", "HTTPCode_ELB_5XX_Count", &[], failed);
        pass(&mut aws, 60);
        assert_eq!(state(&mut aws, "failing"), expected, "{failed} of {all} more");
        assert_eq!(state(&mut aws, "overwhelmed"), expected);
    }
    let told = notices(&mut aws);
    let composite: Value = serde_json::from_str(&told[1].message).unwrap();
    assert_eq!(composite["AlarmName"], "overwhelmed");
    assert!(composite["Trigger"].is_null());
    assert!(composite["TriggeringChildren"][0]["Arn"].as_str().unwrap().ends_with(":failing"));
    let set = json!({ "AlarmName": "failing", "StateValue": "OK", "StateReason": "test" });
    call(&mut aws, Service::CloudWatch, "SetAlarmState", set).unwrap();
    assert_eq!(state(&mut aws, "overwhelmed"), "OK");
}

#[test]
fn statistics_of_a_metric() {
    let (mut aws, _) = stack();
    for value in 1..=100_u32 {
        aws.put_metric("N", "m", &[("Site", "east")], f64::from(value));
    }
    let stats = ["p95", "Average", "Maximum", "SampleCount"];
    let query = |(n, stat): (usize, &str)| {
        let metric = json!({
            "Namespace": "N", "MetricName": "m", "Dimensions": [{ "Name": "Site", "Value": "east" }],
        });
        json!({ "Id": format!("q{n}"), "MetricStat": { "Metric": metric, "Period": 60, "Stat": stat } })
    };
    let now = aws.now() / 1_000;
    let queries: Vec<Value> = stats.into_iter().enumerate().map(query).collect();
    let input = json!({ "StartTime": now - 60, "EndTime": now + 60, "MetricDataQueries": queries });
    let answer = call(&mut aws, Service::CloudWatch, "GetMetricData", input).unwrap();
    let values: Vec<f64> =
        (0..4).map(|n| answer["MetricDataResults"][n]["Values"][0].as_f64().unwrap()).collect();
    assert_eq!(values, [95.0, 50.5, 100.0, 100.0]);
    let own = json!({ "Namespace": "AWS/EC2", "MetricData": [{ "MetricName": "m", "Value": 1 }] });
    let code = refused(&mut aws, Service::CloudWatch, "PutMetricData", own);
    assert_eq!(code, "InvalidParameterValue", "AWS's own names are AWS's");
}

fn receive(aws: &mut Aws, stack: &Stack) -> Vec<Value> {
    let input = json!({ "QueueUrl": stack.queue_url, "MaxNumberOfMessages": 10, "AttributeNames": ["All"] });
    let answer = call(aws, Service::Sqs, "ReceiveMessage", input).unwrap();
    answer["Messages"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_message_comes_again_unless_it_is_deleted() {
    let (mut aws, stack) = stack();
    assert!(aws.queued(&stack.queue, "hello".to_owned()));
    let first = receive(&mut aws, &stack).remove(0);
    assert_eq!(first["MD5OfBody"], "5d41402abc4b2a76b9719d911017c592");
    assert!(receive(&mut aws, &stack).is_empty(), "invisible");
    pass(&mut aws, 31);
    let second = receive(&mut aws, &stack).remove(0);
    assert_eq!(second["Attributes"]["ApproximateReceiveCount"], "2");
    let delete = |receipt: &Value| json!({ "QueueUrl": stack.queue_url, "ReceiptHandle": receipt });
    call(&mut aws, Service::Sqs, "DeleteMessage", delete(&first["ReceiptHandle"])).unwrap();
    pass(&mut aws, 31);
    let third = receive(&mut aws, &stack).remove(0);
    call(&mut aws, Service::Sqs, "DeleteMessage", delete(&third["ReceiptHandle"])).unwrap();
    pass(&mut aws, 31);
    assert!(receive(&mut aws, &stack).is_empty());
}

#[test]
fn what_is_received_too_often_ends_among_the_dead() {
    let (mut aws, stack) = stack();
    let dead = call(&mut aws, Service::Sqs, "CreateQueue", json!({ "QueueName": "dead" })).unwrap();
    let policy = json!({
        "deadLetterTargetArn": stack.queue.replace("east-alarms", "dead"), "maxReceiveCount": 2,
    });
    let set = json!({ "QueueUrl": stack.queue_url, "Attributes": { "RedrivePolicy": policy.to_string() } });
    call(&mut aws, Service::Sqs, "SetQueueAttributes", set).unwrap();
    aws.queued(&stack.queue, "bad".to_owned());
    for expected in [1, 1, 0] {
        assert_eq!(receive(&mut aws, &stack).len(), expected);
        pass(&mut aws, 31);
    }
    let input = json!({ "QueueUrl": dead["QueueUrl"] });
    let found = aws.ask(Service::Sqs, "ReceiveMessage", input, "/Messages/0/Body");
    assert_eq!(found.unwrap().as_deref(), Some("bad"));
}

#[test]
fn an_endpoint_must_confirm() {
    let (mut aws, stack) = stack();
    let input = json!({
        "TopicArn": stack.topic, "Protocol": "http", "Endpoint": "http://127.0.0.1:9/alarms",
    });
    let answer = call(&mut aws, Service::Sns, "Subscribe", input).unwrap();
    assert_eq!(answer["SubscriptionArn"], "pending confirmation");
    let asked = notices(&mut aws).remove(0);
    assert_eq!(asked.kind, "SubscriptionConfirmation");
    let publish = json!({ "TopicArn": stack.topic, "Message": "hello" });
    call(&mut aws, Service::Sns, "Publish", publish.clone()).unwrap();
    assert_eq!(notices(&mut aws).len(), 1, "the queue only");
    let wrong = json!({ "TopicArn": stack.topic, "Token": "x" });
    assert_eq!(refused(&mut aws, Service::Sns, "ConfirmSubscription", wrong), "InvalidParameter");
    let right = json!({ "TopicArn": stack.topic, "Token": asked.token });
    call(&mut aws, Service::Sns, "ConfirmSubscription", right).unwrap();
    call(&mut aws, Service::Sns, "Publish", publish).unwrap();
    assert_eq!(notices(&mut aws).len(), 2);
}

#[test]
fn a_suppressed_alarm_does_nothing_and_says_so() {
    let (mut aws, stack) = stack();
    let composite = json!({
        "AlarmName": "east/overwhelmed", "AlarmRule": format!("ALARM(\"{}\")", stack.alarm),
        "AlarmActions": [stack.topic], "ActionsSuppressor": "maintenance",
    });
    let maintenance = json!({
        "AlarmName": "maintenance", "Namespace": "N", "MetricName": "m", "Statistic": "Sum",
        "Period": 60, "EvaluationPeriods": 1, "Threshold": 1, "TreatMissingData": "ignore",
        "ComparisonOperator": "GreaterThanThreshold",
    });
    call(&mut aws, Service::CloudWatch, "PutMetricAlarm", maintenance).unwrap();
    call(&mut aws, Service::CloudWatch, "PutCompositeAlarm", composite).unwrap();
    let set = |aws: &mut Aws, alarm: &str, state: &str| {
        let input = json!({ "AlarmName": alarm, "StateValue": state, "StateReason": "a test" });
        call(aws, Service::CloudWatch, "SetAlarmState", input).unwrap();
        notices(aws).iter().filter(|n| n.message.contains("overwhelmed")).count()
    };
    for (suppressed, told) in [("ALARM", 0), ("OK", 1)] {
        set(&mut aws, "maintenance", suppressed);
        assert_eq!(set(&mut aws, &stack.alarm, "ALARM"), told);
        let input = json!({ "AlarmNames": ["east/overwhelmed"], "AlarmTypes": ["CompositeAlarm"] });
        let answer = call(&mut aws, Service::CloudWatch, "DescribeAlarms", input).unwrap();
        let by = &answer["CompositeAlarms"][0]["ActionsSuppressedBy"];
        assert_eq!(by.as_str(), (told == 0).then_some("Alarm"));
        set(&mut aws, &stack.alarm, "OK");
    }
}

#[test]
fn a_quota_is_known_where_its_use_is() {
    let (mut aws, _) = stack();
    let from = aws.now();
    let ask = |aws: &mut Aws| {
        let dimension = |(name, value)| json!({ "Name": name, "Value": value });
        let dimensions = [
            ("Service", "EC2"),
            ("Type", "Resource"),
            ("Resource", "vCPU"),
            ("Class", "Standard/OnDemand"),
        ];
        let metric = json!({
            "Namespace": "AWS/Usage", "MetricName": "ResourceCount",
            "Dimensions": dimensions.map(dimension),
        });
        let input = json!({
            "StartTime": from / 1000, "EndTime": aws.now() / 1000 + 1,
            "MetricDataQueries": [
                { "Id": "used", "MetricStat": { "Metric": metric, "Period": 60, "Stat": "Maximum" } },
                { "Id": "quota", "Expression": "SERVICE_QUOTA(used)" },
            ],
        });
        let answer = call(aws, Service::CloudWatch, "GetMetricData", input).unwrap();
        [0, 1].map(|i| answer["MetricDataResults"][i]["Values"][0].as_f64())
    };
    assert_eq!(ask(&mut aws), [None, None]);
    aws.put_vcpus(12.0);
    assert_eq!(ask(&mut aws), [Some(12.0), Some(64.0)]);
}
