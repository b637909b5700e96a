# The hosts of one site and how they are reached. What runs on them is described in
# `variables_site_set.tf`.

variable "hosts" {
  description = <<-EOT
    The site's hosts, by name. `address` is where the other hosts reach it; `ssh.address` is where Terraform does, if that
    is another. `roles` are any of agent, aws, dns, balancer, gateway and service; each is one unit on the host, and a gateway
    or a service is called by its host: `a-gateway`. `interface` carries the floating addresses of dns and balancer.
    `groups` are the route groups that the host's service serves; all of them when absent.
    Hosts of wave 1 are set up first, and those of the next only when all of them succeeded.
    A host that was installed anew has a new `ssh.host_key`, and is therefore set up anew.
  EOT
  type = map(object({
    address   = string
    roles     = set(string)
    interface = optional(string)
    groups    = optional(set(string))
    wave      = optional(number, 1)
    ssh = object({
      host_key = string
      user     = optional(string, "root")
      port     = optional(number, 22)
      address  = optional(string)
    })
  }))
  nullable = false

  validation {
    condition     = length(var.hosts) > 0 && alltrue([for name in keys(var.hosts) : can(regex("^[a-z][a-z0-9-]{0,50}$", name))])
    error_message = "Name at least one host in `hosts`, each with 1 to 51 lower-case letters, digits and hyphens, beginning with a letter: \"gw-1\"."
  }
  validation {
    condition = alltrue([for host in var.hosts : can(cidrhost("${host.address}/${strcontains(host.address, ":") ? 128 : 32}", 0))]) && length(
    distinct([for host in var.hosts : host.address])) == length(var.hosts)
    error_message = "Write `address` of each host as an IP address of its own, without a length: \"10.8.0.11\"."
  }
  validation {
    condition     = length(distinct([for host in var.hosts : strcontains(host.address, ":")])) <= 1
    error_message = "Write `address` of all hosts in one family, IPv4 or IPv6: they tell each other by it who carries the floating addresses."
  }
  validation {
    condition     = alltrue(flatten([for host in var.hosts : [for role in host.roles : contains(keys(local.parts), role)]]))
    error_message = "Write `roles` of a host as any of \"agent\", \"aws\", \"dns\", \"balancer\", \"gateway\", \"service\"."
  }
  validation {
    condition     = alltrue([for role in ["balancer", "gateway", "service"] : anytrue([for host in var.hosts : contains(host.roles, role)])])
    error_message = "Give each of the roles \"balancer\", \"gateway\" and \"service\" to at least one host: a site serves with all three."
  }
  validation {
    condition     = alltrue([for role in ["agent", "aws"] : length([for host in var.hosts : host if contains(host.roles, role)]) <= 1])
    error_message = "Give each of the roles \"agent\" and \"aws\" to one host only: all parts follow the plans of one agent, and one process acts on them in the cloud."
  }
  validation {
    condition     = alltrue([for host in var.hosts : contains([1, 2, 3], host.wave)])
    error_message = "Write `wave` of a host as 1, 2 or 3."
  }
  validation {
    condition = alltrue([for role in ["dns", "balancer", "gateway", "service"] :
      length([for host in var.hosts : host if contains(host.roles, role)]) < 2 || length(
    distinct([for host in var.hosts : host.wave if contains(host.roles, role)])) > 1])
    error_message = "Put the hosts that share a role into more than one `wave` (1 to 3), or a change would restart all of them at once."
  }
  validation {
    condition     = alltrue([for host in var.hosts : can(regex("^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/=]+( .*)?$", host.ssh.host_key))])
    error_message = "Write `ssh.host_key` of each host as its public host key, as `cat /etc/ssh/ssh_host_ed25519_key.pub` shows it there: \"ssh-ed25519 AAAA…\"."
  }
  validation {
    condition     = alltrue([for host in var.hosts : host.ssh.port >= 1 && host.ssh.port <= 65535 && floor(host.ssh.port) == host.ssh.port])
    error_message = "Write `ssh.port` of a host as a port from 1 to 65535."
  }
  validation {
    condition     = alltrue([for host in var.hosts : can(regex("^[a-z_][a-z0-9_-]*$", host.ssh.user))])
    error_message = "Write `ssh.user` of a host as the name of a user: root, or one who may run everything with `sudo -n`."
  }
  validation {
    condition     = alltrue([for host in var.hosts : host.interface == null || can(regex("^[A-Za-z0-9_.-]{1,15}$", host.interface))])
    error_message = "Write `interface` of a host as `ip link` names it: \"eth0\"."
  }
}

variable "ssh" {
  description = <<-EOT
    How Terraform proves itself to the hosts: with the key in `private_key_file`, else with the SSH agent's. `bastion` is
    a host that is gone through.
  EOT
  type = object({
    private_key_file = optional(string)
    timeout          = optional(string, "2m")
    bastion = optional(object({
      address  = string
      host_key = string
      user     = optional(string, "root")
      port     = optional(number, 22)
    }))
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.ssh.private_key_file == null || try(fileexists(var.ssh.private_key_file), false)
    error_message = "Write `ssh.private_key_file` as the path of a private key on this machine, or leave it out to use the SSH agent."
  }
  validation {
    condition     = can(regex("^([0-9]+[hms])+$", var.ssh.timeout))
    error_message = "Write `ssh.timeout` as a duration: \"30s\", \"2m\"."
  }
  validation {
    condition     = var.ssh.bastion == null || can(regex("^(ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/=]+", var.ssh.bastion.host_key))
    error_message = "Write `ssh.bastion.host_key` as its public host key: \"ssh-ed25519 AAAA…\"."
  }
}

variable "install" {
  description = "Whether the hosts are set up over SSH. Without it the files are only rendered: see output `files` and `render_to`."
  type        = bool
  default     = true
  nullable    = false
}

variable "render_to" {
  description = "A folder on this machine into which the files of every host are written too, as HOST/PATH, for other tools. Secrets are not among them."
  type        = string
  default     = null

  validation {
    condition     = var.render_to == null || can(regex("^[^\\s].*[^/]$", var.render_to))
    error_message = "Write `render_to` as the path of a folder, without a slash at its end: \"rendered/east\"."
  }
}

variable "packages" {
  description = <<-EOT
    Where the Debian packages come from: `version` of the archives that the hosts know, or a local file for a package:
    { "spillway-dns" = "dist/spillway-dns_1.2.0_amd64.deb" }. `common` are the packages of every host, which hold the
    program `spillway` itself; further ones follow the host's roles.
  EOT
  type = object({
    version = optional(string)
    files   = optional(map(string), {})
    common  = optional(set(string), ["spillway"])
  })
  nullable = false

  validation {
    condition     = var.packages.version == null || can(regex("^[0-9][A-Za-z0-9.+~:-]*$", var.packages.version))
    error_message = "Write `packages.version` as Debian writes it: \"1.2.0-1\"."
  }
  validation {
    condition = var.packages.version != null || alltrue(flatten([for host in var.hosts : [
      for package in concat(tolist(var.packages.common), [for role in host.roles : try(local.parts[role].package, "")]) :
    contains(keys(var.packages.files), package)]]))
    error_message = "Write `packages.version`, or a file into `packages.files` for each package: \"spillway\", and \"spillway-agent\", \"-aws\", \"-dns\", \"-balancer\", \"-gateway\", \"-one-code\" as the hosts' roles ask for."
  }
  validation {
    condition     = alltrue([for name, file in var.packages.files : endswith(file, ".deb") && fileexists(file)])
    error_message = "Write `packages.files` as paths of .deb files on this machine."
  }
  validation {
    condition     = alltrue([for name in concat(tolist(var.packages.common), keys(var.packages.files)) : can(regex("^[a-z0-9][a-z0-9.+-]+$", name))])
    error_message = "Write the names in `packages.common` and `packages.files` as Debian names packages: \"spillway-dns\"."
  }
}
