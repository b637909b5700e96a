# What the configuration says: every part of /etc/spillway/spillway.toml. What is left out keeps the
# program's own default. `spillway check` on each host has the last word; what is validated here is
# what it could not tell, or only when the hosts were being set up already.

variable "site_set" {
  description = <<-EOT
    What all sites have in common; sites of one set are given the same. Routes, knobs and functions are named by their
    keys. `agent.address` and `dns.address` are the hosts' own where one host alone has the role; with several hosts of
    role dns `dns.address` floats between them. Zones are master files, by the name of the zone. Names and ARNs in
    `cloud.aws`, and `plan.mirrors`, are outputs `cloud` and `plan` of module public and those of module alarms; figures
    are yours. The host with role aws makes it what the plan says. Alarms come from SNS to
    https://NAME:PORT/v1/alarms where `alarm_endpoint` is written, NAME being whom `certificate` is for and PORT
    `site.ports.alarms`; certificate and key are paths on that host.
  EOT
  type = object({
    service = object({
      host     = string
      slb_host = string
      port     = number
    })
    plan = object({
      salt       = string
      lease_secs = optional(number)
      mirrors    = optional(list(string))
    })
    dns = object({
      zones         = map(string)
      address       = optional(string)
      admin_address = optional(string)
      ttl_secs      = optional(number)
    })
    agent = optional(object({
      address           = optional(string)
      tick_ms           = optional(number)
      uplink_target     = optional(number)
      compute_target    = optional(number)
      share_dwell_secs  = optional(number)
      share_step_down   = optional(number)
      tier_rise_secs    = optional(number)
      tier_dwell_secs   = optional(number)
      forecast_quantile = optional(number)
      holidays          = optional(list(string))
      utc_offset        = optional(string)
      journal_hours     = optional(number)
      mode              = optional(string)
    }), {})
    store = object({
      shards   = list(string)
      replicas = optional(list(string))
      cache    = optional(string)
    })
    cloud = object({
      slb_addresses  = list(string)
      backhaul_bytes = optional(number)
      functions      = map(object({ groups = set(string) }))
      budget = optional(object({
        usd_per_hour        = optional(number)
        usd_per_month       = optional(number)
        usd_per_second_over = optional(number)
      }))
      aws = optional(object({
        region        = string
        name          = string
        admin_address = optional(string)
        alarm_queue   = optional(string)
        cache         = optional(string)
        database      = optional(string)
        billing       = optional(bool)
        gateways = optional(object({
          autoscaling_group = optional(string)
          launch_template   = optional(string)
          subnets           = optional(list(string))
          target_group      = string
          weighted_qps      = number
          max               = number
          boot_secs         = optional(number)
        }))
        prices = optional(object({
          gateway_usd_per_hour      = optional(number)
          functions_usd_per_million = optional(number)
        }))
        capacity = optional(object({
          load_balancer           = string
          max_units               = number
          requests_per_connection = optional(number)
          after_secs              = optional(number)
          keep_secs               = optional(number)
        }))
        replicas = optional(object({
          weighted_qps = number
          cache_max    = optional(number)
          database_max = optional(number)
          after_secs   = optional(number)
          keep_secs    = optional(number)
        }))
        alarm_endpoint = optional(object({
          certificate = string
          key         = string
          topics      = list(string)
        }))
        rules = optional(list(object({ arn = string, target_group = string })), [])
        functions = optional(map(object({
          name     = string
          alias    = optional(string)
          program  = optional(string)
          warm_max = optional(number)
          warm_qps = optional(number)
        })), {})
      }))
    })
    routes = map(object({
      path           = string
      group          = string
      host           = optional(string)
      method         = optional(string)
      weight         = optional(number)
      response_bytes = optional(number)
      deadline_ms    = optional(number)
      body_bytes_max = optional(number)
      spill          = optional(list(string))
    }))
    knobs = optional(map(object({
      tier      = number
      owner     = string
      users_see = string
      releases  = number
      sheds     = optional(set(string), [])
    })), {})
  })
  nullable = false

  validation {
    condition     = can(regex("^[0-9a-f]{32}$", var.site_set.plan.salt))
    error_message = "Write `site_set.plan.salt` as 32 hex digits, the same for every site: `openssl rand -hex 16`."
  }
  validation {
    condition     = alltrue([for name in [var.site_set.service.host, var.site_set.service.slb_host] : can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z0-9]([a-z0-9-]*[a-z0-9])?$", name))]) && var.site_set.service.host != var.site_set.service.slb_host
    error_message = "Write `site_set.service.host` and `slb_host` as two different lower-case host names without a dot at the end."
  }
  validation {
    condition     = anytrue([for zone in keys(var.site_set.dns.zones) : var.site_set.service.host == zone || endswith(var.site_set.service.host, ".${zone}")])
    error_message = "Write the zone that `site_set.service.host` is in into `site_set.dns.zones`: the name servers steer that name."
  }
  validation {
    condition     = var.site_set.service.port >= 1 && var.site_set.service.port <= 65535 && floor(var.site_set.service.port) == var.site_set.service.port
    error_message = "Write `site_set.service.port` as the port that clients ask for, from 1 to 65535."
  }
  validation {
    condition     = length(var.site_set.dns.zones) > 0 && alltrue([for name, text in var.site_set.dns.zones : can(regex("^[a-z0-9.-]+$", name)) && strcontains(text, "SOA")])
    error_message = "Write at least one zone into `site_set.dns.zones`, by its name, with an SOA record: { \"example.test\" = file(\"example.test.zone\") }."
  }
  validation {
    condition = alltrue([for address in concat(var.site_set.cloud.slb_addresses, compact([
      var.site_set.dns.address, var.site_set.dns.admin_address, var.site_set.agent.address, try(var.site_set.cloud.aws.admin_address, null)])) :
    can(cidrhost("${address}/${strcontains(address, ":") ? 128 : 32}", 0))]) && length(var.site_set.cloud.slb_addresses) > 0
    error_message = "Write `site_set.cloud.slb_addresses` (at least one), `dns.address`, `dns.admin_address`, `agent.address` and `cloud.aws.admin_address` as IP addresses without a length or a port."
  }
  validation {
    condition     = var.site_set.agent.address != null || anytrue([for host in var.hosts : contains(host.roles, "agent")])
    error_message = "Write `site_set.agent.address`, or give one of `hosts` the role \"agent\"."
  }
  validation {
    condition     = var.site_set.dns.address != null || length([for host in var.hosts : host if contains(host.roles, "dns")]) == 1
    error_message = "Write `site_set.dns.address`, unless exactly one of `hosts` has the role \"dns\": with several the address floats between them."
  }
  validation {
    condition = var.site_set.cloud.aws == null ? !anytrue([for host in var.hosts : contains(host.roles, "aws")]) : (
    var.site_set.cloud.aws.admin_address != null || anytrue([for host in var.hosts : contains(host.roles, "aws")]))
    error_message = "Write `site_set.cloud.aws` together with the role \"aws\" of one of `hosts`, or with `admin_address`, where another site's host has the role."
  }
  validation {
    condition     = alltrue([for name, function in try(var.site_set.cloud.aws.functions, {}) : contains(keys(var.site_set.cloud.functions), name) == (coalesce(function.program, "one-code") == "one-code")])
    error_message = "Write `site_set.cloud.aws.functions` by the names of `site_set.cloud.functions`, and those of another `program` than \"one-code\" by names of their own."
  }
  validation {
    condition     = length(var.site_set.store.shards) > 0 && alltrue([for url in concat(var.site_set.store.shards, coalesce(var.site_set.store.replicas, []), coalesce(var.site_set.plan.mirrors, []), compact([var.site_set.store.cache])) : !can(regex("://[^/@]*:[^/@]*@", url))])
    error_message = "Write at least one database into `site_set.store.shards`, and no passwords into URLs, which many may read: put a .pgpass into `secret_files`."
  }
  validation {
    condition = length(distinct(var.site_set.store.shards)) == length(var.site_set.store.shards) && alltrue([for url in var.site_set.store.shards :
    can(regex("^(sqlite:(//)?[^?:]+|postgres(ql)?://[^/?#\\s]+/[^/?#\\s]+(\\?\\S*)?|postgres(ql)?:///[^/?#\\s]+\\?\\S*host=\\S+)$", url))])
    error_message = "Write each of `site_set.store.shards` as a database of its own, sqlite:FILE or postgres://USER@HOST/DATABASE."
  }
  validation {
    condition = length(coalesce(var.site_set.store.replicas, [])) == 0 || (
      length(coalesce(var.site_set.store.replicas, [])) == length(var.site_set.store.shards) &&
      alltrue([for i, url in coalesce(var.site_set.store.replicas, []) : url == "" || (can(regex("^postgres(ql)?://[^?\\s]*/[^/?#\\s]+(\\?\\S*)?$", url)) && try(startswith(var.site_set.store.shards[i], "postgres"), false))]) &&
      length(distinct(concat(var.site_set.store.shards, compact(coalesce(var.site_set.store.replicas, []))))) == length(concat(var.site_set.store.shards, compact(coalesce(var.site_set.store.replicas, []))))
    )
    error_message = "Write one of `site_set.store.replicas` for each of its `shards`, in their order, as postgres://USER@HOST/DATABASE, or \"\" for a shard without."
  }
  validation {
    condition     = alltrue([for url in concat([for url in compact([var.site_set.store.cache]) : url if url != "process"], coalesce(var.site_set.plan.mirrors, [])) : can(regex("^rediss?://[^/?#\\s]+(/[0-9]*)?(\\?\\S*)?$", url))])
    error_message = "Write `site_set.store.cache` as \"process\" or, like `plan.mirrors`, as redis://HOST:PORT, with TLS rediss://HOST:PORT."
  }
  validation {
    condition     = length([for host in var.hosts : host if contains(host.roles, "service")]) < 2 || alltrue([for url in var.site_set.store.shards : startswith(url, "postgres")])
    error_message = "Write `site_set.store.shards` as postgres://USER@HOST/DATABASE: services on several hosts cannot share a file."
  }
  validation {
    condition     = alltrue([for route in var.site_set.routes : startswith(route.path, "/")]) && length(var.site_set.routes) > 0
    error_message = "Write at least one route into `site_set.routes`, each with a `path` that begins with a slash: \"/v1/users/{user}\"."
  }
  validation {
    # The program tells routes by what stands between slashes; a parameter's name is none of it.
    condition     = alltrue([for route in var.site_set.routes : can(regex("^(/([^\\s?#{}/]*(\\{[^\\s?#{}*/]+\\})?[^\\s?#{}/]*))*(/[^\\s?#{}/]*\\{\\*[^\\s?#{}*/]+\\})?$", route.path))])
    error_message = "Write `path` of a route without spaces, query or fragment, with one {parameter} at most between two slashes, and {*rest} at its end only: \"/v1/users/{user}/code\"."
  }
  validation {
    condition = (
      length(distinct([for route in var.site_set.routes : [route.host, route.method, route.path]])) == length(var.site_set.routes) &&
      length(distinct([for route in var.site_set.routes : [route.host, route.path]])) == length(distinct([for route in var.site_set.routes : [route.host, replace(route.path, "/\\{[^}]*\\}/", "{}")]]))
    )
    error_message = "Write no two of `site_set.routes` with the same host, method and path, and none that differ by the name of a {parameter} only: the second would never be reached."
  }
  validation {
    condition     = alltrue([for route in var.site_set.routes : can(regex("^[A-Z]+$", coalesce(route.method, "GET"))) && can(regex("^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", coalesce(route.host, "any")))])
    error_message = "Write `method` of a route in capitals, as in \"GET\", and `host` as a lower-case name without a port."
  }
  validation {
    condition     = alltrue([for name in concat(keys(var.site_set.routes), keys(var.site_set.knobs), keys(var.site_set.cloud.functions)) : can(regex("^[a-z][a-z0-9_-]{0,62}$", name))])
    error_message = "Name routes, knobs and functions of `site_set` with 1 to 63 lower-case letters, digits, hyphens and underscores, beginning with a letter: \"qr-text\"."
  }
  validation {
    condition     = length(setsubtract([for route in var.site_set.routes : route.group if try(length(route.spill) > 0, true)], flatten([for function in var.site_set.cloud.functions : tolist(function.groups)]))) == 0
    error_message = "Write the `group` of each of `site_set.routes` into `groups` of one of `site_set.cloud.functions`, or `spill = []` into the route, which keeps it at home; no function serves ${join(", ", setsubtract([for route in var.site_set.routes : route.group if try(length(route.spill) > 0, true)], flatten([for function in var.site_set.cloud.functions : tolist(function.groups)])))}."
  }
  validation {
    condition     = length(setsubtract([for route in var.site_set.routes : route.group], flatten([for host in var.hosts : tolist(coalesce(host.groups, [for route in var.site_set.routes : route.group])) if contains(host.roles, "service")]))) == 0
    error_message = "Write the `group` of each of `site_set.routes` into `groups` of one of `hosts` with role service, or leave `groups` out there; no service of this site serves ${join(", ", setsubtract([for route in var.site_set.routes : route.group], flatten([for host in var.hosts : tolist(coalesce(host.groups, [for route in var.site_set.routes : route.group])) if contains(host.roles, "service")])))}."
  }
  validation {
    condition     = alltrue(flatten([for route in var.site_set.routes : [for mode in coalesce(route.spill, []) : contains(["redirect", "proxy"], mode)]]))
    error_message = "Write `spill` of a route as a list of \"redirect\" and \"proxy\"; [] keeps it at home."
  }
  validation {
    condition     = alltrue([for knob in var.site_set.knobs : contains([1, 2, 3], knob.tier) && knob.releases >= 0 && knob.releases <= 1])
    error_message = "Write `tier` of a knob as 1, 2 or 3, and `releases` as a share from 0 to 1."
  }
  validation {
    condition     = alltrue(flatten([for knob in var.site_set.knobs : [for route in knob.sheds : contains(keys(var.site_set.routes), route)]]))
    error_message = "Write `sheds` of a knob as names of `site_set.routes`."
  }
  validation {
    # A number, the least that it may be, and the most.
    condition = alltrue([for it in concat(
      [
        [var.site_set.plan.lease_secs, 3, 86400], [var.site_set.dns.ttl_secs, 1, 86400],
        [var.site_set.agent.tick_ms, 100, 60000], [var.site_set.agent.journal_hours, 1, 8784], [var.site_set.cloud.backhaul_bytes, 0, 1099511627776],
        [var.site_set.agent.tier_rise_secs, 1, 86400], [var.site_set.agent.tier_dwell_secs, 1, 86400], [var.site_set.agent.share_dwell_secs, 1, 86400],
      ],
      flatten([for route in var.site_set.routes : [{ it = [route.deadline_ms, 1, 86400000] }, { it = [route.body_bytes_max, 0, 1099511627776] }, { it = [route.response_bytes, 0, 1099511627776] }]])[*].it,
    ) : it[0] == null ? true : it[0] >= it[1] && it[0] <= it[2] && floor(it[0]) == it[0]])
    error_message = "Write whole numbers: `plan.lease_secs` of `site_set` from 3 to 86400, `dns.ttl_secs` from 1 to 86400, `agent.tick_ms` from 100 to 60000, `journal_hours` from 1 to 8784 and what else counts seconds from 1 to 86400; `deadline_ms` of a route from 1, and sizes in bytes."
  }
  validation {
    condition = alltrue([for share in [var.site_set.agent.uplink_target, var.site_set.agent.compute_target, var.site_set.agent.share_step_down] :
    share == null ? true : share > 0 && share <= 1]) && alltrue([for route in var.site_set.routes : route.weight == null ? true : route.weight > 0])
    error_message = "Write `uplink_target`, `compute_target` and `share_step_down` of `site_set.agent` above 0 and up to 1, and `weight` of a route above 0."
  }
  validation {
    condition     = contains(["act", "recommend", "shadow"], coalesce(var.site_set.agent.mode, "act")) && alltrue([for usd in values(coalesce(var.site_set.cloud.budget, {})) : usd == null ? true : usd > 0])
    error_message = "Write `mode` of `site_set.agent` as \"act\", \"recommend\" or \"shadow\", and dollars of `site_set.cloud.budget` above 0."
  }
  validation {
    condition = alltrue([
      var.site_set.agent.forecast_quantile == null ? true : var.site_set.agent.forecast_quantile >= 0.5 && var.site_set.agent.forecast_quantile <= 0.999,
      var.site_set.agent.holidays == null ? true : alltrue([for date in var.site_set.agent.holidays : can(regex("^[0-9]{4}-[0-9]{2}-[0-9]{2}$", date)) && can(timeadd("${date}T00:00:00Z", "0s"))]),
      var.site_set.agent.utc_offset == null ? true : can(regex("^([+-][0-9]{2}:?[0-9]{2}|[Zz])$", var.site_set.agent.utc_offset)),
    ])
    error_message = "Write `forecast_quantile` of `site_set.agent` from 0.5 to 0.999, `holidays` as dates such as \"2026-12-25\", and `utc_offset` as in \"+01:00\"."
  }
  validation {
    condition = var.site_set.cloud.aws == null ? true : alltrue(flatten([
      [for function in var.site_set.cloud.aws.functions : function.warm_max == null ? true : function.warm_max == 0 || (function.warm_qps == null ? false : function.warm_qps > 0)],
      [for gateways in var.site_set.cloud.aws.gateways[*] : gateways.weighted_qps > 0 && gateways.max >= 1 && gateways.max <= 1000],
      [for capacity in var.site_set.cloud.aws.capacity[*] : capacity.max_units == 0 || capacity.max_units >= 100],
      [for replicas in var.site_set.cloud.aws.replicas[*] : replicas.weighted_qps > 0],
    ]))
    error_message = "Write into `site_set.cloud.aws` `warm_qps` above 0 beside a function's `warm_max`, `weighted_qps` above 0, `gateways.max` from 1 to 1000, and `capacity.max_units` as 100 or more, or 0 for none."
  }
  validation {
    condition = alltrue(flatten([for replicas in try(var.site_set.cloud.aws.replicas, null)[*] : [
      replicas.cache_max == null ? true : replicas.cache_max == 0 || (replicas.cache_max <= 5 && var.site_set.cloud.aws.cache != null),
      replicas.database_max == null ? true : replicas.database_max == 0 || (replicas.database_max <= 15 && var.site_set.cloud.aws.database != null),
    ]]))
    error_message = "Write `replicas.cache_max` of `site_set.cloud.aws` up to 5 and `database_max` up to 15, each only where there is a cache or a database in the cloud to add replicas to."
  }
}
