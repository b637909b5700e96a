# Who has the floating addresses: the VIPs and the balancer's admin address, and the name server's.
# keepalived (VRRP) gives them to one of the hosts of the role whose part is well.

locals {
  # Addresses that are no single host's own, by role.
  floating = {
    balancer = tolist(setsubtract(
      distinct(concat(var.site.vips, compact([local.balancer_admin_address]))),
    length(local.hosts_of.balancer) == 1 ? [var.hosts[local.hosts_of.balancer[0]].address] : []))
    dns = tolist(setsubtract(
      length(local.hosts_of.dns) == 0 ? [] : distinct([local.dns_address, local.dns_admin_address]),
    length(local.hosts_of.dns) == 1 ? [var.hosts[local.hosts_of.dns[0]].address] : []))
  }

  admin_of = {
    balancer = local.this_site.balancer.admin
    dns      = local.dns.admin
  }

  # The floating roles of each host; of most hosts none.
  floats = { for name, host in var.hosts : name => [for role in ["balancer", "dns"] : role
  if contains(host.roles, role) && length(local.floating[role]) > 0] }

  keepalived_conf = { for name, roles in local.floats : name => templatefile("${path.module}/templates/keepalived.conf.tftpl", {
    host = name
    instances = [for role in roles : {
      role      = role
      unit      = local.parts[role].unit
      admin     = local.admin_of[role]
      router_id = var.site.vrrp_router_id + index(["balancer", "dns"], role)
      interface = try(coalesce(var.hosts[name].interface), "") # output `files` says that it is missing
      address   = var.hosts[name].address
      # By place, so that no two hosts are equal; who was away does not take the addresses back.
      priority = 200 - min(index(local.hosts_of[role], name), 100)
      peers    = [for peer in local.hosts_of[role] : var.hosts[peer].address if peer != name]
      # An announcement carries addresses of its own family; those of the other one come along.
      addresses = [for address in sort(local.floating[role]) : "${address}/${strcontains(address, ":") ? 128 : 32}"
      if strcontains(address, ":") == strcontains(var.hosts[name].address, ":")]
      addresses_along = [for address in sort(local.floating[role]) : "${address}/${strcontains(address, ":") ? 128 : 32}"
      if strcontains(address, ":") != strcontains(var.hosts[name].address, ":")]
    }]
  }) if length(roles) > 0 }

  floating_files = { for name, roles in local.floats : name => length(roles) == 0 ? {} : {
    "/etc/keepalived/keepalived.conf" = local.keepalived_conf[name]
    "/etc/spillway/healthy"           = file("${path.module}/templates/healthy")
    "/etc/sysctl.d/60-spillway.conf"  = file("${path.module}/templates/sysctl.conf")
  } }
}
