output "files" {
  description = "The files of each host: host -> path -> content. Nothing in them is secret."
  value       = { for name, files in local.files : name => { for path, file in files : path => file.content } }

  precondition {
    condition     = alltrue([for name, roles in local.floats : length(roles) == 0 || var.hosts[name].interface != null])
    error_message = "Write `interface` of the hosts with role dns or balancer: the VIPs and other floating addresses are put on it."
  }
  precondition {
    condition = alltrue([for role, addresses in local.floating : length(addresses) == 0 || anytrue([
    for address in addresses : strcontains(address, ":") == strcontains(values(var.hosts)[0].address, ":")])])
    error_message = "Write at least one of the floating addresses (`site.vips` and `admin_address`, `dns.address`) in the family of the hosts' own: they are announced over it."
  }
  precondition {
    condition     = alltrue([for address in flatten(values(local.floating)) : !contains([for host in var.hosts : host.address], address)])
    error_message = "Write no host's own address into `site.vips`, `site.admin_address`, `site_set.dns.address` or `dns.admin_address`, unless that host alone has the role: an address that floats is nobody's own."
  }
}

output "site" {
  description = "This site as the other sites of the set describe it: for their `other_sites`."
  value       = local.this_site
}

output "config" {
  description = "The configuration, the same for every host and site of the set: what the functions take too."
  value       = local.config_toml
}

output "endpoints" {
  description = "Where the site is asked: the agent's API, the name server, the VIPs and the port of the service."
  value = {
    agent = local.agent.listen
    dns   = local.dns.listen
    vips  = var.site.vips
    port  = var.site_set.service.port
  }
}
