# The parts of a site: package and unit of each role, and what of the configuration each reads. A part
# reads its configuration when it starts, so it is restarted when that changes, and only then.

locals {
  state_folder = "/var/lib/spillway"

  parts = {
    agent    = { package = "spillway-agent", unit = "spillway-agent" }
    aws      = { package = "spillway-aws", unit = "spillway-aws" }
    dns      = { package = "spillway-dns", unit = "spillway-dns" }
    balancer = { package = "spillway-balancer", unit = "spillway-balancer" }
    gateway  = { package = "spillway-gateway", unit = "spillway-gateway" }
    service  = { package = "spillway-one-code", unit = "spillway-one-code" }
  }

  # Every part follows the agent's plans.
  following = [local.agent.listen, var.site_set.dns.ttl_secs, local.sites[*].id]

  # By host, as a gateway's own addresses concern nobody's gateway but its own.
  reads = { for name, host in var.hosts : name => {
    agent = [local.config_toml]
    aws   = [local.config_toml]
    dns = [local.following, local.dns, local.zone_files, var.site_set.service, var.site_set.plan.salt,
    var.site_set.cloud.slb_addresses, [for site in local.sites : site.vips]]
    balancer = [local.following, var.site.vips, local.this_site.uplink, local.this_site.balancer, local.gateways]
    gateway = [local.following, var.site_set.service, var.site_set.plan.salt, var.site_set.cloud.slb_addresses,
      local.routes, local.knobs, local.this_site.balancer, local.services,
    try(local.gateways["${name}-gateway"], null)]
    service = [local.following, var.site_set.store, local.routes, local.knobs,
    try(local.services["${name}-service"], null)]
  } }

  # What the packages' units start: `spillway run gateway $SPILLWAY_NAME` and the like.
  part_name = { for name, host in var.hosts : name => {
    agent    = null
    aws      = null
    dns      = null
    balancer = var.site.id
    gateway  = "${name}-gateway"
    service  = "${name}-service"
  } }

  drop_ins = { for name, host in var.hosts : name => { for role in host.roles :
    "/etc/systemd/system/${local.parts[role].unit}.service.d/50-site.conf" => templatefile("${path.module}/templates/drop-in.conf.tftpl", {
      part_name = local.part_name[name][role]
      digest    = sha256(jsonencode(local.reads[name][role]))
    })
  } }
}
