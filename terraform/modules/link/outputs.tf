output "connection" {
  description = "The link as other modules see it; module alarms watches it. Nothing in it depends on the agent's identity."
  value = {
    kind       = var.link.kind
    site       = var.site
    gateway_id = try(aws_vpn_gateway.this[0].id, aws_ec2_transit_gateway_vpc_attachment.this[0].id)
    vpn = local.vpn ? {
      connection_id    = aws_vpn_connection.this[0].id
      tunnel_addresses = [aws_vpn_connection.this[0].tunnel1_address, aws_vpn_connection.this[0].tunnel2_address]
      log_group_name   = aws_cloudwatch_log_group.vpn[0].name
    } : null
    direct_connect = try(var.link.direct_connect.connection_id, null) == null ? null : {
      connection_id = var.link.direct_connect.connection_id
    }
  }
}

output "site_files" {
  description = "Files of the site's edge, and of the agent's host: path -> content. Nothing in it is secret."
  value       = merge(local.vpn_files, local.has_line ? {} : local.frr_files, local.bgp_files, local.agent_files)
}

output "site_secret_files" {
  description = "Files of the site's edge that hold secrets: path -> content. Install them with mode 0600."
  sensitive   = true
  value = merge(local.has_line ? local.frr_files : {}, !local.vpn ? {} : {
    "/etc/swanctl/conf.d/spillway-secrets.conf" = templatefile("${path.module}/templates/secrets.conf.tftpl", {
      customer_address = var.link.vpn.customer_address
      tunnels          = local.tunnels
    })
  })
}

output "agent" {
  description = "The agent's identity, or null. `credential_process` is the line for its AWS configuration; null when it gets its credentials from its instance."
  value = !local.agent ? null : {
    role_arn           = aws_iam_role.agent[0].arn
    role_name          = aws_iam_role.agent[0].name
    policy_arns        = { for key, policy in aws_iam_policy.agent : key => policy.arn }
    trust_anchor_arn   = one(aws_rolesanywhere_trust_anchor.site[*].arn)
    profile_arn        = one(aws_rolesanywhere_profile.agent[*].arn)
    instance_profile   = one(aws_iam_instance_profile.agent[*].name)
    credential_process = local.credential_process
  }
}

output "settings" {
  description = "The variables as they were understood, with their defaults: what is not in here was not known, see modules/hybrid/known.tf."
  value       = { link = var.link, access = var.access, agent = var.agent }
}
