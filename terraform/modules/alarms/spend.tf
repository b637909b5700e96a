# What the month costs so far. AWS counts it some times a day, for all regions at once, in us-east-1.

locals {
  spend_alarms = { for spend in var.spend[*] : "spend" => {
    name    = "${local.alarm_begins}spend"
    summary = "The month's estimated charges passed this many dollars. Degrading does not undo a bill; the agent's own hard cap does the stopping."
    tier    = spend.tier
    lease   = spend.lease
    site    = null
    limit   = spend.limit_usd
  } }
}

resource "aws_cloudwatch_metric_alarm" "spend" {
  for_each = local.spend_alarms

  alarm_name          = each.value.name
  alarm_description   = local.descriptions[each.key]
  namespace           = "AWS/Billing"
  metric_name         = "EstimatedCharges"
  dimensions          = { Currency = "USD" }
  statistic           = "Maximum"
  period              = 21600
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.limit
  evaluation_periods  = 1
  treat_missing_data  = "ignore"
  alarm_actions       = local.actions[each.key]
  ok_actions          = local.actions[each.key]
  tags                = local.tags

  lifecycle {
    precondition {
      condition     = local.region == "us-east-1"
      error_message = "AWS publishes EstimatedCharges in us-east-1 only: leave `spend` out here, and have one module of a site set in us-east-1 watch it."
    }
  }
}
