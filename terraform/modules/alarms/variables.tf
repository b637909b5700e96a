variable "name" {
  description = "Name of the site set: prefix of all resources."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,22}[a-z0-9]$", var.name))
    error_message = "Write a name of 2 to 24 lower-case letters, digits and dashes that starts with a letter, like \"shop\"."
  }
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "sites" {
  description = "Ids of the private sites, as in the site set's configuration. Each one's agent publishes UplinkUse, Share and Tier in namespace Spillway under dimension Site."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for site in var.sites : can(regex("^[a-z][a-z0-9-]{0,14}[a-z0-9]$", site))]) && length(distinct(var.sites)) == length(var.sites)
    error_message = "Write sites as different ids of 2 to 16 lower-case letters, digits and dashes, like [\"east\", \"west\"]."
  }
}

variable "load_balancer" {
  description = "Output `load_balancer` of module public. Null: no alarms on it."
  type        = object({ arn_suffix = string })
  default     = null
}

variable "functions" {
  description = "The functions to watch, by their names of the configuration: output `functions` of module public, of which those of program \"one-code\" are watched like this, and the one in `subscribers` for itself. `reserved_concurrency` is the limit to warn before; null: the account's."
  type = map(object({
    name                 = string
    reserved_concurrency = optional(number)
    program              = optional(string, "one-code")
  }))
  default  = {}
  nullable = false
}

variable "gateways" {
  description = "Output `gateways` of module public: whose launches and ends go to the queue. Null: nobody's."
  type        = object({ asg_name = string })
  default     = null
}

variable "links" {
  description = "Output `connection` of module link, by site."
  type = map(object({
    vpn            = optional(object({ connection_id = string }))
    direct_connect = optional(object({ connection_id = string }))
  }))
  default = {}

  validation {
    condition     = alltrue([for site in keys(var.links) : contains(var.sites, site)])
    error_message = "Write links by ids that are in sites."
  }
}

variable "alarms" {
  description = <<-EOT
    Changes to the catalogue of alarms (catalogue.tf), by an alarm's kind. `tier` is the degradation that
    an alarm of this kind asks the agent for while it lasts, 0 for none: it then only tells people. `lease`
    is how long the request is good for unless it is repeated.
  EOT
  type = map(object({
    enabled   = optional(bool)
    threshold = optional(number)
    tier      = optional(number)
    lease     = optional(string)
    periods   = optional(number) # how many periods are looked at
    breaching = optional(number) # how many of them must be over the threshold
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for kind in keys(var.alarms) : contains(local.kinds, kind)])
    error_message = "There is no alarm of that kind; the kinds are the keys of local.defaults and local.composites in catalogue.tf, like \"slow\" or \"uplink-full\"."
  }

  validation {
    condition     = alltrue([for alarm in values(var.alarms) : contains([0, 1, 2, 3], coalesce(alarm.tier, 0))])
    error_message = "Write tier as 0 (tell people only), 1, 2 or 3."
  }

  validation {
    condition     = alltrue([for alarm in values(var.alarms) : can(regex("^[1-9][0-9]{0,3}(s|m|h)$", coalesce(alarm.lease, "1m")))])
    error_message = "Write lease as a number and s, m or h, like \"10m\"."
  }

  validation {
    condition = alltrue([for alarm in values(var.alarms) :
      coalesce(alarm.breaching, 1) >= 1 && coalesce(alarm.breaching, 1) <= coalesce(alarm.periods, alarm.breaching, 1) && coalesce(alarm.periods, 1) <= 60
    ])
    error_message = "Write periods from 1 to 60, and breaching not above it."
  }
}

variable "composite_alarms" {
  description = "Whether alarms of several alarms are made."
  type        = bool
  default     = true
  nullable    = false
}

variable "concurrency_limit" {
  description = "The account's limit of concurrent executions in this region: what functions without a reservation share."
  type        = number
  default     = 1000
  nullable    = false

  validation {
    condition     = var.concurrency_limit >= 10 && floor(var.concurrency_limit) == var.concurrency_limit
    error_message = "Write concurrency_limit as a whole number of at least 10: `aws lambda get-account-settings` prints it."
  }
}

variable "spend" {
  description = "Alarm on the month's estimated charges. AWS publishes them in us-east-1 only, and only where billing alerts are turned on: null everywhere else."
  type = object({
    limit_usd = number
    tier      = optional(number, 0)
    lease     = optional(string, "6h")
  })
  default = null

  validation {
    condition = alltrue([for spend in var.spend[*] :
      spend.limit_usd > 0 && contains([0, 1, 2, 3], spend.tier) && can(regex("^[1-9][0-9]{0,3}(s|m|h)$", spend.lease))
    ])
    error_message = "Write spend with a limit_usd above 0, a tier from 0 to 3 and lease like \"6h\"."
  }
}

variable "subscribers" {
  description = <<-EOT
    Who hears of alarms besides the queue: function `alarm` (with the alias it is called by), people by
    e-mail (they confirm by the link in it), and the agent's HTTPS endpoint: `[cloud.aws.alarm_endpoint]` of
    the configuration, with the topic's ARN (output `topics`) among its `topics`, as
    https://NAME:PORT/v1/alarms. It confirms the subscription itself, so write it here once it runs, SNS
    reaches it from the internet, and its certificate is of a public CA and for NAME.
  EOT
  type = object({
    function       = optional(object({ name = string, arn = string, alias_name = optional(string), alias_arn = optional(string) }))
    agent_endpoint = optional(string)
    emails         = optional(set(string), [])
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for endpoint in var.subscribers.agent_endpoint[*] : can(regex("^https://[^/@]+/", endpoint))])
    error_message = "Write subscribers.agent_endpoint as an https:// address with a path and no password, like \"https://agent.example.test/v1/alarms\"."
  }

  validation {
    condition     = alltrue([for email in var.subscribers.emails : can(regex("^[^@\\s]+@[^@\\s]+$", email))])
    error_message = "Write subscribers.emails as e-mail addresses."
  }
}
