# What each kind of alarm looks at: key of the alarm -> metrics, and how they become one number. `over`
# says on which side of the threshold the trouble is; `missing` what silence means.

locals {
  lambda = { for key, function in var.functions : key => { FunctionName = function.name } if function.program == "one-code" }
  lb     = { for balancer in var.load_balancer[*] : "lb" => { LoadBalancer = balancer.arn_suffix } }

  on_load_balancer = [for dimensions in values(local.lb) : {
    slow = {
      kind    = "slow", site = null, over = true, missing = "notBreaching", expression = null
      metrics = { value = ["AWS/ApplicationELB", "TargetResponseTime", "p95", dimensions] }
    }
    # Both of at least a hundred requests a minute, so that one failure at night wakes nobody.
    failing = {
      kind       = "failing", site = null, over = true, missing = "notBreaching"
      expression = "IF(FILL(all, 0) + FILL(failed, 0) >= 100, 100 * FILL(failed, 0) / (FILL(all, 0) + FILL(failed, 0)), 0)"
      metrics = {
        # The load balancer counts as requests only those that it chose a target for.
        all    = ["AWS/ApplicationELB", "RequestCount", "Sum", dimensions]
        failed = ["AWS/ApplicationELB", "HTTPCode_ELB_5XX_Count", "Sum", dimensions]
      }
    }
    refusing = {
      kind       = "refusing", site = null, over = true, missing = "notBreaching"
      expression = "IF(all >= 100, 100 * FILL(refused, 0) / all, 0)"
      metrics = {
        all     = ["AWS/ApplicationELB", "RequestCount", "Sum", dimensions]
        refused = ["AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", "Sum", dimensions]
      }
    }
  }]

  on_functions = [for key, dimensions in local.lambda : {
    "throttled-${key}" = {
      kind    = "throttled", site = null, over = true, missing = "notBreaching", expression = null
      metrics = { value = ["AWS/Lambda", "Throttles", "Sum", dimensions] }
    }
    "erring-${key}" = {
      kind       = "erring", site = null, over = true, missing = "notBreaching"
      expression = "IF(all >= 20, 100 * errors / all, 0)"
      metrics = {
        all    = ["AWS/Lambda", "Invocations", "Sum", dimensions]
        errors = ["AWS/Lambda", "Errors", "Sum", dimensions]
      }
    }
    "busy-${key}" = {
      kind       = "busy", site = null, over = true, missing = "notBreaching"
      expression = "100 * used / ${coalesce(var.functions[key].reserved_concurrency, var.concurrency_limit)}"
      metrics    = { used = ["AWS/Lambda", "ConcurrentExecutions", "Maximum", dimensions] }
    }
  }]

  # What it fails to tell comes by the queue too; but nobody should learn of a deaf agent from a storm.
  on_teller = [for function in var.subscribers.function[*] : {
    untold = {
      kind    = "untold", site = null, over = true, missing = "notBreaching", expression = null
      metrics = { value = ["AWS/Lambda", "Errors", "Sum", { FunctionName = function.name }] }
    }
  }]

  on_account = length(var.functions) == 0 ? [] : [{
    account-busy = {
      kind       = "account-busy", site = null, over = true, missing = "notBreaching"
      expression = "100 * used / ${var.concurrency_limit}"
      metrics    = { used = ["AWS/Lambda", "ClaimedAccountConcurrency", "Maximum", {}] }
    }
  }]

  # A link that AWS says nothing of is a link that is not there.
  on_links = flatten([for site, link in var.links : [
    [for vpn in link.vpn[*] : {
      "link-down-${site}" = {
        kind    = "link-down", site = site, over = false, missing = "breaching", expression = null
        metrics = { value = ["AWS/VPN", "TunnelState", "Maximum", { VpnId = vpn.connection_id }] }
      }
      "link-degraded-${site}" = {
        kind    = "link-degraded", site = site, over = false, missing = "breaching", expression = null
        metrics = { value = ["AWS/VPN", "TunnelState", "Minimum", { VpnId = vpn.connection_id }] }
      }
    }],
    [for line in link.direct_connect[*] : {
      "line-down-${site}" = {
        kind    = "link-down", site = site, over = false, missing = "breaching", expression = null
        metrics = { value = ["AWS/DX", "ConnectionState", "Minimum", { ConnectionId = line.connection_id }] }
      }
    }],
  ]])

  # An agent that is silent makes no uplink full: those hold what they were, and `silent` tells.
  on_sites = [for site in var.sites : {
    "uplink-full-${site}" = {
      kind    = "uplink-full", site = site, over = true, missing = "ignore", expression = null
      metrics = { value = ["Spillway", "UplinkUse", "Average", { Site = site }] }
    }
    "spilling-most-${site}" = {
      kind    = "spilling-most", site = site, over = true, missing = "ignore", expression = null
      metrics = { value = ["Spillway", "Share", "Average", { Site = site }] }
    }
    "degraded-${site}" = {
      kind    = "degraded", site = site, over = true, missing = "ignore", expression = null
      metrics = { value = ["Spillway", "Tier", "Maximum", { Site = site }] }
    }
    "silent-${site}" = {
      kind    = "silent", site = site, over = false, missing = "breaching", expression = null
      metrics = { value = ["Spillway", "Tier", "SampleCount", { Site = site }] }
    }
  }]

  on_queue = [{
    unread = {
      kind    = "unread", site = null, over = true, missing = "notBreaching", expression = null
      metrics = { value = ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", { QueueName = local.dead_letters_name }] }
    }
  }]

  watched = merge(concat(
    local.on_load_balancer, local.on_functions, local.on_teller, local.on_account, local.on_links, local.on_sites, local.on_queue
  )...)

  # One entry for each metric alarm that is made.
  metric_alarms = { for key, watch in local.watched : key => merge(watch, local.settings[watch.kind], {
    name = "${local.alarm_begins}${key}"
  }) if local.settings[watch.kind].enabled }
}
