variable "functions" {
  description = <<-EOT
    The Lambda functions by name. `program` is what `spillway deploy` ships to it. One of program "one-code" is that of
    the configuration's `[[cloud.function]]`: requests whose path matches one of its patterns are divided between it and
    the EC2 gateways by the weights of its rule, which begin at all and nothing and are the agent's from then on. A
    monolith is one function with all groups and the pattern "/*". Where patterns of two functions overlap, give the more
    specific one the smaller `priority`. One of program "alarm" tells the agents of alarms: it has no groups and no
    patterns, so no client reaches it; of all there is it may call `network.on_premises.agents` alone.
  EOT
  type = map(object({
    program              = optional(string, "one-code")
    groups               = optional(list(string), [])
    path_patterns        = optional(list(string), [])
    memory_mb            = optional(number, 256)
    timeout_secs         = optional(number, 10)
    reserved_concurrency = optional(number)
    env                  = optional(map(string), {})
    architecture         = optional(string, "arm64")
    priority             = optional(number)
  }))
  nullable = false

  validation {
    condition     = length(var.functions) > 0
    error_message = "Write at least one function: a monolith is one with all groups and path_patterns = [\"/*\"]."
  }
  validation {
    condition     = alltrue([for key in keys(var.functions) : can(regex("^[a-z]([a-z0-9-]*[a-z0-9])?$", key)) && length("${var.name}-${key}") <= 32])
    error_message = "Write function names in lower case with hyphens, so short that `name`, a hyphen and the function's name are 32 characters at most."
  }
  validation {
    condition     = alltrue([for key in keys(var.functions) : !can(regex("^(nlb-80|nlb-443|gw[0-9]+)$", key))])
    error_message = "Call no function \"nlb-80\", \"nlb-443\" or \"gw…\" with a number: the module's own target groups have these names."
  }
  validation {
    condition     = alltrue([for f in values(var.functions) : contains(["one-code", "alarm"], f.program)])
    error_message = "Write `program` as \"one-code\", the service, or as \"alarm\", which tells the agents of alarms."
  }
  validation {
    condition     = length(flatten(values(var.functions)[*].groups)) == length(toset(flatten(values(var.functions)[*].groups))) && alltrue([for f in values(var.functions) : (length(f.groups) > 0) == (f.program == "one-code")])
    error_message = "Write every route group into the `groups` of exactly one function, at least one group into each of program \"one-code\" and none into another."
  }
  validation {
    condition = alltrue([for f in values(var.functions) :
      (length(f.path_patterns) > 0) == (f.program == "one-code") && length(f.path_patterns) <= 5 && alltrue([for pattern in f.path_patterns : can(regex("^/[A-Za-z0-9_.$/~\"'@:+&*?-]{0,127}$", pattern))])
    ])
    error_message = "Write one to five `path_patterns` a function of program \"one-code\" (a rule takes no more), each beginning with a slash, as in \"/v1/users*\"; and none into another: clients do not reach it."
  }
  validation {
    condition     = !anytrue([for f in values(var.functions) : f.program == "alarm"]) || length(try(var.network.on_premises.agents, [])) > 0
    error_message = "Write the agents' APIs into `network.on_premises.agents`, as in [\"10.8.0.11:9100\"]: a function of program \"alarm\" has nobody to tell."
  }
  validation {
    condition     = alltrue([for f in values(var.functions) : f.memory_mb >= 128 && f.memory_mb <= 10240 && f.timeout_secs >= 1 && f.timeout_secs <= 900])
    error_message = "Write `memory_mb` from 128 to 10240 and `timeout_secs` from 1 to 900."
  }
  validation {
    condition     = alltrue([for f in values(var.functions) : f.reserved_concurrency == null || try(f.reserved_concurrency >= 1 && f.reserved_concurrency <= 100000, false)])
    error_message = "Write `reserved_concurrency` as 1 or more, or leave it out to share the account's; 0 would refuse every request."
  }
  validation {
    condition     = alltrue([for f in values(var.functions) : contains(["arm64", "x86_64"], f.architecture)])
    error_message = "Write `architecture` as \"arm64\" or \"x86_64\"."
  }
  validation {
    condition = alltrue(flatten([for f in values(var.functions) : [
      for key in keys(f.env) : can(regex("^[A-Za-z][A-Za-z0-9_]+$", key)) && !startswith(key, "AWS_") && !startswith(key, "LAMBDA_") && !strcontains(key, "SECRET")
    ]]))
    error_message = "Write `env` names as letters, digits and underscores; not AWS_… or LAMBDA_…, which Lambda sets, and nothing secret: that belongs into Secrets Manager."
  }
  validation {
    condition     = alltrue([for f in values(var.functions) : f.priority == null || try(f.priority >= 1 && f.priority <= 25000 && floor(f.priority) == f.priority, false)])
    error_message = "Write `priority` as a whole number from 1 to 25000, the smallest first, or leave it out."
  }
}

variable "secrets" {
  description = <<-EOT
    The service's secrets by name, each with the environment variable that its value is for. Gateways get the values when
    they start; functions get the ARN in a variable with `_ARN` behind it. `service` is the key of tokens and user
    numbers. The module adds `operator`, for functions of program "alarm" alone: the token that agents know them by.
  EOT
  type        = map(string)
  default     = { service = "ONE_CODE_SECRET" }
  nullable    = false

  validation {
    condition     = contains(keys(var.secrets), "service") && alltrue([for key in keys(var.secrets) : can(regex("^[a-z][a-z0-9-]{0,62}$", key)) && key != "operator"])
    error_message = "Write `secrets` with \"service\" and without \"operator\" among them, names in lower case: { service = \"ONE_CODE_SECRET\", database = \"PGPASSWORD\" }."
  }
  validation {
    condition     = alltrue([for variable in values(var.secrets) : can(regex("^[A-Z][A-Z0-9_]*$", variable))]) && length(var.secrets) == length(toset(values(var.secrets)))
    error_message = "Write each secret's environment variable in capitals, digits and underscores, no two the same, as in \"PGPASSWORD\"."
  }
}

variable "logs" {
  description = "How many days log groups keep what functions and the firewall write."
  type        = object({ retention_days = optional(number, 365) })
  default     = {}
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.logs.retention_days)
    error_message = "Write `logs.retention_days` as a number of days that CloudWatch Logs knows: 7, 14, 30, 90, 180, 365, 400, 731 …"
  }
}

variable "storage" {
  description = "The buckets: how many superseded versions of an artifact are kept, how many days logs are, and whether `destroy` may empty them."
  type = object({
    artifact_versions_kept = optional(number, 10)
    log_days               = optional(number, 90)
    force_destroy          = optional(bool, false)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.storage.artifact_versions_kept >= 1 && var.storage.artifact_versions_kept <= 100
    error_message = "Write `storage.artifact_versions_kept` from 1 to 100."
  }
  validation {
    condition     = var.storage.log_days >= 31
    error_message = "Write `storage.log_days` as 31 or more: after 30 days logs move to cheaper storage."
  }
}
