# One site and its cloud: the four modules, and what each is told of the others. Nothing else is decided here.

locals {
  site = var.private.site.id

  # Where the agent's API is: functions of the cloud call it over the link.
  agent_port      = coalesce(try(var.private.site.ports.agent, null), 9100)
  agent_addresses = [for host in values(var.private.hosts) : host.address if contains(try(host.roles, []), "agent")]
  agents = [for address in local.agent_addresses :
  "${strcontains(address, ":") ? "[${address}]" : address}:${local.agent_port}"]

  # Who makes the keys on the agent's host has no public one to give yet.
  gateway_texts = lookup(var.public, "gateways", null) == null ? [] : concat(
    ["config"], [for key in [try(var.private.keys.folder, null), try(var.private.keys.public, null)] : "public_key" if key != null],
  )

  # What the instances' units call their gateway and service.
  gateway_names = { for name, unit in { gateway = "spillway-gateway", service = "spillway-one-code" } : name => one(flatten([
    for gateways in module.public.settings.gateways[*] : [for it in gateways.units : regexall("^${unit}@(.+)\\.service$", it)]
  ])) }
}

module "public" {
  source = "../public"

  name = var.name
  tags = var.tags

  network = merge(lookup(var.public, "network", null), {
    on_premises = merge(try(var.public.network.on_premises, null), {
      cidr_blocks = var.link.link.site_cidr_blocks
      agents      = local.agents
      ports       = setunion(coalesce(try(var.public.network.on_premises.ports, null), [5432, 6379]), [local.agent_port])
    })
  })
  # Name servers answer addresses, so the load balancer has fixed ones unless told otherwise.
  load_balancer = merge({ fixed_addresses = true }, lookup(var.public, "load_balancer", null), { certificate_arn = var.certificate_arn })
  functions     = merge(var.public.functions, { alarm = merge({ program = "alarm" }, try(var.public.functions.alarm, {})) })
  gateways      = lookup(var.public, "gateways", null)
  cache         = lookup(var.public, "cache", null)
  database      = lookup(var.public, "database", null)
  secrets       = lookup(var.public, "secrets", null)
  logs          = lookup(var.public, "logs", null)
  storage       = lookup(var.public, "storage", null)

  # Gateways in the cloud start from what the site has.
  from_site = {
    texts    = { for name in local.gateway_texts : name => { config = module.private.gateway_config, public_key = module.private.public_key }[name] }
    packages = try(var.private.packages.files, null)
  }
}

module "link" {
  source = "../link"

  name        = var.name
  site        = local.site
  tags        = var.tags
  network     = module.public.network
  levers      = module.public
  alarm_queue = module.alarms.queue

  link = merge(var.link.link, { for key in ["vpn"] : key => merge({ log_kms_key_arn = module.public.keys.kms_key_arn }, var.link.link.vpn)
  if lookup(var.link.link, "vpn", null) != null })
  access = lookup(var.link, "access", null)
  agent  = lookup(var.link, "agent", null)
}

module "alarms" {
  source = "../alarms"

  name          = var.name
  tags          = var.tags
  sites         = [local.site]
  load_balancer = module.public.load_balancer
  functions     = module.public.functions
  gateways      = module.public.gateways
  links         = { (local.site) = module.link.connection }

  alarms            = lookup(var.alarms, "alarms", null)
  composite_alarms  = lookup(var.alarms, "composite_alarms", null)
  concurrency_limit = lookup(var.alarms, "concurrency_limit", null)
  spend             = lookup(var.alarms, "spend", null)
  subscribers = {
    function       = module.public.functions["alarm"]
    agent_endpoint = lookup(var.alarms, "agent_endpoint", null)
    emails         = lookup(var.alarms, "emails", null)
  }
}

module "private" {
  source = "../private"

  hosts     = var.private.hosts
  site      = var.private.site
  ssh       = lookup(var.private, "ssh", null)
  install   = lookup(var.private, "install", null)
  render_to = lookup(var.private, "render_to", null)
  packages  = var.private.packages
  keys      = lookup(var.private, "keys", null)
  site_set  = local.site_set
  cloud_gateways = one([for gateways in module.public.settings.gateways[*] : merge(local.gateway_names, {
    port       = gateways.port
    admin_port = gateways.admin_port
  })])
  files        = merge(lookup(var.private, "files", null), local.link_files)
  secret_files = merge(var.secret_files, local.link_secret_files)
}
