# Alarms of alarms: what several of them together say that none of them says alone.

locals {
  # Kind of alarm -> the metric alarms of it, as a composite alarm's rule names them.
  alarmed = { for kind in keys(local.defaults) : kind => [
    for key, alarm in local.metric_alarms : "ALARM(\"${alarm.name}\")" if alarm.kind == kind
  ] }

  all_of = { for key, composite in local.composites : key => [
    for kinds in composite.all_of : flatten([for kind in kinds : local.alarmed[kind]])
  ] }

  # One whose parts are not all watched could never be true.
  composite_alarms = { for key, composite in local.composites : key => {
    name    = "${local.alarm_begins}${key}"
    summary = composite.summary
    tier    = coalesce(try(var.alarms[key].tier, null), composite.tier)
    lease   = coalesce(try(var.alarms[key].lease, null), composite.lease)
    site    = null
    rule    = join(" AND ", [for alarmed in local.all_of[key] : "(${join(" OR ", alarmed)})"])
    } if var.composite_alarms && coalesce(try(var.alarms[key].enabled, null), true) && alltrue([
      for alarmed in local.all_of[key] : length(alarmed) > 0
  ]) }
}

resource "aws_cloudwatch_composite_alarm" "this" {
  for_each = local.composite_alarms

  alarm_name        = each.value.name
  alarm_description = local.descriptions[each.key]
  alarm_rule        = each.value.rule
  alarm_actions     = local.actions[each.key]
  ok_actions        = local.actions[each.key]
  tags              = local.tags

  # CloudWatch refuses a rule that names an alarm which is not there.
  depends_on = [aws_cloudwatch_metric_alarm.this]
}
