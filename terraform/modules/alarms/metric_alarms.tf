# The metric alarms of the catalogue.

locals {
  # What an alarm asks of the agent, as its description's first line says it; empty for none.
  requests = { for key, alarm in merge(local.metric_alarms, local.composite_alarms, local.spend_alarms) : key =>
    alarm.tier == 0 ? "" : join(" ", compact([
      "spillway: tier=${alarm.tier} for=${alarm.lease}", alarm.site == null ? "" : "site=${alarm.site}",
    ]))
  }
  descriptions = { for key, alarm in merge(local.metric_alarms, local.composite_alarms, local.spend_alarms) : key =>
    join("\n", compact([local.requests[key], alarm.summary]))
  }

  # Requests go to the topic that machines read; the rest to the one that people read. Both get the
  # change back to OK, which is what withdraws a request. Silence of a metric is no reason to act.
  actions = { for key, alarm in merge(local.metric_alarms, local.composite_alarms, local.spend_alarms) : key =>
    [alarm.tier == 0 ? aws_sns_topic.this["notices"].arn : aws_sns_topic.this["requests"].arn]
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.metric_alarms

  alarm_name          = each.value.name
  alarm_description   = local.descriptions[each.key]
  comparison_operator = each.value.over ? "GreaterThanThreshold" : "LessThanThreshold"
  threshold           = each.value.threshold
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = each.value.breaching
  treat_missing_data  = each.value.missing
  alarm_actions       = local.actions[each.key]
  ok_actions          = local.actions[each.key]
  tags                = local.tags

  dynamic "metric_query" {
    for_each = each.value.metrics

    content {
      id          = metric_query.key
      return_data = each.value.expression == null

      metric {
        namespace   = metric_query.value[0]
        metric_name = metric_query.value[1]
        stat        = metric_query.value[2]
        dimensions  = metric_query.value[3]
        period      = 60
      }
    }
  }

  dynamic "metric_query" {
    for_each = each.value.expression[*]

    content {
      id          = "result"
      label       = each.value.kind
      expression  = metric_query.value
      return_data = true
    }
  }
}
