# One host: where it is, and what is to be on it. All of it comes from the module above.

variable "connection" {
  description = "Where and how the host is reached."
  type = object({
    address  = string
    port     = number
    user     = string
    host_key = string
    timeout  = string
    bastion  = optional(object({ address = string, port = number, user = string, host_key = string }))
  })
}

variable "private_key_file" {
  description = "Path of the private key that Terraform proves itself with; the SSH agent's when null."
  type        = string
}

variable "packages" {
  description = "Debian packages: `file` on this machine, or `version` of the archives; `units` are restarted once it is installed."
  type        = map(object({ file = optional(string), version = optional(string), units = list(string) }))
}

variable "files" {
  description = "Files by path; `units` are restarted when the file changes."
  type        = map(object({ content = string, mode = string, owner = string, units = list(string) }))
}

variable "secrets" {
  description = "Files whose content is secret, by path: what may be known of them."
  type        = map(object({ sha256 = string, owner = string, units = list(string) }))
}

variable "secret_contents" {
  description = "Contents of the secrets, by path."
  type        = map(string)
  sensitive   = true
}

variable "units" {
  description = "Units that run on this host."
  type        = list(string)
}

variable "other_units" {
  description = "Units of the roles that this host does not have: they are stopped and disabled."
  type        = list(string)
}

variable "keygen" {
  description = "Whether this host makes the keys."
  type        = bool
}
