# The VPC's end of the link: a virtual private gateway, or an attachment to a transit gateway.

resource "aws_vpn_gateway" "this" {
  count = local.private_gateway ? 1 : 0

  vpc_id          = var.network.vpc_id
  amazon_side_asn = var.link.amazon_asn
  tags            = merge(local.tags, { Name = local.prefix })
}

resource "aws_ec2_transit_gateway_vpc_attachment" "this" {
  count = local.transit ? 1 : 0

  transit_gateway_id = var.link.transit_gateway.id
  vpc_id             = var.network.vpc_id
  subnet_ids         = var.network.private_subnet_ids
  ipv6_support       = "enable"
  tags               = merge(local.tags, { Name = local.prefix })

  # With a table of its own, the attachment must not also be in the default one.
  transit_gateway_default_route_table_association = var.link.transit_gateway.route_table_id == null
  transit_gateway_default_route_table_propagation = var.link.transit_gateway.route_table_id == null
}

resource "aws_ec2_transit_gateway_route_table_association" "this" {
  count = local.transit && try(var.link.transit_gateway.route_table_id, null) != null ? 1 : 0

  transit_gateway_attachment_id  = aws_ec2_transit_gateway_vpc_attachment.this[0].id
  transit_gateway_route_table_id = var.link.transit_gateway.route_table_id
}

resource "aws_ec2_transit_gateway_route_table_propagation" "this" {
  count = local.transit && try(var.link.transit_gateway.route_table_id, null) != null ? 1 : 0

  transit_gateway_attachment_id  = aws_ec2_transit_gateway_vpc_attachment.this[0].id
  transit_gateway_route_table_id = var.link.transit_gateway.route_table_id
}
