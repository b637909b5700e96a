# Site-to-site VPN: two tunnels to two of AWS's endpoints, BGP in each. One endpoint is taken away for
# maintenance now and then, so a site with one tunnel up is a site that will lose its link.

resource "aws_customer_gateway" "this" {
  count = local.vpn ? 1 : 0

  # The API has two fields, by the size of the number.
  bgp_asn          = var.link.site_asn <= 2147483647 ? var.link.site_asn : null
  bgp_asn_extended = var.link.site_asn > 2147483647 ? var.link.site_asn : null
  ip_address       = var.link.vpn.customer_address
  type             = "ipsec.1"
  tags             = merge(local.tags, { Name = local.prefix })
}

resource "aws_cloudwatch_log_group" "vpn" {
  count = local.vpn ? 1 : 0

  name              = "/spillway/${var.name}/link/${var.site}"
  kms_key_id        = var.link.vpn.log_kms_key_arn
  retention_in_days = var.link.vpn.log_retention_days
  tags              = local.tags
}

locals {
  # One suite of each kind. What both ends agree on is then not a matter of who proposes first, and the
  # rendered strongSwan end names the same.
  ike = {
    version     = "ikev2"
    encryption  = "AES256-GCM-16"
    integrity   = "SHA2-384"
    group       = 20 # ECP-384
    phase1_secs = 28800
    phase2_secs = 3600
  }

  inside_cidr_blocks = local.vpn ? var.link.vpn.inside_cidr_blocks : []
}

resource "aws_vpn_connection" "this" {
  count = local.vpn ? 1 : 0

  customer_gateway_id = aws_customer_gateway.this[0].id
  vpn_gateway_id      = one(aws_vpn_gateway.this[*].id)
  transit_gateway_id  = local.transit ? var.link.transit_gateway.id : null
  type                = "ipsec.1"
  static_routes_only  = false
  tags                = merge(local.tags, { Name = local.prefix })

  tunnel1_inside_cidr                  = try(local.inside_cidr_blocks[0], null)
  tunnel1_ike_versions                 = [local.ike.version]
  tunnel1_phase1_encryption_algorithms = [local.ike.encryption]
  tunnel1_phase1_integrity_algorithms  = [local.ike.integrity]
  tunnel1_phase1_dh_group_numbers      = [local.ike.group]
  tunnel1_phase1_lifetime_seconds      = local.ike.phase1_secs
  tunnel1_phase2_encryption_algorithms = [local.ike.encryption]
  tunnel1_phase2_integrity_algorithms  = [local.ike.integrity]
  tunnel1_phase2_dh_group_numbers      = [local.ike.group]
  tunnel1_phase2_lifetime_seconds      = local.ike.phase2_secs
  # The site starts the tunnels (it may be behind NAT); AWS clears a dead one, so that it can start again.
  tunnel1_startup_action      = "add"
  tunnel1_dpd_timeout_action  = "clear"
  tunnel1_dpd_timeout_seconds = 30
  # AWS asks before it replaces an endpoint, instead of taking it in the middle of a storm.
  tunnel1_enable_tunnel_lifecycle_control = true

  tunnel1_log_options {
    cloudwatch_log_options {
      log_enabled       = true
      log_group_arn     = aws_cloudwatch_log_group.vpn[0].arn
      log_output_format = "json"
    }
  }

  tunnel2_inside_cidr                     = try(local.inside_cidr_blocks[1], null)
  tunnel2_ike_versions                    = [local.ike.version]
  tunnel2_phase1_encryption_algorithms    = [local.ike.encryption]
  tunnel2_phase1_integrity_algorithms     = [local.ike.integrity]
  tunnel2_phase1_dh_group_numbers         = [local.ike.group]
  tunnel2_phase1_lifetime_seconds         = local.ike.phase1_secs
  tunnel2_phase2_encryption_algorithms    = [local.ike.encryption]
  tunnel2_phase2_integrity_algorithms     = [local.ike.integrity]
  tunnel2_phase2_dh_group_numbers         = [local.ike.group]
  tunnel2_phase2_lifetime_seconds         = local.ike.phase2_secs
  tunnel2_startup_action                  = "add"
  tunnel2_dpd_timeout_action              = "clear"
  tunnel2_dpd_timeout_seconds             = 30
  tunnel2_enable_tunnel_lifecycle_control = true

  tunnel2_log_options {
    cloudwatch_log_options {
      log_enabled       = true
      log_group_arn     = aws_cloudwatch_log_group.vpn[0].arn
      log_output_format = "json"
    }
  }
}
