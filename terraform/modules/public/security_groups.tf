# Who may talk to whom: every arrow once, as the rule of its receiver and of its sender. Groups name one another instead
# of addresses, so an instance that comes or goes changes no rule.
#
#   clients ─▶ load balancer ─▶ gateways ─┬─▶ cache, database
#                               functions ┘   endpoints (443), S3, on-premises
#   on-premises ─▶ gateways, cache            functions of alarms ─▶ endpoints, the agents alone

locals {
  groups = merge(
    { load_balancer = "the load balancer", functions = "the functions" },
    length(local.alarm_functions) > 0 ? { alarm = "the functions that tell the agents of alarms" } : {},
    local.gateways_on ? { gateways = "the EC2 gateways" } : {},
    local.cache_on ? { cache = "the cache" } : {},
    local.database_on ? { database = "the database" } : {},
  )
  group_ids = merge({ for key, group in aws_security_group.this : key => group.id }, { endpoints = aws_security_group.endpoints.id })

  # From, to and port, for those that there are.
  arrows = { for arrow in concat(
    local.gateways_on ? [
      { from = "load_balancer", to = "gateways", port = var.gateways.port },
      { from = "load_balancer", to = "gateways", port = var.gateways.admin_port },
      { from = "gateways", to = "endpoints", port = 443 },
    ] : [],
    [for from in setintersection(keys(local.groups), ["functions", "alarm"]) : { from = from, to = "endpoints", port = 443 }],
    [for from in setintersection(keys(local.groups), ["functions", "gateways"]) : { from = from, to = "cache", port = local.cache_port } if local.cache_on],
    [for from in setintersection(keys(local.groups), ["functions", "gateways"]) : { from = from, to = "database", port = local.database_port } if local.database_on],
  ) : "${arrow.from}-${arrow.to}-${arrow.port}" => arrow }

  # Over the link: who of the cloud calls the site, on which port.
  to_site = { for call in concat(
    flatten([for from in setintersection(keys(local.groups), ["functions", "gateways"]) : [
      for block in try(var.network.on_premises.cidr_blocks, []) : [
        for port in try(var.network.on_premises.ports, []) : { from = from, block = block, port = port }
    ]]]),
    [for block in try(var.network.on_premises.cidr_blocks, []) : { from = "database", block = block, port = local.database_port }
    if try(var.database.follows_on_premises, false)],
    [for agent in try(var.network.on_premises.agents, []) : {
      from  = "alarm"
      block = strcontains(agent, "[") ? "${trim(replace(agent, "/:[0-9]+$/", ""), "[]")}/128" : "${split(":", agent)[0]}/32"
      port  = tonumber(reverse(split(":", agent))[0])
    } if length(local.alarm_functions) > 0],
  ) : "${call.from}-${call.block}-${call.port}" => call }

  # And who of the cloud is called by the site.
  from_site = { for call in flatten([for block in try(var.network.on_premises.cidr_blocks, []) : concat(
    local.gateways_on ? [{ to = "gateways", block = block, port = var.gateways.admin_port }] : [],
    local.cache_on ? [{ to = "cache", block = block, port = local.cache_port }] : [],
  )]) : "${call.to}-${call.block}-${call.port}" => call }
}

resource "aws_security_group" "this" {
  #checkov:skip=CKV2_AWS_5:Each is attached, by a name that the check does not resolve.
  for_each = local.groups

  name        = "${var.name}-${replace(each.key, "_", "-")}"
  description = "Spillway ${var.name}: ${each.value}"
  vpc_id      = aws_vpc.this.id
  tags        = merge(local.tags, { Name = "${var.name}-${replace(each.key, "_", "-")}" })
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name}-endpoints"
  description = "Spillway ${var.name}: the endpoints of AWS services"
  vpc_id      = aws_vpc.this.id
  tags        = merge(local.tags, { Name = "${var.name}-endpoints" })
}

resource "aws_vpc_security_group_ingress_rule" "arrow" {
  for_each = local.arrows

  security_group_id            = local.group_ids[each.value.to]
  referenced_security_group_id = local.group_ids[each.value.from]
  description                  = "from ${replace(each.value.from, "_", " ")}"
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "arrow" {
  for_each = local.arrows

  security_group_id            = local.group_ids[each.value.from]
  referenced_security_group_id = local.group_ids[each.value.to]
  description                  = "to ${replace(each.value.to, "_", " ")}"
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  tags                         = local.tags
}

# With fixed addresses the VPC itself too: the network load balancer checks from its own addresses whether this one lives.
resource "aws_vpc_security_group_ingress_rule" "clients" {
  #checkov:skip=CKV_AWS_260:Port 80 redirects to HTTPS; clients are everybody unless the variable says otherwise.
  for_each = { for pair in setproduct([80, 443], setunion(
    var.load_balancer.client_ipv4_cidr_blocks,
    var.network.ipv6 ? var.load_balancer.client_ipv6_cidr_blocks : [],
    var.load_balancer.fixed_addresses ? [var.network.cidr_block] : [],
    )) :
  "${pair[0]}-${pair[1]}" => { port = tonumber(pair[0]), block = pair[1] } }

  security_group_id = aws_security_group.this["load_balancer"].id
  cidr_ipv4         = strcontains(each.value.block, ":") ? null : each.value.block
  cidr_ipv6         = strcontains(each.value.block, ":") ? each.value.block : null
  description       = "from clients"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  tags              = local.tags
}

resource "aws_vpc_security_group_egress_rule" "packages" {
  count = local.gateways_on ? 1 : 0

  security_group_id = aws_security_group.this["gateways"].id
  prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id
  description       = "packages from S3"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  tags              = local.tags
}

resource "aws_vpc_security_group_egress_rule" "site" {
  for_each = local.to_site

  security_group_id = local.group_ids[each.value.from]
  cidr_ipv4         = strcontains(each.value.block, ":") ? null : each.value.block
  cidr_ipv6         = strcontains(each.value.block, ":") ? each.value.block : null
  description       = "to the site over the link"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  tags              = local.tags
}

# The agent reads the gateways' load and writes the plan's mirror over the link. Requests come from the load balancer alone,
# whom gateways believe who the client is.
resource "aws_vpc_security_group_ingress_rule" "site" {
  for_each = local.from_site

  security_group_id = local.group_ids[each.value.to]
  cidr_ipv4         = strcontains(each.value.block, ":") ? null : each.value.block
  cidr_ipv6         = strcontains(each.value.block, ":") ? each.value.block : null
  description       = "from the site over the link"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  tags              = local.tags
}
