# Two sites behind one name, each with a cloud of its own in a region of its own. Each is a site set of one site: its agent
# decides for it alone, and needs neither the other site nor the other region. What they share is the service and the zones.

locals {
  # What there is to say of a site.
  needed   = ["certificate_arn", "link", "name", "private", "public", "region", "slb_host"]
  optional = ["alarms", "dns_address"]

  # What all of the configuration both have, and what each has for itself.
  site_sets = { for key, site in { east = var.east, west = var.west } : key => merge(var.site_set, {
    service = merge(var.site_set.service, { slb_host = site.slb_host })
    dns     = merge(var.site_set.dns, { address = lookup(site, "dns_address", null), zones = local.zones[key] })
  }) }

  # A name server answers for its own site's cloud by itself; of the other's it is told by records.
  zones = { for key, other in {
    east = { host = var.west.slb_host, addresses = module.west.slb_addresses }
    west = { host = var.east.slb_host, addresses = module.east.slb_addresses }
    } : key => { for zone, text in var.site_set.dns.zones : zone => join("\n", concat(
      [chomp(text)],
      [for address in other.addresses : "${other.host}. 60 IN ${strcontains(address, ":") ? "AAAA" : "A"} ${address}" if endswith(other.host, ".${zone}")],
      [""],
  )) } }
}

module "east" {
  source    = "../../modules/hybrid"
  providers = { aws = aws.east }

  name            = var.east.name
  tags            = var.tags
  certificate_arn = var.east.certificate_arn
  public          = merge(var.east.public, { functions = var.functions, secrets = var.secrets })
  link            = var.east.link
  alarms          = lookup(var.east, "alarms", {})
  private         = merge(var.east.private, { packages = var.packages })
  site_set        = local.site_sets.east
  secret_files    = var.secret_files
}

module "west" {
  source    = "../../modules/hybrid"
  providers = { aws = aws.west }

  name            = var.west.name
  tags            = var.tags
  certificate_arn = var.west.certificate_arn
  public          = merge(var.west.public, { functions = var.functions, secrets = var.secrets })
  link            = var.west.link
  alarms          = lookup(var.west, "alarms", {})
  private         = merge(var.west.private, { packages = var.packages })
  site_set        = local.site_sets.west
  secret_files    = var.secret_files
}
