# How the VPC's private subnets find the site. Tables are counted, not named: their ids are not known
# before they exist.

resource "aws_vpn_gateway_route_propagation" "this" {
  count = local.propagated ? length(var.network.private_route_table_ids) : 0

  vpn_gateway_id = aws_vpn_gateway.this[0].id
  route_table_id = var.network.private_route_table_ids[count.index]
}

locals {
  static_routes = merge([
    for index in range(local.propagated ? 0 : length(var.network.private_route_table_ids)) : {
      for block in var.link.site_cidr_blocks : "${index} ${block}" => { table = index, block = block }
    }
  ]...)
}

resource "aws_route" "site" {
  for_each = local.static_routes

  route_table_id         = var.network.private_route_table_ids[each.value.table]
  destination_cidr_block = each.value.block
  gateway_id             = one(aws_vpn_gateway.this[*].id)
  transit_gateway_id     = local.transit ? var.link.transit_gateway.id : null

  # The API refuses a route to a transit gateway that the VPC is not attached to.
  depends_on = [aws_ec2_transit_gateway_vpc_attachment.this]
}
