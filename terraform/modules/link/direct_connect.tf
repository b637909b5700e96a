# A line of one's own. Its order, its port and its cross-connect are paper and cable; what is described
# here is what the VPC and the site say over it.

resource "aws_dx_gateway_association" "this" {
  count = local.direct_connect ? 1 : 0

  dx_gateway_id         = var.link.direct_connect.gateway_id
  associated_gateway_id = aws_vpn_gateway.this[0].id
  # Only this VPC is announced to the site, whatever else hangs on the gateway.
  allowed_prefixes = [var.network.cidr_block]
}

resource "aws_dx_private_virtual_interface" "this" {
  count = local.direct_connect && try(var.link.direct_connect.virtual_interface, null) != null ? 1 : 0

  name             = local.prefix
  connection_id    = var.link.direct_connect.connection_id
  dx_gateway_id    = var.link.direct_connect.gateway_id
  address_family   = "ipv4"
  bgp_asn          = var.link.site_asn
  vlan             = var.link.direct_connect.virtual_interface.vlan
  amazon_address   = var.link.direct_connect.virtual_interface.amazon_address
  customer_address = var.link.direct_connect.virtual_interface.customer_address
  tags             = merge(local.tags, { Name = local.prefix })
}
