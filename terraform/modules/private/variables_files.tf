# Keys, and files of other modules. No secret gets into the state: only digests do.

variable "keys" {
  description = <<-EOT
    Where the keys come from. Without anything the agent's host makes them (`spillway keygen`), and they never leave it;
    hosts without the agent then need `public`, the line of its plan.pub. `folder` is a folder on this machine with
    plan.key, plan.pub and operator.token, and one-code.key where there are services on several hosts; the hosts get
    from it what they need.
  EOT
  type = object({
    folder = optional(string)
    public = optional(string)
  })
  default  = {}
  nullable = false

  validation {
    condition = var.keys.folder == null || alltrue([for name in concat(["plan.pub"], [
      for name in ["plan.key", "operator.token"] : name if anytrue([for host in var.hosts : contains(host.roles, "agent")])
    ]) : try(fileexists("${var.keys.folder}/${name}"), false)])
    error_message = "Put plan.key, plan.pub and operator.token into `keys.folder`: `spillway keygen --to FOLDER` makes them."
  }
  validation {
    condition     = var.keys.folder == null || var.keys.public == null
    error_message = "Write only one of `keys.folder` and `keys.public`: plan.pub is in the folder already."
  }
  validation {
    condition     = var.keys.public == null || can(regex("^[A-Za-z0-9+/_=-]{40,88}$", var.keys.public))
    error_message = "Write `keys.public` as the line in /var/lib/spillway/plan.pub of the agent's host."
  }
  validation {
    condition     = var.keys.folder != null || var.keys.public != null || alltrue([for host in var.hosts : contains(host.roles, "agent")])
    error_message = "Write `keys.folder`, or `keys.public` after a first apply with the agent's host alone: hosts without the agent verify plans with its public key."
  }
  validation {
    condition = length([for host in var.hosts : host if contains(host.roles, "service")]) < 2 || try(
    fileexists("${var.keys.folder}/one-code.key"), false)
    error_message = "Put one-code.key into `keys.folder`, a line of base64 of 32 bytes (`openssl rand -base64 32`): services on several hosts know users by the same key."
  }
}

variable "files" {
  description = <<-EOT
    Further files: path on the host -> what. They go to hosts with any of `roles`, or to those in `hosts`; `units` are
    restarted when the file changes. Module link's `site_files` come to the host "edge" with
    { for path, content in module.link.site_files : path => { content = content, hosts = ["edge"] } }.
  EOT
  type = map(object({
    content = string
    roles   = optional(set(string), [])
    hosts   = optional(set(string), [])
    units   = optional(set(string), [])
    mode    = optional(string, "0644")
    owner   = optional(string, "root:root")
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for path in keys(var.files) : can(regex("^/[A-Za-z0-9_@.+/-]+[^/]$", path)) && !strcontains(path, "/..")])
    error_message = "Write the keys of `files` as absolute paths without spaces: \"/etc/frr/frr.conf\"."
  }
  validation {
    condition     = alltrue([for path in keys(var.files) : path != "/etc/spillway/spillway.toml" && !startswith(path, "/var/lib/spillway-setup/")])
    error_message = "Leave /etc/spillway/spillway.toml and /var/lib/spillway-setup out of `files`: the module writes them."
  }
  validation {
    condition     = alltrue([for file in var.files : length(file.roles) + length(file.hosts) > 0])
    error_message = "Write `roles` or `hosts` of each of `files`, or it would go nowhere."
  }
  validation {
    condition     = alltrue([for file in var.files : alltrue([for host in file.hosts : contains(keys(var.hosts), host)])])
    error_message = "Write `hosts` in `files` as names of `hosts`."
  }
  validation {
    condition     = alltrue([for file in var.files : alltrue([for role in file.roles : contains(keys(local.parts), role)])])
    error_message = "Write `roles` in `files` as any of \"agent\", \"aws\", \"dns\", \"balancer\", \"gateway\", \"service\"."
  }
  validation {
    condition     = alltrue([for file in var.files : can(regex("^0[0-7]{3}$", file.mode)) && can(regex("^[a-z_][a-z0-9_-]*:[a-z_][a-z0-9_-]*$", file.owner))])
    error_message = "Write `mode` in `files` as \"0644\" and `owner` as \"user:group\"."
  }
  validation {
    condition     = alltrue(flatten([for file in var.files : [for unit in file.units : can(regex("^[A-Za-z0-9@_.-]+$", unit))]]))
    error_message = "Write `units` in `files` as systemd names them: \"frr\", \"strongswan.service\"."
  }
}

variable "secret_files" {
  description = <<-EOT
    Further files that hold secrets, as in `files`: either `source`, the path of a file on this machine, or `content`. The
    state holds their digests only. Module link's `site_secret_files` come this way, and the database's password, as
    /var/lib/spillway/.pgpass.
  EOT
  type = map(object({
    source  = optional(string)
    content = optional(string)
    roles   = optional(set(string), [])
    hosts   = optional(set(string), [])
    units   = optional(set(string), [])
    owner   = optional(string, "root:root")
  }))
  default   = {}
  nullable  = false
  sensitive = true

  validation {
    condition     = alltrue([for file in var.secret_files : (file.source == null) != (file.content == null) && (file.source == null || try(fileexists(file.source), false))])
    error_message = "Write either `source`, the path of a file on this machine, or `content` of each of `secret_files`."
  }
  validation {
    condition     = alltrue([for path in keys(var.secret_files) : can(regex("^/[A-Za-z0-9_@.+/-]+[^/]$", path)) && !strcontains(path, "/..") && !contains(keys(var.files), path)])
    error_message = "Write the keys of `secret_files` as absolute paths without spaces that are not in `files`: \"/var/lib/spillway/.pgpass\"."
  }
  validation {
    condition = alltrue([for file in var.secret_files : length(file.roles) + length(file.hosts) > 0
      && alltrue([for host in file.hosts : contains(keys(var.hosts), host)])
    && alltrue([for role in file.roles : contains(keys(local.parts), role)])])
    error_message = "Write `roles` or names of `hosts` into each of `secret_files`, or it would go nowhere."
  }
  validation {
    condition = alltrue([for file in var.secret_files : can(regex("^[a-z_][a-z0-9_-]*:[a-z_][a-z0-9_-]*$", file.owner))
    && alltrue([for unit in file.units : can(regex("^[A-Za-z0-9@_.-]+$", unit))])])
    error_message = "Write `owner` in `secret_files` as \"user:group\" and `units` as systemd names them."
  }
}
