# The on-prem end, rendered: path on the site's edge -> content. Module private installs the files, or
# another tool does. What is secret is in a map of its own, so that the rest can be read in a plan.

locals {
  # Two values that the tunnels' ends must agree on, and the size that fits into AES-GCM with NAT
  # traversal on a line of 1500 bytes (the AWS VPN user guide's table).
  tunnel_mtu = 1438

  tunnels = local.vpn ? [
    {
      name            = "tunnel1"
      interface       = "spill1"
      interface_id    = 401
      outside_address = aws_vpn_connection.this[0].tunnel1_address
      site_address    = aws_vpn_connection.this[0].tunnel1_cgw_inside_address
      amazon_address  = aws_vpn_connection.this[0].tunnel1_vgw_inside_address
      preshared_key   = aws_vpn_connection.this[0].tunnel1_preshared_key
    },
    {
      name            = "tunnel2"
      interface       = "spill2"
      interface_id    = 402
      outside_address = aws_vpn_connection.this[0].tunnel2_address
      site_address    = aws_vpn_connection.this[0].tunnel2_cgw_inside_address
      amazon_address  = aws_vpn_connection.this[0].tunnel2_vgw_inside_address
      preshared_key   = aws_vpn_connection.this[0].tunnel2_preshared_key
    },
  ] : []

  # A transit gateway uses both tunnels at once; a virtual private gateway answers by one, so the site
  # must ask by the same, or a stateful firewall between them sees half of each conversation.
  paths = local.transit ? 2 : 1

  line = one(aws_dx_private_virtual_interface.this[*])

  has_line  = length(aws_dx_private_virtual_interface.this) > 0
  has_peers = local.has_line || local.vpn

  peers = concat(!local.has_line ? [] : [{
    name       = "line"
    address    = split("/", local.line.amazon_address)[0]
    preference = 300
    metric     = 50
    password   = local.line.bgp_auth_key
    bfd        = true # Direct Connect answers BFD; a VPN's endpoint does not
    }], [for index, tunnel in local.tunnels : {
    name       = tunnel.name
    address    = tunnel.amazon_address
    preference = local.transit || index == 0 ? 200 : 100
    metric     = local.transit || index == 0 ? 100 : 200
    password   = null
    bfd        = false
  }])

  frr_conf = !local.has_peers ? "" : templatefile("${path.module}/templates/frr.conf.tftpl", {
    site             = var.site
    site_asn         = var.link.site_asn
    amazon_asn       = var.link.amazon_asn
    site_cidr_blocks = var.link.site_cidr_blocks
    cloud_cidr_block = var.network.cidr_block
    peers            = local.peers
    paths            = local.paths
    router_id = (!local.has_line ?
    local.tunnels[0].site_address : split("/", local.line.customer_address)[0])
  })

  tunnel_values = {
    site             = var.site
    tunnels          = [for tunnel in local.tunnels : { for key, value in tunnel : key => value if key != "preshared_key" }]
    local_address    = try(var.link.vpn.local_address, null)
    customer_address = try(var.link.vpn.customer_address, null)
    phase1_secs      = local.ike.phase1_secs
    phase2_secs      = local.ike.phase2_secs
    mtu              = local.tunnel_mtu
  }

  vpn_files = !local.vpn ? {} : {
    "/etc/swanctl/conf.d/spillway.conf"         = templatefile("${path.module}/templates/swanctl.conf.tftpl", local.tunnel_values)
    "/etc/systemd/system/spillway-link.service" = templatefile("${path.module}/templates/link.service.tftpl", local.tunnel_values)
    "/etc/spillway/link.nft"                    = templatefile("${path.module}/templates/link.nft.tftpl", local.tunnel_values)
    "/etc/sysctl.d/60-spillway-link.conf"       = templatefile("${path.module}/templates/sysctl.conf.tftpl", {})
  }

  # With a line of one's own BGP has a password, and then FRR's file is a secret as a whole.
  frr_files = local.has_peers ? { "/etc/frr/frr.conf" = local.frr_conf } : {}
  bgp_files = !local.has_peers ? {} : {
    "/etc/frr/daemons" = templatefile("${path.module}/templates/daemons.tftpl", { bfd = local.has_line })
  }

  credential_process = !local.roles_anywhere ? null : join(" ", [
    var.agent.helper, "credential-process",
    "--certificate", var.agent.certificate,
    "--private-key", var.agent.private_key,
    "--trust-anchor-arn", aws_rolesanywhere_trust_anchor.site[0].arn,
    "--profile-arn", aws_rolesanywhere_profile.agent[0].arn,
    "--role-arn", aws_iam_role.agent[0].arn,
    "--region", local.region,
  ])

  agent_files = !local.roles_anywhere ? {} : {
    "/etc/spillway/aws.config" = templatefile("${path.module}/templates/aws.config.tftpl", {
      region             = local.region
      credential_process = local.credential_process
    })
  }
}
