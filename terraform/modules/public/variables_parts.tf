# The parts that a site set may do without: each is left out with `null`.

variable "gateways" {
  description = <<-EOT
    The EC2 gateways that take over when a burst lasts, or null for functions alone. Instances install `packages` (keys
    in the artifacts bucket, `.deb` or `.tar.gz`) and the configuration with the key that plans are verified with, write
    the secrets to /etc/spillway/secrets.env, and start `units`, called after gateway and service of the configuration.
    What of this is in `package_files` (key -> file on this machine) or in `from_site` the module puts into the bucket.
    The first of `instance_types` is the launch template's own; the others stand in where it cannot be had.
    `session_manager` wants an image with its agent in it; `more_policy_arns` are for what else an image does, as to
    ship logs.
  EOT
  type = object({
    min              = optional(number, 0)
    max              = optional(number, 10)
    instance_types   = optional(list(string), ["c7g.large", "c6g.large", "m7g.large"])
    image_id         = optional(string, "resolve:ssm:/aws/service/debian/release/12/latest/arm64")
    port             = optional(number, 8080)
    admin_port       = optional(number, 9311)
    packages         = optional(list(string), ["packages/spillway.deb", "packages/spillway-gateway.deb", "packages/spillway-one-code.deb"])
    package_files    = optional(map(string), {})
    config           = optional(string, "config/spillway.toml")
    public_key       = optional(string, "config/plan.pub")
    units            = optional(list(string), ["spillway-one-code@cloud-service.service", "spillway-gateway@cloud-gateway.service"])
    root_device      = optional(string, "/dev/xvda")
    volume_gib       = optional(number, 10)
    boot_secs        = optional(number, 90)
    drain_secs       = optional(number, 30)
    session_manager  = optional(bool, false)
    more_policy_arns = optional(set(string), [])
  })
  default = {}

  validation {
    condition     = var.gateways == null || try(var.gateways.min >= 0 && var.gateways.max >= 1 && var.gateways.max >= var.gateways.min, false)
    error_message = "Write `gateways.min` as 0 or more and `gateways.max` as 1 or more, not under `min`."
  }
  validation {
    condition     = var.gateways == null || try(length(var.gateways.instance_types) > 0 && alltrue([for type in var.gateways.instance_types : can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", type))]), false)
    error_message = "Write at least one EC2 instance type into `gateways.instance_types`, as in [\"c7g.large\"], all of the image's architecture."
  }
  validation {
    # Amazon's own processors have a g behind the generation. Of an image, only the end of a parameter's name tells.
    condition = var.gateways == null || try(length(distinct(concat(
      [for type in var.gateways.instance_types : can(regex("^([a-z]+[0-9]+g|a1\\.)", type))],
      can(regex("/(arm64|amd64|x86_64)$", var.gateways.image_id)) ? [endswith(var.gateways.image_id, "/arm64")] : [],
    ))) == 1, false)
    error_message = "Write `gateways.instance_types` of one architecture, and an `image_id` for it: c7g and other types with a g behind their generation are arm64."
  }
  validation {
    condition     = var.gateways == null || can(regex("^(ami-[0-9a-f]+|resolve:ssm:[A-Za-z0-9/_.-]+)$", var.gateways.image_id)) && can(regex("^/dev/[a-z0-9]+$", var.gateways.root_device))
    error_message = "Write `gateways.image_id` as \"ami-…\" or as \"resolve:ssm:/path/of/a/parameter\", and its `root_device` as in \"/dev/xvda\"."
  }
  validation {
    condition     = var.gateways == null || try(alltrue([for port in [var.gateways.port, var.gateways.admin_port] : port >= 1 && port <= 65535]) && var.gateways.port != var.gateways.admin_port, false)
    error_message = "Write `gateways.port` and `gateways.admin_port` as two different ports from 1 to 65535."
  }
  validation {
    # They become words of a shell script, so nothing a shell could read as more than a word may be in them.
    condition = var.gateways == null || try(
    length(var.gateways.packages) > 0 && alltrue([for key in var.gateways.packages : can(regex("^[A-Za-z0-9][A-Za-z0-9/_.+-]*\\.(deb|tar\\.gz)$", key))]) && alltrue([for key in [var.gateways.config, var.gateways.public_key] : can(regex("^[A-Za-z0-9][A-Za-z0-9/_.+-]*$", key))]), false)
    error_message = "Write `gateways.packages` as keys that end in .deb or .tar.gz and `gateways.config` and `public_key` as keys, of letters, digits and /_.+- alone."
  }
  validation {
    condition     = alltrue([for key, file in try(var.gateways.package_files, {}) : contains(var.gateways.packages, key) && fileexists(file)])
    error_message = "Write `gateways.package_files` as files on this machine, each by one of the keys in `gateways.packages`: { \"packages/spillway.deb\" = \"dist/spillway_1.2.0_arm64.deb\" }."
  }
  validation {
    condition     = var.gateways == null || try(length(var.gateways.units) > 0 && alltrue([for unit in var.gateways.units : can(regex("^[A-Za-z0-9_.@-]+\\.(service|socket|target)$", unit))]), false)
    error_message = "Write at least one systemd unit into `gateways.units`, as in [\"spillway-gateway@cloud-gateway.service\"]."
  }
  validation {
    condition     = var.gateways == null || try(var.gateways.volume_gib >= 8 && var.gateways.boot_secs >= 0 && var.gateways.drain_secs >= 0 && var.gateways.drain_secs <= 3600, false)
    error_message = "Write `gateways.volume_gib` as 8 or more, `boot_secs` as 0 or more and `drain_secs` from 0 to 3600."
  }
}

variable "from_site" {
  description = <<-EOT
    What the gateways start from as the site has it: `texts.config` is output `gateway_config` of module private and
    `texts.public_key` its output `public_key`; `packages` are files on this machine by the packages' names, of which those
    for another architecture are left out, going by the ends of their names (`_amd64.deb`). What is not given, someone
    puts into the artifacts bucket.
  EOT
  type = object({
    texts    = optional(map(string), {})
    packages = optional(map(string), {})
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.from_site.texts) : contains(["config", "public_key"], name)])
    error_message = "Write `from_site.texts` as { config = …, public_key = … }."
  }
}

variable "cache" {
  description = "The ElastiCache replication group (Redis): a primary and `replicas`, or null for none. `replicas` is the beginning; the agent changes it."
  type = object({
    node_type      = optional(string, "cache.t4g.small")
    engine_version = optional(string, "7.1")
    replicas       = optional(number, 1)
    snapshot_days  = optional(number, 1)
  })
  default = {}

  validation {
    condition     = var.cache == null || can(regex("^cache\\.[a-z0-9]+\\.[a-z0-9]+$", var.cache.node_type))
    error_message = "Write `cache.node_type` as in \"cache.t4g.small\"."
  }
  validation {
    condition     = var.cache == null || can(regex("^7\\.[0-9]+$", var.cache.engine_version))
    error_message = "Write `cache.engine_version` as a version of Redis 7, as in \"7.1\"."
  }
  validation {
    condition     = var.cache == null || try(var.cache.replicas >= 1 && var.cache.replicas <= 5 && var.cache.snapshot_days >= 0 && var.cache.snapshot_days <= 35, false)
    error_message = "Write `cache.replicas` from 1 (failing over needs one) to 5 and `cache.snapshot_days` from 0 to 35."
  }
}

variable "database" {
  description = <<-EOT
    The Aurora PostgreSQL cluster, or null when the database stays on-prem. With `follows_on_premises` it is made to be
    the subscriber of a logical replication: it may reach the site, and the publication and subscription are then made
    in SQL. `readers` is the beginning; further ones are the agent's.
  EOT
  type = object({
    engine_version      = optional(string, "16.6")
    instance_class      = optional(string, "db.serverless")
    acu_min             = optional(number, 0.5)
    acu_max             = optional(number, 16)
    readers             = optional(number, 1)
    name                = optional(string, "spillway")
    backup_days         = optional(number, 7)
    follows_on_premises = optional(bool, false)
    deletion_protection = optional(bool, true)
  })
  default = null

  validation {
    condition     = var.database == null || can(regex("^1[4-9]\\.[0-9]+$", var.database.engine_version))
    error_message = "Write `database.engine_version` as a version of PostgreSQL from 14, as in \"16.6\"."
  }
  validation {
    condition     = var.database == null || can(regex("^db\\.(serverless|[a-z0-9]+\\.[a-z0-9]+)$", var.database.instance_class))
    error_message = "Write `database.instance_class` as \"db.serverless\" or as in \"db.r7g.large\"."
  }
  validation {
    condition     = var.database == null || try(var.database.acu_min >= 0 && var.database.acu_max >= 1 && var.database.acu_max <= 256 && var.database.acu_min <= var.database.acu_max, false)
    error_message = "Write `database.acu_min` from 0 and `acu_max` from 1 to 256, not under `acu_min`."
  }
  validation {
    condition     = var.database == null || try(var.database.readers >= 0 && var.database.readers <= 15 && var.database.backup_days >= 1 && var.database.backup_days <= 35, false)
    error_message = "Write `database.readers` from 0 to 15 and `database.backup_days` from 1 to 35."
  }
  validation {
    condition     = var.database == null || can(regex("^[a-z][a-z0-9_]{0,62}$", var.database.name))
    error_message = "Write `database.name` in lower case, beginning with a letter, as in \"spillway\"."
  }
  validation {
    condition     = !try(var.database.follows_on_premises, false) || var.network.on_premises != null
    error_message = "Write the site's blocks into `network.on_premises`: a database that follows the site must reach it."
  }
}
