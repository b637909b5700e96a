# How an alarm gets to whoever acts on it, and who may put something on that way.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:us-east-1:111122223333:key/k1" }
  }
  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:us-east-1:111122223333:shop-alarms" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:us-east-1:111122223333:shop-topic" }
  }
  mock_resource "aws_cloudwatch_metric_alarm" {
    defaults = { arn = "arn:aws:cloudwatch:us-east-1:111122223333:alarm:any" }
  }
}

variables {
  name     = "shop"
  sites    = ["east"]
  gateways = { asg_name = "shop-gateways" }
  subscribers = {
    function       = { name = "shop-alarm", arn = "arn:aws:lambda:us-east-1:111122223333:function:shop-alarm", alias_name = "live", alias_arn = "arn:aws:lambda:us-east-1:111122223333:function:shop-alarm:live" }
    agent_endpoint = "https://agent.example.test/v1/alarms"
    emails         = ["duty@example.test"]
  }
}

run "encrypted" {
  assert {
    condition     = alltrue([for topic in aws_sns_topic.this : topic.kms_master_key_id == aws_kms_key.this.arn && topic.signature_version == 2])
    error_message = "Topics are encrypted with our key and sign with SHA-256."
  }
  assert {
    condition     = aws_sqs_queue.this.kms_master_key_id == aws_kms_key.this.arn && aws_sqs_queue.dead_letters.kms_master_key_id == aws_kms_key.this.arn && aws_kms_key.this.enable_key_rotation
    error_message = "So are the queues, and the key rotates."
  }
  assert {
    condition = { for statement in jsondecode(aws_kms_key.this.policy).Statement : statement.Principal.Service => statement.Condition.ArnLike["aws:SourceArn"] if statement.Sid != "Account" } == {
      "cloudwatch.amazonaws.com" = "arn:aws:cloudwatch:us-east-1:111122223333:alarm:shop/*"
      "events.amazonaws.com"     = "arn:aws:events:us-east-1:111122223333:rule/shop-*"
      "sns.amazonaws.com"        = "arn:aws:sns:us-east-1:111122223333:shop-*"
    }
    error_message = "Three services use the key, each for what is ours."
  }
}

run "who_may_publish" {
  assert {
    condition = { for key, policy in aws_sns_topic_policy.this : key => [
      for statement in jsondecode(policy.policy).Statement : statement.Principal.Service if statement.Effect == "Allow"
      ] } == {
      notices  = ["cloudwatch.amazonaws.com", "events.amazonaws.com"]
      requests = ["cloudwatch.amazonaws.com"]
    }
    error_message = "Only CloudWatch may ask for a tier."
  }
  assert {
    condition = alltrue(flatten([for policies in [values(aws_sns_topic_policy.this)[*].policy, values(aws_sqs_queue_policy.this)[*].policy] : [
      for policy in policies : [for statement in jsondecode(policy).Statement :
        statement.Effect == "Deny" || try(statement.Condition.StringEquals["aws:SourceAccount"] == "111122223333" && can(statement.Condition.ArnLike["aws:SourceArn"]), false)
    ]]]))
    error_message = "Of this account, and of what is ours in it."
  }
  assert {
    condition = alltrue(flatten([for policy in concat(values(aws_sns_topic_policy.this)[*].policy, values(aws_sqs_queue_policy.this)[*].policy) : [
      length([for statement in jsondecode(policy).Statement : statement if try(statement.Condition.Bool["aws:SecureTransport"], "") == "false" && statement.Effect == "Deny"]) == 1
    ]]))
    error_message = "Over TLS only."
  }
}

run "who_hears" {
  assert {
    condition     = aws_sns_topic_subscription.queue.endpoint == aws_sqs_queue.this.arn && jsondecode(aws_sqs_queue.this.redrive_policy).maxReceiveCount == 5
    error_message = "The queue, and what cannot be read leaves it."
  }
  assert {
    condition     = endswith(aws_sns_topic_subscription.function[0].endpoint, ":live") && aws_lambda_permission.topic[0].qualifier == "live" && aws_lambda_permission.topic[0].source_arn == aws_sns_topic.this["requests"].arn
    error_message = "The function by its alias, called by this topic alone."
  }
  assert {
    condition     = aws_sns_topic_subscription.agent[0].protocol == "https" && aws_sns_topic_subscription.agent[0].endpoint_auto_confirms
    error_message = "The agent's endpoint."
  }
  assert {
    condition     = keys(aws_sns_topic_subscription.email) == ["notices duty@example.test", "requests duty@example.test"]
    error_message = "People hear of everything."
  }
  assert {
    condition     = keys(aws_cloudwatch_event_target.queue) == ["alarms", "gateways", "health"] && alltrue([for target in aws_cloudwatch_event_target.queue : target.arn == aws_sqs_queue.this.arn && target.dead_letter_config[0].arn == aws_sqs_queue.dead_letters.arn])
    error_message = "Events go to the queue, and what cannot be delivered is kept."
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.this["alarms"].event_pattern).resources[0].prefix == "arn:aws:cloudwatch:us-east-1:111122223333:alarm:shop/"
    error_message = "Only our alarms."
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.this["gateways"].event_pattern).detail.AutoScalingGroupName == ["shop-gateways"]
    error_message = "Only our group."
  }
}

run "nobody_else" {
  variables {
    subscribers = {}
  }
  assert {
    condition     = length(aws_lambda_permission.topic) == 0 && length(aws_sns_topic_subscription.function) == 0 && length(aws_sns_topic_subscription.agent) == 0 && length(aws_sns_topic_subscription.email) == 0
    error_message = "The queue alone."
  }
}

run "spend" {
  variables {
    spend = { limit_usd = 500, tier = 1 }
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.spend["spend"].threshold == 500 && startswith(aws_cloudwatch_metric_alarm.spend["spend"].alarm_description, "spillway: tier=1 for=6h\n")
    error_message = "Where AWS publishes it, spend may ask for a tier like any other."
  }
}

run "dashboard" {
  assert {
    condition     = alltrue([for widget in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets : widget.x + widget.width <= 24])
    error_message = "The dashboard is 24 units wide."
  }
  assert {
    condition     = contains([for widget in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets : widget.properties.title], "Uplink in use, part of the cap")
    error_message = "It shows the uplinks."
  }
}
