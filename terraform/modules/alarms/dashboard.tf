# One screen: how the sites are, what the cloud does for them, what the link carries, what is in alarm.

locals {
  # Each is a line of the dashboard: title -> what it shows, left to right.
  panels = concat(
    length(var.sites) == 0 ? [] : [
      { title = "Uplink in use, part of the cap", stat = "Average", metrics = [for site in var.sites : ["Spillway", "UplinkUse", "Site", site]] },
      { title = "Share of clients served by the cloud", stat = "Average", metrics = [for site in var.sites : ["Spillway", "Share", "Site", site]] },
      { title = "Tier", stat = "Maximum", metrics = [for site in var.sites : ["Spillway", "Tier", "Site", site]] },
    ],
    [for balancer in var.load_balancer[*] :
      { title = "Requests and failures", stat = "Sum", metrics = [for metric in ["RequestCount", "HTTPCode_ELB_5XX_Count", "HTTPCode_Target_5XX_Count"] :
      ["AWS/ApplicationELB", metric, "LoadBalancer", balancer.arn_suffix]] }
    ],
    [for balancer in var.load_balancer[*] :
      { title = "Latency p95, seconds", stat = "p95", metrics = [["AWS/ApplicationELB", "TargetResponseTime", "LoadBalancer", balancer.arn_suffix]] }
    ],
    length(var.functions) == 0 ? [] : [
      { title = "Environments in use", stat = "Maximum", metrics = [for function in values(var.functions) : ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", function.name]] },
      { title = "Throttled", stat = "Sum", metrics = [for function in values(var.functions) : ["AWS/Lambda", "Throttles", "FunctionName", function.name]] },
      { title = "Errors", stat = "Sum", metrics = [for function in values(var.functions) : ["AWS/Lambda", "Errors", "FunctionName", function.name]] },
    ],
    [for group in var.gateways[*] :
      { title = "EC2 gateways in service", stat = "Maximum", metrics = [["AWS/AutoScaling", "GroupInServiceInstances", "AutoScalingGroupName", group.asg_name]] }
    ],
    [for vpn in flatten([for link in values(var.links) : link.vpn[*]]) :
      { title = "Tunnels up", stat = "Minimum", metrics = [["AWS/VPN", "TunnelState", "VpnId", vpn.connection_id]] }
    ],
    [{ title = "Alarms waiting to be read", stat = "Maximum", metrics = [for queue in [local.queue_name, local.dead_letters_name] :
    ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue]] }],
  )
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = concat(
      [{
        type       = "alarm"
        x          = 0
        y          = 0
        width      = 24
        height     = 3
        properties = { title = "Alarms", alarms = sort([for alarm in aws_cloudwatch_metric_alarm.this : alarm.arn]) }
      }],
      [for index, panel in local.panels : {
        type   = "metric"
        x      = 8 * (index % 3)
        y      = 3 + 6 * floor(index / 3)
        width  = 8
        height = 6
        properties = {
          title   = panel.title
          stat    = panel.stat
          metrics = panel.metrics
          period  = 60
          region  = local.region
          view    = "timeSeries"
        }
      }],
    )
  })
}
