# What the configuration says: every part of /etc/spillway/spillway.toml. What is left out keeps the
# program's own default. `spillway check` on each host has the last word; what is validated here is
# what it could not tell, or only when the hosts were being set up already.

variable "site_set" {
  description = <<-EOT
    What all sites have in common; sites of one set are given the same. Routes, knobs and functions are named by their
    keys. `agent.address` and `dns.address` are the hosts' own where one host alone has the role; with several hosts of
    role dns `dns.address` floats between them. Zones are master files, by the name of the zone.
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
      var.site_set.dns.address, var.site_set.dns.admin_address, var.site_set.agent.address])) :
    can(cidrhost("${address}/${strcontains(address, ":") ? 128 : 32}", 0))]) && length(var.site_set.cloud.slb_addresses) > 0
    error_message = "Write `site_set.cloud.slb_addresses` (at least one), `dns.address`, `dns.admin_address` and `agent.address` as IP addresses without a length or a port."
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

variable "site" {
  description = <<-EOT
    This site: what DNS answers for it, its way out and what it can serve. `admin_address` is the balancer's for the
    agent; where several hosts have the role balancer it floats between them as the VIPs do, so it is on the inside.
  EOT
  type = object({
    id   = string
    vips = list(string)
    uplink = object({
      bits_per_sec = number
      queue_bytes  = optional(number)
      shape        = optional(bool)
      interface    = optional(string)
    })
    capacity = object({
      weighted_qps = number
      p95_ms       = number
    })
    admin_address  = optional(string)
    vrrp_router_id = optional(number, 51)
    ports = optional(object({
      agent          = optional(number, 9100)
      dns            = optional(number, 53)
      dns_admin      = optional(number, 9201)
      balancer_admin = optional(number, 9301)
      gateway        = optional(number, 8081)
      gateway_admin  = optional(number, 9311)
      service        = optional(number, 8082)
      service_admin  = optional(number, 9321)
    }), {})
  })
  nullable = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9_-]{0,62}$", var.site.id)) && !contains(["agent", "cloud", "dns"], var.site.id)
    error_message = "Write `site.id` as a lower-case name that is not that of a part: \"east\"."
  }
  validation {
    condition     = length(var.site.vips) > 0 && alltrue([for address in concat(var.site.vips, compact([var.site.admin_address])) : can(cidrhost("${address}/${strcontains(address, ":") ? 128 : 32}", 0))])
    error_message = "Write `site.vips` (at least one) and `site.admin_address` as IP addresses without a length: \"192.0.2.10\"."
  }
  validation {
    condition     = var.site.admin_address != null || length([for host in var.hosts : host if contains(host.roles, "balancer")]) < 2
    error_message = "Write `site.admin_address`, an inside address that floats with the VIPs: with several balancers the agent reads the one that has them."
  }
  validation {
    condition     = var.site.vrrp_router_id >= 1 && var.site.vrrp_router_id <= 254 && floor(var.site.vrrp_router_id) == var.site.vrrp_router_id
    error_message = "Write `site.vrrp_router_id` from 1 to 254: it and the next number are the balancers' and the name servers'."
  }
  validation {
    condition     = alltrue([for port in values(var.site.ports) : port >= 1 && port <= 65535 && floor(port) == port]) && length(distinct(values(var.site.ports))) == length(values(var.site.ports))
    error_message = "Write `site.ports` as different ports from 1 to 65535."
  }
  validation {
    condition     = !contains(values(var.site.ports), var.site_set.service.port)
    error_message = "Leave the port of `site_set.service` out of `site.ports`: the balancer takes it."
  }
  validation {
    condition     = var.site.uplink.bits_per_sec >= 8000 && var.site.capacity.weighted_qps > 0 && var.site.capacity.p95_ms > 0
    error_message = "Write `site.uplink.bits_per_sec` as 8000 or more, `site.capacity.weighted_qps` and `p95_ms` above 0."
  }
}

variable "other_sites" {
  description = "The set's other sites: output `site` of their modules."
  type = list(object({
    id       = string
    vips     = list(string)
    uplink   = object({ bits_per_sec = number, queue_bytes = optional(number), shape = optional(bool), interface = optional(string) })
    capacity = object({ weighted_qps = number, p95_ms = number })
    balancer = object({ listen = string, admin = string, sources = list(string) })
    gateways = map(object({ listen = string, admin = string }))
    services = map(object({ listen = string, admin = string, groups = list(string) }))
  }))
  default  = []
  nullable = false

  validation {
    condition     = !contains(var.other_sites[*].id, var.site.id) && length(distinct(var.other_sites[*].id)) == length(var.other_sites)
    error_message = "Give each site of a set another `site.id`, and leave this one out of `other_sites`."
  }
  validation {
    condition     = alltrue(flatten([for site in var.other_sites : [for name in concat(keys(site.gateways), keys(site.services)) : !contains(concat(keys(local.gateways), keys(local.services)), name)]]))
    error_message = "Name no host as one of `other_sites`: gateways and services are called by their hosts, and their names are unique in a set."
  }
}
