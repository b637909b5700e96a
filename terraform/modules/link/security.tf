# What may pass. The link itself lets everything through; the groups at its end do not.

locals {
  rules = merge([
    for name, rule in var.access : {
      for block in var.link.site_cidr_blocks : "${name} ${block}" => merge(rule, { name = name, block = block })
    }
  ]...)
}

resource "aws_vpc_security_group_ingress_rule" "site" {
  for_each = { for key, rule in local.rules : key => rule if rule.direction == "ingress" }

  security_group_id = each.value.security_group_id
  description       = "${each.value.name}: from site ${var.site}"
  cidr_ipv4         = each.value.block
  ip_protocol       = each.value.protocol
  from_port         = each.value.port
  to_port           = coalesce(each.value.port_to, each.value.port)
  tags              = local.tags
}

resource "aws_vpc_security_group_egress_rule" "site" {
  for_each = { for key, rule in local.rules : key => rule if rule.direction == "egress" }

  security_group_id = each.value.security_group_id
  description       = "${each.value.name}: to site ${var.site}"
  cidr_ipv4         = each.value.block
  ip_protocol       = each.value.protocol
  from_port         = each.value.port
  to_port           = coalesce(each.value.port_to, each.value.port)
  tags              = local.tags
}
