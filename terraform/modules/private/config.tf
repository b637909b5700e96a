# /etc/spillway/spillway.toml, from the variables: the same file on every host of the site set.

locals {
  # How an address and a port are written, in either family.
  bracketed = { for address in distinct(concat(
    [for host in var.hosts : host.address], var.site.vips,
    compact([local.agent_address, local.dns_address, local.dns_admin_address, local.balancer_admin_address, local.aws_admin_address]),
  )) : address => strcontains(address, ":") ? "[${address}]" : address }

  hosts_of = { for role in keys(local.parts) : role => sort([for name, host in var.hosts : name if contains(host.roles, role)]) }

  # A role's only host lends its own address; several have one between them.
  agent_address          = try(coalesce(var.site_set.agent.address, try(var.hosts[local.hosts_of.agent[0]].address, null)), null)
  dns_address            = try(coalesce(var.site_set.dns.address, try(var.hosts[local.hosts_of.dns[0]].address, null)), null)
  dns_admin_address      = try(coalesce(var.site_set.dns.admin_address, local.dns_address), null)
  balancer_admin_address = try(coalesce(var.site.admin_address, try(var.hosts[local.hosts_of.balancer[0]].address, null)), null)

  aws_admin_address = try(coalesce(var.site_set.cloud.aws.admin_address, try(var.hosts[local.hosts_of.aws[0]].address, null)), null)

  # One address to listen on: that of the VIP, or all of them where there are several.
  balancer_listens_on = (length(var.site.vips) == 1 ? local.bracketed[var.site.vips[0]] :
  anytrue([for vip in var.site.vips : strcontains(vip, ":")]) ? "[::]" : "0.0.0.0")

  gateways = { for name in local.hosts_of.gateway : "${name}-gateway" => {
    listen = "${local.bracketed[var.hosts[name].address]}:${var.site.ports.gateway}"
    admin  = "${local.bracketed[var.hosts[name].address]}:${var.site.ports.gateway_admin}"
  } }
  services = { for name in local.hosts_of.service : "${name}-service" => {
    listen = "${local.bracketed[var.hosts[name].address]}:${var.site.ports.service}"
    admin  = "${local.bracketed[var.hosts[name].address]}:${var.site.ports.service_admin}"
    groups = sort(coalesce(var.hosts[name].groups, toset(values(var.site_set.routes)[*].group)))
  } }

  this_site = {
    id       = var.site.id
    vips     = var.site.vips
    uplink   = var.site.uplink
    capacity = var.site.capacity
    balancer = {
      listen = "${local.balancer_listens_on}:${var.site_set.service.port}"
      admin  = "${local.bracketed[local.balancer_admin_address]}:${var.site.ports.balancer_admin}"
      # Whichever host has the VIPs connects to the gateways from its own address.
      sources = [for name in local.hosts_of.balancer : var.hosts[name].address]
    }
    gateways = local.gateways
    services = local.services
  }

  # In the same order at every site, so that the file is the same.
  site_by_id = { for site in concat([local.this_site], var.other_sites) : site.id => site }
  sites      = [for id in sort(keys(local.site_by_id)) : local.site_by_id[id]]

  plan = merge(var.site_set.plan, { state_dir = local.state_folder })
  dns = merge({ for key, value in var.site_set.dns : key => value if !contains(["zones", "address", "admin_address"], key) }, {
    listen     = "${local.bracketed[local.dns_address]}:${var.site.ports.dns}"
    admin      = "${local.bracketed[local.dns_admin_address]}:${var.site.ports.dns_admin}"
    zone_files = [for name in keys(var.site_set.dns.zones) : "zones/${name}.zone"]
  })
  agent = merge({ for key, value in var.site_set.agent : key => value if key != "address" }, {
    listen = "${local.bracketed[local.agent_address]}:${var.site.ports.agent}"
  })

  routes    = [for id, route in var.site_set.routes : merge(route, { id = id })]
  knobs     = [for key in sort([for id, knob in var.site_set.knobs : "${knob.tier} ${id}"]) : merge(var.site_set.knobs[split(" ", key)[1]], { id = split(" ", key)[1] })]
  functions = [for name, function in var.site_set.cloud.functions : merge(function, { name = name })]

  aws_tables = flatten([for aws in [var.site_set.cloud.aws] : concat(
    [{ heading = "[cloud.aws]", settings = merge(
      { for key in ["region", "name", "alarm_queue", "cache", "database", "billing"] : key => aws[key] },
      { admin = "${local.bracketed[local.aws_admin_address]}:${var.site.ports.aws_admin}" },
    ) }],
    [for key in ["gateways", "prices", "capacity", "replicas"] : { heading = "[cloud.aws.${key}]", settings = aws[key] } if aws[key] != null],
    [for endpoint in aws.alarm_endpoint[*] : { heading = "[cloud.aws.alarm_endpoint]", settings = merge(endpoint, {
      listen = "${local.bracketed[local.aws_admin_address]}:${var.site.ports.alarms}"
    }) }],
    [for rule in aws.rules : { heading = "[[cloud.aws.rule]]", settings = rule }],
    [for name, function in aws.functions : { heading = "[cloud.aws.functions.${name}]", settings = function }],
  ) if aws != null])

  # An EC2 gateway is a site of its own, which no plan sends clients away from: it has a gateway and a service, and no other
  # part. What else a site has is this one's and nobody's there. Clients' requests come from the load balancer alone.
  cloud_site = [for cloud in var.cloud_gateways[*] : merge(local.this_site, {
    id       = "${substr(var.site.id, 0, 57)}-cloud"
    capacity = merge(local.this_site.capacity, { for qps in [try(var.site_set.cloud.aws.gateways.weighted_qps, null)] : "weighted_qps" => qps if qps != null })
    balancer = merge(local.this_site.balancer, { sources = null, forwards = true })
    gateways = { (cloud.gateway) = { listen = "0.0.0.0:${cloud.port}", admin = "0.0.0.0:${cloud.admin_port}" } }
    services = { (cloud.service) = {
      listen = "127.0.0.1:${[for port in [8082, 8083, 8084] : port if !contains([cloud.port, cloud.admin_port], port)][0]}"
      admin  = "127.0.0.1:${[for port in [9321, 9322, 9323] : port if !contains([cloud.port, cloud.admin_port], port)][0]}"
      groups = sort(toset(values(var.site_set.routes)[*].group))
    } }
  })]

  # Of the hosts and of the EC2 gateways, which move no levers: sites and AWS's tables.
  configs = merge(
    { hosts = { sites = local.sites, aws = local.aws_tables } },
    { for site in local.cloud_site : "gateways" => { sites = [site], aws = [] } },
  )

  # Heading and settings of each table. TOML wants a table's own settings before those below it.
  tables = { for name, config in local.configs : name => concat(
    [
      { heading = "[service]", settings = var.site_set.service },
      { heading = "[plan]", settings = local.plan },
      { heading = "[dns]", settings = local.dns },
      { heading = "[agent]", settings = local.agent },
      { heading = "[store]", settings = var.site_set.store },
    ],
    flatten([for site in config.sites : concat(
      [
        { heading = "[[site]]", settings = { id = site.id, vips = site.vips } },
        { heading = "[site.uplink]", settings = site.uplink },
        { heading = "[site.capacity]", settings = site.capacity },
        { heading = "[site.balancer]", settings = site.balancer },
      ],
      [for name, gateway in site.gateways : { heading = "[[site.gateway]]", settings = merge(gateway, { name = name }) }],
      [for name, service in site.services : { heading = "[[site.service]]", settings = merge(service, { name = name }) }],
    )]),
    [{ heading = "[cloud]", settings = { slb_addresses = var.site_set.cloud.slb_addresses, backhaul_bytes = var.site_set.cloud.backhaul_bytes } }],
    [for budget in [var.site_set.cloud.budget] : { heading = "[cloud.budget]", settings = budget } if budget != null],
    config.aws,
    [for function in local.functions : { heading = "[[cloud.function]]", settings = function }],
    [for route in local.routes : { heading = "[[route]]", settings = route }],
    [for knob in local.knobs : { heading = "[[knob]]", settings = knob }],
  ) }

  # Text, lists, numbers and booleans are written alike in JSON and TOML. What is null is left out: the
  # program has its own default.
  toml = { for name, tables in local.tables : name => join("\n", concat(["# Rendered by Terraform; changes made here are replaced.\n"], [for table in tables : join("", concat(
    ["${table.heading}\n"],
    [for key, value in table.settings : "${key} = ${jsonencode(value)}\n" if value != null],
  ))])) }
  config_toml = local.toml.hosts

  zone_files = { for name, text in var.site_set.dns.zones : "/etc/spillway/zones/${name}.zone" => text }
}
