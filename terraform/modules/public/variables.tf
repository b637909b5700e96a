# What every site set says. What the optional parts take is in `variables_parts.tf`.

variable "name" {
  description = "Name of the site set: the prefix of every resource and the value of the tag `spillway:site-set`."
  type        = string

  validation {
    # The longest suffixes have eight characters; names of load balancers and target groups end at 32 characters.
    condition     = can(regex("^[a-z][a-z0-9-]{0,22}[a-z0-9]$", var.name)) && !strcontains(var.name, "--")
    error_message = "Write `name` as 2 to 24 lower-case letters, digits and single hyphens, beginning with a letter: \"east\"."
  }
}

variable "tags" {
  description = "Tags of every resource, beside the module's own `spillway:…`."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for key in keys(var.tags) : !startswith(key, "spillway:") && !startswith(lower(key), "aws:")])
    error_message = "Leave tags that begin with `spillway:` or `aws:` out of `tags`: the module and AWS set them."
  }
}

variable "network" {
  description = <<-EOT
    The VPC over two zones. `nat` is `none`, `single` or `per_zone`; without it the private subnets reach out over IPv6
    alone, which functions and gateways need nothing of. `on_premises` is the site at the other end of the link: what
    of the cloud may call it and be called by it is decided here and nowhere else. Functions and gateways call `ports`
    of its blocks; functions of program "alarm" call `agents` alone, each as "IP:PORT" of an agent's API; the site calls
    the gateways, and the cache, where the agent keeps a mirror of the plan.
  EOT
  type = object({
    cidr_block          = optional(string, "10.64.0.0/16")
    zones               = optional(list(string))
    ipv6                = optional(bool, true)
    nat                 = optional(string, "none")
    interface_endpoints = optional(set(string), ["secretsmanager"])
    flow_log            = optional(bool, true)
    on_premises = optional(object({
      cidr_blocks = list(string)
      ports       = optional(set(number), [5432, 6379, 9100])
      agents      = optional(list(string), [])
    }))
  })
  default  = {}
  nullable = false

  validation {
    condition     = can(cidrnetmask(var.network.cidr_block)) && try(tonumber(split("/", var.network.cidr_block)[1]) >= 16 && tonumber(split("/", var.network.cidr_block)[1]) <= 21, false)
    error_message = "Write `network.cidr_block` as an IPv4 block from /16 to /21, as in \"10.64.0.0/16\": it is divided into eight."
  }
  validation {
    condition     = var.network.zones == null || try(length(distinct(var.network.zones)) == 2 && length(var.network.zones) == 2, false)
    error_message = "Write two different availability zones into `network.zones`, or leave it out to take the region's first two."
  }
  validation {
    condition     = contains(["none", "single", "per_zone"], var.network.nat)
    error_message = "Write `network.nat` as \"none\", \"single\" or \"per_zone\"."
  }
  validation {
    condition     = alltrue([for service in var.network.interface_endpoints : can(regex("^[a-z0-9.-]+$", service)) && service != "s3"])
    error_message = "Write `network.interface_endpoints` as short service names, as in [\"secretsmanager\"]; S3 has its gateway endpoint already."
  }
  validation {
    condition = var.network.on_premises == null || try(
      length(var.network.on_premises.cidr_blocks) > 0 && alltrue([
        for block in var.network.on_premises.cidr_blocks : can(cidrhost(block, 0)) && !endswith(block, "/0")
    ]), false)
    error_message = "Write the site's own blocks into `network.on_premises.cidr_blocks`, as in [\"10.8.0.0/16\"]; not a whole internet (/0)."
  }
  validation {
    condition     = alltrue([for port in try(var.network.on_premises.ports, []) : port >= 1 && port <= 65535 && floor(port) == port])
    error_message = "Write ports from 1 to 65535 into `network.on_premises.ports`: the database's, the cache's, the agent's."
  }
  validation {
    condition = alltrue([for agent in try(var.network.on_premises.agents, []) :
      can(regex("^([0-9.]+|\\[[0-9a-f:]+\\]):[1-9][0-9]{0,4}$", agent)) && can(cidrhost("${trim(replace(agent, "/:[0-9]+$/", ""), "[]")}/32", 0))
    ])
    error_message = "Write `network.on_premises.agents` as addresses and ports, as in [\"10.8.0.11:9100\"]: a rule of the function's security group is made of each."
  }
}

variable "load_balancer" {
  description = <<-EOT
    The application load balancer. `certificate_arn` is the listener's own certificate, the additional ones are chosen by
    SNI. With `fixed_addresses` a network load balancer with an Elastic IP a zone stands in front of it, for clients that
    know addresses alone. `waf.requests_per_5_min` is a limit for each client address.
  EOT
  type = object({
    certificate_arn             = string
    additional_certificate_arns = optional(set(string), [])
    ssl_policy                  = optional(string, "ELBSecurityPolicy-TLS13-1-2-2021-06")
    client_ipv4_cidr_blocks     = optional(set(string), ["0.0.0.0/0"])
    client_ipv6_cidr_blocks     = optional(set(string), ["::/0"])
    fixed_addresses             = optional(bool, false)
    idle_timeout_secs           = optional(number, 60)
    access_logs                 = optional(bool, true)
    deletion_protection         = optional(bool, true)
    waf                         = optional(object({ requests_per_5_min = optional(number) }))
  })
  nullable = false

  validation {
    condition = alltrue([
      for arn in concat([var.load_balancer.certificate_arn], tolist(var.load_balancer.additional_certificate_arns)) :
      can(regex("^arn:aws[a-z-]*:(acm|iam):", arn))
    ])
    error_message = "Write certificates as ARNs of ACM or IAM, as in \"arn:aws:acm:eu-central-1:123456789012:certificate/…\"."
  }
  validation {
    condition     = can(regex("^ELBSecurityPolicy-TLS13-1-[23]-", var.load_balancer.ssl_policy))
    error_message = "Write `load_balancer.ssl_policy` as a policy of TLS 1.2 or 1.3, as in \"ELBSecurityPolicy-TLS13-1-2-2021-06\"."
  }
  validation {
    condition = alltrue(concat(
      [for block in var.load_balancer.client_ipv4_cidr_blocks : can(cidrnetmask(block))],
      [for block in var.load_balancer.client_ipv6_cidr_blocks : can(cidrhost(block, 0)) && strcontains(block, ":")],
    ))
    error_message = "Write IPv4 blocks into `client_ipv4_cidr_blocks` and IPv6 blocks into `client_ipv6_cidr_blocks`, as in [\"0.0.0.0/0\"] and [\"::/0\"]."
  }
  validation {
    condition     = var.load_balancer.idle_timeout_secs >= 1 && var.load_balancer.idle_timeout_secs <= 4000
    error_message = "Write `load_balancer.idle_timeout_secs` from 1 to 4000."
  }
  validation {
    condition     = try(var.load_balancer.waf.requests_per_5_min, null) == null || try(var.load_balancer.waf.requests_per_5_min >= 10, false)
    error_message = "Write `load_balancer.waf.requests_per_5_min` as 10 or more, or leave it out for no limit."
  }
}
