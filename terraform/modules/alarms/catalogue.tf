# The catalogue: what is watched, how much is too much, and which degradation that asks for. It is here
# and nowhere else that an alarm becomes a tier. An alarm that asks for one says so in the first line of
# its description, which CloudWatch hands on to whoever hears of it:
#
#     spillway: tier=2 for=10m site=east
#
# `tier` is 1 to 3; `for` (number and s, m or h) is the lease of the request, counted from the change to
# ALARM; `site` is left out when the alarm means all sites. The change to OK withdraws the request.
# A description without that line asks for nothing.

locals {
  # By kind. All periods are of a minute but spend's: finer ones are for the agent itself, which sees the
  # site each second; alarms are for what it cannot see.
  defaults = {
    slow = {
      summary = "95 % of answers of the load balancer's targets took longer than this, in seconds."
      tier    = 1, lease = "10m", threshold = 1, periods = 5, breaching = 3
    }
    failing = {
      # Not what targets answer: a tier that sheds answers 503 by intent, and an alarm on those would hold
      # up the very tier that it asked for.
      summary = "Share of requests that no target answered, so that the load balancer answered 5xx itself, in percent."
      tier    = 2, lease = "10m", threshold = 2, periods = 3, breaching = 2
    }
    refusing = {
      summary = "Share of requests that targets answered 5xx, in percent; what a tier sheds by intent is among them."
      tier    = 0, lease = "10m", threshold = 2, periods = 3, breaching = 2
    }
    throttled = {
      summary = "Invocations that Lambda refused for want of concurrency, a minute."
      tier    = 1, lease = "10m", threshold = 0, periods = 3, breaching = 2
    }
    erring = {
      summary = "Share of a function's invocations that failed, in percent."
      tier    = 1, lease = "10m", threshold = 5, periods = 3, breaching = 2
    }
    busy = {
      summary = "Environments of a function in use, in percent of what it may have."
      tier    = 0, lease = "10m", threshold = 80, periods = 3, breaching = 2
    }
    account-busy = {
      summary = "Environments of all functions in use or reserved, in percent of the account's limit."
      tier    = 0, lease = "10m", threshold = 80, periods = 3, breaching = 2
    }
    link-down = {
      summary = "The private link has no tunnel up, or its line is down (1 is up)."
      tier    = 1, lease = "15m", threshold = 1, periods = 2, breaching = 2
    }
    link-degraded = {
      summary = "One of the private link's tunnels is down: the next maintenance takes the other (1 is all up)."
      tier    = 0, lease = "15m", threshold = 1, periods = 10, breaching = 10
    }
    uplink-full = {
      summary = "The site's uplink is in use to more than this part of its cap, in spite of all that was spilled."
      tier    = 1, lease = "5m", threshold = 0.97, periods = 3, breaching = 2
    }
    spilling-most = {
      summary = "The site has the cloud serve more than this part of its clients."
      tier    = 0, lease = "10m", threshold = 0.9, periods = 10, breaching = 10
    }
    degraded = {
      summary = "The site is in a tier of degradation that users see."
      tier    = 0, lease = "10m", threshold = 1, periods = 1, breaching = 1
    }
    silent = {
      summary = "The site's agent has published nothing: it, its uplink or its identity is gone."
      tier    = 0, lease = "10m", threshold = 1, periods = 5, breaching = 5
    }
    untold = {
      summary = "Alarms that the function could not tell an agent of; they came by the queue all the same."
      tier    = 0, lease = "10m", threshold = 0, periods = 1, breaching = 1
    }
    unread = {
      summary = "Messages about alarms that nobody could make use of."
      tier    = 0, lease = "10m", threshold = 0, periods = 1, breaching = 1
    }
  }

  # Alarms of alarms, by kinds: one of each list must be in ALARM.
  composites = {
    exhausted = {
      summary = "The cloud is slow or failing because it may not grow: functions are at their limit of concurrency."
      tier    = 2, lease = "10m"
      all_of  = [["slow", "failing"], ["throttled", "busy", "account-busy"]]
    }
    cut-off = {
      summary = "The private link is down and an uplink is full: what is spilled by proxy has no way left."
      tier    = 2, lease = "10m"
      all_of  = [["link-down"], ["uplink-full"]]
    }
    overwhelmed = {
      summary = "An uplink is full while the cloud fails: neither side can take what the other cannot."
      tier    = 3, lease = "5m"
      all_of  = [["failing"], ["uplink-full"]]
    }
  }

  kinds = concat(keys(local.defaults), keys(local.composites))

  # What the catalogue says, with what the caller changed.
  settings = { for kind, default in local.defaults : kind => {
    summary   = default.summary
    enabled   = coalesce(try(var.alarms[kind].enabled, null), true)
    tier      = coalesce(try(var.alarms[kind].tier, null), default.tier)
    lease     = coalesce(try(var.alarms[kind].lease, null), default.lease)
    threshold = coalesce(try(var.alarms[kind].threshold, null), default.threshold)
    periods   = coalesce(try(var.alarms[kind].periods, null), default.periods)
    breaching = min(coalesce(try(var.alarms[kind].breaching, null), default.breaching), coalesce(try(var.alarms[kind].periods, null), default.periods))
  } }
}
