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

output "zone_files" {
  description = "What stands beside the configuration: path from there -> content. `spillway check` refuses a configuration without its zones; functions and gateways need none."
  value       = { for name, text in var.site_set.dns.zones : "zones/${name}.zone" => text }
}

output "gateway_config" {
  description = "The configuration of the EC2 gateways in the cloud, for `from_site` of module public; null where there are none. It names zone files as the hosts' does, and gateways read none."
  value       = try(local.toml.gateways, null)
}

output "public_key" {
  description = "What plans are verified with: the content of plan.pub, or null where the agent's host makes the keys and nobody has written it yet."
  value       = var.keys.folder != null ? file("${var.keys.folder}/plan.pub") : one([for key in var.keys.public[*] : "${key}\n"])
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

output "settings" {
  description = "The variables as they were understood, with their defaults: what is not in here was not known, see modules/hybrid/known.tf."
  value = {
    hosts        = var.hosts
    site         = var.site
    ssh          = var.ssh
    install      = var.install
    render_to    = var.render_to
    packages     = var.packages
    keys         = var.keys
    files        = var.files
    site_set     = var.site_set
    secret_files = nonsensitive({ for path, file in var.secret_files : path => { for key in keys(file) : key => null } })
  }
}
