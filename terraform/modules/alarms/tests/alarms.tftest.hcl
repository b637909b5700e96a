# The catalogue: what is watched, what it asks for, and in which words.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-1:111122223333:key/k1" }
  }
  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:eu-west-1:111122223333:queue" }
  }
  override_resource {
    target = aws_sns_topic.this["requests"]
    values = { arn = "arn:aws:sns:eu-west-1:111122223333:shop-requests" }
  }
  override_resource {
    target = aws_sns_topic.this["notices"]
    values = { arn = "arn:aws:sns:eu-west-1:111122223333:shop-notices" }
  }
  mock_resource "aws_cloudwatch_metric_alarm" {
    defaults = { arn = "arn:aws:cloudwatch:eu-west-1:111122223333:alarm:any" }
  }
}

variables {
  name          = "shop"
  sites         = ["east", "west"]
  load_balancer = { arn_suffix = "app/shop/1" }
  functions     = { one-code = { name = "shop-one-code", reserved_concurrency = 200 }, scans = { name = "shop-scans" }, alarm = { name = "shop-alarm", program = "alarm" } }
  subscribers   = { function = { name = "shop-alarm", arn = "arn:aws:lambda:eu-west-1:111122223333:function:shop-alarm" } }
  gateways      = { asg_name = "shop-gateways" }
  links = {
    east = { vpn = { connection_id = "vpn-1" } }
    west = { vpn = { connection_id = "vpn-2" }, direct_connect = { connection_id = "dxcon-1" } }
  }
}

run "whole" {
  assert {
    condition = keys(aws_cloudwatch_metric_alarm.this) == [
      "account-busy", "busy-one-code", "busy-scans", "degraded-east", "degraded-west", "erring-one-code", "erring-scans",
      "failing", "line-down-west", "link-degraded-east", "link-degraded-west", "link-down-east", "link-down-west",
      "refusing", "silent-east", "silent-west", "slow", "spilling-most-east", "spilling-most-west",
      "throttled-one-code", "throttled-scans", "unread", "untold", "uplink-full-east", "uplink-full-west",
    ]
    error_message = "Everything that there is is watched."
  }
  assert {
    condition = alltrue(concat(
      [for alarm in values(aws_cloudwatch_metric_alarm.this) : startswith(alarm.alarm_name, "shop/")],
      [for alarm in values(aws_cloudwatch_composite_alarm.this) : startswith(alarm.alarm_name, "shop/")],
    ))
    error_message = "No name of an alarm begins as those of a site set shop-east do."
  }
  assert {
    condition     = !startswith(aws_cloudwatch_metric_alarm.this["untold"].alarm_description, "spillway:") && one(aws_cloudwatch_metric_alarm.this["untold"].metric_query).metric[0].dimensions.FunctionName == "shop-alarm"
    error_message = "People hear of an agent that is not told; it asks for no tier."
  }
  assert {
    condition     = startswith(aws_cloudwatch_metric_alarm.this["failing"].alarm_description, "spillway: tier=2 for=10m\n")
    error_message = "An alarm that asks for a tier says so in its first line."
  }
  assert {
    condition = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : !startswith(alarm.alarm_description, "spillway:") || alltrue([
      for query in alarm.metric_query : alltrue([for metric in query.metric : metric.metric_name != "HTTPCode_Target_5XX_Count"])
    ])])
    error_message = "What targets answer 5xx asks for no tier: a tier that sheds would hold itself up."
  }
  assert {
    condition     = startswith(aws_cloudwatch_metric_alarm.this["link-down-east"].alarm_description, "spillway: tier=1 for=15m site=east\n")
    error_message = "An alarm of one site names it."
  }
  assert {
    condition = alltrue([for key, alarm in aws_cloudwatch_metric_alarm.this :
      can(regex("^spillway: tier=[1-3] for=[1-9][0-9]{0,3}[smh]( site=[a-z0-9-]+)?\\n[A-Z0-9]", alarm.alarm_description)) ==
      contains(alarm.alarm_actions, "arn:aws:sns:eu-west-1:111122223333:shop-requests") &&
      length(alarm.alarm_description) <= 1024
    ])
    error_message = "Exactly what asks for a tier goes to the topic of requests, in the words of the contract."
  }
  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : alarm.alarm_actions == alarm.ok_actions && alarm.insufficient_data_actions == null])
    error_message = "Who hears of an alarm hears of its end; no data asks for nothing."
  }
  assert {
    condition     = strcontains(one([for query in aws_cloudwatch_metric_alarm.this["busy-one-code"].metric_query : query.expression if query.id == "result"]), "/ 200")
    error_message = "A function is measured by what is reserved for it."
  }
  assert {
    condition     = strcontains(one([for query in aws_cloudwatch_metric_alarm.this["busy-scans"].metric_query : query.expression if query.id == "result"]), "/ 1000")
    error_message = "Without a reservation, by what the account has."
  }
  assert {
    condition     = one(aws_cloudwatch_metric_alarm.this["slow"].metric_query).metric[0].stat == "p95" && one(aws_cloudwatch_metric_alarm.this["slow"].metric_query).metric[0].metric_name == "TargetResponseTime"
    error_message = "The 95th percentile of the load balancer's targets."
  }
  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : length([for query in alarm.metric_query : query if query.return_data]) == 1])
    error_message = "CloudWatch wants exactly one result of an alarm."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.this["silent-east"].treat_missing_data == "breaching" && aws_cloudwatch_metric_alarm.this["uplink-full-east"].treat_missing_data == "ignore"
    error_message = "Silence is an alarm of its own, and changes no other."
  }
  assert {
    condition     = output.requests["shop/failing"] == { tier = 2, lease = "10m", site = null } && output.requests["shop/uplink-full-west"].site == "west"
    error_message = "The output says the same as the descriptions."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.spend) == 0
    error_message = "Spend is not watched unless asked for."
  }
}

run "composites" {
  assert {
    condition     = aws_cloudwatch_composite_alarm.this["overwhelmed"].alarm_rule == "(ALARM(\"shop/failing\")) AND (ALARM(\"shop/uplink-full-east\") OR ALARM(\"shop/uplink-full-west\"))"
    error_message = "One of each list of kinds."
  }
  assert {
    condition     = startswith(aws_cloudwatch_composite_alarm.this["overwhelmed"].alarm_description, "spillway: tier=3 for=5m\n") && aws_cloudwatch_composite_alarm.this["overwhelmed"].alarm_actions == toset(["arn:aws:sns:eu-west-1:111122223333:shop-requests"])
    error_message = "The last resort is asked for only when both sides are at their end."
  }
  assert {
    condition     = strcontains(aws_cloudwatch_composite_alarm.this["exhausted"].alarm_rule, "ALARM(\"shop/account-busy\")")
    error_message = "The account's limit is a limit too."
  }
}

run "without_composites" {
  command = plan
  variables {
    composite_alarms = false
  }
  assert {
    condition     = length(aws_cloudwatch_composite_alarm.this) == 0
    error_message = "Switched off."
  }
}

run "composite_without_its_parts" {
  command = plan
  variables {
    links     = {}
    functions = {}
    alarms    = { failing = { enabled = false } }
  }
  assert {
    condition     = length(aws_cloudwatch_composite_alarm.this) == 0
    error_message = "An alarm of alarms that are not watched could never be true."
  }
}

run "nothing_but_the_queue" {
  command = plan
  variables {
    sites         = []
    load_balancer = null
    functions     = {}
    subscribers   = {}
    gateways      = null
    links         = {}
  }
  assert {
    condition     = keys(aws_cloudwatch_metric_alarm.this) == ["unread"] && keys(aws_cloudwatch_event_rule.this) == ["alarms", "health"]
    error_message = "What is not there is not watched."
  }
}

run "changed_by_the_caller" {
  variables {
    alarms = {
      slow        = { tier = 0, threshold = 2.5 }
      failing     = { tier = 3, lease = "90s", periods = 1 }
      overwhelmed = { enabled = false }
    }
  }
  assert {
    condition     = !startswith(aws_cloudwatch_metric_alarm.this["slow"].alarm_description, "spillway:") && aws_cloudwatch_metric_alarm.this["slow"].threshold == 2.5 && aws_cloudwatch_metric_alarm.this["slow"].alarm_actions == toset(["arn:aws:sns:eu-west-1:111122223333:shop-notices"])
    error_message = "With tier 0 it only tells people."
  }
  assert {
    condition     = output.requests["shop/failing"] == { tier = 3, lease = "90s", site = null } && aws_cloudwatch_metric_alarm.this["failing"].datapoints_to_alarm == 1
    error_message = "What was not changed is of the catalogue, but never more breaching periods than periods."
  }
  assert {
    condition     = !contains(keys(aws_cloudwatch_composite_alarm.this), "overwhelmed")
    error_message = "Switched off one by one."
  }
}
