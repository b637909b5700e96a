# What both sites have in common, and each site. What the objects take is said in modules/hybrid/variables.tf.

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}

variable "functions" {
  description = "The Lambda functions, the same in both regions: variable `functions` of module public."
  type        = any
  nullable    = false
}

variable "secrets" {
  description = "Their secrets: variable `secrets` of module public. Each region has its own places; put the same values into both."
  type        = map(string)
  default     = null
}

variable "packages" {
  description = "The Debian packages of both sites' hosts: variable `packages` of module private."
  type        = any
  nullable    = false
}

variable "site_set" {
  description = "What both sites' configurations say: as in stacks/one-site, without `service.slb_host` and `dns.address`. A client may be answered by either site, so the databases in `store` are the same for both."
  type        = any
  nullable    = false

  validation {
    condition     = !can(var.site_set.service.slb_host) && !can(var.site_set.dns.address)
    error_message = "Leave `service.slb_host` and `dns.address` out of `site_set`: each site has its own, in `east` and `west`."
  }
}

variable "secret_files" {
  description = "Secret files of both sites' hosts, by `roles`; those with `hosts` belong into stacks of one site."
  type        = any
  default     = {}
  nullable    = false
  sensitive   = true

  validation {
    condition     = !anytrue([for file in var.secret_files : can(file.hosts)])
    error_message = "Write `roles` of `secret_files`, and no `hosts`: no host is at both sites."
  }
}

variable "east" {
  description = "One site and its cloud: `slb_host` is the name of its load balancer, `dns_address` floats between its name servers. The rest is what stacks/one-site takes."
  type        = any
  nullable    = false

  validation {
    condition     = can(keys(var.east)) && length(setsubtract(local.needed, try(keys(var.east), []))) == 0 && length(setsubtract(try(keys(var.east), []), setunion(local.needed, local.optional))) == 0
    error_message = "Write ${join(", ", local.needed)} into `east`, if need be ${join(" and ", local.optional)}, and nothing else${join("", [for key in setsubtract(try(keys(var.east), []), setunion(local.needed, local.optional)) : "; `east.${key}` is not known"])}."
  }
  validation {
    condition     = !can(var.east.public.functions) && !can(var.east.public.secrets) && !can(var.east.private.packages)
    error_message = "Leave `public.functions`, `public.secrets` and `private.packages` out of `east`: `functions`, `secrets` and `packages` are both sites'."
  }

  validation {
    condition     = alltrue([for site in [var.east, var.west] : can(regex("^[a-z]{2,}(-[a-z]+)+-[0-9]$", site.region)) && can(regex("^arn:aws[a-z-]*:(acm:${site.region}|iam):", site.certificate_arn))])
    error_message = "Write `region` of each site as AWS does, as in \"eu-central-1\", and `certificate_arn` as a certificate in that region."
  }
  validation {
    condition     = alltrue([for key in ["name", "region", "slb_host"] : var.east[key] != var.west[key]])
    error_message = "Give each site a `name`, a `region` and a `slb_host` of its own: names are the account's, and each name leads to one region's load balancer."
  }
  validation {
    condition     = try(var.east.private.site.id != var.west.private.site.id, true)
    error_message = "Give each site a `private.site.id` of its own: metrics and alarms tell them apart by it."
  }
  validation {
    condition     = length(setintersection(var.east.link.link.site_cidr_blocks, var.west.link.link.site_cidr_blocks)) == 0
    error_message = "Write different blocks into each site's `link.link.site_cidr_blocks`: an address is at one site."
  }
}

variable "west" {
  description = "The other site and its cloud."
  type        = any
  nullable    = false

  validation {
    condition     = can(keys(var.west)) && length(setsubtract(local.needed, try(keys(var.west), []))) == 0 && length(setsubtract(try(keys(var.west), []), setunion(local.needed, local.optional))) == 0
    error_message = "Write ${join(", ", local.needed)} into `west`, if need be ${join(" and ", local.optional)}, and nothing else${join("", [for key in setsubtract(try(keys(var.west), []), setunion(local.needed, local.optional)) : "; `west.${key}` is not known"])}."
  }
  validation {
    condition     = !can(var.west.public.functions) && !can(var.west.public.secrets) && !can(var.west.private.packages)
    error_message = "Leave `public.functions`, `public.secrets` and `private.packages` out of `west`: `functions`, `secrets` and `packages` are both sites'."
  }
}
