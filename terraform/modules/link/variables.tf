variable "name" {
  description = "Name of the site set: prefix of all resources."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,22}[a-z0-9]$", var.name))
    error_message = "Write a name of 2 to 24 lower-case letters, digits and dashes that starts with a letter, like \"shop\"."
  }
}

variable "site" {
  description = "Id of the private site at the other end, as in the site set's configuration. A site set has one link for each site."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,14}[a-z0-9]$", var.site))
    error_message = "Write the site's id: 2 to 16 lower-case letters, digits and dashes, like \"east\"."
  }
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "network" {
  description = "The VPC: output `network` of module public."
  type = object({
    vpc_id                  = string
    cidr_block              = string
    private_subnet_ids      = list(string)
    private_route_table_ids = list(string)
  })
}

variable "link" {
  description = <<-EOT
    How the site and the VPC meet. `kind` says which gateway the VPC has: "vpn" and "direct-connect" a
    virtual private gateway, "transit-gateway" an attachment to a transit gateway that exists.
    `vpn` may be given with each kind: it is the link of kind "vpn", and the spare line of the others.
  EOT
  type = object({
    kind             = string
    site_cidr_blocks = list(string)
    site_asn         = optional(number, 65010)
    amazon_asn       = optional(number, 64512)
    # "propagated": the VPC's private route tables learn what the site announces. "static": they have
    # the site's blocks written down. A transit gateway propagates to no VPC table, so there it is static.
    routes = optional(string, "propagated")

    vpn = optional(object({
      customer_address   = string                     # public address of the site's edge
      local_address      = optional(string, "%any")   # what that edge itself sees, when behind NAT
      inside_cidr_blocks = optional(list(string), []) # two /30 of 169.254.0.0/16; empty: AWS chooses
      log_kms_key_arn    = optional(string)
      log_retention_days = optional(number, 365)
    }))

    transit_gateway = optional(object({
      id             = string
      route_table_id = optional(string) # null: the transit gateway's default table
    }))

    direct_connect = optional(object({
      gateway_id    = string # a Direct Connect gateway that exists
      connection_id = optional(string)
      # A private interface on that connection; null when the line's owner makes it.
      virtual_interface = optional(object({
        vlan             = number
        amazon_address   = string # with prefix length, like 169.254.255.1/30
        customer_address = string
      }))
    }))
  })

  validation {
    condition     = contains(["vpn", "transit-gateway", "direct-connect"], var.link.kind)
    error_message = "Write link.kind as \"vpn\", \"transit-gateway\" or \"direct-connect\"."
  }

  validation {
    condition     = var.link.kind != "vpn" || var.link.vpn != null
    error_message = "A link of kind \"vpn\" needs link.vpn: write at least vpn = { customer_address = \"198.51.100.1\" }."
  }

  validation {
    condition     = (var.link.kind == "transit-gateway") == (var.link.transit_gateway != null)
    error_message = "Write link.transit_gateway = { id = \"tgw-…\" } exactly when link.kind is \"transit-gateway\"."
  }

  validation {
    condition     = (var.link.kind == "direct-connect") == (var.link.direct_connect != null)
    error_message = "Write link.direct_connect = { gateway_id = … } exactly when link.kind is \"direct-connect\"."
  }

  validation {
    condition = length(var.link.site_cidr_blocks) > 0 && alltrue([
      for block in var.link.site_cidr_blocks : can(cidrnetmask(block)) && !startswith(block, "0.0.0.0/")
    ])
    error_message = "Write link.site_cidr_blocks as one or more IPv4 blocks of the site, like [\"10.20.0.0/16\"]; a virtual private gateway carries no IPv6, and 0.0.0.0/0 would send all of the VPC's traffic to the site."
  }

  validation {
    condition     = contains(["propagated", "static"], var.link.routes)
    error_message = "Write link.routes as \"propagated\" or \"static\"."
  }

  validation {
    condition = alltrue([for asn in [var.link.site_asn, var.link.amazon_asn] :
      (asn >= 64512 && asn <= 65534) || (asn >= 4200000000 && asn <= 4294967294)
    ]) && var.link.site_asn != var.link.amazon_asn
    error_message = "Write link.site_asn and link.amazon_asn as two different private ASNs: 64512 to 65534, or 4200000000 to 4294967294."
  }

  validation {
    condition     = alltrue([for vpn in var.link.vpn[*] : can(cidrnetmask("${vpn.customer_address}/32"))])
    error_message = "Write link.vpn.customer_address as the IPv4 address of the site's edge, like \"198.51.100.1\"."
  }

  validation {
    condition = alltrue(flatten([for vpn in var.link.vpn[*] : [
      contains([0, 2], length(vpn.inside_cidr_blocks)),
      [for block in vpn.inside_cidr_blocks : can(regex("^169\\.254\\.[0-9.]+/30$", block)) && can(cidrnetmask(block))],
    ]]))
    error_message = "Write link.vpn.inside_cidr_blocks as two /30 blocks of 169.254.0.0/16, one a tunnel, or leave it out."
  }

  validation {
    condition     = alltrue([for line in var.link.direct_connect[*] : line.virtual_interface == null || line.connection_id != null])
    error_message = "A virtual interface needs the line it is on: write link.direct_connect.connection_id = \"dxcon-…\"."
  }
}

variable "access" {
  description = <<-EOT
    What else may pass between the site and the VPC: each entry is a security group rule for each of the site's blocks.
    Ingress lets the site in; egress lets the VPC out to the site. What passes between Spillway's own parts is decided in
    `network.on_premises` of module public, which makes those rules: write here only groups that are yours.
  EOT
  type = map(object({
    security_group_id = string
    port              = number
    port_to           = optional(number) # null: the one port
    protocol          = optional(string, "tcp")
    direction         = optional(string, "ingress")
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for rule in values(var.access) : contains(["ingress", "egress"], rule.direction)])
    error_message = "Write direction of each access rule as \"ingress\" (site to VPC) or \"egress\" (VPC to site)."
  }

  validation {
    condition     = alltrue([for rule in values(var.access) : contains(["tcp", "udp"], rule.protocol)])
    error_message = "Write protocol of each access rule as \"tcp\" or \"udp\"; all protocols at once is more than any part needs."
  }

  validation {
    condition = alltrue([for rule in values(var.access) :
      rule.port >= 1 && rule.port <= coalesce(rule.port_to, rule.port) && coalesce(rule.port_to, rule.port) <= 65535
    ])
    error_message = "Write port of each access rule from 1 to 65535, and port_to not below it."
  }
}
