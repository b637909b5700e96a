# What AWS tells besides alarms. Changes of alarms come here a second time, by a way that needs no topic:
# the agent knows them by alarm and time of change, and acts once.

locals {
  rules = merge({
    alarms = {
      description = "Changes of this site set's alarms."
      pattern = jsonencode({
        source      = ["aws.cloudwatch"]
        detail-type = ["CloudWatch Alarm State Change"]
        resources   = [{ prefix = trimsuffix(local.alarm_arns, "*") }]
      })
    }
    health = {
      description = "Trouble and planned work on what the site set uses."
      pattern = jsonencode({
        source      = ["aws.health"]
        detail-type = ["AWS Health Event"]
        detail = {
          service           = ["DIRECTCONNECT", "EC2", "ELASTICACHE", "ELASTICLOADBALANCING", "LAMBDA", "RDS", "VPN"]
          eventTypeCategory = ["issue", "scheduledChange"]
        }
      })
    }
    }, { for group in var.gateways[*] : "gateways" => {
      description = "Launches and ends of EC2 gateways, and those that failed."
      pattern = jsonencode({
        source = ["aws.autoscaling"]
        detail-type = [
          "EC2 Instance Launch Successful", "EC2 Instance Launch Unsuccessful",
          "EC2 Instance Terminate Successful", "EC2 Instance Terminate Unsuccessful",
          "EC2 Instance-launch Lifecycle Action", "EC2 Instance-terminate Lifecycle Action",
        ]
        detail = { AutoScalingGroupName = [group.asg_name] }
      })
  } })
}

resource "aws_cloudwatch_event_rule" "this" {
  for_each = local.rules

  name          = "${var.name}-${each.key}"
  description   = each.value.description
  event_pattern = each.value.pattern
  tags          = local.tags
}

resource "aws_cloudwatch_event_target" "queue" {
  for_each = aws_cloudwatch_event_rule.this

  rule      = each.value.name
  target_id = "queue"
  arn       = aws_sqs_queue.this.arn

  # As long as a message is worth anything.
  retry_policy {
    maximum_event_age_in_seconds = 900
    maximum_retry_attempts       = 20
  }

  dead_letter_config {
    arn = aws_sqs_queue.dead_letters.arn
  }
}

resource "aws_cloudwatch_event_target" "people" {
  rule      = aws_cloudwatch_event_rule.this["health"].name
  target_id = "people"
  arn       = aws_sns_topic.this["notices"].arn

  retry_policy {
    maximum_event_age_in_seconds = 14400
    maximum_retry_attempts       = 100
  }

  dead_letter_config {
    arn = aws_sqs_queue.dead_letters.arn
  }
}
