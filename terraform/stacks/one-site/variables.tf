# What each object takes is said in modules/hybrid/variables.tf, and of its parts in the module of its name.

variable "region" {
  description = "The AWS region of the cloud side, near the site."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2,}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "Write `region` as AWS does: \"eu-central-1\"."
  }
}

variable "name" {
  description = "Prefix of every resource, and the value of the tag by which the agent knows what is its own."
  type        = string
  nullable    = false
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}

variable "certificate_arn" {
  description = "A certificate of ACM in `region` for the service's host and the cloud's."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:(acm:${var.region}|iam):", var.certificate_arn))
    error_message = "Write `certificate_arn` as the ARN of a certificate in `region`, as in \"arn:aws:acm:eu-central-1:123456789012:certificate/…\": load balancers take no other region's."
  }
}

variable "public" {
  description = "The cloud side: network, load_balancer, functions, gateways, cache, database, secrets, logs, storage."
  type        = any
  nullable    = false
}

variable "link" {
  description = "The line between them (link, access), the agent's identity (agent), and the hosts that are the site's edge."
  type        = any
  nullable    = false
}

variable "alarms" {
  description = "Changes to the catalogue of alarms, and who hears of them besides the agent."
  type        = any
  default     = {}
  nullable    = false
}

variable "private" {
  description = "The site: hosts, site, ssh, install, render_to, packages, keys, files."
  type        = any
  nullable    = false
}

variable "site_set" {
  description = "What the configuration says: service, plan, dns, agent, store, routes, knobs, and figures of cloud.aws."
  type        = any
  nullable    = false
}

variable "secret_files" {
  description = "Secret files of the hosts, as the database's password; the state holds their digests only."
  type        = any
  default     = {}
  sensitive   = true
}
