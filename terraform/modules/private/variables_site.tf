# This site, and what it must know of the others.

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
      aws_admin      = optional(number, 9411)
      alarms         = optional(number, 9443)
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
    condition     = can(regex("^[a-z][a-z0-9_-]{0,62}$", var.site.id)) && !contains(["agent", "aws", "cloud", "dns"], var.site.id)
    error_message = "Write `site.id` as a lower-case name that is not that of a part: \"east\"."
  }
  validation {
    condition     = length(var.site.vips) > 0 && alltrue([for address in concat(var.site.vips, compact([var.site.admin_address])) : can(cidrhost("${address}/${strcontains(address, ":") ? 128 : 32}", 0)) && !contains(["0.0.0.0", "::"], address)])
    error_message = "Write `site.vips` (at least one) and `site.admin_address` as IP addresses without a length, which one can connect to: \"192.0.2.10\"."
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
    condition     = length(setintersection(var.site_set.cloud.slb_addresses, var.site.vips)) == 0
    error_message = "Write none of `site.vips` into `site_set.cloud.slb_addresses`: spilled clients would come back to the site."
  }
  validation {
    condition     = var.site.uplink.bits_per_sec >= 8000 && var.site.uplink.bits_per_sec <= 10000000000000 && var.site.capacity.weighted_qps > 0 && var.site.capacity.p95_ms > 0
    error_message = "Write `site.uplink.bits_per_sec` from 8000 to 10000000000000, `site.capacity.weighted_qps` and `p95_ms` above 0."
  }
  validation {
    condition     = alltrue([for bytes in var.site.uplink.queue_bytes[*] : bytes >= 16384 && bytes <= 4294967296 && floor(bytes) == bytes]) && floor(var.site.uplink.bits_per_sec) == var.site.uplink.bits_per_sec
    error_message = "Write `site.uplink.bits_per_sec` as a whole number and `queue_bytes`, what waits for the line, from 16384 to 4294967296."
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

variable "cloud_gateways" {
  description = "The EC2 gateways in the cloud, for which output `gateway_config` is: ports and names of their gateway and service, as module public's `gateways` has them. Null where there are none."
  type = object({
    port       = number
    admin_port = number
    gateway    = optional(string, "cloud-gateway")
    service    = optional(string, "cloud-service")
  })
  default = null

  validation {
    condition = var.cloud_gateways == null ? true : var.cloud_gateways.gateway != var.cloud_gateways.service && alltrue([
      for name in [var.cloud_gateways.gateway, var.cloud_gateways.service] :
      can(regex("^[a-z][a-z0-9_-]{0,62}$", name)) && !contains(["agent", "aws", "cloud", "dns"], name) && !endswith(name, "-balancer")
    ])
    error_message = "Name the gateway and the service of EC2 gateways, which stand in `gateways.units`, differently, with lower-case letters, digits and hyphens, and as no other part: [\"spillway-one-code@cloud-service.service\", \"spillway-gateway@cloud-gateway.service\"]."
  }
}
