# Each of `public`, `link`, `alarms` and `private` holds variables of the module of that name, under their names there,
# where they are typed, described and checked. What those modules tell one another is filled in and not written here.
# They are `any`, as an object type would drop what it does not know; known.tf refuses that instead.
# `site_set` may name what was made in another site's cloud, so no check of `public`, `link` or `private` looks at it.

variable "name" {
  description = "Prefix of every resource and value of the tag `spillway:site-set`; one for each site with its cloud, in all regions of the account."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,22}[a-z0-9]$", var.name)) && !strcontains(var.name, "--")
    error_message = "Write `name` as 2 to 24 lower-case letters, digits and single hyphens, beginning with a letter: \"shop-east\"."
  }
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "certificate_arn" {
  description = "The load balancer's certificate, for `site_set.service.host` and `slb_host`."
  type        = string
  nullable    = false
}

variable "public" {
  description = <<-EOT
    The cloud side. Optional parts (`gateways`, `cache`, `database`) are left out unless they are written, with {} for
    their defaults. The load balancer has fixed addresses unless `load_balancer.fixed_addresses` says otherwise. Function
    `alarm`, which tells the agent of alarms, is added; settings under that name change it. EC2 gateways are given their
    configuration and key, and packages of `private.packages.files` that are for their architecture; those that are not
    stand in `gateways.package_files`.
  EOT
  type        = any
  nullable    = false

  validation {
    condition     = can(keys(var.public.functions))
    error_message = "Write at least `functions` into `public`, by their names: { functions = { one-code = { groups = [\"codes\"], path_patterns = [\"/*\"] } } }."
  }
  validation {
    condition     = !can(var.public.load_balancer.certificate_arn) && !can(var.public.network.on_premises.cidr_blocks) && !can(var.public.network.on_premises.agents)
    error_message = "Leave out of `public` what is said elsewhere: the certificate (`certificate_arn`), the site's blocks (`link.link.site_cidr_blocks`) and the agents (the host with role \"agent\")."
  }
  validation {
    condition     = try(var.public.functions.alarm.program, "alarm") == "alarm"
    error_message = "Call no function of the service \"alarm\": that one tells the agent of alarms."
  }
}

variable "link" {
  description = "The line to the site and the agent's identity. `hosts` are those of `private.hosts` that are the site's edge and get its files, with strongSwan, FRR and nftables on them; without any the files are an output."
  type        = any
  nullable    = false

  validation {
    condition     = can(keys(var.link.link))
    error_message = "Write at least `link` into `link`, the line itself: { link = { kind = \"vpn\", … } }."
  }
  validation {
    condition     = alltrue([for host in coalesce(lookup(var.link, "hosts", null), []) : contains(keys(var.private.hosts), host)])
    error_message = "Write `link.hosts` as names of `private.hosts`."
  }
}

variable "alarms" {
  description = "What is watched, and who hears of it besides the queue and function `alarm`. Write `agent_endpoint` once the endpoint of `site_set.cloud.aws.alarm_endpoint` runs: it confirms the subscription itself."
  type        = any
  default     = {}
  nullable    = false

  validation {
    condition     = lookup(var.alarms, "agent_endpoint", null) == null || can(var.site_set.cloud.aws.alarm_endpoint.certificate)
    error_message = "Write `site_set.cloud.aws.alarm_endpoint` and apply it before `alarms.agent_endpoint`: nobody would confirm the subscription."
  }
}

variable "private" {
  description = "The site's hosts and how they are set up. One host has the role \"agent\"; the one with role \"aws\" moves the cloud's levers, and without one nobody does."
  type        = any
  nullable    = false

  validation {
    condition     = can(keys(var.private.hosts)) && can(keys(var.private.site)) && can(keys(var.private.packages))
    error_message = "Write at least `hosts`, `site` and `packages` into `private`."
  }
  validation {
    condition     = length([for host in values(var.private.hosts) : host if contains(try(host.roles, []), "agent")]) == 1
    error_message = "Give the role \"agent\" to one of `private.hosts`: functions in the cloud must find it."
  }
}

variable "site_set" {
  description = <<-EOT
    What the configuration says (`site_set` of module private), without what the cloud's modules know. Under `cloud` stand
    `slb_addresses`, only where the load balancer has no fixed ones, and figures of `cloud.aws`: `gateways.weighted_qps`,
    `functions.NAME.warm_max`, `capacity.max_units`, `replicas`, `alarm_endpoint`.
  EOT
  type        = any
  nullable    = false

  validation {
    condition     = !can(var.site_set.plan.mirrors) && !can(var.site_set.cloud.functions) && length(setintersection(try(keys(var.site_set.cloud.aws), []), ["name", "region", "alarm_queue", "cache", "database", "rules"])) == 0
    error_message = "Leave `plan.mirrors`, `cloud.functions` and the names in `cloud.aws` out of `site_set`: they come from what was made."
  }
  validation {
    condition     = length(setsubtract([for route in try(var.site_set.routes, {}) : route.group if try(length(route.spill) > 0, true)], flatten([for function in var.public.functions : try(function.groups, [])]))) == 0
    error_message = "Write the `group` of each of `site_set.routes` into `groups` of one of `public.functions`, or `spill = []` into the route, which keeps it at home; no function serves ${join(", ", setsubtract([for route in try(var.site_set.routes, {}) : route.group if try(length(route.spill) > 0, true)], flatten([for function in var.public.functions : try(function.groups, [])])))}."
  }
  validation {
    condition     = coalesce(try(var.public.load_balancer.fixed_addresses, null), true) || length(try(var.site_set.cloud.slb_addresses, [])) > 0
    error_message = "Write the addresses of whatever stands before the load balancer into `site_set.cloud.slb_addresses`, or leave `load_balancer.fixed_addresses` on: name servers answer addresses."
  }
  validation {
    condition     = lookup(var.public, "gateways", null) == null || can(var.site_set.cloud.aws.gateways.weighted_qps) || !anytrue([for host in values(var.private.hosts) : contains(host.roles, "aws")])
    error_message = "Write `site_set.cloud.aws.gateways.weighted_qps`, what one EC2 gateway carries: the agent counts them by it."
  }
}

variable "secret_files" {
  description = "Further secret files of the hosts, as module private takes them."
  type        = any
  default     = {}
  nullable    = false
  sensitive   = true
}
