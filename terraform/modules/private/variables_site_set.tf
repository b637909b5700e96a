# What the configuration says: every part of /etc/spillway/spillway.toml. What is left out keeps the
# program's own default. `spillway check` on each host has the last word; what is validated here is
# what it could not tell, or only when the hosts were being set up already.

variable "site_set" {
  description = <<-EOT
    What all sites have in common; sites of one set are given the same. Routes, knobs and functions are named by their
    keys. `agent.address` and `dns.address` are the hosts' own where one host alone has the role; with several hosts of
    role dns `dns.address` floats between them. Zones are master files, by the name of the zone. `cloud.aws` is what modules
    public and alarms give out; the host with role aws makes it what the plan says.
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
    })
    dns = object({
      zones         = map(string)
      address       = optional(string)
      admin_address = optional(string)
      ttl_secs      = optional(number)
    })
    agent = optional(object({
      address          = optional(string)
      tick_ms          = optional(number)
      uplink_target    = optional(number)
      compute_target   = optional(number)
      share_dwell_secs = optional(number)
      share_step_down  = optional(number)
      tier_rise_secs   = optional(number)
      tier_dwell_secs  = optional(number)
      journal_hours    = optional(number)
    }), {})
    store = object({
      shards = list(string)
      cache  = optional(string)
    })
    cloud = object({
      slb_addresses = list(string)
      functions     = map(object({ groups = set(string) }))
      aws = optional(object({
        region           = string
        name             = string
        admin_address    = optional(string)
        alarm_queue      = optional(string)
        artifacts_bucket = optional(string)
        cache            = optional(string)
        database         = optional(string)
        gateways = optional(object({
          autoscaling_group = optional(string)
          launch_template   = optional(string)
          subnets           = optional(list(string))
          target_group      = string
          weighted_qps      = number
          max               = number
          after_secs        = optional(number)
          keep_secs         = optional(number)
        }))
        rules     = optional(list(object({ arn = string, target_group = string })), [])
        functions = optional(map(object({ name = string, alias = optional(string) })), {})
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
    condition     = alltrue([for name in keys(try(var.site_set.cloud.aws.functions, {})) : contains(keys(var.site_set.cloud.functions), name)])
    error_message = "Write `site_set.cloud.aws.functions` by the names of `site_set.cloud.functions`."
  }
  validation {
    condition     = length(var.site_set.store.shards) > 0 && alltrue([for url in concat(var.site_set.store.shards, compact([var.site_set.store.cache])) : !can(regex("://[^/@]*:[^/@]*@", url))])
    error_message = "Write at least one database into `site_set.store.shards`, and no passwords into URLs, which many may read: put a .pgpass into `secret_files`."
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
}
